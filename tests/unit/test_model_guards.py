"""Breaker, admission, rate and cache, each alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.clock import ManualClock, SystemClock
from bot.model import rate
from bot.model.admission import Admission, AdmissionLimits, NotAdmitted
from bot.model.breaker import Breaker, BreakerLimits, State
from bot.model.cache import Cache
from bot.model.rate import Rates
from bot.model.retry_budget import RetryBudget
from bot.model.tokens import estimate, estimate_text
from integrations.ports import Completion
from tests.support.memory_store import MemoryStore
from tests.support.ranked import AT

LIMITS = BreakerLimits(window_seconds=10, fewest_calls=4, open_seconds=30, open_seconds_most=100, slow_seconds=2)


def breaker() -> tuple[Breaker, ManualClock]:
    clock = ManualClock(AT)
    return Breaker(clock, LIMITS), clock


def opened() -> tuple[Breaker, ManualClock]:
    made, clock = breaker()
    for _ in range(4):
        made.failed(made.admit())
    assert made.state is State.OPEN
    return made, clock


def test_a_few_failures_mean_nothing() -> None:
    made, _ = breaker()
    for _ in range(3):
        made.failed(made.admit())
    assert made.state is State.CLOSED


def test_it_opens_at_the_error_rate_and_lets_nothing_through() -> None:
    made, _ = breaker()
    for _ in range(2):
        made.succeeded(made.admit(), 0.1)
    made.failed(made.admit())
    assert made.state is State.CLOSED
    made.failed(made.admit())
    assert made.state is State.OPEN
    assert made.admit() == 0
    assert not made.retry_allowed


def test_it_opens_when_nearly_all_answers_are_slow() -> None:
    made, _ = breaker()
    for _ in range(4):
        made.succeeded(made.admit(), 2.5)
    assert made.state is State.OPEN


def test_failures_outside_the_window_are_forgotten() -> None:
    made, clock = breaker()
    for _ in range(3):
        made.failed(made.admit())
    clock.advance(11)
    made.failed(made.admit())
    assert made.state is State.CLOSED


def test_one_probe_at_a_time_and_its_success_closes() -> None:
    made, clock = opened()
    clock.advance(30)
    assert made.state is State.HALF_OPEN
    probe = made.admit()
    assert probe
    assert made.admit() == 0
    made.succeeded(probe, 0.1)
    assert made.state is State.CLOSED
    assert made.admit()


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_the_most() -> None:
    made, clock = opened()
    for wait in (30, 60, 100, 100):
        clock.advance(wait - 1)
        assert made.admit() == 0
        clock.advance(1)
        made.failed(made.admit())
        assert made.state is State.OPEN


def test_a_probe_that_was_given_up_lets_another_one_try() -> None:
    made, clock = opened()
    clock.advance(30)
    made.unknown(made.admit())
    assert made.admit()


def test_an_answer_from_before_it_opened_changes_nothing() -> None:
    made, clock = breaker()
    early = made.admit()
    for _ in range(4):
        made.failed(made.admit())
    made.succeeded(early, 0.1)
    assert made.state is State.OPEN
    clock.advance(30)
    made.admit()
    made.succeeded(early, 0.1)
    assert made.state is State.HALF_OPEN
    assert made.admit() == 0


@given(st.lists(st.sampled_from(["admit", "ok", "fail", "unknown", "wait"]), max_size=200))
def test_whatever_happens_no_more_than_one_probe_is_out(steps: list[str]) -> None:
    made, clock = opened()
    out: list[int] = []
    for step in steps:
        if step == "admit":
            half = made.state is State.HALF_OPEN
            passed = made.admit()
            if passed:
                current = [one for one in out if one == passed]
                assert not (half and current)
                out.append(passed)
        elif step == "wait":
            clock.advance(31)
        elif out:
            passed = out.pop()
            if step == "ok":
                made.succeeded(passed, 0.1)
            elif step == "fail":
                made.failed(passed)
            else:
                made.unknown(passed)


# --- retry budget --------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=2000))
def test_retries_never_exceed_a_tenth_of_calls_and_the_floor(steps: list[bool]) -> None:
    budget = RetryBudget()
    calls = retries = 0
    for is_call in steps:
        if is_call:
            budget.deposit()
            calls += 1
        else:
            retries += budget.withdraw()
        assert retries <= calls * 0.1 + 10


def test_a_quiet_day_does_not_pay_for_a_storm() -> None:
    budget = RetryBudget(recent_calls=100)
    for _ in range(100_000):
        budget.deposit()
    assert budget.retries_left == 20


@pytest.mark.parametrize("wrong", [{"ratio": -0.1}, {"ratio": 1.1}, {"floor": -1}, {"recent_calls": -1}])
def test_a_budget_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not a retry budget"):
        RetryBudget(**wrong)  # type: ignore[arg-type]


# --- admission ------------------------------------------------------------------------------------------------------


async def test_no_more_than_the_limit_are_let_in() -> None:
    admission = Admission(SystemClock(), AdmissionLimits(concurrency=3, queue=100))
    inside = most = 0

    async def one() -> None:
        nonlocal inside, most
        await admission.enter("T1", "live")
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.001)
        inside -= 1
        admission.leave("live")

    await asyncio.gather(*(one() for _ in range(50)))
    assert most == 3
    assert (admission.in_flight, admission.waiting) == (0, 0)


async def order(admission: Admission, wanted: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """In which order these (workspace, priority) are let in while one slot is taken and given back again and again."""
    await admission.enter("T0", "live")
    got: list[tuple[str, str]] = []

    async def one(workspace: str, priority: str) -> None:
        await admission.enter(workspace, priority)  # type: ignore[arg-type]
        got.append((workspace, priority))
        admission.leave(priority)  # type: ignore[arg-type]

    tasks = [asyncio.create_task(one(*who)) for who in wanted]
    await asyncio.sleep(0)
    admission.leave("live")
    await asyncio.gather(*tasks)
    return got


async def test_live_incidents_go_before_batch() -> None:
    got = await order(
        Admission(SystemClock(), AdmissionLimits(concurrency=1)),
        [("T1", "batch"), ("T1", "batch"), ("T1", "live"), ("T1", "live")],
    )
    assert [priority for _, priority in got] == ["live", "live", "batch", "batch"]


async def test_workspaces_take_turns() -> None:
    got = await order(
        Admission(SystemClock(), AdmissionLimits(concurrency=1)),
        [("T1", "live")] * 4 + [("T2", "live")] * 2,
    )
    assert [workspace for workspace, _ in got] == ["T1", "T2", "T1", "T2", "T1", "T1"]


async def test_batch_never_holds_all_slots() -> None:
    admission = Admission(SystemClock(), AdmissionLimits(concurrency=4, batch_share=0.5))
    await admission.enter("T1", "batch")
    await admission.enter("T1", "batch")
    third = asyncio.create_task(admission.enter("T1", "batch"))
    await asyncio.sleep(0)
    assert not third.done()
    await admission.enter("T1", "live")
    admission.leave("batch")
    await third


async def test_a_full_queue_refuses_the_newcomer() -> None:
    admission = Admission(SystemClock(), AdmissionLimits(concurrency=1, queue=1))
    await admission.enter("T1", "live")
    waiting = asyncio.create_task(admission.enter("T1", "live"))
    await asyncio.sleep(0)
    with pytest.raises(NotAdmitted):
        await admission.enter("T1", "live")
    admission.leave("live")
    await waiting


async def test_in_a_full_queue_batch_gives_way_to_live() -> None:
    admission = Admission(SystemClock(), AdmissionLimits(concurrency=1, queue=1))
    await admission.enter("T1", "live")
    batch = asyncio.create_task(admission.enter("T1", "batch"))
    await asyncio.sleep(0)
    live = asyncio.create_task(admission.enter("T1", "live"))
    with pytest.raises(NotAdmitted, match="live incident took the place"):
        await batch
    admission.leave("live")
    await live


async def test_in_a_full_queue_the_workspace_with_most_gives_way_to_one_with_fewer() -> None:
    admission = Admission(SystemClock(), AdmissionLimits(concurrency=1, queue=4))
    await admission.enter("T1", "live")
    greedy = [asyncio.create_task(admission.enter("T1", "live")) for _ in range(4)]
    await asyncio.sleep(0)
    modest = asyncio.create_task(admission.enter("T2", "live"))
    await asyncio.sleep(0)
    with pytest.raises(NotAdmitted):
        await greedy[3]
    assert not modest.done()
    await admission.aclose()
    await asyncio.gather(*greedy, modest, return_exceptions=True)


async def test_who_gives_up_waiting_leaves_no_trace() -> None:
    admission = Admission(SystemClock(), AdmissionLimits(concurrency=1))
    await admission.enter("T1", "live")
    waiting = [asyncio.create_task(admission.enter("T1", "live")) for _ in range(5)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert admission.waiting == 0
    admission.leave("live")
    await admission.enter("T1", "live")
    assert admission.in_flight == 1


async def test_who_is_cancelled_in_the_moment_of_being_let_in_gives_the_slot_back() -> None:
    admission = Admission(SystemClock(), AdmissionLimits(concurrency=1))
    await admission.enter("T1", "live")
    waiting = asyncio.create_task(admission.enter("T1", "live"))
    await asyncio.sleep(0)
    admission.leave("live")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert admission.in_flight == 0


async def test_closing_refuses_who_waits() -> None:
    admission = Admission(SystemClock(), AdmissionLimits(concurrency=1))
    await admission.enter("T1", "live")
    waiting = asyncio.create_task(admission.enter("T1", "live"))
    await asyncio.sleep(0)
    await admission.aclose()
    with pytest.raises(NotAdmitted, match="shutting down"):
        await waiting


# --- rate ---------------------------------------------------------------------------------------------------------

RATES = Rates(requests_per_minute=60, tokens_per_minute=6000, live_share=0.2)


async def taken(store: MemoryStore, tokens: int, at: float, *, live: bool = True) -> float:
    return await store.transaction(lambda tx: rate.take(tx, "https://x", RATES, tokens, live=live, now_seconds=at))


async def test_a_bucket_is_full_at_first_and_fills_again_with_time() -> None:
    store = MemoryStore()
    assert await taken(store, 6000, 0.0) == 0
    assert await taken(store, 1000, 0.0) == pytest.approx(10.0)
    assert await taken(store, 1000, 9.0) == pytest.approx(1.0)
    assert await taken(store, 1000, 10.0) == 0
    await store.close()


async def test_two_replicas_share_one_bucket() -> None:
    store = MemoryStore()
    assert await taken(store, 3000, 0.0) == 0
    assert await taken(store, 3000, -5.0) == 0  # a replica whose clock is behind
    assert await taken(store, 600, 0.0) > 0
    await store.close()


async def test_batch_leaves_its_share() -> None:
    store = MemoryStore()
    assert await taken(store, 4800, 0.0, live=False) == 0
    assert await taken(store, 1, 0.0, live=False) > 0
    assert await taken(store, 1200, 0.0) == 0
    await store.close()


async def test_a_call_larger_than_the_bucket_is_let_through_when_it_is_full() -> None:
    store = MemoryStore()
    assert await taken(store, 9000, 0.0) == 0
    assert await taken(store, 100, 0.0) == pytest.approx(31.0)
    await store.close()


# --- cache and tokens -----------------------------------------------------------------------------------------------


def test_the_cache_keeps_no_more_bytes_than_it_may_and_forgets_the_least_used_first() -> None:
    done = Completion("x" * 40, "m", 1, 0, 1, "stop")
    cache = Cache(ManualClock(AT), most_bytes=100)
    cache.put("a", done)
    cache.put("b", done)
    assert cache.get("a")
    cache.put("c", done)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (done, None, done)
    cache.put("d", replace(done, text="x" * 101))
    assert cache.get("d") is None


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("38 % of requests to checkout-api answer 503 (normal 0.2 %) since 14:02:10.", 25),
        (
            "java.sql.SQLTransientConnectionException: HikariPool-1 - Connection is not available, request timed out.",
            24,
        ),
        ('{"status":"firing","labels":{"service":"checkout-api"},"startsAt":"2026-11-24T14:02:10Z"}', 31),
        (
            "1 of 1 calls from ts-preserve-service to /api/v1/securityservice/securityConfigs/{accountId} spent 2.0 s",
            26,
        ),
        ("5f0c6c1e-6a4b-4f7e-9d34-0a1b2c3d4e5f a1b2c3d4e5f60718293a4b5c6d7e8f9012345678", 64),
        ("kubectl rollout undo deployment/checkout-api -n shop && kubectl get pods -o wide", 19),
        ("ZXlKaGJHY2lPaUpJVXpJMU5pSXNJblI1Y0NJNklrcFhWQ0o5LmV5SnpkV0lpT2lJeE1qTTBOVFkzT0Rrd0luMA==", 63),
        (
            "WARN  [2026-11-24 14:02:10,123] [http-nio-8080-exec-12] c.a.p.PoolMonitor : active=20 idle=0 waiting=187",
            46,
        ),
    ],
)
def test_the_estimates_are_not_below_what_o200k_counts(text: str, tokens: int) -> None:
    """True counts by the o200k table, counted once."""
    assert tokens <= estimate_text(text) <= estimate(text)
    assert estimate_text(text) <= 2 * tokens


def test_the_estimate_of_words_never_exceeds_the_one_that_money_is_reserved_at() -> None:
    for text in ("", "!" * 500, "数据库" * 50, "a" * 500, " \n" * 200, "Ab1" * 100):
        assert estimate_text(text) <= estimate(text)
