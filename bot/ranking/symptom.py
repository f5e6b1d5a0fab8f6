"""What users feel at the alerting service, with its normal: the card's first line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from bot.ranking.causes import Finding, Symptom
from bot.ranking.metrics import Move
from bot.ranking.profile import Profile
from bot.ranking.signs import Signs, first_trace, move_finding, origins_of, span_time, trace_url
from bot.ranking.statistics import log_likelihood_ratio
from bot.ranking.window import ERROR, Calls
from bot.ranking.words import amount_in_words, milliseconds_in_words, share_in_words

MIN_REQUESTS = 5
MIN_NATS = 3.0
SLOWER = 1.5
RATES = {"error_ratio": "of requests fail", "error_rate": "of requests fail"}


def find_symptom(alerting: str | None, signs: Signs, moves: Sequence[Move]) -> Symptom | None:
    """Failing requests, else slow ones, of the alerting service; None when neither is clearly off its normal."""
    if alerting is None:
        return None
    return _failing(alerting, signs) or _from_metrics(alerting, moves) or _slow(alerting, signs)


def entries(calls: Calls, service: str) -> list[int]:
    """Positions of the spans where requests enter a service."""
    spans = calls.spans
    return [
        i
        for i, parent in enumerate(calls.parent)
        if spans[i].service == service
        and (parent < 0 or spans[parent].service != service)
        and spans[i].kind not in ("client", "producer")
    ]


def _failing(alerting: str, signs: Signs) -> Symptom | None:
    at = entries(signs.calls, alerting)
    failed = [i for i in at if ERROR in signs.calls.events[i]]
    if len(at) < MIN_REQUESTS or not failed:
        return None
    failed_healthy, healthy = _healthy_failures(alerting, signs.profile)
    if log_likelihood_ratio(len(failed), len(at), failed_healthy, healthy) < MIN_NATS and healthy:
        return None
    if healthy and len(failed) / len(at) <= failed_healthy / healthy:
        return None
    normal = f" (normal {share_in_words(failed_healthy, healthy)})" if healthy else ""
    text = f"{share_in_words(len(failed), len(at))} of requests fail{normal}"
    detail = f"{len(failed)} of {len(at)} requests into {alerting} failed"
    detail += f", usually {failed_healthy} of {healthy}" if healthy else ", no healthy window is known"
    return Symptom(text, _finding(alerting, "failing", text, detail, failed, signs))


def _healthy_failures(alerting: str, profile: Profile) -> tuple[int, int]:
    failed = total = 0
    for context, instances in profile.pooled.instances.items():
        caller, (service, name) = context
        if service == alerting and name and (caller is None or caller[0] != alerting):
            total += instances
            failed += profile.pooled.present[context, ERROR]
    return failed, total


def _slow(alerting: str, signs: Signs) -> Symptom | None:
    calls = signs.calls
    at = entries(calls, alerting)
    healthy = signs.profile.entry_ms.get(alerting)
    if len(at) < MIN_REQUESTS or healthy is None or len(healthy) < MIN_REQUESTS:
        return None
    durations = np.array([(calls.spans[i].end_ns - calls.spans[i].start_ns) / 1e6 for i in at])
    now, normal = float(np.quantile(durations, 0.95)), float(np.quantile(healthy, 0.95))
    if now < SLOWER * normal:
        return None
    text = f"1 in 20 requests takes over {milliseconds_in_words(now)} (normal {milliseconds_in_words(normal)})"
    detail = (
        f"95th percentile of {len(at)} requests into {alerting}: {milliseconds_in_words(now)}, normal "
        f"{milliseconds_in_words(normal)} of {len(healthy)}"
    )
    slow = [at[int(i)] for i in np.flatnonzero(durations >= now)]
    return Symptom(text, _finding(alerting, "slow", text, detail, slow, signs))


def _from_metrics(alerting: str, moves: Sequence[Move]) -> Symptom | None:
    for move in moves:
        if move.service == alerting and move.name in RATES:
            now, normal = amount_in_words(move.value, move.unit), amount_in_words(move.usual, move.unit)
            return Symptom(f"{now} {RATES[move.name]} (normal {normal})", move_finding(move, move.score))
    return None


def _finding(service: str, key: str, title: str, text: str, positions: list[int], signs: Signs) -> Finding:
    origins = origins_of({service}, signs, logs=False)
    return Finding(
        key=f"symptom {service} {key}",
        kind="trace",
        service=service,
        title=f"{service}: {title}",
        text=text,
        score=0.0,
        seen_at=span_time(signs.calls, positions, datetime.fromtimestamp(0, UTC)),
        origins=origins,
        url=trace_url(signs.calls, positions, origins),
        trace_id=first_trace(signs.calls, positions),
    )
