"""Figures of groups of incidents: times, weekly medians, exposure, services. Pure functions over rows."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from bot.experiment.scores import Floats, Ints
from bot.experiment.survival import Curve, kaplan_meier, median, restricted_mean
from bot.experiment.units import Unit
from bot.report.model import ArmFigures, Counted, CurvePart, Exposure, ServiceEffect, WeekPoint
from bot.report.rows import IncidentRow
from bot.report.weeks import Week

ALL = "all incidents"
WEEKS_SHOWN = 13
_FEWEST_AN_ARM = 2
_TICKS_MINUTES = (0.0, 30.0, 60.0, 120.0, 240.0, 480.0, 1440.0, 4320.0)


def known_at(row: IncidentRow, at: datetime) -> IncidentRow:
    """The incident as it was known at an instant: what happened later has not happened."""
    acknowledged, mitigated, resolved = row.acknowledged_at, row.mitigated_at, row.resolved_at
    if (
        (acknowledged is None or acknowledged <= at)
        and (mitigated is None or mitigated <= at)
        and (resolved is None or resolved <= at)
    ):
        return row
    return replace(
        row,
        acknowledged_at=acknowledged if acknowledged and acknowledged <= at else None,
        mitigated_at=mitigated if mitigated and mitigated <= at else None,
        resolved_at=resolved if resolved and resolved <= at else None,
    )


def is_backwards(row: IncidentRow) -> bool:
    """Resolved or acknowledged before it was triggered: no duration can be read from it."""
    began, acknowledged, resolved = row.triggered_at, row.acknowledged_at, row.resolved_at
    return (acknowledged is not None and acknowledged < began) or (resolved is not None and resolved < began)


def usable(rows: Iterable[IncidentRow]) -> list[IncidentRow]:
    """Those that durations are read from."""
    return [row for row in rows if not row.left_out and not is_backwards(row)]


def minutes(since: datetime, until: datetime) -> float:
    return (until - since).total_seconds() / 60


def curve_of(rows: Sequence[IncidentRow], *, until: datetime, tau: timedelta) -> Curve:
    """Time to resolve, in minutes, capped at τ; open incidents count for as long as they have been open."""
    return kaplan_meier(*durations(rows, until=until, tau=tau))


def durations(rows: Sequence[IncidentRow], *, until: datetime, tau: timedelta) -> tuple[Floats, Ints]:
    """Minutes, capped at τ, and which of them ended within it."""
    cap = tau.total_seconds() / 60
    spans = np.array([minutes(row.triggered_at, row.resolved_at or until) for row in rows], dtype=np.float64)
    resolved = np.array([row.resolved_at is not None for row in rows], dtype=bool)
    return np.clip(spans, 0.0, cap), (resolved & (spans <= cap)).astype(np.int64)


def arm_figures(
    name: str,
    rows: Sequence[IncidentRow],
    *,
    until: datetime,
    tau: timedelta,
    units: Sequence[Unit] = (),
    curve: Curve | None = None,
) -> ArmFigures:
    """Figures of one group. units: its mature units, for the geometric mean. curve: its own, where it is known."""
    read = usable(rows)
    acknowledged = [minutes(r.triggered_at, r.acknowledged_at) for r in read if r.acknowledged_at is not None]
    resolved = [minutes(r.triggered_at, r.resolved_at) for r in read if r.resolved_at is not None]
    mean = error = None
    if read:
        mean, error = restricted_mean(curve or curve_of(read, until=until, tau=tau), tau.total_seconds() / 60)
    values = [unit.value for unit in units if not unit.excluded]
    return ArmFigures(
        arm=name,
        incidents=len(rows),
        units=len({row.unit_id for row in rows}),
        still_open=len(read) - len(resolved),
        acknowledged=len(acknowledged),
        mtta_mean=_of(np.mean, acknowledged),
        mtta_median=_of(np.median, acknowledged),
        resolved=len(resolved),
        mttr_mean=_of(np.mean, resolved),
        mttr_median=_of(np.median, resolved),
        mttr_p90=_of(lambda v: np.quantile(v, 0.9), resolved),
        restricted_mean=mean,
        restricted_error=error,
        geometric_mean=math.exp(math.fsum(values) / len(values)) if values else None,
    )


def _of(statistic: Callable[[Floats], np.floating[Any]], values: Sequence[float]) -> float | None:
    return float(statistic(np.array(values, dtype=np.float64))) if values else None


def weekly_medians(
    rows: Iterable[IncidentRow],
    *,
    week: Week,
    zone: ZoneInfo,
    until: datetime,
    tau: timedelta,
    name_of: Callable[[IncidentRow], str | None],
) -> tuple[WeekPoint, ...]:
    """Kaplan-Meier median minutes by week of start and by arm, the last weeks up to `week`.

    name_of: the arm as readers know it, None for an incident that is in none. zone: whose weeks they are.
    """
    shown = [week.before(back) for back in range(WEEKS_SHOWN - 1, -1, -1)]
    begins = [one.begins_at(zone) for one in shown]
    groups: dict[tuple[int, str], list[IncidentRow]] = {}
    names: set[str] = set()
    first = len(shown) - 1
    for row in usable(rows):
        name = name_of(row)
        if name is not None:
            place = bisect_right(begins, row.triggered_at) - 1
            names.add(name)
            first = min(first, place)
            groups.setdefault((place, name), []).append(row)
    points = []
    for place, one in enumerate(shown):
        if place < first:
            continue
        for name in sorted(names):
            group = groups.get((place, name), [])
            half = median(curve_of(group, until=until, tau=tau)).median if group else None
            points.append(WeekPoint(week=one.name, arm=name, median=half, n=len(group)))
    return tuple(points)


def curve_part(name: str, curve: Curve, *, tau: timedelta) -> CurvePart:
    """One arm's curve with the numbers at risk under it."""
    steps = curve.events > 0
    ticks = tuple(tick for tick in _TICKS_MINUTES if tick <= tau.total_seconds() / 60)
    return CurvePart(
        arm=name,
        minutes=tuple(float(t) for t in curve.times[steps]),
        still_open=tuple(float(s) for s in curve.survival[steps]),
        ticks=ticks,
        at_risk=tuple(curve.open_at(tick) for tick in ticks),
    )


def exposure_of(name: str, rows: Sequence[IncidentRow]) -> Exposure:
    return Exposure(
        arm=name,
        incidents=len(rows),
        posted=sum(row.exposed for row in rows),
        before_acknowledged=sum(bool(row.exposed and row.before_acknowledged) for row in rows),
        before_resolved=sum(bool(row.exposed and row.before_resolved) for row in rows),
        crossover=sum(row.crossover for row in rows),
    )


def service_effects(units: Sequence[Unit]) -> tuple[ServiceEffect, ...]:
    """Ratio of geometric means by service, shrunk towards the common one (DerSimonian and Laird, 1986).

    A service of few units says little by itself: what is shown is drawn to what all of them say together.
    """
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for unit in units:
        if not unit.excluded:
            groups.setdefault(unit.service, ([], []))[unit.arm == "treatment"].append(unit.value)
    estimates: dict[str, tuple[float, float]] = {}
    residual = _pooled_variance([values for pair in groups.values() for values in pair])
    for service, (theirs, ours) in groups.items():
        if min(len(theirs), len(ours)) >= _FEWEST_AN_ARM and residual:
            difference = float(np.mean(ours) - np.mean(theirs))
            estimates[service] = difference, residual * (1 / len(ours) + 1 / len(theirs))
    common, between = _random_effects(list(estimates.values()))
    found = []
    for service, (theirs, ours) in groups.items():
        ratio = shrunk = None
        if service in estimates:
            difference, variance = estimates[service]
            weight = between / (between + variance) if between > 0 else 0.0
            ratio, shrunk = math.exp(difference), math.exp(weight * difference + (1 - weight) * common)
        found.append(
            ServiceEffect(service=service, control=len(theirs), treatment=len(ours), ratio=ratio, shrunk=shrunk)
        )
    return tuple(sorted(found, key=lambda s: (-(s.control + s.treatment), s.service)))


def _pooled_variance(groups: Sequence[Sequence[float]]) -> float:
    free = sum(max(len(group) - 1, 0) for group in groups)
    if not free:
        return 0.0
    return sum(float(((np.array(g) - np.mean(g)) ** 2).sum()) for g in groups if len(g) > 1) / free


def _random_effects(estimates: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Common effect and variance between services."""
    if not estimates:
        return 0.0, 0.0
    effects = np.array([e for e, _ in estimates])
    weights = 1.0 / np.array([v for _, v in estimates])
    fixed = float((weights * effects).sum() / weights.sum())
    spread = float((weights * (effects - fixed) ** 2).sum()) - (len(estimates) - 1)
    room = float(weights.sum() - (weights**2).sum() / weights.sum())
    between = max(0.0, spread / room) if room > 0 else 0.0
    both = 1.0 / (1.0 / weights + between)
    return float((both * effects).sum() / both.sum()), between


def most(names: Iterable[str], limit: int = 5) -> tuple[Counted, ...]:
    """The most frequent, then by name."""
    counts = Counter(name for name in names if name)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Counted(name=name, count=count) for name, count in ordered[:limit])
