"""A real Prometheus and Alertmanager and the installed command: a rule fires, a card appears; both end together."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import pathlib
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar

import httpx
import pytest

from demo.bot_process import BotProcess
from demo.slack import SlackThread
from tests.acceptance.test_way_of_an_incident import Channel

PROMETHEUS = """
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [rules.yml]
alerting: { alertmanagers: [{ static_configs: [{ targets: ["127.0.0.1:%(alertmanager)d"] }] }] }
scrape_configs: [{ job_name: shop, static_configs: [{ targets: ["127.0.0.1:%(shop)d"] }] }]
"""
RULES = """
groups:
  - name: shop
    rules:
      - alert: OrdersFail
        expr: orders_failing_ratio > 0.1
        labels: { severity: critical }
        annotations: { summary: "{{ $value | humanizePercentage }} of orders fail at {{ $labels.service }}" }
"""
ALERTMANAGER = """
route: { receiver: sitrep, group_by: [alertname], group_wait: 1s, group_interval: 2s, repeat_interval: 1h }
receivers:
  - name: sitrep
    webhook_configs:
      - url: %(bot)s/webhooks/alertmanager
        http_config: { authorization: { credentials: am-secret } }
"""
SITREP = """
[slack]
channel = "#incidents"
blocks = "classic"
[timeouts]
permit_seconds = 5
[sources.alertmanager]
readers = ["everyone"]
[sources.prometheus]
url = "http://127.0.0.1:%(prometheus)d"
readers = ["everyone"]
deadline_seconds = 6
[services.checkout-api]
prometheus = { service = "checkout-api" }
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Shop(http.server.ThreadingHTTPServer):
    """What Prometheus scrapes: one gauge by service."""

    failing: ClassVar[dict[str, float]] = {"checkout-api": 0.0}


class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        lines = [f'orders_failing_ratio{{service="{name}"}} {ratio}' for name, ratio in Shop.failing.items()]
        body = ("# TYPE orders_failing_ratio gauge\n" + "\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
        return


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop(("127.0.0.1", 0), Metrics)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@contextlib.asynccontextmanager
async def running(*command: str) -> AsyncIterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)


async def until(url: str, holds: Callable[[Any], bool]) -> None:
    """Asks until the answer holds, at most a minute."""
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
                if holds((await client.get(url)).json()):
                    return
            await asyncio.sleep(0.1)
    raise AssertionError(f"{url} never said what was waited for")


async def test_a_real_rule_fires_and_the_card_appears_and_is_resolved_when_it_ends(
    tmp_path: pathlib.Path, shop: Shop, slack: SlackThread, without_part: Callable[[str, str], None]
) -> None:
    for part in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(part) is None:
            without_part(part, "`make test-parts` installs it")
    ports = {"prometheus": free_port(), "alertmanager": free_port(), "shop": shop.server_address[1]}
    bot = BotProcess(
        tmp_path / "home", {**slack.environment(), "ALERTMANAGER_WEBHOOK_SECRETS": "am-secret"}, SITREP % ports
    )
    (tmp_path / "prometheus.yml").write_text(PROMETHEUS % ports)
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "alertmanager.yml").write_text(ALERTMANAGER % {"bot": bot.url})
    await bot.start()
    channel = Channel(slack, bot)
    Shop.failing = {"checkout-api": 0.0}
    async with (
        running(
            "prometheus-alertmanager", f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/am",
            f"--web.listen-address=127.0.0.1:{ports['alertmanager']}", "--cluster.listen-address=",
        ),
        running(
            "prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb",
            f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
        ),
    ):  # fmt: skip
        asked = f"http://127.0.0.1:{ports['prometheus']}/api/v1"
        await until(f"{asked}/alertmanagers", lambda told: bool(told["data"]["activeAlertmanagers"]))
        await until(f"{asked}/query?query=orders_failing_ratio", lambda told: bool(told["data"]["result"]))
        Shop.failing = {"checkout-api": 0.38}
        card = await channel.card_says("38% of orders fail at checkout-api", "SEV2")
        assert len(await channel.cards()) == 1
        Shop.failing = {"checkout-api": 0.0}
        await channel.card_says("Resolved")
        assert len(await channel.cards()) == 1
        assert "checkout-api" in json.dumps(card)
    assert await bot.stop() == 0, bot.log_tail()
