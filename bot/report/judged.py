"""The experiment's part of a report: the verdict at its last look, its guards, and the description beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from bot.experiment import words
from bot.experiment.analyse import Analysis, Options, analyse
from bot.experiment.assign import seed_digest
from bot.experiment.export import data_sha256
from bot.experiment.hypothesis import level
from bot.experiment.planned import spent
from bot.experiment.ratio import Assigned, loss_e_value, not_derivable
from bot.experiment.survival import log_rank
from bot.experiment.units import ARMS, WEEK, Row, Rows, Unit, look_at_or_before
from bot.report import figures
from bot.report.model import ExperimentPart
from bot.report.rows import IncidentRow, Material, Running

BEFORE = "13 weeks before"
_CORRECTIONS = 20


def analysis_rows(running: Running, incidents: Sequence[IncidentRow], *, before: bool = False) -> list[Row]:
    """The rows of the analysis; the end is what the hypothesis calls the primary metric. before: of the baseline,
    which has no arms."""
    mitigated = running.hypothesis.primary_metric == "time_to_mitigate"
    return [
        Row(
            incident_id=row.incident_id,
            stratum=row.stratum,
            service=row.service,
            arm="" if before else row.arm,
            triggered_at=row.first_signal_at or row.triggered_at,
            resolved_at=(row.mitigated_at or row.resolved_at) if mitigated else row.resolved_at,
            storm_id=row.unit_id,
            left_out=row.left_out,
        )
        for row in incidents
        if before or row.arm in ARMS
    ]


@dataclass(frozen=True)
class Judged:
    """What the experiment contributes to a report."""

    part: ExperimentPart
    sentence: str
    odd: tuple[str, ...]
    mature: tuple[Unit, ...]


def judge(running: Running, material: Material, *, as_of: datetime) -> Judged:
    """The analysis at the last look at or before `as_of`, and everything beside it as it was known at that look."""
    hypothesis = running.hypothesis
    ends = running.started_at + look_at_or_before(as_of, running.started_at) * WEEK
    members = [
        figures.known_at(row, ends)
        for row in material.incidents
        if row.arm in ARMS and running.started_at <= row.triggered_at <= ends
    ]
    rows = analysis_rows(running, members)
    options = Options(
        as_of=ends,
        rule=hypothesis.verdict_rule,
        horizon_weeks=hypothesis.horizon_weeks,
        tau=hypothesis.tau,
        start=running.started_at,
        baseline=tuple(analysis_rows(running, material.baseline, before=True)),
        ordinals=running.ordinals,
        looked_before=running.looked_before,
    )
    analysis = analyse(Rows(tuple(rows)), options)
    verdict, sentence = _stays(analysis, running)
    units = analysis.units
    mature = [unit for unit in units if unit.matures_at <= ends]
    by_arm = {arm: [row for row in members if row.arm == arm] for arm in reversed(ARMS)}
    usable = {arm: figures.usable(group) for arm, group in by_arm.items()}
    curves = {arm: figures.curve_of(group, until=ends, tau=hypothesis.tau) for arm, group in usable.items()}
    plain_p, stratified_p = _log_rank_p(usable, ends, hypothesis.tau)
    counts = analysis.counts
    part = ExperimentPart(
        name=hypothesis.name,
        changes=hypothesis.changes,
        contrast=hypothesis.contrast,
        verdict=verdict,
        rule=analysis.rule,
        look=analysis.look,
        horizon_weeks=hypothesis.horizon_weeks,
        looked_at=analysis.looked_at,
        next_look=None if running.ended else analysis.next_look,
        ratio=(
            (analysis.point, analysis.interval.low, analysis.interval.high)
            if analysis.point is not None and analysis.interval is not None
            else None
        ),
        bounded=analysis.interval.bounded if analysis.interval else (False, False),
        e_faster=analysis.e_faster,
        e_slower=analysis.e_slower,
        alpha_spent=spent(analysis.look / hypothesis.horizon_weeks) if analysis.rule == "planned" else None,
        detectable_ratio_80=analysis.detectable_ratio_80,
        found_in_hundred=analysis.found_in_hundred,
        expected_ratio=hypothesis.expected_ratio,
        cannot_find=hypothesis.cannot_find,
        units_control=counts.control,
        units_treatment=counts.treatment,
        immature=counts.immature,
        capped=counts.capped,
        excluded=counts.excluded,
        not_derivable=len(_not_derivable(running, units)),
        lost_e=_lost_e(running, units, members),
        harm=analysis.harm,
        guards=hypothesis.guards,
        log_rank_p=plain_p,
        stratified_log_rank_p=stratified_p,
        curves=tuple(
            figures.curve_part(hypothesis.arm_shown(arm), curve, tau=hypothesis.tau) for arm, curve in curves.items()
        ),
        arms=tuple(
            figures.arm_figures(
                hypothesis.arm_shown(arm),
                group,
                until=ends,
                tau=hypothesis.tau,
                units=[unit for unit in mature if unit.arm == arm],
                curve=curves[arm],
            )
            for arm, group in by_arm.items()
        ),
        baseline=(
            figures.arm_figures(BEFORE, material.baseline, until=running.started_at, tau=hypothesis.tau)
            if material.baseline
            else None
        ),
        services=figures.service_effects(mature),
        exposure=tuple(figures.exposure_of(hypothesis.arm_shown(arm), group) for arm, group in by_arm.items()),
        paused=running.paused,
        corrections=tuple(_corrections(running, rows, members, analysis)),
        data_sha256=data_sha256(rows, analysis.looked_at or ends),
        hypothesis_sha256=hypothesis.sha256,
        seed_sha256=seed_digest(running.seed),
        seed=running.seed.hex() if running.ended else None,
    )
    return Judged(part, sentence, tuple(analysis.odd()), tuple(mature))


def _stays(analysis: Analysis, running: Running) -> tuple[words.Verdict, str]:
    """Verdict and sentence: a verdict that was given stays given, whatever was corrected since."""
    given = running.given
    if given is None or given.verdict == analysis.verdict or given.verdict not in ("faster", "slower"):
        return analysis.verdict, analysis.sentence
    interval = analysis.interval
    sentence = words.sentence(
        given.verdict,
        low=interval.low if interval else 0.0,
        high=interval.high if interval else 0.0,
        bounded=interval.bounded if interval else (False, False),
        in_hundred=analysis.found_in_hundred,
        week=max(running.hypothesis.horizon_weeks, analysis.look),
        open_rule=analysis.rule == "open",
    )
    return given.verdict, sentence


def _not_derivable(running: Running, units: Sequence[Unit]) -> list[str]:
    """Units whose recorded arm the seed does not give; only those whose number was recorded can be asked."""
    return not_derivable(
        running.seed,
        [
            Assigned(unit.unit_id, unit.stratum, running.ordinals[unit.unit_id], unit.arm)
            for unit in units
            if unit.unit_id in running.ordinals
        ],
    )


def _lost_e(running: Running, units: Sequence[Unit], members: Sequence[IncidentRow]) -> float:
    """E-value on the arms of units that were excluded, or that no card was posted for where both arms get one."""
    cards = all(level(arm) > 0 for arm in running.hypothesis.arms)
    seen = {row.unit_id for row in members if row.exposed}
    lost = [unit for unit in units if unit.excluded or (cards and unit.unit_id not in seen)]
    treated = sum(unit.arm == "treatment" for unit in lost)
    return loss_e_value(treated, len(lost) - treated)


def _log_rank_p(
    arms: dict[str, list[IncidentRow]], until: datetime, tau: timedelta
) -> tuple[float | None, float | None]:
    """Of all incidents together, and stratified."""
    rows = [row for group in arms.values() for row in group]
    times, ended = figures.durations(rows, until=until, tau=tau)
    ours = np.array([row.arm == "treatment" for row in rows], dtype=np.int64)
    together, within = log_rank(times, ended, ours), log_rank(times, ended, ours, [row.stratum for row in rows])
    return together.p if together else None, within.p if within else None


def _corrections(
    running: Running, rows: Sequence[Row], members: Sequence[IncidentRow], analysis: Analysis
) -> list[str]:
    lines = [f"{row.incident_id}: {row.corrected}" for row in members if row.corrected]
    if len(lines) > _CORRECTIONS:
        lines[_CORRECTIONS:] = [f"and {len(lines) - _CORRECTIONS} more incidents with times that were said later"]
    given = running.given
    if given is None:
        return lines
    now = data_sha256(rows, given.at)
    if now != given.data_sha256:
        would = analysis.verdict
        lines.insert(
            0,
            f"The verdict of look {given.look} ({_said(given.verdict)}) was given on data {given.data_sha256[:12]} and "
            f"stays. Times were corrected since (now {now[:12]}); with them it would now be: {_said(would)}.",
        )
    return lines


def _said(verdict: words.Verdict) -> str:
    return verdict.replace("_", " ")
