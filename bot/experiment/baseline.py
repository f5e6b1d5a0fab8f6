"""The baseline: what incidents looked like before, and the smallest effect that an experiment here could show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

import numpy as np

from bot.experiment.power import Rule, detectable_ratio
from bot.experiment.scores import Floats
from bot.experiment.survival import kaplan_meier, restricted_mean
from bot.experiment.units import WEEK, Row, Unit, form_units, is_backwards

HORIZONS = (13, 26, 52)
JOIN_WITHIN = timedelta(minutes=60)
SERVICE_SHARE = 0.10
"""A service that explains more of the variance of logs than this is a better stratum than severity."""


@dataclass(frozen=True)
class Durations:
    """Minutes of a group of incidents. Quantiles and means are of the resolved ones; the restricted mean is of all."""

    group: str
    incidents: int
    still_open: int
    mean: float | None
    p10: float | None
    p25: float | None
    median: float | None
    p75: float | None
    p90: float | None
    p99: float | None
    restricted_mean: float | None
    """Area under the Kaplan-Meier curve up to τ: it counts the open ones for as long as they have been open."""
    acknowledged: int = 0
    mtta_mean: float | None = None
    mtta_median: float | None = None
    mtta_p90: float | None = None


@dataclass(frozen=True)
class Detectable:
    """What could be found in 80 of 100 experiments of so many weeks at this rate."""

    weeks: int
    rule: Rule
    units: float
    ratio: float


@dataclass(frozen=True)
class Baseline:
    """Figures of the weeks before."""

    weeks: float
    incidents: int
    units: int
    units_a_week: float
    all: Durations
    by_stratum: tuple[Durations, ...]
    by_service: tuple[Durations, ...]
    sigma: float | None
    """Standard deviation of units' log minutes within strata."""
    storms_share: float
    """Share of incidents that share their unit with others."""
    service_explains: float | None
    """Share of the variance of log minutes that service explains, adjusted for the number of services."""
    detectable: tuple[Detectable, ...]
    backwards: int
    tau: timedelta

    @property
    def advice(self) -> str:
        """By what to stratify."""
        if self.service_explains is not None and self.service_explains > SERVICE_SHARE:
            return f"Stratify by service: it explains {self.service_explains:.0%} of the variance of log minutes."
        return "Stratify by severity: service explains too little of the variance of log minutes to be worth it."

    def cannot_find(self, weeks: int, rule: Rule) -> str:
        """The line for the hypothesis file."""
        found = could_find(self.units_a_week, self.sigma, self.tau, weeks, rule)
        if found is None:
            return "cannot say what could be found: too few incidents"
        return f"cannot find an effect below {round(100 * (1 - found.ratio))} %"

    def as_json(self) -> dict[str, object]:
        """Plain values, figures to six digits."""
        rounded = _rounded({**asdict(self), "tau": None})
        assert isinstance(rounded, dict)
        del rounded["tau"]
        return {**rounded, "tau_hours": self.tau / timedelta(hours=1), "advice": self.advice}


def summarise(rows: Sequence[Row], *, tau: timedelta, weeks: float | None = None) -> Baseline:
    """The baseline of past incidents. weeks: how long they were collected; default from the first to the last.

    Rows without a storm_id are joined as the bot joins them, by time and service (the call graph of then is unknown).
    """
    joined = join_storms(rows)
    usable = [row for row in joined if not is_backwards(row)]
    units = [unit for unit in form_units(joined, tau=tau) if not unit.excluded]
    spread = (
        (max(row.triggered_at for row in rows) - min(row.triggered_at for row in rows)) / WEEK if len(rows) > 1 else 0.0
    )
    span = weeks or max(spread, 1.0)
    members: dict[str, int] = {}
    for row in joined:
        members[row.unit_id] = members.get(row.unit_id, 0) + 1
    sigma = within_strata(units)
    rate = len(units) / span
    return Baseline(
        weeks=span,
        incidents=len(rows),
        units=len(units),
        units_a_week=rate,
        all=durations("all", usable, tau),
        by_stratum=_grouped(usable, lambda row: row.stratum, tau),
        by_service=_grouped(usable, lambda row: row.service, tau),
        sigma=sigma,
        storms_share=sum(count for count in members.values() if count > 1) / len(joined) if joined else 0.0,
        service_explains=_explained(units),
        detectable=_detectable(rate, sigma, tau),
        backwards=len(joined) - len(usable),
        tau=tau,
    )


def join_storms(rows: Iterable[Row]) -> list[Row]:
    """Give rows without a storm_id the one of the latest incident of their service that began at most an hour before.

    A row that names its storm keeps it.
    """
    latest: dict[str, Row] = {}
    found: list[Row] = []
    for row in sorted(rows, key=lambda r: (r.triggered_at, r.incident_id)):
        before = latest.get(row.service)
        close = before is not None and row.triggered_at - before.triggered_at <= JOIN_WITHIN
        if row.storm_id or before is None or not close or not row.service:
            placed = row
        else:
            placed = _with_storm(row, before.unit_id)
        latest[row.service] = placed
        found.append(placed)
    return _name_firsts(found)


def _with_storm(row: Row, storm: str) -> Row:
    return replace(row, storm_id=storm)


def _name_firsts(rows: list[Row]) -> list[Row]:
    """The first incident of a storm bears its own id as the storm's."""
    storms = {row.storm_id for row in rows if row.storm_id}
    return [
        _with_storm(row, row.incident_id) if not row.storm_id and row.incident_id in storms else row for row in rows
    ]


def durations(group: str, rows: Sequence[Row], tau: timedelta) -> Durations:
    """Figures of one group; None where nothing is resolved."""
    minutes = [(row.resolved_at - row.triggered_at).total_seconds() / 60 for row in rows if row.resolved_at is not None]
    ended = np.maximum(np.array(minutes, dtype=np.float64), 0.0)
    waits = [(row.acknowledged_at - row.triggered_at).total_seconds() / 60 for row in rows if row.acknowledged_at]
    waited = np.maximum(np.array(waits, dtype=np.float64), 0.0)
    mtta = (float(waited.mean()), *(float(q) for q in np.quantile(waited, (0.5, 0.9)))) if waits else (None,) * 3
    if not len(ended):
        return Durations(group, len(rows), len(rows), *(None,) * 8, len(waits), *mtta)
    until = tau.total_seconds() / 60
    times = np.concatenate([ended, np.full(len(rows) - len(ended), until)])
    events = np.concatenate([np.ones(len(ended), dtype=np.int64), np.zeros(len(rows) - len(ended), dtype=np.int64)])
    p10, p25, half, p75, p90, p99 = (float(q) for q in np.quantile(ended, (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)))
    return Durations(
        group=group,
        incidents=len(rows),
        still_open=len(rows) - len(ended),
        mean=float(ended.mean()),
        p10=p10,
        p25=p25,
        median=half,
        p75=p75,
        p90=p90,
        p99=p99,
        restricted_mean=restricted_mean(kaplan_meier(times, events), until)[0],
        acknowledged=len(waits),
        mtta_mean=mtta[0],
        mtta_median=mtta[1],
        mtta_p90=mtta[2],
    )


def _grouped(rows: Sequence[Row], key: Callable[[Row], str], tau: timedelta) -> tuple[Durations, ...]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(durations(name, group, tau) for name, group in ordered)


def within_strata(units: Sequence[Unit]) -> float | None:
    """Pooled standard deviation of units' log minutes within strata; None below two units more than strata."""
    groups = _values_by(units, lambda unit: unit.stratum)
    free = len(units) - len(groups)
    if free < 2:
        return None
    return math.sqrt(sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / free)


def _explained(units: Sequence[Unit]) -> float | None:
    """Adjusted R² of log minutes on service."""
    groups = _values_by(units, lambda unit: unit.service)
    free = len(units) - len(groups)
    if len(groups) < 2 or free < 2:
        return None
    every = np.concatenate(groups)
    whole = float(((every - every.mean()) ** 2).sum()) / (len(every) - 1)
    inside = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / free
    return 1.0 - inside / whole if whole > 0 else None


def _values_by(units: Sequence[Unit], key: Callable[[Unit], str]) -> list[Floats]:
    groups: dict[str, list[float]] = {}
    for unit in units:
        groups.setdefault(key(unit), []).append(unit.value)
    return [np.array(group) for group in groups.values()]


def could_find(units_a_week: float, sigma: float | None, tau: timedelta, weeks: int, rule: Rule) -> Detectable | None:
    """The ratio found in 80 of 100 experiments of so many weeks; None below four units that mature in them."""
    units = units_a_week * max(weeks - tau / WEEK, 0.0)
    if not sigma or units < 4:
        return None
    return Detectable(weeks, rule, units, detectable_ratio(units=units, sigma=sigma, rule=rule))


def _detectable(rate: float, sigma: float | None, tau: timedelta) -> tuple[Detectable, ...]:
    rules: tuple[Rule, ...] = ("planned", "open")
    asked = [could_find(rate, sigma, tau, weeks, rule) for weeks in HORIZONS for rule in rules]
    return tuple(found for found in asked if found is not None)


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
