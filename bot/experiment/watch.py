"""The cutlines of the running experiment, checked after every triage and nightly; crossing one pauses the model.

A pause is written with its audit row in one transaction, then told once: to the channel and the owner. A process that
dies between the two tells at its next start, since what was told is remembered. Only a person resumes.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np

from bot.clock import Clock
from bot.experiment.cutlines import Crossing, crossed
from bot.experiment.design import lay_out
from bot.experiment.hypothesis import Hypothesis
from bot.experiment.live import LiveExperiments
from bot.experiment.open import complete_blocks, log_e_by_look
from bot.experiment.pauses import BY_CUTLINE, Pause, pause, read_pauses
from bot.experiment.recorded import Recorded, read_figures, read_recorded
from bot.experiment.schedule import starts_at
from bot.experiment.scores import score
from bot.experiment.units import form_units, look_at_or_before
from bot.store import Store
from bot.trust.neutralise import mrkdwn, mrkdwn_object

log = logging.getLogger(__name__)

NIGHTLY_SECONDS = 86400.0


class Says(Protocol):
    """The outbox, as a notice needs it."""

    async def say(self, target: str, channel: str, text: str, blocks: Sequence[Mapping[str, Any]]) -> int: ...


class CutlineWatch:
    """One workspace's watch. `triage_recorded` asks for a check, `run` makes it."""

    def __init__(
        self,
        store: Store,
        workspace_id: str,
        clock: Clock,
        experiments: LiveExperiments,
        outbox: Says,
        channels: Callable[[str], Awaitable[Sequence[str]]],
    ) -> None:
        """`channels(owner)`: where a pause is told, by id: the channel of last resort and the owner's own."""
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._experiments = experiments
        self._outbox = outbox
        self._channels = channels
        self._awake = asyncio.Event()

    def triage_recorded(self) -> None:
        """Check soon."""
        self._awake.set()

    async def run(self) -> None:
        """At start-up, after every triage, and at least once a day; for ever."""
        while True:
            self._awake.clear()
            try:
                await self.check()
            except Exception as failed:  # noqa: BLE001 - a loop that must not end; the next triage checks again
                log.error("checking the cutlines failed with %s", type(failed).__name__)
            await self._rest()

    async def _rest(self) -> None:
        waits = [asyncio.ensure_future(self._clock.sleep(NIGHTLY_SECONDS)), asyncio.ensure_future(self._awake.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    async def check(self) -> list[Crossing]:
        """Pause if a line is crossed, and tell what has not been told; returns the lines that are crossed now."""
        now = self._clock.now()
        running = self._experiments.running(now)
        if running is None:
            return []
        pauses = await read_pauses(self._store, self._workspace_id, running.name)
        found: list[Crossing] = []
        if all(one.resumed_at for one in pauses if one.experiment == running.name):
            found = await self._crossed(running, pauses, now)
            if found:
                await self._pause(running, found, now)
                pauses = await read_pauses(self._store, self._workspace_id, running.name)
        for one in pauses:
            if one.cutline and one.resumed_at is None:
                await self._tell(running, one, now)
        return found

    async def _crossed(self, running: Hypothesis, pauses: Sequence[Pause], now: datetime) -> list[Crossing]:
        resumed = [one.resumed_at for one in pauses if one.resumed_at and one.experiment == running.name]
        resumed_at = max(resumed, default=None)
        lines = running.cutlines
        since = now - timedelta(days=lines.window_days)
        triages, votes = await read_figures(self._store, self._workspace_id, running, since)
        e_slower = 1.0
        if lines.harm:
            recorded = await read_recorded(self._store, self._workspace_id, running, now)
            e_slower = await asyncio.to_thread(harm_since, recorded, running, now=now, resumed_at=resumed_at)
        return crossed(lines, triages=triages, votes=votes, e_slower=e_slower, now=now, resumed_at=resumed_at)

    async def _pause(self, running: Hypothesis, found: Sequence[Crossing], now: datetime) -> None:
        reason = "; ".join(one.sentence for one in found)
        made = await pause(
            self._store, self._workspace_id, experiment=running.name, by=BY_CUTLINE, reason=reason, at=now,
            cutline=found[0].cutline,
        )  # fmt: skip
        if made is not None:
            log.warning("the experiment %s is paused: %s", running.name, reason)

    async def _tell(self, running: Hypothesis, one: Pause, now: datetime) -> None:
        """Say it once in each channel."""
        for i, channel in enumerate(await self._channels(running.owner)):
            target = f"notice:pause-{one.id}-{i}"
            rows = [{"workspace_id": self._workspace_id, "id": target, "kind": "pause", "created_at": now}]
            known = await self._store.query(
                "SELECT 1 FROM notices WHERE workspace_id = :w AND id = :i", {"w": self._workspace_id, "i": target}
            )
            if known:
                continue
            text = (
                f"Summaries are paused: {one.reason}. The facts card stays. Owner: {running.owner}. "
                "Only a person resumes: /sitrep resume reason"
            )
            block = {"type": "section", "text": mrkdwn_object(mrkdwn(text, 2900))}
            await self._outbox.say(target, channel, text, [block])  # the same target again is an edit, no second post
            await self._store.insert("notices", rows, ignore=True)


def harm_since(recorded: Recorded, running: Hypothesis, *, now: datetime, resumed_at: datetime | None = None) -> float:
    """The highest e-value for longer incidents so far, at the weekly looks, as the report says it.

    After a person resumed, the bet begins anew: what was known then has been judged by them, and the e-value divided
    by the one of that moment is again an e-value for what follows.
    """
    start = starts_at(running)
    look = look_at_or_before(now, start)
    looked_at = start + look * timedelta(weeks=1)
    rows = [row for row in recorded.rows if row.triggered_at <= looked_at]
    units = form_units(rows, tau=running.tau, start=start, ordinals=recorded.ordinals)
    if not units:
        return 1.0
    before = form_units(recorded.baseline, tau=running.tau)
    strata = sorted({unit.stratum for unit in (*units, *before)})
    design = lay_out(units, start=start, strata=strata)
    values = np.array([unit.value for unit in units], dtype=np.float64)
    baseline = [(strata.index(unit.stratum), unit.value) for unit in before if not unit.excluded]
    scored = score(values[:, None], design.stratum, baseline=baseline)
    log_e = log_e_by_look(complete_blocks(design), scored.z, look)[:, 1, 0]
    if resumed_at is None:
        return math.exp(min(float(log_e.max()), 700.0))
    then = min(look_at_or_before(resumed_at, start), look)
    return math.exp(min(float((log_e[then:] - log_e[then]).max()), 700.0))
