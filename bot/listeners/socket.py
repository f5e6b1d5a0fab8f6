"""Socket Mode: Slack's requests over a web socket that we open, for those without a public address."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp

log = logging.getLogger(__name__)
sdk_log = logging.getLogger(f"{__name__}.sdk")


class _WithoutTrace(logging.Filter):
    """The SDK logs every failed attempt to connect with its trace; one line is enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = None
        record.exc_text = None
        return True


class SocketMode:
    """Keeps one connection. `reconnected` is called after each but the first: events may have been missed."""

    def __init__(
        self,
        app: AsyncApp,
        app_token: str,
        session: Callable[[], aiohttp.ClientSession],
        reconnected: Callable[[], Awaitable[None]],
    ) -> None:
        """`session` makes the session that the web socket goes through (the egress allow-list's)."""
        self._app = app
        self._token = app_token
        self._session = session
        self._reconnected = reconnected
        self._connections = 0

    async def run(self) -> None:
        """Until cancelled. The SDK reconnects by itself, a new connection before the old one is closed."""
        if not any(isinstance(one, _WithoutTrace) for one in sdk_log.filters):
            sdk_log.addFilter(_WithoutTrace())
        handler = AsyncSocketModeHandler(self._app, self._token, logger=sdk_log)
        client = handler.client
        # Both read a proxy from the environment, and the web socket would go out through a session of its own.
        client.proxy = None
        await client.aiohttp_client_session.close()
        client.aiohttp_client_session = self._session()
        client.message_listeners.append(self._heard)
        try:
            await handler.connect_async()  # type: ignore[no-untyped-call]
            await asyncio.Event().wait()
        finally:
            await handler.close_async()  # type: ignore[no-untyped-call]

    async def _heard(self, client: Any, message: dict[str, Any], raw: str | None) -> None:
        del client, raw
        if message.get("type") != "hello":
            return
        self._connections += 1
        log.info("connected to Slack by Socket Mode")
        if self._connections > 1:
            await self._reconnected()
