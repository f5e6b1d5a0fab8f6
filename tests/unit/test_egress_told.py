"""`sitrep doctor egress`: every address that may be called is listed, with what is sent there and to whom."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bot.cli import main
from bot.settings import Settings, load
from bot.wiring.leaving import leaving
from bot.wiring.models import models_of
from bot.wiring.outside import doors_of, egress_of

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {
    "SLACK_BOT_TOKEN": "xoxb-never-shown-1", "SLACK_APP_TOKEN": "xapp-never-shown-2",
    "PAGERDUTY_API_TOKEN": "never-shown-3", "PAGERDUTY_WEBHOOK_SECRETS": "never-shown-4",
    "GITHUB_TOKEN": "never-shown-5", "OPENAI_API_KEY": "sk-never-shown-6",
    "ALERTMANAGER_WEBHOOK_SECRETS": "never-shown-7",
    "GENERIC_WEBHOOK_SECRETS": "never-shown-8", "CHANGES_WEBHOOK_SECRETS": "never-shown-10",
    "SITREP_API_TOKENS": "status-page=never-shown-9",
}  # fmt: skip


def settings(tmp_path: Path, toml: str, **environment: str) -> Settings:
    (tmp_path / "sitrep.toml").write_text(toml, encoding="utf-8")
    return load({"SITREP_HOME": str(tmp_path / "home"), **environment}, folder=tmp_path)


def full(tmp_path: Path, **more: str) -> Settings:
    text = (ROOT / "sitrep.example.toml").read_text(encoding="utf-8")
    text += '[sources.cloudwatch_sns]\nreaders=["sre"]\nallow={topics=["arn:aws:sns:eu-west-1:123456789012:alarms"]}\n'
    return settings(tmp_path, text, **{**SECRETS, **more})


def test_the_addresses_are_exactly_those_that_the_egress_list_allows(tmp_path):
    told, found = full(tmp_path), None
    egress = egress_of(told, [pin.endpoint for chain in models_of(told).values() for pin in chain])
    found = [one.address for one in leaving(told).destinations]
    assert sorted(found) == sorted(str(origin) for origin in egress.allowed | egress.public)
    assert "http://jaeger.example:16686" in found
    assert "https://sns.eu-west-1.amazonaws.com" in found


def test_everything_that_is_configured_says_what_is_sent_and_nothing_else_does(tmp_path):
    by_address = {one.address: one for one in leaving(full(tmp_path)).destinations}
    assert all(one.sent for one in by_address.values())
    assert "source jaeger" in by_address["http://jaeger.example:16686"].who
    assert "directory github" in by_address["https://api.github.com"].who
    assert "gpt-4.1-mini-2025-04-14" in by_address["https://api.openai.com"].who
    bare = leaving(settings(tmp_path, ""))
    assert bare.destinations
    assert not any(one.sent for one in bare.destinations)


def test_diffs_and_notes_are_told_for_models_that_may_see_them(tmp_path):
    hosted = leaving(settings(tmp_path, "", OPENAI_API_KEY="sk-x"))
    (sent,) = [one.sent for one in hosted.destinations if one.address == "https://api.openai.com"]
    assert [any(word in one for one in sent) for word in ("evidence items", "a diff", "notes")] == [True] * 3
    url = {"SITREP_MODEL": "smollm2-135m-instruct-q4_1", "SITREP_MODEL_URL": "http://127.0.0.1:8089/v1"}
    (sent,) = [o.sent for o in leaving(settings(tmp_path, "", **url)).destinations if "smollm2" in o.who]
    assert len(sent) == 1, "it is approved for triage alone"
    doors = {door.path: door.who for door in leaving(full(tmp_path)).doors}
    assert doors["POST /reviews"] == "token status-page"


def test_the_rule_of_each_source_and_service_for_the_model_is_told(tmp_path):
    toml = (
        '[sources.jaeger]\nurl="http://j:1"\nreaders=["sre"]\nmodel="never"\n'
        '[sources.pagerduty]\nreaders=["sre"]\n[services.pay]\nmodel="never"\n[services.web]\n'
    )
    told = leaving(settings(tmp_path, toml, OPENAI_API_KEY="sk-x"))
    assert {(one.kind, one.name): one.model for one in told.rules} == {
        ("source", "jaeger"): "never", ("source", "pagerduty"): "allowed", ("service", "pay"): "never",
        ("service", "web"): "allowed",
    }  # fmt: skip
    assert leaving(settings(tmp_path, toml)).rules == ()


def test_the_doors_are_those_that_are_open(tmp_path):
    async def opened(told: Settings) -> set[str]:
        async with AsyncExitStack() as stack:
            return {f"POST {door.path}" for door in doors_of(told, egress_of(told), stack)}

    told = full(tmp_path)
    listed = {door.path for door in leaving(told).doors if "/webhooks/" in door.path}
    assert listed == asyncio.run(opened(told))
    assert len(listed) == 5
    token = next(door for door in leaving(told).doors if door.who == "token status-page")
    assert "everyone" in token.answered


def test_a_model_on_an_address_of_ones_own_is_told_by_that_address(tmp_path):
    told = full(tmp_path, SITREP_MODEL_URL="http://10.0.0.7:8000/v1", SITREP_MODEL="smollm2-135m-instruct-q4_1")
    by_address = {one.address: one for one in leaving(told).destinations}
    assert "smollm2" in by_address["http://10.0.0.7:8000"].who
    assert by_address["https://api.openai.com"].sent == ()


@pytest.mark.parametrize("arguments", [["doctor", "egress"], ["doctor", "egress", "--json"]])
def test_the_command_tells_it_and_shows_no_secret(tmp_path, monkeypatch, capsys, arguments):
    full(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SITREP_HOME", str(tmp_path / "home"))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "https://api.openai.com" in out
    assert "never-shown" not in out
    if "--json" in arguments:
        assert set(json.loads(out)) == {"destinations", "rules", "doors"}
    else:
        assert (
            "sources, allowed: argocd, changes, cloudwatch_sns, flagd, gitlab, jaeger, kubernetes, launchdarkly, logs"
            in out
        )


def test_doctor_alone_checks_what_start_up_would_refuse(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SITREP_HOME", str(tmp_path))
    assert main(["doctor"]) == 3  # nothing is set: Slack's tokens are missing, and nobody was asked
    told = capsys.readouterr().out
    assert "ok       settings" in told
    assert "missing  Slack bot token" in told
    (tmp_path / "sitrep.toml").write_text("[slack]\nchanel = 1\n", encoding="utf-8")
    assert main(["doctor"]) == 2
    assert "did you mean 'channel'?" in capsys.readouterr().out
