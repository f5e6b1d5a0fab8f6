"""What a bundle's systems measured: spans, log records and metrics, with the healthy minutes beside."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from integrations import otlp
from integrations.bundle.documents import SYSTEM, document, present, texts
from integrations.errors import Malformed, Unavailable
from integrations.records import Baseline, Batch, Findings, LogRecord, Series, Span, Window

if TYPE_CHECKING:
    from integrations.bundle import Bundle

MAX_POINTS = 2_000_000
T = TypeVar("T", Span, LogRecord, Series)


def fetch_traces(bundle: Bundle) -> Findings:
    spans = _batches(bundle, "traces", otlp.read_traces(present(bundle.folder / "traces.jsonl.gz")))
    edges = observed_edges(one for batch in spans for one in batch.records)
    baselines, notes = [], []
    for path in bundle.baselines:
        found = path.with_name(path.name + ".traces.jsonl.gz")
        try:
            records = _shelved(bundle.shelf.spans if bundle.shelf else None, found, otlp.read_traces)
        except (Unavailable, Malformed) as failed:
            notes.append(f"baseline {path.name}: {failed.message}")
            continue
        edges |= observed_edges(records)
        window = _window_of([one.start_ns for one in records], [one.end_ns for one in records], bundle)
        baselines.append(Baseline(window, spans=_batches(bundle, "traces", records)))
    narrowed = frozenset(bundle.audience.readers if bundle.audience else ())
    return Findings(
        spans=spans,
        edges=frozenset(edge for edge in edges if not narrowed.intersection(edge)),
        edge_readers=bundle.readers("traces", "trace"),
        baselines=tuple(baselines),
        notes=tuple(notes),
    )


def fetch_logs(bundle: Bundle) -> Findings:
    logs = _batches(bundle, "logs", otlp.read_logs(present(bundle.folder / "logs.jsonl.gz")))
    baselines, notes = [], []
    for path in bundle.baselines:
        found = path.with_name(path.name + ".logs.jsonl.gz")
        try:
            records = _shelved(bundle.shelf.logs if bundle.shelf else None, found, otlp.read_logs)
        except (Unavailable, Malformed) as failed:
            notes.append(f"baseline {path.name}: {failed.message}")
            continue
        times = [one.at_ns for one in records]
        baselines.append(Baseline(_window_of(times, times, bundle), logs=_batches(bundle, "logs", records)))
    return Findings(logs=logs, baselines=tuple(baselines), notes=tuple(notes))


def fetch_metrics(bundle: Bundle) -> Findings:
    path = present(bundle.folder / "metrics.json.gz")
    payload = document(path)
    data = payload.get("data") if isinstance(payload, Mapping) else None
    result = data.get("result") if isinstance(data, Mapping) else None
    if not isinstance(result, list):
        raise Malformed(SYSTEM, "metrics.json.gz has no data.result; a Prometheus query_range answer is expected")
    series, points = [], 0
    for entry in result:
        one = _series(entry)
        points += len(one.times)
        if points > MAX_POINTS:
            raise Malformed(SYSTEM, f"metrics.json.gz holds more than {MAX_POINTS} points")
        series.append(one)
    return Findings(series=_batches(bundle, "metrics", series))


def _series(entry: Any) -> Series:
    metric = entry.get("metric") if isinstance(entry, Mapping) else None
    values = entry.get("values") if isinstance(entry, Mapping) else None
    if not isinstance(metric, Mapping) or not isinstance(values, list):
        raise Malformed(SYSTEM, "metrics.json.gz: a series has no metric or no values; a matrix is expected")
    times, numbers = [], []
    for point in values:
        try:
            at, value = float(point[0]), float(point[1])
        except (TypeError, ValueError, IndexError, KeyError):
            raise Malformed(SYSTEM, f"metrics.json.gz: {str(point)[:60]!r} is not a point") from None
        if math.isfinite(at) and math.isfinite(value):
            times.append(at)
            numbers.append(value)
    labels = texts(metric)
    name, unit = metric_words(labels.pop("__name__", "metric"))
    service = labels.pop("service", None) or labels.get("job") or otlp.UNKNOWN
    return Series(name, service, times, numbers, unit=unit, pod=labels.pop("pod", ""), labels=labels)


def metric_words(name: str) -> tuple[str, str]:
    """What a metric measures as a responder says it, and its unit, from Prometheus' naming convention."""
    unit = ""
    for suffix, word in (("_percent", "percent"), ("_ratio", "ratio"), ("_per_second", "per_second"),
                         ("_seconds", "seconds"), ("_bytes", "bytes")):  # fmt: skip
        if name.endswith(suffix):
            name, unit = name.removesuffix(suffix), word
            break
    short = name.removeprefix("pod_").removeprefix("container_").removesuffix("_usage")
    return {"requests": "request_rate"}.get(short, short), unit


def observed_edges(spans: Iterable[Span]) -> frozenset[tuple[str, str]]:
    """The calls between services that spans show: caller and callee."""
    listed = list(spans)
    service = {one.span_id: one.service for one in listed}
    return frozenset(
        (caller, one.service)
        for one in listed
        if (caller := service.get(one.parent_id)) is not None and caller != one.service
    )


def _batches(bundle: Bundle, source: str, records: Sequence[T]) -> tuple[Batch[T], ...]:
    """One batch, or one a service where the audience file narrows services."""
    narrowed = bundle.audience.readers if bundle.audience else {}
    apart: dict[str, list[T]] = {}
    for one in records:
        apart.setdefault(one.service if one.service in narrowed else "", []).append(one)
    return tuple(
        Batch(source=source, readers=bundle.readers(source, source.removesuffix("s"), service), records=tuple(found))
        for service, found in sorted(apart.items())
    )


def _window_of(starts: Sequence[int], ends: Sequence[int], bundle: Bundle) -> Window:
    known = [one for one in starts if one]
    if not known:
        at = bundle.incident.triggered_at
        return Window(at - timedelta(minutes=1), at)
    start, end = min(known), max(max(ends), max(known))
    return Window(datetime.fromtimestamp(start / 1e9, UTC), datetime.fromtimestamp((end + 1) / 1e9, UTC))


def _shelved(
    shelf: dict[pathlib.Path, list[T]] | None, path: pathlib.Path, read: Callable[[pathlib.Path], list[T]]
) -> list[T]:
    if shelf is None:
        return read(present(path))
    if path not in shelf:
        shelf[path] = read(present(path))
    return shelf[path]
