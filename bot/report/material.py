"""The store's rows as a report's material. Everything that a report says can be counted again from these tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bot.experiment.hypothesis import Hypothesis
from bot.experiment.live import Assignment, LiveExperiments, read_assignments
from bot.experiment.pauses import read_pauses
from bot.experiment.recorded import BASELINE, Special, read_special, why_left_out
from bot.experiment.rollout import stratum_of
from bot.experiment.schedule import starts_at
from bot.experiment.times import APART, DEFAULT_ORDER, Said, chosen_for, read_told_twice
from bot.flows.asked import OVERRIDE
from bot.incidents.signals import REPEATS
from bot.report.rows import Given, IncidentRow, LabelRow, Material, Running, SpendRow, SuspectRow, TriageRow, VoteRow
from bot.store import Row, Store
from bot.store.values import to_text, to_time

BACK = timedelta(weeks=13)
NOT_MAPPED = "not mapped"
_INCIDENT = (
    "id, unit_id, title, service, severity, first_severity, merged_into, reopened, triggered_at, first_signal_at,"
    " acknowledged_at, mitigated_at, resolved_at"
)
_EXPOSURE = "incident_id, before_acknowledged, before_resolved"
_TRIAGE = (
    "id, incident_id, started_at, arm, reason, outcome, outcome_reason, cost_usd, timings, hidden, suspects, prompt,"
    " model"
)


async def read_material(
    store: Store,
    workspace_id: str,
    until: datetime,
    *,
    hidden_services: frozenset[str],
    experiments: LiveExperiments | None = None,
    week: tuple[datetime, datetime] | None = None,
) -> Material:
    """Incidents that were triggered in the 13 weeks before `until`, with what was said and done about them.

    With an experiment that has begun by then they reach back to its start, and the 13 weeks before that are its
    baseline. It is taken from `experiments`, for its seed is in no table. week: whose requests to models are counted.
    """
    hypothesis = experiments.reported(until) if experiments else None
    since = until - BACK
    if hypothesis is not None:
        since = min(since, starts_at(hypothesis) - BASELINE)
    key = {"w": workspace_id, "since": to_text(since), "until": to_text(until)}
    within = "workspace_id = :w AND triggered_at >= :since AND triggered_at < :until"
    incidents = await store.query(f"SELECT {_INCIDENT} FROM incidents WHERE {within} ORDER BY triggered_at, id", key)  # noqa: S608
    of_these = f"workspace_id = :w AND incident_id IN (SELECT id FROM incidents WHERE {within})"  # noqa: S608
    exposures = await store.query(f"SELECT {_EXPOSURE} FROM exposures WHERE {of_these} AND kind = 'card'", key)  # noqa: S608
    triages = await store.query(f"SELECT {_TRIAGE} FROM triages WHERE {of_these} ORDER BY started_at", key)  # noqa: S608
    votes = await store.query(f"SELECT * FROM votes WHERE {of_these} ORDER BY at", key)  # noqa: S608
    labels = await store.query(
        f"SELECT * FROM labels WHERE {of_these} AND ruled_out IS NULL AND undone_at IS NULL ORDER BY at",  # noqa: S608
        key,
    )
    started = await experiments.started(hypothesis.name) if experiments and hypothesis else None
    given = _given((started or {}).get("given"))
    part = await _part(store, workspace_id, hypothesis, since, given)
    reading = _Reading(
        part,
        {row["incident_id"]: row for row in exposures},
        frozenset(row["incident_id"] for row in labels if row["cause"] == "change"),
        frozenset(row["incident_id"] for row in triages if row["reason"] == OVERRIDE),
    )
    rows = [reading.incident(row) for row in incidents]
    shown_since, baseline = until - BACK, []
    if hypothesis is not None:
        start = starts_at(hypothesis)
        shown_since = min(shown_since, start)
        baseline = [row for row in rows if start - BASELINE <= row.triggered_at < start]
    running = None
    if experiments is not None and hypothesis is not None:
        running = await _running(store, workspace_id, experiments, hypothesis, part, until, given)
    return Material(
        incidents=tuple(row for row in rows if row.triggered_at >= shown_since),
        triages=tuple(map(_triage, triages)),
        votes=tuple(
            VoteRow(incident_id=r["incident_id"], at=to_time(r["at"]), helpful=r["vote"] == "helpful") for r in votes
        ),
        labels=tuple(map(_label, labels)),
        spend=await _spend(store, workspace_id, week) if week else (),
        odd=await _repeats(store, workspace_id, week) if week else (),
        running=running,
        baseline=tuple(baseline),
        hidden_services=hidden_services,
    )


async def _said_later(store: Store, workspace_id: str, given: Given) -> dict[str, str]:
    """By incident, the times before a verdict that were heard of only after it, in words."""
    rows = await store.query(
        "SELECT incident_id, kind, at, source, recorded_at FROM incident_times WHERE workspace_id = :w"
        " AND recorded_at > :given AND at <= :given ORDER BY recorded_at, incident_id",
        {"w": workspace_id, "given": to_text(given.at)},
    )
    found: dict[str, str] = {}
    for row in rows:
        told = f"{row['kind']} {row['at'][:16]} was said on {row['recorded_at'][:10]} by {row['source']}"
        found[row["incident_id"]] = "; ".join(filter(None, (found.get(row["incident_id"]), told)))
    return found


async def _repeats(store: Store, workspace_id: str, week: tuple[datetime, datetime]) -> tuple[str, ...]:
    """How many deliveries came more than once in the week, as a line."""
    rows = await store.query(
        "SELECT detail FROM notices WHERE workspace_id = :w AND kind = :k AND created_at >= :since"
        " AND created_at < :until",
        {"w": workspace_id, "k": REPEATS, "since": to_text(week[0]), "until": to_text(week[1])},
    )
    count = sum(int(json.loads(row["detail"])["count"]) for row in rows)
    many = "1 webhook delivery was" if count == 1 else f"{count} webhook deliveries were"
    return (f"{many} dropped as repeats of one that was stored.",) if count else ()


async def _spend(store: Store, workspace_id: str, week: tuple[datetime, datetime]) -> tuple[SpendRow, ...]:
    """Every attempt at a model that was reserved in the week; what is not settled yet counts as reserved."""
    key = {"w": workspace_id, "since": to_text(week[0]), "until": to_text(week[1])}
    rows = await store.query(
        "SELECT use, model, count(*) AS n, sum(coalesce(settled_usd, reserved_usd)) AS usd FROM spend"
        " WHERE workspace_id = :w AND reserved_at >= :since AND reserved_at < :until"
        " GROUP BY use, model ORDER BY usd DESC, use, model",
        key,
    )
    return tuple(SpendRow(use=r["use"], model=r["model"], requests=r["n"], usd=r["usd"]) for r in rows)


@dataclass(frozen=True, slots=True)
class _Part:
    """What the experiment says about incidents."""

    hypothesis: Hypothesis | None = None
    assigned: Mapping[str, Assignment] = field(default_factory=dict)
    special: Special = field(default_factory=Special)
    told_twice: Mapping[str, Sequence[Said]] = field(default_factory=dict)
    corrected: Mapping[str, str] = field(default_factory=dict)


async def _part(
    store: Store, workspace_id: str, hypothesis: Hypothesis | None, since: datetime, given: Given | None
) -> _Part:
    special = await read_special(store, workspace_id, since)
    told_twice = await read_told_twice(store, workspace_id, since)
    if hypothesis is None:
        return _Part(special=special, told_twice=told_twice)
    corrected = await _said_later(store, workspace_id, given) if given else {}
    found = await read_assignments(store, workspace_id, hypothesis.name)
    return _Part(hypothesis, {one.unit_id: one for one in found}, special, told_twice, corrected)


async def _running(
    store: Store,
    workspace_id: str,
    experiments: LiveExperiments,
    hypothesis: Hypothesis,
    part: _Part,
    until: datetime,
    given: Given | None,
) -> Running:
    pauses = await read_pauses(store, workspace_id, hypothesis.name)
    began = starts_at(hypothesis)
    return Running(
        hypothesis=hypothesis,
        started_at=began,
        seed=experiments.seed(hypothesis.name),
        ordinals={one.unit_id: one.ordinal for one in part.assigned.values()},
        paused=tuple(one.told for one in pauses if one.at < until and (one.resumed_at or until) > began),
        given=given,
        ended=experiments.is_over(hypothesis, until),
    )


def _given(told: Any) -> Given | None:
    """The verdict that a report gave, as `weekly` wrote it down."""
    if not told:
        return None
    return Given(verdict=told["verdict"], look=told["look"], at=to_time(told["at"]), data_sha256=told["data_sha256"])


@dataclass(frozen=True, slots=True)
class _Reading:
    """What was read beside the incidents, by incident."""

    part: _Part
    exposures: Mapping[str, Row]
    deployed: frozenset[str]
    overridden: frozenset[str]

    def incident(self, row: Row) -> IncidentRow:
        hypothesis, exposure = self.part.hypothesis, self.exposures.get(row["id"])
        unit_id = row["unit_id"] or row["id"]
        found = self.part.assigned.get(unit_id)
        left_out, stratum = "merged into another incident" if row["merged_into"] else "", ""
        left_out = "test incident" if row["id"] in self.part.special.tests else left_out
        if hypothesis is not None:
            stratum = stratum_of(hypothesis, severity=row["first_severity"], service=row["service"])
        if found is not None:
            stratum = found.stratum
        if hypothesis is not None and (found is not None or to_time(row["triggered_at"]) < starts_at(hypothesis)):
            left_out = why_left_out(row, hypothesis, self.part.special)
        order = hypothesis.times_from if hypothesis is not None else DEFAULT_ORDER
        chosen = chosen_for(row, self.part.told_twice, order)
        first, triggered = to_time(row["first_signal_at"]), to_time(row["triggered_at"])
        return IncidentRow(
            incident_id=row["id"],
            unit_id=unit_id,
            service=row["service"] or NOT_MAPPED,
            severity=row["severity"],
            triggered_at=triggered,
            first_signal_at=first,
            acknowledged_at=chosen.acknowledged_at if chosen else _maybe(row["acknowledged_at"]),
            mitigated_at=chosen.mitigated_at if chosen else _maybe(row["mitigated_at"]),
            resolved_at=chosen.resolved_at if chosen else _maybe(row["resolved_at"]),
            sources_apart=(chosen is not None and chosen.apart) or abs(first - triggered) > APART,
            corrected=self.part.corrected.get(row["id"], ""),
            reopened=row["reopened"],
            left_out=left_out,
            from_deployment=row["id"] in self.deployed,
            arm=found.arm if found else "",
            stratum=stratum,
            exposed=exposure is not None,
            before_acknowledged=_flag(exposure, "before_acknowledged"),
            before_resolved=_flag(exposure, "before_resolved"),
            crossover=row["id"] in self.overridden,
        )


def _triage(row: Row) -> TriageRow:
    timings = json.loads(row["timings"] or "{}")
    return TriageRow(
        triage_id=row["id"],
        incident_id=row["incident_id"],
        started_at=to_time(row["started_at"]),
        arm=row["arm"] or "",
        outcome=row["outcome"] or "off",
        outcome_reason=row["outcome_reason"] or "",
        cost_usd=row["cost_usd"],
        first_post_seconds=timings.get("first_post_seconds"),
        hidden=row["hidden"],
        suspects=tuple(
            SuspectRow(change_id=s["change_id"], service=s["service"] or NOT_MAPPED, probability=s["probability"])
            for s in json.loads(row["suspects"] or "[]")
        ),
        prompt=row["prompt"] or "",
        model=row["model"] or "",
    )


def _label(row: Row) -> LabelRow:
    return LabelRow(
        incident_id=row["incident_id"],
        at=to_time(row["at"]),
        cause=row["cause"],
        service=row["service"] or "",
        change_id=row["change_id"] or "",
    )


def _maybe(text: str | None) -> datetime | None:
    return to_time(text) if text else None


def _flag(row: Mapping[str, object] | None, name: str) -> bool | None:
    value = row[name] if row is not None else None
    return None if value is None else bool(value)
