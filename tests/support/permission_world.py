"""A workspace in memory in which one incident is triaged end to end; what came out at each outlet can be read.

Everything that a source says carries a word of its own (`canary…`), so that it is found wherever it gets to.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import prompts
from bot.cards.outbox import Outbox, OutboxLimits
from bot.clock import ManualClock
from bot.errors import NotPermitted
from bot.flows.parts import Parts, Timeouts
from bot.flows.refresh import RefreshFlow
from bot.flows.summarise import Summarise
from bot.flows.triage import TriageFlow
from bot.flows.views import IncidentView, Views
from bot.flows.warm import Timed
from bot.incidents.book import Book
from bot.incidents.routing import Routing
from bot.settings import Match
from bot.triage.check import Guards
from bot.triage.collect import Collector
from bot.triage.rank import rank
from bot.triage.redact import redact
from bot.trust.directory import DirectoryCache
from bot.trust.redaction import Redactor
from integrations.fixtures import FakeDirectory, FakePoster, ScriptedModel
from integrations.ports import Completion, PromptRequest
from integrations.records import (
    Batch,
    ChangeEvent,
    Channel,
    Evidence,
    Findings,
    Incident,
    LogRecord,
    Person,
    Question,
    Readers,
    Span,
)
from tests.support.calls import gateway
from tests.support.memory_store import MemoryStore

T0 = datetime(2026, 11, 24, 14, 2, 10, tzinfo=UTC)
REDACTOR = Redactor([b"world"])
PROMPT = prompts.load("triage", 1)
WORD = re.compile(r"canary[a-z]{3}")
ITEM = re.compile(r"<<<\w+ (s\d+) .*?>>>", re.DOTALL)


class TellsAll(ScriptedModel):
    """A model that says of every item what word it holds."""

    async def complete(self, request: PromptRequest, timeout_seconds: float) -> Completion:
        claims = [
            {"text": f"Requests fail at {word[0]}.", "evidence": [block[1]]}
            for block in ITEM.finditer(request.user)
            if (word := WORD.search(block[0]))
        ]
        going_on = claims[:3] or [{"text": "Requests fail.", "evidence": ["s1"]}]
        looks = [{**claim, "text": claim["text"].replace("Requests fail at", "Look at")} for claim in claims[3:6]]
        self.script = [json.dumps({"going_on": going_on, "cause": [], "next": looks})]
        return await super().complete(request, timeout_seconds)


@dataclass(frozen=True)
class Thing:
    """Something that a source found: what kind, who may read it, and the word by which it is known again."""

    kind: str
    readers: Readers
    word: str
    model: str = "allowed"


@dataclass
class World:
    """People with their groups and kinds, who is in the channel, who may read the alert, and what there is to find."""

    people: dict[str, tuple[str, frozenset[str]]]
    """Slack id to (kind, user groups)."""
    inside: frozenset[str]
    things: list[Thing]
    alert_readers: Readers
    private: bool = True
    shared: bool = False
    tokens: dict[str, frozenset[str]] = field(default_factory=dict)


class Here:
    """Work that a worker process does, done here."""

    async def run(self, work: Callable[..., Any], permitted: Any, marks: Any, culprits: Any = None) -> Timed:
        return Timed(rank(redact(permitted, REDACTOR), marks=marks, past_culprits=culprits), 1, 2, 3)


class Steps:
    """The engine's steps without an engine; results go through JSON as they do there."""

    async def run(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        return json.loads(json.dumps(await work()))

    def reserve(self, name: str, work: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.run(name, work))

    async def first(self, *tasks: asyncio.Task[Any]) -> set[int]:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return {number for number, task in enumerate(tasks) if task.done()}


class Finder:
    """A source that finds the things of a world."""

    name = kind = "finder"
    deadline_seconds = 3.0

    def __init__(self, things: list[Thing]) -> None:
        self._things = things

    async def fetch(self, question: Question) -> Findings:
        found: dict[str, list[Any]] = {"evidence": [], "changes": [], "spans": [], "logs": []}
        for number, thing in enumerate(self._things):
            getattr(self, f"_{thing.kind}")(found, thing, number)
        edges = [thing for thing in self._things if thing.kind == "edge"]
        return Findings(
            evidence=tuple(found["evidence"]), changes=tuple(found["changes"]), spans=tuple(found["spans"]),
            logs=tuple(found["logs"]), edges=frozenset(("checkout", thing.word) for thing in edges),
            edge_readers=edges[0].readers if edges else Readers.nobody(),
        )  # fmt: skip

    def _edge(self, found: dict[str, list[Any]], thing: Thing, number: int) -> None:
        """Told with the others: a source's edges have one set of readers."""

    def _runbook(self, found: dict[str, list[Any]], thing: Thing, number: int) -> None:
        found["evidence"].append(
            Evidence.model_validate(
                {
                    "id": f"finder/runbook/{number}",
                    "kind": "runbook",
                    "source": "finder",
                    "observed_at": T0,
                    "fetched_at": T0,
                    "url": f"https://github.com/{thing.word}",
                    "readers": thing.readers,
                    "title": f"about {thing.word}",
                    "text": f"look at {thing.word}",
                    "model": thing.model,
                    "service": thing.word,
                }
            )
        )

    def _alert(self, found: dict[str, list[Any]], thing: Thing, number: int) -> None:
        self._runbook(found, thing, number)
        last = found["evidence"].pop()
        found["evidence"].append(last.model_copy(update={"kind": "alert", "id": f"finder/alert/{number}"}))

    def _change(self, found: dict[str, list[Any]], thing: Thing, number: int) -> None:
        found["changes"].append(
            ChangeEvent(
                id=f"c{number}",
                kind="deploy",
                service=thing.word,
                changed_at=T0 - timedelta(seconds=60 + number),
                summary=f"deploy of {thing.word}",
                source="finder",
                url=f"https://github.com/{thing.word}",
                readers=thing.readers,
                model=thing.model,
            )
        )

    def _span(self, found: dict[str, list[Any]], thing: Thing, number: int) -> None:
        start = int(T0.timestamp() * 1e9) - 30_000_000_000
        spans = [
            Span(
                f"{number:032x}", f"{n:016x}", "", thing.word, "GET /", start + n, start + n + 9_000_000_000, error=True
            )
            for n in range(20)
        ]
        found["spans"].append(Batch("finder", thing.readers, spans, model=thing.model))

    def _log(self, found: dict[str, list[Any]], thing: Thing, number: int) -> None:
        at = int(T0.timestamp() * 1e9) - 20_000_000_000
        lines = [LogRecord(at + n, thing.word, "ERROR", f"{thing.word} failed to connect") for n in range(30)]
        found["logs"].append(Batch("finder", thing.readers, lines, model=thing.model))


class Stage:
    """One world at work. `triage`, then look; change who is there and `refresh`, then look again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = ManualClock(T0)
        self.store = MemoryStore()
        self.book = Book(self.store, "w")
        self.poster = FakePoster(started_at=T0)
        self.model = TellsAll([])
        self.slack = FakeDirectory(
            listed=[
                Person(id=one, kind=kind, team_id="T1", seen_at=T0)  # type: ignore[arg-type]
                for one, (kind, _) in world.people.items()
            ],
            channels={"C1": Channel(id="C1", name="incidents", private=world.private, shared=world.shared)},
            inside={"C1": world.inside},
            user_groups=_by_group(world),
        )
        self.directory = DirectoryCache(self.store, "w", self.slack, self.clock)
        self.outbox = Outbox(
            self.store, "w", self.poster, self.clock, limits=OutboxLimits(coalesce=0), repermit=self._repermit
        )
        self.parts = Parts(
            book=self.book, clock=self.clock, routing=Routing("C1", Match()),
            collector=Collector(
                [Finder(world.things)], self.clock, services={}, owner=lambda service: None,
                alert_readers=lambda incident: world.alert_readers,
            ),
            directory=self.directory, worker=Here(), cards=self.outbox,  # type: ignore[arg-type]
            assign=self._no_experiment, summarise=self._summarise(), channel_id=self._channel_id,
            link_hosts=("github.com", "x.example"), timeouts=Timeouts(collecting=0, publish_wait=0, permit=5),
        )  # fmt: skip
        self.flow = TriageFlow(self.parts)
        self.refresher = RefreshFlow(self.parts)
        self.views = Views(self.parts, self.flow)

    def _summarise(self) -> Summarise:
        return Summarise(
            gateway=gateway(self.store, self.model, clock=self.clock), prompt=PROMPT, fence_key=b"k",
            guards=Guards(redact=lambda text: text), token_budget=6000, deadline_seconds=5.0, team=lambda service: None,
        )  # fmt: skip

    async def _no_experiment(self, incident: Incident, unit_id: str | None) -> tuple[None, None]:
        return None, None

    async def _channel_id(self, name: str) -> str:
        return name

    async def _repermit(self, target: str) -> None:
        await self.refresher.repermit(target)

    async def triage(self) -> None:
        """From a stored incident to a posted card."""
        await self.store.insert(
            "incidents",
            [
                {
                    "workspace_id": "w", "id": "P1", "number": 7, "title": "the alert canarytitle",
                    "service": "checkout", "source": "pagerduty", "severity": 2, "first_severity": 2,
                    "status": "triggered", "url": "https://x.example/P1", "triggered_at": T0, "first_signal_at": T0,
                    "received_at": T0, "updated_at": T0, "triages": 1,
                }
            ],
        )  # fmt: skip
        await self.flow.run(Steps(), "P1", 1)  # type: ignore[arg-type]
        await self.send()

    async def join(self, person_id: str) -> None:
        """Somebody joins the channel, and its card is checked again."""
        self.slack.inside["C1"] |= {person_id}
        self.clock.advance(1)
        await self.directory.joined("C1", person_id)
        await self.refresher.write("P1")
        await self.send()

    async def send(self) -> None:
        for _ in range(6):
            await self.outbox.send_due()
            self.clock.advance(3)

    # --- what came out ------------------------------------------------------------------------------------------

    def in_slack(self) -> str:
        """Every message of the channel as it stands now."""
        return json.dumps([[one.message.text, one.message.blocks] for one in self.poster.messages], default=str)

    def in_prompts(self) -> str:
        return "\n".join(request.system + request.user for request in self.model.requests)

    async def own_view(self, person_id: str) -> str:
        return await self._seen(partial(self.views.own_view, "P1"), person_id)

    async def stored_view(self, person_id: str) -> str:
        return await self._seen(partial(self.views.stored_view, "P1"), person_id)

    async def _seen(self, view: Callable[[Any], Awaitable[Any]], person_id: str) -> str:
        try:
            return str((await view(await self.directory.principal(person_id, 5))).model_dump_json())
        except NotPermitted as refused:
            return str(refused)

    async def web_page(self, token: str) -> str:
        try:
            return json.dumps(await IncidentView(self.views, self.world.tokens).view(token, "P1"), default=str)
        except NotPermitted as refused:
            return str(refused)

    async def note(self) -> str:
        return str(await self.refresher.note_text("incident:P1"))

    async def stored_items(self) -> list[dict[str, Any]]:
        return await self.store.query("SELECT title, text, url, readers FROM evidence")

    async def close(self) -> None:
        await self.directory.close()
        await self.store.close()


def _by_group(world: World) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for person_id, (_, groups) in world.people.items():
        for group in groups:
            found.setdefault(group, set()).add(person_id)
    return {name: frozenset(members) for name, members in found.items()}
