"""Estimators against the figures of R 4.2.2, survival 3.5-3."""

from __future__ import annotations

import csv
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.experiment.survival import Median, kaplan_meier, log_rank, median, restricted_mean

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "survival"


def columns(name: str, *wanted: str) -> list[np.ndarray]:
    with (DATA / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for column in wanted:
        values = [row[column] for row in rows]
        try:
            found.append(np.array([float(v) if v else np.nan for v in values]))
        except ValueError:
            found.append(np.array(values))
    return found


def digits(value: float) -> pytest.approx:
    """Equal to six significant digits."""
    return pytest.approx(value, rel=5.1e-6)


def printed(value: float, decimals: int = 4) -> pytest.approx:
    """Equal to what R printed with so many decimals."""
    return pytest.approx(value, abs=0.51 * 10**-decimals)


@pytest.fixture(scope="module")
def freireich():
    t, status, rx = columns("leukemia", "t", "status", "Rx")
    drug = rx == 0
    return t, status.astype(int), drug


def test_freireich_log_rank_and_medians(freireich):
    t, status, drug = freireich
    found = log_rank(t, status, drug.astype(int))
    assert found.chi_squared == digits(16.79294) and found.p == pytest.approx(4.169e-05, rel=2e-4)
    assert median(kaplan_meier(t[drug], status[drug])) == Median(23.0, 13.0, None)
    assert median(kaplan_meier(t[~drug], status[~drug])) == Median(8.0, 4.0, 11.0)


def test_freireich_curve_of_the_drug(freireich):
    t, status, drug = freireich
    curve = kaplan_meier(t[drug], status[drug])
    expected = (0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482)
    for time, share in zip((6, 7, 10, 13, 16, 22, 23), expected, strict=True):
        assert curve.at(time) == printed(share)
    assert curve.at(5.9) == 1.0 and curve.open_at(6) == 21 and curve.open_at(23) == 6 and curve.open_at(36) == 0


def test_freireich_restricted_means(freireich):
    t, status, drug = freireich
    ours, theirs = kaplan_meier(t[drug], status[drug]), kaplan_meier(t[~drug], status[~drug])
    assert restricted_mean(ours, 35) == (printed(23.2874), printed(2.8275))
    assert restricted_mean(theirs, 35) == (printed(8.6667), printed(1.3774))
    assert restricted_mean(ours, 23) == (printed(17.9092), printed(1.5532))


def test_lung_by_sex():
    time, status, sex, ecog = columns("lung", "time", "status", "sex", "ph.ecog")
    group = (sex == 2).astype(int)
    found = log_rank(time, status, group)
    assert found.chi_squared == digits(10.32674) and found.p == pytest.approx(0.001311, abs=5e-7)
    known = ~np.isnan(ecog)
    stratified = log_rank(time[known], status[known], group[known], ecog[known])
    assert stratified.chi_squared == digits(10.79506)
    men, women = (kaplan_meier(time[sex == s], status[sex == s]) for s in (1, 2))
    assert median(men) == Median(270.0, 210.0, 306.0)
    # R: 426 (345..524) with log-log bounds.
    assert median(women) == Median(426.0, 345.0, 524.0)
    assert restricted_mean(men, 365) == (printed(241.4951), printed(10.3582))
    assert restricted_mean(women, 365) == (printed(297.4654), printed(10.7913))


def test_ovarian_by_treatment():
    time, status, rx, residual = columns("ovarian", "futime", "fustat", "rx", "resid.ds")
    found = log_rank(time, status, (rx == 2).astype(int))
    assert found.chi_squared == digits(1.062740) and found.p == printed(0.3026)
    assert log_rank(time, status, (rx == 2).astype(int), residual).chi_squared == digits(1.279643)


def test_veteran_by_treatment():
    time, status, trt, cell = columns("veteran", "time", "status", "trt", "celltype")
    found = log_rank(time, status, (trt == 2).astype(int))
    assert found.chi_squared == pytest.approx(0.0082273, abs=5e-8) and found.p == printed(0.9277)
    assert log_rank(time, status, (trt == 2).astype(int), cell).chi_squared == digits(0.7017433)
    one, two = (kaplan_meier(time[trt == k], status[trt == k]) for k in (1, 2))
    assert restricted_mean(one, 500) == (printed(122.990, 3), printed(14.413, 3))
    assert restricted_mean(two, 500) == (printed(122.357, 3), printed(17.888, 3))


def test_aml_by_maintenance():
    time, status, x = columns("aml", "time", "status", "x")
    kept = x == "Maintained"
    found = log_rank(time, status, kept.astype(int))
    assert found.chi_squared == digits(3.396389) and found.p == printed(0.0653)
    assert median(kaplan_meier(time[kept], status[kept])).median == 31
    assert median(kaplan_meier(time[~kept], status[~kept])).median == 23


def test_a_curve_that_is_exactly_one_half_has_its_median_midway():
    assert median(kaplan_meier(np.array([1.0, 2.0, 3.0, 4.0]), [True] * 4)).median == 2.5


def test_nothing_ended_or_nothing_there():
    still_open = kaplan_meier(np.array([5.0, 6.0]), [False, False])
    assert median(still_open).median is None
    assert restricted_mean(still_open, 5) == (5.0, 0.0)
    nothing = kaplan_meier(np.array([]), [])
    assert nothing.at(3) == 1.0 and nothing.open_at(3) == 0 and restricted_mean(nothing, 7) == (7.0, 0.0)
    assert log_rank(np.array([1.0, 2.0]), [False, False], [0, 1]) is None
    assert log_rank(np.array([1.0, 2.0]), [True, True], [1, 1]) is None


@pytest.mark.parametrize("times", [[-1.0, 2.0], [np.nan, 2.0], [np.inf, 2.0], [1.0]])
def test_times_that_are_none_are_refused(times):
    with pytest.raises(ValueError):
        kaplan_meier(np.array(times), [True, True])


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(1, 400))
def test_without_censoring_the_restricted_mean_is_the_plain_mean_of_capped_times(times, until):
    durations = np.array(times, dtype=float)
    mean, error = restricted_mean(kaplan_meier(durations, [True] * len(times)), until)
    capped = np.minimum(durations, until)
    assert mean == pytest.approx(capped.mean(), abs=1e-9)
    assert error == pytest.approx(capped.std() / np.sqrt(len(times)), abs=1e-9)
