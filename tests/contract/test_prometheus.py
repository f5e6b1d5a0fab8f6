"""Prometheus: which metrics exist, what they were, and how it fails; on recorded answers and on the real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.errors import IntegrationError, Malformed, NotIncluded
from integrations.http import Egress
from integrations.ports import Source
from integrations.prometheus import Prometheus, read_points
from integrations.records import Readers, ServiceNames

URL = "http://prometheus.internal:9090"
EGRESS = Egress([URL])


def made(access, url: str = URL, egress: Egress | None = None, **options) -> Prometheus:
    egress = egress or Egress([url], answer_limit_bytes=options.pop("limit", 1_000_000))
    return Prometheus(url=url, egress=egress, access=access, **options)


def series_of(found) -> dict[tuple[str, str], object]:
    return {(one.service, one.name): one for batch in found.series for one in batch.records}


# --- a real server ------------------------------------------------------------------------------------------------


def exposition(question) -> str:
    """Seventy-seven minutes of checkout-api (job "co", OpenTelemetry) and of payments-db (gauges by service)."""
    broken = question.incident.triggered_at.timestamp() - 60
    start = (question.window.start - timedelta(minutes=70)).timestamp()
    steps = [start + 15 * n for n in range(int((question.window.end.timestamp() - start) // 15) + 1)]
    families: dict[tuple[str, str], list[str]] = {}

    def add(name: str, kind: str, labels: str, at: float, value: float) -> None:
        family = name.removesuffix("_total").removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        families.setdefault((family, kind), []).append(f"{name}{{{labels}}} {value} {at:.3f}")

    ok = bad = slow = 0.0
    for at in steps:
        failing = at >= broken
        ok, bad, slow = ok + 90, bad + (57 if failing else 0), slow + (90 if failing else 0)
        name, label = "http_server_request_duration_seconds", 'job="co"'
        add(f"{name}_count", "histogram", f'{label},http_response_status_code="200"', at, ok)
        if failing:
            add(f"{name}_count", "histogram", f'{label},http_response_status_code="503"', at, bad)
        for le, value in (("0.1", ok - slow), ("5", ok), ("+Inf", ok)):
            add(f"{name}_bucket", "histogram", f'{label},http_response_status_code="200",le="{le}"', at, value)
        add("db_pool_in_use", "gauge", label, at, 2 if failing else 5)
        add("db_pool_size", "gauge", label, at, 2 if failing else 20)
        add("process_cpu_percent", "gauge", 'service="Payments_DB",pod="db-0"', at, 40)
        add("http_error_ratio", "gauge", 'service="Payments_DB"', at, float("nan") if at // 15 % 4 else 0.001)
    lines = []
    for (family, kind), samples in families.items():
        lines += [f"# TYPE {family} {kind}", *sorted(samples, key=lambda line: line.rsplit("} ")[0])]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture
async def real(question, without_part, tmp_path) -> AsyncIterator[str]:
    """The address of a Prometheus that holds that hour."""
    if not (shutil.which("prometheus") and shutil.which("promtool")):
        without_part("prometheus", "`make test-parts` installs it")
    text = tmp_path / "hour.txt"
    text.write_text(exposition(question))
    data = tmp_path / "data"
    made = subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(data)], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    (tmp_path / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={data}",
         "--storage.tsdb.retention.time=90y", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            for _ in range(200):
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"http://127.0.0.1:{port}/-/ready")).status_code == 200:
                        break
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def expect_the_hour(found, question) -> None:
    """What the source must say of it, from the real server and from the recording of one."""
    series = series_of(found)
    assert {name for service, name in series if service == "checkout-api"} == {
        "request_rate", "error_ratio", "latency_p95", "saturation", "db_pool_size",
    }  # fmt: skip
    assert {name for service, name in series if service == "payments-db"} == {"error_ratio"}
    triggered = question.incident.triggered_at.timestamp()

    def at(name: str, seconds: float) -> float:
        one = series["checkout-api", name]
        return dict(zip(one.times, one.values, strict=True))[min(one.times, key=lambda t: abs(t - triggered - seconds))]

    assert at("error_ratio", -600) == 0  # no 5xx series exists yet: the ratio is nought, not absent
    assert at("error_ratio", 100) == pytest.approx(0.388, abs=0.02)
    assert at("request_rate", -600) == pytest.approx(6, abs=0.1)
    assert at("latency_p95", -600) < 0.1 < 4 < at("latency_p95", 100)
    assert (at("saturation", -600), at("saturation", 100)) == (0.25, 1)
    assert (at("db_pool_size", -600), at("db_pool_size", 100)) == (20, 2)
    ratio = series["checkout-api", "error_ratio"]
    assert ratio.times[0] <= triggered - 74 * 60 + 120
    assert ratio.unit == "ratio"
    gaps = series["payments-db", "error_ratio"]
    assert set(gaps.values) == {0.001}
    assert len(gaps.values) < len(ratio.values)


async def test_a_real_server_tells_rate_errors_duration_and_saturation_since_an_hour_before(real, access, question):
    source = made(access, real, deadline_seconds=10)
    assert isinstance(source, Source)
    found = await source.fetch(question)
    await source.aclose()
    expect_the_hour(found, question)
    assert found.notes == ()


async def test_a_real_server_refuses_a_wrong_query_of_the_settings_and_the_others_stand(real, access, question):
    source = made(access, real, deadline_seconds=10, queries={"error_ratio": "sum(rate(", "up": "sum(up{$selector})"})
    found = await source.fetch(question)
    await source.aclose()
    assert found.notes[0] == "prometheus: error_ratio of checkout-api: refused the request as wrong (400)"
    assert "latency_p95" in {name for _, name in series_of(found)}


# --- recorded answers ---------------------------------------------------------------------------------------------


async def test_its_answers_become_series_of_our_services(access, question, cassette):
    played = cassette("prometheus")
    found = await made(access, token="pr-token", link_url="https://prom.example.com").fetch(question)
    expect_the_hour(found, question)
    assert {request.headers["Authorization"] for request in played.sent} == {"Bearer pr-token"}
    queries = [parse_qs(urlsplit(request.uri).query) for request in played.sent]
    discovery = [query["match[]"] for query in queries if "match[]" in query]
    assert discovery[0] == [next(one for one in discovery[0] if one.endswith(',job="co"}'))]
    assert any('service=~"(?i)(payments[-_. ]?db)"' in one for one in discovery[1])
    ranges = [query for query in queries if "step" in query]
    assert {query["step"][0] for query in ranges} == {"15"}
    assert all(float(query["end"][0]) - float(query["start"][0]) == 77 * 60 for query in ranges)
    url = series_of(found)["checkout-api", "error_ratio"].url
    assert url.startswith("https://prom.example.com/graph?g0.expr=%28sum")


async def test_a_series_leads_to_a_dashboard_that_is_allowed_and_to_no_other(access, question, cassette):
    cassette("prometheus")
    source = made(access, URL, EGRESS, link_url="https://grafana.example/", dashboards=["home", "svc-payments-db"])
    found = series_of(await source.fetch(question))
    await source.aclose()
    links = {service: urlsplit(one.url) for (service, _), one in found.items()}
    assert {service: link.path for service, link in links.items()} == {
        "checkout-api": "/d/home", "payments-db": "/d/svc-payments-db",
    }  # fmt: skip
    shown = parse_qs(links["checkout-api"].query)
    assert (links["checkout-api"].netloc, shown["var-service"]) == ("grafana.example", ["checkout-api"])
    assert int(shown["from"][0]) < question.incident.triggered_at.timestamp() * 1000 < int(shown["to"][0])


@pytest.mark.parametrize(("uid", "link_url"), [("a/b", "https://grafana.example"), ("home", None)])
def test_a_dashboard_that_is_none_or_nowhere_is_refused(access, uid, link_url):
    with pytest.raises(ValueError, match=r"allow\.dashboards"):
        made(access, link_url=link_url, dashboards=[uid])


async def test_series_are_batched_by_who_may_read_their_service(access, question, cassette):
    cassette("prometheus")
    batches = (await made(access).fetch(question)).series
    by_service = {batch.records[0].service: batch for batch in batches}
    assert by_service["checkout-api"].readers == Readers.of(["everyone"], ["payments"])
    assert (by_service["payments-db"].readers, by_service["payments-db"].model) == (Readers.of(["everyone"]), "never")


def test_values_are_strings_and_what_is_not_finite_is_a_gap(wire):
    assert read_points([[1, "0.5"], [2, "NaN"], [3, "+Inf"], [4, "-Inf"], [5, "1e-3"]]) == ([1.0, 5.0], [0.5, 0.001])
    assert read_points([[5, "1"], [4, "2"], ["x", "3"], [6], None, [7, None], [8, True], [9, "4"]]) == (
        [5.0, 9.0], [1.0, 4.0],
    )  # fmt: skip
    captured = wire("prometheus", "captured_query_range_matrix*")["captured_query_range_matrix.http.json"]
    points = [read_points(one["values"]) for one in captured["response"]["body"]["data"]["result"]]
    assert points[1] == ([1795464393.23 + 2 * n for n in range(6)], [1.0] * 6)


# --- how it fails -------------------------------------------------------------------------------------------------


def answering(served, matrix, names=("http_error_ratio",), **extra):
    def answer(asked):
        if "/series" in asked.target:
            data = [{"__name__": name, "job": "co", "service": "payments-db"} for name in names]
            return 200, {}, json.dumps({"status": "success", "data": data}).encode()
        if isinstance(matrix, tuple):
            return matrix
        data = {"resultType": "matrix", "result": matrix}
        return 200, {}, json.dumps({"status": "success", "data": data, **extra}).encode()

    served.answer = answer


async def test_each_failure_of_everything_is_exactly_one_error(serve, access, question, failing):
    _, answer, error = failing
    served = await serve()
    served.answer = lambda asked: answer
    source = made(access, served.url, deadline_seconds=0.5, limit=65_536)
    if error is NotIncluded:
        assert len((await source.fetch(question)).notes) == 2
    else:
        with pytest.raises(error):
            await source.fetch(question)
    await source.aclose()


async def test_its_own_errors_are_each_exactly_one_of_ours(serve, access, question, wire):
    for name, sample in wire("prometheus", "captured_error_*").items():
        served = await serve()
        body = sample["response"]["body"]
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        served.answer = lambda asked, s=sample["response"]["status"], c=content: (s, {}, c)
        with pytest.raises(IntegrationError) as error:
            await made(access, served.url).fetch(question)
        expected = "Unavailable" if sample["response"]["status"] == 503 else "Malformed"
        assert type(error.value).__name__ == expected, name


async def test_warnings_beside_the_data_make_it_partial(serve, access, question):
    served = await serve()
    answering(served, [{"metric": {}, "values": [[1, "1"]]}], warnings=["query hit the sample limit"])
    found = await made(access, served.url).fetch(replace(question, services=question.services[:1]))
    assert found.notes == ("prometheus: metrics of checkout-api are partial (it warned beside its data)",)


async def test_a_service_without_metrics_is_said_with_what_to_map(serve, access, question):
    served = await serve()
    answering(served, [], names=())
    found = await made(access, served.url).fetch(question)
    assert found.series == ()
    assert found.notes == (
        'prometheus: no metrics of checkout-api (map its labels: [services."checkout-api"] prometheus = { job = "…" })',
    )


@pytest.mark.parametrize("matrix", ["text", None, [None], [{"values": "x"}], [{"values": [[1, "2"]], "metric": []}]])
async def test_a_matrix_of_a_wrong_shape_is_no_series_or_malformed(serve, access, question, matrix):
    served = await serve()
    answering(served, matrix)
    found = await made(access, served.url).fetch(replace(question, services=question.services[:1]))
    assert all(math.isfinite(value) for batch in found.series for one in batch.records for value in one.values)


async def test_a_vector_where_a_matrix_was_due_is_malformed(serve, access, question):
    served = await serve()
    answering(served, (200, {}, b'{"status": "success", "data": {"resultType": "vector", "result": []}}'))
    with pytest.raises(Malformed, match="no matrix"):
        await made(access, served.url).fetch(replace(question, services=question.services[:1]))


async def test_names_from_the_settings_cannot_leave_their_quotes(serve, access, question):
    served = await serve()
    answering(served, [])
    hostile = ServiceNames("a", prometheus={"job": 'x"} or vector(1) or {a="\\'})
    await made(access, served.url).fetch(replace(question, services=(hostile,)))
    match = parse_qs(urlsplit(served.asked[0].target).query)["match[]"][0]
    assert match.endswith('job="x\\"} or vector(1) or {a=\\"\\\\"}')
    served.asked.clear()
    with pytest.raises(Malformed, match="no label name"):
        await made(access, served.url).fetch(replace(question, services=(ServiceNames("a", prometheus={"a b": "c"}),)))
    assert served.asked == []


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_mutated_answer_never_raises_anything_unexpected(wire, mutate, junk, access, question, data):
    samples = [one["response"]["body"] for one in wire("prometheus", "captured_*").values()]
    series = {"status": "success", "data": [{"__name__": "http_error_ratio", "job": "co", "service": "payments-db"}]}
    sample = data.draw(st.sampled_from([*samples, series]))
    answer = mutate(sample, data.draw(st.lists(st.integers(0, 30), max_size=7)), data.draw(junk))
    source = made(access, egress=EGRESS)

    async def canned(path, params=None):
        return answer if "range" in path or sample is series else series

    async def run():
        source._api.json = canned
        with contextlib.suppress(IntegrationError):
            await source.fetch(question)

    asyncio.run(run())
