"""`make load`: a started bot under a storm of webhooks, with incidents to triage and a model endpoint that fails.

Deliveries come at a fixed rate, some are new incidents; the model's endpoint is slow, then answers 503, then hangs, a
third of the time each. What is looked at: every delivery is accepted, every incident gets its card, once, memory stays
bounded, no request is sent to the model beyond the retry budget, and no money stays set aside when all is over.

Usage: `python -m tests.load.run [--seconds N] [--rate N] [--incidents-a-second N]`; JSON on standard output (cases: a
row every second), a line for people on standard error. Exit 0 all bars hold, 1 one does not. Everything runs on this
machine, so its figures of time are worth what else runs on it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import pathlib
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from demo.bot_process import BotProcess, settings
from tests.bench.bench_spine import CONNECTIONS, _delivery, _rss_mb, _systems
from tests.support import hostile
from tests.support.hostile import Request
from tests.workflow.fake_slack import FakeSlack

QUIET_SECONDS = 180.0
"""How long the cards may take that were still to come when the last delivery was accepted."""
PEAK_MB, GROWTH_MB = 700.0, 250.0


@dataclass(frozen=True)
class Plan:
    seconds: float = 60.0
    rate: float = 170.0
    incidents_a_second: float = 0.5
    model_seconds: float = 6.0
    """The deadline of one model call."""
    spans: bool = False
    """Whether every trace goes to `spans.jsonl` in the bot's home."""

    @property
    def deliveries(self) -> int:
        return int(self.seconds * self.rate)

    @property
    def every(self) -> int:
        """Every so many deliveries one is a new incident."""
        return max(int(self.rate / self.incidents_a_second), 1)

    @property
    def incidents(self) -> list[str]:
        return [f"PLOAD{number:06d}" for number in range(0, self.deliveries, self.every)]


@dataclass
class Model:
    """The endpoint: slow, then 503, then hanging, by the share of the plan that has passed."""

    plan: Plan
    began: float = field(default_factory=time.monotonic)
    seen: Counter[str] = field(default_factory=Counter)
    traces: list[str] = field(default_factory=list)
    """The `traceparent` of each request."""

    async def __call__(self, writer: asyncio.StreamWriter, request: Request, number: int) -> None:
        part = (time.monotonic() - self.began) / self.plan.seconds
        name = "slow" if part < 1 / 3 else "failing" if part < 2 / 3 else "hanging"
        self.seen[name] += 1
        self.traces.append(request.headers.get("traceparent", ""))
        if name == "slow":
            await asyncio.sleep(1.5)
            hostile.answer(writer, 200, hostile.completion('{"going_on": [], "cause": [], "next": []}'))
        elif name == "failing":
            await hostile.broken(writer, request, number)
        else:
            await hostile.hang(writer, request, number)


async def load(plan: Plan, home: pathlib.Path) -> dict[str, Any]:
    """Run the plan; cases, totals and bars."""
    model = Model(plan)
    async with hostile.hostile(model) as endpoint, _world(plan, home, endpoint.url) as (bot, slack):
        rows: list[dict[str, Any]] = []
        watching = asyncio.create_task(_watch(bot, slack, model, rows))
        while not rows:  # a first reading before anything comes
            await asyncio.sleep(0.05)
        model.began = time.monotonic()
        answers, refused = await _deliver(plan, bot.port)
        left = await _cards(plan, slack, bot)
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        code = await bot.stop()
        sent = sum(model.seen.values())
    return _told(plan, rows, answers, refused, left, sent, model, _cards_of(slack), _books(home / "home"), code)


@contextlib.asynccontextmanager
async def _world(plan: Plan, home: pathlib.Path, model_url: str) -> AsyncIterator[tuple[BotProcess, FakeSlack]]:
    with FakeSlack() as slack, _systems() as systems:
        environment = {
            **systems["environment"], "SLACK_BOT_TOKEN": "xoxb-load", "SLACK_API_URL": slack.url,
            "SITREP_MODEL_URL": model_url, "OPENAI_API_KEY": "sk-load",
        }  # fmt: skip
        toml = settings(systems["urls"], model_seconds=plan.model_seconds)
        if plan.spans:
            toml += f'[telemetry]\nspans_file = "{home / "home" / "spans.jsonl"}"\nshare = 1.0\n'
        bot = BotProcess(home / "home", environment, toml)
        await bot.start()
        try:
            yield bot, slack
        finally:
            await bot.stop()


async def _deliver(plan: Plan, port: int) -> tuple[list[float], int]:
    """Seconds from each delivery to its answer, and how many were not accepted."""
    answers: list[float] = []
    refused = 0
    start = time.perf_counter() + 0.2

    async def connection(first: int) -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(first, plan.deliveries, CONNECTIONS):
            request = _request(plan, number, port)
            await asyncio.sleep(max(0.0, start + number / plan.rate - time.perf_counter()))
            sent = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split()[0]))
            answers.append(time.perf_counter() - sent)
            refused += not head.startswith(b"HTTP/1.1 202")
        writer.close()

    await asyncio.gather(*(connection(first) for first in range(CONNECTIONS)))
    return answers, refused


def _request(plan: Plan, number: int, port: int) -> bytes:
    new = number % plan.every == 0
    incident = f"PLOAD{number:06d}" if new else plan.incidents[0]
    body, headers = _delivery(number, incident, "incident.triggered" if new else "incident.annotated")
    lines = [f"POST /webhooks/pagerduty HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _cards_of(slack: FakeSlack) -> Counter[str]:
    """How many cards each incident has."""
    found: Counter[str] = Counter()
    for message in list(slack.messages):
        mark = str((message["blocks"] or [{}])[0].get("block_id", ""))
        if mark.endswith(":card"):
            found[mark] += 1
    return found


async def _cards(plan: Plan, slack: FakeSlack, bot: BotProcess) -> int:
    """Wait for the cards that are still to come; how many never came."""
    until = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < until and bot.running:
        missing = len(plan.incidents) - len(_cards_of(slack))
        if missing <= 0 and not _unfinished(bot):
            return 0
        await asyncio.sleep(0.5)
    return max(len(plan.incidents) - len(_cards_of(slack)), 0)


def _unfinished(bot: BotProcess) -> int:
    """Triages that have no end yet."""
    with contextlib.closing(sqlite3.connect(bot.home / "sitrep.db", timeout=30)) as store:
        return int(store.execute("SELECT count(*) FROM triages WHERE recorded_at IS NULL").fetchone()[0])


async def _watch(bot: BotProcess, slack: FakeSlack, model: Model, rows: list[dict[str, Any]]) -> None:
    began = time.monotonic()
    while True:
        rows.append(
            {"second": round(time.monotonic() - began, 1), "rss_mb": await asyncio.to_thread(_rss_mb, bot.pid),
             "cards": len(_cards_of(slack)), "model_requests": sum(model.seen.values())}
        )  # fmt: skip
        await asyncio.sleep(1.0)


def _books(home: pathlib.Path) -> dict[str, Any]:
    """What the bot wrote down of its model calls."""
    with contextlib.closing(sqlite3.connect(home / "sitrep.db")) as store:
        outcomes = dict(store.execute("SELECT outcome, count(*) FROM calls GROUP BY outcome").fetchall())
        open_ones = store.execute("SELECT count(*) FROM spend WHERE state = 'open'").fetchone()[0]
        spent = store.execute("SELECT coalesce(sum(settled_usd), 0), count(*) FROM spend").fetchone()
        counted = store.execute("SELECT coalesce(sum(attempts), 0), count(*) FROM calls").fetchone()
        signals = store.execute("SELECT count(*) FROM signals").fetchone()[0]
    return {"outcomes": outcomes, "open": open_ones, "usd": round(spent[0], 6), "reservations": spent[1],
            "attempts": counted[0], "calls": counted[1], "signals": signals}  # fmt: skip


def _told(
    plan: Plan, rows: list[dict[str, Any]], answers: list[float], refused: int, left: int, sent: int, model: Model,
    cards: Counter[str], books: dict[str, Any], code: int,
) -> dict[str, Any]:  # fmt: skip
    ordered = sorted(answers)
    p50, p99 = (round(ordered[min(int(len(ordered) * q), len(ordered) - 1)] * 1000, 1) for q in (0.5, 0.99))
    memory = [row["rss_mb"] for row in rows]
    middle = memory[len(memory) // 2]
    allowed = 1.1 * books["calls"] + 10
    totals = {
        "deliveries": len(answers), "incidents": len(plan.incidents), "seconds": plan.seconds, "rate": plan.rate,
        "p50_ms": p50, "p99_ms": p99, "rss_mb_first": memory[0], "rss_mb_peak": max(memory), "rss_mb_middle": middle,
        "model_traces": model.traces[:50], "model_requests": sent, "model_requests_by_phase": dict(model.seen),
        **{f"books_{name}": value for name, value in books.items()},
    }  # fmt: skip
    bars = [
        _bar("deliveries not accepted", refused, 0),
        _bar("deliveries accepted and not stored", len(answers) - refused - books["signals"], 0),
        _bar("incidents without a card", left, 0),
        _bar("cards beside the first of an incident", sum(cards.values()) - len(cards), 0),
        _bar("requests to the model", sent, round(allowed, 1)),
        _bar("requests to the model that no record counts", sent - books["attempts"], 0),
        _bar("reservations left open", books["open"], 0),
        _bar("peak memory, MB", max(memory), PEAK_MB),
        _bar("memory gained after the middle, MB", max(memory[-1] - middle, 0), GROWTH_MB),
        _bar("exit code of the bot", code, 0),
    ]
    return {"cases": rows, "totals": totals, "bars": bars}


def _bar(name: str, value: float, bar: float) -> dict[str, Any]:
    return {"name": name, "value": value, "bar": bar, "holds": value <= bar}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make load", description="A storm of webhooks, with a model that fails.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=170.0, help="deliveries a second")
    parser.add_argument("--incidents-a-second", type=float, default=0.5)
    options = parser.parse_args(arguments)
    plan = Plan(options.seconds, options.rate, options.incidents_a_second)
    with tempfile.TemporaryDirectory() as name:
        told = asyncio.run(load(plan, pathlib.Path(name)))
    print(json.dumps(told))
    for bar in told["bars"]:
        print(
            f"{'ok    ' if bar['holds'] else 'FAILS '} {bar['name']}: {bar['value']} (bar {bar['bar']})",
            file=sys.stderr,
        )
    return 0 if all(bar["holds"] for bar in told["bars"]) else 1


if __name__ == "__main__":
    sys.exit(main())
