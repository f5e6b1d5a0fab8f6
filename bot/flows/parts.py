"""What the flows work with: the roles of their neighbours, and everything that is built once for all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from bot.cards.state import CardState
from bot.clock import Clock
from bot.flows.warm import WarmWorker
from bot.incidents.book import Book
from bot.incidents.routing import Routing
from bot.triage.collect import Collector
from bot.trust.audience import Audience, AudienceUnknown
from bot.trust.principals import Principal
from bot.types import Ranked, Rejected, Released
from integrations.records import Incident


class CardBox(Protocol):
    """The outbox, as a flow sees it: wanted states go in, and it can be waited for."""

    async def change(
        self,
        target: str,
        channel: str,
        transform: Callable[[CardState | None], CardState],
        *,
        permitted_at: datetime,
        not_before_at: datetime | None = None,
    ) -> int:
        """Write the next wanted state of a card, from the one that stands; returns its version."""
        ...

    async def say(self, target: str, channel: str, text: str, blocks: Sequence[Mapping[str, Any]]) -> int:
        """A message that is no card; once per target."""
        ...

    def turn(self, target: str) -> AbstractAsyncContextManager[None]:
        """Held by the one writer that reads what is so now and writes the state that follows from it."""
        ...

    async def wait_for(self, target: str, version: int, timeout_seconds: float) -> bool:
        """Whether that version or a newer one is out; False after the timeout ("pending")."""
        ...

    async def sent_times(self, target: str) -> tuple[datetime | None, datetime | None]:
        """When the first and when the newest state of the card went out."""
        ...

    async def permitted_at(self, target: str) -> datetime | None:
        """When the state that stands was permitted; None without a card."""
        ...


class AudienceSource(Protocol):
    """Who reads a channel now (the directory cache)."""

    async def audience(self, channel_id: str, deadline_seconds: float = 0.5) -> Audience | AudienceUnknown: ...

    async def placed(self, principal: Principal, channel_id: str, deadline_seconds: float = 0.5) -> Principal:
        """The principal with the channel's own group, if they read it."""
        ...


class Summariser(Protocol):
    """compose → infer → check, for one ranked incident."""

    async def __call__(self, ranked: Ranked, *, triage_id: str, step: str) -> Released | Rejected: ...


class Assigner(Protocol):
    """The experiment: which arm an incident's unit is in. None when no experiment runs."""

    async def __call__(self, incident: Incident, unit_id: str | None) -> tuple[str | None, str | None]:
        """(experiment, arm); the arm of a unit never changes."""
        ...


class Flagger(Protocol):
    """The experiment's evaluation of one triage, by OpenTelemetry's names for feature flags."""

    async def __call__(
        self, incident_id: str, unit_id: str | None, n: int, experiment: str | None, arm: str | None
    ) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds."""

    collecting: float = 2.0
    publish_wait: float = 60.0
    late_source: float = 60.0
    permit: float = 0.5


async def _as_linked(_: Incident, linked: str | None) -> str | None:
    return linked


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything a triage works with, built once."""

    book: Book
    clock: Clock
    routing: Routing
    collector: Collector
    directory: AudienceSource
    worker: WarmWorker
    cards: CardBox
    assign: Assigner
    summarise: Summariser
    flag: Flagger | None = None
    """The feature-flag evaluation that goes into every triage's record; None where no experiment can run."""
    channel_id: Callable[[str], Awaitable[str]]
    """A channel's id for the name that the settings use; the name itself where Slack cannot be asked."""
    own_channel: Callable[[Incident, str | None], Awaitable[str | None]] = _as_linked
    """The incident's own channel, given what its source links to; None for the service's."""
    link_hosts: Sequence[str] = ()
    timeouts: Timeouts = Timeouts()
    shadow: bool = False


def target_of(incident_id: str) -> str:
    """The outbox's key for an incident's card."""
    return f"incident:{incident_id}"
