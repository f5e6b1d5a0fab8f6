"""What an export holds, table by table: which columns, and what each of them means.

No text from outside is among them: no title, no evidence, no prompt, no answer, no message body. Persons are numbered
anew in every export. The descriptions go into the metadata file beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PERSON, CLEAN, NUMBER, SUSPECTS, CHANGE, SERVICE, MERGED = (
    "person", "clean", "number", "suspects", "change", "service", "merged",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """One table of an export. `column` is the time that `--since` and `--until` cut by; "" = by its incident's."""

    name: str
    what: str
    columns: Mapping[str, str]
    column: str = ""
    treated: Mapping[str, str] = field(default_factory=dict)
    """Columns whose persons are numbered, words that are redacted once more, ids that become numbers."""


_INCIDENT = "the incident"
_TRIAGE = "the triage, as incident/number"

TABLES: tuple[Table, ...] = (
    Table(
        "incidents", "One disruption and the summary of its times; who said each is in incident_times.",
        {
            "id": _INCIDENT, "number": "its number at the source", "service": "our name of the service",
            "source": "who brought it first", "severity": "1 is worst; as it is now",
            "first_severity": "at the first signal: the stratum comes from this",
            "urgency": "the source's word", "priority": "the source's word", "status": "as it is now",
            "unit_id": "incidents that share one assignment", "merged_into": "the incident whose card goes on",
            "reopened": "how often", "triages": "how many were started", "triggered_at": "start, aware UTC",
            "acknowledged_at": "first acknowledge", "mitigated_at": "first mitigated",
            "resolved_at": "last resolution; empty: open", "first_signal_at": "the earliest signal's own time",
            "received_at": "when the first signal arrived here",
        },
        column="triggered_at", treated={"merged_into": MERGED},
    ),
    Table(
        "incident_times", "Every transition that a source reported.",
        {
            "incident_id": _INCIDENT, "kind": "triggered, acknowledged, mitigated, resolved, reopened, …",
            "at": "the source's own time", "source": "who reported it", "said_by": "role, or a numbered person",
            "recorded_at": "when we heard of it",
        },
        treated={"said_by": PERSON},
    ),
    Table(
        "incident_marks", "A person's word that an incident was a test or a duplicate.",
        {"incident_id": _INCIDENT, "mark": "test or duplicate", "by": "a numbered person", "at": "when",
         "reason": "in their words", "undone_at": "when it was taken back"},
        treated={"by": PERSON, "reason": CLEAN},
    ),
    Table(
        "units", "Incidents that share one assignment.",
        {"id": "the unit", "triggered_at": "start of its first incident", "services": "JSON list",
         "stratum": "severity at the first signal, at most 3 levels"},
        column="triggered_at",
    ),
    Table(
        "assignments", "Which arm a unit is in. For admins: it names arms.",
        {"unit_id": "the unit", "experiment": "its name", "arm": "control or treatment", "stratum": "of the assignment",
         "ordinal": "number of the unit in its stratum; four make a block", "seed_sha256": "hash of the seed",
         "assigned_at": "before the first post", "flag": "the feature-flag evaluation, JSON, OpenTelemetry's names"},
        column="assigned_at",
    ),
    Table(
        "exposures", "What was posted when, against acknowledge and end.",
        {"incident_id": _INCIDENT, "kind": "card, or none (shadow mode, arm off)", "at": "when the card went out",
         "before_acknowledged": "1, 0, or empty while nobody did", "before_resolved": "1, 0, or empty while open"},
    ),
    Table(
        "triages", "One run for one incident: outcome, suspects, cost.",
        {
            "id": _TRIAGE, "incident_id": _INCIDENT, "n": "1, 2, …", "arm": "what the unit's arm shows",
            "experiment": "its name; empty outside one", "reason": "signal, request, override",
            "flag": "the feature-flag evaluation, JSON, OpenTelemetry's names",
            "outcome": "released, superseded, rejected, model_refused, truncated, not_admitted, budget, breaker, "
                       "deadline, malformed, wrong_model, off",
            "outcome_reason": "why there is no summary",
            "hidden": "items that not every reader may see; only their count",
            "suspects": "JSON list: change_id, service, probability, best first", "model": "the pin's name",
            "prompt": "name and version", "tokens": "in and out", "cost_usd": "of all its calls",
            "timings": "JSON: received_at, first_post_seconds", "started_at": "when it began",
            "facts_at": "when the card went out", "summary_at": "when the summary did", "recorded_at": "when it ended",
        },
        column="started_at", treated={"outcome_reason": CLEAN, "suspects": SUSPECTS},
    ),
    Table(
        "calls", "One call of a model: outcome, tokens, cost, latency. No prompt and no answer.",
        {
            "id": "the call", "triage_id": _TRIAGE, "incident_id": _INCIDENT, "use": "triage, ask, …",
            "prompt": "name and version", "prompt_sha256": "of its files", "model": "the pin's name",
            "answered_by": "what the endpoint said it was", "tokens_in": "", "tokens_cached": "of tokens_in",
            "tokens_out": "", "cost_usd": "by the pin's prices", "latency_seconds": "all attempts",
            "attempts": "requests", "cache_hit": "1: answered from the cache", "outcome": "the one enum of outcomes",
            "started_at": "", "ended_at": "",
        },
        column="started_at",
    ),
    Table(
        "spend", "Money, one attempt a row: reserved before the request, settled after it.",
        {"workflow_id": _TRIAGE, "step": "", "attempt": "1, 2, …", "use": "", "model": "the pin's name",
         "team": "who pays", "incident_id": _INCIDENT, "reserved_usd": "", "settled_usd": "empty while open",
         "state": "open or settled", "reserved_at": "", "settled_at": ""},
        column="reserved_at",
    ),
    Table(
        "votes", "Helpful or not: one a person and incident, the latest.",
        {"incident_id": _INCIDENT, "triage_id": _TRIAGE, "post_version": "of the card", "by": "a numbered person",
         "vote": "helpful or not_helpful", "at": "when"},
        treated={"by": PERSON},
    ),
    Table(
        "labels", "A person's word about a cause; the latest of an incident counts, those with ruled_out are none.",
        {"id": "the label", "incident_id": _INCIDENT, "triage_id": _TRIAGE, "by": "a numbered person", "at": "when",
         "cause": "change, service, external, unknown", "service": "", "change_id": "", "suspect_rank": "1 is first",
         "ruled_out": "the change that it was not", "undone_at": "when it was taken back"},
        treated={"by": PERSON, "id": NUMBER, "service": SERVICE, "change_id": CHANGE, "ruled_out": CHANGE},
    ),
    Table(
        "pauses", "When the model was paused, by a cutline or a person.",
        {"id": "the pause", "experiment": "empty: everything", "cutline": "empty: a person", "reason": "in words",
         "by": "a numbered person, or sitrep", "at": "from", "resumed_by": "a numbered person", "resumed_at": "to"},
        column="at", treated={"by": PERSON, "resumed_by": PERSON, "reason": CLEAN},
    ),
)  # fmt: skip
"""In the order in which they are written."""

EXPERIMENTS: Mapping[str, str] = {
    "name": "the file's name", "control": "what the control arm shows", "treatment": "what the treatment shows",
    "starts_on": "00:00 UTC of this day", "tau_hours": "a unit is read this long after its start",
    "verdict_rule": "planned or open", "horizon_weeks": "of the planned rule", "cannot_find": "said before the start",
    "hypothesis": "the whole file, JSON", "sha256": "of the file", "seed_sha256": "of the assignment seed",
    "seed": "hexadecimal; empty before the end",
}  # fmt: skip
ROWS: Mapping[str, str] = {
    "experiment": "its name", "part": "experiment, or baseline (the 13 weeks before it)", "incident_id": _INCIDENT,
    "stratum": "of the assignment", "service": "", "arm": "control or treatment; empty in a baseline",
    "triggered_at": "", "resolved_at": "by the order of sources of the hypothesis; empty: open",
    "storm_id": "the unit", "ordinal": "number of the unit in its stratum",
    "left_out": "why its outcome is not counted",
}  # fmt: skip
"""`experiment_rows`: what `sitrep experiment analyse` reads, and what the report's verdict was computed from."""

QUERIES: Mapping[str, tuple[str, str]] = {
    "times_by_week": (
        "MTTA, MTTR and incidents by week (UTC) of the start",
        "SELECT date(i.triggered_at, 'weekday 0', '-6 days') AS monday, count(*) AS incidents, "
        "avg((julianday(i.acknowledged_at) - julianday(i.triggered_at)) * 1440) AS mtta_minutes, "
        "count(i.acknowledged_at) AS acknowledged, "
        "avg((julianday(i.resolved_at) - julianday(i.triggered_at)) * 1440) AS mttr_minutes, "
        "count(i.resolved_at) AS resolved FROM incidents i GROUP BY monday ORDER BY monday",
    ),
    "times_by_service_and_severity": (
        "MTTR by service and severity",
        "SELECT i.service, i.severity, count(*) AS incidents, "
        "avg((julianday(i.resolved_at) - julianday(i.triggered_at)) * 1440) AS mttr_minutes, "
        "count(i.resolved_at) AS resolved FROM incidents i GROUP BY i.service, i.severity ORDER BY incidents DESC",
    ),
    "cost_by_use_and_model": (
        "Dollars, requests and dollars per 1,000 requests",
        "SELECT use, model, count(*) AS requests, sum(coalesce(settled_usd, reserved_usd)) AS usd,"
        " 1000.0 * sum(coalesce(settled_usd, reserved_usd)) / count(*) AS usd_per_1000_requests"
        " FROM spend GROUP BY use, model ORDER BY usd DESC",
    ),
    "outcomes": (
        "How triages ended, and why there was no summary",
        "SELECT outcome, outcome_reason, count(*) AS triages, sum(cost_usd) AS usd FROM triages"
        " GROUP BY outcome, outcome_reason ORDER BY triages DESC",
    ),
    "suspects_against_labels": (
        "The first suspect against the latest label of its incident, by prompt and model",
        "WITH latest AS (SELECT incident_id, max(at) AS at FROM labels WHERE ruled_out IS NULL AND undone_at IS NULL"
        " GROUP BY incident_id), told AS (SELECT l.* FROM labels l JOIN latest x ON x.incident_id = l.incident_id"
        " AND x.at = l.at WHERE l.ruled_out IS NULL AND l.undone_at IS NULL)"
        " SELECT t.prompt, t.model, count(*) AS labelled, sum(told.cause = 'change' AND told.change_id ="
        " json_extract(t.suspects, '$[0].change_id')) AS first_right, avg(json_extract(t.suspects,"
        " '$[0].probability')) AS stated FROM told JOIN triages t ON t.incident_id = told.incident_id"
        " WHERE json_extract(t.suspects, '$[0].probability') >= 0.4 GROUP BY t.prompt, t.model",
    ),
    "causes": (
        "What people said had caused incidents",
        "SELECT cause, service, change_id, count(DISTINCT incident_id) AS incidents FROM labels"
        " WHERE ruled_out IS NULL AND undone_at IS NULL GROUP BY cause, service, change_id ORDER BY incidents DESC",
    ),
    "exposure_by_arm": (
        "Was the card there before somebody acknowledged, and before the end",
        "SELECT a.experiment, a.arm, count(*) AS incidents, sum(e.kind = 'card') AS posted,"
        " sum(e.before_acknowledged) AS before_acknowledged, sum(e.before_resolved) AS before_resolved"
        " FROM assignments a JOIN incidents i ON i.unit_id = a.unit_id LEFT JOIN exposures e ON e.incident_id = i.id"
        " GROUP BY a.experiment, a.arm",
    ),
    "analyse": (
        "The CSV of `sitrep experiment analyse --csv`",
        "SELECT incident_id, stratum, service, arm, triggered_at, resolved_at, storm_id, ordinal, left_out"
        " FROM experiment_rows WHERE part = 'experiment' ORDER BY triggered_at, incident_id",
    ),
}
