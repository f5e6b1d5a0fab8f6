"""The planned rule: a re-randomisation test at every weekly look, valid together over a horizon fixed beforehand.

The statistic is the sum of the treated units' scores, each unit's assignment centred on its mean over what the block
could have been. Its whole path over the looks is drawn again through the assignment code itself, and the two-sided
error is spent as Lan and DeMets do ("Discrete sequential boundaries for clinical trials", Biometrika 1983) with the
O'Brien-Fleming-like function of calendar time. No distribution of durations is assumed: given the hypothesis of no
effect on any unit, the drawn paths and the real one are exchangeable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from bot.experiment.assign import BALANCED, draw, look_seed
from bot.experiment.design import Block, Design, blocks_of, centred
from bot.experiment.scores import Floats, Ints

ALPHA = 0.05
_TIE = 1e-9
"""Sums of the same scores in another order differ by rounding; they are ties."""


def replications_for(units: int) -> int:
    """How many paths are drawn at a look."""
    return 9_999 if units <= 5_000 else 1_999


def spent(fraction: float, alpha: float = ALPHA) -> float:
    """Two-sided error that may be spent by a fraction (0 … 1) of the horizon."""
    if fraction <= 0:
        return 0.0
    normal = NormalDist()
    return 4.0 * (1.0 - normal.cdf(normal.inv_cdf(1.0 - alpha / 4.0) / math.sqrt(min(fraction, 1.0))))


def first_possible_look(horizon: int, replications: int, alpha: float = ALPHA) -> int:
    """The first look at which the error spent allows one path of all drawn ones: before it no verdict can be given."""
    return next(
        (k for k in range(1, horizon + 1) if spent(k / horizon, alpha) * (replications + 1) >= 1.0), horizon + 1
    )


@dataclass(frozen=True)
class _Group:
    """What the units of one block that are read at one look add to the statistic."""

    block: int
    read: int
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
        self._whole = list(blocks_of(design))
        self._regular = all(block.balanced for block in self._whole)
        self._first_seen = [int(design.seen[block.units].min()) for block in self._whole]
        self._allowed_share = [spent(k / horizon, alpha) for k in range(horizon + 1)]
        self._groups = self._group(self._whole) if self._regular else []

    def decide(self, look: int) -> int:
        """−1 faster, +1 slower, 0 neither, at one look, given that no earlier look decided."""
        if not 1 <= look <= self._horizon:
            return 0
        known = np.flatnonzero(self._design.seen <= look)
        replications = self._replications or replications_for(len(known))
        if self._allowed_share[look] * (replications + 1) < 1.0:
            return 0
        seed = look_seed([self._design.unit_ids[i] for i in known])
        observed, drawn = self._paths(look, seed, replications)
        return self._crossed(observed, drawn, look) * (1 if observed[look] > 0 else -1)

    def _group(self, blocks: list[Block]) -> list[_Group]:
        groups: list[_Group] = []
        for number, block in enumerate(blocks):
            assigned, ways = centred(block, self._design)
            reads = self._design.read[block.units]
            for read in sorted(set(reads.tolist())):
                at = reads == read
                z = self._z[block.units[at]]
                groups.append(_Group(number, read, float(assigned[at] @ z), ways[:, at] @ z))
        return groups

    def _paths(self, look: int, seed: bytes, replications: int) -> tuple[Floats, Floats]:
        """The statistic at looks 0 … look: as it was, shape (look + 1,), and drawn, shape (look + 1, replications)."""
        blocks = self._whole if self._regular else list(blocks_of(self._design, look=look))
        groups = self._groups if self._regular else self._group(blocks)
        chosen = self._chosen(blocks, look, seed, replications)
        observed = np.zeros(look + 1)
        drawn = np.zeros((look + 1, replications))
        added = np.empty(replications)
        for group in groups:
            if group.read <= look:
                observed[group.read] += group.ours
                np.take(group.by_way, chosen[group.block], out=added, mode="clip")
                drawn[group.read] += added
        return np.cumsum(observed), np.cumsum(drawn, axis=0)

    def _chosen(self, blocks: list[Block], look: int, seed: bytes, replications: int) -> dict[int, Ints]:
        """Which arrangement each replication gives to each block that has a unit known at this look."""
        needed: dict[int, list[int]] = {}
        for number, block in enumerate(blocks):
            if not self._regular or self._first_seen[number] <= look:
                needed.setdefault(block.stratum, []).append(number)
        chosen: dict[int, Ints] = {}
        for stratum, numbers in needed.items():
            count = 1 + max(blocks[number].number for number in numbers)
            words = draw(seed, self._design.strata[stratum], count, replications)
            if self._regular:
                words %= np.uint64(len(BALANCED))
            for number in numbers:
                word = words[blocks[number].number]
                if not self._regular:
                    word = word % np.uint64(len(blocks[number].ways))
                chosen[number] = word.view(np.int64)
        return chosen

    def _crossed(self, observed: Floats, drawn: Floats, look: int) -> int:
        """1 when the real path is among those that this look may reject, else 0."""
        paths = drawn.shape[1] + 1
        alive = np.ones(drawn.shape[1], dtype=bool)
        rejected = 0
        for k in range(1, look):
            allowed = math.floor(self._allowed_share[k] * paths + _TIE) - rejected
            if allowed < 1:
                continue
            size = np.abs(drawn[k])
            left = size[alive]
            if len(left) <= allowed:
                continue
            # All that are strictly beyond the first path that may stay; ties stay together, on the safe side.
            stays = len(left) - 1 - allowed
            gone = alive & (size > np.partition(left, stays)[stays] + _TIE)
            rejected += int(gone.sum())
            alive &= ~gone
        allowed = math.floor(self._allowed_share[look] * paths + _TIE) - rejected
        at_least = 1 + int((np.abs(drawn[look][alive]) >= abs(observed[look]) - _TIE).sum())
        return int(at_least <= allowed)
