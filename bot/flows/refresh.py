"""refresh: permit for the audience of now → render → edit. Never calls a source or a model."""

from __future__ import annotations

from functools import partial
from typing import Any

from bot.cards.state import CardState, from_ranked
from bot.flows.engine import Steps
from bot.flows.triage import Parts, target_of
from bot.incidents.book import incident_of
from bot.triage.permit import fallback_incident, permit_ranked, permit_released
from bot.triage.record import expose
from bot.types import Ranked, Rejected, Released


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
        row = await parts.book.incident_row(incident_id)
        if row is None or row["channel"] is None:
            return {"out": False}
        found = await parts.book.ranked(incident_id)
        if found is None:  # the triage has not got as far as facts: it will publish the state of then
            return {"out": False}
        before, checked, triage = found
        now_at = parts.clock.now()
        audience = await parts.directory.audience(row["channel"], parts.timeouts.permit)
        incident = incident_of(row).model_copy(update={"on_call": before.on_call})
        current = before.model_copy(update={"incident": incident})
        permitted = permit_ranked(current, audience, parts.collector.alert_readers(incident), now_at)
        if permitted.fallback is not None:
            permitted = permitted.model_copy(update={"incident": fallback_incident(incident)})
        shown = permit_released(checked, before, permitted)
        transform = partial(self._state, permitted, shown, len(permitted.evidence) < len(before.evidence))
        target = target_of(incident_id)
        version = await parts.cards.change(target, row["channel"], transform, permitted_at=permitted.permitted_at)
        out = await parts.cards.wait_for(target, version, parts.timeouts.publish_wait)
        first_at, _ = await parts.cards.sent_times(target)
        await expose(parts.book, incident_id, triage["id"], None if parts.shadow else first_at, now_at)
        return {"version": version, "out": out}

    def _state(
        self, ranked: Ranked, shown: Released | Rejected | None, narrowed: bool, before: CardState | None
    ) -> CardState:
        """The state that should stand, from what may be shown now and what people did to the card."""
        fresh = from_ranked(ranked, links=self._parts.link_hosts, narrowed=narrowed)
        if before is not None and before.summary is not None and not isinstance(shown, Released):
            before = before.without_summary(shown.reason if shown is not None else "")
        return fresh.after(before)
