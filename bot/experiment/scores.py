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
from typing import Any

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
    one = _One(kinds)
    for kind, value in baseline:  # the same in every column
        one.learn(value, kind)
    if columns == 1 and strata.ndim == 1:
        told = [one.learn(value, kind) for value, kind in zip(values[:, 0].tolist(), strata.tolist(), strict=True)]
        scales = np.array([scale for scale, _ in told] + [one.scale()])
        return Scored(z=np.array([z for _, z in told]).reshape(count, 1), scale=scales[:, None])
    there = ~np.isnan(values)
    filled = np.count_nonzero(there, axis=1)
    same = strata.ndim == 1 and bool(np.isin(filled, (0, columns)).all())
    state = _State(kinds, columns, same=same)
    state.start(one)
    z = np.zeros_like(values)
    scale = np.empty((count + 1, columns))
    every = np.arange(columns)
    whole: list[bool] = (filled == columns).tolist()
    for i in range(count):
        where: tuple[Ints, Ints] | int = int(strata[i]) if strata.ndim == 1 else (strata[i], every)
        scale[i], z[i] = state.learn(values[i], where, whole=whole[i])
    scale[count] = state.scale()
    return Scored(z=z, scale=scale)


class _State:
    """Sums over what came before: common and by stratum, one column a world."""

    def __init__(self, kinds: int, columns: int, *, same: bool) -> None:
        """same: each unit has a value in every column or in none, so that one count holds for all of them."""
        self._n: Any = 0.0 if same else np.zeros(columns)
        self._total = np.zeros(columns)
        self._squares = np.zeros(columns)
        self._stratum_n: Any = [0.0] * kinds if same else np.zeros((kinds, columns))
        self._stratum_total = np.zeros((kinds, columns))
        self._same = same

    def start(self, sums: _One) -> None:
        """Begin with what a baseline taught, the same in every column."""
        self._n += sums.n
        self._total += sums.total
        self._squares += sums.squares
        if self._same:
            self._stratum_n = list(sums.stratum_n)
        else:
            self._stratum_n += np.array(sums.stratum_n)[:, None]
        self._stratum_total += np.array(sums.stratum_total)[:, None]

    def scale(self) -> Floats:
        found: Floats = np.sqrt((PRIOR_WEIGHT * PRIOR_VARIANCE + self._squares) / (PRIOR_WEIGHT + self._n))
        return found

    def learn(self, value: Floats, stratum: tuple[Ints, Ints] | int, *, whole: bool) -> tuple[Floats, Floats]:
        """The scale before this unit and its score; then learn the clipped value. whole: no column lacks a value."""
        scale = self.scale()
        if self._same and not whole:
            return scale, np.zeros_like(value)
        common = (PRIOR_WEIGHT * PRIOR_CENTRE + self._total) / (PRIOR_WEIGHT + self._n)
        if isinstance(stratum, int) and stratum < 0:
            centre = common
        else:
            centre = (self._stratum_total[stratum] + STRATUM_WEIGHT * common) / (
                self._stratum_n[stratum] + STRATUM_WEIGHT
            )
        z = np.minimum(np.maximum((value - centre) / scale, -CLIP), CLIP)
        there: Floats | float = 1.0
        if not whole:
            there = (~np.isnan(value)).astype(np.float64)
            z = np.where(there > 0, z, 0.0)
        moved = z * scale
        learnt = centre + moved if whole else np.where(there > 0, centre + moved, 0.0)
        self._n += there
        self._total += learnt
        self._squares += moved * moved
        if not (isinstance(stratum, int) and stratum < 0):
            self._stratum_n[stratum] += there
            self._stratum_total[stratum] += learnt
        return scale, z


class _One:
    """`_State` of one column in plain floats: the same operations in the same order, many times faster."""

    def __init__(self, kinds: int) -> None:
        self.n = self.total = self.squares = 0.0
        self.stratum_n, self.stratum_total = [0.0] * kinds, [0.0] * kinds

    def scale(self) -> float:
        return math.sqrt((PRIOR_WEIGHT * PRIOR_VARIANCE + self.squares) / (PRIOR_WEIGHT + self.n))

    def learn(self, value: float, kind: int) -> tuple[float, float]:
        scale = self.scale()
        if math.isnan(value):
            return scale, 0.0
        centre = (PRIOR_WEIGHT * PRIOR_CENTRE + self.total) / (PRIOR_WEIGHT + self.n)
        if kind >= 0:
            centre = (self.stratum_total[kind] + STRATUM_WEIGHT * centre) / (self.stratum_n[kind] + STRATUM_WEIGHT)
        z = min(max((value - centre) / scale, -CLIP), CLIP)
        moved = z * scale
        self.n += 1.0
        self.total += centre + moved
        self.squares += moved * moved
        if kind >= 0:
            self.stratum_n[kind] += 1.0
            self.stratum_total[kind] += centre + moved
        return scale, z
