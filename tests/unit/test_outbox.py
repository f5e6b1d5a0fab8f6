"""The outbox: one message per part whatever dies or gets lost in between, the newest state wins, Slack's limits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from bot.cards.outbox import Outbox, OutboxLimits
from bot.cards.state import CardIncident, CardState
from bot.clock import ManualClock
from bot.store.sqlite import SqliteStore
from integrations.errors import Denied, Refused, Unavailable
from integrations.ports import Posted

T0 = datetime(2026, 11, 24, 14, 2, 10, tzinfo=UTC)
INCIDENT = CardIncident(
    id="P1", severity=2, url="https://acme.pagerduty.com/incidents/P1", triggered_at=T0, title="Checkout fails",
    service="checkout-api", on_call="payments",
)  # fmt: skip
FACTS = CardState(phase="facts", incident=INCIDENT, headline="38 % of requests fail (normal 0.2 %)")


class Killed(BaseException):
    """The process died here."""


class Slack:
    """A channel that remembers; fails as told, before or after the effect."""

    def __init__(self) -> None:
        self.messages: dict[str, dict] = {}
        self.calls: list[str] = []
        self.fail_before: list[Exception] = []
        self.fail_after: list[Exception] = []
        self.fail_find: list[Exception] = []

    async def post(self, message):
        self.calls.append("post")
        if self.fail_before:
            raise self.fail_before.pop(0)
        ts = f"{len(self.messages) + 1}.0"
        self.messages[ts] = {"mark": message.mark, "text": message.text, "thread": message.thread_ts}
        if self.fail_after:
            raise self.fail_after.pop(0)
        return Posted("C1", ts)

    async def update(self, posted, message):
        self.calls.append("update")
        if self.fail_before:
            raise self.fail_before.pop(0)
        self.messages[posted.ts]["text"] = message.text

    async def find(self, channel, mark, since, thread_ts):
        self.calls.append("find")
        if self.fail_find:
            raise self.fail_find.pop(0)
        return next((Posted("C1", ts) for ts, m in self.messages.items() if m["mark"] == mark), None)

    def cards(self):
        return [m for m in self.messages.values() if m["mark"].endswith(":card")]


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    async def add_note(self, incident_id, text):
        self.notes.append(text)
        return "N1"

    async def find_note(self, incident_id, mark):
        return next(("N1" for text in self.notes if mark in text), None)


class Bench:
    def __init__(self, store) -> None:
        self.store, self.slack, self.notes, self.clock = store, Slack(), Notes(), ManualClock(T0)
        self.kill_at: str | None = None
        self.repermitted: list[str] = []
        self.outbox = self.start()

    def start(self, **limits) -> Outbox:
        """A new process on the same database."""
        self.outbox = Outbox(
            self.store, "W", self.slack, self.clock, limits=OutboxLimits(**limits), repermit=self.repermit,
            note_text=self.note_text, notes=self.notes, checkpoint=self.checkpoint,
        )  # fmt: skip
        return self.outbox

    def checkpoint(self, name: str) -> None:
        if name == self.kill_at:
            self.kill_at = None
            raise Killed(name)

    async def repermit(self, target: str) -> None:
        self.repermitted.append(target)
        await self.want(FACTS.model_copy(update={"headline": "narrowed"}))

    async def note_text(self, target: str) -> str | None:
        return "SEV2 P1 since 14:02"

    async def want(self, state: CardState, **more) -> int:
        return await self.outbox.change("incident:P1", "C1", lambda _: state, permitted_at=self.clock.now(), **more)

    async def settle(self, seconds: float = 20) -> None:
        for _ in range(int(seconds * 4)):
            await self.outbox.send_due()
            self.clock.advance(0.25)

    async def rows(self, part: str = "card"):
        return await self.store.query("SELECT * FROM posts WHERE part = :p", {"p": part})


@pytest.fixture
async def bench(tmp_path):
    store = SqliteStore.open(tmp_path / "s.db")
    yield Bench(store)
    await store.close()


async def test_a_card_is_posted_once_and_then_edited_to_the_newest_state(bench):
    await bench.want(FACTS)
    await bench.settle(1)
    for n in range(5):
        await bench.want(FACTS.model_copy(update={"headline": f"now {n}"}))
    await bench.settle(5)
    (card,) = bench.slack.cards()
    assert "now 4" in card["text"]
    assert bench.slack.calls.count("post") == len(bench.slack.messages)
    assert bench.slack.calls.count("update") <= 2 * len(bench.slack.messages)


async def test_collecting_is_not_posted_when_facts_come_in_time(bench):
    collecting = CardState(phase="collecting", incident=INCIDENT)
    await bench.want(collecting, not_before_at=T0 + timedelta(seconds=2))
    await bench.settle(1)
    assert bench.slack.messages == {}
    await bench.want(FACTS)
    await bench.settle(0.5)
    (card,) = bench.slack.cards()
    assert "38 %" in card["text"]


async def test_collecting_is_posted_when_nothing_came_by_its_time(bench):
    await bench.want(CardState(phase="collecting", incident=INCIDENT), not_before_at=T0 + timedelta(seconds=2))
    await bench.settle(3)
    assert len(bench.slack.cards()) == 1


@pytest.mark.parametrize(
    "where",
    ["outbox.before_send", "outbox.after_send", "outbox.recorded", "outbox.before_update", "outbox.after_update"],
)
async def test_a_process_that_dies_around_a_send_leaves_one_card_in_its_newest_state(bench, where):
    bench.kill_at = where

    async def until_it_dies():
        await bench.want(FACTS)
        await bench.settle(1)
        await bench.want(FACTS.model_copy(update={"headline": "second"}))
        await bench.settle(5)

    with pytest.raises(Killed):
        await until_it_dies()
    bench.start()
    await bench.want(FACTS.model_copy(update={"headline": "after the restart"}))
    await bench.settle(10)
    (card,) = bench.slack.cards()
    assert "after the restart" in card["text"]


async def test_a_post_whose_answer_was_lost_is_found_and_adopted(bench):
    bench.slack.fail_after = [Unavailable("slack", "the connection broke", answer_lost=True)]
    await bench.want(FACTS)
    await bench.settle(10)
    assert len(bench.slack.cards()) == 1
    assert "find" in bench.slack.calls
    (row,) = await bench.rows()
    assert (row["status"], row["sent_version"]) == ("sent", row["version"])


async def test_while_it_cannot_be_looked_for_a_message_that_may_be_out_is_not_posted_again(bench):
    bench.slack.fail_after = [Unavailable("slack", "the connection broke", answer_lost=True)]
    bench.slack.fail_find = [Unavailable("slack", "answered 500"), Denied("slack", "missing_scope")]
    await bench.want(FACTS)
    await bench.settle(10)
    assert bench.slack.calls.count("post") == 1
    bench.clock.advance(300)
    await bench.settle(10)
    assert len(bench.slack.cards()) == 1
    (row,) = await bench.rows()
    assert row["status"] == "sent"


async def test_retry_after_stops_everything_until_then(bench):
    bench.slack.fail_before = [Unavailable("slack", "rate limited", retry_after_seconds=5)]
    await bench.want(FACTS)
    await bench.settle(4)
    assert bench.slack.calls == ["post"]
    await bench.settle(10)
    assert len(bench.slack.cards()) == 1


async def test_a_form_that_is_refused_is_remembered_and_the_simpler_one_sent(bench):
    bench.slack.fail_before = [Refused("slack", "invalid", code="invalid_blocks")]
    await bench.want(FACTS)
    await bench.settle(5)
    assert len(bench.slack.cards()) == 1
    assert await bench.start().form() == "classic"


async def test_a_channel_that_refuses_us_is_tried_again_later_and_nothing_is_dropped(bench):
    bench.slack.fail_before = [Denied("slack", "not_in_channel")]
    await bench.want(FACTS)
    await bench.settle(5)
    (row,) = await bench.rows()
    assert (row["status"], row["last_error"]) == ("failed", "not_in_channel")
    bench.clock.advance(300)
    await bench.settle(5)
    assert len(bench.slack.cards()) == 1


async def test_a_state_that_was_permitted_a_minute_ago_is_permitted_again_first(bench):
    await bench.want(FACTS, not_before_at=T0 + timedelta(seconds=90))
    bench.clock.advance(91)
    await bench.settle(3)
    assert bench.repermitted == ["incident:P1"]
    (card,) = bench.slack.cards()
    assert "narrowed" in card["text"]


async def test_a_state_that_is_found_unchanged_when_it_is_permitted_again_goes_out(bench):
    async def unchanged(target: str) -> None:
        bench.repermitted.append(target)
        await bench.want(FACTS)

    bench.repermit = unchanged
    bench.start()
    await bench.want(FACTS)
    bench.clock.advance(61)
    await bench.settle()
    assert bench.repermitted == ["incident:P1"]
    assert len(bench.slack.cards()) == 1


async def test_a_state_made_for_earlier_readers_than_the_one_it_replaces_is_permitted_again(bench):
    earlier = bench.clock.now()
    bench.clock.advance(1)
    await bench.want(FACTS.model_copy(update={"headline": "narrowed"}))
    summary = FACTS.model_copy(update={"headline": "for those who were there before"})
    await bench.outbox.change("incident:P1", "C1", lambda _: summary, permitted_at=earlier)
    await bench.settle()
    assert bench.repermitted == ["incident:P1"]
    (card,) = bench.slack.cards()
    assert "narrowed" in card["text"]


@pytest.mark.parametrize("where", [None, "note.before_send", "note.after_send", "note.recorded"])
async def test_when_slack_is_down_for_a_minute_one_note_is_written_and_one_card_when_it_is_back(bench, where):
    bench.kill_at = where
    bench.slack.fail_before = [Unavailable("slack", "no answer") for _ in range(14)]
    await bench.want(FACTS)
    for _ in range(80):
        try:
            await bench.settle(3)
        except Killed:
            bench.start()
    assert len(bench.notes.notes) == 1
    assert "sitrep:W:incident:P1:note" in bench.notes.notes[0]
    assert len(bench.slack.cards()) == 1


async def test_waiting_ends_when_the_version_is_out_and_says_pending_when_it_is_not(bench):
    version = await bench.want(FACTS)
    waiting = asyncio.ensure_future(bench.outbox.wait_for("incident:P1", version, 5))
    await asyncio.sleep(0)
    await bench.settle(1)
    assert await waiting is True
    assert await bench.outbox.wait_for("incident:P1", version + 1, 0.01) is False
