"""The outside systems as the settings name them: egress, doors, directories, Slack, traces."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
from slack_sdk.web.async_client import AsyncWebClient
from starlette.routing import Route

from bot import telemetry
from bot.cards.outbox import Outbox
from bot.clock import Clock
from bot.errors import ConfigurationError
from bot.flows.audience import AudienceEvents
from bot.flows.heard import Ear
from bot.flows.missed import Missed
from bot.listeners.app import Listeners
from bot.listeners.desk import Desks
from bot.listeners.http import slack_route
from bot.listeners.socket import SocketMode
from bot.settings import Settings
from bot.store import Store
from bot.trust.directory import DirectoryCache
from bot.trust.principals import Limits
from bot.trust.redaction import Redactor
from bot.wiring.changes import change_doors
from bot.wiring.sources import topics_of
from integrations.alerts.doors import SENDERS, door_for, generic_door
from integrations.alerts.sns import SnsDoor, fetch_by, origin_of_topic
from integrations.collector import Collector
from integrations.directories.github import GitHubTeams
from integrations.directories.pagerduty import PagerDutyTeams
from integrations.directories.scim import ScimExport
from integrations.http import Egress, Verdict, aiohttp_session, origin_of
from integrations.pagerduty import PagerDutyDoor
from integrations.ports import Directory, GroupSource, SignalDoor
from integrations.slack import (
    SlackReplies,
    SlackWeb,
    verify_signature,
    web_client,
)

if TYPE_CHECKING:
    from bot.tracing import SpanSink, Traces

log = logging.getLogger(__name__)


SLACK_HOSTS = (
    "https://slack.com", "https://hooks.slack.com", "https://files.slack.com",
    "https://wss-primary.slack.com", "https://wss-backup.slack.com", "https://wss-mobile.slack.com",
)  # fmt: skip
"""The Web API, private answers, files, and where `apps.connections.open` sends Socket Mode."""


NO_BOT_TOKEN = "SLACK_BOT_TOKEN is not set; it is the app's bot token (xoxb-…)"  # noqa: S105 - a sentence

PUBLIC_HOSTS = (*SLACK_HOSTS, "https://api.pagerduty.com", "https://api.github.com", "https://api.openai.com")
"""Addresses that the code knows by itself; they must resolve to public ones."""


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


class EgressBook:
    """Counts every outbound request by host, caller and verdict; logs who calls a host first, and every refusal."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()

    def heard(self, host: str, caller: str, verdict: Verdict) -> None:
        labels = {telemetry.SERVER: host, telemetry.CALLER: caller, telemetry.VERDICT: verdict}
        telemetry.counter(telemetry.EGRESS).add(1, labels)
        if verdict == "refused":
            log.warning("egress: %s wanted to call %r, which no setting allows; nothing was sent", caller, host)
        elif verdict == "sent" and (host, caller) not in self._known:
            self._known.add((host, caller))
            log.info("egress: %s calls %s", caller, host)


def egress_of(settings: Settings, model_endpoints: Sequence[str] = ()) -> Egress:
    """Everything that may be called, exactly as it is written in the settings."""
    named = [settings.secrets.slack_api_url, settings.secrets.pagerduty_api_url, settings.secrets.github_api_url]
    named += [source.url for source in settings.file.sources.values() if source.url]
    named += [server.url for server in settings.file.mcp.values() if server.url]
    named += [url for url in (settings.secrets.model_url, settings.file.telemetry.otlp_url, *model_endpoints) if url]
    known = {origin_of(url) for url in PUBLIC_HOSTS}
    allowed = [url for url in named if origin_of(url) not in known]
    ca_file = str(settings.secrets.ca_file) if settings.secrets.ca_file else None
    try:
        public = (*PUBLIC_HOSTS, *map(origin_of_topic, topics_of(settings)))
    except ValueError as wrong:
        raise ConfigurationError([f"[sources.cloudwatch_sns] allow.topics: {wrong}"]) from wrong
    return Egress(allowed, public, ca_file=ca_file, heard=EgressBook().heard)


def doors_of(settings: Settings, egress: Egress, stack: AsyncExitStack) -> list[SignalDoor]:
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
    doors += change_doors(settings)
    if topics := topics_of(settings):
        doors.append(SnsDoor(topics, fetch_by(egress, topics, stack)))
    return doors


@dataclass(frozen=True, slots=True)
class SlackParts:
    """One client on one session: for posting, for Bolt, for private answers."""

    client: AsyncWebClient
    web: SlackWeb
    session: aiohttp.ClientSession


async def slack_of(settings: Settings, egress: Egress, stack: AsyncExitStack) -> SlackParts:
    token = settings.secrets.slack_bot_token
    if token is None:
        raise ConfigurationError([NO_BOT_TOKEN])
    session = aiohttp_session(egress, "slack")
    stack.push_async_callback(session.close)
    client = web_client(token.get_secret_value(), settings.secrets.slack_api_url, session)
    return SlackParts(client, SlackWeb(client), session)


def slack_door(
    settings: Settings, slack: SlackParts, egress: Egress, desks: Desks, readers: AudienceEvents, outbox: Outbox,
    clock: Clock, redactor: Redactor, gone: Callable[[str], Awaitable[None]], stack: AsyncExitStack,
    ear: Ear | None = None, missed: Missed | None = None,
) -> tuple[list[Route], dict[str, Callable[[], Awaitable[None]]]]:  # fmt: skip
    """Commands, buttons and events: a loop for Socket Mode, or a route for signed HTTP."""
    replies = SlackReplies(slack.web, slack.session, settings.secrets.slack_api_url)
    listeners = Listeners(
        desks, replies, readers, outbox.form, clock, lambda text: redactor.redact(text).text, gone, ear
    )
    stack.push_async_callback(listeners.close)
    bolt = listeners.bolt(slack.client)
    loops: dict[str, Callable[[], Awaitable[None]]] = {}
    if missed is not None:
        loops["alert channels"] = missed.run

    async def reconnected() -> None:
        if missed is not None:
            missed.wake()
        await readers.reconnected()

    token = settings.secrets.slack_app_token
    if settings.file.slack.mode == "socket":
        if token is None:
            log.warning("SLACK_APP_TOKEN is not set: posts work, commands and buttons do not")
            return [], loops
        socket = SocketMode(
            bolt, token.get_secret_value(), lambda: aiohttp_session(egress, "slack socket", 30.0), reconnected
        )
        return [], {"socket": socket.run, "requests": listeners.run, **loops}
    secrets_ = [secret.get_secret_value() for secret in settings.secrets.slack_signing_secrets]
    route = slack_route(bolt, partial(verify_signature, secrets_), clock, reconnected)
    return [route], {"requests": listeners.run, **loops}


def traces_of(settings: Settings, clock: Clock, egress: Egress, stack: AsyncExitStack) -> Traces | None:
    """Traces to the collector and the file of the settings; None, and no tracing at all, without either."""
    from bot import __version__, tracing  # the SDK is heavy, and most installations want no traces

    wanted = settings.file.telemetry
    sinks: list[SpanSink] = []
    if wanted.otlp_url:
        token = settings.secrets.system_tokens.get("collector")
        collector = Collector(wanted.otlp_url, egress, token.get_secret_value() if token else None)
        stack.push_async_callback(collector.aclose)
        sinks.append(collector.export)
    if wanted.spans_file:
        sinks.append(tracing.to_file(wanted.spans_file))
    if not sinks:
        return None
    limits = tracing.TraceLimits(share=wanted.share, slow_seconds=wanted.slow_seconds)
    traces = tracing.install(clock, sinks, limits, __version__)
    stack.push_async_callback(traces.aclose)
    return traces
