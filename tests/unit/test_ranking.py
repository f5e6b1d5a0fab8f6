"""The ranking engine on a made-up system: each mark of a fault, each kind of noise, and the sentences that come out."""

from __future__ import annotations

import dataclasses
import re
import time
from datetime import timedelta
from random import Random
from string import ascii_lowercase

import pytest

from bot.errors import ConfigurationError
from bot.ranking.causes import Causes
from bot.ranking.engine import rank_causes
from bot.ranking.focus import looks_at
from bot.ranking.profile import Profiles
from bot.ranking.templates import Templates
from bot.ranking.weights import shipped_weights, weights_from
from bot.ranking.window import read_calls
from bot.ranking.wording import as_before
from integrations.records import Batch, LogRecord, Span, Telemetry, Window
from tests.support.telemetry import (
    ALERTED,
    EVERYBODY,
    MS,
    Edit,
    Request,
    change,
    healthy,
    minute,
    percent,
    telemetry,
)

CHANGES = (change(1, "shop", 3), change(2, "stock", 9), change(3, "price", 14), change(4, "gate", 1))


def causes(told: Telemetry, **more: object) -> Causes:
    return rank_causes(told, alerting="gate", **more)  # type: ignore[arg-type]


def wrong_return(request: Request, random: Random) -> None:
    request.stock_logs = [("INFO", "stock looked up"), ("ERROR", "stock lookup Failed for item 77")]
    request.shop_logs = [("INFO", "order accepted"), ("ERROR", "order refused because stock failed")]


def silent_exception(request: Request, random: Random) -> None:
    request.price_logs = []


def unequal_counts(request: Request, random: Random) -> None:
    request.rows_done = 1


def network_delay(request: Request, random: Random) -> None:
    request.stock_transit_ms += 1500


def slow_code(request: Request, random: Random) -> None:
    request.price_own_ms += 400


def failing_status(request: Request, random: Random) -> None:
    if request.number % 2:
        request.failed = ("stock", "shop", "gate")


@pytest.mark.parametrize(
    ("fault", "culprit"),
    [
        (wrong_return, "stock"),
        (silent_exception, "price"),
        (unequal_counts, "shop"),
        (network_delay, "stock"),
        (slow_code, "price"),
        (failing_status, "stock"),
    ],
)
def test_each_mark_of_a_fault_names_its_service_and_its_change(fault: Edit, culprit: str) -> None:
    found = causes(telemetry(fault, changes=CHANGES))
    assert found.services[0].service == culprit
    assert found.services[0].probability >= 0.7
    assert found.changes[0].change.service == culprit
    assert found.changes[0].probability >= 0.4


def test_a_busy_cpu_with_a_little_delay_names_its_service() -> None:
    def slightly_late(request: Request, random: Random) -> None:
        request.price_transit_ms += 80

    busy = (percent("cpu", "price", 0.4, 88.0), percent("cpu", "stock", 0.4, 0.45))
    found = causes(telemetry(slightly_late, series=busy, changes=CHANGES))
    assert found.services[0].service == "price"
    assert any("CPU of pod price-1 reached 88.0 %" in one.text for one in found.services[0].findings)


def mixed_requests(request: Request, random: Random) -> None:
    """Half of the healthy requests are of another kind, which does not ask for the price."""
    if random.random() < 0.5:
        request.calls_price = False


def one_kind_only(request: Request, random: Random) -> None:
    request.calls_price = False


def flapping_registry(request: Request, random: Random) -> None:
    if random.random() < 0.2:
        request.shop_logs = [*request.shop_logs, ("WARN", "No instances available for stock")]


def steady_failure(request: Request, random: Random) -> None:
    if request.number % 3 == 0:
        request.shop_logs = [("INFO", "order accepted"), ("ERROR", "card refused")]


def other_values(city: str) -> Edit:
    def edit(request: Request, random: Random) -> None:
        request.stock_logs = [("INFO", f"stock looked up in store {city} today"), ("INFO", "stock is Success")]

    return edit


def either_city(request: Request, random: Random) -> None:
    other_values(random.choice(["Berlin", "Munich"]))(request, random)


@pytest.mark.parametrize(
    ("now", "before"),
    [
        (healthy, healthy),
        (one_kind_only, mixed_requests),
        (flapping_registry, flapping_registry),
        (steady_failure, steady_failure),
        (other_values("Munich"), either_city),
    ],
    ids=["healthy", "mix of requests", "registry flaps", "fails as always", "other values"],
)
def test_noise_ends_in_nothing_stands_out(now: Edit, before: Edit) -> None:
    found = causes(telemetry(now, baseline=before, changes=CHANGES))
    assert all(one.probability < 0.4 for one in found.services)
    assert all(one.probability < 0.4 for one in found.changes)
    assert found.began_at == ALERTED
    assert found.looked_at[0] in ("3 services", "4 services")
    assert "2 healthy windows" in found.looked_at


def test_the_deepest_service_is_blamed_for_what_its_callers_show_too() -> None:
    found = causes(telemetry(wrong_return))
    shop = next(one for one in found.services if one.service == "shop")
    assert shop.probability < found.services[0].probability / 2


def test_every_reason_holds_counts_that_a_person_can_check() -> None:
    found = causes(telemetry(wrong_return, url="https://tempo.example/trace/{trace_id}"))
    texts = [one.text for one in found.services[0].findings]
    assert "30 of 30 calls of Stock.find logged ERROR “stock lookup Failed for item”, usually 0 of 60" in texts
    assert "0 of 30 calls of Stock.find logged “stock is Success”, usually 60 of 60" in texts
    assert re.fullmatch(r"https://tempo\.example/trace/[0-9a-f]+", found.services[0].findings[0].url)


def test_the_delay_is_told_with_its_normal_and_when_it_began() -> None:
    def late_after_a_while(request: Request, random: Random) -> None:
        if request.number >= 15:
            network_delay(request, random)

    found = causes(telemetry(late_after_a_while))
    finding = found.services[0].findings[0]
    assert finding.title == "stock: calls from shop wait 1.5 s on the way (normal 2 ms)"
    assert finding.text.startswith("15 of 15 calls from shop to stock Stock.find spent 1.5 s on the way")
    assert finding.text.endswith(" (since 14:01:30 UTC)")
    assert found.began_at == ALERTED - timedelta(seconds=30)


def test_a_broken_count_is_told_as_a_pair() -> None:
    finding = causes(telemetry(unequal_counts)).services[0].findings[0]
    assert finding.text == (
        "“row done” and “looking at row” come in equal numbers in 0 of 30 calls of Shop.buy, usually 60 of 60"
    ) or finding.text == (
        "“looking at row” and “row done” come in equal numbers in 0 of 30 calls of Shop.buy, usually 60 of 60"
    )


def test_the_symptom_has_its_normal() -> None:
    found = causes(telemetry(failing_status))
    assert found.symptom is not None
    assert found.symptom.text == "50 % of requests fail (normal 0 %)"
    slow = causes(telemetry(network_delay))
    assert slow.symptom is not None
    assert slow.symptom.text == "1 in 20 requests takes over 1.5 s (normal 19 ms)"
    assert causes(telemetry(healthy)).symptom is None


def test_the_nearest_change_before_the_trouble_wins_and_the_later_one_hardly_counts() -> None:
    found = causes(
        telemetry(network_delay, changes=(change(1, "stock", 600), change(2, "stock", 4), change(3, "stock", -3)))
    )
    assert [one.change.id for one in found.changes] == ["chg-2", "chg-1", "chg-3"]
    assert found.changes[0].probability > 0.8
    assert sum(one.probability for one in found.changes) < found.services[0].probability


def test_a_change_of_a_week_ago_is_no_suspect_however_sure_the_service_is() -> None:
    found = causes(telemetry(network_delay, changes=(change(1, "stock", 7 * 24 * 60),)))
    assert found.services[0].probability > 0.9
    assert found.changes[0].probability < 0.4


def test_how_many_changes_a_service_had_is_no_reason() -> None:
    many = tuple(change(number, "gate", 20) for number in range(10))
    found = causes(telemetry(network_delay, changes=(*many, change(99, "stock", 20))))
    assert found.changes[0].change.id == "chg-99"


@pytest.mark.parametrize(("field", "more"), [("risk", "high"), ("size", 5000)])
def test_risk_and_size_break_a_tie(field: str, more: object) -> None:
    two = (change(1, "stock", 5), change(2, "stock", 5, **{field: more}))
    assert causes(telemetry(network_delay, changes=two)).changes[0].change.id == "chg-2"


def test_only_alerts_and_changes_name_nobody_and_list_the_youngest_first() -> None:
    bare = Telemetry(window=Window(ALERTED - timedelta(minutes=1), ALERTED), changes=CHANGES)
    found = causes(bare, edges=frozenset({("gate", "shop"), ("shop", "stock")}))
    assert found.changes[0].change.id == "chg-4"
    assert all(one.probability < 0.4 for one in found.changes)


def test_metrics_alone_blame_the_service_that_no_anomalous_callee_explains() -> None:
    slow = tuple(
        percent("latency_p95", name, 0.02, now, seed=i, unit="seconds")
        for i, (name, now) in enumerate([("gate", 0.5), ("shop", 0.48), ("stock", 0.45), ("price", 0.0201)])
    )
    told = Telemetry(
        window=Window(ALERTED - timedelta(minutes=1), ALERTED),
        series=(Batch("prom", EVERYBODY, slow),),
        changes=CHANGES,
    )
    found = causes(told, edges=frozenset({("gate", "shop"), ("shop", "stock"), ("shop", "price")}))
    assert found.services[0].service == "stock"
    assert found.changes[0].change.service == "stock"


def test_without_a_healthy_window_failures_still_point_somewhere() -> None:
    found = causes(telemetry(failing_status, baselines=0))
    assert found.services[0].service == "stock"
    assert any("no healthy call is known" in one.text for one in found.services[0].findings)


def test_log_lines_without_span_ids_count_by_service() -> None:
    found = causes(telemetry(wrong_return, trace_logs=None))
    assert found.services[0].service in ("stock", "shop")
    assert any("5-second stretches of stock" in f.text for one in found.services for f in one.findings)


def test_a_line_that_names_its_trace_alone_belongs_to_the_call_that_entered_the_service() -> None:
    found = causes(telemetry(silent_exception, trace_logs=False))
    assert found.services[0].service == "price"
    assert found.services[0].probability >= 0.7
    assert "0 of 30 calls of Price.get logged “price computed”" in found.services[0].findings[0].text


def other_words(request: Request, random: Random) -> None:
    """The shop and the stock were deployed with other words for the same lines."""
    request.shop_logs = [("INFO", "the order was accepted"), ("INFO", "Order paid")]
    request.stock_logs = [("INFO", "stock was looked up"), ("INFO", "stock is Success")]


def test_new_words_for_the_same_line_are_no_news() -> None:
    assert all(one.probability < 0.4 for one in causes(telemetry(other_words)).services)

    def and_a_fault(request: Request, random: Random) -> None:
        other_words(request, random)
        silent_exception(request, random)

    assert causes(telemetry(and_a_fault)).services[0].service == "price"


@pytest.mark.parametrize(
    "instead",
    [("WARN", "price computed"), ("INFO", "price not computed"), ("INFO", "price computed with error"), None],
    ids=["another level", "another outcome", "a failure", "nothing"],
)
def test_words_that_say_something_else_are_news(instead: tuple[str, str] | None) -> None:
    def edit(request: Request, random: Random) -> None:
        request.price_logs = [instead] if instead else []

    first = causes(telemetry(edit)).services[0]
    assert first.service == "price"
    assert first.probability >= 0.4


def test_one_new_line_stands_for_one_healthy_line() -> None:
    """Two lines that both could be “order paid”: only one is, the other is new."""

    def edit(request: Request, random: Random) -> None:
        request.shop_logs = [("INFO", "order accepted"), ("INFO", "the order paid"), ("INFO", "order paid twice")]

    told = telemetry(edit)
    calls = read_calls(told.spans, told.logs)
    as_before(calls, Profiles().of(told.baselines, shipped_weights().pattern, Templates()))
    lines = {event[2] for events in calls.events for event in events if event[0] == "log"}
    assert "order paid" in lines
    assert len(lines & {"the order paid", "order paid twice"}) == 1


def test_trouble_of_a_minute_in_a_long_window_is_found_although_healthy_windows_are_known() -> None:
    told = telemetry(network_delay, changes=CHANGES)
    start = ALERTED - timedelta(minutes=15)
    calm = [minute(healthy, start=start + timedelta(minutes=i), seed=50 + i) for i in range(14)]
    long = dataclasses.replace(
        told,
        window=Window(start, ALERTED),
        spans=(*told.spans, *(Batch("traces", EVERYBODY, spans) for spans, _ in calm)),
        logs=(*told.logs, *(Batch("logs", EVERYBODY, logs) for _, logs in calm)),
    )
    looks = looks_at(long, ALERTED, shipped_weights().window)
    assert [(ALERTED - one.window.start).total_seconds() for one in looks] == [300, 150, 75]
    assert len(looks_at(told, ALERTED, shipped_weights().window)) == 1
    found = causes(long)
    assert found.services[0].service == "stock"
    assert found.services[0].probability >= 0.9
    quiet = dataclasses.replace(long, spans=long.spans[1:], logs=long.logs[1:])
    assert all(one.probability < 0.4 for one in causes(quiet).services)


def test_of_a_long_window_the_minutes_around_the_alert_are_compared_with_the_rest() -> None:
    start = ALERTED - timedelta(minutes=15)
    calm_spans, calm_logs = [], []
    for i in range(12):
        spans, logs = minute(healthy, start=start + timedelta(minutes=i), seed=50 + i)
        calm_spans += spans
        calm_logs += logs
    late_spans, late_logs = minute(network_delay)
    told = Telemetry(
        window=Window(start, ALERTED),
        spans=(Batch("traces", EVERYBODY, calm_spans + late_spans),),
        logs=(Batch("logs", EVERYBODY, calm_logs + late_logs),),
    )
    found = causes(told)
    assert found.services[0].service == "stock"
    assert found.services[0].probability >= 0.7
    assert found.services[0].findings[0].text.startswith("30 of 30 ")


def test_a_service_outside_the_call_graph_counts_less() -> None:
    told = telemetry(healthy, series=(percent("cpu", "batch", 1, 95), percent("cpu", "price", 1, 90)))
    scores = {one.service: one.score for one in causes(told).services}
    assert scores["batch"] < scores["price"]


def test_the_same_span_from_two_sources_counts_once() -> None:
    told = telemetry(wrong_return)
    twice = dataclasses.replace(told, spans=(*told.spans, dataclasses.replace(told.spans[0], source="jaeger")))
    first, second = causes(told), causes(twice)
    assert [one.text for one in first.services[0].findings] == [one.text for one in second.services[0].findings]


def test_hostile_spans_do_not_hang_or_fail() -> None:
    loop = [
        Span("t", "a", "b", "shop", "x", 0, 5), Span("t", "b", "a", "shop", "y", 0, 5),
        Span("t", "c", "c", "stock", "", 9, 1), Span("", "", "", "", "", 0, 0),
    ]  # fmt: skip
    records = [LogRecord(0, "", "", "", "t", "a"), LogRecord(2**62, "shop", "ERROR", "x" * 100_000)]
    told = telemetry(healthy)
    hostile = dataclasses.replace(
        told,
        spans=(*told.spans, Batch("evil", EVERYBODY, loop)),
        logs=(*told.logs, Batch("evil", EVERYBODY, records)),
        series=(Batch("evil", EVERYBODY, [percent("cpu", "shop", float("nan"), float("inf"))]),),
    )
    assert all(one.probability < 0.4 for one in causes(hostile).changes)


def test_impossible_values_are_no_measurements() -> None:
    usual = percent("cpu", "price", 0.4, 88.0)
    values = [one for value in usual.values for one in (value, 1e308, -1e308, float("nan"))]
    times = [one for at in usual.times for one in (at, at, at, at)]
    broken = dataclasses.replace(usual, times=times, values=values)
    told = telemetry(healthy, series=(broken,), changes=CHANGES)
    plain = telemetry(healthy, series=(usual,), changes=CHANGES)
    assert [one.score for one in causes(told).services] == [one.score for one in causes(plain).services]


def test_a_very_deep_trace_and_a_very_talkative_span_cost_little() -> None:
    words = [f"{a}{b}" for a in ascii_lowercase for b in ascii_lowercase]
    deep = [Span("t", f"s{i}", f"s{i - 1}" if i else "", f"svc{i % 7}", "op", i, 10**9 - i) for i in range(20_000)]
    lines = [
        LogRecord(i, "svc0", "INFO", f"{words[i % 676]} {words[i // 5 % 676]} {words[i * 7 % 676]}", "t", "s0")
        for i in range(5000)
    ]
    told = telemetry(network_delay)
    healthy_window = told.baselines[0]
    hostile = dataclasses.replace(
        told,
        spans=(*told.spans, Batch("evil", EVERYBODY, deep)),
        logs=(*told.logs, Batch("evil", EVERYBODY, lines)),
        baselines=(
            dataclasses.replace(
                healthy_window,
                spans=(*healthy_window.spans, Batch("evil", EVERYBODY, deep)),
                logs=(*healthy_window.logs, Batch("evil", EVERYBODY, lines)),
            ),
        ),
    )
    began = time.process_time()
    assert causes(hostile).services[0].service == "stock"
    assert time.process_time() - began < 5


def test_empty_telemetry_is_nothing_stands_out() -> None:
    found = rank_causes(Telemetry(window=Window(ALERTED, ALERTED)), alerting=None)
    assert found.services == ()
    assert found.changes == ()
    assert found.symptom is None


def test_profiles_are_built_once_for_the_same_windows_and_readers() -> None:
    profiles = Profiles()
    told = telemetry(network_delay)
    first = causes(told, profiles=profiles)
    assert causes(told, profiles=profiles) == first
    assert profiles.built == 1
    narrower = telemetry(network_delay, readers=EVERYBODY.narrowed(EVERYBODY.of(["sre"])))
    causes(narrower, profiles=profiles)
    assert profiles.built == 2


def test_the_memory_of_profiles_is_bounded() -> None:
    profiles = Profiles(limit=2)
    for number in range(1, 5):
        causes(telemetry(healthy, baselines=number), profiles=profiles)
    causes(telemetry(healthy, baselines=4), profiles=profiles)
    assert profiles.built == 4
    causes(telemetry(healthy, baselines=1), profiles=profiles)
    assert profiles.built == 5


def test_a_weights_table_with_mistakes_names_all_of_them() -> None:
    with pytest.raises(ConfigurationError) as wrong:
        weights_from({"signs": {"pattern": -1, "typo": 2}})
    assert "[signs] pattern is -1" in str(wrong.value)
    assert "[signs] knows no 'typo'" in str(wrong.value)
    assert "[decision] nothing is None" in str(wrong.value)


def test_the_shipped_weights_load() -> None:
    assert shipped_weights().signs.transit > 0


def test_a_gap_in_a_span_does_not_become_transit_where_one_span_calls_several() -> None:
    told = telemetry(healthy)
    extra = [
        Span(f"x{i}", f"x{i}{name}", parent, service, operation, start * MS, end * MS)
        for i in range(30)
        for name, parent, service, operation, start, end in (
            ("p", "", "shop", "Batch.run", 0, 900),
            ("a", f"x{i}p", "stock", "Stock.find", 0, 3),
            ("b", f"x{i}p", "price", "Price.get", 10, 13),
        )
    ]
    told = dataclasses.replace(told, spans=(*told.spans, Batch("traces", EVERYBODY, extra)))
    assert causes(told).services == () or causes(told).services[0].probability < 0.4


def test_one_request_in_ten_that_fails_is_enough_when_there_are_many() -> None:
    def one_in_ten(request: Request, random: Random) -> None:
        if request.number % 10 == 0:
            request.failed = ("stock", "shop", "gate")

    found = causes(telemetry(one_in_ten, requests=300, changes=CHANGES))
    assert found.services[0].service == "stock"
    assert found.changes[0].probability >= 0.4
    assert found.symptom is not None
    assert found.symptom.text == "10 % of requests fail (normal 0 %)"


def test_metrics_that_moved_along_are_shown_and_weigh_nothing() -> None:
    pool = (percent("db_pool_wait", "stock", 0.003, 4.9, unit="seconds"), percent("db_pool_wait", "shop", 0.003, 0.003))
    bare, found = causes(telemetry(network_delay)), causes(telemetry(network_delay, series=pool))
    assert [one.score for one in bare.services] == [one.score for one in found.services]
    told = [one.text for one in found.services[0].findings if one.kind == "metric"]
    assert len(told) == 1
    assert re.fullmatch(r"db pool wait of pod stock-1 reached 4\.9 s at \d\d:\d\d:\d\d UTC \(normal 3 ms\)", told[0])
