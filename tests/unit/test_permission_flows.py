"""Somebody joins while a triage is under way: what was gathered for fewer readers is permitted again at each outlet."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from bot.cards.making import from_ranked
from bot.cards.state import CardState
from bot.cards.turns import Turns
from bot.clock import ManualClock
from bot.flows.parts import Timeouts
from bot.flows.triage import TriageFlow
from bot.trust.audience import Audience, AudienceUnknown
from bot.types import Claim, Ranked, Released, Summary, Usage
from integrations.records import Evidence, Incident, Readers

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
OPEN, SECRET = Readers.of(["everyone"]), Readers.of(["payments"])
INSIDERS = Audience.of([frozenset({"everyone", "payments"})], NOW)
WITH_NEWCOMER = Audience.of([frozenset({"everyone", "payments"}), frozenset({"everyone"})], NOW)
INCIDENT = Incident(
    workspace_id="w",
    id="P1",
    title="the alert",
    service="checkout",
    severity=2,
    url="https://x.example/P1",
    triggered_at=NOW,
)
ROUTE = {"channel": "C1", "arm": None, "received_at": NOW.isoformat()}


def evidence(mark: str, readers: Readers, text: str) -> Evidence:
    return Evidence(
        id=f"s/log/{mark}", kind="log", source="s", observed_at=NOW, fetched_at=NOW, url="", readers=readers,
        title=text, text=text, mark=mark,
    )  # fmt: skip


RANKED = Ranked(
    incident=INCIDENT,
    headline="canary headline",
    evidence=(evidence("e1", OPEN, "plain"), evidence("e2", SECRET, "canary item")),
    collected_at=NOW,
    permitted_at=NOW,
    audience=INSIDERS.signature,
    basis=Readers.of(["everyone"], ["payments"]),
)
RELEASED = Released(
    summary=Summary(going_on=(Claim(text="canary in disguise", evidence=("e1",)),), cause=(), next=()),
    usage=Usage(model="m", prompt="p", prompt_sha256="0"),
)


class Stage:
    """One triage's parts with a channel whose readers can change."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.audience: Audience | AudienceUnknown = INSIDERS
        self.card: CardState | None = None
        self.prompted: list[Ranked] = []
        self.incident_now = INCIDENT
        self.turn = Turns().of
        self.row = {
            "ranked": RANKED.model_dump_json(),
            "channel": "C1",
            "timings": f'{{"received_at": "{NOW.isoformat()}"}}',
        }
        self.flow = TriageFlow(
            SimpleNamespace(
                book=self,
                clock=self.clock,
                directory=SimpleNamespace(audience=self.who),
                cards=self,
                link_hosts=(),
                collector=SimpleNamespace(alert_readers=lambda incident: OPEN),
                timeouts=Timeouts(),
                summarise=self.summarise,
            )
        )

    async def who(self, channel_id: str, deadline_seconds: float) -> Audience | AudienceUnknown:
        return self.audience

    async def incident(self, incident_id: str) -> Incident:
        return self.incident_now

    async def triage_row(self, incident_id: str, n: int) -> dict[str, str]:
        return self.row

    async def write_triage(self, incident_id: str, n: int, values: dict[str, object]) -> None:
        self.row |= {name: value for name, value in values.items() if value is not None}

    async def change(self, target: str, channel: str, transform, *, permitted_at: datetime) -> int:
        self.card = transform(self.card)
        self.permitted_at = permitted_at
        return 1

    async def wait_for(self, target: str, version: int, timeout_seconds: float) -> bool:
        return True

    async def summarise(self, ranked: Ranked, *, triage_id: str, step: str) -> Released:
        self.prompted.append(ranked)
        return RELEASED

    @property
    def shown(self) -> str:
        assert self.card is not None
        return self.card.model_dump_json()


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_with_the_same_readers_everything_is_shown(stage: Stage) -> None:
    await stage.flow.publish_facts("P1", 1, ROUTE, RANKED)
    await stage.flow.infer("P1", 1, ROUTE, RANKED, "infer")
    await stage.flow.publish_summary("P1", 1, RELEASED)
    assert all(text in stage.shown for text in ("canary headline", "canary item", "canary in disguise"))
    assert [len(one.evidence) for one in stage.prompted] == [2]


async def test_facts_are_for_the_readers_of_now(stage: Stage) -> None:
    stage.audience = WITH_NEWCOMER
    stage.clock.advance(30)
    await stage.flow.publish_facts("P1", 1, ROUTE, RANKED)
    assert "canary" not in stage.shown
    assert stage.card is not None
    assert stage.card.narrowed
    assert stage.permitted_at == stage.clock.now()
    assert "canary" in stage.row["ranked"], "what was gathered stays, so that the card can be whole again"


async def test_the_model_is_shown_what_the_readers_of_now_may_read(stage: Stage) -> None:
    stage.audience = WITH_NEWCOMER
    await stage.flow.infer("P1", 1, ROUTE, RANKED, "infer")
    assert [one.mark for one in stage.prompted[0].evidence] == ["e1"]
    stage.audience = AudienceUnknown("late")
    found = await stage.flow.infer("P1", 1, ROUTE, RANKED, "infer")
    assert found["outcome"] == "off"
    assert len(stage.prompted) == 1


async def test_a_summary_made_for_fewer_readers_is_not_shown(stage: Stage) -> None:
    stage.card = from_ranked(RANKED)
    stage.audience = WITH_NEWCOMER
    await stage.flow.publish_summary("P1", 1, RELEASED)
    assert "canary" not in stage.shown
    assert stage.card is not None
    assert "may see less" in stage.card.no_summary


@pytest.mark.parametrize("outlet", ["facts", "summary"])
async def test_an_audience_that_is_lost_on_the_way_leaves_the_fallback(stage: Stage, outlet: str) -> None:
    stage.card = from_ranked(RANKED)
    stage.audience = AudienceUnknown("who is here could not be read")
    if outlet == "facts":
        await stage.flow.publish_facts("P1", 1, ROUTE, RANKED)
    else:
        await stage.flow.publish_summary("P1", 1, RELEASED)
    assert "canary" not in stage.shown
    assert stage.card.fallback == "who is here could not be read"


async def test_the_slower_of_two_writers_does_not_put_an_older_life_over_a_newer_one(stage: Stage) -> None:
    """The first has read the incident and waits for the readers; the second begins after it was resolved."""
    go_on, asked = asyncio.Event(), 0
    at_once = stage.who

    async def slow_at_first(channel_id: str, deadline_seconds: float) -> Audience | AudienceUnknown:
        nonlocal asked
        asked += 1
        if asked == 1:
            await go_on.wait()
        return await at_once(channel_id, deadline_seconds)

    stage.flow._parts.directory.audience = slow_at_first
    first = asyncio.ensure_future(stage.flow.publish_facts("P1", 1, ROUTE, RANKED))
    while asked == 0:
        await asyncio.sleep(0)
    stage.incident_now = INCIDENT.model_copy(update={"status": "resolved", "resolved_at": NOW + timedelta(minutes=5)})
    second = asyncio.ensure_future(stage.flow.publish_facts("P1", 1, ROUTE, RANKED))
    for _ in range(20):
        await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, second)
    assert stage.card is not None
    assert stage.card.times.resolved_at == NOW + timedelta(minutes=5)
