"""Pauses of the model: of one experiment, or of everything. A cutline or a person pauses; only a person resumes.

Each pause is a row of `pauses`; pausing and resuming each write a row of `audit` in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.store import Store, Transaction
from bot.store.values import to_time, ulid

BY_CUTLINE = "sitrep"
"""Who paused, where it was a cutline."""
PAUSED_BY_A_PERSON = "summaries are paused by a person"
PAUSED_BY_CUTLINE = {
    "usd_per_triage": "summaries are paused: a triage costs more than its line",
    "rejected_share": "summaries are paused: too many answers were rejected by the checks",
    "negative_vote_share": "summaries are paused: too many votes say not helpful",
    "first_post_p90_seconds": "summaries are paused: the first post takes longer than its line",
    "harm": "summaries are paused: incidents may be taking longer",
}
"""What a card says: fixed words that name no experiment and no arm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One pause. `experiment` None means that nothing asks a model."""

    id: str
    experiment: str | None
    cutline: str | None
    reason: str
    by: str
    at: datetime
    resumed_by: str | None = None
    resumed_at: datetime | None = None

    @property
    def sentence(self) -> str:
        """For a card."""
        return PAUSED_BY_CUTLINE.get(self.cutline or "", PAUSED_BY_A_PERSON)

    @property
    def told(self) -> str:
        """For the report and for admins: by what, since when, until when."""
        what = "All summaries were paused" if self.experiment is None else "The model was paused"
        who = f"by the cutline {self.cutline}" if self.cutline else "by a person"
        since = f"{what} {who} from {_minute(self.at)}"
        until = f"to {_minute(self.resumed_at)}" if self.resumed_at else "and still is"
        return f"{since} {until}: {self.reason}."


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


async def read_pauses(store: Store, workspace_id: str, experiment: str | None) -> list[Pause]:
    """Every pause that holds or held for this experiment, the general ones included, oldest first."""
    rows = await store.query(
        "SELECT * FROM pauses WHERE workspace_id = :w AND (experiment IS NULL OR experiment = :e) ORDER BY at, id",
        {"w": workspace_id, "e": experiment},
    )
    return [_pause(row) for row in rows]


async def open_pause(store: Store, workspace_id: str, experiment: str | None) -> Pause | None:
    """The pause that holds now, the general one first."""
    return await store.transaction(lambda tx: open_pause_in(tx, workspace_id, experiment))


def open_pause_in(tx: Transaction, workspace_id: str, experiment: str | None) -> Pause | None:
    """`open_pause` inside a transaction."""
    rows = tx.query(
        "SELECT * FROM pauses WHERE workspace_id = :w AND resumed_at IS NULL"
        " AND (experiment IS NULL OR experiment = :e)"
        " ORDER BY CASE WHEN experiment IS NULL THEN 0 ELSE 1 END, at, id LIMIT 1",
        {"w": workspace_id, "e": experiment},
    )
    return _pause(rows[0]) if rows else None


async def pause(
    store: Store,
    workspace_id: str,
    *,
    experiment: str | None,
    by: str,
    reason: str,
    at: datetime,
    cutline: str | None = None,
) -> Pause | None:
    """Pause one experiment, or everything with None. Returns None, and writes nothing, where that is paused already."""

    def work(tx: Transaction) -> Pause | None:
        standing = tx.query(
            "SELECT 1 FROM pauses WHERE workspace_id = :w AND resumed_at IS NULL"
            " AND coalesce(experiment, '') = coalesce(:e, '')",
            {"w": workspace_id, "e": experiment},
        )
        if standing:
            return None
        made = Pause(id=ulid(at), experiment=experiment, cutline=cutline, reason=reason, by=by, at=at)
        row = {
            "workspace_id": workspace_id, "id": made.id, "experiment": experiment, "cutline": cutline,
            "reason": reason, "by": by, "at": at,
        }  # fmt: skip
        tx.insert("pauses", [row])
        detail = {"experiment": experiment, "cutline": cutline, "reason": reason, "pause": made.id}
        audit_in(tx, workspace_id, at, by, "pause", detail)
        return made

    return await store.transaction(work)


async def resume(
    store: Store, workspace_id: str, *, experiment: str | None, by: str, reason: str, at: datetime
) -> Sequence[Pause]:
    """End the pauses of one experiment, or the general one with None; returns those that ended.

    Only a person resumes: raises ValueError for the name under which cutlines pause, or for none.
    """
    if not by or by == BY_CUTLINE:
        raise ValueError(f"only a person resumes, got {by!r}")

    def work(tx: Transaction) -> list[Pause]:
        rows = tx.query(
            "SELECT * FROM pauses WHERE workspace_id = :w AND resumed_at IS NULL"
            " AND coalesce(experiment, '') = coalesce(:e, '') ORDER BY at, id",
            {"w": workspace_id, "e": experiment},
        )
        for row in rows:
            tx.upsert("pauses", [{"workspace_id": workspace_id, "id": row["id"], "resumed_by": by, "resumed_at": at}])
            detail = {"experiment": experiment, "cutline": row["cutline"], "reason": reason, "pause": row["id"]}
            audit_in(tx, workspace_id, at, by, "resume", detail)
        return [_pause(row) for row in rows]

    return await store.transaction(work)


def audit_in(
    tx: Transaction, workspace_id: str, at: datetime, by: str, action: str, detail: Mapping[str, object]
) -> None:
    """One line of the audit trail, in the transaction of what it tells."""
    row = {"workspace_id": workspace_id, "id": ulid(at), "at": at, "by": by, "action": action, "detail": dict(detail)}
    tx.insert("audit", [row])


def _pause(row: dict[str, object]) -> Pause:
    def text(name: str) -> str | None:
        return None if row[name] is None else str(row[name])

    resumed_at = text("resumed_at")
    return Pause(
        id=str(row["id"]),
        experiment=text("experiment"),
        cutline=text("cutline"),
        reason=str(row["reason"]),
        by=str(row["by"]),
        at=to_time(str(row["at"])),
        resumed_by=text("resumed_by"),
        resumed_at=to_time(resumed_at) if resumed_at else None,
    )
