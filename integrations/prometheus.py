"""Prometheus: rate, errors, duration and saturation of a service and its neighbours, an hour before to now.

Range queries from templates, per service. Which template a measure uses is found by asking which metrics exist:
OpenTelemetry's HTTP server metrics (https://opentelemetry.io/docs/specs/semconv/http/http-metrics/), the usual
client-library names, or gauges that a recording rule made. Answers are read as `/api/v1` documents them: values are
strings ("NaN", "+Inf"), a gap is a missing point, nothing is `[]`, `warnings` stand beside the data.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from integrations.asking import Access, Part, ask_parts, patience, plain
from integrations.errors import IntegrationError, Malformed
from integrations.http import Api, Egress, client
from integrations.reading import mapping, number, objects, strings, text
from integrations.records import Batch, Findings, Question, Series, ServiceNames

BEFORE = timedelta(minutes=60)
"""How much before the question's window the series begin: what "normal" looks like is in the same answer."""
POINTS = 500
"""Points of one series; Prometheus refuses more than 11,000."""
SHORTEST_STEP_SECONDS = 15
SERVICES_LISTED = 500
SERIES = 20
"""Series of one query that are kept, the first by label."""
SERVICES_ASKED = 5
AT_ONCE = 8
LABELS = ("service", "job", "service_name", "app", "app_kubernetes_io_name")
"""Where the name of a service that `[services]` does not map is looked for, first match."""
_DASHBOARD = re.compile(r"[A-Za-z0-9_-]{1,40}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Template:
    """One way to measure something: the metric it needs, and the query with `$selector` for the service's labels."""

    name: str
    unit: str
    needs: str
    query: str
    near: bool = True
    """Whether it is asked for neighbours too, or only for the service that alerts."""


_OTEL, _WAIT = "http_server_request_duration_seconds", "db_client_connection_wait_time_seconds"
TEMPLATES: tuple[Template, ...] = (
    Template("request_rate", "per_second", "http_requests_per_second", "sum(http_requests_per_second{$selector})"),
    Template("request_rate", "per_second", f"{_OTEL}_count", f"sum(rate({_OTEL}_count{{$selector}}[2m]))"),
    Template("request_rate", "per_second", "http_requests_total", "sum(rate(http_requests_total{$selector}[2m]))"),
    Template("error_ratio", "ratio", "http_error_ratio", "avg(http_error_ratio{$selector})"),
    Template(
        "error_ratio", "ratio", f"{_OTEL}_count",
        f'(sum(rate({_OTEL}_count{{$selector,http_response_status_code=~"5.."}}[2m])) '
        f"or sum(rate({_OTEL}_count{{$selector}}[2m])) * 0) / sum(rate({_OTEL}_count{{$selector}}[2m]))",
    ),
    Template(
        "error_ratio", "ratio", "http_requests_total",
        '(sum(rate(http_requests_total{$selector,code=~"5.."}[2m])) '
        "or sum(rate(http_requests_total{$selector}[2m])) * 0) / sum(rate(http_requests_total{$selector}[2m]))",
    ),
    Template("latency_p95", "seconds", "http_latency_p95_seconds", "max(http_latency_p95_seconds{$selector})"),
    Template(
        "latency_p95", "seconds", f"{_OTEL}_count",
        f"histogram_quantile(0.95, sum by (le) (rate({_OTEL}_bucket{{$selector}}[2m])))",
    ),
    Template(
        "latency_p95", "seconds", "http_request_duration_seconds_count",
        "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{$selector}[2m])))",
    ),
    Template(
        "saturation", "ratio", "db_pool_size", "max(db_pool_in_use{$selector}) / max(db_pool_size{$selector})"
    ),
    Template(
        "saturation", "ratio", "db_client_connection_max",
        'sum(db_client_connection_count{$selector,db_client_connection_state="used"}) '
        "/ sum(db_client_connection_max{$selector})",
    ),
    Template("cpu", "percent", "process_cpu_percent", "avg by (pod) (process_cpu_percent{$selector})", near=False),
    Template(
        "cpu", "percent", "process_cpu_time_seconds_total",
        "avg by (pod) (rate(process_cpu_time_seconds_total{$selector}[2m])) * 100", near=False,
    ),
    Template(
        "cpu", "percent", "process_cpu_seconds_total",
        "avg by (pod) (rate(process_cpu_seconds_total{$selector}[2m])) * 100", near=False,
    ),
    Template(
        "memory", "bytes", "process_memory_usage_bytes",
        "avg by (pod) (process_memory_usage_bytes{$selector})", near=False,
    ),
    Template(
        "memory", "bytes", "process_resident_memory_bytes",
        "avg by (pod) (process_resident_memory_bytes{$selector})", near=False,
    ),
    Template("db_pool_wait", "seconds", "db_pool_wait_seconds", "max(db_pool_wait_seconds{$selector})", near=False),
    Template(
        "db_pool_wait", "seconds", f"{_WAIT}_count",
        f"sum(rate({_WAIT}_sum{{$selector}}[2m])) / sum(rate({_WAIT}_count{{$selector}}[2m]))", near=False,
    ),
    Template("db_pool_size", "", "db_pool_size", "max(db_pool_size{$selector})", near=False),
    Template("db_pool_size", "", "db_client_connection_max", "max(db_client_connection_max{$selector})", near=False),
)  # fmt: skip
METRICS = tuple(dict.fromkeys(template.needs for template in TEMPLATES))


class Prometheus:
    """Series of the alerting service and its neighbours.

    `queries` replaces templates by measure (`error_ratio = "…{$selector}…"`), adds others, and switches one off by
    an empty text; in it `$selector` stands for the service's label matchers and `$service` for its name.
    `dashboards` are uids of Grafana's at `link_url`: the one that has the service's name in it, else the first, is
    where a series leads, in place of Prometheus' own page; nothing else of Grafana is linked.
    """

    kind = "prometheus"

    def __init__(
        self,
        *,
        url: str,
        egress: Egress,
        access: Access,
        name: str = "prometheus",
        deadline_seconds: float = 3.0,
        token: str | None = None,
        link_url: str | None = None,
        queries: Mapping[str, str] | None = None,
        dashboards: Sequence[str] = (),
    ) -> None:
        """Raises ValueError for dashboards without the address of Grafana, and for what is no uid."""
        wrong = next((one for one in dashboards if not _DASHBOARD.fullmatch(one)), None)
        if wrong is not None:
            raise ValueError(f"allow.dashboards: {wrong!r} is no uid of a dashboard (…/d/<uid>/…)")
        if dashboards and link_url is None:
            raise ValueError("allow.dashboards needs link_url, the address of Grafana")
        self._dashboards = tuple(dashboards)
        self._grafana = (link_url or "").rstrip("/")
        self.name = name
        self.deadline_seconds = deadline_seconds
        self._access = access
        self._queries = dict(queries or {})
        self._link = f"{(link_url or url).rstrip('/')}/graph?"
        self._at_once = asyncio.Semaphore(AT_ONCE)
        timeout = 0.9 * deadline_seconds
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._api = Api(
            name,
            client(egress, name, url.rstrip("/") + "/", headers=headers, timeout_seconds=timeout),
            credential=f"SITREP_SOURCE_{name.upper()}_TOKEN",
            address=f"`url` of [sources.{name}]",
            timeout_seconds=timeout,
            answer_limit_bytes=egress.answer_limit_bytes,
        )

    async def aclose(self) -> None:
        await self._api.aclose()

    async def fetch(self, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed when nothing could be read."""
        services = question.services[:SERVICES_ASKED]
        parts = [
            Part(f"metrics of {service.name}", self._service(service, question, first=at == 0))
            for at, service in enumerate(services)
        ]
        return await ask_parts(self.name, parts, 0.95 * patience(self, question))

    async def services(self) -> tuple[list[tuple[str, str]], bool]:
        """Every `job` label."""
        data, _ = self._data(await self._json("api/v1/label/job/values", {}))
        names = sorted(set(strings(data)))
        return [(name, name) for name in names[:SERVICES_LISTED]], len(names) > SERVICES_LISTED

    async def _service(self, service: ServiceNames, question: Question, *, first: bool) -> Findings:
        selector, known = await self._discover(service, question)
        templates = self._templates(service, known, first=first) if selector else []
        if not templates:
            hint = f'map its labels: [services."{service.name}"] prometheus = {{ job = "…" }}'
            return Findings(notes=(f"{self.name}: no metrics of {service.name} ({hint})",) if first else ())
        answers = await asyncio.gather(
            *(self._measure(template, selector, service, question) for template in templates), return_exceptions=True
        )
        failed = [(t.name, one) for t, one in zip(templates, answers, strict=True) if isinstance(one, BaseException)]
        for _, error in failed:
            if len(failed) == len(templates) or not isinstance(error, IntegrationError):
                raise error
        found = [one for one in answers if not isinstance(one, BaseException)]
        notes = [f"{self.name}: {name} of {service.name}: {_words(error)}" for name, error in failed]
        if any(partial for _, partial in found):
            notes.append(f"{self.name}: metrics of {service.name} are partial (it warned beside its data)")
        readers, model = self._access.of(service.name)
        series = tuple(one for some, _ in found for one in some)
        batches = (Batch(self.name, readers, series, model, self._link),) if series else ()
        return Findings(series=batches, notes=tuple(notes))

    def _templates(self, service: ServiceNames, known: frozenset[str], *, first: bool) -> list[Template]:
        """For each measure the first template whose metric exists; a query of the settings goes before them all."""
        chosen: dict[str, Template] = {}
        for template in TEMPLATES:
            if template.name in chosen or template.name in self._queries or template.needs not in known:
                continue
            if first or template.near:
                chosen[template.name] = template
        units = {template.name: template.unit for template in TEMPLATES}
        for name, query in self._queries.items():
            if query.strip():
                query = query.replace("$service", _quoted(service.name))
                chosen[name] = Template(name, units.get(name, ""), "", query)
        return list(chosen.values())

    async def _discover(self, service: ServiceNames, question: Question) -> tuple[str, frozenset[str]]:
        """The label matchers that select a service, and which of the metrics we can use exist for it."""
        metrics = f'__name__=~"{"|".join(METRICS)}"'
        if service.prometheus:
            mapped = [(label, f'{label}="{_quoted(value)}"') for label, value in sorted(service.prometheus.items())]
            wrong = next((label for label, _ in mapped if not _LABEL.fullmatch(label)), None)
            if wrong is not None:
                raise Malformed(self.name, f'{wrong!r} is no label name: see prometheus of [services."{service.name}"]')
            selectors = {"": ",".join(matcher for _, matcher in mapped)}
        else:
            names = "|".join(_loosely(name) for name in dict.fromkeys((service.name, *service.otel)))
            selectors = {label: f'{label}=~"(?i)({_quoted(names)})"' for label in LABELS}
        params = {
            "match[]": [f"{{{metrics},{selector}}}" for selector in selectors.values()],
            "start": _seconds(question.window.start.timestamp()),
            "end": _seconds(question.window.end.timestamp()),
        }
        data, _ = self._data(await self._json("api/v1/series", params))
        found = list(objects(data))
        for label, selector in selectors.items():
            having = frozenset(
                text(one.get("__name__"), 200)
                for one in found
                if not label or re.fullmatch(names, text(one.get(label), 300), re.IGNORECASE)
            )
            if having or (self._queries and not label):
                return selector, having
        return "", frozenset()

    async def _measure(
        self, template: Template, selector: str, service: ServiceNames, question: Question
    ) -> tuple[list[Series], bool]:
        query = template.query.replace("$selector", selector)
        start, end = (question.window.start - BEFORE).timestamp(), question.window.end.timestamp()
        step = max(SHORTEST_STEP_SECONDS, math.ceil((end - start) / POINTS))
        params = {"query": query, "start": _seconds(start), "end": _seconds(end), "step": str(step)}
        data, warned = self._data(await self._json("api/v1/query_range", params))
        if mapping(data).get("resultType") != "matrix":
            raise Malformed(self.name, f"the answer to {template.name} is no matrix")
        hours = f"{math.ceil((end - start) / 3600)}h"
        shown = urlencode({"g0.expr": query, "g0.tab": "0", "g0.range_input": hours, "g0.end_input": _clock(question)})
        page = self._dashboard(service, start, end) or self._link + shown
        found = []
        for one in list(objects(mapping(data).get("result")))[:SERIES]:
            times, values = read_points(one.get("values"))
            labels = {text(k, 200): text(v, 300) for k, v in mapping(one.get("metric")).items() if k != "__name__"}
            if times:
                found.append(
                    Series(
                        name=template.name, service=service.name, times=times, values=values, unit=template.unit,
                        pod=labels.get("pod", ""), labels=labels, url=page,
                    )
                )  # fmt: skip
        return found, warned

    def _dashboard(self, service: ServiceNames, start: float, end: float) -> str:
        """The dashboard where the service's series are seen; "" where none is allowed."""
        if not self._dashboards:
            return ""
        names = [plain(one) for one in (service.name, *service.otel) if plain(one)]
        uid = next((one for one in self._dashboards if any(n in plain(one) for n in names)), self._dashboards[0])
        seen = {"var-service": service.name, "from": int(start * 1000), "to": int(end * 1000)}
        return f"{self._grafana}/d/{uid}?{urlencode(seen)}"

    async def _json(self, path: str, params: Mapping[str, Any]) -> Any:
        async with self._at_once:
            return await self._api.json(path, params)

    def _data(self, answer: Any) -> tuple[Any, bool]:
        """The data of an answer, and whether warnings stand beside it."""
        envelope = mapping(answer)
        if envelope.get("status") != "success" or "data" not in envelope:
            raise Malformed(self.name, "an answer that is not Prometheus' (no status, or no data)")
        return envelope["data"], bool(strings(envelope.get("warnings")))


def read_points(value: Any) -> tuple[list[float], list[float]]:
    """Times (seconds) and values of a matrix's pairs; NaN and infinities are gaps, like points that are missing."""
    times: list[float] = []
    values: list[float] = []
    for pair in value if isinstance(value, list) else ():
        if not isinstance(pair, list) or len(pair) != 2:
            continue
        at, measured = number(pair[0]), number(pair[1])
        if at is not None and measured is not None and (not times or at > times[-1]):
            times.append(at)
            values.append(measured)
    return times, values


def _quoted(value: str) -> str:
    """A text for the inside of a PromQL string in double quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _loosely(name: str) -> str:
    """A pattern for a name whatever separates its words; only letters and digits of it are taken literally."""
    return "[-_. ]?".join(re.escape(word) for word in re.findall(r"[^\W_]+", name)) or re.escape(name)


def _seconds(at: float) -> str:
    return f"{at:.3f}"


def _clock(question: Question) -> str:
    return f"{question.window.end:%Y-%m-%d %H:%M:%S}"


def _words(error: BaseException) -> str:
    return error.message if isinstance(error, IntegrationError) else "failed"
