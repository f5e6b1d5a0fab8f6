"""What waits at a provider's batch door, in the store: a process that dies there loses nothing and pays once.

Rows hold ids, money and a digest of the question, never a text. They stand from before the batch is sent until its
books are written; whoever asks the same question meanwhile gets the answer that was paid for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.model import cache
from bot.model.call import ModelCall
from bot.model.pins import Pin
from bot.model.spend import Payer, Reservation
from bot.store import Row, Store, Transaction
from bot.store.values import to_time

LONGEST = timedelta(hours=26)
"""A provider ends a batch within 24 hours; what is older has nobody who waits for it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that an earlier process sent, or was about to send."""

    row: Row

    @property
    def call_id(self) -> str:
        return str(self.row["call_id"])

    @property
    def content(self) -> str:
        return str(self.row["content"])

    def reservation(self) -> Reservation:
        """As it was made: who pays, how much, on which day."""
        row = self.row
        payer = Payer(
            row["workspace_id"], row["workflow_id"], row["step"], row["use"], row["model"], row["incident_id"],
            row["team"],
        )  # fmt: skip
        return Reservation(payer, int(row["attempt"]), to_time(row["reserved_at"]), float(row["reserved_usd"]))


def content_of(pin: Pin, call: ModelCall) -> str:
    """A digest of everything that decides the answer; the same for the same question of another process."""
    return cache.key(
        workspace_id=call.workspace_id, model=f"{pin.name}@{pin.revision}", prompt_sha256=call.prompt_sha256,
        system=call.system, user=call.user, fence=call.fence, schema=call.schema, parameters=call.parameters,
        snapshot=call.snapshot, audience=call.audience,
    )  # fmt: skip


def row_of(mark: str, call_id: str, content: str, call: ModelCall, pin: Pin, reserved: Reservation) -> Row:
    return {
        "workspace_id": call.workspace_id, "call_id": call_id, "mark": mark, "batch_id": None, "model": pin.name,
        "content": content, "use": call.use, "prompt": call.prompt, "prompt_sha256": call.prompt_sha256,
        "workflow_id": call.workflow_id, "step": call.step, "attempt": reserved.attempt,
        "incident_id": call.incident_id, "team": call.team, "reserved_usd": reserved.usd,
        "reserved_at": reserved.reserved_at,
    }  # fmt: skip


async def waiting(store: Store, workspaces: Collection[str], pin: Pin, now: datetime) -> Mapping[str, Sequence[Sent]]:
    """What earlier processes sent to this model and nobody has booked, by the mark of its batch."""
    found: dict[str, list[Sent]] = {}
    for workspace_id in sorted(workspaces):
        rows = await store.query(
            "SELECT * FROM batch_requests WHERE workspace_id = :w AND model = :model AND reserved_at >= :since"
            " ORDER BY reserved_at, call_id",
            {"w": workspace_id, "model": pin.name, "since": now - LONGEST},
        )
        for row in rows:
            found.setdefault(row["mark"], []).append(Sent(row))
    return found


async def living(store: Store, workspace_id: str, now: datetime) -> frozenset[str]:
    """Ids of workflows whose batch may still be answered: their reservations are not yet abandoned."""
    rows = await store.query(
        "SELECT DISTINCT workflow_id FROM batch_requests WHERE workspace_id = :w AND reserved_at >= :since",
        {"w": workspace_id, "since": now - LONGEST},
    )
    return frozenset(row["workflow_id"] for row in rows)


def sent(tx: Transaction, mark: str, batch_id: str) -> None:
    """The provider has taken the batch, under its own id."""
    tx.execute(
        "UPDATE batch_requests SET batch_id = :batch_id WHERE mark = :mark", {"batch_id": batch_id, "mark": mark}
    )


def booked(tx: Transaction, workspace_id: str, call_id: str) -> bool:
    """Whoever takes the row away writes the books; false for everybody after."""
    gone = tx.execute(
        "DELETE FROM batch_requests WHERE workspace_id = :w AND call_id = :call_id",
        {"w": workspace_id, "call_id": call_id},
    )
    return gone == 1
