"""The local Slack: installs it, starts it behind our proxy, and acts in it as a person would.

async with LocalSlack.running(say) as slack:
    slack.url                   # the web page; the Web API is at slack.api_url
    slack.environment()         # what a bot needs
    await slack.messages("#incidents")
    await slack.click("#incidents", ts, "action_id", user="priya")
    await slack.command("#incidents", "/sitrep", "status", user="priya")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import shutil
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import aiohttp
import httpx

from demo import slack_jail
from demo.parts import ROOT, Missing, Say, slack_binary
from demo.scenario import PEOPLE
from demo.slack_minimal import MinimalSlack
from demo.slack_proxy import SlackProxy

BOT_TOKEN, APP_TOKEN, SIGNING_SECRET = "xoxb-demo-token", "xapp-demo-token", "demo-signing-secret"
TEAM_ID, BOT_USER, APP_ID = "T0TEASHOP", "U0SITREP1", "A0SITREP1"
CHANNELS = {"#incidents": "C0INCIDENTS", "#payments": "C0PAYMENTS"}
START_SECONDS = 20.0
T = TypeVar("T")


def config(
    mode: Literal["socket", "events"] = "socket", request_url: str | None = None, channels: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The workspace of the tea shop, as the local Slack's config file wants it (JSON is YAML).

    `channels` overrides: name (`#x`) to `{id, members, is_private}`.
    """
    app = {
        "appId": APP_ID,
        "botUserId": BOT_USER,
        "botName": "sitrep",
        "botToken": BOT_TOKEN,
        "appToken": APP_TOKEN,
        "signingSecret": SIGNING_SECRET,
        "mode": mode,
    }
    if request_url:
        app["requestUrl"] = request_url
    everyone = [person.slack for person in PEOPLE]
    team = [person.slack for person in PEOPLE if person.team == "payments"]
    shown: dict[str, Any] = {
        "#incidents": {"id": CHANNELS["#incidents"], "members": [*everyone, BOT_USER]},
        "#payments": {"id": CHANNELS["#payments"], "members": [*team, BOT_USER], "is_private": True},
        **(channels or {}),
    }
    return {
        "workspace": {"name": "Tea Shop", "domain": "tea-shop", "teamId": TEAM_ID},
        "app": app,
        "users": [
            {
                "id": one.slack,
                "name": one.name.split()[0].lower(),
                "real_name": one.name,
                "email": one.email,
                "tz": "UTC",
            }
            for one in PEOPLE
        ],
        "channels": [{"name": name.removeprefix("#"), **described} for name, described in shown.items()],
    }


@dataclass(slots=True)
class LocalSlack:
    """A running workspace."""

    proxy: SlackProxy
    exposed: bool
    """Whether the local Slack itself listens on all interfaces of this machine."""
    workspace: dict[str, Any]
    _client: httpx.AsyncClient = field(repr=False)

    @property
    def url(self) -> str:
        return self.proxy.url

    @property
    def api_url(self) -> str:
        return f"{self.proxy.url}/api/"

    def environment(self) -> dict[str, str]:
        """What a bot needs in its environment to be this workspace's app."""
        return {
            "SLACK_BOT_TOKEN": BOT_TOKEN,
            "SLACK_APP_TOKEN": APP_TOKEN,
            "SLACK_SIGNING_SECRETS": SIGNING_SECRET,
            "SLACK_API_URL": self.api_url,
        }

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls,
        say: Say = lambda text: None,
        *,
        workspace: dict[str, Any] | None = None,
        bot_port: int | None = None,
        jail: bool = True,
    ) -> AsyncIterator[LocalSlack]:
        """Installs if need be, and starts. `bot_port`: where the bot takes signed HTTP. Raises Missing."""
        program = await asyncio.to_thread(slack_binary, say)
        jailed = jail and await asyncio.to_thread(slack_jail.possible)
        described = workspace or config()
        async with contextlib.AsyncExitStack() as stack:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="sitrep-slack-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            (folder / "config.yaml").write_text(json.dumps(described), encoding="utf-8")
            port = _free_port()
            # In a namespace of its own the server can have the proxy's port, so that its addresses are the proxy's.
            inner = port if jailed else _free_port()
            command = [str(program), "--config", str(folder / "config.yaml"), "--port", str(inner)]
            command += ["--base-host", "127.0.0.1", "--files-dir", str(folder / "files")]
            door = str(folder / "slack.sock")
            if jailed:
                outward = [(bot_port, str(folder / "bot.sock"))] if bot_port else []
                command = slack_jail.command({"command": command, "inward": [(door, inner)], "outward": outward})
                if bot_port:
                    stack.callback((await slack_jail.to_port(str(folder / "bot.sock"), bot_port)).close)
            log = stack.enter_context((folder / "log").open("wb"))
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log, cwd=ROOT,
                start_new_session=True,
            )  # fmt: skip
            stack.push_async_callback(_end, process)
            proxy = SlackProxy(door if jailed else f"127.0.0.1:{inner}")
            await stack.enter_async_context(proxy.running(port))
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=proxy.url, timeout=15, trust_env=False))
            await _ready(client, process, folder / "log")
            proxy.reset()
            yield cls(proxy, not jailed, described, client)

    @classmethod
    @contextlib.asynccontextmanager
    async def minimal(cls) -> AsyncIterator[LocalSlack]:
        """A workspace without a web page, for machines where the local Slack cannot be had."""
        described = config()
        async with contextlib.AsyncExitStack() as stack:
            proxy = SlackProxy(await stack.enter_async_context(MinimalSlack(described).running()))
            await stack.enter_async_context(proxy.running())
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=proxy.url, timeout=15, trust_env=False))
            yield cls(proxy, False, described, client)

    # --- what a person does and sees ---

    async def state(self) -> dict[str, Any]:
        return await self._control("GET", "state")

    async def messages(self, channel: str) -> list[dict[str, Any]]:
        """Every message of a channel, thread replies included, oldest first, as stored."""
        return list((await self._control("GET", f"messages/{self.channel_id(channel)}"))["messages"])

    async def say(
        self, channel: str, text: str, *, user: str = "priya", thread_ts: str | None = None
    ) -> dict[str, Any]:
        body = {"channel": self.channel_id(channel), "user": self.user_id(user), "text": text, "thread_ts": thread_ts}
        return await self._control("POST", "message", {key: value for key, value in body.items() if value})

    async def command(self, channel: str, command: str, text: str = "", *, user: str = "priya") -> None:
        """A slash command, as typed."""
        body = {"channel": self.channel_id(channel), "user": self.user_id(user), "command": command, "text": text}
        await self._control("POST", "command", body)

    async def click(self, channel: str, ts: str, action_id: str, *, user: str = "priya") -> None:
        """A click on the button with this action id in the message. Raises LookupError where there is none."""
        message = next((one for one in await self.messages(channel) if one["ts"] == ts), None)
        for block in (message or {}).get("blocks", []):
            for element in [*block.get("elements", []), *([block["accessory"]] if block.get("accessory") else [])]:
                if element.get("action_id") == action_id:
                    action = {**element, "block_id": block.get("block_id", "")}
                    body = {
                        "channel": self.channel_id(channel),
                        "messageTs": ts,
                        "user": self.user_id(user),
                        "action": action,
                    }
                    await self._control("POST", "interact", body)
                    return
        raise LookupError(f"the message {ts} in {channel} has no {action_id!r} to click")

    async def choose(self, channel: str, ts: str, action_id: str, value: str, *, user: str = "priya") -> None:
        """The option with this value in a message's menu. Raises LookupError where there is none."""
        for message in await self.messages(channel):
            for block in message.get("blocks", []) if message["ts"] == ts else []:
                for element in block.get("elements", []):
                    chosen = [one for one in element.get("options", ()) if one["value"] == value]
                    if element.get("action_id") == action_id and chosen:
                        action = {**element, "block_id": block.get("block_id", ""), "selected_option": chosen[0]}
                        body = {"channel": self.channel_id(channel), "messageTs": ts, "user": self.user_id(user)}
                        await self._control("POST", "interact", body | {"action": action})
                        return
        raise LookupError(f"the message {ts} in {channel} has no {action_id!r} with {value!r}")

    async def open_home(self, *, user: str = "priya") -> None:
        """A look at the app's Home tab."""
        await self._control("POST", "open-home", {"user": self.user_id(user)})

    async def page(self, *send: dict[str, Any]) -> dict[str, Any]:
        """What the web page shows when it is opened: forms that stand open (`modalStack`), Home tabs (`homeViews`).
        `send` is what somebody then does on it."""
        address = self.proxy.url.replace("http", "ws", 1) + "/ui"
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as page:
            first = json.loads(await page.receive_str(timeout=10))
            for message in send:
                await page.send_str(json.dumps(message))
                await asyncio.sleep(0.05)
        return dict(first["state"])

    async def submit(self, values: dict[str, str], *, user: str = "priya") -> None:
        """Sends the form that stands open; `values` by field, the rest as it was filled in. Raises LookupError."""
        opened = (await self.page())["modalStack"]
        if not opened:
            raise LookupError("no form is open")
        filled = {}
        for block in opened[-1]["blocks"]:
            if block["type"] == "input":
                filled[block["block_id"]] = {block["element"]["action_id"]: _filled(block["element"], values)}
        await self.page({"t": "view_submit", "user": self.user_id(user), "values": filled})

    async def log(self) -> list[dict[str, Any]]:
        """All traffic with the bot, in order: direction, kind, summary, detail."""
        return list((await self._control("GET", "log"))["log"])

    async def reset(self) -> None:
        """The workspace as configured: no messages."""
        await self._control("POST", "reset", {})

    def channel_id(self, channel: str) -> str:
        for one in self.workspace["channels"]:
            if channel in (one["id"], f"#{one['name']}"):
                return str(one["id"])
        if channel in self.proxy.made.names.values():
            return channel
        raise LookupError(f"no channel {channel} in this workspace")

    def user_id(self, user: str) -> str:
        for one in self.workspace["users"]:
            if user in (one["id"], one["name"]):
                return str(one["id"])
        raise LookupError(f"nobody called {user} in this workspace")

    async def _control(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = await self._client.request(method, f"/_control/{path}", json=body)
        if answer.is_error:
            raise RuntimeError(f"the local Slack refused {path}: {answer.status_code} {answer.text[:200]}")
        return dict(answer.json())


def _filled(element: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    """One field of a form as Slack sends it."""
    name, kind = element["action_id"], element["type"]
    if kind != "static_select":
        return {"type": kind, "value": values.get(name, element.get("initial_value"))}
    chosen = [one for one in element["options"] if one["value"] == values.get(name)]
    return {"type": kind, "selected_option": chosen[0] if chosen else element.get("initial_option")}


async def _ready(client: httpx.AsyncClient, process: asyncio.subprocess.Process, log: pathlib.Path) -> None:
    for _ in range(int(START_SECONDS / 0.1)):
        if process.returncode is not None:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise Missing(f"the local Slack ended at once: {said[-1] if said else process.returncode}")
        with contextlib.suppress(httpx.HTTPError):
            if (await client.get("/_control/state")).status_code == 200:
                return
        await asyncio.sleep(0.1)
    raise Missing(f"the local Slack did not start within {START_SECONDS:g} s")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        # The jail ends with its standard input; without one the server is ours to end.
        if process.stdin:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 0.5)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


class SlackThread:
    """The local Slack in a thread of its own, for callers without an event loop. A context manager."""

    def __init__(self, say: Say = lambda text: None, **options: Any) -> None:
        self._say = say
        self._options = options
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="local-slack", daemon=True)

    def __enter__(self) -> SlackThread:
        self._thread.start()
        self._started.wait(300)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with LocalSlack.running(self._say, **self._options) as self.slack:
            self._started.set()
            await self._stop.wait()

    @property
    def proxy(self) -> SlackProxy:
        return self.slack.proxy

    @property
    def url(self) -> str:
        return self.slack.url

    @property
    def api_url(self) -> str:
        return self.slack.api_url

    def environment(self) -> dict[str, str]:
        return self.slack.environment()

    def messages(self, channel: str) -> list[dict[str, Any]]:
        return self._wait(self.slack.messages(channel))

    def say(self, channel: str, text: str, **more: Any) -> dict[str, Any]:
        return self._wait(self.slack.say(channel, text, **more))

    def command(self, channel: str, command: str, text: str = "", **more: Any) -> None:
        self._wait(self.slack.command(channel, command, text, **more))

    def click(self, channel: str, ts: str, action_id: str, **more: Any) -> None:
        self._wait(self.slack.click(channel, ts, action_id, **more))

    def choose(self, channel: str, ts: str, action_id: str, value: str, **more: Any) -> None:
        self._wait(self.slack.choose(channel, ts, action_id, value, **more))

    def open_home(self, **more: Any) -> None:
        self._wait(self.slack.open_home(**more))

    def page(self) -> dict[str, Any]:
        return self._wait(self.slack.page())

    def submit(self, values: dict[str, str], **more: Any) -> None:
        self._wait(self.slack.submit(values, **more))

    def tell(self, event: dict[str, Any]) -> None:
        self._wait(self.slack.proxy.tell(event))

    def log(self) -> list[dict[str, Any]]:
        return self._wait(self.slack.log())

    def reset(self) -> None:
        """No messages, no rules, no counts."""
        self._wait(self.slack.reset())
        self.proxy.reset()

    def _wait(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(30)
