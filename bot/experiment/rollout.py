"""Which arm a unit gets: one feature-flag evaluation, recorded with every incident.

Names follow OpenFeature's evaluation and OpenTelemetry's semantic conventions for feature flags.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from bot.experiment.assign import arm_of
from bot.experiment.hypothesis import Hypothesis
from bot.experiment.units import ARMS

Reason = Literal["cached", "disabled", "default", "split"]
PAUSED_SHOWS = "facts"
"""While the model is paused the facts card stands."""
FEW_SEVERITIES = 3


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a unit gets and why."""

    experiment: str
    version: str
    unit_id: str
    shows: str
    """The arm as it is shown: off, facts, facts+summary, perhaps with a prompt version."""
    arm: str | None
    """`control` or `treatment`; None where the unit is no part of the experiment."""
    stratum: str
    reason: Reason
    """cached: assigned before, as after reopening. disabled: paused. default: not eligible. split: assigned now."""
    because: str
    """One line for the record."""

    def attributes(self) -> dict[str, str]:
        """The evaluation by OpenTelemetry's names."""
        return {
            "feature_flag.key": f"sitrep.experiment.{self.experiment}",
            "feature_flag.provider.name": "sitrep",
            "feature_flag.result.variant": self.shows,
            "feature_flag.result.reason": self.reason,
            "feature_flag.version": self.version,
            "feature_flag.context.id": self.unit_id,
        }


def stratum_of(hypothesis: Hypothesis, *, severity: int, service: str | None) -> str:
    """The stratum of a unit, from what its first signal said; later changes never move it."""
    if hypothesis.strata == "service":
        return service or "unknown"
    return f"sev{min(max(severity, 1), FEW_SEVERITIES)}"


def evaluate(
    hypothesis: Hypothesis,
    *,
    unit_id: str,
    severity: int,
    service: str | None,
    ordinal: int,
    seed: bytes,
    paused: bool = False,
    recorded: str | None = None,
) -> Evaluation:
    """Evaluate the flag for a unit at its first signal.

    ordinal: how many units of its stratum this experiment has assigned before. recorded: `control` or `treatment` when
    the unit was assigned before, which stays. seed: the experiment's secret.
    """
    stratum = stratum_of(hypothesis, severity=severity, service=service)

    def answer(shows: str, arm: str | None, reason: Reason, because: str) -> Evaluation:
        return Evaluation(hypothesis.name, hypothesis.sha256, unit_id, shows, arm, stratum, reason, because)

    if recorded is not None:
        if recorded not in ARMS:
            raise ValueError(f"recorded arm must be control or treatment, got {recorded!r}")
        shows = _while_paused(hypothesis.arm_shown(recorded)) if paused else hypothesis.arm_shown(recorded)
        return answer(shows, recorded, "cached", "assigned before")
    if paused:
        return answer(PAUSED_SHOWS, None, "disabled", "the experiment is paused")
    rollout = hypothesis.rollout
    if severity not in rollout.severities:
        return answer(rollout.otherwise, None, "default", f"severity {severity} takes no part")
    if rollout.services and service not in rollout.services:
        return answer(rollout.otherwise, None, "default", f"service {service!r} takes no part")
    if share_of(seed, unit_id) >= rollout.share:
        return answer(rollout.otherwise, None, "default", f"outside the share of {rollout.share:.0%}")
    arm = arm_of(seed, stratum, ordinal)
    return answer(hypothesis.arm_shown(arm), arm, "split", f"number {ordinal} of stratum {stratum}")


def share_of(seed: bytes, unit_id: str) -> float:
    """A number from 0 to 1 that is the unit's own: a wider share keeps those that were in it."""
    digest = hashlib.sha256(b"share\x00" + seed + b"\x00" + unit_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _while_paused(shows: str) -> str:
    """A unit keeps its assignment while the model is paused, but no model is asked for it."""
    return PAUSED_SHOWS if shows.startswith("facts+summary") else shows


def left_out(hypothesis: Hypothesis, *, is_test: bool, is_duplicate: bool, auto_resolved: bool) -> str:
    """Why the outcome of an incident is not counted; "" when it is. Its unit keeps its place in the block."""
    if is_test:
        return "test incident"
    if is_duplicate and hypothesis.incidents.duplicate == "exclude":
        return "duplicate"
    if auto_resolved and hypothesis.incidents.auto_resolved == "exclude":
        return "resolved by itself"
    return ""
