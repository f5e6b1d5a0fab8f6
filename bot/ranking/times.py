"""Where time goes: on the way between two services, or in a service's own code."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bot.ranking.statistics import log_likelihood_ratio, share
from bot.ranking.weights import TimeWeights
from bot.ranking.window import Calls, Operation
from integrations.records import Span

Key = tuple[str, Operation]
"""The other side (caller's service for transit, the own service for own time) and the operation that is charged."""


@dataclass(frozen=True, slots=True)
class Durations:
    """Milliseconds by key, and the positions of the spans that they belong to."""

    values: Mapping[Key, NDArray[np.float64]]
    positions: Mapping[Key, list[int]]


@dataclass(frozen=True, slots=True)
class Slow:
    """An operation that takes longer than healthy: `slow` of `calls` now, `slow_healthy` of `calls_healthy` before."""

    key: Key
    score: float
    slow: int
    calls: int
    slow_healthy: int
    calls_healthy: int
    median_ms: float
    """Of the slow calls."""
    healthy_ms: float
    affected: list[int]

    @property
    def service(self) -> str:
        return self.key[1][0]


def transit_times(calls: Calls) -> Durations:
    """Client minus server per call between services; the client span is the parent with this one child."""
    found: dict[Key, list[float]] = {}
    positions: dict[Key, list[int]] = {}
    spans = calls.spans
    for i, parent in enumerate(calls.parent):
        if parent < 0 or spans[parent].service == spans[i].service:
            continue
        client = spans[parent]
        if len(calls.children[parent]) > 1 and client.kind not in ("client", "producer"):
            continue
        key = (client.service, calls.contexts[i][1])
        gap = (client.end_ns - client.start_ns) - (spans[i].end_ns - spans[i].start_ns)
        found.setdefault(key, []).append(gap / 1e6)
        positions.setdefault(key, []).append(i)
    return Durations({key: np.array(values) for key, values in found.items()}, positions)


def own_times(calls: Calls) -> Durations:
    """Duration minus the union of the children, for spans that are not the client side of a call elsewhere.

    A call whose server side was not recorded is left out too: its time is nobody's own. Nor is the time while a call
    elsewhere by a sibling is under way: reactive frameworks report a handler beside the call that it waits for.
    """
    found: dict[Key, list[float]] = {}
    positions: dict[Key, list[int]] = {}
    spans = calls.spans
    clients = _client_sides(calls)
    for i, span in enumerate(spans):
        if calls.contexts[i][1] in clients:
            continue
        children = calls.children[i]
        if len(children) == 1 and spans[children[0]].service != span.service:
            continue
        key = (span.service, calls.contexts[i][1])
        parent = calls.parent[i]
        beside = calls.children[parent] if parent >= 0 else ()
        waited = [spans[one] for one in beside if one != i and calls.contexts[one][1] in clients]
        found.setdefault(key, []).append(_uncovered(span, [*(spans[child] for child in children), *waited]) / 1e6)
        positions.setdefault(key, []).append(i)
    return Durations({key: np.array(values) for key, values in found.items()}, positions)


def _client_sides(calls: Calls) -> frozenset[Operation]:
    """Operations of which most spans have exactly one child, in another service: they wait for somebody else."""
    waiting: Counter[Operation] = Counter()
    for i, children in enumerate(calls.children):
        elsewhere = len(children) == 1 and calls.spans[children[0]].service != calls.spans[i].service
        waiting[calls.contexts[i][1]] += 1 if elsewhere else -1
    return frozenset(operation for operation, balance in waiting.items() if balance > 0)


def _uncovered(span: Span, others: Sequence[Span]) -> int:
    covered, reached = 0, span.start_ns
    for start, end in sorted((one.start_ns, one.end_ns) for one in others):
        start, end = max(start, reached), min(end, span.end_ns)
        if end > start:
            covered += end - start
            reached = end
    return span.end_ns - span.start_ns - covered


def slower(now: Durations, healthy: Sequence[Durations], weights: TimeWeights) -> list[Slow]:
    """What takes longer than in the pooled healthy windows; the least surprised single window has a say too."""
    slow = []
    for key, values in now.values.items():
        windows = [one.values[key] for one in healthy if key in one.values]
        pooled = np.concatenate(windows) if windows else np.array([])
        if len(pooled) < weights.min_healthy:
            continue
        found = _compare(key, values, pooled, now.positions[key], weights)
        if found is None:
            continue
        least = found.score
        for window in windows if len(windows) > 1 else ():
            if len(window) >= weights.min_healthy:
                single = _compare(key, values, window, now.positions[key], weights)
                least = min(least, single.score if single else 0.0)
        score = found.score ** (1 - weights.worst_window) * least**weights.worst_window
        if score > 0:
            slow.append(_rescored(found, score))
    return slow


def _compare(
    key: Key, values: NDArray[np.float64], healthy: NDArray[np.float64], positions: list[int], weights: TimeWeights
) -> Slow | None:
    median = float(np.median(healthy))
    limit = max(
        weights.p95_times * float(np.quantile(healthy, 0.95)),
        weights.median_times * median,
        median + weights.median_plus_ms,
    )
    over = values > limit
    slow, slow_healthy = int(over.sum()), int((healthy > limit).sum())
    if not slow:
        return None
    now, before = share(slow, len(values)), share(slow_healthy, len(healthy))
    nats = log_likelihood_ratio(slow, len(values), slow_healthy, len(healthy))
    if now <= before or nats < weights.min_nats:
        return None
    excess = float((values[over] - median).mean())
    score = math.sqrt(min(nats, weights.cap_nats)) * (now - before) * math.log1p(excess / weights.excess_ms)
    return Slow(
        key=key,
        score=score,
        slow=slow,
        calls=len(values),
        slow_healthy=slow_healthy,
        calls_healthy=len(healthy),
        median_ms=float(np.median(values[over])),
        healthy_ms=median,
        affected=[positions[int(i)] for i in np.flatnonzero(over)],
    )


def _rescored(slow: Slow, score: float) -> Slow:
    return Slow(
        slow.key, score, slow.slow, slow.calls, slow.slow_healthy, slow.calls_healthy, slow.median_ms,
        slow.healthy_ms, slow.affected,
    )  # fmt: skip
