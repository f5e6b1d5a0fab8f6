"""The attempts of one call at one endpoint: the one layer of retries, under everything that bounds it.

tenacity drives; the circuit, the shared retry budget, the deadline and Retry-After decide. Knows no store: setting more
money aside, for a request that is sent again although its first answer may be charged, is the caller's `extend`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from bot import telemetry
from bot.clock import Clock
from bot.model.admission import Admission, AdmissionLimits
from bot.model.breaker import Breaker, BreakerLimits, State
from bot.model.call import ModelCall
from bot.model.pins import Pin
from bot.model.rate import Rates
from bot.model.retry_budget import RetryBudget
from bot.model.spend import OverCeiling, Reservation
from bot.model.transcript import CallRecord, Trial
from bot.types import ModelOutcome
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


class Guards:
    """What all calls to one endpoint share in this process."""

    def __init__(self, clock: Clock, limits: GatewayLimits) -> None:
        self.admission = Admission(clock, limits.admission)
        self.breaker = Breaker(clock, limits.breaker)
        self.retries = RetryBudget(limits.retry_ratio, limits.retry_floor)
        self.fingerprint: str | None = None
        self.fingerprint_changes = 0
        self.breaker_shown = 0


class Ended(Exception):
    """A call ended without an answer; carries the outcome through retries and time limits."""

    def __init__(self, outcome: ModelOutcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


@dataclass(slots=True)
class Run:
    """One pin being asked: what was reserved, what may have been charged, what came back."""

    pin: Pin
    guards: Guards
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


class Attempts:
    """Sends the requests of calls. One for all endpoints; what endpoints share with nobody is in their `Guards`."""

    def __init__(self, clock: Clock, limits: GatewayLimits, jitter: random.Random) -> None:
        self._clock = clock
        self._limits = limits
        self._jitter = jitter

    async def send(self, run: Run, endpoint: ModelEndpoint, extend: Callable[[Run], Awaitable[None]]) -> None:
        """Sets `run.completion`, or raises Ended. Within budget and deadline, and never against an open circuit."""
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
            run.completion = await retrying(self._attempt, run, endpoint, extend)
        except Unavailable as gone:
            late = gone.retry_after_seconds or 0.0
            if self._clock.monotonic() + late >= run.deadline:
                raise Ended("deadline", "the model's endpoint asks to wait longer than there is time") from gone
            raise Ended("off", "the model's endpoint does not answer") from gone
        except Denied as denied:
            raise Ended("off", "the model's endpoint does not accept our key, plan or model name") from denied
        except Malformed as broken:
            raise Ended("malformed", "the model's endpoint answered in a form that is none") from broken
        except IntegrationError as other:
            raise Ended("malformed", "the model's endpoint does not accept the question as it is") from other
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

    async def _attempt(self, run: Run, endpoint: ModelEndpoint, extend: Callable[[Run], Awaitable[None]]) -> Completion:
        """One request. The circuit hears of its end whatever that is, a cancellation by the deadline included."""
        call, breaker = run.record.call, run.guards.breaker
        if run.lost:
            await extend(run)
        passed = breaker.admit()
        if not passed:
            raise Ended("breaker", "the model's endpoint is failing and is left alone for a while")
        run.attempts += 1
        if run.attempts > 1:
            telemetry.counter(telemetry.RETRIES).add(1, {telemetry.MODEL: run.pin.name})
        request = request_of(call, run.pin)
        left = min(run.deadline - self._clock.monotonic(), self._limits.attempt_seconds)
        began, failure = self._clock.monotonic(), "cancelled"
        run.in_flight = True
        with telemetry.tracer().start_as_current_span(telemetry.SPAN_ATTEMPT) as span:
            try:
                completion = await endpoint.complete(request, left)
            except IntegrationError as failed:
                failure = type(failed).__name__.lower()
                run.in_flight = False
                run.lost += isinstance(failed, Unavailable) and failed.answer_lost
                run.record.trials.append(Trial(str(failed)))
                raise
            else:
                run.in_flight, failure = False, ""
                run.record.trials.append(Trial(completion.refusal or completion.text))
                span.set_attributes(
                    {telemetry.ANSWERED_BY: completion.answered_by[:200],
                     telemetry.FINISH_REASONS: (completion.finish_reason[:40],),
                     telemetry.FINGERPRINT: (completion.fingerprint or "")[:200]}
                )  # fmt: skip
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

    def _show_breaker(self, run: Run) -> None:
        shown = int(run.guards.breaker.state is State.OPEN)
        if shown != run.guards.breaker_shown:
            telemetry.level(telemetry.BREAKER_STATE).add(
                shown - run.guards.breaker_shown, {telemetry.SERVER: run.pin.host}
            )
            run.guards.breaker_shown = shown


def judge(run: Run) -> Ended | None:
    """What stands in the way of an answer that came; None when nothing does."""
    assert run.completion is not None
    return judged(run.pin, run.completion)


def judged(pin: Pin, done: Completion) -> Ended | None:
    """The same for any answer of a pin."""
    if not pin.answered(done.answered_by):
        return Ended("wrong_model", "another model answered than the approved one")
    if done.refusal is not None:
        return Ended("model_refused", "the model declined to answer")
    if done.finish_reason == "length":
        return Ended("truncated", "the model's answer was cut off")
    return None


def request_of(call: ModelCall, pin: Pin) -> PromptRequest:
    """What is sent for a call; parameters that the pin does not accept are left out."""
    return PromptRequest(
        model=pin.name,
        system=call.system,
        user=call.user,
        schema_name=call.schema_name,
        schema=call.schema,
        max_output_tokens=min(call.max_output_tokens, pin.max_output_tokens) + pin.reasoning_tokens,
        parameters={name: value for name, value in call.parameters.items() if name in pin.accepts},
    )
