"""Builds every long-lived object from the settings and closes it; the only file that names a concrete integration.

`build` enters everything on one AsyncExitStack, so that what was opened is closed in reverse, whatever fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bot.cards.outbox import Outbox
from bot.clock import Clock, SystemClock
from bot.errors import ConfigurationError
from bot.flows.engine import Engine
from bot.flows.refresh import RefreshFlow
from bot.flows.triage import Parts, Timeouts, TriageFlow, target_of
from bot.flows.warm import WarmWorker, redact_value
from bot.incidents import topology
from bot.incidents.book import Book
from bot.incidents.intake import Drainer, Start, store_signals
from bot.incidents.poller import Poller
from bot.incidents.routing import Routing, Service
from bot.settings import Settings, SourceSection
from bot.store.sqlite import SqliteStore
from bot.triage.collect import Collector, Edge
from bot.trust.directory import DirectoryCache
from bot.trust.principals import Limits
from bot.trust.redaction import Redactor
from integrations.asking import Access, ServiceRule
from integrations.http import Egress, aiohttp_session
from integrations.ports import IncidentSource, SignalDoor, Source
from integrations.records import Batch, Incident, Readers, ServiceNames, Signal

log = logging.getLogger(__name__)

PUBLIC_HOSTS = ("https://slack.com", "https://api.pagerduty.com", "https://api.github.com", "https://api.openai.com")
"""Addresses that the code knows by itself; they must resolve to public ones."""


# --- from settings to the values that rooms take --------------------------------------------------------------------


def secret_keys(settings: Settings) -> list[bytes]:
    """The keys of placeholder digests, newest first; made once in SITREP_HOME when none is set."""
    if settings.secrets.secret_keys:
        return [key.get_secret_value().encode() for key in settings.secrets.secret_keys]
    path = settings.home / "secret.key"
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32), encoding="ascii")
        log.warning("made %s; keep it, or set SITREP_SECRET_KEY: it keys the placeholders of redacted secrets", path)
    return [path.read_text(encoding="ascii").strip().encode()]


def routing_of(settings: Settings) -> Routing:
    """Severity, who gets a card, and where it goes."""
    file = settings.file
    return Routing(
        default_channel=file.slack.channel,
        when=file.triage.when,
        severity=file.severity,
        services={
            name: Service(name, (*one.pagerduty, *one.otel), one.team, one.channel, one.depends_on)
            for name, one in file.services.items()
        },
        team_channels={name: team.channel for name, team in file.teams.items() if team.channel},
        routes=[(route.match, route.channel) for route in file.routes],
        shadow_channel=file.slack.shadow_channel if file.mode == "shadow" else None,
    )


def service_names(settings: Settings) -> dict[str, ServiceNames]:
    """What each system calls each service."""
    return {
        name: ServiceNames(name, one.otel, one.pagerduty, one.repositories, one.kubernetes, one.prometheus)
        for name, one in settings.file.services.items()
    }


def service_rule(settings: Settings, name: str) -> ServiceRule:
    """Who may read what is about a service: its own readers, else its team's."""
    one = settings.file.services.get(name)
    if one is None:
        return ServiceRule()
    team = settings.file.teams.get(one.team or "")
    groups = one.readers if one.readers is not None else (team.readers if team else None)
    return ServiceRule(Readers.of(groups) if groups is not None else None, one.model)


def access_of(settings: Settings, source: SourceSection | None) -> Access:
    """Who may read what a source says. A source without readers (it was refused at start-up) is nobody's."""
    readers = Readers.of(source.readers) if source is not None and source.readers is not None else Readers.nobody()
    return Access(readers, source.model if source else "allowed", lambda name: service_rule(settings, name))


def alert_readers_of(settings: Settings) -> Callable[[Incident], Readers]:
    """Who may read an incident: its source's readers narrowed by its service's."""

    def readers(incident: Incident) -> Readers:
        return access_of(settings, settings.file.sources.get(incident.source)).of(incident.service)[0]

    return readers


def declared_edges(settings: Settings) -> list[Batch[Edge]]:
    """`depends_on`, readable by whoever may read both services."""
    batches = []
    for name, one in settings.file.services.items():
        for other in one.depends_on:
            readers = Readers.of(["everyone"])
            for service in (name, other):
                readers = readers.narrowed(service_rule(settings, service).readers)
            batches.append(Batch("settings", readers, [(name, other)]))
    return batches


def link_hosts(settings: Settings) -> list[str]:
    """Hosts and origins that a card may link to: the settings' own, and those of the configured sources."""
    found = [*settings.file.links.hosts, "*.pagerduty.com", "github.com"]
    for source in settings.file.sources.values():
        for url in (source.url, source.link_url):
            if url:
                parts = urlsplit(url)
                found.append(f"{parts.scheme}://{parts.netloc}")
    return list(dict.fromkeys(found))


def egress_of(settings: Settings, model_endpoints: Sequence[str] = ()) -> Egress:
    """Everything that may be called, exactly as it is written in the settings."""
    named = [settings.secrets.slack_api_url, settings.secrets.pagerduty_api_url, settings.secrets.github_api_url]
    named += [source.url for source in settings.file.sources.values() if source.url]
    named += [url for url in (settings.secrets.model_url, *model_endpoints) if url]
    allowed = [url for url in named if not any(url.startswith(public) for public in PUBLIC_HOSTS)]
    ca_file = str(settings.secrets.ca_file) if settings.secrets.ca_file else None
    return Egress(allowed, PUBLIC_HOSTS, ca_file=ca_file)
