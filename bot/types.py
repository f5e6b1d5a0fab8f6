"""What flows between the rooms after `rank`: Ranked, Suspect, Summary, Released, Rejected. Has no floor of its own.

All of it is JSON (pydantic), because it crosses durable steps; all of it is already permitted and redacted.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from integrations.records import ChangeKind, Evidence, Incident, Readers, Record, UtcTime

MAX_EVIDENCE = 64
"""Items that may leave the gather step."""
MAX_RANKED_BYTES = 128 * 1024
"""Size of `Ranked` as JSON, asserted where it leaves the gather step."""

Confidence = Literal["almost certainly", "probably", "possibly", "nothing stands out"]

ModelOutcome = Literal[
    "released", "superseded", "rejected", "model_refused", "truncated", "not_admitted", "budget", "breaker",
    "deadline", "malformed", "wrong_model", "off",
]  # fmt: skip


def confidence(probability: float) -> Confidence:
    """The fixed word for a calibrated probability (CARD.md, principle 3)."""
    if probability >= 0.9:
        return "almost certainly"
    if probability >= 0.7:
        return "probably"
    if probability >= 0.4:
        return "possibly"
    return "nothing stands out"


class Reason(Record):
    """One sentence that a person can check, and the marks of the items that show it."""

    text: str
    evidence: tuple[str, ...] = ()


class Suspect(Record):
    """A ranked ChangeEvent with its reasons. `mark` is the change's own evidence item."""

    change_id: str
    mark: str
    service: str | None
    kind: ChangeKind
    summary: str
    changed_at: UtcTime
    seconds_before: float
    """How long before the first alert it happened; negative if after."""
    score: float
    probability: Annotated[float, Field(ge=0, le=1)]
    reasons: tuple[Reason, ...]
    url: str = ""
    rollback_url: str | None = None
    rollback: str = ""
    """The command that goes back, where there is no page for it."""
    ruled_out: bool = False


class ServiceScore(Record):
    """How strongly telemetry points at a service. A ranked service is not a suspect."""

    service: str
    score: float
    probability: Annotated[float, Field(ge=0, le=1)]
    reasons: tuple[Reason, ...]
    signs: dict[str, float] = Field(default_factory=dict)
    """How much of each sign of the ranking it shows, before weights: labelled incidents are fitted on them."""


class SourceStatus(Record):
    """What became of asking one source; `note` is a finished sentence for the card, empty when all is well."""

    name: str
    answered: bool
    note: str = ""
    seconds: float = 0.0


class TimelineEntry(Record):
    """One line of the card's timeline."""

    at: UtcTime
    text: str
    evidence: tuple[str, ...] = ()


class SpanBar(Record):
    """One call of a waterfall. `depth` counts the callers above it that are shown; times are milliseconds from the
    trace's start."""

    service: str
    name: str
    depth: int
    start_ms: float
    duration_ms: float
    failed: bool = False


class Waterfall(Record):
    """The telling calls of one trace, in the order of the calls; `spans` counts all of the trace."""

    mark: str
    """The evidence item that it shows."""
    trace_id: str
    total_ms: float
    spans: int
    bars: tuple[SpanBar, ...]
    readers: Readers
    """Of every batch that the calls were taken from: calls of several services may come from several sources."""


class Plot(Record):
    """One metric around the incident, thinned. `points`: seconds since the epoch, value in `unit` (see Series)."""

    mark: str
    name: str
    service: str
    unit: str
    usual: float | None
    """The median of what came before the incident; None where nothing did."""
    points: tuple[tuple[float, float], ...]
    readers: Readers


class Ranked(Record):
    """All that leaves the gather step: permitted, redacted, ranked, at most 64 items and 128 KiB of JSON.

    `headline` is the one sentence with the number and its normal ("38 % of requests fail (normal 0.2 %)"), or the
    alert's own title. `fallback` is the reason in words why only the fallback card may be shown, else None.
    """

    incident: Incident
    headline: str
    evidence: tuple[Evidence, ...] = Field(max_length=MAX_EVIDENCE)
    suspects: tuple[Suspect, ...] = ()
    services: tuple[ServiceScore, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()
    waterfalls: tuple[Waterfall, ...] = ()
    plots: tuple[Plot, ...] = ()
    looked_at: tuple[str, ...] = ()
    """What was looked at, in words with counts ("46 services"), for when nothing stands out."""
    sources: tuple[SourceStatus, ...] = ()
    hidden: int = 0
    """Items that were found and that the audience may not read."""
    model_withheld: int = 0
    """Items that the audience may read and the model may not."""
    alerts_in_storm: int = 1
    owner: str | None = None
    on_call: str | None = None
    not_mapped: tuple[str, ...] = ()
    fallback: str | None = None
    notices: tuple[str, ...] = ()
    """Finished sentences for the card's last line (stale groups, sampled data, a setting that widens)."""
    collected_at: UtcTime
    permitted_at: UtcTime
    audience: str = ""
    """The audience's signature: who the post was filtered for."""
    basis: Readers = Field(default_factory=Readers.nobody)
    """Who may read everything that was looked at, shown as an item or not. Texts that cite no item (headline, what was
    looked at) may come from any of it, so they are for these readers alone."""
    snapshot: str = ""
    """Digest of the evidence, for cache keys and the prompt's fence."""


class Claim(Record):
    """One sentence of a summary with the marks that it cites."""

    text: str
    evidence: tuple[str, ...]


class Summary(Record):
    """A model's text, checked: what is going on, what probably caused it, what to look at next."""

    going_on: tuple[Claim, ...]
    cause: tuple[Claim, ...]
    next: tuple[Claim, ...]


class Usage(Record):
    """What one call cost. `attempts` counts requests sent."""

    model: str
    answered_by: str = ""
    prompt: str
    prompt_sha256: str
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    latency_seconds: float = 0.0
    attempts: int = 0
    cache_hit: bool = False
    call_id: str = ""
    """The row of `calls` that tells the rest; empty where nothing was recorded."""


class Released(Record):
    """A summary that `check` lets out."""

    summary: Summary
    usage: Usage


class Rejected(Record):
    """No summary, and why: one outcome of the enum and one finished sentence for the card."""

    outcome: ModelOutcome
    reason: str
    usage: Usage | None = None
