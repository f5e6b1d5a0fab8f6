"""`make bench`: runs every `tests/bench/bench_*.py` and writes `.bench/latest.json`.

A bench file has a function `rows()` that yields `Measured`; a part that is not here is said with `Skipped`. Each file
runs in a process of its own, one after the other, so that one's memory and caches are not another's figures.
Usage: `python -m tests.bench.run [NAME…] [--json]` (names without `bench_`). Exit: 0 all bars hold, 1 one does not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from time import perf_counter, process_time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = ROOT / ".bench" / "latest.json"


@dataclass(frozen=True)
class Measured:
    """One figure. `bar` is None for a figure without a bar; `at_least` turns the bar round."""

    name: str
    value: float
    unit: str
    n: int
    bar: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool:
        if self.bar is None:
            return True
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def row(self) -> dict[str, object]:
        told = asdict(self) | {"holds": self.holds}
        del told["at_least"]
        return told


@dataclass(frozen=True)
class Skipped:
    """A figure that cannot be had here, and why."""

    name: str
    why: str

    def row(self) -> dict[str, object]:
        return asdict(self)


@dataclass
class Watch:
    """Times and memory of one piece of work: `milliseconds` of each run, `peak_mb` of one more run under a tracer."""

    milliseconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0

    @property
    def best(self) -> float:
        """The run that others on the machine disturbed least: for pure work."""
        return min(self.milliseconds)

    @property
    def median(self) -> float:
        return sorted(self.milliseconds)[len(self.milliseconds) // 2]


def watch(
    work: Callable[[], object], *, runs: int = 7, prepare: Callable[[], object] | None = None, cpu: bool = False
) -> Watch:
    """Runs `work` several times after one warm-up; `prepare` runs before each and is not counted.

    `cpu` counts the time on the core instead of that on the wall: for pure work, on a machine that others use too.
    """
    seen = Watch()
    clock = process_time if cpu else perf_counter
    for number in range(runs + 1):
        if prepare:
            prepare()
        began = clock()
        work()
        if number:
            seen.milliseconds.append((clock() - began) * 1000)
    if prepare:
        prepare()
    tracemalloc.start()
    work()
    seen.peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return seen


def _one(path: pathlib.Path) -> None:
    """In the child: print one JSON row a line."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    rows: Iterable[Measured | Skipped] = module.rows()
    for row in rows:
        print(json.dumps(row.row()), flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make bench", description="Measure, compare with the bars, write the figures."
    )
    parser.add_argument("names", nargs="*", help="bench files without bench_ and .py; default: all")
    parser.add_argument("--json", action="store_true", help="cases, totals and bars on standard output")
    parser.add_argument("--child", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        _one(options.child)
        return 0
    paths = sorted(HERE.glob("bench_*.py"))
    known = {path.stem.removeprefix("bench_"): path for path in paths}
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no bench called {', '.join(unknown)}; there are {', '.join(known)}")
    rows: list[dict[str, object]] = []
    broken = []
    for name in options.names or known:
        found, error = _run(known[name])
        rows += found
        if not options.json:
            for row in found:
                print(_line(row), flush=True)
        if error:
            broken.append(name)
            print(f"{name}: {error}", file=sys.stderr)
    measured = [row for row in rows if "value" in row]
    _write(measured, replace=not options.names)
    bars = [{key: row[key] for key in ("name", "value", "bar", "holds")} for row in measured if row["bar"] is not None]
    totals = {"figures": len(measured), "skipped": len(rows) - len(measured), "broken": len(broken)}
    if options.json:
        print(json.dumps({"cases": rows, "totals": totals, "bars": bars}))
    return 1 if broken or not all(bar["holds"] for bar in bars) else 0


def _run(path: pathlib.Path) -> tuple[list[dict[str, object]], str]:
    command = [sys.executable, "-m", "tests.bench.run", "--child", str(path)]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    return rows, "" if ended.returncode == 0 else ended.stderr.strip()[-2000:]


def _write(rows: list[dict[str, object]], *, replace: bool) -> None:
    """Some benches alone renew their own figures and keep the others'."""
    kept: list[dict[str, object]] = []
    if not replace and OUT.exists():
        new = {row["name"] for row in rows}
        kept = [row for row in json.loads(OUT.read_text()) if row["name"] not in new]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(kept + rows, indent=1) + "\n")


def _line(row: dict[str, object]) -> str:
    if "why" in row:
        return f"  --    {row['name']}: skipped, {row['why']}"
    bar = "" if row["bar"] is None else f"   bar {row['bar']:g}"
    return (
        f"  {'ok' if row['holds'] else 'FAILS'}    {row['name']}: {row['value']:.3g} {row['unit']} (n={row['n']}){bar}"
    )


if __name__ == "__main__":
    sys.exit(main())
