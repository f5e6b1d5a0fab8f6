"""Units as arrays: who was assigned what, in which block, and at which look each was seen and read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np

from bot.experiment.assign import BALANCED, arrangements
from bot.experiment.scores import Floats, Ints
from bot.experiment.units import ARMS, BLOCK, Unit, first_look_with


@dataclass(frozen=True)
class Design:
    """Units in the order of their assignment. Looks are numbered from the experiment's start, one a week."""

    unit_ids: tuple[str, ...]
    strata: tuple[str, ...]
    """Names of the strata, sorted."""
    stratum: Ints
    """Index into `strata`, shape (units,)."""
    block: Ints
    """Number of the unit's block within its stratum."""
    slot: Ints
    treated: Ints
    """1 = treatment."""
    seen: Ints
    """First look at which the unit is known."""
    read: Ints
    """First look at which the unit is mature."""
    there: Ints
    """1 where the unit has a value, 0 where it is excluded."""

    @property
    def size(self) -> int:
        return len(self.unit_ids)


def lay_out(units: Sequence[Unit], *, start: datetime, strata: Sequence[str] | None = None) -> Design:
    """The arrays of units that are in assignment order."""
    names = sorted({unit.stratum for unit in units}) if strata is None else list(strata)
    index = {name: i for i, name in enumerate(names)}

    def whole(numbers: list[int]) -> Ints:
        return np.array(numbers, dtype=np.int64)

    return Design(
        unit_ids=tuple(unit.unit_id for unit in units),
        strata=tuple(names),
        stratum=whole([index[unit.stratum] for unit in units]),
        block=whole([unit.block for unit in units]),
        slot=whole([unit.slot for unit in units]),
        treated=whole([ARMS.index(unit.arm) for unit in units]),
        seen=whole([first_look_with(unit.started_at, start) for unit in units]),
        read=whole([first_look_with(unit.matures_at, start) for unit in units]),
        there=whole([int(not unit.excluded) for unit in units]),
    )


@dataclass(frozen=True)
class Block:
    """One block: its units, and every arrangement that the assignment could have given to them."""

    stratum: int
    number: int
    units: Ints
    ways: Ints
    """Shape (ways, units), 1 = treatment; equally likely."""
    balanced: bool
    """What stands there can have come from our assignment: at most two of each arm."""


def in_blocks(design: Design, *, look: int | None = None) -> tuple[Ints, Ints]:
    """The units that are known at a look (all of them by default) by stratum, block and slot, and where each block
    begins among them; the last edge is the end."""
    known = np.arange(design.size) if look is None else np.flatnonzero(design.seen <= look)
    order = known[np.lexsort((design.slot[known], design.block[known], design.stratum[known]))]
    keys = np.stack([design.stratum[order], design.block[order]])
    inner = np.flatnonzero(np.any(np.diff(keys, axis=1) != 0, axis=0)) + 1
    edges = np.concatenate([[0], inner, [len(order)]]) if len(order) else np.zeros(1, dtype=np.int64)
    return order, edges.astype(np.int64)


def unbalanced(design: Design, *, look: int) -> int:
    """How many blocks are not of our assignment's making: more than two units of one arm."""
    order, edges = in_blocks(design, look=look)
    if len(edges) < 2:
        return 0
    treated = np.add.reduceat(design.treated[order], edges[:-1])
    most = np.maximum(treated, np.diff(edges) - treated)
    return int((most > BLOCK // 2).sum())


def blocks_of(design: Design, *, look: int | None = None) -> Iterator[Block]:
    """The blocks of the units that are known at a look (all of them by default), by stratum and number.

    A block that our assignment cannot have made (somebody else's, or a row is lost) is permuted within itself, which
    holds whatever made it, as long as the order of its units did not depend on the outcome.
    """
    order, edges = in_blocks(design, look=look)
    for first, after in pairwise(edges.tolist()):
        units = order[first:after]
        treated = int(design.treated[units].sum())
        fits = treated <= BLOCK // 2 and len(units) - treated <= BLOCK // 2
        ways = BALANCED[:, design.slot[units]] if fits else arrangements(len(units), treated)
        yield Block(
            stratum=int(design.stratum[units[0]]),
            number=int(design.block[units[0]]),
            units=units,
            ways=ways.astype(np.int64),
            balanced=fits,
        )


def centred(block: Block, design: Design) -> tuple[Floats, Floats]:
    """Treatment as a deviation from its mean over the arrangements: of what was assigned (units,), and of every
    arrangement (ways, units)."""
    mean = block.ways.mean(axis=0)
    return design.treated[block.units] - mean, block.ways - mean
