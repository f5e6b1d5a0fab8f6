"""What one reader may see of an incident, collected or read again for that reader: ephemeral answers and the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.cards.making import from_ranked
from bot.cards.state import CardState
from bot.errors import NotPermitted
from bot.flows.parts import Parts
from bot.flows.triage import TriageFlow
from bot.incidents import topology
from bot.incidents.regroup import said_in_slack
from bot.triage.permit import permit, permit_ranked, permit_released
from bot.trust.audience import Audience, AudienceUnknown, audience_of_person, may_all_read
from bot.trust.principals import Principal
from bot.types import Ranked
from integrations.records import Incident


class NotTriaged(NotPermitted):
    """They may see the incident; nobody has looked at it yet, so there is nothing to read."""


class Views:
    """Per-reader views. Nothing here is stored: what a channel may not read is collected again for the one who asks."""

    def __init__(self, parts: Parts, flow: TriageFlow) -> None:
        self._parts = parts
        self._flow = flow

    async def own_view(self, incident_id: str, principal: Principal) -> CardState:
        """Collect again and keep what this person may read. Raises NotPermitted for what they may not see at all."""
        ranked = await self.own_ranked(incident_id, principal)
        return from_ranked(ranked, links=self._parts.link_hosts, offers=())

    async def own_ranked(self, incident_id: str, principal: Principal) -> Ranked:
        """The same before it is a card: with the items' texts. Raises NotTriaged for an incident that is recorded only:
        what it is kept without, nobody gets by this way, which no measurement would see."""
        incident, audience = await self._entitled(incident_id, principal)
        if await self._parts.book.is_recorded_only(incident_id):
            raise NotTriaged(f"{incident_id} has no card; a person may ask for one")
        edges = await topology.learnt(self._parts.book.store, self._parts.book.workspace_id, self._parts.clock.now())
        collected = await self._parts.collector.collect(incident, edges)
        return await self._flow.analyse(permit(collected, audience, self._parts.clock.now()))

    async def stored_view(self, incident_id: str, principal: Principal) -> CardState:
        """The card as it stands, for this reader: never more than the channel's."""
        incident, audience = await self._entitled(incident_id, principal)
        found = await self._parts.book.ranked(incident_id)
        if found is None:
            raise NotPermitted(f"{incident_id} has not been triaged yet")
        before, checked, _ = found
        permitted = self._permitted(before, incident, audience)
        state = from_ranked(permitted, links=self._parts.link_hosts, offers=())
        shown = permit_released(checked, before, permitted)
        return state.with_summary(shown) if shown is not None else state

    async def ranked_for(self, incident_id: str, principal: Principal) -> Ranked | None:
        """What was ranked and stored, as this reader may read it; None before the first triage."""
        incident, audience = await self._entitled(incident_id, principal)
        found = await self._parts.book.ranked(incident_id)
        return self._permitted(found[0], incident, audience) if found is not None else None

    async def may_see(self, incident: Incident, principal: Principal) -> bool:
        """Whether this person may read the incident itself."""
        audience = audience_of_person(await self.placed(incident, principal), self._parts.clock.now())
        return not isinstance(audience, AudienceUnknown) and may_all_read(
            audience, self._parts.collector.alert_readers(incident)
        )

    async def _entitled(self, incident_id: str, principal: Principal) -> tuple[Incident, Audience]:
        incident = await self._parts.book.incident(incident_id)
        if incident is not None:
            principal = await self.placed(incident, principal)
        audience = audience_of_person(principal, self._parts.clock.now())
        if incident is None or isinstance(audience, AudienceUnknown) or not await self.may_see(incident, principal):
            raise NotPermitted(f"no incident {incident_id!r} that you may see")
        return incident, audience

    async def placed(self, incident: Incident, principal: Principal) -> Principal:
        """What was said in a channel is for whoever reads that channel."""
        if not said_in_slack(incident.source) or incident.channel is None:
            return principal
        return await self._parts.directory.placed(principal, incident.channel)

    def _permitted(self, before: Ranked, incident: Incident, audience: Audience) -> Ranked:
        current = before.model_copy(update={"incident": incident.model_copy(update={"on_call": before.on_call})})
        readers = self._parts.collector.alert_readers(incident)
        return permit_ranked(current, audience, readers, self._parts.clock.now())


class IncidentView:
    """`GET /incidents/<id>` for the holder of an API token, which is a principal like any other."""

    def __init__(self, views: Views, groups: Mapping[str, frozenset[str]]) -> None:
        self._views = views
        self._groups = groups

    async def view(self, token_name: str, incident_id: str) -> Mapping[str, Any] | None:
        """The stored card as JSON. Raises NotPermitted."""
        principal = Principal.token(token_name, self._groups[token_name])
        state = await self._views.stored_view(incident_id, principal)
        return state.model_dump(mode="json", exclude={"announced", "replies", "offers", "links"})
