"""Merge and split for a person: whether they may, then the store's own functions; the cards follow by the drainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.flows.entitled import Entitled, OnlyAdmins
from bot.incidents.book import incident_of
from bot.incidents.regroup import merge, split, split_services
from bot.trust.admins import Action, Admins
from integrations.records import Incident

MAX_REASON = 300


class Grouping:
    """Every method raises NotPermitted for what this person may not see, OnlyAdmins for what they may not do."""

    def __init__(self, entitled: Entitled, admins: Admins, wake: Callable[[], None]) -> None:
        """`wake` tells the drainer."""
        self._entitled = entitled
        self._book = entitled.book
        self._admins = admins
        self._wake = wake

    async def merge(self, by: str, incident_id: str, into: str, reason: str) -> str:
        """Make one incident part of another's card. Returns "" or why nothing changed, in words."""
        await self._may(by, "merge", [incident_id, into])
        now = self._entitled.parts.clock.now()
        found = await merge(
            self._book.store, self._book.workspace_id, incident_id, into, by=by, reason=reason[:MAX_REASON], at=now
        )
        self._wake()
        return found.refused

    async def split(self, by: str, incident_id: str, reason: str) -> str:
        """A merged incident stands on its own again. Returns "" or why nothing changed."""
        await self._may(by, "split", [incident_id])
        now = self._entitled.parts.clock.now()
        found = await split(
            self._book.store, self._book.workspace_id, incident_id, by=by, reason=reason[:MAX_REASON], at=now
        )
        self._wake()
        return found.refused

    async def split_services(
        self, by: str, incident_id: str, services: Sequence[str], reason: str
    ) -> tuple[str | None, str]:
        """The alerts of these services become an incident of their own: its id, or None and why nothing changed."""
        await self._may(by, "split", [incident_id])
        unknown = set(services) - set(await self.services(by, incident_id))
        if unknown:
            return None, f"No alert of this incident is about {', '.join(sorted(unknown))}."
        now = self._entitled.parts.clock.now()
        made = await split_services(
            self._book.store, self._book.workspace_id, incident_id, list(services), by=by, reason=reason[:MAX_REASON],
            at=now,
        )  # fmt: skip
        self._wake()
        return made

    async def merged(self, user_id: str, incident_id: str) -> Sequence[Incident]:
        """What was merged into an incident, of which this person may see, oldest first; also found by its own id."""
        rows = await self._book.store.query(
            "SELECT * FROM incidents WHERE workspace_id = :w AND merged_into IS NOT NULL"
            " AND (merged_into = :i OR upper(id) = upper(:i)) ORDER BY triggered_at LIMIT 100",
            {"w": self._book.workspace_id, "i": incident_id},
        )
        principal = await self._entitled.principal(user_id)
        found = [incident_of(row) for row in rows]
        return [one for one in found if await self._entitled.views.may_see(one, principal)]

    async def services(self, user_id: str, incident_id: str) -> Sequence[str]:
        """Services whose alerts are in the incident, of those that this person may see."""
        incident = await self._entitled.seen(incident_id, user_id)
        rows = await self._book.store.query(
            "SELECT DISTINCT service FROM alerts WHERE workspace_id = :w AND incident_id = :i AND service IS NOT NULL"
            " ORDER BY service",
            {"w": self._book.workspace_id, "i": incident_id},
        )
        principal = await self._entitled.principal(user_id)
        named = [str(row["service"]) for row in rows]
        may = self._entitled.views.may_see
        return [one for one in named if await may(incident.model_copy(update={"service": one}), principal)]

    async def _may(self, by: str, action: Action, incident_ids: Sequence[str]) -> None:
        """Both must be theirs to see; then an admin of every team that is touched is needed, merged ones included."""
        roots = []
        for one in incident_ids:
            row = await self._book.incident_row(one)
            roots.append(str(row["merged_into"]) if row is not None and row["merged_into"] else one)
        seen = [await self._entitled.seen(one, by) for one in dict.fromkeys([*incident_ids, *roots])]
        touched = {one.service for one in seen}
        for root in roots:
            rows = await self._book.store.query(
                "SELECT service FROM incidents WHERE workspace_id = :w AND merged_into = :i",
                {"w": self._book.workspace_id, "i": root},
            )
            touched |= {row["service"] for row in rows}
        teams = [self._entitled.parts.routing.team(service) for service in touched]
        if not self._admins.may(await self._entitled.principal(by), action, *teams):
            raise OnlyAdmins(f"to {action} is for admins")
