"""Reading and writing what is known of incidents and their triages: rows to records and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bot.store import Row, Store, Transaction
from bot.store.values import to_text, to_time, ulid
from bot.types import Ranked, Rejected, Released
from integrations.records import Evidence, Incident


def incident_of(row: Row) -> Incident:
    """A row of `incidents` as the noun."""
    return Incident(
        workspace_id=row["workspace_id"],
        id=row["id"],
        number=row["number"],
        title=row["title"],
        service=row["service"],
        service_ref=row["service_ref"],
        source=row["source"],
        severity=row["severity"],
        urgency=row["urgency"],
        priority=row["priority"],
        status=row["status"],
        url=row["url"],
        triggered_at=to_time(row["triggered_at"]),
        acknowledged_at=_maybe(row["acknowledged_at"]),
        mitigated_at=_maybe(row["mitigated_at"]),
        resolved_at=_maybe(row["resolved_at"]),
        reopened=row["reopened"],
        teams=tuple(json.loads(row["teams"])),
        on_call=row["on_call"],
        channel=row["channel"] or row["own_channel"],
    )


def _maybe(text: str | None) -> datetime | None:
    return to_time(text) if text else None


class Book:
    """One workspace's incidents and triages."""

    def __init__(self, store: Store, workspace_id: str) -> None:
        self.store = store
        self.workspace_id = workspace_id

    async def incident_row(self, incident_id: str) -> Row | None:
        rows = await self.store.query(
            "SELECT * FROM incidents WHERE workspace_id = :w AND id = :id", {"w": self.workspace_id, "id": incident_id}
        )
        return rows[0] if rows else None

    async def incident(self, incident_id: str) -> Incident | None:
        row = await self.incident_row(incident_id)
        return incident_of(row) if row else None

    async def alerts_of(self, incident_id: str) -> int:
        """How many alerts belong to it and to what was merged into it."""
        (row,) = await self.store.query(
            "SELECT count(*) AS n FROM alerts WHERE workspace_id = :w AND incident_id IN"
            " (SELECT id FROM incidents WHERE workspace_id = :w AND (id = :i OR merged_into = :i))",
            {"w": self.workspace_id, "i": incident_id},
        )
        return int(row["n"])

    async def open_incidents(self, limit: int = 50) -> list[Incident]:
        """Not resolved, newest first."""
        rows = await self.store.query(
            "SELECT * FROM incidents WHERE workspace_id = :w AND status != 'resolved' AND merged_into IS NULL"
            " ORDER BY triggered_at DESC LIMIT :n",
            {"w": self.workspace_id, "n": limit},
        )
        return [incident_of(row) for row in rows]

    async def next_triage(self, incident_id: str) -> int | None:
        """Count one more triage and return its number; None for an unknown incident."""

        def work(tx: Transaction) -> int | None:
            key = {"w": self.workspace_id, "id": incident_id}
            if not tx.execute("UPDATE incidents SET triages = triages + 1 WHERE workspace_id = :w AND id = :id", key):
                return None
            (row,) = tx.query("SELECT triages FROM incidents WHERE workspace_id = :w AND id = :id", key)
            return int(row["triages"])

        return await self.store.transaction(work)

    async def triage_row(self, incident_id: str, n: int | None = None) -> Row | None:
        """One triage, or the latest one that got as far as facts."""
        where = "n = :n" if n is not None else "ranked IS NOT NULL"
        rows = await self.store.query(
            "SELECT * FROM triages WHERE workspace_id = :w AND incident_id = :i AND "  # noqa: S608 - fixed words
            f"{where} ORDER BY n DESC LIMIT 1",
            {"w": self.workspace_id, "i": incident_id, "n": n},
        )
        return rows[0] if rows else None

    async def is_recorded_only(self, incident_id: str) -> bool:
        """Whether it is in an arm that shows nothing, and nobody has asked for its card."""
        rows = await self.store.query(
            "SELECT arm, ranked FROM triages WHERE workspace_id = :w AND incident_id = :i",
            {"w": self.workspace_id, "i": incident_id},
        )
        return any(row["arm"] == "off" for row in rows) and all(row["ranked"] is None for row in rows)

    async def write_triage(self, incident_id: str, n: int, values: Mapping[str, Any]) -> None:
        """Set columns of a triage's row."""
        row = {"workspace_id": self.workspace_id, "id": f"{incident_id}/{n}", "incident_id": incident_id, "n": n}
        await self.store.upsert("triages", [row | dict(values)])

    async def ranked(self, incident_id: str) -> tuple[Ranked, Released | Rejected | None, Row] | None:
        """What the latest triage ranked and what `check` decided, as they were permitted then."""
        row = await self.triage_row(incident_id)
        if row is None:
            return None
        return Ranked.model_validate_json(row["ranked"]), checked_of(row["checked"]), row

    async def marks(self, incident_id: str) -> dict[str, str]:
        """Evidence id to mark, for every item this incident ever kept."""
        rows = await self.store.query(
            "SELECT external_id, mark FROM evidence WHERE workspace_id = :w AND incident_id = :i",
            {"w": self.workspace_id, "i": incident_id},
        )
        return {row["external_id"]: row["mark"] for row in rows}

    async def keep_evidence(self, incident_id: str, items: tuple[Evidence, ...], at: datetime) -> None:
        """Store items under a ULID; one that was fetched again keeps its ULID and its mark."""

        def work(tx: Transaction) -> None:
            for item in items:
                values = _evidence_row(item)
                key = {"w": self.workspace_id, "i": incident_id, "e": item.id}
                known = tx.query(
                    "SELECT ulid FROM evidence WHERE workspace_id = :w AND incident_id = :i AND external_id = :e", key
                )
                identity = {"workspace_id": self.workspace_id, "ulid": known[0]["ulid"] if known else ulid(at)}
                tx.upsert("evidence", [identity | {"incident_id": incident_id} | values])

        await self.store.transaction(work)

    async def audit(
        self, at: datetime, by: str, action: str, incident_id: str | None, detail: Mapping[str, Any]
    ) -> None:
        """One line of the audit trail: who did what, when, to which incident."""
        row = {
            "workspace_id": self.workspace_id, "id": ulid(at), "at": to_text(at), "by": by, "action": action,
            "incident_id": incident_id, "detail": dict(detail),
        }  # fmt: skip
        await self.store.insert("audit", [row])


def checked_of(text: str | None) -> Released | Rejected | None:
    """The stored decision of `check`."""
    if not text:
        return None
    data = json.loads(text)
    return Released.model_validate(data) if "summary" in data else Rejected.model_validate(data)


def _evidence_row(item: Evidence) -> dict[str, Any]:
    return {
        "mark": item.mark,
        "source": item.source,
        "kind": item.kind,
        "external_id": item.id,
        "service": item.service,
        "title": item.title,
        "text": item.text,
        "url": item.url,
        "readers": item.readers.signature,
        "model": item.model,
        "suspicious": item.suspicious,
        "attributes": item.attributes,
        "observed_at": item.observed_at,
        "fetched_at": item.fetched_at,
    }
