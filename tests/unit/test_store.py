"""The store: one contract for every implementation, and what is SQLite's own."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.store import migrations, sqlite
from bot.store.sqlite import SqliteStore, StoreError, migrate
from bot.store.values import to_text, to_time, ulid

NOW = datetime(2026, 11, 24, 14, 2, 10, 123456, tzinfo=UTC)
VOTE = {
    "workspace_id": "W",
    "incident_id": "P1",
    "triage_id": "t",
    "post_version": 1,
    "by": "U1",
    "vote": "up",
    "at": NOW,
}


@pytest.fixture
async def store(tmp_path: Path):
    opened = SqliteStore.open(tmp_path / "home" / "sitrep.db")
    yield opened
    await opened.close()


async def test_a_row_comes_back_as_it_was_written_and_times_sort_as_text(store):
    await store.insert("votes", [VOTE])
    (row,) = await store.query("SELECT * FROM votes WHERE incident_id = :id", {"id": "P1"})
    assert to_time(row["at"]) == NOW
    assert row["vote"] == "up"


async def test_upsert_keeps_columns_that_the_row_does_not_name(store):
    await store.upsert("votes", [VOTE])
    await store.upsert("votes", [{"workspace_id": "W", "incident_id": "P1", "by": "U1", "vote": "down"}])
    assert [(r["vote"], r["triage_id"]) for r in await store.query("SELECT * FROM votes")] == [("down", "t")]


async def test_ignored_inserts_say_how_many_were_new(store):
    assert await store.insert("votes", [VOTE], ignore=True) == 1
    assert await store.insert("votes", [VOTE, VOTE | {"by": "U2"}], ignore=True) == 1


async def test_an_unknown_table_or_column_is_refused_and_never_made(store):
    with pytest.raises(StoreError, match="no table 'vote'"):
        await store.insert("vote", [VOTE])
    with pytest.raises(StoreError, match="no column"):
        await store.insert("votes", [VOTE | {"mood": "good"}])


async def test_a_failing_unit_rolls_back_alone(store):
    def fail(tx):
        tx.insert("votes", [VOTE | {"by": "lost"}])
        raise KeyError("on purpose")

    results = await asyncio.gather(
        store.insert("votes", [VOTE | {"by": "a"}]),
        store.transaction(fail),
        store.insert("votes", [VOTE | {"by": "b"}]),
        return_exceptions=True,
    )
    assert isinstance(results[1], KeyError)
    assert sorted(r["by"] for r in await store.query("SELECT by FROM votes")) == ["a", "b"]


async def test_a_unit_that_is_alone_and_fails_leaves_nothing(store):
    def fail(tx):
        tx.insert("votes", [VOTE | {"by": "lost"}])
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        await store.transaction(fail)
    await store.insert("votes", [VOTE | {"by": "a"}])
    assert [r["by"] for r in await store.query("SELECT by FROM votes")] == ["a"]


async def test_under_steady_writing_the_log_stays_short_and_every_row_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "CHECKPOINT_AFTER", 50)
    monkeypatch.setattr(sqlite, "LONGEST_LOG", 128)
    store = SqliteStore.open(tmp_path / "sitrep.db")
    longest = 0
    for n in range(60):  # 60 times 20 rows of 4 KiB: 5 MB
        await store.insert("votes", [VOTE | {"by": f"{n}-{m}", "triage_id": "x" * 4096} for m in range(20)])
        if store._copying is not None:  # a slow disk must not decide this test
            await asyncio.wrap_future(store._copying)
        longest = max(longest, (tmp_path / "sitrep.db-wal").stat().st_size)
    assert longest < 1_500_000
    await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "sitrep.db")) as plain:
        assert plain.execute("SELECT count(*) FROM votes").fetchone() == (1200,)


async def test_read_then_write_of_many_callers_never_loses_an_update(store):
    def more(tx):
        (row,) = tx.query("SELECT coalesce(max(post_version), 0) AS n FROM votes")
        tx.insert("votes", [VOTE | {"by": f"U{row['n']}", "post_version": row["n"] + 1}])

    await asyncio.gather(*(store.transaction(more) for _ in range(100)))
    (row,) = await store.query("SELECT count(*) AS n, max(post_version) AS top FROM votes")
    assert (row["n"], row["top"]) == (100, 100)


async def test_nothing_can_be_written_after_close(tmp_path):
    store = SqliteStore.open(tmp_path / "s.db")
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.insert("votes", [VOTE])


def test_the_file_is_private_and_migrations_run_once(tmp_path):
    path = tmp_path / "s.db"
    assert migrate(path) == [name for name, _ in migrations.steps()]
    assert migrate(path) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_database_of_a_newer_version_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "s.db"
    migrate(path)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO migrations VALUES ('9999_future', '2030')")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="newer Sitrep"):
        migrate(path)


def test_every_table_starts_with_the_workspace_in_its_key(tmp_path):
    path = tmp_path / "s.db"
    migrate(path)
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'migrations'")
    for name in (name for (name,) in tables.fetchall() if "_fts" not in name):
        columns = list(connection.execute(f"PRAGMA table_info({name})"))
        assert columns[0][1] == "workspace_id", name
        assert columns[0][5] == 1, name
    connection.close()


def test_a_time_without_a_zone_cannot_be_stored():
    with pytest.raises(ValueError, match="without a zone"):
        to_text(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


def test_ulids_sort_by_time():
    earlier, later = ulid(NOW), ulid(datetime(2026, 11, 25, tzinfo=UTC))
    assert len(earlier) == 26
    assert earlier < later


async def test_a_search_finds_any_of_the_words_best_first_and_nothing_of_what_was_deleted(tmp_path, store):
    told = ["pool of payments is exhausted", "pool in the garden", "disk is full"]
    rows = [
        {"workspace_id": "w", "incident_id": f"P{n}", "readers": "[]", "number": n, "words": words, "indexed_at": NOW}
        for n, words in enumerate(told)
    ]
    await store.insert("incident_words", rows)
    asked = {"where": "workspace_id = :w", "parameters": {"w": "w"}, "limit": 9}
    found = await store.search("incident_words", ["payment", "pools", 'OR "', "*"], **asked)
    assert [one["incident_id"] for one in found] == ["P0", "P1"]
    assert found[0]["relevance"] > found[1]["relevance"] > 0
    assert await store.search("incident_words", ['"', "-"], **asked) == []
    await store.transaction(lambda tx: tx.execute("DELETE FROM incident_words WHERE incident_id = 'P0'"))
    await store.compact("incident_words")
    assert [one["incident_id"] for one in await store.search("incident_words", ["pool"], **asked)] == ["P1"]
    await store.close()
    raw = b"".join(path.read_bytes() for path in (tmp_path / "home").glob("sitrep.db*"))
    assert b"exhaust" not in raw and b"garden" in raw
    with pytest.raises(StoreError, match="no search index"):
        await store.search("signals", ["pool"], **asked)
