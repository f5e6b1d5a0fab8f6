"""What monitoring bots wrote in the alert channels while nobody listened: read at the start, after a lost connection,
and every few minutes, since Slack drops events that could not be delivered.

How far a channel was read is a cursor in `notices`, which moves only after the messages are stored; what was heard
already has the same delivery key. A channel that is watched for the first time is read from now on.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from bot.clock import Clock
from bot.store import Store
from bot.store.values import to_text, to_time
from integrations.errors import IntegrationError

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(hours=24)
"""What is older is not read: an alert of yesterday is no news."""
MESSAGES = 1000
"""Of one channel in one reading, the newest."""
OVERLAP = timedelta(seconds=60)
"""Read twice, since Slack's clock is not ours."""


class Written(Protocol):
    """Messages of a channel, oldest first, and whether they are all of them."""

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def whole(self) -> bool: ...


class Missed:
    """Reads alert channels for the `Ear`, one workspace."""

    def __init__(
        self,
        store: Store,
        workspace_id: str,
        clock: Clock,
        *,
        watched: Callable[[], Awaitable[Sequence[str]]],
        history: Callable[[str, datetime, int], Awaitable[Written]],
        hear: Callable[[Sequence[Mapping[str, Any]]], Awaitable[int]],
        every_seconds: float,
    ) -> None:
        """`history`: channel, since and at most how many. `hear`: messages with their channel, as an event has
        it, oldest first; returns how many were news."""
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._watched = watched
        self._history = history
        self._hear = hear
        self._every_seconds = every_seconds
        self._awake = asyncio.Event()
        self._failing: set[str] = set()

    def wake(self) -> None:
        """Events may have been missed: read now."""
        self._awake.set()

    async def run(self) -> None:
        """For ever; a channel that cannot be read is said once and read again."""
        while True:
            self._awake.clear()
            await self.look()
            sleeping = asyncio.ensure_future(self._clock.sleep(self._every_seconds))
            waking = asyncio.ensure_future(self._awake.wait())
            try:
                await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleeping.cancel()
                waking.cancel()

    async def look(self) -> int:
        """Every channel once; returns how many messages were news."""
        new = 0
        try:
            channels = await self._watched()
        except IntegrationError as failed:
            log.warning("alert channels cannot be read: %s", failed.message)
            return 0
        for channel in channels:
            try:
                new += await self._channel(channel)
                self._failing.discard(channel)
            except Exception as failed:  # noqa: BLE001 - a loop that must not end; the cursor has not moved
                if channel not in self._failing:
                    said = failed.message if isinstance(failed, IntegrationError) else type(failed).__name__
                    log.warning("what was written in the alert channel %s cannot be read: %s", channel, said)
                self._failing.add(channel)
        return new

    async def _channel(self, channel: str) -> int:
        now = self._clock.now()
        known = await self._known(channel)
        if known is None:
            await self._remember(channel, now)
            return 0
        since = max(known - OVERLAP, now - LOOK_BACK)
        read = await self._history(channel, since, MESSAGES)
        new = await self._hear([{**message, "channel": channel} for message in read.messages])
        if not read.whole and len(read.messages) < MESSAGES:
            return new  # the older ones are due: asked again from the same place
        if not read.whole:
            log.warning("the alert channel %s has more than %d messages; the newest were read", channel, MESSAGES)
        await self._remember(channel, now)
        if new:
            log.info("%d alerts were written in %s while nobody listened", new, channel)
        return new

    async def _known(self, channel: str) -> datetime | None:
        rows = await self._store.query(
            "SELECT detail FROM notices WHERE workspace_id = :w AND id = :id",
            {"w": self._workspace_id, "id": f"cursor:channel:{channel}"},
        )
        return to_time(json.loads(rows[0]["detail"])["read_to"]) if rows else None

    async def _remember(self, channel: str, now: datetime) -> None:
        row = {
            "workspace_id": self._workspace_id, "id": f"cursor:channel:{channel}", "kind": "cursor",
            "detail": {"read_to": to_text(now)}, "created_at": now,
        }  # fmt: skip
        await self._store.upsert("notices", [row])
