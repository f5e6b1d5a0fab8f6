"""The first day, before anything runs: doctor, services, a dry run, a sample; against the systems and a local Slack."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from bot.cli.service_file import propose
from bot.cli.triage import _as_json, _why
from bot.settings import Settings, load
from bot.store.sqlite import SqliteStore
from bot.wiring.doctor import examine
from bot.wiring.listing import listed
from bot.wiring.preview import dry_run, post_sample
from demo.bot_process import settings as demo_settings
from demo.slack import SlackThread
from demo.systems import Systems
from integrations.records import EVERYONE

CHANNEL = "#incidents"


@pytest.fixture
def made(tmp_path, systems: Systems, slack: SlackThread) -> Callable[[str], Settings]:
    """`made(toml)` are the settings of the tea shop with more written to them."""

    def settings(more: str = "", changed: Callable[[str], str] = str) -> Settings:
        (tmp_path / "sitrep.toml").write_text(changed(demo_settings(systems.url)) + more, encoding="utf-8")
        paths = {"SITREP_HOME": str(tmp_path / "home"), "SITREP_CONFIG": str(tmp_path / "sitrep.toml")}
        return load({**systems.environment(), **slack.environment(), **paths})

    return settings


async def posts(slack: SlackThread) -> list[dict[str, Any]]:
    return await asyncio.to_thread(slack.messages, CHANNEL)


async def test_before_anything_runs(made, systems: Systems, slack: SlackThread) -> None:
    settings = made()
    lines = {line.name: line for line in await examine(settings, deadline_seconds=30)}
    wrong = {name: line for name, line in lines.items() if line.status in ("failed", "missing")}
    assert wrong == {}, wrong
    assert lines[f"channel {CHANNEL}"].status == "ok"

    named = made(changed=lambda toml: toml.split("[teams.payments]")[0] + _sources(toml))
    proposed = tomllib.loads(propose(await listed(named), {}))["services"]
    assert "otel" in proposed["checkout-api"]
    assert "pagerduty" in proposed["checkout-api"]

    incident_id = systems.state.incident["id"]
    found = await dry_run(settings, incident_id)
    told = _as_json(found, [])
    assert (found.channel, found.gets_card, told["fallback"]) == (CHANNEL, True, None)
    assert told["suspects"]
    assert told["audience"]["people"] > 0
    assert all(item["why"][0].startswith("It is shown there: all") for item in told["evidence"])
    assert any("Hidden: nothing" in line for line in _why(found))
    assert await posts(slack) == []
    assert not (settings.home / "sitrep.db").exists()

    where = await post_sample(settings, CHANNEL)
    assert where.startswith("C")
    (card, *_) = await posts(slack)
    assert "Sample, nothing is broken" in card["text"]
    assert "actions" not in {block["type"] for block in card["blocks"]}
    assert not (settings.home / "sitrep.db").exists()


async def test_a_dry_run_hides_what_a_reader_may_not_see_and_says_whose_it_is(made, systems: Systems, slack) -> None:
    def for_payments(toml: str) -> str:
        return toml.replace('[sources.github]\nreaders = ["everyone"]', '[sources.github]\nreaders = ["payments"]')

    settings = made(changed=for_payments)
    path = settings.home / "sitrep.db"
    await SqliteStore.open(path).close()
    before = dump(path)
    incident_id = systems.state.incident["id"]
    found = await dry_run(settings, incident_id, frozenset({EVERYONE}))
    told = json.dumps(_as_json(found, []))
    assert [item["kind"] for item in json.loads(told)["evidence"] if item["source"] == "github"] == []
    (changes, *_) = [one for one in found.hidden if one.what.startswith("change from github")]
    assert changes.readers.model_dump() == [["payments"]]
    assert "[sources.github] readers" in changes.why[1]
    inside = await dry_run(settings, incident_id, frozenset({EVERYONE, "payments"}))
    assert [one for one in inside.ranked.evidence if one.source == "github"]
    assert dump(path) == before, "a dry run writes nothing into the database that is there"


def dump(path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return list(connection.iterdump())


def _sources(toml: str) -> str:
    return "[teams.payments]\n" + toml[toml.index("[sources.") :]
