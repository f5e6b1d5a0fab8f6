"""Signals in the store: written before they are acknowledged, redacted before they are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from bot.store import Row, Store, Transaction
from bot.store.values import encode_row, to_text
from integrations.records import IncidentFields, Signal

NEXT_SIGNAL = """
    INSERT INTO signals (workspace_id, delivery_key, seq, source, kind, incident_id, occurred_at, received_at, body,
      sha256, state)
    VALUES (:workspace_id, :delivery_key,
      (SELECT coalesce(max(seq), 0) + 1 FROM signals WHERE workspace_id = :workspace_id),
      :source, :kind, :incident_id, :occurred_at, :received_at, :body, :sha256, 'new')
    ON CONFLICT (workspace_id, delivery_key) DO NOTHING
"""
"""One statement: between two the store's writer would wait for the interpreter's lock once more."""
REPEATS = "repeats"
"""Kind of the notices that count deliveries which came again."""


async def store_signals(store: Store, workspace_id: str, signals: Sequence[Signal]) -> int:
    """Durably store what is new of a delivery; returns how many were. Repeats are dropped by their delivery key."""

    rows = [encode_row(_signal_row(workspace_id, signal)) for signal in signals]

    def work(tx: Transaction) -> int:
        new = repeats = 0
        for signal, row in zip(signals, rows, strict=True):
            stored = tx.execute(NEXT_SIGNAL, row)
            new += stored
            repeats += not stored and signal.source != "poll"  # the poller reads what it has read on purpose
        if repeats:
            _count_repeats(tx, workspace_id, signals[0].received_at, repeats)
        return new

    return await store.transaction(work)


def _count_repeats(tx: Transaction, workspace_id: str, at: datetime, repeats: int) -> None:
    """Deliveries that came again, by hour, so that the weekly report can say how many were dropped."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    name = f"{REPEATS}:{to_text(hour)}"
    known = tx.query("SELECT detail FROM notices WHERE workspace_id = :w AND id = :i", {"w": workspace_id, "i": name})
    count = repeats + (int(json.loads(known[0]["detail"])["count"]) if known else 0)
    row = {"workspace_id": workspace_id, "id": name, "kind": REPEATS, "detail": {"count": count}, "created_at": hour}
    tx.upsert("notices", [row])


def redacted_signal(signal: Signal, redact: Callable[[Any], Any]) -> Signal:
    """A signal that came past the doors, without secrets and personal data; ids, times and addresses as they were."""
    incident = signal.incident
    if incident is not None:
        said = redact(incident.model_dump(mode="json", include={"title", "service", "teams", "priority", "url"}))
        incident = IncidentFields.model_validate(incident.model_dump() | said)
    return signal.model_copy(update={"body": redact(signal.body), "incident": incident})


async def failed_signals(store: Store, workspace_id: str) -> list[Row]:
    """Signals that were set aside and that nobody was told of: delivery_key, source, incident_id, body."""
    return await store.query(
        "SELECT delivery_key, source, incident_id, body FROM signals AS s WHERE workspace_id = :w AND state = 'failed'"
        " AND NOT EXISTS (SELECT 1 FROM notices AS n WHERE n.workspace_id = s.workspace_id"
        " AND n.id = 'set-aside:signal:' || s.delivery_key) ORDER BY seq LIMIT 20",
        {"w": workspace_id},
    )


def _signal_row(workspace_id: str, signal: Signal) -> dict[str, Any]:
    return {
        "workspace_id": workspace_id,
        "delivery_key": signal.delivery_key,
        "source": signal.source,
        "kind": signal.kind,
        "incident_id": signal.incident_id,
        "occurred_at": signal.occurred_at,
        "received_at": signal.received_at,
        "body": {
            "payload": signal.body,
            "incident": signal.incident.model_dump(mode="json") if signal.incident else None,
            "said_by": signal.said_by,
        },
        "sha256": signal.sha256,
    }
