"""The state of the one incident on the PagerDuty account: its life cycle, alerts, log entries, notes, and webhooks.

Transitions follow PagerDuty's own rules: triggered → acknowledged → resolved, back to triggered by `unacknowledge`,
and a resolved incident stays resolved unless it is reopened. Each transition writes a log entry and tells `notify`
the V3 webhook event that belongs to it.
"""

from __future__ import annotations

import copy
import itertools
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from demo import scenario
from demo.answers import PD_API, zulu
from demo.answers_pagerduty import log_entry, user_reference
from demo.scenario import Person
from demo.tape import Tape

_VERBS = {
    "acknowledged": ("acknowledge", "Acknowledged"),
    "triggered": ("unacknowledge", "Unacknowledged"),
    "resolved": ("resolve", "Resolved"),
}


class IncidentState:
    """Nothing until `trigger`; then the recorded incident, alive."""

    def __init__(self, tape: Tape, notify: Callable[[dict[str, Any]], None]) -> None:
        self._tape = tape
        self._notify = notify
        self._numbers = itertools.count(1)
        self.incident: dict[str, Any] | None = None
        self.alerts: list[dict[str, Any]] = []
        self.log_entries: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []

    @property
    def status(self) -> str:
        return str(self.incident["status"]) if self.incident else "none"

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._tape.clock(), UTC)

    def trigger(self) -> dict[str, Any]:
        """Starts the incident, now. The recorded alert's moment becomes this one. Returns the webhook event."""
        self._tape.trigger()
        recorded = self._tape.shifted(copy.deepcopy(self._tape.pagerduty))
        self.incident = recorded["incident"]
        self.alerts, self.log_entries, self.notes = recorded["alerts"], recorded["log_entries"], []
        return self._event("incident.triggered", None)

    def visible(self, entries: list[dict[str, Any]], key: str = "created_at") -> list[dict[str, Any]]:
        """What has happened by now: later alerts of the storm come when they came."""
        now = zulu(self.now())
        return [one for one in entries if one[key] <= now]

    def move(self, status: str, by: Person = scenario.PEOPLE[0]) -> bool:
        """To acknowledged, triggered or resolved; False when that is no change, as PagerDuty ignores it too."""
        incident = self._open()
        before = incident["status"]
        if before == status or (before == "resolved" and status != "triggered"):
            return False
        at = zulu(self.now())
        incident.update(status=status, updated_at=at, last_status_change_at=at, last_status_change_by=self._person(by))
        incident["acknowledgements"] = (
            [{"at": at, "acknowledger": self._person(by)}] if status == "acknowledged" else []
        )
        incident["resolved_at"] = at if status == "resolved" else None
        if status == "resolved":
            incident["assignments"] = []
            self._tape.resolved_at = self._tape.clock()
            for alert in self.alerts:
                alert.update(status="resolved", resolved_at=at, updated_at=at)
            incident["alert_counts"] = {"all": len(self.alerts), "triggered": 0, "resolved": len(self.alerts)}
        kind, word = _VERBS[status]
        event = f"incident.{'unacknowledged' if status == 'triggered' else status}"
        if before == "resolved":
            kind, word, event = "reopen", "Reopened", "incident.reopened"
            self._tape.resolved_at = None
            incident["assignments"] = [{"at": at, "assignee": self._person(by)}]
        self._log(kind, by, f"{word} by {by.name}")
        self._event(event, by)
        return True

    def add_note(self, content: str, by: Person = scenario.PEOPLE[0]) -> dict[str, Any]:
        """Appends a note and returns it."""
        incident = self._open()
        note = {
            "id": f"PNOTE{next(self._numbers):05d}",
            "user": self._person(by),
            "channel": {"summary": "The PagerDuty website or APIs"},
            "content": content,
            "created_at": zulu(self.now()),
        }
        self.notes.append(note)
        self._log("annotate", by, f"Note added by {by.name}")
        data = {
            "incident": self._tape.localised(incident_reference(incident)),
            "id": note["id"],
            "content": content,
            "trimmed": False,
            "type": "incident_note",
        }
        self._send("incident.annotated", by, data)
        return note

    def webhook_data(self) -> dict[str, Any]:
        """The incident as a V3 webhook carries it: `number` for `incident_number`, `assignees` for `assignments`."""
        incident = self._open()
        return {
            "id": incident["id"],
            "type": "incident",
            "self": incident["self"],
            "html_url": incident["html_url"],
            "number": incident["incident_number"],
            "status": incident["status"],
            "incident_key": incident["incident_key"],
            "created_at": incident["created_at"],
            "title": incident["title"],
            "service": incident["service"],
            "assignees": [one["assignee"] for one in incident["assignments"]],
            "escalation_policy": incident["escalation_policy"],
            "teams": incident["teams"],
            "priority": {**incident["priority"], "type": "priority_reference"},
            "urgency": incident["urgency"],
            "conference_bridge": None,
            "resolve_reason": None,
            "incident_type": incident["incident_type"],
        }

    def _open(self) -> dict[str, Any]:
        if self.incident is None:
            raise LookupError("the incident has not been triggered yet")
        return self.incident

    def _log(self, kind: str, by: Person, summary: str) -> None:
        identifier = f"R1LIVE{next(self._numbers):08d}"
        entry = log_entry(self._open(), kind, identifier, self.now(), user_reference(by), summary)
        self.log_entries.append(self._tape.localised(entry))

    def _person(self, person: Person) -> dict[str, Any]:
        return dict(self._tape.localised(user_reference(person)))

    def _event(self, event_type: str, by: Person | None) -> dict[str, Any]:
        return self._send(event_type, by, self.webhook_data())

    def _send(self, event_type: str, by: Person | None, data: dict[str, Any]) -> dict[str, Any]:
        event = {
            "id": uuid.uuid4().hex[:26].upper(),
            "event_type": event_type,
            "resource_type": "incident",
            "occurred_at": self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "agent": self._person(by) if by else None,
            "client": None if by else {"name": "Prometheus"},
            "data": data,
        }
        self._notify(event)
        return event


def incident_reference(incident: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": incident["id"],
        "type": "incident_reference",
        "summary": incident["title"],
        "self": f"{PD_API}/incidents/{incident['id']}",
        "html_url": incident["html_url"],
    }
