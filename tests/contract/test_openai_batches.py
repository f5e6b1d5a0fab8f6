"""The batch door: what is uploaded and asked, what becomes of every request, and that money is never short."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from bot.clock import ManualClock
from bot.model.attempts import GatewayLimits
from bot.model.batches import BatchDesk
from bot.model.call import Answer, Refusal, Reply
from bot.model.spend import Ceilings
from integrations.errors import Denied, Malformed, Unavailable
from integrations.openai_batches import Batches
from integrations.ports import Completion, PromptRequest
from tests.support.calls import PIN, call
from tests.support.hostile import completion
from tests.support.memory_store import MemoryStore
from tests.support.ranked import AT

URL = "https://api.openai.com/v1"
CHEAP = replace(PIN, batch_price=0.5)
ASKED = PromptRequest(PIN.name, "be brief", "what is on fire", "report", {"type": "object"}, 100, {"temperature": 0})


class Door:
    """The provider's side: files and batches in memory; `answer` makes the lines of the two files."""

    def __init__(self, answer: Callable[[list[dict[str, Any]]], tuple[list[Any], list[Any]]], looks: int = 1) -> None:
        self.answer, self.looks = answer, looks
        self.requests: list[tuple[str, str]] = []
        self.uploaded: list[dict[str, Any]] = []
        self.status = "completed"
        self.fail: dict[str, httpx2.Response] = {}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path.removeprefix("/v1")
        self.requests.append((request.method, path))
        assert request.headers["authorization"] == "Bearer k"
        if failed := self.fail.get(f"{request.method} {path}"):
            return failed
        if (request.method, path) == ("POST", "/files"):
            content = request.content.decode()
            assert 'name="purpose"' in content
            assert "\r\n\r\nbatch\r\n" in content
            self.uploaded = [json.loads(line) for line in content.splitlines() if line.startswith("{")]
            return httpx2.Response(200, json={"id": "file-in", "object": "file"})
        if (request.method, path) == ("POST", "/batches"):
            assert json.loads(request.content) == {
                "input_file_id": "file-in", "endpoint": "/v1/chat/completions", "completion_window": "24h",
            }  # fmt: skip
            return httpx2.Response(200, json={"id": "batch_1", "status": "validating"})
        if path.endswith("/cancel"):
            return httpx2.Response(200, json={"id": "batch_1", "status": "cancelling"})
        if path == "/batches/batch_1":
            self.looks -= 1
            if self.looks > 0:
                return httpx2.Response(200, json={"id": "batch_1", "status": "in_progress"})
            told = {"id": "batch_1", "status": self.status, "output_file_id": "file-out", "error_file_id": "file-bad"}
            return httpx2.Response(200, json=told)
        good, bad = self.answer(self.uploaded)
        lines = good if path == "/files/file-out/content" else bad
        return httpx2.Response(200, text="\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines))


def ok(line: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": completion("{}", **more)}}


def all_good(lines: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    return [ok(line) for line in reversed(lines)], []


def batches(door: Door, server: Any = "openai") -> Batches:
    return Batches("model", URL, "k", httpx2.MockTransport(door), server)


async def test_requests_go_up_as_a_file_and_answers_come_back_by_their_ids() -> None:
    door = Door(all_good)
    client = batches(door)
    asked = {"a": ASKED, "b": replace(ASKED, user="and now")}
    state = await client.submit(asked, 5.0)
    assert (state.id, state.ended) == ("batch_1", False)
    state = await client.state(state.id, 5.0)
    assert (state.status, state.ended, state.output_file) == ("completed", True, "file-out")
    found = await client.results(state, asked, 5.0)
    assert {key: one.text for key, one in found.items() if isinstance(one, Completion)} == {"a": "{}", "b": "{}"}
    first = door.uploaded[0]
    assert (first["custom_id"], first["method"], first["url"]) == ("a", "POST", "/v1/chat/completions")
    assert first["body"]["max_completion_tokens"] == 100
    assert first["body"]["response_format"]["json_schema"]["strict"] is True
    assert "extra_headers" not in first["body"]
    await client.aclose()


async def test_azure_writes_the_path_without_the_version() -> None:
    door = Door(all_good)
    door.fail["POST /batches"] = httpx2.Response(200, json={"id": "batch_1", "status": "validating"})
    client = Batches("model", URL, "k", httpx2.MockTransport(lambda r: _azure(door, r)), "azure")
    await client.submit({"a": ASKED}, 5.0)
    assert door.uploaded[0]["url"] == "/chat/completions"
    await client.aclose()


def _azure(door: Door, request: httpx2.Request) -> httpx2.Response:
    assert request.headers["api-key"] == "k"
    request.headers["authorization"] = "Bearer k"
    return door(request)


async def test_every_line_is_a_completion_or_one_error() -> None:
    def answer(lines: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
        def failed(status: int) -> dict[str, Any]:
            return {"status_code": status, "body": {"error": {"message": "sk-secret"}}}

        a, b, c, d, e = lines[:5]
        good = [
            ok(a), {"custom_id": b["custom_id"], "response": {"status_code": 200, "body": {"error": "no"}}},
            {"custom_id": "nobody", "response": {"status_code": 200, "body": completion("evil")}}, "", [1],
        ]  # fmt: skip
        bad = [
            {"custom_id": c["custom_id"], "response": failed(429)},
            {"custom_id": d["custom_id"], "response": failed(401)},
            {"custom_id": e["custom_id"], "response": None, "error": {"code": "batch_expired", "message": "late"}},
        ]
        return good, bad

    client = batches(Door(answer))
    asked = dict.fromkeys("abcdef", ASKED)
    state = await client.state((await client.submit(asked, 5.0)).id, 5.0)
    found = await client.results(state, asked, 5.0)
    assert {key: type(one) for key, one in found.items()} == {
        "a": Completion, "b": Malformed, "c": Unavailable, "d": Denied, "e": Unavailable,
    }  # fmt: skip
    assert not any("sk-secret" in str(one) for one in found.values())
    await client.aclose()


@pytest.mark.parametrize(
    ("where", "response", "error"),
    [
        ("POST /files", httpx2.Response(503), Unavailable),
        ("POST /files", httpx2.Response(401, json={"error": {"message": "sk-secret"}}), Denied),
        ("POST /files", httpx2.Response(200, text="<html>"), Malformed),
        ("POST /files", httpx2.Response(200, json={"id": 5}), Malformed),
        ("POST /batches", httpx2.Response(200, json=["batch_1"]), Malformed),
        ("POST /batches", httpx2.Response(307, headers={"location": "https://evil.example"}), Malformed),
    ],
)
async def test_what_the_door_answers_otherwise_is_one_error(where: str, response: httpx2.Response, error: Any) -> None:
    door = Door(all_good)
    door.fail[where] = response
    client = batches(door)
    with pytest.raises(error) as caught:
        await client.submit({"a": ASKED}, 5.0)
    assert "sk-secret" not in str(caught.value)
    await client.aclose()


# --- the desk ---------------------------------------------------------------------------------------------------------


async def desk_of(
    door: Door, calls: int = 3, seconds: float = 3600.0, ceilings: Ceilings | None = None
) -> tuple[list[Reply], list[dict[str, Any]], list[dict[str, Any]]]:
    """Replies, rows of `spend`, rows of `calls`."""
    store, clock, client = MemoryStore(), ManualClock(AT), batches(door)
    desk = BatchDesk(
        store, clock, CHEAP, client, ceilings=ceilings or Ceilings(), limits=GatewayLimits(), redact=lambda text: text
    )
    tasks = [asyncio.create_task(desk.complete(call(n, use="batch", priority="batch"), 1.0)) for n in range(calls)]
    while desk.waiting < calls:
        await asyncio.sleep(0)
    await desk.send(seconds)
    replies = await asyncio.gather(*tasks)
    spent = await store.query("SELECT state, reserved_usd, settled_usd FROM spend ORDER BY workflow_id")
    kept = await store.query("SELECT outcome, attempts, cost_usd FROM calls ORDER BY id")
    await client.aclose()
    await store.close()
    return replies, spent, kept


async def test_answers_are_paid_by_their_usage_at_the_doors_price() -> None:
    door = Door(all_good, looks=3)
    replies, spent, kept = await desk_of(door)
    assert all(isinstance(reply, Answer) for reply in replies)
    whole = PIN.prices.cost_usd(100, 64, 20)
    assert [row["settled_usd"] for row in spent] == [pytest.approx(whole / 2)] * 3
    assert {row["state"] for row in spent} == {"settled"}
    assert {row["outcome"] for row in kept} == {"rejected"}, "not checked yet"
    assert door.requests.count(("POST", "/batches")) == 1


async def test_what_has_no_answer_when_the_batch_has_ended_costs_nothing_and_is_said() -> None:
    door = Door(lambda lines: ([ok(lines[0])], []))
    door.status = "expired"
    replies, spent, _ = await desk_of(door, 2)
    assert isinstance(replies[0], Answer)
    assert isinstance(replies[1], Refusal)
    assert (replies[1].outcome, replies[1].reason) == ("deadline", "the batch ended expired")
    assert [row["settled_usd"] > 0 for row in spent] == [True, False]


async def test_at_the_deadline_the_batch_is_cancelled_and_what_may_be_charged_is_paid_in_full() -> None:
    door = Door(all_good, looks=10**6)
    replies, spent, _ = await desk_of(door, 2, seconds=100.0)
    assert ("POST", "/batches/batch_1/cancel") in door.requests
    assert [reply.outcome for reply in replies if isinstance(reply, Refusal)] == ["deadline", "deadline"]
    assert all(row["settled_usd"] == row["reserved_usd"] > 0 for row in spent)


async def test_a_ceiling_holds_before_anything_is_uploaded() -> None:
    door = Door(all_good)
    replies, spent, kept = await desk_of(door, ceilings=Ceilings(use_month_usd={"batch": 1e-9}))
    assert [reply.outcome for reply in replies if isinstance(reply, Refusal)] == ["budget"] * 3
    assert (door.requests, spent) == ([], [])
    assert [row["attempts"] for row in kept] == [0, 0, 0]


async def test_another_model_in_a_batch_is_wrong_model_and_is_paid() -> None:
    door = Door(lambda lines: ([ok(line, model="gpt-4o") for line in lines], []))
    replies, spent, _ = await desk_of(door, 1)
    assert [reply.outcome for reply in replies if isinstance(reply, Refusal)] == ["wrong_model"]
    assert spent[0]["settled_usd"] > 0


async def test_an_upload_that_is_refused_costs_nothing() -> None:
    door = Door(all_good)
    door.fail["POST /files"] = httpx2.Response(503)
    replies, spent, _ = await desk_of(door, 1)
    assert [reply.outcome for reply in replies if isinstance(reply, Refusal)] == ["off"]
    assert spent[0]["settled_usd"] == 0
