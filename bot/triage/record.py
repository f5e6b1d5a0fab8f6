"""The room `record`: what a triage was, for the report and the experiment. Every figure comes from here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from bot import telemetry
from bot.clock import Clock
from bot.incidents.book import Book
from bot.store.values import to_time
from bot.types import Ranked, Rejected, Released


class SentTimes(Protocol):
    """When a card's first and newest state went out."""

    async def sent_times(self, target: str) -> tuple[datetime | None, datetime | None]: ...


async def record_triage(
    book: Book,
    cards: SentTimes,
    clock: Clock,
    incident_id: str,
    n: int,
    checked: Released | Rejected | None,
    *,
    shadow: bool = False,
) -> dict[str, Any]:
    """Completes the row of the triage and the incident's exposure. Safe to run twice."""
    row = await book.triage_row(incident_id, n)
    assert row is not None, "the first step wrote it"
    first_at, newest_at = await cards.sent_times(f"incident:{incident_id}")
    ranked = Ranked.model_validate_json(row["ranked"]) if row["ranked"] else None
    now = clock.now()
    values: dict[str, Any] = {"recorded_at": now, "facts_at": first_at, **_outcome(checked)}
    if isinstance(checked, Released):
        values["summary_at"] = newest_at
    if ranked is not None:
        values |= {
            "suspects": [
                {"change_id": s.change_id, "service": s.service, "probability": s.probability, "kind": s.kind}
                for s in ranked.suspects
            ],
            "services": [
                {"service": s.service, "probability": s.probability, "signs": s.signs} for s in ranked.services
            ],
            "sources": [s.model_dump(mode="json") for s in ranked.sources],
            "hidden": ranked.hidden,
        }
    timings = json.loads(row["timings"])
    if first_at is not None:
        timings["first_post_seconds"] = round((first_at - to_time(timings["received_at"])).total_seconds(), 3)
    await book.write_triage(incident_id, n, values | {"timings": timings})
    await expose(book, incident_id, None if shadow else first_at, now)
    telemetry.counter(telemetry.TRIAGES).add(1)
    if checked is not None:
        telemetry.counter(telemetry.SUMMARIES).add(1, {telemetry.OUTCOME: values["outcome"]})
    return {"outcome": values["outcome"]}


async def expose(book: Book, incident_id: str, first_at: datetime | None, now: datetime) -> None:
    """Whether the card was there before somebody acknowledged, and before the end; known again at each change."""
    incident = await book.incident_row(incident_id)
    if incident is None:
        return
    row: dict[str, Any] = {
        "workspace_id": book.workspace_id,
        "incident_id": incident_id,
        "kind": "card" if first_at is not None else "none",
        "at": first_at or now,
        "before_acknowledged": _before(first_at, incident["acknowledged_at"]),
        "before_resolved": _before(first_at, incident["resolved_at"]),
    }
    await book.store.upsert("exposures", [row])


def _before(first_at: datetime | None, then: str | None) -> int | None:
    """1 or 0, or None while it has not happened."""
    if first_at is None:
        return 0
    return None if then is None else int(first_at < to_time(then))


def _outcome(checked: Released | Rejected | None) -> Mapping[str, Any]:
    if checked is None:
        return {"outcome": "off", "outcome_reason": "recorded only"}
    outcome = "released" if isinstance(checked, Released) else checked.outcome
    usage = checked.usage
    return {
        "outcome": outcome,
        "outcome_reason": checked.reason if isinstance(checked, Rejected) else "",
        "model": usage.model if usage else None,
        "prompt": usage.prompt if usage else None,
        "tokens": usage.tokens_in + usage.tokens_out if usage else 0,
        "cost_usd": usage.cost_usd if usage else 0.0,
    }
