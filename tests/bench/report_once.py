"""One weekly report of a store, in a process of its own: `python -m tests.bench.report_once PATH` prints its cost."""

from __future__ import annotations

import asyncio
import gc
import json
import pathlib
import resource
import sys
import time
from datetime import timedelta
from zoneinfo import ZoneInfo

from bot.clock import ManualClock
from bot.experiment.live import LiveExperiments
from bot.report.build import LOOK_WITHIN, build
from bot.report.html import as_html
from bot.report.material import read_material
from bot.report.weeks import week_of
from bot.store.sqlite import SqliteStore
from tests.support.big_store import END, SEED, WORKSPACE, hypothesis


async def once(path: pathlib.Path) -> dict[str, float]:
    """Read, build, draw: seconds on the cores and on the wall, peak memory, and what was read."""
    gc.disable()  # as `sitrep report` does
    began, wall = time.process_time(), time.perf_counter()
    zone, now = ZoneInfo("UTC"), END + timedelta(days=1)
    file = hypothesis()
    store = SqliteStore.open(path)
    live = LiveExperiments(store, WORKSPACE, ManualClock(now), [file], {file.name: SEED})
    week = week_of(END, zone).before()
    material = await read_material(
        store, WORKSPACE, week.ends_at(zone) + LOOK_WITHIN, hidden_services=frozenset(), experiments=live,
        week=(week.begins_at(zone), week.ends_at(zone)),
    )  # fmt: skip
    report = build(material, week, zone, now=now)
    page = as_html(report)
    assert report.experiment is not None
    assert report.experiment.not_derivable == 0 and len(page) > 10_000
    await store.close()
    return {
        "cpu_seconds": time.process_time() - began,
        "wall_seconds": time.perf_counter() - wall,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "incidents": len(material.incidents) + len(material.baseline),
        "units": report.experiment.units_treatment + report.experiment.units_control,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(once(pathlib.Path(sys.argv[1])))))
