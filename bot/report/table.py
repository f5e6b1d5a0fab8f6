"""The report as CSV: one figure a line with its n and its definition; and as JSON: the whole value."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

from bot.report.definitions import DEFINITIONS
from bot.report.model import ArmFigures, WeeklyReport, plain

COLUMNS = ("week", "part", "of", "figure", "value", "n", "definition")
Line = tuple[str, str, str, float | int | str | None, int | None, str]
"""part, of, figure, value, n, name of the definition"""


def as_json(report: WeeklyReport) -> str:
    """Everything, stable text."""
    return json.dumps(plain(report), ensure_ascii=False, indent=2) + "\n"


def as_csv(report: WeeklyReport) -> str:
    """Figures with their definitions. No incident and no assignment is in it: that is the export's, for admins."""
    definitions = dict(DEFINITIONS)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for part, of, figure, value, n, definition in _lines(report):
        shown = "" if value is None else f"{value:.6g}" if isinstance(value, float) else _inert(str(value))
        row = (report.week, part, _inert(of), figure, shown, "" if n is None else n, definitions.get(definition, ""))
        writer.writerow(row)
    return out.getvalue()


def _inert(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _lines(report: WeeklyReport) -> Iterator[Line]:
    yield "verdict", "", "sentence", report.sentence, None, ""
    for arm in report.arms:
        yield from _arm("week", arm)
    if report.experiment is not None:
        yield from _experiment(report)
    for point in report.weekly:
        yield "weekly median", point.arm, point.week, point.median, point.n, "MTTR mean, median, p90"
    if report.deployments is not None:
        for line in _arm("deployments", report.deployments):
            yield (*line[:5], "failed-deployment recovery")
    cost, quality = report.cost, report.quality
    yield "cost", "", "usd this week", cost.usd_week, cost.triages, ""
    yield "cost", "", "usd per triage", cost.usd_per_triage, cost.triages, "cost per triage"
    yield "cost", "", "usd per released summary", cost.usd_per_released, cost.released, "cost per released summary"
    yield "cost", "", "usd of all requests", cost.usd_requests, cost.requests, "cost of requests"
    for use in cost.uses:
        name = f"{use.use}, {use.model}"
        yield "cost of requests", name, "usd", use.usd, use.requests, "cost of requests"
        yield "cost of requests", name, "usd per 1,000", use.usd_per_1000_requests, use.requests, "cost of requests"
    for outcome in cost.outcomes:
        yield "outcomes", outcome.name, "triages", outcome.count, cost.triages, "outcome"
    held = report.withheld
    yield "withheld", "", "items hidden from someone", held.hidden_items, held.triages, "hidden"
    yield "withheld", "", "triages with a hidden item", held.hidden_triages, held.triages, "hidden"
    for why in held.because:
        yield "withheld", why.name, "triages without a summary", why.count, held.triages, "outcome"
    for name, value in zip(("point", "low", "high"), cost.usd_per_minute or (None, None, None), strict=True):
        yield "cost", "", f"usd per minute saved, {name}", value, None, "cost per minute saved"
    for share in (quality.top1, quality.top3, quality.helpful, quality.rejected):
        definition = "rejected" if share is quality.rejected else "first suspect right" if share is quality.top1 else ""
        yield "quality", "", share.name, share.part, share.whole, definition
    for share in (*quality.calibration, *quality.by_version):
        yield "quality", share.name, "first suspect right", share.part, share.whole, "first suspect right"
    for part, things in (
        ("incidents by service", report.services),
        ("labelled causes", report.causes),
        ("labelled changes", report.changes),
        ("wrong first suspects", report.wrong_suggestions),
        ("rejected because", quality.rejected_because),
    ):
        for thing in things:
            yield part, thing.name, "count", thing.count, None, ""
    for note in report.odd:
        yield "odd", "", "note", note, None, ""


def _arm(part: str, arm: ArmFigures) -> Iterator[Line]:
    yield part, arm.arm, "incidents", arm.incidents, None, "incident of the week"
    yield part, arm.arm, "units", arm.units, None, "unit"
    yield part, arm.arm, "MTTA mean, minutes", arm.mtta_mean, arm.acknowledged, "MTTA"
    yield part, arm.arm, "MTTA median, minutes", arm.mtta_median, arm.acknowledged, "MTTA"
    for name, value in (("mean", arm.mttr_mean), ("median", arm.mttr_median), ("p90", arm.mttr_p90)):
        yield part, arm.arm, f"MTTR {name}, minutes", value, arm.resolved, "MTTR mean, median, p90"
    n = arm.resolved + arm.still_open
    yield part, arm.arm, "restricted mean, minutes", arm.restricted_mean, n, "restricted mean"
    yield part, arm.arm, "standard error of it", arm.restricted_error, n, "restricted mean"
    yield part, arm.arm, "geometric mean, minutes", arm.geometric_mean, None, "geometric mean"


def _experiment(report: WeeklyReport) -> Iterator[Line]:
    e = report.experiment
    assert e is not None
    units = e.units_control + e.units_treatment
    for name, value in zip(("point", "low", "high"), e.ratio or (None, None, None), strict=True):
        yield "experiment", e.contrast, f"ratio {name}", value, units, "ratio" if name == "point" else "interval"
    yield "experiment", e.contrast, "e-value faster", e.e_faster, units, "open"
    yield "experiment", e.contrast, "e-value slower", e.e_slower, units, "harm"
    yield "experiment", e.contrast, "ratio found in 80 of 100", e.detectable_ratio_80, None, ""
    for figure, count in (
        ("units treatment", e.units_treatment),
        ("units control", e.units_control),
        ("units not old enough", e.immature),
        ("units capped", e.capped),
        ("units excluded", e.excluded),
    ):
        yield "experiment", e.contrast, figure, count, None, "mature"
    yield "experiment", e.contrast, "units not derivable", e.not_derivable, None, "sample ratio"
    yield "experiment", e.contrast, "e-value of lost units", e.lost_e, None, "sample ratio"
    for arm in e.arms:
        yield from _arm("to date", arm)
    if e.baseline is not None:
        yield from _arm("baseline", e.baseline)
    for seen in e.exposure:
        yield "exposure", seen.arm, "card before acknowledge", seen.before_acknowledged, seen.incidents, "exposure"
        yield "exposure", seen.arm, "card before the end", seen.before_resolved, seen.incidents, "exposure"
        yield "exposure", seen.arm, "crossover", seen.crossover, seen.incidents, "crossover"
    for service in e.services:
        count = service.control + service.treatment
        yield "by service", service.service, "ratio, shrunk", service.shrunk, count, "ratio"
