"""What a minute saved costs: a ratio of two differences, with Fieller's interval.

E. C. Fieller, "Some problems in interval estimation", 1954. Where the minutes saved are not clearly more than zero the
set is not bounded and no figure is given: a ratio over something that may be nothing has no honest estimate. The usual
delta method covers 80 to 91 % where this covers 93 to 96 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bot.experiment.binomial import student_t_quantile
from bot.experiment.scores import Floats


@dataclass(frozen=True)
class CostPerMinute:
    """Dollars a minute saved; the three figures are None where the data do not show that minutes are saved."""

    point: float | None
    low: float | None
    high: float | None
    usd_a_unit: float
    """What a unit of the treatment arm costs more than one of the control arm."""
    minutes_saved_a_unit: float

    def sentence(self, usd_a_triage: float) -> str:
        """What the report says."""
        if self.point is None or self.low is None or self.high is None:
            return f"Not shown to save minutes; a triage costs {usd(usd_a_triage)}."
        return (
            f"A minute saved costs {usd(self.point)} ({usd(self.low)} to {usd(self.high)}); "
            f"a triage costs {usd(usd_a_triage)}."
        )


def usd(amount: float) -> str:
    """Dollars with two significant digits below one cent, cents above."""
    text = f"{abs(amount):,.2f}" if abs(amount) >= 0.095 or amount == 0 else f"{abs(amount):.2g}"
    return f"{'−' if amount < 0 else ''}${text}"


def per_minute_saved(
    treated_usd: Floats,
    treated_minutes: Floats,
    control_usd: Floats,
    control_minutes: Floats,
    *,
    confidence: float = 0.95,
) -> CostPerMinute | None:
    """Cost per minute saved from units of both arms; None before there are two in each.

    usd and minutes: by unit, of mature units; minutes capped at τ. The minutes saved are a difference of means, not of
    the geometric means that the verdict is about: money is paid for minutes.
    """
    counts = len(treated_usd), len(control_usd)
    if min(counts) < 2:
        return None
    a = float(treated_usd.mean() - control_usd.mean())
    b = float(control_minutes.mean() - treated_minutes.mean())
    ours, theirs = np.cov(treated_usd, treated_minutes), np.cov(control_usd, control_minutes)
    v_a = float(ours[0, 0]) / counts[0] + float(theirs[0, 0]) / counts[1]
    v_b = float(ours[1, 1]) / counts[0] + float(theirs[1, 1]) / counts[1]
    v_ab = -float(ours[0, 1]) / counts[0] - float(theirs[0, 1]) / counts[1]
    t = student_t_quantile((1.0 + confidence) / 2.0, sum(counts) - 2)
    found = fieller(a, b, v_a, v_b, v_ab, t) if b > 0 else None
    low, high = found or (None, None)
    return CostPerMinute(point=a / b if found else None, low=low, high=high, usd_a_unit=a, minutes_saved_a_unit=b)


def fieller(a: float, b: float, v_a: float, v_b: float, v_ab: float, t: float) -> tuple[float, float] | None:
    """Bounds of a / b, or None where they are not an interval. v_…: variances and covariance of the two estimates."""
    g = t * t * v_b / (b * b) if b else math.inf
    if g >= 1.0:
        return None
    ratio = a / b
    if v_b == 0.0:
        spread = t * math.sqrt(v_a) / abs(b)
        return ratio - spread, ratio + spread
    inside = v_a - 2 * ratio * v_ab + ratio * ratio * v_b - g * (v_a - v_ab * v_ab / v_b)
    middle = ratio - g * v_ab / v_b
    spread = t / abs(b) * math.sqrt(max(inside, 0.0))
    return (middle - spread) / (1.0 - g), (middle + spread) / (1.0 - g)
