"""The collector against a real server: what it is sent, and each way to fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from integrations.collector import Collector
from integrations.errors import Denied, IntegrationError, Malformed, Unavailable
from integrations.http import Egress


class _Keep(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def spans() -> list[ReadableSpan]:
    keep, provider = _Keep(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(keep))
    with provider.get_tracer("t").start_as_current_span("chat", attributes={"gen_ai.request.model": "m"}):
        pass
    return keep.spans


@asynccontextmanager
async def server(status: int) -> AsyncIterator[tuple[str, list[tuple[str, bytes]]]]:
    got: list[tuple[str, bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length")
        )
        got.append((head, await reader.readexactly(length)))
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nlocation: http://127.0.0.1:9/\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/traces", got
    finally:
        listening.close()
        await listening.wait_closed()


async def test_spans_arrive_as_otlp_with_the_token() -> None:
    async with server(200) as (url, got):
        collector = Collector(url, Egress([url]), "t0ken")
        await collector.export(spans())
        await collector.aclose()
    ((head, body),) = got
    assert head.startswith("POST /v1/traces ")
    assert "authorization: Bearer t0ken" in head
    assert "content-type: application/x-protobuf" in head
    sent = ExportTraceServiceRequest.FromString(body)
    (span,) = sent.resource_spans[0].scope_spans[0].spans
    assert span.name == "chat"


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, Denied), (404, Denied), (429, Unavailable), (503, Unavailable), (307, Malformed), (400, Malformed)],
)
async def test_each_answer_is_one_error(status: int, error: type[IntegrationError]) -> None:
    async with server(status) as (url, got):
        collector = Collector(url, Egress([url]))
        with pytest.raises(IntegrationError) as failed:
            await collector.export(spans())
        await collector.aclose()
    assert type(failed.value) is error
    assert len(got) == 1


async def test_nobody_there_is_unavailable() -> None:
    collector = Collector("http://127.0.0.1:9/v1/traces", Egress(["http://127.0.0.1:9"]))
    with pytest.raises(Unavailable):
        await collector.export(spans())
    await collector.aclose()


async def test_an_address_that_no_setting_names_is_refused() -> None:
    with pytest.raises(Denied):
        Collector("http://127.0.0.1:9/v1/traces", Egress([]))
