"""What a report is made of: plain rows, whoever reads them from where. Times are aware UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bot.experiment.hypothesis import Hypothesis
from bot.experiment.words import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRow:
    """One incident with its times, by the order of sources that the hypothesis fixes."""

    incident_id: str
    unit_id: str
    service: str
    severity: int
    triggered_at: datetime
    first_signal_at: datetime | None = None
    """The earliest received signal's own time, never revised: a unit starts with it. None: as triggered_at."""
    acknowledged_at: datetime | None = None
    mitigated_at: datetime | None = None
    resolved_at: datetime | None = None
    reopened: int = 0
    left_out: str = ""
    """Why its outcome is not counted (`rollout.left_out`)."""
    from_deployment: bool = False
    """The latest label by a person names a suspect of a kind that is a deployment."""
    arm: str = ""
    """`control`, `treatment`, or "" outside an experiment."""
    stratum: str = ""
    exposed: bool = False
    """A card went out; False in shadow mode."""
    before_acknowledged: bool | None = None
    before_resolved: bool | None = None
    crossover: bool = False
    """A person asked for what its arm withholds."""
    sources_apart: bool = False
    """Sources differ by more than ten minutes about one of its times."""
    corrected: str = ""
    """A timestamp that was corrected after a verdict, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspectRow:
    change_id: str
    service: str
    probability: float
    kind: str = "deploy"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriageRow:
    """One triage as `record` left it."""

    triage_id: str
    incident_id: str
    started_at: datetime
    arm: str = ""
    outcome: str = "off"
    outcome_reason: str = ""
    cost_usd: float = 0.0
    hidden: int = 0
    suspects: tuple[SuspectRow, ...] = ()
    prompt: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRow:
    incident_id: str
    at: datetime
    helpful: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """A person's word about a cause; the latest of an incident wins."""

    incident_id: str
    at: datetime
    cause: str
    """change, service, external, unknown."""
    service: str = ""
    change_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendRow:
    """What the week's requests to one model for one use cost."""

    use: str
    model: str
    requests: int
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A verdict that was given, with what it was given on."""

    verdict: Verdict
    look: int
    at: datetime
    data_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The experiment of a report."""

    hypothesis: Hypothesis
    started_at: datetime
    seed: bytes
    ordinals: Mapping[str, int] = field(default_factory=dict)
    """By unit: its number in its stratum, as recorded at assignment; empty where it is not known."""
    paused: tuple[str, ...] = ()
    """Sentences about pauses: by which cutline, since when, resumed when."""
    given: Given | None = None
    looked_before: int = 0
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything that one report reads. `incidents` reach back to the start of the experiment, or 13 weeks."""

    incidents: tuple[IncidentRow, ...] = ()
    triages: tuple[TriageRow, ...] = ()
    votes: tuple[VoteRow, ...] = ()
    labels: tuple[LabelRow, ...] = ()
    spend: tuple[SpendRow, ...] = ()
    """Of the week alone."""
    running: Running | None = None
    baseline: tuple[IncidentRow, ...] = ()
    hidden_services: frozenset[str] = frozenset()
    """Services that not every reader of the report may read: they count, their names and changes are not shown."""
    earlier_zone: str = ""
    """The time zone of the report before, where it was another."""
    odd: tuple[str, ...] = ()
    """Further things that were odd, in words: a time zone that changed, a source that was down."""
