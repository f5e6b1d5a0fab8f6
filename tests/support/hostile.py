"""A real HTTP server on loopback that misbehaves on demand, as model endpoints do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

MODEL = "gpt-4.1-mini-2025-04-14"


def completion(text: str = "{}", **more: Any) -> dict[str, Any]:
    """A well-formed chat completion."""
    choice = {
        "index": 0,
        "finish_reason": more.pop("finish_reason", "stop"),
        "message": {"role": "assistant", "content": text, "refusal": more.pop("refusal", None)},
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [choice],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 64},
        },
        "system_fingerprint": "fp_1",
        **more,
    }


@dataclass
class Request:
    """What arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Hostile:
    """`behave` is called for every request with its number (from 1) and writes the answer, or does not."""

    behave: Callable[[asyncio.StreamWriter, Request, int], Awaitable[None]]
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    open_now: int = 0
    open_most: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                lines = head.split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                request = Request(lines[0].split(" ")[1], headers, json.loads(body or b"{}"))
                self.requests.append(request)
                self.open_now += 1
                self.open_most = max(self.open_most, self.open_now)
                try:
                    await self.behave(writer, request, len(self.requests))
                    await writer.drain()
                finally:
                    self.open_now -= 1
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def answer(writer: asyncio.StreamWriter, status: int, body: bytes | str | dict[str, Any], **headers: str) -> None:
    """One whole HTTP answer; header names with `_` for `-`."""
    kind = "application/json"
    if isinstance(body, dict):
        body = json.dumps(body)
    if isinstance(body, str):
        kind = "text/html" if body.lstrip().startswith("<") else kind
        body = body.encode()
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


@contextlib.asynccontextmanager
async def hostile(behave: Callable[[asyncio.StreamWriter, Request, int], Awaitable[None]]) -> AsyncIterator[Hostile]:
    server_state = Hostile(behave)
    tasks: set[asyncio.Task[None]] = set()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await server_state.serve(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(client, "127.0.0.1", 0, backlog=2048)
    server_state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield server_state
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


# --- the ways to misbehave -----------------------------------------------------------------------------------------


async def fine(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 200, completion('{"ok": true}'))


async def hang(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    await asyncio.sleep(60)


async def drip(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    """Headers at once, then a byte at a time, for ever: no read timeout ever fires."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
    for _ in range(1000):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drip_headers(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for count in range(1000):
        writer.write(f"x-{count}: y\r\n".encode())
        await writer.drain()
        await asyncio.sleep(0.05)


async def reset(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    writer.transport.abort()


async def reset_midway(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{"choices": [')
    await writer.drain()
    writer.transport.abort()


async def html(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 200, "<html><body>Please log in to the proxy</body></html>")


async def half_json(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 200, json.dumps(completion())[:70])


async def deep_json(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 200, "[" * 200_000)


async def error_with_200(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 200, {"error": {"message": "secret-in-a-message overloaded", "type": "server_error"}})


async def too_many(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}})


async def too_many_wait(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 429, {"error": {"message": "slow down"}}, retry_after="3600")


async def no_quota(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 429, {"error": {"message": "pay", "code": "insufficient_quota"}})


async def elsewhere(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 307, "", location="http://127.0.0.1:9/v1/chat/completions")


async def huge(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    block = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with contextlib.suppress(ConnectionError):
        for _ in range(4096):
            writer.write(block)
            await writer.drain()


async def compressed(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 200, b"\x1f\x8b\x08", content_encoding="gzip")


async def other_model(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 200, completion(model="gpt-4.1-mini"))


async def refuses(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 200, completion("", refusal="I cannot help with that."))


async def filtered(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 400, {"error": {"code": "content_filter", "message": "filtered"}})


async def cut_off(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 200, completion('{"going_on": [', finish_reason="length"))


async def no_choices(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 200, completion(choices=[]))


async def no_text(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 200, completion(None))  # type: ignore[arg-type]


async def wrong_types(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 200, completion(choices="none", usage="many", model=5))


async def broken(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 503, "<html>no healthy upstream</html>")


async def unauthorised(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 401, {"error": {"message": "bad key sk-secret"}})


async def unacceptable(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    answer(writer, 400, {"error": {"code": "context_length_exceeded", "message": "too long"}})


async def not_http(writer: asyncio.StreamWriter, request: Request, number: int) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await writer.drain()
    writer.close()


async def _forever(name: str) -> None:
    async with hostile(globals()[name]) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":  # a server in a process of its own: `python -m tests.support.hostile fine`
    asyncio.run(_forever(sys.argv[1]))
