"""`make bench`: a bar that does not hold, a bench that breaks and a missing part are each said."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.bench import run

GOOD = """
from tests.bench.run import Measured, Skipped
def rows():
    yield Measured("fast", 1.0, "ms", 3, 2.0)
    yield Measured("throughput", 40.0, "MB/s", 3, 30.0, at_least=True)
    yield Measured("for the record", 5.0, "ms", 1)
    yield Skipped("elsewhere", "no such part")
"""
SLOW = """
from tests.bench.run import Measured
def rows():
    yield Measured("slow", 3.0, "ms", 3, 2.0)
    yield Measured("trickle", 20.0, "MB/s", 3, 30.0, at_least=True)
"""


@pytest.fixture
def benches(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "OUT", tmp_path / ".bench" / "latest.json")
    return tmp_path


def test_figures_are_written_and_bars_decide(benches: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (benches / "bench_good.py").write_text(GOOD)
    assert run.main(["--json"]) == 0
    written = json.loads((benches / ".bench" / "latest.json").read_text())
    assert [set(row) for row in written] == [{"name", "value", "unit", "n", "bar", "holds"}] * 3
    told = json.loads(capsys.readouterr().out)
    assert told["totals"] == {"figures": 3, "skipped": 1, "broken": 0}
    assert [bar["name"] for bar in told["bars"]] == ["fast", "throughput"]

    (benches / "bench_slow.py").write_text(SLOW)
    assert run.main([]) == 1
    assert capsys.readouterr().out.count("FAILS") == 2


def test_one_bench_alone_keeps_the_figures_of_the_others(benches: pathlib.Path) -> None:
    (benches / "bench_good.py").write_text(GOOD)
    (benches / "bench_slow.py").write_text(SLOW)
    run.main([])
    (benches / "bench_slow.py").write_text(
        SLOW.replace("3.0", "1.25")
    )  # another length: bytecode is known by time and size
    assert run.main(["slow"]) == 1
    written = {row["name"]: row["value"] for row in json.loads((benches / ".bench" / "latest.json").read_text())}
    assert written == {"fast": 1.0, "throughput": 40.0, "for the record": 5.0, "slow": 1.25, "trickle": 20.0}


def test_a_bench_that_breaks_fails_the_run(benches: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (benches / "bench_broken.py").write_text("def rows():\n    raise RuntimeError('out of paper')\n    yield\n")
    assert run.main([]) == 1
    assert "out of paper" in capsys.readouterr().err


def test_an_unknown_name_is_a_usage_error(benches: pathlib.Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        run.main(["nothing"])
