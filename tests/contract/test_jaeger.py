"""Jaeger: traces as spans and log lines, healthy windows, the call graph, and how it fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.errors import IntegrationError, Malformed, NotIncluded, Unavailable
from integrations.http import Egress
from integrations.jaeger import Jaeger, read_traces
from integrations.ports import Source
from integrations.records import Packed, Readers, Span

URL = "http://jaeger.internal:16686/jaeger"
EGRESS = Egress([URL])


@pytest.fixture
def one_service(question):
    return replace(question, services=question.services[:1], baselines=question.baselines[:1])


def made(access, url: str = URL, **options) -> Jaeger:
    egress = Egress([url], answer_limit_bytes=options.pop("limit", 1_000_000))
    return Jaeger(url=url, egress=egress, access=access, **options)


async def test_a_window_s_traces_become_spans_with_parents_errors_and_pods(access, one_service, cassette):
    played = cassette("jaeger")
    source = made(access, token="jg-token", link_url="https://jaeger.example.com")
    assert isinstance(source, Source)
    found = await source.fetch(one_service)
    await source.aclose()
    spans = {span.span_id: span for batch in found.spans for span in batch.records}
    assert len(spans) == 12  # four traces of three spans; one trace came twice
    broken = [span for span in spans.values() if span.trace_id == f"{103:032x}"]
    root, checkout, query = sorted(broken, key=lambda span: span.start_ns)
    assert (root.service, checkout.service, query.service) == ("storefront", "checkout-api", "payments_db")
    assert (root.parent_id, checkout.parent_id, query.parent_id) == ("", root.span_id, checkout.span_id)
    assert (root.kind, query.kind) == ("server", "client")
    assert all(span.error for span in broken)  # a 503, an error tag, and a status
    assert not any(span.error for span in spans.values() if span.trace_id != f"{103:032x}")
    assert query.end_ns - query.start_ns == 4_900_000_000
    assert (checkout.pod, root.pod) == ("checkout-7d9f-abcde", "sf-0")
    assert query.attributes["db.system.name"] == "postgresql"
    assert {request.headers["Authorization"] for request in played.sent} == {"Bearer jg-token"}
    assert found.notes == ("jaeger: traces are partial (some of its answers were errors or late)",)
    assert found.spans[0].url == "https://jaeger.example.com/trace/{trace_id}"


async def test_span_events_become_log_lines_beside_their_span(access, one_service, cassette):
    cassette("jaeger")
    (batch,) = (await made(access).fetch(one_service)).logs
    (line,) = batch.records
    assert (line.level, line.body, line.service) == ("ERROR", "PoolTimeout: no connection within 4.9 s", "checkout-api")
    assert line.trace_id == f"{103:032x}"


async def test_the_hour_before_is_the_baseline_and_calls_are_edges_under_our_names(access, one_service, cassette):
    cassette("jaeger")
    found = await made(access).fetch(one_service)
    (baseline,) = found.baselines
    assert baseline.window == one_service.baselines[0]
    assert sum(len(batch.records) for batch in baseline.spans) == 6
    assert found.edge_readers == Readers.of(["everyone"])
    assert found.edges == {("storefront", "checkout-api"), ("checkout-api", "payments_db")}


async def test_spans_are_batched_by_who_may_read_their_service(access, question, cassette):
    cassette("jaeger")
    found = await made(access).fetch(
        replace(question, services=question.services[:1], baselines=question.baselines[:1])
    )
    by_service = {span.service: batch for batch in found.spans for span in batch.records}
    assert by_service["checkout-api"].readers == Readers.of(["everyone"], ["payments"])
    assert by_service["storefront"].readers == Readers.of(["everyone"])


async def test_each_failure_of_everything_is_exactly_one_error(serve, access, question, failing):
    _, answer, error = failing
    served = await serve()
    served.answer = lambda asked: answer
    source = made(access, served.url, deadline_seconds=0.5, limit=65_536)
    if error is NotIncluded:
        assert len((await source.fetch(question)).notes) == 5
    else:
        with pytest.raises(error):
            await source.fetch(question)
    await source.aclose()


async def test_errors_without_data_are_unavailable(serve, access, one_service):
    served = await serve()
    body = {"data": None, "total": 0, "limit": 0, "errors": [{"code": 500, "msg": "no storage"}]}
    served.answer = lambda asked: (200, {}, json.dumps(body).encode())
    with pytest.raises(Unavailable, match="code 500"):
        await made(access, served.url).fetch(one_service)


async def test_a_storage_that_fails_for_one_slice_costs_only_that_slice(serve, access, one_service, wire):
    served = await serve()
    span = wire("jaeger", "ui_es_01")["ui_es_01.json"]

    def answer(asked):
        query = parse_qs(urlsplit(asked.target).query)
        if query.get("start") == [str(int(one_service.window.start.timestamp() * 1e6))]:
            return 500, {}, b""
        return 200, {}, json.dumps({"data": [{"spans": [span]}], "errors": None}).encode()

    served.answer = answer
    found = await made(access, served.url).fetch(one_service)
    assert found.spans
    assert found.notes == ("jaeger: traces are partial (some of its answers were errors or late)",)


async def test_what_has_come_at_the_deadline_is_kept_and_the_newest_slice_is_asked_for_first(
    serve, access, one_service, wire
):
    served = await serve()
    span = wire("jaeger", "ui_es_01")["ui_es_01.json"]

    def answer(asked):
        query = parse_qs(urlsplit(asked.target).query)
        latest = query.get("end") == [str(int(one_service.window.end.timestamp() * 1e6))]
        return (200, {}, json.dumps({"data": [{"spans": [span]}], "errors": None}).encode()) if latest else None

    served.answer = answer
    source = made(access, served.url, deadline_seconds=0.5)
    found = await source.fetch(one_service)
    await source.aclose()
    assert len(found.spans) == 1
    assert found.notes[0] == "jaeger: traces are partial (some of its answers were errors or late)"
    assert found.notes[1].startswith("jaeger traces an hour before: no answer in 0.4")
    ends = [parse_qs(urlsplit(asked.target).query).get("end", ["0"])[0] for asked in served.asked]
    assert max(ends) in ends[:5]


async def test_limits_are_asked_for_and_a_full_answer_is_said_to_be_a_sample(serve, access, one_service, wire):
    served = await serve()
    span = wire("jaeger", "ui_es_01")["ui_es_01.json"]
    body = json.dumps({"data": [{"spans": [{**span, "spanID": f"{n:x}"}]} for n in range(100)]}).encode()
    served.answer = lambda asked: (200, {}, body)
    found = await made(access, served.url).fetch(one_service)
    assert "jaeger: traces are a sample (at most 100 a query)" in found.notes
    assert all("limit=100" in asked.target for asked in served.asked if "/api/traces" in asked.target)


async def test_a_service_that_it_does_not_know_is_said(serve, access, one_service):
    served = await serve()
    served.answer = lambda asked: (200, {}, b'{"data": [], "total": 0, "limit": 0, "offset": 0, "errors": null}')
    found = await made(access, served.url).fetch(one_service)
    assert found.notes == ("jaeger: no traces of checkout-api in the window",)
    assert found.baselines == ()


def test_a_span_as_a_storage_writes_it_is_read_with_its_own_process(wire):
    span = wire("jaeger", "ui_es_01")["ui_es_01.json"]
    read = read_traces([{"spans": [span]}])
    (one,) = read.spans.values()
    assert (one.service, one.parent_id, one.error) == ("service-x", "0000000000000003", True)
    assert one.start_ns == 1485467191639875000
    assert one.end_ns - one.start_ns == 5000
    assert [line.body for line in read.logs] == ["123415", "x=y"]


@pytest.mark.parametrize(
    "spans",
    [
        [{}], [None, 3, []], "spans", [{"traceID": "1", "spanID": "2", "startTime": "soon"}],
        [{"traceID": "1", "spanID": "2", "startTime": -5, "processID": "p1"}],
        [{"traceID": "1", "spanID": "2", "startTime": 1e300, "processID": "p1"}],
        [{"traceID": "1", "spanID": "2", "startTime": 5, "processID": "p9"}],
    ],
)  # fmt: skip
def test_a_span_without_ids_time_or_service_is_left_out(spans):
    assert read_traces([{"spans": spans, "processes": {"p1": {"serviceName": "a"}}}]).spans == {}


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_mutated_answer_never_raises_anything_unexpected(wire, mutate, junk, access, one_service, data):
    span = wire("jaeger", "ui_es_01")["ui_es_01.json"]
    span = {**span, "startTime": int(one_service.window.start.timestamp() * 1e6), "processID": "p1"}
    sample = {"data": [{"traceID": "1", "spans": [span, span], "processes": {"p1": span.pop("process")}}], "errors": []}
    sample["data"] += [*wire("jaeger", "ui_domain*").values()]
    answer = mutate(sample, data.draw(st.lists(st.integers(0, 30), max_size=7)), data.draw(junk))
    source = Jaeger(url=URL, egress=EGRESS, access=access)

    async def canned(path, params=None):
        return type("Answer", (), {"body": json.dumps(answer).encode()})

    async def parsed(path, params=None):
        return answer

    async def run():
        source._api.answer, source._api.json = canned, parsed
        with contextlib.suppress(IntegrationError):
            await source.fetch(one_service)

    asyncio.run(run())


def test_packed_records_cross_processes_unread_and_are_the_same_at_the_end():
    spans = [Span("t", f"s{n}", "", ("cart", "db")[n % 2], "GET /", n, n + 1) for n in range(5)]
    packed = Packed(Packed.pack(spans))
    assert packed.services == {"cart", "db"}
    assert (len(packed), bool(packed), bool(Packed([]))) == (5, True, False)
    passed_on = pickle.loads(pickle.dumps(packed))
    assert passed_on._read is None
    assert sorted(passed_on, key=lambda one: one.span_id) == spans
    assert packed[0] == spans[0]


@pytest.mark.parametrize("error", [Unavailable("x", "late", retry_after_seconds=2.0), Malformed("x", "no JSON")])
def test_errors_cross_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
