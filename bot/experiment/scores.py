"""Scores: each unit's value against what was known before it, so that no score is ever revised.

Centre and scale come from the baseline and the earlier units, arms pooled; a stratum's mean is shrunk towards the
common one by two pseudo-observations; scores are clipped at ±2.5. What is learnt from a unit is its clipped value, so
that one endless incident moves neither centre nor scale for the rest of the experiment (Huber's proposal 2, one step a
unit). Under the hypothesis of no effect the values do not depend on the arms, so neither do the scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PRIOR_CENTRE = math.log(60.0)
PRIOR_VARIANCE = 1.44
PRIOR_WEIGHT = 4.0
STRATUM_WEIGHT = 2.0
CLIP = 2.5


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores and the scale (standard deviation of log minutes within strata) after the last unit of each column."""

    z: Floats
    """Shape (units, columns); 0 where there is no value."""
    scale: Floats
    """Shape (units + 1, columns): the scale that unit i is divided by; the last row is what a next one would be."""


def score(
    values: Floats,
    strata: Ints,
    *,
    baseline: Sequence[tuple[int, float]] = (),
) -> Scored:
    """Score units in their order.

    values: log minutes, shape (units, columns); NaN = no value (excluded, or no such unit in this column).
    strata: small integers from 0, shape (units,) or (units, columns).
    baseline: (stratum, log minutes) of earlier units, learnt from before the first; a stratum < 0 is common only.
    """
    count, columns = values.shape
    kinds = (
        int(max(strata.max(initial=0), *(s for s, _ in baseline), 0)) + 1
        if baseline
        else int(strata.max(initial=0)) + 1
    )
    before = _State(kinds, 1)  # the same in every column
    for kind, value in baseline:
        before.learn(np.array([value]), kind)
    state = before.widened(columns)
    z = np.zeros_like(values)
    scale = np.empty((count + 1, columns))
    every = np.arange(columns)
    for i in range(count):
        where: tuple[Ints, Ints] | int = int(strata[i]) if strata.ndim == 1 else (strata[i], every)
        scale[i], z[i] = state.learn(values[i], where)
    scale[count] = state.scale()
    return Scored(z=z, scale=scale)


class _State:
    """Sums over what came before: common and by stratum, one column a world."""

    def __init__(self, kinds: int, columns: int) -> None:
        self._n = np.zeros(columns)
        self._total = np.zeros(columns)
        self._squares = np.zeros(columns)
        self._stratum_n = np.zeros((kinds, columns))
        self._stratum_total = np.zeros((kinds, columns))

    def widened(self, columns: int) -> _State:
        """The same sums in so many columns."""
        wide = _State(0, 0)
        wide._n, wide._total, wide._squares = (np.repeat(a, columns) for a in (self._n, self._total, self._squares))
        wide._stratum_n = np.repeat(self._stratum_n, columns, axis=1)
        wide._stratum_total = np.repeat(self._stratum_total, columns, axis=1)
        return wide

    def scale(self) -> Floats:
        found: Floats = np.sqrt((PRIOR_WEIGHT * PRIOR_VARIANCE + self._squares) / (PRIOR_WEIGHT + self._n))
        return found

    def learn(self, value: Floats, stratum: tuple[Ints, Ints] | int) -> tuple[Floats, Floats]:
        """The scale before this unit and its score; then learn the clipped value."""
        scale = self.scale()
        common = (PRIOR_WEIGHT * PRIOR_CENTRE + self._total) / (PRIOR_WEIGHT + self._n)
        if isinstance(stratum, int) and stratum < 0:
            centre = common
        else:
            centre = (self._stratum_total[stratum] + STRATUM_WEIGHT * common) / (
                self._stratum_n[stratum] + STRATUM_WEIGHT
            )
        there = ~np.isnan(value)
        z = np.where(there, np.minimum(np.maximum((value - centre) / scale, -CLIP), CLIP), 0.0)
        moved = z * scale
        learnt = np.where(there, centre + moved, 0.0)
        self._n += there
        self._total += learnt
        self._squares += moved * moved
        if not (isinstance(stratum, int) and stratum < 0):
            self._stratum_n[stratum] += there
            self._stratum_total[stratum] += learnt
        return scale, z
