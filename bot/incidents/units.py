"""Which incidents share one assignment (EXPERIMENT.md, Design, point 1): by start times and the call graph alone.

Never by state: whether an earlier incident is still open depends on its arm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from bot.store import Row, Transaction
from bot.store.values import to_text

SHARE_WITHIN = timedelta(minutes=60)


def join_unit(
    tx: Transaction,
    *,
    workspace_id: str,
    incident_id: str,
    service: str | None,
    triggered_at: datetime,
    severity: int,
    neighbours: Mapping[str, frozenset[str]],
) -> str:
    """The unit that this incident joins at its first signal; makes one when no incident of the last hour fits.

    `neighbours` is the call graph known at this moment, in both directions.
    """
    rows = tx.query(
        "SELECT id, service, unit_id FROM incidents WHERE workspace_id = :w AND id != :id AND unit_id IS NOT NULL"
        " AND triggered_at <= :t AND triggered_at >= :since ORDER BY triggered_at DESC, id DESC",
        {"w": workspace_id, "id": incident_id, "t": triggered_at, "since": triggered_at - SHARE_WITHIN},
    )
    for row in rows:
        if _connected(service, row, neighbours):
            unit_id = str(row["unit_id"])
            _add_service(tx, workspace_id, unit_id, service)
            return unit_id
    unit = {
        "workspace_id": workspace_id,
        "id": f"u-{incident_id}",
        "triggered_at": to_text(triggered_at),
        "services": [service] if service else [],
        "stratum": f"sev{min(severity, 3)}",
    }
    tx.insert("units", [unit], ignore=True)
    return str(unit["id"])


def _connected(service: str | None, row: Row, neighbours: Mapping[str, frozenset[str]]) -> bool:
    other = row["service"]
    return service is not None and other is not None and (service == other or other in neighbours.get(service, ()))


def _add_service(tx: Transaction, workspace_id: str, unit_id: str, service: str | None) -> None:
    (row,) = tx.query(
        "SELECT services FROM units WHERE workspace_id = :w AND id = :u", {"w": workspace_id, "u": unit_id}
    )
    services = json.loads(row["services"])
    if service and service not in services:
        tx.upsert("units", [{"workspace_id": workspace_id, "id": unit_id, "services": [*services, service]}])
