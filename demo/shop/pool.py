"""A connection pool of fixed size in front of payments-db, and the wire protocol: one JSON object a line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from opentelemetry.trace import SpanKind

from demo.shop.telemetry import SECONDS, ServiceTelemetry, carrier, fail


class PoolTimeout(Exception):
    """No connection came free in time."""


class DatabaseError(Exception):
    """The database did not carry a statement out."""


class Connection:
    """One open session with the database."""

    def __init__(
        self,
        telemetry: ServiceTelemetry,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        timeout_seconds: float,
    ) -> None:
        self._telemetry = telemetry
        self._reader, self._writer = streams
        self._timeout_seconds = timeout_seconds

    async def run(self, sql: str, *values: Any) -> list[list[Any]]:
        """Carries one statement out and returns its rows. Raises DatabaseError."""
        operation = sql.split(maxsplit=1)[0].upper()
        with self._telemetry.tracer.start_as_current_span(
            f"{operation} payments",
            kind=SpanKind.CLIENT,
            attributes={
                "db.system.name": "sqlite",
                "db.operation.name": operation,
                "db.query.text": sql,
                "server.address": "payments-db",
            },
        ) as span:
            self._writer.write(json.dumps({"sql": sql, "values": values, "context": carrier()}).encode() + b"\n")
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    answer = json.loads(await self._reader.readline())
            except (TimeoutError, ValueError) as error:
                fail(span, error, type(error).__name__)
                raise DatabaseError(f"payments-db did not answer {operation}") from error
            if "error" in answer:
                fail(span, answer["error"], "DatabaseError")
                raise DatabaseError(answer["error"])
            return answer["rows"]

    def close(self) -> None:
        self._writer.close()


class Pool:
    """At most `size` connections; whoever comes when all are in use waits, at most `timeout_seconds`."""

    def __init__(self, telemetry: ServiceTelemetry, address: tuple[str, int], settings: dict[str, Any]) -> None:
        self._telemetry = telemetry
        self._address = address
        self.size = int(settings["pool_size"])
        self._timeout_seconds = float(settings["pool_timeout_seconds"])
        self._statement_seconds = float(settings["statement_timeout_seconds"])
        self._free: asyncio.LifoQueue[Connection | None] = asyncio.LifoQueue()
        for _ in range(self.size):
            self._free.put_nowait(None)
        self.waiting = 0
        self._wait_seconds = telemetry.meter.create_histogram(
            "db.client.connection.wait_time", unit="s", explicit_bucket_boundaries_advisory=SECONDS
        )
        self._timeouts = telemetry.meter.create_counter("db.client.connection.timeouts")
        pool = (("db.client.connection.pool.name", "payments-db"),)
        telemetry.gauge("db.client.connection.max", lambda: {pool: self.size})
        telemetry.gauge("db.client.connection.pending_requests", lambda: {pool: self.waiting})
        telemetry.gauge(
            "db.client.connection.count",
            lambda: {
                (*pool, ("db.client.connection.state", "used")): self.size - self._free.qsize(),
                (*pool, ("db.client.connection.state", "idle")): self._free.qsize(),
            },
        )

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for as long as the block lasts. Raises PoolTimeout."""
        connection = await self._acquire()
        try:
            if connection is None:
                streams = await asyncio.open_connection(*self._address)
                connection = Connection(self._telemetry, streams, self._statement_seconds)
            yield connection
        except DatabaseError:
            if connection is not None:
                connection.close()
                connection = None
            raise
        finally:
            self._free.put_nowait(connection)

    async def _acquire(self) -> Connection | None:
        began = time.perf_counter()
        pool = {"db.client.connection.pool.name": "payments-db"}
        with self._telemetry.tracer.start_as_current_span(
            "acquire connection payments-db", attributes={**pool, "db.client.connection.max": self.size}
        ) as span:
            self.waiting += 1
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    return await self._free.get()
            except TimeoutError:
                error = PoolTimeout(
                    f"no connection to payments-db within {self._timeout_seconds:g} s, "
                    f"pool of {self.size} is exhausted, {self.waiting} waiting"
                )
                self._timeouts.add(1, pool)
                fail(span, error, "PoolTimeout")
                raise error from None
            finally:
                self.waiting -= 1
                self._wait_seconds.record(time.perf_counter() - began, pool)
