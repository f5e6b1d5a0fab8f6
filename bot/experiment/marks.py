"""A person's word that an incident was a test or a duplicate: it changes what is counted, never what was assigned."""

from __future__ import annotations

from datetime import datetime

from bot.errors import SitrepError
from bot.experiment.pauses import audit_in
from bot.store import Store, Transaction


async def mark_incident(
    store: Store, workspace_id: str, incident_id: str, mark: str, *, by: str, reason: str, at: datetime, undo: bool
) -> bool:
    """Mark an incident, or take the mark back; whether that changed anything. Audited in the same transaction.

    Raises SitrepError for an incident that is not known.
    """

    def work(tx: Transaction) -> bool:
        key = {"w": workspace_id, "i": incident_id, "m": mark}
        if not tx.query("SELECT 1 FROM incidents WHERE workspace_id = :w AND id = :i", key):
            raise SitrepError(f"no incident {incident_id!r} in the database; write its id as the export shows it")
        standing = bool(
            tx.query(
                "SELECT 1 FROM incident_marks WHERE workspace_id = :w AND incident_id = :i AND mark = :m"
                " AND undone_at IS NULL",
                key,
            )
        )
        if standing is not undo:
            return False
        row = {"workspace_id": workspace_id, "incident_id": incident_id, "mark": mark}
        said = {"undone_at": at} if undo else {"by": by, "at": at, "reason": reason, "undone_at": None}
        tx.upsert("incident_marks", [row | said])
        audit_in(
            tx, workspace_id, at, by, f"mark.{mark}.undo" if undo else f"mark.{mark}",
            {"incident": incident_id, "reason": reason},
        )  # fmt: skip
        return True

    return await store.transaction(work)
