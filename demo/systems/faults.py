"""What can be made to go wrong with one system, and a count of what was asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(slots=True)
class Faults:
    """Knobs of one system; each stays until it is turned back, `times` bounds the status and the dropped answers."""

    delay_seconds: float = 0.0
    status: int | None = None
    """Answer this status (500, 429, 402, …) instead of the real thing; nothing happens on the server."""
    retry_after_seconds: float | None = None
    drop_answer: bool = False
    """Carry the request out, then close the connection without an answer."""
    times: int | None = None
    """After so many faulty answers all is well again; None is for ever."""
    path_contains: str = ""
    """Only requests whose path contains this."""
    requests: Counter[str] = field(default_factory=Counter)
    """`METHOD path` to how often it was asked."""

    def reset(self) -> None:
        """Everything well again; the counts stay."""
        self.delay_seconds, self.status, self.retry_after_seconds = 0.0, None, None
        self.drop_answer, self.times, self.path_contains = False, None, ""

    def take(self) -> bool:
        """Whether the next answer is to be faulty; counts it."""
        if self.status is None and not self.drop_answer:
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


class Faulty:
    """ASGI wrapper that counts requests and does what the knobs say."""

    def __init__(self, app: ASGIApp, faults: Faults, rate_limit_headers: dict[str, str]) -> None:
        self._app = app
        self._faults = faults
        self._rate_limit_headers = rate_limit_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        faults = self._faults
        faults.requests[f"{scope['method']} {scope['path']}"] += 1
        if faults.path_contains not in scope["path"]:
            await self._app(scope, receive, send)
            return
        if faults.delay_seconds:
            await asyncio.sleep(faults.delay_seconds)
        if not faults.take():
            await self._app(scope, receive, send)
        elif faults.drop_answer:
            await self._app(scope, receive, _nowhere)
            send.__self__.transport.abort()  # type: ignore[attr-defined]  # uvicorn's own: ASGI has no word for this
            await asyncio.sleep(0.01)
        else:
            await self._refusal()(scope, receive, send)

    def _refusal(self) -> Response:
        headers = dict(self._rate_limit_headers) if self._faults.status in (403, 429) else {}
        if self._faults.retry_after_seconds is not None:
            headers["retry-after"] = f"{self._faults.retry_after_seconds:g}"
        return PlainTextResponse("this failure was asked for", self._faults.status or 500, headers)


async def _nowhere(_: Message) -> None:
    return None
