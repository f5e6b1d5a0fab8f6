"""The decision against an engine that others wrote: Cedar, which lives in the check environment (16 MB)."""

from __future__ import annotations

import json
import pathlib
import random
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from bot.trust.audience import Audience, readable
from integrations.records import Readers

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PYTHON = ROOT / ".venv-check" / "bin" / "python"
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture(scope="module")
def cedar(
    without_part: Callable[[str, str], None],
) -> Callable[[list[list[str]], list[list[list[str]]]], list[list[bool]]]:
    if not PYTHON.exists() or subprocess.run([PYTHON, "-c", "import cedarpy"], capture_output=True).returncode:
        without_part("cedar", "`make check` installs cedarpy into .venv-check")

    def ask(people: list[list[str]], items: list[list[list[str]]]) -> list[list[bool]]:
        world = json.dumps({"people": people, "items": items})
        script = ROOT / "tests" / "bench" / "cedar.py"
        ended = subprocess.run([PYTHON, str(script)], input=world, capture_output=True, text=True, check=True)
        allowed: list[list[bool]] = json.loads(ended.stdout)["allowed"]
        return allowed

    return ask


@pytest.mark.parametrize("seed", range(8))
def test_cedar_says_the_same(cedar: Callable[..., list[list[bool]]], seed: int) -> None:
    rng = random.Random(seed)
    pool = ["everyone", "world", *(f"g{number}" for number in range(rng.randint(1, 10)))]
    people = [["world", *rng.sample(pool, rng.randint(0, 3))] for _ in range(12)]
    items = [[rng.sample(pool, rng.randint(0, 3)) for _ in range(rng.randint(1, 3))] for _ in range(40)]
    allowed = cedar(people, items)
    ours = [[Readers.of(*item).admit(frozenset(person)) for person in people] for item in items]
    assert allowed == ours
    assert any(map(any, ours))
    assert not all(map(all, ours))
    audience = Audience.of([frozenset(person) for person in people[:3]], NOW)
    assert readable(audience, [Readers.of(*item) for item in items]).tolist() == [all(one[:3]) for one in allowed]
