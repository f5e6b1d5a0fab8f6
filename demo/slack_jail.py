"""Runs a server that listens on all interfaces where only this machine can reach it (Linux).

`python -m demo.slack_jail DESCRIPTION` is started by `unshare` in a network namespace of its own, which has nothing
but a loopback interface that is down. It brings that up, starts the server, and carries connections across: whoever
connects to a Unix socket in the file system reaches a port inside, and the other way round. Ends with its standard
input, so that it never outlives who started it.

DESCRIPTION is JSON: `command`, `inward` (pairs of socket path and port), `outward` (pairs of port and socket path).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def possible() -> bool:
    """Whether this machine lets us have a network namespace."""
    tool = shutil.which("unshare")
    if sys.platform != "linux" or tool is None:
        return False
    try:
        return subprocess.run([tool, "-r", "-n", "true"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def command(description: dict[str, Any]) -> list[str]:
    """How to start a server in a namespace of its own."""
    return ["unshare", "-r", "-n", sys.executable, "-m", "demo.slack_jail", json.dumps(description)]


def bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        asked = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(one, _SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(one, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | _IFF_UP))


async def carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: Callable[[], Awaitable[Streams]]
) -> None:
    """Copies both ways between an accepted connection and a new one, until either side ends."""
    try:
        far_reader, far_writer = await there()
    except OSError:
        writer.close()
        return
    await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


async def to_port(path: str, port: int) -> asyncio.Server:
    """Whoever connects to the Unix socket reaches the port on this side's loopback."""
    return await asyncio.start_unix_server(
        lambda reader, writer: carry(reader, writer, lambda: asyncio.open_connection("127.0.0.1", port)), path
    )


async def to_socket(port: int, path: str) -> asyncio.Server:
    """Whoever connects to the port on this side's loopback reaches the Unix socket."""
    return await asyncio.start_server(
        lambda reader, writer: carry(reader, writer, lambda: asyncio.open_unix_connection(path)), "127.0.0.1", port
    )


async def main(description: dict[str, Any]) -> int:
    bring_loopback_up()
    server = await asyncio.create_subprocess_exec(*description["command"], stdin=asyncio.subprocess.DEVNULL)
    inward = [await to_port(path, port) for path, port in description["inward"]]
    outward = [await to_socket(port, path) for port, path in description["outward"]]
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: ended.set() if not os.read(sys.stdin.fileno(), 4096) else None)
    waiting = [asyncio.create_task(ended.wait()), asyncio.create_task(server.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in (*inward, *outward):
        one.close()
    if server.returncode is None:
        server.kill()
        await server.wait()
        return 0
    return server.returncode


if __name__ == "__main__":
    sys.exit(asyncio.run(main(json.loads(sys.argv[1]))))
