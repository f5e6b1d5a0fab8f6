"""The outbox beside Slack's limits and refusals: what one message or one channel meets stays its own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from bot.cards import words
from bot.cards.making import collecting
from bot.cards.outbox import Outbox, OutboxLimits
from bot.cards.samples import every_state, facts, incident
from bot.cards.state import CardState
from bot.clock import ManualClock, SystemClock
from bot.store.sqlite import SqliteStore
from integrations.errors import Refused, Unavailable
from integrations.fixtures import FakePoster

T0 = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.failing = 0
        self.asked = 0

    async def add_note(self, incident_id: str, text: str) -> str:
        self.asked += 1
        if self.failing:
            self.failing -= 1
            raise Unavailable("pagerduty", "no answer in 5 s", answer_lost=True)
        self.texts.append(text)
        return "N1"

    async def find_note(self, incident_id: str, mark: str) -> str | None:
        return next(("N1" for text in self.texts if mark in text), None)


class Bench:
    def __init__(self, store: SqliteStore) -> None:
        self.store, self.slack, self.notes, self.clock = store, FakePoster(started_at=T0), Notes(), ManualClock(T0)
        self.repermitted = 0
        self.outbox = self.start()

    def start(self, **limits) -> Outbox:
        async def repermit(target: str) -> None:
            self.repermitted += 1
            await self.outbox.change(target, "C1", lambda before: before, permitted_at=self.clock.now())

        async def text(target: str) -> str:
            return "SEV2 P8K2Q1 since 14:02"

        self.outbox = Outbox(
            self.store, "W", self.slack, self.clock, limits=OutboxLimits(**limits), repermit=repermit,
            notes=self.notes, note_text=text,
        )  # fmt: skip
        return self.outbox

    async def want(self, state: CardState, target: str = "incident:P1", channel: str = "C1") -> int:
        return await self.outbox.change(target, channel, lambda _: state, permitted_at=self.clock.now())

    async def settle(self, seconds: float = 8) -> None:
        for _ in range(int(seconds * 2)):
            await self.outbox.send_due()
            self.clock.advance(0.5)

    def shown(self, part: str, target: str = "incident:P1") -> str:
        (one,) = [m for m in self.slack.messages if m.message.mark == f"sitrep:W:{target}:{part}"]
        return str((one.message.text, one.message.blocks))


@pytest.fixture
async def bench(tmp_path):
    store = SqliteStore.open(tmp_path / "s.db")
    yield Bench(store)
    await store.close()


async def test_a_state_that_says_the_same_is_no_edit(bench):
    first = await bench.want(facts())
    await bench.settle()
    bench.slack.calls.clear()
    assert await bench.want(facts().after(facts())) == first
    await bench.settle()
    assert bench.slack.calls == []


async def test_details_that_may_no_longer_be_shown_are_replaced_in_the_thread(bench):
    await bench.want(facts())
    await bench.settle()
    assert "connection pool" in bench.shown("thread")
    await bench.want(every_state()["fallback"])
    await bench.settle()
    assert words.NOT_SHOWN_HERE in bench.shown("thread")
    for part in ("card", "thread"):
        assert "connection pool" not in bench.shown(part)
        assert "a1b2c3d" not in bench.shown(part)


async def test_a_reply_to_the_channel_is_sent_when_a_suspect_comes_later_and_is_narrowed_with_the_card(bench):
    await bench.want(every_state()["nothing-at-all"])
    await bench.settle()
    await bench.outbox.change("incident:P1", "C1", lambda before: facts().after(before), permitted_at=bench.clock.now())
    await bench.settle()
    (reply,) = [m for m in bench.slack.messages if m.message.mark.endswith(":reply1")]
    assert reply.message.broadcast
    assert "a1b2c3d" in reply.message.text
    hidden = facts().model_copy(update={"suspects": ()})
    await bench.outbox.change("incident:P1", "C1", lambda before: hidden.after(before), permitted_at=bench.clock.now())
    await bench.settle()
    assert "a1b2c3d" not in bench.shown("reply1")


async def test_the_fallback_fields_are_for_everybody_and_wait_for_no_permission(bench):
    await bench.want(collecting(incident()))
    bench.clock.advance(600)
    await bench.settle()
    assert bench.repermitted == 0
    assert "P8K2Q1" in bench.shown("card")


async def test_a_limit_on_edits_stops_no_post(bench):
    await bench.want(facts())
    await bench.settle()
    bench.slack.failing = [Unavailable("slack", "rate limited", retry_after_seconds=30)]
    await bench.want(facts().voted(1, 0))
    await bench.outbox.send_due()
    await bench.want(facts(), target="incident:P2", channel="C2")
    await bench.settle(3)
    assert "P8K2Q1" in bench.shown("card", "incident:P2")
    assert bench.slack.calls.count("update") == 1
    await bench.settle(40)
    assert "helpful 1" in bench.shown("card")


async def test_a_rate_limit_is_no_outage(bench):
    bench.slack.failing = [Unavailable("slack", "rate limited", retry_after_seconds=40)] * 3
    await bench.want(facts())
    await bench.settle(150)
    assert bench.notes.texts == []
    assert len([m for m in bench.slack.messages if m.message.mark.endswith(":card")]) == 1


async def test_an_outage_writes_one_note_even_when_the_first_answer_is_lost(bench):
    bench.slack.down = True
    bench.notes.failing = 2
    await bench.want(facts())
    await bench.settle(59)
    assert bench.notes.asked == 0
    await bench.settle(90)
    assert len(bench.notes.texts) == 1
    assert bench.notes.asked <= 4
    bench.slack.down = False
    await bench.settle(30)
    assert len([m for m in bench.slack.messages if m.message.mark.endswith(":card")]) == 1


async def test_modern_blocks_that_are_refused_are_remembered_for_a_week(bench):
    bench.slack.refused_kinds = frozenset({"rich_text", "container", "context_actions"})
    await bench.want(facts())
    await bench.settle()
    assert "rich_text" not in bench.shown("card")
    assert await bench.start().form() == "classic"
    bench.clock.advance(timedelta(days=7).total_seconds())
    assert await bench.start().form() == "modern"


async def test_a_setting_forces_the_classic_form(bench):
    bench.start(blocks="classic")
    await bench.want(facts())
    await bench.settle()
    assert "rich_text" not in str([m.message.blocks for m in bench.slack.messages])


async def test_one_message_that_is_refused_in_both_forms_is_said_in_a_sentence_and_the_others_are_not(bench):
    bench.slack.failing = [Refused("slack", "invalid_blocks", code="invalid_blocks")] * 2
    await bench.want(facts())
    await bench.settle()
    assert "Suspect: deploy a1b2c3d" in bench.shown("card").replace("\\xa0", " ")
    assert "'header'" not in bench.shown("card")
    await bench.want(facts(), target="incident:P2", channel="C2")
    await bench.settle()
    assert "'header'" in bench.shown("card", "incident:P2")


async def test_a_report_that_is_refused_is_said_in_its_text(bench):
    bench.slack.refused_kinds = frozenset({"data_visualization"})
    await bench.outbox.say("report:2026-W47", "C1", "No difference shown.", [{"type": "data_visualization"}])
    await bench.settle()
    assert "No difference shown." in bench.shown("card", "report:2026-W47")
    assert "'section'" in bench.shown("card", "report:2026-W47")


async def test_a_permission_that_fails_is_asked_again_and_sends_nothing_meanwhile(bench):
    calls = []

    async def broken(target: str) -> None:
        calls.append(target)
        raise RuntimeError("the store is busy")

    bench.outbox = Outbox(bench.store, "W", bench.slack, bench.clock, repermit=broken)
    await bench.want(facts())
    bench.clock.advance(61)
    await bench.settle(4)
    assert calls
    assert bench.slack.messages == []
    await bench.want(facts().voted(1, 0))
    await bench.settle(20)
    assert len([m for m in bench.slack.messages if m.message.mark.endswith(":card")]) == 1


async def test_a_storm_of_incidents_is_posted_one_a_second_a_channel_and_nothing_is_dropped(bench):
    for number in range(12):
        await bench.want(facts(), target=f"incident:P{number}")
    await bench.settle(5)
    cards = [m for m in bench.slack.messages if m.message.mark.endswith(":card")]
    assert 4 <= len(bench.slack.messages) <= 6
    assert cards
    await bench.settle(60)
    assert len([m for m in bench.slack.messages if m.message.mark.endswith(":card")]) == 12


async def test_a_slow_channel_keeps_no_other_waiting(tmp_path):
    store = SqliteStore.open(tmp_path / "s.db")
    slow = asyncio.Event()

    class Slow(FakePoster):
        async def post(self, message):
            if message.channel == "CSLOW":
                await slow.wait()
            return await super().post(message)

    slack = Slow()
    outbox = Outbox(store, "W", slack, SystemClock())
    running = asyncio.create_task(outbox.run())
    try:
        now = datetime.now(UTC)
        await outbox.change("incident:P1", "CSLOW", lambda _: facts(), permitted_at=now)
        await asyncio.sleep(0.05)
        version = await outbox.change("incident:P2", "C2", lambda _: facts(), permitted_at=now)
        assert await outbox.wait_for("incident:P2", version, 3)
        assert not await outbox.wait_for("incident:P1", 1, 0.01)
        slow.set()
        assert await outbox.wait_for("incident:P1", 1, 3)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()
    assert len([m for m in slack.messages if m.message.mark.endswith("P1:card")]) == 1


async def test_a_card_goes_to_the_channel_that_its_newest_state_names(bench):
    bench.slack.down = True
    await bench.want(facts(), channel="#payments")
    await bench.settle(3)
    await bench.want(facts().voted(1, 0), channel="C0PAYMENTS")
    bench.slack.down = False
    await bench.settle(30)
    assert {m.posted.channel for m in bench.slack.messages} == {"C0PAYMENTS"}
