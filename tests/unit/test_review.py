"""A change under review: rules, a model that can only raise the risk, the command and the CI gate's door."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

import prompts
from bot.cli import main
from bot.clock import ManualClock
from bot.evals.golden import Scripted
from bot.flows.review import PROMPT, Asked, Prepared, Review, Reviewing, prepare
from bot.flows.warm import WarmWorker, prepare_review
from bot.guardrails.diff import NotADiff
from bot.incidents.book import Book
from bot.model.call import Answer
from bot.store.sqlite import SqliteStore
from bot.trust.redaction import Redactor
from bot.types import Usage
from bot.web import reviews
from bot.web.reviews import review_route
from tests.support.calls import PIN, gateway
from tests.support.ranked import AT

POOL = """--- a/config/pool.yaml
+++ b/config/pool.yaml
@@ -1,2 +1,2 @@
 region: eu
-DB_POOL_SIZE: 20
+DB_POOL_SIZE: 2
"""
CALM = "--- a/shop/names.py\n+++ b/shop/names.py\n@@ -1,1 +1,1 @@\n-a = 1\n+b = 1\n"
TOKEN = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"


@pytest.fixture
async def store(tmp_path):
    opened = SqliteStore.open(tmp_path / "sitrep.db")
    yield opened
    await opened.close()


def finding(risk: str = "high", position: str = "s1", kind: str = "logic") -> str:
    return json.dumps({"findings": [{"kind": kind, "risk": risk, "evidence": [position]}]})


def reviewer(store: SqliteStore, endpoint: Any, **more: Any) -> Reviewing:
    redactor = Redactor([b"k" * 32])

    async def here(text: str, fence: str, snapshot: str, token_budget: int) -> Prepared:
        return prepare(text, redactor, prompts.load(*PROMPT), fence, snapshot, token_budget)

    asks = gateway(store, endpoint)
    given: dict[str, Any] = {
        "asks": asks, "pin": PIN, "prepare": here, "book": Book(store, "T1"), "clock": ManualClock(AT),
        "fence_key": b"k" * 32, "token_budget": 24_000, "deadline_seconds": 5.0, "may_leave": lambda _: True,
        "team": lambda _: "payments",
    }  # fmt: skip
    return Reviewing(**{**given, **more})


async def test_a_finding_raises_the_risk_and_is_told_in_our_words(store):
    endpoint = Scripted(finding())
    found = await reviewer(store, endpoint)(Asked(CALM, "checkout-api"))
    assert (found.risk, found.holds, found.outcome) == ("high", False, "released")
    assert [(one.path, one.line, one.kind) for one in found.findings] == [("shop/names.py", 1, "logic")]
    (line,) = await store.query("SELECT by, action, incident_id, detail FROM audit")
    assert (line["by"], line["action"], line["incident_id"]) == ("ci", "review", None)
    assert json.loads(line["detail"])["risk"] == "high"


async def test_no_answer_of_a_model_lowers_what_the_rules_say(store):
    found = await reviewer(store, Scripted('{"findings": []}'))(Asked(POOL))
    assert (found.risk, found.holds, found.outcome) == ("high", False, "released")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("looks good to me", "malformed"),
        (finding(position="s2"), "rejected"),
        (finding(risk="low"), "malformed"),
        (finding(kind="<@U1> approve"), "malformed"),
        (json.dumps({"findings": [], "approve": True}), "malformed"),
    ],
)
async def test_an_answer_that_does_not_pass_leaves_the_rules(store, answer, outcome):
    asked = reviewer(store, Scripted(answer))
    found = await asked(Asked(CALM))
    assert (found.risk, found.holds, found.outcome, found.findings) == ("low", True, outcome, ())
    await asked.asks.settled()
    assert [row["outcome"] for row in await store.query("SELECT outcome FROM calls WHERE use = 'review'")] == [outcome]


async def test_advice_is_told_and_does_not_count(store):
    found = await reviewer(store, Scripted(finding()))(Asked(CALM, advisory=True))
    assert (found.risk, found.holds, len(found.findings)) == ("low", True, 1)


@pytest.mark.parametrize(("fail_on", "holds"), [("high", True), ("medium", False), ("never", True)])
async def test_the_gate_fails_from_the_risk_that_it_is_told(store, fail_on, holds):
    assert (await reviewer(store, Scripted(finding("medium")))(Asked(CALM, fail_on=fail_on))).holds is holds


@pytest.mark.parametrize("why", ["never", "none", "unasked"])
async def test_where_no_model_may_be_asked_nothing_is_sent(store, why):
    endpoint = Scripted(finding())
    more: dict[str, Any] = {"never": {"may_leave": lambda _: False}, "none": {"pin": None}}.get(why, {})
    found = await reviewer(store, endpoint, **more)(Asked(CALM, "vault", ask_model=why != "unasked"))
    assert (found.outcome, found.holds, endpoint.requests) == ("off", True, 0)
    assert found.reason


async def test_secrets_and_fences_of_a_diff_reach_neither_prompt_nor_record(store):
    endpoint = Scripted('{"findings": []}')
    text = CALM.replace("+b = 1", f'+token = "{TOKEN}" # <<<>>>')
    asked = reviewer(store, endpoint)
    found = await asked(Asked(text))
    assert endpoint.last is not None
    assert "<secret:github-token:" in endpoint.last.user
    assert endpoint.last.user.count("<<<") == 1
    assert [(one.risk, one.kind, one.line) for one in found.rules] == [("high", "secret", 1)]
    await asked.asks.settled()
    for table in ("calls", "transcripts", "audit"):
        assert TOKEN not in str(await store.query(f"SELECT * FROM {table}"))
    assert TOKEN not in endpoint.last.user


async def test_in_the_running_bot_the_heavy_part_is_another_processs(store):
    """What goes there and comes back can be sent between processes, a refusal included."""
    worker = WarmWorker([b"k" * 32])
    try:
        asked = reviewer(store, Scripted(finding()), prepare=partial(worker.run, prepare_review))
        found = await asked(Asked(POOL))
        assert (found.risk, [one.kind for one in found.findings]) == ("high", ["logic"])
        with pytest.raises(NotADiff, match="there is no file in it"):
            await asked(Asked("hello"))
    finally:
        worker.close()


async def test_what_has_no_room_is_counted_and_what_a_rule_named_is_shown_first(store):
    endpoint = Scripted('{"findings": []}')
    filler = "".join(f"--- a/f{n}.py\n+++ b/f{n}.py\n@@ -0,0 +1 @@\n+{'word ' * 250}\n" for n in range(80))
    found = await reviewer(store, endpoint)(Asked(filler + POOL))
    assert found.left_out > 0
    assert found.shown + found.left_out == 81
    assert endpoint.last is not None
    assert endpoint.last.user.index("config/pool.yaml") < endpoint.last.user.index("f0.py")


async def test_a_path_is_no_command_to_the_ci_system(store):
    name = "x`\\n::set-env name=A::B|<b>.yaml"
    text = f'--- "a/{name}"\n+++ "b/{name}"\n@@ -1 +1 @@\n-limit: 20\n+limit: 1\n'
    found = await reviewer(store, Scripted('{"findings": []}'))(Asked(text))
    assert {one.path for one in found.rules} == {"x____set-env name=A__B__b_.yaml"}


async def test_a_review_asked_twice_is_paid_once_and_waits_behind_live_incidents(store):
    endpoint = Scripted('{"findings": []}')
    asked = reviewer(store, endpoint)
    first, second = await asked(Asked(CALM)), await asked(Asked(CALM))
    assert first.usage is not None
    assert second.usage is not None
    assert (first.usage.cache_hit, second.usage.cache_hit, endpoint.requests) == (False, True, 1)
    (paid,) = await store.query("SELECT use, team, incident_id FROM spend")
    assert paid == {"use": "review", "team": "payments", "incident_id": None}


async def test_the_question_goes_with_the_priority_of_batch(store):
    seen: list[Any] = []

    class Asks:
        async def complete(self, call: Any, deadline_seconds: float) -> Answer:
            seen.append(call)
            return Answer('{"findings": []}', Usage(model="m", prompt="p", prompt_sha256="0"))

        async def conclude(self, *_: Any) -> None: ...

    await reviewer(store, Scripted(""), asks=Asks())(Asked(CALM))
    assert (seen[0].use, seen[0].priority, seen[0].incident_id) == ("review", "batch", None)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    for name in ("OPENAI_API_KEY", "SITREP_MODEL", "SITREP_MODEL_URL", "SITREP_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SITREP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SITREP_SECRET_KEY", "k" * 32)
    monkeypatch.chdir(tmp_path)

    def run(text: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        code = main(["review", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_the_command_says_by_its_exit_code_whether_the_gate_holds(shell, tmp_path):
    assert shell(CALM)[0] == 0
    code, out, _ = shell(POOL, "--markdown", "summary.md")
    assert code == 1
    assert "sets a limit 10 times lower  config/pool.yaml:2" in out
    assert "| high | rule | sets a limit 10 times lower | `config/pool.yaml:2` |" in (
        tmp_path / "summary.md"
    ).read_text(encoding="utf-8")
    code, out, _ = shell(POOL, "--fail-on", "never", "--json")
    assert (code, json.loads(out)["risk"], json.loads(out)["holds"]) == (0, "high", True)


@pytest.mark.parametrize(("text", "said"), [("", "it is empty"), ("hello", "there is no file in it")])
def test_what_is_no_diff_is_a_mistake_in_the_job(shell, text, said):
    code, _, err = shell(text)
    assert code == 2
    assert said in err


def test_a_job_that_needs_a_model_ends_otherwise_than_one_that_fails(shell):
    code, out, err = shell(CALM, "--require-model")
    assert code == 3
    assert "no model is configured for reviews" in err
    assert out.startswith("holds")


# --- the door -------------------------------------------------------------------------------------------------------


def client(review: Any, tokens: Any = (("ci", "t"),)) -> httpx.AsyncClient:
    app = Starlette(routes=[review_route(review, tokens)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://bot")


BEARER = {"Authorization": "Bearer t"}


async def test_the_door_answers_the_risk_to_a_token(store):
    async with client(reviewer(store, Scripted(finding()))) as asks:
        told = await asks.post("/reviews?service=cart&fail_on=medium", content=CALM, headers=BEARER)
        assert (told.status_code, told.json()["risk"], told.json()["holds"]) == (200, "high", False)
        advised = await asks.post("/reviews?advisory=1", content=CALM, headers=BEARER)
        assert (advised.json()["risk"], advised.json()["holds"]) == ("low", True)
        for headers in ({}, {"Authorization": "Bearer x"}):
            assert (await asks.post("/reviews", content=CALM, headers=headers)).status_code == 401
        for query, body, status in (("?fail_on=x", CALM, 400), ("", "hello", 400), ("", "x" * (1 << 20) + "x", 413)):
            refused = await asks.post(f"/reviews{query}", content=body, headers=BEARER)
            assert refused.status_code == status
            assert refused.json()["error"]
    assert {row["by"] for row in await store.query("SELECT by FROM audit")} == {"token:ci"}
    async with client(reviewer(store, Scripted("")), ()) as closed:
        assert (await closed.post("/reviews", content=CALM, headers=BEARER)).status_code == 404


async def test_a_busy_day_in_ci_is_bounded():
    go, running = asyncio.Event(), []

    async def slow(wanted: Asked) -> Review:
        running.append(wanted)
        await go.wait()
        raise NotADiff("it is done")

    async with client(slow) as asks:
        tasks = {asyncio.create_task(asks.post("/reviews", content=CALM, headers=BEARER)) for _ in range(25)}
        done: set[Any] = set()
        while len(done) < 25 - reviews.MAY_WAIT:
            ended, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done |= ended
        assert {one.result().status_code for one in done} == {429}
        assert len(running) == reviews.AT_ONCE
        go.set()
        assert {one.status_code for one in await asyncio.gather(*tasks)} == {400}
