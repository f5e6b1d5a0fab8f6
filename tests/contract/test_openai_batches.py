"""The batch door: what is uploaded and asked, what becomes of every request, and that money is never short."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from bot.clock import ManualClock
from bot.model import batch_rows, spend
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
        self.metadata: dict[str, str] = {}

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
            self.uploaded += [json.loads(line) for line in content.splitlines() if line.startswith("{")]
            return httpx2.Response(200, json={"id": "file-in", "object": "file"})
        if (request.method, path) == ("POST", "/batches"):
            made = json.loads(request.content)
            self.metadata = made.pop("metadata")
            assert made == {
                "input_file_id": "file-in", "endpoint": "/v1/chat/completions", "completion_window": "24h",
            }  # fmt: skip
            return httpx2.Response(200, json={"id": "batch_1", "status": "validating"})
        if (request.method, path) == ("GET", "/batches"):
            others: list[Any] = [{"id": "batch_0", "status": "completed", "metadata": None}, "?"]
            mine = {"id": "batch_1", "status": "in_progress", "metadata": self.metadata}
            return httpx2.Response(200, json={"object": "list", "data": [*others, *([mine] if self.metadata else [])]})
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
    state = await client.submit(asked, "m1", 5.0)
    assert (state.id, state.ended) == ("batch_1", False)
    state = await client.state(state.id, 5.0)
    assert (state.status, state.ended, state.output_file) == ("completed", True, "file-out")
    found = await client.results(state, asked, 5.0)
    assert {key: one.text for key, one in found.items() if isinstance(one, Completion)} == {"a": "{}", "b": "{}"}
    again = await client.find("m1", 5.0)
    assert again is not None
    assert again.id == "batch_1"
    assert await client.find("m2", 5.0) is None
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
    await client.submit({"a": ASKED}, "m1", 5.0)
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
    state = await client.state((await client.submit(asked, "m1", 5.0)).id, 5.0)
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
        await client.submit({"a": ASKED}, "m1", 5.0)
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


# --- a process that dies while its batch is with the provider ---------------------------------------------------------


class Dies(Exception):
    """kill -9, as far as a test can: nothing of the desk runs after it."""


class DyingDoor:
    """The door of a process that ends at a step."""

    name = "model"

    def __init__(self, inner: Batches, at: str) -> None:
        self._inner, self._at = inner, at

    async def submit(self, requests: Any, mark: str, timeout_seconds: float) -> Any:
        if self._at == "before":
            raise Dies
        state = await self._inner.submit(requests, mark, timeout_seconds)
        if self._at == "submitted":
            raise Dies
        return state

    async def state(self, batch_id: str, timeout_seconds: float) -> Any:
        raise Dies

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def ask(desk: BatchDesk, numbers: Sequence[int], run: str, seconds: float = 3600.0) -> list[Reply]:
    """The same questions by whichever process, each with a workflow of its own."""
    tasks = [
        asyncio.create_task(
            desk.complete(
                call(n, use="batch", priority="batch", workflow_id=f"eval:{run}", step=f"case {n}", user=f"q{n}"), 1.0
            )
        )
        for n in numbers
    ]
    while desk.waiting < len(numbers):
        await asyncio.sleep(0)
    try:
        await desk.send(seconds)
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def a_desk(store: MemoryStore, door: Any) -> BatchDesk:
    return BatchDesk(
        store, ManualClock(AT), CHEAP, door, ceilings=Ceilings(), limits=GatewayLimits(), redact=lambda text: text
    )


@pytest.mark.parametrize("at", ["submitted", "state"])
async def test_what_a_dead_process_sent_is_collected_by_the_next_and_paid_once(at: str) -> None:
    store, door = MemoryStore(), Door(all_good, looks=2)
    client = batches(door)
    with pytest.raises(Dies):
        await ask(a_desk(store, DyingDoor(client, at)), [1, 2], "one")
    assert {row["state"] for row in await store.query("SELECT state FROM spend")} == {"open"}
    living = await batch_rows.living(store, "T1", AT)
    assert living == {"eval:one"}
    assert await store.transaction(lambda tx: spend.settle_abandoned(tx, "T1", living, AT)) == 0

    replies = await ask(a_desk(store, client), [2, 3], "two")
    assert all(isinstance(reply, Answer) for reply in replies)
    assert door.requests.count(("POST", "/batches")) == 2, "the third question is new, the second is not sent again"
    assert [line["body"]["messages"][1]["content"] for line in door.uploaded] == ["q1", "q2", "q3"]
    spent = await store.query("SELECT workflow_id, step, state FROM spend ORDER BY workflow_id, step")
    assert [(row["workflow_id"], row["step"], row["state"]) for row in spent] == [
        ("eval:one", "case 1", "settled"), ("eval:one", "case 2", "settled"), ("eval:two", "case 3", "settled"),
    ]  # fmt: skip
    assert await store.query("SELECT * FROM batch_requests") == []
    assert len(await store.query("SELECT id FROM calls")) == 3
    await client.aclose()
    await store.close()


async def test_what_never_reached_the_provider_is_paid_in_full_and_asked_again() -> None:
    store, door = MemoryStore(), Door(all_good)
    client = batches(door)
    with pytest.raises(Dies):
        await ask(a_desk(store, DyingDoor(client, "before")), [1], "one")
    (reply,) = await ask(a_desk(store, client), [1], "two")
    assert isinstance(reply, Answer)
    spent = await store.query("SELECT workflow_id, settled_usd, reserved_usd FROM spend ORDER BY workflow_id")
    assert spent[0]["settled_usd"] == spent[0]["reserved_usd"]
    assert 0 < spent[1]["settled_usd"] < spent[1]["reserved_usd"]
    await client.aclose()
    await store.close()


async def test_while_the_door_is_down_nothing_is_given_up() -> None:
    store, door = MemoryStore(), Door(all_good)
    client = batches(door)
    with pytest.raises(Dies):
        await ask(a_desk(store, DyingDoor(client, "state")), [1], "one")
    door.fail["GET /batches/batch_1"] = httpx2.Response(503)
    (reply,) = await ask(a_desk(store, client), [1], "two")
    assert isinstance(reply, Refusal)
    assert reply.outcome == "off"
    assert len(await store.query("SELECT * FROM batch_requests")) == 1
    door.fail.clear()
    (reply,) = await ask(a_desk(store, client), [1], "three")
    assert isinstance(reply, Answer)
    assert door.requests.count(("POST", "/batches")) == 1
    await client.aclose()
    await store.close()


async def test_after_a_day_nobody_waits_for_it() -> None:
    store, door = MemoryStore(), Door(all_good)
    client = batches(door)
    with pytest.raises(Dies):
        await ask(a_desk(store, DyingDoor(client, "state")), [1], "one")
    later = AT + batch_rows.LONGEST + timedelta(seconds=1)
    living = await batch_rows.living(store, "T1", later)
    assert living == frozenset()
    assert await store.transaction(lambda tx: spend.settle_abandoned(tx, "T1", living, later)) == 1
    await client.aclose()
    await store.close()
