"""Past incidents: read a day at a time, resumable, patient, and written without starting anything."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta

import pytest

from bot.clock import ManualClock
from bot.errors import SitrepError
from bot.incidents.history import SOURCE, KeptDays, read_past, store_past
from bot.incidents.routing import Routing, Service
from bot.settings import Match
from bot.store.sqlite import SqliteStore
from integrations.errors import Denied, Unavailable
from integrations.pagerduty import Pace
from integrations.records import IncidentFields, Signal

SINCE = datetime(2026, 9, 1, tzinfo=UTC)
NOW = SINCE + timedelta(days=4, hours=12)
ROUTING = Routing("#incidents", Match(), severity={"P1": 1}, services={"checkout": Service("checkout", ("PSVC1",))})


def entry(incident: str, kind: str, hours: float, *, service: str = "PSVC1", urgency: str = "high", by="integration"):
    at = SINCE + timedelta(hours=hours)
    return Signal(
        delivery_key=f"{incident}-{kind}-{hours}", source="poll", kind=kind, incident_id=incident, occurred_at=at,
        received_at=NOW, body={}, sha256="", said_by=by,
        incident=IncidentFields(title=f"{incident} is slow", url="", service="Checkout (PD)", service_ref=service,
                                urgency=urgency, created_at=SINCE + timedelta(hours=-30 if incident == "OLD" else 1)),
    )  # fmt: skip


class Account:
    """An account's log; fails as often as it is told to."""

    def __init__(self, *entries: Signal) -> None:
        self.entries, self.asked, self.failing = entries, [], []

    async def transitions_between(self, start, until):
        self.asked.append(start)
        if self.failing:
            raise self.failing.pop(0)
        return [one for one in self.entries if start <= one.occurred_at < until]


LOG = (
    entry("A", "triggered", 1), entry("A", "acknowledged", 1.1, by="responder"), entry("A", "resolved", 30),
    entry("B", "triggered", 1.5, urgency="low"), entry("B", "resolved", 2, urgency="low"),
    entry("C", "triggered", 50), entry("C", "annotated", 51), entry("OLD", "resolved", 3),
)  # fmt: skip


async def read(account, path, *, told=lambda done, days: None, clock=None):
    return await read_past(
        account, since=SINCE, until=NOW, kept=KeptDays(path), clock=clock or ManualClock(NOW), redact=lambda s: s,
        told=told,
    )  # fmt: skip


async def test_lives_are_put_together_over_days_and_what_began_before_is_left_out(tmp_path):
    seen = []
    past = await read(Account(*LOG), tmp_path / "days.jsonl", told=lambda done, days: seen.append((done, days)))
    found = {one.incident_id: one.life for one in past.incidents}
    assert list(found) == ["A", "B", "C"] and past.began_before == 1
    assert found["A"].acknowledged_at == SINCE + timedelta(hours=1.1)
    assert found["A"].resolved_at - found["A"].triggered_at == timedelta(hours=29)
    assert found["C"].resolved_at is None
    assert seen == [(n, 5) for n in range(1, 6)]


async def test_a_run_that_was_ended_asks_only_for_the_days_that_are_missing(tmp_path):
    """The day that runs is never kept; a line that was cut off is read again; the file is its owner's alone."""
    path = tmp_path / "kept" / "days.jsonl"
    account = Account(*LOG)
    account.failing = []
    whole = await read(account, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Account(*LOG)
    assert await read(again, path) == whole and again.asked == [SINCE + timedelta(days=4)]
    path.write_text(path.read_text()[:-10])
    again = Account(*LOG)
    assert await read(again, path) == whole and again.asked == [SINCE + timedelta(days=3), SINCE + timedelta(days=4)]
    path.write_text("[]\n")
    with pytest.raises(SitrepError, match="remove it"):
        await read(Account(*LOG), path)


async def test_a_rate_limit_is_waited_for_and_a_refusal_is_not(tmp_path):
    account, clock = Account(*LOG), ManualClock(NOW)
    account.failing = [Unavailable("pagerduty", "rate limit", retry_after_seconds=37), Unavailable("pagerduty", "502")]
    past = await read(account, tmp_path / "a", clock=clock)
    assert len(past.incidents) == 3 and clock.monotonic() == 37 + 4
    account.failing = [Unavailable("pagerduty", "down")] * 6
    with pytest.raises(Unavailable):
        await read(account, tmp_path / "b")
    account.failing, account.asked = [Denied("pagerduty", "no")], []
    with pytest.raises(Denied):
        await read(account, tmp_path / "c")
    assert len(account.asked) == 1


async def test_requests_leave_the_account_room():
    waited, now = [], [0.0]

    async def sleep(seconds):
        waited.append(seconds)
        now[0] += seconds

    pace = Pace(240, monotonic=lambda: now[0], sleep=sleep)
    for _ in range(5):
        await pace.turn()
    assert waited == [0.25] * 4
    now[0] += 10
    await pace.turn()
    assert len(waited) == 4


async def test_resolved_ones_are_written_once_with_units_and_nothing_that_is_known_is_touched(tmp_path):
    store = SqliteStore.open(tmp_path / "sitrep.db")
    past = await read(Account(*LOG), tmp_path / "days")
    assert await store_past(store, "W", past, ROUTING, {}, NOW) == 2
    rows = {row["id"]: row for row in await store.query("SELECT * FROM incidents")}
    assert set(rows) == {"A", "B"} and rows["A"]["service"] == "checkout"
    assert [rows[i]["first_severity"] for i in "AB"] == [2, 4] and rows["A"]["triages"] == 0
    assert rows["A"]["unit_id"] == rows["B"]["unit_id"] == "u-A"  # one service within an hour: a storm
    times = await store.query("SELECT * FROM incident_times WHERE incident_id = 'A' ORDER BY at")
    assert [(t["kind"], t["source"], t["said_by"]) for t in times] == [
        ("triggered", SOURCE, "integration"), ("acknowledged", SOURCE, "responder"), ("resolved", SOURCE, "integration")
    ]  # fmt: skip
    await store.upsert("incidents", [{"workspace_id": "W", "id": "A", "title": "known"}])
    assert await store_past(store, "W", past, ROUTING, {}, NOW) == 0
    assert (await store.query("SELECT title FROM incidents WHERE id = 'A'"))[0]["title"] == "known"
    assert await store.query("SELECT * FROM signals") == [] and await store.query("SELECT * FROM triages") == []
    await store.close()
