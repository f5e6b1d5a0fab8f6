"""One incident with two suspects, and what people do to it through the flows behind the doors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import prompts
from bot.cards.making import from_ranked
from bot.cards.outbox import Outbox
from bot.clock import ManualClock
from bot.experiment.live import LiveExperiments
from bot.experiment.switch import KillSwitch
from bot.flows.ask import Asking
from bot.flows.desk import IncidentDesk
from bot.flows.drafts import Drafts
from bot.flows.entitled import Entitled
from bot.flows.grouping import Grouping
from bot.flows.home import Home
from bot.flows.labels import Labels
from bot.flows.reading import Reading, SimilarIncident
from bot.flows.views import Views
from bot.incidents.book import Book
from bot.incidents.routing import Routing, Service
from bot.model.spend import Ceilings
from bot.store.sqlite import SqliteStore
from bot.triage.check import Guards
from bot.trust.admins import Admins
from bot.trust.audience import Audience
from bot.trust.principals import Principal
from bot.types import Ranked, Reason, Suspect
from integrations.records import Evidence, Incident, Readers

T0 = datetime(2026, 11, 24, 14, 2, 10, tzinfo=UTC)
PEOPLE = {"U1": {"everyone", "world", "payments"}, "U2": {"everyone", "world"}}


def suspect(n: int, probability: float) -> Suspect:
    return Suspect(
        change_id=f"chg-{n}", mark=f"e{n}", service="checkout-api", kind="deploy", summary=f"deploy {n}", changed_at=T0,
        seconds_before=58, score=1, probability=probability, reasons=(Reason(text="58 s before", evidence=(f"e{n}",)),),
    )  # fmt: skip


def item(n: int) -> Evidence:
    return Evidence(
        id=f"github/change/{n}", kind="change", source="github", observed_at=T0, fetched_at=T0, url="https://github.com/a",
        readers=Readers.of(["payments"]), title=f"deploy {n}", text="x", mark=f"e{n}",
    )  # fmt: skip


class Bench:
    def __init__(self, store: SqliteStore) -> None:
        self.store, self.clock, self.woken = store, ManualClock(T0), 0
        self.book = Book(store, "W")
        self.outbox = Outbox(store, "W", SimpleNamespace(), self.clock)
        collector = SimpleNamespace(alert_readers=lambda _: Readers.of(["payments"]))
        self.parts = SimpleNamespace(
            book=self.book, clock=self.clock, cards=self.outbox, collector=collector, link_hosts=("github.com",),
            routing=Routing("#x", True, services={"checkout-api": Service("checkout-api", (), "shop", None)}),
        )  # fmt: skip
        self.entitled = Entitled(self.parts, Views(self.parts, SimpleNamespace()), self)
        self.labels = Labels(self.entitled)
        self.desk = IncidentDesk(
            self.entitled, wake=self.wake, acknowledger=self,
            model=lambda: "no model is configured", waiting=self.outbox.waiting,
            switch=KillSwitch(store, "W", self.clock, LiveExperiments(store, "W", self.clock, (), {})),
            admins=Admins(frozenset({"payments"}), {"shop": frozenset({"shop-leads"}), "other": frozenset({"others"})}),
        )  # fmt: skip
        self.reading = Reading(self.entitled, self, {frozenset({"payments"}): "[sources.github] readers"}, self.search)
        self.grouping = Grouping(self.entitled, Admins(frozenset({"payments"})), self.wake)
        self.alike: list[SimilarIncident] = []
        self.home = Home(self.entitled, self.desk, Ceilings(day_usd=20.0), lambda at: True)
        self.drafts = Drafts(self.entitled, self, self.outbox.say, self.channel_id)
        self.there = [frozenset(PEOPLE["U1"])]
        self.notes: list[tuple[str, str, str | None]] = []
        self.failing: Exception | None = None
        self.acknowledged: list[tuple[str, str]] = []

    def wake(self) -> None:
        self.woken += 1

    async def principal(self, person_id, deadline_seconds=0.5):
        groups = PEOPLE.get(person_id)
        return Principal(person_id, frozenset(groups)) if groups else Principal.nobody(person_id, "is not known")

    async def audience(self, channel_id, deadline_seconds=0.5):
        return Audience.of(self.there, self.clock.now(), channel_id=channel_id)

    async def channel_id(self, name):
        return name

    def asking(self, gateway, paused=""):
        async def why(triage_id):
            return paused

        return Asking(
            entitled=self.entitled, reading=self.reading, gateway=gateway, prompt=prompts.load("ask", 1),
            fence_key=b"k", guards=Guards(redact=lambda text: text), token_budget=6000, deadline_seconds=5, paused=why,
        )  # fmt: skip

    async def find_note(self, incident_id, mark):
        return next((text for _, text, _ in self.notes if mark in text), None)

    async def add_note(self, incident_id, text, email=None):
        if self.failing is not None:
            raise self.failing
        self.notes.append((incident_id, text, email))
        return "N1"

    async def search(self, incident, audience):
        return self.alike

    async def acknowledge(self, incident_id, email):
        if self.failing is not None:
            raise self.failing
        self.acknowledged.append((incident_id, email))

    async def fill(self) -> None:
        incident = Incident(
            workspace_id="W", id="P1", number=7, title="Checkout fails", service="checkout-api", severity=2,
            url="https://x.pagerduty.com/P1", triggered_at=T0,
        )  # fmt: skip
        row = {"workspace_id": "W", "id": "P1", "number": 7, "title": "Checkout fails", "service": "checkout-api",
               "source": "pagerduty", "severity": 2, "first_severity": 2, "status": "triggered", "url": incident.url,
               "triggered_at": T0, "first_signal_at": T0, "received_at": T0, "updated_at": T0, "channel": "C1",
               "triages": 1}  # fmt: skip
        await self.store.insert("incidents", [row])
        ranked = Ranked(
            incident=incident, headline="38 % of requests fail", evidence=(item(1), item(2)),
            suspects=(suspect(1, 0.8), suspect(2, 0.5)), collected_at=T0, permitted_at=T0,
        )  # fmt: skip
        await self.book.write_triage("P1", 1, {"ranked": ranked.model_dump_json(), "started_at": T0, "channel": "C1"})
        await self.outbox.change("incident:P1", "C1", lambda _: from_ranked(ranked), permitted_at=T0)

    async def card(self):
        (row,) = await self.store.query("SELECT state FROM posts WHERE part = 'card'")
        return json.loads(row["state"])
