"""A channel of the local Slack as its members see it, for acceptance tests of the installed command."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any

from demo.bot_process import BotProcess
from demo.slack import SlackThread

SECONDS = 60.0


class Channel:
    """The incident channel as its members see it."""

    def __init__(self, slack: SlackThread, bot: BotProcess, name: str = "#incidents") -> None:
        self.slack, self.bot, self.name = slack, bot, name

    async def messages(self) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.slack.messages, self.name)

    async def cards(self) -> list[dict[str, Any]]:
        return [m for m in await self.messages() if is_card(m)]

    async def until(self, what: Callable[[list[dict[str, Any]]], Any], said: str) -> Any:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if found := what(await self.messages()):
                return found
            assert self.bot.running, self.bot.log_tail()
            await asyncio.sleep(0.1)
        raise AssertionError(f"{said}\n{await self.messages()}\n{self.bot.log_tail()}")

    async def card_says(self, *words: str) -> dict[str, Any]:
        def found(messages: list[dict[str, Any]]) -> dict[str, Any] | None:
            for one in messages:
                if is_card(one) and all(w in json.dumps(one) for w in words):
                    return one
            return None

        return dict(await self.until(found, f"no card says {words}"))

    async def form(self) -> dict[str, Any]:
        """The form that opens."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if opened := (await asyncio.to_thread(self.slack.page))["modalStack"]:
                return dict(opened[-1])
            await asyncio.sleep(0.1)
        raise AssertionError(f"no form opens\n{self.bot.log_tail()}")

    async def private(self, words: str, to: str = "") -> dict[str, Any]:
        """The newest private answer that says this; `to` whom, a person's id."""

        def found(messages: list[dict[str, Any]]) -> dict[str, Any] | None:
            shown = [m for m in messages if m.get("ephemeral_to") and (not to or m["ephemeral_to"] == to)]
            return next((m for m in reversed(shown) if words in text_of(m)), None)

        return dict(await self.until(found, f"no private answer says {words!r}"))


def first_block(message: dict[str, Any]) -> str:
    blocks = message.get("blocks") or [{}]
    return str(blocks[0].get("block_id", ""))


def is_card(message: dict[str, Any]) -> bool:
    """A card, where it was first posted or where it moved to."""
    return re.search(r":card(:\d+)?\Z", first_block(message)) is not None


def text_of(message: dict[str, Any]) -> str:
    return str(message.get("text", "")).replace("\u00a0", " ")
