"""The alerts of an incident as evidence: a source over our own store, for alerts that came by webhook.

Alerts of one name at one service are one item with a count, so that ten thousand of them are a few lines.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from bot.incidents.stored import Stored
from bot.store import Row
from bot.store.values import to_time
from integrations.asking import labels_in_words
from integrations.records import Evidence, Findings, Question

LISTED = 40
ALERTS = "alerts"
"""The attribute that says how many alerts an item stands for."""


class StoredAlerts(Stored):
    """`Source` of evidence of kind `alert`. `access` says who may read what a sender sent."""

    name = "alerts"
    kind = "alerts"

    async def fetch(self, question: Question) -> Findings:
        """The alerts of the incident and of what was merged into it, those that began first before the others."""
        values = {"w": self._workspace_id, "i": question.incident.id, "n": LISTED + 1}
        rows = await self._store.query(
            "SELECT source, service, title, severity, count(*) AS alerts, min(started_at) AS first_at,"
            " max(started_at) AS last_at, sum(CASE WHEN status = 'resolved' THEN 1 ELSE 0 END) AS resolved,"
            " min(link) AS link, min(reason) AS reason, min(labels) AS labels"
            " FROM alerts WHERE workspace_id = :w AND incident_id IN"
            " (SELECT id FROM incidents WHERE workspace_id = :w AND (id = :i OR merged_into = :i))"
            " GROUP BY source, service, title, severity ORDER BY min(started_at), title LIMIT :n",
            values,
        )
        now = self._clock.now()
        notes = (f"alerts: only the first {LISTED} kinds are listed",) if len(rows) > LISTED else ()
        return Findings(evidence=tuple(self._item(row, now) for row in rows[:LISTED]), notes=notes)

    def _item(self, row: Row, now: datetime) -> Evidence:
        readers, model = self._access(row["source"]).of(row["service"])
        which = json.dumps([row["service"], row["title"], row["severity"]])
        first, last = to_time(row["first_at"]), to_time(row["last_at"])
        return Evidence(
            id=f"{row['source']}/alert/{hashlib.sha256(which.encode()).hexdigest()[:20]}",
            kind="alert",
            source=row["source"],
            observed_at=first,
            fetched_at=now,
            url=row["link"] or "",
            readers=readers,
            model=model,
            title=row["title"],
            service=row["service"],
            text="\n".join(_lines(row, first, last)),
            attributes={ALERTS: str(row["alerts"]), "severity": row["severity"]},
        )


def _lines(row: Row, first: datetime, last: datetime) -> list[str]:
    count, resolved = int(row["alerts"]), int(row["resolved"])
    lines = [f"{row['title']} ({row['severity']})"]
    if count > 1:
        lines.append(
            f"{count:,} alerts between {first:%H:%M:%S} and {last:%H:%M:%S} UTC, {resolved:,} of them resolved"
        )
    elif resolved:
        lines.append("resolved")
    lines.append(f"in this incident because: {row['reason']}")
    return [*lines, labels_in_words(json.loads(row["labels"]))]
