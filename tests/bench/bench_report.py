"""What a weekly report costs, from the store to the page: two years of 20,000 incidents, and of a million.

2,000 incidents came as signed webhooks through the door and the drainer, the others are copies of their rows; the last
26 weeks are an experiment, all of whose looks are run again, and the 13 weeks before it are its baseline. Bars: 2 s
and 300 MB; 30 s for the million. Seconds are those of the process on its cores, since others may share the machine;
the best of three. `SITREP_BENCH_INCIDENTS` gives other sizes, comma-separated.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from tests.bench.run import ROOT, Measured
from tests.support.big_store import fill

BARS = {20_000: (2.0, 300.0), 1_000_000: (30.0, None)}


def rows() -> Iterator[Measured]:
    """The figures of each size."""
    sizes = [int(size) for size in os.environ.get("SITREP_BENCH_INCIDENTS", "20000,1000000").split(",")]
    for size in sizes:
        seconds, megabytes = BARS.get(size, (None, None))
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "sitrep.db"
            asyncio.run(fill(path, size))
            told = [_once(path) for _ in range(3 if size < 100_000 else 1)]
        best = min(told, key=lambda one: one["cpu_seconds"])
        name = f"report: store of {size:,} incidents"
        yield Measured(f"{name}, from rows to page", round(best["cpu_seconds"], 2), "s", size, bar=seconds)
        yield Measured(f"{name}, on the wall", round(best["wall_seconds"], 2), "s", size)
        yield Measured(f"{name}, memory of the process", round(best["peak_mb"], 1), "MB", size, bar=megabytes)


def _once(path: pathlib.Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.report_once", str(path)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))
