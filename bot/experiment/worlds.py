"""Made-up worlds of incidents: arrivals, severities, storms and durations, with a known effect of the treatment.

Arms come from the assignment code, so that what is simulated is what runs. One world is a set of arrays; `rows_of`
turns it into the rows that `analyse` reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from bot.experiment.assign import BALANCED, draw
from bot.experiment.design import Design
from bot.experiment.scores import Floats, Ints
from bot.experiment.units import ARMS, BLOCK, SHORTEST_MINUTES, Row

SEVERITIES = ("1", "2", "3")
_SHARES = (0.2, 0.5, 0.3)
_SHIFTS = (0.4, 0.0, -0.4)
"""Log minutes by severity: the severe ones take half as long again."""
_SERVICES = 6
_MEDIAN_MINUTES = 67.0
_HOURS_A_WEEK = 168.0


@dataclass(frozen=True)
class Scenario:
    """How durations come about, and how many incidents a storm has."""

    name: str
    what: str
    logs: Callable[[np.random.Generator, int], Floats]
    """Deviations of a unit's log minutes from the median."""
    storm_share: float = 0.0
    """Share of units that are storms."""
    storm_more: float = 0.0
    """Mean number of incidents in a storm beyond the first two."""

    @property
    def incidents_a_unit(self) -> float:
        return 1.0 + self.storm_share * (1.0 + self.storm_more)


def _mixture(random: np.random.Generator, size: int) -> Floats:
    """Four in five short ones, one in five of another kind: eight times as long and more spread."""
    long = random.random(size) < 0.2
    return np.where(long, math.log(8.0) + 1.3 * random.standard_normal(size), 0.9 * random.standard_normal(size))


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("lognormal", "lognormal, σ 1.1", lambda r, n: 1.1 * r.standard_normal(n)),
        Scenario("storms", "mixture of two kinds; one unit in seven is a storm of 5", _mixture, 1 / 7, 3.0),
        Scenario(
            "log-t2", "logs of Student's t with 2 degrees of freedom, times 0.8", lambda r, n: 0.8 * r.standard_t(2, n)
        ),
    )
}


@dataclass(frozen=True)
class World:
    """One experiment: arrays by unit, and by incident."""

    started_hours: Floats
    """By unit, ascending."""
    stratum: Ints
    block: Ints
    slot: Ints
    treated: Ints
    unit: Ints
    """By incident: its unit."""
    offset_hours: Floats
    """By incident: after the unit's start."""
    log_minutes: Floats
    """By incident, the effect included."""


def make_world(
    scenario: Scenario,
    *,
    rate_per_week: float,
    weeks: int,
    effect: float,
    random: np.random.Generator,
    seed: bytes | None = None,
) -> World:
    """One world. rate_per_week: incidents. effect: change of minutes under treatment, −0.3 = 30 % faster.

    seed: of the assignment; drawn when not given.
    """
    mean = rate_per_week / scenario.incidents_a_unit * weeks
    size = int(random.poisson(mean))
    started = np.sort(random.random(size)) * weeks * _HOURS_A_WEEK
    stratum = random.choice(len(SEVERITIES), size=size, p=_SHARES)
    number = np.zeros(size, dtype=np.int64)
    treated = np.zeros(size, dtype=np.int64)
    seed = seed or random.bytes(16)
    for kind, name in enumerate(SEVERITIES):
        of_kind = np.flatnonzero(stratum == kind)
        number[of_kind] = np.arange(len(of_kind))
        words = draw(seed, name, len(of_kind) // BLOCK + 1)[:, 0]
        blocks = words[number[of_kind] // BLOCK] % np.uint64(len(BALANCED))
        treated[of_kind] = BALANCED[blocks.astype(np.int64), number[of_kind] % BLOCK]
    base = math.log(_MEDIAN_MINUTES) + np.array(_SHIFTS)[stratum] + scenario.logs(random, size)
    base += treated * math.log1p(effect)
    more = np.where(random.random(size) < scenario.storm_share, 1 + random.poisson(scenario.storm_more, size), 0)
    unit = np.repeat(np.arange(size), 1 + more)
    first = np.concatenate([[True], np.diff(unit) > 0]) if size else np.zeros(0, dtype=bool)
    # A storm's incidents share its length: what is left to each alone is small.
    own = np.where((more > 0)[unit], 0.3 * random.standard_normal(len(unit)), 0.0)
    offset = np.where(first, 0.0, random.random(len(unit)) * 0.9)
    return World(
        started_hours=started,
        stratum=stratum.astype(np.int64),
        block=number // BLOCK,
        slot=number % BLOCK,
        treated=treated,
        unit=unit,
        offset_hours=offset,
        log_minutes=base[unit] + own,
    )


def unit_values(world: World, *, tau_hours: float) -> Floats:
    """What `units.unit_value` gives for the rows of the world, shape (units,)."""
    cap = tau_hours * 60.0
    minutes = np.exp(np.minimum(world.log_minutes, 50.0))
    known = world.offset_hours + minutes / 60.0 <= tau_hours
    logs = np.log(np.where(known, np.clip(minutes, SHORTEST_MINUTES, cap), cap))
    size = len(world.started_hours)
    found: Floats = np.bincount(world.unit, weights=logs, minlength=size) / np.maximum(
        np.bincount(world.unit, minlength=size), 1
    )
    return found


def design_of(world: World, *, name: str, tau_hours: float) -> Design:
    """The arrays that the tests read, as `design.lay_out` makes them from units."""
    return Design(
        unit_ids=tuple(f"{name}-{i}" for i in range(len(world.started_hours))),
        strata=SEVERITIES,
        stratum=world.stratum,
        block=world.block,
        slot=world.slot,
        treated=world.treated,
        seen=np.ceil(world.started_hours / _HOURS_A_WEEK).astype(np.int64),
        read=np.ceil((world.started_hours + tau_hours) / _HOURS_A_WEEK).astype(np.int64),
        there=np.ones(len(world.started_hours), dtype=np.int64),
    )


def rows_of(world: World, *, start: datetime, name: str = "INC") -> list[Row]:
    """The incidents of a world as rows; the last digits of a second are kept."""
    storm = np.bincount(world.unit, minlength=len(world.started_hours)) > 1
    rows = []
    for i, unit in enumerate(world.unit.tolist()):
        triggered = start + timedelta(hours=float(world.started_hours[unit] + world.offset_hours[i]))
        minutes = math.exp(min(float(world.log_minutes[i]), 14.0))
        rows.append(
            Row(
                incident_id=f"{name}{i:05d}",
                stratum=SEVERITIES[int(world.stratum[unit])],
                service=f"service-{unit % _SERVICES}",
                arm=ARMS[int(world.treated[unit])],
                triggered_at=triggered,
                resolved_at=triggered + timedelta(minutes=minutes),
                storm_id=f"{name}-storm-{unit}" if storm[unit] else "",
            )
        )
    return rows
