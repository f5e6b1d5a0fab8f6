"""What every sender's change is made of: kind, commit, risk, links, in our words and bounded."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from integrations.reading import mapping, moment, storable, strings, text, web_address, whole
from integrations.records import ChangeEvent, ChangeKind, Readers

FUTURE = timedelta(days=1)
"""A change further ahead than this is a wrong clock: it counts from when it was told."""
FILES = 50
DETAIL = 4000
Risk = Literal["low", "medium", "high"]

_KINDS: dict[str, ChangeKind] = {
    **{kind: kind for kind in get_args(ChangeKind)},
    "deployment": "deploy", "deployed": "deploy", "rollback": "deploy", "rolledback": "deploy", "roll": "deploy",
    "upgrade": "deploy", "upgraded": "deploy", "promote": "deploy", "revert": "deploy", "restart": "rollout",
    "configuration": "config", "setting": "config", "settings": "config", "featureflag": "flag", "toggle": "flag",
    "scaled": "scale", "scaling": "scale", "migrate": "migration", "migrated": "migration", "schema": "migration",
    "released": "release", "publish": "release", "published": "release", "merged": "merge",
}  # fmt: skip
_RISKS: dict[str, Risk] = {
    "low": "low", "minor": "low", "medium": "medium", "moderate": "medium", "high": "high", "critical": "high",
}  # fmt: skip
_SHA = re.compile(r"(?<![0-9a-zA-Z])(?=[0-9a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,40}(?![0-9a-zA-Z])")
_ROLES = re.compile(r"[\w@][\w@ /.-]{0,59}")


def kind_of(*words: Any) -> ChangeKind:
    """The kind that the first of these texts says, by its first word; "other" when none does."""
    for said in words:
        first = re.sub(r"[^a-z]", "", (text(said, 60).lower().split() or [""])[0])
        if first in _KINDS:
            return _KINDS[first]
    return "other"


def commit_in(*texts: Any) -> str | None:
    """The first thing in these texts that looks like a commit: 7 to 40 hex digits, letters and digits mixed."""
    for one in texts:
        if found := _SHA.search(text(one, 500)):
            return found.group()
    return None


def risk_of(value: Any) -> Risk | None:
    """A risk level by its usual words; None for any other."""
    return _RISKS.get(text(value, 20).strip().lower())


def role_of(value: Any) -> str | None:
    """A role or team as the sender names it; what looks like an address is no role."""
    said = text(value, 61).strip()
    return said if _ROLES.fullmatch(said) and not re.search(r"\S@\S", said) else None


def change(
    *,
    source: str,
    external_id: str,
    kind: ChangeKind,
    service: str | None,
    at: datetime | None,
    received_at: datetime,
    summary: str,
    said: Mapping[str, Any],
    url: str | None = None,
    diff_url: str | None = None,
    environment: str | None = None,
    commit: str | None = None,
    author_role: str | None = None,
    inferred: bool = False,
) -> ChangeEvent:
    """A change; `said` is an object of the sender that may hold what the other arguments leave out: `risk`, `size`,
    `files`, `detail`, `role`, `url`, `diff_url`, `rollback_url`.

    Nobody may read it yet: who may is decided by the settings when it is read back.
    """
    when = at if at is not None and at <= received_at + FUTURE else received_at
    diff_url = diff_url or web_address(said.get("diff_url"))
    size = whole(said.get("size"))
    return ChangeEvent(
        id=f"{source}/{external_id}"[:400],
        kind=kind,
        service=service or None,
        changed_at=when,
        summary=(" ".join(summary.split()) or "A change without a description")[:500],
        source=source,
        url=url or web_address(said.get("url")) or diff_url or "",
        readers=Readers.nobody(),
        environment=environment or text(said.get("environment"), 100) or None,
        commit=commit,
        author_role=author_role or role_of(said.get("role")),
        size=size if size is not None and size >= 0 else None,
        files=tuple(one[:300] for one in strings(said.get("files"), FILES)),
        detail=text(said.get("detail"), DETAIL),
        diff_url=diff_url,
        rollback_url=web_address(said.get("rollback_url")),
        risk=risk_of(said.get("risk")),
        inferred=inferred,
    )


def key_of(*parts: Any) -> str:
    """A key for what has none, the same whenever the same is said."""
    return hashlib.sha256(json.dumps(storable(list(parts)), sort_keys=True).encode()).hexdigest()[:24]


def last_part(name: Any) -> str:
    """The last part of a path-like name: `/prod/checkout` is `checkout`."""
    return text(name, 300).rstrip("/").rsplit("/", 1)[-1][:200]


def first_moment(said: Mapping[str, Any], *names: str) -> datetime | None:
    """The first of these fields that is a time."""
    return next((at for name in names if (at := moment(said.get(name))) is not None), None)


def first_text(said: Mapping[str, Any], *names: str, limit: int = 500) -> str:
    """The first of these fields that is a text or number; an object counts by its `name` or `id`."""
    for name in names:
        value = said.get(name)
        inner = mapping(value)
        found = text(inner.get("name"), limit) or text(inner.get("id"), limit) if inner else text(value, limit)
        if found.strip():
            return found.strip()
    return ""
