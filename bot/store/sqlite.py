"""The SQLite store: one writer thread with group commit, a few reader threads, WAL, `synchronous=FULL`.

Why a writer of our own: sqlite-utils' `atomic()` begins deferred, so a read-then-write beside another writer fails
at once with "database is locked" whatever the timeout; and a commit a signal would cost one disk flush each. Here
every unit of work runs in a savepoint of one BEGIN IMMEDIATE transaction; what arrived meanwhile shares its flush,
and a failing unit rolls back alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import queue
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlite_utils

from bot.errors import SitrepError
from bot.store import Row, Transaction, migrations
from bot.store.files import private
from bot.store.values import encode_row, to_text

T = TypeVar("T")

MAX_GROUP = 256
"""Units of work that share one commit."""
READERS = 2
CHECKPOINT_AFTER = 2_000
"""Changed rows after which the write-ahead log is copied back, beside the writer."""
LONGEST_LOG = 4_096
"""Pages of the log (16 MiB) at which the writer itself copies it back and begins it anew: under steady writing a copy
beside it never gets to the end."""


class StoreError(SitrepError):
    """The database cannot be used as asked; the text says what to do."""


@dataclass(slots=True)
class _Work:
    run: Callable[[Transaction], Any]
    done: Callable[[Any, BaseException | None], None]


class SqliteTransaction:
    """The `Transaction` of one unit of work. Lives in the writer's thread only."""

    def __init__(self, connection: sqlite3.Connection, schema: Mapping[str, _Table]) -> None:
        self._connection = connection
        self._schema = schema

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        return _rows(self._connection.execute(sql, encode_row(parameters or {})))

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        return self._connection.execute(sql, encode_row(parameters or {})).rowcount

    def insert(self, table: str, rows: Iterable[Mapping[str, Any]], *, ignore: bool = False) -> int:
        return sum(self._insert(self._table(table), encode_row(row), ignore) for row in rows)

    def upsert(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        known = self._table(table)
        for row in rows:
            values = encode_row(row)
            known.check(values)
            others = [name for name in values if name not in known.key]
            where = " AND ".join(f"{name} = :{name}" for name in known.key)
            # UPDATE first: INSERT … ON CONFLICT checks NOT NULL before it sees that the row is there.
            sets = ", ".join(f"{name} = :{name}" for name in others or known.key)
            if self._connection.execute(f"UPDATE {table} SET {sets} WHERE {where}", values).rowcount == 0:  # noqa: S608
                self._insert(known, values, ignore=False)

    def _insert(self, table: _Table, values: Mapping[str, Any], ignore: bool) -> int:
        table.check(values)
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        conflict = f" ON CONFLICT ({', '.join(table.key)}) DO NOTHING" if ignore else ""
        sql = f"INSERT INTO {table.name} ({names}) VALUES ({marks}){conflict}"  # noqa: S608 - names checked above
        return self._connection.execute(sql, values).rowcount

    def _table(self, name: str) -> _Table:
        try:
            return self._schema[name]
        except KeyError:
            raise StoreError(f"no table {name!r}; tables are made by bot/store/migrations only") from None


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: frozenset[str]
    key: tuple[str, ...]

    def check(self, values: Mapping[str, Any]) -> None:
        if unknown := set(values) - self.columns:
            raise StoreError(f"table {self.name!r} has no column {sorted(unknown)!r}")


class SqliteStore:
    """`Store` on one SQLite file. `open` migrates it; one process may write it at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._writer = connection
        self._schema = _schema(connection)
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._copier = ThreadPoolExecutor(1, thread_name_prefix="store-checkpoint")
        self._copying: Future[int] | None = None
        self._copied_at = 0
        # A copy inside a commit takes ten to fifty milliseconds, in which no delivery is answered.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="store-writer", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path) -> SqliteStore:
        """Create or migrate the file (mode 0600) and open it."""
        migrate(path)
        return cls(path, _connect(path))

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        values = encode_row(parameters or {})
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, sql, values)

    async def search(
        self, table: str, words: Sequence[str], *, where: str, parameters: Mapping[str, Any], limit: int
    ) -> list[Row]:
        if f"{table}_fts" not in self._schema:
            raise StoreError(f"table {table!r} has no search index; migrations make them")
        if not (match := match_of(words)):
            return []
        return await self.query(search_sql(table, where), {**parameters, "match": match, "limit": limit})

    async def compact(self, table: str) -> None:
        if f"{table}_fts" not in self._schema:
            raise StoreError(f"table {table!r} has no search index; migrations make them")
        # A deleted row's words stay in older segments of an FTS5 index until these are merged into one.
        sql = f"INSERT INTO {table}_fts ({table}_fts) VALUES ('optimize')"  # noqa: S608 - a known table
        await self.transaction(lambda tx: tx.execute(sql))

    async def insert(self, table: str, rows: Sequence[Mapping[str, Any]], *, ignore: bool = False) -> int:
        return await self.transaction(lambda tx: tx.insert(table, rows, ignore=ignore))

    async def upsert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        await self.transaction(lambda tx: tx.upsert(table, rows))

    def transaction(self, work: Callable[[Transaction], T]) -> Awaitable[T]:
        if self._closed:
            raise StoreError("the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        def done(value: Any, error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits for the answer
                loop.call_soon_threadsafe(settle, value, error)

        self._queue.put(_Work(work, done))
        return future

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._readers.shutdown()
            self._copier.shutdown()
            for connection in self._opened:
                connection.close()

    def _read(self, sql: str, parameters: dict[str, Any]) -> list[Row]:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = _connect(self._path)
            connection.execute("PRAGMA query_only = 1")
            self._local.connection = connection
            self._opened.append(connection)
        return _rows(connection.execute(sql, parameters))

    def _write(self) -> None:
        while True:
            first = self._queue.get()
            group = [] if first is None else [first]
            while group and len(group) < MAX_GROUP:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    first = None
                    break
                group.append(following)
            if group:
                self._commit(group)
                self._keep_log_short()
            if first is None:
                self._writer.close()
                return

    def _commit(self, group: list[_Work]) -> None:
        transaction = SqliteTransaction(self._writer, self._schema)
        results: list[tuple[_Work, Any, BaseException | None]] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for work in group:
                results.append((work, *self._run(work, transaction, alone=len(group) == 1)))
            if self._writer.in_transaction:
                self._writer.execute("COMMIT")
        except BaseException as failed:  # noqa: BLE001 - a full disk or a lost file: every caller must hear of it
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            results = [(work, None, failed) for work in group]
        for work, value, error in results:
            work.done(value, error)

    def _run(self, work: _Work, transaction: SqliteTransaction, *, alone: bool) -> tuple[Any, BaseException | None]:
        """One unit's value or its error, its own changes then undone. Each statement gives up the interpreter's lock
        and has to wait for it again, so that a unit which is alone is spared its savepoint."""
        if not alone:
            self._writer.execute("SAVEPOINT unit")
        value: Any = None
        error: BaseException | None = None
        try:
            value = work.run(transaction)
        except Exception as failed:  # noqa: BLE001 - handed to the caller who waits for this unit
            self._writer.execute("ROLLBACK" if alone else "ROLLBACK TO unit")
            error = failed
        if not alone:
            self._writer.execute("RELEASE unit")
        return value, error

    def _keep_log_short(self) -> None:
        """Runs in the writer's thread, between two commits."""
        done = self._copying
        if done is not None and done.done():
            self._copying = None
            if done.exception() is None and done.result() >= LONGEST_LOG:
                with contextlib.suppress(sqlite3.Error):  # a reader that holds it longer: the next one will do
                    self._writer.execute("PRAGMA wal_checkpoint(RESTART)")
        if self._copying is None and self._writer.total_changes - self._copied_at >= CHECKPOINT_AFTER:
            self._copied_at = self._writer.total_changes
            self._copying = self._copier.submit(_copy_log, self._path)


def _copy_log(path: Path) -> int:
    """Copies the write-ahead log into the database, waiting for nobody; returns how many pages the log has."""
    with contextlib.closing(_connect(path)) as connection:
        ((_, pages, _),) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    return int(pages)


def match_of(words: Sequence[str]) -> str:
    """An FTS5 expression for any of these words, each quoted, so that none is read as an operator."""
    cleaned = (word.replace('"', "").replace("\0", "") for word in words)
    return " OR ".join(f'"{word}"' for word in dict.fromkeys(cleaned) if any(c.isalnum() for c in word))


def search_sql(table: str, where: str) -> str:
    """The search behind `Store.search`: FTS5's bm25 is negative, and the lower the better."""
    return (
        f"SELECT {table}.*, -bm25({table}_fts) AS relevance FROM {table}_fts"  # noqa: S608 - a known table
        f" JOIN {table} ON {table}.number = {table}_fts.rowid"
        f" WHERE {table}_fts MATCH :match AND {where} ORDER BY bm25({table}_fts), {table}.number LIMIT :limit"
    )


def migrate(path: Path) -> list[str]:
    """Apply every pending step under a lock; returns their names. Two processes at once: one waits."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    private(path)
    with _file_lock(path.with_name(path.name + ".migrate")):
        try:
            connection = _connect(path)
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.DatabaseError as failed:
            raise StoreError(
                f"{path} cannot be opened as a database ({failed}); restore it from a backup, or move it away"
            ) from None
        try:
            database = sqlite_utils.Database(connection)
            connection.execute(
                "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL)"
            )
            applied = {row["name"] for row in database.query("SELECT name FROM migrations")}
            steps = migrations.steps()
            if newer := applied - {name for name, _ in steps}:
                raise StoreError(
                    f"{path.name} was written by a newer Sitrep (it knows {sorted(newer)!r}); install that version"
                )
            done = [_apply(connection, name, sql) for name, sql in steps if name not in applied]
        finally:
            connection.close()
    return done


def _apply(connection: sqlite3.Connection, name: str, sql: str) -> str:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _statements(sql):
            connection.execute(statement)
        connection.execute("INSERT INTO migrations VALUES (?, ?)", (name, to_text(datetime.now(UTC))))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return name


def _statements(sql: str) -> list[str]:
    """Split at semicolons that end a statement (`sqlite3.complete_statement`); executescript would commit."""
    found, current = [], ""
    for line in sql.splitlines(keepends=True):
        if not current and (not line.strip() or line.lstrip().startswith("--")):
            continue
        current += line
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found


@contextlib.contextmanager
def _file_lock(path: Path) -> Any:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # what was erased is overwritten, not only unlinked
    connection.execute("PRAGMA busy_timeout = 30000")
    return connection


def _schema(connection: sqlite3.Connection) -> dict[str, _Table]:
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    tables = {}
    for name in names:
        columns = list(connection.execute(f"PRAGMA table_info({name})"))
        key = tuple(column[1] for column in sorted(columns, key=lambda c: c[5]) if column[5])
        tables[name] = _Table(name, frozenset(column[1] for column in columns), key)
    return tables


def _rows(cursor: sqlite3.Cursor) -> list[Row]:
    if cursor.description is None:
        return []
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor]
