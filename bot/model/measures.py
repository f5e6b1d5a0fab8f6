"""What is measured of a call: its span, its duration, tokens and cost, in the words of the GenAI conventions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opentelemetry import trace

from bot import telemetry
from bot.model.attempts import Guards
from bot.model.call import Answer, ModelCall, Refusal, Reply
from bot.model.pins import Pin
from bot.types import Usage
from integrations.ports import Completion

PROVIDERS: Mapping[str, str] = {"azure": "azure.ai.openai"}
"""Our word for a kind of server, and the conventions' where they have another; own servers have none of theirs."""


def describe(span: trace.Span, call: ModelCall, pin: Pin, reply: Reply, seconds: float) -> None:
    """The span and the duration of one logical call, in the words of the GenAI conventions."""
    outcome = "answered" if isinstance(reply, Answer) else reply.outcome
    labels = _of(call, pin)
    failed = {telemetry.ERROR_TYPE: outcome} if isinstance(reply, Refusal) else {}
    told = {**labels, **failed, telemetry.PROMPT: call.prompt, telemetry.OUTCOME: outcome}
    telemetry.histogram(telemetry.MODEL_DURATION).record(seconds, told)
    if isinstance(reply, Refusal):
        counted = {telemetry.USE: call.use, telemetry.MODEL: pin.name, telemetry.PROMPT: call.prompt}
        telemetry.counter(telemetry.MODEL_OUTCOMES).add(1, {**counted, telemetry.OUTCOME: reply.outcome})
        span.set_status(trace.StatusCode.ERROR, reply.outcome)
    attributes: dict[str, str | int | float | bool] = {
        **told,
        telemetry.OUTPUT_TYPE: "json",
        telemetry.SERVER_PORT: pin.port,
        telemetry.PROMPT_SHA256: call.prompt_sha256,
        telemetry.SNAPSHOT: call.snapshot,
        telemetry.WORKSPACE: call.workspace_id,
        telemetry.INCIDENT: call.incident_id or "",
        telemetry.TRIAGE: call.triage_id or "",
        telemetry.MAX_TOKENS: call.max_output_tokens,
    }
    if pin.server in {"openai", "azure"}:
        attributes[telemetry.API_TYPE] = "chat_completions"
    for name, attribute in (("seed", telemetry.SEED), ("temperature", telemetry.TEMPERATURE)):
        if name in call.parameters and name in pin.accepts:
            attributes[attribute] = call.parameters[name]
    if usage := reply.usage:
        attributes |= {
            telemetry.ANSWERED_BY: usage.answered_by,
            telemetry.TOKENS_IN: usage.tokens_in,
            telemetry.TOKENS_OUT: usage.tokens_out,
            telemetry.TOKENS_CACHED: usage.tokens_cached,
            telemetry.COST_USD: usage.cost_usd,
            telemetry.CACHE_HIT: usage.cache_hit,
        }
    span.set_attributes(attributes)


def _of(call: ModelCall, pin: Pin) -> dict[str, str]:
    """What the conventions want on every span and metric of a call, and our use."""
    return {
        telemetry.OPERATION: "chat",
        telemetry.PROVIDER: PROVIDERS.get(pin.server, pin.server),
        telemetry.MODEL: pin.name,
        telemetry.SERVER: pin.host,
        telemetry.USE: call.use,
    }


def settled(call: ModelCall, pin: Pin, usage: Usage) -> None:
    """Money and tokens of one pin's part of a call. Cached tokens are a part of the input, and counted apart."""
    labels = {**_of(call, pin), telemetry.PROMPT: usage.prompt}
    money = {telemetry.USE: call.use, telemetry.MODEL: usage.model, telemetry.PROMPT: usage.prompt}
    telemetry.counter(telemetry.MODEL_COST).add(usage.cost_usd, {**money, telemetry.SERVER: pin.host})
    telemetry.counter(telemetry.MODEL_CACHED_TOKENS).add(usage.tokens_cached, money)
    for kind, count in (("input", usage.tokens_in), ("output", usage.tokens_out)):
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
