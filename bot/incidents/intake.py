"""From stored signals to incidents, and from incidents to workflows: the drainer.

A signal is `new` when stored, `applied` when its incident was changed in one transaction with it, and `done` when the
workflows that follow from it were started. A crash between any two of these loses nothing: the drainer goes on from
the state it finds, and starting a workflow twice under one id is one workflow.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from bot import telemetry
from bot.clock import Clock
from bot.errors import SitrepError
from bot.incidents.applying import Applier, Start
from bot.incidents.correlate import Rules
from bot.incidents.routing import Routing
from bot.store import Row, Store

log = logging.getLogger(__name__)

BATCH = 200
MAX_STARTS = 5
"""Starts of the process that a signal may outlive unfinished before it is set aside."""
LOOK_AGAIN_SECONDS = 5.0
APART_SECONDS = 0.05
"""Between two drains: the first of a burst begins at once, what follows shares transactions."""


class Drainer:
    """Applies stored signals in order, one workspace, one drainer at a time, and starts what follows."""

    def __init__(
        self,
        store: Store,
        workspace_id: str,
        routing: Routing,
        clock: Clock,
        start: Callable[[Start], Awaitable[None]],
        neighbours: Callable[[], Awaitable[Mapping[str, frozenset[str]]]],
        checkpoint: Callable[[str], None] | None = None,
        rules: Rules | None = None,
    ) -> None:
        """`rules` say how close alerts of one incident are."""
        self._applier = Applier(workspace_id, routing, rules or Rules(), clock)
        self._checkpoint = checkpoint or (lambda _: None)
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._start = start
        self._neighbours = neighbours
        self._awake = asyncio.Event()
        self._counted = False
        self._careful = False

    def wake(self) -> None:
        """New signals were stored."""
        self._awake.set()

    async def run(self) -> None:
        """Drain now, whenever woken, and every few seconds, since a command at the shell cannot wake it. A store that
        fails is tried again; nothing is dropped."""
        loop = asyncio.get_running_loop()
        while True:
            self._awake.clear()
            began = loop.time()
            try:
                if not self._counted:
                    self._counted = await self._count_starts()
                await self.drain()
            except Exception as failed:  # noqa: BLE001 - a loop that must not end; only the type is ours to log
                log.error("draining signals failed with %s; trying again in 1 s", type(failed).__name__)
                await self._clock.sleep(1)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    await self._awake.wait()
            await asyncio.sleep(began + APART_SECONDS - loop.time())

    async def drain(self) -> int:
        """Apply and start everything that is stored now; returns how many signals were applied."""
        total = 0
        while True:
            neighbours = await self._neighbours()
            self._checkpoint("drain.before")
            count = await self._applied(neighbours)
            self._checkpoint("drain.applied")
            await self._start_applied()
            self._checkpoint("drain.started")
            total += count
            if count < BATCH:
                return total

    async def _applied(self, neighbours: Mapping[str, frozenset[str]]) -> int:
        """How many signals were applied. A batch is one transaction; one signal in it that cannot be applied must not
        keep the others, so they are then taken one by one, and so is what outlived several starts of the process."""
        if not self._careful:
            try:
                return await self._store.transaction(partial(self._applier.batch, neighbours=neighbours, most=BATCH))
            except (SitrepError, sqlite3.Error):
                raise  # the store's own trouble: tried again as it is
            except Exception as failed:  # noqa: BLE001 - whatever a signal holds; which one it was is found below
                log.error("a batch of signals failed with %s; applying them one by one", type(failed).__name__)
        count = 0
        for row in await self._unfinished("new"):
            await self._trying(row, 1)
            try:
                count += await self._store.transaction(partial(self._applier.batch, neighbours=neighbours, most=1))
            except (SitrepError, sqlite3.Error):
                raise
            except Exception as failed:  # noqa: BLE001 - the same
                await self._set_aside(row, type(failed).__name__)
                count += 1
            else:
                await self._trying(row, 0)
        return count

    async def _unfinished(self, state: str) -> list[Row]:
        return await self._store.query(
            "SELECT delivery_key, source, trying, starts, note FROM signals WHERE workspace_id = :w AND state = :s"
            " ORDER BY seq LIMIT :n",
            {"w": self._workspace_id, "s": state, "n": BATCH},
        )

    async def _trying(self, row: Row, value: int) -> None:
        """Marks the one signal that is being worked on, so that the next start of the process knows which it was."""
        await self._store.upsert("signals", [self._key(row) | {"trying": value}])

    async def _set_aside(self, row: Row, why: str) -> None:
        log.error("signal %s of %s was set aside: %s; it is kept", row["delivery_key"], row["source"], why)
        telemetry.counter(telemetry.SIGNALS_SET_ASIDE).add(1, {telemetry.SOURCE: row["source"]})
        await self._store.upsert("signals", [self._key(row) | {"state": "failed", "trying": 0}])

    async def _count_starts(self) -> bool:
        """Once a start of the process: what the last one left unfinished has outlived one more. Always true."""
        where = "WHERE workspace_id = :w AND state IN ('new', 'applied')"
        await self._store.transaction(
            lambda tx: tx.execute(f"UPDATE signals SET starts = starts + 1 {where}", {"w": self._workspace_id})  # noqa: S608
        )
        rows = await self._store.query(
            f"SELECT delivery_key, source, starts, trying FROM signals {where} AND starts >= :n",  # noqa: S608
            {"w": self._workspace_id, "n": MAX_STARTS},
        )
        self._careful = bool(rows)
        for row in rows:
            if row["trying"] and row["starts"] > MAX_STARTS:
                await self._set_aside(row, f"the process died of it {MAX_STARTS} times")
        return True

    async def _start_applied(self) -> None:
        rows = await self._store.query(
            "SELECT delivery_key, note FROM signals WHERE workspace_id = :w AND state = 'applied' ORDER BY seq",
            {"w": self._workspace_id},
        )
        for row in rows:
            if self._careful:
                await self._trying(row, 1)
            for start in json.loads(row["note"] or "[]"):
                await self._start(Start(**start))
            await self._store.upsert("signals", [self._key(row) | {"state": "done"}])

    def _key(self, row: Row) -> dict[str, Any]:
        return {"workspace_id": self._workspace_id, "delivery_key": row["delivery_key"]}
