"""What was recorded of a running experiment, as the rows of its analysis. The report and the cutlines read it here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.experiment.cutlines import TriageFigures, Vote
from bot.experiment.hypothesis import Hypothesis
from bot.experiment.live import Assignment, read_assignments
from bot.experiment.rollout import left_out, stratum_of
from bot.experiment.schedule import starts_at
from bot.experiment.times import Said, chosen_for, read_told_twice
from bot.experiment.units import Row
from bot.store import Row as StoreRow
from bot.store import Store
from bot.store.values import to_text, to_time

BASELINE = timedelta(weeks=13)
"""How far before the start the baseline reaches."""
BY_ITSELF = "integration"
"""`said_by` of a resolution that no person made."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The rows of an experiment and of its baseline, with the numbers that the assignment took."""

    rows: tuple[Row, ...] = ()
    baseline: tuple[Row, ...] = ()
    ordinals: Mapping[str, int] = field(default_factory=dict)


async def read_recorded(store: Store, workspace_id: str, hypothesis: Hypothesis, until: datetime) -> Recorded:
    """Incidents of assigned units, and every incident of the 13 weeks before the start as the baseline."""
    assigned = {one.unit_id: one for one in await read_assignments(store, workspace_id, hypothesis.name)}
    start = starts_at(hypothesis)
    incidents = await store.query(
        "SELECT id, unit_id, title, service, first_severity, triggered_at, first_signal_at, mitigated_at, resolved_at"
        " FROM incidents"
        " WHERE workspace_id = :w AND triggered_at >= :since AND triggered_at <= :until ORDER BY triggered_at, id",
        {"w": workspace_id, "since": to_text(start - BASELINE), "until": to_text(until)},
    )
    special = await read_special(store, workspace_id, start - BASELINE)
    told_twice = await read_told_twice(store, workspace_id, start - BASELINE)
    rows, baseline = [], []
    for incident in incidents:
        found = assigned.get(incident["unit_id"] or incident["id"])
        if found is not None:
            rows.append(_row(incident, hypothesis, found, special, told_twice))
        elif to_time(incident["triggered_at"]) < start:
            baseline.append(_row(incident, hypothesis, None, special, told_twice))
    return Recorded(tuple(rows), tuple(baseline), {one.unit_id: one.ordinal for one in assigned.values()})


@dataclass(frozen=True, slots=True)
class Special:
    """Incidents that a rule of the hypothesis may leave out, by id."""

    alone: frozenset[str] = frozenset()
    """Resolved by an integration, by no person."""
    tests: frozenset[str] = frozenset()
    duplicates: frozenset[str] = frozenset()


async def read_special(store: Store, workspace_id: str, since: datetime) -> Special:
    """What sources and people said about incidents that ended since an instant."""
    rows = await store.query(
        "SELECT incident_id, mark FROM incident_marks WHERE workspace_id = :w AND undone_at IS NULL",
        {"w": workspace_id},
    )
    return Special(
        await resolved_by_itself(store, workspace_id, since),
        frozenset(row["incident_id"] for row in rows if row["mark"] == "test"),
        frozenset(row["incident_id"] for row in rows if row["mark"] == "duplicate"),
    )


def why_left_out(incident: StoreRow, hypothesis: Hypothesis, special: Special) -> str:
    """Why the outcome of an incident is not counted; "" when it is.

    Merging changes cards, never units: a merged incident counts. A test is one that a person marked, or whose title
    begins as the file says; a duplicate is one that a person marked.
    """
    begins = tuple(begin.casefold() for begin in hypothesis.incidents.test_titles if begin)
    titled = str(incident["title"]).casefold().lstrip().startswith(begins)
    name = incident["id"]
    return left_out(
        hypothesis,
        is_test=titled or name in special.tests,
        is_duplicate=name in special.duplicates,
        auto_resolved=name in special.alone,
    )


async def resolved_by_itself(store: Store, workspace_id: str, since: datetime) -> frozenset[str]:
    """Incidents whose last resolution was said by an integration and by no person."""
    rows = await store.query(
        "SELECT incident_id, said_by FROM incident_times WHERE workspace_id = :w AND kind = 'resolved' AND at >= :since"
        " AND incident_id IN (SELECT incident_id FROM incident_times WHERE workspace_id = :w AND kind = 'resolved'"
        " AND at >= :since AND said_by = :itself) ORDER BY incident_id, at",
        {"w": workspace_id, "since": to_text(since), "itself": BY_ITSELF},
    )
    last = {row["incident_id"]: row["said_by"] or "" for row in rows}
    return frozenset(incident for incident, said_by in last.items() if said_by == BY_ITSELF)


@dataclass(frozen=True, slots=True)
class ShadowCost:
    """What triages cost that nobody saw: a week in shadow mode, before anything is decided."""

    triages: int
    usd: float

    @property
    def usd_per_triage(self) -> float:
        return self.usd / self.triages


async def read_shadow_cost(store: Store, workspace_id: str, since: datetime) -> ShadowCost | None:
    """Triages of shadow mode since an instant that asked a model or could have; None where there were none.

    Outside shadow mode only the arm `off` is recorded without exposure, and its outcome is `off` too.
    """
    (row,) = await store.query(
        "SELECT count(*) AS n, coalesce(sum(t.cost_usd), 0) AS usd FROM triages t JOIN exposures e"
        " ON e.workspace_id = t.workspace_id AND e.incident_id = t.incident_id"
        " WHERE t.workspace_id = :w AND t.started_at >= :since AND e.kind = 'none' AND t.experiment IS NULL"
        " AND t.recorded_at IS NOT NULL AND t.outcome <> 'off'",
        {"w": workspace_id, "since": to_text(since)},
    )
    return ShadowCost(row["n"], row["usd"]) if row["n"] else None


def _row(
    incident: StoreRow,
    hypothesis: Hypothesis,
    found: Assignment | None,
    special: Special,
    told_twice: Mapping[str, Sequence[Said]],
) -> Row:
    chosen = chosen_for(incident, told_twice, hypothesis.times_from)
    mitigated, ended = _maybe(incident["mitigated_at"]), _maybe(incident["resolved_at"])
    if chosen is not None:
        mitigated, ended = chosen.mitigated_at, chosen.resolved_at
    if hypothesis.primary_metric == "time_to_mitigate":
        ended = mitigated or ended
    service = incident["service"]
    stratum = stratum_of(hypothesis, severity=incident["first_severity"], service=service)
    return Row(
        incident_id=incident["id"],
        stratum=found.stratum if found else stratum,
        service=service or "",
        arm=found.arm if found else "",
        triggered_at=to_time(incident["first_signal_at"]),
        resolved_at=ended,
        storm_id=incident["unit_id"] or incident["id"],
        left_out=why_left_out(incident, hypothesis, special),
    )


def _maybe(text: str | None) -> datetime | None:
    return to_time(text) if text else None


async def read_figures(
    store: Store, workspace_id: str, hypothesis: Hypothesis, since: datetime
) -> tuple[list[TriageFigures], list[Vote]]:
    """Triages of the experiment whose arm has a model, and the votes on their cards, from `since` on.

    What a person overrode is not among them: the line is about what the arm shows by itself.
    """
    key = {"w": workspace_id, "e": hypothesis.name, "since": to_text(since)}
    model = "t.workspace_id = :w AND t.experiment = :e AND t.arm LIKE 'facts+summary%' AND t.reason <> 'override'"
    triages = await store.query(
        f"SELECT t.started_at, t.outcome, t.cost_usd, t.timings FROM triages t WHERE {model}"  # noqa: S608 - fixed words
        " AND t.recorded_at IS NOT NULL AND t.started_at >= :since ORDER BY t.started_at",
        key,
    )
    votes = await store.query(
        "SELECT v.at, v.vote FROM votes v WHERE v.workspace_id = :w AND v.at >= :since AND v.incident_id IN"  # noqa: S608
        f" (SELECT t.incident_id FROM triages t WHERE {model}) ORDER BY v.at",
        key,
    )
    figures = [
        TriageFigures(
            to_time(row["started_at"]),
            row["outcome"] or "off",
            row["cost_usd"],
            json.loads(row["timings"] or "{}").get("first_post_seconds"),
        )
        for row in triages
    ]
    return figures, [Vote(to_time(row["at"]), row["vote"] == "helpful") for row in votes]
