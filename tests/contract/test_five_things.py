"""An integration is five things: a module, its line in the wiring, settings, recorded answers, a row in the docs."""

from __future__ import annotations

import pathlib
import re

import pytest

from bot.settings import SYSTEMS, Secrets
from integrations.alerts import PARSERS
from integrations.alerts.doors import SENDERS

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OURS = {
    "alerts", "asked", "asking", "bundle", "errors", "fixtures", "http", "logs", "openai_batches",
    "otlp", "packed", "ports", "reading", "records",
}  # fmt: skip
"""What lies in `integrations/` and is no outside system, or another part of one (`openai_batches`)."""
WITHOUT_CASSETTE = {"slack", "openai", "collector"}
"""Whose tests run against a server of their own, as their rows say."""


def modules() -> list[str]:
    found = {path.stem for path in (ROOT / "integrations").iterdir() if path.suffix == ".py" or path.is_dir()}
    return sorted(name for name in found if not name.startswith("_") and name not in OURS)


def rows() -> dict[str, list[str]]:
    lines = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row for row in cells if len(row) == 6}


def test_every_module_has_a_row_and_every_row_a_module():
    assert sorted(rows()) == modules()


@pytest.mark.parametrize("name", modules())
def test_the_wiring_builds_it(name):
    built = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bot" / "wiring").glob("*.py"))
    assert re.search(rf"\bintegrations\.{name}\b", built), f"bot/wiring does not name integrations.{name}"


@pytest.mark.parametrize("name", modules())
def test_its_variables_are_read_by_the_settings(name):
    if rows()[name][1] == "none":
        return
    variables = re.findall(r"`([A-Z][A-Z0-9_]+)`", rows()[name][1])
    assert variables, f"the row of {name} names no variable"
    known = {field.upper() for field in Secrets.model_fields}
    known |= {f"SITREP_{field}" for field in known}
    known |= {f"{system}_{kind}".upper() for system in SYSTEMS for kind in ("token", "webhook_secrets")}
    own_token = re.compile(r"SITREP_SOURCE_[A-Z0-9_]+_TOKEN")
    assert [one for one in variables if one not in known and not own_token.fullmatch(one)] == []


@pytest.mark.parametrize("name", modules())
def test_its_answers_are_recorded_and_played(name):
    if name in WITHOUT_CASSETTE:
        assert rows()[name][4].startswith("none:")
        return
    named = re.findall(r"`([\w./]+)`", rows()[name][4])
    assert named, f"the row of {name} names no recorded answers"
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "contract").glob("test_*.py"))
    for one in named:
        cassette, samples = ROOT / "tests" / "contract" / "cassettes" / f"{one}.yaml", ROOT / "tests" / "data" / one
        assert cassette.is_file() or samples.is_dir(), f"{name}: no recorded answers {one!r}"
        used = f'cassette("{one}")' if cassette.is_file() else f'"{samples.name}"'
        assert used in tests, f"{name}: no test plays {one!r}"


def senders() -> dict[str, list[str]]:
    lines = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row for row in cells if len(row) == 4}


def test_every_sender_of_alerts_has_a_row_a_door_in_the_wiring_and_a_reader():
    wiring = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bot" / "wiring").glob("*.py"))
    assert set(senders()) == {*SENDERS, "cloudwatch_sns", "generic"}
    for name in ("SENDERS", "SnsDoor", "generic_door"):
        assert re.search(rf"\b{name}\b", wiring)
    assert {*SENDERS, "cloudwatch_sns"} <= set(PARSERS)


def test_every_sender_s_variable_is_read_and_its_payloads_are_recorded():
    for name, row in senders().items():
        if name != "cloudwatch_sns":
            assert row[2].strip("`") == f"{name.upper()}_WEBHOOK_SECRETS"
            assert name in SYSTEMS
        if name not in ("generic", "opsgenie"):  # theirs stand in the tests themselves
            assert list((ROOT / "tests" / "data" / "wire" / name).glob("*.json")), name


def test_every_cassette_says_where_it_is_from_and_under_which_licence():
    for path in (ROOT / "tests" / "contract" / "cassettes").glob("*.yaml"):
        head = path.read_text(encoding="utf-8")[:200]
        assert head.startswith("# "), path.name
        assert "Apache-2.0" in head, path.name


def test_every_wire_sample_that_is_kept_here_is_listed_with_its_source():
    listed = (ROOT / "tests" / "data" / "wire" / "SOURCES.md").read_text(encoding="utf-8")
    folder = ROOT / "tests" / "data" / "wire"
    assert [
        str(p.relative_to(folder)) for p in folder.rglob("*.json") if f"| {p.relative_to(folder)} |" not in listed
    ] == []
