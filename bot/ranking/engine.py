"""Which service and which change: `rank_causes`. Pure: telemetry in, probabilities and sentences out.

The method and its figures are in docs/ranking.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from bot.ranking.calibrate import combined, probabilities
from bot.ranking.causes import Causes, Finding, ServiceCause
from bot.ranking.changes import rank_changes
from bot.ranking.focus import looks_at, split
from bot.ranking.graph import connected, distances
from bot.ranking.metric_only import metric_only_scores
from bot.ranking.metrics import EXPLAINING, Move, find_moves
from bot.ranking.profile import Profiles
from bot.ranking.signs import Signs, findings_of, move_finding, read_signs
from bot.ranking.symptom import RATES, find_symptom
from bot.ranking.templates import Templates
from bot.ranking.weights import Weights, shipped_weights
from bot.ranking.window import read_calls
from integrations.records import Telemetry

MAX_METRICS = 2
"""Beside the traces of one service."""
MAX_EXPLAINED = 5
"""Services that get findings in words."""
STANDS_OUT = 0.4
WELL_AFTER = 0.2
"""Share of the window that was healthy before the trouble, from which the sentences count only what came after."""


def rank_causes(
    telemetry: Telemetry,
    *,
    alerting: str | None,
    edges: frozenset[tuple[str, str]] = frozenset(),
    alerted_at: datetime | None = None,
    profiles: Profiles | None = None,
    weights: Weights | None = None,
    past_culprits: Mapping[str, int] | None = None,
) -> Causes:
    """Services and changes, most probable first.

    `edges` is the declared or learnt call graph; what the spans show is added. `alerted_at` is the first alert, the
    window's end when absent. `profiles` keeps healthy windows between calls; `past_culprits` counts the labelled
    incidents that each service caused.
    """
    weights = weights or shipped_weights()
    examined = examine(
        telemetry, alerting=alerting, edges=edges, alerted_at=alerted_at, profiles=profiles, weights=weights
    )
    return judge(examined, weights, past_culprits or {})


@dataclass(frozen=True, slots=True)
class Examined:
    """One window compared with the healthy ones; nothing is weighed yet."""

    telemetry: Telemetry
    signs: Signs
    moves: list[Move]
    alerting: str | None
    alerted_at: datetime
    edges: frozenset[tuple[str, str]]

    @property
    def traced(self) -> bool:
        return bool(self.signs.calls.spans or self.signs.calls.loose)

    def loudest(self, weights: Weights) -> float:
        """The highest score of a service."""
        return max(service_scores(self.signs, self.alerting, self.edges, weights).values(), default=0.0)


def examine(
    telemetry: Telemetry,
    *,
    alerting: str | None,
    edges: frozenset[tuple[str, str]],
    alerted_at: datetime | None,
    profiles: Profiles | None,
    weights: Weights,
) -> Examined:
    """Everything about a window that needs no decision.

    A window that is longer than the trouble dilutes it: the last five minutes before the alert are looked at, and the
    later half and quarter of them, down to a minute; the look in which a service stands out most is taken.
    """
    profiles = profiles if profiles is not None else Profiles(limit=1)
    alerted_at = alerted_at or telemetry.window.end
    looks = []
    for looked in looks_at(telemetry, alerted_at, weights.window):
        templates = Templates()
        profile = profiles.of(looked.baselines, weights.pattern, templates)
        calls = read_calls(looked.spans, looked.logs, templates)
        traced = bool(calls.spans or calls.loose)
        looks.append(
            Examined(
                telemetry=looked,
                signs=read_signs(looked, calls, profile, weights),
                moves=find_moves(looked.series, looked.window, weights.metric, RATES if traced else None),
                alerting=alerting,
                alerted_at=alerted_at,
                edges=edges | calls.edges() | profile.edges,
            )
        )
    return looks[0] if len(looks) == 1 else max(looks, key=lambda one: one.loudest(weights))


def judge(examined: Examined, weights: Weights, past_culprits: Mapping[str, int]) -> Causes:
    """Probabilities, findings in words, and changes."""
    telemetry, signs, moves = examined.telemetry, examined.signs, examined.moves
    alerting, edges = examined.alerting, examined.edges
    scores: dict[str, float] = {}
    explain: dict[str, tuple[Finding, ...]] = {}
    if examined.traced:
        scores = service_scores(signs, alerting, edges, weights)
        chances = probabilities(scores, weights.decision.nothing, weights.decision.temperature)
        explain = {name: findings_of(name, signs, weights) for name in _best(scores, chances)}
    elif telemetry.series:
        scores = metric_only_scores(moves, alerting, edges, weights.metric_only)
        chances = probabilities(scores, weights.metric_only.nothing, weights.metric_only.temperature)
        explain = {
            name: tuple(move_finding(one, one.score) for one in moves if one.service == name)[:3]
            for name in _best(scores, chances)
        }
    else:
        chances = _prior(alerting, edges, weights)
    services = _services(scores, chances, explain)
    began_at = _began_at(services, examined.alerted_at)
    if _began_within(examined, services, began_at):
        # The first minutes were healthy: the sentences count from when the trouble began, the probabilities as before.
        signs = _since(examined, began_at, weights)
        explain |= {
            name: _told_since(found, began_at) for name in explain if (found := findings_of(name, signs, weights))
        }
    if examined.traced:
        explain = _with_metrics(explain, telemetry, weights)
    services = _services(scores, chances, explain)
    if examined.traced:
        services = tuple(replace(one, signs=examined.signs.values(one.service, weights.sum)) for one in services)
    return Causes(
        services=services,
        changes=rank_changes(telemetry.changes, chances, began_at, weights.change, past_culprits),
        began_at=began_at,
        symptom=find_symptom(alerting, signs, moves),
        looked_at=_looked_at(telemetry, examined.signs),
    )


def _began_within(examined: Examined, services: tuple[ServiceCause, ...], began_at: datetime) -> bool:
    """Whether something stands out that began well after the window did."""
    window = examined.telemetry.window
    healthy, whole = (began_at - window.start).total_seconds(), (window.end - window.start).total_seconds()
    stands_out = bool(services) and services[0].probability >= STANDS_OUT
    return examined.traced and stands_out and healthy > WELL_AFTER * whole and began_at < window.end


def _since(examined: Examined, began_at: datetime, weights: Weights) -> Signs:
    late, _ = split(examined.telemetry, began_at)
    return read_signs(late, read_calls(late.spans, late.logs), examined.signs.profile, weights)


def _with_metrics(
    explain: Mapping[str, tuple[Finding, ...]], telemetry: Telemetry, weights: Weights
) -> dict[str, tuple[Finding, ...]]:
    """Beside the traces of a service, its metrics that moved along: they weigh nothing, and people look at graphs."""
    told = {name: findings for name, findings in explain.items() if findings}
    moves = find_moves(telemetry.series, telemetry.window, weights.metric, EXPLAINING, told)
    for name in told:
        own = [move_finding(one, 0.0) for one in moves if one.service == name][:MAX_METRICS]
        told[name] = (*told[name], *own)
    return {**explain, **told}


def _told_since(findings: tuple[Finding, ...], began_at: datetime) -> tuple[Finding, ...]:
    since = f" (since {began_at:%H:%M:%S} UTC)"
    return tuple(one if one.kind == "metric" else replace(one, text=one.text + since) for one in findings)


def service_scores(
    signs: Signs, alerting: str | None, edges: frozenset[tuple[str, str]], weights: Weights
) -> dict[str, float]:
    """The combined score of each service that shows any sign."""
    near = connected(alerting, edges)
    scores = {}
    for service in signs.services:
        score = combined(signs.values(service, weights.sum), weights.signs)
        if near is not None and service not in near:
            score *= weights.signs.unreachable
        if score > 0:
            scores[service] = score
    return scores


def _best(scores: Mapping[str, float], chances: Mapping[str, float]) -> list[str]:
    return sorted(scores, key=lambda name: (-chances[name], -scores[name], name))[:MAX_EXPLAINED]


def _services(
    scores: Mapping[str, float], chances: Mapping[str, float], explain: Mapping[str, tuple[Finding, ...]]
) -> tuple[ServiceCause, ...]:
    causes = [
        ServiceCause(name, scores.get(name, chance), chance, explain.get(name, ())) for name, chance in chances.items()
    ]
    return tuple(sorted(causes, key=lambda one: (-one.probability, -one.score, one.service)))


def _prior(alerting: str | None, edges: frozenset[tuple[str, str]], weights: Weights) -> dict[str, float]:
    """Without telemetry: the alerting service and what it calls, halved at each call and shared among equals."""
    if alerting is None:
        return {}
    by_distance: dict[int, list[str]] = {}
    for name, hops in distances(alerting, edges).items():
        by_distance.setdefault(hops, []).append(name)
    return {
        name: weights.change.alerting * 0.5**hops / len(names) for hops, names in by_distance.items() for name in names
    }


def _began_at(services: tuple[ServiceCause, ...], alerted_at: datetime) -> datetime:
    """The first sight of the strongest finding of a service that stands out; else the alert."""
    if services and services[0].probability >= STANDS_OUT and services[0].findings:
        return min(services[0].findings[0].seen_at, alerted_at)
    return alerted_at


def _looked_at(telemetry: Telemetry, signs: Signs) -> tuple[str, ...]:
    calls, profile = signs.calls, signs.profile
    services = {span.service for span in calls.spans} | set(calls.loose)
    series = sum(len(batch.records) for batch in telemetry.series)
    told: Iterable[tuple[int, str, str]] = (
        (len(services), "service", "services"),
        (len(calls.spans), "span", "spans"),
        (calls.logs, "log line", "log lines"),
        (series, "metric series", "metric series"),
        (len(profile.windows), "healthy window", "healthy windows"),
        (len(telemetry.changes), "change", "changes"),
    )
    return tuple(f"{number:,} {one if number == 1 else many}" for number, one, many in told if number)
