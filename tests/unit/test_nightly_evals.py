"""Nightly evals: once a night, behind live incidents, paid as batch, and said only when a bar does not hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bot.clock import ManualClock
from bot.evals.golden import cases
from bot.evals.nightly import NightlyEvals
from bot.model.spend import Ceilings
from integrations.errors import Unavailable
from integrations.ports import Completion, PromptRequest
from tests.support.calls import gateway
from tests.support.memory_store import MemoryStore

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = datetime(2026, 11, 25, 2, 0, tzinfo=UTC)
"""Three o'clock in Berlin."""
REVIEWS = cases("review")[:3]


class Model:
    """Answers each review as its case wants it, or always with the same text."""

    name = "model"

    def __init__(self, says: str | None = None) -> None:
        self.says, self.requests = says, 0

    async def complete(self, request: PromptRequest, timeout_seconds: float) -> Completion:
        self.requests += 1
        if self.says == "down":
            raise Unavailable("model", "answered 503")
        lines = [line for case in REVIEWS for line in [case.data["given"]["diff"].splitlines()[2][6:]]]
        (case,) = [one for one, path in zip(REVIEWS, lines, strict=True) if path in request.user]
        return Completion(self.says or case.answer, request.model, 100, 0, 10, "stop")


class Box:
    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []

    async def say(self, target: str, channel: str, text: str, blocks: Any) -> int:
        self.said.append((target, channel, text))
        return 1


async def channels(team: str | None) -> list[str]:
    assert team is None
    return ["C1"]


def night(store: MemoryStore, model: Model, clock: ManualClock, box: Box, **more: Any) -> NightlyEvals:
    asked = gateway(store, model, clock=clock, **more)
    return NightlyEvals(store, "T1", clock, BERLIN, time(3), asked, box, channels, 10.0, REVIEWS)


async def notices(store: MemoryStore) -> list[dict[str, Any]]:
    return [json.loads(row["detail"]) for row in await store.query("SELECT detail FROM notices WHERE kind = 'evals'")]


async def test_the_cases_are_played_once_a_night_and_paid_as_batch() -> None:
    store, model, clock, box = MemoryStore(), Model(), ManualClock(NIGHT), Box()
    nightly = night(store, model, clock, box)
    rows = await nightly.play_due()
    assert rows is not None
    assert [(row.use, row.passed, row.failed, row.not_asked) for row in rows] == [("review", 3, [], 0)]
    assert await nightly.play_due() is None
    assert model.requests == 3
    assert box.said == []
    (kept,) = await notices(store)
    assert kept["night"] == "2026-11-25"
    assert kept["rows"][0]["holds"] is True
    paid = await store.query("SELECT DISTINCT use, incident_id, workflow_id FROM spend")
    assert paid == [{"use": "batch", "incident_id": None, "workflow_id": "eval:night:2026-11-25"}]
    await clock.sleep(timedelta(days=1).total_seconds())
    assert await nightly.play_due() is not None
    await store.close()


@pytest.mark.parametrize(
    ("hours", "due"), [(-0.1, False), (0, True), (5.9, True), (6.1, False), (23.0, False), (24.0, True)]
)
async def test_it_is_made_up_within_six_hours_and_not_by_day(hours: float, due: bool) -> None:
    store, clock = MemoryStore(), ManualClock(NIGHT + timedelta(hours=hours))
    assert (await night(store, Model(), clock, Box()).play_due() is not None) is due
    await store.close()


async def test_a_model_that_no_longer_passes_is_said_once() -> None:
    store, box = MemoryStore(), Box()
    nightly = night(store, Model("no JSON today"), ManualClock(NIGHT), box)
    await nightly.play_due()
    await nightly.play_due()
    ((target, channel, text),) = box.said
    assert (target, channel) == ("notice:evals:2026-11-25-0", "C1")
    assert "passes 0 of 3 cases of review (bar 90%)" in text
    assert len((await notices(store))[0]["rows"][0]["failed"]) == 3
    await store.close()


@pytest.mark.parametrize("why", ["down", "budget"])
async def test_cases_that_could_not_be_asked_say_nothing_about_a_model(why: str) -> None:
    store, box = MemoryStore(), Box()
    more = {"ceilings": Ceilings(use_month_usd={"batch": 1e-9})} if why == "budget" else {}
    rows = await night(store, Model("down" if why == "down" else None), ManualClock(NIGHT), box, **more).play_due()
    assert rows is not None
    assert [(row.passed, row.failed, row.not_asked) for row in rows] == [(0, [], 3)]
    assert box.said == []
    await store.close()


async def test_a_process_that_died_in_the_middle_asks_each_case_at_most_twice() -> None:
    store, model, clock = MemoryStore(), Model(), ManualClock(NIGHT)
    for _ in range(4):
        await night(store, model, clock, Box()).play_due()
        await store.transaction(lambda tx: tx.execute("DELETE FROM notices"))  # as if it had not come so far
    assert model.requests == 6
    await store.close()
