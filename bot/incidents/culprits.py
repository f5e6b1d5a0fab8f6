"""Which services caused earlier incidents, as people labelled them: what the ranking of changes is told.

Counted are only incidents that whoever may read this one may read too, so that no card tells of a label that its
readers may not know. An incident counts once, by its newest label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from bot.incidents.book import incident_of
from bot.store import Store
from bot.store.values import to_text
from integrations.records import Incident, Readers

COUNTED = timedelta(days=365)
"""How long a label says something about its service."""
MOST = 500
"""Labelled incidents that are looked at, the newest first."""


async def past_culprits(
    store: Store, incident: Incident, alert_readers: Callable[[Incident], Readers]
) -> dict[str, int]:
    """Service to the number of earlier incidents that it, or a change to it, was labelled to have caused."""
    rows = await store.query(
        "SELECT i.*, l.service AS culprit, l.at AS labelled_at FROM labels l"
        " JOIN incidents i ON i.workspace_id = l.workspace_id AND i.id = l.incident_id"
        " WHERE l.workspace_id = :w AND l.incident_id <> :i AND l.ruled_out IS NULL AND l.undone_at IS NULL"
        " AND i.triggered_at < :before AND i.triggered_at >= :since AND i.merged_into IS NULL"
        " ORDER BY l.at DESC, l.id LIMIT :n",
        {
            "w": incident.workspace_id, "i": incident.id, "before": to_text(incident.triggered_at),
            "since": to_text(incident.triggered_at - COUNTED), "n": MOST,
        },
    )  # fmt: skip
    here = alert_readers(incident).sets
    seen: set[str] = set()
    counted: Counter[str] = Counter()
    for row in rows:
        if row["id"] in seen:
            continue
        seen.add(row["id"])
        service = row["culprit"]
        if service is None:
            continue
        other = incident_of(row)
        about = alert_readers(other.model_copy(update={"service": service}))
        if alert_readers(other).sets <= here and about.sets <= here:
            counted[service] += 1
    return dict(counted)
