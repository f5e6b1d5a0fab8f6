"""The recording played now: where each moment comes from, and that counters never fall."""

import itertools

import pytest

from demo.tape import FOLDER, TAIL_SECONDS, Tape

NOW = 1_900_000_000.0


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def recorded(clock: Clock) -> Tape:
    return Tape(FOLDER, clock)


@pytest.fixture
def tape(recorded: Tape, clock: Clock) -> Tape:
    clock.now = NOW
    recorded.trigger()
    return recorded


def errors(tape: Tape, start: float, end: float) -> float:
    traces = list(tape.live_traces(start, end))
    failed = [one for one in traces if any(tag["key"] == "error" for span in one["spans"] for tag in span["tags"])]
    return len(failed) / len(traces)


def test_a_missing_recording_is_said_with_the_command_that_makes_one(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="make record"):
        Tape(tmp_path)


def test_the_alert_happens_at_the_trigger(tape: Tape) -> None:
    assert tape.shifted(tape.manifest["alerts"][0]["at"]) == "2030-03-17T17:46:40.000Z"


def test_every_moment_is_covered_once_and_in_order(tape: Tape, clock: Clock) -> None:
    clock.now = NOW + 1000
    tape.resolved_at = NOW + 400
    segments = list(tape.segments(NOW - 2000, NOW + 1000))
    live = [(one.start + one.offset, one.end + one.offset) for one in segments]
    assert live[0][0] == pytest.approx(NOW - 2000)
    assert live[-1][1] == pytest.approx(NOW + 1000)
    assert all(before[1] == pytest.approx(after[0], abs=1e-4) for before, after in itertools.pairwise(live))
    assert [phase for phase, _ in itertools.groupby(one.phase for one in segments)] == [
        "before", "recorded", "tail", "after"
    ]  # fmt: skip
    assert all(tape.healthy_from - 1e-6 <= one.start <= one.end <= tape.ended_at + 1e-6 for one in segments)


def test_an_hour_a_day_and_a_week_earlier_the_shop_was_well(tape: Tape) -> None:
    broken = errors(tape, NOW - 30, NOW)
    assert broken > 0.1
    for earlier in (3600, 86400, 7 * 86400):
        assert errors(tape, NOW - earlier - 60, NOW - earlier) < 0.05


def test_it_stays_broken_until_it_is_resolved(tape: Tape, clock: Clock) -> None:
    clock.now = NOW + 3000
    assert errors(tape, NOW + 2000, NOW + 2060) > 0.1
    tape.resolved_at = NOW + 1500
    assert errors(tape, NOW + 2000, NOW + 2060) < 0.05


def test_nothing_is_told_of_the_future(tape: Tape) -> None:
    assert all(one["spans"][0]["startTime"] / 1e6 <= NOW for one in tape.live_traces(NOW - 60, NOW + 600))
    found = tape.select("up", lambda labels: True, NOW - 60, NOW + 600)
    assert max(at for _, points in found for at, _ in points) <= NOW


def test_a_repeated_trace_has_an_id_of_its_own_and_is_found_by_it(tape: Tape, clock: Clock) -> None:
    clock.now = NOW + 1000
    tape.resolved_at = NOW + 500
    ids = []
    for start, end in ((NOW - 7 * 86400 - 600, NOW - 7 * 86400), (NOW - 900, NOW + 1000)):
        for trace in tape.live_traces(start, end):
            ids.append(trace["traceID"])
            if len(ids) % 97 == 0:
                assert tape.live_trace(trace["traceID"]) == trace
    assert len(ids) == len(set(ids)) > 1000
    assert tape.live_trace("0" * 32) is None
    assert tape.live_trace("nonsense") is None


def test_counters_only_rise_through_every_phase(tape: Tape, clock: Clock) -> None:
    clock.now = NOW + 1500
    tape.resolved_at = NOW + 700
    name = "http_server_request_duration_seconds_count"
    found = tape.select(name, lambda labels: labels["service"] == "checkout-api", NOW - 5000, NOW + 1500)
    assert found
    for _, points in found:
        assert all(before[0] < after[0] for before, after in itertools.pairwise(points))
        assert all(before[1] <= after[1] + 1e-9 for before, after in itertools.pairwise(points))
        assert points[0][1] >= 0


def test_a_gauge_is_as_recorded(tape: Tape, clock: Clock) -> None:
    clock.now = NOW + TAIL_SECONDS * 20
    (_, points), *_ = tape.select(
        "db_pool_size", lambda labels: labels["service"] == "checkout-api", NOW - 4000, clock.now
    )
    assert {value for _, value in points} == {20.0, 2.0}
    assert points[0][1] == 20.0
    assert points[-1][1] == 2.0
