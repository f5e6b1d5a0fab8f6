"""The one way to the database. `Store` is the role; `bot.store.sqlite` is the SQLite implementation.

SQL above this line is portable: named parameters (`:name`), no dialect. Every table is made by a migration, starts
with `workspace_id`, and an unknown table is refused. Times are stored as ISO 8601 UTC text with microseconds
(`2026-11-24T21:39:16.000000Z`), which sorts as time; JSON columns are text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Row = dict[str, Any]


class Transaction(Protocol):
    """What may be done inside one transaction; synchronous, in the writer's thread, so it must not wait."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]: ...

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Returns the number of rows changed."""
        ...

    def insert(self, table: str, rows: Iterable[Mapping[str, Any]], *, ignore: bool = False) -> int:
        """Returns the rows written; with `ignore`, rows whose key is there already are left as they are."""
        ...

    def upsert(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """By primary key; columns that a row does not name keep their value."""
        ...


class Store(Protocol):
    """One writer; readers see committed state. dict and list values are stored as JSON, datetimes as ISO text."""

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]: ...

    async def insert(self, table: str, rows: Sequence[Mapping[str, Any]], *, ignore: bool = False) -> int: ...

    async def upsert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None: ...

    async def search(
        self, table: str, words: Sequence[str], *, where: str, parameters: Mapping[str, Any], limit: int
    ) -> list[Row]:
        """Rows of a table with a search index over its column `words` that hold any of these words, best first. `where`
        is a condition on the table; each row has its columns and `relevance`, which is above 0 and grows with it."""
        ...

    async def compact(self, table: str) -> None:
        """Removes what deleted rows left behind in the search index of this table."""
        ...

    def transaction(self, work: Callable[[Transaction], T]) -> Awaitable[T]:
        """Runs `work` inside BEGIN IMMEDIATE: read-then-write without a race. Raising rolls back."""
        ...

    async def close(self) -> None: ...
