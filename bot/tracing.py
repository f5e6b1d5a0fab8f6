"""Traces out: which are kept, and where they go. Built by wiring only when a collector or a file is configured.

Sampling is decided when a trace has rested for a while, not when it begins: errors, rejected answers and slow work are
always kept, of the others a share. Everything is bounded: spans that wait, traces that wait, time that they wait.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from bot import telemetry
from bot.clock import Clock

log = logging.getLogger(__name__)

MOST_WAITING_SPANS = 20_000
MOST_TRACES = 2_000
KEPT_REMEMBERED = 5_000
_FAILED = frozenset({"rejected", "malformed", "wrong_model", "deadline", "breaker", "truncated", "model_refused"})


@dataclass(frozen=True, slots=True)
class TraceLimits:
    """A trace is sent when nothing came for `rest_seconds`, or after `longest_seconds`; of the dull ones a `share`."""

    share: float = 0.1
    slow_seconds: float = 10.0
    rest_seconds: float = 5.0
    longest_seconds: float = 60.0


SpanSink = Callable[[Sequence[ReadableSpan]], Awaitable[None]]
"""Where spans go; raises for a failure, which loses them: a trace is no record."""


@dataclass(slots=True)
class _Waiting:
    first: float
    last: float
    spans: list[ReadableSpan] = field(default_factory=list)


class Traces(SpanProcessor):
    """Collects ended spans by trace, decides, and hands whole traces to the sinks. `run` is its loop."""

    def __init__(self, clock: Clock, sinks: Sequence[SpanSink], limits: TraceLimits | None = None) -> None:
        self._clock = clock
        self._sinks = sinks
        self._limits = limits or TraceLimits()
        self._ended: deque[ReadableSpan] = deque(maxlen=MOST_WAITING_SPANS)
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._kept: OrderedDict[int, None] = OrderedDict()
        self.lost = 0
        """Spans that no sink took."""

    def on_end(self, span: ReadableSpan) -> None:
        """Called in whichever thread a span ends; must not wait.

        Events and the words of a status are dropped: the SDK puts an exception's text there, which may be outside text.
        """
        self._ended.append(
            ReadableSpan(
                name=span.name,
                context=span.context,
                parent=span.parent,
                resource=span.resource,
                attributes=span.attributes,
                kind=span.kind,
                instrumentation_scope=span.instrumentation_scope,
                status=trace.Status(span.status.status_code),
                start_time=span.start_time,
                end_time=span.end_time,
            )
        )

    def shutdown(self) -> None:
        """Nothing here: `aclose` sends what waits."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True

    async def run(self) -> None:
        while True:
            await self._clock.sleep(1.0)
            await self.send_due()

    async def aclose(self) -> None:
        """Decide about everything that waits."""
        await self.send_due(everything=True)

    async def send_due(self, *, everything: bool = False) -> None:
        """Sort what has ended, and send the traces whose time has come."""
        now = self._clock.monotonic()
        while self._ended:
            span = self._ended.popleft()
            waiting = self._waiting.setdefault(span.context.trace_id, _Waiting(now, now))
            waiting.spans.append(span)
            waiting.last = now
        limits = self._limits
        due = [
            trace_id
            for trace_id, waiting in self._waiting.items()
            if everything or now - waiting.last >= limits.rest_seconds or now - waiting.first >= limits.longest_seconds
        ]
        due += list(self._waiting)[: max(len(self._waiting) - MOST_TRACES, 0)]
        chosen: list[ReadableSpan] = []
        for trace_id in dict.fromkeys(due):
            spans = self._waiting.pop(trace_id).spans
            if trace_id in self._kept or self._keep(trace_id, spans):
                chosen += self._whole(trace_id, spans)
        if chosen:
            await self._send(chosen)

    def _keep(self, trace_id: int, spans: Sequence[ReadableSpan]) -> bool:
        """Whatever failed, was rejected or slow; of the rest a share, by the trace's own id: all replicas agree."""
        return trace_id % 10_000 < self._limits.share * 10_000 or any(self._matters(span) for span in spans)

    def _matters(self, span: ReadableSpan) -> bool:
        if span.status.status_code is trace.StatusCode.ERROR:
            return True
        seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
        return seconds >= self._limits.slow_seconds or (span.attributes or {}).get(telemetry.OUTCOME) in _FAILED

    def _whole(self, trace_id: int, spans: list[ReadableSpan]) -> list[ReadableSpan]:
        """The spans, and the first time the root that they point to: no process lives as long as an incident."""
        known = {span.context.span_id for span in spans}
        missing = {span.parent.span_id for span in spans if span.parent and span.parent.is_remote} - known
        first_time = trace_id not in self._kept
        self._kept[trace_id] = None
        self._kept.move_to_end(trace_id)
        while len(self._kept) > KEPT_REMEMBERED:
            self._kept.popitem(last=False)
        if not first_time:
            return spans
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        return spans + [
            ReadableSpan(
                name=telemetry.SPAN_INCIDENT,
                context=trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags),
                resource=spans[0].resource,
                instrumentation_scope=spans[0].instrumentation_scope,
                start_time=min(span.start_time or 0 for span in spans),
                end_time=max(span.end_time or 0 for span in spans),
            )
            for span_id in sorted(missing)
        ]

    async def _send(self, spans: Sequence[ReadableSpan]) -> None:
        for sink in self._sinks:
            try:
                await sink(spans)
            except Exception as failed:  # noqa: BLE001 - a sink is the outside; a lost trace must not stop a triage
                self.lost += len(spans)
                log.warning("%d spans were not taken: %s", len(spans), type(failed).__name__)


def install(clock: Clock, sinks: Sequence[SpanSink], limits: TraceLimits, version: str) -> Traces:
    """Make every tracer of this process send here. Nothing is read from OTEL_* variables."""
    traces = Traces(clock, sinks, limits)
    resource = Resource({"service.name": "sitrep", "service.version": version})
    provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(traces)
    trace.set_tracer_provider(provider)
    return traces


def to_file(path: Path) -> SpanSink:
    """A sink that appends one JSON object a span; `tools/draw_trace.py` draws it."""

    def write(lines: str) -> None:
        # Made with mode 0600: ids and durations tell what an organisation does.
        with open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(lines)

    async def sink(spans: Sequence[ReadableSpan]) -> None:
        lines = "".join(json.dumps(_plain(span), ensure_ascii=False) + "\n" for span in spans)
        await asyncio.to_thread(write, lines)

    return sink


def _plain(span: ReadableSpan) -> dict[str, object]:
    return {
        "trace_id": f"{span.context.trace_id:032x}",
        "span_id": f"{span.context.span_id:016x}",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "name": span.name,
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "error": span.status.status_code is trace.StatusCode.ERROR,
        "attributes": dict(span.attributes or {}),
    }
