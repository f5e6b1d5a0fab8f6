"""The hypothesis file, who takes part, and the lines that pause the model."""

from __future__ import annotations

import pathlib
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from bot.errors import ConfigurationError
from bot.experiment.assign import arm_of
from bot.experiment.cutlines import TriageFigures, Vote, crossed
from bot.experiment.hypothesis import Cutlines, Hypothesis, changed, parse, with_cannot_find
from bot.experiment.rollout import evaluate, left_out, share_of, stratum_of

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "experiments" / "summary.example.toml"
NOW = datetime(2026, 12, 20, tzinfo=UTC)
SEED = b"0123456789abcdef"


@pytest.fixture
def hypothesis() -> Hypothesis:
    return parse(EXAMPLE.read_text(), file=EXAMPLE.name)


def test_the_example_is_valid_and_names_every_key(hypothesis):
    text = EXAMPLE.read_text()
    for section in (Hypothesis, *(type(getattr(hypothesis, s)) for s in ("rollout", "incidents", "cutlines"))):
        for key in section.model_fields:
            assert f"{key} = " in text or f"[{key}]" in text, key
    assert hypothesis.contrast == "facts+summary against facts"
    assert hypothesis.arm_shown("treatment") == "facts+summary"


def test_the_hash_is_of_what_it_says_and_any_change_is_another_experiment(hypothesis):
    text = EXAMPLE.read_text()
    reordered = parse(
        text.replace("# One experiment.", "#").replace("expected_ratio = 0.8 ", "expected_ratio = 0.80 "), file="x"
    )
    assert reordered.sha256 == hypothesis.sha256 and changed(hypothesis.sha256, reordered) == ""
    for before, after in (
        ("tau_hours = 72", "tau_hours = 48"),
        ('"planned" ', '"open" '),
        ("harm = true", "harm = false"),
        ("share = 1.0", "share = 0.5"),
    ):
        other = parse(text.replace(before, after), file="x")
        assert other.sha256 != hypothesis.sha256
        assert "another experiment" in changed(hypothesis.sha256, other)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ('arms = ["facts", "facts+summary"]', 'arms = ["facts", "facts"]', "both arms are 'facts'"),
        ('arms = ["facts", "facts+summary"]', 'arms = ["facts+summary", "off"]', "swap them"),
        ('arms = ["facts", "facts+summary"]', 'arms = ["facts", "magic"]', "no arm 'magic'"),
        ('arms = ["facts", "facts+summary"]', 'arms = ["facts", "facts@v2"]', "no arm 'facts@v2'"),
        ("expected_ratio = 0.8", "expected_ratio = 1.8", "expected_ratio"),
        ("horizon_weeks = 26", "horizon_week = 26", "horizon_week: there is no such key"),
        ('name = "summary"', 'name = "Sum mary"', "name"),
        ('owner = "sre"', "", "owner: is missing"),
        ('guards = ["harm", "sample_ratio"]', 'guards = ["harm", "luck"]', "guards"),
        ('guards = ["harm", "sample_ratio"]', 'guards = ["sample_ratio"]', 'harm = true needs "harm" among guards'),
        ("[rollout]", "[rollout", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(before, after, says):
    with pytest.raises(ConfigurationError) as refused:
        parse(EXAMPLE.read_text().replace(before, after), file="experiments/summary.toml")
    assert says in str(refused.value) and "experiments/summary.toml" in str(refused.value)


def test_two_prompt_versions_can_be_compared():
    text = EXAMPLE.read_text().replace('["facts", "facts+summary"]', '["facts+summary@v1", "facts+summary@v2"]')
    assert parse(text, file="x").contrast == "facts+summary@v2 against facts+summary@v1"


def test_what_the_baseline_found_is_written_without_touching_the_rest(hypothesis):
    text = EXAMPLE.read_text()
    written = with_cannot_find(text, "cannot find an effect below 34 %")
    assert parse(written, file="x").cannot_find == "cannot find an effect below 34 %"
    assert [a for a, b in zip(text.splitlines(), written.splitlines(), strict=True) if a != b] == [
        'cannot_find = ""                       # written by `sitrep experiment baseline`'
    ]
    without = "\n".join(line for line in text.splitlines() if not line.startswith("cannot_find"))
    assert parse(with_cannot_find(without, "x"), file="x").cannot_find == "x"


def test_units_are_split_as_the_assignment_code_says_and_stay_when_reopened(hypothesis):
    for n in range(8):
        found = evaluate(hypothesis, unit_id=f"u{n}", severity=2, service="api", ordinal=n, seed=SEED)
        assert found.arm == arm_of(SEED, "sev2", n) and found.reason == "split"
        again = evaluate(
            hypothesis, unit_id=f"u{n}", severity=1, service="api", ordinal=99, seed=SEED, recorded=found.arm
        )
        assert (again.arm, again.shows, again.reason) == (found.arm, found.shows, "cached")
    assert found.attributes() == {
        "feature_flag.key": "sitrep.experiment.summary",
        "feature_flag.provider.name": "sitrep",
        "feature_flag.result.variant": found.shows,
        "feature_flag.result.reason": "split",
        "feature_flag.version": hypothesis.sha256,
        "feature_flag.context.id": "u7",
    }
    with pytest.raises(ValueError, match="recorded arm"):
        evaluate(hypothesis, unit_id="u", severity=1, service=None, ordinal=0, seed=SEED, recorded="facts")


def test_who_takes_no_part_gets_the_default_and_is_not_assigned(hypothesis):
    low = evaluate(hypothesis, unit_id="u", severity=4, service="api", ordinal=0, seed=SEED)
    assert (low.arm, low.shows, low.reason, low.because) == (None, "facts", "default", "severity 4 takes no part")
    only = parse(EXAMPLE.read_text().replace("services = []", 'services = ["web"]'), file="x")
    assert evaluate(only, unit_id="u", severity=1, service="api", ordinal=0, seed=SEED).arm is None
    assert evaluate(only, unit_id="u", severity=1, service="web", ordinal=0, seed=SEED).arm is not None


def test_a_wider_share_keeps_those_that_were_in_it():
    shares = [share_of(SEED, f"u{i}") for i in range(2000)]
    assert 0.2 < sum(s < 0.25 for s in shares) / 2000 < 0.3
    narrow = parse(EXAMPLE.read_text().replace("share = 1.0", "share = 0.25"), file="x")
    inside = [
        evaluate(narrow, unit_id=f"u{i}", severity=1, service=None, ordinal=0, seed=SEED).arm is not None
        for i in range(200)
    ]
    assert inside == [s < 0.25 for s in shares[:200]]


def test_the_kill_switch_leaves_the_facts_card_and_assigns_nobody(hypothesis):
    new = evaluate(hypothesis, unit_id="u", severity=1, service=None, ordinal=0, seed=SEED, paused=True)
    assert (new.arm, new.shows, new.reason) == (None, "facts", "disabled")
    known = evaluate(
        hypothesis, unit_id="u", severity=1, service=None, ordinal=0, seed=SEED, paused=True, recorded="treatment"
    )
    assert (known.arm, known.shows) == ("treatment", "facts")


def test_there_are_at_most_three_severity_strata(hypothesis):
    assert Counter(stratum_of(hypothesis, severity=s, service="x") for s in range(6)) == {
        "sev1": 2,
        "sev2": 1,
        "sev3": 3,
    }
    by_service = parse(EXAMPLE.read_text().replace('strata = "severity"', 'strata = "service"'), file="x")
    assert stratum_of(by_service, severity=1, service="api") == "api"
    assert stratum_of(by_service, severity=1, service=None) == "unknown"


def test_only_what_the_file_says_is_left_out(hypothesis):
    assert left_out(hypothesis, is_test=True, is_duplicate=False, auto_resolved=False) == "test incident"
    assert left_out(hypothesis, is_test=False, is_duplicate=True, auto_resolved=True) == ""
    strict = parse(EXAMPLE.read_text().replace('duplicate = "keep"', 'duplicate = "exclude"'), file="x")
    assert left_out(strict, is_test=False, is_duplicate=True, auto_resolved=False) == "duplicate"


def triage(
    outcome: str = "released", usd: float = 0.01, seconds: float | None = 1.5, days_ago: float = 1
) -> TriageFigures:
    return TriageFigures(NOW - timedelta(days=days_ago), outcome, usd, seconds)


def check(triages=(), votes=(), e_slower=1.0, lines=None, resumed_at=None):
    found = crossed(
        lines or Cutlines(), triages=triages, votes=votes, e_slower=e_slower, now=NOW, resumed_at=resumed_at
    )
    return {c.cutline: c for c in found}


def test_nothing_is_crossed_by_a_quiet_month_or_by_too_few():
    assert check([triage()] * 100, [Vote(NOW, True)] * 50) == {}
    assert check([triage("rejected", usd=9.0, seconds=500.0)] * 19, [Vote(NOW, False)] * 19) == {}


def test_each_line_is_crossed_by_its_own_figure_alone():
    assert set(check([triage(usd=0.51)] * 20)) == {"usd_per_triage"}
    assert set(check([triage("rejected")] * 7 + [triage()] * 13)) == {"rejected_share"}
    assert set(check([triage("rejected")] * 6 + [triage()] * 14)) == set()
    assert set(check(votes=[Vote(NOW, False)] * 11 + [Vote(NOW, True)] * 9)) == {"negative_vote_share"}
    assert set(check([triage(seconds=31.0)] * 20)) == {"first_post_p90_seconds"}
    assert set(check(e_slower=20.1)) == {"harm"} and check(e_slower=20.0) == {}


def test_calls_that_no_model_answered_are_not_rejected_answers():
    assert check([triage("budget")] * 40 + [triage("breaker")] * 40 + [triage()] * 20) == {}


def test_what_is_old_or_was_before_a_person_resumed_does_not_count():
    assert check([triage("rejected", days_ago=29)] * 40) == {}
    assert check([triage("rejected", days_ago=5)] * 40, resumed_at=NOW - timedelta(days=4)) == {}
    assert set(check([triage("rejected", days_ago=3)] * 40, resumed_at=NOW - timedelta(days=4))) == {"rejected_share"}


def test_the_sentence_says_what_happened_and_where_the_line_is():
    (found,) = check([triage("rejected")] * 10 + [triage()] * 10).values()
    assert found.sentence == "10 of 20 answers were rejected by the checks; the line is 30%"
    off = Cutlines(
        usd_per_triage=None, rejected_share=None, negative_vote_share=None, first_post_p90_seconds=None, harm=False
    )
    assert check([triage("rejected", usd=9, seconds=99)] * 40, [Vote(NOW, False)] * 40, 100.0, off) == {}
