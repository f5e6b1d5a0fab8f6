"""Names of metrics and spans."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bot import telemetry


def constants() -> dict[str, str]:
    return {name: value for name, value in vars(telemetry).items() if name.isupper() and isinstance(value, str)}


def test_no_two_names_are_the_same() -> None:
    values = list(constants().values())
    assert len(values) == len(set(values))


def test_every_name_is_of_the_semantic_conventions_or_ours() -> None:
    for value in constants().values():
        assert re.fullmatch(r"(sitrep|chat|gen_ai|openai|error|server)(\.[a-z0-9_]+)*", value), value


def test_a_name_that_is_not_listed_is_refused() -> None:
    with pytest.raises(KeyError):
        telemetry.counter("sitrep.unheard_of")
    with pytest.raises(KeyError):
        telemetry.histogram(telemetry.RETRIES)


def test_every_listed_metric_can_be_used_without_an_sdk() -> None:
    for name in telemetry.COUNTERS:
        telemetry.counter(name).add(1, {telemetry.USE: "triage"})
    for name in telemetry.HISTOGRAMS:
        telemetry.histogram(name).record(0.5)
    for name in telemetry.LEVELS:
        telemetry.level(name).add(-1)
    with telemetry.tracer().start_as_current_span(telemetry.SPAN_STEP):
        pass


def test_importing_it_loads_no_opentelemetry() -> None:
    code = "import bot.telemetry, sys; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_name_is_used_by_the_product() -> None:
    """A metric that nobody counts is an empty panel, and a dashboard of them a false peace."""
    root = Path(telemetry.__file__).resolve().parent
    told = "\n".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py") if path.name != "telemetry.py")
    names = re.findall(r"^([A-Z_]+) = \"", Path(telemetry.__file__).read_text(encoding="utf-8"), flags=re.M)
    assert len(names) > 60
    unused = [name for name in names if name != "SCOPE" and not re.search(rf"(telemetry|names)\.{name}\b", told)]
    assert unused == []
