"""Merge and split in the store: which incidents share one card. Units never change, and every change is audited.

Alerts keep the incident that they came to when incidents are merged, so that a split gives back what was there. Whoever
calls these wakes the drainer: the cards' workflows are stored with the change, as signals that are already applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bot.incidents.correlate import Member, Regrouped, divided, merged, separated
from bot.store import Row, Store, Transaction
from bot.store.values import to_text, to_time, ulid

OWNERS = frozenset({"pagerduty", "slack"})
"""Sources of incidents whose life is theirs alone."""


def owned(source: str) -> bool:
    """Whether an incident of this source has a life of its own."""
    return source in OWNERS


def said_in_slack(source: str) -> bool:
    """Whether an incident or alert was said in Slack: by a person ("slack"), or in an alert channel ("slack:C…")."""
    return source == "slack" or source.startswith("slack:")


def over_at(tx: Transaction, workspace_id: str, incident_id: str) -> datetime | None:
    """When the last alert of an incident, merged ones included, ended; None while one is open, or without alerts."""
    group = (
        " FROM alerts WHERE workspace_id = :w AND incident_id IN"
        " (SELECT id FROM incidents WHERE workspace_id = :w AND (id = :i OR merged_into = :i))"
    )
    values = {"w": workspace_id, "i": incident_id}
    if tx.query(f"SELECT 1 AS n {group} AND status IN ('firing', 'acknowledged') LIMIT 1", values):
        return None
    (row,) = tx.query(f"SELECT max(resolved_at) AS at {group}", values)
    return to_time(row["at"]) if row["at"] else None


def merge_rows(
    tx: Transaction, workspace_id: str, incident_id: str, into: str, *, by: str, reason: str, at: datetime
) -> Regrouped:
    """Make one incident part of another's card, inside a transaction."""
    found = merged(_members(tx, workspace_id, (incident_id, into)), incident_id, into)
    for moved, target in found.merged_into.items():
        tx.upsert("incidents", [{"workspace_id": workspace_id, "id": moved, "merged_into": target}])
        _audit(tx, workspace_id, "merge", moved, {"into": target, "reason": reason}, by, at)
    return found


async def merge(
    store: Store, workspace_id: str, incident_id: str, into: str, *, by: str, reason: str, at: datetime
) -> Regrouped:
    """What `/sitrep merge` does. `by`: the person's id; whether they may is the door's to decide."""

    def work(tx: Transaction) -> Regrouped:
        found = merge_rows(tx, workspace_id, incident_id, into, by=by, reason=reason, at=at)
        _follow(tx, workspace_id, [("refresh", one) for one in {*found.merged_into, *_targets(found)}], at)
        return found

    return await store.transaction(work)


async def split(store: Store, workspace_id: str, incident_id: str, *, by: str, reason: str, at: datetime) -> Regrouped:
    """What `/sitrep split` does to an incident that was merged: it stands on its own again, with its own alerts. No
    alert merges the two again."""

    def work(tx: Transaction) -> Regrouped:
        members = _members(tx, workspace_id, (incident_id,))
        found = separated(members, incident_id)
        if found.refused:
            return found
        root = next(one.merged_into for one in members if one.incident_id == incident_id)
        tx.upsert("incidents", [{"workspace_id": workspace_id, "id": incident_id, "merged_into": None}])
        _audit(tx, workspace_id, "split", incident_id, {"from": root, "reason": reason}, by, at)
        _settle(tx, workspace_id, str(root), at)
        _follow(tx, workspace_id, [("refresh", incident_id), ("refresh", str(root))], at)
        return found

    return await store.transaction(work)


async def split_services(
    store: Store, workspace_id: str, incident_id: str, services: Sequence[str], *, by: str, reason: str, at: datetime
) -> tuple[str | None, str]:
    """What `/sitrep split` does to a storm that holds what does not belong to it: the alerts of these services become
    an incident of their own, in the unit of the old one. Returns its id, or None and why nothing changed."""

    def work(tx: Transaction) -> tuple[str | None, str]:
        values = {"w": workspace_id, "i": incident_id}
        old = tx.query("SELECT * FROM incidents WHERE workspace_id = :w AND id = :i", values)
        parts = tx.query(
            "SELECT * FROM alerts WHERE workspace_id = :w AND incident_id = :i ORDER BY started_at", values
        )
        if (
            refused := divided([part["service"] for part in parts], services)
            if old
            else f"No incident {incident_id!r}."
        ):
            return None, refused
        taken = [part for part in parts if part["service"] in services]
        new_id = f"A{ulid(at)[-10:]}"
        fresh = _divided_incident(old[0], new_id, taken, at)
        tx.insert("incidents", [fresh])
        told = f"split from {incident_id} by a person"
        tx.upsert(
            "alerts",
            [_key(part) | {"incident_id": new_id, "reason": f"{told}; before: {part['reason']}"} for part in taken],
        )
        tx.insert("incident_times", _times(fresh, taken[0]["source"], at), ignore=True)
        _audit(
            tx,
            workspace_id,
            "split",
            new_id,
            {"from": incident_id, "services": list(services), "reason": reason},
            by,
            at,
        )
        _settle(tx, workspace_id, incident_id, at)
        start = "triage" if fresh["triages"] else "refresh"
        _follow(tx, workspace_id, [(start, new_id), ("refresh", incident_id)], at)
        return new_id, ""

    return await store.transaction(work)


def _settle(tx: Transaction, workspace_id: str, incident_id: str, at: datetime) -> None:
    """An incident that only alerts held open which are no longer its own is resolved."""
    values = {"w": workspace_id, "i": incident_id}
    (row,) = tx.query("SELECT source, status FROM incidents WHERE workspace_id = :w AND id = :i", values)
    ended = None if owned(row["source"]) or row["status"] == "resolved" else over_at(tx, workspace_id, incident_id)
    if ended is None:
        return
    report = {
        "workspace_id": workspace_id, "incident_id": incident_id, "kind": "resolved",
        "ordinal": int(ended.timestamp() * 1000), "at": ended, "source": row["source"], "said_by": "integration",
        "recorded_at": at,
    }  # fmt: skip
    tx.insert("incident_times", [report], ignore=True)
    tx.upsert(
        "incidents", [{"workspace_id": workspace_id, "id": incident_id, "status": "resolved", "resolved_at": ended}]
    )


def _divided_incident(old: Row, new_id: str, taken: Sequence[Row], at: datetime) -> dict[str, Any]:
    """A row for the new incident: what its alerts say, and what it shares with the old one."""
    first = taken[0]
    over = all(part["status"] == "resolved" for part in taken)
    kept = ("workspace_id", "severity", "first_severity", "urgency", "priority", "teams", "unit_id", "acknowledged_at")
    return {name: old[name] for name in kept} | {
        "id": new_id,
        "title": first["title"],
        "service": first["service"],
        "source": first["source"],
        "url": first["link"] or "",
        "status": "resolved" if over else "acknowledged" if old["acknowledged_at"] else "triggered",
        "triggered_at": first["started_at"],
        "resolved_at": max(part["resolved_at"] for part in taken) if over else None,
        "first_signal_at": first["started_at"],
        "triages": 1 if old["triages"] and not over else 0,
        "received_at": at,
        "updated_at": at,
    }


def _times(incident: dict[str, Any], source: str, at: datetime) -> list[dict[str, Any]]:
    """The new incident's life, as the reports that later ones are added to."""
    found = []
    for kind, column in (
        ("triggered", "triggered_at"),
        ("acknowledged", "acknowledged_at"),
        ("resolved", "resolved_at"),
    ):
        if when := incident[column]:
            ordinal = int(datetime.fromisoformat(when).timestamp() * 1000)
            found.append(
                {"workspace_id": incident["workspace_id"], "incident_id": incident["id"], "kind": kind,
                 "ordinal": ordinal, "at": when, "source": source, "said_by": "integration", "recorded_at": at}
            )  # fmt: skip
    return found


def _targets(found: Regrouped) -> list[str]:
    return [target for target in found.merged_into.values() if target is not None]


def _members(tx: Transaction, workspace_id: str, ids: Sequence[str]) -> list[Member]:
    """The incidents, what they are merged into, and everything that is merged into the same."""
    found: dict[str, Member] = {}
    for incident_id in ids:
        rows = tx.query(
            "SELECT id, merged_into, status FROM incidents WHERE workspace_id = :w AND (id = :i OR merged_into = :i"
            " OR id = (SELECT merged_into FROM incidents WHERE workspace_id = :w AND id = :i))",
            {"w": workspace_id, "i": incident_id},
        )
        found |= {row["id"]: Member(row["id"], row["merged_into"], row["status"]) for row in rows}
    for root in {one.merged_into for one in found.values() if one.merged_into is not None}:
        rows = tx.query(
            "SELECT id, merged_into, status FROM incidents WHERE workspace_id = :w AND merged_into = :i",
            {"w": workspace_id, "i": root},
        )
        found |= {row["id"]: Member(row["id"], row["merged_into"], row["status"]) for row in rows}
    return list(found.values())


def _follow(tx: Transaction, workspace_id: str, starts: Sequence[tuple[str, str]], at: datetime) -> None:
    """Store the workflows that follow, as the note of a signal that is already applied: the drainer starts them."""
    if not starts:
        return
    (last,) = tx.query("SELECT coalesce(max(seq), 0) AS n FROM signals WHERE workspace_id = :w", {"w": workspace_id})
    key = f"regroup:{ulid(at)}"
    severities = {
        row["id"]: row["severity"]
        for _, one in starts
        for row in tx.query(
            "SELECT id, severity FROM incidents WHERE workspace_id = :w AND id = :i", {"w": workspace_id, "i": one}
        )
    }
    note = [
        {"kind": kind, "incident_id": one, "key": "1" if kind == "triage" else key, "severity": severities[one]}
        for kind, one in sorted(starts)
    ]
    signal = {
        "workspace_id": workspace_id, "delivery_key": key, "seq": last["n"] + 1, "source": "slack", "kind": "unknown",
        "incident_id": None, "occurred_at": at, "received_at": at, "body": {}, "sha256": "", "state": "applied",
        "note": note,
    }  # fmt: skip
    tx.insert("signals", [signal])


def _audit(
    tx: Transaction, workspace_id: str, action: str, incident_id: str, detail: dict[str, Any], by: str, at: datetime
) -> None:
    row = {
        "workspace_id": workspace_id, "id": ulid(at), "at": to_text(at), "by": by, "action": action,
        "incident_id": incident_id, "detail": detail,
    }  # fmt: skip
    tx.insert("audit", [row])


def _key(part: Row) -> dict[str, Any]:
    return {name: part[name] for name in ("workspace_id", "dedupe_key", "started_at", "source")}
