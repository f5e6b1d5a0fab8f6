"""What was asked in Slack outlives the process that took it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.clock import ManualClock
from bot.flows.requests import Request, RequestBook
from bot.store.sqlite import SqliteStore
from bot.trust.sealed import Seal

T0 = datetime(2026, 11, 24, 14, 2, 10, tzinfo=UTC)

SEAL = Seal([b"k"], "requests.response_url")


@pytest.fixture
async def store(tmp_path):
    opened = SqliteStore.open(tmp_path / "s.db")
    yield opened
    await opened.close()


def asked(number: int, **more) -> Request:
    return Request(f"r{number}", "command", "U1", "C1", T0, words="status", response_url="https://x", **more)


async def test_the_same_request_twice_is_one_and_its_address_is_forgotten_when_it_was_answered(store):
    book = RequestBook(store, "W", ManualClock(T0), SEAL)
    assert [await book.accept(asked(1)), await book.accept(asked(1))] == [True, False]
    await book.end("r1")
    (row,) = await store.query("SELECT * FROM requests")
    assert (row["state"], row["response_url"]) == ("done", None)
    assert await book.take_over() == []


async def test_what_nobody_ended_is_taken_over_with_its_attempts_until_slack_takes_no_answer_any_more(store):
    clock = ManualClock(T0)
    book = RequestBook(store, "W", clock, SEAL)
    await book.accept(asked(1))
    (left,) = await book.take_over()
    assert (left.id, left.words, left.response_url, left.attempts) == ("r1", "status", "https://x", 2)
    assert (await book.take_over())[0].attempts == 3
    clock.advance(1801)
    assert await book.take_over() == []
    assert (await store.query("SELECT state FROM requests"))[0]["state"] == "lost"


async def test_a_request_is_found_by_the_one_who_made_it(store):
    book = RequestBook(store, "W", ManualClock(T0), SEAL)
    await book.accept(asked(1))
    assert (await book.find("r1", "U1")).words == "status"
    assert await book.find("r1", "U2") is None
    assert await RequestBook(store, "V", ManualClock(T0), SEAL).find("r1", "U1") is None
    assert await book.lately("command", timedelta(hours=1)) == ["U1"]


async def test_the_address_for_the_answer_is_stored_sealed_and_opens_with_an_older_key(store):
    await RequestBook(store, "W", ManualClock(T0), SEAL).accept(asked(1))
    (row,) = await store.query("SELECT response_url FROM requests")
    assert row["response_url"].startswith("sealed:1:")
    assert "//x" not in row["response_url"]
    rotated = RequestBook(store, "W", ManualClock(T0), Seal([b"new", b"k"], "requests.response_url"))
    assert (await rotated.take_over())[0].response_url == "https://x"
    lost = RequestBook(store, "W", ManualClock(T0), Seal([b"other"], "requests.response_url"))
    assert (await lost.take_over())[0].response_url is None
