"""What sources of changes share: the moment in a query, the services of a flag, and a link between two commits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from fnmatch import fnmatchcase

from integrations.asking import plain
from integrations.records import Question, ServiceNames

_SHA = re.compile(r"[0-9a-fA-F]{7,64}")


def is_sha(value: str) -> bool:
    return bool(_SHA.fullmatch(value))


def iso(at: datetime) -> str:
    """`2026-11-23T14:02:10Z`."""
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def since(question: Question) -> datetime:
    return question.changes_since or question.window.start


def flag_service(services: Sequence[ServiceNames], key: str, tags: Iterable[str] = ()) -> str | None:
    """Our service that a flag belongs to: by the patterns of `flags`, a tag with its name, or the key's beginning."""
    for one in services:
        if any(fnmatchcase(key.casefold(), pattern.casefold()) for pattern in one.flags):
            return one.name
    tagged = {plain(tag) for tag in tags}
    for one in services:
        names = {plain(name) for name in (one.name, *one.otel) if plain(name)}
        if names & tagged or any(len(name) > 3 and plain(key).startswith(name) for name in names):
            return one.name
    return None


FLAG = "flag:"
"""Before the key of a flag where the service stands: which service it is about is found when it is read."""


def flag_of(said: str) -> str:
    """The key of the flag that stands for a service, told by a system that knows flags and no services; else ""."""
    return said.removeprefix(FLAG) if said.startswith(FLAG) else ""


def compare_page(repository_url: str, before: str, after: str) -> str | None:
    """Where a person sees what lies between two commits, on hosts whose addresses are known; None elsewhere."""
    found = re.fullmatch(r"https://(?:[^@/\s]+@)?([A-Za-z0-9.-]+)/([\w./-]+?)(?:\.git)?/?", repository_url)
    if not found or not (is_sha(before) and is_sha(after)):
        return None
    host, path = found.groups()
    if host == "github.com" or host.startswith("github."):
        return f"https://{host}/{path}/compare/{before}...{after}"
    if host == "gitlab.com" or host.startswith("gitlab."):
        return f"https://{host}/{path}/-/compare/{before}...{after}"
    return None
