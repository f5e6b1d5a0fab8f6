"""The store's rows as a report's material. Everything that a report says can be counted again from these tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from sys import intern
from typing import Any

from bot.experiment.hypothesis import Hypothesis
from bot.experiment.live import Assignment, LiveExperiments, read_assignments
from bot.experiment.pauses import read_pauses
from bot.experiment.recorded import BASELINE, Special, read_special, why_left_out
from bot.experiment.rollout import stratum_of
from bot.experiment.schedule import starts_at
from bot.experiment.times import APART, CLOCKS_DIFFER, DEFAULT_ORDER, Said, chosen_for, read_told_twice
from bot.flows.asked import OVERRIDE
from bot.incidents.signals import REPEATS
from bot.report.rows import Given, IncidentRow, LabelRow, Material, Running, SpendRow, SuspectRow, TriageRow, VoteRow
from bot.store import Row, Store
from bot.store.values import to_text, to_time

BACK = timedelta(weeks=13)
NOT_MAPPED = "not mapped"
DEPLOYMENTS = frozenset({"deploy", "rollout", "release", "merge"})
"""Kinds of changes that bring code: a merge is read as a deployment where a repository tells of none."""
_INCIDENT = (
    "id, unit_id, title, service, severity, first_severity, merged_into, reopened, triggered_at, first_signal_at,"
    " acknowledged_at, mitigated_at, resolved_at"
)
_TRIAGE = "id, incident_id, started_at, arm, reason, outcome, outcome_reason, cost_usd, hidden, suspects, prompt, model"


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
    started = await experiments.started(hypothesis.name) if experiments and hypothesis else None
    given = _given((started or {}).get("given"))
    part = await _part(store, workspace_id, hypothesis, since, given)
    beside = await _beside(store, workspace_id, since)
    reading = _Reading(part, beside)
    incidents = await store.query(
        f"SELECT {_INCIDENT} FROM incidents WHERE workspace_id = :w AND triggered_at >= :since"  # noqa: S608
        " AND triggered_at < :until ORDER BY triggered_at, id",
        {"w": workspace_id, "since": to_text(since), "until": to_text(until)},
    )
    rows = [reading.incident(row) for row in incidents]
    del incidents  # of a large store these are hundreds of megabytes
    ours = {row.incident_id for row in rows}
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
        triages=tuple(one for one in beside.triages if one.incident_id in ours),
        votes=tuple(one for one in beside.votes if one.incident_id in ours),
        labels=tuple(one for one in beside.labels if one.incident_id in ours),
        spend=await _spend(store, workspace_id, week) if week else (),
        odd=await _repeats(store, workspace_id, week) if week else (),
        running=running,
        baseline=tuple(baseline),
        hidden_services=hidden_services,
    )


@dataclass(frozen=True, slots=True)
class _Beside:
    """What was read beside the incidents, in the order of its times; also of incidents that are no part of it."""

    triages: Sequence[TriageRow]
    votes: Sequence[VoteRow]
    labels: Sequence[LabelRow]
    exposures: Mapping[str, tuple[bool | None, bool | None]]
    """By incident whose card went out: whether that was before the acknowledge, before the end."""
    deployed: frozenset[str]
    overridden: frozenset[str]


async def _beside(store: Store, workspace_id: str, since: datetime) -> _Beside:
    """One pass over each table: a join with the incidents costs five times as much. Of each table the rows as they
    came are let go before the next is read."""
    key = {"w": workspace_id, "since": to_text(since - CLOCKS_DIFFER)}
    found = await store.query(f"SELECT {_TRIAGE} FROM triages WHERE workspace_id = :w AND started_at >= :since", key)  # noqa: S608
    overridden = frozenset(row["incident_id"] for row in found if row["reason"] == OVERRIDE)
    triages = sorted((_triage(row) for row in found), key=lambda one: (one.started_at, one.triage_id))
    found = await store.query(
        "SELECT incident_id, at, vote FROM votes WHERE workspace_id = :w AND at >= :since ORDER BY at", key
    )
    votes = [VoteRow(incident_id=r["incident_id"], at=to_time(r["at"]), helpful=r["vote"] == "helpful") for r in found]
    found = await store.query(
        "SELECT incident_id, at, cause, service, change_id FROM labels WHERE workspace_id = :w AND at >= :since"
        " AND ruled_out IS NULL AND undone_at IS NULL ORDER BY at",
        key,
    )
    labels = [_label(row) for row in found]
    found = await store.query(
        "SELECT incident_id, before_acknowledged, before_resolved FROM exposures WHERE workspace_id = :w"
        " AND at >= :since AND kind = 'card'",
        key,
    )
    exposures = {
        row["incident_id"]: (_flag(row["before_acknowledged"]), _flag(row["before_resolved"])) for row in found
    }
    deployed = _deployed(triages, labels)
    return _Beside(triages, votes, labels, exposures, deployed, overridden)


def _deployed(triages: Sequence[TriageRow], labels: Sequence[LabelRow]) -> frozenset[str]:
    """Incidents whose latest label by a person names a deployment."""
    latest = {label.incident_id: label for label in labels}
    named = {name: label.change_id for name, label in latest.items() if label.cause == "change" and label.change_id}
    found = {
        triage.incident_id
        for triage in triages
        if (change_id := named.get(triage.incident_id)) is not None
        and any(one.change_id == change_id and one.kind in DEPLOYMENTS for one in triage.suspects)
    }
    return frozenset(found)


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
    start: datetime | None = None
    """When the hypothesis' experiment began."""


async def _part(
    store: Store, workspace_id: str, hypothesis: Hypothesis | None, since: datetime, given: Given | None
) -> _Part:
    special = await read_special(store, workspace_id, since)
    told_twice = await read_told_twice(store, workspace_id, since)
    if hypothesis is None:
        return _Part(special=special, told_twice=told_twice)
    corrected = await _said_later(store, workspace_id, given) if given else {}
    found = await read_assignments(store, workspace_id, hypothesis.name)
    start = starts_at(hypothesis)
    return _Part(hypothesis, {one.unit_id: one for one in found}, special, told_twice, corrected, start)


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
    """Makes one incident's row of what several tables say of it."""

    part: _Part
    beside: _Beside

    def incident(self, row: Row) -> IncidentRow:
        part, beside, name = self.part, self.beside, row["id"]
        hypothesis, exposure = part.hypothesis, beside.exposures.get(name)
        unit_id = row["unit_id"] or name
        first, triggered = to_time(row["first_signal_at"]), to_time(row["triggered_at"])
        found = part.assigned.get(unit_id)
        left_out, stratum = "merged into another incident" if row["merged_into"] else "", ""
        left_out = "test incident" if name in part.special.tests else left_out
        if found is not None:
            stratum = found.stratum
        elif hypothesis is not None:
            stratum = stratum_of(hypothesis, severity=row["first_severity"], service=row["service"])
        if hypothesis is not None and (found is not None or (part.start is not None and triggered < part.start)):
            left_out = why_left_out(row, hypothesis, part.special)
        order = hypothesis.times_from if hypothesis is not None else DEFAULT_ORDER
        chosen = chosen_for(row, part.told_twice, order)
        return IncidentRow(
            incident_id=name,
            unit_id=unit_id,
            service=intern(row["service"] or NOT_MAPPED),
            severity=row["severity"],
            triggered_at=triggered,
            first_signal_at=first,
            acknowledged_at=chosen.acknowledged_at if chosen else _maybe(row["acknowledged_at"]),
            mitigated_at=chosen.mitigated_at if chosen else _maybe(row["mitigated_at"]),
            resolved_at=chosen.resolved_at if chosen else _maybe(row["resolved_at"]),
            sources_apart=(chosen is not None and chosen.apart) or abs(first - triggered) > APART,
            corrected=part.corrected.get(name, ""),
            reopened=row["reopened"],
            left_out=left_out,
            from_deployment=name in beside.deployed,
            arm=found.arm if found else "",
            stratum=stratum,
            exposed=exposure is not None,
            before_acknowledged=exposure[0] if exposure else None,
            before_resolved=exposure[1] if exposure else None,
            crossover=name in beside.overridden,
        )


def _triage(row: Row) -> TriageRow:
    """Texts that many rows say are one object."""
    return TriageRow(
        triage_id=row["id"],
        incident_id=row["incident_id"],
        started_at=to_time(row["started_at"]),
        arm=intern(row["arm"] or ""),
        outcome=intern(row["outcome"] or "off"),
        outcome_reason=intern(row["outcome_reason"] or ""),
        cost_usd=row["cost_usd"],
        hidden=row["hidden"],
        suspects=tuple([_suspect(one) for one in json.loads(row["suspects"] or "[]")]),
        prompt=intern(row["prompt"] or ""),
        model=intern(row["model"] or ""),
    )


def _suspect(told: Mapping[str, Any]) -> SuspectRow:
    service = intern(told["service"] or NOT_MAPPED)
    kind = intern(told.get("kind", "deploy"))  # not written down by the first versions
    return SuspectRow(change_id=told["change_id"], service=service, probability=told["probability"], kind=kind)


def _label(row: Row) -> LabelRow:
    return LabelRow(
        incident_id=row["incident_id"],
        at=to_time(row["at"]),
        cause=intern(row["cause"]),
        service=intern(row["service"] or ""),
        change_id=row["change_id"] or "",
    )


def _maybe(text: str | None) -> datetime | None:
    return to_time(text) if text else None


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)
