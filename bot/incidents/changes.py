"""Changes that others told us of: kept once each, and read back as evidence of an incident.

A sender's own words for a service are kept as they came; which of our services it is, and who may read of it, is
decided when it is read, by the settings of then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from bot.clock import Clock
from bot.store import Row, Store, Transaction
from integrations.asking import Access, AnyNames
from integrations.changes import change_of
from integrations.changes.asked import flag_of, flag_service
from integrations.records import ChangeEvent, Findings, Question

log = logging.getLogger(__name__)

READ = 5000
"""Changes of the whole time before an incident that are looked through, the newest."""
KEPT = 30
"""Changes of one service that are handed on, the newest."""


def keep_change(tx: Transaction, workspace_id: str, row: Row, body: Mapping[str, Any]) -> None:
    """The change of a signal of kind `change`, once; what was told first stays."""
    try:
        change = change_of(body["payload"])
    except (KeyError, TypeError, ValidationError):
        log.error("signal %s of %s holds no change that can be read; it is kept", row["delivery_key"], row["source"])
        return
    kept = {
        "workspace_id": workspace_id, "source": change.source, "id": change.id, "kind": change.kind,
        "service": change.service, "changed_at": change.changed_at, "record": change.model_dump_json(),
        "readers": change.readers.signature, "received_at": row["received_at"],
    }  # fmt: skip
    tx.insert("changes", [kept], ignore=True)


class StoredChanges:
    """`Source` of changes that came by webhook. `access` says who may read what a sender sent."""

    name = "changes"
    kind = "changes"

    def __init__(
        self, store: Store, workspace_id: str, clock: Clock, access: Callable[[str], Access], deadline_seconds: float
    ) -> None:
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._access = access
        self.deadline_seconds = deadline_seconds

    async def fetch(self, question: Question) -> Findings:
        """Changes to the question's services, and those that name no service, up to the end of its window."""
        since = question.changes_since or question.window.start
        rows = await self._store.query(
            "SELECT record FROM changes WHERE workspace_id = :w AND changed_at >= :since AND changed_at <= :until"
            " ORDER BY changed_at DESC LIMIT :n",
            {"w": self._workspace_id, "since": since, "until": question.window.end, "n": READ + 1},
        )
        names = AnyNames(question.services)
        counts: dict[str | None, int] = {}
        found: list[ChangeEvent] = []
        for row in rows[:READ]:
            change = ChangeEvent.model_validate_json(row["record"])
            ours, flag = names.ours(change.service or ""), flag_of(change)
            if flag:  # it may be about any service: kept, under that of its key
                service = flag_service(question.services, flag)
            elif change.service and ours is None and question.services:
                continue
            else:
                service = ours or change.service
            counts[service] = counts.get(service, 0) + 1
            if counts[service] <= KEPT:
                readers, model = self._access(change.source).of_item(service, change.id)
                found.append(change.model_copy(update={"service": service, "readers": readers, "model": model}))
        deployed = {(one.source, one.service, one.commit) for one in found if one.commit and not one.inferred}
        found = [one for one in found if not (one.inferred and (one.source, one.service, one.commit) in deployed)]
        notes = [f"changes: only the newest {READ:,} are looked through"] if len(rows) > READ else []
        notes += [
            f"changes: only the newest {KEPT} of {service or 'no service'}"
            for service, count in counts.items()
            if count > KEPT
        ]
        return Findings(changes=tuple(found), notes=tuple(notes))
