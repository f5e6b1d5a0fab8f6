"""The signs of each service, as numbers for the ranking and as findings for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from bot.ranking.causes import Finding, FindingKind, Origin
from bot.ranking.metrics import CAUSES, Move, find_moves
from bot.ranking.patterns import Pattern, find_patterns
from bot.ranking.profile import Profile
from bot.ranking.times import Slow, own_times, slower, transit_times
from bot.ranking.weights import SumWeights, Weights
from bot.ranking.window import BUCKET_NS, Calls
from bot.ranking.wording import as_before
from bot.ranking.words import move_in_words, own_time_in_words, pattern_in_words, transit_in_words
from integrations.records import Telemetry

MAX_FINDINGS = 5
"""Of one service."""
Scored = TypeVar("Scored", Pattern, Slow, Move)


@dataclass(frozen=True, slots=True)
class Signs:
    """What was found in one window, by sign; each list is sorted, best first."""

    calls: Calls
    profile: Profile
    patterns: Mapping[str, list[Pattern]]
    transit: Mapping[str, list[Slow]]
    own_time: Mapping[str, list[Slow]]
    moves: Mapping[str, list[Move]]

    @property
    def services(self) -> set[str]:
        return {*self.patterns, *self.transit, *self.own_time, *self.moves}

    def values(self, service: str, weights: SumWeights) -> dict[str, float]:
        """One number a sign: ln(1 + Σ decayⁱ of the best scores); a metric's own score."""
        return {
            "pattern": _sum(self.patterns.get(service, ()), weights),
            "transit": _sum(self.transit.get(service, ()), weights),
            "own_time": _sum(self.own_time.get(service, ()), weights),
            "metric": max((one.score for one in self.moves.get(service, ())), default=0.0),
        }


def read_signs(telemetry: Telemetry, calls: Calls, profile: Profile, weights: Weights) -> Signs:
    """Compares one window with the healthy profile; a line in new words is taken for the one whose place it took."""
    as_before(calls, profile)
    return Signs(
        calls=calls,
        profile=profile,
        patterns=_by_service(find_patterns(calls, profile, weights.pattern)),
        transit=_by_service(_sorted(slower(transit_times(calls), profile.transit, weights.time))),
        own_time=_by_service(_sorted(slower(own_times(calls), profile.own, weights.time))),
        moves=_by_service(find_moves(telemetry.series, telemetry.window, weights.metric, CAUSES)),
    )


def findings_of(service: str, signs: Signs, weights: Weights) -> tuple[Finding, ...]:
    """The findings of one service as sentences, the heaviest first; one an operation and direction."""
    found: list[Finding] = []
    seen: set[object] = set()
    for pattern in signs.patterns.get(service, ()):
        key = (pattern.operation, pattern.direction, pattern.event[0] if pattern.direction != "gained" else "")
        if key not in seen and len(seen) < MAX_FINDINGS:
            seen.add(key)
            found.append(_pattern_finding(pattern, signs, weights.signs.pattern))
    for slow in signs.transit.get(service, [])[:2]:
        found.append(_slow_finding(slow, signs, weights.signs.transit, "transit"))
    for slow in signs.own_time.get(service, [])[:2]:
        found.append(_slow_finding(slow, signs, weights.signs.own_time, "own"))
    for move in signs.moves.get(service, [])[:2]:
        found.append(move_finding(move, weights.signs.metric * move.score))
    found.sort(key=lambda one: -one.score)
    return tuple(found[:MAX_FINDINGS])


def move_finding(move: Move, score: float) -> Finding:
    title, text = move_in_words(move)
    return Finding(
        key=series_key(move.service, move.name, move.pod),
        kind="metric",
        service=move.service,
        title=title,
        text=text,
        score=score,
        seen_at=move.seen_at,
        origins=(move.origin,),
        url=move.url or move.origin.url,
    )


def origins_of(services: Iterable[str], signs: Signs, *, logs: bool) -> tuple[Origin, ...]:
    """Every batch that the numbers about these services were counted from, healthy windows included."""
    found: set[Origin] = set()
    for service in services:
        for origins in (signs.calls.span_origins, signs.profile.span_origins):
            found |= origins.get(service, set())
        if logs:
            for origins in (signs.calls.log_origins, signs.profile.log_origins):
                found |= origins.get(service, set())
    return tuple(sorted(found, key=lambda one: (one.source, one.readers.signature, one.url)))


def span_time(calls: Calls, positions: Iterable[int], otherwise: datetime) -> datetime:
    """When the request of the first of these spans (or log buckets, as negative numbers) began."""
    first = min((calls.request_start_ns(i) if i >= 0 else -i * BUCKET_NS for i in positions), default=0)
    return datetime.fromtimestamp(first / 1e9, UTC) if first else otherwise


def trace_url(calls: Calls, positions: list[int], origins: tuple[Origin, ...]) -> str:
    """The address of the first affected trace, where a source has a template for it."""
    trace_id = first_trace(calls, positions)
    for origin in origins:
        if "{trace_id}" in origin.url:
            if trace_id:
                return origin.url.replace("{trace_id}", trace_id)
        elif origin.url:
            return origin.url
    return ""


def first_trace(calls: Calls, positions: Iterable[int]) -> str:
    """The first affected trace; empty where only lines without a span are affected."""
    at = min((i for i in positions if i >= 0), key=lambda i: calls.spans[i].start_ns, default=-1)
    return calls.spans[at].trace_id if at >= 0 else ""


def series_key(service: str, name: str, pod: str) -> str:
    """The key of a metric's finding."""
    return f"metric {service} {name} {pod}"


def _pattern_finding(pattern: Pattern, signs: Signs, weight: float) -> Finding:
    title, text = pattern_in_words(pattern)
    is_log = pattern.event[0] == "log"
    services = {pattern.service}
    services |= {one[1] for one in (pattern.event, pattern.other) if one is not None and one[0] == "call"}
    origins = origins_of(services, signs, logs=is_log)
    kind: FindingKind = "log" if is_log else "trace"
    return Finding(
        key=f"pattern {pattern.operation} {pattern.direction} {pattern.event} {pattern.other}",
        kind=kind,
        service=pattern.service,
        title=title,
        text=text,
        score=weight * math.log1p(pattern.score),
        seen_at=span_time(signs.calls, pattern.affected, datetime.fromtimestamp(0, UTC)),
        origins=origins,
        url=trace_url(signs.calls, pattern.affected, origins),
        trace_id=first_trace(signs.calls, pattern.affected),
        templates=tuple(one[2] for one in (pattern.event, pattern.other) if one is not None and one[0] == "log"),
    )


def _slow_finding(slow: Slow, signs: Signs, weight: float, what: str) -> Finding:
    title, text = transit_in_words(slow) if what == "transit" else own_time_in_words(slow)
    origins = origins_of({slow.key[0], slow.service}, signs, logs=False)
    return Finding(
        key=f"{what} {slow.key}",
        kind="trace",
        service=slow.service,
        title=title,
        text=text,
        score=weight * math.log1p(slow.score),
        seen_at=span_time(signs.calls, slow.affected, datetime.fromtimestamp(0, UTC)),
        origins=origins,
        url=trace_url(signs.calls, slow.affected, origins),
        trace_id=first_trace(signs.calls, slow.affected),
    )


def _sum(found: Iterable[Pattern | Slow], weights: SumWeights) -> float:
    best = sorted((one.score for one in found), reverse=True)[: int(weights.top)]
    return math.log1p(sum(score * weights.decay**i for i, score in enumerate(best)))


def _sorted(found: list[Slow]) -> list[Slow]:
    return sorted(found, key=lambda one: (-one.score, one.key))


def _by_service(found: Iterable[Scored]) -> dict[str, list[Scored]]:
    grouped: dict[str, list[Scored]] = {}
    for one in found:
        grouped.setdefault(one.service, []).append(one)
    return grouped
