"""`sitrep triage`: what it asks of the running program, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from bot.cards.limits import violations
from bot.cards.render import render
from bot.cards.samples import marked_sample
from bot.cli import main
from bot.store.sqlite import SqliteStore

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A state folder with one incident that was triaged once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SITREP_HOME", str(tmp_path))

    async def fill() -> None:
        store = SqliteStore.open(tmp_path / "sitrep.db")
        row = {
            "workspace_id": "default", "id": "P1", "source": "pagerduty", "title": "t", "severity": 2,
            "first_severity": 2, "status": "triggered", "url": "", "triages": 1, "triggered_at": NOW,
            "received_at": NOW, "first_signal_at": NOW, "updated_at": NOW,
        }  # fmt: skip
        await store.upsert("incidents", [row])
        await store.close()

    asyncio.run(fill())
    return tmp_path


def rows(home, sql: str) -> list[tuple]:
    with sqlite3.connect(home / "sitrep.db") as connection:
        return connection.execute(sql).fetchall()


def test_one_more_triage_is_queued_for_the_running_program(home, capsys):
    assert main(["triage", "P1", "--by", "mei"]) == 0
    assert "run 2 of P1" in capsys.readouterr().out
    ((state, body, note),) = rows(home, "SELECT state, body, note FROM signals")
    assert (state, json.loads(body)) == ("applied", {"override": False})
    assert json.loads(note) == [{"kind": "triage", "incident_id": "P1", "key": "2", "severity": 2}]
    assert rows(home, "SELECT by FROM audit") == [("mei",)]


def test_an_override_stands_in_the_audit_trail(home):
    assert main(["triage", "P1", "--override", "--by", "mei"]) == 0
    assert main(["triage", "P1"]) == 0
    assert rows(home, "SELECT triages FROM incidents") == [(3,)]
    details = [json.loads(detail) for (detail,) in rows(home, "SELECT detail FROM audit ORDER BY rowid")]
    assert details == [{"n": 2, "override": True}, {"n": 3, "override": False}]


def test_an_incident_that_is_not_stored_is_one_sentence(home, capsys):
    assert main(["triage", "NOPE"]) == 1
    assert "no incident 'NOPE' is stored" in capsys.readouterr().err
    assert main(["triage", "NOPE", "--dry-run"]) == 1
    assert "PAGERDUTY_API_TOKEN is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [[], ["--sample"], ["--dry-run"], ["P1", "--sample"], ["P1", "--channel", "#x"], ["P1", "--json"],
     ["P1", "--groups", "a"], ["P1", "--dry-run", "--override"], ["--sample", "--channel", "#x", "--override"]],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(home, options):
    assert main(["triage", *options]) == 2
    assert rows(home, "SELECT * FROM signals") == []


def test_a_stored_incident_without_any_source_is_shown_as_its_fallback(home, capsys):
    assert main(["triage", "P1", "--dry-run", "--groups", "everyone", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fallback"] == "not everyone who reads this channel may read the alert"
    assert told["evidence"] == []
    assert main(["triage", "P1", "--dry-run", "--groups", "everyone"]) == 0
    assert "Only the fallback fields are shown" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["modern", "classic"])
def test_the_sample_says_that_it_is_one_and_leads_nowhere(form):
    drawn = render(marked_sample(NOW), form)
    assert violations(drawn.text, drawn.blocks) == []
    first = drawn.text.splitlines()[0].replace("\u00a0", " ")
    assert first.startswith("SEV2 Sample, nothing is broken: checkout-api, 38 % of requests fail")
    assert "this is a sample: nothing happened, and nothing is counted" in drawn.text
    everything = json.dumps([drawn.blocks, drawn.thread["thread"].blocks])
    assert "http" not in everything
    assert '"button"' not in everything
    assert "feedback" not in everything


def test_the_sample_happened_three_minutes_ago():
    state = marked_sample(NOW)
    assert state.incident.triggered_at == NOW - timedelta(minutes=3)
    assert all(NOW - timedelta(hours=1) < entry.at < NOW for entry in state.timeline)
    assert state.plots[0].points[-1][0] < NOW.timestamp()
