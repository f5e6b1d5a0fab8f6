"""README's first command does what it says."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    quiet = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "SITREP_MODEL"))}
    return subprocess.run(
        [sys.executable, "-m", "demo", *arguments], cwd=ROOT, env={**quiet, **environment},
        capture_output=True, text=True, timeout=170,
    )  # fmt: skip


@pytest.mark.usefixtures("running_slack")
def test_the_demo_runs_through_and_everything_is_there() -> None:
    done = demo("--once")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "everything is there" in done.stdout
    assert "% of requests fail" in done.stdout
    assert "no summary: no model is configured" in done.stdout.replace("\n", " ")


def test_an_unknown_model_is_refused_with_what_is_known() -> None:
    done = demo("--once", "--model", "enormous")
    assert done.returncode == 3
    assert "MODEL=local" in done.stdout
