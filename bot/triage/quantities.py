"""Numbers and times in text, in one form: `4.9 s` is `4900 ms`, `2:02 pm` is `14:02`, `4,900` is `4900`.

Used to ask whether a number of a claim stands in an item. Nothing is rounded and nothing is computed: a number that
no item contains is not in any item, however near it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

_UNITS: dict[str, tuple[str, str]] = {
    # spelling: (dimension, factor to its base unit)
    "ns": ("time", "0.000000001"), "us": ("time", "0.000001"), "µs": ("time", "0.000001"), "μs": ("time", "0.000001"),
    "ms": ("time", "0.001"), "msec": ("time", "0.001"), "millisecond": ("time", "0.001"),
    "milliseconds": ("time", "0.001"), "microseconds": ("time", "0.000001"), "s": ("time", "1"), "sec": ("time", "1"),
    "secs": ("time", "1"), "second": ("time", "1"), "seconds": ("time", "1"), "min": ("time", "60"),
    "mins": ("time", "60"), "minute": ("time", "60"), "minutes": ("time", "60"), "m": ("time", "60"),
    "h": ("time", "3600"), "hr": ("time", "3600"), "hrs": ("time", "3600"), "hour": ("time", "3600"),
    "hours": ("time", "3600"), "d": ("time", "86400"), "day": ("time", "86400"), "days": ("time", "86400"),
    "week": ("time", "604800"), "weeks": ("time", "604800"),
    "b": ("bytes", "1"), "byte": ("bytes", "1"), "bytes": ("bytes", "1"), "kb": ("bytes", "1000"),
    "mb": ("bytes", "1000000"), "gb": ("bytes", "1000000000"), "tb": ("bytes", "1000000000000"),
    "kib": ("bytes", "1024"), "mib": ("bytes", "1048576"), "gib": ("bytes", "1073741824"),
    "tib": ("bytes", "1099511627776"), "ki": ("bytes", "1024"), "mi": ("bytes", "1048576"),
    "gi": ("bytes", "1073741824"),
    "%": ("ratio", "0.01"), "percent": ("ratio", "0.01"), "pct": ("ratio", "0.01"),
    "x": ("times", "1"), "times": ("times", "1"), "fold": ("times", "1"), "k": ("", "1000"),
}  # fmt: skip
_ALSO_WORDS = frozenset({"times", "x", "m", "d", "h", "b", "k", "s"})
"""Spellings that stand after a number without being its unit as well: "seen 1,204 times", "500m"."""
_FIGURES = (
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
    "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
WORDS = {word: number for number, word in enumerate(_FIGURES, start=2)} | {
    "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90, "hundred": 100,
    "thousand": 1000, "million": 1_000_000, "dozen": 12, "twice": 2, "thrice": 3, "double": 2, "doubled": 2,
    "triple": 3, "tripled": 3, "twofold": 2, "tenfold": 10, "half": 0, "halved": 0, "quarter": 0,
}  # fmt: skip
"""Numbers in words; 0 stands for one without a figure, which must be in the item as the same word."""

_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(sorted(WORDS, key=len, reverse=True))})\b", re.IGNORECASE)
_DATE_TIME = re.compile(
    r"(?<![\w.])(\d{4}-\d{2}-\d{2})"
    r"(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?\s?(Z\b|UTC\b|[+-]\d{2}:?\d{2}(?!\d))?"
)
_CLOCK = re.compile(
    r"(?<![\w.:])(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(?![\w:])(?:\s?([ap])\.?m\b\.?)?", re.I
)
_NUMBER = re.compile(
    r"(?<![\w.\-/:#@])[+-]?(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?:([a-zA-Zµμ%]{1,12})(?![\w])|(?![\w]))"
    r"(?![-/.:@_]\w)"
)
_LOOSE_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")
_RANGE = re.compile(r"(?<=\d)(?:-|\.\.)(?=\d)")


@dataclass(slots=True)
class Quantities:
    """What numbers and times a text holds. `spans` are where they stand, so that the rest can be read as words."""

    clocks: set[str] = field(default_factory=set)
    dates: set[str] = field(default_factory=set)
    numbers: list[tuple[Decimal, str, str]] = field(default_factory=list)
    """Value in the base unit, its dimension, and the number as written without its unit."""
    spans: list[tuple[int, int]] = field(default_factory=list)


def claimed(text: str) -> Quantities:
    """The numbers that a claim makes, each once, with its unit even if that is the next word."""
    found = Quantities()
    blank = _times(text, found)
    for match in _NUMBER.finditer(blank):
        unit, end = match[2] or "", match.end()
        following = None if unit else re.match(r"\s?([a-zA-Zµμ]{1,12}|%)(?!\w)", blank[end:])
        if following and following[1].lower() in _UNITS and following[1] not in {"b", "d", "x", "k"}:
            unit, end = following[1], end + following.end()
        if unit and unit.lower() not in _UNITS:
            continue  # 5xx, 3rd: an identifier
        found.numbers.append((*_value(match[1], unit), match[1].replace(",", "")))
        found.spans.append((match.start(), end))
    return found


def supplied(text: str) -> Quantities:
    """Every number that an item holds, read in each way that a claim might mean it."""
    found = Quantities()
    blank = _RANGE.sub(" ", _times(text, found))
    for match in _LOOSE_NUMBER.finditer(blank):
        before, after = blank[max(match.start() - 2, 0) : match.start()], blank[match.end() : match.end() + 16]
        follows = re.match(r"\s?([a-zA-Zµμ]{1,12}|%)(?!\w)", after)
        unit = follows[1] if follows and follows[1].lower() in _UNITS else ""
        if re.search(r"[A-Za-z_.#@]\Z|[A-Za-z0-9]-\Z", before) or re.match(r"\.\d|-[A-Za-z]", after):
            continue  # inside an identifier or an address: v1.2, pod-7f9, 10.0.0.1
        if re.match(r"[A-Za-z_]", after) and not unit:
            continue  # 5xx, 7f9
        plain = match[0].replace(",", "")
        found.numbers.append((*_value(match[0], unit), plain))
        if unit in _ALSO_WORDS:
            found.numbers.append((*_value(match[0], ""), plain))
    for word in dict.fromkeys(match[0].lower() for match in _NUMBER_WORD.finditer(text)):
        if number := WORDS[word]:
            found.numbers.append((Decimal(number), "", str(number)))
    return found


def stands_in(number: tuple[Decimal, str, str], items: Quantities, text: str) -> bool:
    """Whether an item says this number: same value and dimension, or the same figure beside its unit's word."""
    value, dimension, written = number
    if any(value == other and dimension == kind for other, kind, _ in items.numbers if kind == dimension):
        return True
    if not dimension:
        return False
    if dimension == "ratio" and any(kind == "" and other == value and "." in w for other, kind, w in items.numbers):
        return True  # 0.38 in the item, 38 % in the claim
    words = {spelling for spelling, (kind, _) in _UNITS.items() if kind == dimension and len(spelling) > 1}
    named = bool(words & set(re.split(r"[^a-zµμ%]+", text.lower()))) or (dimension == "ratio" and "%" in text)
    return named and any(kind == "" and written == other for _, kind, other in items.numbers)


def _times(text: str, found: Quantities) -> str:
    """Read dates and clocks, and return the text with them blanked out."""
    blank = list(text)
    for match in _DATE_TIME.finditer(text):
        found.dates.add(match[1])
        if match[2]:
            _clock(found, int(match[2]), match[3], match[4], match[5])
            _shifted(found, match)
        _blank(blank, found, match)
    rest = "".join(blank)
    for match in _CLOCK.finditer(rest):
        hour, half = int(match[1]), (match[5] or "").lower()
        if hour < 24 and int(match[2]) < 60:
            _clock(found, hour % 12 + (12 if half == "p" else 0) if half else hour, match[2], match[3], match[4])
            _blank(blank, found, match)
    return "".join(blank)


def _clock(found: Quantities, hour: int, minute: str, second: str | None, fraction: str | None) -> None:
    """A time is also itself with less precision: 14:02:10.5 says 14:02:10 and 14:02."""
    time = f"{hour:02}:{minute}"
    found.clocks.add(time)
    if second:
        time += f":{second}"
        found.clocks.add(time)
        if fraction:
            found.clocks.add(f"{time}.{fraction.rstrip('0') or '0'}")


def _shifted(found: Quantities, match: re.Match[str]) -> None:
    """A time with an offset says the UTC time too."""
    if match[6] and match[6][0] in "+-":
        try:
            local = datetime.fromisoformat(f"{match[1]}T{match[2]}:{match[3]}:{match[4] or '00'}{match[6]}")
        except ValueError:
            return
        utc = local.astimezone(UTC)
        found.dates.add(f"{utc:%Y-%m-%d}")
        _clock(found, utc.hour, f"{utc:%M}", f"{utc:%S}" if match[4] else None, None)


def finest(text: str) -> tuple[set[str], set[str]]:
    """The dates and the clocks of a claim, each clock only as precise as it was written."""
    found = Quantities()
    _times(text, found)
    clocks = {
        time for time in found.clocks if not any(other != time and other.startswith(time) for other in found.clocks)
    }
    return found.dates, clocks


def _blank(blank: list[str], found: Quantities, match: re.Match[str]) -> None:
    found.spans.append(match.span())
    blank[match.start() : match.end()] = " " * (match.end() - match.start())


def _value(written: str, unit: str) -> tuple[Decimal, str]:
    dimension, factor = _UNITS.get(unit.lower(), ("", "1")) if unit else ("", "1")
    return (Decimal(written.replace(",", "")) * Decimal(factor)).normalize(), dimension
