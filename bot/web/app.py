"""The web door: signed webhooks, health, metrics, and `GET /incidents/<id>` for holders of an API token.

A delivery is verified on its raw bytes, redacted in memory, stored, and only then answered 202; nothing of the
engine happens before the answer. What is signed and cannot be read is stored and answered 202 too: PagerDuty drops
an event for good on any other 4xx, and the subscription after three.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bot import telemetry
from bot.clock import Clock
from bot.errors import NotPermitted
from integrations.errors import BadSignature
from integrations.ports import PreparedDoor, SignalDoor
from integrations.records import Signal

log = logging.getLogger(__name__)

BODY_SECONDS = 10.0
"""How long a body may take to arrive; a mebibyte of it over a slow line takes two."""
SMALL_BODY = 64 * 1024
"""Larger bodies are redacted in another process, so that the event loop stays free."""


class Intake(Protocol):
    """Durably stores signals and wakes the drainer."""

    async def __call__(self, signals: Sequence[Signal]) -> int: ...


class BodyTooLarge(Exception):
    """More bytes than the door takes."""


async def read_body(request: Request, limit: int, seconds: float = BODY_SECONDS) -> bytes:
    """The raw body. Raises BodyTooLarge as soon as it is, TimeoutError for one that drips, ClientDisconnect."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 15 or int(announced) > limit):
        raise BodyTooLarge
    parts, size = [], 0
    async with asyncio.timeout(seconds):
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise BodyTooLarge
            parts.append(part)
    return b"".join(parts)


def create_app(
    *,
    doors: Sequence[SignalDoor],
    intake: Intake,
    redact_small: Callable[[Any], Any],
    redact_large: Callable[[Any], Awaitable[Any]],
    clock: Clock,
    ready: Callable[[], Awaitable[Mapping[str, str]]],
    metrics: Callable[[], str],
    tokens: Sequence[tuple[str, str]] = (),
    incident_view: Callable[[str, str], Awaitable[Mapping[str, Any] | None]] | None = None,
    extra_routes: Sequence[Route] = (),
    body_seconds: float = BODY_SECONDS,
) -> Starlette:
    """`ready` names what is not in order, empty when all is; `tokens` are (name, token) pairs; `incident_view` takes
    a token's name and an incident id and raises NotPermitted."""

    def door_endpoint(door: SignalDoor) -> Callable[[Request], Awaitable[Response]]:
        async def receive(request: Request) -> Response:
            return await _receive(door, request, intake, redact_small, redact_large, clock, body_seconds)

        return receive

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readiness(_: Request) -> Response:
        wrong = dict(await ready())
        return JSONResponse({"ready": not wrong, "problems": wrong}, status_code=503 if wrong else 200)

    async def show_metrics(_: Request) -> Response:
        return PlainTextResponse(metrics(), media_type="text/plain; version=0.0.4")

    async def incident(request: Request) -> Response:
        name = token_name(request, tokens)
        if not tokens or incident_view is None:
            return JSONResponse({"error": "not found"}, status_code=404)
        if name is None:
            return JSONResponse(
                {"error": "send Authorization: Bearer with a token of SITREP_API_TOKENS"},
                status_code=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
        try:
            found = await incident_view(name, request.path_params["incident_id"])
        except NotPermitted:
            found = None
        if found is None:
            return JSONResponse({"error": "no such incident, or this token may not see it"}, status_code=404)
        return JSONResponse(dict(found))

    routes = [Route(door.path, door_endpoint(door), methods=["POST"]) for door in doors]
    routes += [
        Route("/healthz", health),
        Route("/readyz", readiness),
        Route("/metrics", show_metrics),
        Route("/incidents/{incident_id:str}", incident),
        *extra_routes,
    ]
    return Starlette(routes=routes)


async def _receive(
    door: SignalDoor,
    request: Request,
    intake: Intake,
    redact_small: Callable[[Any], Any],
    redact_large: Callable[[Any], Awaitable[Any]],
    clock: Clock,
    body_seconds: float,
) -> Response:
    received_at = clock.now()
    try:
        body = await read_body(request, door.body_limit, body_seconds)
    except BodyTooLarge:
        return _refuse(door, 413, f"a body of at most {door.body_limit} bytes")
    except ClientDisconnect:
        return _refuse(door, 400, "the sender hung up")
    except TimeoutError:
        return _refuse(door, 408, f"a body within {body_seconds:g} s")
    headers = {name.lower(): value for name, value in request.headers.items()}
    if isinstance(door, PreparedDoor):
        await door.prepare(headers, body, received_at)
    try:
        door.verify(headers, body, received_at)
    except BadSignature as wrong:
        telemetry.counter(telemetry.SIGNATURES_REFUSED).add(1, {telemetry.SOURCE: door.name})
        log.warning("%s: delivery refused: %s", door.path, wrong)
        return JSONResponse({"error": str(wrong)}, status_code=401)
    redacted = await _payload(body, redact_small, redact_large)
    parse = partial(_signals, door, headers, redacted, hashlib.sha256(body).hexdigest(), received_at)
    # A body with hundreds of alerts takes a while to read; a thread lets every other delivery in meanwhile.
    signals = parse() if len(body) <= SMALL_BODY else await asyncio.to_thread(parse)
    try:
        new = await intake(signals)
    except Exception as failed:  # noqa: BLE001 - a door: 503 makes the sender try again, nothing is lost
        log.error("%s: storing a delivery failed with %s", door.path, type(failed).__name__)
        return _refuse(door, 503, "the store did not take it; send it again")
    for incident_id in {signal.incident_id for signal in signals if signal.incident_id}:
        with telemetry.within(incident_id):
            span = telemetry.tracer().start_span(telemetry.SPAN_DOOR, start_time=int(received_at.timestamp() * 1e9))
            span.set_attributes({telemetry.SOURCE: door.name, telemetry.INCIDENT: incident_id})
            span.end()
    for signal in signals:
        telemetry.counter(telemetry.SIGNALS).add(1, {telemetry.SOURCE: door.name, "sitrep.signal.kind": signal.kind})
    answer: dict[str, Any] = {"stored": new, "received": len(signals)}
    if unread := [why for one in signals if one.kind == "unknown" and (why := str(one.body.get("refused", "")))]:
        answer["unread"] = unread[:20]  # who tries a webhook out sees why nothing comes of it
    return JSONResponse(answer, status_code=202)


async def _payload(
    body: bytes, redact_small: Callable[[Any], Any], redact_large: Callable[[Any], Awaitable[Any]]
) -> Any:
    """The parsed, redacted body; what is not JSON, or is nested like a bomb, is kept as what it is: unreadable."""
    try:
        payload = json.loads(body) if len(body) <= SMALL_BODY else await asyncio.to_thread(json.loads, body)
        return redact_small(payload) if len(body) <= SMALL_BODY else await redact_large(payload)
    except RecursionError:
        return {"unreadable": "nested too deeply", "bytes": len(body)}
    except ValueError:
        return {"unreadable": "not JSON", "bytes": len(body)}


def _signals(
    door: SignalDoor, headers: Mapping[str, str], payload: Any, sha256: str, received_at: datetime
) -> list[Signal]:
    try:
        return door.parse(headers, payload, sha256, received_at)
    except Exception as failed:  # noqa: BLE001 - signed and unreadable: kept, counted, answered 202
        log.error("%s: a signed delivery could not be read (%s); it is kept", door.path, type(failed).__name__)
        return [
            Signal(
                delivery_key=f"sha256:{sha256}", source=door.name, kind="unknown", incident_id=None,
                occurred_at=received_at, received_at=received_at, body={"unreadable": type(failed).__name__},
                sha256=sha256,
            )
        ]  # fmt: skip


def _refuse(door: SignalDoor, status: int, wants: str) -> Response:
    return JSONResponse({"error": f"{door.path}: {wants}"}, status_code=status)


def token_name(request: Request, tokens: Sequence[tuple[str, str]]) -> str | None:
    """Whose bearer token a request carries; None for nobody's."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    found = None
    for name, token in tokens:  # every token is compared, so that time tells nothing
        if hmac.compare_digest(token.encode(), given.strip().encode()) and scheme.lower() == "bearer":
            found = name
    return found
