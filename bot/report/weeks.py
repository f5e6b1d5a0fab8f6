"""Weeks of a report: ISO weeks of the team's own time zone, whatever daylight saving does to their length."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bot.errors import ConfigurationError

_WEEK = re.compile(r"(\d{4})-W(\d{2})")


@dataclass(frozen=True, slots=True, order=True)
class Week:
    """An ISO week: Monday 00:00 to the next Monday 00:00, local time."""

    year: int
    number: int

    @property
    def name(self) -> str:
        """`2026-W47`."""
        return f"{self.year}-W{self.number:02d}"

    @property
    def monday(self) -> date:
        return date.fromisocalendar(self.year, self.number, 1)

    def begins_at(self, zone: ZoneInfo) -> datetime:
        """Aware UTC."""
        return _midnight(self.monday, zone)

    def ends_at(self, zone: ZoneInfo) -> datetime:
        """The first instant that is no part of it, aware UTC; 167 or 169 hours later where the clocks change."""
        return _midnight(self.monday + timedelta(days=7), zone)

    def dates(self) -> str:
        """`16–22 November 2026`."""
        first, last = self.monday, self.monday + timedelta(days=6)
        if first.month == last.month:
            return f"{first.day}–{last.day} {last:%B %Y}"
        if first.year == last.year:
            return f"{first.day} {first:%B} – {last.day} {last:%B %Y}"
        return f"{first.day} {first:%B %Y} – {last.day} {last:%B %Y}"

    def before(self, weeks: int = 1) -> Week:
        return _week(self.monday - timedelta(weeks=weeks))


def parse_week(text: str) -> Week:
    """`2026-W47`. Raises ConfigurationError when there is no such week."""
    found = _WEEK.fullmatch(text.strip())
    try:
        if not found:
            raise ValueError(text)
        week = Week(int(found[1]), int(found[2]))
        date.fromisocalendar(week.year, week.number, 1)
    except ValueError:
        raise ConfigurationError([f"no week {text!r}; write it as 2026-W47 (ISO weeks, 01 to 52 or 53)"]) from None
    return week


def week_of(at: datetime, zone: ZoneInfo) -> Week:
    """The week that an instant lies in."""
    return _week(at.astimezone(zone).date())


def last_complete(now: datetime, zone: ZoneInfo) -> Week:
    """The newest week that is over."""
    return week_of(now, zone).before()


def unsent(sent: Collection[str], *, since: datetime, now: datetime, zone: ZoneInfo, at_most: int = 4) -> list[Week]:
    """Complete weeks that no report was sent of, oldest first: what is due after the process was down.

    since: nothing before this instant is reported. at_most: of a long absence only the newest are sent.
    """
    week = last_complete(now, zone)
    due: list[Week] = []
    while len(due) < at_most and week.ends_at(zone) > since:
        if week.name not in sent:
            due.append(week)
        week = week.before()
    return due[::-1]


def _week(day: date) -> Week:
    year, number, _ = day.isocalendar()
    return Week(year, number)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
