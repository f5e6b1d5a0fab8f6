"""How Python values are stored: datetimes as sortable ISO text, dicts and lists as JSON, booleans as 0 and 1."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_AS_THEY_ARE = frozenset({str, int, float, bytes, type(None)})
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def to_text(at: datetime) -> str:
    """`2026-11-24T21:39:16.000000Z`: always UTC, always microseconds, so that text order is time order."""
    if at.tzinfo is None:
        raise ValueError(f"a time without a zone cannot be stored: {at!r}")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def to_time(text: str) -> datetime:
    """The inverse of `to_text`."""
    return datetime.fromisoformat(text)


def encode(value: Any) -> Any:
    """One value as the database holds it."""
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=_json)
    return value


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_text(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"cannot be stored as JSON: {type(value).__name__}")


def encode_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with every value encoded."""
    return {name: encode(value) for name, value in row.items()}


def ulid(at: datetime) -> str:
    """A new ULID (26 characters of Crockford's base32; https://github.com/ulid/spec): sorts by time."""
    number = (int(at.timestamp() * 1000) << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))
