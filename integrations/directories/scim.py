"""Groups from a SCIM export: a JSON file in the shape of RFC 7643, as identity providers write it.

The file is a list response (`Resources`), a plain list, or `{"Users": […], "Groups": […]}`. A user's address is the
identity provider's own word, so it counts as verified: the primary one, else the only one. It is read again each time.
Source: https://www.rfc-editor.org/rfc/rfc7643 (4.1 User, 4.2 Group), RFC 7644 3.4.2 (ListResponse).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from integrations.errors import Denied, Malformed, Unavailable
from integrations.reading import mapping, objects, text

MAX_BYTES = 64 * 1024 * 1024
MAX_RESOURCES = 500_000
MAX_DEPTH = 8
"""Groups in groups; deeper, or in a circle, is refused."""


class ScimExport:
    """A `GroupSource` over one file. Groups are `<name>:<displayName>`."""

    def __init__(self, path: Path, *, name: str = "scim") -> None:
        self.name = name
        self._path = path

    async def groups(self) -> Mapping[str, frozenset[str]]:
        """Raises Unavailable or Denied where the file cannot be read, Malformed where it is no such export."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> Mapping[str, frozenset[str]]:
        try:
            if self._path.stat().st_size > MAX_BYTES:
                raise Malformed(self.name, f"the export is larger than {MAX_BYTES >> 20} MiB")
            raw = self._path.read_bytes()
        except FileNotFoundError:
            raise Unavailable(self.name, f"no file {str(self._path)!r}") from None
        except PermissionError:
            raise Denied(self.name, f"{str(self._path)!r} may not be read") from None
        except OSError as failed:
            raise Unavailable(self.name, f"{str(self._path)!r} cannot be read ({type(failed).__name__})") from None
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError):
            raise Malformed(self.name, "the export is not JSON") from None
        return self._parse(data)

    def _parse(self, data: Any) -> Mapping[str, frozenset[str]]:
        emails: dict[str, str | None] = {}
        groups: dict[str, tuple[str, list[str]]] = {}
        for resource in _resources(self.name, data):
            identity = text(resource.get("id"))
            if not identity:
                raise Malformed(self.name, "a resource without id")
            if identity in emails or identity in groups:
                raise Malformed(self.name, "two resources with one id")
            if "displayName" in resource and "userName" not in resource:
                members = [text(one.get("value")) for one in objects(resource.get("members"), MAX_RESOURCES)]
                groups[identity] = (text(resource.get("displayName"), 200).strip(), members)
            else:
                emails[identity] = _address(resource)
        found: dict[str, frozenset[str]] = {}
        for identity, (display, _) in groups.items():
            if not display:
                raise Malformed(self.name, "a group without displayName")
            name = f"{self.name}:{display}"
            if name in found:
                raise Malformed(self.name, f"two groups called {display!r}")
            found[name] = frozenset(self._emails_of(identity, emails, groups, 0))
        return found

    def _emails_of(
        self,
        group_id: str,
        emails: Mapping[str, str | None],
        groups: Mapping[str, tuple[str, list[str]]],
        depth: int,
    ) -> Iterator[str]:
        if depth > MAX_DEPTH:
            raise Malformed(self.name, f"groups are nested deeper than {MAX_DEPTH}, or in a circle")
        for member in groups[group_id][1]:
            if member in groups:
                yield from self._emails_of(member, emails, groups, depth + 1)
            elif address := emails.get(member):
                yield address


def _resources(name: str, data: Any) -> Iterator[Mapping[str, Any]]:
    whole = mapping(data)
    if isinstance(data, list):
        lists = [data]
    elif "Resources" in whole:
        total = whole.get("totalResults")
        listed = whole["Resources"]
        if isinstance(total, int) and isinstance(listed, list) and total != len(listed):
            raise Malformed(name, f"the export holds {len(listed)} of {total} resources: export all pages")
        lists = [listed]
    elif "Users" in whole and "Groups" in whole:
        lists = [whole["Users"], whole["Groups"]]
    else:
        raise Malformed(name, "neither Resources, nor Users and Groups, nor a list")
    for listed in lists:
        if not isinstance(listed, list) or len(listed) > MAX_RESOURCES:
            raise Malformed(name, f"a list of at most {MAX_RESOURCES} resources is expected")
        for resource in listed:
            if not isinstance(resource, Mapping):
                raise Malformed(name, "a resource that is no object")
            yield resource


def _address(user: Mapping[str, Any]) -> str | None:
    """The primary address, else the only one; None for who is not active, or has several and no primary one."""
    if user.get("active") is not True:
        return None
    addresses = [one for one in objects(user.get("emails"), 100) if "@" in text(one.get("value"), 320)]
    primary = [one for one in addresses if one.get("primary") is True]
    chosen = primary if primary else addresses
    return text(chosen[0].get("value"), 320).strip().lower() if len(chosen) == 1 else None
