"""The numbers of the ranking, from the one table `weights.toml`."""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from bot.errors import ConfigurationError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Signs:
    pattern: float
    transit: float
    own_time: float
    metric: float
    unreachable: float


@dataclass(frozen=True, slots=True)
class Decision:
    nothing: float
    temperature: float


@dataclass(frozen=True, slots=True)
class WindowWeights:
    focus_minutes: float
    shortest_minutes: float


@dataclass(frozen=True, slots=True)
class PatternWeights:
    min_healthy: float
    cap_nats: float
    min_nats: float
    determinism: float
    worst_window: float
    substituted: float
    explained: float
    explained_share: float
    gain_info: float
    gain_warn: float
    gain_error: float
    gain_status: float
    status_cap_nats: float
    status_power: float
    loss_info: float
    loss_warn: float
    loss_error: float
    loose: float
    unknown_normal: float
    pairs_events: float
    pairs_equal: float
    pairs_broken: float
    pairs: float


@dataclass(frozen=True, slots=True)
class TimeWeights:
    min_healthy: float
    p95_times: float
    median_times: float
    median_plus_ms: float
    cap_nats: float
    min_nats: float
    excess_ms: float
    worst_window: float


@dataclass(frozen=True, slots=True)
class SumWeights:
    top: float
    decay: float


@dataclass(frozen=True, slots=True)
class MetricWeights:
    before_seconds: float
    after_seconds: float
    min_points: float
    min_z: float
    relative: float
    absolute: float
    absolute_failures: float


@dataclass(frozen=True, slots=True)
class ChangeWeights:
    floor: float
    age_minutes: float
    after: float
    grace_seconds: float
    none: float
    alerting: float
    per_decade_of_lines: float
    risk_high: float
    risk_medium: float
    risk_low: float
    inferred: float
    past_culprit: float


@dataclass(frozen=True, slots=True)
class MetricOnlyWeights:
    cap_z: float
    explained: float
    caller: float
    depth: float
    unreachable: float
    nothing: float
    temperature: float


@dataclass(frozen=True, slots=True)
class Weights:
    """One attribute a section of the table."""

    signs: Signs
    decision: Decision
    window: WindowWeights
    pattern: PatternWeights
    time: TimeWeights
    sum: SumWeights
    metric: MetricWeights
    change: ChangeWeights
    metric_only: MetricOnlyWeights


def weights_from(table: Mapping[str, Any]) -> Weights:
    """A checked table. Raises ConfigurationError with every missing, unknown or negative number."""
    problems: list[str] = []
    weights = Weights(
        signs=_section(table, "signs", Signs, problems),
        decision=_section(table, "decision", Decision, problems),
        window=_section(table, "window", WindowWeights, problems),
        pattern=_section(table, "pattern", PatternWeights, problems),
        time=_section(table, "time", TimeWeights, problems),
        sum=_section(table, "sum", SumWeights, problems),
        metric=_section(table, "metric", MetricWeights, problems),
        change=_section(table, "change", ChangeWeights, problems),
        metric_only=_section(table, "metric_only", MetricOnlyWeights, problems),
    )
    if problems:
        raise ConfigurationError(problems)
    return weights


@functools.cache
def shipped_weights() -> Weights:
    """The table that comes with this version."""
    text = importlib.resources.files("bot.ranking").joinpath("weights.toml").read_text(encoding="utf-8")
    return weights_from(tomllib.loads(text))


def _section(table: Mapping[str, Any], name: str, kind: type[T], problems: list[str]) -> T:
    raw = table.get(name)
    raw = raw if isinstance(raw, Mapping) else {}
    known = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    values: dict[str, float] = {}
    for key in known:
        value = raw.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            problems.append(f"ranking weights: [{name}] {key} is {value!r}; a number of at least 0 is expected")
        else:
            values[key] = float(value)
    problems += [f"ranking weights: [{name}] knows no {key!r}; remove it" for key in raw if key not in known]
    return kind(**values) if len(values) == len(known) else kind(**dict.fromkeys(known, 0.0))
