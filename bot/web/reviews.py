"""The CI gate's door: `POST /reviews`, a diff in, its risk out, for holders of a token of SITREP_API_TOKENS.

A job needs no key of a model then, and shares the bot's rates and ceilings. Few reviews are made at once, so that a
busy day in CI takes nothing from an incident; the gateway itself lets live incidents go first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.flows.review import FAIL_ON, Asked, Review
from bot.guardrails.diff import NotADiff
from bot.web.app import BodyTooLarge, read_body, token_name

MOST_BYTES = 1024 * 1024
AT_ONCE, MAY_WAIT = 2, 20


def review_route(review: Callable[[Asked], Awaitable[Review]], tokens: Sequence[tuple[str, str]]) -> Route:
    """`?service=`, `?fail_on=high|medium|never` and `?advisory=1` are what the command's options are."""
    slots, waiting = asyncio.Semaphore(AT_ONCE), 0

    async def receive(request: Request) -> Response:
        nonlocal waiting
        if not tokens:
            return JSONResponse({"error": "not found"}, status_code=404)
        name = token_name(request, tokens)
        if name is None:
            told = {"error": "send Authorization: Bearer with a token of SITREP_API_TOKENS"}
            return JSONResponse(told, status_code=401, headers={"WWW-Authenticate": "Bearer"})
        asked = request.query_params
        fail_on = asked.get("fail_on", "high")
        if fail_on not in FAIL_ON:
            return JSONResponse({"error": f"fail_on is one of {', '.join(FAIL_ON)}"}, status_code=400)
        if waiting >= MAY_WAIT:
            told = {"error": "too many reviews are waiting; try again"}
            return JSONResponse(told, status_code=429, headers={"Retry-After": "30"})
        try:
            body = await read_body(request, MOST_BYTES)
        except BodyTooLarge:
            return JSONResponse({"error": f"a diff of at most {MOST_BYTES} bytes; split the change"}, status_code=413)
        except (ClientDisconnect, TimeoutError):
            return JSONResponse({"error": "the diff did not arrive in time"}, status_code=408)
        wanted = Asked(
            body.decode("utf-8", "replace"), asked.get("service"), by=f"token:{name}", fail_on=fail_on,
            advisory=asked.get("advisory") in {"1", "true"},
        )  # fmt: skip
        waiting += 1
        try:
            async with slots:
                return JSONResponse((await review(wanted)).as_json())
        except NotADiff as wrong:
            return JSONResponse({"error": f"the diff cannot be judged: {wrong}"}, status_code=400)
        finally:
            waiting -= 1

    return Route("/reviews", receive, methods=["POST"])
