"""The planned rule: a re-randomisation test at every weekly look, valid together over a horizon fixed beforehand.

The statistic is the sum of the treated units' scores, each unit's assignment centred on its mean over what the block
could have been. Its whole path over the looks is drawn again through the assignment code itself, and the two-sided
error is spent as Lan and DeMets do ("Discrete sequential boundaries for clinical trials", Biometrika 1983) with the
O'Brien-Fleming-like function of calendar time. No distribution of durations is assumed: given the hypothesis of no
effect on any unit, the drawn paths and the real one are exchangeable.

A look draws the blocks that it is the first to know, from its own seed, and keeps what earlier looks drew. So a path is
one path over all looks, and the error is exact whatever the number of paths. Were all of it drawn anew at each look, a
real path near the line would get a new chance to cross by luck each week, and the looks would cost ten times as much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from bot.experiment.assign import draw, look_seed
from bot.experiment.design import Design, blocks_of, centred
from bot.experiment.scores import Floats

ALPHA = 0.05
_TIE = 1e-9
"""Sums of the same scores in another order differ by rounding; they are ties."""


def replications_for(units: int) -> int:
    """How many paths are compared with the real one at a look."""
    return 9_999 if units <= 5_000 else 1_999


def spent(fraction: float, alpha: float = ALPHA) -> float:
    """Two-sided error that may be spent by a fraction (0 … 1) of the horizon."""
    if fraction <= 0:
        return 0.0
    normal = NormalDist()
    return 4.0 * (1.0 - normal.cdf(normal.inv_cdf(1.0 - alpha / 4.0) / math.sqrt(min(fraction, 1.0))))


@dataclass(frozen=True)
class _Group:
    """What the units of one block that are read at one look add to the statistic."""

    block: int
    ours: float
    """As they were assigned."""
    by_way: Floats
    """Under each arrangement."""


class Planned:
    """The test of one experiment, asked look by look."""

    def __init__(
        self,
        design: Design,
        z: Floats,
        *,
        horizon: int,
        alpha: float = ALPHA,
        replications: int | None = None,
    ) -> None:
        """z: scores, shape (units,), 0 where excluded. horizon: looks. replications: default by number of units."""
        self._design = design
        self._z = z
        self._horizon = horizon
        self._alpha = alpha
        self._replications = replications
        self._blocks = list(blocks_of(design))
        self._whole = all(block.balanced for block in self._blocks)
        self._allowed_share = [spent(k / horizon, alpha) for k in range(horizon + 1)]
        self._read_at = self._group()
        self._seen_at: dict[int, list[int]] = {}
        for number, block in enumerate(self._blocks):
            self._seen_at.setdefault(int(design.seen[block.units].min()), []).append(number)
        paths = replications or replications_for(int((design.seen <= 0).sum()))
        self._paths = np.zeros(paths)
        self._alive = np.ones(paths, dtype=bool)
        self._chosen: dict[int, npt.NDArray[np.uint8]] = {}
        self._ours = 0.0
        self._looked = -1
        self._last = 0

    def decide(self, look: int) -> int:
        """−1 faster, +1 slower, 0 neither, at one look, given that no earlier look decided. Ask in ascending order."""
        if not 1 <= look <= self._horizon:
            return 0
        if not self._whole:
            return self._decide_as_known(look)
        if look < self._looked:
            raise ValueError(f"look {look} was asked for after look {self._looked}")
        for k in range(self._looked + 1, look + 1):
            self._last = self._advance(k)
        self._looked = look
        return self._last

    def _decide_as_known(self, look: int) -> int:
        """A block that our assignment did not make may only turn out so later: run all looks with what is known now."""
        known = self._design.seen <= look
        part = replace(
            self._design,
            unit_ids=tuple(name for name, there in zip(self._design.unit_ids, known, strict=True) if there),
            **{
                name: getattr(self._design, name)[known]
                for name in ("stratum", "block", "slot", "treated", "seen", "read", "there")
            },
        )
        test = Planned(part, self._z[known], horizon=self._horizon, alpha=self._alpha, replications=self._replications)
        test._whole = True
        return test.decide(look)

    def _group(self) -> dict[int, list[_Group]]:
        """By look: what is read there, block by block."""
        groups: dict[int, list[_Group]] = {}
        for number, block in enumerate(self._blocks):
            assigned, ways = centred(block, self._design)
            reads = self._design.read[block.units]
            for read in sorted(set(reads.tolist())):
                at = reads == read
                z = self._z[block.units[at]]
                groups.setdefault(read, []).append(_Group(number, float(assigned[at] @ z), ways[:, at] @ z))
        return groups

    def _advance(self, look: int) -> int:
        """Draw what this look is the first to know, add what it reads, and compare. Returns the verdict."""
        self._shrink(look)
        self._draw(look)
        added = np.empty_like(self._paths)
        for group in self._read_at.get(look, ()):
            self._ours += group.ours
            np.take(group.by_way, self._chosen[group.block].astype(np.intp), out=added, mode="clip")
            self._paths += added
        rejected = len(self._alive) - int(self._alive.sum())
        allowed = math.floor(self._allowed_share[look] * (len(self._paths) + 1) + _TIE) - rejected
        if allowed < 1:
            return 0
        sizes = np.abs(self._paths)
        left = sizes[self._alive]
        at_least = 1 + int((left >= abs(self._ours) - _TIE).sum())
        if len(left) > allowed:
            # All that are strictly beyond the first path that may stay; ties stay together, on the safe side.
            stays = len(left) - 1 - allowed
            self._alive &= ~(sizes > np.partition(left, stays)[stays] + _TIE)
        if at_least > allowed:
            return 0
        return 1 if self._ours > 0 else -1

    def _shrink(self, look: int) -> None:
        """With very many units fewer paths are followed: the first of those that there are."""
        paths = self._replications or replications_for(int((self._design.seen <= look).sum()))
        if paths < len(self._paths):
            self._paths, self._alive = self._paths[:paths].copy(), self._alive[:paths].copy()
            self._chosen = {number: chosen[:paths] for number, chosen in self._chosen.items()}

    def _draw(self, look: int) -> None:
        """Arrangements of the blocks that this look is the first to know, through the assignment code."""
        new = self._seen_at.get(look, ())
        if not new:
            return
        seed = look_seed([self._design.unit_ids[i] for i in np.flatnonzero(self._design.seen <= look)])
        by_stratum: dict[int, list[int]] = {}
        for number in new:
            by_stratum.setdefault(self._blocks[number].stratum, []).append(number)
        for stratum, numbers in by_stratum.items():
            words = draw(seed, self._design.strata[stratum], len(numbers), len(self._paths))
            for number, word in zip(numbers, words, strict=True):
                ways = np.uint64(len(self._blocks[number].ways))
                self._chosen[number] = (word % ways).astype(np.uint8)
