"""Events about readers: the directory learns of them, and the cards that they touch are permitted again.

The doors call these methods with what Slack says; the clock calls `check` hourly and at start-up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bot import telemetry
from bot.clock import Clock
from bot.incidents.applying import Start
from bot.store import Store
from bot.trust.directory import DirectoryCache
from bot.trust.recheck import AudienceEvent, EventKind, plan, standing_cards, waiting
from integrations.records import Person

log = logging.getLogger(__name__)

COALESCE_SECONDS = 0.5
"""Events that touch all cards are taken together for this long: a directory sync says hundreds at once."""
COUNT_SECONDS = 5.0
"""How often the cards that still wait are counted, while some do."""


class AudienceEvents:
    """One workspace's events about readers. `start` queues a refresh; `run` is the loop for events that touch all."""

    def __init__(
        self,
        store: Store,
        workspace_id: str,
        directory: DirectoryCache,
        clock: Clock,
        start: Callable[[Start], Awaitable[None]],
    ) -> None:
        self._store = store
        self._workspace_id = workspace_id
        self._directory = directory
        self._clock = clock
        self._start = start
        self._all: AudienceEvent | None = None
        self._awake = asyncio.Event()
        self._recent: list[AudienceEvent] = []
        self._told = 0

    async def joined(self, channel_id: str, person_id: str) -> int:
        """Somebody joined a channel. Returns how many cards are checked again."""
        await self._directory.joined(channel_id, person_id)
        return await self.check("joined", channel_id)

    async def left(self, channel_id: str, person_id: str) -> None:
        """Nothing becomes forbidden by it; the next check may show more again."""
        await self._directory.left(channel_id, person_id)

    async def channel_changed(self, channel_id: str) -> int:
        """A channel was converted, shared, unshared, archived, or an invitation to share it stands."""
        await self._directory.channel_changed(channel_id)
        return await self.check("channel_changed", channel_id)

    async def groups_changed(self) -> None:
        """A user group, or who is in one, changed."""
        await self._directory.groups_changed()
        self._soon("group_changed")

    async def person_changed(self, person_id: str, person: Person | None = None) -> None:
        """Somebody was added, became guest or member, or left. What changes nothing that counts is not looked at."""
        if await self._directory.person_changed(person_id, person):
            self._soon("person_changed")

    async def reconnected(self) -> None:
        """The connection was lost for a while: events may have been missed."""
        await self._directory.reconnected()
        self._soon("reconnected")

    async def run(self) -> None:
        """For ever: check all cards when something happened that touches all."""
        while True:
            try:
                async with asyncio.timeout(COUNT_SECONDS if self._told else None):
                    await self._awake.wait()
            except TimeoutError:
                await self._count()
                continue
            await self._clock.sleep(COALESCE_SECONDS)
            event, self._all = self._all, None
            self._awake.clear()
            try:
                if event is not None:
                    await self._check(event)
            except Exception as failed:  # noqa: BLE001 - a loop that must not end; the hourly check covers the event too
                log.error("checking cards again failed with %s", type(failed).__name__)

    async def check(self, kind: EventKind, channel_id: str | None = None) -> int:
        """Queue a refresh for every card that this touches; returns how many."""
        return await self._check(AudienceEvent(kind, self._clock.now(), channel_id))

    async def waiting(self) -> int:
        """Cards that were not yet permitted again since the last events."""
        now = self._clock.now()
        return waiting(self._recent, await standing_cards(self._store, self._workspace_id, now))

    async def _count(self) -> None:
        """Tell the metric how many wait now."""
        try:
            now_waiting = await self.waiting()
        except Exception as failed:  # noqa: BLE001 - a figure; the next count tries again
            log.error("counting cards to check failed with %s", type(failed).__name__)
            return
        telemetry.level(telemetry.RECHECKS_WAITING).add(now_waiting - self._told)
        self._told = now_waiting

    def _soon(self, kind: EventKind) -> None:
        self._all = AudienceEvent(kind, self._clock.now())
        self._awake.set()

    async def _check(self, event: AudienceEvent) -> int:
        checks = plan(event, await standing_cards(self._store, self._workspace_id, event.at))
        # An earlier event of the same kind and place is answered together with this one.
        kept = [one for one in self._recent if (one.kind, one.channel_id) != (event.kind, event.channel_id)]
        self._recent = [*kept, event][-64:]
        key = f"{event.kind}-{int(event.at.timestamp() * 1000)}"
        for check in checks:
            await self._start(Start("refresh", check.card.incident_id, key, check.rank))
        telemetry.counter(telemetry.RECHECKS).add(len(checks), {telemetry.REASON: event.kind})
        if checks:
            await self._count()
            self._awake.set()  # the loop counts until none waits
        return len(checks)
