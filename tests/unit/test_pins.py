"""models.toml: what is approved, and every reason why something is not."""

from __future__ import annotations

from typing import Any

import pytest

import prompts
from bot.errors import ConfigurationError
from bot.model import pins

GOOD: dict[str, Any] = {
    "name": "gpt-4.1-mini-2025-04-14",
    "answers_as": ["gpt-4.1-mini-2025-04-14"],
    "revision": "2025-04-14",
    "hosting": "hosted",
    "server": "openai",
    "endpoint": "https://api.openai.com/v1",
    "uses": ["triage", "ask"],
    "accepts": ["temperature"],
    "context_tokens": 1000,
    "max_output_tokens": 100,
    "usd_per_million_tokens": {"in": 0.4, "cached": 0.1, "out": 1.6},
    "residency": "somewhere",
    "default": True,
}
OWN = GOOD | {
    "name": "own",
    "answers_as": ["own"],
    "hosting": "own",
    "server": "vllm",
    "endpoint": "http://10.0.0.5:8000/v1",
    "revision": "sha256:" + "0" * 64,
    "usd_per_million_tokens": {"in": 0, "cached": 0, "out": 0},
    "default": False,
}


def toml(*entries: dict[str, Any], hosts: tuple[str, ...] = ("api.openai.com",)) -> str:
    def value(one: Any) -> str:
        if isinstance(one, bool):
            return str(one).lower()
        if isinstance(one, dict):
            return "{ " + ", ".join(f"{k} = {value(v)}" for k, v in one.items()) + " }"
        if isinstance(one, list):
            return "[" + ", ".join(value(v) for v in one) + "]"
        return f'"{one}"' if isinstance(one, str) else str(one)

    lines = [f"approved_hosts = {value(list(hosts))}"]
    for entry in entries:
        lines += ["[[models]]", *(f"{key} = {value(one)}" for key, one in entry.items())]
    return "\n".join(lines)


def problems(*entries: dict[str, Any], **more: Any) -> list[str]:
    return pins.examine(toml(*entries, **more))[1]


def test_the_shipped_file_is_approved_and_has_a_default_for_triage() -> None:
    models = pins.read(prompts.models_text())
    assert models.choose("triage").default
    for pin in models.pins:
        assert pin.uses


def test_a_good_file_has_no_problem() -> None:
    models, found = pins.examine(toml(GOOD, OWN))
    assert found == []
    assert models is not None
    assert models.choose("triage").name == "gpt-4.1-mini-2025-04-14"
    assert models.choose("ask", "own").endpoint == "http://10.0.0.5:8000/v1"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"name": "gpt-4.1-mini"}, "does not carry the date 2025-04-14"),
        ({"name": "gpt-4.1-mini-latest"}, "is an alias"),
        ({"name": "chatgpt-4o-latest", "answers_as": ["chatgpt-4o-latest"]}, "is an alias"),
        ({"answers_as": ["gpt-4.1-mini"]}, "does not carry the date"),
        ({"answers_as": ["gpt-4.1-mini-*"]}, "is an alias"),
        ({"answers_as": []}, "answers_as is empty"),
        ({"revision": "v2"}, "must be the date"),
        ({"endpoint": "https://evil.example/v1"}, "host 'evil.example' is not in approved_hosts"),
        ({"endpoint": "http://api.openai.com/v1"}, "must be https"),
        ({"endpoint": "https://user:pw@api.openai.com/v1"}, "without user, password"),
        ({"endpoint": "ftp://api.openai.com"}, "not an http or https address"),
        ({"endpoint": "https://[::bad"}, "is not an address"),
        ({"usd_per_million_tokens": {"in": 0.4, "out": 1.6}}, "must have in, cached and out"),
        ({"usd_per_million_tokens": {"in": 0.4, "cached": 0.1, "out": "1.6"}}, "the price 'out' must be a number"),
        ({"usd_per_million_tokens": {"in": 0, "cached": 0, "out": 0}}, "a hosted model is not free"),
        ({"usd_per_million_tokens": {"in": -1, "cached": 0, "out": 1}}, "the price 'in'"),
        ({"uses": ["poetry"]}, "uses has ['poetry']"),
        ({"uses": []}, "approved for nothing"),
        ({"hosting": "cloud"}, "hosting must be one of"),
        ({"server": "bard"}, "server must be one of"),
        ({"context_tokens": 0}, "context_tokens must be a whole number above 0"),
        ({"context_tokens": True}, "context_tokens must be a whole number"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_what_is_not_pinned_is_refused_in_one_line(change: dict[str, Any], line: str) -> None:
    found = problems(GOOD | change)
    assert any(line in one for one in found), found
    assert all(one.startswith("models.toml: ") and "\n" not in one for one in found)


@pytest.mark.parametrize("missing", sorted(set(GOOD) - {"default", "name"}))
def test_a_missing_field_is_named(missing: str) -> None:
    entry = {key: one for key, one in GOOD.items() if key != missing}
    assert any(f"lacks {missing}" in line for line in problems(entry))


def test_an_own_server_is_known_by_the_digest_of_its_weights() -> None:
    assert any("digest of the weights" in line for line in problems(GOOD, OWN | {"revision": "2025-04-14"}))


def test_an_own_server_on_a_public_address_must_be_encrypted() -> None:
    assert any("in the clear" in line for line in problems(GOOD, OWN | {"endpoint": "http://models.example.com/v1"}))
    assert problems(GOOD, OWN | {"endpoint": "http://models.internal/v1"}) == []


def test_all_problems_are_reported_at_once() -> None:
    found = problems(GOOD | {"name": "a"}, GOOD | {"name": "a", "endpoint": "https://b.example"})
    assert len(found) >= 4


@pytest.mark.parametrize(
    "text", ["", "[[models]", "models = 1", "models = [1]", "approved_hosts = 1\n[[models]]\nname='x'"]
)
def test_a_file_that_is_none_is_a_problem_and_no_traceback(text: str) -> None:
    models, found = pins.examine(text)
    assert models is None
    assert found


def test_a_name_that_is_not_approved_is_refused_with_what_is() -> None:
    models = pins.read(toml(GOOD))
    with pytest.raises(ConfigurationError, match="SITREP_MODEL='gpt-9' is not approved"):
        models.choose("triage", "gpt-9")
    with pytest.raises(ConfigurationError, match="is not approved for 'batch'"):
        models.choose("batch")


def test_the_address_of_the_environment_replaces_the_endpoint_and_is_checked() -> None:
    models = pins.read(toml(GOOD))
    assert models.choose("triage", endpoint="http://127.0.0.1:1/v1").endpoint == "http://127.0.0.1:1/v1"
    with pytest.raises(ConfigurationError, match="in the clear"):
        models.choose("triage", endpoint="http://proxy.example.com/v1")


def test_without_a_default_the_variable_is_named() -> None:
    with pytest.raises(ConfigurationError, match="set SITREP_MODEL"):
        pins.read(toml(GOOD | {"default": False})).choose("triage")


def test_cached_tokens_are_part_of_the_input() -> None:
    prices = pins.Prices(0.4, 0.1, 1.6)
    assert prices.cost_usd(1000, 400, 100) == pytest.approx((600 * 0.4 + 400 * 0.1 + 100 * 1.6) / 1e6)
    assert prices.cost_usd(10, 50, 0) == pytest.approx(10 * 0.1 / 1e6)
