"""Cutlines: set beforehand; crossing one pauses the model for the experiment, and only a person resumes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from bot.experiment.cost import usd
from bot.experiment.harm import PAUSE_ABOVE
from bot.experiment.hypothesis import Cutlines

ANSWERED = frozenset({"released", "superseded", "rejected", "model_refused", "truncated", "malformed", "wrong_model"})
"""Outcomes of calls that a model answered."""
REJECTED = ANSWERED - {"released", "superseded"}


@dataclass(frozen=True, slots=True)
class TriageFigures:
    """What the cutlines read of one triage."""

    started_at: datetime
    outcome: str
    cost_usd: float
    first_post_seconds: float | None


@dataclass(frozen=True, slots=True)
class Vote:
    at: datetime
    helpful: bool


@dataclass(frozen=True, slots=True)
class Crossing:
    """A line that was crossed."""

    cutline: str
    value: float
    line: float
    n: int
    sentence: str
    """For the channel and the owner."""


def crossed(
    lines: Cutlines,
    *,
    triages: Iterable[TriageFigures],
    votes: Iterable[Vote],
    e_slower: float,
    now: datetime,
    resumed_at: datetime | None = None,
) -> list[Crossing]:
    """Every line that is crossed by what happened within the window and since a person last resumed.

    triages: those whose arm has a model. Pure: the caller pauses, tells and audits.
    """
    since = now - timedelta(days=lines.window_days)
    if resumed_at is not None:
        since = max(since, resumed_at)
    recent = [t for t in triages if since <= t.started_at <= now]
    votes_since = [vote for vote in votes if since <= vote.at <= now]
    checks = (
        _cost(lines, recent),
        _rejected(lines, recent),
        _votes(lines, votes_since),
        _latency(lines, recent),
        _harm(lines, e_slower),
    )
    return [found for found in checks if found is not None]


def _cost(lines: Cutlines, triages: Sequence[TriageFigures]) -> Crossing | None:
    if lines.usd_per_triage is None or len(triages) < lines.at_least:
        return None
    mean = sum(t.cost_usd for t in triages) / len(triages)
    if mean <= lines.usd_per_triage:
        return None
    told = (
        f"a triage costs {usd(mean)} on average over the last {len(triages)}; the line is {usd(lines.usd_per_triage)}"
    )
    return Crossing("usd_per_triage", mean, lines.usd_per_triage, len(triages), told)


def _rejected(lines: Cutlines, triages: Sequence[TriageFigures]) -> Crossing | None:
    answered = [t for t in triages if t.outcome in ANSWERED]
    if lines.rejected_share is None or len(answered) < lines.at_least:
        return None
    rejected = sum(t.outcome in REJECTED for t in answered)
    return _share(
        "rejected_share", rejected, len(answered), lines.rejected_share, "answers were rejected by the checks"
    )


def _votes(lines: Cutlines, votes: Sequence[Vote]) -> Crossing | None:
    if lines.negative_vote_share is None or len(votes) < lines.at_least:
        return None
    negative = sum(not vote.helpful for vote in votes)
    return _share("negative_vote_share", negative, len(votes), lines.negative_vote_share, "votes say not helpful")


def _share(name: str, part: int, whole: int, line: float, what: str) -> Crossing | None:
    if part / whole <= line:
        return None
    return Crossing(name, part / whole, line, whole, f"{part} of {whole} {what}; the line is {line:.0%}")


def _latency(lines: Cutlines, triages: Sequence[TriageFigures]) -> Crossing | None:
    seconds = [t.first_post_seconds for t in triages if t.first_post_seconds is not None]
    if lines.first_post_p90_seconds is None or len(seconds) < lines.at_least:
        return None
    p90 = float(np.quantile(seconds, 0.9))
    if p90 <= lines.first_post_p90_seconds:
        return None
    told = (
        f"one first post in ten takes {p90:.0f} s or more (of {len(seconds)}); "
        f"the line is {lines.first_post_p90_seconds:.0f} s"
    )
    return Crossing("first_post_p90_seconds", p90, lines.first_post_p90_seconds, len(seconds), told)


def _harm(lines: Cutlines, e_slower: float) -> Crossing | None:
    if not lines.harm or e_slower <= PAUSE_ABOVE:
        return None
    told = (
        f"the data speak for longer incidents with the treatment (e-value {e_slower:.0f}, the line is "
        f"{PAUSE_ABOVE:.0f}; chance of that if it did nothing: at most 5 %)"
    )
    return Crossing("harm", e_slower, PAUSE_ABOVE, 0, told)
