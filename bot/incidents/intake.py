"""From stored signals to incidents, and from incidents to workflows: the drainer.

A signal is `new` when stored, `applied` when its incident was changed in one transaction with it, and `done` when the
workflows that follow from it were started. A crash between any two of these loses nothing: the drainer goes on from
the state it finds, and starting a workflow twice under one id is one workflow.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import ValidationError

from bot import telemetry
from bot.clock import Clock
from bot.errors import SitrepError
from bot.incidents.alerts import AlertBatch, Change
from bot.incidents.changes import keep_change
from bot.incidents.correlate import Rules
from bot.incidents.lifecycle import TRANSITIONS, Life, Report, derive
from bot.incidents.regroup import owned
from bot.incidents.routing import Routing
from bot.incidents.units import join_unit
from bot.store import Row, Store, Transaction
from bot.store.values import to_text, to_time
from integrations.records import Alert, IncidentFields

log = logging.getLogger(__name__)

BATCH = 200
OPENING = frozenset({"escalated", "reassigned", "priority_updated"})
MAX_STARTS = 5
"""Starts of the process that a signal may outlive unfinished before it is set aside."""
LOOK_AGAIN_SECONDS = 5.0
APART_SECONDS = 0.05
"""Between two drains: the first of a burst begins at once, what follows shares transactions."""


@dataclass(frozen=True, slots=True)
class Start:
    """A workflow to start: a triage (with its number) or a refresh (with the signal that asked for it)."""

    kind: str
    incident_id: str
    key: str
    severity: int


class Drainer:
    """Applies stored signals in order, one workspace, one drainer at a time, and starts what follows."""

    def __init__(
        self,
        store: Store,
        workspace_id: str,
        routing: Routing,
        clock: Clock,
        start: Callable[[Start], Awaitable[None]],
        neighbours: Callable[[], Awaitable[Mapping[str, frozenset[str]]]],
        checkpoint: Callable[[str], None] | None = None,
        rules: Rules | None = None,
    ) -> None:
        """`rules` say how close alerts of one incident are."""
        self._rules = rules or Rules()
        self._checkpoint = checkpoint or (lambda _: None)
        self._store = store
        self._workspace_id = workspace_id
        self._routing = routing
        self._clock = clock
        self._start = start
        self._neighbours = neighbours
        self._awake = asyncio.Event()
        self._counted = False
        self._careful = False

    def wake(self) -> None:
        """New signals were stored."""
        self._awake.set()

    async def run(self) -> None:
        """Drain now, whenever woken, and every few seconds, since a command at the shell cannot wake it. A store that
        fails is tried again; nothing is dropped."""
        loop = asyncio.get_running_loop()
        while True:
            self._awake.clear()
            began = loop.time()
            try:
                if not self._counted:
                    self._counted = await self._count_starts()
                await self.drain()
            except Exception as failed:  # noqa: BLE001 - a loop that must not end; only the type is ours to log
                log.error("draining signals failed with %s; trying again in 1 s", type(failed).__name__)
                await self._clock.sleep(1)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    await self._awake.wait()
            await asyncio.sleep(began + APART_SECONDS - loop.time())

    async def drain(self) -> int:
        """Apply and start everything that is stored now; returns how many signals were applied."""
        total = 0
        while True:
            neighbours = await self._neighbours()
            self._checkpoint("drain.before")
            count = await self._applied(neighbours)
            self._checkpoint("drain.applied")
            await self._start_applied()
            self._checkpoint("drain.started")
            total += count
            if count < BATCH:
                return total

    async def _applied(self, neighbours: Mapping[str, frozenset[str]]) -> int:
        """How many signals were applied. A batch is one transaction; one signal in it that cannot be applied must not
        keep the others, so they are then taken one by one, and so is what outlived several starts of the process."""
        if not self._careful:
            try:
                return await self._store.transaction(partial(self._apply_batch, neighbours=neighbours))
            except (SitrepError, sqlite3.Error):
                raise  # the store's own trouble: tried again as it is
            except Exception as failed:  # noqa: BLE001 - whatever a signal holds; which one it was is found below
                log.error("a batch of signals failed with %s; applying them one by one", type(failed).__name__)
        count = 0
        for row in await self._unfinished("new"):
            await self._trying(row, 1)
            try:
                count += await self._store.transaction(partial(self._apply_batch, neighbours=neighbours, most=1))
            except (SitrepError, sqlite3.Error):
                raise
            except Exception as failed:  # noqa: BLE001 - the same
                await self._set_aside(row, type(failed).__name__)
                count += 1
            else:
                await self._trying(row, 0)
        return count

    async def _unfinished(self, state: str) -> list[Row]:
        return await self._store.query(
            "SELECT delivery_key, source, trying, starts, note FROM signals WHERE workspace_id = :w AND state = :s"
            " ORDER BY seq LIMIT :n",
            {"w": self._workspace_id, "s": state, "n": BATCH},
        )

    async def _trying(self, row: Row, value: int) -> None:
        """Marks the one signal that is being worked on, so that the next start of the process knows which it was."""
        await self._store.upsert("signals", [self._key(row) | {"trying": value}])

    async def _set_aside(self, row: Row, why: str) -> None:
        log.error("signal %s of %s was set aside: %s; it is kept", row["delivery_key"], row["source"], why)
        telemetry.counter(telemetry.SIGNALS_SET_ASIDE).add(1, {telemetry.SOURCE: row["source"]})
        await self._store.upsert("signals", [self._key(row) | {"state": "failed", "trying": 0}])

    async def _count_starts(self) -> bool:
        """Once a start of the process: what the last one left unfinished has outlived one more. Always true."""
        where = "WHERE workspace_id = :w AND state IN ('new', 'applied')"
        await self._store.transaction(
            lambda tx: tx.execute(f"UPDATE signals SET starts = starts + 1 {where}", {"w": self._workspace_id})  # noqa: S608
        )
        rows = await self._store.query(
            f"SELECT delivery_key, source, starts, trying FROM signals {where} AND starts >= :n",  # noqa: S608
            {"w": self._workspace_id, "n": MAX_STARTS},
        )
        self._careful = bool(rows)
        for row in rows:
            if row["trying"] and row["starts"] > MAX_STARTS:
                await self._set_aside(row, f"the process died of it {MAX_STARTS} times")
        return True

    async def _start_applied(self) -> None:
        rows = await self._store.query(
            "SELECT delivery_key, note FROM signals WHERE workspace_id = :w AND state = 'applied' ORDER BY seq",
            {"w": self._workspace_id},
        )
        for row in rows:
            if self._careful:
                await self._trying(row, 1)
            for start in json.loads(row["note"] or "[]"):
                await self._start(Start(**start))
            await self._store.upsert("signals", [self._key(row) | {"state": "done"}])

    def _key(self, row: Row) -> dict[str, Any]:
        return {"workspace_id": self._workspace_id, "delivery_key": row["delivery_key"]}

    def _apply_batch(self, tx: Transaction, neighbours: Mapping[str, frozenset[str]], most: int = BATCH) -> int:
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
            tx.upsert("signals", [self._key(row) | update])
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
