"""Every metric and span name of Sitrep, in one file. Anybody may import it; it builds nothing at import.

Names follow OpenTelemetry's semantic conventions for generative AI where those have one
(https://opentelemetry.io/docs/specs/semconv/gen-ai/), and start with `sitrep.` where they do not. Attributes carry
ids and counts, never bodies. Without an SDK (wiring installs one) every call here is a cheap no-op.

    telemetry.counter(telemetry.RETRIES).add(1, {telemetry.MODEL: "…"})
    with telemetry.tracer().start_as_current_span(telemetry.SPAN_PERMIT): …
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, UpDownCounter
    from opentelemetry.trace import Tracer

SCOPE = "sitrep"

# --- spans, from the webhook to the post ---------------------------------------------------------------------------
SPAN_DOOR = "sitrep.door"
SPAN_COLLECT = "sitrep.collect"
SPAN_SOURCE = "sitrep.source"
SPAN_PERMIT = "sitrep.permit"
SPAN_REDACT = "sitrep.redact"
SPAN_RANK = "sitrep.rank"
SPAN_COMPOSE = "sitrep.compose"
SPAN_INFER = "sitrep.infer"
SPAN_CHECK = "sitrep.check"
SPAN_OUTBOX = "sitrep.outbox"
SPAN_STEP = "sitrep.step"
"""One durable step; its name is in `sitrep.step.name`."""
SPAN_INCIDENT = "sitrep.incident"
"""The root of an incident's trace, made when the trace is sent: no process lives as long as an incident."""
SPAN_CHAT = "chat"
"""GenAI: the span's full name is `chat <model asked>`; one a logical call."""
SPAN_ATTEMPT = "sitrep.model.attempt"
"""One request sent to an endpoint."""

# --- attributes: GenAI's own words first ----------------------------------------------------------------------------
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
MODEL = "gen_ai.request.model"
ANSWERED_BY = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
MAX_TOKENS = "gen_ai.request.max_tokens"
SEED = "gen_ai.request.seed"
TEMPERATURE = "gen_ai.request.temperature"
OUTPUT_TYPE = "gen_ai.output.type"
API_TYPE = "openai.api.type"
TOKENS_IN = "gen_ai.usage.input_tokens"
TOKENS_OUT = "gen_ai.usage.output_tokens"
TOKENS_CACHED = "gen_ai.usage.cache_read.input_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - an attribute's name
FINGERPRINT = "openai.response.system_fingerprint"
ERROR_TYPE = "error.type"
SERVER = "server.address"
SERVER_PORT = "server.port"
USE = "sitrep.use"
PROMPT = "sitrep.prompt"
PROMPT_SHA256 = "sitrep.prompt.sha256"
SNAPSHOT = "sitrep.snapshot"
OUTCOME = "sitrep.outcome"
WORKSPACE = "sitrep.workspace.id"
INCIDENT = "sitrep.incident.id"
TRIAGE = "sitrep.triage.id"
SOURCE = "sitrep.source.name"
REASON = "sitrep.reason"
STEP = "sitrep.step.name"
PART = "sitrep.part"
PRIORITY = "sitrep.priority"
CALLER = "sitrep.caller"
VERDICT = "sitrep.verdict"
ATTEMPT = "sitrep.attempt"
COST_USD = "sitrep.cost_usd"
CACHE_HIT = "sitrep.cache_hit"

# --- metrics: the model ------------------------------------------------------------------------------------------
MODEL_DURATION = "gen_ai.client.operation.duration"
MODEL_TOKENS = "gen_ai.client.token.usage"
MODEL_COST = "sitrep.model.cost"
MODEL_REQUESTS = "sitrep.model.requests"
MODEL_OUTCOMES = "sitrep.model.outcomes"
EVAL_CASES = "sitrep.eval.cases"
MODEL_CACHED_TOKENS = "sitrep.model.cached_tokens"
MODEL_CACHE_HITS = "sitrep.model.cache_hits"
RETRIES = "sitrep.model.retries"
BREAKER_STATE = "sitrep.model.breaker_state"
QUEUE_DEPTH = "sitrep.model.queue_depth"
QUEUE_WAIT = "sitrep.model.queue_wait"
IN_FLIGHT = "sitrep.model.in_flight"
FINGERPRINT_CHANGES = "sitrep.model.fingerprint_changes"
SPEND_WARNINGS = "sitrep.model.spend_warnings"

# --- metrics: the business ------------------------------------------------------------------------------------------
TRIAGES = "sitrep.triages"
FACTS_SECONDS = "sitrep.facts.seconds"
SUMMARY_SECONDS = "sitrep.summary.seconds"
SUMMARIES = "sitrep.summaries"
SUSPECT_LABELS = "sitrep.suspect.labels"
VOTES = "sitrep.votes"
SIGNALS = "sitrep.signals"
SIGNATURES_REFUSED = "sitrep.signatures_refused"
SOURCE_SECONDS = "sitrep.source.seconds"
SOURCE_FAILURES = "sitrep.source.failures"
HIDDEN = "sitrep.items_hidden"
OUTBOX_WAIT = "sitrep.outbox.wait"
POSTS = "sitrep.posts"
EGRESS = "sitrep.egress.requests"
SIGNALS_SET_ASIDE = "sitrep.signals.set_aside"
RECHECKS = "sitrep.rechecks"
RECHECKS_WAITING = "sitrep.rechecks.waiting"

COUNTERS: dict[str, tuple[str, str]] = {
    MODEL_COST: ("{USD}", "Money settled for model calls, by use, model and prompt"),
    MODEL_REQUESTS: ("{request}", "Requests sent to a model endpoint, by endpoint and error.type"),
    MODEL_OUTCOMES: ("{call}", "Model calls by outcome, use, model, prompt and snapshot"),
    EVAL_CASES: ("{case}", "Golden cases of the nightly evals by use, model and end: passed, failed, not_asked"),
    MODEL_CACHED_TOKENS: ("{token}", "Input tokens that the provider had cached; a part of gen_ai.client.token.usage"),
    MODEL_CACHE_HITS: ("{call}", "Answers taken from the response cache"),
    RETRIES: ("{request}", "Requests that were retries"),
    FINGERPRINT_CHANGES: ("{change}", "Changes of the endpoint's system_fingerprint under one pin"),
    SPEND_WARNINGS: ("{warning}", "Ceilings of spending that reached 80 %"),
    TRIAGES: ("{triage}", "Incidents triaged"),
    SUMMARIES: ("{summary}", "Summaries by outcome"),
    SUSPECT_LABELS: ("{label}", "People's words about the first suspect: right, wrong"),
    VOTES: ("{vote}", "Helpful and not helpful"),
    SIGNALS: ("{signal}", "Signals stored, by source and kind"),
    SIGNATURES_REFUSED: ("{request}", "Deliveries refused for their signature"),
    SOURCE_FAILURES: ("{call}", "Sources that failed or were late"),
    HIDDEN: ("{item}", "Items that an audience may not read"),
    POSTS: ("{post}", "Messages posted and edited, by part and result"),
    SIGNALS_SET_ASIDE: ("{signal}", "Signals that could not be applied and were set aside, by sitrep.source.name"),
    RECHECKS: ("{card}", "Cards permitted again because of their readers, by sitrep.reason"),
    EGRESS: ("{request}", "Outbound requests by host, caller and verdict"),
}
HISTOGRAMS: dict[str, tuple[str, str]] = {
    MODEL_DURATION: ("s", "Seconds of one logical model call, queue and retries included"),
    MODEL_TOKENS: ("{token}", "Tokens of one call, by gen_ai.token.type"),
    QUEUE_WAIT: ("s", "Seconds that a call waited for admission"),
    FACTS_SECONDS: ("s", "Seconds from the signal to the facts card"),
    SUMMARY_SECONDS: ("s", "Seconds from the signal to the summary"),
    SOURCE_SECONDS: ("s", "Seconds that one source took"),
    OUTBOX_WAIT: ("s", "Seconds from a wanted post to the post"),
}
LEVELS: dict[str, tuple[str, str]] = {
    BREAKER_STATE: ("{state}", "1 while an endpoint's circuit is open, else 0"),
    QUEUE_DEPTH: ("{call}", "Calls that wait for admission, by priority"),
    IN_FLIGHT: ("{call}", "Calls that are with an endpoint"),
    RECHECKS_WAITING: ("{card}", "Cards that were not yet permitted again since the last event about their readers"),
}


SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 45.0, 60.0, 120.0)
"""Bucket bounds of durations; the service levels of deploy/prometheus/rules.yml stand at 5 s and 20 s."""
TOKENS = (16.0, 64.0, 256.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 65536.0, 262144.0)


@cache
def counter(name: str) -> Counter:
    """The counter of this name; KeyError for a name that does not stand above."""
    from opentelemetry import metrics

    unit, description = COUNTERS[name]
    return metrics.get_meter(SCOPE).create_counter(name, unit, description)


@cache
def histogram(name: str) -> Histogram:
    """The histogram of this name; KeyError for a name that does not stand above."""
    from opentelemetry import metrics

    unit, description = HISTOGRAMS[name]
    bounds = SECONDS if unit == "s" else TOKENS
    return metrics.get_meter(SCOPE).create_histogram(
        name, unit, description, explicit_bucket_boundaries_advisory=bounds
    )


@cache
def level(name: str) -> UpDownCounter:
    """A value that goes up and down, told by its differences; KeyError for a name that does not stand above."""
    from opentelemetry import metrics

    unit, description = LEVELS[name]
    return metrics.get_meter(SCOPE).create_up_down_counter(name, unit, description)


def tracer() -> Tracer:
    """Sitrep's tracer; spans go nowhere until wiring installs a provider."""
    from opentelemetry import trace

    return trace.get_tracer(SCOPE)


def past_span(name: str, began_ns: int, ended_ns: int) -> None:
    """A span of work that another process did, told when it is over; times in nanoseconds since the epoch."""
    tracer().start_span(name, start_time=began_ns).end(ended_ns)


def root_of(incident_id: str) -> tuple[int, int]:
    """Trace id and root span id of an incident: the same in every process, before and after a crash.

    So the trace goes through the durable queue without being stored in it: whoever works on the incident continues it.
    """
    digest = hashlib.sha256(f"sitrep trace {incident_id}".encode()).digest()
    return int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:24], "big")


@contextlib.contextmanager
def within(incident_id: str | None) -> Iterator[None]:
    """Spans begun inside belong to the incident's trace, unless a span is open already."""
    from opentelemetry import context, trace

    if not incident_id or trace.get_current_span().get_span_context().is_valid:
        yield
        return
    trace_id, span_id = root_of(incident_id)
    root = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(root)))
    try:
        yield
    finally:
        context.detach(token)
