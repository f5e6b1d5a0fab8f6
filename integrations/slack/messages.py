"""What was written in a channel since a moment: `conversations.history`, which is the newest first and in pages.

Slack gives a distributed app outside its Marketplace 15 messages a minute, others 200 a call
(docs.slack.dev/reference/methods/conversations.history, docs.slack.dev/changelog/2025-05-terms-rate-limit-update).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from integrations.errors import Unavailable
from integrations.slack.web import SlackWeb

_TS = re.compile(r"\d{1,12}\.\d{1,9}")
PAGE = 200
MAX_WAIT_SECONDS = 120.0
"""Spent on rate limits in one reading."""


@dataclass(frozen=True, slots=True)
class Written:
    """Messages of a channel, oldest first. `whole` says whether nothing between `since` and now was left out."""

    messages: tuple[Mapping[str, Any], ...]
    whole: bool


async def written_since(web: SlackWeb, channel: str, since: datetime, limit: int) -> Written:
    """At most `limit` messages, the newest. Raises Unavailable, Denied or Malformed where none could be read."""
    found: list[Mapping[str, Any]] = []
    params = {"channel": channel, "oldest": f"{since.timestamp():.6f}", "inclusive": "false"}
    whole = True
    try:
        pages = web.pages("conversations.history", "messages", params, limit=PAGE, wait_seconds=MAX_WAIT_SECONDS)
        async for page in pages:
            found += [one for one in page if isinstance(one, Mapping) and _written_at(one) > since.timestamp()]
            if len(found) >= limit:
                whole = len(found) == limit
                break
    except Unavailable:
        if not found:
            raise
        whole = False
    return Written(tuple(reversed(found[:limit])), whole)


def _written_at(message: Mapping[str, Any]) -> float:
    """Seconds since the epoch; 0 for a message that does not say: some servers list them whatever is asked."""
    ts = message.get("ts")
    return float(ts) if isinstance(ts, str) and _TS.fullmatch(ts) else 0.0
