"""refresh: permit for the audience of now → render → edit. Never calls a source or a model."""

from __future__ import annotations

from functools import partial
from typing import Any

from bot.cards.making import from_ranked
from bot.cards.render import render
from bot.cards.state import CardState
from bot.flows.engine import Steps
from bot.flows.parts import Parts, target_of
from bot.incidents.book import incident_of
from bot.triage.permit import permit_ranked, permit_released
from bot.triage.record import expose
from bot.trust.audience import Audience, may_all_read
from bot.types import Ranked, Rejected, Released
from integrations.records import WORLD

NOTE_READERS = frozenset({"pagerduty", WORLD})
"""The groups of whoever reads an incident's notes: the group `pagerduty`, and what anybody may read."""


class RefreshFlow:
    """Brings one incident's card to the incident's state and the audience of now."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run(self, steps: Steps, incident_id: str, key: str) -> dict[str, Any]:
        """`key` names what asked for it: a signal, a join, the hourly round."""
        return dict(await steps.run("refresh", partial(self.refresh, incident_id)))

    async def refresh(self, incident_id: str) -> dict[str, Any]:
        """Write the card's state as it may be shown now and wait until it is out."""
        parts = self._parts
        version = await self.write(incident_id)
        if version is None:
            return {"out": False}
        target = target_of(incident_id)
        out = await parts.cards.wait_for(target, version, parts.timeouts.publish_wait)
        first_at, _ = await parts.cards.sent_times(target)
        await expose(parts.book, incident_id, None if parts.shadow else first_at, parts.clock.now())
        return {"version": version, "out": out}

    async def write(self, incident_id: str) -> int | None:
        """Write the state of now; None when there is no card yet (its triage will publish the state of then)."""
        async with self._parts.cards.turn(target_of(incident_id)):
            return await self._write(incident_id)

    async def _write(self, incident_id: str) -> int | None:
        parts = self._parts
        row = await parts.book.incident_row(incident_id)
        found = await parts.book.ranked(incident_id)
        if row is None or row["channel"] is None or found is None:
            return None
        before, checked, _ = found
        channel = await self._channel(incident_id, row["channel"])
        audience = await parts.directory.audience(channel, parts.timeouts.permit)
        incident = incident_of(row).model_copy(update={"on_call": before.on_call})
        alerts = max(before.alerts_in_storm, await parts.book.alerts_of(incident_id))
        current = before.model_copy(update={"incident": incident, "alerts_in_storm": alerts})
        permitted = permit_ranked(current, audience, parts.collector.alert_readers(incident), parts.clock.now())
        if row["merged_into"] is not None:
            merged = f"merged into {row['merged_into']}, whose card goes on"
            permitted = permitted.model_copy(update={"notices": (merged, *permitted.notices)})
        shown = permit_released(checked, before, permitted)
        transform = partial(self._state, permitted, shown, len(permitted.evidence) < len(before.evidence))
        return await parts.cards.change(target_of(incident_id), channel, transform, permitted_at=permitted.permitted_at)

    async def _channel(self, incident_id: str, known: str) -> str:
        """The channel's id; a name that Slack could not be asked about when the incident was routed is resolved now."""
        found = await self._parts.channel_id(known)
        if found != known:
            book = self._parts.book
            await book.store.upsert(
                "incidents", [{"workspace_id": book.workspace_id, "id": incident_id, "channel": found}]
            )
        return found

    async def repermit(self, target: str) -> None:
        """What the outbox asks for a state that was permitted too long ago."""
        await self.write(target.partition(":")[2])

    async def note_text(self, target: str) -> str | None:
        """What a PagerDuty note may say: the card's sentence if the group `pagerduty` may read every item, else the
        fallback fields."""
        incident_id = target.partition(":")[2]
        incident = await self._parts.book.incident(incident_id)
        if incident is None:
            return None
        since = incident.triggered_at.strftime("%H:%M UTC")
        on_call = f", on-call {incident.on_call}" if incident.on_call else ""
        fallback = (
            f"Sitrep cannot reach Slack. SEV{incident.severity} {incident.id} since {since}{on_call}. {incident.url}"
        )
        found = await self._parts.book.ranked(incident_id)
        if found is None:
            return fallback
        readers = [item.readers for item in found[0].evidence]
        readers += [found[0].basis, self._parts.collector.alert_readers(incident)]
        group = Audience.of([NOTE_READERS], self._parts.clock.now())
        if found[0].fallback is not None or not all(may_all_read(group, one) for one in readers):
            return fallback
        sentence = render(from_ranked(found[0], links=self._parts.link_hosts), "minimal").text
        return f"Sitrep cannot reach Slack. {sentence} {incident.url}"

    def _state(
        self, ranked: Ranked, shown: Released | Rejected | None, narrowed: bool, before: CardState | None
    ) -> CardState:
        """The state that should stand, from what may be shown now and what people did to the card."""
        fresh = from_ranked(ranked, links=self._parts.link_hosts, narrowed=narrowed)
        if before is not None and before.summary is not None and not isinstance(shown, Released):
            before = before.without_summary(shown.reason if shown is not None else "")
        return fresh.after(before)
