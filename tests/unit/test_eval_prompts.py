"""`sitrep eval prompts`: scripted without a model, right-sizing by use, and a model that does not pass is told."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bot.cli.eval_prompts import command
from bot.evals.golden import Case, cases
from bot.store.sqlite import SqliteStore
from tests.support import hostile
from tests.support.hostile import Request, answer, completion


def run(monkeypatch: Any, tmp_path: Path, *arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
    for name in ("OPENAI_API_KEY", "SITREP_MODEL", "SITREP_MODEL_URL", "SITREP_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SITREP_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(command, [*arguments, "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, json.loads(done.stdout)


def test_without_a_model_the_answers_of_the_cases_are_played(monkeypatch, tmp_path):
    code, told = run(monkeypatch, tmp_path)
    assert code == 0
    assert told["totals"]["endpoint"] == "scripted"
    assert told["totals"]["passed"] == told["totals"]["cases"] == len(cases())
    assert all(bar["holds"] for bar in told["bars"])
    assert told["totals"]["smallest"] == {
        "triage": "smollm2-135m-instruct-q4_1", "ask": "gpt-5-mini-2025-08-07", "review": "gpt-5-mini-2025-08-07",
        "validate": "gpt-4.1-nano-2025-04-14", "batch": "gpt-4.1-nano-2025-04-14",
    }  # fmt: skip
    assert not (tmp_path / "sitrep.db").exists(), "played answers cost nobody anything"


@pytest.fixture
def endpoint() -> Iterator[Any]:
    """A server in a thread: answers every question with what `server.says` holds."""
    loop, ready, told = asyncio.new_event_loop(), threading.Event(), {}

    async def behave(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
        answer(writer, 200, completion(told["says"](request.body), model=request.body["model"]))

    async def serve() -> None:
        async with hostile.hostile(behave) as server:
            told["url"], told["requests"], told["stop"] = server.url, server.requests, asyncio.Event()
            ready.set()
            await told["stop"].wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(30)
    yield told
    loop.call_soon_threadsafe(told["stop"].set)
    thread.join(30)
    loop.close()


def test_a_model_that_does_not_pass_is_told_and_paid_from_the_budget_of_batch(monkeypatch, tmp_path, endpoint):
    endpoint["says"] = lambda body: "{}"
    url = {"SITREP_MODEL_URL": endpoint["url"], "SITREP_MODEL": "smollm2-135m-instruct-q4_1"}
    code, told = run(monkeypatch, tmp_path, "--only", "triage", **url)
    assert code == 1
    assert told["totals"]["smallest"] == {"triage": None}
    assert [bar["holds"] for bar in told["bars"]] == [False]
    assert {row["outcome"] for row in told["cases"] if "case" in row} == {"malformed"}
    assert len(endpoint["requests"]) == len(cases("triage"))

    async def spent() -> list[Any]:
        store = SqliteStore.open(tmp_path / "sitrep.db")
        try:
            scopes = await store.query("SELECT DISTINCT scope FROM spend_totals WHERE scope LIKE 'incident:%'")
            assert scopes == [], "no incident's ceiling is touched"
            query = "SELECT workspace_id, use, count(*) AS n FROM spend GROUP BY workspace_id, use"
            return await store.query(query)
        finally:
            await store.close()

    assert asyncio.run(spent()) == [{"workspace_id": "default", "use": "batch", "n": len(cases("triage"))}]


def test_the_cheapest_model_that_passes_is_the_smallest_and_dearer_ones_are_not_asked(monkeypatch, tmp_path, endpoint):
    def claims(case: Case) -> list[str]:
        return [claim["text"] for part in case.data["given"]["claims"].values() for claim in part]

    def right(body: dict[str, Any]) -> str:
        """What a model that is right says of the claims in the prompt."""
        user = body["messages"][1]["content"]
        found = [case for case in cases("validate") if all(text in user for text in claims(case))]
        wants = found[0].data.get("wants", "pass")
        objections = [{"claim": 1, "kind": "not_supported", "evidence": ["s1"]}] if wants == "reject" else []
        return json.dumps({"verdict": wants, "objections": objections})

    shipped = (Path(__file__).parents[2] / "prompts" / "models.toml").read_text(encoding="utf-8")
    one = shipped[shipped.index('[[models]]\nname = "smollm2') :]
    one = one.replace("http://127.0.0.1:8089/v1", endpoint["url"]).replace('["triage"]', '["triage", "validate"]')
    dear = one.replace("smollm2-135m-instruct-q4_1", "larger-own-model").replace("in = 0,", "in = 9,")
    (tmp_path / "models.toml").write_text(one + dear, encoding="utf-8")
    chains = 'validate = ["larger-own-model"], triage = ["smollm2-135m-instruct-q4_1"]'
    (tmp_path / "sitrep.toml").write_text(f"[model]\nchains = {{ {chains} }}\n", encoding="utf-8")
    endpoint["says"] = right
    code, told = run(monkeypatch, tmp_path, "--only", "validate", SITREP_MODELS=str(tmp_path / "models.toml"))
    assert code == 0, told
    assert told["totals"]["smallest"] == {"validate": "smollm2-135m-instruct-q4_1"}
    rows = [row for row in told["cases"] if "smallest" in row]
    assert [(row["pin"], row["smallest"]) for row in rows] == [
        ("smollm2-135m-instruct-q4_1", True), ("larger-own-model", False),
    ]  # fmt: skip
    assert [bar["name"] for bar in told["bars"]] == ["validate: larger-own-model"], "what is configured has the bar"
