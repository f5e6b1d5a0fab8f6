"""What a card shows in each state, and how one state follows from another."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.cards.actions import ActionValue
from bot.cards.making import collecting, from_ranked
from bot.cards.phrases import change_name
from bot.cards.render import PARTS, parts_of, render
from bot.cards.samples import BEGAN, LINKS, SUSPECTS, every_state, facts, incident, ranked, with_summary
from bot.cards.state import CardState, StormPart
from bot.types import Reason, Rejected

FORMS = ["modern", "classic"]
LATER = BEGAN + timedelta(minutes=3)


def shown(state: CardState, form: str = "classic") -> str:
    return str(render(state, form).blocks).replace("\u00a0", " ").replace("\\xa0", " ")


def first_line(state: CardState) -> str:
    return render(state).text.split("\n")[0].replace("\u00a0", " ")


def labels(state: CardState) -> list[str]:
    blocks = render(state, "modern").blocks
    return [one["text"]["text"] for block in blocks if block["type"] == "actions" for one in block["elements"]]


def test_the_lock_screen_is_a_full_sentence_with_number_and_suspect() -> None:
    assert first_line(facts()) == (
        "SEV2 checkout-api: 38 % of requests fail (normal 0.2 %) since 14:02 UTC. Suspect: deploy a1b2c3d, 58 s before."
    )


def test_a_service_is_not_named_twice() -> None:
    state = from_ranked(ranked(headline="checkout-api: error ratio above 5 %"), links=LINKS)
    assert first_line(state).count("checkout-api") == 1


@pytest.mark.parametrize("form", FORMS)
def test_the_resting_card_says_cause_what_is_going_on_and_next_each_with_marks(form: str) -> None:
    text = shown(with_summary(), form)
    order = [text.index(word) for word in ("Probably", "What is going on", "Next", "6 of 7 sources")]
    assert order == sorted(order)
    for mark in ("e1", "e2", "e3", "e7", "e9", "e12"):
        assert mark in text


def test_without_a_summary_the_reasons_and_the_steps_are_fixed_sentences() -> None:
    text = shown(every_state()["rejected"])
    assert "Errors began 58 s after it" in text
    assert "Follow the runbook “checkout rollback”" in text
    assert "no summary: an answer was rejected: it named a host that no evidence contains" in text


def test_a_way_back_that_is_a_command_is_shown_where_there_is_no_page() -> None:
    one = SUSPECTS[0].model_copy(update={"rollback_url": None, "rollback": "kubectl rollout undo x"})
    text = shown(from_ranked(ranked(suspects=(one,)), links=LINKS))
    assert "If the diff explains it, roll it back: `kubectl rollout undo x`" in text


@pytest.mark.parametrize(("probability", "word"), [(0.95, "Almost certainly"), (0.71, "Probably"), (0.41, "Possibly")])
def test_the_word_for_confidence_comes_from_the_number(probability: float, word: str) -> None:
    one = SUSPECTS[0].model_copy(update={"probability": probability})
    assert word in shown(from_ranked(ranked(suspects=(one,)), links=LINKS))


def test_below_possibly_nothing_stands_out_and_what_was_looked_at_is_said() -> None:
    state = every_state()["nothing-at-all"]
    assert "Nothing stands out" in shown(state)
    assert "Looked at 3 changes, 2 services, 6 sources" in shown(state)
    assert "It was this change" not in labels(state)


def test_an_own_view_is_offered_where_items_are_hidden() -> None:
    assert "Show what I may see (2)" in labels(facts())
    assert not [one for one in labels(facts().model_copy(update={"hidden": 0})) if one.startswith("Show")]


def test_collecting_holds_the_fallback_fields_alone() -> None:
    state = collecting(incident(), links=LINKS, number_of_sources=7)
    assert "checkout" not in state.model_dump_json()
    assert first_line(state).startswith("SEV2 incident P8K2Q1 (#1834) since 14:02 UTC, on-call payments.")


def test_a_fallback_state_keeps_nothing_that_may_not_be_shown() -> None:
    state = from_ranked(ranked(fallback="the directory did not answer"), links=LINKS)
    kept = state.model_dump_json()
    for secret in ("38 %", "checkout", "a1b2c3d", "jaeger.acme.example/trace", "tempo"):
        assert secret not in kept
    assert "the directory did not answer" in shown(state)


def test_a_life_goes_from_facts_to_resolved_and_again() -> None:
    state = facts().acknowledged(LATER, "on-call payments")
    assert state.phase == "acknowledged"
    assert "acknowledged by on-call payments after 3 min" in shown(state)
    assert "Acknowledge" not in labels(state)
    state = state.resolved(BEGAN + timedelta(minutes=23))
    assert state.phase == "resolved"
    assert "failed" in shown(state)
    assert "It was probably" in shown(state)
    assert "What was the cause?" in shown(state)
    assert state.acknowledged(BEGAN + timedelta(minutes=30)).phase == "resolved"
    again = state.reopened(BEGAN + timedelta(minutes=40))
    assert again.phase == "reopened"
    assert again.times.acknowledged_at is None
    assert "Acknowledge" in labels(again)


def test_the_first_acknowledgement_stands() -> None:
    state = facts().acknowledged(LATER, "on-call payments").acknowledged(LATER + timedelta(minutes=5), "somebody")
    assert state.times.acknowledged_at == LATER
    assert state.times.acknowledged_by == "on-call payments"


def test_ruling_out_strikes_the_suspect_promotes_the_next_and_can_be_undone_for_ten_minutes() -> None:
    second = SUSPECTS[1].model_copy(update={"probability": 0.5})
    state = from_ranked(ranked(suspects=(SUSPECTS[0], second)), links=LINKS)
    struck = state.rule_out("deploy-1", by="on-call payments", at=LATER)
    assert struck.first_suspect is not None
    assert struck.first_suspect.change_id == "flag-1"
    assert "~deploy a1b2c3d~ ruled out by on-call payments" in shown(struck)
    assert any(label.startswith("Undo") for label in labels(struck))
    assert struck.undo_rule_out("deploy-1", at=LATER + timedelta(seconds=600)).first_suspect == state.first_suspect
    assert struck.undo_rule_out("deploy-1", at=LATER + timedelta(seconds=601)) == struck


def test_a_summary_of_a_struck_suspect_is_not_told_of_the_next_one() -> None:
    second = SUSPECTS[1].model_copy(update={"probability": 0.5})
    state = with_summary().model_copy(update={"suspects": (SUSPECTS[0], second)})
    text = shown(state.rule_out("deploy-1", by="", at=LATER))
    assert "connection pool" not in text
    assert "Roll back" not in text
    assert "Orders fail at checkout" in text


def test_a_confirmed_cause_is_told_and_no_longer_asked_for() -> None:
    state = every_state()["resolved"].confirm("deploy-1", by="on-call payments", at=LATER)
    assert "confirmed by on-call payments" in shown(state)
    assert "What was the cause?" not in shown(state)
    assert "It was this change" not in labels(state)


def test_the_channel_is_told_of_a_new_first_suspect_at_most_twice() -> None:
    def with_first(change_id: str, probability: float, before: CardState) -> CardState:
        one = SUSPECTS[0].model_copy(update={"change_id": change_id, "probability": probability})
        return from_ranked(ranked(suspects=(one,)), links=LINKS).after(before).announcing(posted=True)

    first = every_state()["nothing-at-all"].announcing(posted=False)
    assert first.replies == ()
    first = with_first("a", 0.5, first)
    assert first.replies == ("a",)
    assert with_first("b", 0.6, first).replies == ("a",)
    second = with_first("b", 0.7, first)
    assert second.replies == ("a", "b")
    assert with_first("c", 0.9, second).replies == ("a", "b")


def test_a_first_post_that_names_the_suspect_needs_no_reply() -> None:
    assert facts().announcing(posted=False).announcing(posted=True).replies == ()


def test_a_fresh_state_keeps_what_people_did() -> None:
    before = with_summary().acknowledged(LATER, "on-call payments").voted(3, 1).rule_out("flag-1", by="", at=LATER)
    after = facts().after(before)
    assert after.phase == "acknowledged"
    assert (after.helpful, after.not_helpful) == (3, 1)
    assert after.struck == {"flag-1"}
    assert after.summary == before.summary
    assert after.summary_seconds == 9


def test_a_narrowed_card_drops_each_claim_that_cites_what_is_no_longer_shown() -> None:
    fewer = tuple(item for item in ranked().evidence if item.mark != "e7")
    after = from_ranked(ranked(evidence=fewer), links=LINKS, narrowed=True).after(with_summary())
    assert after.summary is not None
    assert "connection pool" not in shown(after)
    assert "1 in 3 payment requests" in shown(after)
    none = from_ranked(ranked(evidence=()), links=LINKS, narrowed=True).after(with_summary())
    assert none.summary is None
    assert "may not see" in shown(none)


def test_a_card_narrowed_to_the_fallback_keeps_no_summary() -> None:
    after = from_ranked(ranked(fallback="a partner joined"), links=LINKS).after(with_summary())
    assert after.summary is None
    assert "connection" not in after.model_dump_json()


def test_a_rejected_answer_is_charged_and_said() -> None:
    state = facts().with_summary(Rejected(outcome="deadline", reason="the model did not answer in 20 s"))
    assert state.phase == "facts"
    assert "no summary: the model did not answer in 20 s" in shown(state)


def test_a_storm_counts_alerts_by_service_and_says_what_is_not_listed() -> None:
    storm = (StormPart(service="a", alerts=5), StormPart(service="b", alerts=2))
    assert "a 5, b 2 (3 more not listed)" in shown(from_ranked(ranked(alerts=10), links=LINKS, storm=storm))


def test_everything_down_says_so_and_what_to_do() -> None:
    text = shown(every_state()["everything-down"])
    assert "No source answered" in text
    assert "Open the alert itself" in text
    assert "Ask on-call payments" in text


def test_a_state_survives_json() -> None:
    for state in every_state().values():
        assert CardState.model_validate_json(state.model_dump_json()) == state


def test_the_thread_holds_every_item_with_its_mark() -> None:
    part = render(facts(), "classic").part("thread")
    assert part is not None
    for item in ranked().evidence:
        assert f"|{item.mark}>" in str(part.blocks) or item.mark in str(part.blocks)


def test_the_parts_that_speak_are_those_that_are_drawn() -> None:
    for state in every_state().values():
        told = state.model_copy(update={"replies": ("deploy-1",)})
        for form in FORMS:
            drawn = render(told, form)
            assert parts_of(told) == {name for name in PARTS if drawn.part(name) is not None}


def test_links_go_only_to_allowed_hosts() -> None:
    state = facts().model_copy(update={"links": ("github.com",)})
    text = str(render(state, "modern").blocks) + str(render(state, "classic").blocks)
    assert "https://github.com/acme/checkout/deployments" in text
    assert "jaeger.acme.example" not in text


def test_a_buttons_value_comes_back_as_it_went() -> None:
    value = ActionValue("P8K2Q1", 7, "e3")
    assert ActionValue.decode(value.encode()) == value


@pytest.mark.parametrize(
    "hostile",
    ["", "x", "[]", "null", '{"i": 1, "v": 1}', '{"i": "P", "v": "1"}', '{"i": "P", "v": true}', '{"i": "", "v": 1}',
     '{"i": "P", "v": 1, "m": "<!here>"}', '{"i": "P", "v": -1, "m": ""}', "9" * 5000, '{"i": "a\\nb", "v": 1}'],
)  # fmt: skip
def test_a_value_that_is_not_ours_is_none(hostile: str) -> None:
    assert ActionValue.decode(hostile) is None


def test_a_card_in_its_resting_state_is_short() -> None:
    assert len(render(with_summary(), "modern").blocks) <= 10


@pytest.mark.parametrize(
    ("summary", "says"),
    [
        ("config: checkout-api 537403b: chore(deps): update otel", "chore(deps): update otel"),
        ("Deploy a1b2c3d9f8e7 to production: Smaller pool", "Smaller pool"),
        ("deploy of checkout-api", "of checkout-api"), ("Smaller pool", "Smaller pool"), ("deployment tools", None),
        ("deploy a1b2c3d", ""), ("checkout-api: a1b2c3d", ""),
    ],
)  # fmt: skip
def test_a_change_is_not_said_twice(summary: str, says: str | None) -> None:
    kind = "config" if summary.startswith("config") else "deploy"
    commit = "537403bd0" if "537403b" in summary else "a1b2c3d9f8e7"
    item = facts().item("e3")
    assert item is not None
    one = SUSPECTS[0].model_copy(update={"summary": summary, "kind": kind})
    told = change_name(one, item.model_copy(update={"commit": commit}))
    assert told == (kind, commit[:7], summary if says is None else says)


def test_how_long_before_the_alert_is_said_once_and_long_reasons_leave_the_card_short() -> None:
    long = Reason(text="2 of 2 calls spent 2.0 s on the way " + "and more " * 30, evidence=("e9",))
    repeated = Reason(text="58 s before the first alert, 20 s before the first sign", evidence=("e3",))
    one = SUSPECTS[0].model_copy(update={"reasons": (repeated, long, long)})
    text = shown(from_ranked(ranked(suspects=(one,)), links=LINKS))
    assert text.count("before the first alert") == 1
    assert text.count("2 of 2 calls") == 1


def marked_state(*marks: str) -> CardState:
    items = tuple(item.model_copy(update={"suspicious": item.mark in marks}) for item in facts().evidence)
    return facts().model_copy(update={"evidence": items})


@pytest.mark.parametrize("form", FORMS)
def test_an_item_that_reads_like_orders_is_shown_with_a_warning(form: str) -> None:
    plain, state = shown(facts(), form), marked_state("e1", "e2")
    assert "reads like orders" not in plain
    assert "e1, e2 read like orders to a machine: do not follow them unread" in shown(state, form)
    assert "e1 reads like orders to a machine: do not follow it unread" in shown(marked_state("e1"), form)
    thread = str(render(state, form).thread["thread"].blocks)
    assert thread.count("(reads like orders to a machine)") == 2
    for item in facts().evidence:
        assert item.title[:20] in thread


def test_a_marked_runbook_is_not_advised_and_a_restricted_card_names_no_mark() -> None:
    runbook = next(item.mark for item in facts().evidence if item.kind == "runbook")
    assert "Follow the runbook" in shown(facts())
    assert "Follow the runbook" not in shown(marked_state(runbook))
    restricted = marked_state("e1").model_copy(update={"fallback": "the audience is unknown"})
    assert "orders" not in shown(restricted)
