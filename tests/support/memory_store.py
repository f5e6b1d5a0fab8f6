"""The `Store` contract on an in-memory SQLite database, without a thread: for tests of thousands of calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from bot.store import Row, Transaction, migrations
from bot.store.sqlite import SqliteTransaction, _schema, _statements, match_of, search_sql

T = TypeVar("T")


class MemoryStore:
    """Forgets everything when it is closed."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        for _, sql in migrations.steps():
            for statement in _statements(sql):
                self._connection.execute(statement)
        self._transaction = SqliteTransaction(self._connection, _schema(self._connection))
        self.transactions = 0

    @classmethod
    def of(cls, snapshot: bytes) -> MemoryStore:
        """A store that begins with what another one held."""
        made = cls.__new__(cls)
        made._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        made._connection.deserialize(snapshot)
        made._transaction = SqliteTransaction(made._connection, _schema(made._connection))
        made.transactions = 0
        return made

    def snapshot(self) -> bytes:
        """Everything that it holds now."""
        return self._connection.serialize()

    def restore(self, snapshot: bytes) -> None:
        """Hold that and nothing else; of a store with the same tables."""
        self._connection.deserialize(snapshot)

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        return self._transaction.query(sql, parameters)

    async def search(
        self, table: str, words: Sequence[str], *, where: str, parameters: Mapping[str, Any], limit: int
    ) -> list[Row]:
        match = match_of(words)
        return (
            await self.query(search_sql(table, where), {**parameters, "match": match, "limit": limit}) if match else []
        )

    async def compact(self, table: str) -> None:
        self._connection.execute(f"INSERT INTO {table}_fts ({table}_fts) VALUES ('optimize')")

    async def insert(self, table: str, rows: Sequence[Mapping[str, Any]], *, ignore: bool = False) -> int:
        return await self.transaction(lambda tx: tx.insert(table, rows, ignore=ignore))

    async def upsert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        await self.transaction(lambda tx: tx.upsert(table, rows))

    def transaction(self, work: Callable[[Transaction], T]) -> Awaitable[T]:
        async def run() -> T:
            self.transactions += 1
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._transaction)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            return result

        return run()

    async def close(self) -> None:
        self._connection.close()
