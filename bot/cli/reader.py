"""The one that something is printed for at the shell: the operator, or the person that `--for` names."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.settings import Settings
    from bot.store import Store
    from bot.trust.admins import Action
    from bot.trust.audience import Audience

FOR = "Only what this person may read (an id or an e-mail address that the directory knows). Default: all of it."


async def reader_of(
    settings: Settings, store: Store, person: str | None, now: datetime, action: Action | None = None
) -> Audience:
    """The audience of what is printed; without `person` whoever sits at the shell, who may open the database anyway.

    The directory is as it was last stored; who was looked up too long ago may read nothing. `action`: what is for
    admins. Raises NotPermitted for a person who cannot be placed, or who is no admin where one is needed.
    """
    from bot.cli.permissions import StoredOnly, find_person
    from bot.clock import SystemClock
    from bot.errors import NotPermitted
    from bot.trust.audience import Audience, AudienceUnknown, audience_of_person
    from bot.wiring import directory_of
    from bot.wiring.values import admins_of

    if person is None:
        return Audience.local_operator(now)
    async with AsyncExitStack() as stack:
        others = [StoredOnly(name) for name in settings.file.directories]
        directory = directory_of(settings, store, StoredOnly("slack"), SystemClock(), others)
        stack.push_async_callback(directory.close)
        principal = await find_person(directory, person)
    if action is not None:
        admins_of(settings).require(principal, action)
    audience = audience_of_person(principal, now)
    if isinstance(audience, AudienceUnknown):
        raise NotPermitted(f"nothing is printed for {person}: {audience.reason}")
    return audience


async def hidden_incidents(settings: Settings, store: Store, audience: Audience) -> frozenset[str]:
    """Ids of the incidents that this audience may not read of."""
    from bot.trust.audience import readable
    from bot.wiring.values import incident_readers_of

    readers_of = incident_readers_of(settings)
    rows = await store.query(
        "SELECT id, source, service FROM incidents WHERE workspace_id = :w", {"w": settings.file.workspace}
    )
    may = readable(audience, [readers_of(row["source"], row["service"]) for row in rows])
    return frozenset(str(row["id"]) for row, shown in zip(rows, may, strict=True) if not shown)
