"""Customers: they browse and order at a steady rate, whether or not the shop keeps up (open-loop load)."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter

import httpx

ORDERS_PER_SECOND = 9.0
BROWSING_PER_SECOND = 4.0


class Load:
    """Sends requests with exponential gaps, from a fixed seed, until `stop`."""

    def __init__(self, base_url: str, seed: int = 20) -> None:
        self._client = httpx.AsyncClient(
            base_url=base_url, timeout=15, limits=httpx.Limits(max_connections=500, max_keepalive_connections=100)
        )
        self._random = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self.answers: Counter[str] = Counter()

    def start(self) -> None:
        for rate, send in ((ORDERS_PER_SECOND, self._order), (BROWSING_PER_SECOND, self._browse)):
            self._keep(asyncio.create_task(self._stream(rate, send)))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stream(self, rate: float, send) -> None:  # type: ignore[no-untyped-def]
        while True:
            await asyncio.sleep(self._random.expovariate(rate))
            self._keep(asyncio.create_task(send()))

    async def _order(self) -> None:
        cart = {"item": self._random.choice(("kettle", "teapot", "cup")), "cents": self._random.randrange(500, 9000)}
        await self._send("POST", "/orders", cart)

    async def _browse(self) -> None:
        await self._send("GET", "/products", None)

    async def _send(self, method: str, path: str, body: object) -> None:
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._client.request(method, path, json=body)
            self.answers[f"{path} {answer.status_code}"] += 1
