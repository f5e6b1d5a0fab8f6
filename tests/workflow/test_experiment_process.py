"""The whole program with an experiment: killed while it assigns, paused at the shell, changed after its start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from bot.experiment.assign import arm_of
from tests.workflow.test_crash import ROOT, Case, case, check, slack, world

__all__ = ["case", "slack", "world"]  # fixtures

TEXT = """
name = "summary"
changes = "The card carries a model's summary, not the facts alone."
arms = ["facts", "facts+summary"]
expected_ratio = 0.8
starts_on = {day}
owner = "sre"
"""


@pytest.fixture
def running(case: Case) -> Case:
    folder = case.home / "experiments"
    folder.mkdir()
    (folder / "summary.toml").write_text(TEXT.format(day=datetime.now(UTC).date()), encoding="utf-8")
    return case


def sitrep(case: Case, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(case.folder), "PYTHONPATH": str(ROOT),
        "SITREP_HOME": str(case.home), "SITREP_CONFIG": str(case.home / "sitrep.toml"),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "bot", *words], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_a_kill_while_a_unit_is_assigned_leaves_one_assignment_and_a_card_that_names_no_experiment(running):
    running.start("route.inside")
    running.wait_killed()
    running.start()
    check(running, "route.inside")
    ((unit, arm, stratum, ordinal),) = running.rows("SELECT unit_id, arm, stratum, ordinal FROM assignments")
    seed = bytes.fromhex((running.home / "experiments" / "summary.seed").read_text())
    assert (unit, stratum, ordinal) == (f"u-{running.incident_id}", "sev2", 0)
    assert arm == arm_of(seed, stratum, ordinal)
    ((shown, experiment),) = running.rows("SELECT arm, experiment FROM triages")
    assert (shown, experiment) == ({"control": "facts", "treatment": "facts+summary"}[arm], "summary")
    drawn = json.dumps(running.cards())
    assert ("held out for measurement" in drawn) == (arm == "control")
    assert "summary.toml" not in drawn and "sev2" not in drawn and "treatment" not in drawn
    assert running.rows("SELECT kind FROM notices WHERE id = 'report:since'") == [("cursor",)]
    assert "failed with" not in running.said()
    header, row = sitrep(running, "experiment", "export", "summary").stdout.splitlines()
    assert header.startswith("incident_id,stratum,service,arm")
    assert row.startswith(f"{running.incident_id},sev2,") and f",{arm}," in row and row.endswith(f"{unit},0,")
    file = running.home / "experiments" / "summary.toml"
    file.write_text(file.read_text(encoding="utf-8") + "horizon_weeks = 13\n", encoding="utf-8")
    refused = sitrep(running, "experiment", "status")
    assert refused.returncode == 2 and "has changed since the experiment started" in refused.stderr


def test_a_pause_at_the_shell_stops_the_model_until_it_is_ended_there(running):
    assert "paused: summary" in sitrep(running, "experiment", "pause", "summary", "--reason", "a test").stdout
    assert "already" in sitrep(running, "experiment", "pause", "summary", "--reason", "again").stdout
    running.start()
    check(running, "none")
    assert running.rows("SELECT arm, outcome FROM triages") == [(None, "off")]
    assert "summaries are paused by a person" in json.dumps(running.cards())
    told = sitrep(running, "experiment", "status").stdout
    assert "facts+summary against facts; runs" in told and "0 units" in told and "a test" in told
    assert "resumed: summary" in sitrep(running, "experiment", "resume", "summary", "--reason", "done").stdout
    wrong = sitrep(running, "experiment", "resume", "other", "--reason", "x")
    assert wrong.returncode == 2 and "no experiment 'other'; there is summary" in wrong.stderr
