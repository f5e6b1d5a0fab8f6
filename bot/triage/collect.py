"""The room `collect`: what the sources of one incident answered, before anybody asked who may read it.

All sources are asked at once, each with its own deadline and its own circuit. A source that is late, down or refuses
becomes a line on the card, never a failed triage.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from bot import telemetry as names
from bot.clock import Clock
from bot.types import SourceStatus
from integrations.errors import Denied, IntegrationError, NotIncluded, Unavailable
from integrations.ports import Source
from integrations.records import (
    Baseline,
    Batch,
    ChangeEvent,
    Evidence,
    Findings,
    Incident,
    LogRecord,
    Question,
    Readers,
    Series,
    ServiceNames,
    Span,
    Telemetry,
    Window,
    services_in,
)

log = logging.getLogger(__name__)

Edge = tuple[str, str]
"""One call: caller and callee, in our names."""

AGAIN_AFTER_SECONDS = 5.0
"""Between the two attempts at a source that had failed the first time round."""
LOOK_BACK = timedelta(minutes=15)
"""Telemetry of the incident: from this long before the trigger …"""
LOOK_AHEAD = timedelta(minutes=2)
"""… to this long after it, or now."""
CHANGES_BACK = timedelta(hours=24)
HEALTHY = (timedelta(hours=1), timedelta(days=1), timedelta(days=7))
"""How much earlier the same window is taken as what "normal" looks like."""
COMMIT_KEY = 4
"""Characters of a commit that two systems at least agree in: one shortens it, no one to less."""
CIRCUIT_FAILURES = 5
CIRCUIT_SECONDS = 30.0

_Record = TypeVar("_Record", Span, LogRecord, Series)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What collect, permit and redact hand on; each of the three has a type of its own, so that none can be skipped."""

    incident: Incident
    telemetry: Telemetry
    """Spans, log records, series and changes of the question's window (`telemetry.window`), and the baselines."""
    collected_at: datetime
    evidence: tuple[Evidence, ...] = ()
    """Citable text: alerts, runbooks, past incidents, … Changes may be among it; `rank` adds those that are not."""
    edges: frozenset[Edge] = frozenset()
    """The call graph, observed or declared. `permit` makes it from `Collected.edge_batches`, and from nothing else."""
    sources: tuple[SourceStatus, ...] = ()
    on_call: str | None = None
    """Role or team, never a person's name."""
    owner: str | None = None
    alerts_in_storm: int = 1
    not_mapped: tuple[str, ...] = ()
    """Service names that no `[services]` entry knows."""
    alerting: str | None = field(default=None)
    """The service that alerts, in our name; None: the incident's own."""

    @property
    def alerting_service(self) -> str | None:
        return self.alerting or self.incident.service


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected(Material):
    """Everything the sources answered. May hold what the audience may not read, and secrets."""

    alert_readers: Readers = field(default_factory=Readers.nobody)
    """Who may read the incident itself (its source's readers, narrowed by the service's): the card depends on them."""
    edge_batches: tuple[Batch[Edge], ...] = ()
    """Calls with the readers of the source that saw them; an edge that two sources saw needs only one of them."""


@dataclass(slots=True)
class _Circuit:
    """Open after five failures in a row: for 30 s the source is not asked, then once."""

    failures: int = 0
    open_until: float = 0.0


class Collector:
    """Asks every source about one incident."""

    def __init__(
        self,
        sources: Sequence[Source],
        clock: Clock,
        *,
        services: Mapping[str, ServiceNames],
        owner: Callable[[str | None], str | None],
        alert_readers: Callable[[Incident], Readers],
        declared_edges: Sequence[Batch[Edge]] = (),
    ) -> None:
        """`alert_readers`: the incident source's readers, narrowed by those of the service."""
        self._sources = tuple(sources)
        self._clock = clock
        self._services = services
        self._owner = owner
        self._declared = tuple(declared_edges)
        self.alert_readers = alert_readers
        self._circuits = {source.name: _Circuit() for source in self._sources}
        self._ours = {other: name for name, one in services.items() for other in (*one.otel, name)}

    async def collect(
        self,
        incident: Incident,
        learnt: Sequence[Batch[Edge]] = (),
        *,
        deadline_seconds: float | None = None,
        question: Question | None = None,
    ) -> Collected:
        """`learnt` is the call graph so far, each part with who may read it: it decides whom the sources are asked
        about, and reaches the card only through `permit`. With `deadline_seconds` each source has at least that long.
        A recorded incident brings its own `question`.
        """
        now = self._clock.now()
        known = (*learnt, *self._declared)
        question = question or self._question(incident, frozenset(edge for part in known for edge in part.records), now)
        question = replace(question, patience_seconds=deadline_seconds or question.patience_seconds)
        answers = await asyncio.gather(*(self._ask(source, question) for source in self._sources))
        statuses = tuple(status for status, _ in answers)
        findings = [found for _, found in answers]
        asked = list(zip(self._sources, findings, strict=True))
        alerts = sum(_alerts_in(item) for found in findings for item in found.evidence)
        return Collected(
            incident=incident,
            telemetry=self._telemetry(question, findings),
            collected_at=now,
            evidence=tuple(item for found in findings for item in found.evidence),
            edge_batches=(*known, *(self._edges(source, found) for source, found in asked if found.edges)),
            alert_readers=self.alert_readers(incident),
            sources=statuses,
            on_call=next((found.on_call for found in findings if found.on_call), incident.on_call),
            owner=self._owner(incident.service),
            alerts_in_storm=max(1, alerts),
            not_mapped=self._not_mapped(incident),
        )

    def _question(self, incident: Incident, edges: frozenset[tuple[str, str]], now: datetime) -> Question:
        start = incident.triggered_at - LOOK_BACK
        end = max(min(now, incident.triggered_at + LOOK_AHEAD), incident.triggered_at)
        near = [incident.service] if incident.service else []
        for _ in range(2):  # two hops: the alerting service, what it calls and what those call
            near += [b for a in tuple(near) for x, b in sorted(edges) if x == a and b not in near]
            near += [a for b in tuple(near) for a, x in sorted(edges) if x == b and a not in near]
        services = tuple(self._services.get(name, ServiceNames(name)) for name in dict.fromkeys(near))
        return Question(
            incident=incident,
            services=services,
            window=Window(start, end),
            baselines=tuple(Window(start - back, end - back) for back in HEALTHY),
            changes_since=incident.triggered_at - CHANGES_BACK,
        )

    async def _ask(self, source: Source, question: Question) -> tuple[SourceStatus, Findings]:
        circuit = self._circuits[source.name]
        began = self._clock.monotonic()
        if began < circuit.open_until:
            return self._status(source, began, "not asked: it failed five times in a row"), Findings()
        deadline = max(source.deadline_seconds, question.patience_seconds)
        try:
            with names.tracer().start_as_current_span(names.SPAN_SOURCE, attributes={names.SOURCE: source.name}):
                try:
                    async with asyncio.timeout(deadline):
                        found = await _patiently(source, question)
                finally:
                    taken = self._clock.monotonic() - began
                    names.histogram(names.SOURCE_SECONDS).record(taken, {names.SOURCE: source.name})
        except TimeoutError:
            return self._failed(source, began, f"no answer in {deadline:g} s"), Findings()
        except NotIncluded as refused:
            return SourceStatus(name=source.name, answered=True, note=f"{source.name}: {refused.message}"), Findings()
        except Denied:
            return self._failed(source, began, "refused our credentials"), Findings()
        except IntegrationError as failed:
            return self._failed(source, began, failed.message), Findings()
        except Exception as failed:  # noqa: BLE001 - a defect in one source must not cost the card
            log.error("source %s failed with %s", source.name, type(failed).__name__)
            return self._failed(source, began, "failed"), Findings()
        circuit.failures = 0
        note = "; ".join(found.notes)
        status = SourceStatus(
            name=source.name, answered=True, note=note, seconds=round(self._clock.monotonic() - began, 3)
        )
        return status, found

    def _failed(self, source: Source, began: float, why: str) -> SourceStatus:
        circuit = self._circuits[source.name]
        circuit.failures += 1
        if circuit.failures >= CIRCUIT_FAILURES:
            circuit.open_until = self._clock.monotonic() + CIRCUIT_SECONDS
        names.counter(names.SOURCE_FAILURES).add(1, {names.SOURCE: source.name})
        return self._status(source, began, why)

    def _status(self, source: Source, began: float, why: str) -> SourceStatus:
        seconds = round(self._clock.monotonic() - began, 3)
        return SourceStatus(name=source.name, answered=False, note=f"{source.name}: {why}", seconds=seconds)

    def _telemetry(self, question: Question, findings: Sequence[Findings]) -> Telemetry:
        baselines: dict[Window, Baseline] = {}
        for found in findings:
            for one in found.baselines:
                known = baselines.get(one.window, Baseline(one.window))
                baselines[one.window] = Baseline(
                    one.window,
                    known.spans + tuple(map(self._batch, one.spans)),
                    known.logs + tuple(map(self._batch, one.logs)),
                )
        return Telemetry(
            window=question.window,
            spans=tuple(self._batch(batch) for found in findings for batch in found.spans),
            logs=tuple(self._batch(batch) for found in findings for batch in found.logs),
            series=tuple(self._batch(batch) for found in findings for batch in found.series),
            changes=_distinct_changes(findings),
            baselines=tuple(baselines.values()),
        )

    def _batch(self, batch: Batch[_Record]) -> Batch[_Record]:
        """The same records under our names of the services."""
        if not any(self._ours.get(service, service) != service for service in services_in(batch)):
            return batch
        renamed = [replace(r, service=self._ours.get(r.service, r.service)) for r in batch.records]
        return replace(batch, records=renamed)

    def _edges(self, source: Source, found: Findings) -> Batch[Edge]:
        """The calls that one source saw, under our names, with that source's readers."""
        calls = [(self._ours.get(caller, caller), self._ours.get(callee, callee)) for caller, callee in found.edges]
        return Batch(source.name, found.edge_readers, calls)

    def _not_mapped(self, incident: Incident) -> tuple[str, ...]:
        known = not self._services or incident.service is None or incident.service in self._services
        return () if known else (str(incident.service),)


async def _patiently(source: Source, question: Question) -> Findings:
    """Asks once. A source with more patience than its own deadline had failed before, and may fail at once again while
    it restarts: it is asked once more a little later."""
    if question.patience_seconds <= source.deadline_seconds:
        return await source.fetch(question)
    try:
        return await source.fetch(question)
    except Unavailable:
        await asyncio.sleep(min(AGAIN_AFTER_SECONDS, question.patience_seconds / 4))
        return await source.fetch(question)


def _alerts_in(item: Evidence) -> int:
    """How many alerts an item stands for: a source may put those of one name into one item and say their number."""
    if item.kind != "alert":
        return 0
    said = item.attributes.get("alerts", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) <= 9 else 1


def _distinct_changes(findings: Sequence[Findings]) -> tuple[ChangeEvent, ...]:
    """Two systems may report one change (PagerDuty's change event of a GitHub deployment): same service and commit
    within ten minutes; or one system in two ways (GitHub's webhook and its API): the same id. The one that shows what
    changed is kept, and none of the readers is widened by it."""
    kept: list[ChangeEvent] = []
    known: dict[object, list[ChangeEvent]] = {}
    ordered = sorted((c for f in findings for c in f.changes), key=lambda c: (not c.detail, c.size is None, c.id))
    for change in ordered:
        keys: list[object] = [change.id.casefold()]
        if change.commit is not None:
            keys.append((change.service, change.commit[:COMMIT_KEY]))
        if not any(_same_change(one, change) for key in keys for one in known.get(key, ())):
            kept.append(change)
            for key in keys:
                known.setdefault(key, []).append(change)
    return tuple(sorted(kept, key=lambda c: (c.changed_at, c.id)))


def _same_change(one: ChangeEvent, other: ChangeEvent) -> bool:
    return one.id.casefold() == other.id.casefold() or (
        one.source != other.source
        and one.commit is not None
        and other.commit is not None
        and (one.commit.startswith(other.commit) or other.commit.startswith(one.commit))
        and one.service == other.service
        and abs((one.changed_at - other.changed_at).total_seconds()) <= 600
    )
