"""Incident bundles and OTLP/JSON files: what is read, what is said when it cannot be, and who may read it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import pathlib
import shutil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations import otlp
from integrations.bundle import Bundle, Shelf, metric_words, open_bundle
from integrations.errors import Malformed, Unavailable
from integrations.records import EVERYONE, WORLD, Findings, Readers

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "bundles"
CASE = "tt-2023-01-30-1409"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy that a test may break, with its healthy minute beside it."""
    shutil.copytree(DATA / "baseline", tmp_path / "baseline")
    return pathlib.Path(shutil.copytree(DATA / CASE, tmp_path / CASE))


def fetched(bundle: Bundle, name: str) -> Findings:
    source = next(one for one in bundle.sources() if one.name == name)
    return asyncio.run(source.fetch(bundle.question()))


def test_a_bundle_becomes_the_nouns_of_a_live_triage(folder: pathlib.Path) -> None:
    bundle = open_bundle(folder)
    assert bundle.incident.service == "ts-gateway-service"
    assert bundle.incident.severity == 2
    assert bundle.on_call == "train-ticket"
    alert = fetched(bundle, "alerts").evidence[0]
    assert alert.id.startswith("alertmanager/alert/")
    question = bundle.question()
    assert question.window.end == alert.observed_at
    assert (question.window.end - question.window.start).total_seconds() == 60
    changes = fetched(bundle, "changes").changes
    assert len(changes) == 31
    assert {one.kind for one in changes} <= {"deploy", "config", "flag", "scale"}
    traces = fetched(bundle, "traces")
    assert len(traces.spans[0].records) == 3537
    assert ("ts-gateway-service", "ts-preserve-service") in traces.edges
    assert [one.window.start.date().isoformat() for one in traces.baselines] == ["2023-01-30"]
    logs = fetched(bundle, "logs")
    assert len(logs.logs[0].records) == 1937
    assert len(logs.baselines) == 1
    names = {(one.name, one.unit) for one in fetched(bundle, "metrics").series[0].records}
    assert {("cpu", "percent"), ("memory", "percent"), ("request_rate", "per_second")} <= names


def test_the_truth_is_never_opened(folder: pathlib.Path) -> None:
    (folder / "truth.json").unlink()
    (folder / "truth.json").mkdir()
    bundle = open_bundle(folder)
    for source in bundle.sources():
        asyncio.run(source.fetch(bundle.question()))


def test_what_makes_it_an_incident_must_be_there(folder: pathlib.Path) -> None:
    with pytest.raises(Unavailable, match="is not a folder"):
        open_bundle(folder / "nowhere")
    (folder / "pagerduty.json").write_text("{}")
    with pytest.raises(Malformed, match=r"event\.data\.id"):
        open_bundle(folder)
    (folder / "pagerduty.json").write_text("[1, 2")
    with pytest.raises(Malformed, match=r"pagerduty\.json is not JSON"):
        open_bundle(folder)
    (folder / "pagerduty.json").unlink()
    with pytest.raises(Unavailable, match=r"no pagerduty\.json"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("alerts.json", "alerts"),
        ("changes.jsonl", "changes"),
        ("traces.jsonl.gz", "traces"),
        ("logs.jsonl.gz", "logs"),
        ("metrics.json.gz", "metrics"),
    ],
)
def test_an_optional_file_that_is_absent_or_broken_is_that_source_s_failure(
    folder: pathlib.Path, name: str, source: str
) -> None:
    whole = (folder / name).read_bytes()
    bundle = open_bundle(folder)
    broken = (whole[: len(whole) // 2], b"\x00\xff rubbish", gzip.compress(b'{"a": [1, 2'))
    for content in broken[1:] if name == "changes.jsonl" else broken:  # of half a file of lines, the lines are read
        (folder / name).write_bytes(content)
        with pytest.raises(Malformed) as failed:
            fetched(bundle, source)
        assert name in str(failed.value)
    (folder / name).unlink()
    with pytest.raises(Unavailable, match=name.replace(".", r"\.")):
        fetched(bundle, source)


def test_a_broken_baseline_is_a_note_and_not_a_failure(folder: pathlib.Path) -> None:
    (folder.parent / "baseline" / "2023-01-30.traces.jsonl.gz").write_bytes(b"no gzip")
    found = fetched(open_bundle(folder), "traces")
    assert found.spans[0].records
    assert found.baselines == ()
    assert found.notes[0].startswith("baseline 2023-01-30: 2023-01-30.traces.jsonl.gz cannot be unpacked")


def test_baselines_may_be_named_as_folder_stem_or_file(folder: pathlib.Path) -> None:
    beside = folder.parent / "baseline"
    stem = beside / "2023-01-30"
    for named in (beside, stem, beside / "2023-01-30.traces.jsonl.gz"):
        assert open_bundle(folder, [named]).baselines == (stem,)
    assert open_bundle(folder, [stem, beside]).baselines == (stem,)


def test_a_shelf_reads_a_shared_healthy_window_once(folder: pathlib.Path) -> None:
    shelf = Shelf()
    bundle = open_bundle(folder, shelf=shelf)
    first = fetched(bundle, "traces").baselines[0].spans[0].records
    (folder.parent / "baseline" / "2023-01-30.traces.jsonl.gz").unlink()
    assert fetched(bundle, "traces").baselines[0].spans[0].records == first


# --- audience.json ----------------------------------------------------------------------------------------------------


def audience(folder: pathlib.Path, payload: Any) -> Bundle:
    (folder / "audience.json").write_text(json.dumps(payload))
    return open_bundle(folder)


def test_without_an_audience_file_all_is_public(folder: pathlib.Path) -> None:
    bundle = open_bundle(folder)
    assert bundle.audience is None
    assert fetched(bundle, "traces").spans[0].readers == Readers.of([EVERYONE])


@pytest.mark.parametrize(
    "members",
    [
        {"members": ["u1", "u2"], "groups": {"sre": ["u1"]}},
        {"members": [{"id": "u1", "groups": ["sre"]}, {"id": "u2"}]},
        {"members": {"u1": ["sre"], "u2": []}},
    ],
)
def test_members_may_be_written_in_three_ways(folder: pathlib.Path, members: Any) -> None:
    found = audience(folder, members).audience
    assert found is not None
    assert found.members == {"u1": frozenset({"sre", EVERYONE, WORLD}), "u2": frozenset({EVERYONE, WORLD})}


def test_a_guest_is_not_everyone(folder: pathlib.Path) -> None:
    found = audience(folder, {"members": [{"id": "g", "kind": "guest"}]}).audience
    assert found is not None
    assert found.members == {"g": frozenset({WORLD})}


def test_readers_narrow_a_source_a_service_and_an_item(folder: pathlib.Path) -> None:
    change = json.loads((folder / "changes.jsonl").read_text().splitlines()[0])["payload"]["custom_details"]["id"]
    bundle = audience(
        folder,
        {"members": ["u"], "readers": {"logs": ["sre"], "ts-order-service": [["orders"], ["sre"]], change: "leads"}},
    )
    logs = {one.readers: {record.service for record in one.records} for one in fetched(bundle, "logs").logs}
    narrow = Readers.of([EVERYONE], ["sre"], ["orders"])
    assert logs[narrow] == {"ts-order-service"}
    assert set(logs) == {narrow, Readers.of([EVERYONE], ["sre"])}
    by_id = {one.id: one.readers for one in fetched(bundle, "changes").changes}
    assert frozenset({"leads"}) in by_id[change].sets
    traces = fetched(bundle, "traces")
    assert {one.readers for one in traces.spans} == {
        Readers.of([EVERYONE]),
        Readers.of([EVERYONE], ["orders"], ["sre"]),
    }
    assert not any("ts-order-service" in edge for edge in traces.edges)


@pytest.mark.parametrize(
    "payload",
    [
        [], {"members": 3}, {"members": [{"groups": []}]}, {"members": ["u"], "groups": []},
        {"members": ["u"], "readers": 0},
        {"members": ["u"], "readers": ["logs"]}, {"members": ["u"], "readers": {"logs": [1]}},
        {"members": ["u"], "readers": {"logs": None}}, {"members": [{"id": "u", "groups": "sre"}]},
    ],
)  # fmt: skip
def test_an_audience_file_that_cannot_be_read_is_an_error_and_never_widens(folder: pathlib.Path, payload: Any) -> None:
    with pytest.raises(Malformed, match=r"audience\.json"):
        audience(folder, payload)


def test_an_empty_list_of_readers_is_nobody(folder: pathlib.Path) -> None:
    bundle = audience(folder, {"members": ["u"], "readers": {"logs": []}})
    assert not fetched(bundle, "logs").logs[0].readers.admit({EVERYONE, WORLD, "sre"})


# --- OTLP/JSON --------------------------------------------------------------------------------------------------------


def span(**more: Any) -> dict[str, Any]:
    return {
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "GET /", "kind": 3,
        "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": "1544712661000000000",
    } | more  # fmt: skip


def export(*spans: dict[str, Any], outer: str = "resourceSpans", scope: str = "scopeSpans") -> dict[str, Any]:
    attributes = [
        {"key": "service.name", "value": {"stringValue": "cart"}},
        {"key": "k8s.pod.name", "value": {"stringValue": "cart-1"}},
    ]
    return {outer: [{"resource": {"attributes": attributes}, scope: [{"spans": list(spans)}]}]}


def test_a_span_is_read_in_every_spelling_that_exporters_use() -> None:
    plain = next(otlp.spans_of(export(span(status={"code": 2}))))
    assert (plain.service, plain.pod, plain.kind, plain.error) == ("cart", "cart-1", "client", True)
    assert plain.end_ns - plain.start_ns == 1_000_000_000
    snake = {
        "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "B7AD6B7169203331", "name": "GET /",
        "kind": "SPAN_KIND_CLIENT", "start_time_unix_nano": 1544712660000000000,
        "end_time_unix_nano": "1544712661000000000", "status": {"code": "STATUS_CODE_ERROR"},
    }  # fmt: skip
    assert next(otlp.spans_of(export(snake, outer="resource_spans", scope="scope_spans"))) == plain
    encoded = span(
        traceId=base64.b64encode(bytes.fromhex(plain.trace_id)).decode(),
        spanId=base64.b64encode(bytes.fromhex(plain.span_id)).decode(),
        status={"code": 2},
    )
    assert next(otlp.spans_of({"trace": export(encoded, outer="batches")})) == plain


@pytest.mark.parametrize(
    ("attributes", "failed"),
    [({"http.response.status_code": "503"}, True), ({"http.status_code": "404"}, False), ({}, False)],
)
def test_a_server_error_is_an_error_whatever_the_status_says(attributes: dict[str, str], failed: bool) -> None:
    pairs = [{"key": key, "value": {"intValue": value}} for key, value in attributes.items()]
    assert next(otlp.spans_of(export(span(attributes=pairs)))).error is failed


def test_a_log_record_has_a_level_a_body_and_a_time_from_wherever_they_stand() -> None:
    record = {
        "observedTimeUnixNano": "5", "severityNumber": 17, "traceId": "", "spanId": None,
        "body": {"kvlistValue": {"values": [{"key": "msg", "value": {"stringValue": "no"}},
                                            {"key": "n", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}}]}},
    }  # fmt: skip
    found = next(otlp.logs_of({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}))
    assert (found.at_ns, found.level, found.body) == (5, "ERROR", "msg=no n=[1]")
    assert (found.service, found.trace_id, found.span_id) == ("unknown_service", "", "")


@pytest.mark.parametrize(
    ("text", "number", "level"),
    [("Warning", None, "WARN"), ("err", 9, "ERROR"), ("", 13, "WARN"), ("", "SEVERITY_NUMBER_FATAL2", "FATAL"),
     (None, None, "INFO"), ("INFO2", 0, "INFO"), ("", 99, "INFO")],
)  # fmt: skip
def test_levels_have_one_spelling(text: Any, number: Any, level: str) -> None:
    assert otlp.level_of(text, number) == level


@pytest.mark.parametrize(
    "broken",
    [
        [], "x", {"other": 1}, {"resourceSpans": {}}, {"resourceSpans": [3]}, {"resourceSpans": [{"scopeSpans": 1}]},
        export(span(spanId="")), export(span(spanId=7)), export(span(traceId="not an id!")),
        export(span(startTimeUnixNano="-1")), export(span(startTimeUnixNano="1e400")),
        export(span(endTimeUnixNano=True)), export(span(startTimeUnixNano=float("inf"))),
        export(span(startTimeUnixNano="9" * 30)),
    ],
)  # fmt: skip
def test_what_is_not_the_format_is_malformed_with_the_place(broken: Any) -> None:
    with pytest.raises(Malformed, match="request"):
        list(otlp.spans_of(broken))


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "MAX_LINE_BYTES", 10_000)
    path = tmp_path / "traces.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"resourceSpans": "' + b"a" * 1_000_000 + b'"}'))
    assert path.stat().st_size < 2000
    with pytest.raises(Malformed, match="larger than may be read"):
        otlp.read_traces(path)
    with pytest.raises(Malformed, match="larger than 100 bytes"):
        otlp.read_bytes(path, 100)


def test_a_pretty_printed_document_is_read_too(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "traces.json"
    path.write_text(json.dumps(export(span()), indent=2))
    assert len(otlp.read_traces(path)) == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["resourceSpans", "scopeSpans", "spans", "spanId", "attributes", "key", "value", "status"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_ends_in_spans_or_in_malformed(value: Any) -> None:
    try:
        list(otlp.spans_of(value))
        list(otlp.logs_of(value))
    except Malformed:
        pass


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pod_cpu_usage_percent", ("cpu", "percent")),
        ("pod_requests_per_second", ("request_rate", "per_second")),
        ("http_request_duration_seconds", ("http_request_duration", "seconds")),
        ("queue_depth", ("queue_depth", "")),
    ],
)
def test_metrics_are_named_as_a_responder_says_them(name: str, words: tuple[str, str]) -> None:
    assert metric_words(name) == words


def test_a_broken_change_costs_itself_and_is_told(folder: pathlib.Path) -> None:
    path = folder / "changes.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\ufeff" + "\n".join([*lines[:9], '{"payload": {"timestamp": "soon"}}', lines[9][:40]]))
    found = fetched(open_bundle(folder), "changes")
    assert len(found.changes) == 9
    (note,) = found.notes
    assert note.startswith("2 of 11 lines left out: changes.jsonl, line 10: timestamp is 'soon'")
    path.write_text("{}\n[]\n")
    with pytest.raises(Malformed, match="line 1"):
        fetched(open_bundle(folder), "changes")


@pytest.mark.parametrize("year", ["0001", "9999"])
def test_an_incident_is_of_a_year_around_which_there_is_time(folder: pathlib.Path, year: str) -> None:
    path = folder / "pagerduty.json"
    path.write_text(path.read_text().replace('"created_at": "2023', f'"created_at": "{year}'))
    with pytest.raises(Malformed, match=f"in the year {int(year)}"):
        open_bundle(folder)
