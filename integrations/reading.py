"""Reading outside JSON without trusting its types: what is not what it should be becomes None or empty, never an
exception, and every text that is kept is bounded and can be stored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""An earlier time is a null in disguise (0001-01-01 in Go, the epoch in many)."""
LATEST = datetime(2100, 1, 1, tzinfo=UTC)

_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")
_ISO = re.compile(
    r"(\d{4})[-/.](\d\d)[-/.](\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9})\d{0,9})?"
    r" ?(Z|UTC|GMT|[+-]\d\d[:.]?\d\d|[+-]\d\d)?(?: UTC| GMT)?",
    re.IGNORECASE,
)
"""ISO 8601, and what is nearly that: slashes, a blank before the zone, Go's `+0000 UTC`, Wazuh's `+01.00`."""
_OTHER_FORMATS = (
    "%a %b %d %H:%M:%S %Z %Y", "%a %b %d %H:%M:%S %Y", "%d %b %Y %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z",
    "%A %d %B, %Y %H:%M:%S %Z", "%b %d, %Y %H:%M:%S",
)  # fmt: skip
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_EPOCH = re.compile(r"-?\d{1,20}(?:\.\d{1,12})?")


def text(value: Any, limit: int = 2000) -> str:
    """A string of at most `limit` characters: "" for null, containers and booleans; numbers as written.

    Lone surrogates and NUL, which a database refuses, are replaced.
    """
    if isinstance(value, str):
        return _clean(value[:limit])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return repr(value) if not isinstance(value, int) or abs(value) < 10**40 else "a very large number"


def _clean(value: str) -> str:
    if value.isascii() and "\0" not in value:  # nearly every text: three times faster than looking for surrogates
        return value
    return _UNSTORABLE.sub("�", value)


def storable(value: Any, depth: int = 40) -> Any:
    """The same JSON value in a form that every store takes: no lone surrogates or NUL, no NaN, bounded depth."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return text(value)
    if isinstance(value, Mapping | list) and depth == 0:
        return "(nested too deeply)"
    if isinstance(value, Mapping):
        return {_clean(str(key)): storable(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [storable(inner, depth - 1) for inner in value]
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def objects(value: Any, limit: int = 10_000) -> Iterator[Mapping[str, Any]]:
    """The objects in a list; what is no list has none."""
    if isinstance(value, list):
        for item in value[:limit]:
            if isinstance(item, Mapping):
                yield item


def strings(value: Any, limit: int = 1000) -> list[str]:
    """The non-empty strings in a list."""
    return [text(item) for item in value[:limit] if isinstance(item, str) and item] if isinstance(value, list) else []


def number(value: Any) -> float | None:
    """A finite number, also from a string; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def whole(value: Any) -> int | None:
    """An integer that fits 64 bits, also from a string; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = int(value)
    except (ValueError, OverflowError):
        return None
    return result if -(2**63) <= result < 2**63 else None


def web_address(value: Any) -> str | None:
    """An http(s) address of at most 2,000 characters without spaces and controls; None otherwise."""
    if not isinstance(value, str) or len(value) > 2000 or not re.match(r"https?://[^\s/]", value):
        return None
    return None if re.search("[\x00-\x20\x7f\ud800-\udfff]", value) else value


def moment(value: Any) -> datetime | None:
    """A time as aware UTC, from ISO 8601 (any zone; none means UTC), an epoch in s, ms, µs or ns, or RFC 2822.

    None for what is no time, and for what lies before 1990 or after 2100.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _epoch(float(value) if abs(value) < 1e25 else math.nan)
    if not isinstance(value, str) or len(value) > 100:
        return None
    value = value.strip()
    if _EPOCH.fullmatch(value):
        return _epoch(float(value))
    try:
        found = _iso(value)
        if found is None and "," in value[:5]:
            found = parsedate_to_datetime(value)
        if found is None and value[:1].isalnum():
            found = _written_out(value)
        if found is None:
            return None
        return _plausible((found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def _iso(value: str) -> datetime | None:
    match = _ISO.fullmatch(value)
    if match is None:
        return datetime.fromisoformat(value) if _DAY.fullmatch(value) else None
    year, month, day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone is None or zone[0] not in "+-" else zone.replace(".", ":")
    zone = zone if len(zone) > 3 else f"{zone}:00"
    whole_seconds = clock if len(clock) > 5 else f"{clock}:00"
    part = "." + fraction[:6].ljust(6, "0") if fraction else ""
    return datetime.fromisoformat(f"{year}-{month}-{day}T{whole_seconds}{part}{zone}")


def _written_out(value: str) -> datetime | None:
    for form in _OTHER_FORMATS:
        try:
            return datetime.strptime(value, form)  # noqa: DTZ007 - what has no zone is taken as UTC by the caller
        except ValueError:
            continue
    return None


def _epoch(seconds: float) -> datetime | None:
    for divisor in (1.0, 1e3, 1e6, 1e9):
        if EARLIEST.timestamp() <= seconds / divisor < LATEST.timestamp():
            return datetime.fromtimestamp(seconds / divisor, UTC)
    return None


def _plausible(found: datetime) -> datetime | None:
    return found if EARLIEST <= found < LATEST else None
