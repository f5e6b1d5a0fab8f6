"""The gateway: the only way to a language model, for triage, ask, the CI gate, evals and batch.

One call is bounded by one deadline, whatever the endpoint does. Its way: cache → a slot (concurrency, queue) → one
transaction (rate, ceilings, reservation) → attempts (breaker, retry budget, one layer of retries) → one transaction
(settlement, record). The next approved pin is asked only where the fallback chain is on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from opentelemetry import trace

from bot import telemetry
from bot.clock import Clock
from bot.model import cache, measures, rate, spend, transcript
from bot.model.admission import NotAdmitted
from bot.model.attempts import Attempts, Ended, GatewayLimits, Guards, Run, judge
from bot.model.breaker import State
from bot.model.call import Answer, ModelCall, Refusal, Reply
from bot.model.pins import Pin, Use
from bot.model.spend import Ceilings, OverCeiling, Payer, Reservation
from bot.model.tokens import estimate, estimate_constant
from bot.model.transcript import CallRecord, Trial
from bot.store import Store, Transaction
from bot.store.values import ulid
from bot.types import ModelOutcome, Usage
from integrations.ports import Completion, ModelEndpoint

log = logging.getLogger(__name__)


class _RateUsedUp(Exception):
    """Rolls the admission's transaction back."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


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
        may_stand_in: Callable[[Pin], bool] = lambda pin: False,
        cached: cache.Cache | None = None,
        jitter: random.Random | None = None,
    ) -> None:
        """`pins` per use: the first is asked, the others in turn where `may_stand_in` allows it at that moment.

        `endpoints` by the pin's name.

        `redact` is applied to what is kept as transcript.
        """
        self._store = store
        self._clock = clock
        self._pins = pins
        self._endpoints = endpoints
        self._ceilings = ceilings or Ceilings()
        self._limits = limits or GatewayLimits()
        self._redact = redact
        self._may_stand_in = may_stand_in
        self._cache = cached or cache.Cache(clock)
        self._attempts = Attempts(clock, self._limits, jitter or random.Random())
        measures.begin_at_zero({pin.name for chain in pins.values() for pin in chain})
        self._guards: dict[str, Guards] = {}
        self._books: dict[str, asyncio.Task[None]] = {}

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
                "fingerprint_changes": guards.fingerprint_changes,
            }
            for endpoint, guards in self._guards.items()
        }

    async def aclose(self) -> None:
        """Refuse who waits, and finish the books."""
        for guards in self._guards.values():
            await guards.admission.aclose()
        await self.settled()

    async def recover(self, workspace_id: str, living: frozenset[str]) -> int:
        """At start-up: settle what dead workflows left open, at its full amount. Returns how many reservations."""
        now = self._clock.now()
        return await self._store.transaction(lambda tx: spend.settle_abandoned(tx, workspace_id, living, now))

    async def conclude(
        self, workspace_id: str, use: Use, usage: Usage, outcome: ModelOutcome, reason: str = ""
    ) -> None:
        """What became of an answer: released, rejected with its reason, superseded."""
        labels = {telemetry.USE: use, telemetry.MODEL: usage.model, telemetry.PROMPT: usage.prompt}
        telemetry.counter(telemetry.MODEL_OUTCOMES).add(1, {**labels, telemetry.OUTCOME: outcome})
        if books := self._books.get(usage.call_id):
            await asyncio.wait([books])
        if usage.call_id:
            await transcript.conclude(self._store, workspace_id, usage.call_id, outcome, reason)

    async def complete(self, call: ModelCall, deadline_seconds: float, pin: Pin | None = None) -> Reply:
        """Ask the pins of the call's use, or the one given.

        Never raises for anything that an endpoint does, and never takes longer.
        """
        pins = self._pins.get(call.use, ()) if pin is None else (pin,)
        if not pins:
            return Refusal("off", f"no model is configured for {call.use}")
        deadline = self._clock.monotonic() + deadline_seconds
        name = f"{telemetry.SPAN_CHAT} {pins[0].name}"
        with telemetry.tracer().start_as_current_span(name, kind=trace.SpanKind.CLIENT) as span:
            reply: Reply = Refusal("off", "no model could be asked")
            chain = (pins[0], *(one for one in pins[1:] if self._may_stand_in(one)))
            for number, one in enumerate(chain):
                left = deadline - self._clock.monotonic()
                share = left if number == len(chain) - 1 else left / 2
                reply = await self._ask(one, call, self._clock.monotonic() + share, number)
                if isinstance(reply, Answer) or reply.outcome in {"budget", "model_refused", "truncated"}:
                    break
            measures.describe(span, call, pins[0], reply, self._clock.monotonic() - (deadline - deadline_seconds))
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
            return self._from_cache(pin, record, kept)
        run = self._run(pin, record, deadline)
        ended: Ended | None = Ended("deadline", "the model did not answer in time")
        try:
            async with asyncio.timeout(deadline - began):
                await self._admitted(run)
            ended = judge(run)
        except TimeoutError:
            if run.reservation is None:
                ended = Ended("not_admitted", "the model was busy until the deadline")
        except asyncio.CancelledError:
            self._settle(run, ended, self._clock.monotonic() - began)
            raise
        except Ended as why:
            ended = why
        except NotAdmitted as full:
            ended = Ended("not_admitted", str(full))
        reply = self._settle(run, ended, self._clock.monotonic() - began)
        if wanted and isinstance(reply, Answer) and run.completion is not None:
            self._cache.put(wanted, run.completion)
        return reply

    def _run(self, pin: Pin, record: CallRecord, deadline: float) -> Run:
        call = record.call
        if pin.endpoint not in self._guards:
            self._guards[pin.endpoint] = Guards(self._clock, self._limits)
        sent = estimate_constant(call.system) + estimate(call.user) + estimate_constant(str(call.schema))
        written = min(call.max_output_tokens, pin.max_output_tokens) + pin.reasoning_tokens
        return Run(
            pin=pin,
            guards=self._guards[pin.endpoint],
            record=record,
            deadline=deadline,
            one_attempt_usd=pin.prices.cost_usd(sent, 0, written),
            tokens=sent + written,
        )

    async def _admitted(self, run: Run) -> None:
        """Wait for a slot and for the rate, reserve, then send."""
        call, guards = run.record.call, run.guards
        if guards.breaker.state is State.OPEN:
            raise Ended("breaker", "the model's endpoint is failing and is left alone for a while")
        if run.tokens > run.pin.context_tokens:
            raise Ended("not_admitted", "the question is larger than the model's context")
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
                    raise Ended("budget", reserved.reason)
                run.reservation = reserved
                telemetry.histogram(telemetry.QUEUE_WAIT).record(self._clock.monotonic() - began, labels)
                await self._attempts.send(run, self._endpoints[run.pin.name], self._extend)
                return

    async def _reserving(
        self, run: Run, work: Callable[[Transaction], Reservation | OverCeiling]
    ) -> Reservation | OverCeiling:
        """A transaction that changes the reservation; a deadline in the middle of it does not lose its result."""
        run.pending = asyncio.ensure_future(self._store.transaction(work))
        result = await asyncio.shield(run.pending)
        run.pending = None
        if isinstance(result, Reservation):
            run.reservation = result
        return result

    def _reserve(self, tx: Transaction, run: Run) -> Reservation | OverCeiling:
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

    async def _extend(self, run: Run) -> None:
        """The answer of the attempt before was lost and may be charged: set one more attempt's money aside."""
        reservation, now = run.reservation, self._clock.now()
        assert reservation is not None
        try:
            await self._reserving(
                run, lambda tx: spend.extend(tx, reservation, run.one_attempt_usd, self._ceilings, now)
            )
        except OverCeiling as over:
            raise Ended("budget", over.reason) from over

    def _settle(self, run: Run, ended: Ended | None, seconds: float) -> Reply:
        """The reply; its books are written behind it. Who dies in between has reserved enough."""
        call, done = run.record.call, run.completion
        if done is not None:
            run.record.fingerprint = done.fingerprint
            measures.watch_fingerprint(run.guards, run.pin, done)
        usage = Usage(
            model=run.pin.name,
            answered_by=done.answered_by[:200] if done else "",
            prompt=call.prompt,
            prompt_sha256=call.prompt_sha256,
            tokens_in=done.tokens_in if done else 0,
            tokens_cached=done.tokens_cached if done else 0,
            tokens_out=done.tokens_out if done else 0,
            cost_usd=run.cost_usd(),
            latency_seconds=round(seconds, 6),
            attempts=run.attempts,
            call_id=run.record.id,
        )
        reply = Refusal(ended.outcome, ended.reason, usage) if ended else Answer(done.text if done else "", usage)
        self._behind(usage.call_id, self._write_books(run, reply, usage))
        measures.settled(call, run.pin, usage)
        return reply

    def _behind(self, call_id: str, books: Coroutine[Any, Any, None]) -> None:
        """Write something behind the reply; `conclude` and `aclose` wait for it."""
        task = asyncio.get_running_loop().create_task(books)
        self._books[call_id] = task

        def done(ended: asyncio.Task[None]) -> None:
            self._books.pop(call_id, None)
            if not ended.cancelled() and (failed := ended.exception()):
                log.error("the books of model call %s were not written: %s", call_id, type(failed).__name__)

        task.add_done_callback(done)

    async def _write_books(self, run: Run, reply: Reply, usage: Usage) -> None:
        """One transaction: settlement, correction of the rate, the record."""
        if run.pending is not None:
            with contextlib.suppress(OverCeiling, _RateUsedUp):
                late = await run.pending
                run.reservation = late if isinstance(late, Reservation) else run.reservation
        done, now = run.completion, self._clock.now()
        outcome: ModelOutcome = reply.outcome if isinstance(reply, Refusal) else "rejected"
        reason = reply.reason if isinstance(reply, Refusal) else transcript.NOT_CHECKED
        written = self._rows(run.record, usage, outcome, reason)

        def work(tx: Transaction) -> None:
            if run.reservation is not None:
                spend.settle(tx, run.reservation, usage.cost_usd, self._ceilings, now)
            if done is not None:
                spare = run.tokens - done.tokens_in - done.tokens_out
                rate.correct(tx, run.pin.endpoint, self._limits.rates, spare, now_seconds=now.timestamp())
            written.write(tx)

        await self._store.transaction(work)

    async def settled(self) -> None:
        """Returns when the books of every call that has ended are written."""
        while self._books:
            await asyncio.gather(*self._books.values(), return_exceptions=True)

    def _from_cache(self, pin: Pin, record: CallRecord, kept: Completion) -> Reply:
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
        written = self._rows(record, usage, "rejected", transcript.NOT_CHECKED)
        self._behind(usage.call_id, self._write(written.write))
        return Answer(kept.text, usage)

    def _rows(self, record: CallRecord, usage: Usage, outcome: ModelOutcome, reason: str) -> transcript.Written:
        return transcript.rows(
            record,
            usage,
            outcome,
            reason,
            ended_at=self._clock.now(),
            keep=self._limits.transcripts_kept,
            redact=self._redact,
        )

    async def _write(self, work: Callable[[Transaction], None]) -> None:
        await self._store.transaction(work)

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


def _payer(run: Run) -> Payer:
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
