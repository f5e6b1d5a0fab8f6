"""Builds every long-lived object from the settings and closes it; the only file that names a concrete integration.

`build` enters everything on one AsyncExitStack, so that what was opened is closed in reverse, whatever fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import aiohttp
import uvicorn
from slack_sdk.web.async_client import AsyncWebClient
from starlette.applications import Starlette
from starlette.routing import Route

import prompts
from bot.cards.outbox import Outbox, OutboxLimits
from bot.clock import Clock, SystemClock
from bot.errors import ConfigurationError, SitrepError
from bot.experiment.live import LiveExperiments, seed_at
from bot.experiment.switch import KillSwitch
from bot.experiment.watch import CutlineWatch
from bot.flows.audience import AudienceEvents
from bot.flows.desk import IncidentDesk
from bot.flows.engine import Engine, Steps
from bot.flows.refresh import RefreshFlow
from bot.flows.rounds import Rounds
from bot.flows.summarise import Pausable, Summarise
from bot.flows.triage import Parts, Timeouts, TriageFlow
from bot.flows.views import IncidentView, Views
from bot.flows.warm import WarmWorker
from bot.flows.warm import redact_value as warm_redact_value
from bot.incidents import topology
from bot.incidents.alert_source import StoredAlerts
from bot.incidents.book import Book
from bot.incidents.correlate import Rules
from bot.incidents.intake import Drainer, Start, redacted_signal, store_signals
from bot.incidents.poller import Poller
from bot.incidents.routing import Routing, Service
from bot.listeners.app import Listeners
from bot.listeners.http import slack_route
from bot.listeners.socket import SocketMode
from bot.model import pins
from bot.model.attempts import GatewayLimits
from bot.model.gateway import Gateway
from bot.model.pins import Pin, Use
from bot.model.spend import Ceilings
from bot.report.weekly import WeeklyReports
from bot.settings import Settings, SourceSection
from bot.store import Store
from bot.store.retention import enforce
from bot.store.sqlite import SqliteStore
from bot.triage.check import Guards
from bot.triage.collect import Collector, Edge
from bot.trust.directory import DirectoryCache
from bot.trust.principals import Limits
from bot.trust.redaction import Redactor
from bot.trust.redaction.values import redact_value
from bot.web.app import create_app
from integrations.alerts.doors import SENDERS, door_for, generic_door
from integrations.alerts.sns import SnsDoor, fetch_by, origin_of_topic
from integrations.asking import Access, ServiceRule
from integrations.directories.github import GitHubTeams
from integrations.directories.pagerduty import PagerDutyTeams
from integrations.directories.scim import ScimExport
from integrations.github import GitHub
from integrations.http import Egress, aiohttp_session, httpx2_async_transport, origin_of
from integrations.jaeger import Jaeger
from integrations.openai import OpenAI
from integrations.pagerduty import PagerDuty, PagerDutyDoor
from integrations.ports import Directory, GroupSource, ModelEndpoint, SignalDoor, Source
from integrations.prometheus import Prometheus
from integrations.records import Batch, Incident, Readers, ServiceNames, Signal
from integrations.slack import (
    ChannelNames,
    SlackDirectory,
    SlackPoster,
    SlackReplies,
    SlackWeb,
    verify_signature,
    web_client,
)

log = logging.getLogger(__name__)

SLACK_HOSTS = (
    "https://slack.com", "https://hooks.slack.com",
    "https://wss-primary.slack.com", "https://wss-backup.slack.com", "https://wss-mobile.slack.com",
)  # fmt: skip
"""The Web API, private answers, and where `apps.connections.open` sends Socket Mode."""
PUBLIC_HOSTS = (*SLACK_HOSTS, "https://api.pagerduty.com", "https://api.github.com", "https://api.openai.com")
"""Addresses that the code knows by itself; they must resolve to public ones."""
CHANGE_KINDS = frozenset({"github", "gitlab", "argocd", "kubernetes", "launchdarkly", "flagd", "changes"})
"""Kinds of sources that tell of changes."""


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


def group_sources(settings: Settings, egress: Egress, stack: AsyncExitStack) -> list[GroupSource]:
    """Every `[directories.<name>]`."""
    secrets = settings.secrets
    made: list[GroupSource] = []
    for name, one in settings.file.directories.items():
        kind = one.kind or name
        if kind == "scim" and one.path is not None:
            made.append(ScimExport(one.path, name=name))
        elif kind == "github" and one.organization is not None:
            token = secrets.system_tokens["github"].get_secret_value()
            try:
                teams = GitHubTeams(
                    url=secrets.github_api_url, token=token, egress=egress, organization=one.organization,
                    repositories=one.repositories, name=name,
                )  # fmt: skip
            except ValueError as wrong:
                raise ConfigurationError([f"[directories.{name}]: {wrong}"]) from None
            stack.push_async_callback(teams.aclose)
            made.append(teams)
        elif kind == "pagerduty" and secrets.pagerduty_api_token is not None:
            account = PagerDutyTeams(
                url=secrets.pagerduty_api_url, token=secrets.pagerduty_api_token.get_secret_value(), egress=egress,
                name=name,
            )  # fmt: skip
            stack.push_async_callback(account.aclose)
            made.append(account)
    return made


def directory_of(
    settings: Settings, store: Store, directory: Directory, clock: Clock, sources: Sequence[GroupSource] = ()
) -> DirectoryCache:
    """Who is who and who is where, over what the store remembers."""
    file = settings.file
    return DirectoryCache(
        store,
        file.workspace,
        directory,
        clock,
        static={name: frozenset(emails) for name, emails in file.groups.items()},
        sources=sources,
        limits=Limits(file.timeouts.people_hours * 3600, file.timeouts.membership_minutes * 60),
        public_rule=file.slack.public_channel_audience,
    )


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
    known = {origin_of(url) for url in PUBLIC_HOSTS}
    allowed = [url for url in named if origin_of(url) not in known]
    ca_file = str(settings.secrets.ca_file) if settings.secrets.ca_file else None
    try:
        public = (*PUBLIC_HOSTS, *map(origin_of_topic, _topics(settings)))
    except ValueError as wrong:
        raise ConfigurationError([f"[sources.cloudwatch_sns] allow.topics: {wrong}"]) from wrong
    return Egress(allowed, public, ca_file=ca_file)


# --- the running program --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class App:
    """What `serve` runs; `loops` never end by themselves."""

    settings: Settings
    clock: Clock
    store: SqliteStore
    book: Book
    engine: Engine
    outbox: Outbox
    drainer: Drainer
    directory: DirectoryCache
    parts: Parts
    refresh: RefreshFlow
    readers: AudienceEvents
    """What the doors tell about who reads what."""
    web: Starlette
    loops: dict[str, Callable[[], Awaitable[None]]]


Checkpoint = Callable[[str], None]


def _doors(settings: Settings, egress: Egress, stack: AsyncExitStack) -> list[SignalDoor]:
    """Only doors that can check who sends are open."""
    doors: list[SignalDoor] = []
    if settings.secrets.pagerduty_webhook_secrets:
        doors.append(PagerDutyDoor([s.get_secret_value() for s in settings.secrets.pagerduty_webhook_secrets]))
    secrets_of = {
        system: [secret.get_secret_value() for secret in many]
        for system, many in settings.secrets.system_webhook_secrets.items()
    }
    doors += [door_for(sender, secrets_of[sender]) for sender in SENDERS if sender in secrets_of]
    if "generic" in secrets_of:
        named = {n: one.fields for n, one in settings.file.sources.items() if (one.kind or n) == "generic"}
        for name, fields in (named or {"generic": {}}).items():
            try:
                doors.append(generic_door(name, secrets_of["generic"], fields))
            except ValueError as wrong:
                raise ConfigurationError([f"[sources.{name}] {wrong}"]) from wrong
    if topics := _topics(settings):
        doors.append(SnsDoor(topics, fetch_by(egress, topics, stack)))
    return doors


def _stored_alerts(settings: Settings, store: Store, clock: Clock) -> list[Source]:
    """The alerts that came by webhook, as evidence of their incident; where a door for them is open."""
    senders = [one for one in (*SENDERS, "generic") if one in settings.secrets.system_webhook_secrets]
    senders += ["cloudwatch_sns"] if _topics(settings) else []
    sections = settings.file.sources
    for sender in senders:
        if not any(sender in (name, one.kind) for name, one in sections.items()):
            log.warning(
                "/webhooks/%s is open and sitrep.toml has no [sources.%s] with readers: nobody may read its alerts, so "
                "that its cards show only number, severity and time", sender, sender,
            )  # fmt: skip
    if not senders:
        return []

    def access(sender: str) -> Access:
        return access_of(settings, sections.get(sender))

    return [StoredAlerts(store, settings.file.workspace, clock, access, 2.0)]


def _topics(settings: Settings) -> list[str]:
    """The SNS topics that may bring alarms; who signs them is Amazon, so no secret is set."""
    source = settings.file.sources.get("cloudwatch_sns")
    return list(source.allow.topics) if source is not None else []


def _pagerduty(settings: Settings, egress: Egress, stack: AsyncExitStack) -> PagerDuty | None:
    """The incident source; absent without a token (webhooks alone still work)."""
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
    )
    stack.push_async_callback(made.aclose)
    return made


def _sources(settings: Settings, egress: Egress, stack: AsyncExitStack, pagerduty: PagerDuty | None) -> list[Source]:
    """Every `[sources.<name>]` as its integration. A kind that is not known is a configuration error."""
    made: list[Source] = [] if pagerduty is None else [pagerduty]
    problems = []
    for name, source in settings.file.sources.items():
        kind = source.kind or name
        if kind in ("pagerduty", "slack", "generic", "cloudwatch_sns", *SENDERS):  # they send, and are not asked
            continue
        maker = _MAKERS.get(kind)
        if maker is None:
            problems.append(f"[sources.{name}] kind = {kind!r} is not known; known: {', '.join(sorted(_MAKERS))}")
            continue
        made.append(maker(settings, name, source, egress, stack))
    if problems:
        raise ConfigurationError(problems)
    return made


def _token(settings: Settings, name: str, kind: str) -> str | None:
    """`SITREP_SOURCE_<NAME>_TOKEN` of this source, else the system's."""
    own = settings.secrets.source_tokens.get(name.lower().replace("-", "_"))
    found = own or settings.secrets.system_tokens.get(kind)
    return found.get_secret_value() if found else None


def _jaeger(settings: Settings, name: str, source: SourceSection, egress: Egress, stack: AsyncExitStack) -> Source:
    if source.url is None:
        raise ConfigurationError([f"[sources.{name}] needs url, the address of Jaeger's query service"])
    made = Jaeger(
        name=name, url=source.url, link_url=source.link_url, token=_token(settings, name, "jaeger"), egress=egress,
        access=access_of(settings, source), deadline_seconds=source.deadline_seconds,
    )  # fmt: skip
    stack.push_async_callback(made.aclose)
    return made


def _prometheus(settings: Settings, name: str, source: SourceSection, egress: Egress, stack: AsyncExitStack) -> Source:
    if source.url is None:
        raise ConfigurationError([f"[sources.{name}] needs url, the address of Prometheus"])
    made = Prometheus(
        name=name, url=source.url, link_url=source.link_url, token=_token(settings, name, "prometheus"), egress=egress,
        access=access_of(settings, source), deadline_seconds=source.deadline_seconds, queries=source.queries,
    )  # fmt: skip
    stack.push_async_callback(made.aclose)
    return made


def _github(settings: Settings, name: str, source: SourceSection, egress: Egress, stack: AsyncExitStack) -> Source:
    made = GitHub(
        name=name, url=source.url or settings.secrets.github_api_url, token=_token(settings, name, "github"),
        egress=egress, access=access_of(settings, source), deadline_seconds=source.deadline_seconds,
        repositories=source.allow.repositories,
    )  # fmt: skip
    stack.push_async_callback(made.aclose)
    return made


_Maker = Callable[[Settings, str, SourceSection, Egress, AsyncExitStack], Source]
_MAKERS: dict[str, _Maker] = {"github": _github, "jaeger": _jaeger, "prometheus": _prometheus}


@dataclass(frozen=True, slots=True)
class SlackParts:
    """One client on one session: for posting, for Bolt, for private answers."""

    client: AsyncWebClient
    web: SlackWeb
    session: aiohttp.ClientSession


async def _slack(settings: Settings, egress: Egress, stack: AsyncExitStack) -> SlackParts:
    token = settings.secrets.slack_bot_token
    if token is None:
        raise ConfigurationError(["SLACK_BOT_TOKEN is not set; it is the app's bot token (xoxb-…)"])
    session = aiohttp_session(egress, "slack")
    stack.push_async_callback(session.close)
    client = web_client(token.get_secret_value(), settings.secrets.slack_api_url, session)
    return SlackParts(client, SlackWeb(client), session)


def _slack_door(
    settings: Settings, slack: SlackParts, egress: Egress, desk: IncidentDesk, readers: AudienceEvents, outbox: Outbox,
    clock: Clock, stack: AsyncExitStack,
) -> tuple[list[Route], dict[str, Callable[[], Awaitable[None]]]]:  # fmt: skip
    """Commands, buttons and events: a loop for Socket Mode, or a route for signed HTTP."""
    replies = SlackReplies(slack.web, slack.session, settings.secrets.slack_api_url)
    listeners = Listeners(desk, replies, readers, outbox.form)
    stack.push_async_callback(listeners.close)
    bolt = listeners.bolt(slack.client)
    token = settings.secrets.slack_app_token
    if settings.file.slack.mode == "socket":
        if token is None:
            log.warning("SLACK_APP_TOKEN is not set: posts work, commands and buttons do not")
            return [], {}
        socket = SocketMode(
            bolt, token.get_secret_value(), lambda: aiohttp_session(egress, "slack socket", 30.0), readers.reconnected
        )
        return [], {"socket": socket.run}
    secrets_ = [secret.get_secret_value() for secret in settings.secrets.slack_signing_secrets]
    return [slack_route(bolt, partial(verify_signature, secrets_), clock, readers.reconnected)], {}


async def experiments_of(settings: Settings, store: Store, clock: Clock) -> LiveExperiments:
    """The hypothesis files with their seeds, `SITREP_HOME/experiments/<name>.seed`; one that was changed after its
    experiment started is refused. In shadow mode there are none: nobody is exposed, so nothing may be counted."""
    unknown = [
        f"experiments/{one.name}.toml: arms: {arm!r} names a prompt version that triages do not use; "
        "write facts+summary, or facts+summary@v1"
        for one in settings.experiments
        for arm in (*one.arms, one.rollout.otherwise)
        if arm.partition("@")[2] not in ("", "v1")
    ]
    if unknown:
        raise ConfigurationError(unknown)
    known = settings.experiments if settings.file.mode == "live" else ()
    seeds = {one.name: seed_at(settings.home / "experiments" / f"{one.name}.seed") for one in known}
    made = LiveExperiments(store, settings.file.workspace, clock, known, seeds)
    await made.verify()
    return made


def change_readers_of(settings: Settings) -> Callable[[str], Readers]:
    """Who may read of changes to a service: whoever may read it in every source that tells of changes."""
    telling = [one for name, one in settings.file.sources.items() if (one.kind or name) in CHANGE_KINDS]

    def readers(service: str) -> Readers:
        found = Readers.of(["everyone"]).narrowed(service_rule(settings, service).readers)
        for source in telling:
            found = found.narrowed(access_of(settings, source).of(service)[0])
        return found

    return readers


def report_channel(settings: Settings) -> str:
    """Where reports and notices go: the channel of last resort, in shadow mode the shadow channel."""
    slack = settings.file.slack
    return (slack.shadow_channel or slack.channel) if settings.file.mode == "shadow" else slack.channel


def weekly_of(
    settings: Settings, store: Store, clock: Clock, outbox: Outbox, directory: DirectoryCache, channels: ChannelNames,
    experiments: LiveExperiments,
) -> WeeklyReports:  # fmt: skip
    return WeeklyReports(
        store, settings.file.workspace, clock, ZoneInfo(settings.file.timezone),
        outbox=outbox, directory=directory, channel=partial(channels.channel_id, report_channel(settings)),
        incident_readers=lambda source, service: access_of(settings, settings.file.sources.get(source)).of(service)[0],
        change_readers=change_readers_of(settings), experiments=experiments,
    )  # fmt: skip


def watch_of(
    settings: Settings, store: Store, clock: Clock, outbox: Outbox, channels: ChannelNames, experiments: LiveExperiments
) -> CutlineWatch:
    """Pauses are told in the report's channel and in that of the team that owns the experiment."""

    async def told_in(owner: str) -> list[str]:
        team = settings.file.teams.get(owner)
        names = [report_channel(settings)]
        if team is not None and team.channel and settings.file.mode == "live":
            names.append(team.channel)
        return list(dict.fromkeys([await channels.channel_id(name) for name in names]))

    return CutlineWatch(store, settings.file.workspace, clock, experiments, outbox, told_in)


def models_of(settings: Settings) -> dict[Use, tuple[Pin, ...]]:
    """The approved pin per use, as SITREP_MODEL, SITREP_MODEL_URL and the models file say; none without a key or an
    address. The file is read in any case: what is not pinned is refused at start-up."""
    path = settings.secrets.models_file
    models = pins.read(path.read_text(encoding="utf-8") if path else prompts.models_text(), str(path or "models.toml"))
    if settings.secrets.openai_api_key is None and settings.secrets.model_url is None:
        return {}
    first = models.choose("triage", settings.secrets.model, settings.secrets.model_url)
    return {use: (first,) for use in get_args(Use) if use in first.uses}


async def build_gateway(
    settings: Settings, store: SqliteStore, clock: Clock, egress: Egress, redactor: Redactor, stack: AsyncExitStack
) -> Gateway:
    """The gateway with an endpoint per pin; what an earlier process left reserved is settled in full."""
    file, chosen = settings.file, models_of(settings)
    key = settings.secrets.openai_api_key
    endpoints: dict[str, ModelEndpoint] = {}
    for pin in {pin.name: pin for chain in chosen.values() for pin in chain}.values():
        transport = httpx2_async_transport(egress, "model")
        made = OpenAI("model", pin.endpoint, key.get_secret_value() if key else None, transport, pin.server)
        stack.push_async_callback(made.aclose)
        endpoints[pin.name] = made
    gateway = Gateway(
        store, clock, chosen, endpoints,
        ceilings=Ceilings(
            incident_usd=file.budget.usd_per_incident, day_usd=file.budget.usd_per_day,
            month_usd=file.budget.usd_per_month,
            team_month_usd={n: t.usd_per_month for n, t in file.teams.items() if t.usd_per_month is not None},
        ),
        limits=GatewayLimits(
            attempt_seconds=file.timeouts.model_attempt_seconds,
            transcripts_kept=timedelta(days=file.retention.transcripts_days),
        ),
        redact=lambda text: redactor.redact(text).text,
    )  # fmt: skip
    stack.push_async_callback(gateway.aclose)
    await gateway.recover(file.workspace, frozenset())  # before the engine starts: no workflow of ours is alive
    return gateway


def build_summarise(
    settings: Settings, gateway: Gateway, routing: Routing, redactor: Redactor, key: bytes
) -> Summarise:
    return Summarise(
        gateway=gateway,
        prompt=prompts.load("triage", 1),
        fence_key=key,
        guards=Guards(
            redact=lambda text: redactor.redact(text).text,
            suspicious=lambda text: redactor.redact(text).suspicious,
        ),
        token_budget=settings.file.budget.tokens_per_triage,
        deadline_seconds=settings.file.timeouts.model_seconds,
        team=routing.team,
    )


def install_metrics() -> Callable[[], str]:
    """Metrics of this process in Prometheus' text form; no exporter of its own listens."""
    from opentelemetry import metrics
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import generate_latest

    metrics.set_meter_provider(MeterProvider(metric_readers=[PrometheusMetricReader()]))
    return lambda: generate_latest().decode()


async def build(settings: Settings, stack: AsyncExitStack, *, checkpoint: Checkpoint | None = None) -> App:
    """Open everything. What fails here fails with a sentence; what was opened before it is closed by the stack."""
    clock = SystemClock()
    file = settings.file
    keys = secret_keys(settings)
    egress = egress_of(settings, [pin.endpoint for chain in models_of(settings).values() for pin in chain])
    store = SqliteStore.open(settings.home / "sitrep.db")
    stack.push_async_callback(store.close)
    book = Book(store, file.workspace)
    redactor = Redactor(keys)
    worker = WarmWorker(keys)
    stack.callback(worker.close)
    slack = await _slack(settings, egress, stack)
    sources_of_groups = group_sources(settings, egress, stack)
    directory = directory_of(settings, store, SlackDirectory(slack.web), clock, sources_of_groups)
    stack.push_async_callback(directory.close)
    pagerduty = _pagerduty(settings, egress, stack)
    sources = [*_sources(settings, egress, stack, pagerduty), *_stored_alerts(settings, store, clock)]
    engine = Engine(settings.home, clock, checkpoint=checkpoint)
    late: dict[str, RefreshFlow] = {}  # the outbox asks the flow that writes into it
    outbox = Outbox(
        store, file.workspace, SlackPoster(slack.web), clock,
        limits=OutboxLimits(
            coalesce=file.timeouts.coalesce_seconds,
            slack_down=file.timeouts.slack_down_seconds,
            blocks=file.slack.blocks,
        ),
        repermit=lambda target: late["refresh"].repermit(target),
        note_text=lambda target: late["refresh"].note_text(target),
        notes=pagerduty if file.pagerduty.fallback_note else None,
        checkpoint=checkpoint,
    )  # fmt: skip
    routing = routing_of(settings)
    channels = ChannelNames(slack.web)
    stack.push_async_callback(channels.close)
    await channels.channel_id(routing.default_channel)  # reads every channel of the app: no incident waits for it
    gateway = await build_gateway(settings, store, clock, egress, redactor, stack)
    experiments = await experiments_of(settings, store, clock)
    parts = Parts(
        book=book,
        clock=clock,
        routing=routing,
        collector=Collector(
            sources, clock, services=service_names(settings), owner=routing.team,
            alert_readers=alert_readers_of(settings), declared_edges=declared_edges(settings),
        ),
        directory=directory,
        worker=worker,
        cards=outbox,
        assign=experiments,
        summarise=Pausable(build_summarise(settings, gateway, routing, redactor, keys[0]), experiments.paused),
        channel_id=channels.channel_id,
        link_hosts=tuple(link_hosts(settings)),
        timeouts=Timeouts(
            collecting=file.timeouts.collecting_seconds, publish_wait=file.timeouts.publish_wait_seconds,
            late_source=file.timeouts.late_source_seconds, permit=file.timeouts.permit_seconds,
        ),
        shadow=file.mode == "shadow",
    )  # fmt: skip
    refresh = late["refresh"] = RefreshFlow(parts)
    triage = TriageFlow(parts)
    watch = watch_of(settings, store, clock, outbox, channels, experiments)

    async def run_triage(steps: Steps, incident_id: str, n: int) -> dict[str, Any]:
        recorded = await triage.run(steps, incident_id, n)
        watch.triage_recorded()
        return recorded

    engine.register("triage", run_triage)
    engine.register("refresh", refresh.run)

    async def start(wanted: Start) -> None:
        workflow_id = f"{wanted.kind}:{wanted.incident_id}:{wanted.key}"
        argument: str | int = int(wanted.key) if wanted.kind == "triage" else wanted.key
        await engine.start(wanted.kind, workflow_id, wanted.incident_id, argument, priority=wanted.severity)

    async def neighbours() -> Mapping[str, frozenset[str]]:
        learnt = await topology.learnt(store, file.workspace, clock.now())
        return topology.neighbours([*learnt, *declared_edges(settings)])

    drainer = Drainer(store, file.workspace, routing, clock, start, neighbours, checkpoint, rules_of(settings))

    async def intake(signals: Sequence[Signal]) -> int:
        new = await store_signals(store, file.workspace, signals)
        drainer.wake()
        return new

    async def polled(signals: Sequence[Signal]) -> int:
        """What the poller read has passed no door: it is redacted here, before it is stored."""
        return await intake([redacted_signal(signal, partial(redact_value, redactor)) for signal in signals])

    await worker.warm()
    await engine.launch()
    stack.push_async_callback(engine.close)
    readers = AudienceEvents(store, file.workspace, directory, clock, start)
    rounds = Rounds(
        parts,
        engine,
        directory,
        readers,
        recheck_seconds=file.timeouts.recheck_seconds,
        retention=lambda now: enforce(store, file.workspace, file.retention.model_dump(), now),
        channels=channels_of(settings),
        weekly=weekly_of(settings, store, clock, outbox, directory, channels, experiments).send_due,
    )
    views = Views(parts, triage)
    desk = IncidentDesk(
        parts, views, directory, wake=drainer.wake, acknowledger=pagerduty, model=partial(_model_sentence, gateway),
        waiting=outbox.waiting, switch=KillSwitch(store, file.workspace, clock, experiments),
        admins=frozenset(file.admins.groups),
    )  # fmt: skip
    routes, slack_loops = _slack_door(settings, slack, egress, desk, readers, outbox, clock, stack)
    web = create_app(
        doors=_doors(settings, egress, stack),
        intake=intake,
        redact_small=lambda payload: redact_value(redactor, payload),
        redact_large=lambda payload: worker.run(warm_redact_value, payload),
        clock=clock,
        ready=partial(_not_ready, outbox),
        metrics=install_metrics(),
        tokens=[(name, token.get_secret_value()) for name, token in settings.secrets.api_tokens],
        incident_view=IncidentView(views, {n: frozenset(t.groups) for n, t in file.tokens.items()}).view,
        extra_routes=routes,
    )
    app = App(settings, clock, store, book, engine, outbox, drainer, directory, parts, refresh, readers, web, {})
    app.loops = {
        "drainer": drainer.run,
        "outbox": outbox.run,
        "rounds": rounds.run,
        "cutlines": watch.run,
        "readers": readers.run,
        **slack_loops,
    }
    if pagerduty is not None:
        every = file.timeouts.poll_seconds if file.pagerduty.intake == "poll" else file.timeouts.reconcile_seconds
        app.loops["poller"] = Poller(pagerduty, store, file.workspace, clock, polled, every).run
    return app


def _model_sentence(gateway: Gateway) -> str:
    pin = gateway.pin("triage")
    if pin is None:
        return "no model is configured"
    states = {one["breaker"] for one in gateway.state().values()} - {"closed"}
    return f"{pin.name}, {'not asked for now: it failed too often' if states else 'answering'}"


async def _not_ready(outbox: Outbox) -> Mapping[str, str]:
    """What is not in order, for load balancers and `doctor`."""
    waiting = await outbox.waiting()
    return {"outbox": f"{waiting} posts wait"} if waiting > 1000 else {}


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: it would end the process by the signal once more."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings, *, checkpoint: Checkpoint | None = None) -> None:
    """Run until SIGTERM or SIGINT; what is in flight stays durable and goes on at the next start."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        app = await build(settings, stack, checkpoint=checkpoint)
        server = _Server(
            uvicorn.Config(
                app.web, host=settings.secrets.bind, port=settings.secrets.port, log_level="warning", access_log=False,
                timeout_keep_alive=75, lifespan="off", log_config=None,
            )
        )  # fmt: skip
        tasks: dict[str, asyncio.Future[object]] = {
            name: asyncio.ensure_future(loop()) for name, loop in app.loops.items()
        }
        tasks["web"] = asyncio.ensure_future(server.serve())
        tasks["stop"] = asyncio.ensure_future(stop.wait())
        log.info("listening on http://%s:%s", settings.secrets.bind, settings.secrets.port)
        try:
            await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            for name, task in tasks.items():
                if name != "stop" and task.done():
                    failed = None if task.cancelled() else task.exception()
                    why = f"with {type(failed).__name__}" if failed else "by itself"
                    raise SitrepError(f"the {name} part ended {why}; is port {settings.secrets.port} free?")
        finally:
            server.should_exit = True
            await asyncio.wait([tasks["web"]], timeout=5)
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
