"""The simulation itself: 500 worlds a cell. The whole run is `make simulate`; its figures are in the docs."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from bot.cli.experiment import command
from bot.errors import ConfigurationError
from bot.experiment.simulate import Cell, cells, simulate


def run(*arguments: str) -> tuple[int, dict]:
    done = CliRunner().invoke(command, ["simulate", "--json", "--workers", "1", *arguments])
    return done.exit_code, json.loads(done.stdout)


def test_five_hundred_worlds_without_effect_stay_within_five_per_cent():
    """Three cells a rule, seed 1. A rule that errs in exactly 5 % has a 99.9 % interval above it in 1 of 2,000 cells,
    so this test is a false alarm in at most 1 of 300 seeds; the seed is fixed."""
    code, answer = run("--replications", "500", "--rate", "5", "--effect", "0")
    assert code == 0 and len(answer["cases"]) == 6
    for case in answer["cases"]:
        assert case["low"] <= 0.05 and case["power"] is None and case["replications"] == 500
        assert case["low"] <= case["false_verdicts"] / 500 <= case["high"]
    assert all(bar["holds"] for bar in answer["bars"]) and len(answer["bars"]) == 6
    assert answer["totals"]["without_effect"] == 3000


def test_a_rule_that_errs_too_often_breaks_its_bar():
    """Both rules at ten times their error must be caught by the same bars, with exit code 1."""
    some = ("--rate", "5", "--effect", "0", "--scenario", "lognormal", "--alpha", "0.5")
    code, answer = run("--replications", "60", "--rule", "planned", *some)
    assert code == 1 and not answer["bars"][0]["holds"]
    code, answer = run("--replications", "400", "--rule", "open", *some)
    assert code == 1 and not answer["bars"][0]["holds"]


def test_power_comes_out_as_published():
    """At five a week −50 % is found in 96 (planned) and about 78 (open) of 100; 60 and 300 worlds, five standard errors
    below that: 50 of 60 and 195 of 300."""
    planned, opened = simulate(
        [Cell("lognormal", 5.0, "planned", -0.5, 60), Cell("lognormal", 5.0, "open", -0.5, 300)], seed=2
    )
    assert planned.power * 60 >= 50 and opened.power * 300 >= 195
    assert planned.false_verdicts == 0


def test_harm_is_found_when_incidents_double_and_seldom_when_nothing_changed():
    """Published: a false pause in 1.4 to 1.9 %, +100 % found in 81 % at five a week. 400 worlds: more than 5 % false
    pauses, or fewer than 280 found, would be seen by chance in less than 1 of 1,000 seeds."""
    nothing, doubled = simulate([Cell("lognormal", 5.0, "harm", e, 400) for e in (0.0, 1.0)], seed=5)
    assert nothing.false_verdicts <= 20
    assert doubled.power * 400 >= 250 and doubled.false_verdicts == 0


def test_the_result_depends_on_the_seed_and_not_on_the_number_of_workers():
    grid = [Cell("storms", 5.0, "open", -0.5, 300)]
    assert simulate(grid, seed=3, workers=1) == simulate(grid, seed=3, workers=2)
    assert simulate(grid, seed=3) != simulate(grid, seed=4)


def test_a_run_that_was_ended_goes_on_with_the_cells_that_are_missing(tmp_path, monkeypatch):
    """A cell is used again where seed and code are the same; a line that was cut off is run again."""
    kept = tmp_path / "cells.jsonl"
    some = ("--rate", "5", "--scenario", "lognormal", "--rule", "open", "--replications", "40", "--resume", str(kept))
    _, first = run("--effect", "0", *some)
    asked: list[Cell] = []
    monkeypatch.setattr("bot.experiment.simulate._chunk", lambda cell, seed, at: asked.append(cell) or [-1] * 40)
    _, both = run("--effect", "0", "--effect", "-0.5", *some)
    assert both["cases"][0] == first["cases"][0] and [cell.effect for cell in asked] == [-0.5]
    whole = kept.read_text()
    kept.write_text(whole[:-20])
    assert run("--effect", "0", "--effect", "-0.5", *some)[1] == both and len(asked) == 2
    assert kept.read_text() == whole
    run("--effect", "0", "--seed", "2", *some)
    assert len(asked) == 3
    monkeypatch.setattr("bot.experiment.saved.code_sha256", lambda: "another")
    run("--effect", "0", *some)
    assert len(asked) == 4
    kept.write_text('{"key": "x"}\n')
    done = CliRunner().invoke(command, ["simulate", "--resume", str(kept)])
    assert isinstance(done.exception, ConfigurationError) and "line 1" in str(done.exception)


def test_the_whole_grid_is_what_the_issue_asks_for():
    grid = cells()
    assert len(grid) == 3 * 3 * 2 * 5
    assert {c.replications for c in grid if c.rule == "planned"} == {2_000}
    assert {c.replications for c in grid if c.rule == "open"} == {10_000}


def test_an_unknown_scenario_is_named():
    done = CliRunner().invoke(command, ["simulate", "--scenario", "gauss"])
    assert isinstance(done.exception, ConfigurationError) and "lognormal" in str(done.exception)
    with pytest.raises(KeyError):
        simulate([Cell("gauss", 5.0, "open", 0.0, 1)])
