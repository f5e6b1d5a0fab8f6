"""`Poster` on Slack: post, edit, and find again what was posted.

A message of ours carries its mark twice: as message metadata, and as the first block's id, since some servers drop one
of the two. Nothing is unfurled, nothing is parsed, no name is linked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.errors import Denied, Malformed
from integrations.ports import Message, Posted
from integrations.slack.web import SYSTEM, SlackWeb

EVENT_TYPE = "sitrep_post"
MAX_BLOCK_ID = 255
PAGE = 100
"""Messages a page; a distributed app outside Slack's marketplace gets 15 whatever it asks."""


class SlackPoster:
    """Slack's side of the outbox."""

    def __init__(self, web: SlackWeb) -> None:
        self._web = web

    async def post(self, message: Message) -> Posted:
        body = _body(message)
        if message.thread_ts is not None:
            body["thread_ts"] = message.thread_ts
            if message.broadcast:
                body["reply_broadcast"] = True
        body |= {"unfurl_links": False, "unfurl_media": False}
        data = await self._web.call("chat.postMessage", body=body, effect=True)
        ts, channel = data.get("ts"), data.get("channel")
        if not isinstance(ts, str) or not isinstance(channel, str) or not ts or not channel:
            raise Malformed(SYSTEM, "chat.postMessage: an answer without ts and channel")
        return Posted(channel, ts)

    async def update(self, posted: Posted, message: Message) -> None:
        body = _body(message) | {"channel": posted.channel, "ts": posted.ts}
        await self._web.call("chat.update", body=body, effect=True)

    async def find(self, channel: str, mark: str, since: datetime, thread_ts: str | None) -> Posted | None:
        method, params = "conversations.history", {"channel": channel, "oldest": f"{since.timestamp():.6f}"}
        if thread_ts is not None:
            method, params = "conversations.replies", params | {"ts": thread_ts}
        params |= {"include_all_metadata": "true", "inclusive": "true"}
        ours = await self._ours()
        async for page in self._web.pages(method, "messages", params, limit=PAGE):
            for found in page:
                ts = found.get("ts") if isinstance(found, Mapping) else None
                if isinstance(ts, str) and ts and _carries(found, mark) and _is_from(found, ours):
                    return Posted(channel, ts)
        return None

    async def _ours(self) -> Mapping[str, Any]:
        """Bot and user id of this app; anybody can copy a mark into a message of their own."""
        try:
            return await self._web.identity()
        except Denied:
            return {}


def block_id_of(mark: str) -> str:
    """The mark as a block id: itself, or its digest where it is longer than Slack takes."""
    return mark if len(mark) <= MAX_BLOCK_ID else f"sitrep:{hashlib.sha256(mark.encode()).hexdigest()}"


def _body(message: Message) -> dict[str, Any]:
    blocks = [dict(block) for block in message.blocks]
    if blocks:
        blocks[0]["block_id"] = block_id_of(message.mark)
    return {
        "channel": message.channel,
        "text": message.text,
        "blocks": blocks,
        "metadata": {"event_type": EVENT_TYPE, "event_payload": {"mark": message.mark}},
        "parse": "none",
    }


def _carries(found: Mapping[str, Any], mark: str) -> bool:
    metadata = found.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("event_type") == EVENT_TYPE:
        payload = metadata.get("event_payload")
        if isinstance(payload, Mapping) and payload.get("mark") == mark:
            return True
    blocks = found.get("blocks")
    first = blocks[0] if isinstance(blocks, list) and blocks else None
    return isinstance(first, Mapping) and first.get("block_id") == block_id_of(mark)


def _is_from(found: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Not somebody else's. A bot's message may have a user, a bot id, or both."""
    pairs = ((found.get("bot_id"), ours.get("bot_id")), (found.get("user"), ours.get("user_id")))
    known = [theirs == mine for theirs, mine in pairs if theirs and mine]
    return any(known) or not known
