"""The analysis: every weekly look up to an instant is run again with only what was known then.

Pure functions over rows; the command, the weekly report and the simulation call the same ones. Same rows, same answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from bot.experiment import harm, words
from bot.experiment.design import Design, lay_out, unbalanced
from bot.experiment.interval import Interval, interval_now
from bot.experiment.open import complete_blocks, decide, log_e_by_look
from bot.experiment.planned import Planned
from bot.experiment.power import Rule, detectable_ratio, power
from bot.experiment.ratio import ALARM_ABOVE, loss_e_value
from bot.experiment.scores import Floats, Scored, score
from bot.experiment.units import (
    WEEK,
    Oddities,
    Row,
    Rows,
    Unit,
    find_oddities,
    form_units,
    look_at_or_before,
    monday,
)

FEWEST_AN_ARM = 2


@dataclass(frozen=True)
class Options:
    """What is fixed before an experiment starts, and up to when to look."""

    as_of: datetime
    rule: Rule = "planned"
    horizon_weeks: int = 26
    tau: timedelta = timedelta(hours=72)
    start: datetime | None = None
    baseline: tuple[Row, ...] = ()
    ordinals: Mapping[str, int] = field(default_factory=dict)
    """By unit: its number in its stratum as recorded at assignment; empty: by order of start, as from a CSV."""
    looked_before: int = 0
    """Looks that were run when they were due and gave no verdict: the planned rule need not draw them again."""


@dataclass(frozen=True)
class Counts:
    """Units at the last look. `treatment` and `control` are mature and have a value."""

    treatment: int = 0
    control: int = 0
    immature: int = 0
    capped: int = 0
    excluded: int = 0


@dataclass(frozen=True)
class Analysis:
    """What one experiment says at its last look."""

    verdict: words.Verdict
    rule: Rule
    look: int
    looked_at: datetime | None
    decided_at_look: int | None
    counts: Counts
    point: float | None
    interval: Interval | None
    e_faster: float
    e_slower: float
    harm: harm.Harm
    next_look: datetime | None
    detectable_ratio_80: float | None
    found_in_hundred: int | None
    sigma: float | None
    loss_e: float
    foreign_blocks: int
    sentence: str
    oddities: Oddities = field(default_factory=Oddities)
    units: tuple[Unit, ...] = ()
    """Those that were known at the last look, in the order of their start."""

    def as_json(self) -> dict[str, object]:
        """The answer of the command: the contract's names first, then ours. Figures to six digits."""
        ratio = None
        if self.point is not None and self.interval is not None:
            ratio = {
                "point": _digits(self.point),
                "low": _digits(self.interval.low),
                "high": _digits(self.interval.high),
            }
        return {
            "verdict": self.verdict,
            "rule": self.rule,
            "look": self.look,
            "units": {
                "treatment": self.counts.treatment,
                "control": self.counts.control,
                "immature": self.counts.immature,
                "capped": self.counts.capped,
                "excluded": self.counts.excluded,
            },
            "ratio": ratio,
            "e": {"faster": _digits(self.e_faster), "slower": _digits(self.e_slower)},
            "next_look": _iso(self.next_look),
            "detectable_ratio_80": None if self.detectable_ratio_80 is None else _digits(self.detectable_ratio_80),
            "sentence": self.sentence,
            "bounded": (
                None if self.interval is None else {"low": self.interval.bounded[0], "high": self.interval.bounded[1]}
            ),
            "decided_at_look": self.decided_at_look,
            "looked_at": _iso(self.looked_at),
            "harm": self.harm,
            "sample_ratio": {
                "e": _digits(self.loss_e),
                "alarm": self.loss_e > ALARM_ABOVE,
                "blocks_not_balanced": self.foreign_blocks,
            },
            "sigma": None if self.sigma is None else _digits(self.sigma),
            "odd": self.odd(),
        }

    def odd(self) -> list[str]:
        """What was odd about the data, one line each."""
        lines = self.oddities.sentences()
        if self.foreign_blocks:
            lines.append(
                f"{self.foreign_blocks} block(s) of four without two units of each arm: not made by permuted blocks, "
                "or rows are missing; permuted within themselves"
            )
        if self.interval is not None and self.interval.contradicted:
            lines.append("the looks together reject every ratio; the interval shown is the last that was not empty")
        return lines


def analyse(found: Rows, options: Options) -> Analysis:
    """Run every look up to `options.as_of` and say what the last one says."""
    start = options.start or (monday(min(row.triggered_at for row in found.rows)) if found.rows else None)
    if start is None or not found.rows:
        return _nothing(options, start)
    look = look_at_or_before(options.as_of, start)
    if options.rule == "planned":
        look = min(look, options.horizon_weeks)
    looked_at = start + look * WEEK
    known_at = min(looked_at, options.as_of)  # before the start nothing is known, not even what begins with it
    known = [row for row in found.rows if row.triggered_at <= known_at]
    units = form_units(known, tau=options.tau, start=start, ordinals=options.ordinals)
    oddities = find_oddities(found, known_at=known_at, tau=options.tau, start=start)
    return _look(units, options, start=start, look=look, oddities=oddities)


def _look(units: list[Unit], options: Options, *, start: datetime, look: int, oddities: Oddities) -> Analysis:
    baseline_units = form_units(options.baseline, tau=options.tau)
    strata = sorted({unit.stratum for unit in units} | {unit.stratum for unit in baseline_units})
    design = lay_out(units, start=start, strata=strata)
    values = np.array([unit.value for unit in units], dtype=np.float64)
    baseline = [(strata.index(unit.stratum), unit.value) for unit in baseline_units if not unit.excluded]
    scored = score(values[:, None], design.stratum, baseline=baseline)
    counts = count(design, units, look)
    enough = min(counts.treatment, counts.control) >= FEWEST_AN_ARM
    # After the last unit has been read nothing changes any more, however far away the instant is.
    looks = min(look, int(design.read.max(initial=0)))
    blocks = complete_blocks(design)
    log_e = log_e_by_look(blocks, scored.z, looks)[:, :, 0]
    decided, direction = decide(log_e) if options.rule == "open" else _planned(design, scored.z[:, 0], options, look)
    verdict: words.Verdict = "not_distinguishable" if enough else "too_early"
    if direction:
        verdict = "faster" if direction < 0 else "slower"
    point = interval = None
    if enough:
        cap = math.log(options.tau.total_seconds() / 60)
        interval = interval_now(design, values, blocks, looks=looks, cap=cap, baseline=baseline)
        # The point is a description; where the looks have excluded it, the nearest ratio that they have not is given.
        point = min(max(_point(design, values, look), interval.low), interval.high)
    sigma, expected = _expectation(scored, design, options, look) if enough else (None, 0.0)
    in_hundred = None
    if sigma is not None and expected > 0:
        in_hundred = round(100 * power(0.7, units=expected, sigma=sigma, rule=options.rule))
    lost = np.array([bool(unit.excluded) for unit in units], dtype=bool) & (design.seen <= look)
    return Analysis(
        verdict=verdict,
        rule=options.rule,
        look=look,
        looked_at=start + look * WEEK,
        decided_at_look=decided or None,
        counts=counts,
        point=point,
        interval=interval,
        e_faster=_exp(log_e[-1, 0]),
        e_slower=_exp(log_e[-1, 1]),
        harm=harm.judge(_exp(log_e[:, 1].max())),
        next_look=_next_look(options, start, look),
        detectable_ratio_80=(
            detectable_ratio(units=expected, sigma=sigma, rule=options.rule)
            if sigma is not None and expected > 0
            else None
        ),
        found_in_hundred=in_hundred,
        sigma=sigma,
        loss_e=loss_e_value(int(design.treated[lost].sum()), int(lost.sum() - design.treated[lost].sum())),
        foreign_blocks=unbalanced(design, look=look),
        sentence=words.sentence(
            verdict,
            low=interval.low if interval else 0.0,
            high=interval.high if interval else 0.0,
            bounded=interval.bounded if interval else (False, False),
            in_hundred=in_hundred,
            week=max(options.horizon_weeks, look),
            open_rule=options.rule == "open",
            control=counts.control,
            treatment=counts.treatment,
        ),
        oddities=oddities,
        units=tuple(units),
    )


def _planned(design: Design, z: Floats, options: Options, look: int) -> tuple[int, int]:
    """First look with a verdict and its direction; (0, 0) when there is none."""
    test = Planned(design, z, horizon=options.horizon_weeks)
    for k in range(options.looked_before + 1, look + 1):
        direction = test.decide(k)
        if direction:
            return k, direction
    return 0, 0


def count(design: Design, units: Sequence[Unit], look: int) -> Counts:
    """Units that are known at a look, by what can be said of them."""
    seen = design.seen <= look
    read = (design.read <= look) & (design.there == 1)
    capped = np.array([unit.capped for unit in units], dtype=bool)
    return Counts(
        treatment=int((read & (design.treated == 1)).sum()),
        control=int((read & (design.treated == 0)).sum()),
        immature=int((seen & (design.read > look) & (design.there == 1)).sum()),
        capped=int((read & capped).sum()),
        excluded=int((seen & (design.there == 0)).sum()),
    )


def _point(design: Design, values: Floats, look: int) -> float:
    """Ratio of geometric means, adjusted for strata: each weighs as what it can say, n·m / (n + m)."""
    read = (design.read <= look) & (design.there == 1)
    top = bottom = 0.0
    for stratum in range(len(design.strata)):
        ours = values[read & (design.stratum == stratum) & (design.treated == 1)]
        theirs = values[read & (design.stratum == stratum) & (design.treated == 0)]
        if len(ours) and len(theirs):
            weight = len(ours) * len(theirs) / (len(ours) + len(theirs))
            top += weight * (float(ours.mean()) - float(theirs.mean()))
            bottom += weight
    if not bottom:
        top = float(values[read & (design.treated == 1)].mean()) - float(values[read & (design.treated == 0)].mean())
        bottom = 1.0
    return math.exp(top / bottom)


def _expectation(scored: Scored, design: Design, options: Options, look: int) -> tuple[float, float]:
    """σ of log minutes within strata so far, and the mature units to be expected by the horizon at this rate."""
    seen = int((design.seen <= look).sum())
    read = int(((design.read <= look) & (design.there == 1)).sum())
    weeks = max(options.horizon_weeks, look) - options.tau / WEEK
    after = int(np.flatnonzero(design.read <= look).max(initial=-1)) + 1
    return float(scored.scale[after, 0]), max(float(read), seen / look * weeks)


def _next_look(options: Options, start: datetime, look: int) -> datetime | None:
    if options.rule == "planned" and look >= options.horizon_weeks:
        return None
    return start + (look + 1) * WEEK


def _nothing(options: Options, start: datetime | None) -> Analysis:
    """An experiment without incidents."""
    next_look = None
    if start is not None:
        look = look_at_or_before(options.as_of, start)
        next_look = _next_look(options, start, look if options.as_of >= start else -1)
    return Analysis(
        verdict="too_early",
        rule=options.rule,
        look=0,
        looked_at=None,
        decided_at_look=None,
        counts=Counts(),
        point=None,
        interval=None,
        e_faster=1.0,
        e_slower=1.0,
        harm="none",
        next_look=next_look,
        detectable_ratio_80=None,
        found_in_hundred=None,
        sigma=None,
        loss_e=1.0,
        foreign_blocks=0,
        sentence=words.TOO_EARLY.format(control=0, treatment=0),
    )


def _exp(log_value: float) -> float:
    return math.exp(min(float(log_value), 700.0))


def _digits(value: float) -> float:
    """Six significant digits: the same text on every machine."""
    return float(f"{value:.6g}")


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
