"""Signed HTTP: Slack's requests on the web server, checked on their raw bytes before Bolt sees them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from urllib.parse import parse_qs

from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.clock import Clock
from integrations.errors import BadSignature

log = logging.getLogger(__name__)

PATH = "/slack/events"
BODY_LIMIT = 1024 * 1024
BODY_SECONDS = 10.0
"""How long a body may take to arrive."""
Verify = Callable[[Mapping[str, str], bytes, datetime], None]
Limited = Callable[[], Awaitable[None]]


def slack_route(app: AsyncApp, verify: Verify, clock: Clock, rate_limited: Limited) -> Route:
    """One address for commands, interactivity and events. `verify` raises BadSignature; `rate_limited` is called
    when Slack says that it dropped events."""

    async def receive(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return JSONResponse(
                {"error": f"a body of at most {BODY_LIMIT} bytes within {BODY_SECONDS:g} s"}, status_code=413
            )
        headers = {name.lower(): value for name, value in request.headers.items()}
        if _is_ssl_check(headers, body) and "x-slack-signature" not in headers:
            return Response()  # Slack looks at our certificate: nothing is done
        try:
            verify(headers, body, clock.now())
        except BadSignature as wrong:
            log.warning("%s: refused: %s", PATH, wrong)
            return JSONResponse({"error": str(wrong)}, status_code=401)
        if _is_ssl_check(headers, body):
            return Response()
        return await _dispatch(app, headers, body, rate_limited)

    return Route(PATH, receive, methods=["POST"])


async def _dispatch(app: AsyncApp, headers: Mapping[str, str], body: bytes, rate_limited: Limited) -> Response:
    try:
        decoded = body.decode("utf-8")
        if headers.get("content-type", "").startswith("application/json"):
            payload = json.loads(decoded)
            if isinstance(payload, Mapping) and payload.get("type") == "app_rate_limited":
                await rate_limited()
                return Response()
        request = AsyncBoltRequest(body=decoded, headers=dict(headers))
        answered = await app.async_dispatch(request)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as unreadable:
        # Signed by Slack and not what Slack documents: asking for it again would not help.
        log.warning("%s: a signed request that cannot be read (%s)", PATH, type(unreadable).__name__)
        return Response(status_code=200)
    return Response(answered.body, answered.status, headers=answered.first_headers_without_set_cookie())


def _is_ssl_check(headers: Mapping[str, str], body: bytes) -> bool:
    if not headers.get("content-type", "").startswith("application/x-www-form-urlencoded") or b"ssl_check" not in body:
        return False
    return parse_qs(body.decode("utf-8", "replace")).get("ssl_check") == ["1"]


async def _body(request: Request) -> bytes | None:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 15 or int(announced) > BODY_LIMIT):
        return None
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > BODY_LIMIT:
                    return None
                parts.append(part)
    except (ClientDisconnect, TimeoutError):
        return None
    return b"".join(parts)
