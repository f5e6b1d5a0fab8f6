"""A small slice of `make load`: a started bot, a storm of webhooks, a model that is slow, fails and hangs."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from bot import telemetry
from tests.load.run import Plan, load

WAY = {
    telemetry.SPAN_DOOR, telemetry.SPAN_STEP, telemetry.SPAN_COLLECT, telemetry.SPAN_SOURCE, telemetry.SPAN_PERMIT,
    telemetry.SPAN_REDACT, telemetry.SPAN_RANK, telemetry.SPAN_COMPOSE, telemetry.SPAN_INFER, telemetry.SPAN_ATTEMPT,
    telemetry.SPAN_CHECK, telemetry.SPAN_OUTBOX, telemetry.SPAN_INCIDENT,
}  # fmt: skip


async def test_a_storm_with_a_failing_model_loses_nothing_and_each_incident_is_one_trace(tmp_path):
    plan = Plan(seconds=3.0, rate=60.0, incidents_a_second=1.0, model_seconds=2.0, spans=True)
    told = await load(plan, tmp_path)
    totals = told["totals"]
    assert [bar for bar in told["bars"] if not bar["holds"]] == [], totals
    assert totals["deliveries"] == 180
    assert totals["books_calls"] >= 3
    assert set(totals["books_outcomes"]) <= {"malformed", "off", "deadline", "breaker", "rejected"}

    spans = [json.loads(line) for line in (tmp_path / "home" / "spans.jsonl").read_text("utf-8").splitlines()]
    for incident_id in plan.incidents:
        _one_trace(incident_id, spans)
    asked = {header.split("-")[1] for header in totals["model_traces"]}
    assert asked
    assert asked <= {trace_of(incident_id) for incident_id in plan.incidents}, "the endpoint can continue the trace"


def trace_of(incident_id: str) -> str:
    return f"{telemetry.root_of(incident_id)[0]:032x}"


def _one_trace(incident_id: str, spans: list[dict[str, Any]]) -> None:
    """From the webhook, through the durable queue, to the post at Slack: one trace, each span with its parent."""
    ours = [span for span in spans if span["trace_id"] == trace_of(incident_id)]
    names = {span["name"] for span in ours}
    assert names >= WAY, WAY - names
    assert any(name.startswith(f"{telemetry.SPAN_CHAT} ") for name in names)
    known = {span["span_id"] for span in ours}
    assert [span["name"] for span in ours if span["parent_id"] is not None and span["parent_id"] not in known] == []
    steps = {span["attributes"].get(telemetry.STEP) for span in ours if span["name"] == telemetry.SPAN_STEP}
    assert len(steps) >= 5, steps
    door = min(span["start_ns"] for span in ours if span["name"] == telemetry.SPAN_DOOR)
    assert door <= min(span["start_ns"] for span in ours if span["name"] == telemetry.SPAN_OUTBOX)


def test_the_picture_in_the_docs_is_of_a_real_trace():
    picture = pathlib.Path(__file__).resolve().parents[2] / "docs" / "images" / "trace.svg"
    text = picture.read_text(encoding="utf-8")
    for name in WAY:
        assert name in text, name
