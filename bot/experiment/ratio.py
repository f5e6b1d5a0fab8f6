"""Sample ratio: did every unit get the arm that the seed gives it, and are units lost from one arm?

A chi-squared test on the arms is blind under permuted blocks, which are balanced whatever is lost. So every assignment
is derived again, and the arms of the units that were lost (excluded, or never exposed) are tested with an e-value:
under a loss that does not ask for the arm each lost unit is a fair coin, and a Beta(1,1) mixture bets that it is not.
Above 20 something is wrong with the machinery; by chance that happens in at most 1 of 20 experiments, at any look.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from bot.experiment.assign import arms_of

ALARM_ABOVE = 20.0


@dataclass(frozen=True, slots=True)
class Assigned:
    """What was recorded when a unit was assigned."""

    unit_id: str
    stratum: str
    ordinal: int
    arm: str


def loss_e_value(treatment: int, control: int) -> float:
    """E-value against "the lost units are fair coins": 2^n · B(t + 1, c + 1)."""
    log_e = (
        (treatment + control) * math.log(2.0)
        + math.lgamma(treatment + 1)
        + math.lgamma(control + 1)
        - math.lgamma(treatment + control + 2)
    )
    return math.exp(min(log_e, 700.0))


def not_derivable(seed: bytes, recorded: Iterable[Assigned]) -> list[str]:
    """Units whose recorded arm is not the one that seed, stratum and number give."""
    by_stratum: dict[str, list[Assigned]] = {}
    for unit in recorded:
        by_stratum.setdefault(unit.stratum, []).append(unit)
    wrong: list[str] = []
    for stratum, units in by_stratum.items():
        arms = arms_of(seed, stratum, [unit.ordinal for unit in units])
        wrong += [unit.unit_id for unit, arm in zip(units, arms, strict=True) if unit.arm != arm]
    return sorted(wrong)
