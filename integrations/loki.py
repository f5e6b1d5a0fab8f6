"""Loki: log lines of a service around the incident, and of healthy windows before it.

`query_range` with start and end in nanoseconds, end exclusive, newest first; a value is `["<ns>", "<line>"]`, newer
versions put an object of structured metadata third. Which label names a service is found by asking for its series,
unless `[services.<name>] logs` says it. Source: https://grafana.com/docs/loki/latest/reference/loki-http-api/.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from integrations import logs
from integrations.asked import Asked, loosely, quoted, sliced
from integrations.asking import Part
from integrations.errors import IntegrationError, Malformed
from integrations.http import parse_json
from integrations.reading import mapping, objects, text, whole
from integrations.records import Baseline, Findings, LogRecord, Question, ServiceNames, Window

SERVICES_ASKED = 3
LINES, LINES_NEAR = 1000, 300
"""Lines of one query: of the service that alerts, and of a neighbour."""
LABELS = ("service_name", "app", "service", "app_kubernetes_io_name", "container", "job")
"""Where the name of a service that `logs` does not map is looked for, first match."""
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Loki(Asked):
    """Log lines of the alerting service and its neighbours. `link_url`: the address of Grafana, if people have one."""

    kind = "loki"

    async def fetch(self, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed when nothing could be read."""
        parts = [
            Part(f"logs of {service.name}", self._service(service, question, first=at == 0))
            for at, service in enumerate(question.services[:SERVICES_ASKED])
        ]
        return await self.ask_all(parts, question)

    async def _service(self, service: ServiceNames, question: Question, *, first: bool) -> Findings:
        selector = await self._selector(service, question)
        if not selector:
            hint = f'say which labels: [services."{service.name}"] logs = {{ app = "…" }}'
            return Findings(notes=(f"{self.name}: no logs of {service.name} ({hint})",) if first else ())
        windows = sliced(question.window, question.incident.triggered_at) if first else [question.window]
        asked = [(window, LINES if first else LINES_NEAR) for window in windows]
        asked += [(window, LINES) for window in question.baselines] if first else []
        answers = await asyncio.gather(
            *(self._lines(selector, service, window, limit) for window, limit in asked), return_exceptions=True
        )
        failed = [one for one in answers if isinstance(one, BaseException)]
        for error in failed:
            if len(failed) == len(answers) or not isinstance(error, IntegrationError):
                raise error
        read = [[] if isinstance(one, BaseException) else one for one in answers]
        records = [line for some in read[: len(windows)] for line in some]
        baselines = [
            Baseline(window, logs=self.batched(lines, self._page(selector, window)))
            for window, lines in zip(question.baselines if first else (), read[len(windows) :], strict=True)
            if lines
        ]
        notes = []
        if failed:
            notes.append(f"{self.name}: logs of {service.name} are partial ({_words(failed[0])})")
        if any(len(some) >= limit for some, (_, limit) in zip(read[: len(windows)], asked, strict=False)):
            notes.append(f"{self.name}: logs of {service.name} are the newest lines of each part of the window")
        if not records:
            notes.append(f"{self.name}: no logs of {service.name} in the window")
        page = self._page(selector, question.window)
        return Findings(logs=self.batched(records, page), baselines=tuple(baselines), notes=tuple(notes))

    async def _selector(self, service: ServiceNames, question: Question) -> str:
        """The stream selector of a service; "" when no label has its name."""
        if service.logs:
            wrong = next((label for label in service.logs if not _LABEL.fullmatch(label)), None)
            if wrong is not None:
                raise Malformed(self.name, f'{wrong!r} is no label name: see logs of [services."{service.name}"]')
            return "{" + ",".join(f'{label}="{quoted(value)}"' for label, value in sorted(service.logs.items())) + "}"
        pattern = "|".join(loosely(name) for name in dict.fromkeys((service.name, *service.otel)))
        params = {
            "match[]": [f'{{{label}=~"(?i)({quoted(pattern)})"}}' for label in LABELS],
            "start": _ns(question.window.start),
            "end": _ns(question.window.end),
        }
        having = await self.ask(parse_labels, "loki/api/v1/series", params, pattern)
        label = next((one for one in LABELS if one in having), "")
        return f'{{{label}=~"(?i)({quoted(pattern)})"}}' if label else ""

    async def _lines(self, selector: str, service: ServiceNames, window: Window, limit: int) -> list[LogRecord]:
        params = {
            "query": selector, "start": _ns(window.start), "end": _ns(window.end), "limit": limit,
            "direction": "backward",
        }  # fmt: skip
        return await self.ask(parse_lines, "loki/api/v1/query_range", params, service.name)

    def _page(self, selector: str, window: Window) -> str:
        left = quote(
            f'{{"queries":[{{"refId":"A","expr":"{quoted(selector)}"}}],"range":{{"from":"{_ms(window.start)}",'
            f'"to":"{_ms(window.end)}"}}}}'
        )
        return f"{self.link}/explore?left={left}"


def parse_labels(system: str, body: bytes, pattern: str) -> list[str]:
    """Which of `LABELS` have a value that matches, among the series that were found. Raises Malformed."""
    found = set()
    for one in objects(_data(system, body)):
        found |= {label for label in LABELS if re.fullmatch(pattern, text(one.get(label), 300), re.IGNORECASE)}
    return sorted(found)


def parse_lines(system: str, body: bytes, service: str) -> list[LogRecord]:
    """The lines of an answer, oldest first; what has no time is left out. Raises Malformed."""
    data = mapping(_data(system, body))
    if data.get("resultType") != "streams":
        raise Malformed(system, "the answer to a query for lines is no list of streams")
    found = []
    for stream in objects(data.get("result")):
        labels = mapping(stream.get("stream"))
        values = stream.get("values")
        for value in values if isinstance(values, list) else ():
            line = _record(value, labels, service)
            if line is not None:
                found.append(line)
    return sorted(found, key=lambda line: line.at_ns)


def _record(value: Any, labels: Mapping[str, Any], service: str) -> LogRecord | None:
    if not isinstance(value, list) or len(value) < 2:
        return None
    at, line = whole(value[0]), text(value[1], 20_000)
    if at is None or at < 0 or not line.strip():
        return None
    third = mapping(value[2]) if len(value) > 2 else {}
    beside = {**labels, **(mapping(third.get("structuredMetadata")) or third)}
    parsed = logs.structured(line)
    return LogRecord(
        at_ns=at,
        service=service,
        level=logs.level_in(line, logs.field(parsed, *logs.LEVELS), logs.field(beside, *logs.LEVELS)),
        body=logs.message_of(line, parsed),
        trace_id=logs.hex_id(logs.field(beside, *logs.TRACES) or logs.field(parsed, *logs.TRACES)),
        span_id=logs.hex_id(logs.field(beside, *logs.SPANS) or logs.field(parsed, *logs.SPANS)),
        pod=logs.field(beside, *logs.PODS)[:200],
    )


def _data(system: str, body: bytes) -> Any:
    envelope = mapping(parse_json(system, body))
    if envelope.get("status") != "success" or "data" not in envelope:
        raise Malformed(system, "an answer that is not Loki's (no status, or no data)")
    return envelope["data"]


def _ns(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _words(error: BaseException) -> str:
    return error.message if isinstance(error, IntegrationError) else "failed"


__all__: Sequence[str] = ["Loki", "parse_labels", "parse_lines"]
