"""Rows to a WeeklyReport: what was known at the end of the week, nothing later."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from bot.experiment.cost import CostPerMinute, per_minute_saved, usd
from bot.experiment.times import DEFAULT_ORDER
from bot.experiment.units import ARMS, Unit
from bot.report import figures, quality
from bot.report.definitions import DEFINITIONS
from bot.report.judged import judge
from bot.report.model import ArmFigures, CostPart, ExperimentPart, UseCost, WeeklyReport
from bot.report.rows import IncidentRow, LabelRow, Material, Running, SuspectRow, TriageRow
from bot.report.weeks import Week

TAU = timedelta(hours=72)
LOOK_WITHIN = timedelta(days=1)
MTTR_NOTE = (
    "MTTR is shown because it is asked for. Two quarters of 65 incidents each in which nothing changed differ in it by "
    "−42 % to +74 %, and one looks at least 10 % better in 37 of 100 (Davidovič, Incident Metrics in SRE); the "
    "sentence above is what the data say."
)
HIDDEN, HIDDEN_CHANGE = "a hidden service", "a hidden change"
NO_EXPERIMENT = "No experiment runs, so nothing here says whether Sitrep shortens incidents."


def build(material: Material, week: Week, zone: ZoneInfo, *, now: datetime) -> WeeklyReport:
    """The report of one week. The same material gives the same report, from a day after the week's end on.

    The experiment's looks are at fixed instants, which lie up to a day beside the team's own midnight: the look that
    belongs to a week is the last one within a day of its end, if that has come.
    """
    material = veiled(material)
    begins, ends = week.begins_at(zone), week.ends_at(zone)
    known = [figures.known_at(row, ends) for row in material.incidents if row.triggered_at < ends]
    of_week = [row for row in known if row.triggered_at >= begins]
    running = material.running if material.running and material.running.started_at < ends else None
    tau = running.hypothesis.tau if running else TAU
    names = _names(running)
    judged = judge(running, material, as_of=min(ends + LOOK_WITHIN, now)) if running else None
    experiment = judged.part if judged else None
    points = figures.weekly_medians(
        known,
        week=week,
        zone=zone,
        until=ends,
        tau=tau,
        name_of=lambda row: names.get(row.arm),
    )
    said = quality.latest(material, ends)
    deployed = [row for row in of_week if row.from_deployment]
    return WeeklyReport(
        week=week.name,
        dates=week.dates(),
        zone=zone.key,
        begins_at=begins,
        ends_at=ends,
        headline=_headline(week, experiment),
        sentence=judged.sentence if judged else NO_EXPERIMENT,
        experiment=experiment,
        arms=_arms(of_week, names, ends, tau),
        weekly=points,
        mttr_note=MTTR_NOTE,
        deployments=figures.arm_figures("caused by a deployment", deployed, until=ends, tau=tau) if deployed else None,
        cost=_cost(material, known, judged.mature if judged else (), begins, ends),
        quality=quality.quality(said, material, ends),
        services=figures.most(row.service for row in of_week),
        causes=quality.top_causes(of_week, said),
        changes=quality.top_changes(of_week, said),
        withheld=quality.withheld([t for t in material.triages if begins <= t.started_at < ends]),
        wrong_suggestions=quality.wrong_suggestions(of_week, said),
        odd=tuple(_odd(of_week, week, zone, material, experiment, now)) + (judged.odd if judged else ()),
        definitions=DEFINITIONS,
    )


def veiled(material: Material) -> Material:
    """The material without the names that not every reader may see; every count stays."""
    hidden = material.hidden_services
    if not hidden:
        return material

    def suspects(triage: TriageRow) -> tuple[SuspectRow, ...]:
        return tuple(
            replace(s, service=HIDDEN, change_id=f"{HIDDEN_CHANGE} {i}") if s.service in hidden else s
            for i, s in enumerate(triage.suspects, 1)
        )

    def label(one: LabelRow) -> LabelRow:
        """A label keeps its match with the suspect that it names."""
        for triage in by_incident.get(one.incident_id, ()):
            for before, after in zip(triage.suspects, suspects(triage), strict=True):
                if before.change_id == one.change_id and before.service in hidden:
                    return replace(one, change_id=after.change_id, service=HIDDEN)
        return replace(one, service=HIDDEN) if one.service in hidden else one

    by_incident: dict[str, list[TriageRow]] = {}
    for triage in material.triages:
        by_incident.setdefault(triage.incident_id, []).append(triage)
    return replace(
        material,
        incidents=tuple(replace(r, service=HIDDEN) if r.service in hidden else r for r in material.incidents),
        triages=tuple(replace(t, suspects=suspects(t)) for t in material.triages),
        labels=tuple(label(one) for one in material.labels),
    )


def _names(running: Running | None) -> dict[str, str]:
    """Arm as recorded → as readers know it."""
    if running is None:
        return {"": figures.ALL, **dict.fromkeys(ARMS, figures.ALL)}
    return {arm: running.hypothesis.arm_shown(arm) for arm in reversed(ARMS)}


def _arms(
    rows: Sequence[IncidentRow], names: dict[str, str], until: datetime, tau: timedelta
) -> tuple[ArmFigures, ...]:
    found = [
        figures.arm_figures(name, [row for row in rows if names.get(row.arm) == name], until=until, tau=tau)
        for name in dict.fromkeys(names.values())
    ]
    outside = [row for row in rows if row.arm not in names]
    if outside:
        found.append(figures.arm_figures("no part of the experiment", outside, until=until, tau=tau))
    return tuple(found)


def _headline(week: Week, experiment: ExperimentPart | None) -> str:
    if experiment is None:
        return f"Week {week.number}: no experiment runs"
    told = {
        "faster": f"{experiment.contrast}: faster",
        "slower": f"{experiment.contrast}: slower",
        "not_distinguishable": "no difference shown",
        "too_early": "too early to say",
    }
    return f"Week {week.number}: {told[experiment.verdict]}"


def _cost(
    material: Material, known: Sequence[IncidentRow], units: Sequence[Unit], begins: datetime, ends: datetime
) -> CostPart:
    of_week = [t for t in material.triages if begins <= t.started_at < ends]
    total = sum(t.cost_usd for t in of_week)
    each = total / len(of_week) if of_week else 0.0
    released = sum(t.outcome == "released" for t in of_week)
    saved = _saved(material, known, units)
    known_saved = None
    if saved and saved.point is not None and saved.low is not None and saved.high is not None:
        known_saved = (saved.point, saved.low, saved.high)
    return CostPart(
        usd_week=total,
        triages=len(of_week),
        usd_per_triage=each,
        usd_per_minute=known_saved,
        sentence=saved.sentence(each) if saved else f"A triage costs {usd(each)}.",
        uses=tuple(
            UseCost(
                use=s.use, model=s.model, requests=s.requests, usd=s.usd,
                usd_per_1000_requests=1000 * s.usd / s.requests,
            )
            for s in material.spend
            if s.requests
        ),
        requests=sum(s.requests for s in material.spend),
        usd_requests=math.fsum(s.usd for s in material.spend),
        released=released,
        usd_per_released=total / released if released else None,
        outcomes=figures.most((t.outcome for t in of_week), limit=12),
    )  # fmt: skip


def _saved(material: Material, known: Sequence[IncidentRow], units: Sequence[Unit]) -> CostPerMinute | None:
    """Dollars and minutes by mature unit."""
    unit_of = {row.incident_id: row.unit_id for row in known}
    paid: dict[str, float] = {}
    for triage in material.triages:
        unit_id = unit_of.get(triage.incident_id)
        if unit_id is not None:
            paid[unit_id] = paid.get(unit_id, 0.0) + triage.cost_usd

    def of(arm: str) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
        ours = [unit for unit in units if unit.arm == arm and not unit.excluded]
        return (
            np.array([paid.get(unit.unit_id, 0.0) for unit in ours], dtype=np.float64),
            np.array([unit.minutes for unit in ours], dtype=np.float64),
        )

    return per_minute_saved(*of("treatment"), *of("control"))


def _odd(
    rows: Sequence[IncidentRow],
    week: Week,
    zone: ZoneInfo,
    material: Material,
    experiment: ExperimentPart | None,
    now: datetime,
) -> Iterator[str]:
    """What was odd about the week, a line each."""
    if now < week.begins_at(zone):
        yield "This week has not begun."
    elif now < week.ends_at(zone):
        yield f"This week is not over: what stands here is what was known on {now:%Y-%m-%d %H:%M} UTC."
    if not rows:
        yield "No incident began this week."
    hours = (week.ends_at(zone) - week.begins_at(zone)) / timedelta(hours=1)
    if hours != 168:
        yield f"The week has {hours:.0f} hours: clocks changed in {zone.key}."
    if material.earlier_zone and material.earlier_zone != zone.key:
        yield f"The time zone changed from {material.earlier_zone} to {zone.key}; weeks are cut by the new one."
    silent = sum(row.resolved_at is not None and row.acknowledged_at is None for row in rows)
    if silent:
        yield f"{_many(silent)} resolved without an acknowledge; in MTTR, not in MTTA."
    backwards = sum(figures.is_backwards(row) for row in rows)
    if backwards:
        yield f"{_many(backwards)} acknowledged or resolved before triggered; in no figure."
    long = sum((row.resolved_at or week.ends_at(zone)) - row.triggered_at > timedelta(days=7) for row in rows)
    if long:
        yield f"{long} incident{'' if long == 1 else 's'} lasted longer than a week."
    carried = sum(row.resolved_at is None for row in rows)
    if carried:
        yield f"{_many(carried)} still open at the end of the week; in the restricted mean, not in MTTR."
    apart = sum(row.sources_apart for row in rows)
    if apart:
        order = ", ".join(material.running.hypothesis.times_from if material.running else DEFAULT_ORDER)
        yield f"{_many(apart)} told of by sources that differ by more than 10 min; the order is {order}."
    reopened = sum(row.reopened > 0 for row in rows)
    if reopened:
        yield f"{_many(reopened)} reopened; the last resolution counts, the assignment stays."
    for reason in sorted({row.left_out for row in rows if row.left_out}):
        yield f"{_many(sum(row.left_out == reason for row in rows))} left out: {reason}."
    if experiment is not None:
        for arm in experiment.arms:
            if not arm.incidents:
                yield f"No incident yet in the arm {arm.arm!r}."
    yield from material.odd


def _many(count: int) -> str:
    return f"{count} incident was" if count == 1 else f"{count} incidents were"
