"""flagd: which feature flags changed, by comparing the whole set of flags with the one read before.

flagd keeps no history: its `configuration_change` event says that a key changed, not how, and can be missed. So the set
is read again and again. An address with a path is a file of flag definitions (what flagd itself syncs from); one
without is flagd's OpenFeature remote evaluation (OFREP), which tells what each flag comes to without any context.
Source: https://flagd.dev/reference/flag-definitions/ and https://github.com/open-feature/protocol.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from integrations.asked import Asked
from integrations.asking import Access
from integrations.changes.asked import FLAG
from integrations.changes.shape import key_of
from integrations.errors import Malformed
from integrations.http import Egress, parse_json
from integrations.reading import mapping, objects, text
from integrations.records import ChangeEvent, Findings, Question, Readers

FLAGS = 5000
SHOWN = 160
TOGETHER = 30
"""When more flags change at once it is one change: somebody replaced the set."""
FlagSet = dict[str, dict[str, str]]
"""Key of a flag to what it is made of."""


class Flagd(Asked):
    """The flags as they are now; a watch compares them with those of before."""

    kind = "flagd"

    def __init__(
        self,
        *,
        url: str,
        egress: Egress,
        access: Access,
        name: str | None = None,
        deadline_seconds: float = 3.0,
        token: str | None = None,
        link_url: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._path = parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
        super().__init__(
            url=f"{parts.scheme}://{parts.netloc}", egress=egress, access=access, name=name,
            deadline_seconds=deadline_seconds, token=token, link_url=link_url or url,
        )  # fmt: skip

    async def flags(self) -> FlagSet:
        """The whole set. Raises Unavailable, Denied or Malformed."""
        if self._path:
            return await self.ask(parse_flags, self._path)
        everybody = {"context": {"targetingKey": "sitrep"}}
        return await self.ask(parse_flags, "ofrep/v1/evaluate/flags", body=everybody)

    async def fetch(self, question: Question) -> Findings:
        """Nothing but whether it answers: what changed is among the changes that the watch told of."""
        await self.flags()
        return Findings()


def parse_flags(system: str, body: bytes) -> FlagSet:
    """Definitions (an object of flags), or evaluations (a list). Raises Malformed."""
    answer = parse_json(system, body)
    flags = answer.get("flags") if isinstance(answer, Mapping) else None
    if isinstance(flags, Mapping):
        shared = _shown(mapping(answer).get("$evaluators")) if mapping(answer).get("$evaluators") else ""
        many = [(text(key, 200), _defined(mapping(one), shared)) for key, one in list(flags.items())[:FLAGS]]
    elif isinstance(flags, list):
        many = [(text(one.get("key"), 200), _evaluated(one)) for one in objects(flags, FLAGS)]
    else:
        raise Malformed(system, "an answer without flags: give the file of definitions, or flagd's OFREP address")
    return {key: made for key, made in many if key}


def _defined(flag: Mapping[str, Any], shared: str) -> dict[str, str]:
    made = {"state": text(flag.get("state"), 40), "default variant": text(flag.get("defaultVariant"), 200)}
    variants = mapping(flag.get("variants"))
    made |= {f"variant {text(name, 100)}": _shown(value) for name, value in list(variants.items())[:100]}
    if flag.get("targeting"):
        made["targeting"] = _shown(flag["targeting"])
        if "$ref" in json.dumps(flag["targeting"], default=str):
            made["shared rules"] = shared
    return made


def _evaluated(flag: Mapping[str, Any]) -> dict[str, str]:
    if flag.get("errorCode"):
        return {"error": text(flag.get("errorCode"), 100)}
    return {"variant": text(flag.get("variant"), 200), "value": _shown(flag.get("value"))}


def _shown(value: Any) -> str:
    """A value as short text; what is cut ends in a digest, so that two that differ stay apart."""
    whole = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    if len(whole) <= SHOWN:
        return text(whole, SHOWN)
    digest = hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()[:12]
    return f"{text(whole, SHOWN - 20)}… ({digest})"


def differences(
    source: str, before: FlagSet, after: FlagSet, since: datetime, now: datetime, url: str
) -> list[ChangeEvent]:
    """What changed between two sets as changes; it happened after `since` and was seen `now`.

    Compared again after a crash, the same difference has the same id. Who may read it is decided when it is read.
    """
    changed = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    if not changed:
        return []
    told = [(key, *_difference(key, before.get(key), after.get(key))) for key in changed]
    if len(told) > TOGETHER:
        lines = "\n".join(summary for _, summary, _ in told)
        return [_event(source, "", f"{len(told)} flags changed at once", lines, (since.isoformat(), changed), now, url)]
    return [
        _event(source, key, summary, detail, (since.isoformat(), key, before.get(key), after.get(key)), now, url)
        for key, summary, detail in told
    ]


def _difference(key: str, before: dict[str, str] | None, after: dict[str, str] | None) -> tuple[str, str]:
    """Summary and lines."""
    if before is None or after is None:
        verb, made = ("added", after) if before is None else ("removed", before)
        return f"Flag {key}: {verb}", "\n".join(f"{name}: {value}" for name, value in (made or {}).items())
    lines = [
        f"{name}: {before.get(name) or '(none)'} → {after.get(name) or '(none)'}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]
    return f"Flag {key}: {lines[0]}", "\n".join(lines)


def _event(
    source: str, key: str, summary: str, detail: str, identity: tuple[Any, ...], now: datetime, url: str
) -> ChangeEvent:
    return ChangeEvent(
        id=f"{source}/flag/{key_of(*identity)}", kind="flag", service=f"{FLAG}{key}" if key else None, changed_at=now,
        summary=summary[:500], source=source, url=url, readers=Readers.nobody(), detail=detail[:4000],
        size=len(detail.splitlines()), size_unit="settings",
        diff_url=url or None, rollback_url=url or None,
    )  # fmt: skip
