"""An OpenTelemetry collector: takes our spans by OTLP over HTTP, https://opentelemetry.io/docs/specs/otlp/#otlphttp.

Written here rather than left to the SDK's exporter, which reads its address, headers and certificates from the
environment and goes past the egress list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import httpx

from integrations.errors import Denied, Malformed, Unavailable
from integrations.http import Egress, client

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

SECONDS = 5.0


class Collector:
    """One address, such as http://localhost:4318/v1/traces. Nothing is retried: a trace is no record."""

    name = "collector"

    def __init__(self, url: str, egress: Egress, token: str | None = None) -> None:
        self._url = url
        headers = {"content-type": "application/x-protobuf"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._client = client(egress, self.name, url, headers=headers, timeout_seconds=SECONDS)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def export(self, spans: Sequence[ReadableSpan]) -> None:
        """Send these spans. Raises Unavailable, Denied or Malformed."""
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        try:
            answer = await self._client.post(self._url, content=encode_spans(spans).SerializeToString())
        except httpx.TransportError as lost:
            raise Unavailable(self.name, f"no answer ({type(lost).__name__})") from lost
        if answer.status_code in {401, 403, 404}:
            raise Denied(self.name, f"answered {answer.status_code}: check the address and COLLECTOR_TOKEN")
        if answer.status_code == 429 or answer.status_code >= 500:
            raise Unavailable(self.name, f"answered {answer.status_code}")
        if answer.status_code != 200:
            raise Malformed(self.name, f"answered {answer.status_code}, which OTLP does not know")
