"""What one person reads of an incident in private: the card, a catch-up, why an item may be read, similar ones."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bot.cards.private import CatchUp, Happened, said_by_people
from bot.cards.state import CardState
from bot.errors import NotPermitted
from bot.flows.entitled import Entitled
from bot.flows.views import NotTriaged
from bot.incidents.similar import Similar, similar_incidents
from bot.store.values import to_time
from bot.trust.audience import Audience, AudienceUnknown, may_all_read
from bot.trust.explain import Rules, explain, explain_audience
from bot.trust.query import parse_readers
from bot.types import Ranked
from integrations.records import Incident

AUDIENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class SimilarIncident:
    """An earlier incident that this person may see."""

    id: str
    number: int | None
    title: str
    url: str
    triggered_at: datetime
    reasons: tuple[str, ...]
    """In what it is alike."""
    resolved_by: str = ""


Search = Callable[[Incident, Audience], Awaitable[Sequence[SimilarIncident]]]
"""Incidents that are alike, each one that the audience may read."""


class ChannelReaders(Protocol):
    """Who reads a channel now."""

    async def audience(self, channel_id: str, deadline_seconds: float = 0.5) -> Audience | AudienceUnknown: ...


class Reading:
    """Everything here is read again for the one who asks, and stored nowhere."""

    def __init__(
        self, entitled: Entitled, channels: ChannelReaders, rules: Rules, search: Search | None = None
    ) -> None:
        """`rules` say where each any-of set of readers is written; `search` finds similar incidents,
        by default in the store."""
        self._entitled = entitled
        self._book = entitled.book
        self._channels = channels
        self._rules = rules
        self._search = search

    async def card(self, user_id: str, incident_id: str) -> CardState:
        """The card as it stands, for this person: never more than the channel's. Raises NotTriaged."""
        await self._entitled.seen(incident_id, user_id)
        if await self._book.ranked(incident_id) is None:
            raise NotTriaged(f"{incident_id} has not been looked at yet")
        state = await self._entitled.views.stored_view(incident_id, await self._entitled.principal(user_id))
        standing = await self._entitled.standing(incident_id)
        if standing is None or state.restricted:
            return state
        seen = {suspect.change_id for suspect in state.suspects}
        confirmed = standing.confirmed if standing.confirmed and standing.confirmed.change_id in seen else None
        return state.model_copy(
            update={
                "ruled_out": tuple(one for one in standing.ruled_out if one.change_id in seen),
                "confirmed": confirmed, "cause_said": standing.cause_said, "version": standing.version,
                "facts_seconds": standing.facts_seconds,
            }
        )  # fmt: skip

    async def catch_up(self, user_id: str, incident_id: str) -> CatchUp:
        """What a latecomer wants to know. Raises NotTriaged."""
        state = await self.card(user_id, incident_id)
        if state.restricted:
            return CatchUp(state)
        happened = [*await self._triages(incident_id, state), *said_by_people(state)]
        return CatchUp(state, sorted(happened, key=lambda one: one.at))

    async def _triages(self, incident_id: str, state: CardState) -> list[Happened]:
        """Each later look, when another suspect was first, and when the summary came."""
        rows = await self._book.store.query(
            "SELECT n, started_at, facts_at, summary_at, suspects, outcome FROM triages"
            " WHERE workspace_id = :w AND incident_id = :i ORDER BY n",
            {"w": self._book.workspace_id, "i": incident_id},
        )
        names = {one.change_id: one.summary for one in state.suspects}
        found, first = [], ""
        for row in rows:
            if row["n"] > 1:
                found.append(Happened(to_time(row["started_at"]), f"Looked at again (run {row['n']})."))
            ranked = json.loads(row["suspects"] or "[]")
            now_first = ranked[0]["change_id"] if ranked and ranked[0].get("probability", 0) >= 0.4 else ""
            if row["n"] > 1 and now_first != first and now_first in names and row["facts_at"]:
                found.append(Happened(to_time(row["facts_at"]), f"First suspect now: {names[now_first]}."))
            first = now_first
            if row["summary_at"] and row["outcome"] == "released" and state.summary is not None:
                found.append(Happened(to_time(row["summary_at"]), "A summary came."))
        return found

    async def why(self, user_id: str, incident_id: str, mark: str) -> tuple[str, ...]:
        """Which rule lets this person, and the channel, read an item. Only for who may read it: raises NotPermitted."""
        incident = await self._entitled.seen(incident_id, user_id)
        audience = await self._entitled.audience(user_id, incident)
        principal = await self._entitled.reader(user_id, incident)
        rows = await self._book.store.query(
            "SELECT readers, title, source FROM evidence WHERE workspace_id = :w AND incident_id = :i AND mark = :m",
            {"w": self._book.workspace_id, "i": incident_id, "m": mark},
        )
        readers = parse_readers(rows[0]["readers"]) if rows else None
        if readers is None or not may_all_read(audience, readers):
            raise NotPermitted(f"no item {mark!r} of {incident_id!r} that you may read")
        told = [f"{mark} is “{rows[0]['title'][:200]}”, from {rows[0]['source']}."]
        told += ["You may read it: every requirement holds.", *explain(principal, readers, self._rules).sentences[1:]]
        row = await self._book.incident_row(incident.id)
        if row is not None and row["channel"]:
            there = await self._channels.audience(row["channel"], AUDIENCE_SECONDS)
            told += explain_audience(there, readers, self._rules).sentences
        return tuple(told)

    async def similar(self, user_id: str, incident_id: str) -> Sequence[SimilarIncident]:
        """Earlier incidents that are alike, of those that this person may see."""
        incident = await self._entitled.seen(incident_id, user_id)
        audience = await self._entitled.audience(user_id, incident)
        if self._search is not None:
            return await self._search(incident, audience)
        readers = self._entitled.parts.collector.alert_readers
        return [_similar(one) for one in await similar_incidents(self._book.store, incident, audience, readers)]

    async def ranked_for(self, user_id: str, incident_id: str) -> Ranked:
        """What was ranked, as this one person may read it. Raises NotTriaged."""
        await self._entitled.seen(incident_id, user_id)
        found = await self._entitled.views.ranked_for(incident_id, await self._entitled.principal(user_id))
        if found is None:
            raise NotTriaged(f"{incident_id} has not been looked at yet")
        return found


def _similar(found: Similar) -> SimilarIncident:
    incident = found.incident
    return SimilarIncident(
        incident.id, incident.number, incident.title, incident.url, incident.triggered_at, found.reasons,
        found.resolved_by,
    )  # fmt: skip
