"""What each of the four services does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import random
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
from opentelemetry import propagate
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.shop.pool import DatabaseError, Pool, PoolTimeout
from demo.shop.telemetry import ServerSpans, ServiceTelemetry, carrier, fail, pause, plumbing

Addresses = dict[str, tuple[str, int]]
CATALOGUE = ("kettle", "teapot", "cup", "strainer", "tray", "spoon", "caddy", "cosy")


class Caller:
    """Calls another service: a client span, the trace context in the headers, one timeout."""

    def __init__(self, telemetry: ServiceTelemetry, callee: str, address: tuple[str, int], seconds: float) -> None:
        self._telemetry = telemetry
        self._callee = callee
        self._client = httpx.AsyncClient(base_url=f"http://{address[0]}:{address[1]}", timeout=seconds)

    async def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """The other's answer, whatever its status. Raises httpx.HTTPError when there is none."""
        with self._telemetry.tracer.start_as_current_span(
            f"POST {path}",
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": "POST",
                "url.full": f"http://{self._callee}{path}",
                "server.address": self._callee,
            },
        ) as span:
            response = await self._client.post(path, json=body, headers=carrier())
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= 500:
                fail(span, f"HTTP {response.status_code}", str(response.status_code))
            return response

    async def close(self) -> None:
        await self._client.aclose()


def _app(
    telemetry: ServiceTelemetry,
    routes: dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]],
    closing: Callable[[], Awaitable[None]] | None = None,
    opening: Callable[[], Awaitable[None]] | None = None,
) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if opening:
            await opening()
        yield
        if closing:
            await closing()
        telemetry.close()

    listed = [Route(path, handler, methods=[method]) for path, (method, handler) in routes.items()]
    listed += [Route(path, handler) for path, handler in plumbing(telemetry).items()]
    return Starlette(routes=listed, lifespan=lifespan, middleware=[Middleware(ServerSpans, telemetry=telemetry)])


def storefront(telemetry: ServiceTelemetry, settings: dict[str, Any], addresses: Addresses) -> Starlette:
    """Shows the catalogue and takes orders."""
    checkout = Caller(telemetry, "checkout-api", addresses["checkout-api"], settings["checkout"]["timeout_seconds"])

    async def products(_: Request) -> Response:
        await pause(random.uniform(0.002, 0.012))
        return JSONResponse({"products": CATALOGUE[: settings["catalogue"]["page_size"]]})

    async def orders(request: Request) -> Response:
        try:
            answer = await checkout.post("/checkout", await request.json())
        except httpx.HTTPError as error:
            telemetry.log.error("checkout-api did not answer: %s", type(error).__name__)
            return JSONResponse({"error": "checkout is not available"}, 503)
        if answer.status_code >= 500:
            telemetry.log.warning("order not placed: checkout-api answered %s", answer.status_code)
            return JSONResponse({"error": "the order was not placed"}, answer.status_code)
        return JSONResponse(answer.json(), answer.status_code)

    return _app(telemetry, {"/products": ("GET", products), "/orders": ("POST", orders)}, checkout.close)


def checkout_api(telemetry: ServiceTelemetry, settings: dict[str, Any], addresses: Addresses) -> Starlette:
    """Writes the order down, has the card charged, and marks the order as paid: all on one connection."""
    payments = Caller(telemetry, "payments", addresses["payments"], settings["payments"]["timeout_seconds"])
    pool = Pool(telemetry, addresses["payments-db"], settings["payments_db"])

    async def checkout(request: Request) -> Response:
        cart = await request.json()
        order = uuid.uuid4().hex[:12]
        try:
            async with pool.connection() as database:
                await database.run(
                    "INSERT INTO orders (id, item, cents, state) VALUES (?, ?, ?, 'pending')",
                    order, cart["item"], cart["cents"],
                )  # fmt: skip
                charged = await payments.post("/charge", {"order": order, "cents": cart["cents"]})
                if charged.status_code != 200:
                    await database.run("UPDATE orders SET state = 'failed' WHERE id = ?", order)
                    telemetry.log.error("order %s not charged: payments answered %s", order, charged.status_code)
                    return JSONResponse({"error": "the card could not be charged"}, 502)
                await database.run("UPDATE orders SET state = 'paid' WHERE id = ?", order)
        except PoolTimeout as error:
            telemetry.log.error("order %s refused: %s", order, error)
            return JSONResponse({"error": "try again later"}, 503)
        except (DatabaseError, OSError, httpx.HTTPError) as error:
            telemetry.log.error("order %s failed: %s", order, error)
            return JSONResponse({"error": "try again later"}, 500)
        telemetry.log.info("order %s placed", order)
        return JSONResponse({"order": order})

    async def closing() -> None:
        await payments.close()

    telemetry.log.info("checkout-api started, pool of %s connections to payments-db", pool.size)
    return _app(telemetry, {"/checkout": ("POST", checkout)}, closing)


def payments(telemetry: ServiceTelemetry, settings: dict[str, Any], addresses: Addresses) -> Starlette:
    """Asks the acquirer for the money and keeps the ledger."""
    pool = Pool(telemetry, addresses["payments-db"], settings["payments_db"])
    acquirer = settings["acquirer"]
    chance = random.Random(7)

    async def charge(request: Request) -> Response:
        body = await request.json()
        with telemetry.tracer.start_as_current_span("authorise card") as span:
            await pause(acquirer["authorisation_seconds"] * chance.uniform(0.8, 1.35))
            if chance.random() < acquirer["failure_ratio"]:
                fail(span, "the acquirer did not answer", "AcquirerError")
                telemetry.log.error("charge of order %s failed: the acquirer did not answer", body["order"])
                return JSONResponse({"error": "acquirer"}, 502)
        try:
            async with pool.connection() as database:
                await database.run("INSERT INTO ledger (order_id, cents) VALUES (?, ?)", body["order"], body["cents"])
        except (PoolTimeout, DatabaseError, OSError) as error:
            telemetry.log.error("charge of order %s not written down: %s", body["order"], error)
            return JSONResponse({"error": "ledger"}, 503)
        telemetry.log.info("charged order %s", body["order"])
        return JSONResponse({"charged": True})

    return _app(telemetry, {"/charge": ("POST", charge)})


def payments_db(telemetry: ServiceTelemetry, settings: dict[str, Any], addresses: Addresses) -> Starlette:
    """SQLite behind a socket: every connection is a session, every line a statement."""
    storage = settings["storage"]
    database = sqlite3.connect(pathlib.Path(storage["path"]), isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(f"PRAGMA synchronous = {storage['synchronous']}")
    database.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, item TEXT, cents INTEGER, state TEXT)")
    database.execute("CREATE TABLE IF NOT EXISTS ledger (order_id TEXT, cents INTEGER)")
    sessions = 0
    server: asyncio.Server | None = None

    async def statement(line: bytes) -> dict[str, Any]:
        asked = json.loads(line)
        operation = asked["sql"].split(maxsplit=1)[0].upper()
        with telemetry.tracer.start_as_current_span(
            f"{operation} payments",
            context=propagate.extract(asked["context"]),
            kind=SpanKind.SERVER,
            attributes={"db.system.name": "sqlite", "db.operation.name": operation},
        ) as span:
            await pause(storage["statement_seconds"] * random.uniform(0.5, 2.0))
            try:
                return {"rows": database.execute(asked["sql"], asked["values"]).fetchall()}
            except sqlite3.Error as error:
                fail(span, error, type(error).__name__)
                return {"error": str(error)}

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sessions
        sessions += 1
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await statement(line)).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            sessions -= 1
            writer.close()

    async def opening() -> None:
        nonlocal server
        server = await asyncio.start_server(session, *addresses["payments-db"])

    async def closing() -> None:
        if server:
            server.close()
        database.close()

    telemetry.gauge("db.server.sessions", lambda: {(): sessions})
    return _app(telemetry, {}, closing, opening)


SERVICES: dict[str, Callable[[ServiceTelemetry, dict[str, Any], Addresses], Starlette]] = {
    "storefront": storefront,
    "checkout-api": checkout_api,
    "payments": payments,
    "payments-db": payments_db,
}
