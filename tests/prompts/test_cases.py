"""Every prompt's case file: given X, structure Y or refusal Z, by the real rooms and a scripted endpoint."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

import prompts
from bot.clock import ManualClock
from bot.model import pins
from bot.model.gateway import Gateway
from bot.model.pins import Use
from bot.store.sqlite import SqliteStore
from bot.triage.check import Guards, check, check_answer
from bot.triage.compose import compose
from bot.triage.infer import infer
from bot.types import Reason, Rejected, Released
from integrations.fixtures import ScriptedModel
from tests.support.ranked import AT, FENCE, evidence, ranked, suspect

CASES = [
    pytest.param(name, version, case, id=f"{name}/v{version}: {case['name']}")
    for name, version in prompts.names()
    for case in tomllib.loads(prompts.load(name, version).cases_text)["case"]
]


def given(case: dict[str, Any]) -> Any:
    items = tuple(
        evidence(
            one["mark"],
            one["kind"],
            one["title"],
            one.get("text") or "word " * (one.get("fill", 0) // 5),
            **{key: one[key] for key in ("model", "suspicious") if key in one},
        )
        for one in case["given"]["evidence"]
    )
    suspects = tuple(
        suspect(one["mark"], reasons=(Reason(text=one["reason"]),)) for one in case["given"].get("suspects", ())
    )
    return ranked(items, suspects)


@pytest.mark.parametrize(("name", "version", "case"), CASES)
async def test_case(name: str, version: int, case: dict[str, Any], tmp_path: Path) -> None:
    prompt = prompts.load(name, version)
    expect = case["expect"]
    composed = compose(
        given(case),
        prompt,
        fence=FENCE,
        token_budget=case["given"].get("token_budget", 6000),
        context_tokens=100_000,
        question=case["given"].get("question"),
    )
    for text in expect.get("prompt_has", ()):
        assert text in composed.user
    for text in expect.get("prompt_lacks", ()):
        assert text not in composed.system + composed.user
    for key in {"positions"} & expect.keys():
        assert composed.positions == expect[key]
    if "suspects" in expect:
        assert [position for position, _ in composed.suspects] == expect["suspects"]
    if "left_out" in expect:
        assert [list(one) for one in composed.left_out] == expect["left_out"]

    answer = json.dumps(case["answer"]) if "answer" in case else "Sure! Here is the report you asked for."
    endpoint = ScriptedModel([answer])
    store = SqliteStore.open(tmp_path / "sitrep.db")
    use: Use = "ask" if name == "ask" else "triage"
    pin = pins.read(prompts.models_text()).choose(use)
    gateway = Gateway(store, ManualClock(AT), {use: (pin,)}, {pin.name: endpoint}, redact=lambda text: text)
    answered = await infer(
        composed, gateway, workflow_id="w", step="infer", triage_id="t", team=None, deadline_seconds=5, use=use
    )
    guards = Guards(redact=lambda text: text)
    result = check_answer(answered, guards) if name == "ask" else check(answered, guards)
    await gateway.aclose()
    await store.close()

    (request,) = endpoint.requests
    assert request.schema == prompt.schema(composed.positions)
    assert request.max_output_tokens == prompt.max_output_tokens
    assert "reasoning_effort" not in request.parameters
    if expect["outcome"] == "released" and name == "ask":
        assert isinstance(result, tuple), result
        assert [list(claim.evidence) for claim in result] == expect["marks"]["answer"]
    elif expect["outcome"] == "released":
        assert isinstance(result, Released), result
        for section, marks in expect["marks"].items():
            assert [list(claim.evidence) for claim in getattr(result.summary, section)] == marks
    else:
        assert isinstance(result, Rejected), result
        assert result.outcome == expect["outcome"]
        if "reason" in expect:
            assert result.reason == expect["reason"]


def test_every_prompt_has_cases_of_both_kinds() -> None:
    for name, version in prompts.names():
        cases = tomllib.loads(prompts.load(name, version).cases_text)["case"]
        outcomes = {case["expect"]["outcome"] for case in cases}
        assert {"released", "rejected", "malformed"} <= outcomes
        assert len({case["name"] for case in cases}) == len(cases)
