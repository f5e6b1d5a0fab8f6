"""Labels proposed from notes: which incidents are asked about, what is shown, and that nothing is labelled."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import prompts
from bot.cli import main
from bot.clock import ManualClock
from bot.evals.golden import Scripted
from bot.flows.mining import Mining, Proposed
from bot.incidents.book import Book
from bot.model.attempts import GatewayLimits
from bot.model.batches import BatchDesk
from bot.model.spend import Ceilings
from bot.triage.mine import names
from integrations.ports import BatchState
from tests.support.calls import PIN, gateway
from tests.support.memory_store import MemoryStore
from tests.support.ranked import AT, ranked, suspect

YES = json.dumps({"cause": "change", "suspect": ["s1"], "evidence": ["s2"]})
ONE = ranked(suspects=(suspect("e3"),))


async def stored(store: MemoryStore, *notes: dict[str, Any] | str, incident: str = "P8K2Q1", **more: Any) -> None:
    """A resolved incident whose triage named one suspect, and its notes."""
    row = {
        "workspace_id": "T1", "id": incident, "title": "checkout-api fails", "service": "checkout-api", "severity": 2,
        "first_severity": 2, "first_signal_at": AT, "received_at": AT,
        "status": "resolved", "source": "pagerduty", "url": "https://example.com", "triggered_at": AT, "updated_at": AT,
    }  # fmt: skip
    await store.insert("incidents", [row | more])
    told = ONE.model_copy(update={"incident": ONE.incident.model_copy(update={"id": incident})})
    triage = {"id": f"{incident}/1", "incident_id": incident, "n": 1, "ranked": told.model_dump_json()}
    await store.insert(
        "triages", [{"workspace_id": "T1", "started_at": AT, "reason": "new", "channel": "C1", **triage}]
    )
    for number, note in enumerate(notes):
        payload = note if isinstance(note, dict) else {"event": {"data": {"type": "incident_note", "content": note}}}
        seq = len(await store.query("SELECT 1 FROM signals")) + 1
        await store.insert(
            "signals",
            [{"workspace_id": "T1", "delivery_key": f"{incident}-{number}", "seq": seq, "source": "pagerduty",
              "kind": "annotated", "incident_id": incident, "occurred_at": AT + timedelta(minutes=number),
              "received_at": AT, "body": {"payload": payload, "incident": None}, "sha256": "0", "state": "applied"}],
        )  # fmt: skip


def mining(store: MemoryStore, asks: Any, **more: Any) -> Mining:
    given: dict[str, Any] = {
        "asks": asks, "book": Book(store, "T1"), "prompt": prompts.load("mine", 1), "fence_key": b"k" * 32,
        "orders": lambda _: False, "deadline_seconds": 5.0, "may_be_shown": lambda *_: True, "team": lambda _: None,
    }  # fmt: skip
    return Mining(**{**given, **more})


async def mined(store: MemoryStore, endpoint: Scripted, **more: Any) -> list[Proposed]:
    asks = gateway(store, endpoint)
    try:
        return await mining(store, asks, **more)(AT - timedelta(days=1), AT + timedelta(days=1))
    finally:
        await asks.settled()


async def test_a_change_that_a_note_names_is_proposed_and_nothing_is_labelled() -> None:
    store, endpoint = MemoryStore(), Scripted(YES)
    await stored(store, "Rolled back a1b2c3d, errors are gone.")
    (found,) = await mined(store, endpoint)
    told = found.as_json()
    assert (told["incident"], told["cause"], told["mark"]) == ("P8K2Q1", "change", "e3")
    assert told["notes"] == ["Rolled back a1b2c3d, errors are gone."]
    assert await store.query("SELECT * FROM labels") == []
    (call,) = await store.query("SELECT use, outcome, prompt, incident_id FROM calls")
    assert call == {"use": "batch", "outcome": "released", "prompt": "mine/v1", "incident_id": None}
    await store.close()


async def test_notes_are_read_from_webhooks_and_log_entries_and_not_from_ourselves() -> None:
    store, endpoint = MemoryStore(), Scripted(YES)
    await stored(
        store, "Looking.", {"channel": {"summary": "Rolled back a1b2c3d"}}, {"note": "done"}, {"channel": 7},
        "Looking.", "Sitrep: suspects are a1b2c3d",
    )  # fmt: skip
    await mined(store, endpoint)
    assert endpoint.last is not None
    assert endpoint.last.user.count("kind=note") == 3
    assert "Sitrep" not in endpoint.last.user
    await store.close()


@pytest.mark.parametrize("why", ["labelled", "open", "old", "no notes", "merged", "never"])
async def test_who_is_not_asked_about(why: str) -> None:
    store, endpoint = MemoryStore(), Scripted(YES)
    more: dict[str, Any] = {
        "open": {"status": "acknowledged"}, "old": {"triggered_at": AT - timedelta(days=2)},
        "merged": {"merged_into": "P0"},
    }.get(why, {})  # fmt: skip
    await stored(store, *([] if why == "no notes" else ["Rolled back a1b2c3d"]), **more)
    if why == "labelled":
        label = {"id": "l1", "incident_id": "P8K2Q1", "by": "U1", "at": AT, "cause": "external"}
        await store.insert("labels", [{"workspace_id": "T1", **label}])
    shown = {"may_be_shown": lambda source, service: False} if why == "never" else {}
    assert await mined(store, endpoint, **shown) == []
    assert endpoint.requests == 0
    await store.close()


async def test_many_incidents_go_in_one_batch() -> None:
    store = MemoryStore()
    for number in range(3):
        await stored(store, f"Rolled back a1b2c3d, try {number}", incident=f"P{number}")

    class Door:
        name = "model"
        submitted: list[int] = []  # noqa: RUF012 - of this test

        async def submit(self, requests: Any, mark: str, timeout_seconds: float) -> BatchState:
            self.submitted.append(len(requests))
            return BatchState("b1", "completed", True)

        async def results(self, state: BatchState, requests: Any, timeout_seconds: float) -> Any:
            return {key: await Scripted(YES).complete(one, 1.0) for key, one in requests.items()}

    door: Any = Door()
    desk = BatchDesk(
        store, ManualClock(AT), replace(PIN, batch_price=0.5), door, ceilings=Ceilings(), limits=GatewayLimits(),
        redact=lambda text: text,
    )  # fmt: skip
    found = await mining(store, desk)(AT - timedelta(days=1), AT, lambda: desk.send(60.0))
    assert [one.proposal.cause for one in found] == ["change"] * 3
    assert door.submitted == [3]
    await store.close()


@pytest.mark.parametrize(
    ("note", "named"),
    [
        ("Rolled back a1b2c3d", True),
        ("reverted A1B2C3D4E5F6", True),
        ("release v2.14.1 was bad", True),
        ("checkout-api is fine again after we went back", True),
        ("it went away by itself at 14:02", False),
        ("deploy was not it", False),
        ("a1b2c3e was not it", False),
    ],
)
def test_a_note_names_a_change_by_what_few_things_have(note: str, named: bool) -> None:
    assert names(note, "Deploy a1b2c3d4e5f6 (v2.14.1) at 14:02", "checkout-api") is named


def test_without_a_model_the_command_says_what_is_missing(tmp_path, monkeypatch, capsys):
    for name in ("OPENAI_API_KEY", "SITREP_MODEL", "SITREP_MODEL_URL", "SITREP_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SITREP_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["labels"]) == 3
    assert "OPENAI_API_KEY" in capsys.readouterr().err
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("SITREP_SECRET_KEY", "k" * 32)
    assert main(["labels", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["incidents"] == 0
