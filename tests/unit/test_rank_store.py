"""The ranking's weights are fitted to an installation's own labels, from the numbers that its triages kept."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.cli import main
from bot.evals.rank_store import labelled_incidents, measure_store
from bot.ranking.weights import shipped_weights
from bot.store.sqlite import SqliteStore
from tests.support.memory_store import MemoryStore

AT = datetime(2026, 11, 24, tzinfo=UTC)


def rows(number: int, culprit: str | None, signs: dict[str, dict[str, float]], **more: Any) -> tuple[dict, dict]:
    services = [{"service": name, "probability": 0.1, "signs": values} for name, values in signs.items()]
    at = AT + timedelta(hours=number)
    triage = {"workspace_id": "default", "id": f"P{number}/1", "incident_id": f"P{number}", "n": 1, "started_at": at,
              "services": services}  # fmt: skip
    label = {"workspace_id": "default", "id": f"l{number}", "incident_id": f"P{number}", "by": "U1", "at": at,
             "cause": "service" if culprit else "external", "service": culprit, **more}  # fmt: skip
    return triage, label


async def fill(store: Any, count: int) -> None:
    """Incidents whose culprit shows in its own time, while another service is loud in its patterns for nothing."""
    draw = random.Random(7)
    for number in range(count):
        signs = {"a": {"pattern": 1.6 + draw.random() / 5}, "b": {"own_time": 1.3 + draw.random() / 5}}
        triage, label = rows(number, "b", signs)
        await store.insert("triages", [triage])
        await store.insert("labels", [label])


async def test_the_newest_word_about_an_incident_counts_and_what_says_nothing_is_left_out():
    store = MemoryStore()
    signs = {"a": {"pattern": 1.0}}
    for number, culprit, given, more in (
        (1, "a", signs, {}), (2, None, signs, {}), (3, "a", {}, {}), (4, "a", signs, {"ruled_out": "x"}),
        (5, "a", signs, {"undone_at": AT}), (6, "a", signs, {"cause": "unknown"}), (7, "b", signs, {}),
    ):  # fmt: skip
        triage, label = rows(number, culprit, given, **more)
        await store.insert("triages", [triage])
        await store.insert("labels", [label])
    _, later = rows(1, "c", signs, id="later", at=AT + timedelta(days=1))
    await store.insert("labels", [later])
    found = await labelled_incidents(store, "default")
    assert {one.incident_id: one.labelled.culprit for one in found} == {"P1": "c", "P2": None, "P7": "b"}
    await store.close()


def test_weights_move_towards_what_the_labels_show_and_every_case_is_left_out_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def made() -> None:
        store = SqliteStore.open(tmp_path / "sitrep.db")
        await fill(store, 30)
        await store.close()

    asyncio.run(made())
    shipped = shipped_weights()
    cases, totals, bars = measure_store(tmp_path / "sitrep.db", "default", shipped)
    assert len(cases) == totals["labelled"] == 30
    assert bars == []
    assert totals["fitted"]["signs"]["own_time"] > shipped.signs.own_time
    assert totals["fitted"]["signs"]["pattern"] < shipped.signs.pattern
    assert totals["brier_left_out"] < totals["brier_shipped"]
    assert "[signs]\npattern = " in totals["table"]
    assert "advice" not in totals
    file = str(tmp_path / "sitrep.db")
    assert main(["eval", "rank", "--fit", "--store", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["labelled"] == 30
    assert main(["eval", "rank", "--store", file]) == 2
    assert main(["eval", "rank", "--fit", "--store", file, "--workspace", "other"]) == 1
    assert main(["eval", "rank", "--fit", "--store", str(tmp_path / "no.db")]) == 1
