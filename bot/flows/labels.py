"""What people say of an incident: votes, which change it was or was not, the cause. Stored with who, when and what
they saw; the card that stands follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, get_args

from bot import telemetry
from bot.cards.state import UNDO_SECONDS, CardState, CauseSaid
from bot.flows.entitled import Entitled
from bot.store.values import to_time
from bot.trust.audience import may_all_read
from bot.types import Suspect
from integrations.records import Incident

Vote = Literal["helpful", "not_helpful"]
Cause = Literal["change", "service", "external", "unknown"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
MAX_FIXED_BY = 200


@dataclass(frozen=True, slots=True)
class LabelChoices:
    """What the form for a label offers one person: suspects and services that they may read, as they rank."""

    incident: Incident
    version: int
    """Of the card that stands."""
    suspects: Sequence[Suspect]
    services: Sequence[str]


@dataclass(frozen=True, slots=True)
class Label:
    """A person's word about the cause. `mark` is the suspect's, "" for none of them."""

    cause: Cause
    mark: str = ""
    service: str | None = None
    fixed_by: str = ""


class Labels:
    """Votes and labels of one workspace. Every method is for one person and raises NotPermitted."""

    def __init__(self, entitled: Entitled) -> None:
        self._entitled = entitled
        self._parts = entitled.parts
        self._book = entitled.book

    async def vote(self, incident_id: str, by: str, version: int, vote: Vote) -> None:
        """One vote a person and incident; the latest counts."""
        await self._entitled.seen(incident_id, by)
        triage = await self._entitled.triage_id(incident_id)
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
        await self._entitled.edit(
            incident_id, lambda state: state.voted(by_vote.get("helpful", 0), by_vote.get("not_helpful", 0))
        )

    # --- labels -------------------------------------------------------------------------------------------------

    async def was_change(self, incident_id: str, by: str, version: int, mark: str) -> str:
        """Labels the suspect with this mark as the cause; returns its name."""
        await self._entitled.seen(incident_id, by)
        rank, suspect = await self._entitled.suspect(incident_id, by, mark)
        return await self._was(incident_id, by, version, rank, suspect)

    async def was_not(self, incident_id: str, by: str, version: int, mark: str) -> tuple[str, datetime]:
        """Rules the suspect out; returns its name and until when that can be taken back."""
        await self._entitled.seen(incident_id, by)
        rank, suspect = await self._entitled.suspect(incident_id, by, mark)
        now = self._parts.clock.now()
        await self._label(incident_id, by, version, rank, suspect, now, ruled_out=suspect.change_id)
        telemetry.counter(telemetry.SUSPECT_LABELS).add(1, {"sitrep.label": "wrong"})
        role = await self._entitled.role(incident_id, by)
        await self._entitled.edit(incident_id, partial(_ruled_out, change_id=suspect.change_id, by=role, at=now))
        return suspect.summary, now + timedelta(seconds=UNDO_SECONDS)

    async def undo_was_not(self, incident_id: str, by: str, mark: str) -> bool:
        """Whether it was taken back; False when its ten minutes are over."""
        await self._entitled.seen(incident_id, by)
        _, suspect = await self._entitled.suspect(incident_id, by, mark)
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
        await self._entitled.edit(incident_id, partial(_undone, change_id=suspect.change_id, at=now))
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
        fixed_by: str = "",
    ) -> None:
        kind = "ruled-out" if ruled_out else cause
        row = {
            "workspace_id": self._book.workspace_id, "id": f"{incident_id}/{by}/{kind}/{suspect.change_id}",
            "incident_id": incident_id, "triage_id": await self._entitled.triage_id(incident_id),
            "post_version": version, "by": by, "at": at, "cause": cause, "service": suspect.service,
            "change_id": None if ruled_out else suspect.change_id, "ruled_out": ruled_out, "suspect_rank": rank,
            "fixed_by": fixed_by[:MAX_FIXED_BY] or None, "undone_at": None,
        }  # fmt: skip
        await self._book.store.upsert("labels", [row])
        await self._book.audit(at, by, f"label.{kind}", incident_id, {"change": suspect.change_id, "rank": rank})

    # --- the form -----------------------------------------------------------------------------------------------

    async def choices(self, incident_id: str, by: str) -> LabelChoices:
        """What the form offers this person."""
        incident = await self._entitled.seen(incident_id, by)
        suspects = [suspect for _, suspect in await self._entitled.suspects(incident_id, by)]
        state = await self._entitled.standing(incident_id)
        found = await self._book.ranked(incident_id)
        audience = await self._entitled.audience(by, incident)
        services = [incident.service, *(suspect.service for suspect in suspects)]
        if found is not None and may_all_read(audience, found[0].basis):
            services += [one.service for one in found[0].services]
        named = dict.fromkeys(name for name in services if name)
        return LabelChoices(incident, state.version if state is not None else 0, suspects, list(named)[:50])

    async def label(self, incident_id: str, by: str, version: int, label: Label) -> str:
        """Store a person's word about the cause; the latest of a person counts. Returns it in words."""
        incident = await self._entitled.seen(incident_id, by)
        if label.cause == "change" and label.mark:
            rank, suspect = await self._entitled.suspect(incident_id, by, label.mark)
            return await self._was(incident_id, by, version, rank, suspect, label.fixed_by)
        now = self._parts.clock.now()
        service = label.service if label.cause in ("service", "change") else None
        triage_id = await self._entitled.triage_id(incident_id)
        row = {
            "workspace_id": self._book.workspace_id, "id": f"{incident_id}/{by}/{label.cause}/-",
            "incident_id": incident_id, "triage_id": triage_id, "post_version": version, "by": by, "at": now,
            "cause": label.cause, "service": service, "change_id": None, "ruled_out": None, "suspect_rank": None,
            "fixed_by": label.fixed_by[:MAX_FIXED_BY] or None, "undone_at": None,
        }  # fmt: skip
        await self._book.store.upsert("labels", [row])
        await self._book.audit(now, by, f"label.{label.cause}", incident_id, {"service": service})
        role = await self._entitled.role(incident_id, by)
        # A service that not every reader of the channel may know of is not named on the card.
        known = service if service == incident.service else None
        said = CauseSaid(cause=label.cause, service=known, by=role, at=now)
        await self._entitled.edit(incident_id, partial(_said, said=said))
        return {"change": "a change that is not among the suspects", "service": f"the service {service or 'itself'}",
                "external": "something outside", "unknown": "not known"}[label.cause]  # fmt: skip

    async def _was(
        self, incident_id: str, by: str, version: int, rank: int, suspect: Suspect, fixed_by: str = ""
    ) -> str:
        now = self._parts.clock.now()
        await self._label(incident_id, by, version, rank, suspect, now, cause="change", fixed_by=fixed_by)
        telemetry.counter(telemetry.SUSPECT_LABELS).add(1, {"sitrep.label": "right"})
        role = await self._entitled.role(incident_id, by)
        await self._entitled.edit(incident_id, partial(_confirmed, change_id=suspect.change_id, by=role, at=now))
        return suspect.summary


def _confirmed(state: CardState, *, change_id: str, by: str, at: datetime) -> CardState:
    return state.confirm(change_id, by=by, at=at)


def _ruled_out(state: CardState, *, change_id: str, by: str, at: datetime) -> CardState:
    return state.rule_out(change_id, by=by, at=at)


def _undone(state: CardState, *, change_id: str, at: datetime) -> CardState:
    return state.undo_rule_out(change_id, at=at)


def _said(state: CardState, *, said: CauseSaid) -> CardState:
    return state.cause_named(said)
