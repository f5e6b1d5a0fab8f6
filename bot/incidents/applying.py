"""One batch of stored signals applied to their incidents, inside one transaction of the store.

What a signal says of an incident is kept as a report; the incident's row is derived from all reports, and what follows
(a triage, a refresh) is noted with the signal. Nothing here waits, and nothing outside the transaction is touched.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from bot.clock import Clock
from bot.incidents.alerts import AlertBatch, Change
from bot.incidents.changes import keep_change
from bot.incidents.correlate import Rules
from bot.incidents.lifecycle import TRANSITIONS, Life, Report, derive
from bot.incidents.regroup import owned
from bot.incidents.routing import Routing
from bot.incidents.units import join_unit
from bot.store import Row, Transaction
from bot.store.values import to_text, to_time
from integrations.records import Alert, IncidentFields

log = logging.getLogger(__name__)

OPENING = frozenset({"escalated", "reassigned", "priority_updated"})


@dataclass(frozen=True, slots=True)
class Start:
    """A workflow to start: a triage (with its number) or a refresh (with the signal that asked for it)."""

    kind: str
    incident_id: str
    key: str
    severity: int


class Applier:
    """One workspace's signals on its incidents. `rules` say how close alerts of one incident are."""

    def __init__(self, workspace_id: str, routing: Routing, rules: Rules, clock: Clock) -> None:
        self._workspace_id = workspace_id
        self._routing = routing
        self._rules = rules
        self._clock = clock

    def batch(self, tx: Transaction, neighbours: Mapping[str, frozenset[str]], most: int) -> int:
        """Apply the oldest stored signals, `most` of them at most; returns how many there were."""
        rows = tx.query(
            "SELECT * FROM signals WHERE workspace_id = :w AND state = 'new' ORDER BY seq LIMIT :n",
            {"w": self._workspace_id, "n": most},
        )
        alerts = [row for row in rows if row["kind"] == "alert"]
        batch = AlertBatch(tx, self._workspace_id, self._routing, self._rules, neighbours, alerts, self._clock.now())
        grown: dict[str, int] = {}
        follows = [(row, self._apply(tx, row, neighbours, batch, grown)) for row in rows]
        started = {start.incident_id for _, starts in follows for start in starts}
        if follows:
            row, starts = follows[-1]
            # Alerts that joined change a card's count: one refresh a batch, and none where a card is written anyway.
            starts += [Start("refresh", i, str(row["seq"]), s) for i, s in grown.items() if i not in started]
        for row, starts in follows:
            note = [
                {"kind": s.kind, "incident_id": s.incident_id, "key": s.key, "severity": s.severity}
                for s in starts
                if s.kind != "triage" or s.incident_id not in batch.merged  # one card a storm
            ]
            update = {"state": "applied" if note else "done", "note": note, "applied_at": self._clock.now()}
            tx.upsert("signals", [{"workspace_id": self._workspace_id, "delivery_key": row["delivery_key"]} | update])
        return len(rows)

    def _apply(
        self,
        tx: Transaction,
        row: Row,
        neighbours: Mapping[str, frozenset[str]],
        batch: AlertBatch,
        grown: dict[str, int],
    ) -> list[Start]:
        """What one signal starts at once. `grown`: incidents with a card that alerts joined; one refresh a batch."""
        body = json.loads(row["body"])
        changes: list[Change] = []
        starts: list[Start] = []
        if row["kind"] == "alert":
            changes = self._alert_changes(row, body, batch)
        elif row["kind"] == "change":
            keep_change(tx, self._workspace_id, row, body)
        elif row["incident_id"] is not None and body.get("incident") is not None:
            fields = IncidentFields.read(body["incident"])
            before = self._incident(tx, row["incident_id"])
            if before is None and not _opens(row["kind"], fields):
                return []
            reports = [(row["kind"], to_time(row["occurred_at"]))] if row["kind"] in TRANSITIONS else []
            if before is None and not reports and fields.status == "acknowledged":
                reports = [("acknowledged", fields.acknowledged_at or to_time(row["occurred_at"]))]
            self._keep_reports(tx, row, row["incident_id"], body.get("said_by"), reports)
            after = self._merged(before, row["incident_id"], fields, self._life(tx, before, row, fields), row)
            starts = self._write(tx, before, after, row, neighbours)
            if before is None or after["status"] != before["status"]:
                changes = batch.incident_seen({"merged_into": before and before["merged_into"], **after})
        elif row["incident_id"] is not None and row["kind"] in TRANSITIONS and row["source"] == "slack":
            # A person's word about an incident that is known; it says nothing about what the incident is.
            changes = [Change(row["incident_id"], ((row["kind"], to_time(row["occurred_at"])),))]
        for change in changes:
            starts += self._apply_change(tx, row, change, neighbours, batch, grown)
        return starts

    def _alert_changes(self, row: Row, body: Mapping[str, Any], batch: AlertBatch) -> list[Change]:
        try:
            alert = Alert.model_validate(body["payload"]["alert"])
        except (KeyError, TypeError, ValidationError):
            log.error("signal %s of %s holds no alert that can be read; it is kept", row["delivery_key"], row["source"])
            return []
        return batch.apply(row, alert)

    def _apply_change(
        self,
        tx: Transaction,
        row: Row,
        change: Change,
        neighbours: Mapping[str, frozenset[str]],
        batch: AlertBatch,
        grown: dict[str, int],
    ) -> list[Start]:
        """What an alert means for one incident, through the same life cycle as every other signal."""
        before = self._incident(tx, change.incident_id)
        if before is None and change.opened is None:
            return []
        said_by = json.loads(row["body"]).get("said_by") or "integration"
        self._keep_reports(tx, row, change.incident_id, said_by, change.reports)
        if before is None and change.opened is not None:
            life = self._life(tx, None, row, change.opened, change.incident_id)
            after = self._merged(None, change.incident_id, change.opened, life, row)
            after["severity"] = after["first_severity"] = change.severity or after["severity"]
        elif before is not None and (change.reports or (change.severity or 5) < before["severity"]):
            life = derive(self._reports(tx, change.incident_id), to_time(before["first_signal_at"]))
            after = dict(before) | _life_columns(life)
            if not owned(before["source"]):
                after["severity"] = min(before["severity"], change.severity or 5)
            after["updated_at"] = max(row["occurred_at"], before["updated_at"])
        else:
            if before is not None and before["triages"]:
                grown[change.incident_id] = before["severity"]
            return []
        starts = self._write(tx, before, after, row, neighbours)
        if after["status"] == "resolved":
            batch.incident_seen(after)
        return starts

    def _write(
        self,
        tx: Transaction,
        before: Row | None,
        after: dict[str, Any],
        row: Row,
        neighbours: Mapping[str, frozenset[str]],
    ) -> list[Start]:
        if before is None:
            self._unit(tx, after, neighbours)
        tx.upsert("incidents", [after])
        return self._starts(tx, before, after, row)

    def _life(
        self, tx: Transaction, before: Row | None, row: Row, fields: IncidentFields, incident_id: str | None = None
    ) -> Life:
        created = before["first_signal_at"] if before else to_text(fields.created_at or to_time(row["occurred_at"]))
        return derive(self._reports(tx, incident_id or row["incident_id"]), to_time(created))

    def _incident(self, tx: Transaction, incident_id: str) -> Row | None:
        rows = tx.query(
            "SELECT * FROM incidents WHERE workspace_id = :w AND id = :id", {"w": self._workspace_id, "id": incident_id}
        )
        return rows[0] if rows else None

    def _keep_reports(
        self, tx: Transaction, row: Row, incident_id: str, said_by: str | None, reports: Iterable[tuple[str, datetime]]
    ) -> None:
        kept = [
            {
                "workspace_id": self._workspace_id, "incident_id": incident_id, "kind": kind,
                "ordinal": int(at.timestamp() * 1000), "at": at, "source": row["source"], "said_by": said_by,
                "recorded_at": self._clock.now(),
            }
            for kind, at in reports
        ]  # fmt: skip
        tx.insert("incident_times", kept, ignore=True)

    def _reports(self, tx: Transaction, incident_id: str) -> Iterable[Report]:
        rows = tx.query(
            "SELECT kind, at, source, said_by FROM incident_times WHERE workspace_id = :w AND incident_id = :id",
            {"w": self._workspace_id, "id": incident_id},
        )
        return [Report(r["kind"], to_time(r["at"]), r["source"], r["said_by"]) for r in rows]

    def _merged(
        self, before: Row | None, incident_id: str, fields: IncidentFields, life: Life, row: Row
    ) -> dict[str, Any]:
        old = dict(before or {})
        said = fields.model_dump(exclude={"source", "created_at", "teams", "status", "acknowledged_at"})
        said["teams"] = list(fields.teams) or None
        newest = before is None or row["occurred_at"] >= (before["updated_at"] or "")
        first, second = (said, old) if newest else (old, said)  # an older event's words are out of date
        described = {name: second.get(name) if first.get(name) is None else first[name] for name in said}
        described["teams"] = described["teams"] or []
        described["service"] = (
            self._routing.service(described["service_ref"], described["service"]) or described["service"]
        )
        severity = self._routing.severity_of(described["priority"], described["urgency"])
        described["severity"] = severity
        return {
            "workspace_id": self._workspace_id,
            "id": incident_id,
            **described,
            **_life_columns(life),
            "source": old.get("source") or fields.source,
            "first_severity": old.get("first_severity") or severity,
            "triages": old.get("triages", 0),
            "unit_id": old.get("unit_id"),
            "first_signal_at": old.get("first_signal_at") or to_text(fields.created_at or to_time(row["occurred_at"])),
            "received_at": old.get("received_at") or row["received_at"],
            "updated_at": max(row["occurred_at"], old.get("updated_at") or ""),
        }

    def _unit(self, tx: Transaction, after: dict[str, Any], neighbours: Mapping[str, frozenset[str]]) -> None:
        after["unit_id"] = join_unit(
            tx,
            workspace_id=self._workspace_id,
            incident_id=after["id"],
            service=after["service"],
            triggered_at=to_time(after["triggered_at"]),
            severity=after["severity"],
            neighbours=neighbours,
        )

    def _starts(self, tx: Transaction, before: Row | None, after: dict[str, Any], row: Row) -> list[Start]:
        incident_id, severity = after["id"], after["severity"]
        reopened = before is not None and after["reopened"] > before["reopened"]
        first = after["triages"] == 0 and after["status"] != "resolved"
        if (first or reopened) and self._routing.gets_card(severity, after["service"]):
            n = after["triages"] + 1
            tx.upsert("incidents", [{"workspace_id": self._workspace_id, "id": incident_id, "triages": n}])
            return [Start("triage", incident_id, str(n), severity)]
        shown = ("status", "acknowledged_at", "mitigated_at", "resolved_at", "severity", "title", "triggered_at")
        if before is not None and after["triages"] and any(before[name] != after[name] for name in shown):
            return [Start("refresh", incident_id, str(row["seq"]), severity)]
        return []


def _opens(kind: str, fields: IncidentFields) -> bool:
    """Whether an incident that was never heard of begins with this signal. A transition opens it, also one that came
    before its trigger. What else happens to an incident does so only while it says that it is open: an event of a kind
    that we do not know, a note, or a change of something that was closed long ago is no new incident."""
    return kind in TRANSITIONS or (kind in OPENING and fields.status in ("triggered", "acknowledged"))


def _life_columns(life: Life) -> dict[str, Any]:
    return {
        "status": life.status,
        "triggered_at": to_text(life.triggered_at),
        "acknowledged_at": to_text(life.acknowledged_at) if life.acknowledged_at else None,
        "mitigated_at": to_text(life.mitigated_at) if life.mitigated_at else None,
        "resolved_at": to_text(life.resolved_at) if life.resolved_at else None,
        "reopened": life.reopened,
    }
