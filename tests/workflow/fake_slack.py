"""A Slack Web API of one workspace in a thread: what crash tests need, and what no local Slack gives.

It outlives the process under test, remembers every message, and can be down, lose answers or refuse blocks.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TEAM = "T01TEST"
CHANNEL = dict.fromkeys(
    ("is_private", "is_im", "is_mpim", "is_shared", "is_ext_shared", "is_org_shared", "is_pending_ext_shared"), False
) | {"is_channel": True}
PEOPLE = ("U01ALICE", "U02BOB")


class FakeSlack:
    """A context manager; `url` is the API's address, `messages` what was posted."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.down = False
        self.lose_answers = 0
        self.guests: tuple[str, ...] = ()
        """Who is in the channel beside its people."""
        self.url = ""
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> FakeSlack:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    def reset(self) -> None:
        self.messages.clear()
        self.calls.clear()
        self.down, self.lose_answers, self.guests = False, 0, ()

    def with_mark(self, mark: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["blocks"] and m["blocks"][0].get("block_id") == mark]

    async def _serve(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
        app = Starlette(routes=[Route("/api/{method:str}", self._call, methods=["GET", "POST"])])
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False))
        self._started.set()
        await self._server.serve(sockets=[listening])

    async def _call(self, request: Request) -> Response:
        method = request.path_params["method"]
        self.calls.append(method)
        if self.down:
            return JSONResponse({"ok": False, "error": "service_unavailable"}, status_code=503)
        values = await self._values(request)
        answer = getattr(self, "_" + method.replace(".", "_"), None)
        body = {"ok": False, "error": "unknown_method"} if answer is None else {"ok": True, **answer(values)}
        if method == "chat.postMessage" and self.lose_answers:
            self.lose_answers -= 1
            return Response(b"<html>bad gateway</html>", status_code=502, media_type="text/html")
        return JSONResponse(body)

    @staticmethod
    async def _values(request: Request) -> dict[str, Any]:
        if request.headers.get("content-type", "").startswith("application/json"):
            return dict(await request.json())
        values: dict[str, Any] = {**request.query_params, **dict(parse_qsl((await request.body()).decode()))}
        for name in ("blocks", "metadata"):
            if isinstance(values.get(name), str):
                values[name] = json.loads(values[name])
        return values

    def _auth_test(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"team_id": TEAM, "user_id": "U0BOT", "bot_id": "B0BOT"}

    def _person(self, user_id: str) -> dict[str, Any]:
        flags = dict.fromkeys(("is_restricted", "is_ultra_restricted", "is_stranger", "is_bot", "deleted"), False)
        flags |= {"is_restricted": user_id in self.guests}
        profile = {"email": f"{user_id.lower()}@example.com"}
        return {"id": user_id, "team_id": TEAM, "profile": profile, "is_email_confirmed": True, **flags}

    def _users_info(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"user": self._person(values["user"])}

    def _users_list(self, _: dict[str, Any]) -> dict[str, Any]:
        members = [self._person(one) for one in (*PEOPLE, *self.guests)]
        bot = {**self._person("U0BOT"), "is_bot": True}
        return {"members": [*members, bot], "response_metadata": {"next_cursor": ""}}

    def _usergroups_list(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"usergroups": []}

    def _conversations_list(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"channels": [{"id": "C01INC", "name": "incidents"}], "response_metadata": {"next_cursor": ""}}

    def _conversations_info(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"channel": {"id": "C01INC", "name": "incidents", **CHANNEL}}

    def _conversations_members(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"members": [*PEOPLE, *self.guests, "U0BOT"], "response_metadata": {"next_cursor": ""}}

    def _chat_postMessage(self, values: dict[str, Any]) -> dict[str, Any]:
        ts = f"{1_700_000_000 + len(self.messages)}.000100"
        kept = {name: values.get(name) for name in ("text", "blocks", "thread_ts", "channel")}
        self.messages.append({"ts": ts, "user": "U0BOT", "bot_id": "B0BOT", **kept})
        return {"channel": "C01INC", "ts": ts}

    def _chat_update(self, values: dict[str, Any]) -> dict[str, Any]:
        for message in self.messages:
            if message["ts"] == values["ts"]:
                message |= {"text": values["text"], "blocks": values["blocks"]}
                return {"channel": "C01INC", "ts": values["ts"]}
        return {"ok": False, "error": "message_not_found"}

    def _conversations_history(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [m for m in reversed(self.messages) if not m["thread_ts"]], "has_more": False}

    def _conversations_replies(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [m for m in self.messages if m["thread_ts"] == values.get("ts")], "has_more": False}
