"""An OpenAI-compatible endpoint on loopback that remembers what it was asked and cites the first position."""

from __future__ import annotations

import asyncio
import json
import socket
import threading

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

MODEL = "smollm2-135m-instruct-q4_1"


class FakeModel:
    """A context manager; `url` is the base URL, `prompts` everything that it was sent."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.url = ""
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> FakeModel:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    async def _serve(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        app = Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False))
        self._started.set()
        await self._server.serve(sockets=[listening])

    async def _complete(self, request: Request) -> JSONResponse:
        body = await request.body()
        self.prompts.append(body.decode())
        claim = {"text": "Requests to the service fail.", "evidence": ["s1"]}
        content = json.dumps({"going_on": [claim], "cause": [claim], "next": [claim]})
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"prompt_tokens": 900, "completion_tokens": 60, "total_tokens": 960}
        return JSONResponse(
            {"id": "c1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice], "usage": usage}
        )
