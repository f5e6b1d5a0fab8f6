"""Test and duplicate incidents: marked by a person or by their title, left out by the file's rules, never moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.errors import SitrepError
from bot.experiment.marks import mark_incident
from bot.experiment.recorded import read_recorded
from bot.store.sqlite import SqliteStore
from tests.unit.test_experiment_live import START, Live, hypothesis

AT = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path):
    opened = SqliteStore.open(tmp_path / "s.db")
    yield opened
    await opened.close()


async def test_marks_leave_out_what_the_file_says_and_can_be_taken_back(store):
    keeps, excludes = hypothesis(), hypothesis("[incidents]\nduplicate = 'exclude'")
    live = Live(store, keeps)
    for name in "ABCD":
        await live.assign(name)
    await store.upsert("incidents", [{"workspace_id": "W", "id": "D", "title": " [Test] page me"}])

    async def mark(name: str, kind: str, *, undo: bool = False) -> bool:
        return await mark_incident(store, "W", name, kind, by="U1", reason="drill", at=AT, undo=undo)

    async def left_out(file) -> dict[str, str]:
        found = await read_recorded(store, "W", file, START + timedelta(days=30))
        assert len(found.ordinals) == 4  # every unit keeps its place
        return {row.incident_id: row.left_out for row in found.rows if row.left_out}

    assert await mark("A", "test") and not await mark("A", "test")
    assert await mark("B", "duplicate")
    assert await left_out(keeps) == {"A": "test incident", "D": "test incident"}
    assert await left_out(excludes) == {"A": "test incident", "B": "duplicate", "D": "test incident"}
    assert await mark("A", "test", undo=True) and not await mark("A", "test", undo=True)
    assert await left_out(keeps) == {"D": "test incident"}
    assert await mark("A", "test")
    assert "A" in await left_out(keeps)
    with pytest.raises(SitrepError, match="no incident 'Z'"):
        await mark("Z", "test")
    told = await store.query("SELECT action FROM audit WHERE action LIKE 'mark.%' ORDER BY id")
    assert sorted(row["action"] for row in told) == ["mark.duplicate", "mark.test", "mark.test", "mark.test.undo"]
