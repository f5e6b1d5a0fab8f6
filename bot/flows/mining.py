"""Labels that nobody gave, proposed from responders' notes: incidents → notes → question → proposals. Nothing is stored
but the calls: a proposal becomes a label when a person says it (`/sitrep label`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.incidents.book import Book
from bot.model.call import Answer, Asks
from bot.store.values import ulid
from bot.triage import mine
from bot.triage.compose import fence_mark
from prompts import Prompt

MOST = 200
"""Incidents of one run, the newest first."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """What was found out about one incident."""

    incident_id: str
    title: str
    proposal: mine.Proposal

    def as_json(self) -> dict[str, Any]:
        one, suspect = self.proposal, self.proposal.suspect
        return {
            "incident": self.incident_id, "title": self.title, "outcome": one.outcome, "reason": one.reason,
            "cause": one.cause if one.outcome == "released" else None, "mark": suspect.mark if suspect else None,
            "change": suspect.summary if suspect else None, "change_id": suspect.change_id if suspect else None,
            "notes": list(one.notes), "usd": one.usage.cost_usd if one.usage else 0.0,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Mining:
    """`asks` is the gateway, or a batch at a provider, which `send` then sends."""

    asks: Asks
    book: Book
    prompt: Prompt
    fence_key: bytes
    orders: Callable[[str], bool]
    deadline_seconds: float
    may_be_shown: Callable[[str, str | None], bool]
    """Whether notes of an incident of this source and service may be shown to a model."""
    team: Callable[[str | None], str | None]

    async def __call__(
        self, since: datetime, now: datetime, send: Callable[[], Awaitable[None]] | None = None
    ) -> list[Proposed]:
        """Ask about every incident that was resolved since then, has notes and has no label."""
        made = [one for row in await self._unlabelled(since) if (one := await self._question(row)) is not None]
        run = ulid(now)
        if send is None:
            return [await self._ask(row, question, run) for row, question in made]
        tasks = [asyncio.create_task(self._ask(row, question, run)) for row, question in made]
        await asyncio.sleep(0)  # now each question waits at the desk
        await send()
        return list(await asyncio.gather(*tasks))

    async def _ask(self, row: Mapping[str, Any], made: mine.Question, run: str) -> Proposed:
        workspace = self.book.workspace_id
        call = mine.asked(
            made, workspace_id=workspace, workflow_id=f"labels:{run}", step=str(row["id"]),
            team=self.team(row["service"]),
        )  # fmt: skip
        reply = await self.asks.complete(call, self.deadline_seconds)
        told = mine.proposal(reply, made)
        if isinstance(reply, Answer):
            await self.asks.conclude(workspace, "batch", reply.usage, told.outcome, told.reason)
        return Proposed(str(row["id"]), str(row["title"]), told)

    async def _unlabelled(self, since: datetime) -> Sequence[Mapping[str, Any]]:
        return await self.book.store.query(
            "SELECT i.id, i.title, i.service, i.source FROM incidents i"
            " WHERE i.workspace_id = :w AND i.status = 'resolved' AND i.merged_into IS NULL"
            " AND i.triggered_at >= :since"
            " AND EXISTS (SELECT 1 FROM signals s WHERE s.workspace_id = i.workspace_id AND s.incident_id = i.id"
            "  AND s.kind = 'annotated')"
            " AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.workspace_id = i.workspace_id AND l.incident_id = i.id"
            "  AND l.undone_at IS NULL AND l.ruled_out IS NULL)"
            " ORDER BY i.triggered_at DESC LIMIT :n",
            {"w": self.book.workspace_id, "since": since, "n": MOST},
        )

    async def _question(self, row: Mapping[str, Any]) -> tuple[Mapping[str, Any], mine.Question] | None:
        found = await self.book.ranked(str(row["id"]))
        if found is None or not self.may_be_shown(str(row["source"]), row["service"]):
            return None
        ranked = found[0]
        fence = fence_mark(self.fence_key, self.book.workspace_id, str(row["id"]), ranked.snapshot)
        made = mine.question(ranked, await self._notes(str(row["id"])), self.prompt, fence=fence, orders=self.orders)
        return None if made is None else (row, made)

    async def _notes(self, incident_id: str) -> list[str]:
        """What people wrote, oldest first, each once; redacted at the door. Sitrep's own notes say what it thinks."""
        rows = await self.book.store.query(
            "SELECT body FROM signals WHERE workspace_id = :w AND incident_id = :i AND kind = 'annotated'"
            " ORDER BY occurred_at, seq",
            {"w": self.book.workspace_id, "i": incident_id},
        )
        found = [_words(json.loads(row["body"]).get("payload")) for row in rows]
        return [one for one in dict.fromkeys(found) if one and "sitrep" not in one.lower()]


def _words(payload: Any) -> str:
    """The text of a note: of a V3 webhook (`event.data.content`), or of a log entry (`channel`, `note`)."""
    event = payload.get("event") if isinstance(payload, Mapping) else None
    data = event.get("data") if isinstance(event, Mapping) else None
    channel = payload.get("channel") if isinstance(payload, Mapping) else None
    for place, name in ((data, "content"), (payload, "note"), (channel, "content"), (channel, "summary")):
        value = place.get(name) if isinstance(place, Mapping) else None
        if isinstance(value, str) and value.strip():
            return value.strip()
    return ""
