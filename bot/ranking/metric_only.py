"""Metrics without traces: the anomalous service that no anomalous callee explains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bot.ranking.graph import distances
from bot.ranking.metrics import Move
from bot.ranking.weights import MetricOnlyWeights


def metric_only_scores(
    moves: Sequence[Move], alerting: str | None, edges: frozenset[tuple[str, str]], weights: MetricOnlyWeights
) -> dict[str, float]:
    """A score a service from its metrics that moved, best metric first."""
    strengths: dict[str, float] = {}
    for move in moves:
        if move.z > weights.min_z:
            strengths[move.service] = max(strengths.get(move.service, 0.0), move.z)
    return explain_by_callees(strengths, alerting, edges, weights)


def explain_by_callees(
    strengths: Mapping[str, float], alerting: str | None, edges: frozenset[tuple[str, str]], weights: MetricOnlyWeights
) -> dict[str, float]:
    """ln(1 + z), less what anomalous callees explain, less when the alerting service does not depend on it."""
    reached = distances(alerting, edges) if alerting is not None and edges else None
    scores = {}
    for service, strength in strengths.items():
        score = math.log1p(strength)
        deepest = max(
            (strengths.get(callee, 0.0) for caller, callee in edges if caller == service and callee != service),
            default=0.0,
        )
        score *= 1 - weights.explained * min(1.0, math.log1p(deepest) / score)
        if reached is not None and (service == alerting or service not in reached):
            score *= weights.unreachable
        scores[service] = score
    return {service: score for service, score in scores.items() if score > 0}
