"""Alerts in the store: what one alert does to incidents, inside the drainer's transaction.

A row of `alerts` is one alert from its start to its end, with the incident that it belongs to and why. What follows for
incidents comes back as `Change`; the drainer applies it, so that an alert's word goes through the same life cycle as
everybody else's.

An incident that alerts made is resolved when every alert of it (and of what was merged into it) is. An incident that
another system owns gets alerts as evidence; they say nothing about its life.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bot.incidents.correlate import Correlator, Graph, Place, Rules, Storm
from bot.incidents.lifecycle import TransitionKind
from bot.incidents.regroup import merge_rows, over_at, owned, said_in_slack
from bot.incidents.routing import Routing
from bot.store import Row, Transaction
from bot.store.values import to_time
from integrations.records import Alert, IncidentFields

FORGOTTEN = timedelta(hours=24)
"""An alert that was not heard of for this long is over, whether its end was sent or not: it may begin anew."""
FUTURE = timedelta(minutes=5)
OPEN_INCIDENTS = 1000
LABELS = 60
_SAME_KEY = 50
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True, slots=True)
class Change:
    """What an alert means for one incident. Without reports it only grew, or its card is about to change."""

    incident_id: str
    reports: tuple[tuple[TransitionKind, datetime], ...] = ()
    opened: IncidentFields | None = None
    severity: int | None = None
    """At least this severe."""


def incident_id_of(workspace_id: str, delivery_key: str, letter: str = "A") -> str:
    """An id of our own: a letter (A: alerts, S: said in Slack) and ten characters, the same whenever the same delivery
    is applied."""
    number = int.from_bytes(hashlib.sha256(f"{workspace_id}\n{delivery_key}".encode()).digest()[:8])
    return letter + "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(45, -1, -5))


class AlertBatch:
    """The alerts of one batch of signals, against the incidents and the call graph of its moment."""

    def __init__(
        self, tx: Transaction, workspace_id: str, routing: Routing, rules: Rules, graph: Graph, rows: Sequence[Row],
        now: datetime,
    ) -> None:  # fmt: skip
        """`rows`: the batch's signals of kind `alert`; what is loaded is what lies close to them in time."""
        self._tx = tx
        self._workspace_id = workspace_id
        self._routing = routing
        self._rules = rules
        self._now = now
        self.merged: set[str] = set()
        """Incidents that became part of another one in this batch."""
        self._correlator = Correlator(graph, rules, self._storms(rows) if rows else ())

    # --- what other signals did in the same batch -----------------------------------------------------------------

    def incident_seen(self, incident: Mapping[str, Any]) -> list[Change]:
        """An incident of another system as it is now: alerts that came before it may be its own."""
        incident_id, source = str(incident["id"]), str(incident["source"])
        if incident["status"] == "resolved":
            self._correlator.close(incident_id)
            return []
        if not owned(source) or incident["service"] is None or incident_id in self._correlator.storms:
            return []
        place, at = Place(incident["service"]), to_time(incident["triggered_at"])
        if incident["merged_into"] is not None:
            return []
        around = [storm for storm in self._around(at, at) if storm.incident_id != incident_id]
        for storm in around:
            if storm.incident_id not in self._correlator.storms:
                self._correlator.add(storm)
        found = self._correlator.place(place, at)
        self._correlator.open(incident_id, place, at, owned=True)
        storms = self._correlator.storms
        joined = [one for one in (found.incident_id, *found.merged) if one is not None and not storms[one].owned]
        return [change for one in joined for change in self._merge(one, incident_id, found.reason)]

    # --- one alert ------------------------------------------------------------------------------------------------

    def apply(self, row: Row, alert: Alert) -> list[Change]:
        """Keep the alert and say what follows. `row` is its signal."""
        service = self._routing.service(alert.service) or alert.service
        received = to_time(row["received_at"])
        at = alert.started_at if alert.started_at <= received + FUTURE else received
        known = self._known(row["source"], alert.dedupe_key)
        if alert.status == "resolved":
            return self._resolve(row, alert, service, at, known)
        same = next((one for one in known if to_time(one["started_at"]) == at), None)
        part = same or next((one for one in known if _goes_on(one, at)), None)
        if part is not None:
            return self._repeat(row, alert, part)
        if _cut_short(alert):
            return []  # it says that it is over, in a body that may not be believed; nothing of it was open
        return self._place(row, alert, service, at, known)

    def _known(self, source: str, key: str) -> list[Row]:
        return self._tx.query(
            "SELECT a.*, i.status AS incident_status, i.resolved_at AS incident_resolved_at, i.source AS owner,"
            " i.merged_into FROM alerts a LEFT JOIN incidents i"
            " ON i.workspace_id = a.workspace_id AND i.id = a.incident_id"
            " WHERE a.workspace_id = :w AND a.dedupe_key = :k AND a.source = :s"
            " ORDER BY a.started_at DESC LIMIT :n",
            {"w": self._workspace_id, "k": key, "s": source, "n": _SAME_KEY},
        )

    def _repeat(self, row: Row, alert: Alert, part: Row) -> list[Change]:
        """Count it. A start that comes after its end changes nothing else."""
        values: dict[str, Any] = {"repeats": part["repeats"] + 1, "seen_at": row["received_at"]}
        acknowledged = alert.status == "acknowledged" and part["status"] == "firing"
        if acknowledged:
            values |= {"status": "acknowledged", "acknowledged_at": row["occurred_at"]}
        self._tx.upsert("alerts", [_key(part) | values])
        target = part["merged_into"] or part["incident_id"]
        if not acknowledged or target is None or owned(part["owner"] or ""):
            return []
        return [Change(target, (("acknowledged", to_time(row["occurred_at"])),))]

    def _place(self, row: Row, alert: Alert, service: str | None, at: datetime, known: Sequence[Row]) -> list[Change]:
        place = Place.of(service, row["source"])
        reports: list[tuple[TransitionKind, datetime]] = []
        changes: list[Change] = []
        opened: IncidentFields | None = None
        again = self._again(known, at)
        if again is not None:
            incident_id, reason, was_resolved = again
            if was_resolved:
                reports.append(("reopened", at))
                self._correlator.open(incident_id, place, at)
        else:
            found = self._correlator.place(place, at)
            reason = found.reason
            incident_id = found.incident_id or incident_id_of(self._workspace_id, row["delivery_key"])
            changes = [change for one in found.merged for change in self._merge(one, incident_id, reason)]
            if found.incident_id is None:
                self._correlator.open(incident_id, place, at)
                reports.append(("triggered", at))
                opened = IncidentFields(
                    title=alert.title, url=alert.link or "", source=row["source"], service=alert.service, created_at=at,
                    own_channel=alert.extra.get("own_channel") if said_in_slack(row["source"]) else None,
                )  # fmt: skip
        if incident_id in self._correlator.storms:
            self._correlator.join(incident_id, place, at)
        if alert.status == "acknowledged" and not self._is_owned(incident_id):
            reports.append(("acknowledged", max(at, to_time(row["occurred_at"]))))
        self._insert(row, alert, service, at, incident_id, reason)
        severity = self._routing.severity_of(None, None, alert.severity)
        return [Change(incident_id, tuple(reports), opened, severity), *changes]

    def _again(self, known: Sequence[Row], at: datetime) -> tuple[str, str, bool] | None:
        """The incident of the same alert's last time: still open, or resolved so shortly before that it goes on."""
        last = next((one for one in known if one["incident_id"] is not None), None)
        if last is None or at - to_time(last["seen_at"]) > FORGOTTEN:
            return None
        target = self._incident(last["merged_into"] or last["incident_id"])
        if target is None:
            return None
        if target["status"] != "resolved":
            return target["id"], "the same alert (dedupe key) fired before in this incident", False
        after = (at - to_time(target["resolved_at"])).total_seconds()
        if owned(target["source"]) or not 0 <= after <= self._rules.within.total_seconds():
            return None
        return target["id"], f"the same alert (dedupe key) fired again {after:.0f} s after it was resolved", True

    def _insert(
        self, row: Row, alert: Alert, service: str | None, at: datetime, incident_id: str | None, reason: str
    ) -> None:
        when = row["occurred_at"]
        values = {
            "workspace_id": self._workspace_id, "dedupe_key": alert.dedupe_key, "started_at": at,
            "source": row["source"], "incident_id": incident_id, "status": alert.status, "reason": reason,
            "title": alert.title, "service": service, "severity": alert.severity, "link": alert.link,
            "labels": dict(list(alert.labels.items())[:LABELS]),
            "acknowledged_at": when if alert.status == "acknowledged" else None,
            "resolved_at": when if alert.status == "resolved" else None,
            "received_at": row["received_at"], "seen_at": row["received_at"],
        }  # fmt: skip
        self._tx.insert("alerts", [values], ignore=True)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _resolve(self, row: Row, alert: Alert, service: str | None, at: datetime, known: Sequence[Row]) -> list[Change]:
        ended = to_time(row["occurred_at"])
        over = [one for one in known if one["status"] != "resolved" and to_time(one["started_at"]) <= max(at, ended)]
        if not over:
            if not any(to_time(one["started_at"]) == at for one in known):
                self._insert(row, alert, service, at, None, "resolved before it was seen firing: no incident")
            return []
        for one in over:
            resolved_at = max(ended, to_time(one["started_at"]))
            values = {"status": "resolved", "resolved_at": resolved_at, "seen_at": row["received_at"]}
            self._tx.upsert("alerts", [_key(one) | values])
        ids = dict.fromkeys(x for one in over for x in (one["incident_id"], one["merged_into"]) if x is not None)
        return [Change(one, (("resolved", when),)) for one in ids if (when := self._over_at(one)) is not None]

    def _over_at(self, incident_id: str) -> datetime | None:
        """When the last alert of an incident that alerts made, and of what was merged into it, was resolved."""
        incident = self._incident(incident_id)
        if incident is None or owned(incident["source"]) or incident["status"] == "resolved":
            return None
        return over_at(self._tx, self._workspace_id, incident_id)

    # --- incidents ---------------------------------------------------------------------------------------------------

    def _merge(self, incident_id: str, into: str, reason: str) -> list[Change]:
        merge_rows(self._tx, self._workspace_id, incident_id, into, by="sitrep", reason=reason, at=self._now)
        self._correlator.merge(incident_id, into)
        self.merged.add(incident_id)
        gone = self._incident(incident_id)
        return [Change(incident_id), Change(into, severity=gone["severity"] if gone else None)]

    def _incident(self, incident_id: str) -> Row | None:
        rows = self._tx.query(
            "SELECT id, source, status, severity, resolved_at FROM incidents WHERE workspace_id = :w AND id = :i",
            {"w": self._workspace_id, "i": incident_id},
        )
        return rows[0] if rows else None

    def _is_owned(self, incident_id: str) -> bool:
        incident = self._incident(incident_id)
        return incident is not None and owned(incident["source"])

    def _storms(self, rows: Sequence[Row]) -> Iterable[Storm]:
        times = [to_time(row["occurred_at"]) for row in rows]
        return self._around(min(times), max(times))

    def _around(self, first: datetime, last: datetime) -> Iterable[Storm]:
        """Open incidents and where their alerts began, as far as it may be close to these times."""
        within = self._rules.within
        window = {"w": self._workspace_id, "since": first - within, "until": last + within, "n": OPEN_INCIDENTS}
        incidents = self._tx.query(
            "SELECT id, source, service, triggered_at FROM incidents WHERE workspace_id = :w AND status != 'resolved'"
            " AND merged_into IS NULL ORDER BY triggered_at DESC LIMIT :n",
            window,
        )
        storms: dict[str, Storm] = {}
        for row in incidents:
            storm = storms[row["id"]] = Storm(row["id"], to_time(row["triggered_at"]), owned(row["source"]))
            if row["service"] is not None and storm.owned:
                storm.add(Place(row["service"]), storm.opened_at)
        for row in self._tx.query(
            "SELECT a.incident_id, a.detail FROM incidents i JOIN audit a ON a.workspace_id = i.workspace_id"
            " AND a.incident_id = i.id WHERE i.workspace_id = :w AND i.status != 'resolved' AND i.merged_into IS NULL"
            " AND a.action = 'split'",
            window,
        ):
            if row["incident_id"] in storms:
                storms[row["incident_id"]].apart.add(str(json.loads(row["detail"]).get("from")))
        began = self._tx.query(
            "SELECT coalesce(i.merged_into, i.id) AS incident_id, a.service,"
            " CASE WHEN a.service IS NULL THEN a.source ELSE '' END AS sender,"
            " min(a.started_at) AS first_at, max(a.started_at) AS last_at"
            " FROM alerts a JOIN incidents i ON i.workspace_id = a.workspace_id AND i.id = a.incident_id"
            " WHERE a.workspace_id = :w AND a.started_at >= :since AND a.started_at <= :until"
            " GROUP BY 1, 2, 3",
            window,
        )
        for row in began:
            if (known := storms.get(row["incident_id"])) is not None:
                for at in (row["first_at"], row["last_at"]):
                    known.add(Place(row["service"], row["sender"]), to_time(at))
        return storms.values()


def _goes_on(part: Row, at: datetime) -> bool:
    """Whether a start of the same alert at this time says again what is known already."""
    heard = max(to_time(part["seen_at"]), to_time(part["started_at"]))
    return (
        part["status"] != "resolved" and part["incident_status"] not in (None, "resolved") and at - heard <= FORGOTTEN
    )


def _cut_short(alert: Alert) -> bool:
    """Whether the alert itself says that it is over, in a body that listed only some of its group."""
    return bool(alert.extra.get("truncatedAlerts")) and alert.extra.get("status") == "resolved"


def _key(part: Row) -> dict[str, Any]:
    return {name: part[name] for name in ("workspace_id", "dedupe_key", "started_at", "source")}
