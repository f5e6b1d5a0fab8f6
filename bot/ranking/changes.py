"""From services to changes: how suspicious the change's service is, and how long before the trouble it came."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from bot.ranking.causes import ChangeCause
from bot.ranking.weights import ChangeWeights
from integrations.records import ChangeEvent


def rank_changes(
    changes: Sequence[ChangeEvent],
    services: Mapping[str, float],
    began_at: datetime,
    weights: ChangeWeights,
    past_culprits: Mapping[str, int],
) -> tuple[ChangeCause, ...]:
    """Changes by (P(service) + floor) × weight of the change, most suspicious first.

    `services` are probabilities, `began_at` is when the trouble began. The probability of a change is its service's,
    shared among the service's changes by weight, with a share left for "no change of this service did it". How many
    changes a service had is no reason.
    """
    weighed = [(one, _weight(one, began_at, weights, past_culprits)) for one in changes]
    totals: dict[str | None, float] = {}
    for change, weight in weighed:
        totals[change.service] = totals.get(change.service, 0.0) + weight
    causes = [
        ChangeCause(
            change=change,
            score=(services.get(change.service or "", 0.0) + weights.floor) * weight,
            probability=services.get(change.service or "", 0.0) * weight / (totals[change.service] + weights.none),
        )
        for change, weight in weighed
    ]
    return tuple(sorted(causes, key=lambda one: (-one.score, began_at - one.change.changed_at, one.change.id)))


def _weight(change: ChangeEvent, began_at: datetime, weights: ChangeWeights, past_culprits: Mapping[str, int]) -> float:
    age = (began_at - change.changed_at).total_seconds()
    weight = 1 / (1 + abs(age) / (60 * weights.age_minutes))
    if age < 0:
        weight *= weights.after if age < -weights.grace_seconds else 0.5
    if change.size:
        weight *= 1 + weights.per_decade_of_lines * min(math.log10(1 + change.size), 5.0)
    weight *= {"high": weights.risk_high, "medium": weights.risk_medium, "low": weights.risk_low}.get(
        change.risk or "", 1.0
    )
    if change.inferred:
        weight *= weights.inferred
    return weight * (1 + weights.past_culprit * min(past_culprits.get(change.service or "", 0), 5))
