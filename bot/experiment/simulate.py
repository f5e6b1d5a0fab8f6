"""How often a rule is wrong when nothing changed, and how often it finds what did: by simulation, with fixed seeds.

Everything that decides is what `analyse` runs: the assignment code, the scores, the tests and their looks. The planned
rule draws its paths again at every look, as it does live, with fewer of them (B = 999).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Literal

import numpy as np

from bot.experiment.binomial import clopper_pearson
from bot.experiment.harm import PAUSE_ABOVE
from bot.experiment.open import complete_blocks, decide, log_e_by_look
from bot.experiment.planned import ALPHA, Planned
from bot.experiment.power import Rule
from bot.experiment.scores import Floats, score
from bot.experiment.worlds import SCENARIOS, World, design_of, make_world, unit_values

WEEKS = 26
TAU_HOURS = 72.0
RATES = (2.0, 5.0, 20.0)
EFFECTS = (0.0, -0.1, -0.2, -0.3, -0.5)
RULES: tuple[Rule, ...] = ("planned", "open")
REPLICATIONS: dict[str, int] = {"planned": 2_000, "open": 10_000, "harm": 10_000}
PATHS = 999
CONFIDENCE = 0.999
_CHUNK = 250
Simulated = Literal["planned", "open", "harm"]
"""The two rules of the verdict, and the guard that pauses: +1 where it did within the horizon."""


@dataclass(frozen=True)
class Cell:
    """What is simulated. rate_per_week: incidents. effect: change of minutes under treatment."""

    scenario: str
    rate_per_week: float
    rule: Simulated
    effect: float
    replications: int
    alpha: float = ALPHA
    """Error that the rule may make; the bars stay at 5 %, so that another one shows that they can break."""


@dataclass(frozen=True)
class Case:
    """What came out. `low` and `high` are the 99.9 % Clopper-Pearson interval of the share of false verdicts.

    A verdict is false when nothing changed, or when it says the opposite of what did. `power` is the share of right
    verdicts, null where nothing changed.
    """

    scenario: str
    rate_per_week: float
    rule: Simulated
    effect: float
    replications: int
    false_verdicts: int
    low: float
    high: float
    power: float | None
    power_low: float | None
    power_high: float | None


def verdicts_of(cell: Cell, *, seed: int, first: int, count: int) -> list[int]:
    """Verdicts of worlds number `first` … of a cell: −1 faster, 0 none, +1 slower."""
    millionths = round(-cell.effect * 1e6)
    effect = millionths if millionths >= 0 else 1_000_000_000 - millionths
    key = [seed, *cell.scenario.encode(), round(cell.rate_per_week * 1000), effect, first]
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
    scenario = SCENARIOS[cell.scenario]
    made = [
        make_world(scenario, rate_per_week=cell.rate_per_week, weeks=WEEKS, effect=cell.effect, random=random)
        for _ in range(count)
    ]
    z = scores_of(made)
    judge = {"planned": _planned, "open": _open, "harm": _harm}[cell.rule]
    return [
        judge(world, z[: len(world.started_hours), i], f"{seed}-{first + i}", cell.alpha)
        for i, world in enumerate(made)
    ]


def scores_of(made: Sequence[World]) -> Floats:
    """Scores of many worlds at once, shape (units of the largest, worlds)."""
    longest = max(len(world.started_hours) for world in made)
    values = np.full((longest, len(made)), np.nan)
    strata = np.zeros((longest, len(made)), dtype=np.int64)
    for i, world in enumerate(made):
        size = len(world.started_hours)
        values[:size, i] = unit_values(world, tau_hours=TAU_HOURS)
        strata[:size, i] = world.stratum
    return score(values, strata).z


def _planned(world: World, z: Floats, name: str, alpha: float) -> int:
    design = design_of(world, name=name, tau_hours=TAU_HOURS)
    test = Planned(design, z, horizon=WEEKS, replications=PATHS, alpha=alpha)
    return next((found for found in map(test.decide, range(1, WEEKS + 1)) if found), 0)


def _open(world: World, z: Floats, name: str, alpha: float) -> int:
    blocks = complete_blocks(design_of(world, name=name, tau_hours=TAU_HOURS))
    return decide(log_e_by_look(blocks, z[:, None], WEEKS)[:, :, 0], alpha)[1]


def _harm(world: World, z: Floats, name: str, alpha: float) -> int:
    """Whether harm would have paused at one of the weekly looks; at another `alpha` the line is 1 / alpha."""
    blocks = complete_blocks(design_of(world, name=name, tau_hours=TAU_HOURS))
    line = PAUSE_ABOVE * ALPHA / alpha
    return int(log_e_by_look(blocks, z[:, None], WEEKS)[:, 1, 0].max() > math.log(line))


def cells(
    *,
    replications: int | None = None,
    scenarios: Iterable[str] = tuple(SCENARIOS),
    rates: Iterable[float] = RATES,
    rules: Iterable[Simulated] = RULES,
    effects: Iterable[float] = EFFECTS,
    alpha: float = ALPHA,
) -> list[Cell]:
    """The grid, in a fixed order."""
    return [
        Cell(scenario, rate, rule, effect, replications or REPLICATIONS[rule], alpha)
        for scenario in scenarios
        for rate in rates
        for rule in rules
        for effect in effects
    ]


def simulate(
    grid: Sequence[Cell],
    *,
    seed: int = 1,
    workers: int = 1,
    told: Callable[[Cell, Case], None] = lambda cell, case: None,
    known: Callable[[Cell], Case | None] = lambda cell: None,
) -> list[Case]:
    """Run every cell; the result does not depend on the number of workers. `told` hears of each cell that is done.

    known: the result of a cell that an earlier run has finished; such a cell is told of and not run.
    """
    found: list[Case] = []
    if workers == 1:
        for cell in grid:
            found.append(known(cell) or _case(cell, [_chunk(cell, seed, first) for first in _firsts(cell)]))
            told(cell, found[-1])
        return found
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [(cell, known(cell) or _submit(pool, cell, seed)) for cell in grid]
        for cell, there in waiting:
            case = there if isinstance(there, Case) else _case(cell, [part.result() for part in there])
            told(cell, case)
            found.append(case)
    return found


def _submit(pool: ProcessPoolExecutor, cell: Cell, seed: int) -> list[Future[list[int]]]:
    return [pool.submit(_chunk, cell, seed, first) for first in _firsts(cell)]


def _firsts(cell: Cell) -> range:
    return range(0, cell.replications, _CHUNK)


def _chunk(cell: Cell, seed: int, first: int) -> list[int]:
    return verdicts_of(cell, seed=seed, first=first, count=min(_CHUNK, cell.replications - first))


def _case(cell: Cell, parts: Sequence[Sequence[int]]) -> Case:
    found = [verdict for part in parts for verdict in part]
    right = 0 if cell.effect == 0 else sum(1 for v in found if v == math.copysign(1, cell.effect))
    false = sum(1 for v in found if v) - right
    low, high = clopper_pearson(false, len(found), CONFIDENCE)
    power = None if cell.effect == 0 else clopper_pearson(right, len(found), CONFIDENCE)
    return Case(
        scenario=cell.scenario,
        rate_per_week=cell.rate_per_week,
        rule=cell.rule,
        effect=cell.effect,
        replications=cell.replications,
        false_verdicts=false,
        low=low,
        high=high,
        power=None if power is None else right / len(found),
        power_low=None if power is None else power[0],
        power_high=None if power is None else power[1],
    )


def as_json(cases: Sequence[Case]) -> dict[str, object]:
    """`cases`, `totals`, `bars`: a bar holds unless the interval of a cell without effect lies wholly above 5 %."""
    return {
        "cases": [{k: _round(v) for k, v in asdict(case).items()} for case in cases],
        "totals": {
            "replications": sum(case.replications for case in cases),
            "without_effect": sum(case.replications for case in cases if case.effect == 0),
            "false_verdicts": sum(case.false_verdicts for case in cases if case.effect == 0),
            "confidence": CONFIDENCE,
            "looks": WEEKS,
            "paths": PATHS,
        },
        "bars": [
            {
                "name": f"false verdicts: {case.scenario}, {case.rate_per_week:g} a week, {case.rule}; lower end",
                "value": _round(case.low),
                "bar": ALPHA,
                "holds": case.low <= ALPHA,
            }
            for case in cases
            if case.effect == 0
        ],
    }


def _round(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value
