"""Calls that can wait, through a provider's batch door: cheaper, and never in the way of a live incident.

They use no slot, no rate and no retry of the gateway's; money is theirs as everybody's: reserved before the batch is
sent, settled from `usage` after it, at the door's share of the price. Calls are collected by `complete` and sent
together by `send`, so that whoever asks is written as for the gateway. What was sent stands in the store until its
books are written: a process that dies loses no answer, and the next one pays for none twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from bot import telemetry
from bot.clock import Clock
from bot.model import batch_rows, measures, spend, transcript
from bot.model.attempts import Ended, GatewayLimits, judged, request_of
from bot.model.batch_rows import Sent
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

log = logging.getLogger(__name__)

REQUEST_SECONDS = 60.0
"""For one request at the door: an upload, a look, a file of answers."""


@dataclass(slots=True)
class _Waiting:
    call: ModelCall
    record: CallRecord
    answered: asyncio.Future[Reply]
    usd: float = 0.0
    reservation: Reservation | None = None


@dataclass(slots=True)
class _Group:
    """The calls of one batch; `state` is None until the provider has it."""

    mark: str
    calls: list[_Waiting]
    state: BatchState | None = None


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
        """One batch of everything that waits; returns when each call has its reply. Cancelled at the deadline.

        What an earlier process sent and did not live to book is taken up again: the same question is not paid twice.
        """
        waiting, self._waiting = self._waiting, []
        until = self._clock.monotonic() + deadline_seconds
        groups = [group async for group in self._taken_up(waiting)]
        taken = {one.record.id for group in groups for one in group.calls}
        fresh = [one for one in waiting if one.record.id not in taken and not one.answered.done()]
        mark = ulid(self._clock.now())
        if paid := [one for one in fresh if await self._reserved(one, mark)]:
            groups.append(_Group(mark, paid))
        await asyncio.gather(*(self._answered(group, until) for group in groups))

    async def _taken_up(self, waiting: list[_Waiting]) -> AsyncIterator[_Group]:
        """The batches of earlier processes in which something stands that is asked again."""
        by_content: dict[str, list[_Waiting]] = {}
        for one in waiting:
            by_content.setdefault(batch_rows.content_of(self._pin, one.call), []).append(one)
        workspaces = {one.call.workspace_id for one in waiting}
        found = await batch_rows.waiting(self._store, workspaces, self._pin, self._clock.now())
        for mark, rows in found.items():
            if not any(by_content.get(sent.content) for sent in rows):
                continue
            group = _Group(mark, [self._again(sent, by_content.get(sent.content, [])) for sent in rows])
            try:
                known = rows[0].row["batch_id"]
                look = self._door.state(known, REQUEST_SECONDS) if known else self._door.find(mark, REQUEST_SECONDS)
                group.state = await look
            except Unavailable:
                for one in group.calls:  # the rows stay: whoever asks next looks again
                    refused = Refusal("off", "the provider's batch door does not answer", self._usage(one, None, 0.0))
                    self._reply(one, refused)
                continue
            except IntegrationError:
                log.warning("a batch that was sent earlier cannot be found again; it is paid in full")
            if group.state is None:  # it was never taken, or is gone: what it may have cost is paid in full
                for one in group.calls:
                    await self._close(one)
                continue
            yield group

    def _again(self, sent: Sent, asking: list[_Waiting]) -> _Waiting:
        """A request that was sent before, and who asks for it now, if anybody does."""
        reservation = sent.reservation()
        if asking:
            one = asking.pop(0)
            one.record.id = sent.call_id
        else:
            payer, row = reservation.payer, sent.row
            call = ModelCall(
                use=payer.use, workspace_id=payer.workspace_id, workflow_id=payer.workflow_id, step=payer.step,  # type: ignore[arg-type] # stored as one
                prompt=row["prompt"], prompt_sha256=row["prompt_sha256"], system="", user="", schema_name="", schema={},
                max_output_tokens=0, incident_id=payer.incident_id, team=payer.team, priority="batch",
            )  # fmt: skip
            record = CallRecord(sent.call_id, call, reservation.reserved_at)
            one = _Waiting(call, record, asyncio.get_running_loop().create_future())
        one.usd, one.reservation = reservation.usd, reservation
        return one

    async def _answered(self, group: _Group, until: float) -> None:
        """Send it if nobody did, wait for its end, and book each of its calls."""
        requests = {one.record.id: request_of(one.call, self._pin) for one in group.calls}
        found: dict[str, Completion | IntegrationError] = {}
        ended: Ended | None = None
        charged = group.state is not None
        """Whether a request without an answer may be charged all the same."""
        try:
            state = group.state
            if state is None:
                state = await self._door.submit(requests, group.mark, REQUEST_SECONDS)
                charged, taken = True, state.id
                await self._store.transaction(lambda tx: batch_rows.sent(tx, group.mark, taken))
            state = await self._ended(state, until)
            found = dict(await self._door.results(state, requests, REQUEST_SECONDS))
            charged = not state.ended
            ended = None if state.status == "completed" else Ended("deadline", f"the batch ended {_word(state)}")
        except IntegrationError as failed:
            charged = charged or (isinstance(failed, Unavailable) and failed.answer_lost)
            ended = _why(failed)
        for one in group.calls:
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

    async def _reserved(self, one: _Waiting, mark: str) -> bool:
        """Money and a row in one transaction, before anything is sent."""
        call, pin, now = one.call, self._pin, self._clock.now()
        sent = estimate_constant(call.system) + estimate(call.user) + estimate_constant(str(call.schema))
        written = min(call.max_output_tokens, pin.max_output_tokens) + pin.reasoning_tokens
        one.usd = pin.prices.cost_usd(sent, 0, written) * self._price
        payer = Payer(call.workspace_id, call.workflow_id, call.step, call.use, pin.name, call.incident_id, call.team)
        content = batch_rows.content_of(pin, call)

        def work(tx: Transaction) -> Reservation:
            made = spend.reserve(tx, payer, one.usd, self._ceilings, now)
            tx.insert("batch_requests", [batch_rows.row_of(mark, one.record.id, content, call, pin, made)])
            return made

        try:
            one.reservation = await self._store.transaction(work)
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

        def work(tx: Transaction) -> bool:
            if one.reservation is not None:
                if not batch_rows.booked(tx, one.call.workspace_id, one.record.id):
                    return False  # another process waits for the same batch, and has written them
                spend.settle(tx, one.reservation, usage.cost_usd, self._ceilings, now)
            rows.write(tx)
            return True

        if await self._store.transaction(work):
            measures.settled(one.call, self._pin, usage)
        self._reply(one, reply)

    async def _close(self, one: _Waiting) -> None:
        """The batch is not to be found: its money is gone, and whoever asks is a new caller."""
        reservation, now = one.reservation, self._clock.now()
        assert reservation is not None

        def work(tx: Transaction) -> None:
            if batch_rows.booked(tx, one.call.workspace_id, one.record.id):
                spend.settle(tx, reservation, reservation.usd, self._ceilings, now)

        await self._store.transaction(work)
        one.reservation, one.record.id = None, ulid(now)

    def _reply(self, one: _Waiting, reply: Reply) -> None:
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
