"""The gateway: the only way to a language model, for triage, ask, the CI gate, evals and batch.

One call is bounded by one deadline, whatever the endpoint does. Its way: cache → a slot (concurrency, queue) → one
transaction (rate, ceilings, reservation) → attempts (breaker, retry budget, one layer of retries) → one transaction
(settlement, record). The next approved pin is asked only where the fallback chain is on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from opentelemetry import trace
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from bot import telemetry
from bot.clock import Clock
from bot.model import cache, rate, spend, transcript
from bot.model.admission import Admission, AdmissionLimits, NotAdmitted
from bot.model.breaker import Breaker, BreakerLimits, State
from bot.model.call import Answer, ModelCall, Refusal, Reply
from bot.model.pins import Pin, Use
from bot.model.rate import Rates
from bot.model.retry_budget import RetryBudget
from bot.model.spend import Ceilings, OverCeiling, Payer, Reservation
from bot.model.tokens import estimate
from bot.model.transcript import CallRecord, Trial
from bot.store import Store, Transaction
from bot.store.values import ulid
from bot.types import ModelOutcome, Usage
from integrations.errors import Denied, IntegrationError, Malformed, Unavailable
from integrations.ports import Completion, ModelEndpoint, PromptRequest


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """`attempt_seconds` bounds one request, so that a hanging one leaves room for another before the deadline."""

    attempt_seconds: float = 20.0
    retries: int = 3
    backoff_seconds: float = 0.5
    backoff_most_seconds: float = 8.0
    retry_ratio: float = 0.1
    retry_floor: int = 10
    transcripts_kept: timedelta = timedelta(days=30)
    rates: Rates = field(default_factory=Rates)
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)
    breaker: BreakerLimits = field(default_factory=BreakerLimits)


class _Guards:
    """What all calls to one endpoint share in this process."""

    def __init__(self, clock: Clock, limits: GatewayLimits) -> None:
        self.admission = Admission(clock, limits.admission)
        self.breaker = Breaker(clock, limits.breaker)
        self.retries = RetryBudget(limits.retry_ratio, limits.retry_floor)
        self.fingerprint: str | None = None
        self.breaker_shown = 0


class _Ended(Exception):
    """A call ended without an answer; carries the outcome through retries and time limits."""

    def __init__(self, outcome: ModelOutcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class _RateUsedUp(Exception):
    """Rolls the admission's transaction back."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(slots=True)
class _Run:
    """One pin being asked: what was reserved, what may have been charged, what came back."""

    pin: Pin
    guards: _Guards
    record: CallRecord
    deadline: float
    one_attempt_usd: float
    tokens: int
    reservation: Reservation | None = None
    pending: asyncio.Future[Reservation | OverCeiling] | None = None
    """A transaction that reserves and was still under way when the deadline came: it commits all the same."""
    attempts: int = 0
    lost: int = 0
    """Attempts whose answer was lost: the request may be charged all the same."""
    in_flight: bool = False
    completion: Completion | None = None

    def cost_usd(self) -> float:
        """What is settled: the answer by its usage, each lost attempt at its full amount."""
        cost = (self.lost + self.in_flight) * self.one_attempt_usd
        if self.completion is not None:
            done = self.completion
            cost += self.pin.prices.cost_usd(done.tokens_in, done.tokens_cached, done.tokens_out)
        return cost


class Gateway:
    """Built by wiring; `complete` may be called from any number of tasks of one event loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        pins: Mapping[Use, tuple[Pin, ...]],
        endpoints: Mapping[str, ModelEndpoint],
        *,
        ceilings: Ceilings | None = None,
        limits: GatewayLimits | None = None,
        redact: Callable[[str], str],
        fallback: bool = False,
        cached: cache.Cache | None = None,
        jitter: random.Random | None = None,
    ) -> None:
        """`pins` per use, the first is asked; the others only with `fallback`. `endpoints` by the pin's name.

        `redact` is applied to what is kept as transcript.
        """
        self._store = store
        self._clock = clock
        self._pins = pins
        self._endpoints = endpoints
        self._ceilings = ceilings or Ceilings()
        self._limits = limits or GatewayLimits()
        self._redact = redact
        self._fallback = fallback
        self._cache = cached or cache.Cache(clock)
        self._jitter = jitter or random.Random()
        self._guards: dict[str, _Guards] = {}

    def pin(self, use: Use) -> Pin | None:
        """The pin that is asked first for a use; None when no model is configured for it."""
        return next(iter(self._pins.get(use, ())), None)

    def state(self) -> dict[str, dict[str, Any]]:
        """Per endpoint: circuit, queue, calls under way, retries left; for `sitrep status` and health."""
        return {
            endpoint: {
                "breaker": guards.breaker.state.value,
                "waiting": guards.admission.waiting,
                "in_flight": guards.admission.in_flight,
                "retries_left": guards.retries.retries_left,
            }
            for endpoint, guards in self._guards.items()
        }

    async def aclose(self) -> None:
        for guards in self._guards.values():
            await guards.admission.aclose()

    async def recover(self, workspace_id: str, living: frozenset[str]) -> int:
        """At start-up: settle what dead workflows left open, at its full amount. Returns how many reservations."""
        now = self._clock.now()
        return await self._store.transaction(lambda tx: spend.settle_abandoned(tx, workspace_id, living, now))

    async def conclude(self, workspace_id: str, usage: Usage, outcome: ModelOutcome, reason: str = "") -> None:
        """What became of an answer: released, rejected with its reason, superseded."""
        labels = {telemetry.USE: "", telemetry.MODEL: usage.model, telemetry.PROMPT: usage.prompt}
        telemetry.counter(telemetry.MODEL_OUTCOMES).add(1, {**labels, telemetry.OUTCOME: outcome})
        if usage.call_id:
            await transcript.conclude(self._store, workspace_id, usage.call_id, outcome, reason)

    async def complete(self, call: ModelCall, deadline_seconds: float) -> Reply:
        """Ask the pin of the call's use. Never raises for anything that an endpoint does, and never takes longer."""
        pins = self._pins.get(call.use, ())
        if not pins:
            return Refusal("off", f"no model is configured for {call.use}")
        deadline = self._clock.monotonic() + deadline_seconds
        name = f"{telemetry.SPAN_CHAT} {pins[0].name}"
        with telemetry.tracer().start_as_current_span(name, kind=trace.SpanKind.CLIENT) as span:
            reply: Reply = Refusal("off", "no model could be asked")
            chain = pins if self._fallback else pins[:1]
            for number, pin in enumerate(chain):
                left = deadline - self._clock.monotonic()
                share = left if number == len(chain) - 1 else left / 2
                reply = await self._ask(pin, call, self._clock.monotonic() + share, number)
                if isinstance(reply, Answer) or reply.outcome in {"budget", "model_refused", "truncated"}:
                    break
            _describe(span, call, pins[0], reply, self._clock.monotonic() - (deadline - deadline_seconds))
            return reply

    async def _ask(self, pin: Pin, call: ModelCall, deadline: float, number: int) -> Reply:
        """One pin, one deadline: everything that is reserved is settled, everything that happens is recorded."""
        call = replace(call, parameters={k: v for k, v in call.parameters.items() if k in pin.accepts})
        if number:
            call = replace(call, step=f"{call.step}/{pin.name}")
        began = self._clock.monotonic()
        record = CallRecord(ulid(self._clock.now()), call, self._clock.now())
        wanted = self._cache_key(pin, call)
        if wanted and (kept := self._cache.get(wanted)):
            return await self._from_cache(pin, record, kept)
        run = self._run(pin, record, deadline)
        ended: _Ended | None = _Ended("deadline", "the model did not answer in time")
        try:
            async with asyncio.timeout(deadline - began):
                await self._admitted(run)
            ended = _judge(run)
        except TimeoutError:
            if run.reservation is None:
                ended = _Ended("not_admitted", "the model was busy until the deadline")
        except asyncio.CancelledError:
            await asyncio.shield(self._settle(run, ended, self._clock.monotonic() - began))
            raise
        except _Ended as why:
            ended = why
        except NotAdmitted as full:
            ended = _Ended("not_admitted", str(full))
        reply = await self._settle(run, ended, self._clock.monotonic() - began)
        if wanted and isinstance(reply, Answer) and run.completion is not None:
            self._cache.put(wanted, run.completion)
        return reply

    def _run(self, pin: Pin, record: CallRecord, deadline: float) -> _Run:
        call = record.call
        if pin.endpoint not in self._guards:
            self._guards[pin.endpoint] = _Guards(self._clock, self._limits)
        sent = estimate(call.system) + estimate(call.user) + estimate(str(call.schema))
        written = min(call.max_output_tokens, pin.max_output_tokens) + pin.reasoning_tokens
        return _Run(
            pin=pin,
            guards=self._guards[pin.endpoint],
            record=record,
            deadline=deadline,
            one_attempt_usd=pin.prices.cost_usd(sent, 0, written),
            tokens=sent + written,
        )

    async def _admitted(self, run: _Run) -> None:
        """Wait for a slot and for the rate, reserve, then send."""
        call, guards = run.record.call, run.guards
        if guards.breaker.state is State.OPEN:
            raise _Ended("breaker", "the model's endpoint is failing and is left alone for a while")
        if run.tokens > run.pin.context_tokens:
            raise _Ended("not_admitted", "the question is larger than the model's context")
        began, again = self._clock.monotonic(), False
        while True:
            waiting = telemetry.level(telemetry.QUEUE_DEPTH)
            labels = {telemetry.PRIORITY: call.priority}
            waiting.add(1, labels)
            try:
                await guards.admission.enter(call.workspace_id, call.priority, again=again)
            finally:
                waiting.add(-1, labels)
            async with AsyncExitStack() as slot:
                slot.callback(guards.admission.leave, call.priority)
                try:
                    reserved = await self._reserving(run, lambda tx: self._reserve(tx, run))
                except _RateUsedUp as used_up:
                    guards.admission.wait(call.priority, used_up.seconds)
                    again = True
                    continue
                if isinstance(reserved, OverCeiling):
                    raise _Ended("budget", reserved.reason)
                run.reservation = reserved
                telemetry.histogram(telemetry.QUEUE_WAIT).record(self._clock.monotonic() - began, labels)
                await self._attempts(run)
                return

    async def _reserving(
        self, run: _Run, work: Callable[[Transaction], Reservation | OverCeiling]
    ) -> Reservation | OverCeiling:
        """A transaction that changes the reservation; a deadline in the middle of it does not lose its result."""
        run.pending = asyncio.ensure_future(self._store.transaction(work))
        result = await asyncio.shield(run.pending)
        run.pending = None
        if isinstance(result, Reservation):
            run.reservation = result
        return result

    def _reserve(self, tx: Transaction, run: _Run) -> Reservation | OverCeiling:
        """One transaction: money first, then the rate; a rate that is used up takes the reservation back."""
        call, now = run.record.call, self._clock.now()
        try:
            reservation = spend.reserve(tx, _payer(run), run.one_attempt_usd, self._ceilings, now)
        except OverCeiling as over:
            return over
        wait = rate.take(
            tx,
            run.pin.endpoint,
            self._limits.rates,
            run.tokens,
            live=call.priority == "live",
            now_seconds=now.timestamp(),
        )
        if wait > 0:
            raise _RateUsedUp(wait)
        return reservation

    async def _attempts(self, run: _Run) -> None:
        """The one layer of retries: under the budget, never past the deadline, never against an open circuit."""
        guards = run.guards
        guards.retries.deposit()

        def stop(state: RetryCallState) -> bool:
            late = self._clock.monotonic() + state.upcoming_sleep >= run.deadline
            if late or state.attempt_number > self._limits.retries or not guards.breaker.retry_allowed:
                return True
            return not guards.retries.withdraw()

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Unavailable),
            stop=stop,
            wait=self._pause,
            sleep=self._clock.sleep,
            reraise=True,
        )
        level = telemetry.level(telemetry.IN_FLIGHT)
        level.add(1)
        try:
            run.completion = await retrying(self._attempt, run)
        except Unavailable as gone:
            late = gone.retry_after_seconds or 0.0
            if self._clock.monotonic() + late >= run.deadline:
                raise _Ended("deadline", "the model's endpoint asks to wait longer than there is time") from gone
            raise _Ended("off", "the model's endpoint does not answer") from gone
        except Denied as denied:
            raise _Ended("off", "the model's endpoint does not accept our key, plan or model name") from denied
        except Malformed as broken:
            raise _Ended("malformed", "the model's endpoint answered in a form that is none") from broken
        except IntegrationError as other:
            raise _Ended("malformed", "the model's endpoint does not accept the question as it is") from other
        finally:
            level.add(-1)

    def _pause(self, state: RetryCallState) -> float:
        """Full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), or Retry-After."""
        failed = state.outcome.exception() if state.outcome else None
        most = min(self._limits.backoff_seconds * 2 ** (state.attempt_number - 1), self._limits.backoff_most_seconds)
        pause = self._jitter.uniform(0.0, most)
        if isinstance(failed, Unavailable) and failed.retry_after_seconds is not None:
            return failed.retry_after_seconds + pause
        return pause

    async def _attempt(self, run: _Run) -> Completion:
        """One request. The circuit hears of its end whatever that is, a cancellation by the deadline included."""
        call, breaker = run.record.call, run.guards.breaker
        if run.lost:
            await self._extend(run)
        passed = breaker.admit()
        if not passed:
            raise _Ended("breaker", "the model's endpoint is failing and is left alone for a while")
        run.attempts += 1
        if run.attempts > 1:
            telemetry.counter(telemetry.RETRIES).add(1, {telemetry.MODEL: run.pin.name})
        request = PromptRequest(
            model=run.pin.name,
            system=call.system,
            user=call.user,
            schema_name=call.schema_name,
            schema=call.schema,
            max_output_tokens=min(call.max_output_tokens, run.pin.max_output_tokens) + run.pin.reasoning_tokens,
            parameters=call.parameters,
        )
        left = min(run.deadline - self._clock.monotonic(), self._limits.attempt_seconds)
        began, failure = self._clock.monotonic(), "cancelled"
        run.in_flight = True
        with telemetry.tracer().start_as_current_span(telemetry.SPAN_ATTEMPT) as span:
            try:
                completion = await self._endpoints[run.pin.name].complete(request, left)
            except IntegrationError as failed:
                failure = type(failed).__name__.lower()
                run.in_flight = False
                run.lost += isinstance(failed, Unavailable) and failed.answer_lost
                run.record.trials.append(Trial(str(failed)))
                raise
            else:
                run.in_flight, failure = False, ""
                run.record.trials.append(Trial(completion.refusal or completion.text))
                return completion
            finally:
                seconds = self._clock.monotonic() - began
                if not failure:
                    breaker.succeeded(passed, seconds)
                elif failure == "refused":
                    breaker.unknown(passed)
                else:
                    breaker.failed(passed)
                labels = {telemetry.MODEL: run.pin.name, telemetry.SERVER: run.pin.host, telemetry.ERROR_TYPE: failure}
                telemetry.counter(telemetry.MODEL_REQUESTS).add(1, labels)
                span.set_attributes({**labels, telemetry.ATTEMPT: run.attempts})
                self._show_breaker(run)

    async def _extend(self, run: _Run) -> None:
        """The answer of the attempt before was lost and may be charged: set one more attempt's money aside."""
        reservation, now = run.reservation, self._clock.now()
        assert reservation is not None
        try:
            await self._reserving(
                run, lambda tx: spend.extend(tx, reservation, run.one_attempt_usd, self._ceilings, now)
            )
        except OverCeiling as over:
            raise _Ended("budget", over.reason) from over

    async def _settle(self, run: _Run, ended: _Ended | None, seconds: float) -> Reply:
        """One transaction: settlement, correction of the rate, the record."""
        if run.pending is not None:
            with contextlib.suppress(OverCeiling, _RateUsedUp):
                late = await run.pending
                run.reservation = late if isinstance(late, Reservation) else run.reservation
        call, now = run.record.call, self._clock.now()
        done, cost = run.completion, run.cost_usd()
        if done is not None:
            run.record.fingerprint = done.fingerprint
            self._watch_fingerprint(run, done)
        usage = Usage(
            model=run.pin.name,
            answered_by=done.answered_by[:200] if done else "",
            prompt=call.prompt,
            prompt_sha256=call.prompt_sha256,
            tokens_in=done.tokens_in if done else 0,
            tokens_cached=done.tokens_cached if done else 0,
            tokens_out=done.tokens_out if done else 0,
            cost_usd=cost,
            latency_seconds=round(seconds, 6),
            attempts=run.attempts,
            call_id=run.record.id,
        )
        outcome: ModelOutcome = ended.outcome if ended else "rejected"
        reason = ended.reason if ended else transcript.NOT_CHECKED

        def work(tx: Transaction) -> None:
            if run.reservation is not None:
                spend.settle(tx, run.reservation, cost, self._ceilings, now)
            if done is not None:
                spare = run.tokens - done.tokens_in - done.tokens_out
                rate.correct(tx, run.pin.endpoint, self._limits.rates, spare, now_seconds=now.timestamp())
            transcript.write(
                tx,
                run.record,
                usage,
                outcome,
                reason,
                ended_at=now,
                keep=self._limits.transcripts_kept,
                redact=self._redact,
            )

        await self._store.transaction(work)
        self._measure(run, usage)
        return Refusal(ended.outcome, ended.reason, usage) if ended else Answer(done.text if done else "", usage)

    async def _from_cache(self, pin: Pin, record: CallRecord, kept: Completion) -> Reply:
        now = self._clock.now()
        usage = Usage(
            model=pin.name,
            answered_by=kept.answered_by,
            prompt=record.call.prompt,
            prompt_sha256=record.call.prompt_sha256,
            cache_hit=True,
            call_id=record.id,
        )
        record.trials.append(Trial(kept.text))
        telemetry.counter(telemetry.MODEL_CACHE_HITS).add(
            1, {telemetry.USE: record.call.use, telemetry.MODEL: pin.name}
        )
        await self._store.transaction(
            lambda tx: transcript.write(
                tx,
                record,
                usage,
                "rejected",
                transcript.NOT_CHECKED,
                ended_at=now,
                keep=self._limits.transcripts_kept,
                redact=self._redact,
            )
        )
        return Answer(kept.text, usage)

    def _cache_key(self, pin: Pin, call: ModelCall) -> str | None:
        if call.use not in cache.CACHED_USES:
            return None
        return cache.key(
            workspace_id=call.workspace_id,
            model=f"{pin.name}@{pin.revision}",
            prompt_sha256=call.prompt_sha256,
            system=call.system,
            user=call.user,
            fence=call.fence,
            schema=call.schema,
            parameters=call.parameters,
            snapshot=call.snapshot,
            audience=call.audience,
        )

    def _watch_fingerprint(self, run: _Run, done: Completion) -> None:
        """The same pin with another system_fingerprint: the provider changed something beneath the name."""
        if done.fingerprint:
            before, run.guards.fingerprint = run.guards.fingerprint, done.fingerprint
            if before and before != done.fingerprint:
                telemetry.counter(telemetry.FINGERPRINT_CHANGES).add(1, {telemetry.MODEL: run.pin.name})

    def _show_breaker(self, run: _Run) -> None:
        shown = int(run.guards.breaker.state is State.OPEN)
        if shown != run.guards.breaker_shown:
            telemetry.level(telemetry.BREAKER_STATE).add(
                shown - run.guards.breaker_shown, {telemetry.SERVER: run.pin.host}
            )
            run.guards.breaker_shown = shown

    def _measure(self, run: _Run, usage: Usage) -> None:
        labels = {telemetry.USE: run.record.call.use, telemetry.MODEL: usage.model, telemetry.PROMPT: usage.prompt}
        telemetry.counter(telemetry.MODEL_COST).add(usage.cost_usd, labels)
        for kind, count in (("input", usage.tokens_in), ("output", usage.tokens_out), ("cached", usage.tokens_cached)):
            telemetry.histogram(telemetry.MODEL_TOKENS).record(count, {**labels, telemetry.TOKEN_TYPE: kind})


def _payer(run: _Run) -> Payer:
    call = run.record.call
    return Payer(
        workspace_id=call.workspace_id,
        workflow_id=call.workflow_id,
        step=call.step,
        use=call.use,
        model=run.pin.name,
        incident_id=call.incident_id,
        team=call.team,
    )


def _judge(run: _Run) -> _Ended | None:
    """What stands in the way of an answer that came; None when nothing does."""
    done = run.completion
    assert done is not None
    if not run.pin.answered(done.answered_by):
        return _Ended("wrong_model", "another model answered than the approved one")
    if done.refusal is not None:
        return _Ended("model_refused", "the model declined to answer")
    if done.finish_reason == "length":
        return _Ended("truncated", "the model's answer was cut off")
    return None


def _describe(span: trace.Span, call: ModelCall, pin: Pin, reply: Reply, seconds: float) -> None:
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
