"""What a webhook of Alertmanager left out: with `max_alerts` it lists some of a group's alerts, and its word that one
is over cannot be believed. So its API is asked what fires, every minute until nothing of that receiver does.

The alerts become signals like those of a webhook. An alert that two readings in a row, a minute apart, no longer list
is over; an Alertmanager that has just started is not believed about that.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from bot.clock import Clock
from bot.store import Row, Store
from bot.store.values import to_text, to_time
from integrations.errors import IntegrationError, NotASignal
from integrations.records import Alert, Signal

log = logging.getLogger(__name__)

SOURCE = "alertmanager"
EVERY_SECONDS = 60.0
LOOK_BACK = timedelta(hours=24)
"""How long a delivery that was cut short says that there is more to know, while any of its alerts fires."""


class Lister(Protocol):
    """Alertmanager's API."""

    async def firing(self, now: datetime) -> tuple[list[Alert], bool]:
        """What fires, and whether the list is whole. Raises IntegrationError or NotASignal."""
        ...


class Truncated:
    """Follows up deliveries that were cut short, one workspace."""

    def __init__(
        self,
        api: Lister,
        store: Store,
        workspace_id: str,
        clock: Clock,
        intake: Callable[[Sequence[Signal]], Awaitable[int]],
    ) -> None:
        """`intake` redacts and stores signals."""
        self._api = api
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._intake = intake
        self._missing: set[tuple[str, str]] = set()
        """Alerts that the reading before no longer listed, by key and start."""

    async def run(self) -> None:
        """Every minute, for ever: without a delivery that was cut short nobody is asked."""
        while True:
            try:
                await self.round()
            except (IntegrationError, NotASignal) as failed:
                log.warning("asking Alertmanager what fires failed: %s", failed)
            except Exception as failed:  # noqa: BLE001 - a loop that must not end; the next round asks again
                log.error("asking Alertmanager what fires failed with %s", type(failed).__name__)
            await self._clock.sleep(EVERY_SECONDS)

    async def round(self) -> int:
        """Ask, if a delivery was cut short; returns how many signals were new."""
        now = self._clock.now()
        receivers = await self._receivers(now)
        if not receivers:
            self._missing = set()
            return 0
        open_alerts = await self._open()
        listed, whole = await self._api.firing(now)
        ours = [one for one in listed if one.status == "firing" and not receivers.isdisjoint(_receivers_of(one))]
        keys = {one.dedupe_key for one in listed}
        gone = [row for row in open_alerts if row["dedupe_key"] not in keys] if whole else []
        again = [row for row in gone if (row["dedupe_key"], row["started_at"]) in self._missing]
        self._missing = {(row["dedupe_key"], row["started_at"]) for row in gone}
        signals = [_signal(one, now, "listed") for one in ours] + [_signal(_ended(row), now, "gone") for row in again]
        return await self._intake(signals) if signals else 0

    async def _receivers(self, now: datetime) -> set[str]:
        """Those of deliveries that were cut short, while an alert of theirs fires."""
        rows = await self._store.query(
            "SELECT body FROM signals WHERE workspace_id = :w AND source = :s AND kind = 'alert'"
            " AND received_at >= :since AND body LIKE '%\"truncatedAlerts\"%' ORDER BY received_at DESC LIMIT 500",
            {"w": self._workspace_id, "s": SOURCE, "since": to_text(now - LOOK_BACK)},
        )
        found: set[str] = set()
        for row in rows:
            alert = json.loads(row["body"]).get("payload", {}).get("alert", {})
            receiver = alert.get("extra", {}).get("receiver")
            if not isinstance(receiver, str) or receiver in found:
                continue
            if await self._fires(str(alert.get("dedupe_key")), now):
                found.add(receiver)
        return found

    async def _fires(self, dedupe_key: str, now: datetime) -> bool:
        rows = await self._store.query(
            "SELECT 1 AS n FROM alerts WHERE workspace_id = :w AND source = :s AND dedupe_key = :k"
            " AND status <> 'resolved' AND seen_at >= :since LIMIT 1",
            {"w": self._workspace_id, "s": SOURCE, "k": dedupe_key, "since": to_text(now - LOOK_BACK)},
        )
        return bool(rows)

    async def _open(self) -> list[Row]:
        return await self._store.query(
            "SELECT dedupe_key, started_at, title, service, severity FROM alerts"
            " WHERE workspace_id = :w AND source = :s AND status <> 'resolved' ORDER BY started_at LIMIT 10000",
            {"w": self._workspace_id, "s": SOURCE},
        )


def _receivers_of(alert: Alert) -> set[str]:
    named = alert.extra.get("receivers")
    return {str(one.get("name")) for one in named if isinstance(one, dict)} if isinstance(named, list) else set()


def _ended(row: Row) -> Alert:
    return Alert(
        title=row["title"], service=row["service"], severity=row["severity"], status="resolved",
        started_at=to_time(row["started_at"]), link=None, dedupe_key=row["dedupe_key"],
    )  # fmt: skip


def _signal(alert: Alert, now: datetime, how: str) -> Signal:
    key = f"alertmanager-api:{how}:{alert.dedupe_key}:{to_text(alert.started_at)}"
    return Signal(
        delivery_key=key, source=SOURCE, kind="alert", incident_id=None,
        occurred_at=min(alert.started_at, now) if alert.status == "firing" else now, received_at=now,
        body={"alert": alert.model_dump(mode="json")}, sha256=hashlib.sha256(key.encode()).hexdigest(),
    )  # fmt: skip
