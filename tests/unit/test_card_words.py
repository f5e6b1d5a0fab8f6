"""Numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.cards import words


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0031, "3 ms"), (0.9996, "1 s"), (4.9, "4.9 s"), (4.96, "5 s"), (9.97, "10 s"), (58, "58 s"), (119, "119 s"),
        (120, "2 min"), (134, "2 min 14 s"), (599.7, "10 min"), (1380, "23 min"), (7180, "2 h"), (4320, "72 min"),
        (9000, "2 h 30 min"), (777600, "9 days"), (-58, "58 s"), (float("inf"), "an unknown time"), (0, "0 ms"),
    ],
)  # fmt: skip
def test_a_duration_has_the_digits_that_matter(seconds: float, shown: str) -> None:
    assert words.duration(seconds).replace(words.NBSP, " ") == shown


def test_a_number_stands_beside_its_normal() -> None:
    assert words.with_normal("4.9 s", "3 ms") == "4.9 s (normal 3 ms)"


@pytest.mark.parametrize(("before", "shown"), [(58, "58 s before"), (-12, "12 s after"), (0.4, "at the same time")])
def test_a_distance_says_before_or_after(before: float, shown: str) -> None:
    assert words.distance(before).replace(words.NBSP, " ") == shown


def test_a_time_of_another_day_is_shown_with_its_day() -> None:
    began = datetime(2026, 11, 23, 23, 59, tzinfo=UTC)

    assert words.clock_second(began, began) == "23:59:00\u00a0UTC"
    assert words.clock_second(began + timedelta(hours=1), began) == "24\u00a0Nov 00:59:00\u00a0UTC"


@pytest.mark.parametrize(("usd", "shown"), [(0.012, "$0.012"), (0, "$0.00"), (3.456, "$3.46"), (1e-6, "under $0.0001")])
def test_money_keeps_two_digits(usd: float, shown: str) -> None:
    assert words.money(usd) == shown


def test_a_headline_of_ours_is_put_into_the_past() -> None:
    assert words.past("38 % of requests fail and p95 is 4.9 s") == "38 % of requests failed and p95 was 4.9 s"


def test_a_change_does_not_say_again_where_it_went():
    from bot.cards.phrases import _own_words

    summary = "Deploy ea0e5b5 to checkout-api: Move connection settings"
    assert _own_words(summary, "deploy", "checkout-api", "ea0e5b5") == "Move connection settings"
