"""Who will read a post, reduced to the fewest group sets that decide: an item is shown only if all of them admit it.

The whole decision is `may_all_read`. An item's readers are any-of sets that must *all* admit each reader, so each
any-of set can be judged alone: it must reach every reader of the audience. Readers are kept as bits, one integer a
group, and an any-of set reaches everybody when the OR of its groups has every bit. That costs one machine word for 64
readers whatever the mix of groups, and each any-of set is judged once (measured in `tests/bench/bench_permission.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bot.trust.principals import CHANNEL_PREFIX, Principal, Principals
from integrations.records import WORLD, Channel, Readers

PublicRule = Literal["workspace", "members"]
"""`[slack] public_channel_audience`."""

MEMBERS_ONLY_NOTICE = "filtered for the members of this public channel: others who open it may see more than theirs"
"""Stands on every card that was filtered by `public_channel_audience = "members"`."""

_PROBES = 8
"""Readers with the fewest groups, asked first: they refuse most of what will be refused."""


@dataclass(frozen=True)
class AudienceUnknown:
    """The audience cannot be established; `reason` is a clause for the fallback card ("because …")."""

    reason: str


@dataclass(frozen=True)
class Audience:
    """Everybody who will see a post, as distinct group sets. Never empty: nobody to read is `AudienceUnknown`.

    `people` counts readers (for words only), `channel_id` is None for one person or token. `reads_all` is the local
    operator of an offline replay and nothing else.
    """

    signatures: tuple[frozenset[str], ...]
    people: int
    established_at: datetime
    channel_id: str | None = None
    notices: tuple[str, ...] = ()
    reads_all: bool = False
    _judged: dict[frozenset[str], bool] = field(default_factory=dict, repr=False, compare=False)
    _decided: dict[frozenset[frozenset[str]], bool] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.signatures and not self.reads_all:
            raise ValueError("an audience without a reader would let everything through; use AudienceUnknown")

    @classmethod
    def of(
        cls,
        groups: Iterable[frozenset[str]],
        established_at: datetime,
        *,
        channel_id: str | None = None,
        notices: tuple[str, ...] = (),
    ) -> Audience:
        """One group set a reader; equal sets are one signature."""
        readers = list(groups)
        return cls(tuple(dict.fromkeys(readers)), len(readers), established_at, channel_id, notices)

    @classmethod
    def local_operator(cls, established_at: datetime) -> Audience:
        """The person at the terminal of an offline replay, who has the bundle's files anyway."""
        return cls((), 1, established_at, reads_all=True)

    @cached_property
    def common(self) -> frozenset[str]:
        """Groups that every reader is in."""
        return frozenset.intersection(*self.signatures) if self.signatures else frozenset()

    @cached_property
    def minimal(self) -> tuple[frozenset[str], ...]:
        """The signatures that decide, in a fixed order: who has more groups than another reads all that one reads."""
        return _minimal(self.signatures, self._positions)

    @cached_property
    def signature(self) -> str:
        """A short name that two audiences share only if they may read exactly the same (128 bits of SHA-256)."""
        if self.reads_all:
            return "operator"
        decides = json.dumps([sorted(one) for one in self.minimal], separators=(",", ":"))
        return "a1:" + hashlib.sha256(decides.encode()).hexdigest()[:32]

    def reached_by(self, any_of: frozenset[str]) -> bool:
        """Whether every reader is in at least one of these groups."""
        known = self._judged.get(any_of)
        if known is None:
            known = self._judged[any_of] = self._reach(any_of)
        return known

    def _reach(self, any_of: frozenset[str]) -> bool:
        if not self.common.isdisjoint(any_of):
            return True
        if any(signature.isdisjoint(any_of) for signature in self._probes):
            return False
        everybody = len(self.signatures)
        groups = sorted((g for g in any_of if g in self._positions), key=lambda g: -len(self._positions[g]))
        if sum(len(self._positions[g]) for g in groups) < everybody:
            return False
        full = (1 << everybody) - 1
        reached = 0
        for group in groups:
            reached |= self._bits_of(group)
            if reached == full:
                return True
        return False

    @cached_property
    def _probes(self) -> tuple[frozenset[str], ...]:
        return tuple(sorted(self.signatures, key=len)[:_PROBES])

    @cached_property
    def _positions(self) -> dict[str, list[int]]:
        """Group to the positions of the signatures that have it, ascending."""
        positions: dict[str, list[int]] = {}
        for position, signature in enumerate(self.signatures):
            for group in signature:
                positions.setdefault(group, []).append(position)
        return positions

    @cached_property
    def _bits(self) -> dict[str, int]:
        return {}

    def _bits_of(self, group: str) -> int:
        known = self._bits.get(group)
        if known is None:
            known = self._bits[group] = _bits(self._positions[group], len(self.signatures))
        return known


def may_all_read(audience: Audience, readers: Readers) -> bool:
    """Whether every reader of the audience may read an item with these readers. The one decision of Sitrep."""
    if audience.reads_all:
        return True
    known = audience._decided.get(readers.sets)
    if known is None:
        known = bool(readers.sets) and all(audience.reached_by(any_of) for any_of in readers.sets)
        audience._decided[readers.sets] = known
    return known


def readable(audience: Audience, readers: Sequence[Readers]) -> NDArray[np.bool_]:
    """`may_all_read` for many items: one bool an item, each distinct reader set decided once."""
    return np.fromiter((may_all_read(audience, one) for one in readers), dtype=np.bool_, count=len(readers))


def audience_of_channel(
    channel: Channel,
    members: frozenset[str],
    principals: Principals,
    *,
    public_rule: PublicRule = "workspace",
) -> Audience | AudienceUnknown:
    """Everybody who reads this channel now, or why that cannot be said.

    `members` is complete and fresh (the directory cache's business). A private channel is read by its members; a
    public one by the workspace's full members and by the guests and partners in it. A channel shared by Slack Connect
    can be public on the other side: then anybody there reads it, so one reader is in `world` alone.
    """
    if channel.pending_share:
        return AudienceUnknown("an invitation to share this channel with another organisation is pending")
    own = f"{CHANNEL_PREFIX}{channel.id}"
    inside = [principals.of(person_id) for person_id in members]
    unknown = [principal for principal in inside if principal.unknown]
    if unknown:
        return AudienceUnknown(_cannot_place(unknown))
    readers = {principal.id: principal for principal in inside if principal.active and not principal.bot}
    notices = principals.notices
    if not channel.private and public_rule == "workspace":
        if not principals.complete:
            return AudienceUnknown("the list of the workspace's people is missing or too old")
        unclear = principals.unclear_members()
        if unclear:
            return AudienceUnknown(
                f"{unclear} of the workspace's people may read this public channel and cannot be placed"
            )
        readers |= {principal.id: principal for principal in principals.full_members()}
    elif not channel.private:
        notices = (*notices, MEMBERS_ONLY_NOTICE)
    groups = [principal.groups for principal in readers.values()]
    if channel.shared:
        groups.append(frozenset({WORLD}))
    if not groups:
        return AudienceUnknown("nobody is known to read this channel")
    distinct = {one: one | {own} for one in set(groups)}
    return Audience.of((distinct[one] for one in groups), principals.now, channel_id=channel.id, notices=notices)


def audience_of_person(principal: Principal, established_at: datetime) -> Audience | AudienceUnknown:
    """One reader: an ephemeral answer, the Home tab, an API token."""
    if principal.unknown or not principal.groups:
        return AudienceUnknown(f"the reader {principal.unknown or 'has no group'}")
    return Audience.of([principal.groups], established_at)


def _cannot_place(unknown: Sequence[Principal]) -> str:
    """Says how many and one reason, never who: the channel reads it."""
    why = min(principal.unknown for principal in unknown)
    if len(unknown) == 1:
        return f"one person in this channel {why}"
    return f"{len(unknown)} people in this channel cannot be placed; one of them {why}"


def _bits(positions: Sequence[int], size: int) -> int:
    """Bit i set for each position i."""
    flags = np.zeros(size, dtype=np.bool_)
    flags[positions] = True
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")


def _minimal(signatures: Sequence[frozenset[str]], positions: dict[str, list[int]]) -> tuple[frozenset[str], ...]:
    """Without the proper supersets of another, sorted. From few groups to many: what stands is never dropped."""
    bits: dict[str, int] = {}
    size = len(signatures)
    alive = (1 << size) - 1
    for position in sorted(range(size), key=lambda p: len(signatures[p])):
        signature = signatures[position]
        me = 1 << position
        if not alive & me:
            continue
        if not signature:
            return (signature,)
        above = alive
        for group in sorted(signature, key=lambda g: len(positions[g])):
            if group not in bits:
                bits[group] = _bits(positions[group], size)
            above &= bits[group]
            if above == me:
                break
        alive &= ~above | me
    return tuple(sorted((s for p, s in enumerate(signatures) if alive >> p & 1), key=sorted))
