"""An alert channel is read back through a local Slack, put together as the running bot puts it together."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

from bot.clock import SystemClock
from bot.settings import load
from bot.trust.redaction import Redactor
from bot.wiring.hearing import ear_of, missed_of
from bot.wiring.outside import egress_of, slack_of
from demo.slack import SlackThread
from integrations.slack import ChannelNames
from tests.unit.test_life import World


async def _moved(*_: Any) -> None:
    """Nobody's card moves here."""


async def test_what_a_bot_wrote_while_nobody_listened_becomes_an_incident_at_the_next_reading(
    slack: SlackThread, tmp_path
) -> None:
    (tmp_path / "sitrep.toml").write_text('[slack]\nchannel = "#incidents"\nalert_channels = ["#incidents"]\n')
    paths = {"SITREP_HOME": str(tmp_path / "home"), "SITREP_CONFIG": str(tmp_path / "sitrep.toml")}
    settings = load({**slack.environment(), **paths})
    world, clock = World(), SystemClock()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(world.store.close)
        parts = await slack_of(settings, egress_of(settings, []), stack)
        channels = ChannelNames(parts.web)
        stack.push_async_callback(channels.close)
        ear = ear_of(settings, parts, world.book, clock, channels, Redactor([b"k" * 32]), world.intake, _moved)
        missed = missed_of(settings, parts, world.book, clock, channels, ear)
        assert missed is not None
        assert await missed.look() == 0  # from now on

        await asyncio.to_thread(slack.say, "#incidents", "somebody writes: checkout is down?")
        own = (await parts.web.identity())["bot_id"]

        def written(bot: str, text: str, n: int) -> dict[str, Any]:
            return {"type": "message", "bot_id": bot, "text": text, "ts": f"{time.time() + n:.6f}"}

        told = [written("B0GRAFANA", "[FIRING:1] DiskFull checkout-api", 0), written(own, "[FIRING:1] Our own card", 1)]
        slack.proxy.fail("answer", "conversations.history", answer={"ok": True, "messages": told[::-1]})
        assert await missed.look() == 1
        (incident,) = await world.store.query("SELECT title, service, source, own_channel FROM incidents")
        assert incident["title"] == "DiskFull checkout-api"
        assert incident["source"] == f"slack:{incident['own_channel']}"
        assert await missed.look() == 0  # the real history: a person's words alone
    assert missed_of(settings, parts, world.book, clock, channels, None) is None
