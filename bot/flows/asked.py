"""What a person asked for beyond an incident's arm, and why a card has no summary.

An incident's arm decides what it shows by itself. A person may ask for more: `/sitrep triage` gives a card where the
arm has none, and with an override also the model's summary. That is recorded as crossover; the analysis goes on by the
arm that was assigned.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from bot.cards.words import HELD_OUT
from bot.experiment.hypothesis import level
from bot.incidents.book import Book

NOT_SWITCHED_ON = "summaries are not switched on for this incident"
SIGNAL, REQUEST, OVERRIDE = "signal", "request", "override"
"""Why a triage runs: something happened; a person asked and got what the arm shows; a person got more than that."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one triage shows, and why it runs."""

    arm: str | None
    """off, facts, or a summary (None: no experiment decides)."""
    reason: str
    no_summary: str
    """Why its card has no summary; "" where it may have one."""


async def shown_for(book: Book, incident_id: str, n: int, experiment: str | None, arm: str | None) -> Shown:
    """What triage `n` shows: the arm's, or more if a person asked for it."""
    request = await _request(book, incident_id, n) if n > 1 else None
    shown, reason = arm, SIGNAL
    if request is not None:
        reason = REQUEST
        if arm is not None and request.get("override") and level(arm) < level("facts+summary"):
            shown, reason = "facts+summary", OVERRIDE
        elif arm == "off":
            shown, reason = "facts", OVERRIDE
    why = ""
    if shown == "facts":
        why = NOT_SWITCHED_ON if experiment is None else HELD_OUT
    return Shown(shown, reason, why)


async def _request(book: Book, incident_id: str, n: int) -> dict[str, object] | None:
    """What a person said when they asked for this triage; None when nobody did."""
    rows = await book.store.query(
        "SELECT body, note FROM signals WHERE workspace_id = :w AND incident_id = :i AND source IN ('slack', 'shell')"
        " AND delivery_key LIKE 'request:%'",
        {"w": book.workspace_id, "i": incident_id},
    )
    for row in rows:
        if any(start.get("key") == str(n) for start in json.loads(row["note"] or "[]")):
            return dict(json.loads(row["body"]))
    return None
