"""A reverse proxy in front of the local Slack: on loopback only, counting, and failing on demand as Slack fails.

The local Slack never answers 429, takes any number of blocks and never loses an answer. This does: rules are set
with `fail(…)` or over HTTP (`POST /_proxy/rules` with one rule, `DELETE /_proxy/rules`, `GET /_proxy/state`). Block
Kit's published limits are always checked. Web sockets (Socket Mode, the web page) are carried through.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web

from demo.block_limits import newer_kinds, problems
from demo.slack_channels import METHODS, MadeChannels

Kind = Literal["rate_limited", "status", "delay", "lost_answer", "refused", "error", "invalid_blocks", "answer"]
_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "content-length", "content-encoding", "te"}
_MESSAGES = ("chat.postMessage", "chat.update", "chat.postEphemeral")


@dataclass(slots=True)
class Rule:
    """One way to fail.

    rate_limited: 429 with Retry-After. status: that status, no effect. delay: wait, then as usual. lost_answer: the
    effect happens, the connection is dropped. refused: dropped without effect. error: 200 with `ok: false`.
    answer: 200 with `answer`, for what the local Slack cannot be told (who is in a channel).
    invalid_blocks: refuses messages with newer kinds of block, as a workspace without them does.
    """

    kind: Kind
    method: str = "*"
    """Of the Web API, such as `chat.postMessage`; `*` is all."""
    times: int | None = None
    """How often; None is for ever."""
    seconds: float = 1.0
    """Of a delay, or Retry-After."""
    status: int = 503
    error: str = "internal_error"
    answer: dict[str, Any] | None = None

    def meets(self, method: str, arguments: Mapping[str, Any]) -> bool:
        if self.method not in ("*", method) or self.times == 0:
            return False
        return self.kind != "invalid_blocks" or bool(newer_kinds(arguments.get("blocks") or []))


class SlackProxy:
    """The proxy; use `running`. `upstream` is a Unix socket's path or `host:port`."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._unix = "/" in upstream
        self._base = "http://local-slack" if self._unix else f"http://{upstream}"
        self.rules: list[Rule] = []
        self.requests: Counter[str] = Counter()
        """Web API methods to how often they were called, the failed calls included."""
        self.refusals: list[str] = []
        """What was wrong with blocks that were refused for Block Kit's limits."""
        self.made = MadeChannels()
        """Channels that the app made, and who it invited."""
        self.sockets = 0
        """Socket Mode connections that are open."""
        self.url = ""
        self._bots: set[web.WebSocketResponse] = set()
        self._told = 0

    @contextlib.asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[SlackProxy]:
        connector = aiohttp.UnixConnector(self._upstream) if self._unix else aiohttp.TCPConnector()
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_get("/_proxy/state", self._state)
        app.router.add_post("/_proxy/rules", self._add_rule)
        app.router.add_delete("/_proxy/rules", self._drop_rules)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            self._address = f"127.0.0.1:{runner.addresses[0][1]}"
            self.url = f"http://{self._address}"
            yield self
        finally:
            await runner.cleanup()
            await self._session.close()

    def fail(self, kind: Kind, method: str = "*", **more: Any) -> Rule:
        """Adds a rule and returns it."""
        rule = Rule(kind, method, **more)
        self.rules.append(rule)
        return rule

    async def tell(self, event: Mapping[str, Any]) -> None:
        """An event that the local Slack never sends (somebody joins), to every bot in Socket Mode."""
        self._told += 1
        payload = {"type": "event_callback", "team_id": "T0TEASHOP", "event_id": f"EvPROXY{self._told}",
                   "event": dict(event), "authorizations": []}  # fmt: skip
        envelope = {"type": "events_api", "envelope_id": f"proxy-{self._told}", "payload": payload,
                    "accepts_response_payload": False}  # fmt: skip
        for bot in list(self._bots):
            await bot.send_str(json.dumps(envelope))

    def reset(self) -> None:
        """No rules, counts at zero."""
        self.rules.clear()
        self.requests.clear()
        self.refusals.clear()
        self.made.reset()

    # --- requests ---

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._web_socket(request)
        body = await request.read()
        if not request.path.startswith("/api/"):
            return await self._forward(request, body)
        method = request.path.removeprefix("/api/")
        arguments = _arguments(request, body)
        self.requests[method] += 1
        return await self._api(request, body, method, arguments)

    async def _api(
        self, request: web.Request, body: bytes, method: str, arguments: Mapping[str, Any]
    ) -> web.StreamResponse:
        for rule in [one for one in self.rules if one.meets(method, arguments)]:
            if rule.times is not None:
                rule.times -= 1
            if rule.kind == "delay":
                await asyncio.sleep(rule.seconds)
            else:
                return await self._failed(request, body, rule, method, arguments)
        if method in _MESSAGES and (wrong := problems(arguments.get("blocks") or [])):
            self.refusals += wrong
            answer = {"ok": False, "error": "invalid_blocks", "response_metadata": {"messages": wrong}}
            return web.json_response(answer)
        if (refused := self.made.refused(method, arguments)) is not None:
            return web.json_response(refused)
        if method in METHODS:
            done, events = self.made.answer(method, arguments)
            for event in events:
                await self.tell(event)
            return web.json_response(done)
        return await self._forward(request, body, method, arguments)

    async def _failed(
        self, request: web.Request, body: bytes, rule: Rule, method: str, arguments: Mapping[str, Any]
    ) -> web.StreamResponse:
        if rule.kind == "rate_limited":
            headers = {"retry-after": str(max(1, round(rule.seconds)))}
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
        if rule.kind == "status":
            return web.Response(status=rule.status, text="this failure was asked for")
        if rule.kind in ("error", "invalid_blocks"):
            return web.json_response({"ok": False, "error": "invalid_blocks" if rule.kind != "error" else rule.error})
        if rule.kind == "answer":
            return web.json_response({"ok": True, **(rule.answer or {})})
        if rule.kind == "lost_answer":
            await self._forward(request, body, method, arguments)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _forward(
        self, request: web.Request, body: bytes, method: str = "", arguments: Mapping[str, Any] | None = None
    ) -> web.Response:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
        try:
            async with self._session.request(
                request.method, self._base + request.path_qs, data=body or None, headers=headers, allow_redirects=False
            ) as answer:
                content = self.made.seen(method, arguments or {}, await answer.read())
                kept = {
                    key: value
                    for key, value in answer.headers.items()
                    if key.lower() not in _HOP - {"content-encoding"}
                }
                if "content-encoding" not in {key.lower() for key in kept}:
                    content = self._ours(content)
                return web.Response(status=answer.status, body=content, headers=kept)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=f"the local Slack does not answer: {type(error).__name__}")

    def _ours(self, content: bytes) -> bytes:
        """Addresses of the local Slack itself become ours, so that nobody goes around us."""
        return content if self._unix else content.replace(self._upstream.encode(), self._address.encode())

    # --- web sockets ---

    async def _web_socket(self, request: web.Request) -> web.StreamResponse:
        near = web.WebSocketResponse(max_msg_size=16 * 1024 * 1024)
        await near.prepare(request)
        bot = request.path.startswith("/socket/")
        self.sockets += bot
        if bot:
            self._bots.add(near)
        try:
            async with self._session.ws_connect(self._base + request.path_qs, max_msg_size=16 * 1024 * 1024) as far:
                await asyncio.wait(
                    [asyncio.create_task(self._relay(near, far)), asyncio.create_task(self._relay(far, near))],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                await far.close()
        except aiohttp.ClientError:
            pass
        finally:
            self.sockets -= bot
            self._bots.discard(near)
            await near.close()
        return near

    async def _relay(self, source: Any, target: Any) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            async for message in source:
                if message.type == aiohttp.WSMsgType.TEXT:
                    await target.send_str(self._ours(message.data.encode()).decode())
                elif message.type == aiohttp.WSMsgType.BINARY:
                    await target.send_bytes(message.data)

    # --- control ---

    async def _state(self, _: web.Request) -> web.Response:
        rules = [dataclasses.asdict(one) for one in self.rules]
        state = {"requests": self.requests, "rules": rules, "refusals": self.refusals, "sockets": self.sockets}
        return web.json_response(state)

    async def _add_rule(self, request: web.Request) -> web.Response:
        try:
            rule = self.fail(**await request.json())
        except TypeError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(dataclasses.asdict(rule))

    async def _drop_rules(self, _: web.Request) -> web.Response:
        self.reset()
        return web.json_response({"ok": True})


def _arguments(request: web.Request, body: bytes) -> dict[str, Any]:
    """A Web API call's arguments from query, form or JSON; `blocks` parsed where it is JSON in a form."""
    found: dict[str, Any] = dict(request.query)
    with contextlib.suppress(ValueError):
        if "json" in request.content_type:
            found.update(json.loads(body or b"{}"))
        elif "form" in request.content_type:
            found.update(parse_qsl(body.decode()))
        if isinstance(found.get("blocks"), str):
            found["blocks"] = json.loads(found["blocks"])
    return found
