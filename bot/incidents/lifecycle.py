"""An incident's life from the reports of its transitions: pure, and the same whatever order they arrive in.

A transition may be reported by a webhook (milliseconds) and by the poller (often whole seconds), twice, late or out
of order. So every report is kept and the life is derived from all of them: reports of one kind within 120 s of each
other with no opposite between are the same transition, and a time that has milliseconds stands before one that has
not (then the earlier).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from integrations.records import IncidentStatus

TransitionKind = Literal["triggered", "acknowledged", "unacknowledged", "mitigated", "resolved", "reopened"]
TRANSITIONS: frozenset[str] = frozenset(
    {"triggered", "acknowledged", "unacknowledged", "mitigated", "resolved", "reopened"}
)
SAME_WITHIN = timedelta(seconds=120)

_OPPOSITES: dict[str, frozenset[str]] = {
    "triggered": frozenset({"resolved"}),
    "acknowledged": frozenset({"unacknowledged", "resolved", "reopened"}),
    "unacknowledged": frozenset({"acknowledged"}),
    "mitigated": frozenset({"reopened", "resolved"}),
    "resolved": frozenset({"reopened", "triggered"}),
    "reopened": frozenset({"resolved"}),
}
_ORDER = ("triggered", "reopened", "acknowledged", "unacknowledged", "mitigated", "resolved")
"""What comes first when two transitions carry the same time."""


@dataclass(frozen=True, slots=True)
class Report:
    """One source's word that a transition happened; `source` is webhook, poll, slack, …"""

    kind: TransitionKind
    at: datetime
    source: str
    said_by: str | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """What the reports add up to. `acknowledged_at` is the first acknowledgement, `resolved_at` the last resolution
    unless the incident was reopened after it."""

    status: IncidentStatus
    triggered_at: datetime
    acknowledged_at: datetime | None
    mitigated_at: datetime | None
    resolved_at: datetime | None
    reopened: int
    transitions: tuple[Report, ...]


def derive(reports: Iterable[Report], created_at: datetime) -> Life:
    """`created_at` is the incident's own creation time: the trigger, where no report of it has arrived yet."""
    transitions = merge(reports)
    status: IncidentStatus = "triggered"
    acknowledged = mitigated = resolved = None
    triggered = next((t.at for t in transitions if t.kind == "triggered"), created_at)
    reopened = 0
    for transition in transitions:
        match transition.kind:
            case "acknowledged":
                acknowledged = acknowledged or transition.at
                status = "acknowledged"
            case "mitigated":
                mitigated = mitigated or transition.at
                status = "mitigated"
            case "resolved":
                resolved, status = transition.at, "resolved"
            case "reopened":
                reopened += 1
                resolved, status = None, "triggered"
            case "triggered" | "unacknowledged":
                status = "triggered" if status != "resolved" else status
    return Life(status, triggered, acknowledged, mitigated, resolved, reopened, transitions)


def merge(reports: Iterable[Report]) -> tuple[Report, ...]:
    """The distinct transitions, in order of time."""
    ordered = sorted(set(reports), key=lambda r: (r.at, _ORDER.index(r.kind), r.source))
    clusters: list[list[Report]] = []
    for report in ordered:
        cluster = _open_cluster(clusters, report)
        if cluster is None:
            clusters.append([report])
        else:
            cluster.append(report)
    merged = [min(cluster, key=lambda r: (r.at.microsecond == 0, r.at, r.source)) for cluster in clusters]
    return tuple(sorted(merged, key=lambda r: (r.at, _ORDER.index(r.kind))))


def _open_cluster(clusters: Sequence[list[Report]], report: Report) -> list[Report] | None:
    for cluster in reversed(clusters):
        if cluster[0].kind == report.kind:
            return cluster if report.at - cluster[0].at <= SAME_WITHIN else None
        if cluster[0].kind in _OPPOSITES[report.kind]:
            return None
    return None
