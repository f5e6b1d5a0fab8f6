"""What healthy looks like: the pooled counts of the healthy windows, and each window's own beside them.

A profile is built once for a set of healthy windows and kept in the worker's memory (`Profiles`); spans and log
records themselves are not kept.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bot.ranking.causes import Origin
from bot.ranking.templates import Templates
from bot.ranking.times import Durations, own_times, transit_times
from bot.ranking.weights import PatternWeights
from bot.ranking.window import Calls, Context, Event, Operation, read_calls
from integrations.records import Baseline, Batch, LogRecord, Span

MAX_EVENTS = 100
"""A call with more kinds of events than this has no alternatives that could be told apart; pairs grow as the square."""
CountKey = tuple[Context, Event]


@dataclass(frozen=True, slots=True)
class Invariant:
    """Two events of an operation that come in equal numbers: `equal` of `active` healthy instances agree."""

    one: Event
    other: Event
    active: int
    equal: int


@dataclass(slots=True)
class Counts:
    """Instances of each context, and in how many of them each event is present."""

    instances: Counter[Context] = field(default_factory=Counter)
    present: Counter[CountKey] = field(default_factory=Counter)

    def add(self, calls: Calls) -> None:
        for context, events in zip(calls.contexts, calls.events, strict=True):
            self.instances[context] += 1
            for event in events:
                self.present[context, event] += 1
        for context, buckets in loose_contexts(calls):
            self.instances[context] += len(buckets)
            for events in buckets:
                for event in events:
                    self.present[context, event] += 1


@dataclass(slots=True)
class Profile:
    """Pooled and per-window counts, count invariants and durations of the healthy windows."""

    pooled: Counts = field(default_factory=Counts)
    windows: list[Counts] = field(default_factory=list)
    events: dict[Context, set[Event]] = field(default_factory=dict)
    known: set[tuple[str, Event]] = field(default_factory=set)
    """Service and event: seen in any healthy call of the service."""
    together: dict[Context, dict[tuple[Event, Event], int]] = field(default_factory=dict)
    invariants: dict[Operation, list[Invariant]] = field(default_factory=dict)
    transit: list[Durations] = field(default_factory=list)
    """Per window: (caller service, callee operation) to milliseconds."""
    own: list[Durations] = field(default_factory=list)
    """Per window: (service, operation) to milliseconds."""
    entry_ms: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Durations of the requests that enter each service."""
    span_origins: dict[str, set[Origin]] = field(default_factory=dict)
    log_origins: dict[str, set[Origin]] = field(default_factory=dict)
    edges: frozenset[tuple[str, str]] = frozenset()
    spans: int = 0
    logs: int = 0

    @property
    def services(self) -> set[str]:
        return {context[1][0] for context in self.pooled.instances}


def loose_contexts(calls: Calls) -> Iterable[tuple[Context, list[dict[Event, int]]]]:
    """Log records without a span as contexts of their own: one instance is one bucket of one service."""
    for service, buckets in calls.loose.items():
        yield (None, (service, "")), list(buckets.values())


def build_profile(windows: Sequence[Calls], weights: PatternWeights) -> Profile:
    """Counts the healthy windows. `windows` may be empty: then nothing is known."""
    profile = Profile()
    instances: dict[Operation, list[dict[Event, int]]] = {}
    entries: dict[str, list[float]] = {}
    for calls in windows:
        counts = Counts()
        counts.add(calls)
        profile.windows.append(counts)
        profile.pooled.instances.update(counts.instances)
        profile.pooled.present.update(counts.present)
        profile.transit.append(transit_times(calls))
        profile.own.append(own_times(calls))
        profile.edges |= calls.edges()
        profile.spans += len(calls.spans)
        profile.logs += calls.logs
        for context, events in zip(calls.contexts, calls.events, strict=True):
            instances.setdefault(context[1], []).append(events)
        for ours, theirs in (
            (profile.span_origins, calls.span_origins),
            (profile.log_origins, calls.log_origins),
        ):
            for service, origins in theirs.items():
                ours.setdefault(service, set()).update(origins)
        _count_together(profile, calls)
        _collect_entries(entries, calls)
    profile.entry_ms = {service: np.array(values) for service, values in entries.items()}
    for context, event in profile.pooled.present:
        profile.events.setdefault(context, set()).add(event)
        profile.known.add((context[1][0], event))
    for operation, found in instances.items():
        if len(found) >= weights.min_healthy:
            pairs = _invariants(found, weights)
            if pairs:
                profile.invariants[operation] = pairs
    return profile


def _collect_entries(entries: dict[str, list[float]], calls: Calls) -> None:
    for i, parent in enumerate(calls.parent):
        span = calls.spans[i]
        if span.kind not in ("client", "producer") and (parent < 0 or calls.spans[parent].service != span.service):
            entries.setdefault(span.service, []).append((span.end_ns - span.start_ns) / 1e6)


def _count_together(profile: Profile, calls: Calls) -> None:
    """In how many healthy instances two events of one kind come together: alternatives never do."""
    for context, events in zip(calls.contexts, calls.events, strict=True):
        if not 2 <= len(events) <= MAX_EVENTS:
            continue
        together = profile.together.setdefault(context, {})
        listed = sorted(events)
        for i, one in enumerate(listed):
            for other in listed[i + 1 :]:
                together[one, other] = together.get((one, other), 0) + 1


def _invariants(found: list[dict[Event, int]], weights: PatternWeights) -> list[Invariant]:
    totals: Counter[Event] = Counter()
    for events in found:
        for event in events:
            if event[0] == "call" or (event[0] == "log" and event[1] not in ("ERROR", "FATAL")):
                totals[event] += 1
    commonest = [event for event, _ in totals.most_common(int(weights.pairs_events))]
    if len(commonest) < 2:
        return []
    counts = np.array([[events.get(event, 0) for event in commonest] for events in found])
    repeats = counts.max(axis=0) > 1
    pairs = []
    for i, one in enumerate(commonest):
        for j in range(i):
            if not (repeats[i] or repeats[j]):
                continue
            active = (counts[:, i] > 0) | (counts[:, j] > 0)
            total = int(active.sum())
            equal = int((counts[active, i] == counts[active, j]).sum())
            if total >= weights.min_healthy and equal >= weights.pairs_equal * total:
                pairs.append(Invariant(one, commonest[j], total, equal))
    return pairs


class Profiles:
    """The worker's memory of profiles, by source, window and readers of what they were built from. Bounded."""

    def __init__(self, limit: int = 32) -> None:
        self._limit = limit
        self._kept: OrderedDict[object, Profile] = OrderedDict()
        self.built = 0
        """How many profiles were built and not found."""

    def of(self, baselines: Sequence[Baseline], weights: PatternWeights, templates: Templates) -> Profile:
        """The profile of these healthy windows; those that overlap are one (traces of one source, logs of another)."""
        groups = _by_window(baselines)
        key = (weights, tuple(_fingerprint(one) for group in groups for one in group))
        profile = self._kept.get(key)
        if profile is None:
            windows = [
                read_calls(
                    [batch for one in group for batch in one.spans],
                    [batch for one in group for batch in one.logs],
                    templates,
                )
                for group in groups
            ]
            profile = build_profile([one for one in windows if one.spans or one.loose], weights)
            self.built += 1
            self._kept[key] = profile
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return profile


def _by_window(baselines: Sequence[Baseline]) -> list[list[Baseline]]:
    groups: list[list[Baseline]] = []
    for one in sorted(baselines, key=lambda each: (each.window.start, each.window.end)):
        last = groups[-1] if groups else None
        if last is not None and one.window.start < max(each.window.end for each in last):
            last.append(one)
        else:
            groups.append([one])
    return groups


def _fingerprint(baseline: Baseline) -> object:
    return (
        baseline.window.start,
        baseline.window.end,
        tuple(_batch_key(one) for one in baseline.spans),
        tuple(_batch_key(one) for one in baseline.logs),
    )


def _batch_key(batch: Batch[Span] | Batch[LogRecord]) -> object:
    records = batch.records
    ends: object = ()
    if records:
        first, last = records[0], records[-1]
        ends = (first.span_id, first.service, last.span_id, last.service)
        if isinstance(first, LogRecord) and isinstance(last, LogRecord):
            ends = (first.at_ns, first.body, last.at_ns, last.body)
    return (batch.source, batch.readers.signature, batch.model, batch.url, len(records), ends)
