"""Traces: one an incident in every process, errors always kept, nothing of the outside world's text in them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from bot import telemetry, tracing
from bot.clock import ManualClock
from bot.tracing import TraceLimits, Traces
from tests.support.ranked import AT

ROOT = Path(__file__).resolve().parent.parent.parent


class Taken:
    """A sink that keeps what it is given."""

    def __init__(self, failing: bool = False) -> None:
        self.spans: list[ReadableSpan] = []
        self.failing = failing

    async def __call__(self, spans: Sequence[ReadableSpan]) -> None:
        if self.failing:
            raise ConnectionError("secret address")
        self.spans += spans

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


def made(share: float = 0.0, failing: bool = False) -> tuple[trace.Tracer, Traces, Taken, ManualClock]:
    clock, taken = ManualClock(AT), Taken(failing)
    traces = Traces(clock, [taken], TraceLimits(share=share, slow_seconds=2.0, rest_seconds=5.0, longest_seconds=60.0))
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(traces)
    return provider.get_tracer("t"), traces, taken, clock


async def later(traces: Traces, clock: ManualClock, seconds: float = 6.0) -> None:
    await traces.send_due()
    clock.advance(seconds)
    await traces.send_due()


async def test_an_ordinary_trace_is_dropped_and_one_with_an_error_is_whole() -> None:
    tracer, traces, taken, clock = made()
    with telemetry.within("P1"), tracer.start_as_current_span("a"):
        pass
    in_b, in_c = tracer.start_as_current_span("b"), tracer.start_as_current_span("c")
    with telemetry.within("P2"), in_b, pytest.raises(ValueError), in_c:
        raise ValueError("the password is hunter2")
    await later(traces, clock)
    assert sorted(taken.names) == ["b", "c", telemetry.SPAN_INCIDENT]


@pytest.mark.parametrize("outcome", ["rejected", "deadline", "wrong_model"])
async def test_a_rejected_answer_is_always_kept(outcome: str) -> None:
    tracer, traces, taken, clock = made()
    with telemetry.within("P1"), tracer.start_as_current_span("check", attributes={telemetry.OUTCOME: outcome}):
        pass
    await later(traces, clock)
    assert "check" in taken.names


async def test_slow_work_is_always_kept() -> None:
    tracer, traces, taken, clock = made()
    with telemetry.within("P1"):
        tracer.start_span("slow", start_time=10**18).end(10**18 + 2 * 10**9)
        tracer.start_span("quick", start_time=10**18).end(10**18 + 10**9)
    await later(traces, clock)
    assert {"slow", "quick"} <= set(taken.names)


async def test_a_share_of_the_others_is_kept_the_same_one_by_every_replica() -> None:
    first, second = [], []
    for found in (first, second):
        tracer, traces, taken, clock = made(share=0.3)
        for number in range(400):
            with telemetry.within(f"P{number}"), tracer.start_as_current_span(f"P{number}"):
                pass
        await later(traces, clock)
        found += [name for name in taken.names if name != telemetry.SPAN_INCIDENT]
    assert first == second
    assert 80 < len(first) < 160


async def test_no_text_of_an_exception_leaves_the_process() -> None:
    tracer, traces, taken, clock = made()
    with telemetry.within("P1"), pytest.raises(ValueError), tracer.start_as_current_span("a"):
        raise ValueError("the password is hunter2")
    await later(traces, clock)
    for span in taken.spans:
        assert "hunter2" not in span.to_json()
        assert not span.events
    assert [span.status.status_code for span in taken.spans if span.name == "a"] == [trace.StatusCode.ERROR]


async def test_a_trace_that_never_rests_is_sent_after_its_longest_time() -> None:
    tracer, traces, taken, clock = made(share=1.0)
    for _ in range(20):
        with telemetry.within("P1"), tracer.start_as_current_span("step"):
            pass
        await traces.send_due()
        clock.advance(4.0)
    assert taken.names.count("step") >= 14
    assert taken.names.count(telemetry.SPAN_INCIDENT) == 1


async def test_what_waits_is_bounded() -> None:
    tracer, traces, taken, _ = made(share=1.0)
    for number in range(tracing.MOST_TRACES + 50):
        with telemetry.within(f"P{number}"), tracer.start_as_current_span("x"):
            pass
    await traces.send_due()
    assert len(traces._waiting) == tracing.MOST_TRACES
    assert taken.names.count("x") == 50


async def test_a_sink_that_fails_loses_spans_and_stops_nothing(caplog) -> None:
    tracer, traces, _, clock = made(share=1.0, failing=True)
    with telemetry.within("P1"), tracer.start_as_current_span("a"):
        pass
    await later(traces, clock)
    assert traces.lost == 2
    assert "secret address" not in caplog.text


def test_an_incident_has_the_same_trace_in_every_process() -> None:
    code = "from bot.telemetry import root_of; print(*root_of('P8K2Q1'))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert tuple(map(int, told.split())) == telemetry.root_of("P8K2Q1")
    assert telemetry.root_of("P8K2Q1") != telemetry.root_of("P8K2Q2")


async def test_a_span_inside_another_stays_its_child() -> None:
    tracer, traces, taken, clock = made(share=1.0)
    with telemetry.within("P1"), tracer.start_as_current_span("outer"), telemetry.within("P2"):
        tracer.start_span("inner").end()
    await later(traces, clock)
    by_name = {span.name: span for span in taken.spans}
    assert by_name["inner"].parent.span_id == by_name["outer"].context.span_id
    root = by_name[telemetry.SPAN_INCIDENT]
    assert by_name["outer"].parent.span_id == root.context.span_id
    assert root.parent is None
    assert (root.context.trace_id, root.context.span_id) == telemetry.root_of("P1")


async def test_the_file_has_one_span_a_line_and_can_be_drawn(tmp_path) -> None:
    path = tmp_path / "spans.jsonl"
    clock = ManualClock(AT)
    traces = Traces(clock, [tracing.to_file(path)], TraceLimits(share=1.0))
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(traces)
    tracer = provider.get_tracer("t")
    step = tracer.start_as_current_span(telemetry.SPAN_STEP, attributes={telemetry.STEP: "infer"})
    with telemetry.within("P1"), step:
        tracer.start_span("chat <m>", attributes={telemetry.MODEL: "m"}).end()
    await traces.aclose()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row["name"] for row in rows} == {telemetry.SPAN_STEP, "chat <m>", telemetry.SPAN_INCIDENT}
    picture = tmp_path / "trace.svg"
    subprocess.run([sys.executable, "tools/draw_trace.py", str(path), str(picture)], cwd=ROOT, check=True)
    drawn = picture.read_text(encoding="utf-8")
    assert "infer" in drawn
    assert "chat &lt;m&gt;" in drawn
