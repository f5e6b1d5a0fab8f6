"""A file for one person, in their conversation with the app; and a picture for a message.

The way of `files.upload` v2: `files.getUploadURLExternal`, the bytes to the address that it answers, then
`files.completeUploadExternal` (docs.slack.dev/messaging/working-with-files). The address comes in an answer, so only
Slack's own host is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime

import aiohttp

from integrations.errors import Denied, IntegrationError, Malformed, Unavailable
from integrations.slack.replies import origin_of_url
from integrations.slack.web import SYSTEM, SlackWeb

UPLOADS = "https://files.slack.com"
MAX_BYTES = 4 * 1024 * 1024


class SlackFiles:
    """`api_url` is the Web API's address: a local Slack takes files on the same origin."""

    def __init__(
        self,
        web: SlackWeb,
        session: aiohttp.ClientSession,
        api_url: str,
        *,
        timeout_seconds: float = 20.0,
        settle_seconds: float = 10.0,
    ) -> None:
        """settle_seconds: how long Slack is given to look at a picture before a message may name it."""
        self._web = web
        self._session = session
        self._origins = {origin_of_url(UPLOADS), origin_of_url(api_url)}
        self._timeout = timeout_seconds
        self._settle_seconds = settle_seconds

    async def send_privately(
        self, user_id: str, name: str, title: str, said: str, content: bytes, *, since: datetime | None = None
    ) -> None:
        """Raises Unavailable, Denied, Malformed or Refused. The name is the file's key, which `since` looks for in the
        conversation with that person (`im:history`)."""
        _not_too_large(content)
        opened = await self._web.call("conversations.open", body={"users": user_id})
        channel_id = _text(opened.get("channel"), "id", "conversations.open")
        if since is not None and await self._there(channel_id, name, since):
            return
        file_id = await self._place(name, content)
        body = {"files": [{"id": file_id, "title": title}], "channel_id": channel_id, "initial_comment": said}
        await self._web.call("files.completeUploadExternal", body=body, effect=True)

    async def keep_picture(self, name: str, title: str, content: bytes) -> str:
        """The id of a picture that is in no conversation: readers of a message whose image block names it see it.

        Slack looks at a file for some seconds before it takes it in a block; to ask whether it has would need a scope
        to read files, so it is given time instead. Raises Unavailable, Denied, Malformed or Refused. Asked twice,
        there is a second picture that nobody sees.
        """
        _not_too_large(content)
        file_id = await self._place(name, content)
        body = {"files": [{"id": file_id, "title": title}]}
        done = await self._web.call("files.completeUploadExternal", body=body, effect=True)
        files = done.get("files")
        looked_at = isinstance(files, list) and all(isinstance(one, Mapping) and one.get("mimetype") for one in files)
        if not looked_at:
            await asyncio.sleep(self._settle_seconds)
        return file_id

    async def _place(self, name: str, content: bytes) -> str:
        """The bytes at the address that Slack names for them; the file's id."""
        place = await self._web.call("files.getUploadURLExternal", params={"filename": name, "length": len(content)})
        file_id = _text(place, "file_id", "files.getUploadURLExternal")
        await self._upload(_text(place, "upload_url", "files.getUploadURLExternal"), content)
        return file_id

    async def _there(self, channel_id: str, name: str, since: datetime) -> bool:
        params = {"channel": channel_id, "oldest": f"{since.timestamp():.6f}", "inclusive": "true"}
        async for page in self._web.pages("conversations.history", "messages", params, limit=100):
            for message in page:
                files = message.get("files") if isinstance(message, Mapping) else None
                for one in files if isinstance(files, list) else ():
                    if isinstance(one, Mapping) and one.get("name") == name:
                        return True
        return False

    async def _upload(self, url: str, content: bytes) -> None:
        if origin_of_url(url) not in self._origins:
            raise Denied(SYSTEM, "files.getUploadURLExternal: an address that is not Slack's; nothing was sent there")
        headers = {"Content-Type": "application/octet-stream"}
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.post(url, data=content, headers=headers, allow_redirects=False) as response,
            ):
                status = response.status
        except IntegrationError:
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failed:
            raise Unavailable(SYSTEM, f"the upload: no answer ({type(failed).__name__})") from None
        if status >= 500 or status == 429:
            raise Unavailable(SYSTEM, f"the upload: answered {status}")
        if status != 200:
            raise Denied(SYSTEM, f"the upload: answered {status}")


def _not_too_large(content: bytes) -> None:
    if len(content) > MAX_BYTES:
        raise Malformed(SYSTEM, f"a file of {len(content)} bytes; at most {MAX_BYTES} are sent")


def _text(answer: object, name: str, method: str) -> str:
    found = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(found, str) or not found:
        raise Malformed(SYSTEM, f"{method}: an answer without {name}")
    return found
