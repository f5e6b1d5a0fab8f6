"""The spine: the way to the 202 under load, webhook to facts card, what a triage costs, start-up, installed size.

The door is measured at 170 deliveries a second for 10 s with two triages of the demo's incident a second running
beside; bar: 50 ms for the 99th percentile. Everything runs on this machine: the outside systems (in a process of
their own), a Slack in memory and the load share its cores with the bot.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import httpx

from demo.bot_process import BotProcess, settings
from tests.bench.run import ROOT, Measured
from tests.workflow.fake_slack import FakeSlack

RATE, SECONDS, TRIAGES_A_SECOND = 170, 10, 2
CONNECTIONS = 24
SECRET = "demo-webhook-secret"


def rows() -> Iterator[Measured]:
    yield from _start_up()
    yield _installed()
    with tempfile.TemporaryDirectory() as name, FakeSlack() as slack, _systems() as systems:
        environment = {**systems["environment"], "SLACK_BOT_TOKEN": "xoxb-bench", "SLACK_API_URL": slack.url}
        bot = BotProcess(pathlib.Path(name) / "home", environment, settings(systems["urls"]))
        yield from asyncio.run(_running(bot, slack, systems["urls"]["control"]))


@contextlib.contextmanager
def _systems() -> Iterator[dict[str, Any]]:
    """The outside systems in a process of their own and behind the bot's in line: they stand for other machines."""
    command = ["nice", "-n", "19", sys.executable, "-m", "demo.systems"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        # Linux shares the cores between sessions first: a process that is nice is so within its own session only.
        with contextlib.suppress(OSError):
            pathlib.Path(f"/proc/{process.pid}/autogroup").write_text("10")
        assert process.stdout is not None
        lines = ""
        while not lines.endswith("}\n") or lines.count("{") != lines.count("}"):
            line = process.stdout.readline()
            assert line, f"the outside systems ended with {process.wait()}"
            lines += line
        try:
            yield json.loads(lines)
        finally:
            process.terminate()


def _start_up() -> Iterator[Measured]:
    taken = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "bot", "--help"], cwd=ROOT, check=True, capture_output=True)
        taken.append(time.perf_counter() - began)
    yield Measured("sitrep --help, median", round(statistics.median(taken), 3), "s", len(taken), bar=0.5)


def _installed() -> Measured:
    prefix = pathlib.Path(sys.prefix)
    size = sum(p.lstat().st_blocks * 512 for p in prefix.rglob("*"))  # as `du` counts
    return Measured("environment installed", round(size / 1e6), "MB", 1, bar=300)


def _delivery(number: int, incident_id: str, kind: str = "incident.triggered") -> tuple[bytes, dict[str, str]]:
    data = {
        "id": incident_id, "type": "incident", "number": number, "status": "triggered", "title": "checkout-api fails",
        "html_url": f"https://tea-shop.pagerduty.com/incidents/{incident_id}", "urgency": "high",
        "service": {"id": "PSVCCHK", "summary": "checkout-api"}, "created_at": "2026-11-24T22:47:50Z",
        "body": {"details": "x" * 2400},
    }  # fmt: skip
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {"id": f"01BENCH{number:09d}", "event_type": kind, "occurred_at": now, "data": data}
    body = json.dumps({"event": event}).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return body, {"X-PagerDuty-Signature": f"v1={signature}", "Content-Type": "application/json"}


async def _running(bot: BotProcess, slack: FakeSlack, control: str) -> list[Measured]:
    began = time.perf_counter()
    await bot.start()
    found = [Measured("sitrep serve, until healthy", round(time.perf_counter() - began, 2), "s", 1)]
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=bot.url, trust_env=False, limits=limits, timeout=30) as client:
        found += await _facts(bot, client, slack, control)
        found.append(await _first_post(bot, client, slack, control))
    before = len(slack.messages)
    found += await _door(bot.port)
    # Cards are posted once and then edited; what was posted in those ten seconds was triaged in them.
    found.append(Measured("cards posted meanwhile", len(slack.messages) - before, "", 1))
    await bot.stop()
    return found


async def _facts(bot: BotProcess, client: httpx.AsyncClient, slack: FakeSlack, control: str) -> list[Measured]:
    """One incident at a time: from the delivery to the facts card at Slack, and what it costs the bot's process."""
    taken, cpu = [], []
    for number in range(5):
        answer = await client.post(f"{control}/trigger")
        incident_id = str(answer.raise_for_status().json()["data"]["id"])
        slack.messages.clear()
        spent = _cpu_seconds(bot.pid)
        began = time.perf_counter()
        body, headers = _delivery(900_000 + number, f"{incident_id[:-2]}{number:02d}")
        (await client.post("/webhooks/pagerduty", content=body, headers=headers)).raise_for_status()
        while not any("checkout-api" in json.dumps(m) for m in slack.messages):
            await asyncio.sleep(0.02)
            if time.perf_counter() - began > 60:
                raise TimeoutError("no facts card within 60 s")
        taken.append(time.perf_counter() - began)
        await asyncio.sleep(3)
        cpu.append(_cpu_seconds(bot.pid) - spent)
    return [
        Measured("webhook to facts card, median", round(statistics.median(taken), 2), "s", len(taken)),
        Measured(
            "CPU of one triage (main process and worker), median", round(statistics.median(cpu), 2), "s", len(cpu)
        ),
        Measured("memory of the bot after five triages", _rss_mb(bot.pid), "MB", 1),
    ]


async def _first_post(bot: BotProcess, client: httpx.AsyncClient, slack: FakeSlack, control: str) -> Measured:
    """From the delivery to whatever is posted first, while every request to a source takes so long that a source has
    answered after half a second."""
    for system in ("pagerduty", "prometheus", "jaeger", "github"):
        await client.post(f"{control}/faults", json={"system": system, "delay_seconds": 0.12})
    taken = []
    for number in range(5):
        incident_id = str((await client.post(f"{control}/trigger")).json()["data"]["id"])
        slack.messages.clear()
        began = time.perf_counter()
        body, headers = _delivery(910_000 + number, f"{incident_id[:-2]}F{number}")
        (await client.post("/webhooks/pagerduty", content=body, headers=headers)).raise_for_status()
        while not slack.messages:
            await asyncio.sleep(0.01)
            if time.perf_counter() - began > 60:
                raise TimeoutError("no post within 60 s")
        taken.append(time.perf_counter() - began)
        await asyncio.sleep(5)
    await client.post(f"{control}/faults/reset")
    return Measured(
        "webhook to first post, sources answer in 0.5 s, median", round(statistics.median(taken), 2), "s", 5, bar=2
    )


async def _door(port: int) -> list[Measured]:
    """170 deliveries a second, spread evenly; two a second are new incidents that are triaged meanwhile.

    The sender is as lean as it can be (made-up bytes on kept connections), so that its own work is not measured.
    """
    requests = [_request(number, port) for number in range(RATE * SECONDS)]
    answers: list[float] = []
    refused = 0
    start = time.perf_counter() + 0.5

    async def connection(first: int) -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(first, len(requests), CONNECTIONS):
            await asyncio.sleep(max(0.0, start + number / RATE - time.perf_counter()))
            sent = time.perf_counter()
            writer.write(requests[number])
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split()[0]))
            answers.append(time.perf_counter() - sent)
            refused += not head.startswith(b"HTTP/1.1 202")
        writer.close()

    await asyncio.gather(*(connection(first) for first in range(CONNECTIONS)))
    ordered = sorted(answers)
    p50, p99 = (ordered[int(len(ordered) * q)] * 1000 for q in (0.5, 0.99))
    beside = f"with {TRIAGES_A_SECOND} triages/s" if TRIAGES_A_SECOND else "with no triage"
    return [
        Measured(f"webhook to 202 at {RATE}/s {beside}, p50", round(p50, 1), "ms", len(answers)),
        Measured(f"webhook to 202 at {RATE}/s {beside}, p99", round(p99, 1), "ms", len(answers), bar=50),
        Measured("deliveries that were not accepted", refused, "", len(answers), bar=0),
    ]


def _request(number: int, port: int) -> bytes:
    new = bool(TRIAGES_A_SECOND) and number % (RATE // TRIAGES_A_SECOND) == 0
    body, headers = _delivery(
        number, f"PBENCH{number if new else 0:05d}", "incident.triggered" if new else "incident.annotated"
    )
    lines = [f"POST /webhooks/pagerduty HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _family(pid: int) -> list[int]:
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    found = [pid]
    if children.exists():
        for child in children.read_text().split():
            found += _family(int(child))
    return found


def _cpu_seconds(pid: int) -> float:
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for one in _family(pid):
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def _rss_mb(pid: int) -> float:
    pages = sum(int(pathlib.Path(f"/proc/{one}/statm").read_text().split()[1]) for one in _family(pid))
    return round(pages * resource.getpagesize() / 1e6)
