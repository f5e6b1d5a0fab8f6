"""A database of every released version is brought to this one, and keeps its rows."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from bot.store import migrations
from bot.store.sqlite import SqliteStore, migrate

DUMPS = sorted((Path(__file__).resolve().parents[1] / "data").glob("db-*.sql"))


def test_there_is_a_dump_to_upgrade_from():
    assert DUMPS


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.stem)
async def test_a_database_of_an_earlier_version_is_upgraded_and_keeps_its_rows(tmp_path, dump):
    path = tmp_path / "sitrep.db"
    connection = sqlite3.connect(path)
    connection.executescript(dump.read_text(encoding="utf-8"))
    connection.close()
    migrate(path)
    store = SqliteStore.open(path)
    applied = {row["name"] for row in await store.query("SELECT name FROM migrations")}
    assert applied == {name for name, _ in migrations.steps()}
    assert [row["id"] for row in await store.query("SELECT id FROM incidents")] == ["P1"]
    assert [row["vote"] for row in await store.query("SELECT vote FROM votes")] == ["helpful"]
    await store.close()
