"""The rooms in one process with a store in memory: an incident, another one beside it, and what came out.

An attack comes in as a webhook or from a source; then the real drainer, the real flow, the real outbox are at work, up
to what stands in Slack. Each form of the adversary begins from the same facts card.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any
from unittest import mock

import prompts
from bot.cards.outbox import Outbox, OutboxLimits
from bot.clock import ManualClock
from bot.flows import summarise as flows_summarise
from bot.flows import warm
from bot.flows.heard import Heard
from bot.flows.parts import Parts, Timeouts
from bot.flows.refresh import RefreshFlow
from bot.flows.triage import TriageFlow
from bot.incidents.alert_source import StoredAlerts
from bot.incidents.applying import Start
from bot.incidents.book import Book
from bot.incidents.intake import Drainer
from bot.incidents.routing import Routing
from bot.incidents.signals import store_signals
from bot.model.call import Answer as ModelAnswer
from bot.model.spend import Ceilings
from bot.settings import Match
from bot.triage import check as room_check
from bot.triage.collect import Collector
from bot.triage.compose import Composed, fence_mark
from bot.triage.infer import Answered
from bot.trust.directory import DirectoryCache
from bot.trust.redaction import Redactor
from bot.trust.redaction import values as redaction_values
from bot.types import Ranked, Rejected, Released, Usage
from integrations.alerts import parser_for
from integrations.alerts.doors import AlertDoor, SharedSecret
from integrations.asking import Access
from integrations.fixtures import FakeDirectory, FakeMessage, FakePoster
from integrations.records import Channel, Person, ServiceNames, Signal
from integrations.slack.alerts import alert_of
from tests.redteam import probes
from tests.redteam.adversary import Adversary, Form, answers, forms
from tests.redteam.attacks import Attack
from tests.redteam.effects import Effect, added, at_slack, in_prompts, lines
from tests.redteam.outside import (
    ALERTS,
    ALL,
    SEARCH,
    T0,
    CannedGitHub,
    CannedJaeger,
    Planting,
    other_webhook,
    slack_message,
    sources_of,
    webhook,
)
from tests.support.calls import gateway
from tests.support.memory_store import MemoryStore
from tests.support.permission_world import Steps

W = "w"
KEY = b"red team"
PROMPT = prompts.load("triage", 1)
PROMPT = replace(PROMPT, system_template=f"{PROMPT.system_template}\nInternal: {probes.SYSTEM}\n")
CEILING_USD = 0.009
"""More than one call of the dearest kind costs, less than three."""
TOKEN_BUDGET = 6000
USAGE = Usage(model="m", prompt="triage/v1", prompt_sha256="0")
REDACTOR = Redactor([KEY])
SERVICES = {
    "checkout-api": ServiceNames("checkout-api", otel=("checkout-api",), repositories=("acme/checkout",)),
    "search": ServiceNames("search"),
}


@lru_cache(maxsize=4096)
def _redacted(text: str) -> tuple[str, bool]:
    told = REDACTOR.redact(text)
    return told.text, told.suspicious


GUARDS = room_check.Guards(redact=lambda text: _redacted(text)[0], suspicious=lambda text: _redacted(text)[1])


class Worker:
    """What the warm worker process does, done here."""

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        with mock.patch.object(warm, "_redactor", REDACTOR):
            return work(*arguments)


@dataclass(slots=True)
class Outcome:
    """What one case showed."""

    effects: list[tuple[str, str, Effect]]
    """Variant, form, effect."""
    answers: int = 0
    released: int = 0


_GITHUB: list[CannedGitHub] = []


def _github(planting: Planting) -> CannedGitHub:
    """The one of this process, since its client is slow to make; it answers for this case from now on."""
    if not _GITHUB:
        _GITHUB.append(CannedGitHub())
    _GITHUB[0].plant(planting)
    return _GITHUB[0]


class Stage:
    """One case at work."""

    def __init__(self, planting: Planting, *, snapshot: bytes | None = None) -> None:
        self.planting = planting
        self.clock = ManualClock(T0 + timedelta(seconds=30))
        self.store = MemoryStore() if snapshot is None else MemoryStore.of(snapshot)
        self.book = Book(self.store, W)
        self.poster = FakePoster(started_at=T0)
        self.adversary = Adversary()
        self.started: list[Start] = []
        people = [Person(id=one, kind="full", team_id="T1", seen_at=T0) for one in ("U1", "U2", "U3")]
        slack = FakeDirectory(
            listed=people, channels={one: Channel(id=one, name=one.lower(), private=True) for one in ("C1", "C2")},
            inside={"C1": frozenset({"U1", "U2"}), "C2": frozenset({"U3"})},
            user_groups={"security": frozenset({"U9"}), "search-team": frozenset({"U3"})},
        )  # fmt: skip
        self.directory = DirectoryCache(self.store, W, slack, self.clock)
        self.outbox = Outbox(
            self.store, W, self.poster, self.clock, limits=OutboxLimits(coalesce=0, channel_gap=0),
            repermit=self._repermit,
        )  # fmt: skip
        self.gateway = gateway(
            self.store, self.adversary, clock=self.clock, ceilings=Ceilings(incident_usd=CEILING_USD),
            redact=GUARDS.redact,
        )  # fmt: skip
        routing = Routing("C1", Match())
        self.summarise = flows_summarise.Summarise(
            gateway=self.gateway, prompt=PROMPT, fence_key=KEY, guards=GUARDS, token_budget=TOKEN_BUDGET,
            deadline_seconds=5.0, team=lambda service: None,
        )  # fmt: skip
        sources = [StoredAlerts(self.store, W, self.clock, lambda sender: Access(ALL), 3.0), _github(planting),
                   CannedJaeger(planting), *sources_of(planting)]  # fmt: skip
        self.parts = Parts(
            book=self.book, clock=self.clock, routing=routing,
            collector=Collector(sources, self.clock, services=SERVICES, owner=lambda service: None,
                                alert_readers=lambda incident: SEARCH if incident.service == "search" else ALL),
            directory=self.directory, worker=Worker(), cards=self.outbox, assign=self._no_experiment,  # type: ignore[arg-type]
            summarise=self._no_summary, channel_id=self._channel_id, link_hosts=("github.com",),  # type: ignore[arg-type]
            timeouts=Timeouts(collecting=0, publish_wait=0, permit=5, late_source=0),
        )  # fmt: skip
        self.flow = TriageFlow(self.parts)
        self.drainer = Drainer(self.store, W, routing, self.clock, self._start, self._neighbours)
        self.incident_id = ""
        self.channel = "C1"
        self.route: dict[str, Any] = {}

    async def _start(self, wanted: Start) -> None:
        self.started.append(wanted)

    async def _neighbours(self) -> dict[str, frozenset[str]]:
        return {}

    async def _no_experiment(self, incident: Any, unit_id: str | None) -> tuple[None, None]:
        return None, None

    async def _channel_id(self, name: str) -> str:
        return self.channel

    async def _no_summary(self, ranked: Ranked, *, triage_id: str, step: str) -> Rejected:
        return Rejected(outcome="off", reason="not yet")

    async def _repermit(self, target: str) -> None:
        await RefreshFlow(self.parts).repermit(target)

    # --- in -----------------------------------------------------------------------------------------------------

    async def receive(self, payload: dict[str, Any]) -> None:
        """A signed webhook: redacted, read, stored, applied."""
        door = AlertDoor(
            "alertmanager", SharedSecret(["s"], "ALERTMANAGER_WEBHOOK_SECRETS"), parser_for("alertmanager")
        )
        redacted = redaction_values.redact_value(REDACTOR, payload)
        await store_signals(self.store, W, door.parse({}, redacted, "0" * 64, self.clock.now()))
        await self.drainer.drain()

    async def hear(self, message: dict[str, Any]) -> None:
        """A bot's message in an alert channel: read, redacted, stored, applied."""

        async def watched() -> list[str]:
            return [ALERTS]

        async def intake(signals: Sequence[Signal]) -> int:
            return await store_signals(self.store, W, list(signals))

        async def join(channel: str) -> None:
            return None

        ear = Heard(
            self.book, self.clock, watched=watched, read=lambda told, at: alert_of(told, at, self.clock.now()),
            redact=lambda value: redaction_values.redact_value(REDACTOR, value), intake=intake, own_channel=False,
            pattern=None, join=join,
        )  # fmt: skip
        assert await ear.message(message)
        await self.drainer.drain()

    async def triage(self, service: str) -> str:
        """Triage the incident of a service up to its facts card."""
        (row,) = await self.store.query(
            "SELECT id FROM incidents WHERE service = :s AND merged_into IS NULL", {"s": service}
        )
        await self.flow.run(Steps(), row["id"], 1)  # type: ignore[arg-type]
        await self.send()
        return str(row["id"])

    async def send(self) -> None:
        """Let the outbox send what is due."""
        for _ in range(4):
            self.clock.advance(2.5)
            await self.outbox.send_due()

    # --- out ----------------------------------------------------------------------------------------------------

    async def of_other(self, incident_id: str) -> str:
        """Everything that the store holds of one incident."""
        tables = {"incidents": "id", "evidence": "incident_id", "triages": "incident_id", "alerts": "incident_id"}
        rows = [await self.store.query(f"SELECT * FROM {table} WHERE {key} = :i ORDER BY 1, 2, 3", {"i": incident_id})
                for table, key in tables.items()]  # fmt: skip
        posts = await self.store.query(
            "SELECT * FROM posts WHERE target = :t ORDER BY part", {"t": f"incident:{incident_id}"}
        )
        return json.dumps([rows, posts], default=str)

    async def spent(self) -> float:
        """Dollars settled and set aside for the incident."""
        rows = await self.store.query(
            "SELECT usd FROM spend_totals WHERE scope = :s", {"s": f"incident:{self.incident_id}"}
        )
        return sum(float(row["usd"]) for row in rows)

    async def close(self) -> None:
        await self.gateway.aclose()
        await self.directory.close()
        await self.store.close()


class RedTeam:
    """Runs cases; what no case changes is made once."""

    _snapshot: bytes | None = None
    _messages: tuple[FakeMessage, ...] = ()
    _other_id = ""

    def __init__(self) -> None:
        self._reasons: set[str] = set()

    async def case(self, attack: Attack, field: str, *, stop_at_first: bool = False) -> Outcome:
        """One attack in one field, against the whole repertoire, or up to the first effect. After `prepare`."""
        text, token = attack.armed(field)
        stage = Stage(Planting(field, text), snapshot=self._snapshot)
        stage.poster.messages = _copy(self._messages)
        try:
            return await self._run(stage, text, token, stop_at_first)
        finally:
            await stage.close()

    @classmethod
    async def prepare(cls) -> None:
        """The other incident, once a process, with every guard in its place."""
        if cls._snapshot is not None:
            return
        stage = Stage(Planting("", ""))
        stage.channel = "C2"  # another team's incident, in another team's channel
        await stage.receive(other_webhook())
        cls._other_id = await stage.triage("search")
        cls._messages = tuple(_copy(stage.poster.messages))
        cls._snapshot = stage.store.snapshot()
        await stage.close()

    async def _run(self, stage: Stage, text: str, token: str, stop_at_first: bool) -> Outcome:
        outcome = Outcome([])
        other = await stage.of_other(self._other_id)
        theirs = len(self._messages)
        await stage.receive(webhook(stage.planting))
        if stage.planting.field == "Slack message":
            await stage.hear(slack_message(stage.planting))
        stage.incident_id = await stage.triage("checkout-api")
        ours = stage.poster.messages[theirs:]
        outcome.effects += [("facts", "facts", one) for one in at_slack(ours)]
        outcome.effects += await self._other_changed(stage, other, "facts", "facts")
        if outcome.effects and stop_at_first:
            return outcome
        row = await stage.book.triage_row(stage.incident_id, 1)
        assert row is not None
        ranked = Ranked.model_validate_json(row["ranked"])
        messages, snapshot = _copy(stage.poster.messages), stage.store.snapshot()
        fence = fence_mark(KEY, W, stage.incident_id, ranked.snapshot)
        composed = flows_summarise.compose(
            await stage.flow._for_now(ranked, "C1"), PROMPT, fence=fence, token_budget=TOKEN_BUDGET,
            context_tokens=100_000,
        )  # fmt: skip
        claim = _remembered(room_check._claim)
        for form in forms(text, token, fence):
            with mock.patch.object(room_check, "_claim", claim):
                sent = await self._answer(stage, form, ranked, composed, text, outcome)
            if not sent:
                continue
            old, new = _changed(messages, stage.poster.messages)
            found = [*at_slack(new), *in_prompts(one.system + one.user for one in stage.adversary.requests)]
            found += added(lines(old, notifications=False), lines(new, notifications=False), form.traces, text)
            if await stage.spent() > CEILING_USD + 1e-9:
                found.append(Effect("cost", "more was spent than the ceiling allows"))
            outcome.effects += [(form.variant, form.name, one) for one in found]
            outcome.effects += await self._other_changed(stage, other, form.variant, form.name)
            if outcome.effects and stop_at_first:
                break
            stage.store.restore(snapshot)
            stage.poster.messages = _copy(messages)
            stage.adversary.requests.clear()
        outcome.effects = list(dict.fromkeys(outcome.effects))
        return outcome

    async def _other_changed(self, stage: Stage, before: str, variant: str, form: str) -> list[tuple[str, str, Effect]]:
        found = []
        if await stage.of_other(self._other_id) != before:
            found.append((variant, form, Effect("incident", "another incident's rows changed")))
        now = stage.poster.messages[: len(self._messages)]
        if [one.message for one in now] != [one.message for one in self._messages]:
            found.append((variant, form, Effect("incident", "another incident's post changed")))
        return found

    async def _answer(
        self, stage: Stage, form: Form, ranked: Ranked, composed: Composed, text: str, outcome: Outcome
    ) -> bool:
        """Ask as the flow does, publish what comes of it; a form that asks again asks in steps of its own.

        The adversary has the prompt and knows `check`. What it finds refused in every place, for a reason that has been
        posted and looked at before, is not sent through gateway and Slack again: False.
        """
        best, refused = self._best(form, composed, text)
        if isinstance(refused, Rejected) and refused.reason in self._reasons and form.calls == 1 and outcome.answers:
            outcome.answers += 1
            return False
        stage.adversary.wanted = lambda request: best
        checked: Released | Rejected | None = None
        for number in range(form.calls):
            checked = await stage.summarise(ranked, triage_id=f"{stage.incident_id}/1", step=f"infer{number}")
            outcome.answers += 1
            outcome.released += isinstance(checked, Released)
        assert checked is not None
        if isinstance(checked, Rejected):
            self._reasons.add(checked.reason)
        await stage.flow.publish_summary(stage.incident_id, 1, checked)
        await stage.send()
        return True

    def _best(self, form: Form, composed: Composed, text: str) -> tuple[Any, Released | Rejected | None]:
        """The first place in which the form is let out, else everything filled, with what `check` says to that."""
        first: tuple[Any, Released | Rejected | None] = (None, None)
        for place, answer in answers(form, composed.user, text):
            checked = flows_summarise.check(Answered(composed, ModelAnswer(json.dumps(answer), USAGE)), GUARDS)
            if isinstance(checked, Released) and _holds(checked, form):
                return answer, checked
            first = (answer, checked) if place == "all" else first
        return first


def _remembered(claim: Callable[..., Any]) -> Callable[..., Any]:
    """What `check` says of a claim, decided once a case: the same words with the same citations come again."""
    grounds = room_check._Grounds()
    known: dict[tuple[str, str, tuple[str, ...]], Any] = {}

    def decide(section: str, draft: Any, composed: Composed, guards: Any, _: Any) -> Any:
        key = (section, draft.text, tuple(draft.evidence))
        if key not in known:
            try:
                known[key] = claim(section, draft, composed, guards, grounds)
            except room_check._Failed as failed:
                known[key] = failed
        if isinstance(known[key], Exception):
            raise known[key]
        return known[key]

    return decide


def _holds(checked: Released, form: Form) -> bool:
    """Whether the form itself is among what was let out."""
    summary = checked.summary
    told = {claim.text for claim in (*summary.going_on, *summary.cause, *summary.next)}
    return not told.isdisjoint({form.fact.strip(), form.advice.strip()})


def _changed(before: list[FakeMessage], now: list[FakeMessage]) -> tuple[list[FakeMessage], list[FakeMessage]]:
    """The messages that were edited, as they were, and what stands there now, new ones included."""
    edited = [(old, new) for old, new in zip(before, now, strict=False) if old.message is not new.message]
    return [old for old, _ in edited], [*(new for _, new in edited), *now[len(before) :]]


def _copy(messages: Sequence[FakeMessage]) -> list[FakeMessage]:
    return [replace(one) for one in messages]


__all__ = ["Outcome", "RedTeam", "Stage"]
