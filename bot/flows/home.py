"""What the Home tab shows one person: open incidents and votes owed that they may see, and how the bot is.

Whether an experiment runs is said; its name, its arms and which incident is in which are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.flows.desk import DeskStatus, IncidentDesk, IncidentLine
from bot.flows.entitled import Entitled
from bot.model.spend import Ceilings

OWED_FOR = timedelta(days=7)
MAX_OWED = 5


@dataclass(frozen=True, slots=True)
class Spent:
    """Dollars of a day or month against their ceiling (None: none is set)."""

    name: str
    usd: float
    ceiling_usd: float | None


@dataclass(frozen=True, slots=True)
class HomeTold:
    """Everything of one person's Home tab."""

    status: DeskStatus
    owed: Sequence[IncidentLine]
    """Incidents with a card of the last week on which this person has not voted, newest first."""
    versions: Sequence[int]
    """Of those cards, in the same order: what a vote is about."""
    experiment_runs: bool
    spent: Sequence[Spent]
    at: datetime


class Home:
    """Built once; every answer is for one person."""

    def __init__(
        self, entitled: Entitled, desk: IncidentDesk, ceilings: Ceilings, experiment_runs: Callable[[datetime], bool]
    ) -> None:
        self._entitled = entitled
        self._book = entitled.book
        self._desk = desk
        self._ceilings = ceilings
        self._experiment_runs = experiment_runs

    async def home(self, user_id: str) -> HomeTold:
        """What this person's Home tab shows now."""
        now = self._entitled.parts.clock.now()
        status = await self._desk.status_for(user_id)
        owed = await self._owed(user_id, now)
        return HomeTold(
            status, [line for line, _ in owed], [version for _, version in owed], self._experiment_runs(now),
            await self._spent(now), now,
        )  # fmt: skip

    async def _owed(self, user_id: str, now: datetime) -> list[tuple[IncidentLine, int]]:
        rows = await self._book.store.query(
            "SELECT i.id, p.sent_version FROM incidents i JOIN posts p ON p.workspace_id = i.workspace_id"
            " AND p.target = 'incident:' || i.id AND p.part = 'card' AND p.kind = 'card'"
            " WHERE i.workspace_id = :w AND i.merged_into IS NULL AND p.sent_version > 0 AND p.first_sent_at >= :since"
            " AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.workspace_id = i.workspace_id AND v.incident_id = i.id"
            " AND v.by = :by) ORDER BY i.triggered_at DESC LIMIT 50",
            {"w": self._book.workspace_id, "since": now - OWED_FOR, "by": user_id},
        )
        found: list[tuple[IncidentLine, int]] = []
        for row in rows:
            if len(found) < MAX_OWED and (line := await self._desk.line_for(user_id, row["id"])) is not None:
                found.append((line, int(row["sent_version"])))
        return found

    async def _spent(self, now: datetime) -> list[Spent]:
        wanted = [
            ("today", f"day:{now:%Y-%m-%d}", self._ceilings.day_usd),
            ("this month", f"month:{now:%Y-%m}", self._ceilings.month_usd),
        ]
        rows = await self._book.store.query(
            "SELECT scope, usd FROM spend_totals WHERE workspace_id = :w AND scope IN (:d, :m)",
            {"w": self._book.workspace_id, "d": wanted[0][1], "m": wanted[1][1]},
        )
        known = {row["scope"]: float(row["usd"]) for row in rows}
        return [Spent(name, known.get(scope, 0.0), ceiling) for name, scope, ceiling in wanted]
