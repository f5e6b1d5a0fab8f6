"""When an experiment runs, and that no two run at one time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time

from bot.experiment.hypothesis import Hypothesis
from bot.experiment.units import WEEK


def starts_at(hypothesis: Hypothesis) -> datetime:
    """Midnight UTC of its first day; looks are whole weeks later."""
    return datetime.combine(hypothesis.starts_on, time(), UTC)


def ends_at(hypothesis: Hypothesis) -> datetime | None:
    """When nothing more is assigned: at the horizon of the planned rule; the open rule has none."""
    if hypothesis.verdict_rule == "open":
        return None
    return starts_at(hypothesis) + hypothesis.horizon_weeks * WEEK


def overlaps(hypotheses: Sequence[Hypothesis]) -> list[str]:
    """Experiments that would run at one time, in words: an incident has one arm."""
    ordered = sorted(hypotheses, key=lambda h: (h.starts_on, h.name))
    problems = []
    for i, first in enumerate(ordered):
        end = ends_at(first)
        for second in ordered[i + 1 :]:
            if end is None or starts_at(second) < end:
                until = "for ever (verdict_rule = open)" if end is None else f"until {end:%Y-%m-%d}"
                problems.append(
                    f"experiments/{second.name}.toml starts on {second.starts_on} while {first.name!r} runs {until}; "
                    "at most one runs at a time: move starts_on, or take one file away"
                )
    return problems
