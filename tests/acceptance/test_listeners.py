"""The listeners over a local Slack's real protocols: commands, buttons and private answers, as several people."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import uvicorn
from starlette.applications import Starlette

from bot.cards import actions
from bot.cards.render import render
from bot.cards.samples import facts
from bot.clock import SystemClock
from bot.listeners.app import Listeners
from bot.listeners.desk import Label
from bot.listeners.http import slack_route
from bot.listeners.socket import SocketMode
from demo.slack import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET, LocalSlack, SlackThread, config
from integrations.http import Egress, aiohttp_session
from integrations.ports import Message
from integrations.slack import SlackPoster, SlackReplies, SlackScreens, SlackWeb, verify_signature, web_client
from tests.support.desk import FakeDesk, FakeReaderEvents, desks

CHANNEL, CHANNEL_ID = "#incidents", "C0INCIDENTS"
PRIYA = "U0PRIYA01"


async def until(condition: Callable[[], Any], seconds: float = 8.0) -> Any:
    for _ in range(int(seconds / 0.02)):
        found = condition()
        found = await found if asyncio.iscoroutine(found) else found
        if found:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")


class Bot:
    """The listeners, a desk behind them, and the way out to Slack."""

    def __init__(self, session: aiohttp.ClientSession, api_url: str) -> None:
        self.client = web_client(BOT_TOKEN, api_url, session)
        web = SlackWeb(self.client)
        self.poster = SlackPoster(web)
        self.desk, self.readers = FakeDesk(), FakeReaderEvents()
        self.listeners = Listeners(
            desks(self.desk, screens=SlackScreens(web)), SlackReplies(web, session, api_url), self.readers, self.form,
            SystemClock(), lambda text: text,
        )  # fmt: skip
        self.app = self.listeners.bolt(self.client)

    async def form(self) -> Any:
        return "classic"

    async def post_card(self) -> str:
        drawn = render(facts().model_copy(update={"version": 4}), "classic")
        return (await self.poster.post(Message(CHANNEL_ID, drawn.text, drawn.blocks, "sitrep:T:P8K2Q1:card"))).ts


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[str], Bot]]:
    """A bot whose only way out is the allow-list with this one address."""
    sessions: list[aiohttp.ClientSession] = []

    def made(api_url: str) -> Bot:
        sessions.append(aiohttp_session(Egress([api_url]), "slack"))
        return Bot(sessions[-1], api_url)

    yield made
    for session in sessions:
        await session.close()


async def sent(form: Any) -> bool:
    """Whether a form stood open, which it then does no more."""
    try:
        await form
    except LookupError:
        return False
    return True


async def use(bot: Bot, command: Any, click: Any, messages: Any, submit: Any, priya: str) -> None:
    """What an on-call engineer does, and what only she sees."""
    bot.desk.may = {priya}
    card = await bot.post_card()

    async def private(text: str) -> bool:
        for one in await messages(CHANNEL):
            if text in str(one.get("text", "")).replace("\u00a0", " ") and one.get("ephemeral_to") == priya:
                return True
        return False

    await command(CHANNEL, "/sitrep", "status", user="priya")
    await until(lambda: private("2 open incidents"))
    await command(CHANNEL, "/sitrep", "help", user="priya")
    await until(lambda: private("/sitrep triage [incident]"))
    await command(CHANNEL, "/sitrep", "triage P8K2Q1", user="priya")
    await until(lambda: private("Looking at `P8K2Q1` again (run 2)"))
    for action_id, call, said in (
        (actions.HELPFUL, ("vote", "P8K2Q1", priya, 4, "helpful"), "Counted as helpful"),
        (actions.WAS_NOT, ("was_not", "P8K2Q1", priya, 4, "e3"), "Ruled out: deploy a1b2c3d"),
        (actions.ACKNOWLEDGE, ("acknowledge", "P8K2Q1", priya), "Acknowledged"),
        (actions.OWN_VIEW, ("own_view", priya, "P8K2Q1"), "Suspect: deploy a1b2c3d"),
    ):
        await click(CHANNEL, card, action_id, user="priya")
        await until(lambda said=said: private(said))
        assert bot.desk.calls[-1] == call
    await click(CHANNEL, card, actions.WAS_CHANGE, user="priya")
    await until(lambda: submit({"fixed_by": "rolled back"}))
    await until(lambda: private("The cause: deploy a1b2c3d"))
    assert bot.desk.calls[-1] == ("label", "P8K2Q1", priya, 4, Label("change", "e3", None, "rolled back"))


async def test_commands_and_buttons_work_over_socket_mode(slack: SlackThread, connect: Any) -> None:
    bot = connect(slack.api_url)
    mode = SocketMode(
        bot.app, APP_TOKEN, lambda: aiohttp_session(Egress([slack.api_url]), "slack"), bot.readers.reconnected
    )
    running = asyncio.create_task(mode.run())
    try:
        await until(lambda: slack.proxy.sockets == 1)

        async def command(*given: Any, **more: Any) -> None:
            await asyncio.to_thread(slack.command, *given, **more)

        async def click(*given: Any, **more: Any) -> None:
            await asyncio.to_thread(slack.click, *given, **more)

        async def messages(channel: str) -> Any:
            return await asyncio.to_thread(slack.messages, channel)

        async def submit(values: Any) -> bool:
            return await sent(asyncio.to_thread(slack.submit, values))

        await use(bot, command, click, messages, submit, PRIYA)
        bot.desk.calls.clear()
        await asyncio.to_thread(slack.command, CHANNEL, "/sitrep", "triage P8K2Q1", user="mei")
        await until(lambda: any("may not see it" in str(one.get("text")) for one in slack.messages(CHANNEL)))
        assert {call[0] for call in bot.desk.calls} == {"find"}
        assert slack.proxy.requests["chat.postMessage"] == 1
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_commands_and_buttons_work_over_signed_http(slack: SlackThread, connect: Any) -> None:
    del slack  # where it cannot be had, this test cannot either
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    workspace = config("events", f"http://127.0.0.1:{port}/slack/events")
    async with LocalSlack.running(workspace=workspace, bot_port=port) as other:
        bot = connect(other.api_url)

        def verify(headers: Any, body: bytes, at: Any) -> None:
            verify_signature([SIGNING_SECRET], headers, body, at)

        route = slack_route(bot.app, verify, SystemClock(), bot.readers.reconnected)
        server = uvicorn.Server(
            uvicorn.Config(Starlette(routes=[route]), host="127.0.0.1", port=port, log_level="error", lifespan="off")
        )
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        serving = asyncio.create_task(server.serve())
        try:
            await until(lambda: server.started)
            await use(bot, other.command, other.click, other.messages, lambda values: sent(other.submit(values)), PRIYA)
        finally:
            server.should_exit = True
            await serving
