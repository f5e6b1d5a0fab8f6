"""An incident's life by people's word: declared, acknowledged, mitigated, resolved; for teams without PagerDuty.

What a person says becomes a signal like every other: stored before the method returns, applied by the drainer in one
transaction, with who said it. An incident that PagerDuty owns is resolved there; that users are no longer hurt, which
PagerDuty does not know, may be said here for every incident.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from bot.clock import Clock
from bot.errors import NotPermitted
from bot.incidents.alerts import incident_id_of
from bot.incidents.book import Book, incident_of
from bot.incidents.routing import Routing
from bot.trust.audience import Audience, AudienceUnknown
from bot.trust.principals import Principal
from integrations.records import EVERYONE, Incident, IncidentFields, IncidentStatus, Signal

Said = Literal["acknowledged", "mitigated", "resolved"]
Outcome = Literal["said", "already", "elsewhere"]
"""`elsewhere`: the system that owns this incident must be told there."""
SOURCE = "slack"
MAX_TITLE = 200
_SEVERITY = re.compile(r"(?:sev|p)-?([1-5])", re.IGNORECASE)
_ORDER: Mapping[IncidentStatus, int] = {"triggered": 0, "acknowledged": 1, "mitigated": 2, "resolved": 3}


@dataclass(frozen=True, slots=True)
class Declared:
    """An incident that somebody declared. `channel` is where its card will be: a channel's id or name."""

    incident_id: str
    title: str
    severity: int
    service: str | None
    channel: str


class Principals(Protocol):
    """Who somebody is, and who reads a channel (the directory cache)."""

    async def principal(self, person_id: str, deadline_seconds: float = 0.5) -> Principal: ...

    async def audience(self, channel_id: str, deadline_seconds: float = 0.5) -> Audience | AudienceUnknown: ...


class MaySee(Protocol):
    async def may_see(self, incident: Incident, principal: Principal) -> bool: ...


class IncidentLife:
    """The incident source that people are. Every method is about one person, and may be called twice."""

    def __init__(
        self,
        book: Book,
        clock: Clock,
        routing: Routing,
        principals: Principals,
        views: MaySee,
        intake: Callable[[Sequence[Signal]], Awaitable[int]],
    ) -> None:
        """`intake` stores signals durably and wakes the drainer."""
        self._book = book
        self._clock = clock
        self._routing = routing
        self._principals = principals
        self._views = views
        self._intake = intake

    async def declare(
        self, by: str, words: str, channel_id: str, request_id: str, *, own_channel: bool = True
    ) -> Declared | None:
        """A new incident from words like `sev2 checkout-api orders fail`; None when they say nothing is wrong.

        Its channel is the one where it was declared, if we know who reads that; else as the settings route it.
        NotPermitted for guests, partners and whoever the directory cannot place.
        """
        principal = await self._principals.principal(by)
        if EVERYONE not in principal.groups:
            raise NotPermitted(f"{by} is no full member of the workspace")
        title, severity, service = self._read(words)
        if not title:
            return None
        key = f"slack:declare:{request_id}"
        incident_id = incident_id_of(self._book.workspace_id, key, "S")
        at = self._clock.now()
        home = channel_id if own_channel and await self._known(channel_id) else None
        priority = f"SEV{severity}" if severity else None
        fields = IncidentFields(
            title=title, url="", source=SOURCE, service=service, priority=priority, own_channel=home, created_at=at
        )
        await self._say(key, incident_id, "triggered", at, by, fields)
        await self._book.audit(at, by, "declare", incident_id, {"channel": channel_id})
        level = self._routing.severity_of(priority, None)
        channel = self._routing.channel(level, service, home)
        return Declared(incident_id, title, level, service, channel)

    async def say(self, incident_id: str, by: str, said: Said, request_id: str) -> Outcome:
        """One transition. NotPermitted for who may not see the incident, as for one that does not exist."""
        row = await self._book.incident_row(incident_id)
        principal = await self._principals.principal(by)
        if row is None or not await self._views.may_see(incident_of(row), principal):
            raise NotPermitted(f"no incident {incident_id!r} that you may see")
        if row["source"] == "pagerduty" and said != "mitigated":
            return "elsewhere"
        status: IncidentStatus = row["status"]
        if _ORDER[status] >= _ORDER[said] or (said == "acknowledged" and row["acknowledged_at"]):
            return "already"
        at = self._clock.now()
        await self._say(f"slack:{said}:{request_id}", incident_id, said, at, by, None)
        await self._book.audit(at, by, said, incident_id, {})
        return "said"

    async def _say(
        self,
        key: str,
        incident_id: str,
        kind: Literal["triggered", "acknowledged", "mitigated", "resolved"],
        at: datetime,
        by: str,
        fields: IncidentFields | None,
    ) -> None:
        signal = Signal(
            delivery_key=key, source=SOURCE, kind=kind, incident_id=incident_id, occurred_at=at, received_at=at,
            body={}, sha256=hashlib.sha256(key.encode()).hexdigest(), incident=fields, said_by=by,
        )  # fmt: skip
        await self._intake([signal])

    def _read(self, words: str) -> tuple[str, int | None, str | None]:
        """Title, severity and service: a severity among the first two words, then a service that the settings know."""
        tokens = words.split()
        severity: int | None = None
        service: str | None = None
        while tokens:
            found = _SEVERITY.fullmatch(tokens[0])
            if found and severity is None:
                severity = int(found[1])
            elif service is None and (known := self._routing.service(tokens[0])) and len(tokens) > 1:
                service = known
            else:
                break
            tokens.pop(0)
        return " ".join(tokens)[:MAX_TITLE], severity, service

    async def _known(self, channel_id: str) -> bool:
        """Whether it is a channel, and we know who reads it: else a card there would show nothing."""
        if channel_id[:1] not in ("C", "G"):
            return False
        return isinstance(await self._principals.audience(channel_id, 1.0), Audience)
