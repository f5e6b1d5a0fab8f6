"""Jaeger: traces by service and window, the call graph, and what the same window looked like before.

Reads jaeger-query's HTTP API (`/api/traces`, `/api/dependencies`), whose JSON is Jaeger's UI model: times and
durations in microseconds (dependencies in milliseconds), the parent in `references`, values with or without their
JSON type, `errors` beside `data`. Source: https://www.jaegertracing.io/docs/latest/apis/ and the UI model's fixtures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from integrations.asking import Access, Names, Part, ask_parts, in_a_thread, patience
from integrations.errors import IntegrationError, Unavailable
from integrations.http import Api, Egress, client, parse_json
from integrations.ports import Offload
from integrations.reading import mapping, objects, strings, text, whole
from integrations.records import (
    Baseline,
    Batch,
    Findings,
    LogRecord,
    ModelUse,
    Packed,
    Question,
    Readers,
    ServiceNames,
    Span,
    Window,
)

SERVICES_ASKED = 3
"""The alerting service and its nearest neighbours: their traces hold the spans of what they call."""
CUTS = (timedelta(minutes=6), timedelta(minutes=2), timedelta(0))
"""Where the incident's window is cut, before the trigger: some storages answer the newest traces first, so that one
query over a busy window would see only its last seconds; and the last minutes before the alert say most."""
SERVICES_LISTED = 500
TRACES = 100
"""Traces of one query."""
SPANS = 60_000
"""Spans of one window that are kept."""
AT_ONCE = 4
LOOKBACK = timedelta(hours=1)
ATTRIBUTES = 40
_KEPT = (
    "http.", "url.", "db.", "rpc.", "messaging.", "net.peer.", "server.", "network.peer.", "exception.", "error",
    "otel.status", "peer.service", "code.", "feature_flag.", "k8s.", "service.version",
)  # fmt: skip
_LEVELS = {"fatal": "FATAL", "critical": "FATAL", "error": "ERROR", "warn": "WARN", "warning": "WARN", "info": "INFO",
           "debug": "DEBUG", "trace": "TRACE"}  # fmt: skip


@dataclass
class Read:
    """Spans and log records of one or more answers."""

    spans: dict[tuple[str, str], Span] = field(default_factory=dict)
    logs: list[LogRecord] = field(default_factory=list)
    traces: int = 0
    partial: bool = False
    full: bool = False

    def add(self, other: Read) -> None:
        """Traces that both hold are taken once; beyond the limit nothing is added."""
        new = {key for key in other.spans if key not in self.spans} if len(self.spans) < SPANS else set()
        self.spans.update((key, other.spans[key]) for key in new)
        self.logs += [line for line in other.logs if (line.trace_id, line.span_id) in new]
        self.partial |= other.partial
        self.full |= other.full

    @property
    def edges(self) -> frozenset[tuple[str, str]]:
        """Calls from one service to another that the spans show."""
        found = set()
        for span in self.spans.values():
            parent = self.spans.get((span.trace_id, span.parent_id))
            if parent is not None and parent.service != span.service:
                found.add((parent.service, span.service))
        return frozenset(found)


@dataclass
class ReadPacked:
    """What `read_answers` made of one window's answers: parts of `Packed`, the calls seen, how many spans."""

    spans: list[tuple[str, int, bytes]] = field(default_factory=list)
    logs: list[tuple[str, int, bytes]] = field(default_factory=list)
    edges: frozenset[tuple[str, str]] = frozenset()
    count: int = 0
    partial: bool = False
    full: bool = False
    failed: list[IntegrationError] = field(default_factory=list)


class Jaeger:
    """Spans and span events of the incident's window, healthy windows before it, and observed calls.

    `url` is jaeger-query's address (a base path counts); `link_url` is the address that people open, if another.
    """

    kind = "jaeger"

    def __init__(
        self,
        *,
        url: str,
        egress: Egress,
        access: Access,
        name: str = "jaeger",
        deadline_seconds: float = 3.0,
        token: str | None = None,
        link_url: str | None = None,
    ) -> None:
        self.name = name
        self.deadline_seconds = deadline_seconds
        self._access = access
        self._link = f"{(link_url or url).rstrip('/')}/trace/{{trace_id}}"
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self.offload: Offload = in_a_thread
        """Where answers are read: thousands of spans, which must not keep the event loop. A thread by itself; where
        there is a process for it, that."""
        timeout = 0.9 * deadline_seconds
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._api = Api(
            name,
            client(egress, name, url.rstrip("/") + "/", headers=headers, timeout_seconds=timeout),
            credential=f"SITREP_SOURCE_{name.upper()}_TOKEN",
            address=f"`url` of [sources.{name}]",
            timeout_seconds=timeout,
            answer_limit_bytes=egress.answer_limit_bytes,
        )

    async def aclose(self) -> None:
        await self._api.aclose()

    async def fetch(self, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed when nothing could be read.

        The queries start in order of worth (the incident's window, the hour before, neighbours, the day and the week
        before), and what has come at the deadline is kept.
        """
        names = Names(question.services, "otel")
        until = asyncio.get_running_loop().time() + 0.85 * patience(self, question)
        parts = [Part("traces", self._window(question, names, until))]
        for at, baseline in enumerate(question.baselines):
            back = _in_words(question.window.start - baseline.start)
            slices = _sliced(baseline, [baseline.start + (baseline.end - baseline.start) / 2] if at == 0 else [])
            parts.append(Part(f"traces {back} before", self._baseline(question, baseline, slices, names, until)))
        parts.append(Part("dependencies", self._dependencies(question, names)))
        return await ask_parts(self.name, parts, 0.95 * patience(self, question))

    async def services(self) -> tuple[list[tuple[str, str]], bool]:
        """Every service that has sent spans, by its OpenTelemetry name."""
        data, _ = _enveloped(self.name, await self._api.json("api/services", {}))
        names = sorted(set(strings(data)))
        return [(name, name) for name in names[:SERVICES_LISTED]], len(names) > SERVICES_LISTED

    async def _window(self, question: Question, names: Names, until: float) -> Findings:
        triggered_at = question.incident.triggered_at
        slices = _sliced(question.window, [triggered_at - before for before in CUTS])
        first, *others = question.services[:SERVICES_ASKED] or [None]
        read = await self._read(
            [(first, one) for one in slices if first] + [(one, question.window) for one in others if one], names, until
        )
        notes = []
        if read.partial:
            notes.append(f"{self.name}: traces are partial (some of its answers were errors or late)")
        if not read.count:
            notes.append(f"{self.name}: no traces of {first.name if first else 'any service'} in the window")
        elif read.full:
            notes.append(f"{self.name}: traces are a sample (at most {TRACES} a query)")
        return Findings(
            spans=self._batched(read.spans),
            logs=self._batched(read.logs),
            edges=read.edges,
            edge_readers=self._access.readers,
            notes=tuple(notes),
        )

    async def _baseline(
        self, question: Question, window: Window, slices: Sequence[Window], names: Names, until: float
    ) -> Findings:
        read = await self._read([(one, part) for one in question.services[:1] for part in slices], names, until)
        if not read.count:
            return Findings()
        healthy = Baseline(window, self._batched(read.spans), self._batched(read.logs))
        return Findings(baselines=(healthy,), edges=read.edges, edge_readers=self._access.readers)

    async def _dependencies(self, question: Question, names: Names) -> Findings:
        params = {
            "endTs": int(question.window.end.timestamp() * 1000),
            "lookback": int(LOOKBACK.total_seconds() * 1000),
        }
        data, _ = _enveloped(self.name, await self._api.json("api/dependencies", params))
        edges = set()
        for one in objects(data):
            caller, callee = text(one.get("parent"), 200), text(one.get("child"), 200)
            if caller and callee and caller != callee:
                edges.add((names.ours(caller) or caller, names.ours(callee) or callee))
        return Findings(edges=frozenset(edges), edge_readers=self._access.readers)

    async def _read(self, asked: Sequence[tuple[ServiceNames, Window]], names: Names, until: float) -> ReadPacked:
        """The traces of some services in some windows, as far as they have come by `until` (the loop's time)."""
        tasks = [
            asyncio.create_task(self._query(theirs, window))
            for service, window in asked
            for theirs in names.theirs(service)
        ]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=max(0.0, until - asyncio.get_running_loop().time()))
        finally:
            for task in tasks:
                task.cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        bodies: list[bytes] = []
        failed: list[BaseException] = []
        for answer in answers:
            if isinstance(answer, bytes):
                bodies.append(answer)
            elif isinstance(answer, IntegrationError | asyncio.CancelledError):
                failed.append(answer)
            else:
                raise answer
        read = await self.offload(read_answers, self.name, bodies, names) if bodies else ReadPacked()
        failed += read.failed
        if failed and len(failed) == len(answers):
            late = Unavailable(self.name, f"no answer in {0.85 * self.deadline_seconds:.3g} s")
            raise next((one for one in failed if isinstance(one, IntegrationError)), late)
        read.partial |= bool(failed)
        return read

    async def _query(self, service: str, window: Window) -> bytes:
        params = {
            "service": service,
            "start": int(window.start.timestamp() * 1_000_000),
            "end": int(window.end.timestamp() * 1_000_000),
            "limit": TRACES,
        }
        async with self._at_once:
            return (await self._api.answer("api/traces", params)).body

    def _batched(self, parts: Iterable[tuple[str, int, bytes]]) -> tuple[Batch[Any], ...]:
        """One batch for each rule of who may read: a trace crosses services with different readers."""
        grouped: dict[tuple[Readers, ModelUse], list[tuple[str, int, bytes]]] = {}
        for part in parts:
            grouped.setdefault(self._access.of(part[0]), []).append(part)
        return tuple(
            Batch(self.name, readers, Packed(some), model, self._link) for (readers, model), some in grouped.items()
        )


def read_answers(system: str, bodies: Sequence[bytes], names: Names) -> ReadPacked:
    """All answers of one window as one, packed by service. Pure; what cannot be read is in `failed`."""
    every, failed = Read(), []
    for body in bodies:
        try:
            data, partial = _enveloped(system, parse_json(system, body))
        except IntegrationError as wrong:
            failed.append(wrong)
            continue
        read = read_traces(data, lambda theirs: names.ours(theirs) or theirs)
        read.partial, read.full = partial, read.traces >= TRACES
        every.add(read)
    return ReadPacked(
        Packed.pack(every.spans.values()), Packed.pack(every.logs), every.edges, len(every.spans), every.partial,
        every.full, failed,
    )  # fmt: skip


def _enveloped(system: str, answer: Any) -> tuple[Any, bool]:
    """The data of an answer, and whether errors stand beside it. Errors without data: Unavailable."""
    envelope = mapping(answer)
    data, errors = envelope.get("data"), list(objects(envelope.get("errors")))
    if errors and not data:
        code = whole(errors[0].get("code"))
        raise Unavailable(system, f"answered with an error{f' (code {code})' if code else ''} and no data")
    return data, bool(errors)


def read_traces(data: Any, ours: Callable[[str], str] = str) -> Read:
    """Traces of Jaeger's UI model as spans and log records; what lacks an id, a time or a service is left out.

    `ours` translates a service name. Never raises.
    """
    read = Read()
    for trace in objects(data):
        read.traces += 1
        processes = mapping(trace.get("processes"))
        known: dict[str, tuple[str, str]] = {}
        for raw in objects(trace.get("spans")):
            process_id = text(raw.get("processID"), 100)
            if process_id not in known or not process_id:
                known[process_id] = _process(mapping(processes.get(process_id) or raw.get("process")), ours)
            span = _span(raw, *known[process_id])
            if span is not None and (span.trace_id, span.span_id) not in read.spans:
                read.spans[span.trace_id, span.span_id] = span
                read.logs += _logs(raw, span)
    return read


def _process(process: Mapping[str, Any], ours: Callable[[str], str]) -> tuple[str, str]:
    tags = _tags(process.get("tags"))
    pod = tags.get("k8s.pod.name") or tags.get("host.name") or tags.get("hostname") or ""
    service = text(process.get("serviceName"), 200)
    return (ours(service) if service else ""), pod


def _tags(value: Any) -> dict[str, str]:
    """Key to value as text; booleans are `true` and `false` whether they came typed or as strings."""
    found = {}
    for tag in objects(value, 200):
        key, raw = text(tag.get("key"), 200), tag.get("value")
        if key:
            found[key] = ("true" if raw else "false") if isinstance(raw, bool) else text(raw, 500)
    return found


def _span(raw: Mapping[str, Any], service: str, pod: str) -> Span | None:
    trace_id, span_id = text(raw.get("traceID"), 64).lower(), text(raw.get("spanID"), 64).lower()
    start, duration = whole(raw.get("startTime")), whole(raw.get("duration"))
    if not (trace_id and span_id and service) or start is None or not 0 <= start < 2**62 // 1000:
        return None
    tags = _tags(raw.get("tags"))
    taken = max(0, min(duration or 0, 86_400_000_000))
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=_parent(raw, trace_id),
        service=service,
        name=text(raw.get("operationName"), 300),
        start_ns=start * 1000,
        end_ns=(start + taken) * 1000,
        kind=tags.get("span.kind", "internal").lower() or "internal",
        error=_failed(tags),
        pod=pod,
        attributes=dict([(key, value) for key, value in tags.items() if key.startswith(_KEPT)][:ATTRIBUTES]),
    )


def _parent(raw: Mapping[str, Any], trace_id: str) -> str:
    """The span that this one is a child of, in the same trace; what it follows from where it is no child."""
    follows = ""
    for reference in objects(raw.get("references"), 100):
        if text(reference.get("traceID"), 64).lower() != trace_id:
            continue
        if reference.get("refType") == "CHILD_OF":
            return text(reference.get("spanID"), 64).lower()
        follows = follows or text(reference.get("spanID"), 64).lower()
    return follows or text(raw.get("parentSpanID"), 64).lower()


def _failed(tags: Mapping[str, str]) -> bool:
    if tags.get("error", "").lower() == "true" or tags.get("otel.status_code", "").upper() == "ERROR":
        return True
    status = whole(tags.get("http.response.status_code") or tags.get("http.status_code"))
    return status is not None and 500 <= status < 600


def _logs(raw: Mapping[str, Any], span: Span) -> Iterable[LogRecord]:
    for event in objects(raw.get("logs"), 200):
        at, fields = whole(event.get("timestamp")), _tags(event.get("fields"))
        name = fields.pop("event", "")
        body = fields.pop("message", "") or fields.pop("exception.message", "") or fields.pop("error.object", "")
        kind = fields.pop("exception.type", "")
        told = f"{kind}: {body}" if kind and body else body or kind
        if not told:
            told = " ".join([name, *(f"{key}={value}" for key, value in fields.items() if key != "level")]).strip()
        if at is None or not 0 <= at < 2**62 // 1000 or not told:
            continue
        failed = name in ("error", "exception") or bool(kind)
        level = _LEVELS.get(fields.get("level", "").lower(), "ERROR" if failed else "INFO")
        yield LogRecord(
            at_ns=at * 1000, service=span.service, level=level, body=told[:2000], trace_id=span.trace_id,
            span_id=span.span_id, pod=span.pod,
        )  # fmt: skip


def _sliced(window: Window, cuts: Iterable[datetime]) -> list[Window]:
    """The window cut at those of these moments that lie inside it, the latest part first."""
    edges = [window.start, *sorted(at for at in cuts if window.start < at < window.end), window.end]
    return [Window(start, end) for start, end in pairwise(edges)][::-1]


def _in_words(back: timedelta) -> str:
    hours = back.total_seconds() / 3600
    return {1: "an hour", 24: "a day", 168: "a week"}.get(round(hours), f"{hours:.0f} h")
