"""Signals become incidents and workflows: repeats, order, crashes between, and channels."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest

from bot.clock import ManualClock
from bot.incidents.intake import MAX_STARTS, Drainer
from bot.incidents.routing import Routing, Service
from bot.incidents.signals import failed_signals, redacted_signal, store_signals
from bot.settings import Match, SeverityTest
from bot.store.sqlite import SqliteStore
from bot.store.values import to_time
from integrations.records import IncidentFields, Signal

T0 = datetime(2026, 11, 24, 14, 2, 10, 350_000, tzinfo=UTC)
FIELDS = IncidentFields(
    title="Checkout errors", url="https://x/P1", service="Checkout", service_ref="PSVC1", urgency="high", created_at=T0
)
ROUTING = Routing(
    default_channel="#incidents",
    when=Match(severity=SeverityTest(operator="<=", value=3)),
    services={
        "checkout-api": Service("checkout-api", ("PSVC1",), team="pay", depends_on=("db",)),
        "db": Service("db", channel="#db"),
    },
    team_channels={"pay": "#pay"},
    routes=[(Match(severity=SeverityTest(operator="==", value=1)), "#sev1")],
)


def signal(kind: str, seconds: float, key: str, *, source: str = "webhook", incident: str = "P1", **fields) -> Signal:
    at = T0 + timedelta(seconds=seconds)
    return Signal(
        delivery_key=key, source=source, kind=kind, incident_id=incident, occurred_at=at, received_at=at, body={},
        sha256="0" * 64, incident=FIELDS.model_copy(update=fields),
    )  # fmt: skip


class Bench:
    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.started: list[tuple[str, str, str]] = []
        self.fail = False
        self.drainer = Drainer(store, "W", ROUTING, ManualClock(T0), self.start, self.neighbours)

    async def start(self, start) -> None:
        if self.fail:
            raise RuntimeError("the engine is down")
        self.started.append((start.kind, start.incident_id, start.key))

    async def neighbours(self):
        return {"checkout-api": frozenset({"db"}), "db": frozenset({"checkout-api"})}

    async def feed(self, *signals: Signal) -> None:
        for one in signals:
            await store_signals(self.store, "W", [one])
            await self.drainer.drain()

    async def incident(self, incident_id: str = "P1"):
        (row,) = await self.store.query("SELECT * FROM incidents WHERE id = :i", {"i": incident_id})
        return row


@pytest.fixture
async def bench(tmp_path):
    store = SqliteStore.open(tmp_path / "s.db")
    yield Bench(store)
    await store.close()


async def test_a_trigger_starts_one_triage_and_later_changes_refresh(bench):
    await bench.feed(signal("triggered", 0, "d1"), signal("triggered", 0, "d1"), signal("acknowledged", 60, "d2"))
    assert bench.started[0] == ("triage", "P1", "1")
    assert [kind for kind, *_ in bench.started] == ["triage", "refresh"]
    row = await bench.incident()
    assert (row["service"], row["severity"], row["status"]) == ("checkout-api", 2, "acknowledged")


LIVES = {
    "resolved": [("triggered", 0), ("acknowledged", 95), ("resolved", 1800)],
    "taken back": [("triggered", 0), ("acknowledged", 30), ("unacknowledged", 60), ("acknowledged", 90)],
    "reopened": [("triggered", 0), ("resolved", 600), ("reopened", 640), ("resolved", 700)],
    "resolved unseen": [("triggered", 0), ("resolved", 15)],
}
"""Kinds and seconds; the last two of `taken back` and of `reopened` are within 120 s of their likes."""


@pytest.mark.parametrize("life", LIVES)
async def test_webhook_poll_and_both_in_every_order_leave_one_result(bench, life):
    webhook = [signal(kind, s, f"w{n}") for n, (kind, s) in enumerate(LIVES[life])]
    # A log entry's time has whole seconds; the poller tells of each a little later, under a key of its own.
    poll = [
        one.model_copy(
            update={
                "delivery_key": f"p{n}", "source": "poll",
                "occurred_at": (one.occurred_at + timedelta(seconds=1)).replace(microsecond=0),
            }
        )
        for n, one in enumerate(webhook)
    ]  # fmt: skip
    orders = list(itertools.permutations(webhook + poll))
    sampled = [*orders[:: max(1, len(orders) // 25)], webhook + poll, poll + webhook]
    both = {await _life_of(bench, f"B{n}", order) for n, order in enumerate([webhook, *sampled])}
    assert len(both) == 1
    (alone,) = {await _life_of(bench, f"A{n}", order) for n, order in enumerate([poll, poll + poll])}
    ((status, *times),) = both
    assert alone[0] == status
    for by_poll, by_webhook in zip(alone[1:], times, strict=True):
        assert (by_poll is None) == (by_webhook is None)
        assert by_poll is None or 0 <= (to_time(by_poll) - to_time(by_webhook)).total_seconds() < 1


async def _life_of(bench: Bench, incident_id: str, order) -> tuple:
    """Status and times of an incident after these signals; one triage for each time that it opened, at most."""
    await bench.feed(
        *[
            one.model_copy(update={"incident_id": incident_id, "delivery_key": f"{incident_id}-{one.delivery_key}"})
            for one in order
        ]
    )
    row = await bench.incident(incident_id)
    begun = [key for kind, of, key in bench.started if (kind, of) == ("triage", incident_id)]
    assert len(begun) == len(set(begun)) == row["triages"] <= 1 + row["reopened"]
    return row["status"], row["triggered_at"], row["acknowledged_at"], row["resolved_at"]


def test_what_came_past_the_doors_is_redacted_before_it_is_stored():
    def redact(value):
        return json.loads(json.dumps(value).replace("hunter2secret", "<secret>"))

    made = signal("triggered", 0, "p1", title="password hunter2secret").model_copy(
        update={"body": {"x": "hunter2secret"}}
    )
    clean = redacted_signal(made, redact)
    assert "hunter2secret" not in clean.model_dump_json()
    assert (clean.incident_id, clean.occurred_at, clean.incident.service_ref) == ("P1", T0, "PSVC1")


async def test_a_start_that_fails_is_started_when_the_drainer_comes_again(bench):
    bench.fail = True
    await store_signals(bench.store, "W", [signal("triggered", 0, "d1")])
    with pytest.raises(RuntimeError):
        await bench.drainer.drain()
    bench.fail = False
    await bench.drainer.drain()
    assert bench.started == [("triage", "P1", "1")]


async def test_unknown_events_are_kept_and_change_nothing(bench):
    unknown = signal("unknown", 1, "x").model_copy(update={"incident": None})
    await bench.feed(signal("triggered", 0, "d1"), unknown)
    (row,) = await bench.store.query("SELECT count(*) AS n FROM signals WHERE kind = 'unknown' AND state = 'done'")
    assert row["n"] == 1
    assert len(bench.started) == 1


@pytest.mark.parametrize("kind", ["unknown", "annotated", "priority_updated", "escalated", "reassigned"])
async def test_a_late_event_of_an_incident_that_was_closed_opens_none(bench, kind):
    await bench.feed(signal(kind, 0, "late", status="resolved"), signal(kind, 1, "later", status=None))
    assert await bench.store.query("SELECT id FROM incidents") == []
    assert bench.started == []


async def test_an_open_incident_that_is_first_heard_of_by_an_escalation_has_the_life_that_it_says(bench):
    await bench.feed(
        signal("escalated", 60, "e", status="acknowledged", acknowledged_at=T0 + timedelta(seconds=30)),
        signal("escalated", 0, "f", incident="P2", status="triggered"),
    )
    first, second = await bench.incident("P1"), await bench.incident("P2")
    assert (first["status"], second["status"]) == ("acknowledged", "triggered")
    assert first["acknowledged_at"].startswith("2026-11-24T14:02:40")
    assert second["acknowledged_at"] is None


# --- what cannot be applied ------------------------------------------------------------------------------------------


async def spoilt(bench, key: str) -> None:
    """A row as no door writes one: half of it lost, or from a version that nobody foresaw."""

    def work(tx):
        return tx.execute("UPDATE signals SET occurred_at = 'never' WHERE delivery_key = :k", {"k": key})

    await bench.store.transaction(work)


async def test_a_signal_that_cannot_be_applied_is_set_aside_and_the_others_go_on(bench, caplog):
    await store_signals(bench.store, "W", [signal("triggered", n, f"d{n}", incident=f"P{n}") for n in range(3)])
    await spoilt(bench, "d1")
    await bench.drainer.drain()
    states = {row["delivery_key"]: row["state"] for row in await bench.store.query("SELECT * FROM signals")}
    assert states == {"d0": "done", "d1": "failed", "d2": "done"}
    assert [start[1] for start in bench.started] == ["P0", "P2"]
    assert [row["delivery_key"] for row in await failed_signals(bench.store, "W")] == ["d1"]
    assert "never" not in caplog.text


async def test_keys_that_this_version_does_not_know_are_left_out(bench):
    await store_signals(bench.store, "W", [signal("triggered", 0, "d1")])
    await bench.store.transaction(
        lambda tx: tx.execute("UPDATE signals SET body = json_set(body, '$.incident.colour', 'red')")
    )
    await bench.drainer.drain()
    assert bench.started == [("triage", "P1", "1")]


async def test_a_signal_that_kills_the_process_every_time_is_set_aside_after_five_starts(bench):
    """The process dies while one signal is in hand: five times, then the drainer leaves it and applies the next."""
    await store_signals(bench.store, "W", [signal("triggered", n, f"d{n}", incident=f"P{n}") for n in range(2)])

    class Killed(BaseException):
        pass

    def dies(*arguments, **options):
        raise Killed

    starts = 0
    while starts < 9:
        starts += 1
        drainer = Drainer(bench.store, "W", ROUTING, ManualClock(T0), bench.start, bench.neighbours)
        apply = drainer._applier._apply

        def poisoned(tx, row, *more, apply=apply):
            return dies() if row["delivery_key"] == "d0" else apply(tx, row, *more)

        drainer._applier._apply = poisoned
        try:
            await drainer._count_starts()
            await drainer.drain()
        except Killed:
            continue
        break
    assert starts == 1 + MAX_STARTS
    states = {row["delivery_key"]: row["state"] for row in await bench.store.query("SELECT * FROM signals")}
    assert states == {"d0": "failed", "d1": "done"}
    assert bench.started == [("triage", "P1", "1")]


async def test_a_reopened_incident_is_triaged_again_with_the_next_number(bench):
    await bench.feed(signal("triggered", 0, "1"), signal("resolved", 600, "2"), signal("reopened", 700, "3"))
    assert bench.started[-1] == ("triage", "P1", "2")


async def test_low_severity_gets_no_card_until_it_rises(bench):
    await bench.feed(signal("triggered", 0, "1", urgency="low"))
    assert bench.started == []
    await bench.feed(signal("priority_updated", 30, "2", urgency="high"))
    assert bench.started == [("triage", "P1", "1")]


async def test_incidents_of_neighbouring_services_within_an_hour_share_a_unit_and_others_do_not(bench):
    await bench.feed(
        signal("triggered", 0, "1"),
        signal("triggered", 1800, "2", incident="P2", service_ref=None, service="DB", created_at=None),
        signal("triggered", 5500, "3", incident="P3", service_ref=None, service="search", created_at=None),
    )
    units = {row["id"]: row["unit_id"] for row in await bench.store.query("SELECT id, unit_id FROM incidents")}
    assert units == {"P1": "u-P1", "P2": "u-P1", "P3": "u-P3"}


def test_the_channel_is_the_incidents_own_else_the_services_else_a_route_else_the_default():
    assert ROUTING.channel(2, "checkout-api", "C0INCIDENT") == "C0INCIDENT"
    assert ROUTING.channel(2, "checkout-api", None) == "#pay"
    assert ROUTING.channel(1, "db", None) == "#db"
    assert ROUTING.channel(1, "search", None) == "#sev1"
    assert ROUTING.channel(2, None, None) == "#incidents"


@pytest.mark.parametrize(
    ("priority", "urgency", "severity"), [("P1", "high", 2), (None, "low", 4), ("SEV4", None, 4), (None, None, 3)]
)
def test_severity_without_a_mapping(priority, urgency, severity):
    assert ROUTING.severity_of(priority, urgency) == severity
