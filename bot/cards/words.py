"""The words of the cards: fixed sentences, durations, sizes and times as people read them.

Durations come in as seconds. A space stands between number and unit; it is a no-break space, so that a phone does not
leave "s" alone on a line.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from bot.types import Suspect, confidence

NBSP = "\u00a0"
POSSIBLY = 0.4
"""Calibrated probability from which a change is called a suspect (CARD.md, principle 3)."""
PROBABLY = 0.7


def quantity(value: float, unit: str) -> str:
    """`quantity(38.2, "%")` is "38 %": two digits are enough to act on, three from 100 up."""
    if value != value or value in (float("inf"), float("-inf")):
        return f"?{NBSP}{unit}".rstrip(NBSP)
    digits = f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2g}"
    return f"{digits}{NBSP}{unit}" if unit else digits


def duration(seconds: float) -> str:
    """ "3 ms", "4.9 s", "58 s", "2 min 14 s", "23 min", "1 h 12 min", "9 days"."""
    seconds = abs(seconds)
    if seconds != seconds or seconds == float("inf"):
        return "an unknown time"
    if seconds < 0.9995:
        return quantity(round(seconds * 1000), "ms")
    if seconds < 9.95:
        return quantity(round(seconds, 1), "s")
    if seconds < 119.5:
        return quantity(round(seconds), "s")
    if seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        return quantity(minutes, "min") + (f" {quantity(rest, 's')}" if rest else "")
    if seconds < 119.5 * 60:
        return quantity(round(seconds / 60), "min")
    if seconds < 47.5 * 3600:
        hours, minutes = divmod(round(seconds / 60), 60)
        return quantity(hours, "h") + (f" {quantity(minutes, 'min')}" if minutes else "")
    return quantity(round(seconds / 86400), "days")


def with_normal(value: str, normal: str) -> str:
    """ "4.9 s (normal 3 ms)": a number always comes with its normal."""
    return f"{value} (normal {normal})"


def distance(seconds_before: float) -> str:
    """ "58 s before", "12 s after" the first alert; "at the same time" within a second."""
    if abs(seconds_before) < 1:
        return "at the same time"
    return f"{duration(seconds_before)} {'before' if seconds_before > 0 else 'after'}"


def clock_minute(at: datetime, day_of: datetime | None = None) -> str:
    """ "14:02 UTC", for texts that Slack does not localise (notifications, the classic form)."""
    return f"{_day(at, day_of)}{at.astimezone(UTC):%H:%M}{NBSP}UTC"


def clock_second(at: datetime, day_of: datetime | None = None) -> str:
    """ "14:02:10 UTC", with the day when it is another than that of `day_of`."""
    return f"{_day(at, day_of)}{at.astimezone(UTC):%H:%M:%S}{NBSP}UTC"


def _day(at: datetime, day_of: datetime | None) -> str:
    at = at.astimezone(UTC)
    return "" if day_of is None or day_of.astimezone(UTC).date() == at.date() else f"{at.day}{NBSP}{at:%b} "


def count(number: int, one: str, many: str | None = None) -> str:
    """ "1 item", "2 items"."""
    return f"{number:,}{NBSP}{one if number == 1 else many or one + 's'}"


def tokens(number: int) -> str:
    """ "4.1k tokens"."""
    return f"{number}{NBSP}tokens" if number < 1000 else f"{number / 1000:.3g}k{NBSP}tokens"


def money(usd: float) -> str:
    """ "$0.012": two digits below a dollar, cents above."""
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.2g}" if usd >= 0.0001 else "under $0.0001"


def confidence_word(suspect: Suspect) -> str:
    """ "Probably", as the first word of a sentence."""
    return confidence(suspect.probability).capitalize()


def sentence(text: str) -> str:
    """Outside or evidence text as the body of a sentence: no final stop (the mark comes before ours), one capital."""
    text = text.strip().rstrip(".;, ")
    return text[:1].upper() + text[1:]


_PAST = {"fail": "failed", "fails": "failed", "is": "was", "are": "were", "has": "had", "have": "had",
         "take": "took", "takes": "took", "wait": "waited", "waits": "waited"}  # fmt: skip
_PRESENT = re.compile(r"\b(" + "|".join(_PAST) + r")\b")


def past(headline: str) -> str:
    """Our own headline once it is over: "38 % of requests failed"."""
    return _PRESENT.sub(lambda found: _PAST[found.group()], headline)


STATE_WORDS = {
    "collecting": "Collecting",
    "facts": "Firing",
    "summary": "Firing",
    "acknowledged": "Acknowledged",
    "mitigated": "Mitigated",
    "resolved": "Resolved",
    "reopened": "Reopened",
}

SYSTEM_NAMES = {"pagerduty": "PagerDuty", "sitrep": "Sitrep"}

ASKING_SOURCES = "Sources are being asked; this message fills in by itself."
NO_SOURCE = "No source answered. What is known is the alert itself."
LIKE_ORDERS = "reads like orders to a machine"
"""Said of an item that the injection marker marked; it is shown as a fact all the same."""
NARROWED = "Narrowed: somebody who can read this channel may see less."
ASK_CAUSE = "What was the cause?"
MOVED_AWAY = "This card moved to the incident's own channel."
NO_LONGER_SHOWN = "The suspect named here is no longer shown: somebody who can read this channel may not see it."
CAUSES = {
    "change": "A change that is not among the suspects",
    "service": "The service itself",
    "external": "Something outside",
    "unknown": "Nobody knows",
}
HELD_OUT = "held out for measurement"
SHOW_MINE = "Show what I may see"
SUMMARY_NOT_SHOWN = "it cites items that somebody who can read this channel may not see"
NOT_SHOWN_HERE = "Not shown here any more: somebody who can read this channel may not see it."
