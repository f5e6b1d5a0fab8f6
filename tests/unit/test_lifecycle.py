"""An incident's life is the same whatever order its reports arrive in."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bot.incidents.lifecycle import Report, derive

T0 = datetime(2026, 11, 24, 14, 2, 10, 350_000, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def whole(seconds: float) -> datetime:
    return at(seconds).replace(microsecond=0)


LIFE = [("triggered", 0), ("acknowledged", 95), ("resolved", 1800)]
WEBHOOK = [Report(kind, at(s), "webhook") for kind, s in LIFE]
POLL = [Report(kind, whole(s + 1), "poll") for kind, s in LIFE]


def test_webhook_and_poll_in_every_order_give_one_life_with_the_milliseconds():
    lives = {derive(order, T0) for order in itertools.permutations(WEBHOOK + POLL)}
    (life,) = lives
    assert (life.triggered_at, life.acknowledged_at, life.resolved_at) == (at(0), at(95), at(1800))
    assert [t.kind for t in life.transitions] == ["triggered", "acknowledged", "resolved"]


def test_a_second_acknowledgement_after_an_unacknowledge_is_another_one_but_the_first_counts():
    reports = [
        Report("triggered", at(0), "webhook"),
        Report("acknowledged", at(10), "webhook"),
        Report("unacknowledged", at(20), "webhook"),
        Report("acknowledged", at(30), "webhook"),
    ]
    life = derive(reports, T0)
    assert life.acknowledged_at == at(10)
    assert life.status == "acknowledged"
    assert len(life.transitions) == 4


def test_reopened_takes_the_resolution_back_and_the_next_one_counts():
    reports = [*WEBHOOK, Report("reopened", at(1900), "webhook")]
    assert derive(reports, T0).resolved_at is None
    assert derive(reports, T0).status == "triggered"
    life = derive([*reports, Report("resolved", at(4000), "poll")], T0)
    assert (life.resolved_at, life.reopened) == (at(4000), 1)


def test_a_resolution_that_arrives_first_is_kept_and_the_creation_time_stands_in_for_the_trigger():
    life = derive([Report("resolved", at(50), "webhook")], T0)
    assert (life.triggered_at, life.resolved_at, life.status) == (T0, at(50), "resolved")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["triggered", "acknowledged", "unacknowledged", "mitigated", "resolved", "reopened"]),
            st.integers(0, 2000),
            st.sampled_from(["webhook", "poll"]),
        ),
        max_size=12,
    ),
    st.randoms(use_true_random=False),
)
def test_any_reports_in_any_order_doubled_or_not_give_the_same_life(reports, random):
    made = [Report(kind, at(s) if source == "webhook" else whole(s), source) for kind, s, source in reports]
    shuffled = made + made
    random.shuffle(shuffled)
    assert derive(made, T0) == derive(shuffled, T0)
