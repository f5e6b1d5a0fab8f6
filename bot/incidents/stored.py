"""What sources over our own store share: who may read what a sender sent is decided when it is read back."""

from __future__ import annotations

from collections.abc import Callable

from bot.clock import Clock
from bot.store import Store
from integrations.asking import Access


class Stored:
    """`access` says who may read what a sender, named, sent."""

    def __init__(
        self, store: Store, workspace_id: str, clock: Clock, access: Callable[[str], Access], deadline_seconds: float
    ) -> None:
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._access = access
        self.deadline_seconds = deadline_seconds
