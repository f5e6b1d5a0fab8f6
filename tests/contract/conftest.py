"""A loopback server that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = ROOT / "tests" / "data" / "wire"
"""A small licensed slice of the wire samples; the whole of them is used where it lies beside the checkout."""


@pytest.fixture(scope="session")
def wire() -> Callable[..., dict[str, Any]]:
    """`wire("pagerduty", "webhook_v3_*")` is name to parsed sample, at least one."""
    beside = pathlib.Path(os.environ.get("SITREP_TEST_DATA", ROOT.parent / "shared" / "data")) / "wire"

    def samples(system: str, pattern: str = "*") -> dict[str, Any]:
        folders = [folder / system for folder in (HERE, beside) if (folder / system).is_dir()]
        files = {path.name: path for folder in folders for path in sorted(folder.glob(f"{pattern}.json"))}
        assert files, f"no wire sample {system}/{pattern}"
        return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items()}

    return samples


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Served:
    """A running server.

    `answer` maps a request to (status, headers, body), to raw bytes at once or one by one, or to None to hang.
    """

    port: int
    scheme: str
    ca_pem: bytes | None
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], Any] = lambda asked: (200, {}, b"{}")

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


def as_json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    return status, {"content-type": "application/json", **(headers or {})}, json.dumps(value).encode()


async def _serve(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        asked = Asked(method, target, headers, body)
        served.asked.append(asked)
        answer = served.answer(asked)
        if answer is None:
            await reader.read()  # until the client gives up
        elif isinstance(answer, bytes):
            writer.write(answer)
        elif isinstance(answer, AsyncIterator):
            async for part in answer:
                writer.write(part)
                await writer.drain()
        else:
            status, extra, content = answer
            head = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\nConnection: close\r\n{head}\r\n".encode()
            )
            writer.write(content)
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def _start(tls: bool) -> tuple[Served, asyncio.Server]:
    context, pem = None, None
    if tls:
        authority = trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        pem = authority.cert_pem.bytes()
    served = Served(0, "https" if tls else "http", pem)
    server = await asyncio.start_server(lambda r, w: _serve(served, r, w), "127.0.0.1", 0, ssl=context)
    served.port = server.sockets[0].getsockname()[1]
    return served, server


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Served]]]:
    """`await serve()` or `await serve(tls=True)` starts one."""
    servers: list[asyncio.Server] = []

    async def start(tls: bool = False) -> Served:
        served, server = await _start(tls)
        servers.append(server)
        return served

    yield start
    for server in servers:
        server.close()
