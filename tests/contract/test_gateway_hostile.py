"""Gateway and SDK against a real endpoint that misbehaves: bounded time, bounded requests, one outcome."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from bot.clock import SystemClock
from bot.model.admission import AdmissionLimits
from bot.model.breaker import BreakerLimits
from bot.model.call import Answer, Refusal, Reply
from bot.store.sqlite import SqliteStore
from integrations.openai import OpenAI
from tests.support import hostile
from tests.support.calls import NEVER_OPENS, PIN, call, gateway


@pytest.fixture
async def store(tmp_path):
    opened = SqliteStore.open(tmp_path / "sitrep.db")
    yield opened
    await opened.close()


def outcome(reply: Reply) -> str:
    return reply.outcome if isinstance(reply, Refusal) else "answered"


def endpoint(url: str, connections: int = 100) -> OpenAI:
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    return OpenAI("model", url, "k", httpx2.AsyncHTTPTransport(limits=limits))


FAST: dict[str, Any] = {"attempt_seconds": 0.7, "backoff_seconds": 0.01}
WAYS = [
    (hostile.fine, "answered"),
    (hostile.hang, "deadline"),
    (hostile.drip, "deadline"),
    (hostile.drip_headers, "deadline"),
    (hostile.reset, "off"),
    (hostile.reset_midway, "off"),
    (hostile.html, "malformed"),
    (hostile.half_json, "malformed"),
    (hostile.error_with_200, "malformed"),
    (hostile.too_many, "off"),
    (hostile.too_many_wait, "deadline"),
    (hostile.elsewhere, "malformed"),
    (hostile.huge, "malformed"),
    (hostile.other_model, "wrong_model"),
    (hostile.refuses, "model_refused"),
    (hostile.filtered, "model_refused"),
    (hostile.cut_off, "truncated"),
    (hostile.no_choices, "malformed"),
    (hostile.broken, "off"),
    (hostile.unauthorised, "off"),
    (hostile.unacceptable, "malformed"),
    (hostile.not_http, "off"),
]


@pytest.mark.parametrize(("behave", "expected"), WAYS, ids=lambda value: getattr(value, "__name__", ""))
async def test_each_way_ends_within_the_deadline_in_one_outcome(store, behave, expected):
    async with hostile.hostile(behave) as server:
        client = endpoint(server.url)
        asked = gateway(store, client, clock=SystemClock(), set=FAST)
        began = time.monotonic()
        reply = await asked.complete(call(), 1.2)
        assert time.monotonic() - began < 2.5
        assert outcome(reply) == expected
        assert len(server.requests) <= 4
        await client.aclose()
        await asked.aclose()
    (recorded,) = await store.query("SELECT outcome, attempts FROM calls")
    assert recorded["attempts"] >= len(server.requests) > 0
    assert recorded["outcome"] == ("rejected" if expected == "answered" else expected)
    (spent,) = await store.query("SELECT state, settled_usd FROM spend")
    assert spent["state"] == "settled"


async def every_way(writer, request, number):
    """All ways to fail at once, in turn."""
    bad = [behave for behave, expected in WAYS if expected != "answered"]
    await bad[number % len(bad)](writer, request, number)


@pytest.mark.parametrize(
    "behave",
    [hostile.hang, hostile.drip, hostile.too_many, hostile.reset, hostile.html, hostile.half_json,
     hostile.error_with_200, every_way],
    ids=lambda b: b.__name__,
)  # fmt: skip
async def test_a_thousand_calls_at_once_end_together_within_the_deadline(store, behave):
    async with hostile.hostile(behave) as server:
        client = endpoint(server.url)
        asked = gateway(store, client, clock=SystemClock(), breaker=NEVER_OPENS, set=FAST | {"attempt_seconds": 30.0},
                        admission=AdmissionLimits(concurrency=64, queue=2000))  # fmt: skip
        began = time.monotonic()
        replies = await asyncio.gather(*(asked.complete(call(number), 2.0) for number in range(1000)))
        seconds = time.monotonic() - began
        await client.aclose()
        await asked.aclose()
    found = Counter(map(outcome, replies))
    expected = {said for way, said in WAYS if way is behave or behave is every_way} - {"answered"}
    assert set(found) <= expected | {"deadline", "not_admitted", "off"}
    assert sum(found.values()) == 1000
    assert seconds < 15, found  # 2 s and what two busy cores need to write a thousand records
    assert len(server.requests) <= 1110
    open_ones = await store.query("SELECT count(*) AS n FROM spend WHERE state = 'open'")
    assert open_ones[0]["n"] == 0


async def test_a_thousand_calls_at_once_are_all_answered(store):
    async with hostile.hostile(hostile.fine) as server:
        client = endpoint(server.url)
        asked = gateway(store, client, clock=SystemClock(), admission=AdmissionLimits(concurrency=64, queue=2000))
        replies = await asyncio.gather(*(asked.complete(call(number), 60.0) for number in range(1000)))
        await client.aclose()
        await asked.aclose()
    assert Counter(map(outcome, replies)) == {"answered": 1000}
    assert len(server.requests) == 1000
    assert server.open_most <= 64


async def test_an_open_circuit_sends_nothing_and_costs_no_time(store):
    async with hostile.hostile(hostile.broken) as server:
        client = endpoint(server.url)
        asked = gateway(store, client, clock=SystemClock(), breaker=BreakerLimits(fewest_calls=5), set=FAST)
        for number in range(5):
            await asked.complete(call(number), 2.0)
        sent = len(server.requests)
        replies = await asyncio.gather(*(asked.complete(call(100 + number), 2.0) for number in range(200)))
        await client.aclose()
        await asked.aclose()
    assert Counter(map(outcome, replies)) == {"breaker": 200}
    assert len(server.requests) == sent


async def test_the_fallback_takes_over_within_the_same_deadline(store):
    async with hostile.hostile(hostile.hang) as bad, hostile.hostile(hostile.fine) as good:
        first, second = endpoint(bad.url), endpoint(good.url)
        other = replace(PIN, name="other-2025-04-14", answers_as=(hostile.MODEL,), endpoint=good.url)
        asked = gateway(
            store,
            first,
            second,
            clock=SystemClock(),
            may_stand_in=lambda pin: True,
            set={"attempt_seconds": 0.7, "retries": 0},
        )
        asked._pins = {"triage": (PIN, other)}
        asked._endpoints = {PIN.name: first, other.name: second}
        began = time.monotonic()
        reply = await asked.complete(call(), 2.0)
        assert time.monotonic() - began < 2.5
        assert isinstance(reply, Answer)
        await asked.aclose()
        await first.aclose()
        await second.aclose()
