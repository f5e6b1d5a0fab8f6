"""An incident without PagerDuty: declared and ended by people, each time with who said it, for who may see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from bot.clock import ManualClock
from bot.errors import NotPermitted
from bot.flows.life import IncidentLife
from bot.flows.views import Views
from bot.incidents.applying import Start
from bot.incidents.book import Book, incident_of
from bot.incidents.intake import Drainer
from bot.incidents.routing import Routing, Service
from bot.incidents.signals import store_signals
from bot.trust.audience import Audience, AudienceUnknown, placed
from bot.trust.principals import Principal
from integrations.records import Alert, Channel, Incident, Readers, Signal
from tests.support.memory_store import MemoryStore

T0 = datetime(2026, 11, 24, 14, 2, 10, tzinfo=UTC)
WAR_ROOM = Channel(id="C0WAR", name="war-room", private=True)
MEMBERS = {"C0WAR": frozenset({"U1", "U2"})}
PEOPLE = {"U1": {"everyone", "world"}, "U2": {"everyone", "world"}, "U3": {"everyone", "world"}, "U0GUEST": {"world"}}


class World:
    """The store, the drainer and the directory around the life of incidents."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), ManualClock(T0)
        self.book = Book(self.store, "W")
        self.routing = Routing(
            "#incidents", SimpleNamespace(holds=lambda **_: True),
            services={"checkout-api": Service("checkout-api", ("checkout",))},
        )  # fmt: skip
        self.started: list[Start] = []
        self.drainer = Drainer(self.store, "W", self.routing, self.clock, self.start, self.neighbours)
        parts = SimpleNamespace(
            book=self.book, clock=self.clock, directory=self,
            collector=SimpleNamespace(alert_readers=self.alert_readers),
        )  # fmt: skip
        self.views = Views(parts, SimpleNamespace())
        self.life = IncidentLife(self.book, self.clock, self.routing, self, self.views, self.intake)

    def alert_readers(self, incident: Incident) -> Readers:
        if incident.source == "slack":
            return Readers.of([f"channel:{incident.channel}"]) if incident.channel else Readers.nobody()
        return Readers.of(["everyone"])

    async def start(self, start: Start) -> None:
        self.started.append(start)

    async def neighbours(self) -> dict[str, frozenset[str]]:
        return {}

    async def intake(self, signals: Sequence[Signal]) -> int:
        new = await store_signals(self.store, "W", signals)
        await self.drainer.drain()
        return new

    async def principal(self, person_id: str, deadline_seconds: float = 0.5) -> Principal:
        groups = PEOPLE.get(person_id)
        return Principal(person_id, frozenset(groups)) if groups else Principal.nobody(person_id, "is not known")

    async def audience(self, channel_id: str, deadline_seconds: float = 0.5) -> Audience | AudienceUnknown:
        if channel_id not in MEMBERS:
            return AudienceUnknown("it could not be read")
        return Audience.of([frozenset({"everyone", f"channel:{channel_id}"})], T0)

    async def placed(self, principal: Principal, channel_id: str, deadline_seconds: float = 0.5) -> Principal:
        return placed(principal, WAR_ROOM, MEMBERS[channel_id], "workspace") if channel_id in MEMBERS else principal

    async def row(self, incident_id: str) -> dict[str, Any]:
        found = await self.book.incident_row(incident_id)
        assert found is not None
        return found

    async def times(self, incident_id: str) -> list[tuple[str, str, str]]:
        rows = await self.store.query(
            "SELECT kind, source, said_by FROM incident_times WHERE incident_id = :i ORDER BY at, kind DESC",
            {"i": incident_id},
        )
        return [(row["kind"], row["source"], row["said_by"]) for row in rows]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.store.close()


async def test_an_incident_lives_and_ends_by_peoples_word_with_who_said_each(world):
    found = await world.life.declare("U1", "sev2 checkout orders fail with 503", "C0WAR", "r1")
    assert found is not None
    assert (found.title, found.severity, found.service, found.channel) == (
        "orders fail with 503", 2, "checkout-api", "C0WAR",
    )  # fmt: skip
    row = await world.row(found.incident_id)
    assert (row["source"], row["severity"], row["status"], row["own_channel"]) == ("slack", 2, "triggered", "C0WAR")
    assert [start.kind for start in world.started] == ["triage"]
    for minutes, (by, said) in enumerate((("U2", "acknowledged"), ("U1", "mitigated"), ("U2", "resolved")), start=1):
        world.clock.advance(60 * minutes)
        assert await world.life.say(found.incident_id, by, said, f"r{minutes + 1}") == "said"
    incident = incident_of(await world.row(found.incident_id))
    assert (incident.status, incident.acknowledged_at) == ("resolved", T0 + timedelta(minutes=1))
    assert (incident.mitigated_at, incident.resolved_at) == (T0 + timedelta(minutes=3), T0 + timedelta(minutes=6))
    assert await world.times(found.incident_id) == [
        ("triggered", "slack", "U1"), ("acknowledged", "slack", "U2"), ("mitigated", "slack", "U1"),
        ("resolved", "slack", "U2"),
    ]  # fmt: skip
    assert [start.kind for start in world.started] == ["triage", "refresh", "refresh", "refresh"]


async def test_the_same_request_again_declares_and_says_once(world):
    first = await world.life.declare("U1", "orders fail", "C0WAR", "r1")
    again = await world.life.declare("U1", "orders fail", "C0WAR", "r1")
    assert first is not None
    assert again is not None
    assert first.incident_id == again.incident_id
    assert first.severity == 3, "nobody named one"
    assert len(await world.store.query("SELECT id FROM incidents")) == 1
    assert await world.life.say(first.incident_id, "U1", "acknowledged", "r2") == "said"
    assert await world.life.say(first.incident_id, "U2", "acknowledged", "r3") == "already"
    assert await world.life.say(first.incident_id, "U2", "resolved", "r4") == "said"
    assert await world.life.say(first.incident_id, "U2", "mitigated", "r5") == "already"


@pytest.mark.parametrize("words", ["", "sev2", "  SEV1  "])
async def test_nothing_is_declared_without_words(world, words):
    assert await world.life.declare("U1", words, "C0WAR", "r1") is None
    assert await world.store.query("SELECT * FROM signals") == []


@pytest.mark.parametrize("user", ["U0GUEST", "U404"])
async def test_guests_and_strangers_declare_nothing(world, user):
    with pytest.raises(NotPermitted):
        await world.life.declare(user, "sev1 all is lost", "C0WAR", "r1")


async def test_what_was_declared_in_a_private_channel_is_for_its_readers_alone(world):
    found = await world.life.declare("U1", "the vault leaks", "C0WAR", "r1")
    assert found is not None
    for outsider in ("U3", "U404"):
        with pytest.raises(NotPermitted):
            await world.life.say(found.incident_id, outsider, "resolved", "r2")
    assert (await world.row(found.incident_id))["status"] == "triggered"


@pytest.mark.parametrize("channel", ["D0DIRECT", "C0UNKNOWN"])
async def test_where_we_do_not_know_who_reads_the_settings_route_it(world, channel):
    found = await world.life.declare("U1", "orders fail", channel, "r1")
    assert found is not None
    assert found.channel == "#incidents"
    assert (await world.row(found.incident_id))["own_channel"] is None


async def add_alert(world: World, source: str = "alertmanager") -> str:
    alert = Alert(
        title="HighErrorRate", service="checkout", severity="critical", status="firing", started_at=T0, link=None,
        dedupe_key="k1",
    )  # fmt: skip
    signal = Signal(
        delivery_key="d1", source=source, kind="alert", incident_id=None, occurred_at=T0, received_at=T0,
        body={"alert": alert.model_dump(mode="json")}, sha256="",
    )  # fmt: skip
    await world.intake([signal])
    (row,) = await world.store.query("SELECT id FROM incidents")
    return str(row["id"])


async def test_an_incident_of_alerts_is_acknowledged_and_resolved_by_a_person_and_stays_as_severe(world):
    incident_id = await add_alert(world)
    world.clock.advance(60)
    assert await world.life.say(incident_id, "U3", "acknowledged", "r1") == "said"
    world.clock.advance(60)
    assert await world.life.say(incident_id, "U3", "resolved", "r2") == "said"
    row = await world.row(incident_id)
    assert (row["status"], row["severity"], row["source"]) == ("resolved", 2, "alertmanager")
    assert await world.times(incident_id) == [
        ("triggered", "alertmanager", "integration"), ("acknowledged", "slack", "U3"), ("resolved", "slack", "U3"),
    ]  # fmt: skip


async def test_pagerdutys_incident_is_ended_in_pagerduty_but_may_be_said_to_be_mitigated(world):
    row = {"workspace_id": "W", "id": "P1", "title": "x", "source": "pagerduty", "severity": 2, "first_severity": 2,
           "status": "triggered", "url": "", "triggered_at": T0, "first_signal_at": T0, "received_at": T0,
           "updated_at": T0, "urgency": "high"}  # fmt: skip
    await world.store.insert("incidents", [row])
    assert await world.life.say("P1", "U1", "acknowledged", "r1") == "elsewhere"
    assert await world.life.say("P1", "U1", "resolved", "r2") == "elsewhere"
    assert await world.life.say("P1", "U1", "mitigated", "r3") == "said"
    assert (await world.row("P1"))["status"] == "mitigated"
    assert await world.times("P1") == [("mitigated", "slack", "U1")]


def test_a_channels_own_group_is_for_who_reads_it_by_the_rules_of_its_audience():
    member, other = Principal("U1", frozenset({"everyone"})), Principal("U3", frozenset({"everyone"}))
    guest = Principal("U0GUEST", frozenset({"world"}))
    public = Channel(id="C0WAR", name="x", private=False)
    own = "channel:C0WAR"
    inside = frozenset({"U1"})
    assert own in placed(member, WAR_ROOM, inside, "workspace").groups
    assert own not in placed(other, WAR_ROOM, inside, "workspace").groups
    assert own in placed(other, public, inside, "workspace").groups
    assert own not in placed(other, public, inside, "members").groups
    assert own not in placed(guest, public, inside, "workspace").groups
    pending = Channel(id="C0WAR", name="x", private=True, pending_share=True)
    assert own not in placed(member, pending, inside, "workspace").groups
    assert own not in placed(Principal.nobody("U1", "is unknown"), WAR_ROOM, inside, "workspace").groups
