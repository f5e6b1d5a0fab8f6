"""Where several sources tell of one incident, one order decides for all arms; what they differ in is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bot.errors import ConfigurationError
from bot.experiment.recorded import read_recorded
from bot.experiment.times import Said, choose, whose
from bot.report.weeks import parse_week
from bot.store.sqlite import SqliteStore
from tests.unit.test_experiment_live import hypothesis
from tests.unit.test_weekly import Bench

AT = datetime(2026, 11, 24, 10, tzinfo=UTC)


def said(*reports: tuple[str, float, str]) -> list[Said]:
    return [Said(kind, AT + timedelta(minutes=after), source) for kind, after, source in reports]


def after(at: datetime | None) -> float | None:
    return None if at is None else (at - AT).total_seconds() / 60


def test_the_first_source_of_the_order_that_reported_a_transition_decides_it():
    reports = said(("acknowledged", 1, "alert"), ("acknowledged", 3, "slack"), ("mitigated", 9, "slack"),
                   ("resolved", 30, "pagerduty"), ("resolved", 50, "slack"))  # fmt: skip
    found = choose(reports)
    assert [after(found.acknowledged_at), after(found.mitigated_at), after(found.resolved_at)] == [3, 9, 30]
    assert found.apart  # 30 and 50
    turned = choose(reports, ("alert", "slack"))
    assert [after(turned.acknowledged_at), after(turned.resolved_at)] == [1, 50]


def test_what_the_deciding_source_opened_again_is_open_whatever_another_says():
    reports = said(("resolved", 30, "pagerduty"), ("reopened", 40, "pagerduty"), ("resolved", 31, "slack"))
    assert choose(reports).resolved_at is None and not choose(reports).apart
    again = [*reports, *said(("resolved", 70, "pagerduty"))]
    assert after(choose(again).resolved_at) == 70


def test_of_two_words_on_one_transition_the_one_with_milliseconds_counts():
    exact = AT + timedelta(seconds=1, milliseconds=250)
    assert (
        choose([Said("acknowledged", AT, "pagerduty"), Said("acknowledged", exact, "pagerduty")]).acknowledged_at
        == exact
    )


def test_every_way_in_is_one_of_three():
    assert [whose(s) for s in ("pagerduty", "poll", "history", "slack", "alertmanager", "generic")] == [
        "pagerduty", "pagerduty", "pagerduty", "slack", "alert", "alert"
    ]  # fmt: skip


@pytest.mark.parametrize("order", ["[]", '["pagerduty", "pagerduty"]', '["jira"]'])
def test_an_order_that_is_none_is_refused(order):
    with pytest.raises(ConfigurationError, match="times_from"):
        hypothesis(f"times_from = {order}")


async def test_report_and_analysis_take_the_same_times_and_say_what_differs(tmp_path):
    store = SqliteStore.open(tmp_path / "s.db")
    file = hypothesis('times_from = ["slack", "pagerduty", "alert"]')
    made = Bench(store, file)
    made.clock.advance(7 * 86400)
    for n in (1, 2):
        # The source moved the start of the first by 20 minutes after it was received: the unit's start stays.
        begin = AT - timedelta(minutes=20 if n == 1 else 0)
        await made.incident(n, AT, first_signal_at=begin, resolved_at=AT + timedelta(minutes=30))
        await made.experiments(made.experiments and type("I", (), {"id": f"P{n}"})(), f"u-P{n}")
        times = {"workspace_id": "W", "incident_id": f"P{n}", "kind": "resolved", "recorded_at": AT}
        await store.insert("incident_times", [
            times | {"ordinal": 1, "at": AT + timedelta(minutes=30), "source": "poll"},
            *([times | {"ordinal": 2, "at": AT + timedelta(minutes=90), "source": "slack"}] if n == 1 else []),
        ])  # fmt: skip
    rows = {row.incident_id: row for row in (await read_recorded(store, "W", file, AT + timedelta(days=9))).rows}
    assert [after(rows[f"P{n}"].resolved_at) for n in (1, 2)] == [90, 30]
    assert [after(rows[f"P{n}"].triggered_at) for n in (1, 2)] == [-20, 0]
    report = await made.weekly.report(parse_week("2026-W48"), "C1")
    assert report.begins_at == parse_week("2026-W48").begins_at(ZoneInfo("Europe/Berlin"))
    (line,) = [line for line in report.odd if "differ by more than 10 min" in line]
    assert (
        line
        == "1 incident was told of by sources that differ by more than 10 min; the order is slack, pagerduty, alert."
    )
    resolved = sum(arm.mttr_mean * arm.resolved for arm in report.arms if arm.resolved)
    assert resolved == pytest.approx(90 + 30)
    await store.close()
