"""Rows of incidents to units: the incidents that share one assignment, with one value each.

A unit's value is the mean of log(min(minutes, τ)) over its incidents, read once, τ after the unit's start: what is not
resolved by then is capped at τ. So nothing is censored, nothing enters twice, and units enter in the order in which
they were assigned. Nothing here looks at an arm to decide anything about time.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bot.errors import ConfigurationError

COLUMNS = ("incident_id", "stratum", "service", "arm", "triggered_at", "resolved_at", "storm_id")
ARMS = ("control", "treatment")
BLOCK = 4
WEEK = timedelta(days=7)
SHORTEST_MINUTES = 1.0
"""Shorter durations count as one minute: the clocks of alert sources do not agree better than that."""
CLOCK_SKEW = timedelta(minutes=5)
"""Resolved at most this long before triggered is two clocks; longer is a wrong row, which is excluded and said."""
_SHOWN_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One incident as its source told it. `arm` is "" only in a baseline; `storm_id` "" means a unit of its own."""

    incident_id: str
    stratum: str
    service: str
    arm: str
    triggered_at: datetime
    resolved_at: datetime | None
    storm_id: str = ""
    left_out: str = ""
    """Why its outcome is not counted, by a rule of the hypothesis; its unit keeps its place in the block."""
    acknowledged_at: datetime | None = None
    """Of a baseline alone: no verdict asks for it."""

    @property
    def unit_id(self) -> str:
        return self.storm_id or self.incident_id


@dataclass(frozen=True, slots=True)
class Rows:
    """What a file held: one row an incident, and how many lines said an incident again."""

    rows: tuple[Row, ...]
    repeated: tuple[str, ...] = ()
    """Incidents that stood there again, word for word (a webhook delivered twice)."""
    corrected: tuple[str, ...] = ()
    """Incidents that stood there again with other times: the last line counts."""
    ordinals: Mapping[str, int] = field(default_factory=dict)
    """By unit, its number in its stratum where the file says it (the column `ordinal` of our own export)."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Incidents that share one assignment, with the value that is read at `matures_at`."""

    unit_id: str
    stratum: str
    service: str
    arm: str
    started_at: datetime
    matures_at: datetime
    value: float
    """Mean of log minutes, capped at log τ; NaN where `excluded`."""
    minutes: float
    """Mean of min(minutes, τ): what cost is set against."""
    incidents: int
    capped: bool
    excluded: str
    """Why the unit has no value; "" when it has one."""
    block: int
    """Number of its block within its stratum, from 0."""
    slot: int
    """Place in the block, 0 … 3."""


def read_csv(text: str, *, name: str, arms: bool = True) -> Rows:
    """Parse a CSV with the columns of `COLUMNS`; a baseline needs no `arm`, and may have `acknowledged_at`.

    Our own export also has `ordinal` and `left_out`, which are read; any other column is ignored.

    Raises ConfigurationError with every bad line: what stands there and what should.
    """
    source = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header = source.fieldnames
        required = [c for c in COLUMNS if arms or c in ("incident_id", "triggered_at", "resolved_at")]
        missing = [c for c in required if c not in (header or ())]
        if missing:
            raise ConfigurationError(
                [f"{name}: the header lacks {', '.join(missing)}; it must name {','.join(required)}"]
            )
        problems: list[str] = []
        seen: dict[str, tuple[int, Row]] = {}
        repeated: list[str] = []
        corrected: list[str] = []
        ordinals: dict[str, int] = {}
        for record in source:
            line = source.line_num
            found = _row(record, arms=arms)
            if isinstance(found, str):
                problems.append(f"{name}, line {line}: {found}")
                continue
            ordinal = str(record.get("ordinal") or "").strip() if arms else ""
            if ordinal and not re.fullmatch(r"[0-9]{1,9}", ordinal):
                problems.append(f"{name}, line {line}: ordinal is {ordinal!r}; it must be a whole number from 0")
                continue
            if ordinal:
                ordinals[found.unit_id] = int(ordinal)
            before = seen.get(found.incident_id)
            if before is not None:
                if before[1] == found:
                    repeated.append(found.incident_id)
                    continue
                if before[1].arm != found.arm:
                    problems.append(
                        f"{name}, line {line}: incident {found.incident_id!r} is {found.arm!r} here and "
                        f"{before[1].arm!r} in line {before[0]}; an incident has one arm, keep the assigned one"
                    )
                    continue
                corrected.append(found.incident_id)
            seen[found.incident_id] = (line, found)
    except csv.Error as wrong:
        raise ConfigurationError([f"{name}, line {source.line_num + 1}: {wrong}; write it as plain CSV"]) from wrong
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        raise ConfigurationError(
            [*problems[:_SHOWN_PROBLEMS], *([f"{name}: and {more} more bad lines"] if more > 0 else [])]
        )
    return Rows(tuple(row for _, row in seen.values()), tuple(repeated), tuple(corrected), ordinals)


def _row(record: Mapping[str | None, str | list[str] | None], *, arms: bool) -> Row | str:
    """The row, or what is wrong with it."""
    if None in record or any(record.get(column) is None for column in record):
        return "the number of fields differs from the header's; quote commas, and fill what is empty with nothing"
    fields = {str(key): str(value).strip() for key, value in record.items()}
    if not fields["incident_id"]:
        return "incident_id is empty; every incident needs one"
    arm = fields.get("arm", "")
    if arms and arm not in ARMS:
        return f"arm is {arm!r}; it must be control or treatment"
    try:
        triggered_at = instant(fields["triggered_at"])
        resolved_at = instant(fields["resolved_at"]) if fields["resolved_at"] else None
        acknowledged = "" if arms else fields.get("acknowledged_at", "")
        acknowledged_at = instant(acknowledged) if acknowledged else None
    except ValueError as wrong:
        return str(wrong)
    return Row(
        incident_id=fields["incident_id"],
        stratum=fields.get("stratum", ""),
        service=fields.get("service", ""),
        arm=arm if arms else "",
        triggered_at=triggered_at,
        resolved_at=resolved_at,
        storm_id=fields.get("storm_id", ""),
        left_out=fields.get("left_out", "") if arms else "",
        acknowledged_at=acknowledged_at,
    )


def instant(text: str) -> datetime:
    """A date (00:00 UTC) or an ISO 8601 instant as aware UTC; without an offset it is UTC. Raises ValueError."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no time; write 2026-11-24 or 2026-11-24T14:02:10Z") from None
    if not 1970 < found.year < 2200:
        raise ValueError(f"{text!r} is out of range; years 1971 to 2199 are understood")
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def monday(at: datetime) -> datetime:
    """The Monday 00:00 UTC at or before an instant."""
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def look_at_or_before(at: datetime, start: datetime) -> int:
    """Number of the last weekly look at or before an instant; 0 before the first."""
    return max(0, (at - start) // WEEK)


def first_look_with(at: datetime, start: datetime) -> int:
    """Number of the first look at which something that became known at `at` is known."""
    return max(0, -((start - at) // WEEK))


def form_units(
    rows: Iterable[Row],
    *,
    tau: timedelta,
    start: datetime | None = None,
    ordinals: Mapping[str, int] | None = None,
) -> list[Unit]:
    """Units in the order of their start, then id, numbered into blocks of four within their stratum.

    Arm, stratum and service are those of the unit's first incident; a unit that began before `start` is no part.
    ordinals: by unit, its number in its stratum as it was recorded at assignment; without it the order of starts.
    """
    together = _by_unit(rows)
    members = list(together.values())
    for group in members:
        if len(group) > 1:
            group.sort(key=lambda r: (r.triggered_at, r.incident_id))
    members.sort(key=lambda group: (group[0].triggered_at, group[0].unit_id, group[0].incident_id))
    units: list[Unit] = []
    taken: dict[str, int] = {}
    for group in members:
        first = group[0]
        if start is not None and first.triggered_at < start:
            continue
        ordinal = taken.get(first.stratum, 0)
        taken[first.stratum] = ordinal + 1
        if ordinals:
            ordinal = ordinals.get(first.unit_id, ordinal)
        value, spent, counted, capped = unit_value(group, tau=tau)
        units.append(
            Unit(
                unit_id=first.unit_id,
                stratum=first.stratum,
                service=first.service,
                arm=first.arm,
                started_at=first.triggered_at,
                matures_at=first.triggered_at + tau,
                value=value,
                minutes=spent,
                incidents=len(group),
                capped=capped,
                excluded="" if counted else first.left_out or "resolved before triggered",
                block=ordinal // BLOCK,
                slot=ordinal % BLOCK,
            )
        )
    return units


def _by_unit(rows: Iterable[Row]) -> dict[tuple[bool, str], list[Row]]:
    together: dict[tuple[bool, str], list[Row]] = {}
    for row in rows:
        storm = row.storm_id
        together.setdefault((bool(storm), storm or row.incident_id), []).append(row)
    return together


def unit_value(group: Sequence[Row], *, tau: timedelta) -> tuple[float, float, int, bool]:
    """Mean of log(min(minutes, τ)), mean of min(minutes, τ), of how many incidents, and whether one was capped.

    It is read at the unit's start + τ: a resolution later than that was not known, an incident that joined later is not
    in it. An incident resolved before it was triggered (beyond the skew of clocks), or one that a rule leaves out, is
    not in it either.
    """
    read_at = group[0].triggered_at + tau
    cap = tau.total_seconds() / 60
    spans: list[float] = []
    capped = False
    for row in group:
        if row.triggered_at > read_at or is_backwards(row) or row.left_out:
            continue
        if row.resolved_at is None or row.resolved_at > read_at:
            minutes = cap
            capped = True
        else:
            minutes = min(max((row.resolved_at - row.triggered_at).total_seconds() / 60, SHORTEST_MINUTES), cap)
        spans.append(minutes)
    if not spans:
        return math.nan, math.nan, 0, False
    size = len(spans)
    return math.fsum(map(math.log, spans)) / size, math.fsum(spans) / size, size, capped


def is_skewed(row: Row) -> bool:
    """Resolved a little before triggered: two clocks; counted as one minute."""
    return row.resolved_at is not None and row.triggered_at - CLOCK_SKEW <= row.resolved_at < row.triggered_at


def is_backwards(row: Row) -> bool:
    """Resolved long before triggered: no duration can be read."""
    return row.resolved_at is not None and row.resolved_at < row.triggered_at - CLOCK_SKEW


@dataclass(frozen=True, slots=True)
class Oddities:
    """What was odd about the data that was known at a look; every count is of incidents unless it says units."""

    repeated: int = 0
    corrected: int = 0
    clock_skew: int = 0
    resolved_before_triggered: int = 0
    two_arms_units: int = 0
    two_strata_units: int = 0
    before_start: int = 0
    joined_after_reading: int = 0

    def sentences(self) -> list[str]:
        """One line for each oddity that there was."""
        said = (
            (self.repeated, "reported again word for word; counted once"),
            (self.corrected, "reported again with other times; the last line counts"),
            (self.clock_skew, "resolved at most 5 min before triggered (clock skew); counted as 1 min"),
            (self.resolved_before_triggered, "resolved more than 5 min before triggered; excluded"),
            (self.before_start, "in a unit that began before the start; not counted"),
            (self.joined_after_reading, "joined a unit after its value was read; not in the value"),
        )
        lines = [f"{_many(count, 'incident')} {what}" for count, what in said if count]
        if self.two_arms_units:
            lines.append(f"{_many(self.two_arms_units, 'unit')} with two arms; the first incident's arm counts")
        if self.two_strata_units:
            lines.append(f"{_many(self.two_strata_units, 'unit')} with two strata; the first incident's stratum counts")
        return lines


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def find_oddities(found: Rows, *, known_at: datetime, tau: timedelta, start: datetime) -> Oddities:
    """Count what was odd in the rows that were triggered by `known_at`."""
    rows = [row for row in found.rows if row.triggered_at <= known_at]
    known = {row.incident_id for row in rows}
    together = _by_unit(rows)
    several = [(min(row.triggered_at for row in group), group) for group in together.values() if len(group) > 1]
    return Oddities(
        repeated=sum(1 for incident in found.repeated if incident in known),
        corrected=sum(1 for incident in found.corrected if incident in known),
        clock_skew=sum(map(is_skewed, rows)),
        resolved_before_triggered=sum(map(is_backwards, rows)),
        two_arms_units=sum(1 for _, group in several if len({row.arm for row in group}) > 1),
        two_strata_units=sum(1 for _, group in several if len({row.stratum for row in group}) > 1),
        before_start=sum(len(group) for begun, group in several if begun < start)
        + sum(1 for group in together.values() if len(group) == 1 and group[0].triggered_at < start),
        joined_after_reading=sum(row.triggered_at > begun + tau for begun, group in several for row in group),
    )
