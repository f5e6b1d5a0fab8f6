"""What was written in an alert channel while nobody listened is read later, once, and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from bot.flows.missed import LOOK_BACK, MESSAGES, OVERLAP, Missed
from integrations.errors import Unavailable
from integrations.slack.messages import Written, written_since
from tests.unit.test_heard import ALERTS, Ears, bot_message
from tests.unit.test_life import T0


def told(state: str, at: datetime, name: str = "HighErrorRate", **more: Any) -> dict[str, Any]:
    """A message as `conversations.history` lists it: without its channel."""
    message = bot_message(f"[{state}:1] {name} checkout-api (critical)", ts=f"{at.timestamp():.6f}", **more)
    return {key: value for key, value in message.items() if key != "channel"}


@dataclass
class Channel:
    """What stands in the channel, and what was asked."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    whole: bool = True
    fails: bool = False
    asked: list[datetime] = field(default_factory=list)

    async def history(self, channel: str, since: datetime, limit: int) -> Written:
        assert (channel, limit) == (ALERTS, MESSAGES)
        self.asked.append(since)
        if self.fails:
            raise Unavailable("slack", "no answer")
        found = [one for one in self.messages if float(one["ts"]) > since.timestamp()]
        return Written(tuple(found), self.whole)


class Listening(Ears):
    def __init__(self) -> None:
        super().__init__()
        self.channel = Channel()
        self.missed = self.begun()

    def begun(self) -> Missed:
        """As after a start of the bot."""
        return Missed(
            self.store, "W1", self.clock, watched=self.watched, history=self.channel.history, hear=self.heard.missed,
            every_seconds=300,
        )  # fmt: skip

    async def statuses(self) -> list[str]:
        return [one["status"] for one in await self.incidents()]


@pytest.fixture
async def listening() -> AsyncIterator[Listening]:
    made = Listening()
    yield made
    await made.store.close()


async def test_what_was_written_while_the_bot_was_down_is_read_at_the_next_start_and_only_once(listening):
    assert await listening.missed.look() == 0
    listening.clock.advance(1200)
    listening.channel.messages = [told("FIRING", T0 + timedelta(seconds=300))]
    assert await listening.begun().look() == 1
    (incident,) = await listening.incidents()
    assert (incident["title"], incident["own_channel"]) == ("HighErrorRate checkout-api (critical)", ALERTS)
    assert incident["triggered_at"].startswith((T0 + timedelta(seconds=300)).isoformat()[:19])
    assert await listening.begun().look() == 0
    assert listening.channel.asked[-1] == T0 + timedelta(seconds=1200) - OVERLAP


async def test_a_channel_that_is_watched_for_the_first_time_is_read_from_now_on(listening):
    listening.channel.messages = [told("FIRING", T0 - timedelta(hours=3))]
    assert await listening.missed.look() == 0
    assert listening.channel.asked == []
    assert await listening.incidents() == []


async def test_what_was_heard_already_is_not_news(listening):
    await listening.missed.look()
    message = told("FIRING", T0 + timedelta(seconds=5))
    listening.clock.advance(10)
    assert await listening.heard.message({**message, "channel": ALERTS})
    listening.channel.messages = [message]
    assert await listening.missed.look() == 0
    assert len(await listening.incidents()) == 1


async def test_an_alert_that_began_and_ended_meanwhile_is_an_incident_that_is_over(listening):
    await listening.missed.look()
    listening.clock.advance(1200)
    listening.channel.messages = [
        told("FIRING", T0 + timedelta(seconds=300)), told("RESOLVED", T0 + timedelta(seconds=600)),
    ]  # fmt: skip
    assert await listening.missed.look() == 2
    assert await listening.statuses() == ["resolved"]


async def test_what_ended_before_its_beginning_was_read_does_not_stay_open(listening):
    await listening.missed.look()
    listening.clock.advance(900)
    end = told("RESOLVED", T0 + timedelta(seconds=600))
    await listening.heard.message({**end, "channel": ALERTS})  # heard live, a moment before the history was read
    other = told("FIRING", T0 + timedelta(seconds=400), name="DiskFull")
    listening.channel.messages = [told("FIRING", T0 + timedelta(seconds=300)), other, end]
    assert await listening.missed.look() == 1
    assert [one["title"] for one in await listening.incidents() if one["status"] != "resolved"] == [
        "DiskFull checkout-api (critical)"
    ]


async def test_people_and_threads_are_not_read_from_the_history_either(listening):
    await listening.missed.look()
    listening.clock.advance(60)
    at = T0 + timedelta(seconds=30)
    listening.channel.messages = [told("FIRING", at, bot_id=None), told("FIRING", at, thread_ts="1.000001")]
    assert await listening.missed.look() == 0


async def test_no_more_than_a_day_is_read_back(listening):
    await listening.missed.look()
    listening.clock.advance(timedelta(days=5).total_seconds())
    await listening.missed.look()
    assert listening.channel.asked == [listening.clock.now() - LOOK_BACK]


@pytest.mark.parametrize("fails", [True, False])
async def test_the_cursor_stays_where_the_channel_could_not_be_read_whole(listening, fails):
    await listening.missed.look()
    listening.clock.advance(600)
    listening.channel.messages = [told("FIRING", T0 + timedelta(seconds=300))]
    listening.channel.fails, listening.channel.whole = fails, False
    assert await listening.missed.look() == (0 if fails else 1)
    listening.channel.fails, listening.channel.whole = False, True
    assert await listening.missed.look() == (1 if fails else 0)
    assert set(listening.channel.asked) == {T0 - OVERLAP}


async def test_a_lost_connection_wakes_the_reading(listening):
    running = asyncio.create_task(listening.missed.run())
    try:
        async with asyncio.timeout(30):
            while not await listening.store.query("SELECT * FROM notices"):
                await asyncio.sleep(0)
            listening.missed.wake()
            while not listening.channel.asked:
                await asyncio.sleep(0)
    finally:
        running.cancel()


class Web:
    """Pages of Slack's history, newest first, and a limit after some of them."""

    def __init__(self, pages: list[list[Any]], *, limited: bool = False) -> None:
        self._pages, self._limited = pages, limited

    async def pages(self, method: str, key: str, params: dict[str, Any], **_: Any) -> AsyncIterator[list[Any]]:
        assert (method, key, params["channel"], params["oldest"]) == (
            "conversations.history", "messages", "C1", f"{T0.timestamp():.6f}",
        )  # fmt: skip
        for page in self._pages:
            yield page
        if self._limited:
            raise Unavailable("slack", "rate limit reached")


async def test_pages_are_put_in_the_order_of_writing_and_bounded():
    one, two, three, four = ({"ts": f"{T0.timestamp() + n:.6f}"} for n in (1, 2, 3, 4))
    pages = [[four, "junk", {"ts": "no time"}, three], [], [two, one, {"ts": f"{T0.timestamp():.6f}"}]]
    assert await written_since(Web(pages), "C1", T0, 10) == Written((one, two, three, four), True)
    assert await written_since(Web(pages), "C1", T0, 3) == Written((two, three, four), False)
    assert await written_since(Web(pages[:1], limited=True), "C1", T0, 10) == Written((three, four), False)
    with pytest.raises(Unavailable):
        await written_since(Web([], limited=True), "C1", T0, 10)
