"""The recorder: what it makes of spans, scrapes and git, and that the recording in the repository is its work."""

from __future__ import annotations

import gzip
import json
import math
import pathlib
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from demo import scenario
from demo.answers import Deployed, Fired
from demo.answers_github import github
from demo.answers_pagerduty import alert_details, alert_title
from demo.maths import Samples, fires_at
from demo.otlp import jaeger_span, jaeger_trace
from demo.record import LOOKBACK_SECONDS, SCRAPE_SECONDS, Scraped, derived
from demo.shop.history import repositories
from demo.tape import FOLDER, Tape

SECONDS = "http_server_request_duration_seconds"
SERVICE = (("instance", "checkout-api:8080"), ("job", "checkout-api"), ("service", "checkout-api"))
MAX_BYTES = 2_000_000


# --- spans ---------------------------------------------------------------------------------------------------------


def value(content: str | int) -> AnyValue:
    return AnyValue(string_value=content) if isinstance(content, str) else AnyValue(int_value=content)


def test_a_span_becomes_what_jaeger_shows() -> None:
    span = Span(
        trace_id=bytes.fromhex("0af7651916cd43dd8448eb211c80319c"),
        span_id=bytes.fromhex("b7ad6b7169203331"),
        parent_span_id=bytes.fromhex("00f067aa0ba902b7"),
        name="POST /checkout",
        kind=Span.SpanKind.SPAN_KIND_SERVER,
        start_time_unix_nano=1_700_000_000_123_456_789,
        end_time_unix_nano=1_700_000_001_123_456_789,
        attributes=[KeyValue(key="http.response.status_code", value=value(503))],
        status=Status(code=Status.StatusCode.STATUS_CODE_ERROR, message="HTTP 503"),
        events=[
            Span.Event(
                time_unix_nano=1_700_000_000_500_000_000,
                name="exception",
                attributes=[
                    KeyValue(key="exception.type", value=value("PoolTimeout")),
                    KeyValue(key="exception.stacktrace", value=value("File /somewhere/private.py")),
                ],
            )
        ],
    )
    made = jaeger_span(span, "shop")
    assert made["traceID"] == "0af7651916cd43dd8448eb211c80319c"
    assert made["references"] == [
        {"refType": "CHILD_OF", "traceID": "0af7651916cd43dd8448eb211c80319c", "spanID": "00f067aa0ba902b7"}
    ]
    assert (made["startTime"], made["duration"]) == (1_700_000_000_123_456, 1_000_000)
    tags = {tag["key"]: (tag["type"], tag["value"]) for tag in made["tags"]}
    assert tags["http.response.status_code"] == ("int64", 503)
    assert tags["span.kind"] == ("string", "server")
    assert tags["error"] == ("bool", True)
    assert tags["otel.status_description"] == ("string", "HTTP 503")
    fields = {field["key"]: field["value"] for field in made["logs"][0]["fields"]}
    assert fields == {"event": "exception", "exception.type": "PoolTimeout"}


def test_a_trace_names_each_process_once_and_orders_its_spans() -> None:
    here, there = {"serviceName": "a", "tags": []}, {"serviceName": "b", "tags": []}
    spans = [{"startTime": 3, "spanID": "z"}, {"startTime": 1, "spanID": "x"}, {"startTime": 2, "spanID": "y"}]
    made = jaeger_trace("t", [(spans[0], here), (spans[1], here), (spans[2], there)])
    assert [(span["spanID"], span["processID"]) for span in made["spans"]] == [("x", "p1"), ("y", "p2"), ("z", "p1")]
    assert made["processes"] == {"p1": here, "p2": there}


# --- metrics -------------------------------------------------------------------------------------------------------


def counter(per_scrape: float, ticks: list[float]) -> Samples:
    return [(at, per_scrape * index) for index, at in enumerate(ticks)]


def test_derived_series_are_rates_shares_and_quantiles_of_what_was_scraped() -> None:
    ticks = [SCRAPE_SECONDS * index for index in range(20)]
    scraped: Scraped = {}
    for code, per_scrape in (("200", 30.0), ("503", 10.0)):
        labels = tuple(sorted((*SERVICE, ("http_response_status_code", code))))
        scraped[f"{SECONDS}_count", labels] = counter(per_scrape, ticks)
    for border, per_scrape in (("1.0", 20.0), ("5.0", 40.0), ("+Inf", 40.0)):
        scraped[f"{SECONDS}_bucket", tuple(sorted((*SERVICE, ("le", border))))] = counter(per_scrape, ticks)
    scraped["db_client_connection_max", SERVICE] = [(at, 20.0 if at < 50 else 2.0) for at in ticks]
    scraped["db_client_connection_wait_time_seconds_sum", SERVICE] = counter(8.0, ticks)
    scraped["db_client_connection_wait_time_seconds_count", SERVICE] = counter(2.0, ticks)
    made = {name: samples for (name, labels), samples in derived(scraped, ticks).items() if labels == SERVICE}
    last = {name: samples[-1][1] for name, samples in made.items()}
    assert last["http_requests_per_second"] == pytest.approx(40.0 / SCRAPE_SECONDS)
    assert last["http_error_ratio"] == pytest.approx(0.25)
    assert last["http_latency_p95_seconds"] == pytest.approx(1.0 + 4.0 * 0.9)
    assert last["db_pool_wait_seconds"] == pytest.approx(4.0)
    assert [size for _, size in made["db_pool_size"]][::19] == [20.0, 2.0]


def test_a_service_without_requests_has_no_error_ratio() -> None:
    ticks = [0.0, 5.0]
    scraped: Scraped = {("process_cpu_time_seconds_total", SERVICE): counter(1.0, ticks)}
    names = {name for name, labels in derived(scraped, ticks) if labels == SERVICE}
    assert names == {"process_cpu_percent"}


def test_an_alert_says_what_its_rule_saw() -> None:
    at = datetime(2026, 11, 24, 14, 2, 10, tzinfo=UTC)
    errors, slow, pool = (next(one for one in scenario.RULES if one.name == name) for name in
                          ("HighErrorRatio", "SlowRequests", "ConnectionPoolExhausted"))  # fmt: skip
    assert alert_title(Fired(errors, at, at, 0.3812, 0.0021)) == "checkout-api: 38 % of requests fail (normal 0.21 %)"
    assert alert_title(Fired(slow, at, at, 4.93, 0.49)) == "checkout-api: 95th percentile 4.9 s (normal 490 ms)"
    assert "wait 4.9 s for a connection (normal 0.1 ms)" in alert_title(Fired(pool, at, at, 4.93, 0.0001))
    details = alert_details(Fired(errors, at, at - timedelta(seconds=20), 0.3812, 0.0021))
    assert details["expr"] == 'http_error_ratio{service="checkout-api"} > 0.05'
    assert details["began_at"] == "2026-11-24T14:01:50Z"


# --- git -----------------------------------------------------------------------------------------------------------


def test_the_diff_that_github_answers_is_gits_own(
    tmp_path: pathlib.Path, without_part: Callable[[str, str], None]
) -> None:
    if not shutil.which("git"):
        without_part("git", "the recorder's history is real git")
    repos = repositories(tmp_path)
    change = scenario.CHANGES[-1]
    now = datetime.now(UTC)
    base = repos["checkout-api"].head()
    head = repos["checkout-api"].apply(change, now)
    answers = github(repos, [Deployed(change, base, head, now, now, now + timedelta(seconds=3))], now)
    mine = answers["tea-shop/checkout-api"]
    (file,) = mine["compare"][f"{base}...{head}"]["files"]
    assert file["patch"].startswith("@@ ")
    assert "-pool_size = 20\n+pool_size = 2" in file["patch"]
    assert (file["additions"], file["deletions"]) == (2, 2)
    assert [one["sha"] for one in mine["deployments"]] == [head, base]
    assert mine["commits"][0]["commit"]["message"] == f"{change.subject} (#{change.pull_request})"
    assert mine["commits"][0]["parents"][0]["sha"] == base
    assert answers["tea-shop/payments"]["compare"] == {}
    with pytest.raises(ValueError, match="no line"):
        repos["checkout-api"].apply(change, now)


# --- the recording in the repository -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded() -> Tape:
    return Tape(FOLDER)


def test_it_is_small_and_tells_nothing_of_the_machine_it_was_made_on() -> None:
    files = sorted(FOLDER.iterdir())
    assert sum(path.stat().st_size for path in files) < MAX_BYTES
    for path in files:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
        assert not re.search(r'"/(?:home|root|work|Users|tmp|private)\b|File \\"|127\.0\.0\.1|localhost', text), (
            path.name
        )


def test_what_the_alerts_say_follows_from_the_recorded_metrics(recorded: Tape) -> None:
    for alert in recorded.manifest["alerts"]:
        (series,) = [
            one for one in recorded.series
            if one.labels["__name__"] == alert["series"] and one.labels["service"] == alert["service"]
        ]  # fmt: skip
        samples = list(zip(series.times, series.values, strict=True))
        broken = [pair for pair in samples if pair[0] >= recorded.manifest["broken_from"]]
        fired = fires_at(broken, alert["threshold"], alert["for_seconds"])
        assert fired == datetime.fromisoformat(alert["at"]).timestamp()
        assert dict(samples)[fired] == pytest.approx(alert["value"], rel=1e-4)
        normal = [v for at, v in samples if recorded.healthy_from <= at < recorded.manifest["broken_from"]]
        assert math.fsum(normal) / len(normal) == pytest.approx(alert["normal"], rel=1e-3)


def test_the_error_ratio_follows_from_the_recorded_counters(recorded: Tape) -> None:
    alert = recorded.manifest["alerts"][0]
    assert (alert["name"], alert["service"]) == ("HighErrorRatio", "checkout-api")
    at = recorded.alert_at
    total = failed = 0.0
    for one in recorded.series:
        if one.labels["__name__"] == f"{SECONDS}_count" and one.labels["service"] == "checkout-api":
            # A series that began inside the window began at zero.
            before = one.at(at - LOOKBACK_SECONDS) if one.times[0] <= at - LOOKBACK_SECONDS else 0.0
            rise = one.at(at) - before
            total += rise
            failed += rise if one.labels["http_response_status_code"] >= "500" else 0.0
    assert failed / total == pytest.approx(alert["value"], rel=1e-3)


def test_it_holds_a_healthy_baseline_and_three_deploys_of_which_the_last_broke_it(recorded: Tape) -> None:
    assert recorded.healthy_to - recorded.healthy_from > 200
    assert [one["service"] for one in recorded.manifest["changes"]] == ["storefront", "payments", "checkout-api"]
    assert recorded.alert_at - recorded.manifest["broken_from"] < 120
    pools = [one for one in recorded.series if one.labels["__name__"] == "db_pool_size"]
    sizes = {one.labels["service"]: set(one.values) for one in pools}
    assert sizes == {"checkout-api": {20.0, 2.0}, "payments": {10.0}}


def test_its_answers_name_real_commits(recorded: Tape) -> None:
    for change in recorded.manifest["changes"]:
        mine = recorded.github[f"tea-shop/{change['service']}"]
        assert change["head"] in {one["sha"] for one in mine["commits"]}
        assert mine["deployments"][0]["sha"] == change["head"]
        assert f"{change['base']}...{change['head']}" in mine["compare"]
    assert json.dumps(recorded.pagerduty).count(recorded.manifest["changes"][-1]["head"]) >= 1
