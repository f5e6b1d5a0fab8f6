"""The wanted states of posts: what should stand in Slack, one row for each part of a card and for each message.

Flows write here through the outbox, which sends what is newer than what is out. A row's `version` is what is wanted,
`sent_version` what is out; the newest state of a part wins.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.cards.moving import holder, mark_of, placed
from bot.cards.render import PARTS, parts_of
from bot.cards.state import CardState
from bot.clock import Clock
from bot.store import Row, Store, Transaction
from bot.store.values import to_time
from integrations.ports import Posted

_NEVER_PERMITTED = datetime(1970, 1, 1, tzinfo=UTC)


class WantedPosts:
    """One workspace's rows of `posts`. Nothing here calls Slack."""

    def __init__(self, store: Store, workspace_id: str, clock: Clock) -> None:
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock

    # --- writing ------------------------------------------------------------------------------------------------

    async def change(
        self,
        target: str,
        channel: str,
        transform: Callable[[CardState | None], CardState],
        *,
        permitted_at: datetime,
        not_before_at: datetime | None = None,
    ) -> int:
        """Write the next wanted state of a card, made from the one that stands. Returns its version."""

        def work(tx: Transaction) -> int:
            row = self.row(tx, target, "card")
            before = CardState.model_validate_json(row["state"]) if row else None
            after = transform(before)
            posted = row is not None and (row["ts"] is not None or row["status"] == "sending")
            after = after.announcing(posted=posted)
            if row is not None and before is not None and _same(after, before):
                # Allowed to the readers of now, and no edit: the hourly check would else edit every card.
                tx.execute(
                    "UPDATE posts SET permitted_at = :at"
                    " WHERE workspace_id = :w AND target = :t AND permitted_at < :at",
                    {"at": permitted_at, "w": self._workspace_id, "t": target},
                )
                return int(row["version"])
            version = int(row["version"]) + 1 if row else 1
            after = after.model_copy(update={"version": version})
            speaking = parts_of(after)
            for part in PARTS:
                if part in speaking or self.row(tx, target, part) is not None:
                    state = after.model_dump_json() if part == "card" else ""
                    self._want(tx, target, part, version, state, "card", channel, permitted_at, not_before_at)
            return version

        return await self._store.transaction(work)

    async def say(
        self,
        target: str,
        channel: str,
        text: str,
        blocks: Sequence[Mapping[str, Any]],
        *,
        simpler: Sequence[Mapping[str, Any]] = (),
    ) -> int:
        """A message that is no card: a weekly report, a notice. Once per target; said again, it is edited.

        `simpler` are the blocks for a workspace that refuses the others; without them, or refused too, its text alone
        goes out.
        """
        now = self._clock.now()
        state = json.dumps({"text": text, "blocks": list(blocks), "simpler": list(simpler)}, ensure_ascii=False)

        def work(tx: Transaction) -> int:
            row = self.row(tx, target, "card")
            version = int(row["version"]) + 1 if row else 1
            self._want(tx, target, "card", version, state, "message", channel, now, None)
            return version

        return await self._store.transaction(work)

    def _want(
        self, tx: Transaction, target: str, part: str, version: int, state: str, kind: str, channel: str,
        permitted_at: datetime, not_before_at: datetime | None,
    ) -> None:  # fmt: skip
        now = self._clock.now()
        row = self.row(tx, target, part)
        channel, number, elsewhere = placed(row if part == "card" else self.row(tx, target, "card"), channel)
        if elsewhere:
            permitted_at = _NEVER_PERMITTED  # made for the readers of the channel that the card has left
        if row is not None and row["permitted_at"] and to_time(row["permitted_at"]) > permitted_at:
            permitted_at = _NEVER_PERMITTED  # made for earlier readers than the state it replaces: permit it again
        values: dict[str, Any] = {"version": version, "state": state, "permitted_at": permitted_at, "updated_at": now}
        due = max(not_before_at or now, to_time(row["next_attempt_at"]) if row and row["next_attempt_at"] else now)
        values["next_attempt_at"] = due if row is None or row["status"] != "failed" else now
        if row is None:
            values |= {
                "kind": kind, "channel": channel, "mark": mark_of(self._workspace_id, target, part, number),
                "not_before_at": not_before_at, "created_at": now, "status": "wanted",
            }  # fmt: skip
        elif row["status"] != "sending":
            values["status"] = "wanted"
        if row is not None and row["ts"] is None:
            values["channel"] = channel  # a name that could not be resolved before, or another route
        if row is not None and row["ts"] is None and not_before_at is None and row["attempts"] == 0:
            values["next_attempt_at"] = now  # facts replace `collecting` that was not due yet
        tx.upsert("posts", [self.key(target, part) | values])

    async def sent(self, row: Row, posted: Posted, next_after: timedelta) -> None:
        """This version of a part is out; the next one is due no sooner than so long after."""
        now = self._clock.now()

        def work(tx: Transaction) -> None:
            target, part = holder(tx, row)  # the card may have moved while this was on its way
            current = self.row(tx, target, part)
            newer = current is not None and int(current["version"]) > int(row["version"])
            values: dict[str, Any] = {
                "ts": posted.ts, "channel": posted.channel, "sent_version": row["version"], "sent_at": now,
                "attempts": 0, "last_error": None, "failing_since_at": None,
                "status": "wanted" if newer else "sent", "next_attempt_at": now + next_after,
            }  # fmt: skip
            if row["first_sent_at"] is None:
                values["first_sent_at"] = now
            tx.upsert("posts", [self.key(target, part) | values])

        await self._store.transaction(work)

    async def set(self, row: Row, values: Mapping[str, Any]) -> None:
        """Columns of a row, wherever its card has moved meanwhile."""
        await self._store.transaction(lambda tx: tx.upsert("posts", [self.key(*holder(tx, row)) | dict(values)]))

    # --- reading ------------------------------------------------------------------------------------------------

    async def sent_times(self, target: str) -> tuple[datetime | None, datetime | None]:
        """When the first and when the newest state of the card went out."""
        rows = await self._store.query(
            "SELECT first_sent_at, sent_at FROM posts WHERE workspace_id = :w AND target = :t AND part = 'card'",
            {"w": self._workspace_id, "t": target},
        )
        if not rows or rows[0]["first_sent_at"] is None:
            return None, None
        return to_time(rows[0]["first_sent_at"]), to_time(rows[0]["sent_at"])

    async def permitted_at(self, target: str) -> datetime | None:
        """When the state that stands was permitted; None without a card."""
        rows = await self._store.query(
            "SELECT permitted_at FROM posts WHERE workspace_id = :w AND target = :t AND part = 'card'",
            {"w": self._workspace_id, "t": target},
        )
        return to_time(rows[0]["permitted_at"]) if rows and rows[0]["permitted_at"] else None

    async def waiting(self) -> int:
        """Wanted states that are not out; a metric, and a line of `doctor`."""
        (row,) = await self._store.query(
            "SELECT count(*) AS n FROM posts WHERE workspace_id = :w AND sent_version < version",
            {"w": self._workspace_id},
        )
        return int(row["n"])

    async def due(self) -> list[Row]:
        """What is to be sent now, notes apart: cards before their replies, the longest wanted first."""
        return await self._store.query(
            "SELECT * FROM posts WHERE workspace_id = :w AND sent_version < version AND part != 'note'"
            " AND (next_attempt_at IS NULL OR next_attempt_at <= :now)"
            " ORDER BY CASE part WHEN 'card' THEN 0 ELSE 1 END, updated_at",
            {"w": self._workspace_id, "now": self._clock.now()},
        )

    async def next_due_at(self) -> datetime | None:
        """When the next row is to be sent; None where nothing waits."""
        (row,) = await self._store.query(
            "SELECT min(next_attempt_at) AS at FROM posts WHERE workspace_id = :w AND sent_version < version",
            {"w": self._workspace_id},
        )
        return to_time(row["at"]) if row["at"] is not None else None

    async def is_out(self, target: str, version: int) -> bool:
        """Whether that version of the card, or a newer one, is out."""
        rows = await self._store.query(
            "SELECT sent_version FROM posts WHERE workspace_id = :w AND target = :t AND part = 'card'",
            {"w": self._workspace_id, "t": target},
        )
        return bool(rows) and int(rows[0]["sent_version"]) >= version

    async def card_row(self, target: str) -> Row | None:
        """The row of a card itself."""
        return await self._store.transaction(lambda tx: self.row(tx, target, "card"))

    def row(self, tx: Transaction, target: str, part: str) -> Row | None:
        """A part's row as this transaction sees it."""
        rows = tx.query(
            "SELECT * FROM posts WHERE workspace_id = :w AND target = :t AND part = :p",
            {"w": self._workspace_id, "t": target, "p": part},
        )
        return rows[0] if rows else None

    def key(self, target: str, part: str) -> dict[str, Any]:
        """The primary key of a part's row."""
        return {"workspace_id": self._workspace_id, "target": target, "part": part}


def _same(after: CardState, before: CardState) -> bool:
    """Whether two states say the same; the version is the outbox's own."""
    return after.model_copy(update={"version": before.version}) == before
