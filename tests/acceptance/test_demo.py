"""README's first command does what it says."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 170


def started(*arguments: str, cwd: pathlib.Path = ROOT, **environment: str) -> subprocess.Popen[str]:
    quiet = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "SITREP_MODEL"))}
    return subprocess.Popen(
        [sys.executable, "-m", "demo", *arguments], cwd=cwd, env={**quiet, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def without_npm(tmp_path_factory) -> Iterator[subprocess.Popen[str]]:
    """The demo in a checkout without the parts that an earlier run fetched, where neither npm nor pip finds anything.
    It runs beside the other one: both mostly wait."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("bot", "integrations", "prompts"):
        (checkout / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "demo", checkout / "demo", ignore=shutil.ignore_patterns("__pycache__"))
    nothing = {"PATH": str(checkout), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(checkout)}
    running = started("--once", cwd=checkout, PIP_CONFIG_FILE=os.devnull, **nothing)
    yield running
    if running.poll() is None:
        running.terminate()
        running.communicate(timeout=30)


@pytest.mark.usefixtures("running_slack", "without_npm")
def test_the_demo_runs_through_and_everything_is_there() -> None:
    running = started("--once")
    out, err = running.communicate(timeout=SECONDS)
    assert running.returncode == 0, out[-6000:] + err[-2000:]
    assert "everything is there" in out
    assert "% of requests fail" in out
    assert "no summary: no model is configured" in out.replace("\n", " ")


def test_without_npm_the_demo_falls_back_to_the_terminal_says_so_and_runs_through(without_npm) -> None:
    out, err = without_npm.communicate(timeout=SECONDS)
    said = " ".join(out.split())
    assert without_npm.returncode == 0, out[-6000:] + err[-2000:]
    assert "no local Slack, so no web page" in said
    assert "shown in the terminal all the same" in said
    assert "everything is there" in said


def test_an_unknown_model_is_refused_with_what_is_known() -> None:
    running = started("--once", "--model", "enormous")
    out, _ = running.communicate(timeout=SECONDS)
    assert running.returncode == 3
    assert "MODEL=local" in out
