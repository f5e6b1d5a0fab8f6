"""Incidents of before Sitrep, from the incident source's own log: read day by day, resumable, and written once.

A day that is over is kept in a file as soon as it was read, so that a run that was ended goes on where it stopped. The
lives are derived from all days together, by the same code as those of incidents that arrive by webhook.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from bot.clock import Clock
from bot.errors import SitrepError
from bot.incidents.lifecycle import TRANSITIONS, Life, Report, derive
from bot.incidents.routing import Routing
from bot.incidents.units import join_unit
from bot.store import Store, Transaction
from bot.store.values import to_text, to_time
from integrations.errors import IntegrationError, Unavailable
from integrations.records import IncidentFields, Signal

DAY = timedelta(days=1)
TRIES = 6
LONGEST_WAIT_SECONDS = 120.0
SOURCE = "history"
"""Who said a time that was read afterwards, in `incident_times`."""
_AT_ONCE = 200


class IncidentHistory(Protocol):
    """An incident source that can tell what happened in a window of time."""

    async def transitions_between(self, start: datetime, until: datetime) -> Sequence[Signal]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PastIncident:
    """One incident with its life as it is known now."""

    incident_id: str
    fields: IncidentFields
    """As the last entry that described it said."""
    life: Life


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What was read."""

    incidents: tuple[PastIncident, ...]
    began_before: int
    """Incidents of which only the end lies in the time that was read; they are left out."""


class KeptDays:
    """Days that were read, in a file that only its owner may read: one line a day."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._days: dict[str, list[dict[str, Any]]] = {}
        if not path.exists():
            return
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:  # what follows the last newline was cut off
            try:
                told = json.loads(line)
                self._days[str(told["day"])] = list(told["entries"])
            except (ValueError, KeyError, TypeError):
                raise SitrepError(
                    f"{path} holds a line that is no day of incidents; remove it and read again"
                ) from None
        self._rewrite()

    def get(self, day: datetime) -> list[dict[str, Any]] | None:
        return self._days.get(to_text(day))

    def put(self, day: datetime, entries: list[dict[str, Any]]) -> None:
        self._days[to_text(day)] = entries
        with self._open("a") as out:
            out.write(json.dumps({"day": to_text(day), "entries": entries}, ensure_ascii=False) + "\n")

    def remove(self) -> None:
        """Everything was written where it belongs."""
        self._path.unlink(missing_ok=True)

    def _rewrite(self) -> None:
        with self._open("w") as out:
            out.writelines(
                json.dumps({"day": day, "entries": entries}, ensure_ascii=False) + "\n"
                for day, entries in self._days.items()
            )

    def _open(self, mode: str) -> Any:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return open(self._path, mode, encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600))


async def read_past(
    source: IncidentHistory,
    *,
    since: datetime,
    until: datetime,
    kept: KeptDays,
    clock: Clock,
    redact: Callable[[Signal], Signal],
    told: Callable[[int, int], None] = lambda done, days: None,
) -> Past:
    """Every incident that began from `since` (midnight UTC) on. `told(done, days)` hears of each day.

    Raises Unavailable when a day could not be read in six tries, Denied or Malformed at once; what was read is kept.
    """
    days = list(_days(since, until))
    entries: list[dict[str, Any]] = []
    for number, (start, end) in enumerate(days, 1):
        found = kept.get(start)
        if found is None:
            signals = await _patiently(source, start, end, clock)
            found = [_entry(redact(signal)) for signal in signals if signal.kind in TRANSITIONS and signal.incident]
            if end - start == DAY and end <= until:
                kept.put(start, found)
        entries += found
        told(number, len(days))
    return _lives(entries, since)


def _days(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    start = since
    while start < until:
        yield start, min(start + DAY, until)
        start += DAY


async def _patiently(source: IncidentHistory, start: datetime, end: datetime, clock: Clock) -> Sequence[Signal]:
    """One day; a source that asks to wait is waited for."""
    for attempt in range(1, TRIES + 1):
        try:
            return await source.transitions_between(start, end)
        except Unavailable as busy:
            if attempt == TRIES:
                raise
            await clock.sleep(min(busy.retry_after_seconds or 2.0**attempt, LONGEST_WAIT_SECONDS))
        except IntegrationError:
            raise
    raise AssertionError("the last try returns or raises")


def _entry(signal: Signal) -> dict[str, Any]:
    assert signal.incident is not None
    return {
        "id": signal.incident_id, "key": signal.delivery_key, "kind": signal.kind, "at": to_text(signal.occurred_at),
        "by": signal.said_by, "incident": signal.incident.model_dump(mode="json"),
    }  # fmt: skip


def _lives(entries: Sequence[Mapping[str, Any]], since: datetime) -> Past:
    by_incident: dict[str, dict[str, Mapping[str, Any]]] = {}
    for entry in entries:
        by_incident.setdefault(str(entry["id"]), {})[str(entry["key"])] = entry
    found, before = [], 0
    for incident_id, of_it in by_incident.items():
        ordered = sorted(of_it.values(), key=lambda one: (one["at"], one["key"]))
        fields = IncidentFields.model_validate(ordered[-1]["incident"])
        reports = [Report(one["kind"], to_time(one["at"]), SOURCE, one["by"]) for one in ordered]
        seen = any(report.kind == "triggered" for report in reports)
        if not seen and (fields.created_at is None or fields.created_at < since):
            before += 1
            continue
        life = derive(reports, fields.created_at or reports[0].at)
        found.append(PastIncident(incident_id=incident_id, fields=fields, life=life))
    return Past(
        incidents=tuple(sorted(found, key=lambda one: (one.life.triggered_at, one.incident_id))), began_before=before
    )


# --- into the store -------------------------------------------------------------------------------------------------


async def store_past(
    store: Store,
    workspace_id: str,
    past: Past,
    routing: Routing,
    neighbours: Mapping[str, frozenset[str]],
    now: datetime,
) -> int:
    """Write the resolved incidents that are not known yet, with their times and units; returns how many.

    An open one is left to the webhook and the poller: it would get no card. Nothing here starts a triage.
    """
    resolved = [one for one in past.incidents if one.life.status == "resolved"]
    written = 0
    for first in range(0, len(resolved), _AT_ONCE):
        part = resolved[first : first + _AT_ONCE]
        written += await store.transaction(
            lambda tx, part=part: sum(_write(tx, workspace_id, one, routing, neighbours, now) for one in part)  # type: ignore[misc]
        )
    return written


def _write(
    tx: Transaction,
    workspace_id: str,
    one: PastIncident,
    routing: Routing,
    neighbours: Mapping[str, frozenset[str]],
    now: datetime,
) -> int:
    key = {"w": workspace_id, "i": one.incident_id}
    if tx.query("SELECT 1 FROM incidents WHERE workspace_id = :w AND id = :i", key):
        return 0
    row = incident_row(one, workspace_id, routing, now)
    row["unit_id"] = join_unit(
        tx, workspace_id=workspace_id, incident_id=one.incident_id, service=row["service"],
        triggered_at=one.life.triggered_at, severity=row["severity"], neighbours=neighbours,
    )  # fmt: skip
    tx.insert("incidents", [row])
    times = [
        {
            "workspace_id": workspace_id, "incident_id": one.incident_id, "kind": report.kind,
            "ordinal": int(report.at.timestamp() * 1000), "at": report.at, "source": report.source,
            "said_by": report.said_by, "recorded_at": now,
        }
        for report in one.life.transitions
    ]  # fmt: skip
    tx.insert("incident_times", times, ignore=True)
    return 1


def incident_row(one: PastIncident, workspace_id: str, routing: Routing, now: datetime) -> dict[str, Any]:
    """The incident as a row of `incidents`."""
    fields, life = one.fields, one.life
    severity = routing.severity_of(fields.priority, fields.urgency)
    return {
        "workspace_id": workspace_id,
        "id": one.incident_id,
        "number": fields.number,
        "title": fields.title,
        "service": routing.service(fields.service_ref, fields.service) or fields.service,
        "service_ref": fields.service_ref,
        "source": fields.source,
        "severity": severity,
        "first_severity": severity,
        "urgency": fields.urgency,
        "priority": fields.priority,
        "status": life.status,
        "url": fields.url,
        "teams": list(fields.teams),
        "triages": 0,
        "reopened": life.reopened,
        "triggered_at": life.triggered_at,
        "acknowledged_at": life.acknowledged_at,
        "mitigated_at": life.mitigated_at,
        "resolved_at": life.resolved_at,
        "first_signal_at": life.triggered_at,
        "received_at": now,
        "updated_at": life.transitions[-1].at,
    }
