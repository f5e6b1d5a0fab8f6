"""Who reads a channel, and what all of them may read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.trust.audience import (
    MEMBERS_ONLY_NOTICE,
    Audience,
    AudienceUnknown,
    audience_of_channel,
    audience_of_person,
    may_all_read,
    readable,
)
from bot.trust.principals import Answer, Limits, Principal, Principals, Snapshot
from integrations.records import EVERYONE, WORLD, Channel, Person, Readers

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
TEAM = "T1"


def person(person_id: str, kind: str = "full", **more: object) -> Person:
    return Person.model_validate({"id": person_id, "kind": kind, "team_id": TEAM, "seen_at": NOW, **more})


def principals(
    *people: Person, listed_at: datetime | None = NOW, groups: dict[str, frozenset[str]] | None = None
) -> Principals:
    listed = None if listed_at is None else Answer({one.id: one for one in people}, listed_at)
    return Principals(Snapshot(TEAM, listed, Answer(groups or {}, NOW)), Limits(), NOW)


def channel(private: bool = True, **more: bool) -> Channel:
    return Channel(id="C1", name="incidents", private=private, **more)


PEOPLE = (
    person("U1"),
    person("U2"),
    person("G1", "guest"),
    person("S1", "stranger", team_id="T2"),
    person("B1", "bot"),
    person("L1", active=False),
)


def established(*args: object, **more: object) -> Audience:
    found = audience_of_channel(*args, **more)  # type: ignore[arg-type]
    assert isinstance(found, Audience), found
    return found


def test_a_private_channel_is_read_by_its_members_and_nobody_else() -> None:
    known = principals(*PEOPLE, groups={"payments": frozenset({"U1"})})
    audience = established(channel(), frozenset({"U1", "B1", "L1"}), known)
    assert audience.signatures == ({EVERYONE, WORLD, "payments", "channel:C1"},)
    assert audience.people == 1
    assert audience.channel_id == "C1"
    assert may_all_read(audience, Readers.of(["payments"]))
    wider = established(channel(), frozenset({"U1", "U2"}), known)
    assert not may_all_read(wider, Readers.of(["payments"]))
    assert may_all_read(wider, Readers.of(["everyone"]))


def test_a_public_channel_is_read_by_all_full_members_and_the_guests_in_it() -> None:
    known = principals(*PEOPLE, groups={"payments": frozenset({"U1"})})
    alone = established(channel(private=False), frozenset({"U1"}), known)
    assert alone.people == 2
    assert may_all_read(alone, Readers.of([EVERYONE]))
    assert not may_all_read(alone, Readers.of(["payments"]))
    with_guest = established(channel(private=False), frozenset({"U1", "G1"}), known)
    assert not may_all_read(with_guest, Readers.of([EVERYONE]))
    assert may_all_read(with_guest, Readers.of([WORLD]))


def test_a_team_may_accept_the_members_alone_and_the_card_says_so() -> None:
    known = principals(*PEOPLE, groups={"payments": frozenset({"U1"})})
    audience = established(channel(private=False), frozenset({"U1"}), known, public_rule="members")
    assert may_all_read(audience, Readers.of(["payments"]))
    assert MEMBERS_ONLY_NOTICE in audience.notices
    private = established(channel(), frozenset({"U1"}), known, public_rule="members")
    assert MEMBERS_ONLY_NOTICE not in private.notices


def test_the_channels_own_readers_may_read_its_messages_and_no_other_channels() -> None:
    audience = established(channel(private=False), frozenset({"U1", "G1"}), principals(*PEOPLE))
    assert may_all_read(audience, Readers.of(["channel:C1"]))
    assert not may_all_read(audience, Readers.of(["channel:C2"]))


def test_a_shared_channel_can_be_public_on_the_other_side() -> None:
    known = principals(*PEOPLE, groups={"payments": frozenset({"U1"})})
    audience = established(channel(shared=True), frozenset({"U1"}), known)
    assert not may_all_read(audience, Readers.of(["payments"]))
    assert not may_all_read(audience, Readers.of([EVERYONE]))
    assert may_all_read(audience, Readers.of([WORLD]))


@pytest.mark.parametrize(
    ("kind", "members", "known", "why"),
    [
        (channel(pending_share=True), {"U1"}, principals(*PEOPLE), "pending"),
        (channel(), {"U1", "U9"}, principals(*PEOPLE), "one person in this channel is not in the directory"),
        (channel(), {"U1", "U8", "U9"}, principals(*PEOPLE), "2 people"),
        (channel(), set(), principals(*PEOPLE), "nobody"),
        (channel(), {"B1", "L1"}, principals(*PEOPLE), "nobody"),
        (channel(), {"U1"}, principals(*PEOPLE, listed_at=None), "not in the directory"),
        (channel(), {"U1"}, principals(person("U1", "unknown")), "status"),
        (channel(private=False), {"U1"}, principals(*PEOPLE, listed_at=NOW - timedelta(days=2)), "too old"),
        (channel(private=False), {"U1"}, principals(*PEOPLE, person("U7", "unknown")), "cannot be placed"),
    ],
)
def test_what_is_incomplete_has_no_audience(kind: Channel, members: set[str], known: Principals, why: str) -> None:
    found = audience_of_channel(kind, frozenset(members), known)
    assert isinstance(found, AudienceUnknown)
    assert why in found.reason
    assert not any(one in found.reason for one in ("U1", "U9", "U8", "U7")), "a reason never names anybody"


def test_notices_of_the_groups_reach_the_audience() -> None:
    known = Principals(Snapshot(TEAM, Answer({"U1": person("U1")}, NOW), None), Limits(), NOW)
    assert "Slack user groups" in established(channel(), frozenset({"U1"}), known).notices[0]


def test_one_reader() -> None:
    known = principals(*PEOPLE)
    audience = audience_of_person(known.of("G1"), NOW)
    assert isinstance(audience, Audience)
    assert may_all_read(audience, Readers.of([WORLD]))
    assert not may_all_read(audience, Readers.of([EVERYONE]))
    for nobody in (known.of("U9"), known.of("B1"), known.of("L1")):
        assert isinstance(audience_of_person(nobody, NOW), AudienceUnknown)


def test_nobody_and_the_local_operator() -> None:
    audience = Audience.of([frozenset({"a"})], NOW)
    assert not may_all_read(audience, Readers.nobody())
    assert not may_all_read(audience, Readers.of(["a"], []))
    operator = Audience.local_operator(NOW)
    assert may_all_read(operator, Readers.of(["a"]))
    assert operator.signature == "operator"
    with pytest.raises(ValueError, match="without a reader"):
        Audience.of([], NOW)


def test_a_reader_in_no_group_reads_nothing() -> None:
    audience = Audience.of([frozenset(), frozenset({"a"})], NOW)
    assert not may_all_read(audience, Readers.of(["a"]))
    assert audience.minimal == (frozenset(),)


GROUPS = st.sampled_from("abcdef")
SIGNATURES = st.lists(st.frozensets(GROUPS), min_size=1, max_size=12)
READERS = st.frozensets(st.frozensets(GROUPS, max_size=4), min_size=1, max_size=3).map(lambda sets: Readers(sets=sets))


@given(SIGNATURES, st.lists(READERS, max_size=8))
def test_agrees_with_asking_every_reader(signatures: list[frozenset[str]], items: list[Readers]) -> None:
    audience = Audience.of(signatures, NOW)
    expected = [all(item.admit(one) for one in signatures) for item in items]
    assert readable(audience, items).tolist() == expected
    assert readable(audience, items).dtype == np.bool_
    reduced = Audience.of(audience.minimal, NOW)
    assert readable(reduced, items).tolist() == expected
    assert reduced.signature == audience.signature


@given(SIGNATURES)
def test_minimal_signatures_are_an_antichain_that_is_below_all(signatures: list[frozenset[str]]) -> None:
    minimal = Audience.of(signatures, NOW).minimal
    assert not any(one < other for one in minimal for other in minimal)
    assert len(set(minimal)) == len(minimal)
    assert all(any(low <= one for low in minimal) for one in signatures)
    assert set(minimal) <= set(signatures)


@given(SIGNATURES, SIGNATURES)
def test_the_signature_names_what_may_be_read(one: list[frozenset[str]], other: list[frozenset[str]]) -> None:
    first, second = Audience.of(one, NOW), Audience.of(other, NOW)
    assert (first.signature == second.signature) == (set(first.minimal) == set(second.minimal))
    assert len(first.signature) < 40


@given(SIGNATURES, st.frozensets(GROUPS), READERS)
def test_one_more_reader_never_widens(
    signatures: list[frozenset[str]], newcomer: frozenset[str], item: Readers
) -> None:
    before = may_all_read(Audience.of(signatures, NOW), item)
    after = may_all_read(Audience.of([*signatures, newcomer], NOW), item)
    assert before or not after


def test_principals_of_tokens_are_filtered_like_people() -> None:
    audience = audience_of_person(Principal.token("page", ["payments"]), NOW)
    assert isinstance(audience, Audience)
    assert may_all_read(audience, Readers.of(["payments", "sre"]))
    assert not may_all_read(audience, Readers.of([EVERYONE]))
