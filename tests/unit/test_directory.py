"""The directory cache: what a card gets in half a second, and what counts after an event, a failure and a restart."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from bot.clock import ManualClock
from bot.store.sqlite import SqliteStore
from bot.trust.audience import Audience, AudienceUnknown, may_all_read
from bot.trust.directory import MAX_LOOKUPS, DirectoryCache
from bot.trust.principals import Limits
from integrations.errors import Denied, IntegrationError, Malformed, Refused, Unavailable
from integrations.fixtures import FakeDirectory, FakeGroupSource
from integrations.records import EVERYONE, WORLD, Channel, Person, Readers

START = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
PAYMENTS = Readers.of(["payments"])


def person(person_id: str, kind: str = "full", **more: object) -> Person:
    return Person.model_validate(
        {"id": person_id, "kind": kind, "team_id": "T1", "email": f"{person_id}@example.com", "seen_at": START, **more}
    )


@pytest.fixture
async def store(tmp_path: pathlib.Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "sitrep.db")
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def slack() -> FakeDirectory:
    return FakeDirectory(
        listed=[person("U1"), person("U2"), person("G1", "guest"), person("B1", "bot")],
        user_groups={"payments": frozenset({"U1"})},
        channels={
            "C1": Channel(id="C1", name="incidents", private=True),
            "C2": Channel(id="C2", name="general", private=False),
        },
        inside={"C1": frozenset({"U1", "B1"}), "C2": frozenset({"U1"})},
    )


Build = Callable[..., DirectoryCache]


@pytest.fixture
async def build(store: SqliteStore, slack: FakeDirectory, clock: ManualClock) -> AsyncIterator[Build]:
    made: list[DirectoryCache] = []

    def make(**more: object) -> DirectoryCache:
        cache = DirectoryCache(store, "w", slack, clock, **more)  # type: ignore[arg-type]
        made.append(cache)
        return cache

    yield make
    slack.release.set()
    for cache in made:
        await cache.close()


async def warm(build: Build, **more: object) -> DirectoryCache:
    cache = build(**more)
    await cache.warm()
    await cache.settle()
    return cache


async def established(cache: DirectoryCache, channel_id: str = "C1") -> Audience:
    found = await cache.audience(channel_id, 5)
    assert isinstance(found, Audience), found
    return found


async def unknown(cache: DirectoryCache, channel_id: str = "C1", deadline_seconds: float = 5) -> str:
    found = await cache.audience(channel_id, deadline_seconds)
    assert isinstance(found, AudienceUnknown), found
    return found.reason


async def test_a_cold_cache_reads_what_one_card_needs(build: Build, slack: FakeDirectory) -> None:
    audience = await established(build())
    assert audience.signatures == ({EVERYONE, WORLD, "payments", "channel:C1"},)
    assert slack.calls["people"] == 0, "two members are looked up one by one"


async def test_a_warm_cache_asks_nothing_again(build: Build, slack: FakeDirectory) -> None:
    cache = await warm(build)
    first = await established(cache)
    before = dict(slack.calls)
    assert await established(cache) == first
    assert slack.calls == before


async def test_a_public_channel_needs_everybody(build: Build, slack: FakeDirectory) -> None:
    cache = build()
    audience = await established(cache, "C2")
    assert slack.calls["people"] == 1
    assert audience.people == 2
    assert not may_all_read(audience, PAYMENTS)
    members_only = build(public_rule="members")
    assert may_all_read(await established(members_only, "C2"), PAYMENTS)


@pytest.mark.parametrize("method", ["channel", "members", "people", "team_id"])
@pytest.mark.parametrize(
    ("failure", "word"),
    [
        (Unavailable("slack", "canary"), "does not answer"),
        (Denied("slack", "canary"), "does not let"),
        (Malformed("slack", "canary"), "something else"),
        (Refused("slack", "canary", code="canary"), "does not answer"),
    ],
)
async def test_what_fails_is_unknown_in_fixed_words(
    build: Build, slack: FakeDirectory, method: str, failure: IntegrationError, word: str
) -> None:
    slack.failing[method] = failure
    reason = await unknown(build(), "C2")
    assert word in reason
    assert "canary" not in reason


async def test_a_member_who_cannot_be_looked_up_is_unknown(build: Build, slack: FakeDirectory) -> None:
    slack.inside["C1"] = frozenset({"U1", "U9"})
    assert "not in the directory" in await unknown(build())
    slack.known["U9"] = person("U9", "stranger", team_id="T2", email=None)
    audience = await established(build())
    assert may_all_read(audience, Readers.of([WORLD]))
    assert not may_all_read(audience, Readers.of([EVERYONE]))


async def test_an_answer_about_somebody_or_something_else_is_no_answer(build: Build, slack: FakeDirectory) -> None:
    slack.inside["C1"] = frozenset({"U9"})
    slack.known["U9"] = person("U1")
    assert "not in the directory" in await unknown(build())
    slack.channels["C1"] = Channel(id="C2", name="general", private=False)
    slack.inside["C1"] = frozenset({"U1"})
    cache = build()
    await cache.channel_changed("C1")
    assert "something else" in await unknown(cache)


async def test_many_unknown_members_are_read_as_one_list(build: Build, slack: FakeDirectory) -> None:
    slack.listed += [person(f"U{number}") for number in range(100, 101 + MAX_LOOKUPS)]
    slack.inside["C1"] = frozenset(one.id for one in slack.listed)
    await established(build())
    assert (slack.calls["people"], slack.calls["person"]) == (1, 0)


@pytest.mark.parametrize("method", ["members", "channel", "person"])
async def test_a_card_waits_no_longer_than_its_deadline_and_reading_goes_on(
    build: Build, slack: FakeDirectory, method: str
) -> None:
    slack.blocked.add(method)
    cache = build()
    began = asyncio.get_running_loop().time()
    reason = await unknown(cache, "C1", 0.05)
    assert asyncio.get_running_loop().time() - began < 1
    assert "50 ms" in reason
    slack.release.set()
    await cache.settle()
    slack.blocked.clear()
    before = slack.calls[method]
    await established(cache)
    assert slack.calls[method] == before, "the first reading was finished, not repeated"


async def test_late_groups_make_a_card_narrower_not_late(build: Build, slack: FakeDirectory) -> None:
    slack.blocked.add("groups")
    found = await build().audience("C1", 1.0)
    assert isinstance(found, Audience)
    assert not may_all_read(found, PAYMENTS)
    assert "Slack user groups" in found.notices[0]


async def test_groups_that_fail_are_empty_and_said(build: Build, slack: FakeDirectory) -> None:
    slack.failing["groups"] = Denied("slack", "missing_scope")
    audience = await established(await warm(build))
    assert not may_all_read(audience, PAYMENTS)
    assert may_all_read(audience, Readers.of([EVERYONE]))
    assert "Slack user groups" in audience.notices[0]


async def test_static_groups_and_other_directories(build: Build) -> None:
    github = FakeGroupSource("github", {"github:acme/shop": frozenset({"u1@example.com"})})
    broken = FakeGroupSource("pagerduty", failing=Unavailable("pagerduty", "down"))
    cache = await warm(build, static={"sre": frozenset({"U1@example.com"})}, sources=[github, broken])
    audience = await established(cache)
    assert audience.common >= {"sre", "github:acme/shop", "payments"}
    assert audience.notices == ("groups of pagerduty could not be read: they count as empty",)


async def test_answers_grow_old(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    cache = await warm(build)
    await established(cache)
    slack.failing |= {name: Unavailable("slack", "down") for name in ("members", "groups", "people", "person")}
    clock.advance(15 * 60)
    await established(cache)
    clock.advance(1)
    assert "does not answer" in await unknown(cache)
    del slack.failing["members"]
    audience = await established(cache)
    assert not may_all_read(audience, PAYMENTS), "groups are too old: empty"
    clock.advance(24 * 3600)
    assert "more than 24 h ago" in await unknown(cache)


async def test_the_limits_are_settings(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    cache = await warm(build, limits=Limits(people_seconds=100, membership_seconds=10))
    await established(cache)
    clock.advance(11)
    before = slack.calls["members"]
    await established(cache)
    assert slack.calls["members"] == before + 1


async def test_a_join_counts_at_once_even_if_slacks_list_lags(
    build: Build, slack: FakeDirectory, clock: ManualClock
) -> None:
    cache = await warm(build)
    assert may_all_read(await established(cache), PAYMENTS)
    clock.advance(1)
    await cache.joined("C1", "U2")
    assert not may_all_read(await established(cache), PAYMENTS)
    clock.advance(1)
    await cache.channel_changed("C1")
    assert not may_all_read(await established(cache), PAYMENTS)
    clock.advance(121)
    await cache.channel_changed("C1")
    assert may_all_read(await established(cache), PAYMENTS), "the list never showed them: they are not there"


async def test_leaving_is_seen(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    slack.inside["C1"] = frozenset({"U1", "U2"})
    cache = await warm(build)
    assert not may_all_read(await established(cache), PAYMENTS)
    clock.advance(1)
    slack.inside["C1"] = frozenset({"U1"})
    await cache.left("C1", "U2")
    assert may_all_read(await established(cache), PAYMENTS)


async def test_a_channel_that_is_shared_is_read_again(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    cache = await warm(build)
    await established(cache)
    clock.advance(1)
    slack.channels["C1"] = Channel(id="C1", name="incidents", private=True, pending_share=True)
    await cache.channel_changed("C1")
    assert "pending" in await unknown(cache)


async def test_a_group_that_changes_is_read_again(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    cache = await warm(build)
    await established(cache)
    clock.advance(1)
    slack.user_groups = {}
    await cache.groups_changed()
    assert not may_all_read(await established(cache), PAYMENTS)


async def test_a_person_who_becomes_a_guest(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    cache = await warm(build)
    await established(cache)
    clock.advance(1)
    await cache.person_changed("U1", person("U1", "guest"))
    assert not may_all_read(await established(cache), Readers.of([EVERYONE]))
    clock.advance(1)
    slack.listed[0] = person("U1", "single_channel_guest")
    before = slack.calls["person"]
    await cache.person_changed("U1")
    assert not may_all_read(await established(cache), Readers.of([EVERYONE]))
    assert slack.calls["person"] == before + 1


async def test_an_event_that_says_nothing_new_costs_nothing(build: Build, slack: FakeDirectory) -> None:
    cache = await warm(build)
    await established(cache)
    held = cache._principals
    await cache.person_changed("U1", person("U1"))
    await established(cache)
    assert cache._principals is held


async def test_an_event_while_the_list_is_read_wins(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    cache = build()
    slack.blocked.add("members")
    asking = asyncio.create_task(cache.audience("C1", 5))
    while not slack.calls["members"]:
        await asyncio.sleep(0.01)
    clock.advance(1)
    slack.inside["C1"] = frozenset({"U1", "U2"})
    await cache.channel_changed("C1")
    slack.release.set()
    found = await asking
    assert isinstance(found, Audience)
    assert not may_all_read(found, PAYMENTS), "the answer from before the event was not believed"
    assert slack.calls["members"] == 2


async def test_an_event_about_a_person_stands_against_an_older_list(
    build: Build, slack: FakeDirectory, clock: ManualClock
) -> None:
    cache = build()
    slack.blocked.add("people")
    cache.refresh_due()
    while not slack.calls["people"]:
        await asyncio.sleep(0.01)
    clock.advance(1)
    await cache.person_changed("U1", person("U1", "guest"))
    await cache.person_changed("U7", person("U7", "guest"))
    slack.release.set()
    await cache.settle()
    assert (await cache.principal("U1", 5)).groups == {WORLD, "payments"}
    assert (await cache.principal("U7", 5)).groups == {WORLD}


async def test_whoever_is_no_longer_listed_is_gone(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    cache = await warm(build)
    slack.listed = slack.listed[:1]
    clock.advance(13 * 3600)
    cache.refresh_due()
    await cache.settle()
    assert (await cache.principal("U1", 5)).groups
    assert (await cache.principal("U2", 5)).unknown


async def test_after_a_reconnect_no_membership_counts(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    cache = await warm(build)
    await established(cache)
    clock.advance(1)
    slack.inside["C1"] = frozenset({"U1", "U2"})
    slack.user_groups = {"payments": frozenset({"U1", "U2"})}
    await cache.reconnected()
    await cache.settle()
    assert (await established(cache)).people == 2
    assert may_all_read(await established(cache), PAYMENTS)


async def test_a_restart_finds_the_tables(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    slack.inside["C1"] = frozenset({"U1", "U2"})
    first = await established(await warm(build))
    slack.failing = {
        name: Unavailable("slack", "down") for name in ("members", "people", "groups", "channel", "team_id")
    }
    assert await established(build()) == first
    clock.advance(16 * 60)
    assert "does not answer" in await unknown(build())


async def test_two_processes_share_events(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    web, worker = await warm(build), await warm(build)
    assert may_all_read(await established(worker), PAYMENTS)
    clock.advance(1)
    await web.joined("C1", "U2")
    assert not may_all_read(await established(worker), PAYMENTS)
    clock.advance(1)
    await web.person_changed("U2", person("U2", "guest"))
    assert not may_all_read(await established(worker), Readers.of([EVERYONE]))


async def test_a_system_that_wants_to_be_left_alone_is(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    slack.failing["members"] = Unavailable("slack", "ratelimited", retry_after_seconds=30)
    cache = build()
    await unknown(cache)
    await unknown(cache)
    assert slack.calls["members"] == 1
    slack.failing.clear()
    clock.advance(30)
    await established(cache)


async def test_a_large_channel_is_stored_in_parts_and_never_seen_half(
    build: Build, store: SqliteStore, slack: FakeDirectory, clock: ManualClock
) -> None:
    slack.listed = [person(f"U{number}") for number in range(2500)]
    slack.inside["C1"] = frozenset(one.id for one in slack.listed)
    cache, other = await warm(build), build()
    asked = [asyncio.create_task(one.audience("C1", 20)) for one in (cache, other, cache)]
    for found in await asyncio.gather(*asked):
        assert isinstance(found, Audience)
        assert found.people == 2500


async def test_a_reader_who_asks_alone(build: Build, slack: FakeDirectory) -> None:
    cache = build()
    assert (await cache.principal("U1", 5)).groups == {EVERYONE, WORLD, "payments"}
    assert (await cache.principal("U9", 5)).unknown
    slack.blocked.add("person")
    assert "50 ms" in (await cache.principal("U2", 0.05)).unknown


async def test_status_says_ages_remarks_and_failures(build: Build, slack: FakeDirectory, clock: ManualClock) -> None:
    slack.user_groups["everyone"] = frozenset({"G1"})
    broken = FakeGroupSource("pagerduty", failing=Unavailable("pagerduty", "down"))
    cache = await warm(build, sources=[broken])
    clock.advance(60)
    status = await cache.status()
    assert status.people_age_seconds == 60
    assert status.groups_age_seconds == {"slack": 60, "pagerduty": None}
    assert any("'everyone'" in remark for remark in status.remarks)
    assert status.failures == ("group: pagerduty: down",)


async def test_an_audience_is_made_once_until_something_changes(
    build: Build, slack: FakeDirectory, clock: ManualClock
) -> None:
    cache = await warm(build)
    first = await established(cache)
    assert await established(cache) is first
    clock.advance(1)
    await cache.joined("C1", "U2")
    second = await established(cache)
    assert second is not first
    clock.advance(1)
    await cache.person_changed("U2", person("U2", "guest"))
    third = await established(cache)
    assert third is not second
    clock.advance(14 * 60)
    slack.user_groups = {}
    await cache.groups_changed()
    assert await established(cache) is not third
