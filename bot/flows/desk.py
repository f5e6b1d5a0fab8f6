"""What a person does through Slack: find, triage, vote, label, acknowledge, look. Each answer is for that person.

What changes something is stored before the method returns, under a key of its own, so that twice is once. What a
person may not see does not exist for them: both are NotPermitted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from bot.cards.state import CardState
from bot.flows.entitled import Entitled
from bot.incidents.asked_for import ask_for_triage
from bot.incidents.book import incident_of
from bot.store import Row
from bot.trust.admins import Action, Admins
from bot.trust.principals import Principal
from integrations.errors import Denied, IntegrationError, Refused
from integrations.records import Incident

Vote = Literal["helpful", "not_helpful"]
Done = Literal["not_mapped", "not_supported", "refused", "unavailable"]
"""`not_mapped`: the incident source knows nobody by this person's verified e-mail; `not_supported`: it takes none from
us; `refused`: it lets us, or this person, not do that; `unavailable`: it did not answer."""
Acknowledged = Literal["acknowledged", "already"] | Done
Noted = Literal["noted"] | Done
MAX_LISTED = 100
_NO_ADMINS = Admins()


@dataclass(frozen=True, slots=True)
class IncidentLine:
    """One incident in a menu or a list."""

    id: str
    number: int | None
    severity: int
    status: str
    title: str
    triggered_at: datetime
    channel: str | None = None
    url: str = ""
    service: str | None = None


@dataclass(frozen=True, slots=True)
class DeskStatus:
    """What `/sitrep status` tells: open incidents that this person may see, and how the bot is.

    `model` is a finished sentence; `notices` are finished sentences about what is not in order. No experiment's name
    or arm stands in any of them.
    """

    incidents: Sequence[IncidentLine]
    more: int = 0
    """Open incidents of theirs that are not listed."""
    model: str = ""
    posts_waiting: int = 0
    notices: Sequence[str] = ()


class Acknowledger(Protocol):
    """The incident source, where it takes an acknowledgement from us."""

    async def acknowledge(self, incident_id: str, email: str) -> None: ...

    async def add_note(self, incident_id: str, text: str, email: str | None = None) -> str: ...

    async def find_note(self, incident_id: str, mark: str) -> str | None: ...


class Switch(Protocol):
    """Stops and starts the model's summaries (the experiment's kill switch)."""

    async def pause(self, by: str, reason: str) -> bool: ...

    async def resume(self, by: str, reason: str) -> int: ...


class IncidentDesk:
    """The `Desk` that the listeners ask."""

    def __init__(
        self,
        entitled: Entitled,
        *,
        wake: Callable[[], None],
        acknowledger: Acknowledger | None,
        model: Callable[[], str],
        waiting: Callable[[], Awaitable[int]],
        switch: Switch | None = None,
        admins: Admins = _NO_ADMINS,
    ) -> None:
        """`wake` tells the drainer; `model` is a sentence; `waiting` counts posts that are not out. `admins` says who
        may pause, resume, override, merge and split."""
        self._switch = switch
        self._admins = admins
        self._entitled = entitled
        self._parts = entitled.parts
        self._book = entitled.book
        self._views = entitled.views
        self._wake = wake
        self._acknowledger = acknowledger
        self._model = model
        self._waiting = waiting

    # --- finding ------------------------------------------------------------------------------------------------

    async def find_incidents(self, user_id: str, words: str, channel_id: str) -> Sequence[IncidentLine]:
        """What the words may mean: an id, a number, `P8K2Q1/e3`; none given, this channel's incident, else all open."""
        principal = await self._entitled.principal(user_id)
        wanted = words.strip().partition("/")[0].lstrip("#")
        if wanted:
            where = "(upper(id) = upper(:x) OR CAST(number AS TEXT) = :x)"
        else:
            where = "status != 'resolved' AND (channel = :c OR own_channel = :c)"
        found = await self._lines(principal, where, {"x": wanted, "c": channel_id})
        if found or wanted:
            return found
        return await self._lines(principal, "status != 'resolved'", {})

    async def _lines(self, principal: Principal, where: str, values: dict[str, Any]) -> list[IncidentLine]:
        rows = await self._book.store.query(
            f"SELECT * FROM incidents WHERE workspace_id = :w AND merged_into IS NULL AND {where}"  # noqa: S608 - fixed
            " ORDER BY triggered_at DESC LIMIT 500",
            {"w": self._book.workspace_id, **values},
        )
        lines = []
        for row in rows:
            incident = incident_of(row)
            if await self._views.may_see(incident, principal):
                lines.append(_line(incident, row))
        return lines[:MAX_LISTED]

    async def line_for(self, user_id: str, incident_id: str) -> IncidentLine | None:
        """One incident, open or not, if this person may see it."""
        found = await self._lines(await self._entitled.principal(user_id), "id = :x", {"x": incident_id})
        return found[0] if found else None

    async def status_for(self, user_id: str) -> DeskStatus:
        principal = await self._entitled.principal(user_id)
        lines = await self._lines(principal, "status != 'resolved'", {})
        waiting = await self._waiting()
        notices = (principal.unknown,) if principal.unknown else ()
        return DeskStatus(lines[:10], max(0, len(lines) - 10), self._model(), waiting, notices)

    async def own_view(self, user_id: str, incident_id: str) -> CardState:
        return await self._views.own_view(incident_id, await self._entitled.principal(user_id))

    # --- doing --------------------------------------------------------------------------------------------------

    async def pause(self, by: str, reason: str) -> bool:
        """Pause every summary; whether they were running. NotPermitted for who is no admin."""
        return await (await self._switch_for(by, "pause")).pause(by, reason)

    async def resume(self, by: str, reason: str) -> int:
        """End every pause; returns how many there were. NotPermitted for who is no admin."""
        return await (await self._switch_for(by, "resume")).resume(by, reason)

    async def _switch_for(self, by: str, action: Action) -> Switch:
        await self._admin(by, action)
        assert self._switch is not None, "wiring gives one"
        return self._switch

    async def _admin(self, by: str, action: Action, *incidents: Incident) -> None:
        """NotPermitted unless they may do this to every one of these incidents; pass all that the action touches."""
        teams = [self._parts.routing.team(incident.service) for incident in incidents]
        self._admins.require(await self._entitled.principal(by), action, *teams)

    async def start_triage(self, incident_id: str, by: str, request_id: str, *, override: bool = False) -> int:
        """One more triage; the same request again is the same triage. Durable as a signal that is already applied.

        `override` asks for what the incident's arm withholds, which only admins and those of its team may.
        """
        incident = await self._entitled.seen(incident_id, by)
        if override:
            await self._admin(by, "override", incident)
        now = self._parts.clock.now()
        n = await ask_for_triage(self._book, incident, by, request_id, now, override=override)
        self._wake()
        return n

    async def acknowledge(self, incident_id: str, by: str) -> Acknowledged:
        """At the incident source, as the person with this e-mail."""
        incident = await self._entitled.seen(incident_id, by)
        if self._acknowledger is None or incident.source != "pagerduty":
            return "not_supported"
        if incident.status != "triggered":
            return "already"
        email = await self._email(by)
        if email is None:
            return "not_mapped"
        try:
            await self._acknowledger.acknowledge(incident_id, email)
        except IntegrationError as failed:
            return _why_not(failed)
        await self._book.audit(self._parts.clock.now(), by, "acknowledge", incident_id, {})
        return "acknowledged"

    async def add_note(self, incident_id: str, by: str, text: str, request_id: str) -> Noted:
        """A note in the incident source, as the person with this e-mail; the same request again is the same note."""
        incident = await self._entitled.seen(incident_id, by)
        if self._acknowledger is None or incident.source != "pagerduty":
            return "not_supported"
        email = await self._email(by)
        if email is None:
            return "not_mapped"
        mark = f"sitrep:{hashlib.sha256(request_id.encode()).hexdigest()[:16]}"
        try:
            if await self._acknowledger.find_note(incident_id, mark) is None:
                await self._acknowledger.add_note(incident_id, f"{text}\n[{mark}]", email)
        except IntegrationError as failed:
            return _why_not(failed)
        await self._book.audit(self._parts.clock.now(), by, "note", incident_id, {"characters": len(text)})
        return "noted"

    async def _email(self, person_id: str) -> str | None:
        """The verified address of somebody who is active now; who only the directory of yesterday knows has none."""
        if (await self._entitled.principal(person_id)).unknown:
            return None
        rows = await self._book.store.query(
            "SELECT email FROM people WHERE workspace_id = :w AND id = :i AND active = 1",
            {"w": self._book.workspace_id, "i": person_id},
        )
        return str(rows[0]["email"]) if rows and rows[0]["email"] else None

    async def incident_of_thread(self, user_id: str, channel_id: str, thread_ts: str) -> str | None:
        """The incident whose card this thread hangs under, if this person may see it."""
        rows = await self._book.store.query(
            "SELECT target FROM posts WHERE workspace_id = :w AND channel = :c AND ts = :t AND part = 'card'"
            " AND kind = 'card'",
            {"w": self._book.workspace_id, "c": channel_id, "t": thread_ts},
        )
        incident_id = str(rows[0]["target"]).partition(":")[2] if rows else ""
        incident = await self._book.incident(incident_id) if incident_id else None
        principal = await self._entitled.principal(user_id)
        return incident_id if incident is not None and await self._views.may_see(incident, principal) else None


def _why_not(failed: IntegrationError) -> Done:
    """PagerDuty answers 400 to a login that it does not know (developer.pagerduty.com: "Requester User Not Found")."""
    if isinstance(failed, Refused):
        return "not_mapped"
    return "refused" if isinstance(failed, Denied) else "unavailable"


def _line(incident: Incident, row: Row) -> IncidentLine:
    return IncidentLine(
        incident.id, incident.number, incident.severity, incident.status, incident.title, incident.triggered_at,
        row["channel"], incident.url, incident.service,
    )  # fmt: skip
