"""A channel's id by its name, as settings and people write it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from integrations.errors import Denied, IntegrationError
from integrations.slack.web import SYSTEM, SlackWeb

_ID = re.compile(r"[CGD][A-Z0-9]{2,20}\Z")
MAX_WAIT_SECONDS = 60.0


class ChannelNames:
    """`#payments` → `C0123`: first among the channels that the app is in, then among all that it can see."""

    def __init__(self, web: SlackWeb) -> None:
        self._web = web
        self._ids: dict[str, str] = {}
        self._reading: asyncio.Task[None] | None = None

    async def channel_id(self, name: str, wait_seconds: float = 1.0) -> str:
        """The id; a name that cannot be resolved in this time is returned as it is, since Slack takes names where it
        posts. Reading goes on, so that the next question finds the answer."""
        try:
            async with asyncio.timeout(wait_seconds):
                return await self.find(name)
        except (IntegrationError, TimeoutError):
            return name

    async def find(self, name: str) -> str:
        """The id. Raises Denied for a name that the app cannot see, with what to do; else what a call raises."""
        if _ID.match(name):
            return name
        wanted = name.strip().removeprefix("#").lower()
        if wanted not in self._ids:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.ensure_future(self._look_up(wanted))
                self._reading.add_done_callback(_heard)
            await asyncio.shield(self._reading)
        if wanted not in self._ids:
            raise Denied(SYSTEM, f"no channel {name!r} that the app can see: create it, or invite the app to it")
        return self._ids[wanted]

    async def joined(self) -> list[tuple[str, str, str, str]]:
        """Id, name, topic and purpose of every channel that the app is in, read anew. Raises what a call raises."""
        params = {"types": "public_channel,private_channel", "exclude_archived": "true"}
        found = []
        async for page in self._web.pages("users.conversations", "channels", params, limit=900):
            for one in page:
                channel_id, name = (one.get("id"), one.get("name")) if isinstance(one, Mapping) else (None, None)
                if isinstance(channel_id, str) and isinstance(name, str) and _ID.match(channel_id):
                    found.append((channel_id, name, _said(one.get("topic")), _said(one.get("purpose"))))
        return found

    async def described(self, channel_id: str) -> tuple[str, str, str, str]:
        """Id, name, topic and purpose of one channel, read anew. Raises what a call raises."""
        found = (await self._web.call("conversations.info", params={"channel": channel_id})).get("channel")
        one = found if isinstance(found, Mapping) else {}
        name = one.get("name")
        return channel_id, name if isinstance(name, str) else "", _said(one.get("topic")), _said(one.get("purpose"))

    async def join(self, channel_id: str) -> None:
        """Become a member of a public channel; being one already is well. Raises Denied for one that is closed."""
        await self._web.call("conversations.join", body={"channel": channel_id}, effect=True)

    async def close(self) -> None:
        """Ends what is still being read."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _look_up(self, wanted: str) -> None:
        params = {"types": "public_channel,private_channel", "exclude_archived": "true"}
        try:
            await self._read("users.conversations", params)
        except Denied as refused:
            if "unknown_method" not in refused.message:  # some servers know only the other list
                raise
        if wanted not in self._ids:
            await self._read("conversations.list", params)

    async def _read(self, method: str, params: Mapping[str, Any]) -> None:
        async for page in self._web.pages(method, "channels", params, limit=900, wait_seconds=MAX_WAIT_SECONDS):
            for channel in page:
                if not isinstance(channel, Mapping):
                    continue
                name, channel_id = channel.get("name"), channel.get("id")
                if isinstance(name, str) and isinstance(channel_id, str) and name and _ID.match(channel_id):
                    self._ids[name.lower()] = channel_id


def _said(value: Any) -> str:
    """A topic or purpose, which Slack wraps in an object."""
    told = value.get("value") if isinstance(value, Mapping) else None
    return told[:1000] if isinstance(told, str) else ""


def _heard(task: asyncio.Task[None]) -> None:
    """Whoever waited has the failure already, or waits no more."""
    if not task.cancelled():
        task.exception()
