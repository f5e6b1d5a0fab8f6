"""What `sitrep doctor` asks of others: Slack, PagerDuty, the sources, the model. It reads, and writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import aiohttp

from bot.clock import Clock
from bot.model.pins import Pin
from bot.settings import Settings
from bot.wiring.doctor_lines import Line, of_error
from bot.wiring.models import endpoints_of, models_of
from bot.wiring.values import channels_of, report_channels, service_names
from integrations.errors import Denied, IntegrationError
from integrations.http import Egress, aiohttp_session
from integrations.openai import OpenAI
from integrations.pagerduty import PagerDuty
from integrations.ports import Source
from integrations.records import Incident, Question, ServiceNames, Window
from integrations.slack import ChannelNames, SlackWeb, web_client

SCOPES = {
    "chat:write": "post and edit the card",
    "commands": "/sitrep",
    "app_mentions:read": "a question in a channel",
    "im:history": "a question in the conversation with the app",
    "channels:read": "who may read a public channel",
    "groups:read": "who may read a private channel",
    "channels:history": "find a post again whose answer was lost; alerts in `alert_channels`",
    "groups:history": "the same in private channels",
    "users:read": "who is a full member, a guest, a partner",
    "users:read.email": "match people with [groups] and PagerDuty",
    "usergroups:read": "who is in which user group",
    "files:write": "/sitrep page: a file for the one who asked; the classic report's picture",
    "im:write": "the conversation in which that file is given",
}
"""Of the bot token, as docs/slack/manifest.yaml asks for them, and what each is for."""
OPTIONAL = {
    "assistant:write": "the assistant's panel, where the plan has one",
    "groups:write": "/sitrep channel: make a private channel for an incident and invite",
    "channels:join": "join a channel that is made for an incident, with [slack] incident_channels",
}
SKEW_SECONDS = 30.0
"""From here signatures and "3 min ago" begin to be wrong."""
REFUSED_SECONDS = 240.0
"""Slack's and PagerDuty's requests are refused when their time is 300 s off."""
LOOKED_BACK = timedelta(minutes=5)
SERVICES_ASKED = 3
NAMES_SHOWN = 8


class SlackChecks:
    """Tokens, scopes, clock and channels, over one session."""

    def __init__(self, settings: Settings, egress: Egress, clock: Clock) -> None:
        self._settings = settings
        self._egress = egress
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _web(self, token: str) -> SlackWeb:
        if self._session is None:
            self._session = aiohttp_session(self._egress, "slack")
        return SlackWeb(web_client(token, self._settings.secrets.slack_api_url, self._session))

    async def bot(self) -> Sequence[Line]:
        """The bot token: whose, which scopes, and how far our clock is from Slack's."""
        token = self._settings.secrets.slack_bot_token
        if token is None:
            return [
                Line(
                    "Slack bot token",
                    "missing",
                    "SLACK_BOT_TOKEN is not set",
                    "make the app from docs/slack/manifest.yaml, install it, and set its bot token (xoxb-…)",
                )
            ]
        asked_at = self._clock.now()
        try:
            granted = await self._web(token.get_secret_value()).granted()
        except IntegrationError as wrong:
            return [
                of_error(
                    "Slack bot token",
                    wrong,
                    _if_denied(wrong, "install the app again and set SLACK_BOT_TOKEN to its new token"),
                )
            ]
        team = str(granted.identity.get("team") or granted.identity.get("team_id") or "a workspace")[:80]
        lines = [Line("Slack bot token", "ok", f"accepted by {team}")]
        if granted.scopes is None:
            lines.append(Line("Slack scopes", "ok", "this server does not say which the token has"))
        elif lacking := [scope for scope in SCOPES if scope not in granted.scopes]:
            told = ", ".join(f"{scope} ({SCOPES[scope]})" for scope in lacking)
            lines.append(
                Line(
                    "Slack scopes",
                    "failed",
                    f"missing: {told}",
                    "add them under OAuth & Permissions and install the app again",
                )
            )
        else:
            lines.append(Line("Slack scopes", "ok", f"all {len(SCOPES)} that are needed"))
        if granted.scopes is not None:
            lines += self._by_settings(granted.scopes)
        if granted.at is not None:
            lines.append(_skew((asked_at - granted.at).total_seconds()))
        return lines

    def _by_settings(self, scopes: frozenset[str]) -> list[Line]:
        """Scopes that only a setting needs."""
        slack = self._settings.file.slack
        wanted = []
        if slack.new_channels != "never":
            scope = "groups:write" if slack.new_channels == "private" else "channels:manage"
            wanted.append((scope, f'/sitrep channel, with new_channels = "{slack.new_channels}"'))
        if slack.incident_channels is not None:
            wanted.append(("channels:join", "[slack] incident_channels"))
        do = "add it under OAuth & Permissions and install the app again, or change the setting"
        return [
            Line(f"Slack scope {scope}", "warning", f"missing; it is for {what}", do)
            for scope, what in wanted
            if scope not in scopes
        ]

    async def door(self) -> Sequence[Line]:
        """How commands and buttons come in: Socket Mode's token, or the signing secret."""
        secrets = self._settings.secrets
        if self._settings.file.slack.mode == "http":
            if not secrets.slack_signing_secrets:
                return [
                    Line(
                        "Slack signing secret",
                        "missing",
                        "SLACK_SIGNING_SECRETS is not set: nothing comes in",
                        "set it from Basic Information → Signing Secret",
                    )
                ]
            odd = [one for one in secrets.slack_signing_secrets if len(one.get_secret_value()) != 32]
            if odd:
                return [
                    Line(
                        "Slack signing secret",
                        "warning",
                        "it has another length than Slack's 32 characters",
                        "copy it again from Basic Information → Signing Secret",
                    )
                ]
            return [Line("Slack signing secret", "ok", "/slack/events checks it")]
        if secrets.slack_app_token is None:
            return [
                Line(
                    "Slack app token",
                    "missing",
                    "SLACK_APP_TOKEN is not set: no commands, no buttons",
                    "generate one with connections:write under Basic Information → App-Level Tokens (xapp-…)",
                )
            ]
        try:
            await self._web(secrets.slack_app_token.get_secret_value()).call("apps.connections.open", body={})
        except IntegrationError as wrong:
            return [
                of_error(
                    "Slack app token",
                    wrong,
                    _if_denied(wrong, "generate one with connections:write and set SLACK_APP_TOKEN"),
                )
            ]
        return [Line("Slack app token", "ok", "Socket Mode opens")]

    async def channels(self) -> Sequence[Line]:
        """Each channel that the settings name: is it there, and is the app in it?"""
        token = self._settings.secrets.slack_bot_token
        if token is None:
            return []
        web = self._web(token.get_secret_value())
        names = ChannelNames(web)
        lines: list[Line] = []
        try:
            for name in dict.fromkeys([*channels_of(self._settings), *report_channels(self._settings)]):
                lines.append(await self._channel(web, names, name))
        finally:
            await names.close()
        return lines

    async def _channel(self, web: SlackWeb, names: ChannelNames, name: str) -> Line:
        title = f"channel {name}"
        try:
            channel_id = await names.find(name)
            found: Any = (await web.call("conversations.info", params={"channel": channel_id})).get("channel") or {}
        except IntegrationError as wrong:
            return of_error(title, wrong, _if_denied(wrong, f"create {name}, or invite the app to it: /invite @sitrep"))
        if found.get("is_archived"):
            return Line(title, "failed", "it is archived", "unarchive it, or name another channel in sitrep.toml")
        if found.get("is_member") is False:
            return Line(title, "failed", "the app is not in it", f"/invite @sitrep in {name}")
        kind = "private" if found.get("is_private") else "public"
        if kind == "public" and self._settings.file.mode == "shadow":
            return Line(
                title, "warning", "public: a silent week is silent for its members alone", "make it a private channel"
            )
        if found.get("is_ext_shared") or found.get("is_pending_ext_shared"):
            return Line(
                title,
                "warning",
                f"{kind}, shared with another company: cards show what they may read too",
                "name a channel of your own if cards should say more",
            )
        return Line(title, "ok", kind)


def _if_denied(wrong: IntegrationError, do: str) -> str:
    return do if isinstance(wrong, Denied) else ""


def _skew(seconds: float) -> Line:
    """`seconds`: ours less Slack's, which tells whole seconds and is as old as its answer."""
    off = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} Slack's"
    if abs(seconds) >= REFUSED_SECONDS:
        return Line("clock", "failed", f"this machine's clock is {off}: signed requests are refused", "set it by NTP")
    if abs(seconds) >= SKEW_SECONDS:
        return Line("clock", "warning", f"this machine's clock is {off}", "set it by NTP")
    return Line("clock", "ok", "agrees with Slack's")


async def pagerduty(settings: Settings, found: PagerDuty | None) -> Sequence[Line]:
    """The token, and the services that `[services]` does not name."""
    if found is None:
        return [
            Line(
                "PagerDuty",
                "warning",
                "PAGERDUTY_API_TOKEN is not set: only webhooks tell of incidents",
                "set a read-only API key; without one nothing is polled and PagerDuty gives no evidence",
            )
        ]
    try:
        services, more = await found.services()
    except IntegrationError as wrong:
        return [of_error("PagerDuty", wrong, _if_denied(wrong, "check PAGERDUTY_API_TOKEN"))]
    listed = f"{len(services)}{' or more' if more else ''} services"
    lines = [Line("PagerDuty", "ok", f"token accepted, {listed}")]
    unknown = [name or ref for ref, name in services if not (settings.service_for(ref) or settings.service_for(name))]
    if unknown:
        rest = f" and {len(unknown) - NAMES_SHOWN} more" if len(unknown) > NAMES_SHOWN else ""
        lines.append(
            Line(
                "PagerDuty services",
                "warning",
                f"not in [services]: {', '.join(unknown[:NAMES_SHOWN])}{rest}",
                "sitrep services import proposes their sections",
            )
        )
    refs = {ref for ref, _ in services} | {name for _, name in services}
    gone = sorted(
        f"{name} ({one})"
        for name, section in settings.file.services.items()
        for one in section.pagerduty
        if one not in refs
    )
    if gone and not more:
        lines.append(
            Line(
                "PagerDuty services",
                "warning",
                f"mapped, and not there: {', '.join(gone[:NAMES_SHOWN])}",
                "correct pagerduty = […] of that service, or let the token see it",
            )
        )
    return lines


async def source(settings: Settings, asked: Source, clock: Clock, deadline_seconds: float) -> Sequence[Line]:
    """Asks it as a triage would, about the last minutes and our first services."""
    now = clock.now()
    known = tuple(service_names(settings).values())[:SERVICES_ASKED] or (ServiceNames("sitrep-doctor"),)
    incident = Incident(
        workspace_id=settings.file.workspace,
        id="doctor",
        title="doctor",
        service=known[0].name,
        severity=5,
        url="",
        triggered_at=now,
    )
    name = f"source {asked.name}"
    question = Question(incident, known, Window(now - LOOKED_BACK, now), changes_since=now - LOOKED_BACK)
    seconds = min(asked.deadline_seconds, deadline_seconds)
    try:
        async with asyncio.timeout(seconds):
            found = await asked.fetch(question)
    except TimeoutError:
        return [
            Line(
                name,
                "failed",
                f"no answer in {seconds:g} s",
                f"look whether it is up, or raise [sources.{asked.name}] deadline_seconds",
            )
        ]
    except IntegrationError as wrong:
        return [of_error(name, wrong)]
    records = sum(len(batch.records) for batches in (found.spans, found.logs, found.series) for batch in batches)
    records += len(found.changes) + len(found.evidence)
    if found.notes:
        told = "; ".join(note.strip().rstrip(".") for note in found.notes[:3])
        return [Line(name, "warning", f"answered, and says: {told}", "look at the sentence; the card would say it too")]
    return [Line(name, "ok", f"answered, {records} records of the last 5 min")]


def no_sources() -> list[Line]:
    return [
        Line(
            "sources",
            "warning",
            "sitrep.toml names no system to ask for changes, traces or metrics",
            "add [sources.github], [sources.jaeger] or [sources.prometheus]; docs/integrations.md lists them",
        )
    ]


async def model(settings: Settings, egress: Egress, deadline_seconds: float) -> Sequence[Line]:
    """Whether the endpoint of every pin answers and has it. No prompt is sent: this costs nothing."""
    chosen = models_of(settings)
    if not chosen.get("triage"):
        return [Line("model", "ok", "none is configured: cards show facts without a summary")]
    pins = list({pin.name: pin for chain in chosen.values() for pin in chain}.values())
    async with AsyncExitStack() as stack:
        endpoints = endpoints_of(settings, chosen, egress, stack)
        asked = [_offered(pin, endpoints[pin.name], deadline_seconds * 0.8) for pin in pins]
        return await asyncio.gather(*asked)


async def _offered(pin: Pin, endpoint: OpenAI, seconds: float) -> Line:
    try:
        offered = await endpoint.models(seconds)
    except IntegrationError as wrong:
        return of_error("model", wrong, _if_denied(wrong, f"check the key and the address of {pin.name}"))
    if offered and not offered & {pin.name, *pin.answers_as}:
        found, advice = (
            f"the endpoint answers, and does not list {pin.name}",
            "check SITREP_MODEL and the key",
        )
        return Line("model", "warning", found, advice)
    return Line("model", "ok", f"{pin.name} is offered")
