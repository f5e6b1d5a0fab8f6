"""Questions, drafts, notes and the Home tab: for one person, from what that person may read."""

from __future__ import annotations

import json

import pytest

import prompts
from bot.cards import private
from bot.clock import ManualClock
from bot.errors import NotPermitted
from bot.flows.ask import NOTHING_SHOWN
from bot.flows.asked import HELD_OUT, NOT_SWITCHED_ON, shown_for
from bot.flows.labels import Label
from bot.flows.views import NotTriaged
from bot.model import pins
from bot.model.gateway import Gateway
from bot.store.sqlite import SqliteStore
from integrations.errors import Denied, Refused, Unavailable
from integrations.fixtures import ScriptedModel
from integrations.records import Readers
from tests.support.incident_desk import PEOPLE, T0, Bench, item

CLAIM = {"text": "The deploy 1 cut the pool to 2 connections.", "evidence": ["s1"]}


@pytest.fixture
async def bench(tmp_path):
    store = SqliteStore.open(tmp_path / "s.db")
    made = Bench(store)
    await made.fill()
    ranked = (await made.book.ranked("P1"))[0]
    told = item(1).model_copy(update={"text": "deploy 1: the pool went from 20 to 2 connections"})
    hidden = item(3).model_copy(update={"text": "canary of the vault", "readers": Readers.of(["vault"])})
    ranked = ranked.model_copy(update={"evidence": (told, item(2), hidden), "snapshot": "s1"})
    await made.book.write_triage("P1", 1, {"ranked": ranked.model_dump_json()})
    yield made
    await store.close()


def asking(bench, *answers, **more):
    endpoint = ScriptedModel([json.dumps({"answer": one}) for one in answers])
    pin = pins.read(prompts.models_text()).choose("ask")
    gateway = Gateway(
        bench.store, ManualClock(T0), {"ask": (pin,)}, {pin.name: endpoint}, redact=lambda text: text
    )  # fmt: skip
    return bench.asking(gateway, **more), endpoint, gateway


async def test_an_answer_cites_what_this_person_may_read_and_the_model_saw_nothing_else(bench):
    ask, endpoint, gateway = asking(bench, [CLAIM])
    told = await ask.ask("U1", "P1", "What did the deploy change?", "r1")
    assert [one.evidence for one in told.claims] == [("e1",)]
    (request,) = endpoint.requests
    assert "What did the deploy change?" in request.user
    assert "canary" not in request.user
    drawn = private.answer(told, "classic").text
    assert "cut the pool to 2 connections (e1)" in drawn
    assert "A model wrote it; every sentence was checked." in drawn
    await gateway.settled()
    (call,) = await bench.store.query("SELECT use, outcome, incident_id FROM calls")
    assert (call["use"], call["outcome"], call["incident_id"]) == ("ask", "released", "P1")


async def test_the_same_question_of_the_same_reader_is_answered_from_the_cache_of_another_not(bench, monkeypatch):
    monkeypatch.setitem(PEOPLE, "U3", {"everyone", "world", "payments", "vault"})
    ask, endpoint, gateway = asking(bench, [CLAIM], [CLAIM])
    for user in ("U1", "U1", "U3"):
        assert (await ask.ask(user, "P1", "What did the deploy change?", f"r{user}")).claims
    assert len(endpoint.requests) == 2
    assert "canary" in endpoint.requests[1].user
    await gateway.aclose()


async def test_what_the_evidence_does_not_say_is_said(bench):
    ask, _, gateway = asking(bench, [])
    told = await ask.ask("U1", "P1", "Who is on call?", "r1")
    assert (told.claims, told.why) == ((), "")
    drawn = private.answer(told, "classic").text
    assert private.DOES_NOT_SAY in drawn
    assert "Searched 2 changes." in drawn
    await gateway.aclose()


@pytest.mark.parametrize(
    ("case", "why"),
    [("no model", "no model is configured for questions"), ("paused", "summaries are paused by a person"),
     ("arm", NOT_SWITCHED_ON), ("rejected", "an answer was rejected: it gave a number that no evidence contains")],
)  # fmt: skip
async def test_without_a_model_the_items_that_match_are_listed_and_said_to_be_that(case, why, bench):
    wrong = {"text": "The pool went to 99 connections.", "evidence": ["s1"]}
    ask, endpoint, gateway = asking(bench, [wrong], paused=why if case == "paused" else "")
    if case == "no model":
        ask = bench.asking(Gateway(bench.store, ManualClock(T0), {}, {}, redact=lambda text: text))
    if case == "arm":
        await bench.book.write_triage("P1", 1, {"arm": "facts"})
    told = await ask.ask("U1", "P1", "What about the connections of the pool?", "r1")
    assert (told.claims, told.why) == ((), why)
    assert [one.mark for one in told.found] == ["e1"]
    drawn = private.answer(told, "classic").text
    assert f"No model answered ({why})" in drawn
    assert "e1  –" not in drawn and "deploy 1" in drawn
    assert bool(endpoint.requests) == (case == "rejected")
    await gateway.aclose()


@pytest.mark.parametrize(
    ("arm", "body", "answers"),
    [("off", None, False), ("off", {}, False), ("off", {"override": True}, True), ("facts", None, False),
     ("facts", {}, False), ("facts", {"override": True}, True), ("facts+summary", None, True)],
)  # fmt: skip
async def test_in_an_arm_without_a_model_only_an_override_lets_one_answer(arm, body, answers, bench):
    """`body`: what a person asked with by `/sitrep triage`; None: nobody asked for a triage."""
    n = 1 if body is None else 2
    (first,) = await bench.store.query("SELECT * FROM triages")
    if n == 2:
        await bench.store.upsert("triages", [first | {"id": "P1/2", "n": 2}])
        signal = {
            "workspace_id": first["workspace_id"], "delivery_key": "request:1", "seq": 99, "source": "slack",
            "kind": "unknown", "incident_id": "P1", "occurred_at": T0, "received_at": T0, "body": body, "sha256": "",
            "state": "applied", "note": [{"kind": "triage", "incident_id": "P1", "key": "2", "severity": 2}],
        }  # fmt: skip
        await bench.store.insert("signals", [signal])
    shown = await shown_for(bench.book, "P1", n, "summary", arm)
    await bench.book.write_triage("P1", n, {"arm": arm, "experiment": "summary", "reason": shown.reason})
    ask, endpoint, gateway = asking(bench, [CLAIM])
    told = await ask.ask("U1", "P1", "What did the deploy change?", "r1")
    assert (bool(told.claims), len(endpoint.requests)) == (answers, int(answers))
    assert told.why == ("" if answers else HELD_OUT)
    catchup = await bench.reading.catch_up("U1", "P1")
    assert len(endpoint.requests) == int(answers) and "summary" not in str(catchup).casefold().split("arm")
    await gateway.aclose()


async def test_an_incident_that_is_recorded_only_gives_nobody_a_page_until_its_card_was_asked_for(bench):
    views, reader = bench.entitled.views, await bench.entitled.principal("U1")
    assert not await bench.book.is_recorded_only("P1")
    await bench.book.write_triage("P1", 1, {"arm": "off", "experiment": "summary", "ranked": None})
    for attempt in (views.own_ranked, views.own_view):
        with pytest.raises(NotTriaged):
            await attempt("P1", reader)
    assert await bench.entitled.suspects("P1", "U1") == []
    name = await bench.labels.label("P1", "U1", 1, Label("external", "", None, ""))
    assert name and len(await bench.store.query("SELECT 1 FROM labels")) == 1  # what people say of it still counts
    ranked = {"arm": "off", "experiment": "summary", "ranked": "{}", "reason": "override", "started_at": T0}
    await bench.book.write_triage("P1", 2, ranked)
    assert not await bench.book.is_recorded_only("P1")


async def test_who_may_read_no_item_is_told_so_and_who_may_not_see_the_incident_nothing(bench):
    ask, endpoint, gateway = asking(bench)
    with pytest.raises(NotPermitted):
        await ask.ask("U2", "P1", "why?", "r1")
    bench.parts.collector.alert_readers = lambda _: Readers.of(["everyone"])
    told = await ask.ask("U2", "P1", "pool?", "r1")
    assert (told.why, told.found, told.claims) == (NOTHING_SHOWN, (), ())
    assert endpoint.requests == []
    await gateway.aclose()


# --- drafts -----------------------------------------------------------------------------------------------------------


async def posts(bench, target):
    return await bench.store.query("SELECT state, channel FROM posts WHERE target = :t", {"t": target})


async def test_a_draft_holds_timeline_and_facts_with_marks_and_is_stored_only_when_published(bench):
    await bench.labels.label("P1", "U1", 1, Label("change", "e1", None, "rolled back"))
    made = await bench.drafts.draft("U1", "P1")
    for words in ("P1 (#7): SEV2 checkout-api: Checkout fails", "Confirmed: deploy 1 to checkout-api (e1).",
                  "What fixed it\nrolled back", "- 58 s before (e1)"):  # fmt: skip
        assert words in made.text, made.text
    assert "canary" not in made.text
    assert json.loads(made.made_of)["m"] == ["e1", "e2"]
    assert await posts(bench, "draft:P1") == []
    text = f"{made.text}\n<!channel> <@U9> see e1 and e99"
    assert await bench.drafts.publish("U1", "P1", text, made.made_of) == "published"
    (post,) = await posts(bench, "draft:P1")
    assert post["channel"] == "C1"
    assert "<!channel>" not in post["state"] and "<@U9>" not in post["state"]
    assert "<https://github.com/a|e1>" in post["state"]
    (line,) = await bench.store.query("SELECT by FROM audit WHERE action = 'draft.publish'")
    assert line["by"] == "U1"


async def test_a_draft_is_not_published_to_somebody_who_may_read_less_than_it_was_made_of(bench):
    made = await bench.drafts.draft("U1", "P1")
    bench.there.append(frozenset({"everyone"}))
    for made_of in (made.made_of, "", "not ours"):
        assert await bench.drafts.publish("U1", "P1", made.text, made_of) == "narrower"
    assert await posts(bench, "draft:P1") == []
    for attempt in (bench.drafts.draft("U2", "P1"), bench.drafts.publish("U2", "P1", "x", made.made_of)):
        with pytest.raises(NotPermitted):
            await attempt
    assert "deploy 1" not in (await bench.drafts.draft("U1", "P1")).text, "it is for the channel's readers too"


# --- notes ------------------------------------------------------------------------------------------------------------


async def test_a_note_is_written_once_as_the_mapped_person(bench):
    assert await bench.desk.add_note("P1", "U1", "rolled back", "r1") == "not_mapped"
    person = {"workspace_id": "W", "id": "U1", "email": "priya@example.com", "kind": "full", "active": 1, "seen_at": T0}
    await bench.store.insert("people", [person])
    for _ in range(2):
        assert await bench.desk.add_note("P1", "U1", "rolled back", "r1") == "noted"
    ((incident_id, text, email),) = bench.notes
    assert (incident_id, email) == ("P1", "priya@example.com")
    assert text.startswith("rolled back\n[sitrep:")
    with pytest.raises(NotPermitted):
        await bench.desk.add_note("P1", "U2", "x", "r2")
    await bench.store.upsert("people", [person | {"active": 0}])
    assert await bench.desk.add_note("P1", "U1", "x", "r3") == "not_mapped"


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [(Refused("pagerduty", "no such user", code="2001"), "not_mapped"), (Denied("pagerduty", "403"), "refused"),
     (Unavailable("pagerduty", "no answer"), "unavailable")],
)  # fmt: skip
async def test_each_way_in_which_pagerduty_refuses_has_its_own_word(failure, outcome, bench):
    person = {"workspace_id": "W", "id": "U1", "email": "priya@example.com", "kind": "full", "active": 1, "seen_at": T0}
    await bench.store.insert("people", [person])
    bench.failing = failure
    assert await bench.desk.acknowledge("P1", "U1") == outcome
    assert await bench.desk.add_note("P1", "U1", "x", "r1") == outcome
    assert await bench.store.query("SELECT * FROM audit") == []


# --- Home -------------------------------------------------------------------------------------------------------------


async def test_home_shows_what_this_person_may_see_and_the_votes_that_they_owe(bench):
    sent = {"workspace_id": "W", "target": "incident:P1", "part": "card", "sent_version": 1, "first_sent_at": T0}
    await bench.store.upsert("posts", [sent])
    await bench.store.insert("spend_totals", [{"workspace_id": "W", "scope": "day:2026-11-24", "usd": 1.5}])
    mine, theirs = await bench.home.home("U1"), await bench.home.home("U2")
    assert [one.id for one in mine.status.incidents] == [one.id for one in mine.owed] == ["P1"]
    assert (theirs.status.incidents, theirs.owed) == ([], [])
    assert [(one.name, one.usd, one.ceiling_usd) for one in mine.spent] == [
        ("today", 1.5, 20.0), ("this month", 0.0, None),
    ]  # fmt: skip
    assert mine.experiment_runs
    await bench.labels.vote("P1", "U1", 1, "helpful")
    assert (await bench.home.home("U1")).owed == []
    bench.clock.advance(8 * 86400)
    assert (await bench.home.home("U1")).owed == []


async def test_a_thread_belongs_to_the_card_above_it_for_those_who_may_see_it(bench):
    await bench.store.upsert("posts", [{"workspace_id": "W", "target": "incident:P1", "part": "card", "ts": "9.1"}])
    assert await bench.desk.incident_of_thread("U1", "C1", "9.1") == "P1"
    for user, channel, ts in (("U2", "C1", "9.1"), ("U1", "C2", "9.1"), ("U1", "C1", "9.2")):
        assert await bench.desk.incident_of_thread(user, channel, ts) is None
