"""Alerts become incidents: by dedupe key, by time and call graph, through the real drainer and the real store."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from datetime import UTC, datetime, timedelta
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cli import main
from bot.clock import ManualClock
from bot.evals.correlate import arrivals, measure
from bot.evals.storms import read_scenarios
from bot.incidents.alert_source import StoredAlerts
from bot.incidents.book import Book, incident_of
from bot.incidents.correlate import Correlator, Member, Place, Rules, merged, separated
from bot.incidents.intake import BATCH, Drainer
from bot.incidents.regroup import merge, split, split_services
from bot.incidents.routing import Routing
from bot.incidents.signals import store_signals
from bot.settings import Match, SeverityTest
from bot.store.sqlite import SqliteStore
from bot.triage.collect import Collector
from integrations.alerts import parser_for
from integrations.alerts.doors import signal_of
from integrations.asking import Access, ServiceRule
from integrations.records import Alert, IncidentFields, Question, Readers, Signal, Window

T0 = datetime(2026, 11, 24, 14, 2, 10, 350_000, tzinfo=UTC)
ROUTING = Routing(default_channel="#incidents", when=Match(severity=SeverityTest(operator="<=", value=3)))
CALLS = [("proxy", "front"), ("front", "cart"), ("cart", "db"), ("front", "ads"), ("mail", "queue")]
GRAPH = {
    name: frozenset(b if a == name else a for a, b in CALLS if name in (a, b)) for name in {n for c in CALLS for n in c}
}


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def alert(
    key: str, seconds: float = 0, *, service: str | None = "cart", status: str = "firing", severity: str = "critical",
    now: float | None = None, sender: str = "alertmanager", **extra: object,
) -> Signal:  # fmt: skip
    """A signal as a door makes it; `seconds`: when the alert began; `now`: when this word of it came."""
    began = at(seconds)
    received = at(seconds + 1 if now is None else now)
    made = Alert(
        title=f"{key} of {service}", service=service, severity=severity, status=status, started_at=began, link=None,
        dedupe_key=key, labels={"alertname": key}, extra=dict(extra),
    )  # fmt: skip
    return signal_of(sender, made, "0" * 64, received)


def incident(kind: str, seconds: float, key: str, *, service: str = "cart", incident_id: str = "PD1") -> Signal:
    fields = IncidentFields(title="Cart", url="https://x", service=service, urgency="high", created_at=at(0))
    return Signal(
        delivery_key=key, source="pagerduty", kind=kind, incident_id=incident_id, occurred_at=at(seconds),
        received_at=at(seconds), body={}, sha256="0" * 64, incident=fields,
    )  # fmt: skip


class Bench:
    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.started: list[tuple[str, str]] = []
        self.drainer = Drainer(store, "W", ROUTING, ManualClock(T0), self.start, self.neighbours)

    async def start(self, start) -> None:
        self.started.append((start.kind, start.incident_id))

    async def neighbours(self):
        return GRAPH

    async def feed(self, *signals: Signal) -> None:
        for one in signals:
            await self.together(one)

    async def together(self, *signals: Signal) -> None:
        await store_signals(self.store, "W", signals)
        await self.drainer.drain()

    async def incidents(self) -> list[dict]:
        return await self.store.query("SELECT * FROM incidents ORDER BY triggered_at, id")

    async def one(self) -> dict:
        (row,) = await self.incidents()
        return row

    async def parts(self) -> dict[str, dict]:
        return {row["dedupe_key"]: row for row in await self.store.query("SELECT * FROM alerts ORDER BY started_at")}

    def triages(self) -> int:
        return sum(kind == "triage" for kind, _ in self.started)


@pytest.fixture
async def bench(tmp_path):
    store = SqliteStore.open(tmp_path / "s.db")
    yield Bench(store)
    await store.close()


# --- the rule by itself -----------------------------------------------------------------------------------------------


def arrive(storm: list[tuple[str, float]], rules: Rules | None = None) -> Correlator:
    correlator = Correlator(GRAPH, rules)
    for number, (service, seconds) in enumerate(storm):
        found = correlator.place(Place(service), at(seconds))
        incident_id = found.incident_id or f"I{number}"
        for gone in found.merged:
            correlator.merge(gone, incident_id)
        if found.incident_id is None:
            correlator.open(incident_id, Place(service), at(seconds))
        correlator.join(incident_id, Place(service), at(seconds))
    return correlator


@pytest.mark.parametrize(
    ("first", "second", "seconds", "one"),
    [
        ("cart", "cart", 299, True),
        ("cart", "cart", 301, False),
        ("cart", "db", 10, True),
        ("db", "front", 10, True),
        ("db", "proxy", 10, False),
        ("cart", "mail", 10, False),
        ("cart", "unheard-of", 10, False),
        ("cart", "db", -10, True),
    ],
)
def test_close_in_time_and_at_most_two_calls_apart_is_one_storm(first, second, seconds, one):
    assert len(arrive([(first, 0), (second, seconds)]).storms) == (1 if one else 2)


def test_the_reason_says_how_they_are_connected():
    correlator = arrive([("db", 0)])
    assert correlator.place(Place("front"), at(42)).reason == (
        "front is 2 calls from db (front – cart – db), began 42 s apart"
    )
    assert correlator.place(Place("db"), at(42)).reason == "same service, db, began 42 s apart"
    assert "no call of x is known" in correlator.place(Place("x"), at(42)).reason
    assert correlator.place(Place("mail"), at(42)).reason == (
        "nothing open within 5 min is mail or at most 2 calls from it"
    )


@given(st.permutations(["proxy", "front", "cart", "db", "ads"]), st.integers(0, 2**32))
def test_a_connected_storm_is_one_incident_in_whatever_order_it_arrives(order, seed):
    times = random.Random(seed)
    assert len(arrive([(service, times.uniform(0, 240)) for service in order]).storms) == 1


@given(st.lists(st.sampled_from(["db", "cart", "mail", "queue"]), min_size=2, max_size=30))
def test_two_storms_without_a_call_between_them_never_touch(services):
    for storm in arrive([(service, n) for n, service in enumerate(services)]).storms.values():
        names = {place.service for place in storm.places}
        assert names <= {"db", "cart"} or names <= {"mail", "queue"}


def test_an_incident_of_another_system_is_joined_and_never_merged_away():
    correlator = Correlator(GRAPH)
    correlator.open("A1", Place("db"), at(0))
    correlator.open("PD1", Place("front"), at(30), owned=True)
    correlator.open("PD2", Place("ads"), at(20), owned=True)
    found = correlator.place(Place("cart"), at(40))
    assert (found.incident_id, found.merged) == ("PD1", ("A1",))


def test_merging_points_everything_at_the_one_that_stands_and_a_split_undoes_one():
    members = [Member("A"), Member("B"), Member("C", "B"), Member("D", "A")]
    assert merged(members, "C", "D").merged_into == {"B": "A", "C": "A"}
    assert "one incident already" in merged(members, "D", "A").refused
    assert "No incident 'X'" in merged(members, "X", "A").refused
    assert separated(members, "C").merged_into == {"C": None}
    assert "not merged" in separated(members, "A").refused
    over = [Member("A"), Member("B", status="resolved")]
    assert "B is resolved: merge it into A" in merged(over, "A", "B").refused
    assert merged(over, "B", "A").merged_into == {"B": "A"}


# --- through the drainer ----------------------------------------------------------------------------------------------


async def test_an_alert_makes_an_incident_of_its_sender_with_a_card(bench):
    await bench.feed(alert("HighErrors", severity="critical"))
    row = await bench.one()
    assert (row["source"], row["severity"], row["status"], row["service"]) == ("alertmanager", 2, "triggered", "cart")
    assert row["title"] == "HighErrors of cart"
    assert row["id"].startswith("A")
    assert row["unit_id"] == f"u-{row['id']}"
    assert bench.started == [("triage", row["id"])]
    (time,) = await bench.store.query("SELECT kind, source, said_by FROM incident_times")
    assert time == {"kind": "triggered", "source": "alertmanager", "said_by": "integration"}


async def test_a_storm_along_the_call_graph_is_one_incident_and_each_alert_says_why(bench):
    await bench.together(alert("a", service="db"), alert("b", 20, service="cart"), alert("c", 45, service="front"))
    row = await bench.one()
    parts = await bench.parts()
    assert {part["incident_id"] for part in parts.values()} == {row["id"]}
    assert parts["b"]["reason"] == "cart is one call from db (cart – db), began 20 s apart"
    assert bench.triages() == 1


async def test_an_alert_between_two_incidents_merges_the_younger_into_the_older(bench):
    await bench.feed(alert("a", service="db"), alert("b", 20, service="proxy", severity="P1"))
    assert [row["merged_into"] for row in await bench.incidents()] == [None, None]
    await bench.feed(alert("c", 45, service="cart"))
    older, younger = await bench.incidents()
    assert (older["merged_into"], younger["merged_into"]) == (None, older["id"])
    assert older["severity"] == younger["severity"] == 1
    (audit,) = await bench.store.query("SELECT * FROM audit")
    assert (audit["action"], audit["by"], audit["incident_id"]) == ("merge", "sitrep", younger["id"])
    assert json.loads(audit["detail"])["into"] == older["id"]


async def test_incidents_that_become_one_within_a_batch_get_one_card(bench):
    storm = [alert(s, n, service=s) for n, s in enumerate(["db", "proxy", "cart"])]
    await bench.together(*storm)
    assert len(await bench.incidents()) == 2
    assert bench.triages() == 1


async def test_resolved_alerts_resolve_their_part_and_the_last_one_the_incident(bench):
    await bench.feed(
        alert("a", service="db"),
        alert("b", 20, service="cart"),
        alert("a", service="db", status="resolved", now=300, endsAt=at(290).isoformat()),
    )
    assert (await bench.one())["status"] == "triggered"
    await bench.feed(alert("b", 20, service="cart", status="resolved", now=600, endsAt=at(590).isoformat()))
    row = await bench.one()
    assert (row["status"], row["resolved_at"][:19]) == ("resolved", at(590).isoformat()[:19])
    assert bench.started[-1] == ("refresh", row["id"])
    times = await bench.store.query("SELECT kind, source FROM incident_times ORDER BY at")
    assert times == [{"kind": k, "source": "alertmanager"} for k in ("triggered", "resolved")]


async def test_a_merged_incident_holds_the_other_open_and_ends_with_its_own_alerts(bench):
    await bench.feed(*(alert(s, n, service=s) for n, s in enumerate(["db", "proxy", "cart"])))

    async def resolve(service: str, began: float, now: float) -> list[str]:
        await bench.feed(alert(service, began, service=service, status="resolved", now=now))
        return [row["status"] for row in await bench.incidents()]

    assert await resolve("db", 0, 100) == ["triggered", "triggered"]
    assert await resolve("cart", 2, 110) == ["triggered", "triggered"]
    assert await resolve("proxy", 1, 400) == ["resolved", "resolved"]


async def test_a_repeat_changes_nothing_and_is_counted(bench):
    await bench.feed(alert("a"))
    again = alert("a", now=3600).model_copy(update={"delivery_key": "again"})
    await bench.feed(again)
    assert (await bench.parts())["a"]["repeats"] == 1
    assert len(await bench.incidents()) == 1
    assert bench.triages() == 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_an_end_that_comes_before_the_start_leaves_nothing_open(bench, order):
    said = [
        alert("a", service="db"),
        alert("a", service="db", status="resolved", now=60),
        alert("a", service="db", now=30).model_copy(update={"delivery_key": "repeat"}),
    ]
    await bench.feed(*(said[i] for i in order))
    assert all(row["status"] == "resolved" for row in await bench.incidents())
    assert (await bench.parts())["a"]["status"] == "resolved"


async def test_a_body_that_was_cut_short_resolves_nothing_and_opens_nothing(bench):
    def body(status: str, cut: int, now: float) -> Signal:
        one = {"status": status, "labels": {"alertname": "x", "service": "cart"}, "startsAt": at(0).isoformat()}
        payload = {"version": "4", "status": status, "truncatedAlerts": cut, "alerts": [one]}
        (parsed,) = parser_for("alertmanager").parse(payload, at(now))
        return signal_of("alertmanager", parsed, str(now), at(now)).model_copy(update={"delivery_key": f"k{now}"})

    await bench.feed(body("resolved", 3, 5))
    assert await bench.incidents() == []
    await bench.feed(body("firing", 0, 10), body("resolved", 3, 60))
    assert (await bench.one())["status"] == "triggered"
    await bench.feed(body("resolved", 0, 90))
    assert (await bench.one())["status"] == "resolved"


async def test_a_relapse_right_after_the_end_reopens_and_a_later_one_is_new(bench):
    def fires(n: int, seconds: float, status: str = "firing", now: float | None = None) -> Signal:
        return alert("a", seconds, status=status, now=now).model_copy(update={"delivery_key": str(n)})

    await bench.feed(fires(1, 0), fires(2, 0, "resolved", 300), fires(3, 400))
    row = await bench.one()
    assert (row["status"], row["reopened"]) == ("triggered", 1)
    assert bench.triages() == 2
    await bench.feed(fires(4, 400, "resolved", 900), fires(5, 1300))
    assert [row["status"] for row in await bench.incidents()] == ["resolved", "triggered"]


async def test_an_acknowledged_alert_acknowledges_its_incident_once(bench):
    await bench.feed(alert("a"), alert("a", status="acknowledged", now=50))
    row = await bench.one()
    assert (row["status"], row["acknowledged_at"] is not None) == ("acknowledged", True)


async def test_a_worse_alert_raises_the_severity_and_brings_the_card(bench):
    await bench.feed(alert("a", severity="info"))
    assert bench.triages() == 0
    await bench.feed(alert("b", 5, severity="critical"))
    row = await bench.one()
    assert (row["severity"], row["first_severity"], bench.triages()) == (2, 4, 1)


async def test_alerts_without_a_service_stay_with_those_of_their_sender(bench):
    await bench.feed(
        alert("a", service=None),
        alert("b", 10, service=None),
        alert("c", 20, service=None, sender="generic"),
        alert("d", 30, service="cart"),
    )
    by_incident: dict[str, list[str]] = {}
    for key, part in (await bench.parts()).items():
        by_incident.setdefault(part["incident_id"], []).append(key)
    assert sorted(by_incident.values()) == [["a", "b"], ["c"], ["d"]]


async def test_pagerdutys_incident_keeps_its_own_life_whatever_its_alerts_say(bench):
    await bench.feed(
        incident("triggered", 0, "p1"),
        alert("a", 5, service="db"),
        alert("a", 5, service="db", status="resolved", now=300),
    )
    row = await bench.one()
    assert (row["id"], row["status"]) == ("PD1", "triggered")
    assert (await bench.parts())["a"]["incident_id"] == "PD1"
    await bench.feed(incident("resolved", 400, "p2"))
    assert (await bench.one())["status"] == "resolved"


@pytest.mark.parametrize("together", [True, False])
async def test_alerts_that_came_before_pagerdutys_incident_become_part_of_it(bench, together):
    signals = [alert("a", service="db"), incident("triggered", 8, "p1")]
    await (bench.together(*signals) if together else bench.feed(*signals))
    rows = {row["source"]: row for row in await bench.incidents()}
    assert rows["alertmanager"]["merged_into"] == "PD1"
    assert rows["pagerduty"]["merged_into"] is None
    assert bench.triages() == (1 if together else 2)


async def test_a_signal_that_holds_no_alert_stops_nothing(bench):
    broken = alert("a").model_copy(update={"body": {"alert": {"title": 1}}})
    await bench.feed(broken, alert("b", 1))
    assert len(await bench.incidents()) == 1
    assert await bench.store.query("SELECT 1 AS n FROM signals WHERE state = 'new'") == []


async def test_merge_and_split_by_a_person_are_audited_and_leave_units_alone(bench):
    await bench.feed(alert("a", service="db"), alert("b", 5, service="mail"))
    one, other = await bench.incidents()
    done = await merge(bench.store, "W", other["id"], one["id"], by="U1", reason="same cause", at=at(60))
    assert done.merged_into == {other["id"]: one["id"]}
    again = await merge(bench.store, "W", other["id"], one["id"], by="U1", reason="", at=at(61))
    assert "one incident already" in again.refused
    await split(bench.store, "W", other["id"], by="U1", reason="no", at=at(62))
    assert [row["merged_into"] for row in await bench.incidents()] == [None, None]
    assert [row["unit_id"] for row in await bench.incidents()] == [one["unit_id"], other["unit_id"]]
    audit = await bench.store.query("SELECT action, by FROM audit ORDER BY at")
    assert audit == [{"action": "merge", "by": "U1"}, {"action": "split", "by": "U1"}]


async def test_a_persons_split_is_never_undone_by_an_alert(bench):
    await bench.feed(*(alert(s, n, service=s) for n, s in enumerate(["db", "proxy", "cart"])))
    older, younger = await bench.incidents()
    assert younger["merged_into"] == older["id"]
    await split(bench.store, "W", younger["id"], by="U1", reason="two causes", at=at(30))
    await bench.feed(alert("more", 40, service="proxy"), alert("between", 41, service="front"))
    assert [row["merged_into"] for row in await bench.incidents()] == [None, None]
    parts = await bench.parts()
    assert parts["more"]["incident_id"] == younger["id"], "the nearest of the two"
    assert ("refresh", younger["id"]) in bench.started


async def test_a_split_ends_what_only_the_other_ones_alerts_held_open(bench):
    await bench.feed(*(alert(s, n, service=s) for n, s in enumerate(["db", "proxy", "cart"])))
    await bench.feed(*(alert(s, n, service=s, status="resolved", now=90) for s, n in (("db", 0), ("cart", 2))))
    older, younger = await bench.incidents()
    assert (older["status"], younger["status"]) == ("triggered", "triggered")
    await split(bench.store, "W", younger["id"], by="U1", reason="", at=at(100))
    older, younger = await bench.incidents()
    assert (older["status"], younger["status"]) == ("resolved", "triggered")
    times = await bench.store.query("SELECT kind FROM incident_times WHERE incident_id = :i", {"i": older["id"]})
    assert sorted(row["kind"] for row in times) == ["resolved", "triggered"]


async def test_alerts_of_a_service_become_an_incident_of_their_own_in_the_same_unit(bench):
    await bench.together(alert("a", service="db"), alert("b", 5, service="cart"), alert("c", 9, service="cart"))
    row = await bench.one()
    for services, why in ((["mail"], "'mail'"), ([], "no service"), (["db", "cart"], "nothing to split")):
        new_id, refused = await split_services(bench.store, "W", row["id"], services, by="U1", reason="", at=at(20))
        assert new_id is None
        assert why in refused
    new_id, refused = await split_services(bench.store, "W", row["id"], ["cart"], by="U1", reason="no", at=at(20))
    assert refused == ""
    await bench.drainer.drain()
    old, new = await bench.incidents()
    assert (new["id"], new["service"], new["status"], new["unit_id"]) == (new_id, "cart", "triggered", old["unit_id"])
    assert new["triggered_at"][:19] == at(5).isoformat()[:19]
    parts = await bench.parts()
    assert [parts[key]["incident_id"] for key in "abc"] == [old["id"], new_id, new_id]
    assert parts["b"]["reason"].startswith(f"split from {old['id']} by a person; before: ")
    assert bench.started[-2:] == [("refresh", old["id"]), ("triage", new_id)]
    await bench.feed(*(alert(key, n, service="cart", status="resolved", now=99) for key, n in (("b", 5), ("c", 9))))
    old, new = await bench.incidents()
    assert (old["status"], new["status"]) == ("triggered", "resolved")


async def test_when_everything_alerts_the_number_of_cards_is_bounded_and_nothing_is_lost(bench):
    await bench.together(*(alert(f"k{n}", n / 10, service=f"unheard-of-{n}") for n in range(300)))
    assert len(await bench.incidents()) == 20
    assert bench.triages() == 20
    parts = await bench.parts()
    assert len(parts) == 300
    assert all(part["incident_id"] for part in parts.values())
    assert parts["k250"]["reason"] == "20 incidents began within 5 min: taken as part of the last one"
    await bench.feed(alert("later", 400, service="another"))
    assert len(await bench.incidents()) == 21


async def test_ten_thousand_alerts_in_a_minute_are_one_card_and_none_is_lost(bench):
    """Generous: on an idle core this takes a few seconds."""
    services = ["db", "cart", "front", "ads"]
    storm = [alert(f"k{n}", n * 0.006, service=services[n % 4]) for n in range(10_000)]
    for start in range(0, len(storm), 500):
        await store_signals(bench.store, "W", storm[start : start + 500])
    began = perf_counter()
    async with asyncio.timeout(240):
        assert await bench.drainer.drain() == 10_000
    assert perf_counter() - began < 240
    row = await bench.one()
    (kept,) = await bench.store.query("SELECT count(*) AS n, count(DISTINCT incident_id) AS i FROM alerts")
    assert (kept["n"], kept["i"]) == (10_000, 1)
    assert bench.triages() == 1
    assert len(bench.started) <= 1 + 10_000 // BATCH
    assert row["severity"] == 2
    (times,) = await bench.store.query("SELECT count(*) AS n FROM incident_times")
    assert times["n"] == 1


def test_ten_thousand_alerts_are_as_many_entries_as_services():
    correlator = arrive([(["db", "cart"][n % 2], n * 0.006) for n in range(10_000)])
    (storm,) = correlator.storms.values()
    assert len(storm.places) == 2


# --- alerts as evidence -----------------------------------------------------------------------------------------------


async def test_the_alerts_of_an_incident_are_evidence_with_a_count_and_their_readers(bench):
    signals = [alert(f"k{n}", n, service="cart") for n in range(3)]
    for n, one in enumerate(signals):
        same = Alert.model_validate(one.body["alert"] | {"title": "Errors"})
        signals[n] = one.model_copy(update={"body": {"alert": same.model_dump(mode="json")}})
    await bench.feed(*signals, alert("other", 9, service="db", sender="grafana"))
    row = await bench.one()

    def access(sender: str) -> Access:
        rule = ServiceRule(Readers.of(["dba"]))
        return Access(Readers.of([f"{sender}-readers"]), "allowed", lambda s: rule if s == "db" else ServiceRule())

    clock = ManualClock(T0)
    source = StoredAlerts(bench.store, "W", clock, access, 2.0)
    collector = Collector(
        [source], clock, services={}, owner=lambda _: None, alert_readers=lambda _: Readers.of(["everyone"])
    )
    collected = await collector.collect(incident_of(row))
    three, other = collected.evidence
    assert (three.kind, three.source, three.service, three.title) == ("alert", "alertmanager", "cart", "Errors")
    assert three.readers == Readers.of(["alertmanager-readers"])
    assert other.readers == Readers.of(["grafana-readers"], ["dba"])
    assert "3 alerts between" in three.text
    assert "db is one call from cart (db – cart)" in other.text
    assert collected.alerts_in_storm == 4
    again = await source.fetch(Question(incident_of(row), (), collected.telemetry.window))
    assert [item.id for item in again.evidence] == [three.id, other.id]


async def test_evidence_of_a_merged_incident_shows_on_the_one_that_stands(bench):
    await bench.feed(*(alert(s, n, service=s) for n, s in enumerate(["db", "proxy", "cart"])))
    older, younger = await bench.incidents()
    source = StoredAlerts(bench.store, "W", ManualClock(T0), lambda _: Access(Readers.of(["everyone"])), 2.0)
    found = [await source.fetch(Question(incident_of(row), (), Window(T0, T0))) for row in (older, younger)]
    assert [len(one.evidence) for one in found] == [3, 1]
    book = Book(bench.store, "W")
    assert [await book.alerts_of(row["id"]) for row in (older, younger)] == [3, 1]


# --- the eval ---------------------------------------------------------------------------------------------------------

SCENARIO = """
spec:
  alerts:
    - {group_id: db-pod-1, id: NotReady}
    - {group_id: front-service-1, id: Errors}
    - {group_id: lost-service, id: NoRequests}
    - {id: CrashLooping}
  aliases: [[db-service-1, db-volume-1]]
  groups:
    - {id: db-pod-1, kind: Pod, filter: ['db-.*']}
    - {id: db-service-1, kind: Service, filter: ['db\\b']}
    - {id: db-volume-1, kind: Volume, name: data}
    - {id: cart-service-1, kind: Service, filter: ['cart\\b']}
    - {id: front-service-1, kind: Service, filter: ['^front$']}
  propagations:
    - {source: db-volume-1, target: db-pod-1}
    - {source: db-service-1, target: cart-service-1}
    - {source: cart-service-1, target: front-service-1}
"""


def scenarios(tmp_path, **texts: str):
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "groundtruth_v1.yaml").write_text(text, encoding="utf-8")
    return read_scenarios(tmp_path)


def test_a_scenario_is_read_as_services_and_what_connects_them(tmp_path):
    (one,) = scenarios(tmp_path, scenario_7=SCENARIO)
    assert [alert.service for alert in one.alerts] == ["db", "front", "lost", None]
    assert one.edges == {("db", "db"), ("db", "cart"), ("cart", "front")}


def test_storms_and_far_pairs_are_counted_and_near_pairs_left_out(tmp_path):
    whole = SCENARIO.replace("    - {group_id: lost-service, id: NoRequests}\n", "")
    far = whole.replace("db", "mail").replace("cart", "queue").replace("front", "relay")
    cases, totals, bars = measure(scenarios(tmp_path, scenario_1=whole, scenario_2=SCENARIO, scenario_3=far), 5, 1)
    assert [c["incidents_per_storm"] for c in cases if c["kind"] == "storm"] == [1.0, 2.0, 1.0]
    pairs = {tuple(c["pair"]): c for c in cases if c["kind"] == "pair"}
    assert pairs["scenario_1", "scenario_2"]["judged"] is False
    assert pairs["scenario_1", "scenario_2"]["wrong_merges"] == 5
    assert (totals["pairs_judged"], totals["pairs_left_out"], totals["wrong_merges"]) == (2, 1, 0)
    assert {bar.name: bar.holds for bar in bars}["incidents_per_storm"] is False


def test_times_are_the_same_again_within_five_minutes_and_of_the_right_mean(tmp_path):
    (one,) = scenarios(tmp_path, scenario_7=SCENARIO)
    assert arrivals(one, 1, 3) == arrivals(one, 1, 3) != arrivals(one, 1, 4)
    drawn = [arrivals(one, 1, n) for n in range(2000)]
    assert max(times[-1][0] for times in drawn) <= 300
    gaps = [b[0] - a[0] for times in drawn for a, b in itertools.pairwise(times)]
    assert sum(gaps) / len(gaps) == pytest.approx(20, rel=0.05)


def test_what_is_no_folder_of_scenarios_is_said(tmp_path, capsys):
    assert main(["eval", "correlate", "--itbench", str(tmp_path)]) == 1
    assert "holds no folder scenario_<n>" in capsys.readouterr().err
    (tmp_path / "scenario_1").mkdir()
    (tmp_path / "scenario_1" / "groundtruth_v1.yaml").write_text("- a list", encoding="utf-8")
    assert main(["eval", "correlate", "--itbench", str(tmp_path)]) == 1
    assert "is no ground truth" in capsys.readouterr().err


def test_the_public_scenarios_keep_their_figures(shared_data):
    """What docs/correlation.md states; fewer drawings."""
    _, totals, bars = measure(read_scenarios(shared_data / "itbench"), 3, 1)
    assert (totals["storms"], totals["connected_storms"], totals["pairs_judged"]) == (29, 24, 120)
    assert totals["incidents_per_connected_storm"] == 1.0
    assert totals["incidents_per_storm"] == totals["pieces_per_storm"] == pytest.approx(1.2759)
    assert [bar.holds for bar in bars] == [False, True, True, True]
