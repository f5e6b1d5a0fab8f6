"""One more triage that somebody asked for, in Slack or at the shell: durable as a signal that is already applied."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Literal

from bot.incidents.book import Book
from bot.store import Transaction
from integrations.records import Incident


async def ask_for_triage(
    book: Book, incident: Incident, by: str, request_id: str, now: datetime, *, override: bool,
    source: Literal["slack", "shell"] = "slack",
) -> int:  # fmt: skip
    """The triage's number; the same request again is the same triage. The drainer starts it.

    `override` asks for what the incident's arm withholds; whether `by` may do that was decided before. It stands in the
    audit trail.
    """
    key = {"w": book.workspace_id, "k": f"request:{request_id}"}

    def work(tx: Transaction) -> int:
        known = tx.query("SELECT note FROM signals WHERE workspace_id = :w AND delivery_key = :k", key)
        if known:
            return int(json.loads(known[0]["note"])[0]["key"])
        (last,) = tx.query("SELECT coalesce(max(seq), 0) AS n FROM signals WHERE workspace_id = :w", key)
        (row,) = tx.query(
            "SELECT triages FROM incidents WHERE workspace_id = :w AND id = :i", {**key, "i": incident.id}
        )
        n = int(row["triages"]) + 1
        tx.upsert("incidents", [{"workspace_id": key["w"], "id": incident.id, "triages": n}])
        start = {"kind": "triage", "incident_id": incident.id, "key": str(n), "severity": incident.severity}
        signal = {
            "workspace_id": key["w"], "delivery_key": key["k"], "seq": last["n"] + 1, "source": source,
            "kind": "unknown", "incident_id": incident.id, "occurred_at": now, "received_at": now,
            "body": {"override": override}, "sha256": "", "state": "applied", "note": [start],
        }  # fmt: skip
        tx.insert("signals", [signal])
        return n

    n = await book.store.transaction(work)
    await book.audit(now, by, "triage", incident.id, {"n": n, "override": override})
    return n
