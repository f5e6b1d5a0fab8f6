"""Every table has a rule, old rows go, what open incidents need stays, and a person who is forgotten is nowhere."""

from __future__ import annotations

import asyncio
import pathlib
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.cli import main
from bot.clock import ManualClock
from bot.settings import RetentionSection
from bot.store.retention import NAMED, PART_OF_ID, REMOVED, RULES, WITHIN, enforce, forget
from bot.store.sqlite import SqliteStore, migrate
from bot.trust.audience import Audience
from bot.trust.directory import DirectoryCache
from integrations.fixtures import FakeDirectory
from integrations.records import Channel, Person

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
DAYS = RetentionSection().model_dump()
LONG_AGO = NOW - timedelta(days=4000)


@pytest.fixture
async def store(tmp_path: pathlib.Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "sitrep.db")
    yield opened
    await opened.close()


def columns_of(path: pathlib.Path) -> dict[str, list[tuple[str, str, bool]]]:
    """Table to (column, type, required) of the newest schema."""
    migrate(path)
    connection = sqlite3.connect(path)
    try:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: [(row[1], row[2], bool(row[3])) for row in connection.execute(f"PRAGMA table_info({name})")]
            for name in names
            if not name.startswith("sqlite_") and "_fts" not in name
        }
    finally:
        connection.close()


def test_every_table_has_a_rule_and_every_rule_a_table(tmp_path: pathlib.Path) -> None:
    columns = columns_of(tmp_path / "s.db")
    assert {rule.table for rule in RULES} == set(columns)
    for rule in RULES:
        known = {name for name, _, _ in columns[rule.table]}
        assert rule.why
        assert (rule.days is None) == (rule.column == "")
        assert set(rule.blank) <= known
        assert rule.column in known or rule.days is None


def test_every_setting_is_of_a_rule_and_every_rule_of_a_setting() -> None:
    assert {rule.days for rule in RULES if rule.days} == {*DAYS, "expired"}


def row(columns: list[tuple[str, str, bool]], number: int, at: datetime, **more: Any) -> dict[str, Any]:
    """A row with something in every required column and this time in every time column."""
    values: dict[str, Any] = {}
    for name, kind, required in columns:
        if name.endswith("_at") or name == "at":
            values[name] = at
        elif required:
            values[name] = number if kind in ("INTEGER", "REAL") else f"{name}-{number}"
    known = {name for name, _, _ in columns}
    return {**values, "workspace_id": "w", **{name: value for name, value in more.items() if name in known}}


async def test_old_rows_of_every_table_go_and_new_ones_stay(store: SqliteStore, tmp_path: pathlib.Path) -> None:
    columns = columns_of(tmp_path / "other.db")
    tables = {rule.table for rule in RULES if rule.days}
    more = {"status": "resolved", "state": "applied", "kind": "card"}
    for table in tables:
        await store.insert(table, [row(columns[table], 1, LONG_AGO, **more), row(columns[table], 2, NOW, **more)])
    counts = await enforce(store, "w", DAYS, NOW)
    assert set(counts) == tables
    for table in tables:
        left = await store.query(f"SELECT COUNT(*) AS n FROM {table}")
        assert left == [{"n": 1}], table
    assert await enforce(store, "w", DAYS, NOW) == {}
    assert await enforce(store, "other", DAYS, NOW + timedelta(days=5000)) == {}, "another workspace's rows are its own"


async def test_what_open_incidents_need_stays(store: SqliteStore, tmp_path: pathlib.Path) -> None:
    columns = columns_of(tmp_path / "other.db")
    await store.insert("incidents", [row(columns["incidents"], 1, LONG_AGO, id="P1", status="triggered")])
    kept = ("evidence", "triages", "incident_times", "exposures")
    for table in kept:
        await store.insert(table, [row(columns[table], 1, LONG_AGO, incident_id="P1", ranked="{}")])
    await store.insert("posts", [row(columns["posts"], 1, LONG_AGO, target="incident:P1")])
    await store.insert("signals", [row(columns["signals"], 1, LONG_AGO, state="new")])
    await store.insert("notices", [row(columns["notices"], 1, LONG_AGO, kind="cursor")])
    await store.insert("spend", [row(columns["spend"], 1, LONG_AGO, state="open")])
    assert await enforce(store, "w", DAYS, NOW) == {}


async def test_a_triage_loses_its_texts_before_its_figures(store: SqliteStore, tmp_path: pathlib.Path) -> None:
    columns = columns_of(tmp_path / "other.db")
    at = NOW - timedelta(days=100)
    await store.insert("triages", [row(columns["triages"], 1, at, ranked="{}", checked="{}", outcome="released")])
    assert await enforce(store, "w", DAYS, NOW) == {"triages": 1}
    assert await store.query("SELECT ranked, checked, outcome FROM triages") == [
        {"ranked": None, "checked": None, "outcome": "released"}
    ]


async def test_many_rows_go_in_parts(store: SqliteStore, tmp_path: pathlib.Path) -> None:
    columns = columns_of(tmp_path / "other.db")
    rows = [row(columns["audit"], number, LONG_AGO + timedelta(seconds=number // 3)) for number in range(1700)]
    await store.insert("audit", rows)
    assert await enforce(store, "w", DAYS, NOW) == {"audit": 1700}


async def test_a_list_that_is_kept_fresh_never_loses_a_member(store: SqliteStore) -> None:
    """Members who have long been there have old rows; without them the audience would be wider."""
    clock = ManualClock(NOW - timedelta(days=5))
    people = [Person(id=one, kind="full", team_id="T1", seen_at=NOW) for one in ("U1", "U2")]
    slack = FakeDirectory(
        listed=people,
        user_groups={"sre": frozenset({"U1"})},
        channels={"C1": Channel(id="C1", name="x", private=True), "C2": Channel(id="C2", name="y", private=True)},
        inside={"C1": frozenset({"U1", "U2"}), "C2": frozenset({"U1"})},
    )
    cache = DirectoryCache(store, "w", slack, clock)
    await cache.warm()
    await cache.settle()
    await cache.audience("C2", 5)
    before = await cache.audience("C1", 5)
    clock.advance(5 * 86400 - 60)
    cache.refresh_due()
    await cache.settle()
    await cache.audience("C1", 5)
    counts = await enforce(store, "w", DAYS, clock.now())
    assert counts == {"memberships": 2}, "the channel that nobody asked about goes, header and member"
    again = DirectoryCache(store, "w", slack, clock)
    slack.inside = {}
    found = await again.audience("C1", 5)
    assert isinstance(found, Audience)
    assert isinstance(before, Audience)
    assert (found.people, found.signature) == (2, before.signature)
    await cache.close()
    await again.close()


async def test_a_forgotten_person_is_nowhere(store: SqliteStore, tmp_path: pathlib.Path) -> None:
    """The id is planted in every text column that may name a person; afterwards no table holds it."""
    columns = columns_of(tmp_path / "other.db")
    for table, named in NAMED.items():
        await store.insert(table, [row(columns[table], 1, NOW, **dict.fromkeys(named, "U0PRIYA"))])
        await store.insert(table, [row(columns[table], 2, NOW, **dict.fromkeys(named, "U0PRIYA2"))])
    for table, within in WITHIN.items():
        text = {"by": "U0PRIYA", "list": ["U0PRIYA", {"say": "thanks <@U0PRIYA>"}], "other": "U0PRIYA2"}
        await store.insert(table, [row(columns[table], 3, NOW, **dict.fromkeys(within, text))])
    for table, column in PART_OF_ID.items():
        await store.insert(table, [row(columns[table], 5, NOW, **{column: "P1/U0PRIYA/change/c1"})])
        await store.insert(table, [row(columns[table], 6, NOW, **{column: "P1/U0PRIYA2/change/c1"})])
    for table, column in REMOVED.items():
        await store.insert(table, [row(columns[table], 4, NOW, **{column: "U0PRIYA"})])
    counts = await forget(store, "w", "U0PRIYA", "forgotten-1")
    assert set(counts) == {*NAMED, *WITHIN, *REMOVED}
    others = 0
    for table, known in columns.items():
        for name, _, _ in known:
            for (value,) in [tuple(one.values()) for one in await store.query(f"SELECT {name} FROM {table}")]:
                text = str(value)
                others += "U0PRIYA2" in text
                assert "U0PRIYA" not in text.replace("U0PRIYA2", ""), (table, name)
    assert others, "somebody with a longer id is somebody else"
    assert {one["by"] for one in await store.query("SELECT by FROM votes")} == {"forgotten-1", "U0PRIYA2"}
    assert await forget(store, "w", "U0PRIYA", "forgotten-2") == {}


def test_every_column_that_is_called_after_a_person_is_forgotten(tmp_path: pathlib.Path) -> None:
    known = {(table, column) for group in (NAMED, WITHIN) for table, many in group.items() for column in many}
    known |= {*REMOVED.items(), *PART_OF_ID.items()}
    called = {
        (table, name)
        for table, columns in columns_of(tmp_path / "s.db").items()
        for name, _, _ in columns
        if name in ("by", "member", "user", "person", "asked_by") or name.endswith(("_by", "_user", "_person"))
    }
    assert len(called) >= 8
    assert called - known == {("labels", "fixed_by"), ("calls", "answered_by")}, "what was changed, which model"


def test_at_the_shell(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SITREP_HOME", str(tmp_path))
    (tmp_path / "sitrep.toml").write_text('[sources.pagerduty]\nreaders = ["everyone"]\n')
    monkeypatch.setenv("SITREP_CONFIG", str(tmp_path / "sitrep.toml"))
    columns = columns_of(tmp_path / "other.db")

    async def fill() -> None:
        store = SqliteStore.open(tmp_path / "sitrep.db")
        await store.insert("votes", [{**row(columns["votes"], 1, NOW, by="U0PRIYA"), "workspace_id": "default"}])
        person = row(columns["people"], 1, NOW, id="U0PRIYA", email="Priya@example.com")
        await store.insert("people", [{**person, "workspace_id": "default"}])
        await store.close()

    asyncio.run(fill())
    assert main(["privacy", "forget", "nobody@example.com"]) == 1
    assert "0 people" in capsys.readouterr().err
    assert main(["privacy", "forget", "no such'id"]) == 1
    capsys.readouterr()
    assert main(["privacy", "forget", "priya@example.com"]) == 0
    assert "is forgotten" in capsys.readouterr().out
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("sitrep.db*"))
    assert b"U0PRIYA" not in raw, "overwritten in the file and its log, not only unlinked"
    assert b"forgotten-" in raw
    assert b"privacy.forget" in raw


def test_the_page_lists_every_table_with_its_rule() -> None:
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "schema.md").read_text(encoding="utf-8")
    told = {
        tuple(cell.strip() for cell in line.split("|")[1:5]) for line in page.splitlines() if line.startswith("| `")
    }
    listed = {(table.strip("`"), setting, default) for table, _, setting, default in told}
    for rule in RULES:
        if rule.days == "expired":
            continue
        setting = "kept" if rule.days is None else f"`{rule.days}`"
        default = "" if rule.days is None else str(DAYS[rule.days])
        rows = [row for row in listed if row[0] == rule.table and row[1].startswith(setting)]
        assert [row[2] for row in rows] == [default], rule
    assert {row[0] for row in listed} == {rule.table for rule in RULES}
