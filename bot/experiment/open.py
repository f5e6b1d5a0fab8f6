"""The open rule: an e-process over complete blocks, valid at any look, for ever.

Each complete block bets on its own arrangement: E = exp(θ·ΣA·z) over its mean across the arrangements that the block
could have had, A = 1 for the treatment. Given the scores each factor has mean one when the treatment does nothing,
whatever the durations look like; by Ville's inequality (Ramdas et al., "Game-theoretic statistics and safe
anytime-valid inference", 2023) a side's mixture over θ exceeds 2/α in at most α/2 of experiments that run for ever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bot.experiment.design import Design, in_blocks
from bot.experiment.scores import Floats, Ints
from bot.experiment.units import BLOCK

ALPHA = 0.05
THETAS = (0.1, 0.2, 0.3, 0.45, 0.65, 0.9)
_AT_ONCE = 64
"""Blocks whose factors are held in memory together."""


@dataclass(frozen=True)
class Complete:
    """The complete blocks, in the order in which their last unit is read."""

    units: Ints
    """Shape (blocks, 4)."""
    treated: Ints
    """Shape (blocks, 4)."""
    read: Ints
    """First look at which all four units are mature, shape (blocks,), ascending."""


def complete_blocks(design: Design) -> Complete:
    """Blocks whose four units are known; each enters when the last of them is mature."""
    order, edges = in_blocks(design)
    firsts = edges[:-1][np.diff(edges) == BLOCK]
    units = order[firsts[:, None] + np.arange(BLOCK)]
    read = design.read[units].max(axis=1, initial=0)
    order = np.lexsort((units.max(axis=1, initial=0), read))
    return Complete(units=units[order], treated=design.treated[units[order]], read=read[order])


def log_factors(z: Floats, treated: Ints) -> Floats:
    """Log of each block's factor, shape (2 sides, thetas, blocks, columns); side 0 bets on faster, 1 on slower.

    z: scores of the blocks' units, shape (blocks, 4, columns). treated: shape (blocks, 4) or (blocks, 4, columns).
    """
    assigned = treated[:, :, None] if treated.ndim == 2 else treated
    count = assigned.sum(axis=1)
    ours, every = (z * assigned).sum(axis=1), z.sum(axis=1)
    out = np.empty((2, len(THETAS), z.shape[0], z.shape[2]))
    for i, theta in enumerate(THETAS):
        weights = np.exp(theta * z)
        out[1, i] = theta * ours - np.log(_mean_over_ways(weights, count))
        # Betting on faster weighs by 1/w, and the treated units' product of those is the others' product over all four.
        out[0, i] = theta * (every - ours) - np.log(_mean_over_ways(weights, BLOCK - count))
    return out


def _mean_over_ways(weights: Floats, treated: Ints) -> Floats:
    """Mean of the product of the treated units' weights over all ways to treat so many of the four.

    It is the elementary symmetric polynomial over the number of ways.
    """
    a, b, c, d = (weights[:, i] for i in range(BLOCK))
    pairs = a * b + c * d + (a + b) * (c + d)
    if np.all(treated == BLOCK // 2):
        found: Floats = pairs / 6.0
        return found
    triples = a * b * (c + d) + c * d * (a + b)
    by_count = (np.ones_like(a), (a + b + c + d) / 4.0, pairs / 6.0, triples / 4.0, a * b * c * d)
    chosen: Floats = np.select([treated == i for i in range(BLOCK + 1)], by_count)
    return chosen


def log_mixture(sums: Floats) -> Floats:
    """Log of the mean over θ of exp(sums); θ is axis 1 of (2, thetas, …)."""
    top = sums.max(axis=1)
    found: Floats = top + np.log(np.exp(sums - top[:, None]).mean(axis=1))
    return found


def log_e_by_look(blocks: Complete, z: Floats, looks: int) -> Floats:
    """Log e-values of both sides at looks 0 … looks, shape (looks + 1, 2, columns).

    z: scores of all units, shape (units, columns).
    """
    out = np.zeros((looks + 1, 2, z.shape[1]))
    sums = np.zeros((2, len(THETAS), z.shape[1]))
    edges = np.searchsorted(blocks.read, np.arange(looks + 1), side="right")
    done = 0
    for look, edge in enumerate(edges.tolist()):
        out[look] = out[look - 1] if look else 0.0
        if edge > done:
            for first in range(done, edge, _AT_ONCE):
                part = slice(first, min(first + _AT_ONCE, edge))
                sums += log_factors(z[blocks.units[part]], blocks.treated[part]).sum(axis=2)
            done = edge
            out[look] = log_mixture(sums)
    return out


def decide(log_e: Floats, alpha: float = ALPHA) -> tuple[int, int]:
    """First look at which a side crosses, with −1 faster or +1 slower; (0, 0) when none does. log_e: (looks, 2)."""
    crossed = np.flatnonzero((log_e >= math.log(2.0 / alpha)).any(axis=1))
    if not len(crossed):
        return 0, 0
    look = int(crossed[0])
    return look, (-1 if log_e[look, 0] >= log_e[look, 1] else 1)
