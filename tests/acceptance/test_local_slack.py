"""The local Slack and its proxy behave towards the real SDK as the bot relies on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from demo.block_limits import problems
from demo.slack import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET, LocalSlack, SlackThread, config

CHANNEL = "#incidents"
BUTTON = {"type": "button", "action_id": "go", "text": {"type": "plain_text", "text": "Go"}, "value": "7"}
BLOCKS = [
    {"type": "section", "block_id": "mark-1", "text": {"type": "mrkdwn", "text": "*hello*"}},
    {"type": "actions", "block_id": "buttons", "elements": [BUTTON]},
]


def client(api_url: str) -> AsyncWebClient:
    # The SDK itself sends again after a lost connection, which would post twice: its handlers are off here too.
    return AsyncWebClient(token=BOT_TOKEN, base_url=api_url, timeout=10, retry_handlers=[])


async def until(condition: Any, seconds: float = 5.0) -> None:
    for _ in range(int(seconds / 0.02)):
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")


def bolt(api_url: str, heard: list[Any]) -> AsyncApp:
    app = AsyncApp(client=client(api_url), signing_secret=SIGNING_SECRET)

    @app.command("/sitrep")
    async def command(ack: Any, respond: Any, command: dict[str, Any]) -> None:
        await ack()
        heard.append(command["text"])
        await respond(f"you said {command['text']}", response_type="ephemeral")

    @app.action("go")
    async def action(ack: Any, action: dict[str, Any], body: dict[str, Any]) -> None:
        await ack()
        heard.append((action["value"], body["user"]["id"]))

    return app


@contextlib.asynccontextmanager
async def in_socket_mode(app: AsyncApp, api_url: str) -> AsyncIterator[None]:
    handler = AsyncSocketModeHandler(app, APP_TOKEN, web_client=AsyncWebClient(token=APP_TOKEN, base_url=api_url))
    await handler.connect_async()
    try:
        yield
    finally:
        await handler.close_async()


async def exercise(slack: LocalSlack, app: AsyncApp, heard: list[Any]) -> None:
    posted = await app.client.chat_postMessage(channel="C0INCIDENTS", text="hello", blocks=BLOCKS)
    await slack.command(CHANNEL, "/sitrep", "status", user="priya")
    await until(lambda: "status" in heard)
    await slack.click(CHANNEL, posted["ts"], "go", user="tomas")
    await until(lambda: ("7", "U0TOMAS01") in heard)

    async def answered() -> bool:
        return any(one.get("text") == "you said status" for one in await slack.messages(CHANNEL))

    await until(answered)


async def test_commands_and_clicks_reach_a_bolt_app_over_socket_mode_and_its_answers_come_back(
    slack: SlackThread,
) -> None:
    heard: list[Any] = []
    app = bolt(slack.api_url, heard)
    async with in_socket_mode(app, slack.api_url):
        await until(lambda: slack.proxy.sockets == 1)
        posted = await app.client.chat_postMessage(channel="C0INCIDENTS", text="hello", blocks=BLOCKS)
        await asyncio.to_thread(slack.command, CHANNEL, "/sitrep", "status", user="priya")
        await asyncio.to_thread(slack.click, CHANNEL, posted["ts"], "go", user="tomas")
        await until(lambda: len(heard) == 2)
        assert heard == ["status", ("7", "U0TOMAS01")]
        await until(lambda: any(one["text"] == "you said status" for one in slack.messages(CHANNEL)))
    assert slack.proxy.requests["chat.postMessage"] == 1
    await until(lambda: slack.proxy.sockets == 0)


async def test_signed_http_works_across_the_namespace(slack: SlackThread) -> None:
    del slack  # where it cannot be had, this test cannot either
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    workspace = config("events", f"http://127.0.0.1:{port}/slack/events")
    heard: list[Any] = []
    async with LocalSlack.running(workspace=workspace, bot_port=port) as other:
        app = bolt(other.api_url, heard)
        runner = aiohttp.web.AppRunner(app.web_app("/slack/events"))
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            await exercise(other, app, heard)
        finally:
            await runner.cleanup()


async def test_without_a_namespace_everything_still_goes_through_the_proxy(slack: SlackThread) -> None:
    del slack
    heard: list[Any] = []
    async with LocalSlack.running(jail=False) as other:
        assert other.exposed
        app = bolt(other.api_url, heard)
        opened = await AsyncWebClient(token=APP_TOKEN, base_url=other.api_url).apps_connections_open(
            app_token=APP_TOKEN
        )
        assert opened["url"].startswith(other.url.replace("http", "ws") + "/socket/")
        async with in_socket_mode(app, other.api_url):
            await exercise(other, app, heard)


async def test_a_rate_limit_says_when_to_come_back_and_ends(slack: SlackThread) -> None:
    slack.proxy.fail("rate_limited", "chat.postMessage", times=1, seconds=3)
    with pytest.raises(SlackApiError) as limited:
        await client(slack.api_url).chat_postMessage(channel="C0INCIDENTS", text="one")
    assert limited.value.response.status_code == 429
    assert limited.value.response.headers["Retry-After"] == "3"
    await client(slack.api_url).chat_postMessage(channel="C0INCIDENTS", text="two")
    assert [one["text"] for one in slack.messages(CHANNEL)] == ["two"]


async def test_a_lost_answer_had_its_effect_and_a_refused_request_had_none(slack: SlackThread) -> None:
    slack.proxy.fail("lost_answer", "chat.postMessage", times=1)
    with pytest.raises(aiohttp.ClientError):
        await client(slack.api_url).chat_postMessage(channel="C0INCIDENTS", text="lost")
    assert [one["text"] for one in slack.messages(CHANNEL)] == ["lost"]
    slack.proxy.fail("refused", "chat.postMessage", times=1)
    with pytest.raises(aiohttp.ClientError):
        await client(slack.api_url).chat_postMessage(channel="C0INCIDENTS", text="refused")
    assert [one["text"] for one in slack.messages(CHANNEL)] == ["lost"]
    assert slack.proxy.requests["chat.postMessage"] >= 2


async def test_newer_blocks_can_be_refused_while_classic_ones_pass(slack: SlackThread) -> None:
    slack.proxy.fail("invalid_blocks")
    rich = [{"type": "rich_text", "elements": []}]
    with pytest.raises(SlackApiError, match="invalid_blocks"):
        await client(slack.api_url).chat_postMessage(channel="C0INCIDENTS", text="new", blocks=rich)
    await client(slack.api_url).chat_postMessage(channel="C0INCIDENTS", text="old", blocks=BLOCKS)


async def test_delays_statuses_and_errors(slack: SlackThread) -> None:
    slack.proxy.fail("delay", "auth.test", times=1, seconds=0.3)
    began = time.perf_counter()
    await client(slack.api_url).auth_test()
    assert time.perf_counter() - began >= 0.3
    slack.proxy.fail("status", "auth.test", times=1, status=503)
    with pytest.raises(SlackApiError):
        await client(slack.api_url).auth_test()
    slack.proxy.fail("error", "auth.test", times=1, error="token_revoked")
    with pytest.raises(SlackApiError, match="token_revoked"):
        await client(slack.api_url).auth_test()


async def test_more_than_fifty_blocks_are_refused_as_slack_refuses_them(slack: SlackThread) -> None:
    many = [{"type": "divider"}] * 51
    with pytest.raises(SlackApiError, match="invalid_blocks"):
        await client(slack.api_url).chat_postMessage(channel="C0INCIDENTS", text="many", blocks=many)
    assert slack.messages(CHANNEL) == []
    assert "no more than 50" in slack.proxy.refusals[0]


def test_block_limits_are_slacks_own() -> None:
    assert problems(BLOCKS) == []
    text = {"type": "mrkdwn", "text": "x" * 3001}
    bad = [
        {"type": "section", "block_id": "a", "text": text},
        {"type": "header", "block_id": "a", "text": {"type": "mrkdwn", "text": "no"}},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]},
        {"type": "context", "elements": []},
        {"type": "actions", "elements": [BUTTON, BUTTON]},
        {"type": "image", "image_url": "https://example.com/x.png"},
        {"type": "section", "text": {"type": "mrkdwn", "text": ""}},
        {"type": "section"},
    ]
    assert len(problems(bad)) == 9
    assert "found 3001" in problems(bad)[0]


async def test_the_slack_without_a_web_page_serves_a_bot_as_well() -> None:
    heard: list[Any] = []
    async with LocalSlack.minimal() as other:
        app = bolt(other.api_url, heard)
        async with in_socket_mode(app, other.api_url):
            await until(lambda: other.proxy.sockets == 1)
            posted = await app.client.chat_postMessage(channel="C0INCIDENTS", text="hello", blocks=BLOCKS)
            await other.click(CHANNEL, posted["ts"], "go", user="mei")
            await until(lambda: heard == [("7", "U0MEI0001")])
            await other.command(CHANNEL, "/sitrep", "status", user="mei")

            async def answered() -> bool:
                return any(one["text"] == "you said status" for one in await other.messages(CHANNEL))

            await until(answered)
            await app.client.chat_update(channel="C0INCIDENTS", ts=posted["ts"], text="edited")
        history = await app.client.conversations_history(channel="C0INCIDENTS")
        assert [one["text"] for one in history["messages"]] == ["edited"]
        people = {one["id"]: one["is_bot"] for one in (await app.client.users_list())["members"]}
        members = (await app.client.conversations_members(channel="C0INCIDENTS"))["members"]
        assert {people[one] for one in members} == {True, False}
        with pytest.raises(SlackApiError, match="unknown_method"):
            await app.client.usergroups_list()
