"""A process that is killed around a model call: what was sent is never more than what is recorded as spent."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bot.store.sqlite import SqliteStore
from tests.support import hostile
from tests.support.calls import PIN, call
from tests.support.hostile import Request, answer, completion

ROOT = Path(__file__).resolve().parent.parent.parent
CHILD = """
import asyncio, sys
import httpx2
from bot.clock import SystemClock
from bot.store.sqlite import SqliteStore
from integrations.openai import OpenAI
from pathlib import Path
from tests.support.calls import call, gateway

async def main(path, url):
    store = SqliteStore.open(Path(path))
    endpoint = OpenAI("model", url, "k", httpx2.AsyncHTTPTransport())
    asked = gateway(store, endpoint, clock=SystemClock(), set={"retries": 0})
    await asked.recover("T1", frozenset())
    reply = await asked.complete(call(), 30.0)
    await asked.aclose()
    await endpoint.aclose()
    await store.close()
    print(type(reply).__name__, getattr(reply, "outcome", ""), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def start(path: Path, url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(path), url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.02)


async def spend(path: Path) -> list[dict[str, object]]:
    store = SqliteStore.open(path)
    try:
        return await store.query("SELECT attempt, state, reserved_usd, settled_usd FROM spend ORDER BY attempt")
    finally:
        await store.close()


def worth(requests: int) -> float:
    """What the requests that reached the endpoint cost if each is charged for its input."""
    question = call()
    tokens = len((question.system + question.user).encode()) // 4
    return requests * PIN.prices.cost_usd(tokens, 0, 0)


async def test_a_process_killed_while_the_answer_is_awaited_has_paid_in_full_and_may_ask_once_more(tmp_path):
    path = tmp_path / "sitrep.db"

    async def first_hangs(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
        if number == 1:
            await asyncio.sleep(60)
        answer(writer, 200, completion('{"ok": true}'))

    async with hostile.hostile(first_hangs) as server:
        doomed = await start(path, server.url)

        async def sent() -> bool:
            return len(server.requests) == 1

        await until(sent)
        doomed.send_signal(signal.SIGKILL)
        await doomed.wait()
        (left,) = await spend(path)
        assert left["state"] == "open"
        assert left["reserved_usd"] >= worth(1)

        outcomes = []
        for _ in range(2):
            again = await start(path, server.url)
            assert again.stdout is not None
            outcomes.append((await again.stdout.read()).decode().split())
            await again.wait()
    assert outcomes == [["Answer"], ["Refusal", "budget"]]
    first, second = await spend(path)
    assert (first["state"], first["settled_usd"]) == ("abandoned", first["reserved_usd"])
    assert second["state"] == "settled"
    assert len(server.requests) == 2
    assert first["settled_usd"] + second["settled_usd"] >= worth(2)


@pytest.mark.parametrize("kills", [2])
async def test_killed_at_every_start_it_asks_twice_and_never_a_third_time(tmp_path, kills):
    path = tmp_path / "sitrep.db"
    async with hostile.hostile(hostile.hang) as server:
        for number in range(1, kills + 1):
            doomed = await start(path, server.url)

            async def sent(wanted: int = number) -> bool:
                return len(server.requests) == wanted

            await until(sent)
            doomed.send_signal(signal.SIGKILL)
            await doomed.wait()
        last = await start(path, server.url)
        assert last.stdout is not None
        assert (await last.stdout.read()).decode().split() == ["Refusal", "budget"]
        await last.wait()
    rows = await spend(path)
    assert [row["state"] for row in rows] == ["abandoned", "abandoned"]
    assert sum(row["settled_usd"] for row in rows) >= worth(len(server.requests))
    assert len(server.requests) == 2
