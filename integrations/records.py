"""The nouns that every integration speaks: Readers, Incident, Signal, Alert, ChangeEvent, Telemetry, Evidence.

Times are aware UTC datetimes named `…_at`; high-volume telemetry uses integer nanoseconds since the epoch
(`…_ns`) as OTLP does. Everything here is immutable. What crosses a step boundary is a pydantic model and has a
JSON form; telemetry (spans, log records, series) never does and is made of slotted dataclasses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_serializer, model_validator

from integrations.packed import Packed as Packed

EVERYONE = "everyone"
"""The built-in group of the workspace's full members."""
WORLD = "world"
"""The built-in group of everybody, guests and partners included."""


T = TypeVar("T")


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time without a zone; every time here is aware UTC")
    return value


UtcTime = Annotated[datetime, AfterValidator(_aware)]


class Record(BaseModel):
    """Base of the records that are stored or cross a step boundary: immutable, and no unknown field."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Readers(Record):
    """Who may read an item: a set of any-of sets of group names.

    A principal reads the item if it is in at least one group of *each* set. Source, service and item contribute
    at most one set each, so none can widen another. An empty any-of set lets nobody read, and "no set at all"
    cannot be constructed: unknown is `Readers.nobody()`. The JSON form is a sorted list of sorted lists, which
    is the signature that index and cache use.
    """

    sets: frozenset[frozenset[str]]

    @model_validator(mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return {"sets": value} if isinstance(value, list | tuple | set | frozenset) else value

    @model_validator(mode="after")
    def _never_vacuous(self) -> Readers:
        if not self.sets:
            raise ValueError("readers without a set would let everybody read; use Readers.nobody()")
        return self

    @model_serializer
    def _to_json(self) -> list[list[str]]:
        return sorted(sorted(any_of) for any_of in self.sets)

    @classmethod
    def of(cls, *any_of: Iterable[str]) -> Readers:
        """`Readers.of(["payments", "sre"], ["everyone"])`: in payments or sre, and in everyone."""
        return cls(sets=frozenset(frozenset(one) for one in any_of))

    @classmethod
    def nobody(cls) -> Readers:
        return cls.of(())

    def narrowed(self, other: Readers | None) -> Readers:
        """Both must hold; never wider than either."""
        return self if other is None else Readers(sets=self.sets | other.sets)

    def admit(self, groups: frozenset[str] | set[str]) -> bool:
        """Whether a principal in these groups may read. The reference definition of the whole permission rule."""
        return all(any_of & groups for any_of in self.sets)

    @property
    def signature(self) -> str:
        """The JSON form as one canonical string."""
        return json.dumps(self._to_json(), separators=(",", ":"))


EvidenceKind = Literal["alert", "change", "trace", "metric", "log", "runbook", "past_incident", "ownership", "message"]
ModelUse = Literal["allowed", "never"]


class Evidence(Record):
    """One citable item. Cannot be constructed without who may read it, where it is from and when it was seen.

    `id` is stable per source (`<source>/<kind>/<external id>`): fetched again it is the same item. `mark`
    (`e1`, `e2`, …) is numbered once per incident when the item is first kept, and is empty until then.
    """

    id: str = Field(min_length=1)
    kind: EvidenceKind
    source: str = Field(min_length=1)
    observed_at: UtcTime
    fetched_at: UtcTime
    url: str
    readers: Readers
    title: str
    text: str
    service: str | None = None
    model: ModelUse = "allowed"
    mark: str = ""
    suspicious: bool = False
    attributes: dict[str, str] = Field(default_factory=dict)
    """What the kind's own code needs again, such as a change's id; strings, redacted like the text."""


ChangeKind = Literal["deploy", "rollout", "config", "flag", "scale", "migration", "release", "merge", "other"]


class ChangeEvent(Record):
    """A change that is not itself a problem (PagerDuty change events, CDEvents).

    `size` is how much changed, in `size_unit`, where the source says so; `inferred` marks one read from merges or
    releases because the repository has no deployments. `author_role` is a role or team, never a person's name.
    """

    id: str
    kind: ChangeKind
    service: str | None
    changed_at: UtcTime
    summary: str
    source: str
    url: str
    readers: Readers
    environment: str | None = None
    commit: str | None = None
    author_role: str | None = None
    size: int | None = None
    size_unit: Literal["lines", "settings", "keys"] = "lines"
    files: tuple[str, ...] = ()
    detail: str = ""
    """What changed, as far as the source shows it (an excerpt of the diff), outside text."""
    diff_url: str | None = None
    rollback_url: str | None = None
    rollback: str = ""
    """The command that goes back, where a system has one and no page for it."""
    risk: Literal["low", "medium", "high"] | None = None
    inferred: bool = False
    model: ModelUse = "allowed"


class Alert(Record):
    """A problem in a monitored system. `service` and `link` are null when the sender does not say: "unrouted"."""

    title: str
    service: str | None
    severity: str
    status: Literal["firing", "acknowledged", "resolved"]
    started_at: UtcTime
    link: str | None
    dedupe_key: str
    labels: dict[str, str] = Field(default_factory=dict)
    extra: dict[str, Any] = Field(default_factory=dict)
    """Everything the sender said that has no field here, unchanged."""


SignalKind = Literal[
    "triggered", "acknowledged", "unacknowledged", "mitigated", "resolved", "reopened",
    "escalated", "reassigned", "annotated", "priority_updated", "alert", "change", "unknown",
]  # fmt: skip


IncidentStatus = Literal["triggered", "acknowledged", "mitigated", "resolved"]


class IncidentFields(Record):
    """What an incident source says about an incident in one message; `service` and `priority` are its own words."""

    title: str
    url: str
    source: str = "pagerduty"
    number: int | None = None
    service: str | None = None
    service_ref: str | None = None
    urgency: str | None = None
    priority: str | None = None
    teams: tuple[str, ...] = ()
    own_channel: str | None = None
    """The channel that is the incident's own, where the source knows one (Slack's id)."""
    created_at: UtcTime | None = None
    status: IncidentStatus | None = None
    """As this message says it; the life cycle is derived from transitions, and this only where there was none."""
    acknowledged_at: UtcTime | None = None

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> IncidentFields:
        """From what was stored, by whichever version: keys that this one does not know are left out."""
        return cls.model_validate({key: value for key, value in stored.items() if key in cls.model_fields})


class Signal(Record):
    """One message from outside that something happened, redacted, stored before it is acknowledged.

    `delivery_key` drops repeats of one delivery; `(incident_id, kind, order)` is the transition that is applied.
    `body` is the parsed payload after redaction; `sha256` is of the raw bytes as received.
    """

    delivery_key: str
    source: str
    kind: SignalKind
    incident_id: str | None
    occurred_at: UtcTime
    received_at: UtcTime
    body: dict[str, Any]
    sha256: str
    incident: IncidentFields | None = None
    """The incident as this message describes it; None when it is about none."""
    said_by: str | None = None
    """Role of who did it ("responder", "integration"), never a person's name."""


class Incident(Record):
    """An unplanned disruption. Times are the incident source's own; `severity` is 1 (worst) to 5 by the settings."""

    workspace_id: str
    id: str
    number: int | None = None
    title: str
    service: str | None
    """Our name of the service (a key of `[services]`), else the source's own word."""
    source: str = "pagerduty"
    service_ref: str | None = None
    """What the incident source calls the service (PagerDuty's id)."""
    severity: int = Field(ge=1, le=5)
    urgency: str | None = None
    priority: str | None = None
    status: IncidentStatus = "triggered"
    url: str
    triggered_at: UtcTime
    acknowledged_at: UtcTime | None = None
    mitigated_at: UtcTime | None = None
    resolved_at: UtcTime | None = None
    reopened: int = 0
    teams: tuple[str, ...] = ()
    on_call: str | None = None
    """Role or team of who is on call, never a person's name."""
    channel: str | None = None
    """The incident's own channel where one is known."""


# --- telemetry: many, short-lived, never stored -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """One OpenTelemetry span. `kind` is OTLP's word in lower case; `error` is status ERROR or an http 5xx."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    start_ns: int
    end_ns: int
    kind: str = "internal"
    error: bool = False
    pod: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One log line. `level` is upper case (`ERROR`, `WARN`, `INFO`, …); ids are empty when unknown."""

    at_ns: int
    service: str
    level: str
    body: str
    trace_id: str = ""
    span_id: str = ""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric over time, for one service. `times` in seconds since the epoch, gaps are missing points.

    `name` is what is measured, as a responder says it (`cpu`, `memory`, `error_ratio`, `request_rate`,
    `latency_p95`, `saturation`, or the metric's own name); `unit` is `percent`, `ratio`, `seconds`, `per_second`,
    `bytes` or empty.
    """

    name: str
    service: str
    times: Sequence[float]
    values: Sequence[float]
    unit: str = ""
    pod: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """Records of one source with the readers that all of them share. `model` says whether a model may see them."""

    source: str
    readers: Readers
    records: Sequence[T] = field(repr=False)
    """Not in the repr: it is long, and may hold what nobody should find in a log."""
    model: ModelUse = "allowed"
    url: str = ""
    """Where a person sees them: a template with `{trace_id}` for traces, else an address."""


def services_in(batch: Batch[Any]) -> frozenset[str]:
    """The services that a batch's records are of, without reading what is packed."""
    records = batch.records
    return records.services if isinstance(records, Packed) else frozenset(one.service for one in records)


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, start inclusive, end exclusive."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Baseline:
    """What "normal" looks like: one healthy window's spans and log records."""

    window: Window
    spans: tuple[Batch[Span], ...] = ()
    logs: tuple[Batch[LogRecord], ...] = ()


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Typed numbers and records of one incident, for `rank` alone. Never stored, never leaves the gather step."""

    window: Window
    spans: tuple[Batch[Span], ...] = ()
    logs: tuple[Batch[LogRecord], ...] = ()
    series: tuple[Batch[Series], ...] = ()
    changes: tuple[ChangeEvent, ...] = ()
    baselines: tuple[Baseline, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceNames:
    """What each system calls one service of ours. Empty tuples mean "not mapped": match by name."""

    name: str
    otel: tuple[str, ...] = ()
    pagerduty: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    kubernetes: tuple[str, ...] = ()
    prometheus: Mapping[str, str] = field(default_factory=dict)
    applications: tuple[str, ...] = ()
    """Argo CD's."""
    flags: tuple[str, ...] = ()
    """Keys of feature flags, or patterns of them (`checkout-*`)."""
    logs: Mapping[str, str] = field(default_factory=dict)
    """Labels (Loki) or fields (Elasticsearch) that select its log lines."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a source is asked: about which incident, which services, which window, and the healthy windows before."""

    incident: Incident
    services: tuple[ServiceNames, ...]
    """The incident's service first, then its neighbours in the call graph."""
    window: Window
    baselines: tuple[Window, ...] = ()
    changes_since: datetime | None = None
    patience_seconds: float = 0.0
    """How long the source may take, where that is longer than its own deadline: a late one that is asked again."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What one source answered. `notes` are finished sentences for the card ("past incidents: not in this plan")."""

    evidence: tuple[Evidence, ...] = ()
    spans: tuple[Batch[Span], ...] = ()
    logs: tuple[Batch[LogRecord], ...] = ()
    series: tuple[Batch[Series], ...] = ()
    changes: tuple[ChangeEvent, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    edges: frozenset[tuple[str, str]] = frozenset()
    """Observed calls, caller and callee."""
    edge_readers: Readers = field(default_factory=Readers.nobody)
    """Who may read `edges`; a source that states none shows them to nobody."""
    notes: tuple[str, ...] = ()
    on_call: str | None = None


# --- people ------------------------------------------------------------------------------------------------------


class Person(Record):
    """A principal as a directory reports it. `kind` decides membership of the built-in groups.

    Whatever the directory does not say stays unknown, and unknown is nobody: `kind` "unknown" where a flag is absent,
    `team_id` None where the workspace is.
    """

    id: str
    email: str | None = None
    """Only an address that the directory verified, else None (Slack: None where `is_email_confirmed` is false)."""
    kind: Literal["full", "guest", "single_channel_guest", "stranger", "bot", "unknown"] = "unknown"
    active: bool = True
    team_id: str | None = None
    seen_at: UtcTime


class Channel(Record):
    """A channel's kind as Slack reports it; `shared` is Slack Connect, `pending` an invitation not yet accepted."""

    id: str
    name: str
    private: bool
    shared: bool = False
    pending_share: bool = False
    archived: bool = False


FRESH = timedelta(hours=1)
"""An alert that began longer than this before its incident was triggered tells of something else."""


def first_alert(fired: Iterable[datetime], triggered_at: datetime) -> datetime:
    """When the trouble was first told: by the first alert of the hour before the trigger, by the trigger at the latest.

    Alertmanager sends what has been firing for days in one group with what is new, and senders' clocks differ.
    """
    return min((one for one in fired if triggered_at - FRESH <= one <= triggered_at), default=triggered_at)
