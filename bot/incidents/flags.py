"""The watch over feature flags of systems that keep no history: what changed since the set was read before.

The set of before is a cursor in `notices`; it moves only after the changes are stored, and a change that is found twice
has the same id. The first set that is read tells of no change.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from bot.clock import Clock
from bot.store import Store
from bot.store.values import to_text, to_time
from integrations.changes.door import signal_of
from integrations.errors import IntegrationError
from integrations.flagd import FlagSet, differences
from integrations.records import Signal

log = logging.getLogger(__name__)


class FlagSource(Protocol):
    """A system that tells all its flags."""

    name: str
    link: str

    async def flags(self) -> FlagSet:
        """Raises Unavailable, Denied or Malformed."""
        ...


class FlagWatch:
    """Reads the flags of every source again and again."""

    def __init__(
        self,
        sources: Sequence[FlagSource],
        store: Store,
        workspace_id: str,
        clock: Clock,
        intake: Callable[[Sequence[Signal]], Awaitable[int]],
        every_seconds: float,
    ) -> None:
        self._sources = tuple(sources)
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._intake = intake
        self._every_seconds = every_seconds
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Look now and then at every interval; what fails is said once and looked at again."""
        while True:
            for source in self._sources:
                try:
                    await self.look(source)
                    self._failing.discard(source.name)
                except Exception as failed:  # noqa: BLE001 - a loop that must not end; the cursor has not moved
                    if source.name not in self._failing:
                        said = failed.message if isinstance(failed, IntegrationError) else type(failed).__name__
                        log.warning("reading the flags of %s failed: %s", source.name, said)
                    self._failing.add(source.name)
            await self._clock.sleep(self._every_seconds)

    async def look(self, source: FlagSource) -> int:
        """Compare once; returns how many changes were new."""
        after, now = await source.flags(), self._clock.now()
        known = await self._known(source.name)
        if known is None:
            await self._remember(source.name, after, now)
            return 0
        since, before = known
        if before and not after:
            log.warning("%s has no flags any more; a set that is empty is not believed", source.name)
            return 0
        changes = differences(source.name, before, after, since, now, source.link)
        new = 0
        if changes:
            new = await self._intake([signal_of(change, "", now) for change in changes])
        if changes or (now - since).total_seconds() > 3600:
            await self._remember(source.name, after, now)
        return new

    async def _known(self, name: str) -> tuple[datetime, FlagSet] | None:
        rows = await self._store.query(
            "SELECT detail FROM notices WHERE workspace_id = :w AND id = :id",
            {"w": self._workspace_id, "id": f"cursor:flags:{name}"},
        )
        if not rows:
            return None
        detail = json.loads(rows[0]["detail"])
        return to_time(detail["seen_at"]), detail["flags"]

    async def _remember(self, name: str, flags: FlagSet, now: datetime) -> None:
        row = {
            "workspace_id": self._workspace_id, "id": f"cursor:flags:{name}", "kind": "cursor",
            "detail": {"seen_at": to_text(now), "flags": flags}, "created_at": now,
        }  # fmt: skip
        await self._store.upsert("notices", [row])
