"""The tables `people` and `memberships`: what the directories answered, shared by all processes of a workspace.

Each complete answer has a header row (`member` is empty) whose detail holds a version. Whoever asks a directory notes
the version first and writes only if it is still the same, so that an event which made the answer untrue while it was
on its way is never overwritten by it; an event gives the header a new version and takes away its age. A person's own
row has an age of its own: an event's word stands against a list that was asked for before it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.store import Row, Store, Transaction
from bot.store.values import to_time, ulid
from integrations.records import Person

PEOPLE, GROUPS, CHANNEL = "people", "group", "channel"
JOIN_MEMORY_SECONDS = 120.0
"""A person whose joining was announced counts as a member for this long even if the list does not show them yet."""
_CHUNK = 1000
"""Rows of one transaction: the one writer is not held up by a large workspace."""
_NEVER = ""
_PERSON_FIELDS = ("email", "kind", "active", "team_id")


@dataclass(frozen=True, slots=True)
class Key:
    """One answer: all people (`people`), all groups of a directory (`group`), or one channel (`channel`)."""

    scope: str
    source: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known about an answer. `as_of` is None after an event made it untrue; `version` is never reused."""

    version: str = ""
    as_of: datetime | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


Members = Mapping[str, frozenset[str]]
"""Group name to person ids or e-mails; for a channel, its id to its members."""


class DirectoryRows:
    """Reads and writes one workspace's rows. Raises only what the store raises."""

    def __init__(self, store: Store, workspace_id: str) -> None:
        self._store = store
        self._workspace_id = workspace_id

    async def headers(self, keys: Collection[Key]) -> dict[Key, Header]:
        """The headers of these answers; an answer that was never had is absent."""
        found = {}
        for key in keys:
            rows = await self._store.query(_HEADER, self._of(key))
            if rows:
                found[key] = _header(rows[0])
        return found

    async def people(self) -> dict[str, Person]:
        rows = await self._store.query(
            "SELECT id, email, kind, active, team_id, seen_at FROM people WHERE workspace_id = :workspace",
            {"workspace": self._workspace_id},
        )
        return {row["id"]: _person(row) for row in rows}

    async def members(self, key: Key) -> dict[str, frozenset[str]]:
        """Group names (or the channel's id) to members."""
        rows = await self._store.query(_MEMBERS[key.scope], self._of(key))
        found: dict[str, set[str]] = {}
        for row in rows:
            found.setdefault(row["name"], set()).add(row["member"])
        return {name: frozenset(members) for name, members in found.items()}

    async def recent_joiners(self, key: Key, now: datetime) -> frozenset[str]:
        """Members of a channel whose joining was announced a moment ago."""
        rows = await self._store.query(
            _JOINERS,
            self._of(key) | {"since": now - timedelta(seconds=JOIN_MEMORY_SECONDS)},
        )
        return frozenset(row["member"] for row in rows)

    async def write_members(
        self, key: Key, before: Members, after: Members, expected: str, as_of: datetime, detail: Mapping[str, Any]
    ) -> Header | None:
        """Store a complete answer in place of `before`; None when the version is no longer the expected one.

        A large answer takes several transactions: until the last one the answer has no age.
        """
        gone = [(name, member) for name, members in before.items() for member in members - after.get(name, frozenset())]
        new = [(name, member) for name, members in after.items() for member in members - before.get(name, frozenset())]
        changes = [(False, *one) for one in gone] + [(True, *one) for one in new]
        version = expected
        for start in range(0, len(changes), _CHUNK) or (0,):
            last = start + _CHUNK >= len(changes)
            header = Header(new_version(), as_of if last else None, detail if last else {})
            part = changes[start : start + _CHUNK]
            if not await self._store.transaction(lambda tx, h=header, p=part, v=version: self._apply(tx, key, v, p, h)):  # type: ignore[misc]
                return None
            version = header.version
        return header

    async def forget(self, key: Key) -> None:
        """An event made this answer untrue."""
        await self._store.transaction(lambda tx: self._put_header(tx, key, _forgotten()))

    async def forget_memberships(self) -> None:
        """No membership of any channel or group counts until it is read again."""

        def work(tx: Transaction) -> None:
            rows = tx.query(
                "SELECT scope, source, name FROM memberships "
                "WHERE workspace_id = :workspace AND member = '' AND scope IN ('channel', 'group')",
                {"workspace": self._workspace_id},
            )
            for row in rows:
                self._put_header(tx, Key(row["scope"], row["source"], row["name"]), _forgotten())

        await self._store.transaction(work)

    async def joined(self, key: Key, person_id: str, at: datetime) -> None:
        """They count from now on; the list has to be read again."""

        def work(tx: Transaction) -> None:
            tx.upsert("memberships", [self._row(key, person_id, at, {"joined": True})])
            self._put_header(tx, key, _forgotten())

        await self._store.transaction(work)

    async def left(self, key: Key, person_id: str) -> None:
        """The list has to be read again before anybody counts."""

        def work(tx: Transaction) -> None:
            tx.execute(_DELETE, self._of(key) | {"member": person_id})
            self._put_header(tx, key, _forgotten())

        await self._store.transaction(work)

    async def write_some(self, people: Sequence[Person], key: Key, *, unless_same: bool = False) -> bool:
        """Store what was learnt of a few people; newer rows stay. Whether any row was written.

        `unless_same`: what says nothing new is dropped (Slack tells every change of a status line).
        """

        def work(tx: Transaction) -> bool:
            put = [self._put_person(tx, one, unless_same) for one in people]
            if any(put):
                old = self._header_in(tx, key)
                self._put_header(tx, key, Header(new_version(), old.as_of, old.detail))
            return any(put)

        return await self._store.transaction(work)

    async def write_everybody(self, people: Sequence[Person], key: Key, as_of: datetime, team_id: str) -> None:
        """Store the complete list, asked for at `as_of`: whoever is not in it is gone, but for rows newer than it."""
        known = await self.people()
        changed = [one for one in people if not _same(one, known.get(one.id))]
        for start in range(0, len(changed), _CHUNK):
            part = changed[start : start + _CHUNK]
            await self._store.transaction(lambda tx, p=part: [self._put_person(tx, one) for one in p])  # type: ignore[misc]
        gone = sorted(known.keys() - {one.id for one in people})

        def finish(tx: Transaction) -> None:
            values: dict[str, Any] = {"workspace": self._workspace_id, "at": as_of}
            for person_id in gone:
                tx.execute(
                    "DELETE FROM people WHERE workspace_id = :workspace AND id = :id AND seen_at < :at",
                    values | {"id": person_id},
                )
            tx.execute("UPDATE people SET seen_at = :at WHERE workspace_id = :workspace AND seen_at < :at", values)
            self._put_header(tx, key, Header(new_version(), as_of, {"team_id": team_id}))

        await self._store.transaction(finish)

    async def name_team(self, key: Key, team_id: str) -> None:
        """Note the workspace's own id where people were never listed as a whole."""

        def work(tx: Transaction) -> None:
            old = self._header_in(tx, key)
            self._put_header(tx, key, Header(new_version(), old.as_of, {**old.detail, "team_id": team_id}))

        await self._store.transaction(work)

    # --- inside a transaction -----------------------------------------------------------------------------------

    def _apply(
        self, tx: Transaction, key: Key, expected: str, changes: Sequence[tuple[bool, str, str]], header: Header
    ) -> bool:
        if self._header_in(tx, key).version != expected:
            return False
        at = header.as_of or datetime.now(UTC)
        for add, name, member in changes:
            if add:
                tx.upsert("memberships", [self._row(Key(key.scope, key.source, name), member, at, {})])
            else:
                tx.execute(_DELETE, self._of(Key(key.scope, key.source, name)) | {"member": member})
        self._put_header(tx, key, header)
        return True

    def _header_in(self, tx: Transaction, key: Key) -> Header:
        rows = tx.query(_HEADER, self._of(key))
        return _header(rows[0]) if rows else Header()

    def _put_header(self, tx: Transaction, key: Key, header: Header) -> None:
        detail = {**header.detail, "version": header.version}
        tx.upsert("memberships", [self._row(key, "", header.as_of, detail)])

    def _put_person(self, tx: Transaction, person: Person, unless_same: bool = False) -> bool:
        rows = tx.query(
            "SELECT id, email, kind, active, team_id, seen_at FROM people WHERE workspace_id = :workspace AND id = :id",
            {"workspace": self._workspace_id, "id": person.id},
        )
        known = _person(rows[0]) if rows else None
        if known is not None and (known.seen_at > person.seen_at or (unless_same and _same(person, known))):
            return False
        values = {name: getattr(person, name) for name in (*_PERSON_FIELDS, "seen_at")}
        tx.upsert("people", [{"workspace_id": self._workspace_id, "id": person.id, **values}])
        return True

    def _row(self, key: Key, member: str, at: datetime | None, detail: Mapping[str, Any]) -> Row:
        return {
            "workspace_id": self._workspace_id,
            "scope": key.scope,
            "source": key.source,
            "name": key.name,
            "member": member,
            "detail": dict(detail),
            "seen_at": _NEVER if at is None else at,
        }

    def _of(self, key: Key) -> dict[str, Any]:
        return {"workspace": self._workspace_id, "scope": key.scope, "source": key.source, "name": key.name}


_HEADER = (
    "SELECT detail, seen_at FROM memberships WHERE workspace_id = :workspace AND scope = :scope "
    "AND source = :source AND name = :name AND member = ''"
)
_DELETE = (
    "DELETE FROM memberships WHERE workspace_id = :workspace AND scope = :scope AND source = :source "
    "AND name = :name AND member = :member"
)
_IN_SCOPE = (
    "SELECT name, member FROM memberships WHERE workspace_id = :workspace AND scope = :scope AND source = :source "
    "AND member <> ''"
)
_MEMBERS = {GROUPS: _IN_SCOPE, CHANNEL: _IN_SCOPE + " AND name = :name"}
_JOINERS = _MEMBERS[CHANNEL] + " AND detail <> '{}' AND seen_at >= :since"


def new_version() -> str:
    """Never the same twice, whatever the clocks of the processes say."""
    return ulid(datetime.now(UTC))


def _forgotten() -> Header:
    return Header(new_version(), None)


def _header(row: Row) -> Header:
    detail = json.loads(row["detail"])
    version = detail.pop("version", "")
    return Header(version, to_time(row["seen_at"]) if row["seen_at"] != _NEVER else None, detail)


def _person(row: Row) -> Person:
    values = {**row, "active": bool(row["active"]), "seen_at": to_time(row["seen_at"])}
    return Person.model_validate(values)


def _same(one: Person, other: Person | None) -> bool:
    return other is not None and all(getattr(one, name) == getattr(other, name) for name in _PERSON_FIELDS)
