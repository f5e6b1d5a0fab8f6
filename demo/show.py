"""Prints the messages of a channel as they appear and change."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.text import Text

from bot.cards.terminal import draw


class Channel:
    """What was printed of one channel so far; `show` prints what is new or changed since."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._seen: dict[str, dict[str, Any]] = {}
        self._began = time.monotonic()

    def restart(self) -> None:
        """The moment from which times are counted."""
        self._began = time.monotonic()

    def show(self, messages: list[dict[str, Any]]) -> None:
        """Prints each message that is new or different."""
        for message in messages:
            shown = {key: message.get(key) for key in ("text", "blocks", "subtype")}
            if self._seen.get(message["ts"]) == shown:
                continue
            verb = "changes" if message["ts"] in self._seen else "appears"
            self._seen[message["ts"]] = shown
            where = "in its thread" if message.get("thread_ts") not in (None, message["ts"]) else f"in {self._name}"
            seconds = time.monotonic() - self._began
            self._console.print(Text(f"+{seconds:.1f} s  a message {verb} {where}", style="bold cyan"))
            self._console.print(draw(message.get("blocks") or [_as_section(message)]))


def _as_section(message: dict[str, Any]) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": message.get("text", "")}}
