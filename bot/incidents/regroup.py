"""Merge and split in the store: which incidents share one card. Units never change, and every change is audited."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.incidents.correlate import Member, Regrouped, merged, separated
from bot.store import Store, Transaction
from bot.store.values import to_text, ulid


def merge_rows(
    tx: Transaction, workspace_id: str, incident_id: str, into: str, *, by: str, reason: str, at: datetime
) -> Regrouped:
    """Make one incident part of another's card, inside a transaction. Alerts keep the incident that they came to, so
    that a split gives back what was there."""
    found = merged(_members(tx, workspace_id, (incident_id, into)), incident_id, into)
    _write(tx, workspace_id, found, "merge", by, reason, at)
    return found


async def merge(
    store: Store, workspace_id: str, incident_id: str, into: str, *, by: str, reason: str, at: datetime
) -> Regrouped:
    """What `/sitrep merge` does. `by`: the person's id; whether they may is the door's to decide."""
    return await store.transaction(
        lambda tx: merge_rows(tx, workspace_id, incident_id, into, by=by, reason=reason, at=at)
    )


async def split(store: Store, workspace_id: str, incident_id: str, *, by: str, reason: str, at: datetime) -> Regrouped:
    """What `/sitrep split` does to an incident that was merged: it stands on its own again, with its own alerts."""

    def work(tx: Transaction) -> Regrouped:
        found = separated(_members(tx, workspace_id, (incident_id,)), incident_id)
        _write(tx, workspace_id, found, "split", by, reason, at)
        return found

    return await store.transaction(work)


def _members(tx: Transaction, workspace_id: str, ids: Sequence[str]) -> list[Member]:
    """The incidents, what they are merged into, and everything that is merged into the same."""
    found: dict[str, Member] = {}
    for incident_id in ids:
        rows = tx.query(
            "SELECT id, merged_into FROM incidents WHERE workspace_id = :w AND (id = :i OR merged_into = :i"
            " OR id = (SELECT merged_into FROM incidents WHERE workspace_id = :w AND id = :i))",
            {"w": workspace_id, "i": incident_id},
        )
        found |= {row["id"]: Member(row["id"], row["merged_into"]) for row in rows}
    for root in {one.merged_into for one in found.values() if one.merged_into is not None}:
        rows = tx.query(
            "SELECT id, merged_into FROM incidents WHERE workspace_id = :w AND merged_into = :i",
            {"w": workspace_id, "i": root},
        )
        found |= {row["id"]: Member(row["id"], row["merged_into"]) for row in rows}
    return list(found.values())


def _write(
    tx: Transaction, workspace_id: str, found: Regrouped, action: str, by: str, reason: str, at: datetime
) -> None:
    for incident_id, into in found.merged_into.items():
        tx.upsert("incidents", [{"workspace_id": workspace_id, "id": incident_id, "merged_into": into}])
        audit = {
            "workspace_id": workspace_id, "id": ulid(at), "at": to_text(at), "by": by, "action": action,
            "incident_id": incident_id, "detail": {"into": into, "reason": reason},
        }  # fmt: skip
        tx.insert("audit", [audit])
