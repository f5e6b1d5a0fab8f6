"""What an experiment of this size could find: chance of a verdict for a true ratio, and what is found in 80 of 100."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

Rule = Literal["planned", "open"]

# Chance of the right verdict by the horizon (26 looks, lognormal, three strata), by the distance between the arms in
# standard errors, √N·|log ratio|/(2σ). Simulated with `simulate`'s own worlds and rules at 2, 5 and 20 incidents a
# week: 600, 500 and 300 worlds a point for the planned rule, which does not depend on N beyond that noise (pooled
# here), 4,000 for the open one, which needs its first blocks to learn the scale.
DISTANCES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0)
_LOG_UNITS = tuple(math.log(n) for n in (51.0, 128.0, 511.0))
_PLANNED = (0.025, 0.062, 0.160, 0.296, 0.452, 0.637, 0.803, 0.900, 0.969, 0.990, 0.995, 1.0)
POWER: dict[Rule, tuple[tuple[float, ...], ...]] = {
    "planned": (_PLANNED, _PLANNED, _PLANNED),
    "open": (
        (0.002, 0.0055, 0.0177, 0.0505, 0.119, 0.232, 0.369, 0.519, 0.685, 0.807, 0.879, 0.969),
        (0.005, 0.0173, 0.0500, 0.1045, 0.209, 0.352, 0.526, 0.699, 0.836, 0.919, 0.966, 0.997),
        (0.007, 0.0230, 0.0510, 0.1057, 0.221, 0.366, 0.547, 0.728, 0.857, 0.934, 0.980, 0.999),
    ),
}


def power(ratio: float, *, units: float, sigma: float, rule: Rule) -> float:
    """Chance (0 … 1) that a true ratio of minutes is found by the time that `units` are mature.

    sigma: standard deviation of log minutes within strata.
    """
    distance = abs(math.log(ratio)) * math.sqrt(max(units, 0.0)) / (2.0 * sigma)
    return float(np.interp(distance, DISTANCES, _curve(units, rule)))


def detectable_ratio(*, units: float, sigma: float, rule: Rule, chance: float = 0.8) -> float:
    """The ratio below 1 that is found with this chance by the time that `units` (> 0) are mature."""
    distance = float(np.interp(chance, _curve(units, rule), DISTANCES))
    return math.exp(-distance * 2.0 * sigma / math.sqrt(units))


def units_needed(ratio: float, *, sigma: float, rule: Rule, chance: float = 0.8) -> float:
    """Units that find a true ratio (not 1) with this chance."""
    low, high = 1.0, 1e9
    for _ in range(200):
        middle = math.sqrt(low * high)
        if power(ratio, units=middle, sigma=sigma, rule=rule) < chance:
            low = middle
        else:
            high = middle
    return high


def _curve(units: float, rule: Rule) -> tuple[float, ...]:
    """Power by distance at so many units, between the sizes that were simulated."""
    at = math.log(max(units, 1.0))
    return tuple(float(np.interp(at, _LOG_UNITS, column)) for column in zip(*POWER[rule], strict=True))
