"""The baseline: durations, spread, storms, and what could be found."""

from __future__ import annotations

import csv
import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from click.testing import CliRunner

from bot.cli.experiment import command
from bot.experiment.baseline import join_storms, summarise
from bot.experiment.units import Row

START = datetime(2026, 1, 5, tzinfo=UTC)
TAU = timedelta(hours=72)


def row(
    name: str, minutes_after: float, lasted: float | None, service: str = "api", stratum: str = "2", storm: str = ""
):
    at = START + timedelta(minutes=minutes_after)
    return Row(name, stratum, service, "", at, None if lasted is None else at + timedelta(minutes=lasted), storm)


def test_figures_of_a_known_list():
    found = summarise([row(f"i{m}", m * 1000, m) for m in range(1, 100)] + [row("open", 5, None, "other")], tau=TAU)
    assert found.all.mean == 50 and found.all.median == 50 and found.all.p90 == pytest.approx(89.2)
    assert found.incidents == 100 and found.all.still_open == 1
    assert found.all.restricted_mean == pytest.approx((sum(range(1, 100)) + 72 * 60) / 100)
    assert [g.group for g in found.by_service] == ["api", "other"]


def test_incidents_of_one_service_within_an_hour_are_one_storm_and_named_storms_stay():
    joined = join_storms(
        [
            row("a", 0, 5),
            row("b", 50, 5),
            row("c", 100, 5),
            row("d", 161, 5),
            row("e", 20, 5, "web"),
            row("f", 20, 5, "db", storm="x"),
            row("g", 30, 5, "db"),
        ]
    )
    assert {r.incident_id: r.storm_id for r in joined} == {
        "a": "a",
        "b": "a",
        "c": "a",
        "d": "",
        "e": "",
        "f": "x",
        "g": "x",
    }
    assert summarise(joined, tau=TAU).storms_share == pytest.approx(5 / 7)


def test_a_service_that_explains_much_is_advised_as_stratum():
    random = np.random.default_rng(3)
    apart = [
        row(f"i{i}", i * 500, float(np.exp(3 + 2 * (i % 2) + random.normal() * 0.5)), f"s{i % 2}") for i in range(80)
    ]
    assert summarise(apart, tau=TAU).advice.startswith("Stratify by service")
    alike = [row(f"i{i}", i * 500, float(np.exp(3 + random.normal() * 0.5)), f"s{i % 2}") for i in range(80)]
    assert summarise(alike, tau=TAU).advice.startswith("Stratify by severity")


def test_forty_incidents_cannot_find_twenty_per_cent_and_are_told_so():
    random = np.random.default_rng(4)
    rows = [row(f"i{i}", i * 60 * 24 * 4.5, float(np.exp(4.2 + 1.11 * random.normal())), f"s{i}") for i in range(40)]
    found = summarise(rows, tau=TAU, weeks=26)
    at_26 = next(d for d in found.detectable if d.weeks == 26 and d.rule == "planned")
    assert at_26.ratio < 0.75
    assert found.cannot_find(26, "planned") == f"cannot find an effect below {round(100 * (1 - at_26.ratio))} %"
    opened = next(d for d in found.detectable if d.weeks == 26 and d.rule == "open")
    assert opened.ratio < at_26.ratio


def test_nothing_one_incident_and_none_resolved_are_said_without_failing():
    for rows in ([], [row("a", 0, 10)], [row("a", 0, None), row("b", 9000, None)], [row("a", 0, -100)]):
        found = summarise(rows, tau=TAU)
        json.dumps(found.as_json(), allow_nan=False)
        assert "cannot say" in found.cannot_find(26, "planned")


def test_the_public_incidents_have_the_published_spread(shared_data):
    """771 incidents of GitHub's status page: median 67, mean 130, σ of logs 1.11 (EXPERIMENT, real durations)."""
    with (shared_data / "durations" / "incidents.csv").open(newline="") as file:
        rows = [
            Row(
                r["incident_id"],
                r["severity"],
                r["service"],
                "",
                datetime.fromisoformat(r["started_at"]),
                datetime.fromisoformat(r["resolved_at"]),
            )
            for r in csv.DictReader(file)
            if r["source"].startswith("mrshu")
        ]
    found = summarise(rows, tau=TAU)
    assert found.incidents == 771
    assert round(found.all.median) == 67 and round(found.all.mean) == 130
    logs = [math.log(max((r.resolved_at - r.triggered_at).total_seconds() / 60, 1.0)) for r in rows]
    assert float(np.std(logs, ddof=1)) == pytest.approx(1.11, abs=0.02)


def test_the_command_prints_the_figures(tmp_path):
    file = tmp_path / "past.csv"
    lines = ["incident_id,triggered_at,resolved_at,service,stratum"]
    lines += [
        f"i{i},2026-01-{5 + i % 20:02d}T10:00:00Z,2026-01-{5 + i % 20:02d}T11:{i % 60:02d}:00Z,s{i},2"
        for i in range(30)
    ]
    file.write_text("\n".join(lines))
    told = CliRunner().invoke(command, ["baseline", "--csv", str(file)])
    assert told.exit_code == 0 and "cannot find an effect below" in told.stdout
    answer = json.loads(CliRunner().invoke(command, ["baseline", "--csv", str(file), "--json"]).stdout)
    assert answer["incidents"] == 30 and answer["detectable"]
