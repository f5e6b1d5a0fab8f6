"""Which part of a long window to look at: the minutes around the alert, not the healthy ones before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from bot.ranking.weights import WindowWeights
from integrations.records import Baseline, Batch, LogRecord, Span, Telemetry, Window

T = TypeVar("T", Span, LogRecord)


def looks_at(telemetry: Telemetry, alerted_at: datetime, weights: WindowWeights) -> list[Telemetry]:
    """The telemetry from `focus_minutes` before the alert on, then from half as long before, down to
    `shortest_minutes`: the longest first, without those that would be the whole window again."""
    looks = [focused(telemetry, alerted_at, weights.focus_minutes)]
    minutes = weights.focus_minutes / 2
    while minutes >= max(weights.shortest_minutes, 0.25):
        looked = focused(telemetry, alerted_at, minutes)
        if looked is not telemetry:
            looks.append(looked)
        minutes /= 2
    return looks


def focused(telemetry: Telemetry, alerted_at: datetime, minutes: float) -> Telemetry:
    """The same telemetry from `minutes` before the alert on; a shorter window is left as it is.

    Whole traces are kept or left out. What came before the cut becomes the healthy window where no other one is
    known: better the quarter of an hour before than nothing.
    """
    cut_at = alerted_at - timedelta(minutes=minutes)
    window = telemetry.window
    if cut_at <= window.start or cut_at >= window.end:
        return telemetry
    late, before = split(telemetry, cut_at)
    if any(batch.records for one in telemetry.baselines for batch in one.spans):
        return late
    return replace(late, baselines=(*telemetry.baselines, before))


def split(telemetry: Telemetry, cut_at: datetime) -> tuple[Telemetry, Baseline]:
    """What began after a moment, and the spans and log records of what began before it."""
    window = telemetry.window
    cut_ns = int(cut_at.timestamp() * 1e9)
    began = _trace_starts(telemetry.spans)

    def span_is_late(span: Span) -> bool:
        return began.get(span.trace_id, span.start_ns) >= cut_ns

    def log_is_late(record: LogRecord) -> bool:
        return (began.get(record.trace_id, record.at_ns) if record.trace_id else record.at_ns) >= cut_ns

    spans, spans_before = _parted(telemetry.spans, span_is_late)
    logs, logs_before = _parted(telemetry.logs, log_is_late)
    late = replace(telemetry, window=Window(cut_at, window.end), spans=spans, logs=logs)
    return late, Baseline(Window(window.start, cut_at), spans_before, logs_before)


def _trace_starts(batches: Iterable[Batch[Span]]) -> dict[str, int]:
    began: dict[str, int] = {}
    for batch in batches:
        for span in batch.records:
            if span.trace_id and span.start_ns < began.get(span.trace_id, span.start_ns + 1):
                began[span.trace_id] = span.start_ns
    return began


def _parted(
    batches: Iterable[Batch[T]], is_late: Callable[[T], bool]
) -> tuple[tuple[Batch[T], ...], tuple[Batch[T], ...]]:
    late, early = [], []
    for batch in batches:
        flags = [is_late(one) for one in batch.records]
        late.append(replace(batch, records=[one for one, flag in zip(batch.records, flags, strict=True) if flag]))
        early.append(replace(batch, records=[one for one, flag in zip(batch.records, flags, strict=True) if not flag]))
    return tuple(late), tuple(early)
