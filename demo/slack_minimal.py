"""A Slack without a web page, for machines on which the local Slack cannot be had: only what the bot itself calls.

Speaks as much of the Web API and of Socket Mode as the bot needs, keeps messages and open forms in memory, and answers
the local Slack's control paths and page socket as far as the demo uses them, so that the demo shows the same card in
the terminal, and confirms its suspect through the same form, either way.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web


class MinimalSlack:
    """The workspace that `demo.slack.config` describes, in memory."""

    def __init__(self, workspace: dict[str, Any]) -> None:
        self._workspace = workspace
        self._app = workspace["app"]
        self._channels = {one["id"]: one for one in workspace["channels"]}
        self._messages: dict[str, list[dict[str, Any]]] = {name: [] for name in self._channels}
        self._numbers = itertools.count(1)
        self._sockets: set[web.WebSocketResponse] = set()
        self._forms: list[dict[str, Any]] = []
        """Views that stand open, the newest last; a form that was sent is gone."""
        self._base = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serves on loopback; gives `host:port`."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_get("/", self._page)
        app.router.add_get("/socket/{id}", self._socket)
        app.router.add_route("*", "/api/{method}", self._api)
        app.router.add_post("/response/{channel}", self._respond)
        app.router.add_get("/ui", self._looked_at)
        app.router.add_get("/_control/state", self._state)
        app.router.add_get("/_control/messages/{channel}", self._listed)
        app.router.add_post("/_control/command", self._command)
        app.router.add_post("/_control/interact", self._interact)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._base = f"127.0.0.1:{runner.addresses[0][1]}"
            yield self._base
        finally:
            for one in list(self._sockets):
                await one.close()
            await runner.cleanup()

    # --- the Web API ---

    async def _api(self, request: web.Request) -> web.Response:
        body = await request.read()
        arguments: dict[str, Any] = dict(request.query)
        if "json" in request.content_type:
            arguments.update(json.loads(body or b"{}"))
        else:
            arguments.update(parse_qsl(body.decode()))
        if isinstance(arguments.get("blocks"), str):
            arguments["blocks"] = json.loads(arguments["blocks"])
        methods: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "auth.test": self._auth,
            "apps.connections.open": lambda _: {"url": f"ws://{self._base}/socket/{uuid.uuid4().hex}"},
            "users.list": lambda _: {"members": [self._user(one) for one in self._everybody()]},
            "users.conversations": lambda _: {"channels": [self._channel(one) for one in self._channels.values()]},
            "conversations.list": lambda _: {"channels": [self._channel(one) for one in self._channels.values()]},
            "conversations.info": lambda asked: {"channel": self._channel(self._channels[asked["channel"]])},
            "conversations.members": lambda asked: {"members": self._channels[asked["channel"]]["members"]},
            "conversations.create": self._create,
            "users.lookupByEmail": self._by_email,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "chat.postMessage": self._post,
            "chat.postEphemeral": lambda asked: {"message_ts": self._post({**asked, "subtype": "ephemeral"})["ts"]},
            "chat.update": self._update,
            "views.open": self._open,
        }
        method = request.match_info["method"]
        if method not in methods:
            return web.json_response({"ok": False, "error": "unknown_method"})
        try:
            return web.json_response({"ok": True, **methods[method](arguments)})
        except KeyError as error:
            missing = "channel_not_found" if error.args[0] not in ("ts", "message") else "message_not_found"
            missing = "users_not_found" if error.args[0] == "email" else missing
            return web.json_response({"ok": False, "error": missing})

    def _auth(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "url": f"http://{self._base}/",
            "team": self._workspace["workspace"]["name"],
            "team_id": self._workspace["workspace"]["teamId"],
            "user": self._app["botName"],
            "user_id": self._app["botUserId"],
            "bot_id": "B" + self._app["botUserId"][1:],
            "is_enterprise_install": False,
        }

    def _everybody(self) -> list[dict[str, Any]]:
        bot = {"id": self._app["botUserId"], "name": self._app["botName"], "real_name": "sitrep", "is_bot": True}
        return [*self._workspace["users"], bot]

    def _user(self, one: dict[str, Any]) -> dict[str, Any]:
        profile = {"real_name": one["real_name"], "display_name": one["name"], "email": one.get("email")}
        shown = {"id": one["id"], "team_id": self._workspace["workspace"]["teamId"], "name": one["name"]}
        return {**shown, "deleted": False, "is_bot": bool(one.get("is_bot")), "profile": profile}

    def _channel(self, one: dict[str, Any]) -> dict[str, Any]:
        private = bool(one.get("is_private"))
        shown = {"id": one["id"], "name": one["name"], "is_channel": True, "is_private": private, "is_im": False}
        return {**shown, "is_member": True, "is_archived": False, "num_members": len(one["members"])}

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        made = {"id": f"C0MADE{next(self._numbers)}", "name": asked["name"], "members": [self._app["botUserId"]],
                "is_private": bool(asked.get("is_private"))}  # fmt: skip
        self._channels[made["id"]], self._messages[made["id"]] = made, []
        return {"channel": self._channel(made)}

    def _by_email(self, asked: dict[str, Any]) -> dict[str, Any]:
        (found,) = [one for one in self._everybody() if one.get("email") == asked["email"]] or [None]
        if found is None:
            raise KeyError("email")
        return {"user": self._user(found)}

    def _history(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [one for one in self._messages[asked["channel"]] if "thread_ts" not in one and "subtype" not in one]
        return {"messages": list(reversed(found)), "has_more": False, "response_metadata": {"next_cursor": ""}}

    def _replies(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [one for one in self._messages[asked["channel"]] if asked["ts"] in (one["ts"], one.get("thread_ts"))]
        return {"messages": found, "has_more": False, "response_metadata": {"next_cursor": ""}}

    def _post(self, asked: dict[str, Any]) -> dict[str, Any]:
        message = {
            "type": "message",
            "ts": f"{int(time.time())}.{next(self._numbers):06d}",
            "channel": asked["channel"],
            "user": self._app["botUserId"],
            "bot_id": "B" + self._app["botUserId"][1:],
            "app_id": self._app["appId"],
            "text": asked.get("text", ""),
            **{key: asked[key] for key in ("blocks", "thread_ts", "subtype", "metadata") if asked.get(key)},
        }
        self._messages[asked["channel"]].append(message)
        return {"channel": asked["channel"], "ts": message["ts"], "message": message}

    def _update(self, asked: dict[str, Any]) -> dict[str, Any]:
        for message in self._messages[asked["channel"]]:
            if message["ts"] == asked["ts"]:
                message.update(text=asked.get("text", ""), blocks=asked.get("blocks", []))
                return {"channel": asked["channel"], "ts": message["ts"], "text": message["text"], "message": message}
        raise KeyError("message")

    def _open(self, asked: dict[str, Any]) -> dict[str, Any]:
        view = {**_object(asked["view"]), "id": f"V{next(self._numbers)}"}
        self._forms.append(view)
        return {"view": view}

    # --- Socket Mode ---

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        await socket.send_json({"type": "hello", "num_connections": len(self._sockets)})
        try:
            async for message in socket:
                if message.type == WSMsgType.ERROR:
                    break
        finally:
            self._sockets.discard(socket)
        return socket

    async def _envelope(self, kind: str, payload: dict[str, Any]) -> web.Response:
        envelope = {
            "envelope_id": str(uuid.uuid4()),
            "type": kind,
            "payload": payload,
            "accepts_response_payload": True,
        }
        for one in list(self._sockets):
            await one.send_json(envelope)
        return web.json_response({"ok": bool(self._sockets)})

    async def _respond(self, request: web.Request) -> web.Response:
        self._post({**await request.json(), "channel": request.match_info["channel"], "subtype": "ephemeral"})
        return web.Response(text="ok")

    # --- the control paths of the local Slack, and what its page is told and tells ---

    async def _looked_at(self, request: web.Request) -> web.WebSocketResponse:
        page = web.WebSocketResponse()
        await page.prepare(request)
        await page.send_json({"t": "state", "state": {"modalStack": self._forms, "homeViews": {}}})
        async for message in page:
            said = json.loads(message.data) if message.type == WSMsgType.TEXT else {}
            if said.get("t") == "view_submit" and self._forms:
                await self._submitted(self._forms.pop(), said)
        return page

    async def _submitted(self, view: dict[str, Any], said: dict[str, Any]) -> None:
        team = {"id": self._workspace["workspace"]["teamId"], "domain": self._workspace["workspace"]["domain"]}
        payload = {
            "type": "view_submission",
            "api_app_id": self._app["appId"],
            "team": team,
            "user": {"id": said["user"], "team_id": team["id"]},
            "trigger_id": uuid.uuid4().hex,
            "view": {**view, "app_id": self._app["appId"], "state": {"values": said["values"]}},
        }
        await self._envelope("interactive", payload)

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text="This Slack has no web page: the demo shows its messages in the terminal.\n")

    async def _state(self, _: web.Request) -> web.Response:
        return web.json_response({"workspace": self._workspace["workspace"], "channels": list(self._channels.values())})

    async def _listed(self, request: web.Request) -> web.Response:
        return web.json_response({"messages": self._messages.get(request.match_info["channel"], [])})

    async def _command(self, request: web.Request) -> web.Response:
        body = await request.json()
        channel = self._channels[body["channel"]]
        payload = {
            "team_id": self._workspace["workspace"]["teamId"],
            "channel_id": channel["id"],
            "channel_name": channel["name"],
            "user_id": body["user"],
            "user_name": body["user"],
            "command": body["command"],
            "text": body.get("text", ""),
            "api_app_id": self._app["appId"],
            "trigger_id": uuid.uuid4().hex,
            "response_url": f"http://{self._base}/response/{channel['id']}",
        }
        return await self._envelope("slash_commands", payload)

    async def _interact(self, request: web.Request) -> web.Response:
        body = await request.json()
        messages = self._messages[body["channel"]]
        payload = {
            "type": "block_actions",
            "api_app_id": self._app["appId"],
            "team": {"id": self._workspace["workspace"]["teamId"], "domain": self._workspace["workspace"]["domain"]},
            "user": {"id": body["user"], "team_id": self._workspace["workspace"]["teamId"]},
            "container": {"type": "message", "message_ts": body["messageTs"], "channel_id": body["channel"]},
            "channel": {"id": body["channel"]},
            "message": next((one for one in messages if one["ts"] == body["messageTs"]), None),
            "trigger_id": uuid.uuid4().hex,
            "actions": [{**body["action"], "action_ts": f"{time.time():.6f}"}],
        }
        return await self._envelope("interactive", payload)


def _object(value: Any) -> dict[str, Any]:
    return dict(json.loads(value) if isinstance(value, str) else value)
