"""Whose time counts where several sources tell of one incident: one order for all arms, fixed in the hypothesis file.

An incident that only one kind of source told of has its times in its own row. For the others every report that was
kept is looked at again: of each kind of transition the first source of the order that reported it at all decides, also
when it says that the incident was opened again. The start of a unit is never revised: it is the earliest received
signal's own time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.store import Row, Store
from bot.store.values import to_text, to_time

DEFAULT_ORDER = ("pagerduty", "slack", "alert")
PAGERDUTY = ("pagerduty", "poll", "history", "webhook")
"""Ways in which PagerDuty's word arrives."""
APART = timedelta(minutes=10)
"""Sources that differ by more than this are told of."""
_SAME = timedelta(seconds=120)
CLOCKS_DIFFER = timedelta(days=1)
"""How much earlier than its incident something about it may seem to have been."""


@dataclass(frozen=True, slots=True)
class Said:
    """One report of a transition; `whose` is pagerduty, slack or alert."""

    kind: str
    at: datetime
    whose: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """What counts of an incident that several sources told of."""

    acknowledged_at: datetime | None
    mitigated_at: datetime | None
    resolved_at: datetime | None
    apart: bool
    """They differ by more than ten minutes about one of its times."""


def whose(source: str) -> str:
    """The kind of a source, as `times_from` names it."""
    if source in PAGERDUTY:
        return "pagerduty"
    return "slack" if source == "slack" else "alert"


async def read_told_twice(store: Store, workspace_id: str, since: datetime) -> dict[str, list[Said]]:
    """By incident that began since an instant (or a little earlier), every report, where more than one kind of source
    told of it."""
    kind = (
        f"CASE WHEN t.source IN ({', '.join(repr(name) for name in PAGERDUTY)}) THEN 0"
        " WHEN t.source = 'slack' THEN 1 ELSE 2 END"
    )
    # Every time of an incident that began since then is later too, but for clocks that differ: no join is needed.
    rows = await store.query(
        "SELECT incident_id, kind, at, source FROM incident_times WHERE workspace_id = :w AND incident_id IN"  # noqa: S608
        " (SELECT t.incident_id FROM incident_times t WHERE t.workspace_id = :w AND t.at >= :since"
        f" GROUP BY t.incident_id HAVING min({kind}) <> max({kind})) ORDER BY incident_id, at",
        {"w": workspace_id, "since": to_text(since - CLOCKS_DIFFER)},
    )
    found: dict[str, list[Said]] = {}
    for row in rows:
        found.setdefault(row["incident_id"], []).append(Said(row["kind"], to_time(row["at"]), whose(row["source"])))
    return found


def choose(said: Sequence[Said], order: Sequence[str] = DEFAULT_ORDER) -> Chosen:
    """The times that count. An order that leaves a source out never takes its word."""

    def of(kind: str) -> tuple[str, list[datetime]]:
        for name in order:
            at = [one.at for one in said if one.kind == kind and one.whose == name]
            if at:
                return name, sorted(at)
        return "", []

    _, acknowledged = of("acknowledged")
    _, mitigated = of("mitigated")
    by, resolved = of("resolved")
    reopened = max((one.at for one in said if one.kind == "reopened" and one.whose == by), default=None)
    ended = resolved[-1] if resolved and (reopened is None or resolved[-1] > reopened) else None
    return Chosen(_first(acknowledged), _first(mitigated), ended, _apart(said))


def chosen_for(incident: Row, told_twice: Mapping[str, Sequence[Said]], order: Sequence[str]) -> Chosen | None:
    """What counts instead of the incident's own row; None where one source alone told of it."""
    said = told_twice.get(incident["id"])
    return choose(said, order) if said else None


def _first(times: Sequence[datetime]) -> datetime | None:
    """The first; of reports of one transition the one with milliseconds, as in the incident's own row."""
    if not times:
        return None
    together = [at for at in times if at - times[0] <= _SAME]
    return min(together, key=lambda at: (at.microsecond == 0, at))


def _apart(said: Sequence[Said]) -> bool:
    for kind in ("triggered", "acknowledged", "mitigated", "resolved"):
        firsts: dict[str, datetime] = {}
        for one in said:
            if one.kind == kind:
                firsts[one.whose] = min(firsts.get(one.whose, one.at), one.at)
        if firsts and max(firsts.values()) - min(firsts.values()) > APART:
            return True
    return False
