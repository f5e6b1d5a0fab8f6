"""The PromQL that the demo's Prometheus evaluates."""

import math
from collections.abc import Callable, Mapping, Sequence

import pytest

from demo.promql import evaluate, evaluate_range
from demo.promql_parse import QueryError, duration, parse


class Store:
    """Three services; requests rise by 2, 4 and 8 a second, a tenth of the first's fail; a scrape every 5 s."""

    def __init__(self) -> None:
        self.series: list[tuple[dict[str, str], list[tuple[float, float]]]] = []
        for service, rate in (("a", 2.0), ("b", 4.0), ("c", 8.0)):
            for code, share in (("200", 0.9), ("503", 0.1)):
                labels = {"__name__": "requests_total", "service": service, "code": code}
                self.series.append((labels, [(at, 1000 + rate * share * at) for at in range(0, 601, 5)]))
        for border, share in (("0.1", 0.5), ("0.5", 0.9), ("+Inf", 1.0)):
            labels = {"__name__": "seconds_bucket", "service": "a", "le": border}
            self.series.append((labels, [(at, share * 10.0 * at) for at in range(0, 601, 5)]))
        self.series.append(({"__name__": "pool_size", "service": "a"}, [(0.0, 20.0), (300.0, 2.0)]))

    def select(
        self, name: str | None, keep: Callable[[Mapping[str, str]], bool], start: float, end: float
    ) -> list[tuple[Mapping[str, str], Sequence[tuple[float, float]]]]:
        return [
            (labels, [point for point in points if start <= point[0] <= end])
            for labels, points in self.series
            if name in (None, labels["__name__"]) and keep(labels)
        ]


def value(query: str, at: float = 600.0) -> object:
    return evaluate(query, at, Store())


def single(query: str, at: float = 600.0) -> float:
    found = value(query, at)
    assert isinstance(found, dict)
    assert len(found) == 1, found
    return next(iter(found.values()))


def test_rate_of_a_steady_counter_is_its_slope() -> None:
    assert single('rate(requests_total{service="a",code="200"}[1m])') == pytest.approx(1.8)


def test_an_error_ratio_divides_sums_by_service() -> None:
    query = 'sum by (service) (rate(requests_total{code=~"5.."}[1m])) / sum by (service) (rate(requests_total[1m]))'
    found = value(query)
    assert isinstance(found, dict)
    assert {dict(labels)["service"]: round(ratio, 6) for labels, ratio in found.items()} == {
        "a": 0.1,
        "b": 0.1,
        "c": 0.1,
    }


def test_grouping_may_stand_after_the_argument() -> None:
    assert value("sum(requests_total) by (service)") == value("sum by (service) (requests_total)")


def test_histogram_quantile_works_on_rates() -> None:
    query = "histogram_quantile(0.7, sum by (le) (rate(seconds_bucket[1m])))"
    assert single(query) == pytest.approx(0.1 + 0.4 * 0.5)


def test_an_instant_selector_takes_the_latest_sample_of_five_minutes() -> None:
    assert single("pool_size", 290) == 20.0
    assert single("pool_size", 400) == 2.0
    assert value("pool_size", 601) == {}


def test_offset_looks_back() -> None:
    assert single("pool_size offset 5m", 590) == 20.0
    assert single("max_over_time(pool_size[10m])", 600) == 20.0


def test_operators_keep_their_precedence_and_associate_to_the_left() -> None:
    assert value("2 + 3 * 4 ^ 2 - 1") == 49.0
    assert value("8 / 4 / 2") == 1.0
    assert value("2 ^ 3 ^ 2") == 512.0
    assert value("-(2 + 1)") == -3.0


def test_a_comparison_filters_unless_it_is_bool() -> None:
    assert value("pool_size > 5") == {}
    assert single("pool_size > bool 5") == 0.0
    assert single("pool_size < 5") == 2.0


def test_or_takes_the_right_side_where_the_left_has_nothing() -> None:
    assert single("absent_metric or vector(7)") == 7.0
    assert single("absent(absent_metric)") == 1.0


def test_topk_keeps_the_labels_of_what_it_picks() -> None:
    found = value('topk(1, rate(requests_total{code="200"}[1m]))')
    assert isinstance(found, dict)
    assert [dict(labels)["service"] for labels in found] == ["c"]


def test_a_range_has_a_point_a_step_and_gaps_where_nothing_is() -> None:
    found = evaluate_range("pool_size", 280, 700, 60, Store())
    assert [point for points in found.values() for point in points] == [
        (280, 20.0), (340, 2.0), (400, 2.0), (460, 2.0), (520, 2.0), (580, 2.0)
    ]  # fmt: skip
    assert evaluate_range("nothing", 0, 10, 5, Store()) == {}


def test_division_by_zero_is_infinite_or_not_a_number() -> None:
    assert value("1 / 0") == math.inf
    assert math.isnan(float(str(value("0 / 0"))))


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("sum(rate(", "unclosed left parenthesis"),
        ("", "no expression found"),
        ("requests_total{code=200}", "in label matching"),
        ("rate(requests_total)", "expected type range vector"),
        ("requests_total[5m]", "range vector"),
        ("no_such_function(1)", "unknown function"),
        ("1 +", "end of input"),
        ("a b", "unexpected"),
        ("requests_total[5x]", "duration"),
        ('requests_total{code=~"("}', "regexp"),
        ("rate(requests_total[5m:1m])", "subqueries"),
        ("a ; b", "unexpected character"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_its_reason(query: str, says: str) -> None:
    with pytest.raises(QueryError, match=says):
        evaluate(query, 600.0, Store())


def test_durations_add_up_and_bare_numbers_are_seconds() -> None:
    assert duration("1h30m") == 5400.0
    assert duration("15") == 15.0
    with pytest.raises(QueryError):
        duration("soon")


def test_strings_are_parsed() -> None:
    assert parse('"hello"').value == "hello"
