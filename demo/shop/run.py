"""Starts the four services as processes of their own, and deploys a new version of one without refusing a request."""

from __future__ import annotations

import asyncio
import json
import pathlib
import signal
import socket
import subprocess
import sys

import httpx

from demo.scenario import SERVICES
from demo.shop.history import Repository

SAMPLED_RATIO = 0.15
"""Three orders in twenty leave a trace; metrics and logs know them all."""


class Shop:
    """The running shop. Close it: its processes do not end by themselves."""

    def __init__(self, repositories: dict[str, Repository], otlp_url: str, folder: pathlib.Path) -> None:
        self._repositories = repositories
        self._otlp_url = otlp_url
        self._folder = folder
        self._sockets = {one.name: _listening() for one in SERVICES}
        self._database_port = _free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self._sockets[service].getsockname()[1]}"

    async def start(self) -> None:
        for one in reversed(SERVICES):
            self._processes[one.name] = self._run(one.name)
        for one in SERVICES:
            await self._healthy(one.name)

    async def deploy(self, service: str) -> None:
        """Runs the repository's present commit: the new process takes requests, then the old one finishes its own."""
        old = self._processes[service]
        new = self._run(service)
        # Both listen on the one socket: the new process is ready once the old one is gone and it answers.
        await asyncio.sleep(2.5)
        if new.poll() is not None:
            raise RuntimeError(f"{service}: the new version ended at once with {new.returncode}")
        old.send_signal(signal.SIGTERM)
        await asyncio.to_thread(old.wait, 15)
        self._processes[service] = new
        await self._healthy(service)

    async def close(self) -> None:
        for name in [one.name for one in SERVICES if one.name in self._processes]:  # callers before callees
            process = self._processes[name]
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(process.wait, 15)
            except subprocess.TimeoutExpired:
                process.kill()
        for one in self._sockets.values():
            one.close()

    def _run(self, service: str) -> subprocess.Popen[bytes]:
        listening = self._sockets[service]
        services = {name: ("127.0.0.1", one.getsockname()[1]) for name, one in self._sockets.items()}
        services["payments-db"] = ("127.0.0.1", self._database_port)
        repository = self._repositories[service]
        world = {
            "version": repository.head(),
            "otlp": self._otlp_url,
            "sampled_ratio": SAMPLED_RATIO,
            "fd": listening.fileno(),
            "storage": str(self._folder / "payments.sqlite"),
            "services": services,
        }
        arguments = [sys.executable, "-m", "demo.shop", service, str(repository.config), json.dumps(world)]
        return subprocess.Popen(arguments, pass_fds=[listening.fileno()], cwd=pathlib.Path(__file__).parents[2])

    async def _healthy(self, service: str) -> None:
        async with httpx.AsyncClient(base_url=self.url(service), timeout=5) as client:
            for _ in range(80):
                try:
                    if (await client.get("/healthz")).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.25)
        raise RuntimeError(f"{service} does not answer its health check")


def _listening() -> socket.socket:
    one = socket.create_server(("127.0.0.1", 0), backlog=512)
    one.setblocking(False)
    return one


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
