"""Which form of blocks a workspace takes, remembered across restarts."""

from __future__ import annotations

from datetime import datetime, timedelta

from bot.cards.render import Form
from bot.clock import Clock
from bot.store import Store
from bot.store.values import to_time

CLASSIC_FOR = timedelta(days=7)
"""How long a workspace that refused the modern blocks gets the classic ones before the modern ones are tried again."""


class FormMemory:
    """One workspace's answer to the modern blocks; `always_classic` is the setting that forces the others."""

    def __init__(self, store: Store, workspace_id: str, clock: Clock, *, always_classic: bool) -> None:
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._always_classic = always_classic
        self._classic_since: datetime | None = None
        self._read = False

    async def form(self) -> Form:
        """Modern, unless it was refused within the last week or a setting says otherwise."""
        if self._always_classic:
            return "classic"
        if not self._read:
            rows = await self._store.query(
                "SELECT created_at FROM notices WHERE workspace_id = :w AND id = 'slack:form'",
                {"w": self._workspace_id},
            )
            self._classic_since = to_time(rows[0]["created_at"]) if rows else None
            self._read = True
        since = self._classic_since
        return "classic" if since is not None and self._clock.now() - since < CLASSIC_FOR else "modern"

    async def remember_classic(self) -> None:
        """The modern blocks were refused."""
        self._classic_since, self._read = self._clock.now(), True
        await self._store.upsert(
            "notices",
            [{"workspace_id": self._workspace_id, "id": "slack:form", "kind": "form", "detail": {"form": "classic"},
              "created_at": self._classic_since}],
        )  # fmt: skip
