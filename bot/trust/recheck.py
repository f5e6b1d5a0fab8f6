"""Which cards have to be checked again when something happens to their readers, and in which order. Pure.

A card is filtered for the readers of one moment. When somebody joins, a channel is shared or converted, a group or a
person changes, or events may have been missed, the cards that those readers see are filtered again, and what is no
longer allowed is removed by an edit (which does not unread).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from bot.store import Store
from bot.store.values import to_time

CHECKED_FOR = timedelta(days=30)
"""Cards of resolved incidents are checked for this long after they were posted."""

EventKind = Literal["joined", "channel_changed", "group_changed", "person_changed", "reconnected", "started", "hourly"]


@dataclass(frozen=True, slots=True)
class AudienceEvent:
    """Something that may have changed who reads what. `channel_id` where it happened in one channel."""

    kind: EventKind
    at: datetime
    channel_id: str | None = None


@dataclass(frozen=True, slots=True)
class StandingCard:
    """A card that stands in a channel: whose readers it was filtered for, when, and whether its incident is open."""

    incident_id: str
    channel_id: str
    open: bool
    posted_at: datetime
    permitted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Check:
    """One card to check; `rank` 1 before 2 before 3."""

    card: StandingCard
    rank: int


def plan(event: AudienceEvent, cards: Iterable[StandingCard]) -> tuple[Check, ...]:
    """The cards to check for this event, first things first.

    What happens in one channel touches that channel's cards alone; everything else touches all. In the order: the
    event's own channel, open incidents, the others; the newest first within each. Left out: what was permitted after
    the event, and resolved incidents whose card is older than 30 days.
    """
    checks = []
    for card in cards:
        here = event.channel_id is not None and card.channel_id == event.channel_id
        touched = here or event.channel_id is None
        current = card.open or event.at - card.posted_at <= CHECKED_FOR
        done = card.permitted_at is not None and card.permitted_at > event.at
        if touched and current and not done:
            checks.append(Check(card, 1 if here else 2 if card.open else 3))
    return tuple(sorted(checks, key=lambda check: (check.rank, not check.card.open, -check.card.posted_at.timestamp())))


def waiting(events: Iterable[AudienceEvent], cards: Iterable[StandingCard]) -> int:
    """How many cards have still to be checked for these events: a metric, and a line of `doctor`."""
    standing = tuple(cards)
    return len({check.card.incident_id for event in events for check in plan(event, standing)})


async def standing_cards(store: Store, workspace_id: str, now: datetime) -> list[StandingCard]:
    """Every card that is out, or on its way, of an open incident or of the last 30 days."""
    values: dict[str, Any] = {"w": workspace_id, "since": now - CHECKED_FOR}
    rows = await store.query(
        "SELECT i.id, p.channel, i.status, p.created_at, p.permitted_at FROM posts p"
        " JOIN incidents i ON i.workspace_id = p.workspace_id AND p.target = 'incident:' || i.id"
        " WHERE p.workspace_id = :w AND p.part = 'card' AND (i.status <> 'resolved' OR p.created_at >= :since)",
        values,
    )
    return [
        StandingCard(
            incident_id=row["id"],
            channel_id=row["channel"],
            open=row["status"] != "resolved",
            posted_at=to_time(row["created_at"]),
            permitted_at=to_time(row["permitted_at"]) if row["permitted_at"] else None,
        )
        for row in rows
    ]
