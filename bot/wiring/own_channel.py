"""An incident's own channel: one of those that the app is in when the incident arrives, or made, or found later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from bot.cards.outbox import Outbox
from bot.flows.channels import ChannelFlow, ChannelRules, IncidentChannels
from bot.flows.engine import Engine
from bot.flows.entitled import Entitled
from bot.flows.refresh import RefreshFlow
from bot.incidents.own_channel import Joined, own_channel
from bot.settings import Settings
from integrations.errors import IntegrationError
from integrations.pagerduty import PagerDuty
from integrations.records import Incident
from integrations.slack import ChannelNames, SlackChannels, SlackWeb

log = logging.getLogger(__name__)

OWN_CHANNEL_SECONDS = 1.5
"""How long an incident's first post may wait for the list of channels that the app is in."""


def own_channel_of(
    settings: Settings, channels: ChannelNames
) -> Callable[[Incident, str | None], Awaitable[str | None]]:
    """Where Slack cannot be asked in time there is none, and the card goes by the settings."""
    slack = settings.file.slack
    looks = slack.own_channel_name is not None or slack.own_channel_by_topic

    async def find(incident: Incident, linked: str | None) -> str | None:
        if linked is None and not looks:
            return None
        try:
            async with asyncio.timeout(OWN_CHANNEL_SECONDS):
                joined = [Joined(*one) for one in await channels.joined()]
        except (IntegrationError, TimeoutError) as failed:
            log.warning("the app's channels could not be read (%s); the card goes by settings", type(failed).__name__)
            return None
        return own_channel(
            incident, linked, joined, pattern=slack.own_channel_name, by_topic=slack.own_channel_by_topic
        )

    return find


def own_channels_of(
    settings: Settings, entitled: Entitled, refresh: RefreshFlow, outbox: Outbox, engine: Engine, web: SlackWeb,
    names: ChannelNames, pagerduty: PagerDuty | None,
) -> tuple[ChannelFlow, IncidentChannels]:  # fmt: skip
    """The workflow that makes a channel, to be registered before the engine starts, and the door's side of it."""
    slack = settings.file.slack
    rules = ChannelRules(
        make=slack.new_channels, name=slack.own_channel_name, by_topic=slack.own_channel_by_topic,
        shadow=settings.file.mode == "shadow",
    )  # fmt: skip
    flow = ChannelFlow(entitled, SlackChannels(web), rules, pagerduty, refresh.write, outbox.wake)

    async def run(incident_id: str, by: str, request_id: str) -> dict[str, Any]:
        workflow_id = f"channel:{incident_id}:{request_id}"
        await engine.start("channel", workflow_id, incident_id, by, priority=1)
        return dict(await engine.wait(workflow_id))

    async def described(channel_id: str) -> Joined:
        return Joined(*await names.described(channel_id))

    async def own_id() -> str:
        return str((await web.identity()).get("user_id"))

    return flow, IncidentChannels(entitled, flow, rules, run, described, own_id)
