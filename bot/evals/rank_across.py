"""How much the ranking depends on which healthy minutes it was given: every pair of healthy windows in turn.

The false alarms of a set are healthy minutes too. Each pair out of them and the given baselines serves as "normal"
once, and every incident and every other false alarm is ranked against it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bot.evals.rank_cases import Case
from bot.ranking.engine import STANDS_OUT, examine, judge
from bot.ranking.profile import Profiles
from bot.ranking.weights import Weights
from integrations.records import Baseline


def across(cases: Sequence[Case], weights: Weights) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row for each pair of healthy windows, and totals over all of them. No bars: there are none for this."""
    windows = _healthy_windows(cases)
    profiles = Profiles()
    rows: list[dict[str, Any]] = []
    for first, second in itertools.combinations(sorted(windows), 2):
        given = (*windows[first], *windows[second])
        hits, named, quiet = [], [], []
        for case in cases:
            if case.truth.case in (first, second):
                continue
            place, chance = _ranked(case, given, profiles, weights)
            if case.truth.service is None:
                quiet.append(chance < STANDS_OUT)
            else:
                hits.append(place)
                named.append(chance >= STANDS_OUT)
        rows.append(
            {
                "healthy": [first, second],
                "service_top1": round(float(np.mean([one == 1 for one in hits])), 4),
                "service_top3": round(float(np.mean([one <= 3 for one in hits])), 4),
                "services_named": round(float(np.mean(named)), 4),
                "false_alarms_quiet": round(float(np.mean(quiet)), 4) if quiet else None,
            }
        )
    names = ("service_top1", "service_top3", "services_named", "false_alarms_quiet")
    totals: dict[str, Any] = {"pairs": len(rows)}
    for name in names:
        values = [one[name] for one in rows if one[name] is not None]
        if values:
            mean = round(float(np.mean(values)), 4)
            totals[name] = {"mean": mean, "worst": min(values), "best": max(values)}
    return rows, totals


def _healthy_windows(cases: Sequence[Case]) -> dict[str, tuple[Baseline, ...]]:
    """The given baselines by the time they begin, and the false alarms by name."""
    windows: dict[str, tuple[Baseline, ...]] = {}
    for one in cases[0].examined.telemetry.baselines:
        name = f"baseline {one.window.start:%Y-%m-%d}"
        windows[name] = (*windows.get(name, ()), one)
    for case in cases:
        if case.truth.service is None:
            told = case.examined.telemetry
            windows[case.truth.case] = (Baseline(told.window, told.spans, told.logs),)
    return windows


def _ranked(case: Case, given: tuple[Baseline, ...], profiles: Profiles, weights: Weights) -> tuple[int, float]:
    """Where the culprit stands (a large number when nowhere) and the first service's probability."""
    before = case.examined
    examined = examine(
        replace(before.telemetry, baselines=given),
        alerting=before.alerting,
        edges=before.edges,
        alerted_at=before.alerted_at,
        profiles=profiles,
        weights=weights,
    )
    services = judge(examined, weights, {}).services
    place = next((i for i, one in enumerate(services, start=1) if one.service == case.truth.service), 10**6)
    return place, services[0].probability if services else 0.0
