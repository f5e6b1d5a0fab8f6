"""Prompt folders: locked, strict, and whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import prompts
from prompts import Prompt, PromptError

FOLDER = Path(prompts.__file__).parent


def test_every_version_is_locked_and_unchanged() -> None:
    found = {f"{name}/v{version}": prompts.load(name, version).sha256 for name, version in prompts.names()}
    assert found, "no prompt was found"
    assert found == prompts.locked(), "a released version is never edited: make the next one (tools/lock_prompts.py)"


@pytest.mark.parametrize("file", prompts.HASHED)
def test_the_digest_covers_every_file_that_a_model_sees(tmp_path: Path, file: str) -> None:
    for name in prompts.HASHED:
        (tmp_path / name).write_bytes((FOLDER / "triage" / "v1" / name).read_bytes())
    before = prompts.digest(tmp_path)
    assert before == prompts.load("triage", 1).sha256
    (tmp_path / file).write_text("changed", encoding="utf-8")
    assert prompts.digest(tmp_path) != before


@pytest.mark.parametrize(("name", "version"), [("triage", 999), ("nothing", 1), ("../prompts", 1), ("", 1)])
def test_a_prompt_that_does_not_exist_is_an_error(name: str, version: int) -> None:
    with pytest.raises(PromptError):
        prompts.load(name, version)


def made(system: str = "be brief", user: str = "{{ a }} {{ b }}") -> Prompt:
    real = prompts.load("triage", 1)
    return Prompt("t", 1, system, user, real.schema_name, real.schema_text, 10, {}, real.sha256, real.cases_text)


def test_an_undefined_variable_is_an_error() -> None:
    with pytest.raises(PromptError, match=r"no value for \['b'\]"):
        made().render(a="1")


def test_an_unused_variable_is_an_error() -> None:
    with pytest.raises(PromptError, match=r"no template uses \['c'\]"):
        made().render(a="1", b="2", c="3")


def test_a_missing_attribute_is_an_error() -> None:
    with pytest.raises(PromptError):
        made(user="{{ a.nothing }} {{ b }}").render(a="1", b="2")


@pytest.mark.parametrize("template", ["{{ range(3) }}", "{% include 'x' %}", "{{ lipsum() }}"])
def test_a_template_can_reach_nothing_but_its_variables(template: str) -> None:
    with pytest.raises(PromptError):
        made(user=template + "{{ a }}{{ b }}").render(a="1", b="2")


def test_the_system_text_has_no_variable_so_that_its_prefix_can_be_cached() -> None:
    for name, version in prompts.names():
        assert "{{" not in prompts.load(name, version).system_template
        assert "{%" not in prompts.load(name, version).system_template


@pytest.mark.parametrize("positions", prompts.POSITIONS)
def test_the_schema_lists_exactly_the_positions(positions: int) -> None:
    schema = prompts.load("triage", 1).schema(positions)
    assert schema["$defs"]["position"]["enum"] == [f"s{number}" for number in range(1, positions + 1)]


def test_other_sizes_of_the_enum_are_refused() -> None:
    with pytest.raises(PromptError, match="so that they can be cached"):
        prompts.load("triage", 1).schema(17)


def test_schemas_are_strict_everywhere() -> None:
    def objects(part: object) -> list[dict[str, object]]:
        if isinstance(part, dict):
            own = [part] if part.get("type") == "object" else []
            return own + [one for value in part.values() for one in objects(value)]
        return [one for value in part for one in objects(value)] if isinstance(part, list) else []

    for name, version in prompts.names():
        for one in objects(json.loads(prompts.load(name, version).schema_text)):
            assert one["additionalProperties"] is False
            assert sorted(one["required"]) == sorted(one["properties"])  # type: ignore[arg-type,call-overload]
