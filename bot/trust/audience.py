"""Who will read a post, reduced to the fewest group sets that decide: an item is shown only if all of them admit it.

The whole decision is `may_all_read`. An item's readers are any-of sets that must *all* admit each reader, so each
any-of set can be judged alone, once: it must reach every reader of the audience. A group that all readers share settles
it; else what earlier ones have taught does (a reader who was not reached, a few groups that reach everybody); else the
readers are bits, one integer a group, and the OR of its groups must have every bit. That costs one machine word for 64
readers whatever the mix of groups (measured in `tests/bench/bench_permission.py`).
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bot.trust.principals import CHANNEL_PREFIX, Principal, Principals
from integrations.records import EVERYONE, WORLD, Channel, Readers

PublicRule = Literal["workspace", "members"]
"""`[slack] public_channel_audience`."""

MEMBERS_ONLY_NOTICE = "filtered for the members of this public channel: others who open it may see more than theirs"
"""Stands on every card that was filtered by `public_channel_audience = "members"`."""

_LEARNT = 16
"""How many refuters and covers are kept."""
_SAMPLE = 64
"""Readers that tell which groups are large."""
_LOOKED_FOR = 12
"""Groups whose members are looked for one by one, before an index of all groups is worth its time."""


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

    def decide(self, readers: Collection[frozenset[frozenset[str]]]) -> None:
        """Decide these reader sets and remember the answers; see `may_all_read`."""
        self._judge(frozenset().union(*readers) - self._judged.keys())
        judge = self._judged.__getitem__
        for sets in readers:
            self._decided[sets] = False not in map(judge, sets)
        if frozenset() in readers:  # no set at all; `Readers` cannot be built so
            self._decided[frozenset()] = False

    def reached_by(self, any_of: frozenset[str]) -> bool:
        """Whether every reader is in at least one of these groups."""
        if any_of not in self._judged:
            self._judge((any_of,))
        return self._judged[any_of]

    def _judge(self, questions: Iterable[frozenset[str]]) -> None:
        """For each any-of set: does every reader have one of its groups?

        What the ones before have taught is tried first: a reader who was not reached, and a few groups that together
        reach everybody. Nearly all are settled by the last of either.
        """
        judged, common = self._judged, self.common
        refuter, cover = self._refuters[0], self._covers[0]
        for any_of in questions:
            if not common.isdisjoint(any_of) or cover <= any_of:
                judged[any_of] = True
            elif refuter.isdisjoint(any_of):
                judged[any_of] = False
            else:
                judged[any_of] = self._judge_slowly(any_of)
                refuter, cover = self._refuters[0], self._covers[0]

    def _judge_slowly(self, any_of: frozenset[str]) -> bool:
        """By the other lessons, else by every reader's bit, large groups first; the lesson of it is tried next."""
        for number, refuter in enumerate(self._refuters):
            if refuter.isdisjoint(any_of):
                self._refuters.insert(0, self._refuters.pop(number))
                return False
        for number, cover in enumerate(self._covers):
            if cover <= any_of:
                self._covers.insert(0, self._covers.pop(number))
                return True
        if len(any_of) > _LEARNT:
            positions = self._positions
            known = any_of & positions.keys()
            if len(known) > len(positions) - self._fewest:
                return True  # fewer groups are left out than any reader has
            if sum(len(positions[group]) for group in known) < len(self.signatures):
                return False  # together they have fewer members than there are readers
        everybody = (1 << len(self.signatures)) - 1
        reached, used = 0, []
        some = self.signatures[:_SAMPLE]
        for group in sorted(any_of, key=lambda one: -sum(one in signature for signature in some)):
            before = reached
            reached |= self._bits_of(group)
            if reached != before:
                used.append(group)
            if reached == everybody:
                self._covers.insert(0, frozenset(used))
                del self._covers[_LEARNT:]
                return True
        missed = everybody & ~reached
        self._refuters.insert(0, self.signatures[(missed & -missed).bit_length() - 1])
        del self._refuters[_LEARNT:]
        return False

    @cached_property
    def _fewest(self) -> int:
        """Groups of the reader who has the fewest."""
        return min(map(len, self.signatures))

    @cached_property
    def _refuters(self) -> list[frozenset[str]]:
        """Readers who were not reached; to begin with, some with the fewest groups."""
        return heapq.nsmallest(_LEARNT // 4, self.signatures, key=len)

    @cached_property
    def _covers(self) -> list[frozenset[str]]:
        """Groups that together reach everybody; to begin with, what no item names."""
        return [frozenset({""})]

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
        """Bit i is set if reader i is in the group. A few groups are looked for; for many the index is made."""
        known = self._bits.get(group)
        if known is None:
            size = len(self.signatures)
            if len(self._bits) < _LOOKED_FOR:
                known = _pack(np.fromiter((group in one for one in self.signatures), np.bool_, size))
            else:
                known = _bits(self._positions.get(group, []), size)
            self._bits[group] = known
        return known


def may_all_read(audience: Audience, readers: Readers) -> bool:
    """Whether every reader of the audience may read an item with these readers. The one decision of Sitrep."""
    if audience.reads_all:
        return True
    if readers.sets not in audience._decided:
        audience.decide((readers.sets,))
    return audience._decided[readers.sets]


def readable(audience: Audience, readers: Sequence[Readers]) -> NDArray[np.bool_]:
    """`may_all_read` for many items: one bool an item, each distinct reader set decided once."""
    if audience.reads_all:
        return np.ones(len(readers), dtype=np.bool_)
    sets = [one.sets for one in readers]
    decided = audience._decided
    if new := set(sets) - decided.keys():
        audience.decide(new)
    return np.fromiter(map(decided.__getitem__, sets), dtype=np.bool_, count=len(sets))


def hidden_services(audience: Audience, readers: Mapping[str, Readers]) -> frozenset[str]:
    """Services that somebody in the audience may not read about: a report names them to nobody there."""
    return frozenset(name for name, one in readers.items() if not may_all_read(audience, one))


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


def placed(principal: Principal, channel: Channel, members: frozenset[str], public_rule: PublicRule) -> Principal:
    """The principal with the channel's own group, if they read this channel by the same rules as its audience."""
    if principal.unknown or not principal.active or principal.bot or channel.pending_share:
        return principal
    reads = principal.id in members
    reads = reads or (not channel.private and public_rule == "workspace" and EVERYONE in principal.groups)
    return replace(principal, groups=principal.groups | {f"{CHANNEL_PREFIX}{channel.id}"}) if reads else principal


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


def _pack(flags: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")


def _bits(positions: Sequence[int], size: int) -> int:
    """Bit i set for each position i."""
    flags = np.zeros(size, dtype=np.bool_)
    flags[positions] = True
    return _pack(flags)


def _minimal(signatures: Sequence[frozenset[str]], positions: Mapping[str, list[int]]) -> tuple[frozenset[str], ...]:
    """Without the proper supersets of another, sorted. From few groups to many: what stands is never dropped."""
    size = len(signatures)
    alive = everybody = (1 << size) - 1
    common = {group for group, has in positions.items() if len(has) == size}
    by_rarity = sorted((group for group in positions if group not in common), key=lambda group: len(positions[group]))
    rank = {group: number for number, group in enumerate(by_rarity)}
    bits: dict[int, int] = {}
    for position in sorted(range(size), key=lambda p: len(signatures[p])):
        me = 1 << position
        if not alive & me:
            continue
        above = everybody
        for number in sorted([rank[group] for group in signatures[position] if group not in common]):
            mask = bits.get(number)
            if mask is None:
                mask = bits[number] = _bits(positions[by_rarity[number]], size)
            above &= mask
            if above == me:
                break
        else:  # whoever has all groups of this one, and perhaps more
            alive &= ~above | me
    return tuple(sorted((one for p, one in enumerate(signatures) if alive >> p & 1), key=sorted))
