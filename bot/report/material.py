"""The store's rows as a report's material. Everything that a report says can be counted again from these tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from bot.report.rows import IncidentRow, LabelRow, Material, SuspectRow, TriageRow, VoteRow
from bot.store import Row, Store
from bot.store.values import to_text, to_time

BACK = timedelta(weeks=13)
NOT_MAPPED = "not mapped"


async def read_material(
    store: Store, workspace_id: str, until: datetime, *, hidden_services: frozenset[str]
) -> Material:
    """Incidents that were triggered in the 13 weeks before `until`, with what was said and done about them."""
    key = {"w": workspace_id, "since": to_text(until - BACK), "until": to_text(until)}
    within = "workspace_id = :w AND triggered_at >= :since AND triggered_at < :until"
    incidents = await store.query(f"SELECT * FROM incidents WHERE {within} ORDER BY triggered_at, id", key)  # noqa: S608
    of_these = f"workspace_id = :w AND incident_id IN (SELECT id FROM incidents WHERE {within})"  # noqa: S608
    exposures = await store.query(f"SELECT * FROM exposures WHERE {of_these} AND kind = 'card'", key)  # noqa: S608
    triages = await store.query(f"SELECT * FROM triages WHERE {of_these} ORDER BY started_at", key)  # noqa: S608
    votes = await store.query(f"SELECT * FROM votes WHERE {of_these} ORDER BY at", key)  # noqa: S608
    labels = await store.query(
        f"SELECT * FROM labels WHERE {of_these} AND ruled_out IS NULL AND undone_at IS NULL ORDER BY at",  # noqa: S608
        key,
    )
    shown = {row["incident_id"]: row for row in exposures}
    deployed = {row["incident_id"] for row in labels if row["cause"] == "change"}
    return Material(
        incidents=tuple(_incident(row, shown.get(row["id"]), row["id"] in deployed) for row in incidents),
        triages=tuple(map(_triage, triages)),
        votes=tuple(
            VoteRow(incident_id=r["incident_id"], at=to_time(r["at"]), helpful=r["vote"] == "helpful") for r in votes
        ),
        labels=tuple(map(_label, labels)),
        hidden_services=hidden_services,
    )


def _incident(row: Row, exposure: Mapping[str, object] | None, from_deployment: bool) -> IncidentRow:
    return IncidentRow(
        incident_id=row["id"],
        unit_id=row["unit_id"] or row["id"],
        service=row["service"] or NOT_MAPPED,
        severity=row["severity"],
        triggered_at=to_time(row["triggered_at"]),
        acknowledged_at=_maybe(row["acknowledged_at"]),
        mitigated_at=_maybe(row["mitigated_at"]),
        resolved_at=_maybe(row["resolved_at"]),
        reopened=row["reopened"],
        left_out="merged into another incident" if row["merged_into"] else "",
        from_deployment=from_deployment,
        exposed=exposure is not None,
        before_acknowledged=_flag(exposure, "before_acknowledged"),
        before_resolved=_flag(exposure, "before_resolved"),
    )


def _triage(row: Row) -> TriageRow:
    timings = json.loads(row["timings"] or "{}")
    return TriageRow(
        triage_id=row["id"],
        incident_id=row["incident_id"],
        started_at=to_time(row["started_at"]),
        arm=row["arm"] or "",
        outcome=row["outcome"] or "off",
        outcome_reason=row["outcome_reason"] or "",
        cost_usd=row["cost_usd"],
        first_post_seconds=timings.get("first_post_seconds"),
        hidden=row["hidden"],
        suspects=tuple(
            SuspectRow(change_id=s["change_id"], service=s["service"] or NOT_MAPPED, probability=s["probability"])
            for s in json.loads(row["suspects"] or "[]")
        ),
        prompt=row["prompt"] or "",
        model=row["model"] or "",
    )


def _label(row: Row) -> LabelRow:
    return LabelRow(
        incident_id=row["incident_id"],
        at=to_time(row["at"]),
        cause=row["cause"],
        service=row["service"] or "",
        change_id=row["change_id"] or "",
    )


def _maybe(text: str | None) -> datetime | None:
    return to_time(text) if text else None


def _flag(row: Mapping[str, object] | None, name: str) -> bool | None:
    value = row[name] if row is not None else None
    return None if value is None else bool(value)
