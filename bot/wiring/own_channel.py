"""An incident's own channel among those that the app is in, asked of Slack when the incident arrives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bot.incidents.own_channel import Joined, own_channel
from bot.settings import Settings
from integrations.errors import IntegrationError
from integrations.records import Incident
from integrations.slack import ChannelNames

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
