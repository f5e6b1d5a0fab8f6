"""What the ranking engine answers: services and changes with probabilities, and the findings that say why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from integrations.records import ChangeEvent, ModelUse, Readers

FindingKind = Literal["trace", "metric", "log", "change"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the numbers of a finding come from: one batch's source, readers and address."""

    source: str
    readers: Readers
    model: ModelUse = "allowed"
    url: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence with counts about one service, and where a person can check it."""

    key: str
    """Stable within an incident: what is measured, not its value."""
    kind: FindingKind
    service: str
    title: str
    text: str
    score: float
    seen_at: datetime
    """When it was first seen in the window."""
    origins: tuple[Origin, ...]
    url: str = ""
    templates: tuple[str, ...] = ()
    """The log templates it is about, where it is about any."""
    trace_id: str = ""
    """The first trace that shows it, where one does."""


@dataclass(frozen=True, slots=True)
class ServiceCause:
    """How strongly the telemetry points at one service. `probability` is calibrated and may sum to less than 1."""

    service: str
    score: float
    probability: float
    findings: tuple[Finding, ...] = ()
    signs: Mapping[str, float] = field(default_factory=dict)
    """How much of each sign it shows, before weights: what `--fit` learns from."""


@dataclass(frozen=True, slots=True)
class ChangeCause:
    """A change as a suspect, with its calibrated probability."""

    change: ChangeEvent
    score: float
    probability: float


@dataclass(frozen=True, slots=True)
class Symptom:
    """What users feel, with the number and its normal, where the telemetry of the alerting service shows it."""

    text: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class Causes:
    """Services and changes, most probable first. Nothing stands out when no probability reaches "possibly"."""

    services: tuple[ServiceCause, ...]
    changes: tuple[ChangeCause, ...]
    began_at: datetime
    """When the trouble began, as far as the telemetry shows it; else the alert's time."""
    symptom: Symptom | None = None
    looked_at: tuple[str, ...] = ()
    """What was looked at, in words and counts, for "nothing stands out"."""
