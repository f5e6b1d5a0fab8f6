"""Makers of the sources that are asked over HTTP, and of those in files: one a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from bot.errors import ConfigurationError
from bot.settings import Settings, SourceSection
from bot.wiring.values import access_of, token_of
from integrations.argocd import ArgoCD
from integrations.asked import Asked
from integrations.elasticsearch import Elasticsearch
from integrations.flagd import Flagd
from integrations.gitlab import GitLab
from integrations.http import Egress
from integrations.kubernetes import Kubernetes
from integrations.launchdarkly import LaunchDarkly
from integrations.loki import Loki
from integrations.otlp_files import OtlpFiles
from integrations.ports import Source
from integrations.tempo import Tempo

Maker = Callable[[Settings, str, SourceSection, Egress, AsyncExitStack], Source]


def _maker(made_of: type[Asked], whose: str, allowed: str | None = None, token_kind: str | None = None) -> Maker:
    """`allowed`: what else of its section the source takes, under the same name."""

    def make(settings: Settings, name: str, source: SourceSection, egress: Egress, stack: AsyncExitStack) -> Source:
        if source.url is None:
            raise ConfigurationError([f"[sources.{name}] needs url, the address of {whose}"])
        more = {}
        if allowed:
            more[allowed] = getattr(source if allowed == "tenant" else source.allow, allowed)
        try:
            made = made_of(
                name=name, url=source.url, link_url=source.link_url, egress=egress, access=access_of(settings, source),
                token=token_of(settings, name, token_kind or made_of.kind), deadline_seconds=source.deadline_seconds,
                **more,
            )  # fmt: skip
        except ValueError as wrong:
            raise ConfigurationError([f"[sources.{name}] {wrong}"]) from None
        stack.push_async_callback(made.aclose)
        return made

    return make


def _otlp(settings: Settings, name: str, source: SourceSection, egress: Egress, stack: AsyncExitStack) -> Source:
    try:
        return OtlpFiles(
            name=name, paths=source.allow.paths, access=access_of(settings, source),
            deadline_seconds=source.deadline_seconds,
        )  # fmt: skip
    except ValueError as wrong:
        raise ConfigurationError([f"[sources.{name}] {wrong}"]) from None


ASKED: Mapping[str, Maker] = {
    "gitlab": _maker(GitLab, "GitLab", "repositories"),
    "argocd": _maker(ArgoCD, "Argo CD's API server", "paths"),
    "kubernetes": _maker(Kubernetes, "the API server", "paths"),
    "launchdarkly": _maker(LaunchDarkly, "LaunchDarkly's API, such as https://app.launchdarkly.com", "paths"),
    "flagd": _maker(Flagd, "flagd, or of its file of definitions"),
    "tempo": _maker(Tempo, "Tempo", "tenant"),
    "loki": _maker(Loki, "Loki", "tenant"),
    "elasticsearch": _maker(Elasticsearch, "Elasticsearch", "indices"),
    "opensearch": _maker(Elasticsearch, "OpenSearch", "indices"),
    "otlp": _otlp,
}
"""Kind to maker."""
