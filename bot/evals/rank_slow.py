"""Slow code, made up: a real healthy minute in which one operation takes longer, with all that waits for it.

The recorded incidents hold no slow code; this keeps the sign for it honest.
"""

from __future__ import annotations

import bisect
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bot.evals.rank_cases import Case
from bot.ranking.engine import STANDS_OUT, rank_causes
from bot.ranking.profile import Profiles
from bot.ranking.weights import Weights
from bot.ranking.window import Operation
from integrations.records import Batch, Span, Telemetry

CASES = 48
DELAYS_MS = (100, 200, 500, 1000)
MIN_CALLS = 5


def slow_code(cases: Sequence[Case], weights: Weights, seed: int = 1) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Drawn operations and delays in the healthy minutes of the false alarms; rows and totals."""
    chance = random.Random(seed)
    healthy = [one for one in cases if one.truth.service is None]
    profiles = Profiles()
    rows: list[dict[str, Any]] = []
    while healthy and len(rows) < CASES:
        case = chance.choice(healthy)
        spans = [span for batch in case.examined.telemetry.spans for span in batch.records]
        operation = chance.choice(_inner_operations(spans))
        delay = chance.choice(DELAYS_MS)
        found = rank_causes(
            with_delay(case.examined.telemetry, operation, delay),
            alerting=case.examined.alerting,
            alerted_at=case.alerted_at,
            profiles=profiles,
            weights=weights,
        ).services
        place = next((i for i, one in enumerate(found, start=1) if one.service == operation[0]), None)
        named = bool(found) and place == 1 and found[0].probability >= STANDS_OUT
        rows.append(
            {"case": case.truth.case, "operation": list(operation), "delay_ms": delay, "place": place, "named": named}
        )
    hits = sum(one["place"] == 1 for one in rows)
    totals = {
        "cases": len(rows),
        "service_top1": round(hits / max(1, len(rows)), 4),
        "service_named": round(sum(one["named"] for one in rows) / max(1, len(rows)), 4),
    }
    return rows, totals


def with_delay(telemetry: Telemetry, operation: Operation, delay_ms: float) -> Telemetry:
    """The same minute with a delay at the end of each call of an operation; what comes later in its trace moves on."""
    delay = int(delay_ms * 1e6)
    points: dict[str, list[int]] = {}
    for batch in telemetry.spans:
        for span in batch.records:
            if (span.service, span.name) == operation:
                points.setdefault(span.trace_id, []).append(span.end_ns - 1)
    for found in points.values():
        found.sort()

    def moved(span: Span) -> Span:
        found = points.get(span.trace_id)
        if not found:
            return span
        return replace(
            span,
            start_ns=span.start_ns + delay * bisect.bisect_left(found, span.start_ns),
            end_ns=span.end_ns + delay * bisect.bisect_left(found, span.end_ns),
        )

    spans = tuple(
        Batch(one.source, one.readers, [moved(span) for span in one.records], one.model, one.url)
        for one in telemetry.spans
    )
    return replace(telemetry, spans=spans)


def _inner_operations(spans: Sequence[Span]) -> list[Operation]:
    """Operations that do work of their own: leaves and what calls within its service, a few times."""
    by_id = {span.span_id: span for span in spans}
    waiting = {
        (parent.service, parent.name)
        for span in spans
        if (parent := by_id.get(span.parent_id)) is not None and parent.service != span.service
    }
    counts = Counter((span.service, span.name) for span in spans)
    return sorted(one for one, count in counts.items() if count >= MIN_CALLS and one not in waiting)
