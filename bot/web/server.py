"""The web server's own limits, beside those of a route: how long a request may take to arrive, and how many at once.

uvicorn waits for ever for a request that has begun (its keep-alive timer runs between requests only), so that a few
thousand connections which send a byte a minute would fill every place. Behind a proxy this rarely matters; a webhook
door may stand without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""From a connection, or the first byte after an answer, to the end of the headers."""
HEAD_BYTES = 32 * 1024
"""Request line and headers. Slack's and every sender's are under 4 KB."""
AT_ONCE = 800
"""Connections, below the usual limit of 1,024 open files; the next ones are answered 503."""
KEEP_ALIVE_SECONDS = 75


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 with an end to its patience: who does not finish the headers in time is hung up on, and headers that
    are too many are refused."""

    def __init__(self, *args: Any, head_seconds: float = HEAD_SECONDS, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head_seconds = head_seconds
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        """Of a head that is not complete yet."""
        self._whole_bytes = 0
        """Of the lines that the parser has handed over."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and self._between_requests():
            self._expect_head()
        super().data_received(data)
        if self._head_timer is not None:  # the head goes on: the parser keeps what it has of it
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("Headers too large.")

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._forget_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._whole_bytes = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def _between_requests(self) -> bool:
        """No request is being answered: what arrives is a head, or the beginning of one."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or bool(cycle.response_complete)

    def _count(self, size: int) -> None:
        """What arrived whole, trailers too. The parser answers 400 for whatever a callback raises."""
        self._whole_bytes += size
        if self._whole_bytes > HEAD_BYTES:
            raise ValueError("headers too large")

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self._head_seconds, self._hang_up)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _hang_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: it would end the process by the signal once more."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_of(app: Any, *, host: str, port: int, head_seconds: float = HEAD_SECONDS, at_once: int = AT_ONCE) -> Server:
    """A server of this application within the limits; `serve` starts it."""
    protocol: Any = functools.partial(PatientProtocol, head_seconds=head_seconds)
    return Server(
        uvicorn.Config(
            app, host=host, port=port, log_level="warning", access_log=False, timeout_keep_alive=KEEP_ALIVE_SECONDS,
            lifespan="off", log_config=None, http=protocol, ws="none", limit_concurrency=at_once,
            server_header=False, proxy_headers=False,
        )
    )  # fmt: skip
