"""Calls that can wait, through a provider's batch door: cheaper, and never in the way of a live incident.

They use no slot, no rate and no retry of the gateway's; money is theirs as everybody's: reserved before the batch is
sent, settled from `usage` after it, at the door's share of the price. Calls are collected by `complete` and sent
together by `send`, so that whoever asks (an eval, a miner of labels) is written as for the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bot import telemetry
from bot.clock import Clock
from bot.model import measures, spend, transcript
from bot.model.attempts import Ended, GatewayLimits, judged, request_of
from bot.model.call import Answer, ModelCall, Refusal, Reply
from bot.model.pins import Pin, Use
from bot.model.spend import Ceilings, OverCeiling, Payer, Reservation
from bot.model.tokens import estimate, estimate_constant
from bot.model.transcript import CallRecord, Trial
from bot.store import Store, Transaction
from bot.store.values import ulid
from bot.types import ModelOutcome, Usage
from integrations.errors import Denied, IntegrationError, Malformed, Unavailable
from integrations.ports import BatchEndpoint, BatchState, Completion

REQUEST_SECONDS = 60.0
"""For one request at the door: an upload, a look, a file of answers."""


@dataclass(slots=True)
class _Waiting:
    call: ModelCall
    record: CallRecord
    answered: asyncio.Future[Reply]
    usd: float = 0.0
    reservation: Reservation | None = None


class BatchDesk:
    """`Asks` for one pin with a batch door. Every call that `complete` collected ends with `send`."""

    def __init__(
        self, store: Store, clock: Clock, pin: Pin, door: BatchEndpoint, *, ceilings: Ceilings, limits: GatewayLimits,
        redact: Callable[[str], str], poll_seconds: float = 30.0,
    ) -> None:  # fmt: skip
        if pin.batch_price is None:
            raise ValueError(f"{pin.name!r} has no batch_price in models.toml")
        self._store = store
        self._clock = clock
        self._pin = pin
        self._price = pin.batch_price
        self._door = door
        self._ceilings = ceilings
        self._limits = limits
        self._redact = redact
        self._poll_seconds = poll_seconds
        self._waiting: list[_Waiting] = []

    @property
    def waiting(self) -> int:
        """Calls that the next `send` takes along."""
        return len(self._waiting)

    async def complete(self, call: ModelCall, deadline_seconds: float) -> Reply:
        """Wait for the batch that takes this call along; its deadline is that of `send`."""
        record = CallRecord(ulid(self._clock.now()), call, self._clock.now())
        one = _Waiting(call, record, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        return await one.answered

    async def conclude(
        self, workspace_id: str, use: Use, usage: Usage, outcome: ModelOutcome, reason: str = ""
    ) -> None:
        """What became of an answer."""
        labels = {telemetry.USE: use, telemetry.MODEL: usage.model, telemetry.PROMPT: usage.prompt}
        telemetry.counter(telemetry.MODEL_OUTCOMES).add(1, {**labels, telemetry.OUTCOME: outcome})
        await transcript.conclude(self._store, workspace_id, usage.call_id, outcome, reason)

    async def send(self, deadline_seconds: float) -> None:
        """One batch of everything that waits; returns when each call has its reply. Cancelled at the deadline."""
        waiting, self._waiting = self._waiting, []
        until = self._clock.monotonic() + deadline_seconds
        paid = [one for one in waiting if await self._reserved(one)]
        requests = {one.record.id: request_of(one.call, self._pin) for one in paid}
        found: dict[str, Completion | IntegrationError] = {}
        ended: Ended | None = None
        charged = False
        """Whether a request without an answer may be charged all the same."""
        if requests:
            try:
                state = await self._door.submit(requests, REQUEST_SECONDS)
                charged = True
                state = await self._ended(state, until)
                found = dict(await self._door.results(state, requests, REQUEST_SECONDS))
                charged = not state.ended
                ended = None if state.status == "completed" else Ended("deadline", f"the batch ended {_word(state)}")
            except IntegrationError as failed:
                charged = charged or (isinstance(failed, Unavailable) and failed.answer_lost)
                ended = _why(failed)
        for one in paid:
            await self._settle(one, found.get(one.record.id), ended, charged=charged)

    async def _ended(self, state: BatchState, until: float) -> BatchState:
        """Look until the batch has ended; at the deadline cancel it, and look once more for what was answered."""
        while not state.ended:
            if self._clock.monotonic() >= until:
                return await self._door.cancel(state.id, REQUEST_SECONDS)
            await self._clock.sleep(min(self._poll_seconds, max(until - self._clock.monotonic(), 0.01)))
            try:
                state = await self._door.state(state.id, REQUEST_SECONDS)
            except Unavailable:
                continue  # a look that failed says nothing about the batch; the deadline bounds the next one
        return state

    async def _reserved(self, one: _Waiting) -> bool:
        call, pin, now = one.call, self._pin, self._clock.now()
        sent = estimate_constant(call.system) + estimate(call.user) + estimate_constant(str(call.schema))
        written = min(call.max_output_tokens, pin.max_output_tokens) + pin.reasoning_tokens
        one.usd = pin.prices.cost_usd(sent, 0, written) * self._price
        payer = Payer(call.workspace_id, call.workflow_id, call.step, call.use, pin.name, call.incident_id, call.team)
        try:
            one.reservation = await self._store.transaction(
                lambda tx: spend.reserve(tx, payer, one.usd, self._ceilings, now)
            )
        except OverCeiling as over:
            await self._write(one, Refusal("budget", over.reason, self._usage(one, None, 0.0)))
            return False
        return True

    async def _settle(
        self, one: _Waiting, result: Completion | IntegrationError | None, ended: Ended | None, *, charged: bool
    ) -> None:
        if isinstance(result, Completion):
            cost = self._pin.prices.cost_usd(result.tokens_in, result.tokens_cached, result.tokens_out) * self._price
            usage, why = self._usage(one, result, cost), judged(self._pin, result)
            one.record.fingerprint = result.fingerprint
            one.record.trials.append(Trial(result.refusal or result.text))
            await self._write(one, Refusal(why.outcome, why.reason, usage) if why else Answer(result.text, usage))
            return
        why = (
            _why(result) if result is not None else ended or Ended("malformed", "the batch has no answer to this call")
        )
        usage = self._usage(one, None, one.usd if charged and result is None else 0.0)
        await self._write(one, Refusal(why.outcome, why.reason, usage))

    def _usage(self, one: _Waiting, done: Completion | None, usd: float) -> Usage:
        return Usage(
            model=self._pin.name,
            answered_by=done.answered_by[:200] if done else "",
            prompt=one.call.prompt,
            prompt_sha256=one.call.prompt_sha256,
            tokens_in=done.tokens_in if done else 0,
            tokens_cached=done.tokens_cached if done else 0,
            tokens_out=done.tokens_out if done else 0,
            cost_usd=usd,
            latency_seconds=round((self._clock.now() - one.record.started_at).total_seconds(), 6),
            attempts=int(one.reservation is not None),
            call_id=one.record.id,
        )

    async def _write(self, one: _Waiting, reply: Reply) -> None:
        """Settlement and record in one transaction, then the reply."""
        usage: Any = reply.usage
        refused = reply if isinstance(reply, Refusal) else None
        outcome: ModelOutcome = refused.outcome if refused else "rejected"
        now = self._clock.now()
        rows = transcript.rows(
            one.record, usage, outcome, refused.reason if refused else transcript.NOT_CHECKED,
            ended_at=now, keep=self._limits.transcripts_kept, redact=self._redact,
        )  # fmt: skip

        def work(tx: Transaction) -> None:
            if one.reservation is not None:
                spend.settle(tx, one.reservation, usage.cost_usd, self._ceilings, now)
            rows.write(tx)

        await self._store.transaction(work)
        measures.settled(one.call, self._pin, usage)
        if not one.answered.done():
            one.answered.set_result(reply)


def _why(failed: IntegrationError) -> Ended:
    if isinstance(failed, Unavailable):
        return Ended("off", "the provider's batch door does not answer")
    if isinstance(failed, Denied):
        return Ended("off", "the provider's batch door does not accept our key, plan or model name")
    if isinstance(failed, Malformed):
        return Ended("malformed", "the provider's batch door answered in a form that is none")
    return Ended("malformed", "the provider's batch door does not accept the question as it is")


def _word(state: BatchState) -> str:
    """The provider's word for the end, of those that we know."""
    known = {"failed", "expired", "cancelled", "cancelling", "finalizing", "in_progress", "validating"}
    return state.status if state.status in known else "otherwise"
