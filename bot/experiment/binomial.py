"""Exact binomial intervals and the distributions they need, without scipy."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

_TINY = 1e-300
_STEPS = 400


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz; DLMF 8.17.22)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - incomplete_beta(b, a, 1.0 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for m in range(1, _STEPS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            fraction *= d * c
        if abs(d * c - 1.0) < 1e-15:
            break
    return front * fraction


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a proportion (Clopper and Pearson 1934)."""
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in 0 … {trials!r}, got {successes!r}")
    if not trials:
        return 0.0, 1.0
    tail = (1.0 - confidence) / 2.0
    low = 0.0
    if successes:
        low = _solve(lambda p: incomplete_beta(successes, trials - successes + 1, p) - tail)
    high = 1.0
    if successes < trials:
        high = _solve(lambda p: incomplete_beta(successes + 1, trials - successes, p) - (1.0 - tail))
    return low, high


def _solve(rising: Callable[[float], float]) -> float:
    """Where a rising function on 0 … 1 is zero, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2.0
        if rising(middle) < 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def student_t_cdf(t: float, degrees: float) -> float:
    """Distribution function of Student's t."""
    half = 0.5 * incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t))
    return 1.0 - half if t > 0 else half


def student_t_quantile(chance: float, degrees: float) -> float:
    """Quantile of Student's t for a chance above one half."""
    if degrees > 1e6:
        return NormalDist().inv_cdf(chance)
    low, high = 0.0, 1.0
    while student_t_cdf(high, degrees) < chance:
        high *= 2.0
    for _ in range(200):
        middle = (low + high) / 2.0
        if student_t_cdf(middle, degrees) < chance:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0
