"""`audience.json`: who will read the post, and who may read what is not public."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from integrations.bundle.documents import SYSTEM, document
from integrations.errors import Malformed
from integrations.records import EVERYONE, WORLD, Readers


@dataclass(frozen=True, slots=True)
class BundleAudience:
    """`audience.json`: who will read the post, in which groups they are, and who may read what is not public.

    `members` maps a person's id to group names; `readers` maps what is not public to its Readers: a
    file (`traces`, `logs`, `metrics`, `changes`, `alerts`), a service, or an item (a change's id, an alert's
    fingerprint). Several that apply all narrow.
    """

    channel: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, frozenset[str]] = field(default_factory=dict)
    readers: Mapping[str, Readers] = field(default_factory=dict)

    def narrowed(self, *keys: str | None) -> Readers:
        """The readers of an item that is known by these keys; each key narrows, none widens."""
        readers = Readers.of([EVERYONE])
        for key in keys:
            if key:
                readers = readers.narrowed(self.readers.get(key))
        return readers


def read_audience(folder: pathlib.Path) -> BundleAudience | None:
    path = folder / "audience.json"
    if not path.exists():
        return None
    payload = document(path)
    if not isinstance(payload, Mapping):
        raise Malformed(SYSTEM, "audience.json is not an object; without it the reader is one local operator")
    channel = payload.get("channel")
    return BundleAudience(
        channel=channel if isinstance(channel, Mapping) else {},
        members=_members(payload),
        readers=_readers(payload["readers"] if "readers" in payload else payload.get("items", {})),
    )


def _members(payload: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Members as ids beside `groups` (group to ids), as objects with `id` and `groups`, or as id to groups.

    Full members are in `everyone`; one of another `kind` (guest, partner) is only in `world` and in what is said.
    """
    raw, groups = payload.get("members"), payload.get("groups", {})
    members: dict[str, set[str]] = {}
    if isinstance(raw, Mapping):
        raw = [{"id": key, "groups": value} for key, value in raw.items()]
    if not isinstance(raw, list) or not isinstance(groups, Mapping):
        raise Malformed(SYSTEM, "audience.json needs 'members': ids, or objects with id and groups")
    for one in raw:
        entry = {"id": one} if isinstance(one, str) else one
        identity = entry.get("id") or entry.get("email") if isinstance(entry, Mapping) else None
        if not isinstance(identity, str) or not identity:
            raise Malformed(SYSTEM, f"audience.json: {str(one)[:60]!r} is no member; an id, or an object with one")
        builtin = {WORLD, EVERYONE} if entry.get("kind", "full") == "full" else {WORLD}
        members.setdefault(identity, set()).update(builtin, _names(entry.get("groups", []), "a member's groups"))
    for group, ids in groups.items():
        for identity in _names(ids, f"group {group!r}"):
            if identity in members:
                members[identity].add(str(group))
    return {identity: frozenset(found) for identity, found in members.items()}


def _readers(raw: object) -> dict[str, Readers]:
    if raw and isinstance(raw, list) and all(isinstance(one, Mapping) and one.get("id") for one in raw):
        raw = {one["id"]: one.get("readers") for one in raw}
    if not isinstance(raw, Mapping):
        raise Malformed(SYSTEM, "audience.json: 'readers' maps a source, service or item id to group names")
    readers = {}
    for key, value in raw.items():
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list) and all(isinstance(one, list) for one in value) and value:
            readers[str(key)] = Readers.of(*(_names(one, f"readers of {key!r}") for one in value))
        else:
            readers[str(key)] = Readers.of(_names(value, f"readers of {key!r}"))
    return readers


def _names(value: object, what: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Malformed(SYSTEM, f"audience.json: {what} is not a list of names")
    return value
