"""Metrics of one service against its own past: CPU and memory as causes, everything else as a symptom."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from bot.ranking.causes import Origin
from bot.ranking.weights import MetricWeights
from integrations.records import Batch, Series, Window

CAUSES = frozenset({"cpu", "memory"})
"""Metrics that say something about the service itself; the others also move when something it calls is ill."""
FALLING_IS_BAD = frozenset({"success_rate", "success_ratio", "availability", "request_rate"})


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
    batches: Sequence[Batch[Series]], window: Window, weights: MetricWeights, names: Iterable[str] | None = None
) -> list[Move]:
    """The metrics that moved, largest first; `names` limits which are looked at."""
    wanted = frozenset(names) if names is not None else None
    moves = []
    for batch in batches:
        origin = Origin(batch.source, batch.readers, batch.model, batch.url)
        for series in batch.records:
            if wanted is None or series.name in wanted:
                move = _move(series, window, weights, origin)
                if move is not None:
                    moves.append(move)
    moves.sort(key=lambda one: (-one.z, one.service, one.name, one.pod))
    return moves


def _move(series: Series, window: Window, weights: MetricWeights, origin: Origin) -> Move | None:
    times, values = np.asarray(series.times, dtype=float), np.asarray(series.values, dtype=float)
    if times.shape != values.shape or times.ndim != 1:
        return None
    finite = np.isfinite(times) & np.isfinite(values)
    times, values = times[finite], values[finite]
    start = window.start.timestamp()
    first = start - weights.before_seconds
    current = (times >= first) & (times <= max(start + weights.after_seconds, window.end.timestamp()))
    before = values[times < first]
    if not current.any() or len(before) < weights.min_points:
        return None
    falling = series.name in FALLING_IS_BAD
    now = values[current]
    value = float(now.min() if falling else now.max())
    usual = float(np.median(before))
    edge = float(np.quantile(before, 0.1 if falling else 0.9))
    spread = 1.4826 * float(np.median(np.abs(before - usual)))
    # One percentage point, or its like where the unit is another: 0.01 of a ratio, 1 % of the median elsewhere.
    absolute = weights.absolute * {"percent": 1.0, "ratio": 0.01}.get(series.unit, 0.01 * abs(usual))
    distance = (edge - value) if falling else (value - edge)
    z = distance / max(spread, weights.relative * abs(usual), absolute, 1e-12)
    if z <= weights.min_z:
        return None
    at = times[current][int(now.argmin() if falling else now.argmax())]
    return Move(
        name=series.name,
        service=series.service,
        pod=series.pod,
        unit=series.unit,
        z=z,
        value=value,
        usual=usual,
        seen_at=datetime.fromtimestamp(float(at), UTC),
        origin=origin,
        url=series.url,
    )
