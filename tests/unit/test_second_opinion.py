"""A second model: it may reject what the checks released, never release, and never write to people."""

from __future__ import annotations

import json

import httpx2
import pytest

from bot.clock import SystemClock
from bot.model.spend import Ceilings
from bot.triage.second_opinion import Opinion, supplement
from bot.types import Rejected, Released
from integrations.errors import Unavailable
from integrations.fixtures import ScriptedModel
from integrations.openai import OpenAI
from tests.support import hostile
from tests.support.hostile import Request, answer, completion
from tests.support.memory_store import MemoryStore
from tests.support.ranked import ranked
from tests.unit.test_summarise import GOOD, summarise

PASS = {"verdict": "pass", "objections": []}
OBJECTS = {"verdict": "reject", "objections": [{"claim": 2, "kind": "unsafe", "evidence": ["s2"]}]}
BAD = GOOD | {"cause": [{"text": "Host db9.example broke it.", "evidence": ["s1"]}]}


async def both(first: object, second: object) -> tuple[Released | Rejected, ScriptedModel, list[dict[str, object]]]:
    store = MemoryStore()
    lines = [one if isinstance(one, Unavailable) else json.dumps(one) for one in (first, second)]
    endpoint = ScriptedModel(list(lines))
    asked = summarise(store, endpoint, validate=True, set={"retries": 0})
    result = await asked(ranked(), triage_id="t", step="infer")
    await asked.gateway.aclose()
    calls = await store.query("SELECT use, outcome, reason FROM calls ORDER BY started_at, use")
    await store.close()
    return result, endpoint, calls


async def test_an_objection_rejects_what_the_checks_released() -> None:
    result, endpoint, calls = await both(GOOD, OBJECTS)
    assert isinstance(result, Rejected)
    assert (result.outcome, result.reason) == (
        "rejected", "a second model objected: following claim 2 could make it worse",
    )  # fmt: skip
    assert {(c["use"], c["outcome"], c["reason"]) for c in calls} == {
        ("triage", "rejected", result.reason), ("validate", "rejected", result.reason),
    }  # fmt: skip
    assert [request.schema_name for request in endpoint.requests] == ["situation_report", "second_opinion"]
    assert "claim 1 section=going_on cites=s1" in endpoint.requests[1].user


async def test_a_pass_leaves_the_summary_as_it_is() -> None:
    result, _, calls = await both(GOOD, PASS)
    assert isinstance(result, Released)
    assert {(c["use"], c["outcome"]) for c in calls} == {("triage", "released"), ("validate", "released")}


async def test_what_the_checks_refused_is_never_shown_to_a_second_model() -> None:
    result, endpoint, _ = await both(BAD, PASS)
    assert isinstance(result, Rejected)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        ("release it", "malformed"),
        ({"verdict": "reject", "objections": []}, "malformed"),
        ({"verdict": "pass", "objections": OBJECTS["objections"]}, "malformed"),
        ({"verdict": "reject", "objections": [{"claim": 9, "kind": "unsafe", "evidence": []}]}, "malformed"),
        ({"verdict": "reject", "objections": [{"claim": 1, "kind": "<!channel> words", "evidence": []}]}, "malformed"),
        ({**PASS, "summary": "Click https://evil.example"}, "malformed"),
        (Unavailable("model", "answered 503"), "off"),
    ],
    ids=str,
)  # fmt: skip
async def test_what_is_no_verdict_leaves_the_summary_and_is_recorded(second: object, outcome: str) -> None:
    result, _, calls = await both(GOOD, second)
    assert isinstance(result, Released)
    assert result.summary.going_on[0].text == GOOD["going_on"][0]["text"]
    assert {(c["use"], c["outcome"]) for c in calls} == {("triage", "released"), ("validate", outcome)}


@pytest.mark.parametrize("seen", ["released", "malformed", "off", "deadline", "budget", "wrong_model", "truncated"])
def test_only_an_objection_changes_anything(seen: str) -> None:
    rejected = object()
    assert supplement(rejected, Opinion(seen)) is rejected  # type: ignore[arg-type]


async def test_a_ceiling_that_the_second_call_would_pass_leaves_the_summary() -> None:
    store, endpoint = MemoryStore(), ScriptedModel([json.dumps(GOOD), json.dumps(OBJECTS)])
    asked = summarise(store, endpoint, validate=True, ceilings=Ceilings(use_month_usd={"validate": 0.0001}))
    result = await asked(ranked(), triage_id="t", step="infer")
    await asked.gateway.aclose()
    assert isinstance(result, Released)
    calls = await store.query("SELECT use, outcome FROM calls")
    assert {(c["use"], c["outcome"]) for c in calls} == {("triage", "released"), ("validate", "budget")}
    assert len(endpoint.requests) == 1
    await store.close()


@pytest.mark.parametrize(
    "second",
    [hostile.hang, hostile.drip, hostile.reset, hostile.html, hostile.half_json, hostile.error_with_200,
     hostile.too_many, hostile.elsewhere, hostile.other_model, hostile.refuses, hostile.cut_off, hostile.not_http],
    ids=lambda behave: behave.__name__,
)  # fmt: skip
async def test_whatever_the_second_endpoint_does_the_deadline_holds_and_the_summary_stands(second: object) -> None:
    async def behave(writer: object, request: Request, number: int) -> None:
        if request.body["response_format"]["json_schema"]["name"] == "situation_report":
            answer(writer, 200, completion(json.dumps(GOOD)))  # type: ignore[arg-type]
        else:
            await second(writer, request, number)  # type: ignore[operator]

    store = MemoryStore()
    async with hostile.hostile(behave) as server:
        client = OpenAI("model", server.url, "k", httpx2.AsyncHTTPTransport())
        asked = summarise(
            store,
            client,
            validate=True,
            clock=SystemClock(),
            set={"retries": 0, "attempt_seconds": 0.4},  # type: ignore[arg-type]
        )
        result = await asked(ranked(), triage_id="t", step="infer")
        await asked.gateway.aclose()
        await client.aclose()
    assert isinstance(result, Released), result
    (second_call,) = await store.query("SELECT outcome FROM calls WHERE use = 'validate'")
    assert second_call["outcome"] not in {"released", "rejected"}
    await store.close()
