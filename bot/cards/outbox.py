"""The outbox: the only caller of Slack's post and update, and of PagerDuty's note.

Flows write wanted states; the newest state of a part wins. For each part the order of writes is: `sending` is
committed, then the message goes out, then its timestamp is committed. So a process that dies in between, or an answer
that is lost, leaves `sending`, and the next attempt looks for the message by its mark before it posts: found, it is
adopted and edited to the state of now. An edit may be repeated without harm and needs no such care.

A state that was permitted more than a minute ago is permitted again before it is sent. Slack's limits are kept here:
one message a second a channel, one edit of a card in two seconds, and `Retry-After` for posts and for edits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from bot import telemetry
from bot.cards.forms import FormMemory
from bot.cards.messages import MINIMAL, message_of, simpler_form
from bot.cards.notes import NoteBook, NoteWriter
from bot.cards.render import Form
from bot.cards.state import CardState
from bot.cards.turns import Turns
from bot.cards.wanted import WantedPosts
from bot.clock import Clock
from bot.store import Row, Store
from bot.store.values import to_time
from integrations.errors import Denied, IntegrationError, Refused, Unavailable
from integrations.ports import Message, Posted, Poster

log = logging.getLogger(__name__)

PERMIT_AGE = timedelta(seconds=60)
BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)
FAILED_AGAIN_SECONDS = 300.0
"""How long a channel that refuses us is left alone."""
LOOK_BACK = timedelta(minutes=10)
"""How much older than its row a message of ours may seem: clocks differ."""
REFUSED_BLOCKS = ("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long")
GONE = ("message_not_found", "cant_update_message", "edit_window_closed")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """Seconds."""

    coalesce: float = 2.0
    channel_gap: float = 1.0
    slack_down: float = 60.0
    blocks: Literal["auto", "classic"] = "auto"


class Outbox:
    """One workspace's outbox over the `posts` table. `run` sends; `change` and `say` write what is wanted."""

    def __init__(
        self,
        store: Store,
        workspace_id: str,
        poster: Poster,
        clock: Clock,
        *,
        limits: OutboxLimits | None = None,
        repermit: Callable[[str], Awaitable[None]] | None = None,
        note_text: Callable[[str], Awaitable[str | None]] | None = None,
        notes: NoteBook | None = None,
        checkpoint: Callable[[str], None] | None = None,
    ) -> None:
        """`repermit(target)` writes the state of now; `note_text(target)` is what a note may say, None for no note."""
        self._posts = WantedPosts(store, workspace_id, clock)
        self._poster = poster
        self._clock = clock
        self._limits = limits or OutboxLimits()
        self._repermit = repermit
        self._checkpoint = checkpoint or (lambda _: None)
        self._forms = FormMemory(store, workspace_id, clock, always_classic=self._limits.blocks == "classic")
        self._notes = NoteWriter(
            store, workspace_id, clock, notes, note_text, self._limits.slack_down, self._checkpoint
        )  # fmt: skip
        self._awake = asyncio.Event()
        self._moved = asyncio.Condition()
        self._paused_until: dict[str, datetime] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._channel_free_at: dict[str, datetime] = defaultdict(clock.now)
        self._noting: asyncio.Task[None] | None = None
        self._turns = Turns()

    # --- what is wanted -----------------------------------------------------------------------------------------

    async def change(
        self,
        target: str,
        channel: str,
        transform: Callable[[CardState | None], CardState],
        *,
        permitted_at: datetime,
        not_before_at: datetime | None = None,
    ) -> int:
        """Write the next wanted state of a card, made from the one that stands. Returns its version."""

        version = await self._posts.change(
            target, channel, transform, permitted_at=permitted_at, not_before_at=not_before_at
        )
        self._awake.set()
        return version

    def turn(self, target: str) -> AbstractAsyncContextManager[None]:
        """Held by the one writer of a card that reads what is so now and writes the state that follows from it."""
        return self._turns.of(target)

    async def say(
        self,
        target: str,
        channel: str,
        text: str,
        blocks: Sequence[Mapping[str, Any]],
        *,
        simpler: Sequence[Mapping[str, Any]] = (),
    ) -> int:
        """A message that is no card: a weekly report, a notice. Once per target; said again, it is edited.

        `simpler` are the blocks for a workspace that refuses the others; without them, or refused too, its text alone
        goes out.
        """
        version = await self._posts.say(target, channel, text, blocks, simpler=simpler)
        self._awake.set()
        return version

    # --- waiting ------------------------------------------------------------------------------------------------

    async def wait_for(self, target: str, version: int, timeout_seconds: float) -> bool:
        """Whether that version of the card, or a newer one, is out; False after the timeout ("pending")."""
        try:
            async with asyncio.timeout(timeout_seconds), self._moved:
                while not await self._posts.is_out(target, version):
                    await self._moved.wait()
        except TimeoutError:
            return await self._posts.is_out(target, version)
        return True

    async def sent_times(self, target: str) -> tuple[datetime | None, datetime | None]:
        """When the first and when the newest state of the card went out."""
        return await self._posts.sent_times(target)

    async def permitted_at(self, target: str) -> datetime | None:
        """When the state that stands was permitted; None without a card."""
        return await self._posts.permitted_at(target)

    async def waiting(self) -> int:
        """Wanted states that are not out; a metric, and a line of `doctor`."""
        return await self._posts.waiting()

    # --- sending ------------------------------------------------------------------------------------------------

    async def form(self) -> Form:
        """The form of blocks that this workspace takes."""
        return await self._forms.form()

    def wake(self) -> None:
        """Look again now (after a reconnect)."""
        self._paused_until.clear()
        self._awake.set()

    async def run(self) -> None:
        """Send what is due, for ever. A channel that is slow keeps no other waiting."""
        try:
            while True:
                self._awake.clear()
                try:
                    await self._begin_due()
                    self._begin_notes()
                    wait = await self._next_due()
                except Exception as failed:  # noqa: BLE001 - a loop that must not end; every row is still there
                    log.error("the outbox failed with %s; trying again", type(failed).__name__)
                    wait = 1.0
                await self._rest(wait)
        finally:
            for task in (*self._busy.values(), *([self._noting] if self._noting is not None else [])):
                task.cancel()

    async def _rest(self, seconds: float) -> None:
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        awake = asyncio.ensure_future(self._awake.wait())
        try:
            await asyncio.wait({sleep, awake}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleep, awake):
                task.cancel()

    async def send_due(self) -> float:
        """Send everything that is due now and wait for it; returns the seconds until something is due."""
        await asyncio.gather(*await self._begin_due())
        await self._notes.write_due()
        return await self._next_due()

    def _begin_notes(self) -> None:
        """In a task of its own: an incident source that is slow as well keeps no card waiting."""
        if self._noting is None or self._noting.done():
            self._noting = asyncio.ensure_future(self._notes.write_due())

    async def _begin_due(self) -> list[asyncio.Task[None]]:
        """Start what is due in every channel where nothing is being sent; one task a channel."""
        by_channel: dict[str, list[Row]] = defaultdict(list)
        for row in await self._posts.due():
            if row["channel"] not in self._busy:
                by_channel[row["channel"]].append(row)
        for channel, due in by_channel.items():
            self._busy[channel] = task = asyncio.ensure_future(self._send_channel(due))
            task.add_done_callback(partial(self._channel_done, channel))
        return [self._busy[channel] for channel in by_channel]

    def _channel_done(self, channel: str, task: asyncio.Task[None]) -> None:
        self._busy.pop(channel, None)
        self._awake.set()
        if not task.cancelled() and (failed := task.exception()) is not None:
            log.error("sending to a channel failed with %s", type(failed).__name__)

    async def _next_due(self) -> float:
        due_at = await self._posts.next_due_at()
        if due_at is None:
            return 60.0
        return min(60.0, max(0.02, (due_at - self._clock.now()).total_seconds()))

    async def _send_channel(self, rows: Sequence[Row]) -> None:
        """One after the other, one new message a second; a row that must wait does not stop the others."""
        for row in rows:
            wait = self._seconds_to_wait(row)
            if wait > 0:
                await self._later(row, wait, None, count=False)
                continue
            try:
                await self._send(row)
            except Exception as failed:  # noqa: BLE001 - one row must not stop the others, nor be sent by two at once
                log.error("sending %s failed with %s", row["target"], type(failed).__name__)
                await self._later(row, None, type(failed).__name__, in_flight=row["status"] == "sending")

    def _seconds_to_wait(self, row: Row) -> float:
        """Until Slack takes this call: its limits are per method, and a channel takes one new message a second."""
        free_at = [self._paused_until.get(_call_of(row))]
        if row["ts"] is None:
            free_at.append(self._channel_free_at[row["channel"]])
        now = self._clock.now()
        return max(((at - now).total_seconds() for at in free_at if at is not None), default=0.0)

    async def _send(self, row: Row) -> None:
        target = str(row["target"])
        incident_id = target.removeprefix("incident:") if target.startswith("incident:") else None
        attributes = {telemetry.INCIDENT: incident_id or "", telemetry.PART: str(row["part"])}
        span = telemetry.tracer().start_as_current_span
        with telemetry.within(incident_id), span(telemetry.SPAN_OUTBOX, attributes=attributes):
            await self._send_one(row)

    async def _send_one(self, row: Row) -> None:
        if await self._too_old(row):
            return
        message = await self._message(row)
        if message is None:
            return
        try:
            posted = await self._out(row, message)
        except Unavailable as failed:
            if failed.retry_after_seconds:
                until_at = self._clock.now() + timedelta(seconds=failed.retry_after_seconds)
                self._paused_until[_call_of(row)] = until_at
            limited = failed.retry_after_seconds is not None
            await self._later(
                row, failed.retry_after_seconds, failed.message, in_flight=failed.answer_lost, outage=not limited
            )
        except Refused as failed:
            await self._refused(row, failed)
        except Denied as failed:
            log.error("posting %s was refused: %s", row["target"], failed.message)
            unknown = row["status"] == "sending" and not row.get("looked")
            await self._give_up_for_now(row, "sending" if unknown else "failed", failed.message)
        except IntegrationError as failed:
            await self._later(row, None, failed.message, in_flight=True, outage=True)
        else:
            await self._sent(row, posted)

    async def _out(self, row: Row, message: Message) -> Posted:
        """Edit what stands, adopt what is found, or post."""
        if row["ts"] is None and row["status"] == "sending":
            since = to_time(row["created_at"]) - LOOK_BACK
            found = await self._poster.find(message.channel, message.mark, since, message.thread_ts)
            if found is not None:
                await self._posts.set(row, {"ts": found.ts, "channel": found.channel})
                row["ts"], row["channel"] = found.ts, found.channel
        if row["ts"] is not None:
            posted = Posted(row["channel"], row["ts"])
            self._checkpoint("outbox.before_update")
            await self._poster.update(posted, message)
            self._checkpoint("outbox.after_update")
            return posted
        await self._posts.set(row, {"status": "sending", "attempts": row["attempts"] + 1})
        row["status"], row["attempts"], row["looked"] = "sending", row["attempts"] + 1, True
        self._channel_free_at[row["channel"]] = self._clock.now() + timedelta(seconds=self._limits.channel_gap)
        self._checkpoint("outbox.before_send")
        posted = await self._poster.post(message)
        self._checkpoint("outbox.after_send")
        return posted

    async def _sent(self, row: Row, posted: Posted) -> None:
        now = self._clock.now()
        await self._posts.sent(row, posted, timedelta(seconds=self._limits.coalesce))
        self._checkpoint("outbox.recorded")
        labels = {telemetry.PART: str(row["part"])}
        telemetry.counter(telemetry.POSTS).add(1, labels)
        wanted_at = max(to_time(row[name]) for name in ("updated_at", "not_before_at") if row[name])
        waited = (now - wanted_at).total_seconds()
        telemetry.histogram(telemetry.OUTBOX_WAIT).record(max(waited, 0.0), labels)
        async with self._moved:
            self._moved.notify_all()

    async def _refused(self, row: Row, refused: Refused) -> None:
        """A form that this workspace does not take: the next simpler one. A message that is gone: anew.

        That modern blocks are not taken holds for the workspace and is remembered; a classic message that is refused
        is one message's own trouble, and is said in its one sentence.
        """
        if refused.code in REFUSED_BLOCKS and row["last_error"] != MINIMAL:
            modern = row["kind"] == "card" and await self._forms.form() == "modern"
            if modern:
                log.warning("Slack refused the modern blocks (%s); this workspace gets the classic ones", refused.code)
                await self._forms.remember_classic()
            said = None if modern else simpler_form(row)
            await self._posts.set(row, {"status": "wanted", "last_error": said, **self._at(0)})
            return
        if refused.code in GONE:
            await self._posts.set(row, {"ts": None, "status": "wanted", **self._at(1)})
            return
        log.error("Slack refused %s: %s", row["target"], refused.code)
        await self._give_up_for_now(row, "failed", refused.code)

    async def _too_old(self, row: Row) -> bool:
        """Permitted more than a minute ago: permit again; the new state comes by itself."""
        if row["kind"] != "card" or self._repermit is None or row["permitted_at"] is None:
            return False
        if self._clock.now() - to_time(row["permitted_at"]) <= PERMIT_AGE:
            return False
        card = row if row["part"] == "card" else await self._posts.card_row(row["target"])
        if card is not None and CardState.model_validate_json(card["state"]).restricted:
            return False  # the fallback fields are for everybody
        await self._repermit(row["target"])
        again_at = await self._posts.permitted_at(row["target"])
        if again_at is None or self._clock.now() - again_at > PERMIT_AGE:
            await self._later(row, None, "waits to be permitted again")
        return True

    async def _message(self, row: Row) -> Message | None:
        """The message of a part, or None when the part has nothing to say (it is then done) or must wait."""
        card = row if row["part"] == "card" else await self._posts.card_row(row["target"])
        if card is None or (row["part"] != "card" and card["ts"] is None):
            await self._later(row, 1.0, None, count=False)
            return None
        message = message_of(row, card, await self._forms.form())
        if message is None:
            await self._posts.set(row, {"sent_version": row["version"], "status": "sent"})
        return message

    # --- rows ---------------------------------------------------------------------------------------------------

    async def _later(
        self, row: Row, seconds: float | None, error: str | None, *, in_flight: bool = False, count: bool = True,
        outage: bool = False,
    ) -> None:  # fmt: skip
        attempts = int(row["attempts"]) + (1 if count and row["status"] != "sending" else 0)
        wait = seconds if seconds is not None else BACKOFF_SECONDS[min(attempts, len(BACKOFF_SECONDS) - 1)]
        values: dict[str, Any] = self._at(wait)
        if count:
            # What may be out stays in flight until somebody has looked for it: also when the looking itself failed.
            unknown = row["status"] == "sending" and not row.get("looked")
            status = "sending" if (in_flight or unknown) and row["ts"] is None else "wanted"
            values |= {"attempts": attempts, "last_error": error, "status": status}
            if outage:
                values["failing_since_at"] = row["failing_since_at"] or self._clock.now()
        await self._posts.set(row, values)

    async def _give_up_for_now(self, row: Row, status: str, error: str) -> None:
        """A person has to change something; until then nobody sees this card, which is an outage too."""
        since = row["failing_since_at"] or self._clock.now()
        values = {"status": status, "last_error": error, "failing_since_at": since}
        await self._posts.set(row, values | self._at(FAILED_AGAIN_SECONDS))

    def _at(self, seconds: float) -> dict[str, Any]:
        return {"next_attempt_at": self._clock.now() + timedelta(seconds=seconds)}


def _call_of(row: Row) -> str:
    """Which of Slack's limits counts for this row."""
    return "post" if row["ts"] is None else "update"
