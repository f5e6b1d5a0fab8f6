"""Token buckets for requests and tokens per minute of one endpoint, in one row that replicas share.

https://en.wikipedia.org/wiki/Token_bucket; no library keeps one in a database without a row a unit (ENGINE.md of the
measurements: pyrate-limiter does). The row is read and written inside one transaction of the store.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.store import Transaction

SHARED = "*"
"""The buckets belong to an account at an endpoint, not to a workspace."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Per minute; a bucket holds a minute's worth. `live_share` of each is kept for live incidents."""

    requests_per_minute: float = 500.0
    tokens_per_minute: float = 200_000.0
    live_share: float = 0.2


def take(tx: Transaction, endpoint: str, rates: Rates, tokens: int, *, live: bool, now_seconds: float) -> float:
    """Take one request and `tokens` if they are there and return 0, else how many seconds until they may be.

    `now_seconds` is since the epoch, because replicas share the row. A call larger than the bucket is let through
    when the bucket is full, and leaves it in debt.
    """
    requests, level = _levels(tx, endpoint, rates, now_seconds)
    keep = 0.0 if live else rates.live_share
    wait = max(
        _missing(1, requests, rates.requests_per_minute, keep),
        _missing(tokens, level, rates.tokens_per_minute, keep),
    )
    if wait <= 0:
        _write(tx, endpoint, requests - 1, level - tokens, now_seconds)
    return wait


def correct(tx: Transaction, endpoint: str, rates: Rates, tokens: int, *, now_seconds: float) -> None:
    """Give back what was estimated too much, or take what was too little (negative)."""
    requests, level = _levels(tx, endpoint, rates, now_seconds)
    _write(tx, endpoint, requests, min(level + tokens, rates.tokens_per_minute), now_seconds)


def _missing(wanted: float, level: float, per_minute: float, keep: float) -> float:
    """Seconds until `wanted` may be taken while `keep` of the bucket stays; a bucket that is full is always enough."""
    needed = min(wanted + keep * per_minute, per_minute)
    return 0.0 if level >= needed else (needed - level) * 60.0 / per_minute


def _levels(tx: Transaction, endpoint: str, rates: Rates, now_seconds: float) -> tuple[float, float]:
    rows = tx.query(
        "SELECT requests, tokens, updated_seconds FROM rate_buckets"
        " WHERE workspace_id = :workspace_id AND endpoint = :endpoint",
        {"workspace_id": SHARED, "endpoint": endpoint},
    )
    if not rows:
        return rates.requests_per_minute, rates.tokens_per_minute
    minutes = max(now_seconds - rows[0]["updated_seconds"], 0.0) / 60.0  # a replica's clock may be behind
    return (
        min(rows[0]["requests"] + minutes * rates.requests_per_minute, rates.requests_per_minute),
        min(rows[0]["tokens"] + minutes * rates.tokens_per_minute, rates.tokens_per_minute),
    )


def _write(tx: Transaction, endpoint: str, requests: float, tokens: float, now_seconds: float) -> None:
    row = {
        "workspace_id": SHARED, "endpoint": endpoint, "requests": requests, "tokens": tokens,
        "updated_seconds": now_seconds,
    }  # fmt: skip
    tx.upsert("rate_buckets", [row])
