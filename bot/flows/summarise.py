"""compose → infer → check (→ second opinion), for one ranked incident: the order of the rooms around a model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from bot import telemetry
from bot.experiment.hypothesis import version_of
from bot.model.call import Answer
from bot.model.gateway import Gateway
from bot.triage.check import Guards, check
from bot.triage.compose import Suspicious, compose, fence_mark
from bot.triage.infer import Answered, infer
from bot.triage.second_opinion import LEAST_SECONDS, opinion, question, supplement
from bot.types import ModelOutcome, Ranked, Rejected, Released
from prompts import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Summarise:
    """The `Summariser` of a triage. Every way to end is recorded with the call and returned; nothing is raised."""

    gateway: Gateway
    prompt: Prompt
    fence_key: bytes
    guards: Guards
    token_budget: int
    deadline_seconds: float
    team: Callable[[str | None], str | None]
    """The team that pays for a service's incidents, if one does."""
    suspicious: Suspicious = "quoted"
    validate: Prompt | None = None
    """The prompt of a second opinion; None where nobody wants one."""

    async def __call__(self, ranked: Ranked, *, triage_id: str, step: str) -> Released | Rejected:
        """One summary, or the reason why there is none."""
        incident = ranked.incident
        pin = self.gateway.pin("triage")
        if pin is None:
            return Rejected(outcome="off", reason="no model is configured")
        tracer = telemetry.tracer()
        with tracer.start_as_current_span(telemetry.SPAN_COMPOSE):
            composed = compose(
                ranked,
                self.prompt,
                fence=fence_mark(self.fence_key, incident.workspace_id, incident.id, ranked.snapshot),
                token_budget=self.token_budget,
                context_tokens=pin.context_tokens,
                suspicious=self.suspicious,
            )
        with tracer.start_as_current_span(telemetry.SPAN_INFER):
            answered = await infer(
                composed,
                self.gateway,
                workflow_id=triage_id,
                step=step,
                triage_id=triage_id,
                team=self.team(incident.service),
                deadline_seconds=self.deadline_seconds,
            )
        with tracer.start_as_current_span(telemetry.SPAN_CHECK) as span:
            checked = check(answered, self.guards)
            if isinstance(checked, Released) and self.validate is not None:
                team = self.team(incident.service)
                checked = await self._second_opinion(answered, checked, self.validate, triage_id, step, team)
            outcome: ModelOutcome = "released" if isinstance(checked, Released) else checked.outcome
            reason = "" if isinstance(checked, Released) else checked.reason
            span.set_attributes({telemetry.OUTCOME: outcome, telemetry.REASON: reason})
        if isinstance(answered.reply, Answer):  # a refusal has been recorded with its outcome already
            await self.gateway.conclude(incident.workspace_id, "triage", answered.reply.usage, outcome, reason)
        return checked

    async def _second_opinion(
        self, answered: Answered, released: Released, prompt: Prompt, triage_id: str, step: str, team: str | None
    ) -> Released | Rejected:
        """What is left of the same deadline is for it; its own call is recorded with its own outcome."""
        composed, used = answered.composed, released.usage.latency_seconds if released.usage else 0.0
        left = self.deadline_seconds - used
        if left < LEAST_SECONDS:
            return released
        call = question(
            composed, released.summary, prompt,
            workflow_id=triage_id, step=step, triage_id=triage_id, team=team,
        )  # fmt: skip
        reply = await self.gateway.complete(call, left)
        given = opinion(reply, released.summary)
        if isinstance(reply, Answer):
            await self.gateway.conclude(composed.workspace_id, "validate", reply.usage, given.outcome, given.reason)
        return supplement(released, given)


@dataclass(frozen=True, slots=True)
class ByVersion:
    """A summariser for each version of the prompt: the arm of the triage names one, else it is the default."""

    versions: Mapping[int, Callable[..., Awaitable[Released | Rejected]]]
    default: int
    arm_of: Callable[[str], Awaitable[str]]
    """The arm that is recorded with a triage; "" without one."""

    async def __call__(self, ranked: Ranked, *, triage_id: str, step: str) -> Released | Rejected:
        """As the version's own. A version that is gone (the file was checked at start-up) is said, never replaced."""
        named = version_of(await self.arm_of(triage_id))
        version = self.default if named is None else named
        if version not in self.versions:
            return Rejected(outcome="off", reason=f"version {version} of the prompt is not installed")
        return await self.versions[version](ranked, triage_id=triage_id, step=step)


@dataclass(frozen=True, slots=True)
class Pausable:
    """A summariser that asks first whether the model is paused: the kill switch, and every cutline, act here."""

    inner: Callable[..., Awaitable[Released | Rejected]]
    paused: Callable[[str], Awaitable[str]]
    """Why no model is asked for this triage, in fixed words; "" when one may be."""

    async def __call__(self, ranked: Ranked, *, triage_id: str, step: str) -> Released | Rejected:
        """As `inner`, or `off` with the reason."""
        why = await self.paused(triage_id)
        if why:
            return Rejected(outcome="off", reason=why)
        return await self.inner(ranked, triage_id=triage_id, step=step)
