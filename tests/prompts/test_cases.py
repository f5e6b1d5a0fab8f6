"""Every prompt's case file: given X, structure Y or refusal Z, by the real rooms and a scripted endpoint."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import prompts
from bot.clock import ManualClock
from bot.evals import golden
from bot.model import pins
from bot.model.gateway import Gateway
from bot.store.sqlite import SqliteStore
from tests.support.ranked import AT

CASES = [pytest.param(case, id=case.id) for case in golden.cases()]


@pytest.mark.parametrize("case", CASES)
async def test_case(case: golden.Case, tmp_path: Path) -> None:
    endpoint = golden.Scripted(case.answer)
    store = SqliteStore.open(tmp_path / "sitrep.db")
    pin = pins.read(prompts.models_text()).choose("triage")
    gateway = Gateway(store, ManualClock(AT), {"batch": (pin,)}, {pin.name: endpoint}, redact=lambda text: text)
    played = await golden.play(case, golden.Asking(golden.Paid(gateway, "T1"), "run"))
    await gateway.aclose()
    (recorded,) = await store.query("SELECT outcome, reason, use FROM calls")
    await store.close()

    assert golden.problems(case, played, scripted=True) == []
    assert recorded == {"outcome": played.outcome, "reason": played.reason, "use": "batch"}
    request = endpoint.last
    assert endpoint.requests == 1
    assert request is not None
    assert request.schema == case.prompt.schema(played.composed.positions)
    assert request.max_output_tokens == case.prompt.max_output_tokens
    assert "reasoning_effort" not in request.parameters


def test_every_prompt_has_cases_of_both_kinds() -> None:
    for name, version in prompts.names():
        cases = tomllib.loads(prompts.load(name, version).cases_text)["case"]
        outcomes = {case["expect"]["outcome"] for case in cases}
        assert {"released", "rejected", "malformed"} <= outcomes
        assert len({case["name"] for case in cases}) == len(cases)


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "rejected"},
        {"prompt_has": ["no such words"]},
        {"prompt_lacks": ["Fence mark"]},
        {"positions": 32},
        {"suspects": ["s9"]},
        {"left_out": [["e1", "size"]]},
        {"marks": {"cause": []}},
    ],
)
async def test_a_case_that_ends_otherwise_is_told(change: dict[str, object], tmp_path: Path) -> None:
    case = golden.cases("triage")[0]
    wrong = golden.Case(case.prompt, {**case.data, "expect": {**case.data["expect"], **change}})
    store = SqliteStore.open(tmp_path / "sitrep.db")
    pin = pins.read(prompts.models_text()).choose("triage")
    endpoint = golden.Scripted(case.answer)
    gateway = Gateway(store, ManualClock(AT), {"batch": (pin,)}, {pin.name: endpoint}, redact=lambda text: text)
    played = await golden.play(wrong, golden.Asking(golden.Paid(gateway, "T1"), "run"))
    await gateway.aclose()
    await store.close()
    assert len(golden.problems(wrong, played, scripted=True)) == 1
