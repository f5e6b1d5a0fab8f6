"""Sends V3 webhooks as PagerDuty does: signed, in order, the same id on every retry, given up on a 4xx but 429."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

from demo import scenario

ANSWER_SECONDS = 5.0
"""PagerDuty waits so long for a 2xx."""
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0)
"""Pauses before a retry. PagerDuty's own go on for 48 hours; a demo has less patience."""


@dataclass(slots=True)
class Delivery:
    """One webhook and what became of it; a status of 0 is no answer."""

    event_type: str
    webhook_id: str
    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def delivered(self) -> bool:
        return bool(self.statuses) and 200 <= self.statuses[-1] < 300


def signature(secret: str, body: bytes) -> str:
    """The value of `X-PagerDuty-Signature`."""
    return "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Webhooks:
    """One subscription. `send` queues, `run` delivers one after the other."""

    def __init__(self, url: str | None, secret: str) -> None:
        self.url = url
        self.secret = secret
        self.deliveries: list[Delivery] = []
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def send(self, event: dict[str, Any]) -> None:
        """Without an address nothing is sent, as without a subscription."""
        if self.url:
            self._queue.put_nowait(event)

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
            while True:
                await self._deliver(client, await self._queue.get())
                self._queue.task_done()

    async def _deliver(self, client: httpx.AsyncClient, event: dict[str, Any]) -> None:
        body = json.dumps({"event": event}, separators=(",", ":")).encode()
        delivery = Delivery(event["event_type"], str(uuid.uuid4()))
        self.deliveries.append(delivery)
        headers = {
            "content-type": "application/json",
            "user-agent": "PagerDuty-Webhook/V3.0",
            "x-webhook-id": delivery.webhook_id,
            "x-webhook-subscription": scenario.WEBHOOK_SUBSCRIPTION,
            "x-pagerduty-signature": signature(self.secret, body),
        }
        for pause in (*RETRY_SECONDS, None):
            began = time.perf_counter()
            try:
                answer = await client.post(self.url or "", content=body, headers=headers)
                delivery.statuses.append(answer.status_code)
            except httpx.HTTPError:
                delivery.statuses.append(0)
            delivery.seconds.append(time.perf_counter() - began)
            status = delivery.statuses[-1]
            if delivery.delivered or (400 <= status < 500 and status != 429) or pause is None:
                return
            await asyncio.sleep(pause)
