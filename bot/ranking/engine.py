"""Which service and which change: `rank_causes`."""

from __future__ import annotations

from collections.abc import Mapping

from bot.ranking.causes import Causes, ServiceCause
from bot.ranking.changes import rank_changes
from integrations.records import Telemetry

REACH = 3


def rank_causes(
    telemetry: Telemetry, *, alerting: str | None, edges: frozenset[tuple[str, str]] = frozenset()
) -> Causes:
    """Services and changes, most probable first."""
    near = _by_distance(alerting, edges)
    services = tuple(
        ServiceCause(service=name, score=weight, probability=weight)
        for name, weight in sorted(near.items(), key=lambda one: (-one[1], one[0]))
    )
    began_at = telemetry.window.end
    return Causes(
        services=services,
        changes=rank_changes(telemetry.changes, near, began_at),
        began_at=began_at,
        looked_at=(f"{len(telemetry.changes)} changes",) if telemetry.changes else (),
    )


def _by_distance(alerting: str | None, edges: frozenset[tuple[str, str]]) -> Mapping[str, float]:
    """What the call graph alone says: the alerting service and what it calls, halved at each call."""
    if alerting is None:
        return {}
    weights, frontier = {alerting: 0.3}, {alerting}
    for hop in range(1, REACH + 1):
        frontier = {callee for caller, callee in edges if caller in frontier and callee not in weights}
        for one in frontier:
            weights[one] = 0.3 * 0.5**hop / max(1, len(frontier))
    return weights
