"""`Screens` on Slack: views.open, views.publish, direct messages, the assistant's panel.

Sources: docs.slack.dev/reference/methods/views.open, …/views.publish, …/assistant.threads.setStatus,
…/assistant.threads.setSuggestedPrompts. None needs a scope but the assistant's (`assistant:write`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from integrations.ports import Answer
from integrations.slack.web import SlackWeb

MAX_PROMPTS = 4


class SlackScreens:
    """On the same client as the posts; nothing here is posted where more than one person reads."""

    def __init__(self, web: SlackWeb) -> None:
        self._web = web

    async def open_form(self, trigger_id: str, view: Mapping[str, Any]) -> None:
        await self._web.call("views.open", body={"trigger_id": trigger_id, "view": dict(view)}, effect=True)

    async def publish_home(self, person_id: str, view: Mapping[str, Any]) -> None:
        await self._web.call("views.publish", body={"user_id": person_id, "view": dict(view)}, effect=True)

    async def say_in_direct(self, channel_id: str, thread_ts: str | None, answer: Answer) -> None:
        body: dict[str, Any] = {
            "channel": channel_id, "text": answer.text, "parse": "none", "unfurl_links": False, "unfurl_media": False,
        }  # fmt: skip
        if answer.blocks:
            body["blocks"] = [dict(block) for block in answer.blocks]
        if thread_ts:
            body["thread_ts"] = thread_ts
        await self._web.call("chat.postMessage", body=body, effect=True)

    async def assistant_status(self, channel_id: str, thread_ts: str, status: str) -> None:
        body = {"channel_id": channel_id, "thread_ts": thread_ts, "status": status}
        await self._web.call("assistant.threads.setStatus", body=body, effect=True)

    async def assistant_prompts(self, channel_id: str, thread_ts: str, prompts: Sequence[tuple[str, str]]) -> None:
        offered = [{"title": title, "message": message} for title, message in prompts[:MAX_PROMPTS]]
        body = {"channel_id": channel_id, "thread_ts": thread_ts, "prompts": offered}
        await self._web.call("assistant.threads.setSuggestedPrompts", body=body, effect=True)
