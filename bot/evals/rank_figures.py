"""What a list of ranked cases amounts to: hits, quiet false alarms, Brier scores, reliability, leak controls."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bot.evals.rank_cases import Case
from bot.ranking.causes import Causes
from bot.ranking.engine import STANDS_OUT
from bot.ranking.fit import fit_weights
from bot.ranking.weights import Weights
from bot.types import confidence

RESAMPLES = 2000


def place(wanted: str | None, ranked: Iterable[str]) -> int | None:
    """1 for the first; None when absent."""
    return next((i for i, one in enumerate(ranked, start=1) if one == wanted), None)


def case_row(case: Case, causes: Causes) -> dict[str, Any]:
    """One case as the command prints it."""
    truth = case.truth
    service, change = (causes.services or (None,))[0], (causes.changes or (None,))[0]
    return {
        "case": truth.case,
        "fault_type": truth.fault_type,
        "root_cause_service": truth.service,
        "root_cause_change": truth.change,
        "service_place": place(truth.service, (one.service for one in causes.services)),
        "change_place": place(truth.change, (one.change.id for one in causes.changes)),
        "top_service": service.service if service else None,
        "top_service_probability": round(service.probability, 4) if service else 0.0,
        "top_change": change.change.id if change else None,
        "top_change_probability": round(change.probability, 4) if change else 0.0,
        "confidence": confidence(change.probability if change else 0.0),
        "reason": service.findings[0].text if service and service.findings else "",
        "seconds": round(case.seconds, 3),
        "cpu_seconds": round(case.cpu_seconds, 3),
    }


def hit_rate(rows: Sequence[dict[str, Any]], key: str, within: int) -> float:
    """Share of the incidents whose culprit is among the first `within`."""
    return sum(one[key] is not None and one[key] <= within for one in rows) / len(rows) if rows else 0.0


def totals_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Hits, named incidents and quiet false alarms, per fault type too."""
    incidents = [one for one in rows if one["root_cause_service"]]
    quiet = [one for one in rows if not one["root_cause_service"]]
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in incidents:
        kinds[one["fault_type"]].append(one)
    return {
        "incidents": len(incidents),
        "false_alarms": len(quiet),
        "service_top1": round(hit_rate(incidents, "service_place", 1), 4),
        "service_top3": round(hit_rate(incidents, "service_place", 3), 4),
        "change_top1": round(hit_rate(incidents, "change_place", 1), 4),
        "change_top3": round(hit_rate(incidents, "change_place", 3), 4),
        "incidents_named": sum(one["top_change_probability"] >= STANDS_OUT for one in incidents),
        "false_alarms_quiet": sum(one["top_change_probability"] < STANDS_OUT for one in quiet),
        "by_fault_type": {
            kind: {
                "cases": len(found),
                "service_top1": round(hit_rate(found, "service_place", 1), 4),
                "service_top3": round(hit_rate(found, "service_place", 3), 4),
                "change_top1": round(hit_rate(found, "change_place", 1), 4),
                "change_top3": round(hit_rate(found, "change_place", 3), 4),
            }
            for kind, found in sorted(kinds.items())
        },
        "seconds_largest": max((one["seconds"] for one in rows), default=0.0),
        "cpu_seconds_largest": max((one["cpu_seconds"] for one in rows), default=0.0),
    }


def left_out(cases: Sequence[Case], shipped: Weights, *, only_decision: bool) -> list[Causes]:
    """Each case judged with weights that were fitted on all the others."""
    labelled = [one.labelled(shipped) for one in cases]
    return [
        case.judged(fit_weights(labelled[:i] + labelled[i + 1 :], shipped, only_decision=only_decision))
        for i, case in enumerate(cases)
    ]


def brier(cases: Sequence[Case], judged: Sequence[Causes]) -> dict[str, Any]:
    """Brier score of the first suspect's probability, against the constant rate at which the others are right."""
    pairs = [_claim(case, causes) for case, causes in zip(cases, judged, strict=True)]
    right = [outcome for _, outcome in pairs]
    base = [(sum(right) - one) / max(1, len(right) - 1) for one in right]
    score = float(np.mean([(chance - outcome) ** 2 for chance, outcome in pairs]))
    constant = float(np.mean([(rate - one) ** 2 for rate, one in zip(base, right, strict=True)]))
    return {
        "brier": round(score, 4),
        "brier_base_rate": round(constant, 4),
        "base_rate": round(float(np.mean(right)), 4),
    }


def reliability(cases: Sequence[Case], judged: Sequence[Causes]) -> list[dict[str, Any]]:
    """Per word of confidence: how often the first suspect was right, with a 95 % interval (Wilson)."""
    groups: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for case, causes in zip(cases, judged, strict=True):
        chance, outcome = _claim(case, causes)
        groups[confidence(chance)].append((chance, outcome))
    rows = []
    for word in ("almost certainly", "probably", "possibly", "nothing stands out"):
        found = groups.get(word, [])
        right = sum(outcome for _, outcome in found)
        low, high = wilson(right, len(found))
        rows.append(
            {
                "word": word,
                "cases": len(found),
                "right": right,
                "mean_probability": round(float(np.mean([chance for chance, _ in found])), 3) if found else None,
                "low": round(low, 3),
                "high": round(high, 3),
            }
        )
    return rows


def _claim(case: Case, causes: Causes) -> tuple[float, int]:
    if not causes.changes:
        return 0.0, 0
    first = causes.changes[0]
    return first.probability, int(case.truth.change == first.change.id)


def wilson(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson, 1927)."""
    if not total:
        return 0.0, 1.0
    z = 1.959964
    centre = (right + z * z / 2) / (total + z * z)
    half = z * math.sqrt(right * (total - right) / total + z * z / 4) / (total + z * z)
    return max(0.0, centre - half), min(1.0, centre + half)


def most_recent_first(cases: Sequence[Case]) -> tuple[float, float]:
    """Top-1 and top-3 of the rule that blames the youngest change before the alert."""
    places = []
    for case in cases:
        before = [one for one in case.examined.telemetry.changes if one.changed_at <= case.alerted_at]
        before.sort(key=lambda one: (case.alerted_at - one.changed_at, one.id))
        places.append({"place": place(case.truth.change, (one.id for one in before))})
    return hit_rate(places, "place", 1), hit_rate(places, "place", 3)


def leak_control(cases: Sequence[Case]) -> dict[str, Any] | None:
    """Can the alert and the number of spans alone tell incidents from false alarms, on days that have both?

    Area under the curve of three fixed rules (fewer spans; a latency alert; both, standardised), 95 % bootstrap
    interval. An interval without .5 means that the data leak and that "nothing stands out" proves nothing.
    """
    days = {one.alerted_at.date() for one in cases if one.truth.service is None}
    compared = [one for one in cases if one.alerted_at.date() in days]
    faulty = np.array([one.truth.service is not None for one in compared])
    if not days or faulty.all() or not faulty.any():
        return None
    spans = -np.array([float(one.spans) for one in compared])
    titles = sorted({one.alert_title for one in compared})
    alert = np.array([float(titles.index(one.alert_title)) for one in compared])
    both = _standard(spans) + _standard(alert)
    rules = {"fewer_spans": spans, "alert": alert, "both": both}
    figures: dict[str, Any] = {"incidents": int(faulty.sum()), "false_alarms": int((~faulty).sum())}
    for name, values in rules.items():
        low, high = _auc_interval(values, faulty)
        figures[name] = {"auc": round(auc(values, faulty), 3), "low": round(low, 3), "high": round(high, 3)}
    figures["contains_half"] = all(figures[name]["low"] <= 0.5 <= figures[name]["high"] for name in rules)
    return figures


def auc(values: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties half."""
    above = values[positive][:, None] - values[~positive][None, :]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def _standard(values: np.ndarray) -> np.ndarray:
    spread = float(values.std())
    return (values - values.mean()) / spread if spread else values * 0.0


def _auc_interval(values: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    random = np.random.default_rng(20230129)
    ones, zeros = np.flatnonzero(positive), np.flatnonzero(~positive)
    found = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([random.choice(ones, len(ones)), random.choice(zeros, len(zeros))])
        found.append(auc(values[drawn], positive[drawn]))
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))
