"""Which cards are permitted again on which event, first things first."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.clock import ManualClock
from bot.flows.audience import AudienceEvents
from bot.incidents.applying import Start
from bot.store.sqlite import SqliteStore
from bot.trust.directory import DirectoryCache
from bot.trust.recheck import AudienceEvent, StandingCard, plan, standing_cards, waiting
from integrations.fixtures import FakeDirectory
from integrations.records import Channel, Person

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)


def card(
    name: str, channel: str = "C1", *, is_open: bool = True, days: float = 0.0, permitted: float | None = 60
) -> StandingCard:
    posted = NOW - timedelta(days=days)
    at = None if permitted is None else NOW - timedelta(seconds=permitted)
    return StandingCard(name, channel, is_open, posted, at)


def names(event: AudienceEvent, *cards: StandingCard) -> list[str]:
    return [check.card.incident_id for check in plan(event, cards)]


def test_what_happens_in_a_channel_touches_that_channel() -> None:
    cards = (card("a", "C1"), card("b", "C2"), card("c", "C1", is_open=False, days=3))
    for kind in ("joined", "channel_changed"):
        assert names(AudienceEvent(kind, NOW, "C1"), *cards) == ["a", "c"]  # type: ignore[arg-type]
    assert [check.rank for check in plan(AudienceEvent("joined", NOW, "C1"), cards)] == [1, 1]


def test_everything_else_touches_all_open_ones_first_then_the_newest() -> None:
    cards = (
        card("old", is_open=False, days=20),
        card("new", is_open=False, days=1),
        card("open long", days=40),
        card("open", days=2),
    )
    for kind in ("group_changed", "person_changed", "reconnected", "started", "hourly"):
        assert names(AudienceEvent(kind, NOW), *cards) == ["open", "open long", "new", "old"]  # type: ignore[arg-type]


def test_resolved_cards_are_checked_for_thirty_days_and_open_ones_always() -> None:
    cards = (card("31", is_open=False, days=30.1), card("30", is_open=False, days=30), card("open", days=400))
    assert names(AudienceEvent("hourly", NOW), *cards) == ["open", "30"]


def test_what_was_permitted_after_the_event_is_done() -> None:
    cards = (card("done", permitted=-1), card("same moment", permitted=0), card("never", permitted=None))
    event = AudienceEvent("group_changed", NOW)
    assert sorted(names(event, *cards)) == ["never", "same moment"]
    assert waiting([event, AudienceEvent("joined", NOW, "C1")], cards) == 2
    assert waiting([], cards) == 0


CARDS = st.lists(
    st.builds(
        StandingCard,
        incident_id=st.uuids().map(str),
        channel_id=st.sampled_from(["C1", "C2"]),
        open=st.booleans(),
        posted_at=st.integers(0, 80 * 24).map(lambda hours: NOW - timedelta(hours=hours)),
        permitted_at=st.none() | st.integers(-5, 5).map(lambda s: NOW + timedelta(seconds=s)),
    )
)


@given(CARDS, st.sampled_from([None, "C1"]))
def test_no_card_that_is_touched_is_forgotten(cards: list[StandingCard], channel: str | None) -> None:
    checks = plan(AudienceEvent("joined" if channel else "hourly", NOW, channel), cards)
    touched = [
        one
        for one in cards
        if (channel is None or one.channel_id == channel)
        and (one.open or NOW - one.posted_at <= timedelta(days=30))
        and (one.permitted_at is None or one.permitted_at <= NOW)
    ]
    assert sorted(check.card.incident_id for check in checks) == sorted(one.incident_id for one in touched)
    order = [(check.rank, not check.card.open, -check.card.posted_at.timestamp()) for check in checks]
    assert order == sorted(order)


# --- with the directory and the store -------------------------------------------------------------------------------


class Stage:
    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.clock = ManualClock(NOW)
        person = Person(id="U1", kind="full", team_id="T1", seen_at=NOW)
        self.slack = FakeDirectory(
            listed=[person], channels={"C1": Channel(id="C1", name="x", private=True)}, inside={"C1": frozenset({"U1"})}
        )
        self.directory = DirectoryCache(store, "w", self.slack, self.clock)
        self.started: list[Start] = []
        self.events = AudienceEvents(store, "w", self.directory, self.clock, self.start)

    async def start(self, wanted: Start) -> None:
        self.started.append(wanted)

    async def post(self, incident_id: str, channel: str, status: str, at: datetime) -> None:
        await self.store.insert(
            "incidents",
            [
                {
                    "workspace_id": "w", "id": incident_id, "title": "t", "source": "pagerduty", "severity": 2,
                    "first_severity": 2, "status": status, "url": "u", "triggered_at": at, "first_signal_at": at,
                    "received_at": at, "updated_at": at, "channel": channel,
                }
            ],
        )  # fmt: skip
        await self.store.insert(
            "posts",
            [
                {
                    "workspace_id": "w", "target": f"incident:{incident_id}", "part": "card", "version": 1,
                    "state": "{}", "kind": "card", "channel": channel, "mark": "m", "permitted_at": at,
                    "created_at": at, "updated_at": at,
                }
            ],
        )  # fmt: skip


@pytest.fixture
async def stage(tmp_path: pathlib.Path) -> AsyncIterator[Stage]:
    store = SqliteStore.open(tmp_path / "sitrep.db")
    made = Stage(store)
    earlier = NOW - timedelta(hours=1)
    await made.post("P1", "C1", "triggered", earlier)
    await made.post("P2", "C2", "resolved", earlier)
    await made.post("P3", "C1", "resolved", NOW - timedelta(days=31))
    yield made
    await made.directory.close()
    await store.close()


async def test_the_store_knows_which_cards_stand(stage: Stage) -> None:
    cards = {one.incident_id: one for one in await standing_cards(stage.store, "w", NOW)}
    assert set(cards) == {"P1", "P2"}
    assert cards["P1"].open
    assert not cards["P2"].open
    assert cards["P2"].permitted_at == NOW - timedelta(hours=1)


async def test_a_join_checks_the_channels_cards_first_in_the_queue(stage: Stage) -> None:
    assert await stage.events.joined("C1", "U2") == 1
    (started,) = stage.started
    assert (started.kind, started.incident_id, started.severity) == ("refresh", "P1", 1)
    assert await stage.events.waiting() == 1
    await stage.store.transaction(
        lambda tx: tx.execute("UPDATE posts SET permitted_at = :at", {"at": NOW + timedelta(seconds=1)})
    )
    assert await stage.events.waiting() == 0


async def test_two_events_at_one_moment_in_two_places_are_two_refreshes(stage: Stage) -> None:
    await stage.events.channel_changed("C1")
    await stage.events.channel_changed("C2")
    assert [one.incident_id for one in stage.started] == ["P1", "P2"]


async def test_events_that_touch_all_are_taken_together(stage: Stage) -> None:
    async def wait(seconds: float) -> None:
        await asyncio.sleep(0.2)

    stage.clock.sleep = wait  # type: ignore[method-assign]
    loop = asyncio.create_task(stage.events.run())
    try:
        for number in range(20):
            someone = Person(id=f"U{number}", kind="guest", team_id="T1", seen_at=NOW)
            await stage.events.person_changed(someone.id, someone)
        await stage.events.groups_changed()
        while stage.events._all is not None or not stage.started:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
    finally:
        loop.cancel()
    assert 2 <= len(stage.started) <= 6, "two cards, in at most three rounds for 21 events"
    assert stage.started[0].incident_id == "P1", "open ones first"


async def test_a_person_of_whom_nothing_is_new_touches_nothing(stage: Stage) -> None:
    someone = Person(id="U5", kind="guest", team_id="T1", seen_at=NOW)
    await stage.events.person_changed("U5", someone)
    stage.events._all = None
    await stage.events.person_changed("U5", replace_seen(someone))
    assert stage.events._all is None
    await stage.events.person_changed("U5", someone.model_copy(update={"kind": "full"}))
    assert stage.events._all is not None


def replace_seen(person: Person) -> Person:
    return person.model_copy(update={"seen_at": NOW + timedelta(seconds=5)})


async def test_after_a_reconnect_all_cards_are_checked(stage: Stage) -> None:
    await stage.events.reconnected()
    assert stage.events._all == replace(AudienceEvent("reconnected", stage.clock.now()))
    await stage.directory.settle()


async def test_how_many_still_wait_is_a_metric_until_none_does(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.flows.audience.COUNT_SECONDS", 0.05)
    told: list[int] = []

    class Level:
        def add(self, amount: int) -> None:
            told.append(amount)

    monkeypatch.setattr("bot.telemetry.level", lambda name: Level())
    loop = asyncio.create_task(stage.events.run())
    try:
        assert await stage.events.check("hourly") == 2
        await stage.store.transaction(
            lambda tx: tx.execute("UPDATE posts SET permitted_at = :at", {"at": NOW + timedelta(seconds=1)})
        )
        async with asyncio.timeout(20):
            while sum(told) or not told:
                await asyncio.sleep(0.01)
    finally:
        loop.cancel()
    assert max(told) == 2
