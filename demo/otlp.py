"""Receives OTLP over HTTP and turns spans into the JSON that Jaeger's HTTP API answers.

Translation: Jaeger's `otlp2jaeger` as documented in the OpenTelemetry specification ("OpenTelemetry to Jaeger
Transformation"): the span kind, status and scope become tags, events become logs, the parent becomes a CHILD_OF
reference, the resource becomes a process. Times are microseconds.
"""

from __future__ import annotations

import base64
import gzip
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_KEPT_RESOURCE = ("service.version", "deployment.environment.name", "k8s.pod.name", "telemetry.sdk.language")


class Receiver:
    """What arrived so far: Jaeger spans by trace, and log records."""

    def __init__(self) -> None:
        self.traces: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
        """Trace id to pairs of span (without processID) and process."""
        self.logs: list[dict[str, Any]] = []
        """`{service, resource, record}`; the record is OTLP/JSON with hexadecimal ids."""
        self.app = Starlette(
            routes=[
                Route("/v1/traces", self._take_traces, methods=["POST"]),
                Route("/v1/logs", self._take_logs, methods=["POST"]),
            ]
        )

    async def _take_traces(self, request: Request) -> Response:
        message = ExportTraceServiceRequest.FromString(await _body(request))
        for resource_spans in message.resource_spans:
            process = _process(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    made = jaeger_span(span, scope_spans.scope.name)
                    self.traces.setdefault(made["traceID"], []).append((made, process))
        return Response(b"", media_type="application/x-protobuf")

    async def _take_logs(self, request: Request) -> Response:
        message = ExportLogsServiceRequest.FromString(await _body(request))
        for resource_logs in message.resource_logs:
            process = _process(resource_logs.resource.attributes)
            for scope_logs in resource_logs.scope_logs:
                for record in scope_logs.log_records:
                    self.logs.append(
                        {"process": process, "record": _log_record(MessageToDict(record, use_integers_for_enums=True))}
                    )
        return Response(b"", media_type="application/x-protobuf")

    def jaeger_traces(self) -> list[dict[str, Any]]:
        """Every trace as an element of `data` in the answer to `/api/traces`, oldest first."""
        made = [jaeger_trace(trace_id, pairs) for trace_id, pairs in self.traces.items()]
        return sorted(made, key=lambda trace: trace["spans"][0]["startTime"])


def jaeger_trace(trace_id: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """One trace: its spans by start time, and each process once, as p1, p2, …"""
    processes: dict[str, dict[str, Any]] = {}
    spans = []
    for span, process in sorted(pairs, key=lambda pair: pair[0]["startTime"]):
        key = next((key for key, known in processes.items() if known == process), None)
        if key is None:
            key = f"p{len(processes) + 1}"
            processes[key] = process
        spans.append({**span, "processID": key, "warnings": None})
    return {"traceID": trace_id, "spans": spans, "processes": processes, "warnings": None}


def jaeger_span(span: OtlpSpan, scope: str) -> dict[str, Any]:
    """One OTLP span as Jaeger shows it, without its process."""
    trace_id, span_id = span.trace_id.hex(), span.span_id.hex()
    tags = [_tag("otel.scope.name", scope)] if scope else []
    tags += _tags(span.attributes)
    if span.kind in _KINDS:
        tags.append(_tag("span.kind", _KINDS[span.kind]))
    if span.status.code == 2:
        tags += [_tag("error", True), _tag("otel.status_code", "ERROR")]
        if span.status.message:
            tags.append(_tag("otel.status_description", span.status.message))
    references = []
    if span.parent_span_id:
        references = [{"refType": "CHILD_OF", "traceID": trace_id, "spanID": span.parent_span_id.hex()}]
    return {
        "traceID": trace_id,
        "spanID": span_id,
        "operationName": span.name,
        "references": references,
        "startTime": span.start_time_unix_nano // 1000,
        "duration": (span.end_time_unix_nano - span.start_time_unix_nano) // 1000,
        "tags": tags,
        "logs": [
            {"timestamp": event.time_unix_nano // 1000, "fields": [_tag("event", event.name), *_tags(event.attributes)]}
            for event in span.events
        ],
    }


async def _body(request: Request) -> bytes:
    body = await request.body()
    return gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body


def _process(attributes: Any) -> dict[str, Any]:
    values = {pair.key: pair.value for pair in attributes}
    return {
        "serviceName": values["service.name"].string_value,
        "tags": [_tag(key, _plain(values[key])) for key in _KEPT_RESOURCE if key in values],
    }


def _tags(attributes: Any) -> list[dict[str, Any]]:
    # A stack trace would put paths of the recording machine into the recording.
    return [_tag(pair.key, _plain(pair.value)) for pair in attributes if pair.key != "exception.stacktrace"]


def _tag(key: str, value: Any) -> dict[str, Any]:
    kinds = {bool: "bool", int: "int64", float: "float64"}
    return {"key": key, "type": kinds.get(type(value), "string"), "value": value}


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind in ("string_value", "bool_value", "int_value", "double_value") else str(value)


def _log_record(record: dict[str, Any]) -> dict[str, Any]:
    for key in ("traceId", "spanId"):
        if key in record:
            record[key] = base64.b64decode(record[key]).hex()
    # Where in the source a line was written would be a path of the recording machine.
    record["attributes"] = [pair for pair in record.get("attributes", []) if not pair["key"].startswith("code.")]
    if not record["attributes"]:
        del record["attributes"]
    return record
