"""What analysis and weekly report cost: 26 looks at 200 units, and two years of 20,000 incidents, all in memory.

Bars: 3 s for the analysis, 2 s and 300 MB for the report.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from bot.experiment.analyse import Options, analyse
from bot.experiment.units import Rows
from bot.experiment.worlds import SCENARIOS, make_world, rows_of
from bot.report.build import build
from bot.report.html import as_html
from bot.report.weeks import week_of
from tests.bench.run import Measured, watch
from tests.support.report_material import START, material

UNITS, INCIDENTS = 200, 20_000
TWO_YEARS = 104


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
    half = material(rate=INCIDENTS / TWO_YEARS, weeks=TWO_YEARS, scenario="lognormal")
    # The experiment is over, as one of 26 weeks is after two years; its looks were run when they were due.
    running = replace(half.running, looked_before=25) if half.running else None
    half = replace(half, running=running)
    week = week_of(START + timedelta(weeks=TWO_YEARS), ZoneInfo("UTC")).before()
    now = START + timedelta(weeks=TWO_YEARS + 1)
    told = watch(lambda: as_html(build(half, week, ZoneInfo("UTC"), now=now)), runs=3, cpu=True)
    yield Measured(
        "report: page of two years, from rows", round(told.best / 1000, 3), "s", len(half.incidents), bar=2.0
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield Measured("report: memory of the process", round(peak, 1), "MB", len(half.incidents), bar=300.0)
