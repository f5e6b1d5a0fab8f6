"""Offline: one recorded incident through the same rooms, without Slack, engine or store."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import urlsplit

from bot.cards.making import from_ranked
from bot.cards.state import CardState
from bot.clock import ManualClock
from bot.triage.collect import Collector
from bot.triage.permit import permit
from bot.triage.rank import rank
from bot.triage.redact import Redactor, redact
from bot.trust.audience import Audience, AudienceUnknown
from bot.types import Ranked, Rejected, Released
from integrations.ports import Source
from integrations.records import Incident, Question, Readers

NO_MODEL = "no model is configured"


class Recorded(Protocol):
    """A recorded incident (an incident bundle): what a live triage would know of it."""

    @property
    def incident(self) -> Incident: ...

    def question(self) -> Question: ...

    def sources(self) -> Sequence[Source]: ...


@dataclass(slots=True)
class Replayed:
    """What came out: the ranked facts, the card, the summary if a model was asked, and seconds per room."""

    ranked: Ranked
    card: CardState
    checked: Released | Rejected | None
    timings: dict[str, float] = field(default_factory=dict)


@contextmanager
def _timed(timings: dict[str, float], room: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    timings[room] = round(time.perf_counter() - began, 4)


async def replay(
    recorded: Recorded,
    audience: Audience | AudienceUnknown,
    alert_readers: Readers,
    redactor: Redactor,
    *,
    summarise: Callable[[Ranked], Awaitable[Released | Rejected]] | None = None,
) -> Replayed:
    """collect → permit → redact → rank → (compose → infer → check) → card."""
    timings: dict[str, float] = {}
    incident = recorded.incident
    clock = ManualClock(incident.triggered_at + timedelta(seconds=30))
    collector = Collector(
        recorded.sources(), clock, services={}, owner=lambda _: None, alert_readers=lambda _: alert_readers
    )
    with _timed(timings, "collect"):
        collected = await collector.collect(incident, question=recorded.question())
    with _timed(timings, "permit"):
        permitted = permit(collected, audience, clock.now())
    with _timed(timings, "redact"):
        redacted = redact(permitted, redactor)
    with _timed(timings, "rank"):
        ranked = rank(redacted)
    checked: Released | Rejected | None = None
    if summarise is not None and ranked.fallback is None:
        with _timed(timings, "infer"):
            checked = await summarise(ranked)
    with _timed(timings, "render"):
        hosts = {parts.hostname for item in ranked.evidence if (parts := urlsplit(item.url)).hostname}
        card = from_ranked(ranked, links=sorted(filter(None, hosts)), no_summary="" if checked else NO_MODEL)
        if checked is not None:
            card = card.with_summary(checked)
    return Replayed(ranked, card, checked, timings)


def as_json(replayed: Replayed, blocks: Sequence[Any]) -> dict[str, Any]:
    """The contract's JSON. A reason's `evidence` and a claim's `evidence` are marks."""
    ranked = replayed.ranked
    return {
        "incident": ranked.incident.model_dump(mode="json"),
        "headline": ranked.headline,
        "fallback": ranked.fallback,
        "evidence": [
            {
                "id": item.mark, "kind": item.kind, "source": item.source,
                "readers": item.readers.model_dump(mode="json"), "title": item.title,
                "text": item.text, "url": item.url, "service": item.service,
                "suspicious": item.suspicious, "observed_at": item.observed_at.isoformat(),
            }
            for item in ranked.evidence
        ],
        "hidden": ranked.hidden,
        "suspects": [
            {
                "change_id": s.change_id, "service": s.service, "score": s.score, "probability": s.probability,
                "reasons": [reason.model_dump(mode="json") for reason in s.reasons], "evidence": s.mark,
                "summary": s.summary, "seconds_before": s.seconds_before,
            }
            for s in ranked.suspects
        ],
        "services": [
            {
                "service": s.service, "score": s.score, "probability": s.probability,
                "reasons": [reason.model_dump(mode="json") for reason in s.reasons],
            }
            for s in ranked.services
        ],
        "sources": [source.model_dump(mode="json") for source in ranked.sources],
        "facts": list(blocks),
        "summary": _summary(replayed.checked),
        "timings": replayed.timings,
    }  # fmt: skip


def _summary(checked: Released | Rejected | None) -> dict[str, Any] | None:
    if checked is None:
        return None
    model = checked.usage.model if checked.usage else None
    if isinstance(checked, Rejected):
        return {"outcome": checked.outcome, "reason": checked.reason, "claims": [], "model": model}
    summary = checked.summary
    claims = (*summary.going_on, *summary.cause, *summary.next)
    return {
        "outcome": "released",
        "claims": [{"text": claim.text, "evidence": list(claim.evidence)} for claim in claims],
        "model": model,
    }
