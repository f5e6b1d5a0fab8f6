"""A `Desk` and `ReaderEvents` that remember what they were asked, for tests of the listeners."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.cards.private import Answered, CatchUp, Happened
from bot.cards.samples import facts, ranked
from bot.cards.state import CardState
from bot.errors import NotPermitted
from bot.flows.drafts import Draft
from bot.flows.entitled import OnlyAdmins
from bot.flows.home import HomeTold, Spent
from bot.flows.life import Declared, Outcome, Said
from bot.flows.reading import SimilarIncident
from bot.flows.requests import Request
from bot.listeners.desk import (
    Acknowledged,
    Desks,
    DeskStatus,
    IncidentLine,
    Label,
    LabelChoices,
    Noted,
    Opened,
    Published,
)
from bot.types import Claim
from integrations.fixtures import FakeScreens
from integrations.ports import Answer
from integrations.records import Incident

AT = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)
P1 = IncidentLine("P8K2Q1", 1834, 2, "triggered", "checkout-api: 38 % of requests fail", AT, "C0PAYMENTS")
P2 = IncidentLine("P9Z7X3", 1835, 3, "acknowledged", "<!channel> search is slow", AT)


@dataclass
class FakeDesk:
    """`may` are the people who may see anything; `delay_seconds` and `failing` trouble every call."""

    incidents: list[IncidentLine] = field(default_factory=lambda: [P1, P2])
    may: set[str] = field(default_factory=lambda: {"U0PRIYA"})
    admins: set[str] = field(default_factory=set)
    delay_seconds: float = 0.0
    failing: Exception | None = None
    acknowledges: Acknowledged = "acknowledged"
    undo_works: bool = True
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    async def find_incidents(self, user_id: str, words: str, channel_id: str) -> Sequence[IncidentLine]:
        await self._begin("find", user_id, words, channel_id)
        if user_id not in self.may:
            return []
        named = [one for one in self.incidents if words.lstrip("#") in (one.id, str(one.number))]
        return named if words else [one for one in self.incidents if one.channel == channel_id] or self.incidents

    async def start_triage(self, incident_id: str, by: str, request_id: str, *, override: bool = False) -> int:
        await self._begin("triage", incident_id, by, request_id, *(["override"] if override else []))
        if override and by not in self.admins:
            raise NotPermitted(by)
        return 2

    async def pause(self, by: str, reason: str) -> bool:
        await self._begin("pause", by, reason)
        if by not in self.admins:
            raise NotPermitted(by)
        return True

    async def resume(self, by: str, reason: str) -> int:
        await self._begin("resume", by, reason)
        if by not in self.admins:
            raise NotPermitted(by)
        return 1

    async def status_for(self, user_id: str) -> DeskStatus:
        await self._begin("status", user_id)
        seen = self.incidents if user_id in self.may else []
        return DeskStatus(seen, model="no model is configured", posts_waiting=3, notices=("Tempo is not mapped",))

    async def vote(self, incident_id: str, by: str, version: int, vote: str) -> None:
        await self._begin("vote", incident_id, by, version, vote, entitled=by)

    async def was_change(self, incident_id: str, by: str, version: int, mark: str) -> str:
        await self._begin("was_change", incident_id, by, version, mark, entitled=by)
        return "deploy a1b2c3d"

    async def was_not(self, incident_id: str, by: str, version: int, mark: str) -> tuple[str, datetime]:
        await self._begin("was_not", incident_id, by, version, mark, entitled=by)
        return "deploy a1b2c3d", AT + timedelta(minutes=10)

    async def undo_was_not(self, incident_id: str, by: str, mark: str) -> bool:
        await self._begin("undo", incident_id, by, mark, entitled=by)
        return self.undo_works

    async def acknowledge(self, incident_id: str, by: str) -> Acknowledged:
        await self._begin("acknowledge", incident_id, by, entitled=by)
        return self.acknowledges

    async def own_view(self, user_id: str, incident_id: str) -> CardState:
        await self._begin("own_view", user_id, incident_id, entitled=user_id)
        return facts()

    # --- labels, reading, grouping ---

    async def choices(self, incident_id: str, by: str) -> LabelChoices:
        await self._begin("choices", incident_id, by, entitled=by)
        state = facts()
        return LabelChoices(ranked().incident, 4, state.suspects, ["checkout-api", "payments-db"])

    async def label(self, incident_id: str, by: str, version: int, label: Label) -> str:
        await self._begin("label", incident_id, by, version, label, entitled=by)
        return "deploy a1b2c3d"

    async def card(self, user_id: str, incident_id: str) -> CardState:
        await self._begin("card", user_id, incident_id, entitled=user_id)
        return facts()

    async def catch_up(self, user_id: str, incident_id: str) -> CatchUp:
        await self._begin("catch_up", user_id, incident_id, entitled=user_id)
        return CatchUp(facts(), (Happened(AT, "Looked at again (run 2)."),))

    async def why(self, user_id: str, incident_id: str, mark: str) -> Sequence[str]:
        await self._begin("why", user_id, incident_id, mark, entitled=user_id)
        return ("e3 is “deploy”, from github.", "You may read it: every requirement holds.")

    async def similar(self, user_id: str, incident_id: str) -> Sequence[SimilarIncident]:
        await self._begin("similar", user_id, incident_id, entitled=user_id)
        return [SimilarIncident("P0", 12, "<!here> checkout", "https://x", AT, ("the same alert",), "rolled back")]

    async def ask(self, user_id: str, incident_id: str, question: str, request_id: str) -> Answered:
        await self._begin("ask", user_id, incident_id, question, entitled=user_id)
        claim = Claim(text="It cut the connection pool from 20 to 2", evidence=("e7",))
        return Answered(facts(), question, claims=(claim,), searched="12 items")

    async def draft(self, user_id: str, incident_id: str) -> Draft:
        await self._begin("draft", user_id, incident_id, entitled=user_id)
        return Draft("P8K2Q1: it was the pool (e7).", '{"m":["e7"],"w":true}')

    async def publish(self, user_id: str, incident_id: str, text: str, made_of: str) -> Published:
        await self._begin("publish", user_id, incident_id, text, made_of, entitled=user_id)
        return "published"

    async def add_note(self, incident_id: str, by: str, text: str, request_id: str) -> Noted:
        await self._begin("note", incident_id, by, text, entitled=by)
        return "noted"

    async def incident_of_thread(self, user_id: str, channel_id: str, thread_ts: str) -> str | None:
        return "P9Z7X3" if thread_ts == "9.1" and user_id in self.may else None

    async def weekly(self, user_id: str, week: str, form: Any) -> Answer:
        await self._begin("weekly", user_id, week, entitled=user_id)
        return Answer("Week 47: too early to say")

    async def whole(self, user_id: str, week: str, form: Any) -> str | None:
        await self._begin("whole", user_id, week, form, entitled=user_id)
        return "<html>" if week == "2026-W47" else None

    async def send_page(self, user_id: str, incident_id: str, request: Request) -> None:
        await self._begin("send_page", user_id, incident_id, entitled=user_id)

    async def send_file(
        self, user_id: str, about: str, suffix: str, title: str, said: str, content: str, request: Request
    ) -> None:
        await self._begin("send_file", user_id, about, suffix, content)

    async def open(self, by: str, incident_id: str, request_id: str) -> Opened:
        await self._begin("open", by, incident_id, request_id, entitled=by)
        return Opened("C0MADE1", invited=2, left_out=1)

    async def arrived(self, channel_id: str, person_id: str) -> str | None:
        self.calls.append(("arrived", channel_id, person_id))
        return None

    async def home(self, user_id: str) -> HomeTold:
        await self._begin("home", user_id)
        seen = self.incidents if user_id in self.may else []
        spent = [Spent("today", 0.31, 20.0), Spent("this month", 4.2, None)]
        return HomeTold(await self.status_for(user_id), seen[:1], [4] * len(seen[:1]), True, spent, AT)

    async def merge(self, by: str, incident_id: str, into: str, reason: str) -> str:
        await self._begin("merge", by, incident_id, into, reason)
        if by not in self.admins:
            raise OnlyAdmins(by)
        return ""

    async def split(self, by: str, incident_id: str, reason: str) -> str:
        await self._begin("split", by, incident_id, reason)
        if by not in self.admins:
            raise OnlyAdmins(by)
        return ""

    async def split_services(
        self, by: str, incident_id: str, services: Sequence[str], reason: str
    ) -> tuple[str | None, str]:
        await self._begin("split_services", by, incident_id, tuple(services), reason)
        return "A1", ""

    async def merged(self, user_id: str, incident_id: str) -> Sequence[Incident]:
        one = ranked().incident.model_copy(update={"id": "PMERGED"})
        return [one] if user_id in self.may and incident_id in ("PMERGED", "P8K2Q1") else []

    async def services(self, user_id: str, incident_id: str) -> Sequence[str]:
        return ["checkout-api", "search"]

    async def _begin(self, *call: Any, entitled: str | None = None) -> None:
        self.calls.append(call)
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if self.failing is not None:
            raise self.failing
        if entitled is not None and entitled not in self.may:
            raise NotPermitted("not this one")


@dataclass
class FakeLife:
    """Knows the same people as the desk; what is of PagerDuty is elsewhere."""

    desk: FakeDesk
    elsewhere: set[str] = field(default_factory=lambda: {"P8K2Q1"})
    outcome: Outcome = "said"

    async def declare(
        self, by: str, words: str, channel_id: str, request_id: str, *, own_channel: bool = True
    ) -> Declared | None:
        await self.desk._begin("declare", by, words, channel_id, request_id, entitled=by)
        return Declared("S0000000001", words, 2, "checkout-api", channel_id) if words else None

    async def say(self, incident_id: str, by: str, said: Said, request_id: str) -> Outcome:
        await self.desk._begin("say", incident_id, by, said, entitled=by)
        return "elsewhere" if incident_id in self.elsewhere and said != "mitigated" else self.outcome


@dataclass
class FakeEar:
    """What was heard, in order."""

    heard: list[dict[str, Any]] = field(default_factory=list)
    failing: bool = False

    async def message(self, event: Any) -> bool:
        if self.failing:
            raise OSError("the disk is full")
        self.heard.append(dict(event))
        return True

    async def channel_created(self, event: Any) -> bool:
        self.heard.append(dict(event))
        return True


@dataclass
class FakeReaderEvents:
    """What was heard, in order."""

    heard: list[tuple[Any, ...]] = field(default_factory=list)

    async def joined(self, channel_id: str, person_id: str) -> int:
        self.heard.append(("joined", channel_id, person_id))
        return 0

    async def left(self, channel_id: str, person_id: str) -> None:
        self.heard.append(("left", channel_id, person_id))

    async def channel_changed(self, channel_id: str) -> int:
        self.heard.append(("channel_changed", channel_id))
        return 0

    async def groups_changed(self) -> None:
        self.heard.append(("groups_changed",))

    async def person_changed(self, person_id: str, person: object = None) -> None:
        self.heard.append(("person_changed", person_id))

    async def reconnected(self) -> None:
        self.heard.append(("reconnected",))


@dataclass
class FakeRequests:
    """Requests in memory; `left` is what an earlier process did not end."""

    kept: dict[str, Request] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    left: list[Request] = field(default_factory=list)

    async def accept(self, request: Request) -> bool:
        new = request.id not in self.kept
        self.kept.setdefault(request.id, request)
        return new

    async def keep_aside(self, request: Request) -> bool:
        self.aside.append(request.id)
        return True

    async def end(self, request_id: str) -> None:
        self.ended.append(request_id)

    async def find(self, request_id: str, by: str) -> Request | None:
        found = self.kept.get(request_id)
        return found if found is not None and found.by == by else None

    async def take_over(self) -> list[Request]:
        return self.left

    async def context_of(self, by: str, thread_ts: str) -> str:
        found = [one for one in self.kept.values() if one.kind == "assistant" and one.thread_ts == thread_ts]
        return found[-1].value if found and found[-1].by == by else ""

    async def lately(self, kind: str, within: timedelta) -> list[str]:
        return list(dict.fromkeys(one.by for one in self.kept.values() if one.kind == kind))


def desks(desk: FakeDesk, requests: FakeRequests | None = None, screens: FakeScreens | None = None) -> Desks:
    """One fake behind every role."""
    return Desks(
        requests or FakeRequests(),
        desk,
        FakeLife(desk),
        desk,
        desk,
        desk,
        desk,
        desk,
        desk,
        desk,
        desk,
        screens=screens or FakeScreens(),
        channels=desk,
    )
