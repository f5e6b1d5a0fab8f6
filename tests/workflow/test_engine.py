"""The durable engine in this process: what is set aside, when it is begun again, and edits of a workflow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.clock import ManualClock
from bot.flows.engine import Engine, StepFailed


@pytest.fixture
async def engine(tmp_path):
    made = Engine(tmp_path / "home", ManualClock(datetime.now(UTC)))

    async def failing(steps, incident_id, key):
        async def breaks():
            raise ValueError("sk-live-what-came-from-outside")

        return await steps.run("refresh", breaks)

    async def edited(steps, incident_id, n):
        async def nothing():
            return {}

        took = await steps.since_edit("a.new.step")
        if took:
            await steps.run("a.new.step", nothing)
        await steps.run("route", nothing)
        return {"took": took}

    made.register("refresh", failing)
    made.register("triage", edited)
    await made.launch()
    yield made
    await made.close()


async def fails(engine: Engine, incident_id: str, key: str) -> None:
    await engine.start("refresh", f"refresh:{incident_id}:{key}", incident_id, key)
    with pytest.raises(StepFailed, match="refresh: ValueError") as failed:
        await engine.wait(f"refresh:{incident_id}:{key}")
    assert "sk-live" not in str(failed.value)


async def test_what_was_set_aside_is_begun_again_after_an_hour_then_after_a_day_and_then_no_more(engine):
    clock = engine._clock
    assert not await engine.stuck("refresh", "P1")
    await fails(engine, "P1", "hourly-1")
    assert await engine.set_aside() == ["refresh:P1:hourly-1"]
    assert await engine.stuck("refresh", "P1")
    assert not await engine.stuck("refresh", "P")  # another incident, whose id begins alike
    clock.advance(timedelta(hours=1, minutes=1).total_seconds())
    assert not await engine.stuck("refresh", "P1")
    await fails(engine, "P1", "hourly-2")
    assert await engine.stuck("refresh", "P1")
    clock.advance(timedelta(days=1).total_seconds())
    assert not await engine.stuck("refresh", "P1")
    await fails(engine, "P1", "hourly-3")
    clock.advance(timedelta(days=9).total_seconds())
    assert await engine.stuck("refresh", "P1")


async def test_a_guarded_edit_is_taken_by_a_workflow_that_begins_after_it(engine):
    await engine.start("triage", "triage:P1:1", "P1", 1)
    assert await engine.wait("triage:P1:1") == {"took": True}
