"""The poller: the only intake for those without a public address, reconciliation for the others.

It asks the incident source for every transition since a stored cursor and feeds the same table as the webhooks. The
cursor moves only after the signals are stored, and each round looks back a little further, since log entries may
appear late; the delivery key drops what was seen.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from bot.clock import Clock
from bot.store import Store
from bot.store.values import to_text, to_time
from integrations.errors import IntegrationError
from integrations.ports import IncidentSource
from integrations.records import Signal

log = logging.getLogger(__name__)

OVERLAP = timedelta(minutes=2)
FIRST_LOOK_BACK = timedelta(minutes=15)
"""What the very first round looks back: an incident that was just triggered when Sitrep was installed."""
LONGEST_LOOK_BACK = timedelta(days=7)
BATCH = 100


class Poller:
    """Polls one incident source for one workspace."""

    def __init__(
        self,
        source: IncidentSource,
        store: Store,
        workspace_id: str,
        clock: Clock,
        intake: Callable[[Sequence[Signal]], Awaitable[int]],
        every_seconds: float,
    ) -> None:
        self._source = source
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._intake = intake
        self._every_seconds = every_seconds
        self.last_error: str | None = None

    async def run(self) -> None:
        """Poll now and then at every interval; a source that is down is asked again, from the same cursor."""
        while True:
            try:
                await self.poll()
                self.last_error = None
            except IntegrationError as failed:
                self.last_error = failed.message
                log.warning("polling %s failed: %s", self._source.name, failed.message)
            except Exception as failed:  # noqa: BLE001 - a loop that must not end; the cursor has not moved
                self.last_error = type(failed).__name__
                log.error("polling %s failed with %s", self._source.name, type(failed).__name__)
            await self._clock.sleep(self._every_seconds)

    async def poll(self) -> int:
        """One round; returns how many signals were new."""
        began = self._clock.now()
        since = await self._cursor(began)
        new, batch = 0, []
        newest = since
        async for signal in self._source.transitions(since - OVERLAP):
            batch.append(signal)
            newest = max(newest, min(signal.occurred_at, began))
            if len(batch) >= BATCH:
                new += await self._intake(batch)
                batch = []
        if batch:
            new += await self._intake(batch)
        await self._move_cursor(max(newest, began - OVERLAP))
        return new

    @property
    def _key(self) -> str:
        return f"cursor:{self._source.name}"

    async def _cursor(self, now: datetime) -> datetime:
        rows = await self._store.query(
            "SELECT detail FROM notices WHERE workspace_id = :w AND id = :id",
            {"w": self._workspace_id, "id": self._key},
        )
        stored = to_time(json.loads(rows[0]["detail"])["since"]) if rows else now - FIRST_LOOK_BACK
        return max(min(stored, now), now - LONGEST_LOOK_BACK)

    async def _move_cursor(self, to: datetime) -> None:
        row = {
            "workspace_id": self._workspace_id, "id": self._key, "kind": "cursor",
            "detail": {"since": to_text(to)}, "created_at": self._clock.now(),
        }  # fmt: skip
        await self._store.upsert("notices", [row])
