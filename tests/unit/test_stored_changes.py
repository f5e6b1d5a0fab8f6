"""Changes that came by webhook: stored once with their signal, read back for an incident, for those who may read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.clock import ManualClock
from bot.incidents.changes import KEPT, StoredChanges
from bot.incidents.intake import Drainer
from bot.incidents.routing import Routing
from bot.incidents.signals import store_signals
from bot.settings import Match, SeverityTest
from bot.store.retention import forget
from bot.store.sqlite import SqliteStore
from bot.triage.collect import Collector
from integrations.asking import Access, ServiceRule
from integrations.changes import changes_door
from integrations.github import github_door
from integrations.ports import Source
from integrations.records import ChangeEvent, Findings, Incident, Question, Readers, ServiceNames, Window

WIRE = Path(__file__).resolve().parents[1] / "data" / "wire" / "github"
NOW = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)
DOOR = changes_door(["s"])
SERVICES = (ServiceNames("checkout-api", repositories=("acme/checkout",), kubernetes=("prod/co",)), ServiceNames("db"))


def told(service: str | None, minutes: float = 5, **more):
    at = (NOW - timedelta(minutes=minutes)).isoformat()
    return DOOR.parse({}, {"service": service, "what": "deploy", "at": at, **more}, "0" * 64, NOW)


def incident(**more) -> Incident:
    return Incident(
        workspace_id="W",
        id="P1",
        title="t",
        service="checkout-api",
        severity=2,
        url="https://x",
        triggered_at=NOW,
        **more,
    )


def question(services=SERVICES) -> Question:
    window = Window(NOW - timedelta(minutes=15), NOW)
    return Question(incident(), services, window, changes_since=NOW - timedelta(hours=24))


def access(sender: str) -> Access:
    if sender != "changes":
        return Access(Readers.nobody())
    return Access(
        Readers.of(["everyone"]),
        service_rule=lambda s: ServiceRule(Readers.of(["dba"]), "never") if s == "db" else ServiceRule(),
    )


@pytest.fixture
async def store(tmp_path):
    opened = SqliteStore.open(tmp_path / "s.db")
    yield opened
    await opened.close()


async def drained(store, *signals) -> int:
    async def nothing(*_):
        return {}

    routing = Routing(default_channel="#i", when=Match(severity=SeverityTest(operator="<=", value=3)))
    drainer = Drainer(store, "W", routing, ManualClock(NOW), nothing, nothing)
    await store_signals(store, "W", signals)
    return await drainer.drain()


async def read(store, asked=None) -> Findings:
    source = StoredChanges(store, "W", ManualClock(NOW), access, 2.0)
    assert isinstance(source, Source)
    return await source.fetch(asked or question())


async def test_a_change_is_stored_once_under_the_sender_s_word_and_read_back_under_ours(store):
    signals = [*told("acme/checkout"), *told("ACME/Checkout", 6), *told("prod/co", 7), *told("Checkout API", 8)]
    assert await drained(store, *signals, *signals) == 4
    assert [row["service"] for row in await store.query("SELECT service FROM changes ORDER BY changed_at DESC")] == [
        "acme/checkout", "ACME/Checkout", "prod/co", "Checkout API",
    ]  # fmt: skip
    assert await store.query("SELECT state FROM signals GROUP BY state") == [{"state": "done"}]
    found = await read(store)
    assert {change.service for change in found.changes} == {"checkout-api"}
    assert len(found.changes) == 4


async def test_only_what_is_near_in_time_and_about_these_services_or_none_is_read(store):
    await drained(
        store, *told("checkout-api"), *told("search"), *told("checkout-api", 60 * 25), *told("checkout-api", -10)
    )
    found = await read(store)
    assert [change.changed_at for change in found.changes] == [NOW - timedelta(minutes=5)]
    assert len((await read(store, question(()))).changes) == 2  # an incident without a service: everything in time


async def test_who_may_read_is_decided_by_the_settings_of_then(store):
    await drained(store, *told("checkout-api"), *told("db"))
    by_service = {change.service: change for change in (await read(store)).changes}
    assert by_service["checkout-api"].readers == Readers.of(["everyone"])
    assert (by_service["db"].readers, by_service["db"].model) == (Readers.of(["everyone"], ["dba"]), "never")


async def test_a_flood_of_one_service_hides_no_other_and_is_said(store):
    many = [{"service": "db", "what": f"scale {n}", "at": NOW.isoformat()} for n in range(KEPT + 5)]
    await drained(store, *DOOR.parse({}, many, "0" * 64, NOW), *told("checkout-api"))
    found = await read(store)
    assert sum(change.service == "db" for change in found.changes) == KEPT
    assert any(change.service == "checkout-api" for change in found.changes)
    assert found.notes == (f"changes: only the newest {KEPT} of db",)


async def test_a_signal_whose_change_cannot_be_read_is_kept_and_stops_nothing(store, caplog):
    (good,) = told("db")
    bad = good.model_copy(update={"delivery_key": "x", "body": {"change": {"id": 7}}})
    assert await drained(store, bad, good) == 2
    assert len(await store.query("SELECT id FROM changes")) == 1
    assert "holds no change" in caplog.text


async def test_a_change_that_a_webhook_and_an_api_tell_of_is_one(store):
    await drained(store, *told("checkout-api", id="7"))

    class Asked:
        name = kind = "github"
        deadline_seconds = 1.0

        async def fetch(self, asked: Question) -> Findings:
            (known,) = (await read(store)).changes
            return Findings(changes=(known.model_copy(update={"detail": "what changed"}),))

    sources = [StoredChanges(store, "W", ManualClock(NOW), access, 2.0), Asked()]
    collector = Collector(
        sources, ManualClock(NOW), services={one.name: one for one in SERVICES}, owner=lambda _: None,
        alert_readers=lambda _: Readers.of(["everyone"]),
    )  # fmt: skip
    (change,) = (await collector.collect(incident())).telemetry.changes
    assert change.detail == "what changed"


async def test_the_workflow_that_deployed_is_not_a_change_beside_its_deployment(store):
    deployed = json.loads((WIRE / "webhook_deployment_status.json").read_text(encoding="utf-8"))
    deployed["deployment_status"]["created_at"] = (NOW - timedelta(minutes=4)).isoformat()
    run = json.loads((WIRE / "webhook_workflow_run.completed.json").read_text(encoding="utf-8"))
    run["workflow_run"] |= {
        "name": "Deploy", "head_sha": deployed["deployment"]["sha"],
        "run_started_at": (NOW - timedelta(minutes=5)).isoformat(),
    }  # fmt: skip
    run["repository"] = deployed["repository"]
    events = [("deployment_status", deployed), ("workflow_run", run)]
    signals = [github_door(["s"]).parse({"x-github-event": name}, one, "0" * 64, NOW)[0] for name, one in events]
    assert [signal.kind for signal in signals] == ["change", "change"]
    await drained(store, *signals)
    source = StoredChanges(store, "W", ManualClock(NOW), lambda _: access("changes"), 2.0)
    services = (ServiceNames("checkout-api", repositories=("codertocat/hello-world",)),)
    (change,) = (await source.fetch(question(services))).changes
    assert (change.id, change.service) == ("github/deployment/Codertocat/Hello-World/145988746", "checkout-api")


async def test_a_person_who_is_forgotten_is_gone_from_stored_changes(store):
    await drained(store, *told("db", role="U0PRIYA"))
    assert (await forget(store, "W", "U0PRIYA", "forgotten-1"))["changes"] == 1
    (row,) = await store.query("SELECT record FROM changes")
    assert ChangeEvent.model_validate(json.loads(row["record"])).author_role == "forgotten-1"
