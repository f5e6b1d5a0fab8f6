"""Elasticsearch and OpenSearch: log lines of a service around the incident, and of healthy windows before it.

One `_search` a window over the indices of `allow.indices`, newest first, only the fields that are read. An answer with
`timed_out` or failed shards is partial; `relation: gte` is a lower bound. Fields are those of ECS and their usual other
names, written with dots or nested. Source: https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-search
and https://docs.opensearch.org/latest/api-reference/search-apis/search/.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack
from urllib.parse import quote

from integrations import logs
from integrations.asked import Asked, AskedOptions, sliced
from integrations.asking import Part
from integrations.errors import IntegrationError, Malformed
from integrations.http import parse_json
from integrations.reading import mapping, moment, objects, text, whole
from integrations.records import Baseline, Findings, LogRecord, Question, ServiceNames, Window

SERVICES_ASKED = 3
LINES, LINES_NEAR = 1000, 300
SERVICE_FIELDS = (
    "service.name", "resource.attributes.service.name", "serviceName", "resource.attributes.service@name",
    "kubernetes.labels.app", "kubernetes.labels.app_kubernetes_io/name", "kubernetes.container.name", "app", "service",
)  # fmt: skip
"""Where the name of a service that `logs` does not map is looked for, each also as its `.keyword`."""
READ_FIELDS = (
    "@timestamp", "timestamp", *logs.LEVELS, *logs.MESSAGES, *logs.TRACES, *logs.SPANS, *logs.PODS, "error.message",
    "exception", "resource.attributes.k8s.pod.name",
)  # fmt: skip
_INDEX = re.compile(r"[a-z0-9.*][a-z0-9._*-]{0,200}")


class Elasticsearch(Asked):
    """Log lines from `indices`, names or patterns with `*`. `token`: an API key, or `user:password`."""

    kind = "elasticsearch"

    def __init__(self, *, indices: Sequence[str], **common: Unpack[AskedOptions]) -> None:
        """Raises ValueError for what is no index, and where there is none."""
        wrong = [one for one in indices if not _INDEX.fullmatch(one) or ".." in one]
        if wrong or not indices:
            raise ValueError(f"allow.indices: {wrong[0]!r} is no index" if wrong else "allow.indices names no index")
        self._path = quote(",".join(indices), safe=",*") + "/_search"
        super().__init__(**common)

    def authorization(self, token: str) -> dict[str, str]:
        if ":" in token:
            return {"Authorization": "Basic " + base64.b64encode(token.encode()).decode()}
        return {"Authorization": f"ApiKey {token}"}

    async def fetch(self, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed when nothing could be read."""
        parts = [
            Part(f"logs of {service.name}", self._service(service, question, first=at == 0))
            for at, service in enumerate(question.services[:SERVICES_ASKED])
        ]
        return await self.ask_all(parts, question)

    async def _service(self, service: ServiceNames, question: Question, *, first: bool) -> Findings:
        windows = sliced(question.window, question.incident.triggered_at) if first else [question.window]
        asked = [(window, LINES if first else LINES_NEAR) for window in windows]
        asked += [(window, LINES) for window in question.baselines] if first else []
        answers = await asyncio.gather(
            *(self._lines(service, window, limit) for window, limit in asked), return_exceptions=True
        )
        failed = [one for one in answers if isinstance(one, BaseException)]
        for error in failed:
            if len(failed) == len(answers) or not isinstance(error, IntegrationError):
                raise error
        read = [([], False) if isinstance(one, BaseException) else one for one in answers]
        records = [line for some, _ in read[: len(windows)] for line in some]
        baselines = [
            Baseline(window, logs=self.batched(lines, self.link))
            for window, (lines, _) in zip(question.baselines if first else (), read[len(windows) :], strict=True)
            if lines
        ]
        notes = []
        if failed or any(partial for _, partial in read):
            notes.append(f"{self.name}: logs of {service.name} are partial (it timed out, or shards failed)")
        if any(len(some) >= limit for (some, _), (_, limit) in zip(read[: len(windows)], asked, strict=False)):
            notes.append(f"{self.name}: logs of {service.name} are the newest lines of each part of the window")
        if not records and first:
            hint = f'say which fields: [services."{service.name}"] logs = {{ "service.name" = "…" }}'
            notes.append(f"{self.name}: no logs of {service.name} ({hint})")
        return Findings(logs=self.batched(records, self.link), baselines=tuple(baselines), notes=tuple(notes))

    async def _lines(self, service: ServiceNames, window: Window, limit: int) -> tuple[list[LogRecord], bool]:
        wanted = search_of(service, window, limit, int(800 * self.deadline_seconds))
        params = {"ignore_unavailable": "true", "allow_no_indices": "true"}
        return await self.ask(parse_hits, self._path, params, service.name, body=wanted)


def search_of(service: ServiceNames, window: Window, limit: int, timeout_ms: int) -> dict[str, Any]:
    """The body of a `_search` for one service's lines in one window."""
    if service.logs:
        match: list[dict[str, Any]] = [{"term": {name: value}} for name, value in sorted(service.logs.items())]
    else:
        names = list(dict.fromkeys((*service.otel, service.name)))
        either = [{"terms": {one: names}} for name in SERVICE_FIELDS for one in (name, f"{name}.keyword")]
        match = [{"bool": {"should": either, "minimum_should_match": 1}}]
    between = {"gte": _iso(window.start), "lt": _iso(window.end), "format": "strict_date_optional_time"}
    return {
        "size": limit,
        "timeout": f"{timeout_ms}ms",
        "track_total_hits": False,
        "sort": [{"@timestamp": {"order": "desc", "unmapped_type": "date"}}],
        "_source": list(dict.fromkeys(READ_FIELDS)),
        "query": {"bool": {"filter": [{"range": {"@timestamp": between}}, *match]}},
    }


def parse_hits(system: str, body: bytes, service: str) -> tuple[list[LogRecord], bool]:
    """The lines of an answer, oldest first, and whether it is partial. Raises Malformed."""
    answer = mapping(parse_json(system, body))
    hits = mapping(answer.get("hits")).get("hits")
    if not isinstance(hits, list):
        raise Malformed(system, "an answer that is no result of a search (no hits)")
    failed = whole(mapping(answer.get("_shards")).get("failed")) or 0
    found = [line for hit in objects(hits) if (line := _record(mapping(hit.get("_source")), service)) is not None]
    return sorted(found, key=lambda line: line.at_ns), answer.get("timed_out") is True or failed > 0


def _record(source: Mapping[str, Any], service: str) -> LogRecord | None:
    at = moment(source.get("@timestamp")) or moment(source.get("timestamp"))
    line = logs.field(source, *logs.MESSAGES)
    if at is None or not line.strip():
        return None
    parsed = logs.structured(line)
    said = logs.message_of(line, parsed) if parsed else logs.message_of(line, source)
    return LogRecord(
        at_ns=int(at.timestamp() * 1_000_000) * 1000,
        service=service,
        level=logs.level_in(line, logs.field(source, *logs.LEVELS), logs.field(parsed, *logs.LEVELS)),
        body=said,
        trace_id=logs.hex_id(logs.field(source, *logs.TRACES)),
        span_id=logs.hex_id(logs.field(source, *logs.SPANS)),
        pod=text(logs.field(source, *logs.PODS, "resource.attributes.k8s.pod.name"), 200),
    )


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
