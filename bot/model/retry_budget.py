"""How many retries may be sent: a fraction of recent calls plus a small floor, shared by all calls to one endpoint.

As Finagle's RetryBudget (https://twitter.github.io/finagle/guide/Clients.html#retries) and gRPC's retryThrottling
(gRFC A6): each call deposits, each retry withdraws. Nothing is refilled by time, so requests sent are at most
(1 + ratio) × calls + floor under any sequence of failures. Savings are capped, so that a quiet day does not pay for a
storm. One process, one budget: the bound holds for each, and so for their sum.
"""

from __future__ import annotations

UNIT = 1000
"""Accounts are kept in thousandths of a retry: whole numbers do not drift."""


class RetryBudget:
    """`deposit` once a logical call, `withdraw` before each retry."""

    def __init__(self, ratio: float = 0.1, floor: int = 10, recent_calls: int = 1000) -> None:
        if not 0 <= ratio <= 1 or floor < 0 or recent_calls < 0:
            raise ValueError(f"not a retry budget: ratio {ratio!r}, floor {floor!r}, recent_calls {recent_calls!r}")
        self._deposit = int(ratio * UNIT)
        self._balance = floor * UNIT
        self._most = floor * UNIT + self._deposit * recent_calls

    @property
    def retries_left(self) -> int:
        return self._balance // UNIT

    def deposit(self) -> None:
        """A logical call begins."""
        self._balance = min(self._balance + self._deposit, self._most)

    def withdraw(self) -> bool:
        """Whether one more retry may be sent; if so it is paid for."""
        if self._balance < UNIT:
            return False
        self._balance -= UNIT
        return True
