"""The decision itself, against a reference of ten lines: every small world, and large ones at random.

A world is three people, three groups, three items and two channels. The decision about an item does not look at other
items, and that about a channel not at other channels, which is what makes all worlds few: who is in which group (512)
times which people are in a channel (8) times what an item's readers are. It is shown, not assumed, that the order and
company in which items and channels are asked about changes nothing (caches, lessons of earlier decisions).
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from itertools import chain, combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.trust.audience import Audience, AudienceUnknown, audience_of_channel, readable
from bot.trust.principals import Answer, Limits, Principals, Snapshot
from bot.trust.query import parse_readers, readers_filter
from integrations.records import EVERYONE, WORLD, Channel, Person, Readers

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PEOPLE = ("U0", "U1", "U2")
GROUPS = ("g0", "g1", "g2")


def reference(members: set[str], groups: dict[str, set[str]], item: list[list[str]]) -> bool:
    """Whether all of these people may read the item; the whole rule in plain words.

    Nobody to read, or an item that names no any-of set: no. Else each person must be, for each any-of set of the
    item, in at least one of its groups.
    """
    if not members or not item:
        return False
    for person in members:
        for any_of in item:
            if not any(person in groups.get(group, set()) for group in any_of):
                return False
    return True


def subsets(of: tuple[str, ...]) -> list[tuple[str, ...]]:
    return list(chain.from_iterable(combinations(of, size) for size in range(len(of) + 1)))


ITEMS = [list(map(list, sets)) for size in (1, 2, 3) for sets in combinations(subsets(GROUPS), size)]
"""Every readers value of at most three any-of sets over three groups, the empty any-of set among them: 92."""
READERS = [Readers.of(*item) for item in ITEMS]
CHANNELS = subsets(PEOPLE)


def principals(kinds: dict[str, Person], groups: dict[str, set[str]]) -> Principals:
    named = {name: frozenset(members) for name, members in groups.items()}
    return Principals(Snapshot("T1", Answer(kinds, NOW), Answer(named, NOW)), Limits(), NOW)


def member(person_id: str, kind: str = "full", **more: object) -> Person:
    return Person.model_validate({"id": person_id, "kind": kind, "team_id": "T1", "seen_at": NOW, **more})


def decisions(audience: Audience | AudienceUnknown, readers: list[Readers]) -> np.ndarray:
    """What `permit` does: nothing where the audience is unknown."""
    if isinstance(audience, AudienceUnknown):
        return np.zeros(len(readers), dtype=bool)
    return readable(audience, readers)


def test_every_world_of_three_people_three_groups_three_items_two_channels() -> None:
    everybody = {one: member(one) for one in PEOPLE}
    order = np.random.default_rng(1).permutation(len(READERS))
    shuffled = [READERS[number] for number in order]
    for ways in product(subsets(PEOPLE), repeat=len(GROUPS)):
        groups = {group: set(members) for group, members in zip(GROUPS, ways, strict=True)}
        known = principals(everybody, groups)
        ours, expected = [], []
        for inside in CHANNELS:
            channel = Channel(id="C" + "".join(inside), name="c", private=True)
            audience = audience_of_channel(channel, frozenset(inside), known)
            found = decisions(audience, READERS)
            assert (decisions(audience, shuffled) == found[order]).all()
            ours.append(found)
            expected.append([reference(set(inside), groups, item) for item in ITEMS])
        assert (np.array(ours) == np.array(expected)).all(), groups
        # Worlds of this membership: any two channels with any three items, and what each pair of decisions is.
        table = np.array(ours)
        two = table[:, None, :] & table[None, :, :]
        both = np.array([[reference(set(a) | set(b), groups, item) for item in ITEMS] for a, b in PAIRS])
        at = [(CHANNELS.index(a), CHANNELS.index(b)) for a, b in PAIRS]
        assert (np.array([two[one] for one in at]) == both).all(), "a post to two channels is one to all their readers"


PAIRS = [(a, b) for a, b in combinations(CHANNELS, 2) if a and b]


def test_items_are_decided_alone_whatever_the_company() -> None:
    """Three items at a time, for every audience of two of the eight group sets: the same as one at a time."""
    sets = [frozenset(one) for one in subsets(GROUPS)]
    rng = np.random.default_rng(2)
    for one, other in combinations(sets, 2):
        alone = [bool(readable(Audience.of([one, other], NOW), [item])[0]) for item in READERS]
        for trio in rng.integers(len(READERS), size=(400, 3)):
            audience = Audience.of([one, other], NOW)
            assert readable(audience, [READERS[number] for number in trio]).tolist() == [alone[n] for n in trio]


KINDS = {
    "full": member("x"),
    "guest": member("x", "guest"),
    "stranger": member("x", "stranger", team_id="T2"),
    "bot": member("x", "bot"),
    "left": member("x", active=False),
    "unknown": member("x", "unknown"),
}
ITEM_WORDS = [[[EVERYONE]], [[WORLD]], [["g0"]], [["g0"], [EVERYONE]], [["g0", EVERYONE]], [[]], [["channel:C"]]]
CHANNEL_KINDS = {
    "private": Channel(id="C", name="c", private=True),
    "public": Channel(id="C", name="c", private=False),
    "shared": Channel(id="C", name="c", private=True, shared=True),
    "public and shared": Channel(id="C", name="c", private=False, shared=True),
    "pending": Channel(id="C", name="c", private=True, pending_share=True),
}


def reference_audience(
    channel: str, inside: tuple[str, ...], kinds: dict[str, str], in_g0: tuple[str, ...]
) -> tuple[set[str], dict[str, set[str]]] | None:
    """The readers and the groups, in plain words; None where they cannot be known."""
    public = channel.startswith("public")
    readers = {one for one in inside if kinds[one] not in ("bot", "left")}
    if public:
        readers |= {one for one, kind in kinds.items() if kind in ("full", "unknown")}
    if channel == "pending" or any(kinds[one] == "unknown" for one in readers):
        return None
    if "shared" in channel:
        readers.add("somebody there")
    groups = {
        EVERYONE: {one for one in readers if kinds.get(one) == "full"},
        WORLD: readers,
        "channel:C": readers,
        "g0": {one for one in in_g0 if kinds[one] in ("full", "guest")},
    }
    return readers, groups


@pytest.mark.parametrize("channel", CHANNEL_KINDS)
def test_every_kind_of_person_in_every_kind_of_channel(channel: str) -> None:
    readers = [Readers.of(*item) for item in ITEM_WORDS]
    for combination in product(KINDS, repeat=3):
        kinds = dict(zip(PEOPLE, combination, strict=True))
        people = {one: KINDS[kind].model_copy(update={"id": one}) for one, kind in kinds.items()}
        for in_g0 in subsets(PEOPLE):
            known = principals(people, {"g0": set(in_g0)})
            for inside in CHANNELS:
                found = decisions(audience_of_channel(CHANNEL_KINDS[channel], frozenset(inside), known), readers)
                plain = reference_audience(channel, inside, kinds, in_g0)
                expected = [plain is not None and reference(*plain, item) for item in ITEM_WORDS]
                assert found.tolist() == expected, (kinds, in_g0, inside)


LARGE_GROUPS = [f"g{number}" for number in range(40)]


@st.composite
def large_worlds(draw: st.DrawFn) -> tuple[list[frozenset[str]], list[Readers]]:
    """Hundreds of readers and items with structure: common groups, sides, nesting, wide and narrow any-of sets."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pool = LARGE_GROUPS[: draw(st.integers(1, 40))]
    common = pool[: draw(st.integers(0, 2))]
    people = []
    for _ in range(draw(st.integers(1, 300))):
        some = rng.choice(pool, size=int(rng.integers(0, min(8, len(pool)) + 1)), replace=False).tolist()
        people.append(frozenset([*common, *some, str(rng.choice(["left", "right"]))]))
    nested = draw(st.booleans())
    if nested:
        people += [one | {"more"} for one in people[:50]]
    items = []
    widest = draw(st.sampled_from([3, 40]))
    for _ in range(draw(st.integers(1, 200))):
        sets = []
        for _ in range(int(rng.integers(1, 4))):
            any_of = rng.choice(pool, size=int(rng.integers(0, min(widest, len(pool)) + 1)), replace=False).tolist()
            sets.append(any_of + (["left", "right"] if rng.random() < 0.4 else []))
        items.append(Readers.of(*sets))
    return people, items


@settings(max_examples=200, deadline=None)
@given(large_worlds())
def test_large_worlds_agree_with_the_reference(world: tuple[list[frozenset[str]], list[Readers]]) -> None:
    people, items = world
    names = {f"P{number}": groups for number, groups in enumerate(people)}
    groups: dict[str, set[str]] = {}
    for name, their in names.items():
        for group in their:
            groups.setdefault(group, set()).add(name)
    expected = [reference(set(names), groups, [list(one) for one in item.sets]) for item in items]
    audience = Audience.of(people, NOW)
    assert readable(audience, items).tolist() == expected
    assert readable(audience, items[::-1]).tolist() == expected[::-1]
    assert readable(Audience.of(audience.minimal, NOW), items).tolist() == expected


def test_a_stored_signature_is_the_readers_again_and_anything_else_is_nobody() -> None:
    for readers in READERS:
        assert parse_readers(readers.signature) == readers
    for broken in (None, "", "[]", "null", "{}", "[1]", '["a"]', '[["a"]', '{"sets": []}', "[[[]]]"):
        assert parse_readers(broken) == Readers.nobody(), broken


@settings(max_examples=60, deadline=None)
@given(large_worlds())
def test_the_query_and_the_decision_agree(world: tuple[list[frozenset[str]], list[Readers]]) -> None:
    people, items = world
    audience = Audience.of(people, NOW)
    database = sqlite3.connect(":memory:")
    try:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, readers TEXT NOT NULL)")
        stored = [item.signature for item in items] + ["", "[]", "broken"]
        database.executemany("INSERT INTO t VALUES (?, ?)", enumerate(stored))
        distinct = [row[0] for row in database.execute("SELECT DISTINCT readers FROM t")]
        where = readers_filter(audience, distinct)
        found = [
            row[0] for row in database.execute(f"SELECT id FROM t WHERE {where.sql} ORDER BY id", where.parameters)
        ]
    finally:
        database.close()
    assert found == np.flatnonzero(readable(audience, items)).tolist()


def test_a_query_for_readers_of_nothing_finds_nothing() -> None:
    audience = Audience.of([frozenset({"a"})], NOW)
    assert readers_filter(audience, [Readers.of(["b"]).signature]).sql == "1 = 0"
    assert readers_filter(audience, []).sql == "1 = 0"


@pytest.mark.parametrize("column", ["readers; DROP TABLE t", "", "a.b.c", "READERS", "r e"])
def test_only_a_column_name_goes_into_a_query(column: str) -> None:
    with pytest.raises(ValueError, match="column"):
        readers_filter(Audience.of([frozenset({"a"})], NOW), [], column=column)


def test_too_many_signatures_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.trust.query.MAX_SIGNATURES", 10)
    audience = Audience.of([frozenset({"a"})], NOW)
    many = [Readers.of(["a", str(number)]).signature for number in range(11)]
    assert readers_filter(audience, many[:10]).parameters
    with pytest.raises(ValueError, match="11 distinct readers"):
        readers_filter(audience, many)
