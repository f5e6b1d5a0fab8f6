"""Golden cases every night, by the running bot: a model that got worse beneath its name is noticed before an incident.

Each use's first model is asked its prompt's cases through the bot's own gateway, with the priority of batch: a live
incident takes the next slot, and the ceilings of [budget] for the use `batch` hold. What came of it is kept in
`notices` (kind `evals`) and counted; where the bar does not hold it is said in Slack, once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from bot import telemetry
from bot.clock import Clock
from bot.evals.golden import Asking, Case, Paid, cases, play, problems
from bot.model.call import ModelCall, Reply
from bot.model.gateway import Gateway
from bot.model.pins import Pin, Use
from bot.store import Store
from bot.trust.neutralise import mrkdwn, mrkdwn_object
from bot.types import ModelOutcome, Usage

log = logging.getLogger(__name__)

BAR = 0.9
"""Of the cases that were answered, as for `make evals`."""
LATEST = timedelta(hours=6)
"""A bot that was down at the time makes it up within so long; later it is no longer night."""
ROUND_SECONDS = 60.0
_NOT_ASKED = frozenset({"budget", "not_admitted", "deadline", "breaker", "off"})
"""Ends that say nothing about the model."""


class Says(Protocol):
    """The outbox, as a notice needs it."""

    async def say(self, target: str, channel: str, text: str, blocks: Sequence[Mapping[str, Any]]) -> int: ...


@dataclass(frozen=True, slots=True)
class _Pinned:
    """`Asks` for one pin, whatever the use's chain is: the cases of triage are paid as batch and asked of its model."""

    gateway: Gateway
    pin: Pin

    async def complete(self, call: ModelCall, deadline_seconds: float) -> Reply:
        return await self.gateway.complete(call, deadline_seconds, self.pin)

    async def conclude(
        self, workspace_id: str, use: Use, usage: Usage, outcome: ModelOutcome, reason: str = ""
    ) -> None:
        await self.gateway.conclude(workspace_id, use, usage, outcome, reason)


@dataclass(slots=True)
class Row:
    """One use of one night."""

    use: str
    pin: str
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    not_asked: int = 0
    usd: float = 0.0

    @property
    def holds(self) -> bool:
        asked = self.passed + len(self.failed)
        return asked == 0 or self.passed >= BAR * asked

    def as_json(self) -> dict[str, Any]:
        return {
            "use": self.use, "pin": self.pin, "passed": self.passed, "failed": self.failed[:50],
            "not_asked": self.not_asked, "usd": round(self.usd, 6), "holds": self.holds,
        }  # fmt: skip


class NightlyEvals:
    """`run` is its loop; `play_due` plays once for each local day at which it is due."""

    def __init__(
        self, store: Store, workspace_id: str, clock: Clock, zone: ZoneInfo, at: time, gateway: Gateway, outbox: Says,
        channels: Callable[[str | None], Awaitable[Sequence[str]]], deadline_seconds: float,
        listed: Sequence[Case] | None = None,
    ) -> None:  # fmt: skip
        """`at` is local; `channels(None)` is where a bar that does not hold is said, by id."""
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._zone = zone
        self._at = at
        self._gateway = gateway
        self._outbox = outbox
        self._channels = channels
        self._deadline_seconds = deadline_seconds
        self._cases = cases() if listed is None else listed

    async def run(self) -> None:
        while True:
            try:
                await self.play_due()
            except Exception as failed:  # noqa: BLE001 - a loop that must not end; the next round tries again
                log.error("the nightly evals failed with %s", type(failed).__name__)
            await self._clock.sleep(ROUND_SECONDS)

    async def play_due(self) -> list[Row] | None:
        """Play the cases if tonight's are due and not done. None: nothing was due."""
        night = self._due(self._clock.now())
        if night is None:
            return None
        key = f"evals:{night}"
        done = await self._store.query(
            "SELECT id FROM notices WHERE workspace_id = :w AND id = :id", {"w": self._workspace_id, "id": key}
        )
        if done:
            return None
        # The run's name is the night's: a process that dies in the middle asks each case at most once more.
        rows = [row for use in dict.fromkeys(case.use for case in self._cases) if (row := await self._use(use, night))]
        if not rows:
            return None
        if not all(row.holds for row in rows):
            await self._say(key, rows)
        detail = {"night": night, "rows": [row.as_json() for row in rows]}
        kept = {"workspace_id": self._workspace_id, "id": key, "kind": "evals", "detail": detail}
        await self._store.insert("notices", [{**kept, "created_at": self._clock.now()}], ignore=True)
        log.info("nightly evals: %s", "; ".join(f"{row.use} {row.passed} passed" for row in rows))
        return rows

    def _due(self, now: datetime) -> str | None:
        """The local day whose time has come, at most LATEST ago."""
        local = now.astimezone(self._zone)
        for day in (local.date(), local.date() - timedelta(days=1)):
            begins = datetime.combine(day, self._at, self._zone)
            if begins <= local < begins + LATEST:
                return day.isoformat()
        return None

    async def _use(self, use: Use, night: str) -> Row | None:
        pin = self._gateway.pin(use)
        if pin is None:
            return None
        row = Row(use, pin.name)
        asking = Asking(
            Paid(_Pinned(self._gateway, pin), self._workspace_id), f"night:{night}",
            deadline_seconds=self._deadline_seconds,
        )  # fmt: skip
        for case in self._cases:
            if case.use != use:
                continue
            played = await play(case, asking)
            row.usd += played.usage.cost_usd if played.usage else 0.0
            wrong = problems(case, played, scripted=False)
            ended = "not_asked" if played.outcome in _NOT_ASKED else "failed" if wrong else "passed"
            if ended == "not_asked":
                row.not_asked += 1
            elif ended == "failed":
                row.failed.append(case.id)
            else:
                row.passed += 1
            labels = {telemetry.USE: use, telemetry.MODEL: pin.name, telemetry.OUTCOME: ended}
            telemetry.counter(telemetry.EVAL_CASES).add(1, labels)
        return row

    async def _say(self, key: str, rows: Sequence[Row]) -> None:
        told = "; ".join(
            f"{row.pin} passes {row.passed} of {row.passed + len(row.failed)} cases of {row.use}"
            for row in rows
            if not row.holds
        )
        text = f"Nightly evals: {told} (bar {BAR:.0%}). `sitrep eval prompts` says which."
        block = {"type": "section", "text": mrkdwn_object(mrkdwn(text, 2900))}
        for number, channel in enumerate(await self._channels(None)):
            await self._outbox.say(f"notice:{key}-{number}", channel, text, [block])  # again is an edit, no second post
