"""Events that vanished, appeared, or stopped coming in equal numbers; the deepest service is blamed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from bot.ranking.profile import Counts, Invariant, Profile
from bot.ranking.statistics import log_likelihood_ratio, share
from bot.ranking.templates import error_like
from bot.ranking.weights import PatternWeights
from bot.ranking.window import Calls, Context, Event, Operation

Direction = Literal["lost", "gained", "unequal"]
_SIMILAR = 0.5
_SELDOM_TOGETHER = 0.2


@dataclass(slots=True)
class Pattern:
    """What changed in one operation: `present` of `calls` now, `present_healthy` of `calls_healthy` usually."""

    service: str
    operation: Operation
    direction: Direction
    event: Event
    other: Event | None
    """The second event of a broken invariant."""
    score: float
    present: int
    calls: int
    present_healthy: int
    calls_healthy: int
    affected: list[int] = field(repr=False)
    """Positions of the spans that show it; for lines without a span, negative bucket numbers."""
    loose: bool = False


@dataclass(slots=True)
class _Now:
    counts: Counts
    at: dict[Context, list[int]]
    events: dict[Context, set[Event]]


def find_patterns(calls: Calls, profile: Profile, weights: PatternWeights) -> list[Pattern]:
    """Every pattern with a score above 0, the best first."""
    now = _count(calls)
    found: list[Pattern] = []
    for context in now.counts.instances:
        events = now.events.get(context, set()) | profile.events.get(context, set())
        for event in events:
            pattern = _presence(calls, profile, now, context, event, weights)
            if pattern is not None:
                found.append(pattern)
    found += _broken_invariants(calls, profile, weights)
    _blame_the_deepest(calls, found, weights)
    found = [one for one in found if one.score > 0]
    found.sort(key=lambda one: (-one.score, one.service, one.operation, one.event))
    return found


def _count(calls: Calls) -> _Now:
    counts = Counts()
    counts.add(calls)
    at: dict[Context, list[int]] = {}
    for i, context in enumerate(calls.contexts):
        at.setdefault(context, []).append(i)
    events: dict[Context, set[Event]] = {}
    for context, event in counts.present:
        events.setdefault(context, set()).add(event)
    return _Now(counts, at, events)


def _presence(
    calls: Calls, profile: Profile, now: _Now, context: Context, event: Event, weights: PatternWeights
) -> Pattern | None:
    present, total = now.counts.present[context, event], now.counts.instances[context]
    healthy, healthy_total = profile.pooled.present[context, event], profile.pooled.instances[context]
    unknown = healthy_total < weights.min_healthy
    if unknown:
        if not _is_failure(event):
            return None
        healthy, healthy_total = 0, int(weights.min_healthy)
    score = _signed(present, total, healthy, healthy_total, event, weights)
    if unknown:
        score = max(0.0, score) * weights.unknown_normal
    elif score and len(profile.windows) > 1:
        score = _soften(score, present, total, profile, context, event, weights)
    if not score:
        return None
    loose = context[1][1] == ""
    affected = _affected(calls, now, context, event, gained=score > 0)
    size = abs(score) * (weights.loose if loose else 1.0)
    if score < 0 and not loose:
        size *= 1 - weights.substituted * _substituted(calls, profile, context, event, affected)
    return Pattern(
        service=context[1][0],
        operation=context[1],
        direction="gained" if score > 0 else "lost",
        event=event,
        other=None,
        score=size,
        present=present,
        calls=total,
        present_healthy=healthy,
        calls_healthy=0 if unknown else healthy_total,
        affected=affected,
        loose=loose,
    )


def _signed(present: int, total: int, healthy: int, healthy_total: int, event: Event, weights: PatternWeights) -> float:
    """The presence score; negative for a loss, 0 when it is too weak."""
    status = event[0] == "error"
    nats = log_likelihood_ratio(present, total, healthy, healthy_total)
    nats = min(nats, weights.status_cap_nats if status else weights.cap_nats)
    if nats < weights.min_nats:
        return 0.0
    now, usual = share(present, total), share(healthy, healthy_total)
    gained = now > usual
    regular = 1 - usual if gained else usual
    change = math.pow(abs(now - usual), weights.status_power) if status else abs(now - usual)
    score = nats * change * math.pow(regular, weights.determinism) * _weight(event, gained, weights)
    return score if gained else -score


def _soften(
    score: float,
    present: int,
    total: int,
    profile: Profile,
    context: Context,
    event: Event,
    weights: PatternWeights,
) -> float:
    """What one healthy minute also showed is less surprising: geometric mean with the least surprised window."""
    least = abs(score)
    for window in profile.windows:
        instances = window.instances[context]
        if instances >= weights.min_healthy:
            single = _signed(present, total, window.present[context, event], instances, event, weights)
            least = min(least, max(0.0, single * math.copysign(1, score)))
    return math.copysign(abs(score) ** (1 - weights.worst_window) * least**weights.worst_window, score) if least else 0


def _weight(event: Event, gained: bool, weights: PatternWeights) -> float:
    if event[0] == "error":
        return weights.gain_status if gained else weights.loss_error
    if event[0] == "call":
        if error_like(event[2]):  # an error handler: its call is bad news, its absence good news
            return weights.gain_warn if gained else weights.loss_error
        return weights.gain_info if gained else weights.loss_info
    level, text = event[1], event[2]
    if level in ("ERROR", "FATAL"):
        return weights.gain_error if gained else weights.loss_error
    if level == "WARN":
        return weights.gain_warn if gained else weights.loss_warn
    if gained:
        return weights.gain_warn if error_like(text) else weights.gain_info
    return weights.loss_info


def _is_failure(event: Event) -> bool:
    return event[0] == "error" or (event[0] == "log" and event[1] in ("ERROR", "FATAL"))


def _affected(calls: Calls, now: _Now, context: Context, event: Event, *, gained: bool) -> list[int]:
    if context[1][1] == "":
        buckets = calls.loose.get(context[1][0], {})
        return [-bucket for bucket, events in buckets.items() if (event in events) == gained]
    return [i for i in now.at.get(context, ()) if (event in calls.events[i]) == gained]


def _substituted(calls: Calls, profile: Profile, context: Context, event: Event, affected: list[int]) -> float:
    """Share of the affected calls that did a known alternative instead: another kind of request, not a failure.

    An alternative is an event of the same kind that healthy calls of this service know, that hardly ever came
    together with the lost one, and that does not read like a failure; of a log template, one that shares at least
    half of its words.
    """
    if not affected:
        return 0.0
    service = context[1][0]
    verdicts: dict[Event, bool] = {}
    replaced = 0
    for i in affected:
        for candidate in calls.events[i]:
            verdict = verdicts.get(candidate)
            if verdict is None:
                verdict = verdicts[candidate] = (
                    candidate != event
                    and (service, candidate) in profile.known
                    and _alike(event, candidate)
                    and _alternatives(profile, context, event, candidate)
                )
            if verdict:
                replaced += 1
                break
    return replaced / len(affected)


def _alike(lost: Event, candidate: Event) -> bool:
    if lost[0] != candidate[0] or lost[0] == "error":
        return False
    if lost[0] == "call":
        return True
    if lost[1] != candidate[1] or candidate[1] in ("ERROR", "FATAL"):
        return False
    if error_like(candidate[2]) and not error_like(lost[2]):
        return False
    one, other = lost[2].split(), candidate[2].split()
    same = sum(a == b for a, b in zip(one, other, strict=False))
    return same >= _SIMILAR * max(len(one), len(other))


def _alternatives(profile: Profile, context: Context, one: Event, other: Event) -> bool:
    key = (one, other) if one < other else (other, one)
    both = profile.together.get(context, {}).get(key, 0)
    rarer = min(profile.pooled.present[context, one], profile.pooled.present[context, other])
    return both <= _SELDOM_TOGETHER * max(1, rarer)


def _broken_invariants(calls: Calls, profile: Profile, weights: PatternWeights) -> list[Pattern]:
    """Per operation the worst pair of events whose counts agreed in healthy calls and disagree now."""
    at: dict[Operation, list[int]] = {}
    for i, context in enumerate(calls.contexts):
        at.setdefault(context[1], []).append(i)
    found = []
    for operation, pairs in profile.invariants.items():
        positions = at.get(operation)
        if not positions:
            continue
        worst: Pattern | None = None
        for pair in pairs:
            broken = _broken(calls, operation, pair, positions, weights)
            if broken is not None and (worst is None or broken.score > worst.score):
                worst = broken
        if worst is not None:
            found.append(worst)
    return found


def _broken(
    calls: Calls, operation: Operation, pair: Invariant, positions: list[int], weights: PatternWeights
) -> Pattern | None:
    active, unequal = 0, []
    for i in positions:
        one, other = calls.events[i].get(pair.one, 0), calls.events[i].get(pair.other, 0)
        if one or other:
            active += 1
            if one != other:
                unequal.append(i)
    equal = active - len(unequal)
    if not active or equal >= weights.pairs_broken * active:
        return None
    nats = min(log_likelihood_ratio(equal, active, pair.equal, pair.active), weights.cap_nats)
    if nats < weights.min_nats:
        return None
    now, usual = share(equal, active), share(pair.equal, pair.active)
    return Pattern(
        service=operation[0],
        operation=operation,
        direction="unequal",
        event=pair.one,
        other=pair.other,
        score=nats * abs(now - usual) * math.pow(usual, weights.determinism) * weights.pairs,
        present=equal,
        calls=active,
        present_healthy=pair.equal,
        calls_healthy=pair.active,
        affected=unequal,
    )


def _blame_the_deepest(calls: Calls, patterns: list[Pattern], weights: PatternWeights) -> None:
    """Discounts a pattern whose affected calls have a comparable pattern below them in another service."""
    best = [0.0] * len(calls.spans)
    for pattern in patterns:
        if not pattern.loose:
            for i in pattern.affected:
                best[i] = max(best[i], pattern.score)
    below: list[dict[str, float]] = [{} for _ in calls.spans]
    for i in calls.bottom_up():
        reached = below[i]
        for child in calls.children[i]:
            for service, score in below[child].items():
                if score > reached.get(service, 0.0):
                    reached[service] = score
            service = calls.spans[child].service
            if best[child] > reached.get(service, 0.0):
                reached[service] = best[child]
    for pattern in patterns:
        if pattern.loose or not pattern.affected:
            continue
        enough = weights.explained_share * pattern.score
        explained = sum(
            any(score >= enough for service, score in below[i].items() if service != pattern.service)
            for i in pattern.affected
        )
        pattern.score *= 1 - weights.explained * explained / len(pattern.affected)
