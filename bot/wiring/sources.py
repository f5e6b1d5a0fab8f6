"""Every `[sources.<name>]` as its integration: one maker a kind; and the alerts that came by webhook."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from bot.clock import Clock
from bot.errors import ConfigurationError
from bot.incidents.alert_source import StoredAlerts
from bot.incidents.regroup import said_in_slack
from bot.incidents.truncated import Truncated
from bot.settings import Settings, SourceSection
from bot.store import Store
from bot.wiring.asked import ASKED, Maker
from bot.wiring.mcp import mcp_servers
from bot.wiring.values import access_of, slack_access, token_of
from integrations.alerts.api import AlertmanagerApi
from integrations.alerts.doors import SENDERS
from integrations.asking import Access
from integrations.github import GitHub
from integrations.http import Egress
from integrations.jaeger import Jaeger
from integrations.pagerduty import Pace, PagerDuty
from integrations.ports import Source
from integrations.prometheus import Prometheus
from integrations.records import Signal

log = logging.getLogger(__name__)

SENDING = ("pagerduty", "slack", "generic", "cloudwatch_sns", "changes", *SENDERS)
"""Kinds that send, and are not asked."""


def known_kinds() -> list[str]:
    """Every kind of source that can be asked."""
    return sorted(_MAKERS)


def stored_alerts(settings: Settings, store: Store, clock: Clock) -> list[Source]:
    """The alerts that came by webhook, as evidence of their incident; where a door for them is open."""
    senders = [one for one in (*SENDERS, "generic") if one in settings.secrets.system_webhook_secrets]
    senders += ["cloudwatch_sns"] if topics_of(settings) else []
    sections = settings.file.sources
    for sender in senders:
        if not any(sender in (name, one.kind) for name, one in sections.items()):
            log.warning(
                "/webhooks/%s is open and sitrep.toml has no [sources.%s] with readers: nobody may read its alerts, so "
                "that its cards show only number, severity and time", sender, sender,
            )  # fmt: skip
    if not senders and not settings.file.slack.alert_channels:
        return []

    def access(sender: str) -> Access:
        if said_in_slack(sender):
            return slack_access(settings, sender.partition(":")[2] or None)
        return access_of(settings, sections.get(sender))

    return [StoredAlerts(store, settings.file.workspace, clock, access, 2.0)]


def truncated_of(
    settings: Settings, egress: Egress, store: Store, clock: Clock,
    intake: Callable[[Sequence[Signal]], Awaitable[int]], stack: AsyncExitStack,
) -> Truncated | None:  # fmt: skip
    """Asks Alertmanager for what its webhooks leave out, where `[sources.alertmanager] url` says where it is."""
    source = settings.file.sources.get("alertmanager")
    if source is None or source.url is None:
        return None
    token = token_of(settings, "alertmanager", "alertmanager")
    api = AlertmanagerApi(source.url, egress, token=token, timeout_seconds=max(source.deadline_seconds, 5.0))
    stack.push_async_callback(api.aclose)
    return Truncated(api, store, settings.file.workspace, clock, intake)


def topics_of(settings: Settings) -> list[str]:
    """The SNS topics that may bring alarms; who signs them is Amazon, so no secret is set."""
    source = settings.file.sources.get("cloudwatch_sns")
    return list(source.allow.topics) if source is not None else []


def pagerduty_of(
    settings: Settings, egress: Egress, stack: AsyncExitStack, *, pace: Pace | None = None
) -> PagerDuty | None:
    """The incident source; absent without a token (webhooks alone still work). pace: of a long read."""
    token = settings.secrets.pagerduty_api_token
    if token is None:
        return None
    source = settings.file.sources.get("pagerduty")
    made = PagerDuty(
        url=settings.secrets.pagerduty_api_url,
        token=token.get_secret_value(),
        egress=egress,
        access=access_of(settings, source),
        deadline_seconds=source.deadline_seconds if source else 3.0,
        email=settings.file.pagerduty.note_email,
        pace=pace,
    )
    stack.push_async_callback(made.aclose)
    return made


def sources_of(settings: Settings, egress: Egress, stack: AsyncExitStack, pagerduty: PagerDuty | None) -> list[Source]:
    """Every `[sources.<name>]` as its integration. A kind that is not known is a configuration error."""
    made: list[Source] = [] if pagerduty is None else [pagerduty]
    problems = []
    for name, source in settings.file.sources.items():
        kind = source.kind or name
        if kind in SENDING:
            continue
        maker = _MAKERS.get(kind)
        if maker is None:
            problems.append(f"[sources.{name}] kind = {kind!r} is not known; known: {', '.join(sorted(_MAKERS))}")
            continue
        made.append(maker(settings, name, source, egress, stack))
    if problems:
        raise ConfigurationError(problems)
    return made + mcp_servers(settings, egress)


def _jaeger(settings: Settings, name: str, source: SourceSection, egress: Egress, stack: AsyncExitStack) -> Source:
    if source.url is None:
        raise ConfigurationError([f"[sources.{name}] needs url, the address of Jaeger's query service"])
    made = Jaeger(
        name=name, url=source.url, link_url=source.link_url, token=token_of(settings, name, "jaeger"), egress=egress,
        access=access_of(settings, source), deadline_seconds=source.deadline_seconds,
    )  # fmt: skip
    stack.push_async_callback(made.aclose)
    return made


def _prometheus(settings: Settings, name: str, source: SourceSection, egress: Egress, stack: AsyncExitStack) -> Source:
    if source.url is None:
        raise ConfigurationError([f"[sources.{name}] needs url, the address of Prometheus"])
    try:
        made = Prometheus(
            name=name, url=source.url, link_url=source.link_url, egress=egress,
            token=token_of(settings, name, "prometheus"), access=access_of(settings, source),
            deadline_seconds=source.deadline_seconds, queries=source.queries, dashboards=source.allow.dashboards,
        )  # fmt: skip
    except ValueError as wrong:
        raise ConfigurationError([f"[sources.{name}] {wrong}"]) from None
    stack.push_async_callback(made.aclose)
    return made


def _github(settings: Settings, name: str, source: SourceSection, egress: Egress, stack: AsyncExitStack) -> Source:
    made = GitHub(
        name=name, url=source.url or settings.secrets.github_api_url, token=token_of(settings, name, "github"),
        egress=egress, access=access_of(settings, source), deadline_seconds=source.deadline_seconds,
        repositories=source.allow.repositories,
    )  # fmt: skip
    stack.push_async_callback(made.aclose)
    return made


_MAKERS: dict[str, Maker] = {"github": _github, "jaeger": _jaeger, "prometheus": _prometheus, **ASKED}
