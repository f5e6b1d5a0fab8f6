"""OpenTelemetry for one service of the shop: traces and logs leave by OTLP, metrics stand on `/metrics`.

Span and attribute names are those of OpenTelemetry's semantic conventions 1.40 (HTTP, database client, process).
The Prometheus text follows "Prometheus and OpenMetrics compatibility" of the OpenTelemetry specification: dots
become underscores, the unit and `_total` are suffixes, histograms are cumulative.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterable

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, Histogram, InMemoryMetricReader, Metric, Sum
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Bucket borders that the conventions advise for durations."""
_SUFFIX = {"s": "_seconds", "By": "_bytes", "1": "_ratio"}


class ServiceTelemetry:
    """The tracer, the meter and the logger of one service, under one resource."""

    def __init__(self, service: str, version: str, otlp_url: str, sampled_ratio: float) -> None:
        self.service = service
        resource = Resource.create(
            {
                "service.name": service,
                "service.version": version,
                "deployment.environment.name": "production",
                "k8s.pod.name": f"{service}-{version[:7]}-0",
            }
        )
        self._traces = TracerProvider(
            resource=resource, sampler=ParentBased(TraceIdRatioBased(sampled_ratio)), shutdown_on_exit=False
        )
        self._traces.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{otlp_url}/v1/traces"), schedule_delay_millis=500)
        )
        self.tracer = self._traces.get_tracer("shop")
        self._logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._logs.add_log_record_processor(
            BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{otlp_url}/v1/logs"), schedule_delay_millis=500)
        )
        self.log = logging.getLogger(service)
        self.log.setLevel(logging.INFO)
        self.log.propagate = False
        self.log.addHandler(LoggingHandler(logger_provider=self._logs))
        self._reader = InMemoryMetricReader()
        self._metrics = MeterProvider(metric_readers=[self._reader], resource=resource, shutdown_on_exit=False)
        self.meter = self._metrics.get_meter("shop")
        self.request_seconds = self.meter.create_histogram(
            "http.server.request.duration", unit="s", explicit_bucket_boundaries_advisory=SECONDS
        )
        self.meter.create_observable_counter(
            "process.cpu.time", callbacks=[lambda _: [Observation(time.process_time())]], unit="s"
        )
        self.meter.create_observable_gauge("process.memory.usage", callbacks=[_resident_bytes], unit="By")

    def gauge(self, name: str, read: Callable[[], dict[tuple[tuple[str, str], ...], float]]) -> None:
        """An observable gauge; `read` maps attribute pairs to the value now."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, dict(pairs)) for pairs, value in read().items()]

        self.meter.create_observable_gauge(name, callbacks=[observe])

    def metrics_text(self) -> str:
        """All metrics in Prometheus' text exposition format."""
        data = self._reader.get_metrics_data()
        lines: list[str] = []
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    lines += _exposition(metric)
        return "\n".join(lines) + "\n"

    def close(self) -> None:
        """Sends what is still in the queues."""
        self._traces.shutdown()
        self._logs.shutdown()
        self._metrics.shutdown()


def fail(span: Span, error: BaseException | str, error_type: str) -> None:
    """Marks a span as failed, the way the conventions want it."""
    if isinstance(error, BaseException):
        span.add_event("exception", {"exception.type": type(error).__name__, "exception.message": str(error)})
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR, str(error)))


class ServerSpans:
    """ASGI middleware: one server span and one measurement a request; `/metrics` and `/healthz` are not traced."""

    def __init__(self, app: ASGIApp, telemetry: ServiceTelemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ("/metrics", "/healthz"):
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        attributes = {
            "http.request.method": scope["method"],
            "http.route": scope["path"],
            "url.path": scope["path"],
            "server.address": self._telemetry.service,
        }
        with self._telemetry.tracer.start_as_current_span(
            f"{scope['method']} {scope['path']}",
            context=propagate.extract(headers),
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                await self._app(scope, receive, watch)
            finally:
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    fail(span, f"HTTP {status}", str(status))
                self._telemetry.request_seconds.record(
                    time.perf_counter() - began,
                    {
                        "http.request.method": scope["method"],
                        "http.route": scope["path"],
                        "http.response.status_code": status,
                    },
                )


def plumbing(telemetry: ServiceTelemetry) -> dict[str, Callable[[Request], Response]]:
    """The two routes that every service has."""
    return {
        "/metrics": lambda _: PlainTextResponse(telemetry.metrics_text(), media_type="text/plain; version=0.0.4"),
        "/healthz": lambda _: JSONResponse({"status": "ok"}),
    }


def carrier() -> dict[str, str]:
    """The current trace context as headers."""
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers


def current_trace_id() -> str:
    return format(trace.get_current_span().get_span_context().trace_id, "032x")


async def pause(seconds: float) -> None:
    """Work that takes wall time and no processor, such as a bank's answer."""
    if seconds > 0:
        await asyncio.sleep(seconds)


def _resident_bytes(_: CallbackOptions) -> Iterable[Observation]:
    statm = pathlib.Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text(encoding="ascii").split()[1])
        yield Observation(pages * os.sysconf("SC_PAGE_SIZE"))


def _exposition(metric: Metric) -> list[str]:
    name = metric.name.replace(".", "_") + _SUFFIX.get(metric.unit or "", "")
    data = metric.data
    lines: list[str] = []
    if isinstance(data, Histogram):
        lines.append(f"# TYPE {name} histogram")
        for point in data.data_points:
            below = 0
            for border, count in zip([*point.explicit_bounds, "+Inf"], point.bucket_counts, strict=True):
                below += count
                lines.append(_sample(f"{name}_bucket", {**(point.attributes or {}), "le": border}, below))
            lines.append(_sample(f"{name}_sum", point.attributes or {}, point.sum))
            lines.append(_sample(f"{name}_count", point.attributes or {}, point.count))
    elif isinstance(data, Sum | Gauge):
        counter = isinstance(data, Sum) and data.is_monotonic
        name += "_total" if counter else ""
        lines.append(f"# TYPE {name} {'counter' if counter else 'gauge'}")
        lines += [_sample(name, point.attributes or {}, point.value) for point in data.data_points]
    return lines


def _sample(name: str, attributes: object, value: float) -> str:
    pairs = ",".join(f'{key.replace(".", "_")}="{text}"' for key, text in sorted(dict(attributes).items()))  # type: ignore[call-overload]
    return f"{name}{{{pairs}}} {value:.10g}"
