"""Changes that others told us of: kept once each, and read back as evidence of an incident.

A sender's own words for a service are kept as they came; which of our services it is, and who may read of it, is
decided when it is read, by the settings of then.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bot.incidents.stored import Stored
from bot.store import Row, Transaction
from integrations.asking import AnyNames
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


class StoredChanges(Stored):
    """`Source` of changes that came by webhook. `access` says who may read what a sender sent."""

    name = "changes"
    kind = "changes"

    async def fetch(self, question: Question) -> Findings:
        """Changes to the question's services, and those that name no service, up to the end of its window."""
        since = question.changes_since or question.window.start
        rows = await self._store.query(
            "SELECT service, record FROM changes WHERE workspace_id = :w AND changed_at >= :since"
            " AND changed_at <= :until ORDER BY changed_at DESC LIMIT :n",
            {"w": self._workspace_id, "since": since, "until": question.window.end, "n": READ + 1},
        )
        services = _Services(question)
        counts: dict[str | None, int] = {}
        found: list[ChangeEvent] = []
        for row in rows[:READ]:
            about, service = services.of(row["service"])
            if not about:
                continue
            counts[service] = counts.get(service, 0) + 1
            if counts[service] <= KEPT:  # only these are parsed: there may be thousands of others
                change = ChangeEvent.model_validate_json(row["record"])
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


class _Services:
    """Which of a question's services a sender's word means."""

    def __init__(self, question: Question) -> None:
        self._services = question.services
        self._names = AnyNames(question.services)
        self._known: dict[str | None, tuple[bool, str | None]] = {}

    def of(self, said: str | None) -> tuple[bool, str | None]:
        """Whether the change belongs to the question, and our name for its service."""
        if said not in self._known:
            self._known[said] = self._look(said)
        return self._known[said]

    def _look(self, said: str | None) -> tuple[bool, str | None]:
        if not said:
            return True, None
        if flag := flag_of(said):  # it may be about any service: kept, under that of its key
            return True, flag_service(self._services, flag)
        ours = self._names.ours(said)
        return ours is not None or not self._services, ours or said
