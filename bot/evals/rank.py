"""`sitrep eval rank`: how often the culprit is found, and how honest the probabilities are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bot.evals import rank_figures as figures
from bot.evals.outcome import Bar, report
from bot.evals.rank_cases import SOURCES, Case, bundle_folders, default_bundles, run_cases
from bot.ranking.causes import Causes
from bot.ranking.fit import fit_weights
from bot.ranking.weights import Weights, shipped_weights
from bot.trust.redaction import Redactor

NAMED = 22 / 23
QUIET = 4 / 5
NEAR_RECENT = 0.15


@click.command("rank")
@click.option("--bundles", type=click.Path(path_type=Path), help="A folder of labelled incident bundles.")
@click.option("--petshop", type=click.Path(path_type=Path), help="The PetShop data set: metrics without traces.")
@click.option(
    "--baseline", "baselines", multiple=True, type=click.Path(path_type=Path), metavar="PATH",
    help="Healthy windows as for `sitrep replay`. Default: beside the bundles.",
)  # fmt: skip
@click.option("--fit", is_flag=True, help="Fit the weights, each case judged by weights fitted on all the others.")
@click.option(
    "--store", type=click.Path(path_type=Path), metavar="FILE",
    help="With --fit: the labelled incidents of an installation, SITREP_HOME/sitrep.db.",
)  # fmt: skip
@click.option("--workspace", default="default", show_default=True, help="With --store: whose incidents.")
@click.option(
    "--only", type=click.Choice(["changes"]), help="Take all telemetry away: a control for leaks in the data."
)
@click.option("--without", multiple=True, type=click.Choice(SOURCES), help="Take a source away; may be repeated.")
@click.option("--across", is_flag=True, help="Every pair of healthy minutes as the baseline in turn; takes a minute.")
@click.option(
    "--perturbed",
    is_flag=True,
    help="The same incidents renamed, moved in time, shuffled, doubled, thinned …; minutes.",
)
@click.option(
    "--slow-code", is_flag=True, help="Made-up delays in the code of healthy minutes instead of the incidents."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    bundles: Path | None,
    petshop: Path | None,
    baselines: tuple[Path, ...],
    fit: bool,
    store: Path | None,
    workspace: str,
    only: str | None,
    without: tuple[str, ...],
    across: bool,
    perturbed: bool,
    slow_code: bool,
    as_json: bool,
) -> None:
    """Rank labelled incidents and compare with the truth."""
    if petshop is not None:
        from bot.evals.petshop import measure_petshop

        report(*measure_petshop(petshop, shipped_weights()), as_json=as_json)
        return
    weights = shipped_weights()
    if store is not None:
        from bot.evals.rank_store import measure_store

        if not fit:
            raise click.UsageError("--store goes with --fit: the telemetry itself is not kept")
        report(*measure_store(store, workspace, weights), as_json=as_json)
        return
    taken = ("traces", "logs", "metrics") if only == "changes" else without
    folders = bundle_folders(bundles or default_bundles())
    cases = run_cases(folders, Redactor([b"eval"]), weights, without=taken, baselines=baselines)
    if across:
        from bot.evals.rank_across import across as all_pairs

        report(*all_pairs(cases, weights), [], as_json=as_json)
    elif perturbed:
        from bot.evals.rank_perturbed import perturbed as all_perturbations

        report(*all_perturbations(cases, weights), as_json=as_json)
    elif slow_code:
        from bot.evals.rank_slow import slow_code as made_up

        report(*made_up(cases, weights), [], as_json=as_json)
    elif only == "changes":
        report(*only_changes(cases), as_json=as_json)
    else:
        report(*measure(cases, weights, fit=fit, judged_whole=not taken), as_json=as_json)


def measure(
    cases: Sequence[Case], weights: Weights, *, fit: bool, judged_whole: bool = True
) -> tuple[list[dict[str, Any]], dict[str, Any], list[Bar]]:
    """Rows, totals and bars; with `fit` the rows are the left-out ones. Bars only hold for whole bundles."""
    honest = figures.left_out(cases, weights, only_decision=not fit)
    judged: Sequence[Causes] = honest if fit else [one.causes for one in cases]
    rows = [figures.case_row(case, causes) for case, causes in zip(cases, judged, strict=True)]
    totals = figures.totals_of(rows)
    totals |= figures.brier(cases, honest)
    totals["reliability"] = figures.reliability(cases, honest)
    control = figures.leak_control(cases)
    totals["alert_and_span_count"] = control
    if fit:
        fitted = fit_weights([one.labelled(weights) for one in cases], weights)
        totals["fitted"] = {"signs": asdict(fitted.signs), "decision": asdict(fitted.decision)}
    return rows, totals, _bars(totals) if judged_whole else []


def _bars(totals: dict[str, Any]) -> list[Bar]:
    sure = [one for one in totals["reliability"] if one["word"] in ("almost certainly", "probably")]
    said, right = sum(one["cases"] for one in sure), sum(one["right"] for one in sure)
    kinds = totals["by_fault_type"]
    bars = [
        Bar("service_top1", totals["service_top1"], 0.85),
        Bar("service_top3", totals["service_top3"], 0.95),
        Bar("change_top1", totals["change_top1"], 0.80),
        Bar("change_top3", totals["change_top3"], 0.95),
        Bar("worst_fault_type_top1", min((one["service_top1"] for one in kinds.values()), default=0.0), 0.5),
        Bar("incidents_named", _share(totals["incidents_named"], totals["incidents"]), round(NAMED, 4)),
        Bar("cpu_seconds_a_bundle", totals["cpu_seconds_largest"], 1.0, "at most"),
        Bar("brier_left_out", totals["brier"], totals["brier_base_rate"], "at most"),
        Bar("probably_is_right", round(right / said, 4) if said else 1.0, 0.7),
    ]
    if totals["false_alarms"]:
        bars.append(Bar("false_alarms_quiet", _share(totals["false_alarms_quiet"], totals["false_alarms"]), QUIET))
    if totals["alert_and_span_count"]:
        bars.append(Bar("no_leak_by_span_count", float(totals["alert_and_span_count"]["contains_half"]), 1.0))
    return bars


def only_changes(cases: Sequence[Case]) -> tuple[list[dict[str, Any]], dict[str, Any], list[Bar]]:
    """Ranking without telemetry must not beat, nor lose to, the youngest change by much: else the data leak."""
    rows = [figures.case_row(case, case.causes) for case in cases]
    totals = figures.totals_of(rows)
    incidents = [one for one in cases if one.truth.change]
    top1, top3 = figures.most_recent_first(incidents)
    totals |= {"most_recent_top1": round(top1, 4), "most_recent_top3": round(top3, 4)}
    bars = [
        Bar("away_from_most_recent_top1", round(abs(totals["change_top1"] - top1), 4), NEAR_RECENT, "at most"),
        Bar("away_from_most_recent_top3", round(abs(totals["change_top3"] - top3), 4), NEAR_RECENT, "at most"),
    ]
    return rows, totals, bars


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
