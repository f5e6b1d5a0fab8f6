"""Who may call an endpoint now: a concurrency limit and a bounded queue with deadlines and two priorities.

Live incidents go before batch, workspaces take turns, and a full queue refuses at once. Rates are not kept here: the
caller looks at the shared buckets when it has a slot, and says `wait` when they are empty.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from bot.clock import Clock

Priority = Literal["live", "batch"]


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """`concurrency` calls at once, of which batch may have `batch_share`; `queue` calls may wait."""

    concurrency: int = 16
    batch_share: float = 0.5
    queue: int = 256


class NotAdmitted(Exception):
    """Refused before anything was sent; the text goes on the card after "no summary: "."""


@dataclass(slots=True, eq=False)
class _Waiting:
    workspace_id: str
    priority: Priority
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Admission:
    """Slots of one endpoint. Lives on one event loop."""

    def __init__(self, clock: Clock, limits: AdmissionLimits | None = None) -> None:
        self._clock = clock
        self._limits = limits or AdmissionLimits()
        self._batch_most = max(int(self._limits.concurrency * self._limits.batch_share), 1)
        self._in_flight: dict[Priority, int] = {"live": 0, "batch": 0}
        self._queues: dict[Priority, OrderedDict[str, deque[_Waiting]]] = {
            "live": OrderedDict(),
            "batch": OrderedDict(),
        }
        self._waiting = 0
        self._blocked_until: dict[Priority, float] = {"live": 0.0, "batch": 0.0}
        self._wakers: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        return self._waiting

    @property
    def in_flight(self) -> int:
        return self._in_flight["live"] + self._in_flight["batch"]

    async def enter(self, workspace_id: str, priority: Priority, *, again: bool = False) -> None:
        """Wait for a slot, which `leave` gives back. Cancel to give up.

        `again` is for who had a slot and found the rate used up: it waits at the head of its workspace's queue.
        Raises NotAdmitted when the queue is full.
        """
        if not self._queues[priority] and self._free(priority):
            self._in_flight[priority] += 1
            return
        if self._waiting >= self._limits.queue and not self._make_room(workspace_id, priority):
            raise NotAdmitted("too many questions to the model are waiting")
        waiting = _Waiting(workspace_id, priority)
        queue = self._queues[priority].setdefault(workspace_id, deque())
        if again:
            queue.appendleft(waiting)
        else:
            queue.append(waiting)
        self._waiting += 1
        self._grant()
        try:
            await waiting.granted
        except asyncio.CancelledError:
            if waiting.granted.done() and not waiting.granted.cancelled() and not waiting.granted.exception():
                self.leave(priority)  # granted and cancelled in the same turn of the loop
            else:
                self._forget(waiting)
            raise

    def leave(self, priority: Priority) -> None:
        """Give the slot back."""
        self._in_flight[priority] -= 1
        self._grant()

    def wait(self, priority: Priority, seconds: float) -> None:
        """The rate is used up: nobody of this priority is let in for so long. Live calls may still go before batch."""
        until = self._clock.monotonic() + seconds
        if until > self._blocked_until[priority]:
            self._blocked_until[priority] = until
            waker = asyncio.get_running_loop().create_task(self._wake(seconds))
            self._wakers.add(waker)
            waker.add_done_callback(self._wakers.discard)

    async def aclose(self) -> None:
        """Stop the timers; who waits is refused."""
        for waker in list(self._wakers):
            waker.cancel()
        for waiting in list(self._all()):
            self._refuse(waiting, "Sitrep is shutting down")

    async def _wake(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._grant()

    def _free(self, priority: Priority) -> bool:
        if self._clock.monotonic() < self._blocked_until[priority] or self.in_flight >= self._limits.concurrency:
            return False
        return priority == "live" or self._in_flight["batch"] < self._batch_most

    def _grant(self) -> None:
        for priority in ("live", "batch"):
            queues = self._queues[priority]
            while queues and self._free(priority):
                workspace_id, queue = next(iter(queues.items()))
                waiting = queue.popleft()
                if queue:
                    queues.move_to_end(workspace_id)  # workspaces take turns
                else:
                    del queues[workspace_id]
                self._waiting -= 1
                if not waiting.granted.done():
                    self._in_flight[priority] += 1
                    waiting.granted.set_result(None)

    def _make_room(self, workspace_id: str, priority: Priority) -> bool:
        """A full queue: batch gives way to live, then the workspace with most waiting to one with fewer."""
        if priority == "live" and self._queues["batch"]:
            self._refuse(self._newest_of_largest("batch"), "a live incident took the place")
            return True
        queues = self._queues[priority]
        if not queues:
            return False
        mine = len(queues.get(workspace_id, ()))
        largest = max(len(queue) for queue in queues.values())
        if mine + 1 >= largest:
            return False
        self._refuse(self._newest_of_largest(priority), "too many questions of this workspace are waiting")
        return True

    def _newest_of_largest(self, priority: Priority) -> _Waiting:
        return max(self._queues[priority].values(), key=len)[-1]

    def _refuse(self, waiting: _Waiting, reason: str) -> None:
        self._forget(waiting)
        if not waiting.granted.done():
            waiting.granted.set_exception(NotAdmitted(reason))

    def _forget(self, waiting: _Waiting) -> None:
        queue = self._queues[waiting.priority].get(waiting.workspace_id)
        if queue is not None and waiting in queue:
            queue.remove(waiting)
            self._waiting -= 1
            if not queue:
                del self._queues[waiting.priority][waiting.workspace_id]

    def _all(self) -> Iterator[_Waiting]:
        for queues in self._queues.values():
            for queue in queues.values():
                yield from queue
