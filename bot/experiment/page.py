"""An analysis and a baseline as plain text for a terminal."""

from __future__ import annotations

from bot.experiment.analyse import Analysis
from bot.experiment.baseline import Baseline, Durations
from bot.experiment.words import change


def as_text(analysis: Analysis) -> str:
    """Sentence; interval; what could have been found; units; sample ratio; harm; what was odd; next look."""
    counts = analysis.counts
    lines = [analysis.sentence]
    if analysis.point is not None and analysis.interval is not None:
        low, high = analysis.interval.low, analysis.interval.high
        lines.append(
            f"interval   {low:.2f} … {high:.2f} times the minutes, valid at every look; "
            f"geometric means {analysis.point:.2f} ({change(analysis.point)})"
        )
    if analysis.detectable_ratio_80 is not None:
        lines.append(f"could find {change(analysis.detectable_ratio_80)} in 80 of 100 such experiments")
    lines += [
        f"units      {counts.treatment} treatment, {counts.control} control; {counts.immature} not old enough, "
        f"{counts.capped} capped, {counts.excluded} excluded",
        f"evidence   faster {analysis.e_faster:.3g}, slower {analysis.e_slower:.3g} (40 is enough for the open rule)",
        f"guards     harm: {analysis.harm}; arms of excluded units: {analysis.loss_e:.3g} (alarm above 20)",
        f"rule       {analysis.rule}, look {analysis.look}, next look "
        f"{analysis.next_look.isoformat() if analysis.next_look else 'none'}",
    ]
    odd = analysis.odd()
    if odd:
        lines += ["odd about the data:", *(f"  {line}" for line in odd)]
    return "\n".join(lines)


def baseline_text(found: Baseline) -> str:
    """What there was, how it spreads, and what could be found."""
    lines = [
        f"{found.incidents} incidents in {found.weeks:.1f} weeks: {found.units} units, "
        f"{found.units_a_week:.1f} a week; {found.storms_share:.0%} of incidents came in storms",
        f"σ of log minutes within strata: {'unknown' if found.sigma is None else f'{found.sigma:.2f}'}",
        found.advice,
        "",
        f"{'minutes to resolve':24} {'n':>6} {'open':>5} {'mean':>8} {'p10':>8} {'median':>8} {'p90':>8} {'p99':>8}",
        *(_row(group) for group in (found.all, *found.by_stratum, *found.by_service[:10])),
        "",
    ]
    if found.all.acknowledged:
        lines += [
            f"{'minutes to acknowledge':24} {'n':>6} {'':5} {'mean':>8} {'':8} {'median':>8} {'p90':>8}",
            *(_waited(group) for group in (found.all, *found.by_stratum, *found.by_service[:10]) if group.acknowledged),
            "",
        ]
    if len(found.by_service) > 10:
        lines.insert(-1, f"and {len(found.by_service) - 10} more services")
    if found.backwards:
        lines.append(f"{found.backwards} resolved more than 5 min before triggered; left out")
    lines += [
        f"{d.weeks} weeks, {d.rule}: {d.units:.0f} units; {found.cannot_find(d.weeks, d.rule)} in 80 of 100 experiments"
        for d in found.detectable
    ] or [found.cannot_find(26, "planned")]
    return "\n".join(lines)


def _waited(group: Durations) -> str:
    mean, half, p90 = (f"{0.0 if v is None else v:8.1f}" for v in (group.mtta_mean, group.mtta_median, group.mtta_p90))
    return f"{(group.group or '(none)')[:24]:24} {group.acknowledged:6} {'':5} {mean} {'':8} {half} {p90}"


def _row(group: Durations) -> str:
    figures = (group.mean, group.p10, group.median, group.p90, group.p99)
    told = " ".join(f"{'–' if value is None else f'{value:.0f}':>8}" for value in figures)
    return f"{(group.group or '(none)')[:24]:24} {group.incidents:6} {group.still_open:5} {told}"
