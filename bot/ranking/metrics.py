"""Metrics of one service against its own past: CPU and memory as causes, everything else as a symptom."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from bot.ranking.causes import Origin
from bot.ranking.weights import MetricWeights
from integrations.records import Batch, Series, Window

CAUSES = frozenset({"cpu", "memory"})
"""Metrics that say something about the service itself; the others also move when something it calls is ill."""
FALLING_IS_BAD = frozenset({"success_rate", "success_ratio", "availability", "request_rate", "db_pool_size"})

EXPLAINING = frozenset({"saturation", "db_pool_wait", "db_pool_size", "error_ratio", "latency_p95"})
"""Metrics that are shown beside the traces of a service that stands out, without weighing anything."""
FAILURES = FALLING_IS_BAD | {"error_ratio", "error_rate"}
STRETCH_SECONDS = 1800.0
"""Points further apart than this belong to different stretches of the past."""
IMPOSSIBLE = 1e150
"""Nothing measured is as large; squares and differences of what is smaller are finite."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Move:
    """A metric that left its usual range: `value` now, `usual` (median) before."""

    name: str
    service: str
    pod: str
    unit: str
    z: float
    value: float
    usual: float
    seen_at: datetime
    origin: Origin
    url: str

    @property
    def score(self) -> float:
        return math.log1p(self.z) / 3


def find_moves(
    batches: Sequence[Batch[Series]],
    window: Window,
    weights: MetricWeights,
    names: Iterable[str] | None = None,
    services: Iterable[str] | None = None,
) -> list[Move]:
    """The metrics that moved, largest first; `names` and `services` limit which are looked at."""
    wanted = frozenset(names) if names is not None else None
    whose = frozenset(services) if services is not None else None
    moves = []
    for batch in batches:
        origin = Origin(batch.source, batch.readers, batch.model, batch.url)
        for series in batch.records:
            if (wanted is None or series.name in wanted) and (whose is None or series.service in whose):
                move = _move(series, window, weights, origin)
                if move is not None:
                    moves.append(move)
    moves.sort(key=lambda one: (-one.z, one.service, one.name, one.pod))
    return moves


def _move(series: Series, window: Window, weights: MetricWeights, origin: Origin) -> Move | None:
    times, values = _points(series)
    first = window.start.timestamp() - weights.before_seconds
    last = max(window.start.timestamp() + weights.after_seconds, window.end.timestamp())
    current = (times >= first) & (times <= last)
    past = times < first
    if not current.any() or int(past.sum()) < weights.min_points:
        return None
    turned = _turned(series, values)
    at = int(turned[current].argmax())
    z = _distance(float(turned[current][at]), times[past], turned[past], series, weights)
    if z <= weights.min_z:
        return None
    return Move(
        name=series.name,
        service=series.service,
        pod=series.pod,
        unit=series.unit,
        z=z,
        value=float(values[current][at]),
        usual=float(np.median(values[past])),
        seen_at=datetime.fromtimestamp(float(times[current][at]), UTC),
        origin=origin,
        url=series.url,
    )


def _points(series: Series) -> tuple[Numbers, Numbers]:
    times, values = np.asarray(series.times, dtype=float), np.asarray(series.values, dtype=float)
    if times.shape != values.shape or times.ndim != 1:
        return np.array([]), np.array([])
    finite = np.isfinite(times) & (np.abs(values) < IMPOSSIBLE)
    order = np.argsort(times[finite], kind="stable")
    return times[finite][order], values[finite][order]


def _turned(series: Series, values: Numbers) -> Numbers:
    """So that larger is worse: what is missing to the whole of a share of successes, the negative of other rates."""
    if series.name not in FALLING_IS_BAD:
        return values
    return {"percent": 100 - values, "ratio": 1 - values}.get(series.unit, -values)


def _distance(now: float, times: Numbers, past: Numbers, series: Series, weights: MetricWeights) -> float:
    """How many spreads above the usual range, against whichever past stretch (hour, day, week before) is nearest."""
    usual = float(np.median(past))
    spread = 1.4826 * float(np.median(np.abs(past - usual)))
    # One percentage point, or its like where the unit is another: 0.01 of a ratio, 1 % of the median elsewhere.
    absolute = weights.absolute_failures if series.name in FAILURES else weights.absolute
    absolute *= {"percent": 1.0, "ratio": 0.01}.get(series.unit, 0.01 * abs(usual))
    gaps = np.flatnonzero(np.diff(times) > STRETCH_SECONDS) + 1
    edge = max(float(np.quantile(one, 0.9)) for one in np.split(past, gaps))
    return (now - edge) / max(spread, weights.relative * abs(usual), absolute, 1e-12)
