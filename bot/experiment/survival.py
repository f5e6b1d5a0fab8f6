"""Kaplan-Meier and what is read from it: description, not the verdict. Figures agree with R's survival package.

Curve and Greenwood's variance: Kaplan and Meier 1958, Kalbfleisch and Prentice, "The Statistical Analysis of Failure
Time Data", 2002. Restricted mean and its standard error, medians with log-log intervals: as R's `survfit` prints them.
Log-rank with the hypergeometric variance, summed over strata: Mantel 1966, R's `survdiff` with rho = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from bot.experiment.scores import Floats, Ints

_EQUAL = 1e-9


@dataclass(frozen=True)
class Curve:
    """A survival curve: share still open after each time at which something ended."""

    times: Floats
    """Distinct times, ascending; in whatever unit was given."""
    at_risk: Ints
    """Open just before each time."""
    events: Ints
    survival: Floats
    hazard_variance: Floats
    """Greenwood's sum up to each time: the variance of log survival; infinite where survival is 0."""

    def at(self, time: float) -> float:
        """Share still open after a time."""
        place = int(np.searchsorted(self.times, time, side="right"))
        return 1.0 if place == 0 else float(self.survival[place - 1])

    def open_at(self, time: float) -> int:
        """Number at risk just before a time, as it stands under a plot."""
        place = int(np.searchsorted(self.times, time, side="left"))
        return int(self.at_risk[place]) if place < len(self.times) else 0


def kaplan_meier(times: Floats, events: Sequence[bool] | Ints) -> Curve:
    """The curve of durations; `events` says which ended (else they were still open).

    Raises ValueError when a time is negative or not a number, or the lengths differ.
    """
    durations = np.asarray(times, dtype=np.float64)
    ended = np.asarray(events, dtype=np.int64)
    if durations.shape != ended.shape or durations.ndim != 1:
        raise ValueError(f"times and events must be two lists of one length, got {durations.shape} and {ended.shape}")
    if not np.all(durations >= 0) or not np.all(np.isfinite(durations)):
        raise ValueError("times must be numbers of at least 0")
    distinct, index = np.unique(durations, return_inverse=True)
    deaths = np.bincount(index, weights=ended, minlength=len(distinct)).astype(np.int64)
    leaving = np.bincount(index, minlength=len(distinct))
    at_risk = len(durations) - np.concatenate([[0], np.cumsum(leaving)[:-1]]) if len(distinct) else leaving
    survival = np.cumprod(1.0 - deaths / np.maximum(at_risk, 1))
    survivors = at_risk - deaths
    terms = np.where(deaths > 0, np.inf, 0.0)
    np.divide(deaths, at_risk * survivors.astype(np.float64), out=terms, where=survivors > 0)
    return Curve(distinct, at_risk.astype(np.int64), deaths, survival, np.cumsum(terms))


def restricted_mean(curve: Curve, until: float) -> tuple[float, float]:
    """Mean of min(time, until), the area under the curve, and its standard error."""
    inside = curve.times < until
    times = curve.times[inside]
    edges = np.concatenate([[0.0], times, [until]])
    areas = np.diff(edges) * np.concatenate([[1.0], curve.survival[inside]])
    after = np.cumsum(areas[::-1])[::-1][1:]
    survivors = (curve.at_risk - curve.events)[inside].astype(np.float64)
    terms = np.zeros(len(times))
    np.divide(curve.events[inside], curve.at_risk[inside] * survivors, out=terms, where=survivors > 0)
    return float(areas.sum()), math.sqrt(float((after**2 * terms).sum()))


@dataclass(frozen=True)
class Median:
    """Time by which half had ended; None where the curve or its bound never gets there."""

    median: float | None
    low: float | None
    high: float | None


def median(curve: Curve, confidence: float = 0.95) -> Median:
    """The median and its log-log interval."""
    z = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    inner = (curve.survival > _EQUAL) & (curve.survival < 1.0 - _EQUAL)
    log = np.log(np.where(inner, curve.survival, 0.5))
    spread = z * np.sqrt(np.where(inner, curve.hazard_variance, 0.0)) / np.abs(log)
    lower = np.where(inner, np.exp(log * np.exp(spread)), curve.survival)
    upper = np.where(inner, np.exp(log * np.exp(-spread)), curve.survival)
    # Where survival is 0 R has no bounds.
    gone = curve.survival <= _EQUAL
    return Median(
        _crossing(curve.times, curve.survival),
        _crossing(curve.times[~gone], lower[~gone]),
        _crossing(curve.times[~gone], upper[~gone]),
    )


def _crossing(times: Floats, falling: Floats) -> float | None:
    """First time at which a curve is at most one half; midway to the next step where it is exactly that."""
    below = np.flatnonzero(falling <= 0.5 + _EQUAL)
    if not len(below):
        return None
    first = int(below[0])
    if abs(falling[first] - 0.5) <= _EQUAL:
        further = np.flatnonzero(falling < 0.5 - _EQUAL)
        if len(further):
            return float((times[first] + times[further[0]]) / 2.0)
    return float(times[first])


@dataclass(frozen=True)
class LogRank:
    """Did two groups end at the same rate?"""

    chi_squared: float
    p: float
    observed: tuple[int, int]
    expected: tuple[float, float]


def log_rank(
    times: Floats, events: Sequence[bool] | Ints, group: Sequence[bool] | Ints, strata: Sequence[object] = ()
) -> LogRank | None:
    """The log-rank test of group 1 against group 0, one degree of freedom; None where there is nothing to compare."""
    durations = np.asarray(times, dtype=np.float64)
    ended = np.asarray(events, dtype=np.int64)
    ours = np.asarray(group, dtype=np.int64)
    kinds = np.asarray([str(s) for s in strata]) if len(strata) else np.zeros(len(durations))
    excess = variance = expected_ours = 0.0
    for kind in np.unique(kinds):
        at = kinds == kind
        found = _stratum(durations[at], ended[at], ours[at])
        excess += found[0]
        variance += found[1]
        expected_ours += found[2]
    if variance <= 0:
        return None
    chi = excess * excess / variance
    observed_ours = int((ended * ours).sum())
    total = int(ended.sum())
    return LogRank(
        chi_squared=chi,
        p=math.erfc(math.sqrt(chi / 2.0)),
        observed=(total - observed_ours, observed_ours),
        expected=(total - expected_ours, expected_ours),
    )


def _stratum(times: Floats, ended: Ints, ours: Ints) -> tuple[float, float, float]:
    """Observed minus expected in group 1, its variance, and expected."""
    distinct, index = np.unique(times, return_inverse=True)
    size = len(distinct)

    def still(weights: Ints) -> Floats:
        leaving = np.bincount(index, weights=weights, minlength=size).astype(np.float64)
        kept: Floats = np.cumsum(leaving[::-1])[::-1]
        return kept

    n, n_ours = still(np.ones_like(ended)), still(ours)
    d = np.bincount(index, weights=ended, minlength=size)
    d_ours = np.bincount(index, weights=ended * ours, minlength=size)
    expected = d * n_ours / n
    share = n_ours / n
    variance = np.where(n > 1, d * share * (1 - share) * (n - d) / np.maximum(n - 1, 1), 0.0)
    return float((d_ours - expected).sum()), float(variance.sum()), float(expected.sum())
