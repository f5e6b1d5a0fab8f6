"""An MCP server as a child process: an environment of our making, bounded lines, and an end in every case.

The SDK's own transport hands on HOME, USER and SHELL and reads lines of any length; a server that we start gets PATH,
an empty HOME and what the settings give it, and one line of it is at most LINE_LIMIT.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

LINE_LIMIT = 4 * 1024 * 1024
END_SECONDS = 1.0
"""How long the server may take to end by itself once its input is closed."""
PATH = "/usr/local/bin:/usr/bin:/bin"


@contextlib.asynccontextmanager
async def child(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Any]:
    """The two streams of JSON-RPC messages that the SDK's client wants. Raises OSError when it cannot be started."""
    import anyio
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    with tempfile.TemporaryDirectory(prefix="sitrep-mcp-") as home:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": PATH, "LANG": "C.UTF-8", "HOME": home, **environment}, cwd=home, limit=LINE_LIMIT,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        to_us, ours = anyio.create_memory_object_stream[Any](0)
        theirs, from_us = anyio.create_memory_object_stream[Any](0)
        stdin, stdout = process.stdin, process.stdout

        async def read() -> None:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                async with to_us:
                    while True:
                        try:
                            line = await stdout.readline()
                        except ValueError:  # longer than the limit
                            return
                        if not line:
                            return
                        try:
                            message: Any = SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
                        except ValueError as broken:
                            message = broken
                        await to_us.send(message)

        async def write() -> None:
            with contextlib.suppress(ConnectionError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                async with from_us:
                    async for message in from_us:
                        told = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                        stdin.write(told.encode() + b"\n")
                        await stdin.drain()

        tasks = [asyncio.create_task(read()), asyncio.create_task(write())]
        try:
            yield ours, theirs
        finally:
            await asyncio.shield(_end(process, tasks))
            for stream in (ours, theirs, to_us, from_us):
                stream.close()


async def _end(process: asyncio.subprocess.Process, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Close its input, wait a moment, then end the whole group of processes."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert process.stdin is not None
    assert process.stdout is not None
    draining = asyncio.create_task(_drain(process.stdout))  # asyncio waits for the end of a pipe, also of a full one
    process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    draining.cancel()
    await asyncio.gather(draining, return_exceptions=True)


async def _drain(stdout: asyncio.StreamReader) -> None:
    while await stdout.read(65536):
        pass
