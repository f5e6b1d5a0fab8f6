"""A circuit breaker for one endpoint: opens on an error rate or a rate of slow calls over a window.

After Nygard's "Release It!" and resilience4j's time-based sliding window. States: closed; open for `open_seconds`
(doubled each time a probe fails, up to `open_seconds_most`); half open, when `probes` calls at a time may try, and
`probes` successes in a row close it. Not thread-safe: it lives on one event loop.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

from bot.clock import Clock


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When it opens and for how long."""

    window_seconds: float = 60.0
    fewest_calls: int = 10
    """Below this many requests in the window no rate means anything."""
    error_rate: float = 0.5
    slow_rate: float = 0.8
    slow_seconds: float = 20.0
    open_seconds: float = 30.0
    open_seconds_most: float = 300.0
    probes: int = 1


class Breaker:
    """`admit` before each request, then exactly one of `succeeded`, `failed` or `unknown` with what it returned.

    A pass is the number of the phase in which it was given: what comes back from an earlier phase changes nothing.
    """

    def __init__(self, clock: Clock, limits: BreakerLimits | None = None) -> None:
        self._clock = clock
        self._limits = limits or BreakerLimits()
        self._seconds: deque[list[int]] = deque()
        """One bucket a second: [second, requests, failures, slow ones]."""
        self._state = State.CLOSED
        self._open_until = 0.0
        self._open_for = self._limits.open_seconds
        self._probing = 0
        self._proved = 0
        self._phase = 1

    @property
    def state(self) -> State:
        if self._state is State.OPEN and self._clock.monotonic() >= self._open_until:
            return State.HALF_OPEN
        return self._state

    @property
    def retry_allowed(self) -> bool:
        """Retries go to a closed circuit only; a probe is never repeated."""
        return self.state is State.CLOSED

    def admit(self) -> int:
        """A pass for one request, or 0 if none may be sent now. In half open it takes one of the probes."""
        state = self.state
        if state is State.CLOSED:
            return self._phase
        if state is State.OPEN or self._probing >= self._limits.probes:
            return 0
        if self._state is State.OPEN:
            self._enter(State.HALF_OPEN)
        self._probing += 1
        return self._phase

    def succeeded(self, permit: int, seconds: float) -> None:
        """An answer came; a slow one is counted as slow."""
        if permit != self._phase:
            return
        slow = seconds >= self._limits.slow_seconds
        if self._state is State.CLOSED:
            self._count(failed=False, slow=slow)
            return
        self._probing -= 1
        self._proved += 1
        if slow:
            self._reopen()
        elif self._proved >= self._limits.probes:
            self._open_for = self._limits.open_seconds
            self._enter(State.CLOSED)

    def failed(self, permit: int) -> None:
        """No answer, or one that is no answer."""
        if permit != self._phase:
            return
        if self._state is State.CLOSED:
            self._count(failed=True, slow=False)
        else:
            self._reopen()

    def unknown(self, permit: int) -> None:
        """The request was given up for a reason that says nothing about the endpoint."""
        if permit == self._phase and self._state is State.HALF_OPEN:
            self._probing -= 1

    def _enter(self, state: State) -> None:
        self._state = state
        self._phase += 1
        self._probing = self._proved = 0
        self._seconds.clear()

    def _reopen(self) -> None:
        self._open_for = min(self._open_for * 2, self._limits.open_seconds_most)
        self._open()

    def _open(self) -> None:
        self._open_until = self._clock.monotonic() + self._open_for
        self._enter(State.OPEN)

    def _count(self, *, failed: bool, slow: bool) -> None:
        now = self._clock.monotonic()
        if not self._seconds or self._seconds[-1][0] != int(now):
            self._seconds.append([int(now), 0, 0, 0])
        bucket = self._seconds[-1]
        bucket[1] += 1
        bucket[2] += failed
        bucket[3] += slow
        while self._seconds[0][0] <= now - self._limits.window_seconds:
            self._seconds.popleft()
        requests = sum(bucket[1] for bucket in self._seconds)
        if requests < self._limits.fewest_calls:
            return
        failures = sum(bucket[2] for bucket in self._seconds)
        slow_ones = sum(bucket[3] for bucket in self._seconds)
        if failures / requests >= self._limits.error_rate or slow_ones / requests >= self._limits.slow_rate:
            self._open()
