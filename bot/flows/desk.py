"""What a person does through Slack: find, triage, vote, label, acknowledge, look. Each answer is for that person.

What changes something is stored before the method returns, under a key of its own, so that twice is once. What a
person may not see does not exist for them: both are NotPermitted.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, Protocol

from bot import telemetry
from bot.cards.state import UNDO_SECONDS, CardState
from bot.errors import NotPermitted
from bot.flows.triage import Parts, target_of
from bot.flows.views import Views
from bot.incidents.book import incident_of
from bot.store import Row, Transaction
from bot.store.values import to_time
from bot.trust.admins import Action, Admins
from bot.trust.audience import AudienceUnknown, audience_of_person, may_all_read
from bot.trust.principals import Principal
from bot.types import Suspect
from integrations.errors import IntegrationError
from integrations.records import Incident

Vote = Literal["helpful", "not_helpful"]
Acknowledged = Literal["acknowledged", "already", "not_mapped", "not_supported"]
"""`not_mapped`: the incident source knows nobody by this person's e-mail; `not_supported`: it takes none from us."""
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


class Principals(Protocol):
    """Who somebody is (the directory cache)."""

    async def principal(self, person_id: str, deadline_seconds: float = 0.5) -> Principal: ...


class Acknowledger(Protocol):
    """The incident source, where it takes an acknowledgement from us."""

    async def acknowledge(self, incident_id: str, email: str) -> None: ...


class Switch(Protocol):
    """Stops and starts the model's summaries (the experiment's kill switch)."""

    async def pause(self, by: str, reason: str) -> bool: ...

    async def resume(self, by: str, reason: str) -> int: ...


class IncidentDesk:
    """The `Desk` that the listeners ask."""

    def __init__(
        self,
        parts: Parts,
        views: Views,
        principals: Principals,
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
        self._parts = parts
        self._book = parts.book
        self._views = views
        self._principals = principals
        self._wake = wake
        self._acknowledger = acknowledger
        self._model = model
        self._waiting = waiting

    # --- finding ------------------------------------------------------------------------------------------------

    async def find_incidents(self, user_id: str, words: str, channel_id: str) -> Sequence[IncidentLine]:
        """What the words may mean: an id, a number, `P8K2Q1/e3`; none given, this channel's incident, else all open."""
        principal = await self._principals.principal(user_id)
        wanted = words.strip().partition("/")[0].lstrip("#")
        if wanted:
            where = "(upper(id) = upper(:x) OR CAST(number AS TEXT) = :x)"
        else:
            where = "status != 'resolved' AND channel = :c"
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

    async def status_for(self, user_id: str) -> DeskStatus:
        principal = await self._principals.principal(user_id)
        lines = await self._lines(principal, "status != 'resolved'", {})
        waiting = await self._waiting()
        notices = (principal.unknown,) if principal.unknown else ()
        return DeskStatus(lines[:10], max(0, len(lines) - 10), self._model(), waiting, notices)

    async def own_view(self, user_id: str, incident_id: str) -> CardState:
        return await self._views.own_view(incident_id, await self._principals.principal(user_id))

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
        self._admins.require(await self._principals.principal(by), action, *teams)

    async def start_triage(self, incident_id: str, by: str, request_id: str, *, override: bool = False) -> int:
        """One more triage; the same request again is the same triage. Durable as a signal that is already applied.

        `override` asks for what the incident's arm withholds, which only admins and those of its team may.
        """
        incident = await self._seen(incident_id, by)
        if override:
            await self._admin(by, "override", incident)
        now = self._parts.clock.now()
        key = {"w": self._book.workspace_id, "k": f"request:{request_id}"}

        def work(tx: Transaction) -> int:
            known = tx.query("SELECT note FROM signals WHERE workspace_id = :w AND delivery_key = :k", key)
            if known:
                return int(json.loads(known[0]["note"])[0]["key"])
            (last,) = tx.query("SELECT coalesce(max(seq), 0) AS n FROM signals WHERE workspace_id = :w", key)
            (row,) = tx.query(
                "SELECT triages FROM incidents WHERE workspace_id = :w AND id = :i", {**key, "i": incident_id}
            )
            n = int(row["triages"]) + 1
            tx.upsert("incidents", [{"workspace_id": key["w"], "id": incident_id, "triages": n}])
            start = {"kind": "triage", "incident_id": incident_id, "key": str(n), "severity": incident.severity}
            signal = {
                "workspace_id": key["w"], "delivery_key": key["k"], "seq": last["n"] + 1, "source": "slack",
                "kind": "unknown", "incident_id": incident_id, "occurred_at": now, "received_at": now,
                "body": {"override": override}, "sha256": "", "state": "applied", "note": [start],
            }  # fmt: skip
            tx.insert("signals", [signal])
            return n

        n = await self._book.store.transaction(work)
        await self._book.audit(now, by, "triage", incident_id, {"n": n, "override": override})
        self._wake()
        return n

    async def acknowledge(self, incident_id: str, by: str) -> Acknowledged:
        """At the incident source, as the person with this e-mail."""
        incident = await self._seen(incident_id, by)
        if self._acknowledger is None or incident.source != "pagerduty":
            return "not_supported"
        if incident.status != "triggered":
            return "already"
        rows = await self._book.store.query(
            "SELECT email FROM people WHERE workspace_id = :w AND id = :i", {"w": self._book.workspace_id, "i": by}
        )
        if not rows or not rows[0]["email"]:
            return "not_mapped"
        try:
            await self._acknowledger.acknowledge(incident_id, rows[0]["email"])
        except IntegrationError:
            return "not_mapped"
        await self._book.audit(self._parts.clock.now(), by, "acknowledge", incident_id, {})
        return "acknowledged"

    async def vote(self, incident_id: str, by: str, version: int, vote: Vote) -> None:
        """One vote a person and incident; the latest counts."""
        await self._seen(incident_id, by)
        triage = await self._triage_id(incident_id)
        row = {
            "workspace_id": self._book.workspace_id, "incident_id": incident_id, "triage_id": triage,
            "post_version": version, "by": by, "vote": vote, "at": self._parts.clock.now(),
        }  # fmt: skip
        await self._book.store.upsert("votes", [row])
        counts = await self._book.store.query(
            "SELECT vote, count(*) AS n FROM votes WHERE workspace_id = :w AND incident_id = :i GROUP BY vote",
            {"w": self._book.workspace_id, "i": incident_id},
        )
        by_vote = {one["vote"]: int(one["n"]) for one in counts}
        telemetry.counter(telemetry.VOTES).add(1, {"sitrep.vote": vote})
        await self._edit(
            incident_id, lambda state: state.voted(by_vote.get("helpful", 0), by_vote.get("not_helpful", 0))
        )

    # --- labels -------------------------------------------------------------------------------------------------

    async def was_change(self, incident_id: str, by: str, version: int, mark: str) -> str:
        """Labels the suspect with this mark as the cause; returns its name."""
        await self._seen(incident_id, by)
        rank, suspect = await self._suspect(incident_id, by, mark)
        now = self._parts.clock.now()
        await self._label(incident_id, by, version, rank, suspect, now, cause="change")
        telemetry.counter(telemetry.SUSPECT_LABELS).add(1, {"sitrep.label": "right"})
        role = await self._role(incident_id, by)
        await self._edit(incident_id, partial(_confirmed, change_id=suspect.change_id, by=role, at=now))
        return suspect.summary

    async def was_not(self, incident_id: str, by: str, version: int, mark: str) -> tuple[str, datetime]:
        """Rules the suspect out; returns its name and until when that can be taken back."""
        await self._seen(incident_id, by)
        rank, suspect = await self._suspect(incident_id, by, mark)
        now = self._parts.clock.now()
        await self._label(incident_id, by, version, rank, suspect, now, ruled_out=suspect.change_id)
        telemetry.counter(telemetry.SUSPECT_LABELS).add(1, {"sitrep.label": "wrong"})
        role = await self._role(incident_id, by)
        await self._edit(incident_id, partial(_ruled_out, change_id=suspect.change_id, by=role, at=now))
        return suspect.summary, now + timedelta(seconds=UNDO_SECONDS)

    async def undo_was_not(self, incident_id: str, by: str, mark: str) -> bool:
        """Whether it was taken back; False when its ten minutes are over."""
        await self._seen(incident_id, by)
        _, suspect = await self._suspect(incident_id, by, mark)
        now = self._parts.clock.now()
        rows = await self._book.store.query(
            "SELECT id, at FROM labels WHERE workspace_id = :w AND incident_id = :i AND ruled_out = :c"
            " AND undone_at IS NULL",
            {"w": self._book.workspace_id, "i": incident_id, "c": suspect.change_id},
        )
        young = [row for row in rows if now - to_time(row["at"]) <= timedelta(seconds=UNDO_SECONDS)]
        if not young:
            return False
        undone = [{"workspace_id": self._book.workspace_id, "id": row["id"], "undone_at": now} for row in young]
        await self._book.store.upsert("labels", undone)
        await self._edit(incident_id, partial(_undone, change_id=suspect.change_id, at=now))
        return True

    async def _label(
        self,
        incident_id: str,
        by: str,
        version: int,
        rank: int,
        suspect: Suspect,
        at: datetime,
        *,
        cause: str = "unknown",
        ruled_out: str | None = None,
    ) -> None:
        kind = "ruled-out" if ruled_out else cause
        row = {
            "workspace_id": self._book.workspace_id, "id": f"{incident_id}/{by}/{kind}/{suspect.change_id}",
            "incident_id": incident_id, "triage_id": await self._triage_id(incident_id), "post_version": version,
            "by": by, "at": at, "cause": cause, "service": suspect.service,
            "change_id": None if ruled_out else suspect.change_id, "ruled_out": ruled_out, "suspect_rank": rank,
            "undone_at": None,
        }  # fmt: skip
        await self._book.store.upsert("labels", [row])
        await self._book.audit(at, by, f"label.{kind}", incident_id, {"change": suspect.change_id, "rank": rank})

    async def _suspect(self, incident_id: str, by: str, mark: str) -> tuple[int, Suspect]:
        """The suspect with this mark and its rank, 1 is first; only one that this person may read."""
        found = await self._book.ranked(incident_id)
        readers = {item.mark: item.readers for item in found[0].evidence} if found else {}
        audience = audience_of_person(await self._principals.principal(by), self._parts.clock.now())
        if found is not None and mark in readers and not isinstance(audience, AudienceUnknown):
            for rank, suspect in enumerate(found[0].suspects, start=1):
                if suspect.mark == mark and may_all_read(audience, readers[mark]):
                    return rank, suspect
        raise NotPermitted(f"no suspect {mark!r} on the card of {incident_id!r}")

    # --- shared -------------------------------------------------------------------------------------------------

    async def _seen(self, incident_id: str, by: str) -> Incident:
        """The incident, if this person may see it."""
        incident = await self._book.incident(incident_id)
        if incident is None or not await self._views.may_see(incident, await self._principals.principal(by)):
            raise NotPermitted(f"no incident {incident_id!r} that you may see")
        return incident

    async def _role(self, incident_id: str, by: str) -> str:
        """How the card names somebody: by the owning team if they are in it, else not at all; never by their name."""
        found = await self._book.ranked(incident_id)
        owner = found[0].owner if found else None
        return owner if owner and owner in (await self._principals.principal(by)).groups else ""

    async def _triage_id(self, incident_id: str) -> str:
        row = await self._book.triage_row(incident_id)
        return str(row["id"]) if row else f"{incident_id}/0"

    async def _edit(self, incident_id: str, change: Callable[[CardState], CardState]) -> None:
        """Change the card that stands, if there is one; its permission stays as old as it was."""
        row = await self._book.incident_row(incident_id)
        found = await self._book.ranked(incident_id)
        if row is None or row["channel"] is None or found is None:
            return

        def transform(before: CardState | None) -> CardState:
            if before is None:
                raise NotPermitted(f"no card of {incident_id!r} stands")
            return change(before)

        permitted_at = await self._parts.cards.permitted_at(target_of(incident_id)) or found[0].permitted_at
        await self._parts.cards.change(target_of(incident_id), row["channel"], transform, permitted_at=permitted_at)


def _line(incident: Incident, row: Row) -> IncidentLine:
    return IncidentLine(
        incident.id, incident.number, incident.severity, incident.status, incident.title, incident.triggered_at,
        row["channel"], incident.url,
    )  # fmt: skip


def _confirmed(state: CardState, *, change_id: str, by: str, at: datetime) -> CardState:
    return state.confirm(change_id, by=by, at=at)


def _ruled_out(state: CardState, *, change_id: str, by: str, at: datetime) -> CardState:
    return state.rule_out(change_id, by=by, at=at)


def _undone(state: CardState, *, change_id: str, at: datetime) -> CardState:
    return state.undo_rule_out(change_id, at=at)
