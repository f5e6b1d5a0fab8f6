"""The interval: every shift of log minutes that the e-process has never spoken against, "valid at every look".

Under "the treatment multiplies each unit's minutes by r" the treated units' values less log r are what they would have
been without it, so the open rule applied to those values tests r. The shifts that no look so far has rejected are the
interval; it can only shrink. Values capped at τ are no multiples: both arms are capped at the lower of τ and τ/r, below
which the shifted values are exactly those of the other arm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bot.experiment.design import Design
from bot.experiment.open import ALPHA, Complete, log_e_by_look
from bot.experiment.scores import Floats, Ints, score

STEP = 0.01
WIDEST = 460
"""Shifts from −4.6 to 4.6 on the log scale: 99 % faster to a hundred times slower."""


@dataclass(frozen=True)
class Interval:
    """Ratios of minutes, treatment over control."""

    low: float
    high: float
    bounded: tuple[bool, bool]
    """False on a side where the data bound nothing yet; the figure there is the widest that is looked at."""
    contradicted: bool = False
    """The looks together have rejected every shift; what stands here is the last interval that was not empty."""


MANY = 1_500
"""With more units the shifts are tested coarsely first, and finely at the two ends: a tenth of time and memory."""
_COARSE, _NEAR = 10, 30


def shifts() -> Floats:
    """The log shifts that are tested, ascending."""
    found: Floats = np.arange(-WIDEST, WIDEST + 1, dtype=np.float64) * np.float64(STEP)
    return found


def shifted(values: Floats, treated: Floats, grid: Floats, cap: float) -> Floats:
    """Values as they would be without the treatment under each shift, shape (units, shifts). `cap` is log τ."""
    moved = values[:, None] - treated[:, None] * grid[None, :]
    lowered: Floats = np.minimum(moved, cap - np.maximum(grid, 0.0)[None, :])
    return lowered


def never_rejected(
    design: Design,
    values: Floats,
    blocks: Complete,
    *,
    looks: int,
    cap: float,
    baseline: list[tuple[int, float]],
    alpha: float = ALPHA,
) -> list[Interval]:
    """The interval at looks 0 … looks."""
    grid = shifts()
    scored = score(shifted(values, design.treated.astype(float), grid, cap), design.stratum, baseline=baseline)
    log_e = log_e_by_look(blocks, scored.z, looks)
    against = (log_e >= math.log(2.0 / alpha)).any(axis=1)
    standing = ~np.maximum.accumulate(against, axis=0)
    intervals: list[Interval] = []
    for row in standing:
        left = np.flatnonzero(row)
        if not len(left):
            last = intervals[-1]
            intervals.append(Interval(last.low, last.high, last.bounded, contradicted=True))
            continue
        # The neighbours that were rejected are the ends, so that the grid never makes the interval too narrow.
        low, high = max(int(left[0]) - 1, 0), min(int(left[-1]) + 1, len(grid) - 1)
        intervals.append(
            Interval(
                low=math.exp(grid[low]),
                high=math.exp(grid[high]),
                bounded=(bool(left[0] > 0), bool(left[-1] < len(grid) - 1)),
            )
        )
    return intervals


def interval_now(
    design: Design, values: Floats, blocks: Complete, *, looks: int, cap: float, baseline: list[tuple[int, float]]
) -> Interval:
    """The interval at the last look."""
    if design.size <= MANY:
        return never_rejected(design, values, blocks, looks=looks, cap=cap, baseline=baseline)[-1]
    grid = shifts()

    def standing(chosen: Ints) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """The highest log e-value of each chosen shift at any look, and whether no look has rejected it."""
        moved = shifted(values, design.treated.astype(float), grid[chosen], cap)
        z = score(moved, design.stratum, baseline=baseline).z
        highest: Floats = log_e_by_look(blocks, z, looks).max(axis=(0, 1))
        return highest, highest < math.log(2.0 / ALPHA)

    def ends(found: Ints) -> Interval:
        low, high = max(int(found[0]) - 1, 0), min(int(found[-1]) + 1, len(grid) - 1)
        return Interval(
            low=math.exp(grid[low]),
            high=math.exp(grid[high]),
            bounded=(bool(found[0] > 0), bool(found[-1] < len(grid) - 1)),
        )

    # Most often all that stands lies close to the difference of the arms' means.
    middle = int(np.abs(grid - _difference(design, values)).argmin())
    near = np.arange(max(middle - _NEAR, 0), min(middle + _NEAR + 1, len(grid)))
    stands = standing(near)[1]
    if stands.any() and not stands[0] and not stands[-1]:
        return ends(near[np.flatnonzero(stands)])
    coarse = np.arange(0, len(grid), _COARSE)
    highest, stands = standing(coarse)
    left = np.flatnonzero(stands)
    first, last = (left[0], left[-1]) if len(left) else (int(highest.argmin()),) * 2
    both = [np.arange(coarse[end] - _COARSE, coarse[end] + _COARSE + 1) for end in (first, last)]
    fine = np.unique(np.clip(np.concatenate(both), 0, len(grid) - 1))
    found = fine[np.flatnonzero(standing(fine)[1])]
    if not len(found):
        return never_rejected(design, values, blocks, looks=looks, cap=cap, baseline=baseline)[-1]
    return ends(found)


def _difference(design: Design, values: Floats) -> float:
    """Of the arms' mean values, over all units that have one."""
    there = design.there == 1
    ours, theirs = (values[there & (design.treated == arm)] for arm in (1, 0))
    return float(ours.mean() - theirs.mean()) if len(ours) and len(theirs) else 0.0
