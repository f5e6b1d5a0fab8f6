"""One window's spans and log records as a forest of calls with the events of each call.

An operation is a service and a span name; its context adds the operation that called it. The events of a call are
what it did: the calls it made, the log templates it wrote (joined by span id; a line that names only its trace belongs
to the span in which the trace entered the service), and `error` when its status says so. Log records without either
are counted in five-second buckets of their service.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bot.ranking.causes import Origin
from bot.ranking.templates import Templates
from integrations.records import Batch, LogRecord, Span

Operation = tuple[str, str]
"""Service and span name."""
Context = tuple[Operation | None, Operation]
"""The calling operation, if its span is known, and the operation."""
Event = tuple[str, ...]
"""`("call", service, span name)`, `("log", level, template)` or `("error",)`."""
ERROR: Event = ("error",)
MAX_DEPTH = 256
BUCKET_NS = 5_000_000_000


@dataclass(slots=True)
class Calls:
    """The forest of one window. Lists are parallel: position i is one span."""

    spans: list[Span] = field(default_factory=list)
    parent: list[int] = field(default_factory=list)
    children: list[list[int]] = field(default_factory=list)
    contexts: list[Context] = field(default_factory=list)
    events: list[dict[Event, int]] = field(default_factory=list)
    loose: dict[str, dict[int, dict[Event, int]]] = field(default_factory=dict)
    """Service to five-second bucket to events, for log records without a span."""
    span_origins: dict[str, set[Origin]] = field(default_factory=dict)
    log_origins: dict[str, set[Origin]] = field(default_factory=dict)
    logs: int = 0

    @property
    def operations(self) -> Iterable[Operation]:
        return (one[1] for one in self.contexts)

    def bottom_up(self) -> list[int]:
        """Positions so that children come before parents; spans in a cycle of parents are left out."""
        order = [i for i, parent in enumerate(self.parent) if parent < 0]
        for i in order:
            order.extend(self.children[i])
        order.reverse()
        return order

    def request_start_ns(self, position: int) -> int:
        """When the first known span above this one began, up to a depth that no real request has."""
        at = position
        for _ in range(MAX_DEPTH):
            if self.parent[at] < 0:
                break
            at = self.parent[at]
        return min(self.spans[at].start_ns, self.spans[position].start_ns)

    def edges(self) -> frozenset[tuple[str, str]]:
        """Observed calls between services: caller and callee."""
        spans = self.spans
        return frozenset(
            (spans[parent].service, spans[i].service)
            for i, parent in enumerate(self.parent)
            if parent >= 0 and spans[parent].service != spans[i].service
        )


def origin_of(batch: Batch[Span] | Batch[LogRecord]) -> Origin:
    return Origin(batch.source, batch.readers, batch.model, batch.url)


def read_calls(
    spans: Sequence[Batch[Span]], logs: Sequence[Batch[LogRecord]], templates: Templates | None = None
) -> Calls:
    """Builds the forest. A span that two sources deliver counts once."""
    calls = Calls()
    position = _add_spans(calls, spans)
    _link(calls, position)
    _add_logs(calls, logs, position, templates or Templates())
    return calls


def _add_spans(calls: Calls, batches: Sequence[Batch[Span]]) -> dict[str, int]:
    position: dict[str, int] = {}
    for batch in batches:
        origin = origin_of(batch)
        services = set()
        for span in batch.records:
            if span.span_id in position:
                continue
            position[span.span_id] = len(calls.spans)
            calls.spans.append(span)
            services.add(span.service)
        for service in services:
            calls.span_origins.setdefault(service, set()).add(origin)
    return position


def _link(calls: Calls, position: dict[str, int]) -> None:
    operations: dict[Operation, Operation] = {}
    own: list[Operation] = []
    for i, span in enumerate(calls.spans):
        parent = position.get(span.parent_id, -1) if span.parent_id else -1
        calls.parent.append(-1 if parent == i else parent)
        operation = (span.service, span.name)
        own.append(operations.setdefault(operation, operation))
        calls.children.append([])
        calls.events.append({ERROR: 1} if span.error else {})
    contexts: dict[Context, Context] = {}
    call_events: dict[Operation, Event] = {}
    for i, parent in enumerate(calls.parent):
        operation = own[i]
        context: Context = (own[parent] if parent >= 0 else None, operation)
        calls.contexts.append(contexts.setdefault(context, context))
        if parent >= 0:
            calls.children[parent].append(i)
            event = call_events.get(operation)
            if event is None:
                event = call_events[operation] = ("call", *operation)
            events = calls.events[parent]
            events[event] = events.get(event, 0) + 1


def _entries(calls: Calls) -> dict[tuple[str, str], int]:
    """Trace and service to the span in which the trace first entered the service."""
    first: dict[tuple[str, str], int] = {}
    for i, span in enumerate(calls.spans):
        key = (span.trace_id, span.service)
        if key not in first or span.start_ns < calls.spans[first[key]].start_ns:
            first[key] = i
    return first


def _add_logs(
    calls: Calls, batches: Sequence[Batch[LogRecord]], position: dict[str, int], templates: Templates
) -> None:
    known: dict[tuple[str, str], Event] = {}
    entries: dict[tuple[str, str], int] | None = None
    for batch in batches:
        origin = origin_of(batch)
        services = set()
        for record in batch.records:
            services.add(record.service)
            calls.logs += 1
            key = (record.level, record.body)
            event = known.get(key)
            if event is None:
                event = known[key] = ("log", record.level, templates.of(record.body))
            i = position.get(record.span_id, -1) if record.span_id else -1
            if i < 0 and record.trace_id:
                entries = entries if entries is not None else _entries(calls)
                i = entries.get((record.trace_id, record.service), -1)
            if i >= 0:
                events = calls.events[i]
            else:
                buckets = calls.loose.setdefault(record.service, {})
                events = buckets.setdefault(record.at_ns // BUCKET_NS, {})
            events[event] = events.get(event, 0) + 1
        for service in services:
            calls.log_origins.setdefault(service, set()).add(origin)
