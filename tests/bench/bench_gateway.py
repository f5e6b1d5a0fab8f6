"""What the gateway adds to a bare `openai` call, what 10,000 waiting calls hold, and what is sent in an outage.

Bars: 3 ms added at p50 and p99 (store, reservation, record and retries included), 1.1 requests a call and 10 more with
the circuit breaker off, at most one a call after it has opened. The endpoint is another process on loopback, the prompt
a triage's. Both ways are measured in turn, in rounds; the figures are of the round in which the bare calls had the
shortest tail, which is the one that other work on the machine disturbed least.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx2
import openai

import prompts
from bot.clock import ManualClock, SystemClock
from bot.model.admission import AdmissionLimits
from bot.model.breaker import BreakerLimits
from bot.model.call import ModelCall
from bot.store.sqlite import SqliteStore
from bot.triage.compose import compose
from integrations.errors import Unavailable
from integrations.fixtures import ScriptedModel
from integrations.openai import OpenAI
from tests.bench.run import ROOT, Measured
from tests.support.calls import NEVER_OPENS, PIN, call, gateway
from tests.support.memory_store import MemoryStore
from tests.support.ranked import AT, ranked

CALLS, ROUNDS = 200, 6
BAR_MS = 3.0


def rows() -> Iterator[Measured]:
    yield from _overhead()
    yield from asyncio.run(_queued(10_000))
    yield from asyncio.run(_outage(10_000))


def _overhead() -> Iterator[Measured]:
    command = [sys.executable, "-m", "tests.support.hostile", "fine"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        rounds = asyncio.run(_compare(server.stdout.readline().strip()))
    finally:
        server.terminate()
        server.wait()
    bare, ours = min(rounds, key=lambda one: _quantile(one[0], 0.99))
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        plain, through = _quantile(bare, share), _quantile(ours, share)
        yield Measured(f"gateway: bare openai call, {name}", plain, "ms", CALLS)
        yield Measured(f"gateway: added per call, {name}", through - plain, "ms", CALLS, BAR_MS)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


async def _compare(url: str) -> list[tuple[list[float], list[float]]]:
    """Per round, milliseconds of the same question, bare and through the gateway."""
    question = _question()
    http = httpx2.AsyncClient(trust_env=False, follow_redirects=False)
    client = openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0, http_client=http)
    endpoint = OpenAI("model", url, "k", httpx2.AsyncHTTPTransport())
    rounds: list[tuple[list[float], list[float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder) / "sitrep.db")
        asked = gateway(store, endpoint, clock=SystemClock())
        for number in range(ROUNDS * CALLS):
            began = perf_counter()
            await client.chat.completions.create(**_body(question))
            between = perf_counter()
            await asked.complete(replace(question, workflow_id=f"triage:{number}"), 10.0)
            ended = perf_counter()
            if number % CALLS == 0:
                rounds.append(([], []))
            rounds[-1][0].append((between - began) * 1000)
            rounds[-1][1].append((ended - between) * 1000)
        await asked.aclose()
        await store.close()
    await client.close()
    await endpoint.aclose()
    return rounds


def _question() -> ModelCall:
    """A triage's prompt, with its schema."""
    prompt = prompts.load("triage", 1)
    composed = compose(ranked(), prompt, fence="0123456789abcdef", token_budget=6000, context_tokens=100_000)
    return call(system=composed.system, user=composed.user, schema=composed.schema, schema_name=prompt.schema_name)


def _body(question: Any) -> dict[str, Any]:
    return {
        "model": PIN.name,
        "messages": [
            {"role": "system", "content": question.system},
            {"role": "user", "content": question.user},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": question.schema_name, "schema": question.schema, "strict": True},
        },
        "max_completion_tokens": question.max_output_tokens,
        "temperature": 0,
    }


async def _queued(count: int) -> list[Measured]:
    """Calls that wait behind a slow endpoint: memory per call, and how fast the next one is refused."""
    store, endpoint = MemoryStore(), ScriptedModel(["{}"], delay_seconds=60.0)
    limits = AdmissionLimits(concurrency=16, queue=count)
    asked = gateway(store, endpoint, clock=SystemClock(), admission=limits)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tasks = [asyncio.create_task(asked.complete(call(number), 30.0)) for number in range(count + 16)]
    while asked.state().get(PIN.endpoint, {}).get("waiting", 0) < count:
        await asyncio.sleep(0.01)
    held = (tracemalloc.get_traced_memory()[0] - before) / 1e6
    tracemalloc.stop()
    refused = []
    for number in range(21):
        began = perf_counter()
        await asked.complete(call(2 * count + number), 30.0)
        refused.append((perf_counter() - began) * 1000)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()
    return [
        Measured(f"gateway: memory of {count} queued calls", held, "MB", count, 150.0),
        Measured("gateway: a full queue refuses in, p50", _quantile(refused, 0.5), "ms", len(refused), 5.0),
    ]


async def _outage(calls: int) -> list[Measured]:
    """Requests sent for each logical call while the endpoint answers 503 to everything."""
    found = []
    for name, breaker, bar in (("breaker off", NEVER_OPENS, 1.1 + 10 / calls), ("breaker on", BreakerLimits(), 1.0)):
        store, clock = MemoryStore(), ManualClock(AT)
        endpoint = ScriptedModel([Unavailable("model", "answered 503")])
        asked = gateway(store, endpoint, clock=clock, breaker=breaker)
        for number in range(calls):
            await asked.complete(call(number), 30.0)
        await store.close()
        sent = len(endpoint.requests) / calls
        found.append(Measured(f"gateway: requests per call in an outage, {name}", sent, "requests", calls, bar))
    return found
