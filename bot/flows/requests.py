"""What somebody asked in Slack, stored before it is acknowledged, so that a process that dies still owes the answer.

The engine is not asked to run these: an answer is for one person, and a step's result would be stored, which what a
channel may not read never is. So the row is the promise, whoever took it answers at once, and at start-up the rows
that nobody ended are answered, or said to be lost, while Slack still takes an answer to them.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from bot.clock import Clock
from bot.flows.aside import Aside
from bot.store import Row, Store, Transaction
from bot.store.values import to_time
from bot.trust.sealed import Seal

log = logging.getLogger(__name__)

ASIDE_SECONDS = 1.0
"""With what the store had before, less than the three that Slack waits."""
ANSWERABLE = timedelta(minutes=30)
"""How long Slack takes an answer through a response_url."""
MAX_ATTEMPTS = 3
MAX_WORDS = 4000


@dataclass(frozen=True, slots=True)
class Request:
    """One command, click, form or mention. `words` are a person's own and redacted; `value` is what our own element
    said (a button's value, a form's fields as JSON)."""

    id: str
    kind: str
    by: str
    channel: str
    received_at: datetime
    words: str = ""
    value: str = ""
    thread_ts: str | None = None
    response_url: str | None = None
    attempts: int = 0


class RequestBook:
    """One workspace's requests."""

    def __init__(
        self, store: Store, workspace_id: str, clock: Clock, seal: Seal, aside: Aside | None = None
    ) -> None:  # fmt: skip
        """`seal` closes the address for the answer: whoever has it may answer in our name for half an hour. `aside` is
        where a request is kept while the store takes it too slowly; None: it is not."""
        self._aside = aside
        self._kept_aside: set[str] = set()
        self._seal = seal
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock

    async def accept(self, request: Request) -> bool:
        """Store it; False when it is known already (Slack sends some things twice)."""
        row = {
            "workspace_id": self._workspace_id, "id": request.id, "kind": request.kind, "by": request.by,
            "channel": request.channel, "thread_ts": request.thread_ts,
            "response_url": self._seal.seal(request.response_url) if request.response_url else None,
            "words": request.words[:MAX_WORDS], "value": request.value, "received_at": request.received_at,
            "attempts": 1,
        }  # fmt: skip
        try:
            new = await self._store.insert("requests", [row], ignore=True) == 1
        except Exception:
            await self._drop_aside(request.id)  # whoever asked is told that it could not be done
            raise
        await self._drop_aside(request.id)
        return new

    async def _drop_aside(self, request_id: str) -> None:
        if self._aside is not None and request_id in self._kept_aside:
            self._kept_aside.discard(request_id)
            await asyncio.to_thread(self._aside.drop, request_id)

    async def keep_aside(self, request: Request) -> bool:
        """On disk before this returns, while `accept` still waits for the store; False where that failed too."""
        if self._aside is None:
            return False
        self._kept_aside.add(request.id)
        try:
            async with asyncio.timeout(ASIDE_SECONDS):
                await asyncio.to_thread(self._aside.put, request.id, asdict(request))
        except (OSError, TimeoutError) as failed:
            log.error("a request could be kept nowhere in time: %s", type(failed).__name__)
            return False
        log.warning("the store is slow: a request is kept in a file until it is stored")
        return True

    async def end(self, request_id: str) -> None:
        """It was answered, or can no longer be. The address for the answer is forgotten."""
        values = {"state": "done", "ended_at": self._clock.now(), "response_url": None}
        await self._store.upsert("requests", [{"workspace_id": self._workspace_id, "id": request_id, **values}])

    async def find(self, request_id: str, by: str) -> Request | None:
        """One of this person's requests; nobody is shown another's."""
        rows = await self._store.query(
            "SELECT * FROM requests WHERE workspace_id = :w AND id = :i AND by = :by",
            {"w": self._workspace_id, "i": request_id, "by": by},
        )
        return self._request(rows[0]) if rows else None

    async def take_over(self) -> list[Request]:
        """At start-up: what an earlier process left without an answer, oldest first, each with one more attempt. What
        is too old for an answer is ended."""
        now = self._clock.now()
        for kept in await asyncio.to_thread(self._aside.left) if self._aside is not None else []:
            request = Request(**{**kept, "received_at": datetime.fromisoformat(kept["received_at"])})
            self._kept_aside.add(request.id)
            await self.accept(request)

        def work(tx: Transaction) -> list[Row]:
            values = {"w": self._workspace_id, "since": now - ANSWERABLE, "now": now}
            tx.execute(
                "UPDATE requests SET state = 'lost', ended_at = :now, response_url = NULL"
                " WHERE workspace_id = :w AND state = 'new' AND received_at < :since",
                values,
            )
            tx.execute("UPDATE requests SET attempts = attempts + 1 WHERE workspace_id = :w AND state = 'new'", values)
            return tx.query(
                "SELECT * FROM requests WHERE workspace_id = :w AND state = 'new' ORDER BY received_at", values
            )

        return [self._request(row) for row in await self._store.transaction(work)]

    async def context_of(self, by: str, thread_ts: str) -> str:
        """The channel that this person came from when they opened the assistant in this thread; "" for none."""
        rows = await self._store.query(
            "SELECT value FROM requests WHERE workspace_id = :w AND kind = 'assistant' AND by = :by AND thread_ts = :t"
            " ORDER BY received_at DESC LIMIT 1",
            {"w": self._workspace_id, "by": by, "t": thread_ts},
        )
        return str(rows[0]["value"]) if rows else ""

    async def lately(self, kind: str, within: timedelta) -> list[str]:
        """Who sent requests of this kind within that time, each once."""
        rows = await self._store.query(
            "SELECT by, max(received_at) AS at FROM requests WHERE workspace_id = :w AND kind = :k"
            " AND received_at >= :since GROUP BY by ORDER BY at DESC LIMIT 50",
            {"w": self._workspace_id, "k": kind, "since": self._clock.now() - within},
        )
        return [str(row["by"]) for row in rows]

    def _request(self, row: Row) -> Request:
        closed = row["response_url"]
        return Request(
            id=row["id"], kind=row["kind"], by=row["by"], channel=row["channel"],
            received_at=to_time(row["received_at"]), words=row["words"], value=row["value"],
            thread_ts=row["thread_ts"], response_url=self._seal.open(closed) if closed else None,
            attempts=row["attempts"],
        )  # fmt: skip
