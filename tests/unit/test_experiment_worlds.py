"""The whole check on worlds of our own: 200 in which nothing changed, 200 with −30 %, five units a week, 26 weeks.

Left out of `make test`; `make simulate` runs it (about two minutes on one core)."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from bot.experiment.analyse import Options, analyse
from bot.experiment.export import rows_csv
from bot.experiment.units import read_csv
from bot.experiment.worlds import SCENARIOS, make_world, rows_of

START = datetime(2026, 1, 5, tzinfo=UTC)
WORLDS = 200


@pytest.mark.slow
def test_few_false_verdicts_hardly_any_in_the_wrong_direction_and_enough_found():
    """At most 15 false verdicts of 200 (a rule that errs in exactly 5 % exceeds that in 4 % of seeds; the seed is
    fixed), at most 2 in the wrong direction, at least 50 found by the planned rule and 20 by the open one."""
    seen: Counter[tuple[float, str, str]] = Counter()
    random = np.random.default_rng(12)
    for i in range(WORLDS):
        for effect in (0.0, -0.3):
            scenario = list(SCENARIOS.values())[i % 3]
            rate = 5 * scenario.incidents_a_unit
            world = make_world(scenario, rate_per_week=rate, weeks=26, effect=effect, random=random)
            rows = read_csv(rows_csv(rows_of(world, start=START, name=f"w{i}-")), name="world.csv")
            for rule in ("planned", "open"):
                answer = analyse(rows, Options(as_of=START + timedelta(weeks=26), rule=rule))
                seen[effect, rule, answer.verdict] += 1
            if i % 20 == 0:
                for week in range(27):
                    look = analyse(
                        rows, Options(as_of=START + timedelta(weeks=week), rule="open" if i % 40 else "planned")
                    )
                    json.dumps(look.as_json(), allow_nan=False)
    for rule, found in (("planned", 50), ("open", 20)):
        assert seen[0.0, rule, "faster"] + seen[0.0, rule, "slower"] <= 15, seen
        assert seen[-0.3, rule, "slower"] <= 2, seen
        assert seen[-0.3, rule, "faster"] >= found, seen
