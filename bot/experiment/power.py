"""What an experiment of this size could find: chance of a verdict for a true ratio, and what is found in 80 of 100."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

Rule = Literal["planned", "open"]

# Chance that the rule gives the right verdict by the horizon, by the distance √N·|log ratio|/(2σ) between the arms in
# standard errors: simulated, normal logs, 26 looks, N from 40 to 640 pooled.
DISTANCES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0)
POWER: dict[Rule, tuple[float, ...]] = {
    "planned": (0.025, 0.07, 0.16, 0.31, 0.50, 0.69, 0.84, 0.93, 0.975, 0.99, 0.997, 1.0),
    "open": (0.003, 0.01, 0.04, 0.11, 0.23, 0.41, 0.60, 0.77, 0.89, 0.96, 0.985, 1.0),
}


def power(ratio: float, *, units: float, sigma: float, rule: Rule) -> float:
    """Chance (0 … 1) that a true ratio of minutes is found by the time that `units` are mature.

    sigma: standard deviation of log minutes within strata.
    """
    distance = abs(math.log(ratio)) * math.sqrt(max(units, 0.0)) / (2.0 * sigma)
    return float(np.interp(distance, DISTANCES, POWER[rule]))


def detectable_ratio(*, units: float, sigma: float, rule: Rule, chance: float = 0.8) -> float:
    """The ratio below 1 that is found with this chance by the time that `units` (> 0) are mature."""
    distance = float(np.interp(chance, POWER[rule], DISTANCES))
    return math.exp(-distance * 2.0 * sigma / math.sqrt(units))


def units_needed(ratio: float, *, sigma: float, rule: Rule, chance: float = 0.8) -> float:
    """Units that find a true ratio (not 1) with this chance."""
    distance = float(np.interp(chance, POWER[rule], DISTANCES))
    return (distance * 2.0 * sigma / math.log(ratio)) ** 2
