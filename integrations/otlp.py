"""OTLP/JSON: traces and logs as OpenTelemetry exporters, collectors and Tempo write them.

Reads `ExportTraceServiceRequest` and `ExportLogsServiceRequest` (also Tempo's answer to "trace by id", whose outer
key is `batches`), ids in hex (OTLP/JSON) or base64 (protobuf's own JSON), enumerations as numbers or names, keys in
camelCase or snake_case. Unknown fields are ignored, as the format asks. What is not this format raises `Malformed`
with the place; nothing is guessed.

Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import math
import pathlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sized
from typing import Any, Protocol

from integrations.errors import Malformed
from integrations.records import LogRecord, Span

SYSTEM = "OTLP"
UNKNOWN = "unknown_service"
"""OpenTelemetry's own word for a resource without `service.name`."""
MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_FILE_BYTES = 512 * 1024 * 1024
"""After decompression: a small file that unpacks to more is refused while it is read."""
MAX_RECORDS = 2_000_000
MAX_ATTRIBUTES = 64
MAX_VALUE = 1024
MAX_BODY = 16 * 1024
MAX_DEPTH = 8
LAST_NS = 2**63 - 1

_HEX = re.compile(r"[0-9a-fA-F]+")
_KINDS = ("internal", "internal", "server", "client", "producer", "consumer")
_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_LEVELS = {
    "WARNING": "WARN", "ERR": "ERROR", "SEVERE": "ERROR", "CRITICAL": "FATAL", "CRIT": "FATAL", "EMERGENCY": "FATAL",
    "ALERT": "FATAL", "PANIC": "FATAL", "INFORMATION": "INFO", "INFORMATIONAL": "INFO", "NOTICE": "INFO",
    "FINE": "DEBUG", "VERBOSE": "DEBUG",
}  # fmt: skip


class _Lines(Protocol):
    def readline(self, size: int, /) -> bytes: ...

    def read(self, size: int, /) -> bytes: ...


def read_traces(path: pathlib.Path) -> list[Span]:
    """All spans of a file: one request a line, or one document; gzip when the name ends so. Raises Malformed."""
    spans: list[Span] = []
    for where, request in _requests(path):
        spans.extend(spans_of(request, where=where))
        _not_too_many(spans, path.name)
    return spans


def read_logs(path: pathlib.Path) -> list[LogRecord]:
    """All log records of a file: one request a line, or one document; gzip when the name ends so. Raises Malformed."""
    records: list[LogRecord] = []
    for where, request in _requests(path):
        records.extend(logs_of(request, where=where))
        _not_too_many(records, path.name)
    return records


def read_bytes(path: pathlib.Path, limit: int) -> bytes:
    """A whole file, unpacked when its name ends in `.gz`. Raises Malformed when it is broken or over the limit."""
    try:
        with path.open("rb") as file:
            raw: _Lines = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            content = raw.read(limit + 1)
    except (OSError, EOFError, zlib.error) as broken:
        raise Malformed(SYSTEM, f"{path.name} cannot be unpacked: {broken}") from None
    if len(content) > limit:
        raise Malformed(SYSTEM, f"{path.name} is larger than {limit} bytes after unpacking")
    return content


def spans_of(request: Any, *, where: str = "request") -> Iterator[Span]:
    """The spans of one parsed export request. Raises Malformed."""
    for resource, scopes in _resources(request, ("resourceSpans", "resource_spans", "batches"), where):
        service, pod = resource.get("service.name") or UNKNOWN, _pod(resource)
        for scope in scopes:
            for span in _list(_get(scope, "spans"), f"{where}: spans"):
                yield _span(_mapping(span, f"{where}: a span"), service, pod, where)


def logs_of(request: Any, *, where: str = "request") -> Iterator[LogRecord]:
    """The log records of one parsed export request. Raises Malformed."""
    for resource, scopes in _resources(request, ("resourceLogs", "resource_logs"), where):
        service, pod = resource.get("service.name") or UNKNOWN, _pod(resource)
        for scope in scopes:
            for record in _list(_get(scope, "logRecords"), f"{where}: logRecords"):
                yield _log(_mapping(record, f"{where}: a log record"), service, pod, where)


def level_of(text: object, number: object = None) -> str:
    """A level in upper case from the sender's word, else from OTLP's severity number; INFO when neither is known."""
    word = str(text or "").strip().upper().removeprefix("SEVERITY_NUMBER_").rstrip("0123456789")
    word = _LEVELS.get(word, word)
    if word in _SEVERITIES:
        return word
    if isinstance(number, str):
        return level_of(number) if not number.isdigit() else level_of("", int(number))
    if isinstance(number, int) and 1 <= number <= 24:
        return _SEVERITIES[(number - 1) // 4]
    return "INFO"


def plain(value: object, depth: int = 0) -> str:
    """An OTLP AnyValue as text; arrays and maps as JSON-like text, cut at a depth."""
    if not isinstance(value, Mapping):
        return "" if value is None else str(value)[:MAX_BODY]
    if depth == MAX_DEPTH:
        return "…"
    for key, inner in value.items():
        if key in ("arrayValue", "array_value") and isinstance(inner, Mapping):
            items = inner.get("values")
            parts = [plain(one, depth + 1) for one in items[:MAX_ATTRIBUTES]] if isinstance(items, list) else []
            return ("[" + ", ".join(parts) + "]")[:MAX_BODY]
        if key in ("kvlistValue", "kvlist_value") and isinstance(inner, Mapping):
            pairs = inner.get("values")
            told = _attributes(pairs, depth + 1) if isinstance(pairs, list) else {}
            return " ".join(f"{name}={one}" for name, one in told.items())[:MAX_BODY]
        if key == "boolValue" or key == "bool_value":
            return "true" if inner is True else "false"
        return "" if inner is None else str(inner)[:MAX_BODY]
    return ""


def _requests(path: pathlib.Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as file:
        raw: _Lines = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
        yield from _parsed_lines(raw, path.name)


def _parsed_lines(raw: _Lines, name: str) -> Iterator[tuple[str, Any]]:
    number = read = 0
    pending = b""
    try:
        while line := raw.readline(MAX_LINE_BYTES + 1):
            number += 1
            read += len(line)
            if len(line) > MAX_LINE_BYTES or read > MAX_FILE_BYTES:
                raise Malformed(SYSTEM, f"{name}: line {number} or the whole file is larger than may be read")
            if number == 1 and line.strip() in (b"{", b"["):
                pending = line + raw.read(MAX_LINE_BYTES)
                break
            if line.strip():
                yield f"{name}, line {number}", _json(line, f"{name}, line {number}")
    except (OSError, EOFError, zlib.error) as broken:
        raise Malformed(SYSTEM, f"{name} cannot be unpacked after line {number}: {broken}") from None
    if pending:
        document = _json(pending, name)
        for one in document if isinstance(document, list) else [document]:
            yield name, one


def _json(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as broken:
        raise Malformed(SYSTEM, f"{where} is not JSON: {str(broken)[:120]}") from None


def _resources(
    request: Any, names: tuple[str, ...], where: str
) -> Iterator[tuple[Mapping[str, str], list[Mapping[str, Any]]]]:
    outer = _mapping(request, where)
    if "trace" in outer and not any(name in outer for name in names):  # Tempo wraps it; null where it has no spans
        outer = _mapping(outer["trace"], where) if outer["trace"] is not None else {}
    present = next((name for name in names if name in outer), None)
    if present is None:
        if not outer:
            return  # an empty message is valid protobuf JSON: nothing to report
        raise Malformed(SYSTEM, f"{where} has no {names[0]!r}; is it an OTLP/JSON export request?")
    for resource in _list(outer[present], f"{where}: {present}"):
        entry = _mapping(resource, f"{where}: an entry of {present}")
        inner = entry.get("resource")
        attributes = _attributes(_get(_mapping(inner, f"{where}: resource"), "attributes")) if inner else {}
        scopes: list[Mapping[str, Any]] = []
        for key in ("scopeSpans", "scope_spans", "scopeLogs", "scope_logs", "instrumentationLibrarySpans"):
            scopes += [_mapping(one, f"{where}: {key}") for one in _list(entry.get(key), f"{where}: {key}")]
        yield attributes, scopes


def _span(raw: Mapping[str, Any], service: str, pod: str, where: str) -> Span:
    attributes = _attributes(_get(raw, "attributes"))
    start, end = _time(_get(raw, "startTimeUnixNano"), where), _time(_get(raw, "endTimeUnixNano"), where)
    span_id = _id(_get(raw, "spanId"), where)
    if not span_id:
        raise Malformed(SYSTEM, f"{where}: a span without spanId")
    return Span(
        trace_id=_id(_get(raw, "traceId"), where),
        span_id=span_id,
        parent_id=_id(_get(raw, "parentSpanId"), where),
        service=service,
        name=str(raw.get("name") or "")[:MAX_VALUE],
        start_ns=start,
        end_ns=max(start, end),
        kind=_kind(raw.get("kind")),
        error=_failed(raw.get("status"), attributes),
        pod=pod,
        attributes=attributes,
    )


def _log(raw: Mapping[str, Any], service: str, pod: str, where: str) -> LogRecord:
    at_ns = _time(_get(raw, "timeUnixNano"), where) or _time(_get(raw, "observedTimeUnixNano"), where)
    return LogRecord(
        at_ns=at_ns,
        service=service,
        level=level_of(_get(raw, "severityText"), _get(raw, "severityNumber")),
        body=plain(raw.get("body")),
        trace_id=_id(_get(raw, "traceId"), where),
        span_id=_id(_get(raw, "spanId"), where),
        pod=pod,
    )


def _kind(value: object) -> str:
    if isinstance(value, int) and 0 <= value < len(_KINDS):
        return _KINDS[value]
    word = str(value or "").upper().removeprefix("SPAN_KIND_").lower()
    return word if word in _KINDS else "internal"


def _failed(status: object, attributes: Mapping[str, str]) -> bool:
    code = status.get("code") if isinstance(status, Mapping) else None
    if code in (2, "2", "STATUS_CODE_ERROR", "ERROR", "Error"):
        return True
    http = attributes.get("http.response.status_code") or attributes.get("http.status_code") or ""
    return len(http) == 3 and http[0] == "5"


def _pod(resource: Mapping[str, str]) -> str:
    return resource.get("k8s.pod.name") or resource.get("host.name") or ""


def _attributes(pairs: object, depth: int = 0) -> dict[str, str]:
    if not isinstance(pairs, list):
        return {}
    told: dict[str, str] = {}
    for pair in pairs[:MAX_ATTRIBUTES]:
        if isinstance(pair, Mapping) and isinstance(pair.get("key"), str):
            told[pair["key"][:MAX_VALUE]] = plain(pair.get("value"), depth)[:MAX_VALUE]
    return told


def _id(value: object, where: str) -> str:
    """An id in lower-case hex; protobuf's JSON writes base64. All zeros means "none"."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or len(value) > 128:
        raise Malformed(SYSTEM, f"{where}: an id is not a short text: {str(value)[:40]!r}")
    if _HEX.fullmatch(value) and len(value) in (16, 32):
        return "" if not value.strip("0") else value.lower()
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) in (8, 16):
        return "" if not any(decoded) else decoded.hex()
    if _HEX.fullmatch(value):  # some exporters write shorter ids
        return value.lower()
    raise Malformed(SYSTEM, f"{where}: {value[:40]!r} is no trace or span id")


def _time(value: object, where: str) -> int:
    if value is None or value == "":
        return 0
    if isinstance(value, bool):
        raise Malformed(SYSTEM, f"{where}: a time is {value!r}")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Malformed(SYSTEM, f"{where}: a time is {value!r}")
        value = int(value)
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 19):
            raise Malformed(SYSTEM, f"{where}: a time is {value[:40]!r}; nanoseconds since the epoch are expected")
        value = int(value)
    if not isinstance(value, int) or not 0 <= value <= LAST_NS:
        raise Malformed(SYSTEM, f"{where}: a time is {str(value)[:40]!r}; nanoseconds since the epoch are expected")
    return value


_SNAKE = re.compile(r"(?<=[a-z0-9])([A-Z])")
_SNAKES: dict[str, str] = {
    name: _SNAKE.sub(lambda found: "_" + found.group(1).lower(), name)
    for name in (
        "spans", "logRecords", "attributes", "startTimeUnixNano", "endTimeUnixNano", "spanId", "traceId",
        "parentSpanId", "timeUnixNano", "observedTimeUnixNano", "severityText", "severityNumber",
    )
}  # fmt: skip


def _get(raw: Mapping[str, Any], name: str) -> Any:
    value = raw.get(name)
    return raw.get(_SNAKES[name]) if value is None else value


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Malformed(SYSTEM, f"{where} is {type(value).__name__}; an object is expected")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Malformed(SYSTEM, f"{where} is {type(value).__name__}; a list is expected")
    return value


def _not_too_many(records: Sized, name: str) -> None:
    if len(records) > MAX_RECORDS:
        raise Malformed(SYSTEM, f"{name} holds more than {MAX_RECORDS} records; read a shorter window")
