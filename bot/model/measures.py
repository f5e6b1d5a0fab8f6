"""What is measured of a call: its span, its duration, tokens and cost, in the words of the GenAI conventions."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry import trace

from bot import telemetry
from bot.model.attempts import Guards
from bot.model.call import Answer, ModelCall, Refusal, Reply
from bot.model.pins import Pin
from bot.types import Usage
from integrations.ports import Completion


def describe(span: trace.Span, call: ModelCall, pin: Pin, reply: Reply, seconds: float) -> None:
    """The span and the duration of one logical call, in the words of the GenAI conventions."""
    outcome = "answered" if isinstance(reply, Answer) else reply.outcome
    attributes: dict[str, str | int | float | bool] = {
        telemetry.OPERATION: "chat",
        telemetry.PROVIDER: pin.server,
        telemetry.MODEL: pin.name,
        telemetry.USE: call.use,
        telemetry.PROMPT: call.prompt,
    }
    telemetry.histogram(telemetry.MODEL_DURATION).record(seconds, {**attributes, telemetry.OUTCOME: outcome})
    if isinstance(reply, Refusal):
        labels = {telemetry.USE: call.use, telemetry.MODEL: pin.name, telemetry.PROMPT: call.prompt}
        telemetry.counter(telemetry.MODEL_OUTCOMES).add(1, {**labels, telemetry.OUTCOME: reply.outcome})
        span.set_status(trace.StatusCode.ERROR, reply.outcome)
    if usage := reply.usage:
        attributes |= {
            telemetry.ANSWERED_BY: usage.answered_by,
            telemetry.TOKENS_IN: usage.tokens_in,
            telemetry.TOKENS_OUT: usage.tokens_out,
            telemetry.TOKENS_CACHED: usage.tokens_cached,
            telemetry.COST_USD: usage.cost_usd,
            telemetry.CACHE_HIT: usage.cache_hit,
        }
    span.set_attributes(
        {
            **attributes,
            telemetry.OUTCOME: outcome,
            telemetry.PROMPT_SHA256: call.prompt_sha256,
            telemetry.SNAPSHOT: call.snapshot,
            telemetry.WORKSPACE: call.workspace_id,
            telemetry.INCIDENT: call.incident_id or "",
            telemetry.TRIAGE: call.triage_id or "",
            telemetry.MAX_TOKENS: call.max_output_tokens,
        }
    )


def settled(call: ModelCall, pin: Pin, usage: Usage) -> None:
    """Money and tokens of one pin's part of a call."""
    labels = {telemetry.USE: call.use, telemetry.MODEL: usage.model, telemetry.PROMPT: usage.prompt}
    telemetry.counter(telemetry.MODEL_COST).add(usage.cost_usd, {**labels, telemetry.SERVER: pin.host})
    for kind, count in (("input", usage.tokens_in), ("output", usage.tokens_out), ("cached", usage.tokens_cached)):
        telemetry.histogram(telemetry.MODEL_TOKENS).record(count, {**labels, telemetry.TOKEN_TYPE: kind})


def watch_fingerprint(guards: Guards, pin: Pin, done: Completion) -> None:
    """The same pin with another system_fingerprint: the provider changed something beneath the name."""
    if done.fingerprint:
        before, guards.fingerprint = guards.fingerprint, done.fingerprint
        if before and before != done.fingerprint:
            guards.fingerprint_changes += 1
            telemetry.counter(telemetry.FINGERPRINT_CHANGES).add(1, {telemetry.MODEL: pin.name})


def begin_at_zero(models: Iterable[str]) -> None:
    """Counters of rare events exist from the start: Prometheus sees no increase in a series that begins at 1."""
    for scope in ("day", "month", "use", "team"):
        telemetry.counter(telemetry.SPEND_WARNINGS).add(0, {telemetry.REASON: scope})
    for model in models:
        telemetry.counter(telemetry.FINGERPRINT_CHANGES).add(0, {telemetry.MODEL: model})
