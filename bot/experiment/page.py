"""An analysis as plain text for a terminal, in the order of the report."""

from __future__ import annotations

from bot.experiment.analyse import Analysis
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
