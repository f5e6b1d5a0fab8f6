"""What Sitrep hears in Slack: alerts that monitoring bots write, and channels that are made for an incident.

A bot's message in one of `[slack] alert_channels` becomes a signal like a webhook's; its sender is `slack:<channel>`.
What people write there is not read. A channel whose name fits `[slack] incident_channels` belongs to the incident that
its name names, by id, number or the service of an open one; else it declares one.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from bot.clock import Clock
from bot.incidents.alerts import incident_id_of
from bot.incidents.book import Book
from bot.incidents.regroup import said_in_slack
from bot.store import Row
from bot.store.values import to_time
from integrations.errors import IntegrationError
from integrations.reading import mapping
from integrations.records import Alert, IncidentFields, Signal

_CHANNEL = re.compile(r"[CG][A-Z0-9]{2,20}\Z")
AlertReader = Callable[[Mapping[str, Any], str], Alert | None]
"""A message and its channel to the alert that it tells."""


class Ear(Protocol):
    """What the listeners tell. Each returns whether it meant something."""

    async def message(self, event: Mapping[str, Any]) -> bool: ...

    async def missed(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Messages that may have been heard already, oldest first; returns how many were news."""
        ...

    async def channel_created(self, event: Mapping[str, Any]) -> bool: ...


class Heard:
    """The `Ear` of the running bot."""

    def __init__(
        self,
        book: Book,
        clock: Clock,
        *,
        watched: Callable[[], Awaitable[Sequence[str]]],
        read: AlertReader,
        redact: Callable[[Any], Any],
        intake: Callable[[Sequence[Signal]], Awaitable[int]],
        own_channel: bool,
        pattern: str | None,
        join: Callable[[str], Awaitable[None]],
        moved: Callable[[str, str], Awaitable[Any]] | None = None,
    ) -> None:
        """`watched`: ids of the alert channels. With `own_channel` the card of an alert stands in the channel where it
        was written, for that channel's readers. `join` makes the bot a member of a channel; `moved(incident, channel)`
        moves a card."""
        self._moved = moved
        self._book = book
        self._clock = clock
        self._watched = watched
        self._read = read
        self._redact = redact
        self._intake = intake
        self._own_channel = own_channel
        self._pattern = pattern
        self._join = join

    async def message(self, event: Mapping[str, Any]) -> bool:
        """A bot's message in an alert channel, as it was written or edited; answers in threads are not read."""
        signal = await self._signal(event)
        return signal is not None and await self._intake([signal]) > 0

    async def missed(self, events: Sequence[Mapping[str, Any]]) -> int:
        """What began is not told where its end was heard already: it would stay open for ever."""
        signals = [one for event in events if (one := await self._signal(event)) is not None]
        known = await self._known([one.delivery_key for one in signals])
        over: set[str] = set()
        news = []
        for signal in reversed(signals):
            alert = signal.body["alert"]
            if signal.delivery_key in known:
                over |= {alert["dedupe_key"]} if alert["status"] == "resolved" else set()
            elif alert["status"] == "resolved" or alert["dedupe_key"] not in over:
                news.append(signal)
        return await self._intake(news[::-1]) if news else 0

    async def _known(self, keys: Sequence[str]) -> set[str]:
        """Those that are stored."""
        found: set[str] = set()
        for start in range(0, len(keys), 200):
            part = {f"k{at}": key for at, key in enumerate(keys[start : start + 200])}
            rows = await self._book.store.query(
                "SELECT delivery_key FROM signals WHERE workspace_id = :w AND delivery_key IN"  # noqa: S608 - names of parameters
                f" ({', '.join(':' + name for name in part)})",
                {"w": self._book.workspace_id, **part},
            )
            found |= {row["delivery_key"] for row in rows}
        return found

    async def _signal(self, event: Mapping[str, Any]) -> Signal | None:
        channel = event.get("channel")
        message = mapping(event.get("message")) if event.get("subtype") == "message_changed" else event
        if not isinstance(channel, str) or channel not in await self._watched():
            return None
        if message.get("thread_ts") not in (None, message.get("ts")):
            return None
        alert = self._read(message, channel)
        if alert is None:
            return None
        clean = Alert.model_validate(self._redact(alert.model_dump(mode="json")))
        if self._own_channel:
            clean = clean.model_copy(update={"extra": {**clean.extra, "own_channel": channel}})
        now = self._clock.now()
        body = json.dumps(clean.model_dump(mode="json"), sort_keys=True)
        digest = hashlib.sha256(body.encode()).hexdigest()
        occurred = clean.started_at if clean.status == "firing" else now
        return Signal(
            delivery_key=f"slack:{channel}:{message.get('ts')}:{digest[:16]}", source=f"slack:{channel}", kind="alert",
            incident_id=None, occurred_at=min(occurred, now), received_at=now,
            body={"alert": clean.model_dump(mode="json")}, sha256=digest,
        )  # fmt: skip

    async def channel_created(self, event: Mapping[str, Any]) -> bool:
        """A channel that was made for an incident: it becomes the incident's own."""
        told = mapping(event.get("channel"))
        channel, name = told.get("id"), told.get("name")
        if self._pattern is None or not isinstance(channel, str) or not isinstance(name, str):
            return False
        if not _CHANNEL.match(channel) or not fnmatch.fnmatchcase(name.casefold(), self._pattern.casefold()):
            return False
        try:
            await self._join(channel)
        except IntegrationError:
            return False  # nobody there would see a card of ours
        found = await self._named(name)
        if found is not None:
            if self._moved is not None and not said_in_slack(found["source"]):
                await self._moved(str(found["id"]), channel)
            else:
                row = {"workspace_id": self._book.workspace_id, "id": found["id"], "own_channel": channel}
                await self._book.store.upsert("incidents", [row])
                await self._book.audit(self._clock.now(), "sitrep", "channel", found["id"], {"channel": channel})
            return True
        creator = told.get("creator")
        await self._declare(channel, name, creator if isinstance(creator, str) else None)
        return True

    async def _declare(self, channel: str, name: str, creator: str | None) -> None:
        key, now = f"slack:channel:{channel}", self._clock.now()
        words = str(self._redact(_title(name, self._pattern or "")))
        fields = IncidentFields(title=words, url="", source="slack", own_channel=channel, created_at=now)
        signal = Signal(
            delivery_key=key, source="slack", kind="triggered",
            incident_id=incident_id_of(self._book.workspace_id, key, "S"), occurred_at=now, received_at=now, body={},
            sha256=hashlib.sha256(key.encode()).hexdigest(), incident=fields, said_by=creator,
        )  # fmt: skip
        await self._intake([signal])

    async def _named(self, name: str) -> Row | None:
        """The open incident that the name means: by id or number, else the only one of a service it names."""
        rows = await self._book.store.query(
            "SELECT id, number, service, source, triggered_at FROM incidents WHERE workspace_id = :w"
            " AND status <> 'resolved' AND merged_into IS NULL AND own_channel IS NULL"
            " ORDER BY triggered_at DESC LIMIT 500",
            {"w": self._book.workspace_id},
        )
        parts = re.split(r"[-_]", name.casefold())
        for row in rows:
            if row["id"].casefold() in parts or (row["number"] is not None and str(row["number"]) in parts):
                return row
        now = self._clock.now()
        named = [
            row
            for row in rows
            if row["service"] and row["service"].casefold() in name.casefold()
            and (now - to_time(row["triggered_at"])).total_seconds() <= 3600
        ]  # fmt: skip
        return named[0] if len(named) == 1 else None


def _title(name: str, pattern: str) -> str:
    """`inc-2026-11-24-checkout-slow` → `checkout slow`."""
    start = pattern.split("*")[0].casefold()
    words = re.split(r"[-_]", name.casefold().removeprefix(start))
    return " ".join(word for word in words if word and not word.isdigit()) or name
