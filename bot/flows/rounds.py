"""What happens by the clock: triages that were set aside, cards that are checked again, old workflows."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial

from bot.cards.making import from_ranked
from bot.cards.state import CardState
from bot.flows.audience import AudienceEvents
from bot.flows.engine import Engine
from bot.flows.parts import Parts, target_of
from bot.incidents.book import Book
from bot.incidents.signals import failed_signals
from bot.store import Row
from bot.triage.permit import fallback_incident
from bot.trust.directory import DirectoryCache
from bot.trust.neutralise import LinkPolicy
from bot.trust.recheck import EventKind
from bot.types import Ranked, SourceStatus

log = logging.getLogger(__name__)

SET_ASIDE = "this triage failed five times and was set aside; the incident itself is linked"
NOT_CHECKED = "this card could not be brought up to date five times; the incident itself is linked"
ROUND_SECONDS = 30.0
CHANNELS_SECONDS = 420.0
"""Less than half of the time that a membership counts."""
WARM_SECONDS = 20.0


class Rounds:
    """One loop: every half minute the short round, every hour the long one."""

    def __init__(
        self,
        parts: Parts,
        engine: Engine,
        directory: DirectoryCache,
        readers: AudienceEvents,
        *,
        recheck_seconds: float = 3600.0,
        retention: Callable[[datetime], Awaitable[object]] | None = None,
        channels: Sequence[str] = (),
        weekly: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """`retention` removes what is older than its rule, at the time that it is given. `channels` are those of the
        settings: who is in them is kept warm, so that a card need not wait for it. `weekly` sends the reports that
        are due."""
        self._weekly = weekly
        self._channels = tuple(channels)
        self._parts = parts
        self._engine = engine
        self._directory = directory
        self._readers = readers
        self._recheck_seconds = recheck_seconds
        self._retention = retention

    async def run(self) -> None:
        """At start-up at once, then for ever."""
        clock = self._parts.clock
        kind: EventKind = "started"
        last_long = clock.monotonic() - self._recheck_seconds
        await self._guarded("warming the directory", self._directory.warm)
        last_channels = clock.monotonic() - CHANNELS_SECONDS
        while True:
            if clock.monotonic() - last_channels >= CHANNELS_SECONDS:
                last_channels = clock.monotonic()
                await self._guarded("reading who is in the channels", self._warm_channels)
            await self._guarded("setting triages aside", self.set_aside)
            if self._weekly is not None:
                await self._guarded("sending the weekly report", self._weekly)
            self._directory.refresh_due()
            if clock.monotonic() - last_long >= self._recheck_seconds:
                last_long = clock.monotonic()
                await self._guarded("checking cards again", partial(self._readers.check, kind))
                kind = "hourly"
                await self._guarded("forgetting old workflows", self._forget)
                if self._retention is not None:
                    await self._guarded("removing what is too old", partial(self._retention, clock.now()))
            await clock.sleep(ROUND_SECONDS)

    async def _guarded(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except Exception as failed:  # noqa: BLE001 - a loop that must not end; the next round tries again
            log.error("%s failed with %s", what, type(failed).__name__)

    async def _warm_channels(self) -> None:
        for name in self._channels:
            await self._directory.audience(await self._parts.channel_id(name), WARM_SECONDS)

    async def _forget(self) -> None:
        while await self._engine.forget_old():
            pass

    async def set_aside(self) -> int:
        """Post the alert itself for what will not be tried again, say so once, and raise an alarm.

        A triage's card then shows the alert; a refresh's card is reduced to it, since nobody could check who may read
        the rest; for a signal that could not be applied there is a message of its own.
        """
        count = 0
        for workflow_id in await self._engine.set_aside():
            kind, incident_id, key = _parts_of(workflow_id)
            if await self._say_once(self._parts.book, f"set-aside:{workflow_id}"):
                log.error("%s was set aside after five starts or an error; see docs/operations.md", workflow_id)
                await self._post_alert_itself(incident_id, int(key) if kind == "triage" else None)
                count += 1
        for row in await failed_signals(self._parts.book.store, self._parts.book.workspace_id):
            if await self._say_once(self._parts.book, f"set-aside:signal:{row['delivery_key']}"):
                await self._post_signal(row)
                count += 1
        return count

    async def _post_signal(self, row: Row) -> None:
        """Where from, which incident and its link: the fields of a fallback card, for whoever reads the channel."""
        parts = self._parts
        said = json.loads(row["body"]).get("incident") or {}
        number = said.get("number")
        what = row["incident_id"] or "no incident"
        url = str(said.get("url") or "")
        link = LinkPolicy(parts.link_hosts).safe(url)
        text = f"Sitrep could not apply a signal from {row['source']} about {what}{f' (#{number})' if number else ''}"
        text += f" and set it aside. Look at it there: {link}" if link else " and set it aside. Look at it there."
        channel = await parts.channel_id(parts.routing.channel(1, None, None))
        blocks = [{"type": "section", "text": {"type": "plain_text", "text": text, "emoji": False}}]
        await parts.cards.say(f"notice:signal:{row['delivery_key']}", channel, text, blocks)

    async def _say_once(self, book: Book, notice: str) -> bool:
        now = self._parts.clock.now()
        row = {"workspace_id": book.workspace_id, "id": notice, "kind": "set_aside", "created_at": now}
        return await book.store.insert("notices", [row], ignore=True) == 1

    async def _post_alert_itself(self, incident_id: str, n: int | None) -> None:
        """`n` is the triage's; None: a refresh failed."""
        parts, now = self._parts, self._parts.clock.now()
        row = await parts.book.incident_row(incident_id)
        incident = await parts.book.incident(incident_id)
        if row is None or incident is None:
            return
        name = row["channel"] or parts.routing.channel(incident.severity, incident.service, row["own_channel"])
        channel = await parts.channel_id(name)
        why = SET_ASIDE if n is not None else NOT_CHECKED
        ranked = Ranked(
            incident=fallback_incident(incident), headline="", evidence=(), fallback=why,
            sources=(SourceStatus(name="triage", answered=False, note="set aside"),),
            collected_at=now, permitted_at=now,
        )  # fmt: skip
        if n is not None:
            ended = {"outcome": "off", "outcome_reason": why, "channel": channel, "recorded_at": now, "started_at": now}
            await parts.book.write_triage(incident_id, n, ended)

        def transform(before: CardState | None) -> CardState:
            if n is not None and before is not None and before.phase not in ("collecting",):
                return before
            return from_ranked(ranked, links=parts.link_hosts).after(before)

        await parts.cards.change(target_of(incident_id), channel, transform, permitted_at=now)


def _parts_of(workflow_id: str) -> tuple[str, str, str]:
    """Kind, incident and key of `triage:<incident>:<n>` or `refresh:<incident>:<key>`; an incident's id may have
    colons, a key has none."""
    kind, _, rest = workflow_id.partition(":")
    incident_id, _, key = rest.rpartition(":")
    return kind, incident_id, key
