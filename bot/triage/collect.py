"""The room `collect`: what the sources of one incident answered, before anybody asked who may read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from bot.types import SourceStatus
from integrations.records import Evidence, Incident, Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What collect, permit and redact hand on; each of the three has a type of its own, so that none can be skipped."""

    incident: Incident
    telemetry: Telemetry
    """Spans, log records, series and changes of the question's window (`telemetry.window`), and the baselines."""
    collected_at: datetime
    evidence: tuple[Evidence, ...] = ()
    """Citable text: alerts, runbooks, past incidents, … Changes may be among it; `rank` adds those that are not."""
    edges: frozenset[tuple[str, str]] = frozenset()
    """The call graph: caller and callee, observed or declared."""
    sources: tuple[SourceStatus, ...] = ()
    on_call: str | None = None
    """Role or team, never a person's name."""
    owner: str | None = None
    alerts_in_storm: int = 1
    not_mapped: tuple[str, ...] = ()
    """Service names that no `[services]` entry knows."""
    alerting: str | None = field(default=None)
    """The service that alerts, in our name; None: the incident's own."""

    @property
    def alerting_service(self) -> str | None:
        return self.alerting or self.incident.service


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected(Material):
    """Everything the sources answered. May hold what the audience may not read, and secrets."""
