"""The three rooms around a model in their order, and which model that is by the settings."""

from __future__ import annotations

import json
from typing import Any

import pytest

import prompts
from bot.errors import ConfigurationError
from bot.flows.summarise import Summarise
from bot.settings import load
from bot.triage.check import Guards
from bot.types import Rejected, Released
from bot.wiring import models_of
from integrations.fixtures import ScriptedModel
from tests.support.calls import gateway
from tests.support.memory_store import MemoryStore
from tests.support.ranked import ranked

GOOD = {
    "going_on": [{"text": "38 % of requests fail (normal 0.2 %) since 14:02:10.", "evidence": ["s1"]}],
    "cause": [],
    "next": [{"text": "Look at the deploy.", "evidence": ["s2"]}],
}


def summarise(store: MemoryStore, endpoint: ScriptedModel, validate: bool = False, **more: Any) -> Summarise:
    return Summarise(
        gateway=gateway(store, endpoint, **more),
        prompt=prompts.load("triage", 1),
        fence_key=b"k",
        guards=Guards(redact=lambda text: text),
        token_budget=6000,
        deadline_seconds=5.0,
        team=lambda service: "payments" if service == "checkout-api" else None,
        validate=prompts.load("validate", 1) if validate else None,
    )


async def test_a_released_summary_is_recorded_as_such_and_paid_by_the_team() -> None:
    store = MemoryStore()
    result = await summarise(store, ScriptedModel([json.dumps(GOOD)]))(ranked(), triage_id="P8K2Q1/1", step="infer")
    assert isinstance(result, Released)
    (recorded,) = await store.query("SELECT * FROM calls")
    assert (recorded["outcome"], recorded["reason"], recorded["triage_id"]) == ("released", "", "P8K2Q1/1")
    assert json.loads(recorded["evidence"]) == ["e1", "e3", "e9", "e12", "e7"]
    (spent,) = await store.query("SELECT * FROM spend")
    assert (spent["team"], spent["incident_id"], spent["step"]) == ("payments", "P8K2Q1", "infer")
    await store.close()


async def test_a_rejected_answer_is_recorded_with_its_reason() -> None:
    store = MemoryStore()
    bad = GOOD | {"cause": [{"text": "Host db9.example broke it.", "evidence": ["s1"]}]}
    result = await summarise(store, ScriptedModel([json.dumps(bad)]))(ranked(), triage_id="t", step="infer")
    assert isinstance(result, Rejected)
    (recorded,) = await store.query("SELECT outcome, reason FROM calls")
    assert recorded == {
        "outcome": "rejected",
        "reason": "an answer was rejected: it named a host that no evidence contains",
    }
    await store.close()


async def test_without_a_model_nothing_is_composed_or_recorded() -> None:
    store = MemoryStore()
    result = await summarise(store, ScriptedModel(["{}"]), pins={})(ranked(), triage_id="t", step="infer")
    assert result == Rejected(outcome="off", reason="no model is configured")
    assert await store.query("SELECT * FROM calls") == []
    await store.close()


async def test_without_evidence_for_the_model_nothing_is_asked() -> None:
    store, endpoint = MemoryStore(), ScriptedModel(["{}"])
    secret = tuple(item.model_copy(update={"model": "never"}) for item in ranked().evidence)
    result = await summarise(store, endpoint)(ranked(secret), triage_id="t", step="infer")
    assert result == Rejected(outcome="off", reason="there is no evidence that a model may see")
    assert endpoint.requests == []
    await store.close()


def test_the_model_is_chosen_by_the_settings(tmp_path) -> None:
    def chosen(**environment: str) -> dict[str, Any]:
        return models_of(load({"SITREP_HOME": str(tmp_path), **environment}, folder=tmp_path))

    assert chosen() == {}
    assert chosen(OPENAI_API_KEY="k")["triage"][0].name == "gpt-4.1-mini-2025-04-14"
    local = chosen(SITREP_MODEL_URL="http://127.0.0.1:9/v1", SITREP_MODEL="smollm2-135m-instruct-q4_1")
    assert local["triage"][0].endpoint == "http://127.0.0.1:9/v1"
    assert "ask" not in local
    with pytest.raises(ConfigurationError, match="is not approved"):
        chosen(OPENAI_API_KEY="k", SITREP_MODEL="gpt-4.1-mini")


def test_a_models_file_that_is_not_pinned_stops_the_start_even_without_a_key(tmp_path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(prompts.models_text().replace("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini-latest"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="is an alias"):
        models_of(load({"SITREP_HOME": str(tmp_path), "SITREP_MODELS": str(path)}, folder=tmp_path))
