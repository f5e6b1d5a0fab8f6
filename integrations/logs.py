"""Reading a log line whatever wrote it: its level, its message, its trace."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from integrations.otlp import level_of
from integrations.reading import mapping, text

BODY = 2000
LEVELS = (
    "level",
    "detected_level",
    "severity",
    "severity_text",
    "lvl",
    "loglevel",
    "log_level",
    "log.level",
    "severity.text",
)
MESSAGES = ("message", "msg", "body", "body.text", "log", "event", "error", "err")
TRACES = ("trace_id", "traceid", "traceID", "traceId", "trace.id", "otelTraceID", "dd.trace_id")
SPANS = ("span_id", "spanid", "spanID", "spanId", "span.id", "otelSpanID")
PODS = ("pod", "k8s_pod_name", "pod_name", "kubernetes.pod.name", "kubernetes.pod_name", "k8s.pod.name", "instance")
_WORD = re.compile(
    r"\b(?:level|severity|lvl)\s*[=:]\s*\"?([A-Za-z]{3,9})"
    r"|(?:^|[\s\[|\"(])(TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|SEVERE|CRIT(?:ICAL)?|FATAL|PANIC)(?=[\s\]|\":,)]|$)"
)
_HEX = re.compile(r"[0-9a-fA-F]{8,32}")


def field(source: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that holds a text, written with dots or nested."""
    for name in names:
        value = source.get(name)
        if value is None and "." in name:
            value = source
            for part in name.split("."):
                value = mapping(value).get(part)
        if found := text(value, BODY):
            return found
    return ""


def structured(line: str) -> Mapping[str, Any]:
    """The object that a line of JSON is; empty for any other line."""
    if not line.lstrip().startswith("{"):
        return {}
    try:
        return mapping(json.loads(line))
    except (ValueError, RecursionError):
        return {}


def level_in(line: str, *said: str) -> str:
    """The level that somebody says (a label, a field), else the one that the line's own words say; INFO otherwise."""
    for one in said:
        if one and one.lower() != "unknown":
            return level_of(one)
    found = _WORD.search(line[:400])
    return level_of(found.group(1) or found.group(2)) if found else "INFO"


def message_of(line: str, parsed: Mapping[str, Any]) -> str:
    """What a line says: its message where it is JSON (with the error beside it), else the line."""
    said = field(parsed, *MESSAGES)
    error = field(parsed, "error", "err", "exception", "error.message")
    if said and error and error not in said:
        said = f"{said}: {error}"
    return (said or line)[:BODY]


def hex_id(value: str) -> str:
    """A trace or span id in lower case; "" for anything else."""
    return value.lower() if _HEX.fullmatch(value) else ""
