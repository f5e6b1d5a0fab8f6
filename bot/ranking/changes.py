"""From services to changes: how suspicious the change's service is, and how long before the trouble it happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from bot.ranking.causes import ChangeCause
from integrations.records import ChangeEvent

HALF_AGE_SECONDS = 3600.0
FLOOR = 0.002
AFTER = 0.05


def rank_changes(
    changes: Sequence[ChangeEvent], services: Mapping[str, float], began_at: datetime
) -> tuple[ChangeCause, ...]:
    """Changes by (P(service) + floor) / (1 + age), most suspicious first.

    `services` are probabilities; what they leave of 1 is "something else". A change after the trouble began hardly
    counts. The probability of a change is its service's, shared among that service's changes by score.
    """
    scored = [(one, _score(one, services, began_at)) for one in changes]
    by_service: dict[str | None, float] = {}
    for change, score in scored:
        by_service[change.service] = by_service.get(change.service, 0.0) + score
    causes = [
        ChangeCause(
            change=change,
            score=score,
            probability=services.get(change.service or "", 0.0) * score / by_service[change.service],
            seconds_before=(began_at - change.changed_at).total_seconds(),
        )
        for change, score in scored
    ]
    return tuple(sorted(causes, key=lambda one: (-one.score, one.seconds_before, one.change.id)))


def _score(change: ChangeEvent, services: Mapping[str, float], began_at: datetime) -> float:
    age = (began_at - change.changed_at).total_seconds()
    weight = AFTER if age < 0 else 1.0
    return weight * (services.get(change.service or "", 0.0) + FLOOR) / (1 + abs(age) / HALF_AGE_SECONDS)
