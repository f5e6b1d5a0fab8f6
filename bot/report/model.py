"""The weekly report as a value: every figure with its n, in the order in which it is shown. Forms are made of it."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any

from bot.experiment.words import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFigures:
    """Times of one group of incidents, in minutes; None where nothing can be said."""

    arm: str
    """As readers know it: facts, facts+summary, …; "all incidents" outside an experiment."""
    incidents: int
    units: int
    still_open: int
    acknowledged: int
    mtta_mean: float | None
    mtta_median: float | None
    resolved: int
    mttr_mean: float | None
    mttr_median: float | None
    mttr_p90: float | None
    restricted_mean: float | None
    restricted_error: float | None
    geometric_mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekPoint:
    """One week of one arm in the chart."""

    week: str
    arm: str
    median: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePart:
    """One arm's survival curve as steps, with numbers at risk under the ticks."""

    arm: str
    minutes: tuple[float, ...]
    still_open: tuple[float, ...]
    """Share after each time."""
    ticks: tuple[float, ...]
    at_risk: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEffect:
    """One service: its own ratio drawn towards the common one by how little it knows."""

    service: str
    control: int
    treatment: int
    ratio: float | None
    shrunk: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What the units of an arm saw. Analysis is by what was assigned, whatever was seen."""

    arm: str
    incidents: int
    posted: int
    before_acknowledged: int
    before_resolved: int
    crossover: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentPart:
    """What the experiment says at its last look."""

    name: str
    changes: str
    contrast: str
    verdict: Verdict
    rule: str
    look: int
    horizon_weeks: int
    looked_at: datetime | None
    next_look: datetime | None
    ratio: tuple[float, float, float] | None
    """Point, low, high: minutes with the treatment over minutes without."""
    bounded: tuple[bool, bool]
    e_faster: float
    e_slower: float
    alpha_spent: float | None
    detectable_ratio_80: float | None
    found_in_hundred: int | None
    expected_ratio: float
    cannot_find: str
    units_control: int
    units_treatment: int
    immature: int
    capped: int
    excluded: int
    not_derivable: int
    lost_e: float
    harm: str
    guards: tuple[str, ...]
    """What the hypothesis file wants warned of."""
    log_rank_p: float | None
    stratified_log_rank_p: float | None
    curves: tuple[CurvePart, ...]
    arms: tuple[ArmFigures, ...]
    baseline: ArmFigures | None
    """The 13 weeks before it."""
    services: tuple[ServiceEffect, ...]
    exposure: tuple[Exposure, ...]
    paused: tuple[str, ...]
    corrections: tuple[str, ...]
    data_sha256: str
    hypothesis_sha256: str
    seed_sha256: str
    seed: str | None
    """Hexadecimal, once the experiment has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCost:
    """Requests to one model for one use."""

    use: str
    model: str
    requests: int
    usd: float
    usd_per_1000_requests: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """What the week's readers did not get to see, and why."""

    hidden_items: int
    hidden_triages: int
    """Triages with at least one hidden item."""
    triages: int
    because: tuple[Counted, ...]
    """Why there was no summary, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPart:
    """Money. Minutes saved are a matter of the experiment to date, the rest of the week."""

    usd_week: float
    triages: int
    usd_per_triage: float
    usd_per_minute: tuple[float, float, float] | None
    sentence: str
    uses: tuple[UseCost, ...]
    """Every request of the week, by use and model."""
    requests: int
    usd_requests: float
    released: int
    """Triages of the week whose summary was shown."""
    usd_per_released: float | None
    outcomes: tuple[Counted, ...]
    """How the week's triages ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Part of a whole: `part` of `whole`, with what it counts."""

    name: str
    part: int
    whole: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A thing and how often."""

    name: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityPart:
    """Was what was said right? To date, by people's labels and votes."""

    top1: Share
    top3: Share
    wrong: int
    unused: int
    helpful: Share
    rejected: Share
    rejected_because: tuple[Counted, ...]
    calibration: tuple[Share, ...]
    by_version: tuple[Share, ...]
    """First suspect right, by prompt version and model."""
    hidden: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklyReport:
    """One week. `sentence` is the first line of every form."""

    week: str
    dates: str
    zone: str
    begins_at: datetime
    ends_at: datetime
    headline: str
    sentence: str
    experiment: ExperimentPart | None
    arms: tuple[ArmFigures, ...]
    """Of the week's incidents."""
    weekly: tuple[WeekPoint, ...]
    mttr_note: str
    deployments: ArmFigures | None
    """Failed-deployment recovery: incidents of the week that a person labelled as caused by a deployment."""
    cost: CostPart
    quality: QualityPart
    services: tuple[Counted, ...]
    causes: tuple[Counted, ...]
    changes: tuple[Counted, ...]
    """Changes that people said were the cause."""
    withheld: Withheld
    wrong_suggestions: tuple[Counted, ...]
    odd: tuple[str, ...]
    definitions: tuple[tuple[str, str], ...]


def plain(value: Any) -> Any:
    """A report as what JSON knows: figures to six digits, times as ISO 8601 UTC."""
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value
