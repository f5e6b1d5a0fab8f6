"""The note in the incident source when Slack is down: one an incident, found again by its mark."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

from bot.clock import Clock
from bot.store import Store
from bot.store.values import to_text
from integrations.errors import IntegrationError

log = logging.getLogger(__name__)

AGAIN = timedelta(seconds=15)
"""How long a note that could not be written waits for the next attempt."""
NoteText = Callable[[str], Awaitable[str | None]]


class NoteBook(Protocol):
    """The incident source's notes."""

    async def add_note(self, incident_id: str, text: str) -> str: ...

    async def find_note(self, incident_id: str, mark: str) -> str | None: ...


class NoteWriter:
    """Order of writes: `sending` is committed, then the note is added, then it is recorded; a note that may have been
    added is looked for by its mark first. `text(target)` is what it may say, None for no note."""

    def __init__(
        self, store: Store, workspace_id: str, clock: Clock, notes: NoteBook | None, text: NoteText | None,
        slack_down_seconds: float, checkpoint: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._notes = notes
        self._text = text
        self._slack_down = timedelta(seconds=slack_down_seconds)
        self._checkpoint = checkpoint
        self._not_before: dict[str, datetime] = {}

    async def write_due(self) -> None:
        """A note for each incident whose card could not be delivered for that long and that has none."""
        if self._notes is None or self._text is None:
            return
        now = self._clock.now()
        rows = await self._store.query(
            "SELECT c.target, n.status AS note FROM posts c LEFT JOIN posts n ON n.workspace_id = c.workspace_id"
            " AND n.target = c.target AND n.part = 'note' WHERE c.workspace_id = :w AND c.part = 'card'"
            " AND c.kind = 'card' AND c.sent_version < c.version AND c.failing_since_at <= :since"
            " AND (n.status IS NULL OR n.status != 'sent')",
            {"w": self._workspace_id, "since": to_text(now - self._slack_down)},
        )
        for row in rows:
            if now >= self._not_before.get(row["target"], now):
                await self._try(row["target"], row["note"] is not None, self._notes, self._text)

    async def _try(self, target: str, may_be_there: bool, notes: NoteBook, text_of: NoteText) -> None:
        try:
            await self._write(target, may_be_there, notes, text_of)
        except IntegrationError as failed:
            log.warning("the note for %s could not be written: %s", target, failed.message)
            self._not_before[target] = self._clock.now() + AGAIN
        except Exception as failed:  # noqa: BLE001 - a loop that must not end: the next incident may have its note
            log.error("writing the note for %s failed with %s", target, type(failed).__name__)
            self._not_before[target] = self._clock.now() + AGAIN
        else:
            self._not_before.pop(target, None)

    async def _write(self, target: str, may_be_there: bool, notes: NoteBook, text_of: NoteText) -> None:
        incident_id = target.partition(":")[2]
        mark = f"sitrep:{self._workspace_id}:{target}:note"
        text = await text_of(target)
        if text is None:
            return
        now = self._clock.now()
        row = {
            "workspace_id": self._workspace_id, "target": target, "part": "note", "version": 1,
            "state": json.dumps({"text": text}), "kind": "note", "channel": incident_id, "mark": mark,
            "updated_at": now,
        }  # fmt: skip
        if not may_be_there or not await notes.find_note(incident_id, mark):
            await self._store.upsert(
                "posts", [row | {"status": "sending"} | ({} if may_be_there else {"created_at": now})]
            )
            self._checkpoint("note.before_send")
            await notes.add_note(incident_id, f"{text}\n[{mark}]")
            self._checkpoint("note.after_send")
        sent = {"status": "sent", "sent_version": 1, "sent_at": self._clock.now()}
        await self._store.upsert("posts", [row | sent])
        self._checkpoint("note.recorded")
