"""LaunchDarkly: which flags and segments were changed, from its audit log.

The REST audit log has `date` in milliseconds; an entry as LaunchDarkly hands it to a webhook or integration has
`timestamp`, an object. A resource reads `proj/<key>:env/<key>:flag/<key>`, each part with its tags after a semicolon.
Source: https://launchdarkly.com/docs/api/audit-log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack

from integrations.alerts.doors import HexHmac
from integrations.asked import Asked, AskedOptions
from integrations.asking import Part
from integrations.changes.asked import FLAG, flag_service, since
from integrations.changes.door import ChangeDoor
from integrations.changes.shape import change
from integrations.errors import Malformed, NotASignal
from integrations.http import parse_json
from integrations.reading import mapping, moment, objects, strings, text, web_address
from integrations.records import ChangeEvent, Findings, Question

NAME = "launchdarkly"
ENTRIES = 20
"""Entries of one page, the most that the API gives."""
PAGES = 5
SCOPES = 5
OTHERS = 10
"""Changes of flags that belong to none of the services asked about, the newest."""
_SCOPE = re.compile(r"[A-Za-z0-9_.*-]{1,100}/[A-Za-z0-9_.*-]{1,100}")
_RESOURCE = re.compile(r"proj/([^:;]+)[^:]*:env/([^:;]+)[^:]*:(flag|segment)/([^:;]+)(?:;([^:]*))?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of a flag or segment."""

    id: str
    at: datetime
    what: str
    """"flag" or "segment"."""
    key: str
    environment: str
    verb: str
    detail: str
    page: str
    role: str | None
    tags: tuple[str, ...]


class LaunchDarkly(Asked):
    """Changes of flags. `paths` are `project/environment`, such as `default/production`; without them all are asked."""

    kind = NAME

    def __init__(self, *, paths: Sequence[str] = (), **common: Unpack[AskedOptions]) -> None:
        """Raises ValueError for a path that is not `project/environment`."""
        wrong = [one for one in paths if not _SCOPE.fullmatch(one)]
        if wrong:
            raise ValueError(f"allow.paths: {wrong[0]!r} is not project/environment, such as default/production")
        super().__init__(**common)
        self._scopes = tuple(paths[:SCOPES]) or ("*/*",)

    def authorization(self, token: str) -> dict[str, str]:
        return {"Authorization": token, "LD-API-Version": "20240415"}

    async def fetch(self, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed when nothing could be read."""
        parts = [
            Part(f"{what}s of {scope}", self._scope(scope, what, question))
            for scope in self._scopes
            for what in ("flag", "segment")
        ]
        found = await self.ask_all(parts, question)
        ours = [one for one in found.changes if one.service is not None]
        others = sorted((one for one in found.changes if one.service is None), key=lambda one: one.changed_at)
        notes = list(found.notes)
        if len(others) > OTHERS:
            notes.append(f"{self.name}: {len(others) - OTHERS} older changes of flags of other services are left out")
        return Findings(changes=(*ours, *others[-OTHERS:]), notes=tuple(notes))

    async def _scope(self, scope: str, what: str, question: Question) -> Findings:
        project, environment = scope.split("/")
        after, before = int(since(question).timestamp() * 1000), int(question.window.end.timestamp() * 1000)
        entries: dict[str, Entry] = {}
        for _ in range(PAGES):
            params = {
                "spec": f"proj/{project}:env/{environment}:{what}/*", "after": after, "before": before,
                "limit": ENTRIES,
            }  # fmt: skip
            page, oldest = await self.ask(parse_entries, "api/v2/auditlog", params)
            entries.update({one.id: one for one in page if after <= one.at.timestamp() * 1000 <= before})
            if oldest is None or oldest >= before:
                return Findings(changes=tuple(self._change(one, question) for one in entries.values()))
            before = oldest
        note = f"{self.name}: only the newest {PAGES * ENTRIES} entries of {what}s of {scope} are read"
        return Findings(changes=tuple(self._change(one, question) for one in entries.values()), notes=(note,))

    def _change(self, entry: Entry, question: Question) -> ChangeEvent:
        service = flag_service(question.services, entry.key, entry.tags)
        readers, model = self.access.of(service)
        page = entry.page if entry.page.startswith("http") else f"{self.link}/{entry.page.lstrip('/')}"
        return ChangeEvent(
            id=f"{self.name}/{entry.id}",
            kind="flag",
            service=service,
            changed_at=entry.at,
            summary=_summary(entry)[:500],
            source=self.name,
            url=page,
            readers=readers,
            model=model,
            environment=entry.environment or None,
            author_role=entry.role,
            size=sum(line.startswith("* ") for line in entry.detail.splitlines()) or 1,
            size_unit="settings",
            detail=entry.detail,
            diff_url=page,
            rollback_url=page,
        )


def parse_entries(system: str, body: bytes) -> tuple[list[Entry], int | None]:
    """Changes of flags and segments on a page, and the time (ms) of its oldest entry where it is full. Raises
    Malformed."""
    answer = parse_json(system, body)
    items = answer.get("items") if isinstance(answer, Mapping) else None
    if not isinstance(items, list):
        raise Malformed(system, "an audit log without items")
    found = [entry for one in objects(items, ENTRIES) if (entry := entry_of(one)) is not None]
    times = [int(at.timestamp() * 1000) for one in objects(items, ENTRIES) if (at := _at(one)) is not None]
    return found, min(times) if len(items) >= ENTRIES and times else None


def entry_of(raw: Mapping[str, Any]) -> Entry | None:
    """One entry of the log, or of a webhook; None where it is about something else than a flag or segment."""
    at, entry_id = _at(raw), text(raw.get("_id"), 100)
    target, project = mapping(raw.get("target")), mapping(raw.get("project"))
    resources = [match for one in strings(target.get("resources"), 20) if (match := _RESOURCE.match(one))]
    kind = text(raw.get("kind"), 40)
    if at is None or not entry_id or not (resources or kind in ("flag", "segment")):
        return None
    first = resources[0] if resources else None
    what = first[3] if first else kind
    key = text(raw.get("key"), 200) or (first[4] if first else "") or text(raw.get("name"), 200)
    environments = dict.fromkeys(match[2] for match in resources)
    place = text(mapping(project.get("environment")).get("key"), 100) or ", ".join(list(environments)[:5])
    tags = strings(raw.get("tags"), 50) + [tag for match in resources for tag in (match[5] or "").split(",") if tag]
    said = [text(mapping(raw.get("details")).get("plainText"), 3000) or text(raw.get("description"), 3000)]
    comment = text(raw.get("comment"), 500)
    said += [f"comment: {comment}"] if comment else []
    member, links = mapping(raw.get("member")), mapping(raw.get("_links"))
    sites = (mapping(one.get("site")).get("href") for one in (links, mapping(target.get("_links"))))
    role = text(member.get("role"), 60) or ("automation" if raw.get("token") and not member else "")
    return Entry(
        id=entry_id,
        at=at,
        what=what,
        key=key,
        environment="" if place in ("~", "*") else place,
        verb=text(raw.get("titleVerb"), 200) or text(raw.get("verbKind"), 100) or "changed",
        detail="\n".join(line for line in said if line)[:4000],
        page=next((found for one in sites if (found := text(one, 1000))), ""),
        role=role or None,
        tags=tuple(dict.fromkeys(tags)),
    )


def _at(raw: Mapping[str, Any]) -> datetime | None:
    said = raw.get("timestamp")
    inner = mapping(said)
    return moment(raw.get("date")) or moment(inner.get("milliseconds") or inner.get("rfc3339") if inner else said)


def _summary(entry: Entry) -> str:
    words = f"{entry.what.capitalize()} {entry.key}: {entry.verb}"
    return words + (f" in {entry.environment}" if entry.environment else "")


def launchdarkly_door(secrets: Sequence[str]) -> ChangeDoor:
    """`POST /webhooks/launchdarkly`, signed with `X-LD-Signature`. The flag's key stands for the service."""
    proof = HexHmac(secrets, "LAUNCHDARKLY_WEBHOOK_SECRETS", "x-ld-signature")

    def read(payload: Mapping[str, Any], headers: Mapping[str, str], received_at: datetime) -> ChangeEvent:
        entry = entry_of(payload)
        if entry is None:
            raise NotASignal("an entry that is not about a flag or segment changes nothing that runs")
        page = web_address(entry.page)
        return change(
            source=NAME,
            external_id=entry.id,
            kind="flag",
            service=f"{FLAG}{entry.key}",
            at=entry.at,
            received_at=received_at,
            said={"detail": entry.detail, "rollback_url": page},
            summary=_summary(entry),
            url=page,
            diff_url=page,
            environment=entry.environment or None,
            author_role=entry.role,
        )

    return ChangeDoor(NAME, proof, read)
