"""Tempo, Loki, Elasticsearch and OTLP files: recorded answers as spans and log lines, and what they ask for."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from integrations.elasticsearch import Elasticsearch, parse_hits, search_of
from integrations.errors import Denied, Malformed
from integrations.http import Egress
from integrations.loki import Loki, parse_labels, parse_lines
from integrations.otlp_files import OtlpFiles, read_file
from integrations.ports import Source
from integrations.records import Readers, ServiceNames, Window
from integrations.tempo import Tempo, parse_search, parse_trace, query_of

TEMPO, LOKI, SEARCH = "http://tempo.internal:3200", "http://loki.internal:3100", "https://search.internal:9200"


@pytest.fixture
def asked(question):
    return replace(question, services=question.services[:1], baselines=question.baselines[:1])


def made(kind, url, access, **more):
    return kind(url=url, egress=Egress([url]), access=access, deadline_seconds=30, **more)


# --- Tempo --------------------------------------------------------------------------------------------------------


async def test_tempo_s_traces_become_spans_under_our_names_each_once(access, asked, cassette):
    played = cassette("tempo")
    source = made(Tempo, TEMPO, access, token="t-token", link_url="https://grafana.example/trace/{trace_id}")
    assert isinstance(source, Source)
    found = await source.fetch(asked)
    await source.aclose()
    spans = {span.span_id: span for batch in found.spans for span in batch.records}
    assert len(spans) == 12
    broken = sorted((s for s in spans.values() if s.trace_id == f"{103:032x}"), key=lambda span: span.start_ns)
    assert [span.service for span in broken] == ["storefront", "checkout-api", "payments_db"]
    assert [span.parent_id for span in broken] == ["", broken[0].span_id, broken[1].span_id]
    assert [span.kind for span in broken] == ["server", "server", "client"]
    assert all(span.error for span in broken)  # a 503, and two with a status
    assert not any(span.error for span in spans.values() if span.trace_id != f"{103:032x}")
    assert broken[1].pod == "checkout-7d9f-abcde"
    assert found.edges == {("storefront", "checkout-api"), ("checkout-api", "payments_db")}
    assert found.edge_readers == Readers.of(["everyone"])
    assert found.notes == ("tempo: traces are partial (some of its answers were errors or late)",)
    assert found.spans[0].url == "https://grafana.example/trace/{trace_id}"
    (baseline,) = found.baselines
    assert sum(len(batch.records) for batch in baseline.spans) == 6  # the trace that both halves found counts once
    by_service = {span.service: batch.readers for batch in found.spans for span in batch.records}
    assert by_service["checkout-api"] == Readers.of(["everyone"], ["payments"])
    assert {request.headers["Authorization"] for request in played.sent} == {"Bearer t-token"}
    assert all(request.query for request in played.sent if "search" in request.path)


def test_traceql_asks_for_mapped_names_exactly_and_for_others_whatever_separates_their_words():
    assert query_of(ServiceNames("a", otel=('x"y', "z"))) == (
        '{ resource.service.name = "x\\"y" || resource.service.name = "z" }'
    )
    assert query_of(ServiceNames("checkout-api")) == '{ resource.service.name =~ "(?i)checkout[-_. ]?api" }'


def test_published_answers_of_tempo_are_read(wire):
    samples = wire("tempo")
    spans, partial = parse_trace("tempo", json.dumps(samples["trace_by_id_batches.json"]).encode())
    assert not partial
    assert {span.service for span in spans} >= {"backend-service", "fraud-service"}
    assert all(len(span.trace_id) == 32 and len(span.span_id) == 16 for span in spans)
    search = samples["made_search_v1.http.json"]["response"]["body"]
    assert parse_search("tempo", json.dumps(search).encode()) == [
        "2f3e0cee77ae5dc9c17ade3689eb2e54", "00000000000000001b1ba462b409200d",
    ]  # fmt: skip


SPAN = {"traceId": "AAAAAAAAAAAAAAAAAAAAZw==", "spanId": "AAAAAAAABnM=", "name": "SELECT", "kind": "SPAN_KIND_CLIENT",
        "startTimeUnixNano": "1795442550001500000", "endTimeUnixNano": "1795442554901500000"}  # fmt: skip
RESOURCE = {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]}
SPANS = [{"resource": RESOURCE, "scopeSpans": [{"spans": [SPAN]}]}]


@pytest.mark.parametrize(
    ("answer", "spans", "partial"),
    [
        ({"batches": SPANS}, 1, False),
        ({"trace": {"resourceSpans": SPANS}, "metrics": {"inspectedBytes": "5"}}, 1, False),
        ({"trace": {"resourceSpans": SPANS}, "status": "PARTIAL", "message": "Trace exceeds maximum size"}, 1, True),
        ({"trace": {"resourceSpans": SPANS}, "status": 1}, 1, True),
        ({"trace": {}, "metrics": {}, "status": "COMPLETE"}, 0, False),
        ({"trace": None, "status": "COMPLETE"}, 0, False),
    ],
)
def test_both_versions_of_tempo_s_answer_to_a_trace_id_are_read(answer, spans, partial):
    found, cut = parse_trace("tempo", json.dumps(answer).encode())
    assert (len(found), cut) == (spans, partial)
    assert all(one.service == "checkout" for one in found)


async def test_a_trace_that_is_too_large_for_the_first_version_is_asked_of_the_second_and_called_partial(
    serve, access, asked
):
    served = await serve()

    def answer(one):
        path = one.target.split("?")[0]
        if path == "/api/search":
            return 200, {}, b'{"traces": [{"traceID": "67"}]}'
        if path.startswith("/api/traces/"):
            return 422, {}, b"trace exceeds max size (max bytes: 5000000)"
        assert path == f"/api/v2/traces/{'67'.zfill(32)}"
        return 200, {}, json.dumps({"trace": {"resourceSpans": SPANS}, "status": "PARTIAL"}).encode()

    served.answer = answer
    source = Tempo(url=served.url, egress=Egress([served.url]), access=access, deadline_seconds=30)
    found = await source.fetch(replace(asked, baselines=()))
    await source.aclose()
    assert sum(len(batch.records) for batch in found.spans) == 1
    assert "tempo: traces are partial (some of its answers were errors or late)" in found.notes


async def test_a_sample_is_said_and_a_service_without_traces_too(serve, access, asked):
    served = await serve()
    ids = [{"traceID": f"{n:x}"} for n in range(1, 26)]
    span = {"traceId": "1" * 32, "spanId": "1" * 16, "name": "x", "startTimeUnixNano": "1795442531000000000"}
    trace = {"batches": [{"scopeSpans": [{"spans": [span]}]}]}
    served.answer = lambda one: (200, {}, json.dumps({"traces": ids} if "search" in one.target else trace).encode())
    found = await made(Tempo, served.url, access).fetch(asked)
    assert found.notes == ("tempo: traces are a sample (at most 25 a search)",)
    served.answer = lambda one: (200, {}, b'{"traces": []}')
    found = await made(Tempo, served.url, access).fetch(asked)
    assert found.notes == ("tempo: no traces of checkout-api in the window",)
    query = parse_qs(urlsplit(served.asked[-1].target).query)
    assert len(query["start"][0]) == 10  # seconds


# --- Loki ---------------------------------------------------------------------------------------------------------


async def test_loki_s_lines_have_level_message_trace_and_pod_whatever_wrote_them(access, asked, cassette):
    played = cassette("loki")
    source = made(Loki, LOKI, access, link_url="https://grafana.example")
    assert isinstance(source, Source)
    found = await source.fetch(asked)
    await source.aclose()
    lines = [line for batch in found.logs for line in batch.records]
    newest = [line for line in lines if line.at_ns > 1795442530 * 10**9]
    assert [(line.level, line.body) for line in newest] == [
        ("DEBUG", "level=debug msg=tick"), ("INFO", "2026-11-23T14:02:15Z INFO order placed"),
        ("ERROR", "no connection within 4.9 s"), ("WARN", "pool is full: timeout"),
        ("ERROR", "no connection within 4.9 s"),
    ]  # fmt: skip
    assert [line.trace_id for line in newest[-2:]] == [f"{103:032x}"] * 2
    assert {line.pod for line in newest} == {"checkout-7d9f-abcde", "checkout-7d9f-fghij"}
    assert {line.service for line in lines} == {"checkout-api"}
    assert found.logs[0].readers == Readers.of(["everyone"], ["payments"])
    assert found.logs[0].url.startswith("https://grafana.example/explore?left=")
    assert [baseline.window for baseline in found.baselines] == list(asked.baselines)
    query = dict(next(request for request in played.sent if "query_range" in request.path).query)
    assert query["query"] == '{app=~"(?i)(checkout[-_. ]?api|checkout)"}'
    assert (len(query["start"]), query["direction"], query["limit"]) == (19, "backward", "1000")


async def test_loki_is_asked_by_the_labels_of_the_settings_and_a_full_answer_is_said(serve, access, asked):
    served = await serve()
    line = [["1795442531000000000", "x"]] * 1000
    body = {"status": "success", "data": {"resultType": "streams", "result": [{"stream": {}, "values": line}]}}
    served.answer = lambda one: (200, {}, json.dumps(body).encode())
    service = ServiceNames("checkout-api", logs={"app": 'che"ckout', "env": "prod"})
    found = await made(Loki, served.url, access).fetch(replace(asked, services=(service,)))
    assert found.notes == ("loki: logs of checkout-api are the newest lines of each part of the window",)
    queries = {parse_qs(urlsplit(one.target).query)["query"][0] for one in served.asked}
    assert queries == {'{app="che\\"ckout",env="prod"}'}
    with pytest.raises(Malformed, match="no label name"):
        await made(Loki, served.url, access).fetch(
            replace(asked, services=(replace(service, logs={'a="b"} or {x': "y"}),))
        )


async def test_a_tenant_is_sent_with_every_request(serve, access, asked):
    served = await serve()
    served.answer = lambda one: (
        200,
        {},
        b'{"traces": []}' if "search" in one.target else b'{"status": "success", "data": []}',
    )
    for kind in (Loki, Tempo):
        await made(kind, served.url, access, tenant="shop").fetch(asked)
    assert {one.headers["x-scope-orgid"] for one in served.asked} == {"shop"}


async def test_a_service_that_no_label_names_is_said_with_what_to_set(serve, access, asked):
    served = await serve()
    served.answer = lambda one: (200, {}, b'{"status": "success", "data": []}')
    found = await made(Loki, served.url, access).fetch(asked)
    assert found.notes == (
        'loki: no logs of checkout-api (say which labels: [services."checkout-api"] logs = { app = "…" })',
    )
    assert len(served.asked) == 1


def test_published_answers_of_loki_are_read(wire):
    for name, sample in wire("loki").items():
        body = json.dumps(sample).encode()
        if "_streams" in name:
            assert parse_lines("loki", body, "a"), name
        elif "matrix" in name:
            with pytest.raises(Malformed):
                parse_lines("loki", body, "a")
    assert parse_labels(
        "loki", b'{"status": "success", "data": [{"app": "Check_Out"}, {"job": "x"}]}', "check[-_. ]?out"
    ) == ["app"]


# --- Elasticsearch and OpenSearch ------------------------------------------------------------------------------------


async def test_search_hits_become_log_lines_from_nested_and_dotted_fields(access, asked, cassette):
    played = cassette("elasticsearch")
    source = made(Elasticsearch, SEARCH, access, indices=["logs-*"], token="bm90LWEta2V5")
    assert isinstance(source, Source)
    found = await source.fetch(asked)
    await source.aclose()
    lines = sorted((line for batch in found.logs for line in batch.records), key=lambda line: line.at_ns)
    assert (lines[-1].level, lines[-1].body) == ("ERROR", "no connection: within 4.9 s")
    assert lines[-1].trace_id == f"{103:032x}"
    assert (lines[0].level, lines[0].pod) == ("INFO", "checkout-7d9f-abcde")
    assert found.notes == ("elasticsearch: logs of checkout-api are partial (it timed out, or shards failed)",)
    assert len(found.baselines) == 1
    assert {request.path for request in played.sent} == {"/logs-*/_search"}
    assert {request.headers["Authorization"] for request in played.sent} == {"ApiKey bm90LWEta2V5"}
    body = json.loads(played.sent[0].body)
    assert body["query"]["bool"]["filter"][0]["range"]["@timestamp"]["lt"] == "2026-11-23T14:04:10.000Z"
    assert "*" not in body["_source"]


@pytest.mark.parametrize(
    "source",
    [
        {"body": {"text": "pool is empty"}, "severity_text": "ERROR"},  # OpenTelemetry's own mapping
        {"body": "pool is empty", "severity": {"number": 17, "text": "ERROR"}},  # Data Prepper's
        {"message": "pool is empty", "log": {"level": "error"}},  # Elastic's common schema
    ],
)
def test_a_line_is_read_in_each_of_the_usual_schemas(source):
    hit = {"_source": {"@timestamp": "2026-11-23T14:02:00.123456789Z", **source}}
    (line,), partial = parse_hits("elasticsearch", json.dumps({"hits": {"hits": [hit]}}).encode(), "checkout")
    assert (line.body, line.level, partial) == ("pool is empty", "ERROR", False)


def test_a_search_is_by_the_fields_of_the_settings_else_by_the_usual_ones(question):
    mapped = search_of(ServiceNames("a", logs={"service.name": "b"}), question.window, 10, 500)
    assert mapped["query"]["bool"]["filter"][1:] == [{"term": {"service.name": "b"}}]
    usual = search_of(ServiceNames("a", otel=("b",)), question.window, 10, 500)
    assert {"terms": {"service.name": ["b", "a"]}} in usual["query"]["bool"]["filter"][1]["bool"]["should"]


@pytest.mark.parametrize("indices", [[], ["../_cluster"], ["logs/_all"], ["Logs"], ["_all"], ["a,b"], ["-x"]])
def test_only_indices_that_are_allowed_can_be_in_the_path(access, indices):
    with pytest.raises(ValueError, match=r"allow\.indices"):
        made(Elasticsearch, SEARCH, access, indices=indices)


def test_a_password_is_sent_as_basic(access):
    source = made(Elasticsearch, SEARCH, access, indices=["logs"])
    assert source.authorization("u:p") == {"Authorization": "Basic dTpw"}


def test_an_answer_of_a_search_without_hits_is_no_failure_and_one_that_is_none_is(wire):
    submitted = wire("elasticsearch", "resp_submit*")["resp_submit_AsyncSearchSubmitResponseExample1.json"]["response"]
    assert parse_hits("elasticsearch", json.dumps(submitted).encode(), "a") == ([], False)
    with pytest.raises(Malformed, match="no hits"):
        parse_hits("elasticsearch", b'{"error": {"type": "x"}, "status": 400}', "a")


# --- OTLP files ------------------------------------------------------------------------------------------------------


def request_line(at_s: float, service: str = "checkout", trace: str = "1" * 32, span: str = "1" * 16) -> str:
    one = {"traceId": trace, "spanId": span, "name": "x", "startTimeUnixNano": str(int(at_s * 1e9))}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [one]}]}]})


def log_line(at_s: float) -> str:
    record = {"timeUnixNano": str(int(at_s * 1e9)), "severityText": "Error", "body": {"stringValue": "no connection"}}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]}
    return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]})


async def test_files_give_the_records_of_each_window_under_our_names(access, asked, tmp_path):
    now, before = asked.window.start.timestamp() + 60, asked.baselines[0].start.timestamp() + 60
    (tmp_path / "traces.jsonl").write_text(
        "\n".join([request_line(now), request_line(before), request_line(now - 7200), "{half", ""]), encoding="utf-8"
    )
    with gzip.open(tmp_path / "logs.jsonl.gz", "wt") as file:
        file.write("\n".join([log_line(now), log_line(before), '{"resourceMetrics": []}']))
    source = OtlpFiles(paths=[f"{tmp_path}/*"], access=access)
    assert isinstance(source, Source)
    found = await source.fetch(asked)
    (span,) = [span for batch in found.spans for span in batch.records]
    (line,) = [line for batch in found.logs for line in batch.records]
    assert (span.service, line.service, line.level) == ("checkout-api", "checkout-api", "ERROR")
    assert found.spans[0].readers == Readers.of(["everyone"], ["payments"])
    (baseline,) = found.baselines
    assert (len(baseline.spans), len(baseline.logs)) == (1, 1)
    assert found.notes == ("otlp: 1 lines of traces.jsonl are no OTLP/JSON",)


def test_published_otlp_is_read_as_a_document_over_many_lines(wire, tmp_path, asked):
    samples = wire("otlp")
    everything = [Window(asked.window.start - timedelta(days=9000), asked.window.end)]
    for name, kind in (("trace.json", "spans"), ("logs.json", "logs"), ("metrics.json", "")):
        (tmp_path / name).write_text(json.dumps(samples[name], indent=2), encoding="utf-8")
        read = read_file("otlp", str(tmp_path / name), everything)
        assert bool(read.spans[0]) == (kind == "spans")
        assert bool(read.logs[0]) == (kind == "logs")


async def test_only_the_end_of_a_large_file_is_read_and_said(access, asked, tmp_path, monkeypatch):
    now = asked.window.start.timestamp() + 60
    lines = [request_line(now, span=f"{n:016x}") for n in range(1, 100)]
    (tmp_path / "big.jsonl").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr("integrations.otlp_files.TAIL_BYTES", 1000)
    found = await OtlpFiles(paths=[str(tmp_path / "big.jsonl")], access=access).fetch(asked)
    ids = [span.span_id for batch in found.spans for span in batch.records]
    assert ids == [f"{n:016x}" for n in range(99, 99 - len(ids), -1)]
    assert found.notes == ("otlp: only the newest records of big.jsonl are read",)


def test_what_lies_outside_every_window_is_not_parsed_and_what_is_not_read_in_time_is_said(asked, tmp_path):
    now = asked.window.start.timestamp() + 60
    old = request_line(now - 9000).replace('"name": "x"', '"name": x')  # broken, and older than any window
    (tmp_path / "x.jsonl").write_text("\n".join([old, request_line(now)]), encoding="utf-8")
    read = read_file("otlp", str(tmp_path / "x.jsonl"), [asked.window])
    assert (len(read.spans[0]), read.broken, read.cut) == (1, 0, False)
    late = read_file("otlp", str(tmp_path / "x.jsonl"), [asked.window], until=0.0)
    assert (late.spans, late.cut) == ([[]], True)


async def test_files_that_are_missing_secret_or_something_else_end_in_one_error(access, asked, tmp_path):
    with pytest.raises(Denied, match=r"allow\.paths"):
        await OtlpFiles(paths=[str(tmp_path / "none.jsonl")], access=access).fetch(asked)
    (tmp_path / "passwd").write_text("root:x:0:0\n", encoding="utf-8")
    with pytest.raises(Malformed, match="no OTLP/JSON"):
        await OtlpFiles(paths=[str(tmp_path / "passwd")], access=access).fetch(asked)
    (tmp_path / "bad.gz").write_bytes(b"\x1f\x8bnot gzip")
    with pytest.raises(Denied, match="cannot be read"):
        await OtlpFiles(paths=[str(tmp_path / "bad.gz")], access=access).fetch(asked)
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    found = await OtlpFiles(paths=[str(tmp_path / "empty.jsonl")], access=access).fetch(asked)
    assert found.notes == ("otlp: nothing in its files of the time of the incident",)
    for paths in ([], ["relative.jsonl"]):
        with pytest.raises(ValueError, match=r"allow\.paths"):
            OtlpFiles(paths=paths, access=access)
