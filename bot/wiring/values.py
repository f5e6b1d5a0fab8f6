"""From the settings to the values that rooms take: pure, and naming no integration but the nouns."""

from __future__ import annotations

import logging
import secrets
import tempfile
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from bot.errors import ConfigurationError
from bot.incidents.correlate import Rules
from bot.incidents.regroup import said_in_slack
from bot.incidents.routing import Routing, Service
from bot.settings import McpSection, Settings, SourceSection
from bot.triage.collect import Edge
from bot.trust.admins import Admins
from bot.trust.explain import Rules as ReaderRules
from bot.trust.principals import CHANNEL_PREFIX
from integrations.asking import Access, ServiceRule
from integrations.records import Batch, Incident, Readers, ServiceNames

log = logging.getLogger(__name__)


CHANGE_KINDS = frozenset({"github", "gitlab", "argocd", "kubernetes", "launchdarkly", "flagd", "changes"})
"""Kinds of sources that tell of changes."""


def usable(home: Path) -> Path:
    """The state folder, made where it is absent. Raises ConfigurationError when nothing can be written there."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=home):
            return home
    except OSError as failed:
        why = failed.strerror or type(failed).__name__
        raise ConfigurationError([f"SITREP_HOME={str(home)!r} cannot be written to: {why}"]) from None


def secret_keys(settings: Settings) -> list[bytes]:
    """The keys of placeholder digests, newest first; made once in SITREP_HOME when none is set."""
    if settings.secrets.secret_keys:
        return [key.get_secret_value().encode() for key in settings.secrets.secret_keys]
    path = usable(settings.home) / "secret.key"
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


def rules_of(settings: Settings) -> Rules:
    """How close alerts of one incident are."""
    section = settings.file.correlation
    return Rules(timedelta(minutes=section.within_minutes), section.hops, section.incidents_at_most)


def channels_of(settings: Settings) -> list[str]:
    """Every channel that the settings name as a place for cards."""
    file = settings.file
    named = [
        file.slack.channel,
        *(s.channel for s in file.services.values()),
        *(t.channel for t in file.teams.values()),
    ]
    named += [route.channel for route in file.routes]
    if file.mode == "shadow":
        named = [file.slack.shadow_channel]
    return list(dict.fromkeys(name for name in named if name))


def service_names(settings: Settings) -> dict[str, ServiceNames]:
    """What each system calls each service."""
    return {
        name: ServiceNames(
            name,
            otel=one.otel,
            pagerduty=one.pagerduty,
            repositories=one.repositories,
            kubernetes=one.kubernetes,
            prometheus=one.prometheus,
            applications=one.applications,
            flags=one.flags,
            logs=one.logs,
        )
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


def access_of(settings: Settings, source: SourceSection | McpSection | None) -> Access:
    """Who may read what a source says. A source without readers (it was refused at start-up) is nobody's."""
    readers = Readers.of(source.readers) if source is not None and source.readers is not None else Readers.nobody()
    model = source.model if source else "allowed"
    return Access(readers, model, lambda name: service_rule(settings, name), repository_rule(settings))


def repository_rule(settings: Settings) -> Callable[[str], Readers | None]:
    """Who may read of a change, by its id (…/owner/name/…): the collaborators of its repository, where a directory
    tells who they are."""
    groups: dict[str, list[str]] = {}
    for name, one in settings.file.directories.items():
        if (one.kind or name) == "github" and one.organization is not None:
            for repository in one.repositories:
                group = f"{name}:{one.organization}/{repository.partition('/')[2]}"
                groups.setdefault(repository.lower(), []).append(group)

    def readers(item_id: str) -> Readers | None:
        named = {"/".join(pair) for pair in pairwise(item_id.lower().split("/"))}
        found = [group for repository in named & groups.keys() for group in groups[repository]]
        return Readers.of(found) if found else None

    return readers


def admins_of(settings: Settings) -> Admins:
    """Who may do what changes other people's incidents, the model or the experiment."""
    teams = {name: frozenset(team.admins) for name, team in settings.file.teams.items()}
    return Admins(frozenset(settings.file.admins.groups), teams)


def slack_access(settings: Settings, channel: str | None) -> Access:
    """Who may read what was said in a channel: `[sources.slack] readers` where it is set, else whoever reads it."""
    source = settings.file.sources.get("slack")
    if source is not None and source.readers is not None:
        return access_of(settings, source)
    readers = Readers.of([f"{CHANNEL_PREFIX}{channel}"]) if channel else Readers.nobody()
    return Access(readers, source.model if source else "allowed", lambda name: service_rule(settings, name))


def token_of(settings: Settings, name: str, kind: str) -> str | None:
    """`SITREP_SOURCE_<NAME>_TOKEN` of a source, else the token of its system."""
    own = settings.secrets.source_tokens.get(name.lower().replace("-", "_"))
    found = own or settings.secrets.system_tokens.get(kind)
    return found.get_secret_value() if found else None


def alert_readers_of(settings: Settings) -> Callable[[Incident], Readers]:
    """Who may read an incident: its source's readers narrowed by its service's."""

    def readers(incident: Incident) -> Readers:
        if said_in_slack(incident.source):
            return slack_access(settings, incident.channel).of(incident.service)[0]
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
    named: list[SourceSection | McpSection] = [*settings.file.sources.values(), *settings.file.mcp.values()]
    for source in named:
        for url in (source.url, source.link_url):
            if url:
                parts = urlsplit(url)
                found.append(f"{parts.scheme}://{parts.netloc}")
    return list(dict.fromkeys(found))


def change_readers_of(settings: Settings) -> Callable[[str], Readers]:
    """Who may read of changes to a service: whoever may read it in every source that tells of changes."""
    telling = [one for name, one in settings.file.sources.items() if (one.kind or name) in CHANGE_KINDS]
    of_repository = repository_rule(settings)

    def readers(service: str) -> Readers:
        found = Readers.of(["everyone"]).narrowed(service_rule(settings, service).readers)
        for source in telling:
            found = found.narrowed(access_of(settings, source).of(service)[0])
        known = settings.file.services.get(service)
        for repository in known.repositories if known else ():
            found = found.narrowed(of_repository(repository))
        return found

    return readers


def incident_readers_of(settings: Settings) -> Callable[[str, str | None], Readers]:
    """Who may read of an incident of a source and a service."""
    return lambda source, service: access_of(settings, settings.file.sources.get(source)).of(service)[0]


def report_channels(settings: Settings) -> list[str]:
    """Where the weekly report goes: `[report]`, else the channel of last resort; in shadow mode its channel alone."""
    file = settings.file
    if file.mode == "shadow":
        return [report_channel(settings)]
    teams = [team.channel for team in file.teams.values() if team.channel] if file.report.team_channels else []
    return list(dict.fromkeys([*(file.report.channels or [file.slack.channel]), *teams]))


def report_channel(settings: Settings) -> str:
    """Where reports and notices go: the channel of last resort, in shadow mode the shadow channel."""
    slack = settings.file.slack
    return (slack.shadow_channel or slack.channel) if settings.file.mode == "shadow" else slack.channel


def reader_rules(settings: Settings) -> ReaderRules:
    """Where each any-of set of the settings is written."""
    written: dict[frozenset[str], list[str]] = {}
    for name, source in settings.file.sources.items():
        if source.readers is not None:
            written.setdefault(frozenset(source.readers), []).append(f"[sources.{name}] readers")
    for name, team in settings.file.teams.items():
        if team.readers is not None:
            written.setdefault(frozenset(team.readers), []).append(f"[teams.{name}] readers")
    for name, service in settings.file.services.items():
        if service.readers is not None:
            written.setdefault(frozenset(service.readers), []).append(f"[services.{name}] readers")
    of_repository = repository_rule(settings)
    for repository in {one for directory in settings.file.directories.values() for one in directory.repositories}:
        for any_of in getattr(of_repository(repository), "sets", ()):
            written.setdefault(any_of, []).append(f"collaborators of {repository}")
    return {any_of: ", ".join(places[:3]) for any_of, places in written.items()}
