"""The fixed sentences. Never "no effect", "trend" or "significant": absence of a verdict is not a verdict."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["faster", "slower", "not_distinguishable", "too_early"]

TOO_EARLY = "Too early: {control} and {treatment} units are old enough to be counted; two an arm are the least."


def change(ratio: float) -> str:
    """A ratio of minutes as a person says it: `59 % faster`, `20 % slower`, `3.1 times slower`, `unchanged`."""
    percent = round((ratio - 1) * 100)
    if ratio >= 2:
        return f"{ratio:.2g} times as slow" if ratio < 10 else f"{ratio:.0f} times as slow"
    if percent == 0:
        return "no change"
    return f"{abs(percent)} % {'faster' if percent < 0 else 'slower'}"


def range_of(low: float, high: float, bounded: tuple[bool, bool]) -> str:
    """What the data fit."""
    first = change(low) if bounded[0] else f"more than {change(low)}"
    last = change(high) if bounded[1] else f"more than {change(high)}"
    return f"The data fit anything from {first} to {last}."


def could_be_found(in_hundred: int, week: int, *, open_rule: bool, ratio_percent: int = 30) -> str:
    """What such an experiment finds."""
    return (
        f"At this rate a true −{ratio_percent} % would be found by week {week} in {in_hundred} of 100 such "
        f"experiments{' (rule: open)' if open_rule else ''}."
    )


def sentence(
    verdict: Verdict,
    *,
    low: float,
    high: float,
    bounded: tuple[bool, bool],
    in_hundred: int | None,
    week: int,
    open_rule: bool = False,
    control: int = 0,
    treatment: int = 0,
) -> str:
    """The first line of a report."""
    if verdict == "too_early":
        return TOO_EARLY.format(control=control, treatment=treatment)
    parts = [
        {
            "faster": "Incidents of the treatment arm were resolved faster.",
            "slower": "Incidents of the treatment arm were resolved slower.",
            "not_distinguishable": "No difference shown.",
        }[verdict],
        range_of(low, high, bounded),
    ]
    if in_hundred is not None:
        parts.append(could_be_found(in_hundred, week, open_rule=open_rule))
    if verdict in ("faster", "slower"):
        parts.append("Chance of such a verdict if it did nothing: at most 5 %.")
    return " ".join(parts)
