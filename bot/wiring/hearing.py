"""What is heard in Slack, where the settings name alert channels or a pattern of incident channels."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bot.clock import Clock
from bot.flows.heard import Ear, Heard
from bot.flows.missed import Missed
from bot.incidents.book import Book
from bot.settings import Settings
from bot.trust.redaction import Redactor
from bot.trust.redaction.values import redact_value
from integrations.records import Alert, Signal
from integrations.slack import ChannelNames
from integrations.slack.alerts import alert_of, is_from_bot
from integrations.slack.messages import written_since

if TYPE_CHECKING:
    from bot.wiring.outside import SlackParts


def ear_of(
    settings: Settings, slack: SlackParts, book: Book, clock: Clock, channels: ChannelNames, redactor: Redactor,
    intake: Callable[[Sequence[Signal]], Awaitable[int]], moved: Callable[[str, str], Awaitable[Any]],
) -> Ear | None:  # fmt: skip
    """None where nothing is to be heard: then no message is even looked at."""
    named = settings.file.slack
    if not named.alert_channels and named.incident_channels is None:
        return None
    own: list[str] = []

    async def watched() -> list[str]:
        if not own:
            own.append(str((await slack.web.identity()).get("bot_id")))
        return [await channels.channel_id(name) for name in named.alert_channels]

    def read(message: Mapping[str, Any], channel: str) -> Alert | None:
        if not is_from_bot(message) or message.get("bot_id") in own:
            return None
        return alert_of(message, channel, clock.now())

    source = settings.file.sources.get("slack")
    return Heard(
        book, clock, watched=watched, read=read, redact=partial(redact_value, redactor), intake=intake,
        own_channel=source is None or source.readers is None, pattern=named.incident_channels, join=channels.join,
        moved=None if settings.file.mode == "shadow" else moved,
    )  # fmt: skip


def missed_of(
    settings: Settings, slack: SlackParts, book: Book, clock: Clock, channels: ChannelNames, ear: Ear | None
) -> Missed | None:
    """Reads alert channels where an event did not come; None where none is watched."""
    named = settings.file.slack.alert_channels
    if ear is None or not named:
        return None

    async def watched() -> list[str]:
        return [await channels.channel_id(name) for name in named]

    return Missed(
        book.store, book.workspace_id, clock, watched=watched, history=partial(written_since, slack.web),
        hear=ear.missed, every_seconds=settings.file.timeouts.reconcile_seconds,
    )  # fmt: skip
