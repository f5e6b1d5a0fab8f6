"""What the analysis costs: 26 looks at 200 units, under either rule; bar 3 s (the report: `bench_report`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from bot.experiment.analyse import Options, analyse
from bot.experiment.units import Rows
from bot.experiment.worlds import SCENARIOS, make_world, rows_of
from tests.bench.run import Measured, watch

UNITS = 200


def rows() -> Iterator[Measured]:
    """The figures."""
    begin = datetime(2026, 1, 5, tzinfo=UTC)
    random = np.random.default_rng(1)
    world = make_world(SCENARIOS["lognormal"], rate_per_week=UNITS / 26, weeks=26, effect=0.0, random=random)
    found = Rows(tuple(rows_of(world, start=begin)))
    for rule in ("planned", "open"):
        options = Options(as_of=begin + timedelta(weeks=26), rule=rule, start=begin)
        told = watch(lambda options=options: analyse(found, options), runs=3, cpu=True)
        name = f"experiment: 26 looks, {len(world.started_hours)} units, {rule}"
        yield Measured(name, round(told.best / 1000, 3), "s", 3, bar=3.0)
