"""Assignment in permuted blocks of four within a stratum: two of each arm in every block, from a secret seed.

The unit that is number n of its stratum takes slot n % 4 of block n // 4; the block's arrangement is word n // 4 of the
Philox stream (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) whose key is the first half of
sha256(seed, stratum). So any assignment can be derived again from seed, stratum and number alone, and the
re-randomisation test draws through this very function. Raw words are used because numpy keeps them the same for ever,
which it does not promise for `Generator.integers`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from bot.experiment.units import ARMS, BLOCK

Words = npt.NDArray[np.uint64]


def arrangements(size: int, treated: int) -> npt.NDArray[np.int8]:
    """Every way to give `treated` of `size` places to the treatment, shape (ways, size), 1 = treatment."""
    ways = list(combinations(range(size), treated))
    table = np.zeros((len(ways), size), dtype=np.int8)
    for row, places in enumerate(ways):
        table[row, list(places)] = 1
    return table


BALANCED = arrangements(BLOCK, BLOCK // 2)
"""The six arrangements of a block, shape (6, 4)."""


def draw(seed: bytes, stratum: str, blocks: int, replications: int = 1) -> Words:
    """Random words, shape (blocks, replications). With more blocks the first ones stay the same.

    Live assignment is `replications = 1`; the re-randomisation test asks for as many as it needs.
    """
    digest = hashlib.sha256(len(seed).to_bytes(4, "big") + seed + stratum.encode()).digest()
    stream = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    words: Words = stream.random_raw(blocks * replications).reshape(blocks, replications)
    return words


def arm_of(seed: bytes, stratum: str, ordinal: int) -> str:
    """The arm of unit number `ordinal` (from 0) of a stratum."""
    return arms_of(seed, stratum, [ordinal])[0]


def arms_of(seed: bytes, stratum: str, ordinals: Sequence[int]) -> list[str]:
    """The arms of many units of one stratum, in the order asked for."""
    if any(ordinal < 0 for ordinal in ordinals):
        raise ValueError(f"a unit's number starts at 0, got {min(ordinals)!r}")
    words = draw(seed, stratum, max(ordinals, default=0) // BLOCK + 1)[:, 0]
    return [ARMS[int(BALANCED[int(words[n // BLOCK]) % len(BALANCED), n % BLOCK])] for n in ordinals]


def seed_digest(seed: bytes) -> str:
    """What may be published of a seed before the end."""
    return hashlib.sha256(seed).hexdigest()


def look_seed(unit_ids: list[str]) -> bytes:
    """The seed of a look: sha256 of the sorted ids of the units triggered by then."""
    return hashlib.sha256("\n".join(sorted(unit_ids)).encode()).digest()
