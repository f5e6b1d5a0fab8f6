"""What one person reads of an incident in private, says of it, and may regroup: for that person alone."""

from __future__ import annotations

import json

import pytest

from bot.cards import private, words
from bot.cards.limits import violations
from bot.cards.render import parts_of, render
from bot.cards.samples import every_state
from bot.errors import NotPermitted
from bot.flows.entitled import OnlyAdmins
from bot.flows.labels import Label
from bot.flows.reading import SimilarIncident
from bot.flows.views import NotTriaged
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


def everyone_sees_the_alert(bench):
    """U2 may read the alert and not the changes."""
    bench.parts.collector.alert_readers = lambda _: Readers.of(["everyone"])


async def put(bench, incident_id, **more):
    (row,) = await bench.store.query("SELECT * FROM incidents WHERE id = 'P1'")
    await bench.store.insert("incidents", [row | {"id": incident_id, "number": None, "triages": 0} | more])


# --- reading --------------------------------------------------------------------------------------------------------


async def test_a_card_read_in_private_holds_what_this_person_may_read(bench):
    everyone_sees_the_alert(bench)
    assert [one.change_id for one in (await bench.reading.card("U1", "P1")).suspects] == ["chg-1", "chg-2"]
    await bench.labels.was_not("P1", "U1", 1, "e1")
    assert [one.change_id for one in (await bench.reading.card("U1", "P1")).ruled_out] == ["chg-1"]
    theirs = await bench.reading.card("U2", "P1")
    assert (theirs.suspects, theirs.ruled_out, theirs.evidence) == ((), (), ())
    for one in (await bench.reading.catch_up("U2", "P1"), theirs):
        assert "deploy 1" not in str(one)
    assert "deploy 1" in str(await bench.reading.catch_up("U1", "P1"))


@pytest.mark.parametrize("user", ["U2", "U404"])
async def test_who_may_not_see_the_incident_reads_nothing_of_it(bench, user):
    for attempt in (
        bench.reading.card(user, "P1"), bench.reading.catch_up(user, "P1"), bench.reading.why(user, "P1", "e1"),
        bench.reading.similar(user, "P1"), bench.labels.choices("P1", user),
        bench.labels.label("P1", user, 1, Label("external")), bench.grouping.services(user, "P1"),
        bench.grouping.merge(user, "P1", "P2", "x"), bench.grouping.split(user, "P1", "x"),
    ):  # fmt: skip
        with pytest.raises(NotPermitted):
            await attempt
    assert await bench.store.query("SELECT * FROM labels") == []


async def test_an_incident_that_nobody_looked_at_is_said_to_those_who_may_see_it(bench):
    await put(bench, "P2")
    with pytest.raises(NotTriaged):
        await bench.reading.catch_up("U1", "P2")


async def test_a_catch_up_tells_later_looks_and_what_people_said(bench):
    await bench.book.write_triage(
        "P1", 1, {"facts_at": T0, "suspects": [{"change_id": "chg-1", "service": "x", "probability": 0.8}]}
    )
    (before,) = await bench.store.query("SELECT ranked FROM triages WHERE n = 1")
    bench.clock.advance(300)
    again = {"started_at": bench.clock.now(), "facts_at": bench.clock.now(), "ranked": before["ranked"],
             "suspects": [{"change_id": "chg-2", "service": "x", "probability": 0.7}]}  # fmt: skip
    await bench.book.write_triage("P1", 2, again)
    bench.clock.advance(60)
    await bench.labels.was_not("P1", "U1", 1, "e1")
    told = await bench.reading.catch_up("U1", "P1")
    said = [one.text for one in told.happened]
    assert said[:2] == ["Looked at again (run 2).", "First suspect now: deploy 2."]
    assert said[2].startswith("Ruled out: ")
    drawn = private.catch_up(told, "classic").text
    for line in ("What", "Since", "Changes", "Tried", "Open"):
        assert f"\n{line}" in drawn
    assert private.NO_MESSAGES in drawn
    assert "nobody has acknowledged it" in drawn.lower()


@pytest.mark.parametrize("form", ["modern", "classic"])
def test_every_private_drawing_of_every_state_is_inside_slacks_limits(form):
    for name, state in every_state().items():
        for drawn in (
            private.timeline(state, form), private.suspects(state, form),
            private.catch_up(private.CatchUp(state, [private.Happened(T0, "x" * 500)] * 30), form),
        ):  # fmt: skip
            assert violations(drawn.text, drawn.blocks) == [], name


async def test_why_names_the_rule_and_the_channel_only_to_who_may_read_the_item(bench):
    everyone_sees_the_alert(bench)
    ranked = (await bench.book.ranked("P1"))[0]
    await bench.book.keep_evidence("P1", ranked.evidence, T0)
    told = await bench.reading.why("U1", "P1", "e1")
    assert told[0] == "e1 is “deploy 1”, from github."
    assert "In payments ([sources.github] readers): yes, through payments." in told
    assert any(one.startswith("It is shown there: all 1 readers") for one in told)
    for user, mark in (("U2", "e1"), ("U1", "e9")):
        with pytest.raises(NotPermitted):
            await bench.reading.why(user, "P1", mark)


async def test_similar_incidents_come_from_the_search(bench):
    bench.alike = [SimilarIncident("P0", 1, "Checkout fails", "https://x", T0, ("the same alert",))]
    assert [one.id for one in await bench.reading.similar("U1", "P1")] == ["P0"]


# --- labels ---------------------------------------------------------------------------------------------------------


async def test_the_form_offers_what_this_person_may_read(bench):
    everyone_sees_the_alert(bench)
    mine, theirs = await bench.labels.choices("P1", "U1"), await bench.labels.choices("P1", "U2")
    assert [one.mark for one in mine.suspects] == ["e1", "e2"]
    assert (mine.version, list(mine.services)) == (1, ["checkout-api"])
    assert list(theirs.suspects) == []
    with pytest.raises(NotPermitted):
        await bench.labels.label("P1", "U2", 1, Label("change", "e1"))


async def test_a_label_keeps_its_words_and_stands_on_the_card(bench):
    name = await bench.labels.label("P1", "U1", 3, Label("change", "e2", None, "rolled back"))
    assert name == "deploy 2"
    (row,) = await bench.store.query("SELECT * FROM labels")
    assert (row["cause"], row["change_id"], row["suspect_rank"], row["fixed_by"], row["post_version"]) == (
        "change", "chg-2", 2, "rolled back", 3,
    )  # fmt: skip
    assert (await bench.card())["confirmed"]["change_id"] == "chg-2"
    bench.clock.advance(5)
    await bench.labels.label("P1", "U1", 3, Label("external", "", None, "they mended it"))
    card = await bench.card()
    assert (card["confirmed"], card["cause_said"]["cause"]) == (None, "external")
    rows = await bench.store.query("SELECT cause FROM labels ORDER BY at DESC")
    assert [one["cause"] for one in rows] == ["external", "change"]
    await bench.labels.was_change("P1", "U1", 3, "e1")
    assert (await bench.card())["cause_said"] is None


# --- merge and split ------------------------------------------------------------------------------------------------


async def test_only_an_admin_merges_and_splits_and_the_cards_follow(bench, monkeypatch):
    monkeypatch.setitem(PEOPLE, "U3", {"everyone"})
    everyone_sees_the_alert(bench)
    await put(bench, "P2", status="triggered")
    for attempt in (bench.grouping.merge("U3", "P2", "P1", "x"), bench.grouping.split("U3", "P1", "x")):
        with pytest.raises(OnlyAdmins):
            await attempt
    assert await bench.grouping.merge("U1", "P2", "P1", "same storm") == ""
    assert [one.id for one in await bench.grouping.merged("U1", "P1")] == ["P2"]
    assert [one.id for one in await bench.grouping.merged("U1", "p2")] == ["P2"]
    assert "are one incident already" in await bench.grouping.merge("U1", "P2", "P1", "again")
    assert await bench.grouping.split("U1", "P2", "not the same") == ""
    assert await bench.grouping.merged("U1", "P1") == []
    assert "is not merged" in await bench.grouping.split("U1", "P2", "again")
    audit = await bench.store.query("SELECT action, by FROM audit WHERE action IN ('merge', 'split') ORDER BY at, id")
    assert sorted((one["action"], one["by"]) for one in audit) == [("merge", "U1"), ("split", "U1")]
    assert bench.woken >= 2


async def test_services_are_split_off_by_name(bench):
    for number, service in enumerate(["checkout-api", "search"]):
        alert = {"workspace_id": "W", "dedupe_key": f"k{number}", "started_at": T0, "source": "alertmanager",
                 "incident_id": "P1", "status": "firing", "reason": "r", "title": f"{service} fails",
                 "service": service, "severity": "critical", "received_at": T0, "seen_at": T0}  # fmt: skip
        await bench.store.insert("alerts", [alert])
    assert list(await bench.grouping.services("U1", "P1")) == ["checkout-api", "search"]
    made, refused = await bench.grouping.split_services("U1", "P1", ["nowhere"], "x")
    assert (made, refused) == (None, "No alert of this incident is about nowhere.")
    made, refused = await bench.grouping.split_services("U1", "P1", ["search"], "other cause")
    assert made is not None and refused == ""
    (row,) = await bench.store.query("SELECT service FROM incidents WHERE id = :i", {"i": made})
    assert row["service"] == "search"
    notes = await bench.store.query("SELECT note FROM signals ORDER BY seq")
    assert {one["incident_id"] for note in notes for one in json.loads(note["note"])} == {"P1", made}


@pytest.mark.parametrize("form", ["modern", "classic", "minimal"])
def test_the_thread_is_told_that_something_was_narrowed_and_not_what(form):
    state = every_state()["facts"]
    assert render(state, form).part("narrowed") is None
    assert "narrowed" not in parts_of(state)
    narrowed = state.model_copy(update={"narrowed": True})
    part = render(narrowed, form).part("narrowed")
    assert (part.text, part.broadcast) == (words.NARROWED, False)
    assert "narrowed" in parts_of(narrowed)
    assert violations(part.text, part.blocks) == []
