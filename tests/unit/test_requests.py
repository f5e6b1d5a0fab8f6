"""What was asked in Slack outlives the process that took it."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from bot.clock import ManualClock
from bot.flows.aside import Aside
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


ASIDE = Seal([b"k"], "requests")


async def test_a_store_that_is_locked_keeps_nobody_waiting_and_loses_nothing(store, tmp_path):
    """Somebody else holds the database; the request is on disk all the same, sealed, and is stored when it is free."""
    folder = tmp_path / "requests"
    book = RequestBook(store, "W", ManualClock(T0), SEAL, Aside(folder, ASIDE))
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    storing = asyncio.ensure_future(book.accept(asked(1)))
    assert await book.keep_aside(asked(1))
    (kept,) = folder.glob("*.request")
    assert not storing.done()
    assert "status" not in kept.read_text() and "https" not in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    other.execute("ROLLBACK")
    other.close()
    assert await storing is True
    assert list(folder.iterdir()) == []


async def test_what_was_kept_aside_by_a_process_that_died_is_answered_by_the_next(store, tmp_path):
    folder = tmp_path / "requests"
    died = RequestBook(store, "W", ManualClock(T0), SEAL, Aside(folder, ASIDE))
    assert await died.keep_aside(asked(1)) and await died.keep_aside(asked(1))
    assert await died.keep_aside(asked(2, attempts=0))
    (folder / "0.request").write_text("sealed:1:AAAA")
    (folder / "1.request").write_bytes(b"\xff" * 100_000)
    next_one = RequestBook(store, "W", ManualClock(T0), SEAL, Aside(folder, ASIDE))
    left = await next_one.take_over()
    assert {(one.id, one.words, one.response_url, one.attempts) for one in left} == {
        ("r1", "status", "https://x", 2), ("r2", "status", "https://x", 2)
    }  # fmt: skip
    assert list(folder.iterdir()) == []
    assert len(await next_one.take_over()) == 2, "stored once"


async def test_a_disk_that_takes_nothing_is_said_and_keeps_nobody_waiting(store, tmp_path):
    (tmp_path / "requests").write_text("a file where the folder should be")
    book = RequestBook(store, "W", ManualClock(T0), SEAL, Aside(tmp_path / "requests", ASIDE))
    assert await book.keep_aside(asked(1)) is False
    assert await RequestBook(store, "W", ManualClock(T0), SEAL).keep_aside(asked(1)) is False
