"""What a person does through Slack: only what they may, once even if asked twice, and the card follows."""

from __future__ import annotations

import json

import pytest

from bot.errors import NotPermitted
from bot.store.sqlite import SqliteStore
from integrations.records import Readers
from tests.support.incident_desk import PEOPLE, T0, Bench


@pytest.fixture
async def bench(tmp_path):
    store = SqliteStore.open(tmp_path / "s.db")
    made = Bench(store)
    await made.fill()
    yield made
    await store.close()


@pytest.mark.parametrize("words", ["P1", "p1", "#7", "7", "P1/e3", ""])
async def test_an_incident_is_found_by_id_number_mark_or_the_channel(bench, words):
    assert [line.id for line in await bench.desk.find_incidents("U1", words, "C1")] == ["P1"]


@pytest.mark.parametrize("user", ["U2", "U404"])
async def test_who_may_not_see_it_finds_nothing_and_can_do_nothing(bench, user):
    assert await bench.desk.find_incidents(user, "P1", "C1") == []
    for attempt in (
        bench.labels.vote("P1", user, 1, "helpful"), bench.labels.was_change("P1", user, 1, "e1"),
        bench.desk.start_triage("P1", user, "r1"), bench.desk.acknowledge("P1", user),
    ):  # fmt: skip
        with pytest.raises(NotPermitted):
            await attempt
    assert await bench.store.query("SELECT * FROM votes") == []
    assert (await bench.desk.status_for(user)).incidents == []


async def test_the_latest_vote_of_a_person_counts_and_stands_on_the_card(bench):
    await bench.labels.vote("P1", "U1", 1, "helpful")
    await bench.labels.vote("P1", "U1", 1, "not_helpful")
    card = await bench.card()
    assert (card["helpful"], card["not_helpful"]) == (0, 1)


async def test_the_card_names_a_team_and_never_a_person(bench):
    for owner, shown in (("payments", "payments"), (None, ""), ("web", "")):
        found = (await bench.book.ranked("P1"))[0].model_copy(update={"owner": owner})
        await bench.book.write_triage("P1", 1, {"ranked": found.model_dump_json()})
        await bench.labels.was_not("P1", "U1", 1, "e1")
        assert [one["by"] for one in (await bench.card())["ruled_out"]] == [shown]
        assert "U1" not in json.dumps(await bench.card())
        await bench.labels.undo_was_not("P1", "U1", "e1")


async def test_it_was_not_promotes_the_next_suspect_and_can_be_undone_for_ten_minutes(bench):
    name, until = await bench.labels.was_not("P1", "U1", 1, "e1")
    assert name == "deploy 1"
    assert (until - T0).total_seconds() == 600
    card = await bench.card()
    assert card["ruled_out"][0]["change_id"] == "chg-1"
    bench.clock.advance(599)
    assert await bench.labels.undo_was_not("P1", "U1", "e1") is True
    assert (await bench.card())["ruled_out"] == []
    await bench.labels.was_not("P1", "U1", 1, "e1")
    bench.clock.advance(601)
    assert await bench.labels.undo_was_not("P1", "U1", "e1") is False


async def test_it_was_this_change_is_a_label_with_its_rank(bench):
    await bench.labels.was_change("P1", "U1", 3, "e2")
    await bench.labels.was_change("P1", "U1", 3, "e2")
    (label,) = await bench.store.query("SELECT * FROM labels")
    assert (label["cause"], label["change_id"], label["suspect_rank"], label["by"]) == ("change", "chg-2", 2, "U1")
    assert (await bench.card())["confirmed"]["change_id"] == "chg-2"


async def test_a_triage_asked_for_twice_with_one_request_is_one_triage_and_durable(bench):
    assert await bench.desk.start_triage("P1", "U1", "r1") == 2
    assert await bench.desk.start_triage("P1", "U1", "r1") == 2
    assert await bench.desk.start_triage("P1", "U1", "r2") == 3
    rows = await bench.store.query("SELECT note FROM signals WHERE state = 'applied' ORDER BY seq")
    assert [json.loads(row["note"])[0]["key"] for row in rows] == ["2", "3"]
    assert bench.woken == 3


async def test_only_an_admin_pauses_resumes_and_overrides_and_each_is_audited(bench):
    for attempt in (
        bench.desk.pause("U2", "x"), bench.desk.resume("U2", "x"), bench.desk.pause("U404", "x"),
        bench.desk.start_triage("P1", "U2", "r0", override=True),
    ):  # fmt: skip
        with pytest.raises(NotPermitted):
            await attempt
    assert await bench.store.query("SELECT * FROM pauses") == []
    assert [await bench.desk.pause("U1", "wrong"), await bench.desk.pause("U1", "wrong")] == [True, False]
    assert [await bench.desk.resume("U1", "mended"), await bench.desk.resume("U1", "mended")] == [1, 0]
    await bench.desk.start_triage("P1", "U1", "r1", override=True)
    (row,) = await bench.store.query("SELECT body FROM signals WHERE delivery_key = 'request:r1'")
    assert json.loads(row["body"]) == {"override": True}
    rows = await bench.store.query("SELECT action, by, detail FROM audit ORDER BY id")
    assert sorted((one["action"], one["by"]) for one in rows) == [("pause", "U1"), ("resume", "U1"), ("triage", "U1")]


async def test_the_admins_of_the_incidents_team_override_and_stop_nothing(bench, monkeypatch):
    monkeypatch.setitem(PEOPLE, "U1", {"everyone", "payments-readers"})
    monkeypatch.setitem(PEOPLE, "U3", {"everyone", "shop-leads"})
    monkeypatch.setitem(PEOPLE, "U4", {"everyone", "others"})
    bench.parts.collector.alert_readers = lambda _: Readers.of(["everyone"])
    assert await bench.desk.start_triage("P1", "U3", "r1", override=True) == 2
    for attempt in (
        bench.desk.start_triage("P1", "U4", "r2", override=True),
        bench.desk.pause("U3", "x"),
        bench.desk.resume("U3", "x"),
    ):  # fmt: skip
        with pytest.raises(NotPermitted, match="admins"):
            await attempt


async def test_acknowledging_needs_a_mapped_person_and_an_open_incident(bench):
    assert await bench.desk.acknowledge("P1", "U1") == "not_mapped"
    person = {
        "workspace_id": "W",
        "id": "U1",
        "email": "priya@example.com",
        "kind": "full",
        "active": True,
        "seen_at": T0,
    }
    await bench.store.insert("people", [person])
    assert await bench.desk.acknowledge("P1", "U1") == "acknowledged"
    assert bench.acknowledged == [("P1", "priya@example.com")]
    await bench.store.upsert("incidents", [{"workspace_id": "W", "id": "P1", "status": "resolved"}])
    assert await bench.desk.acknowledge("P1", "U1") == "already"


async def test_a_suspect_that_the_person_may_not_read_is_no_suspect_for_them(bench):
    """A newcomer who may read the alert and not the change, with a button of the card from before they came."""
    bench.parts.collector.alert_readers = lambda _: Readers.of(["everyone"])
    for attempt in (
        bench.labels.was_change("P1", "U2", 1, "e1"), bench.labels.was_not("P1", "U2", 1, "e1"),
        bench.labels.undo_was_not("P1", "U2", "e1"),
    ):  # fmt: skip
        with pytest.raises(NotPermitted):
            await attempt
    assert await bench.store.query("SELECT * FROM labels") == []
