"""The model endpoint against a real server that misbehaves, and what each kind of server is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from integrations.errors import Denied, IntegrationError, Malformed, Refused, Unavailable
from integrations.fixtures import ScriptedModel
from integrations.openai import MAX_BODY_BYTES, OpenAI
from integrations.ports import Completion, ModelEndpoint, PromptRequest
from tests.support import hostile
from tests.support.hostile import MODEL, Request, answer, completion

REQUEST = PromptRequest(
    model=MODEL,
    system="be brief",
    user="what is on fire",
    schema_name="report",
    schema={
        "type": "object",
        "additionalProperties": False,
        "required": ["ok"],
        "properties": {"ok": {"type": "array", "minItems": 1, "items": {"type": "string", "maxLength": 9}}},
    },
    max_output_tokens=50,
    parameters={"temperature": 0, "seed": 7},
)
Behaviour = Callable[[asyncio.StreamWriter, Request, int], Awaitable[None]]


def endpoint(url: str, **more: Any) -> OpenAI:
    return OpenAI("model", url, more.pop("api_key", "sk-test"), httpx2.AsyncHTTPTransport(), **more)


async def ask(behave: Behaviour, seconds: float = 5.0, **more: Any) -> tuple[Completion, list[Request]]:
    async with hostile.hostile(behave) as server:
        client = endpoint(server.url, **more)
        try:
            return await client.complete(REQUEST, seconds), server.requests
        finally:
            await client.aclose()


async def test_a_completion_is_read_with_its_tokens_and_fingerprint() -> None:
    found, (request,) = await ask(hostile.fine)
    assert found == Completion(
        text='{"ok": true}',
        answered_by=MODEL,
        tokens_in=100,
        tokens_cached=64,
        tokens_out=20,
        finish_reason="stop",
        refusal=None,
        fingerprint="fp_1",
    )
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer sk-test"
    assert request.body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "what is on fire"},
    ]
    assert request.body["temperature"] == 0
    assert request.body["seed"] == 7
    assert request.body["model"] == MODEL


FAILURES = [
    (hostile.html, Malformed),
    (hostile.half_json, Malformed),
    (hostile.deep_json, Malformed),
    (hostile.error_with_200, Malformed),
    (hostile.elsewhere, Malformed),
    (hostile.huge, Malformed),
    (hostile.compressed, Malformed),
    (hostile.no_choices, Malformed),
    (hostile.no_text, Malformed),
    (hostile.wrong_types, Malformed),
    (hostile.reset, Unavailable),
    (hostile.reset_midway, Unavailable),
    (hostile.broken, Unavailable),
    (hostile.too_many, Unavailable),
    (hostile.not_http, Unavailable),
    (hostile.no_quota, Denied),
    (hostile.unauthorised, Denied),
    (hostile.unacceptable, Refused),
]


@pytest.mark.parametrize(("behave", "error"), FAILURES, ids=lambda value: getattr(value, "__name__", ""))
async def test_each_way_to_fail_is_exactly_one_error_and_one_request(
    behave: Behaviour, error: type[IntegrationError]
) -> None:
    async with hostile.hostile(behave) as server:
        client = endpoint(server.url)
        with pytest.raises(IntegrationError) as failed:
            await client.complete(REQUEST, 5.0)
        await client.aclose()
    assert type(failed.value) is error
    assert len(server.requests) == 1
    for outside in ("secret", "sk-", "slow down", "upstream", "log in"):
        assert outside not in str(failed.value)


@pytest.mark.parametrize("behave", [hostile.hang, hostile.drip, hostile.drip_headers], ids=lambda one: one.__name__)
async def test_an_answer_that_never_ends_is_given_up_in_time(behave: Behaviour) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable) as late:
        await ask(behave, 0.3)
    assert time.monotonic() - began < 1.0
    assert late.value.answer_lost


async def test_a_body_without_end_is_not_read_to_its_end() -> None:
    async with hostile.hostile(hostile.huge) as server:
        client = endpoint(server.url)
        with pytest.raises(Malformed, match=f"more than {MAX_BODY_BYTES} bytes"):
            await client.complete(REQUEST, 5.0)
        await client.aclose()


async def test_nobody_at_the_address_is_unavailable_and_nothing_was_lost() -> None:
    client = endpoint("http://127.0.0.1:9/v1")
    with pytest.raises(Unavailable) as refused:
        await client.complete(REQUEST, 2.0)
    await client.aclose()
    assert not refused.value.answer_lost


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "1e400"}, None),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_how_long_to_wait_is_what_they_say(status: int, headers: dict[str, str], seconds: float | None) -> None:
    async def behave(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
        answer(writer, status, {"error": {"message": "x"}}, **headers)

    with pytest.raises(Unavailable) as failed:
        await ask(behave)
    assert failed.value.retry_after_seconds == seconds


async def test_a_refusal_and_a_content_filter_are_answers_of_the_model() -> None:
    found, _ = await ask(hostile.refuses)
    assert found.refusal == "I cannot help with that."
    found, _ = await ask(hostile.filtered, server="azure")
    assert found.refusal == "content filter"
    assert found.tokens_in > 0


async def test_a_cut_answer_says_so() -> None:
    found, _ = await ask(hostile.cut_off)
    assert found.finish_reason == "length"


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -5, "completion_tokens": None}])
async def test_tokens_that_are_not_reported_are_counted_from_the_size_and_never_too_low(usage: Any) -> None:
    async def behave(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
        answer(writer, 200, completion("x" * 140, usage=usage))

    found, _ = await ask(behave)
    assert found.tokens_in == 17  # 23 bytes / 1.4
    assert found.tokens_out == 100
    assert found.tokens_cached == 0


@pytest.mark.parametrize("server", ["openai", "azure"])
async def test_hosted_servers_get_a_strict_schema_of_the_common_subset(server: Any) -> None:
    _, (request,) = await ask(hostile.fine, server=server)
    sent = request.body["response_format"]["json_schema"]
    assert sent["strict"] is True
    assert "maxLength" not in str(sent)
    assert "minItems" not in str(sent)
    assert sent["schema"]["required"] == ["ok"]
    assert request.body["max_completion_tokens"] == 50
    assert "max_tokens" not in request.body


@pytest.mark.parametrize("server", ["vllm", "llama.cpp", "ollama"])
async def test_own_servers_get_the_whole_schema(server: Any) -> None:
    _, (request,) = await ask(hostile.fine, server=server)
    sent = request.body["response_format"]["json_schema"]
    assert sent["schema"] == REQUEST.schema
    assert "strict" not in sent
    assert request.body["max_tokens"] == 50


async def test_azure_takes_its_key_in_its_own_header() -> None:
    _, (request,) = await ask(hostile.fine, server="azure")
    assert request.headers["api-key"] == "sk-test"
    assert "authorization" not in request.headers


async def test_an_own_server_without_a_key_gets_none() -> None:
    _, (request,) = await ask(hostile.fine, server="vllm", api_key=None)
    assert "authorization" not in request.headers


async def test_what_the_sdk_reads_from_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "OPENAI_API_KEY": "sk-environment",
        "OPENAI_ORG_ID": "org-environment",
        "OPENAI_PROJECT_ID": "proj-environment",
        "OPENAI_CUSTOM_HEADERS": "X-Custom: environment\nAuthorization: Bearer environment",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    _, (request,) = await ask(hostile.fine)
    assert "environment" not in str(request.headers)
    assert request.headers["authorization"] == "Bearer sk-test"
    assert not [name for name in request.headers if name.startswith(("openai", "x-stainless"))]


async def test_the_trace_is_carried_to_the_endpoint() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    with TracerProvider().get_tracer("t").start_as_current_span("chat") as span:
        _, (request,) = await ask(hostile.fine)
    assert f"{span.get_span_context().trace_id:032x}" in request.headers["traceparent"]


async def test_egress_refuses_what_is_not_on_the_list() -> None:
    from integrations.http import Egress, httpx2_async_transport

    async with hostile.hostile(hostile.fine) as server:
        client = OpenAI("model", server.url, "k", httpx2_async_transport(Egress(["https://api.openai.com"]), "model"))
        with pytest.raises(Denied):
            await client.complete(REQUEST, 2.0)
        await client.aclose()
        allowed = Egress([server.url])
        client = OpenAI("model", server.url, "k", httpx2_async_transport(allowed, "model"))
        assert (await client.complete(REQUEST, 2.0)).answered_by == MODEL
        await client.aclose()
    assert len(server.requests) == 1
    assert allowed.counts["127.0.0.1"].requests == 1


async def test_a_cancelled_call_frees_its_connection() -> None:
    async with hostile.hostile(hostile.hang) as server:
        client = OpenAI("model", server.url, "k", httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=1)))
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.complete(REQUEST, 30.0)
        server.behave = hostile.fine
        assert (await client.complete(REQUEST, 2.0)).text
        await client.aclose()


async def test_the_scripted_model_keeps_the_same_contract() -> None:
    scripted: ModelEndpoint = ScriptedModel(["one", Malformed("scripted", "broken")])
    assert (await scripted.complete(REQUEST, 1.0)).answered_by == MODEL
    with pytest.raises(Malformed):
        await scripted.complete(REQUEST, 1.0)
    slow = ScriptedModel(["late"], delay_seconds=5.0)
    with pytest.raises(Unavailable) as late:
        await slow.complete(REQUEST, 0.05)
    assert late.value.answer_lost
