"""The gateway: one deadline, one layer of retries, every outcome of the enum, everything recorded."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.clock import ManualClock, SystemClock
from bot.model import spend, transcript
from bot.model.admission import AdmissionLimits
from bot.model.attempts import Attempts, Ended, GatewayLimits, Guards, Run
from bot.model.breaker import BreakerLimits
from bot.model.call import Answer, Refusal, Reply
from bot.model.gateway import Gateway
from bot.model.rate import Rates
from bot.model.spend import Ceilings, Payer
from bot.model.transcript import CallRecord
from bot.settings import RetentionSection as Retention
from bot.store.retention import enforce
from bot.store.values import to_time
from integrations.errors import Denied, IntegrationError, Malformed, Refused, Unavailable
from integrations.fixtures import ScriptedModel
from integrations.ports import Completion, PromptRequest
from tests.support.calls import NEVER_OPENS, PIN, call, gateway
from tests.support.memory_store import MemoryStore
from tests.support.ranked import AT

PAYER = Payer("T1", "triage:P1:1", "infer", "triage", PIN.name, incident_id="P1")
DOWN = Unavailable("model", "answered 503")
LOST = Unavailable("model", "no answer in 5 s", answer_lost=True)


@pytest.fixture
async def store():
    opened = MemoryStore()
    yield opened
    await opened.close()


def completion(**more: object) -> Completion:
    plain = Completion(
        text="{}", answered_by=PIN.name, tokens_in=1000, tokens_cached=400, tokens_out=100, finish_reason="stop"
    )
    return replace(plain, **more)


def outcome(reply: Reply) -> str:
    return reply.outcome if isinstance(reply, Refusal) else "answered"


async def rows(store: MemoryStore, table: str) -> list[dict[str, object]]:
    """After the books of every call are written."""
    for _ in range(50):
        await asyncio.sleep(0)
    return await store.query(f"SELECT * FROM {table}")


async def test_an_answer_is_paid_by_its_usage_and_recorded(store):
    endpoint = ScriptedModel([completion(fingerprint="fp_1")])
    asked = gateway(store, endpoint)
    reply = await asked.complete(call(), 5.0)
    assert isinstance(reply, Answer)
    assert reply.usage.cost_usd == pytest.approx((600 * 0.4 + 400 * 0.1 + 100 * 1.6) / 1e6)
    (recorded,) = await rows(store, "calls")
    assert recorded["id"] == reply.usage.call_id
    assert recorded["outcome"] == "rejected"
    assert recorded["reason"] == transcript.NOT_CHECKED
    assert (recorded["tokens_in"], recorded["tokens_cached"], recorded["tokens_out"]) == (1000, 400, 100)
    assert recorded["fingerprint"] == "fp_1"
    assert json.loads(recorded["evidence"]) == ["e1"]
    (spent,) = await rows(store, "spend")
    assert spent["state"] == "settled"
    assert spent["settled_usd"] == pytest.approx(reply.usage.cost_usd)
    await asked.conclude("T1", "triage", reply.usage, "released")
    (recorded,) = await rows(store, "calls")
    assert (recorded["outcome"], recorded["reason"]) == ("released", "")


async def test_only_parameters_that_the_pin_accepts_are_sent(store):
    endpoint = ScriptedModel(["{}"])
    await gateway(store, endpoint).complete(call(), 5.0)
    assert endpoint.requests[0].parameters == {"temperature": 0}


@pytest.mark.parametrize(
    ("line", "expected", "requests"),
    [
        (completion(answered_by="gpt-4.1-mini"), "wrong_model", 1),
        (completion(refusal="no"), "model_refused", 1),
        (completion(finish_reason="length"), "truncated", 1),
        (Malformed("model", "html"), "malformed", 1),
        (Denied("model", "401"), "off", 1),
        (Refused("model", "400", code="x"), "malformed", 1),
        (DOWN, "off", 4),
        (Unavailable("model", "429", retry_after_seconds=3600), "deadline", 1),
        (Unavailable("model", "429", retry_after_seconds=0.1), "off", 4),
    ],
)
async def test_each_end_of_a_call_has_its_outcome_and_its_requests(store, line, expected, requests):
    endpoint = ScriptedModel([line])
    reply = await gateway(store, endpoint, breaker=NEVER_OPENS).complete(call(), 30.0)
    assert outcome(reply) == expected
    assert len(endpoint.requests) == requests
    (recorded,) = await rows(store, "calls")
    assert recorded["outcome"] == expected
    assert recorded["attempts"] == requests
    assert isinstance(reply, Refusal)
    assert reply.reason
    assert reply.reason[0].islower()


async def test_without_a_model_the_reason_says_so(store):
    reply = await gateway(store, ScriptedModel(["{}"]), pins={}).complete(call(), 5.0)
    assert reply == Refusal("off", "no model is configured for triage")


async def test_a_retry_that_succeeds_is_an_answer(store):
    endpoint = ScriptedModel([DOWN, DOWN, "{}"])
    reply = await gateway(store, endpoint).complete(call(), 30.0)
    assert isinstance(reply, Answer)
    assert reply.usage.attempts == 3


async def test_an_attempt_whose_answer_was_lost_is_paid_in_full(store):
    endpoint = ScriptedModel([LOST, completion()])
    asked = gateway(store, endpoint)
    reply = await asked.complete(call(), 30.0)
    assert isinstance(reply, Answer)
    answered = (600 * 0.4 + 400 * 0.1 + 100 * 1.6) / 1e6
    full = PIN.prices.cost_usd(6 + 11 + 13, 0, 100)  # bytes / 1.4 of system, user and schema, and the longest answer
    assert reply.usage.cost_usd == pytest.approx(answered + full)


async def test_a_second_attempt_waits_at_least_as_long_as_they_say(store):
    clock = ManualClock(AT)
    endpoint = ScriptedModel([Unavailable("model", "429", retry_after_seconds=4.0), "{}"])
    await gateway(store, endpoint, clock=clock).complete(call(), 30.0)
    assert 4.0 <= clock.monotonic() <= 4.5


async def test_no_retry_is_begun_that_would_end_after_the_deadline(store):
    clock = ManualClock(AT)
    endpoint = ScriptedModel([Unavailable("model", "429", retry_after_seconds=4.0)])
    reply = await gateway(store, endpoint, clock=clock).complete(call(), 4.0)
    assert outcome(reply) == "deadline"
    assert clock.monotonic() == 0.0


class Hanging:
    """An endpoint that ignores its timeout, as no endpoint of ours does: the gateway's own deadline must hold."""

    name = "hanging"

    async def complete(self, request: PromptRequest, timeout_seconds: float) -> Completion:
        await asyncio.sleep(30)
        raise AssertionError("nobody waits so long")


async def test_the_deadline_holds_whatever_the_endpoint_does(store):
    asked = gateway(store, Hanging(), clock=SystemClock())
    began = asyncio.get_running_loop().time()
    reply = await asked.complete(call(), 0.2)
    assert asyncio.get_running_loop().time() - began < 0.6
    assert outcome(reply) == "deadline"
    (spent,) = await rows(store, "spend")
    assert spent["state"] == "settled"
    assert spent["settled_usd"] == spent["reserved_usd"] > 0
    assert asked.state()[PIN.endpoint]["in_flight"] == 0


async def test_a_cancelled_call_is_settled_at_its_full_amount(store):
    asked = gateway(store, Hanging(), clock=SystemClock())
    task = asyncio.create_task(asked.complete(call(), 5.0))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (spent,) = await rows(store, "spend")
    assert spent["state"] == "settled"
    assert spent["settled_usd"] == spent["reserved_usd"] > 0


async def test_what_a_dead_process_left_open_is_settled_in_full_at_the_next_start(store):
    reserved = await store.transaction(lambda tx: spend.reserve(tx, PAYER, 0.5, Ceilings(), AT))
    asked = gateway(store, ScriptedModel(["{}"]))
    assert await asked.recover("T1", frozenset()) == 1
    assert await asked.recover("T1", frozenset()) == 0
    (spent,) = await rows(store, "spend")
    assert (spent["state"], spent["settled_usd"]) == ("abandoned", 0.5)
    await store.transaction(lambda tx: spend.settle(tx, reserved, 0.1, Ceilings(), AT))
    assert (await rows(store, "spend"))[0]["settled_usd"] == 0.5
    assert {row["usd"] for row in await rows(store, "spend_totals")} == {0.5}


async def test_a_living_workflow_keeps_its_reservation(store):
    asked = gateway(store, Hanging(), clock=SystemClock())
    task = asyncio.create_task(asked.complete(call(), 5.0))
    await asyncio.sleep(0.05)
    assert await asked.recover("T1", frozenset({call().workflow_id})) == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_step_that_starts_again_may_ask_once_more_and_never_a_third_time(store):
    endpoint = ScriptedModel(["{}"])
    asked = gateway(store, endpoint)
    assert [outcome(await asked.complete(call(), 5.0)) for _ in range(3)] == ["answered", "answered", "budget"]
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(
    ("ceilings", "reason"),
    [
        (Ceilings(incident_usd=1e-9), "model over its budget for this incident"),
        (Ceilings(day_usd=1e-9), "model over its daily budget"),
        (Ceilings(month_usd=1e-9), "model over its monthly budget"),
        (Ceilings(use_month_usd={"triage": 1e-9}), "model over its monthly budget for triage"),
        (Ceilings(team_month_usd={"payments": 1e-9}), "model over the team's monthly budget"),
    ],
)
async def test_at_a_ceiling_nothing_is_sent(store, ceilings, reason):
    endpoint = ScriptedModel(["{}"])
    reply = await gateway(store, endpoint, ceilings=ceilings).complete(call(team="payments"), 5.0)
    assert (outcome(reply), reply.reason) == ("budget", reason)
    assert endpoint.requests == []
    assert await rows(store, "spend") == []


async def test_a_thousand_calls_at_once_cannot_overspend_together(store):
    full = PIN.prices.cost_usd(6 + 11 + 15, 0, 100)
    endpoint = ScriptedModel([completion(tokens_in=32, tokens_cached=0, tokens_out=100)], delay_seconds=0.001)
    asked = gateway(store, endpoint, clock=SystemClock(), ceilings=Ceilings(day_usd=full * 10.5),
                    admission=AdmissionLimits(concurrency=64, queue=2000))  # fmt: skip
    replies = await asyncio.gather(*(asked.complete(call(number), 20.0) for number in range(1000)))
    assert sum(isinstance(reply, Answer) for reply in replies) == 10
    total = sum(row["settled_usd"] for row in await rows(store, "spend"))
    assert total <= full * 10.5


async def test_a_failing_endpoint_is_left_alone_and_tried_again_by_one_call(store):
    clock = ManualClock(AT)
    endpoint = ScriptedModel([DOWN])
    asked = gateway(store, endpoint, clock=clock, breaker=BreakerLimits(fewest_calls=5, open_seconds=30),
                    set={"retries": 0})  # fmt: skip
    first = [outcome(await asked.complete(call(number), 5.0)) for number in range(6)]
    assert first == ["off"] * 5 + ["breaker"]
    assert len(endpoint.requests) == 5
    clock.advance(31)
    assert outcome(await asked.complete(call(7), 5.0)) == "off"
    assert outcome(await asked.complete(call(8), 5.0)) == "breaker"
    assert len(endpoint.requests) == 6
    endpoint.script = ["{}"]
    clock.advance(61)
    assert outcome(await asked.complete(call(9), 5.0)) == "answered"
    assert asked.state()[PIN.endpoint]["breaker"] == "closed"


async def test_a_probe_is_never_repeated(store):
    clock = ManualClock(AT)
    endpoint = ScriptedModel([DOWN])
    asked = gateway(store, endpoint, clock=clock, breaker=BreakerLimits(fewest_calls=2, open_seconds=1))
    await asked.complete(call(1), 5.0)
    sent = len(endpoint.requests)
    clock.advance(2)
    await asked.complete(call(2), 5.0)
    assert len(endpoint.requests) == sent + 1


FAILURES = (DOWN, LOST, Malformed("m", "x"), Denied("m", "x"), Refused("m", "x", code="c"), "{}")


async def outage(calls: int, seed: int, breaker: BreakerLimits) -> tuple[Gateway, ScriptedModel]:
    """So many calls, one after another, against an endpoint that fails by the seed (0: always 503)."""
    store = MemoryStore()
    dice = random.Random(seed)
    weights = [1.0, 0, 0, 0, 0, 0] if seed == 0 else [dice.random() for _ in FAILURES]
    endpoint = ScriptedModel([DOWN])
    script: list[str | Completion | IntegrationError] = list(dice.choices(FAILURES, weights, k=calls * 4 + 10))
    endpoint.script = script
    asked = gateway(store, endpoint, breaker=breaker, set={"retries": 10})
    for number in range(calls):
        await asked.complete(call(number), 1000.0)
    await store.close()
    return asked, endpoint


@given(st.sampled_from([10, 100]), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
async def test_requests_stay_within_the_retry_budget_under_any_sequence_of_failures(calls: int, seed: int) -> None:
    _, endpoint = await outage(calls, seed, NEVER_OPENS)
    assert len(endpoint.requests) <= 1.1 * calls + 10


async def test_requests_stay_within_the_retry_budget_in_a_total_outage_of_10_000_calls() -> None:
    """On the attempts alone: the same retries without ten thousand reservations in a database."""
    clock, endpoint = ManualClock(AT), ScriptedModel([DOWN])
    limits = GatewayLimits(retries=10, breaker=NEVER_OPENS)
    guards, attempts = Guards(clock, limits), Attempts(clock, limits, random.Random(1))

    async def extend(run: Run) -> None:
        pass

    for number in range(10_000):
        run = Run(PIN, guards, CallRecord(str(number), call(number), AT), clock.monotonic() + 1000, 0.0, 0)
        with pytest.raises(Ended):
            await attempts.send(run, endpoint, extend)
    assert 10_900 <= len(endpoint.requests) <= 11_010


@given(st.sampled_from([10, 100]), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
async def test_after_the_circuit_opened_no_call_sends_more_than_one_request(calls: int, seed: int) -> None:
    store, clock = MemoryStore(), ManualClock(AT)
    dice = random.Random(seed)
    endpoint = ScriptedModel([DOWN])
    asked = gateway(store, endpoint, clock=clock, breaker=BreakerLimits(fewest_calls=3, open_seconds=5))
    for number in range(5):
        await asked.complete(call(number), 1000.0)
    assert asked.state()[PIN.endpoint]["breaker"] == "open"
    before = len(endpoint.requests)
    for number in range(calls):
        clock.advance(dice.choice([0, 1, 10, 400]))
        await asked.complete(call(100 + number), 1000.0)
    assert len(endpoint.requests) - before <= calls
    await store.close()


async def test_the_next_approved_pin_is_asked_only_where_the_chain_is_on(store):
    down, up = ScriptedModel([Malformed("model", "x")]), ScriptedModel(["{}"])
    assert outcome(await gateway(store, down, up).complete(call(1), 5.0)) == "malformed"
    assert up.requests == []
    reply = await gateway(store, down, up, may_stand_in=lambda pin: True).complete(call(2), 5.0)
    assert isinstance(reply, Answer)
    assert reply.usage.model == "other-1-2025-04-14"
    assert [row["model"] for row in await rows(store, "calls")] == [PIN.name, PIN.name, "other-1-2025-04-14"]


async def test_the_chain_has_one_deadline(store):
    asked = gateway(store, Hanging(), Hanging(), Hanging(), clock=SystemClock(), may_stand_in=lambda pin: True)
    began = asyncio.get_running_loop().time()
    assert outcome(await asked.complete(call(), 0.4)) == "deadline"
    assert asyncio.get_running_loop().time() - began < 0.9


async def test_a_ceiling_is_not_walked_around_by_the_chain(store):
    up = ScriptedModel(["{}"])
    asked = gateway(store, ScriptedModel(["{}"]), up, may_stand_in=lambda pin: True, ceilings=Ceilings(day_usd=1e-9))
    assert outcome(await asked.complete(call(), 5.0)) == "budget"
    assert up.requests == []


async def test_a_repeated_question_is_answered_from_the_cache_and_marked(store):
    endpoint = ScriptedModel(["{}"])
    asked = gateway(store, endpoint)
    first = await asked.complete(call(1, use="ask"), 5.0)
    second = await asked.complete(call(2, use="ask", incident_id="P1"), 5.0)
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert second.text == first.text
    assert second.usage.cache_hit
    assert second.usage.cost_usd == 0
    assert len(endpoint.requests) == 1
    assert [row["cache_hit"] for row in await rows(store, "calls")] == [0, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"audience": '[["sre"]]'},
        {"workspace_id": "T2"},
        {"snapshot": "other"},
        {"user": "what else"},
        {"prompt_sha256": "1" * 64},
        {"schema": {"type": "array"}},
    ],
)
async def test_another_audience_snapshot_or_question_is_not_answered_from_the_cache(store, change):
    endpoint = ScriptedModel(["{}"])
    asked = gateway(store, endpoint)
    await asked.complete(call(1, use="ask"), 5.0)
    await asked.complete(call(2, use="ask", **change), 5.0)
    assert len(endpoint.requests) == 2


async def test_the_fence_mark_is_no_part_of_the_question(store):
    endpoint = ScriptedModel(["{}"])
    asked = gateway(store, endpoint)
    await asked.complete(call(1, use="ask", user="aaaa1111 x", fence="aaaa1111"), 5.0)
    await asked.complete(call(2, use="ask", user="bbbb2222 x", fence="bbbb2222"), 5.0)
    assert len(endpoint.requests) == 1


async def test_a_live_triage_is_never_answered_from_the_cache(store):
    endpoint = ScriptedModel(["{}"])
    asked = gateway(store, endpoint)
    await asked.complete(call(1), 5.0)
    await asked.complete(call(2), 5.0)
    assert len(endpoint.requests) == 2


async def test_a_cached_answer_is_forgotten_after_its_time(store):
    clock, endpoint = ManualClock(AT), ScriptedModel(["{}"])
    asked = gateway(store, endpoint, clock=clock)
    await asked.complete(call(1, use="ask"), 5.0)
    clock.advance(301)
    await asked.complete(call(2, use="ask"), 5.0)
    assert len(endpoint.requests) == 2


async def test_transcripts_are_redacted_and_say_when_they_expire(store):
    endpoint = ScriptedModel([DOWN, completion(text="the key is hunter2")])
    asked = gateway(store, endpoint, redact=lambda text: text.replace("hunter2", "<secret>"))
    reply = await asked.complete(call(user="about hunter2"), 30.0)
    assert isinstance(reply, Answer)
    first, second = await rows(store, "transcripts")
    assert first["request"] == "be brief\n\nabout <secret>"
    assert "503" in first["answer"]
    assert (second["request"], second["answer"]) == ("", "the key is <secret>")
    assert to_time(first["expires_at"]) - to_time(first["created_at"]) == timedelta(days=30)


async def test_transcripts_are_purged_when_their_time_is_over_and_calls_are_kept(store):
    clock = ManualClock(AT)
    asked = gateway(store, ScriptedModel(["{}"]), clock=clock, set={"transcripts_kept": timedelta(days=3)})
    await asked.complete(call(), 30.0)
    kept = {"transcripts_days": 30, "outcomes_days": 1000, "signals_days": 30, "evidence_days": 90}
    days = Retention(**kept).model_dump()
    await rows(store, "transcripts")
    await enforce(store, "T1", days, AT + timedelta(days=2))
    assert len(await rows(store, "transcripts")) == 1
    await enforce(store, "T1", days, AT + timedelta(days=4))
    assert await rows(store, "transcripts") == []
    assert len(await rows(store, "calls")) == 1


async def test_a_question_larger_than_the_context_is_not_sent(store):
    endpoint = ScriptedModel(["{}"])
    reply = await gateway(store, endpoint).complete(call(user="x" * 150_000), 5.0)
    assert (outcome(reply), endpoint.requests) == ("not_admitted", [])


async def test_a_rate_that_is_used_up_makes_calls_wait_and_then_go(store):
    clock, endpoint = ManualClock(AT), ScriptedModel(["{}"])
    asked = gateway(store, endpoint, clock=clock, rates=Rates(requests_per_minute=2, tokens_per_minute=1e9))
    for number in range(4):
        assert outcome(await asked.complete(call(number), 600.0)) == "answered"
    assert 59 <= clock.monotonic() <= 62


async def test_a_rate_that_is_used_up_until_the_deadline_is_not_admitted(store):
    endpoint = ScriptedModel(["{}"])
    asked = gateway(store, endpoint, clock=SystemClock(), rates=Rates(requests_per_minute=1, tokens_per_minute=1e9))
    assert outcome(await asked.complete(call(1), 1.0)) == "answered"
    reply = await asked.complete(call(2), 0.2)
    assert outcome(reply) == "not_admitted"
    assert len(endpoint.requests) == 1
    await asked.aclose()


async def test_batch_leaves_a_share_of_the_rate_to_live_incidents(store):
    endpoint = ScriptedModel(["{}"])
    asked = gateway(store, endpoint, clock=SystemClock(), rates=Rates(requests_per_minute=5, tokens_per_minute=1e9))
    for number in range(4):
        assert (
            outcome(await asked.complete(call(number, use="batch", priority="batch", user=f"{number}"), 1.0))
            == "answered"
        )
    assert outcome(await asked.complete(call(5, use="batch", priority="batch", user="5"), 0.1)) == "not_admitted"
    assert outcome(await asked.complete(call(6), 1.0)) == "answered"
    await asked.aclose()


async def test_a_full_queue_refuses_at_once(store):
    endpoint = ScriptedModel(["{}"], delay_seconds=0.2)
    asked = gateway(store, endpoint, clock=SystemClock(), admission=AdmissionLimits(concurrency=1, queue=2))
    replies = await asyncio.gather(*(asked.complete(call(number), 5.0) for number in range(6)))
    assert sorted(map(outcome, replies)) == ["answered"] * 3 + ["not_admitted"] * 3


async def test_what_was_estimated_too_much_goes_back_into_the_bucket(store):
    endpoint = ScriptedModel([completion(tokens_in=10, tokens_out=10)])
    clock = ManualClock(AT)
    asked = gateway(store, endpoint, clock=clock, rates=Rates(requests_per_minute=1e9, tokens_per_minute=200))
    for number in range(5):  # each estimated at 132 tokens, and really 20
        assert outcome(await asked.complete(call(number), 600.0)) == "answered"
    assert clock.monotonic() < 40


async def test_a_warning_is_noted_once_when_a_ceiling_is_four_fifths_used(store):
    full = PIN.prices.cost_usd(32, 0, 100)
    endpoint = ScriptedModel([completion(tokens_in=32, tokens_cached=0, tokens_out=100)])
    asked = gateway(store, endpoint, ceilings=Ceilings(month_usd=full * 10))
    for number in range(9):
        await asked.complete(call(number), 5.0)
    (notice,) = await rows(store, "notices")
    assert notice["kind"] == "spend"
    assert "has reached 80% of its ceiling" in json.loads(notice["detail"])["text"]
