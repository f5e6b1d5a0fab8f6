"""Metrics without traces: the anomalous service that no anomalous callee explains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bot.ranking.graph import connected, distances
from bot.ranking.metrics import CAUSES, Move
from bot.ranking.weights import MetricOnlyWeights


def metric_only_scores(
    moves: Sequence[Move], alerting: str | None, edges: frozenset[tuple[str, str]], weights: MetricOnlyWeights
) -> dict[str, float]:
    """A score a service from its metrics that moved: those that also moved at the alerting service, CPU and memory.

    Without a call graph only CPU and memory count: the others move when something that the service calls is ill, and
    nobody could say what that is.
    """
    alike = {move.name for move in moves if move.service == alerting}
    mapped = connected(alerting, edges) is not None
    strengths: dict[str, float] = {}
    for move in moves:
        if move.name in CAUSES or (mapped and (not alike or move.name in alike)):
            strengths[move.service] = max(strengths.get(move.service, 0.0), min(move.z, weights.cap_z))
    return explain_by_callees(strengths, alerting, edges, weights)


def explain_by_callees(
    strengths: Mapping[str, float], alerting: str | None, edges: frozenset[tuple[str, str]], weights: MetricOnlyWeights
) -> dict[str, float]:
    """ln(1 + z), less what an anomalous callee explains, more for each further anomalous caller that it explains.

    Less, too, for what the alerting service does not depend on, and for the alerting service itself.
    """
    reached = distances(alerting, edges) if alerting is not None and edges else None
    scores = {}
    for service, strength in strengths.items():
        score = math.log1p(strength)
        callees = {callee for caller, callee in edges if caller == service and callee != service}
        callers = {caller for caller, callee in edges if callee == service and caller != service}
        deepest = max((strengths.get(one, 0.0) for one in callees), default=0.0)
        score *= 1 - weights.explained * min(1.0, math.log1p(deepest) / score)
        score *= 1 + weights.caller * max(0, len(callers & strengths.keys()) - 1)
        if reached is not None:
            depth = reached.get(service, 0)
            score *= weights.unreachable if depth == 0 else 1 + weights.depth * (depth - 1)
        scores[service] = score
    return {service: score for service, score in scores.items() if score > 0}
