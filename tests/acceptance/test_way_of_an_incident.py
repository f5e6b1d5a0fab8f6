"""The installed command against a local Slack and the outside systems: from the signed webhook to the report."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from bot.cards import actions
from demo.bot_process import BotProcess, settings
from demo.slack import SlackThread
from demo.systems import Systems
from tests.support.slack_channel import Channel, text_of

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHANNEL = "#incidents"


@pytest.fixture
async def bot(tmp_path, systems: Systems, slack: SlackThread) -> AsyncIterator[BotProcess]:
    tokens = {"SITREP_API_TOKENS": "status-page=tok-1,nobody=tok-2"}
    toml = settings(systems.url) + '[tokens.status-page]\ngroups = ["everyone"]\n[tokens.nobody]\ngroups = []\n'
    made = BotProcess(tmp_path / "home", {**systems.environment(), **slack.environment(), **tokens}, toml)
    await made.start()
    systems.webhook_to(made.webhook_url)
    yield made
    assert await made.stop() == 0, made.log_tail()


async def test_an_incident_from_its_webhook_to_the_report(
    bot: BotProcess, systems: Systems, slack: SlackThread
) -> None:
    channel = Channel(slack, bot)
    systems.trigger()
    card = await channel.card_says("checkout-api", "no summary: no model is configured", actions.WAS_NOT)
    assert "SEV2" in text_of(card)
    assert "deploy" in text_of(card)

    await asyncio.to_thread(slack.command, CHANNEL, "/sitrep", "status", user="priya")
    await channel.private("1 open incident")
    await asyncio.to_thread(slack.click, CHANNEL, card["ts"], actions.HELPFUL, user="priya")
    await channel.private("Counted as helpful")
    await asyncio.to_thread(slack.click, CHANNEL, card["ts"], actions.WAS_CHANGE, user="priya")
    assert (await channel.form())["callback_id"] == "sitrep.form.label"
    await asyncio.to_thread(slack.submit, {"fixed_by": "rolled back"}, user="priya")
    await channel.private("The cause: ")

    incident_id = systems.state.incident["id"]
    async with httpx.AsyncClient(base_url=bot.url, trust_env=False) as client:
        seen = [
            (await client.get(f"/incidents/{incident_id}", headers=headers)).status_code
            for headers in ({}, {"Authorization": "Bearer tok-1"}, {"Authorization": "Bearer tok-2"})
        ]
        unsigned = await client.post("/webhooks/pagerduty", content=b"{}", headers={"X-PagerDuty-Signature": "v1=00"})
        metrics = (await client.get("/metrics")).text
        diff = "--- a/pool.yaml\n+++ b/pool.yaml\n@@ -1 +1 @@\n-DB_POOL_SIZE: 20\n+DB_POOL_SIZE: 2\n"
        asked = {"headers": {"Authorization": "Bearer tok-1"}, "timeout": 60.0}
        review = (await client.post("/reviews", content=diff, **asked)).json()
        no_diff = (await client.post("/reviews", content="hello", **asked)).status_code
    assert (review["risk"], review["holds"], no_diff) == ("high", False, 400)
    assert seen == [401, 200, 404]
    assert unsigned.status_code == 401
    assert "sitrep_triages" in metrics

    systems.move("acknowledged")
    await channel.card_says("Acknowledged")
    systems.move("resolved")
    await channel.card_says("Resolved")
    assert len(await channel.cards()) == 1

    code, out, err = await bot.command("report", "--week", time.strftime("%G-W%V", time.gmtime()))
    assert code == 0, err
    report = json.loads(out)
    (arm,) = report["arms"]
    assert (arm["incidents"], arm["resolved"]) == (1, 1)
    assert arm["mttr_median"] is not None
    assert report["quality"]["top1"]["whole"] == 1


async def _tell_of_a_change(url: str, secret: str, at: datetime) -> Any:
    """The line of the README, as it stands but for the address and the time; without curl, what it sends."""
    said = (ROOT / "README.md").read_text(encoding="utf-8")
    line = next(one for one in said.replace("\\\n", " ").splitlines() if one.lstrip().startswith("curl"))
    line = line.replace("http://127.0.0.1:8080", url).replace("2026-11-24T14:01:12Z", at.isoformat())
    if shutil.which("curl") is None:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            body = line.split("-d '")[1].split("'")[0]
            headers = {"Authorization": f"Bearer {secret}"}
            return (await client.post("/webhooks/changes", content=body, headers=headers)).json()
    environment = {**os.environ, "CHANGES_WEBHOOK_SECRETS": secret, "no_proxy": "*"}
    ran = await asyncio.create_subprocess_shell(
        line, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await ran.communicate()
    return json.loads(out)


async def test_a_storm_of_alertmanagers_alerts_is_one_card_until_the_last_one_ends(
    tmp_path, systems: Systems, slack: SlackThread
) -> None:
    environment = {**systems.environment(), **slack.environment(), "ALERTMANAGER_WEBHOOK_SECRETS": "am-secret"}
    environment["CHANGES_WEBHOOK_SECRETS"] = "ch-secret"
    environment = {name: value for name, value in environment.items() if not name.startswith("PAGERDUTY_")}
    toml = settings(systems.url) + '[sources.alertmanager]\nreaders = ["everyone"]\n'
    toml += '[sources.changes]\nreaders = ["everyone"]\n'
    bot = BotProcess(tmp_path / "home", environment, toml)
    await bot.start()
    channel = Channel(slack, bot)
    began = datetime.now(UTC) - timedelta(seconds=20)
    names = ["HighRequestErrorRate", "HighRequestLatency", "KubePodNotReady"]

    async def deliver(status: str, *which: str) -> None:
        ended = {"endsAt": datetime.now(UTC).isoformat()} if status == "resolved" else {}
        alerts = [
            {"status": status, "labels": {"alertname": name, "service": "checkout-api", "severity": "critical"},
             "annotations": {"summary": f"{name} at checkout"}, "startsAt": began.isoformat(), **ended}
            for name in which
        ]  # fmt: skip
        body = {"version": "4", "status": status, "alerts": alerts, "truncatedAlerts": 0}
        async with httpx.AsyncClient(base_url=bot.url, trust_env=False) as client:
            headers = {"Authorization": "Bearer am-secret"}
            answer = await client.post("/webhooks/alertmanager", json=body, headers=headers)
        assert answer.status_code == 202

    told = await _tell_of_a_change(bot.url, "ch-secret", began - timedelta(minutes=3))
    assert told == {"stored": 1, "received": 1}
    await deliver("firing", *names[:2])
    card = await channel.card_says("checkout-api", "2\\u00a0alerts in one storm")
    assert "SEV2" in text_of(card)
    with sqlite3.connect(f"file:{tmp_path / 'home' / 'sitrep.db'}?mode=ro", uri=True) as store:
        kept = store.execute("SELECT title, service FROM evidence WHERE source = 'changes'").fetchall()
    assert kept == [("Deploy a1b2c3d: checkout-api", "checkout-api")]
    await deliver("firing", *names)
    await channel.card_says("3\\u00a0alerts in one storm")
    await deliver("resolved", *names[:2])
    await deliver("resolved", names[2])
    await channel.card_says("Resolved")
    assert len(await channel.cards()) == 1
    assert await bot.stop() == 0


async def test_an_incident_whose_webhooks_never_come_is_found_by_the_poller(
    tmp_path, systems: Systems, slack: SlackThread
) -> None:
    toml = settings(systems.url) + '[pagerduty]\nintake = "poll"\n'
    toml = toml.replace("[timeouts]", "[timeouts]\npoll_seconds = 1\n#", 1)
    bot = BotProcess(tmp_path / "home", {**systems.environment(), **slack.environment()}, toml)
    systems.trigger()
    await bot.start()
    channel = Channel(slack, bot)
    await channel.card_says("checkout-api")
    systems.move("resolved")
    await channel.card_says("Resolved")
    assert len(await channel.cards()) == 1
    assert await bot.stop() == 0


async def test_sources_that_are_down_or_late_become_a_line_and_a_late_one_replaces_the_ranking(
    bot: BotProcess, systems: Systems, slack: SlackThread
) -> None:
    channel = Channel(slack, bot)
    systems.faults["jaeger"].status = 500
    systems.faults["github"].delay_seconds = 8
    systems.trigger()
    await channel.card_says("sources", "jaeger")
    systems.reset_faults()
    await channel.card_says("4 of 4")
    assert len(await channel.cards()) == 1
