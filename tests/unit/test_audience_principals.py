"""People to groups: what is unknown, unclear, ambiguous or stale grants nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.trust.principals import Answer, EmailGroups, Limits, Principal, Principals, Snapshot
from integrations.records import EVERYONE, WORLD, Person

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
TEAM = "T1"


def person(person_id: str, kind: str = "full", **more: object) -> Person:
    fields: dict[str, object] = {"id": person_id, "kind": kind, "team_id": TEAM, "seen_at": NOW, **more}
    return Person.model_validate(fields)


def principals(*people: Person, now: datetime = NOW, limits: Limits | None = None, **more: object) -> Principals:
    listed = Answer({one.id: one for one in people}, NOW)
    groups = more.pop("groups", Answer({}, NOW))
    return Principals(Snapshot(TEAM, listed, groups, **more), limits or Limits(), now)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "groups"),
    [
        (person("U1"), {EVERYONE, WORLD}),
        (person("U1", "guest"), {WORLD}),
        (person("U1", "single_channel_guest"), {WORLD}),
        (person("U1", "stranger", team_id="T2"), {WORLD}),
        (person("U1", "stranger", team_id=None), {WORLD}),
        (person("U1", "full", team_id="T2"), {WORLD}),
        (person("U1", "guest", team_id="T2"), {WORLD}),
        (person("U1", "bot", team_id="T2"), {WORLD}),
        (person("U1", "bot"), set()),
        (person("U1", active=False), set()),
        (person("U1", "unknown", active=False, team_id=None), set()),
    ],
)
def test_kind_decides_the_built_in_groups(one: Person, groups: set[str]) -> None:
    found = principals(one).of("U1")
    assert found.groups == groups
    assert not found.unknown


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (person("U1", "unknown"), "status"),
        (person("U1", team_id=None), "workspace"),
        (person("U1", seen_at=NOW - timedelta(hours=24, seconds=1)), "24 h"),
        (person("U1", seen_at=NOW + timedelta(seconds=61)), "24 h"),
        (person("U2"), "not in the directory"),
    ],
)
def test_what_is_not_known_is_nobody(one: Person, why: str) -> None:
    found = principals(one).of("U1")
    assert found.groups == frozenset()
    assert why in found.unknown


def test_the_limits_are_the_ones_passed_in() -> None:
    old = person("U1", seen_at=NOW - timedelta(seconds=11))
    assert principals(old, limits=Limits(people_seconds=11)).of("U1").groups
    assert not principals(old, limits=Limits(people_seconds=10)).of("U1").groups


def test_groups_come_from_slack_and_from_the_static_map_by_verified_email() -> None:
    found = principals(
        person("U1", email="Priya@Example.com"),
        person("U2", email="bob@example.com"),
        groups=Answer({"sre": frozenset({"U2"})}, NOW),
        static={"payments": frozenset({" priya@example.com "})},
    )
    assert found.of("U1").groups == {EVERYONE, WORLD, "payments"}
    assert found.of("U2").groups == {EVERYONE, WORLD, "sre"}


def test_a_guest_may_be_in_a_group_and_a_partner_may_not() -> None:
    found = principals(
        person("U1", "guest", email="g@example.com"),
        person("U2", "stranger", team_id="T2", email="p@example.com"),
        groups=Answer({"sre": frozenset({"U1", "U2"})}, NOW),
        static={"payments": frozenset({"g@example.com", "p@example.com"})},
    )
    assert found.of("U1").groups == {WORLD, "sre", "payments"}
    assert found.of("U2").groups == {WORLD}


@pytest.mark.parametrize(
    "others",
    [
        [person("U2", email="priya@example.com")],
        [person("U2", "guest", email="PRIYA@example.com")],
        [person("U2", "unknown", email="priya@example.com")],
    ],
)
def test_an_email_of_two_people_joins_neither(others: list[Person]) -> None:
    found = principals(
        person("U1", email="priya@example.com"), *others, static={"payments": frozenset({"priya@example.com"})}
    )
    assert all("payments" not in found.of(one).groups for one in ("U1", "U2"))


def test_someone_who_left_or_is_a_partner_or_app_does_not_make_an_email_ambiguous() -> None:
    found = principals(
        person("U1", email="priya@example.com"),
        person("U2", email="priya@example.com", active=False),
        person("U3", "stranger", team_id="T2", email="priya@example.com"),
        person("U4", "bot", email="priya@example.com"),
        static={"payments": frozenset({"priya@example.com"})},
    )
    assert "payments" in found.of("U1").groups
    assert all("payments" not in found.of(one).groups for one in ("U2", "U3", "U4"))


def test_an_unverified_email_joins_nobody() -> None:
    found = principals(person("U1", email=None), static={"payments": frozenset({"", "priya@example.com"})})
    assert found.of("U1").groups == {EVERYONE, WORLD}


@pytest.mark.parametrize("name", [EVERYONE, WORLD, "channel:C1", " "])
def test_no_directory_fills_a_reserved_name(name: str) -> None:
    guest = person("U1", "guest", email="g@example.com")
    for more in (
        {"groups": Answer({name: frozenset({"U1"})}, NOW)},
        {"static": {name: frozenset({"g@example.com"})}},
        {"others": (EmailGroups("github", Answer({name: frozenset({"g@example.com"})}, NOW)),)},
    ):
        found = principals(guest, **more)
        assert found.of("U1").groups == {WORLD}
        assert len(found.remarks) == 1


def test_a_slack_group_cannot_widen_a_group_of_the_settings_or_of_another_directory() -> None:
    found = principals(
        person("U1", email="priya@example.com"),
        person("U2", email="mallory@example.com"),
        groups=Answer({"payments": frozenset({"U2"}), "github:acme/payments": frozenset({"U2"})}, NOW),
        static={"payments": frozenset({"priya@example.com"})},
        others=(EmailGroups("github", Answer({"github:acme/payments": frozenset({"priya@example.com"})}, NOW)),),
    )
    assert found.of("U1").groups == {EVERYONE, WORLD, "payments", "github:acme/payments"}
    assert found.of("U2").groups == {EVERYONE, WORLD}
    assert len(found.remarks) == 2


@pytest.mark.parametrize("groups", [None, Answer({"sre": frozenset({"U1"})}, NOW - timedelta(minutes=15, seconds=1))])
def test_absent_or_stale_groups_are_empty_and_said(groups: object) -> None:
    found = principals(person("U1", email="a@example.com"), groups=groups, static={"pay": frozenset({"a@example.com"})})
    assert found.of("U1").groups == {EVERYONE, WORLD, "pay"}
    assert len(found.notices) == 1
    assert "Slack user groups" in found.notices[0]


@pytest.mark.parametrize(
    "answer", [None, Answer({"github:sre": frozenset({"a@example.com"})}, NOW - timedelta(minutes=16))]
)
def test_another_directory_that_is_absent_or_stale_is_empty_and_said(answer: object) -> None:
    found = principals(person("U1", email="a@example.com"), others=(EmailGroups("github", answer),))  # type: ignore[arg-type]
    assert found.of("U1").groups == {EVERYONE, WORLD}
    assert "github" in found.notices[0]


def test_it_is_valid_until_the_first_answer_becomes_stale() -> None:
    found = principals(person("U1"), groups=Answer({}, NOW - timedelta(minutes=5)))
    assert found.valid_until == NOW + timedelta(minutes=10)
    assert principals(person("U1"), groups=None).valid_until == NOW + timedelta(hours=24)


def test_a_token_is_in_its_groups_and_the_world() -> None:
    assert Principal.token("status-page", ["everyone"]).groups == {EVERYONE, WORLD}
