"""`sitrep check` and `sitrep audit show`, as a person calls them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import prompts
from bot.cli import main
from bot.store.sqlite import SqliteStore
from bot.store.values import ulid
from integrations.fixtures import ScriptedModel
from tests.support.ranked import AT, POOL, ranked
from tests.unit.test_summarise import GOOD, summarise


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SITREP_HOME", str(tmp_path))
    for name in ("OPENAI_API_KEY", "SITREP_MODEL", "SITREP_MODEL_URL", "SITREP_MODELS", "SITREP_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_shipped_settings_models_prompts_and_policy_hold(home, capsys):
    assert main(["check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [case["name"] for case in told["cases"]] == ["settings", "models", "prompts", "token budget", "policy"]
    assert all(bar["holds"] for bar in told["bars"])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini-latest"), "is an alias"),
        (("https://api.openai.com/v1", "https://evil.example/v1"), "host 'evil.example' is not in approved_hosts"),
        (("{ in = 0.40, cached = 0.10, out = 1.60 }", "{ in = 0.40 }"), "must have in, cached and out"),
        (("max_output_tokens = 1400", "max_output_tokens = 100"), "answers with at most 100 tokens"),
    ],
)
def test_a_models_file_that_may_not_be_used_is_refused_line_by_line(home, capsys, change, line):
    path = home / "models.toml"
    path.write_text(prompts.models_text().replace(*change), encoding="utf-8")
    assert main(["check", "--models", str(path)]) == 1
    out = capsys.readouterr().out
    assert "FAILS  models" in out or "FAILS  token budget" in out
    assert line in out


def test_a_budget_without_room_for_evidence_is_refused_with_the_figure_to_set(home, capsys):
    (home / "sitrep.toml").write_text("[budget]\ntokens_per_triage = 2000\n", encoding="utf-8")
    assert main(["check"]) == 1
    assert "set at least" in capsys.readouterr().out


def test_wrong_settings_are_reported_and_the_other_checks_still_made(home, capsys):
    (home / "sitrep.toml").write_text("[slakc]\n", encoding="utf-8")
    assert main(["check"]) == 1
    out = capsys.readouterr().out
    assert "FAILS  settings" in out
    assert "ok     prompts" in out


def test_a_policy_file_that_cannot_be_read_is_refused(home, capsys):
    path = home / "policy.txt"
    path.write_text("a phrase before any reason\n[a reason without a phrase]\n", encoding="utf-8")
    assert main(["check", "--policy", str(path)]) == 1
    assert "stands before any [reason]" in capsys.readouterr().out


async def _one_triage(home: Path) -> None:
    store = SqliteStore.open(home / "sitrep.db")
    await store.insert("triages", [{
        "workspace_id": "default", "id": "P8K2Q1/1", "incident_id": "P8K2Q1", "n": 1, "started_at": AT,
        "channel": "C1", "outcome": "released", "ranked": ranked().model_dump_json(),
    }])  # fmt: skip
    await store.insert("evidence", [
        {
            "workspace_id": "default", "ulid": ulid(AT), "incident_id": "P8K2Q1", "mark": item.mark,
            "source": item.source, "kind": item.kind, "external_id": item.id, "title": item.title, "text": item.text,
            "url": item.url, "readers": [["everyone"]], "model": item.model, "observed_at": AT, "fetched_at": AT,
        }
        for item in POOL
    ])  # fmt: skip
    found = ranked()
    found = found.model_copy(update={"incident": found.incident.model_copy(update={"workspace_id": "default"})})
    summary = summarise(store, ScriptedModel([json.dumps(GOOD)]))  # type: ignore[arg-type]
    checked = await summary(found, triage_id="P8K2Q1/1", step="infer")
    key = {"workspace_id": "default", "id": "P8K2Q1/1"}
    await store.upsert("triages", [key | {"checked": checked.model_dump_json()}])
    await store.insert("signals", [{
        "workspace_id": "default", "delivery_key": "d1", "seq": 1, "source": "pagerduty", "kind": "incident.triggered",
        "incident_id": "P8K2Q1", "occurred_at": AT, "received_at": AT, "body": {}, "sha256": "0", "state": "applied",
    }])  # fmt: skip
    await summary.gateway.aclose()
    await store.close()


def test_the_story_of_a_post_names_what_was_shown_asked_paid_and_decided(home, capsys):
    asyncio.run(_one_triage(home))
    assert main(["audit", "show", "P8K2Q1", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    (call,) = told["calls"]
    assert call["outcome"] == "released"
    assert call["evidence"] == ["e1", "e3", "e9", "e12", "e7"]
    assert call["prompt_sha256"] == prompts.load("triage", 1).sha256
    assert call["texts"] == []
    (spent,) = told["spend"]
    assert spent["state"] == "settled"
    assert [item["mark"] for item in told["evidence"]] == ["e1", "e3", "e7", "e9", "e12"]
    assert "ranked" not in told["triage"]
    assert [one["kind"] for one in told["signals"]] == ["incident.triggered"]
    assert [(one["mark"], one["probability"]) for one in told["suspects"]] == [("e3", 0.82)]
    assert told["audience"] == '[["everyone"]]'
    assert [one["section"] for one in told["claims"]] == ["going_on", "next"]

    assert main(["audit", "show", "P8K2Q1/1", "--texts"]) == 0
    out = capsys.readouterr().out
    assert "outcome: released" in out
    assert "| You write the situation report" in out
    assert "shown e1 e3 e9 e12 e7" in out
    for told_of in ("pagerduty    incident.triggered", "e3  0.82", "infer try 1", "going_on  38 % of requests fail"):
        assert told_of in out


def test_a_triage_that_is_not_stored_is_an_error_that_names_what_is(home, capsys):
    asyncio.run(_one_triage(home))
    assert main(["audit", "show", "P8K2Q1/7"]) == 1
    assert "there are P8K2Q1/1" in capsys.readouterr().err
    assert main(["audit", "show", "NOPE"]) == 1
    assert "no such incident" in capsys.readouterr().err
