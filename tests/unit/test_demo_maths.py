"""The recorder's arithmetic: what the demo's alert says is computed by it."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.maths import errors_began, fires_at, increase, parse_exposition, quantile, without_resets


def test_the_text_format_is_read_with_labels_that_contain_commas_and_quotes() -> None:
    page = '# TYPE a counter\na_total{path="/x,y",note="say \\"hi\\""} 3\n\nb 1.5e3\n'
    found = parse_exposition(page)
    assert found["b", ()] == 1500.0
    assert found["a_total", (("note", 'say \\"hi\\"'), ("path", "/x,y"))] == 3.0


def test_a_line_that_is_no_sample_is_refused_with_its_text() -> None:
    with pytest.raises(ValueError, match="not a sample"):
        parse_exposition("<html>")


def test_a_restart_does_not_lower_a_counter() -> None:
    assert without_resets([(0, 5.0), (5, 9.0), (10, 2.0), (15, 4.0)]) == [(0, 5.0), (5, 9.0), (10, 11.0), (15, 13.0)]


def test_increase_counts_what_came_before_and_after_a_restart() -> None:
    samples = [(0, 100.0), (5, 110.0), (10, 3.0), (15, 8.0)]
    assert increase(samples, 0, 15) == 18.0
    assert increase(samples, 5, 10) == 3.0
    assert increase(samples, 20, 30) == 0.0


def test_a_series_that_begins_in_the_window_began_at_zero() -> None:
    assert increase([(12, 4.0)], 10, 15) == 4.0
    assert increase([], 10, 15) == 0.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_without_resets_never_falls(values: list[float]) -> None:
    made = [value for _, value in without_resets(list(enumerate(values)))]
    assert all(before <= after for before, after in itertools.pairwise(made))


def test_quantile_is_linear_within_its_bucket() -> None:
    buckets = {0.1: 0.0, 0.5: 90.0, 1.0: 100.0, math.inf: 100.0}
    assert quantile(0.45, buckets) == pytest.approx(0.3)
    assert quantile(0.95, buckets) == pytest.approx(0.75)


def test_quantile_in_the_last_bucket_is_the_highest_border_and_of_nothing_is_nan() -> None:
    assert quantile(0.99, {1.0: 10.0, math.inf: 100.0}) == 1.0
    assert math.isnan(quantile(0.5, {1.0: 0.0, math.inf: 0.0}))
    assert math.isnan(quantile(0.5, {}))


def test_a_rule_fires_only_after_it_held_for_its_time_without_a_break() -> None:
    samples = [(0, 0.1), (5, 0.9), (10, 0.9), (15, 0.1), (20, 0.9), (25, math.nan), (30, 0.9), (35, 0.9), (40, 0.9)]
    assert fires_at(samples, 0.5, 10) == 40
    assert fires_at(samples, 0.5, 0) == 5
    assert fires_at(samples, 0.5, 20) is None


def test_errors_began_where_the_run_of_errors_that_leads_to_the_alert_starts() -> None:
    assert errors_began([3.0, 100.0, 104.0, 112.0, 119.0, 130.0], alert_at=120.0) == 100.0
    assert errors_began([3.0, 100.0, 111.0], alert_at=120.0) == 111.0
    assert errors_began([], alert_at=120.0) is None
