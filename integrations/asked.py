"""Sources of one HTTP API: the client, the allow-list of what may be asked for, and records by who may read them."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any, Required, TypedDict, TypeVar

from integrations.asking import Access, Names, Part, ask_parts, in_a_thread, patience
from integrations.http import Api, Egress, client
from integrations.ports import Offload
from integrations.records import Batch, Findings, LogRecord, ModelUse, Question, Readers, Span, Window

T = TypeVar("T")
Record = TypeVar("Record", Span, LogRecord)


class AskedOptions(TypedDict, total=False):
    """What every source of this kind is made with, as `Asked` takes it."""

    url: Required[str]
    egress: Required[Egress]
    access: Required[Access]
    name: str | None
    deadline_seconds: float
    token: str | None
    link_url: str | None


class Asked(ABC):
    """What sources of one HTTP API are made of: a client behind the allow-list, a token, so many requests at once.

    `link_url` is the address that people open, if it is another than `url`; `tenant` goes into `X-Scope-OrgID`. A
    subclass sets `kind` and, where the system wants another header than a bearer token, `authorization`.
    """

    kind = ""
    at_once = 6
    parsed_at_once = 16 * 1024
    """Bytes that are parsed where they came; more would hold up the event loop."""

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
        tenant: str | None = None,
    ) -> None:
        self.name = name or self.kind
        self.deadline_seconds = deadline_seconds
        self.access = access
        self.link = (link_url or url).rstrip("/")
        self._slots = asyncio.Semaphore(self.at_once)
        self._parsing = asyncio.Lock()
        self.offload: Offload = in_a_thread
        """Where large answers are parsed. A thread by itself; where there is a process for it, that."""
        self._api = self.opened(url, egress, token, {"X-Scope-OrgID": tenant} if tenant else None)

    def opened(self, url: str, egress: Egress, token: str | None, headers: Mapping[str, str] | None = None) -> Api:
        """A client of this source's API, with other headers where one list needs them."""
        timeout = 0.9 * self.deadline_seconds
        sent = {"Accept": "application/json", "User-Agent": "sitrep", **(headers or {})}
        return Api(
            self.name,
            client(
                egress,
                self.name,
                url.rstrip("/") + "/",
                headers=sent | (self.authorization(token) if token else {}),
                timeout_seconds=timeout,
            ),
            credential=f"SITREP_SOURCE_{self.name.upper()}_TOKEN",
            address=f"`url` of [sources.{self.name}]",
            timeout_seconds=timeout,
            answer_limit_bytes=egress.answer_limit_bytes,
        )

    @abstractmethod
    async def fetch(self, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed when nothing could be read."""

    def authorization(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    async def aclose(self) -> None:
        await self._api.aclose()

    async def ask(
        self, parse: Callable[..., T], path: str, params: Any = None, *arguments: Any, body: Any = None,
        api: Api | None = None,
    ) -> T:  # fmt: skip
        """`parse(name, body, *arguments)` of a 2xx answer. Raises Unavailable, Denied or Malformed.

        `parse` is a pure function at the top of its module, so that it may run anywhere: thousands of lines are
        parsed away from the event loop, in another process where `offload` is one, one answer of a source at a time.
        """
        async with self._slots:
            answer = await (api or self._api).answer(path, params, method="GET" if body is None else "POST", body=body)
        if len(answer.body) <= self.parsed_at_once:
            return parse(self.name, answer.body, *arguments)
        async with self._parsing:
            return await self.offload(parse, self.name, answer.body, *arguments)

    async def ask_all(self, parts: Iterable[Part], question: Question, notes: Sequence[str] = ()) -> Findings:
        """All parts at once; `notes` come before theirs. Raises what `ask_parts` raises."""
        found = await ask_parts(self.name, parts, 0.95 * patience(self, question))
        return replace(found, notes=(*notes, *found.notes)) if notes else found

    def batched(self, records: Iterable[Record], link: str = "") -> tuple[Batch[Record], ...]:
        """One batch for each rule of who may read: what one answer holds may be about services with other readers."""
        return batched(self.name, self.access, records, link)


def batched(name: str, access: Access, records: Iterable[Record], link: str = "") -> tuple[Batch[Record], ...]:
    """Records of one source by who may read them; `link` as `Batch.url`."""
    grouped: dict[tuple[Readers, ModelUse], list[Record]] = {}
    by_service: dict[str, tuple[Readers, ModelUse]] = {}
    for record in records:
        if record.service not in by_service:
            by_service[record.service] = access.of(record.service)
        grouped.setdefault(by_service[record.service], []).append(record)
    return tuple(Batch(name, readers, tuple(some), model, link) for (readers, model), some in grouped.items())


def renamed(records: Iterable[Record], names: Names) -> list[Record]:
    """The same records under our names of their services."""
    known: dict[str, str] = {}
    found = []
    for record in records:
        if record.service not in known:
            known[record.service] = names.ours(record.service) or record.service
        ours = known[record.service]
        found.append(record if ours == record.service else replace(record, service=ours))
    return found


class Allowed:
    """The allow-list of one source: what is not on it is not asked for, and said. Empty: everything is allowed.

    Entries are names, or patterns with `*`; case does not matter.
    """

    def __init__(self, source: str, what: str, patterns: Sequence[str]) -> None:
        self._source, self._what = source, what
        self._patterns = tuple(one.casefold() for one in patterns)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def admits(self, name: str) -> bool:
        return not self._patterns or any(fnmatchcase(name.casefold(), one) for one in self._patterns)

    def split(self, names: Iterable[str]) -> tuple[list[str], list[str]]:
        """The names that may be asked for, and a note for each that may not."""
        names = list(dict.fromkeys(names))
        refused = [f"{self._source}: {one[:100]} is not in allow.{self._what}" for one in names if not self.admits(one)]
        return [one for one in names if self.admits(one)], refused


CUTS = (timedelta(minutes=6), timedelta(minutes=2), timedelta(0))
"""Where the incident's window is cut, before the trigger: one query over a busy window sees only its last seconds."""


def sliced(window: Window, triggered_at: datetime) -> list[Window]:
    """The window in parts, the latest first."""
    cuts = (triggered_at - before for before in CUTS)
    edges = [window.start, *sorted(at for at in cuts if window.start < at < window.end), window.end]
    return [Window(start, end) for start, end in pairwise(edges)][::-1]


def edges_of(spans: Iterable[Span]) -> frozenset[tuple[str, str]]:
    """Calls from one service to another that these spans show."""
    known = {(span.trace_id, span.span_id): span for span in spans}
    found = set()
    for span in known.values():
        parent = known.get((span.trace_id, span.parent_id))
        if parent is not None and parent.service != span.service:
            found.add((parent.service, span.service))
    return frozenset(found)


def in_words(back: timedelta) -> str:
    """How long ago a healthy window was."""
    hours = back.total_seconds() / 3600
    return {1: "an hour", 24: "a day", 168: "a week"}.get(round(hours), f"{hours:.0f} h")


def loosely(name: str) -> str:
    """A regular expression (RE2) for a name whatever separates its words; only its letters and digits are literal."""
    return "[-_. ]?".join(re.escape(word) for word in re.findall(r"[^\W_]+", name)) or re.escape(name)


def quoted(value: str) -> str:
    """A text for the inside of a string in double quotes, in PromQL, LogQL and TraceQL."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
