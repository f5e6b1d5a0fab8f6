"""What `rank` lets out to be drawn: a few traces as waterfalls, a few metrics as curves. Pure, redacted, bounded.

A drawing belongs to an evidence item, and carries the readers of every batch that it was taken from, so that a refresh
for a narrower audience can drop it (`permit_ranked`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from bot.ranking.causes import Finding
from bot.ranking.metrics import FALLING_IS_BAD
from bot.ranking.signs import series_key
from bot.types import Plot, SpanBar, Waterfall
from integrations.records import Batch, Readers, Series, Span, Telemetry, Window

MAX_DRAWN_BYTES = 16 * 1024
"""JSON of all drawings together."""
MAX_WATERFALLS = 2
MAX_BARS = 14
MAX_PLOTS = 4
MAX_POINTS = 48
MAX_NAME = 80
MAX_CALLERS = 64
"""Callers above a span that are looked at; a cycle of parents ends here too."""
BEFORE_SECONDS = 1800.0
"""How much of the time before the incident's window a curve shows."""


def drawings(telemetry: Telemetry, findings: Mapping[str, Finding]) -> tuple[tuple[Waterfall, ...], tuple[Plot, ...]]:
    """Of the findings by their marks, in the order in which they were kept: the first that can be drawn."""
    left = MAX_DRAWN_BYTES
    wanted = [(mark, one.trace_id) for mark, one in findings.items() if one.kind in ("trace", "log") and one.trace_id]
    by_trace = _spans_of(telemetry.spans, {trace_id for _, trace_id in wanted})
    waterfalls: list[Waterfall] = []
    for mark, trace_id in wanted:
        if len(waterfalls) == MAX_WATERFALLS or any(one.trace_id == trace_id for one in waterfalls):
            continue
        drawn = waterfall(mark, trace_id, by_trace.get(trace_id, ()))
        size = len(drawn.model_dump_json().encode()) if drawn is not None else 0
        if drawn is not None and size <= left:
            waterfalls.append(drawn)
            left -= size
    plots: list[Plot] = []
    for mark, finding in findings.items():
        if finding.kind != "metric" or len(plots) == MAX_PLOTS:
            continue
        curve = _plot_of(mark, finding, telemetry)
        size = len(curve.model_dump_json().encode()) if curve is not None else 0
        if curve is not None and size <= left:
            plots.append(curve)
            left -= size
    return tuple(waterfalls), tuple(plots)


Spans = Sequence[tuple[Span, Readers]]
"""Spans of one trace with the readers of the batch that each came in."""


def _spans_of(batches: Iterable[Batch[Span]], trace_ids: set[str]) -> dict[str, list[tuple[Span, Readers]]]:
    """One pass over all spans; a span that two sources deliver counts once."""
    found: dict[str, list[tuple[Span, Readers]]] = {one: [] for one in trace_ids}
    seen: set[str] = set()
    for batch in batches:
        for span in batch.records:
            if span.trace_id in found and span.span_id not in seen:
                seen.add(span.span_id)
                found[span.trace_id].append((span, batch.readers))
    return found


def waterfall(mark: str, trace_id: str, spans: Spans) -> Waterfall | None:
    """The calls that failed and those in which most time was spent, with their callers; None without a span."""
    if not spans:
        return None
    by_id = {span.span_id: span for span, _ in spans}
    start = min(span.start_ns for span, _ in spans)
    end = max(span.end_ns for span, _ in spans)
    kept: set[str] = set()
    own = _own_ns(spans, by_id)
    for span, _ in sorted(spans, key=lambda one: (not one[0].error, -own[one[0].span_id], one[0].span_id)):
        chain = [one.span_id for one in (span, *_callers(span, by_id)) if one.span_id not in kept]
        if len(kept) + len(chain) <= MAX_BARS:
            kept.update(chain)
    readers = Readers(sets=frozenset().union(*(readers.sets for span, readers in spans if span.span_id in kept)))
    bars = []
    for span in _in_order(spans, kept, by_id):
        bars.append(
            SpanBar(
                service=span.service[:MAX_NAME],
                name=span.name[:MAX_NAME],
                depth=sum(one.span_id in kept for one in _callers(span, by_id)),
                start_ms=round((span.start_ns - start) / 1e6, 3),
                duration_ms=round(max(0, span.end_ns - span.start_ns) / 1e6, 3),
                failed=span.error,
            )
        )
    return Waterfall(
        mark=mark, trace_id=trace_id[:MAX_NAME], total_ms=round((end - start) / 1e6, 3), spans=len(spans),
        bars=tuple(bars), readers=readers,
    ) if bars else None  # fmt: skip


def _own_ns(spans: Spans, by_id: Mapping[str, Span]) -> dict[str, int]:
    """Of each call the time that none of its own calls took; calls that ran at once are counted one by one."""
    own = {span.span_id: span.end_ns - span.start_ns for span, _ in spans}
    for span, _ in spans:
        if span.parent_id in by_id and span.parent_id != span.span_id:
            own[span.parent_id] -= span.end_ns - span.start_ns
    return own


def _callers(span: Span, by_id: Mapping[str, Span]) -> list[Span]:
    """The known spans above one, the nearest first."""
    found: list[Span] = []
    seen = {span.span_id}
    while len(found) < MAX_CALLERS:
        above = by_id.get(span.parent_id)
        if above is None or above.span_id in seen:
            break
        seen.add(above.span_id)
        found.append(above)
        span = above
    return found


def _in_order(spans: Spans, kept: set[str], by_id: Mapping[str, Span]) -> Iterable[Span]:
    """Each call under its caller, callees by their start."""

    def place(span: Span) -> tuple[tuple[int, str], ...]:
        return tuple((one.start_ns, one.span_id) for one in (*reversed(_callers(span, by_id)), span))

    return sorted((span for span, _ in spans if span.span_id in kept), key=place)


def _plot_of(mark: str, finding: Finding, telemetry: Telemetry) -> Plot | None:
    sources = {origin.source for origin in finding.origins}
    for batch in telemetry.series:
        if batch.source not in sources:
            continue
        for series in batch.records:
            if series_key(series.service, series.name, series.pod) == finding.key:
                window = Window(telemetry.window.start, max(telemetry.window.end, finding.seen_at))
                return plot(mark, series, window, batch.readers)
    return None


def plot(mark: str, series: Series, window: Window, readers: Readers) -> Plot | None:
    """The incident's window and half an hour before it in at most `MAX_POINTS` points, each the worst of its share
    of the time; None without two of them."""
    known = sorted(
        (at, value)
        for at, value in zip(series.times, series.values, strict=False)
        if math.isfinite(at) and math.isfinite(value)
    )
    start, end = window.start.timestamp(), window.end.timestamp()
    before = [value for at, value in known if at < start]
    shown = [(at, value) for at, value in known if start - BEFORE_SECONDS <= at <= end + 1]
    worst = min if series.name in FALLING_IS_BAD else max
    if len(shown) > MAX_POINTS:
        step = (shown[-1][0] - shown[0][0]) / MAX_POINTS or 1.0
        shares: dict[int, list[tuple[float, float]]] = {}
        for at, value in shown:
            shares.setdefault(min(MAX_POINTS - 1, int((at - shown[0][0]) / step)), []).append((at, value))
        shown = [worst(share, key=lambda one: one[1]) for share in shares.values()]
    if len(shown) < 2:
        return None
    return Plot(
        mark=mark,
        name=series.name[:MAX_NAME],
        service=series.service[:MAX_NAME],
        unit=series.unit,
        usual=_short(float(median(before))) if before else None,
        points=tuple((round(at, 1), _short(value)) for at, value in shown),
        readers=readers,
    )


def _short(value: float) -> float:
    """Five digits: no picture shows more."""
    return float(f"{value:.5g}")
