"""What one person may see of one incident: the question that every private door asks first. Deny by default.

What a person may not see does not exist for them: both are NotPermitted. What every door needs besides stands here too:
how a card names somebody, and how a person's word changes a card that stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bot.cards.state import CardState
from bot.errors import NotPermitted
from bot.flows.parts import Parts, target_of
from bot.flows.views import Views
from bot.trust.audience import Audience, AudienceUnknown, audience_of_person, may_all_read
from bot.trust.principals import Principal
from bot.types import Suspect
from integrations.records import Incident


class OnlyAdmins(NotPermitted):
    """They may see it, and may not do this to it."""


class Principals(Protocol):
    """Who somebody is (the directory cache)."""

    async def principal(self, person_id: str, deadline_seconds: float = 0.5) -> Principal: ...


class Entitled:
    """Everything behind the doors asks here, by Slack's id of the person."""

    def __init__(self, parts: Parts, views: Views, principals: Principals) -> None:
        self.parts = parts
        self.book = parts.book
        self.views = views
        self._principals = principals

    async def principal(self, person_id: str) -> Principal:
        return await self._principals.principal(person_id)

    async def reader(self, person_id: str, incident: Incident) -> Principal:
        """This person, with the incident's own channel where it was said there and they read it."""
        return await self.views.placed(incident, await self._principals.principal(person_id))

    async def audience(self, person_id: str, incident: Incident) -> Audience:
        """This one reader. Raises NotPermitted for somebody whom the directory cannot place."""
        found = audience_of_person(await self.reader(person_id, incident), self.parts.clock.now())
        if isinstance(found, AudienceUnknown):
            raise NotPermitted(found.reason)
        return found

    async def seen(self, incident_id: str, person_id: str) -> Incident:
        """The incident, if this person may see it."""
        incident = await self.book.incident(incident_id)
        if incident is None or not await self.views.may_see(incident, await self._principals.principal(person_id)):
            raise NotPermitted(f"no incident {incident_id!r} that you may see")
        return incident

    async def suspect(self, incident_id: str, person_id: str, mark: str) -> tuple[int, Suspect]:
        """The suspect with this mark and its rank, 1 is first; only one that this person may read."""
        for rank, suspect in await self.suspects(incident_id, person_id):
            if suspect.mark == mark:
                return rank, suspect
        raise NotPermitted(f"no suspect {mark!r} on the card of {incident_id!r}")

    async def suspects(self, incident_id: str, person_id: str) -> list[tuple[int, Suspect]]:
        """The suspects of the latest triage that this person may read, each with its rank."""
        found = await self.book.ranked(incident_id)
        if found is None:
            return []
        readers = {item.mark: item.readers for item in found[0].evidence}
        incident = await self.book.incident(incident_id)
        if incident is None:
            return []
        audience = audience_of_person(await self.reader(person_id, incident), self.parts.clock.now())
        if isinstance(audience, AudienceUnknown):
            return []
        return [
            (rank, suspect)
            for rank, suspect in enumerate(found[0].suspects, start=1)
            if suspect.mark in readers and may_all_read(audience, readers[suspect.mark])
        ]

    async def role(self, incident_id: str, person_id: str) -> str:
        """How the card names somebody: by the owning team if they are in it, else not at all; never by their name."""
        found = await self.book.ranked(incident_id)
        owner = found[0].owner if found else None
        return owner if owner and owner in (await self._principals.principal(person_id)).groups else ""

    async def triage_id(self, incident_id: str) -> str:
        row = await self.book.triage_row(incident_id)
        return str(row["id"]) if row else f"{incident_id}/0"

    async def standing(self, incident_id: str) -> CardState | None:
        """The card that stands, as its channel sees it; for what people did to it, never to be shown as it is."""
        rows = await self.book.store.query(
            "SELECT state FROM posts WHERE workspace_id = :w AND target = :t AND part = 'card' AND kind = 'card'",
            {"w": self.book.workspace_id, "t": target_of(incident_id)},
        )
        return CardState.model_validate_json(rows[0]["state"]) if rows else None

    async def edit(self, incident_id: str, change: Callable[[CardState], CardState]) -> None:
        """Change the card that stands, if there is one; its permission stays as old as it was."""
        row = await self.book.incident_row(incident_id)
        found = await self.book.ranked(incident_id)
        if row is None or row["channel"] is None or found is None:
            return

        def transform(before: CardState | None) -> CardState:
            if before is None:
                raise NotPermitted(f"no card of {incident_id!r} stands")
            return change(before)

        cards = self.parts.cards
        permitted_at = await cards.permitted_at(target_of(incident_id)) or found[0].permitted_at
        await cards.change(target_of(incident_id), row["channel"], transform, permitted_at=permitted_at)
