"""A small slice of `make load`: a started bot, a storm of webhooks, a model that is slow, fails and hangs."""

from __future__ import annotations

from tests.load.run import Plan, load


async def test_a_storm_with_a_failing_model_loses_nothing_and_keeps_to_its_limits(tmp_path):
    told = await load(Plan(seconds=3.0, rate=60.0, incidents_a_second=1.0, model_seconds=2.0), tmp_path)
    assert [bar for bar in told["bars"] if not bar["holds"]] == [], told["totals"]
    assert told["totals"]["deliveries"] == 180
    assert told["totals"]["books_calls"] >= 3
    assert set(told["totals"]["books_outcomes"]) <= {"malformed", "off", "deadline", "breaker", "rejected"}
