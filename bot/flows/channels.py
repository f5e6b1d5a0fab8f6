"""An incident's own channel: made on request with the people who are at work on it, or found when it appears later; the
card moves there.

To make one is a durable workflow of three steps. Each outward effect is looked up before it is repeated: a channel
whose answer was lost is known by its name and its maker, who is in it is read before somebody is invited, and the card
has one mark a channel. So a process that dies in between makes nothing twice and forgets nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from bot.cards.moving import move_posts
from bot.errors import NotPermitted
from bot.flows.engine import StepFailed, Steps
from bot.flows.entitled import Entitled
from bot.flows.parts import target_of
from bot.incidents.book import incident_of
from bot.incidents.own_channel import Joined, name_of, own_channel
from bot.incidents.regroup import said_in_slack
from bot.store import Row, Transaction
from bot.store.values import to_text, ulid
from integrations.errors import Denied, IntegrationError, Refused, Unavailable
from integrations.ports import ChannelMaker
from integrations.records import EVERYONE, Incident

T = TypeVar("T")
log = logging.getLogger(__name__)

Refusal = Literal[
    "off", "shadow", "over", "members", "said_there", "linked", "not_allowed", "name_taken", "unavailable"
]  # fmt: skip
"""`off`: by the settings; `members`: only full members may ask; `said_there`: it was said in a channel, and is for that
one's readers; `linked`: its source links to a channel that the app is not in; `not_allowed`: a scope or a rule of the
workspace lacks."""
DEFAULT_NAME, NAME_WITHOUT_NUMBER = "inc-{number}", "inc-{id}"
NAMES_TRIED = 5
PATIENCE_SECONDS = (1.0, 4.0, 10.0)
"""Between attempts when Slack does not answer; `Retry-After` counts where it is shorter than the sum."""
MAX_WAIT_SECONDS = 30.0
NAME_TAKEN = "name_taken"


@dataclass(frozen=True, slots=True)
class Opened:
    """What became of a request for a channel. `channel` is "" where it was refused and none is known."""

    channel: str
    refused: Refusal | None = None
    was_there: bool = False
    invited: int = 0
    left_out: int = 0
    """People at work on it who are not in the channel: no account here, or not allowed to see the incident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRules:
    """What the settings say of channels for incidents."""

    make: Literal["private", "public", "never"] = "private"
    name: str | None = None
    by_topic: bool = False
    shadow: bool = False


class Responders(Protocol):
    """The incident source, where it tells who is at work on an incident."""

    async def responders(self, incident_id: str) -> tuple[str, ...]: ...


Run = Callable[[str, str, str], Awaitable[dict[str, Any]]]
"""Runs the workflow for (incident, person, request) and gives its result; the same request again is the same one."""


class ChannelFlow:
    """The workflow's steps, and the move itself, which other ways to find a channel use too."""

    def __init__(
        self,
        entitled: Entitled,
        maker: ChannelMaker,
        rules: ChannelRules,
        responders: Responders | None,
        refresh: Callable[[str], Awaitable[Any]],
        wake: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`refresh` writes the card for the readers of its channel; `wake` tells the outbox."""
        self._entitled = entitled
        self._book = entitled.book
        self._maker = maker
        self._rules = rules
        self._responders = responders
        self._refresh = refresh
        self._wake = wake
        self._sleep = sleep

    async def run(self, steps: Steps, incident_id: str, by: str) -> dict[str, Any]:
        """Make, invite, move. The result is an `Opened` as JSON."""
        made = await steps.run("channel.make", partial(self.make, incident_id))
        if "refused" in made or made.get("was_there"):
            return dict(made)
        told = await steps.run("channel.invite", partial(self.furnish, incident_id, by, made["channel"]))
        await steps.run("channel.move", partial(self.move, incident_id, made["channel"], by, told))
        return {**made, **told}

    async def make(self, incident_id: str) -> dict[str, Any]:
        """The channel's id, made or found again."""
        row = await self._book.incident_row(incident_id)
        if row is None:
            raise NotPermitted(f"no incident {incident_id!r}")
        if row["own_channel"] and row["channel"] == row["own_channel"]:
            return {"channel": row["own_channel"], "was_there": True}
        base = name_for(incident_of(row), self._rules.name)
        for name in [base, *(f"{base[:77]}-{number}" for number in range(2, NAMES_TRIED + 1))]:
            try:
                channel = await self._patiently(partial(self._maker.make, name, private=self._rules.make == "private"))
            except Refused as refused:
                if refused.code != NAME_TAKEN:
                    log.error("a channel could not be made: %s", refused.message)
                    return {"channel": "", "refused": "not_allowed"}
            except Denied as denied:
                log.error("a channel could not be made: %s", denied.message)
                return {"channel": "", "refused": "not_allowed"}
            except IntegrationError as failed:
                log.warning("a channel could not be made: %s", failed.message)
                return {"channel": "", "refused": "unavailable"}
            else:
                if not await self._another_ones(channel, incident_id):
                    return {"channel": channel}
        return {"channel": "", "refused": NAME_TAKEN}

    async def furnish(self, incident_id: str, by: str, channel: str) -> dict[str, Any]:
        """Topic, purpose, and the people; what Slack refuses of it is left out, the channel is there."""
        row = await self._book.incident_row(incident_id)
        if row is None:
            raise NotPermitted(f"no incident {incident_id!r}")
        incident = incident_of(row)
        try:
            await self._patiently(partial(self._maker.describe, channel, topic_of(incident), purpose_of(incident)))
        except IntegrationError as failed:
            log.warning("a new channel has no topic: %s", failed.message)
        people, unknown = await self._people(incident, by)
        try:
            there = await self._patiently(partial(self._maker.invite, channel, people))
        except IntegrationError as failed:
            log.warning("nobody could be invited to a new channel: %s", failed.message)
            there = frozenset()
        return {"invited": len(there), "left_out": unknown + len(set(people) - there)}

    async def move(self, incident_id: str, channel: str, by: str, told: dict[str, Any]) -> dict[str, Any]:
        """The channel is the incident's own from now on, and its card stands there."""
        moved = await self.moved(incident_id, channel, by, told)
        return {"moved": moved}

    async def moved(self, incident_id: str, channel: str, by: str, detail: dict[str, Any]) -> bool:
        """Record the channel, and move the card if one stands elsewhere; whether anything changed."""
        now, w = self._entitled.parts.clock.now(), self._book.workspace_id
        values = {"w": w, "i": incident_id, "c": channel, "now": now}

        def work(tx: Transaction) -> bool:
            (row,) = tx.query("SELECT channel, own_channel FROM incidents WHERE workspace_id = :w AND id = :i", values)
            if row["own_channel"] == channel and row["channel"] in (channel, None):
                return False
            routed = ", channel = :c" if row["channel"] is not None else ""
            tx.execute(
                f"UPDATE incidents SET own_channel = :c{routed}, updated_at = :now"  # noqa: S608 - fixed words
                " WHERE workspace_id = :w AND id = :i", values,
            )  # fmt: skip
            tx.execute(
                "UPDATE triages SET channel = :c WHERE workspace_id = :w AND incident_id = :i AND channel IS NOT NULL",
                values,
            )
            move_posts(tx, w, target_of(incident_id), channel, now)
            audited = {
                "workspace_id": w, "id": ulid(now), "at": to_text(now), "by": by, "action": "channel",
                "incident_id": incident_id, "detail": {"channel": channel, "from": row["channel"], **detail},
            }  # fmt: skip
            tx.insert("audit", [audited])
            return True

        changed = await self._book.store.transaction(work)
        await self._refresh(incident_id)
        self._wake()
        return changed

    async def found_by_name(self, incident_id: str, channel: str) -> bool:
        """A channel was made whose name names the incident."""
        return await self.moved(incident_id, channel, "sitrep", {"found": "by its name"})

    async def _people(self, incident: Incident, by: str) -> tuple[list[str], int]:
        """Slack ids of who asked, who acted on it here, and whom its source names; and how many more there are that
        cannot be mapped or may not see the incident."""
        acted = await self._book.store.query(
            "SELECT DISTINCT by FROM audit WHERE workspace_id = :w AND incident_id = :i"
            " AND action IN ('declare', 'acknowledge', 'acknowledged', 'note') LIMIT 50",
            {"w": self._book.workspace_id, "i": incident.id},
        )
        found, unknown = [by, *(str(row["by"]) for row in acted)], 0
        for login in await self._logins(incident):
            person_id = await self._person(login)
            if person_id is None:
                unknown += 1
            else:
                found.append(person_id)
        people = []
        for person_id in dict.fromkeys(found):
            if await self._entitled.views.may_see(incident, await self._entitled.principal(person_id)):
                people.append(person_id)
            else:
                unknown += 1
        return people, unknown

    async def _logins(self, incident: Incident) -> Sequence[str]:
        if self._responders is None or incident.source != "pagerduty":
            return ()
        try:
            return await self._responders.responders(incident.id)
        except IntegrationError as failed:
            log.warning("who is at work on an incident could not be read: %s", failed.message)
            return ()

    async def _person(self, login: str) -> str | None:
        """Somebody who is active here and whose confirmed address this is."""
        try:
            return await self._patiently(partial(self._maker.person_of, login))
        except IntegrationError as failed:
            log.warning("somebody at work on an incident could not be looked up: %s", failed.message)
            return None

    async def _another_ones(self, channel: str, incident_id: str) -> bool:
        """Whether this app made that channel for another incident."""
        rows = await self._book.store.query(
            "SELECT 1 AS n FROM incidents WHERE workspace_id = :w AND id != :i AND own_channel = :c LIMIT 1",
            {"w": self._book.workspace_id, "i": incident_id, "c": channel},
        )
        return bool(rows)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Again after a moment where Slack does not answer, or asks to wait; all waits together half a minute."""
        left = MAX_WAIT_SECONDS
        for pause in PATIENCE_SECONDS:
            try:
                return await call()
            except Unavailable as failed:
                wait = failed.retry_after_seconds if failed.retry_after_seconds is not None else pause
                if wait > left:
                    raise
                left -= wait
                await self._sleep(wait)
        return await call()


class IncidentChannels:
    """The door's side: who may ask, and what appears by itself."""

    def __init__(
        self,
        entitled: Entitled,
        flow: ChannelFlow,
        rules: ChannelRules,
        run: Run,
        described: Callable[[str], Awaitable[Joined]],
        own_id: Callable[[], Awaitable[str]],
    ) -> None:
        """`described` reads a channel's name, topic and purpose; `own_id` is the app's own user id."""
        self._entitled = entitled
        self._flow = flow
        self._rules = rules
        self._run = run
        self._described = described
        self._own_id = own_id

    async def open(self, by: str, incident_id: str, request_id: str) -> Opened:
        """Make the incident's channel. NotPermitted for who may not see the incident."""
        incident = await self._entitled.seen(incident_id, by)
        row = await self._entitled.book.incident_row(incident_id)
        own, stands = (row["own_channel"], row["channel"]) if row is not None else (None, None)
        if own and own == stands:
            return Opened(own, was_there=True)
        refused = self._refused(incident)
        if EVERYONE not in (await self._entitled.principal(by)).groups:
            refused = "members"
        if refused is not None:
            return Opened(str(stands or ""), refused)
        if own:
            return Opened(str(own), "linked")
        try:
            made = await self._run(incident_id, by, request_id)
        except StepFailed:
            return Opened("", "unavailable")
        return Opened(**made)

    def _refused(self, incident: Incident) -> Refusal | None:
        if self._rules.make == "never":
            return "off"
        if self._rules.shadow:
            return "shadow"
        if said_in_slack(incident.source):
            return "said_there"
        return "over" if incident.status == "resolved" else None

    async def arrived(self, channel_id: str, person_id: str) -> str | None:
        """Somebody joined a channel. Where that is this app, and the channel is the own one of one open incident, its
        card moves there; that incident's id."""
        if self._rules.shadow or person_id != await self._own_id():
            return None
        rows = await self._candidates()
        if not rows:
            return None
        joined = await self._described(channel_id)
        meant = [row for row in rows if self._is_own(row, joined)]
        if len(meant) != 1:
            return None
        incident_id = str(meant[0]["id"])
        await self._flow.moved(incident_id, channel_id, "sitrep", {"found": "the app was invited"})
        return incident_id

    async def _candidates(self) -> list[Row]:
        book = self._entitled.book
        return await book.store.query(
            "SELECT * FROM incidents WHERE workspace_id = :w AND status != 'resolved' AND merged_into IS NULL"
            " AND (own_channel IS NULL OR channel IS NULL OR own_channel != channel)"
            " ORDER BY triggered_at DESC LIMIT 500",
            {"w": book.workspace_id},
        )

    def _is_own(self, row: Row, joined: Joined) -> bool:
        incident = incident_of(row)
        if said_in_slack(incident.source):
            return False  # what was said in a channel is for the readers of that one
        if row["own_channel"]:
            return bool(row["own_channel"] == joined.id)
        found = own_channel(incident, None, [joined], pattern=self._rules.name, by_topic=self._rules.by_topic)
        return found == joined.id


def name_for(incident: Incident, pattern: str | None) -> str:
    """The new channel's name: by the settings' pattern, else by number, else by id."""
    for one in (pattern or DEFAULT_NAME, NAME_WITHOUT_NUMBER):
        if (name := name_of(incident, one)) is not None:
            return name
    return "incident"


def topic_of(incident: Incident) -> str:
    """What is for everybody: severity, id, number, and the address at the incident source, by which it is found."""
    number = f" (#{incident.number})" if incident.number is not None else ""
    link = f" · {incident.url}" if incident.url.startswith(("https://", "http://")) else ""
    return f"SEV{incident.severity} {incident.id}{number}{link}"


def purpose_of(incident: Incident) -> str:
    return f"Incident {incident.id}: made by Sitrep for the people who work on it."
