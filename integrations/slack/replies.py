"""`Replies` on Slack: through the response_url of what was clicked or typed, else chat.postEphemeral.

A response_url works in channels that the app is not in, for 30 minutes and five answers
(docs.slack.dev/interactivity/handling-user-interaction). It arrives in a request, so only Slack's own host is called.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from integrations.errors import Denied, IntegrationError, Unavailable
from integrations.ports import Answer, Place
from integrations.slack.web import SYSTEM, SlackWeb

HOOKS = "https://hooks.slack.com"


class SlackReplies:
    """`api_url` is the Web API's address: a local Slack answers on the same origin."""

    def __init__(
        self, web: SlackWeb, session: aiohttp.ClientSession, api_url: str, *, timeout_seconds: float = 5.0
    ) -> None:
        self._web = web
        self._session = session
        self._origins = {origin_of_url(HOOKS), origin_of_url(api_url)}
        self._timeout = timeout_seconds

    async def to_person(self, place: Place, answer: Answer) -> None:
        if place.response_url and origin_of_url(place.response_url) in self._origins:
            try:
                await self._respond(place.response_url, answer)
            except IntegrationError:
                pass  # expired, used up, or not reachable: the other way may still work
            else:
                return
        body: dict[str, Any] = {"channel": place.channel, "user": place.user, "text": answer.text, "parse": "none"}
        if answer.blocks:
            body["blocks"] = [dict(block) for block in answer.blocks]
        if place.thread_ts:
            body["thread_ts"] = place.thread_ts
        await self._web.call("chat.postEphemeral", body=body, effect=True)

    async def _respond(self, url: str, answer: Answer) -> None:
        body: dict[str, Any] = {
            "response_type": "ephemeral", "replace_original": False, "text": answer.text, "parse": "none",
            "unfurl_links": False, "unfurl_media": False,
        }  # fmt: skip
        if answer.blocks:
            body["blocks"] = [dict(block) for block in answer.blocks]
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.post(url, json=body, allow_redirects=False) as response,
            ):
                status = response.status
        except IntegrationError:
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failed:
            raise Unavailable(SYSTEM, f"response_url: no answer ({type(failed).__name__})") from None
        if status != 200:
            raise Denied(SYSTEM, f"response_url: answered {status}")


def origin_of_url(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port as written."""
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "", "", None
