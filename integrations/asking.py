"""What every source does when it is asked: several requests at once, a partial answer kept, who may read it, whose
service it is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Literal, TypeVar

from integrations.errors import Denied, IntegrationError, NotIncluded, Unavailable
from integrations.http import exchanges_within
from integrations.ports import Source
from integrations.reading import text
from integrations.records import Findings, ModelUse, Question, Readers, ServiceNames

T = TypeVar("T")

EXCHANGE_SHARE = 0.94
"""Of a question's time, for one exchange: its failure then has a name before the question ends."""

Now = Callable[[], datetime]
"""The clock of an integration: aware UTC. Everything else takes `bot.clock.Clock`, which may not be imported here."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ServiceRule:
    """What `[services.<name>]` adds: who may read, and whether a model may see."""

    readers: Readers | None = None
    model: ModelUse = "allowed"


def _no_item_rule(item_id: str) -> Readers | None:
    return None


def _no_rule(service: str) -> ServiceRule:
    return ServiceRule()


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read what one source says: the source's own readers, narrowed by the service's; never widened."""

    readers: Readers
    model: ModelUse = "allowed"
    service_rule: Callable[[str], ServiceRule] = _no_rule
    item_rule: Callable[[str], Readers | None] = _no_item_rule
    """What an item's own id adds (a repository's collaborators); None: nothing."""

    def of(self, service: str | None) -> tuple[Readers, ModelUse]:
        """Readers and model use of an item about this service of ours (None: about none)."""
        rule = self.service_rule(service) if service is not None else ServiceRule()
        model: ModelUse = "never" if "never" in (self.model, rule.model) else "allowed"
        return self.readers.narrowed(rule.readers), model

    def of_item(self, service: str | None, item_id: str) -> tuple[Readers, ModelUse]:
        """The same, narrowed by the item's own readers: a set of groups at most, that never widens."""
        readers, model = self.of(service)
        return readers.narrowed(self.item_rule(item_id)), model


def plain(name: str) -> str:
    """A name without case and punctuation: how names that are not mapped are compared."""
    return re.sub(r"[\W_]+", "", name.casefold())


class Names:
    """Translates one system's names of services into ours and back, for one question."""

    def __init__(self, services: Iterable[ServiceNames], system: Literal["otel", "pagerduty", "repositories"]) -> None:
        self.services = tuple(services)
        self._system = system
        self._exact = {theirs: one.name for one in reversed(self.services) for theirs in getattr(one, system)}
        self._plain = {plain(one.name): one.name for one in reversed(self.services)}

    def theirs(self, service: ServiceNames) -> tuple[str, ...]:
        """What to ask the system for: the mapped names, else our own."""
        mapped: tuple[str, ...] = getattr(service, self._system)
        return mapped or (service.name,)

    def ours(self, *names: str) -> str | None:
        """Our name for the first of these that is known; None when none is."""
        for name in names:
            if name in self._exact:
                return self._exact[name]
        return next((self._plain[plain(name)] for name in names if name and plain(name) in self._plain), None)


class AnyNames:
    """Our name for a service by whatever a sender calls it: any mapped name of any system, else our own, also as the
    last part of a path (`prod/checkout-api`)."""

    def __init__(self, services: Iterable[ServiceNames]) -> None:
        self._exact: dict[str, str] = {}
        self._plain: dict[str, str] = {}
        for one in services:
            known = (one.name, *one.otel, *one.pagerduty, *one.repositories, *one.kubernetes, *one.applications)
            for theirs in known:
                self._exact.setdefault(theirs.casefold(), one.name)
            self._plain.setdefault(plain(one.name), one.name)

    def ours(self, *names: str) -> str | None:
        """Our name for the first of these that is known; None when none is."""
        for name in filter(None, names):
            found = self._exact.get(name.casefold()) or self._plain.get(plain(name))
            found = found or self._plain.get(plain(name.rstrip("/").rsplit("/", 1)[-1]))
            if found is not None:
                return found
        return None


@dataclass(frozen=True, slots=True)
class Part:
    """One of a source's requests: `what` it fetches stands in the note when it fails ("past incidents")."""

    what: str
    call: Coroutine[Any, Any, Findings]


async def in_a_thread(work: Callable[..., T], *arguments: Any) -> T:
    """`ports.Offload` where there is no process for it."""
    return await asyncio.to_thread(work, *arguments)


def patience(source: Source, question: Question) -> float:
    """Seconds that a source has for this question, by its own deadline or more."""
    return max(source.deadline_seconds, question.patience_seconds)


async def ask_parts(system: str, parts: Iterable[Part], seconds: float) -> Findings:
    """All parts at once; what is late or fails becomes a note beside what came.

    When every part failed, the failure is the source's: Denied before Unavailable before Malformed. A part that the
    account's plan does not include is a note, never a failure.
    """
    parts = tuple(parts)
    with exchanges_within(EXCHANGE_SHARE * seconds):
        tasks = [asyncio.create_task(part.call) for part in parts]
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    found: list[Findings] = []
    failures: list[IntegrationError] = []
    answered = 0
    for part, task in zip(parts, tasks, strict=True):
        error = Unavailable(system, f"no answer in {seconds:g} s") if task.cancelled() else task.exception()
        if error is None:
            answered += 1
            found.append(task.result())
        elif isinstance(error, NotIncluded):
            answered += 1
            found.append(Findings(notes=(f"{part.what}: {error.message}",)))
        elif isinstance(error, IntegrationError):
            failures.append(error)
            found.append(Findings(notes=(f"{system} {part.what}: {error.message}",)))
        else:
            raise error
    if failures and not answered:
        raise min(failures, key=_weight)
    return merged(found)


def _weight(error: IntegrationError) -> int:
    return 0 if isinstance(error, Denied) else 1 if isinstance(error, Unavailable) else 2


def merged(found: Iterable[Findings]) -> Findings:
    """Several answers of one source as one, in order."""
    found = tuple(found)
    observed = [one.edge_readers for one in found if one.edges]
    return Findings(
        evidence=tuple(item for one in found for item in one.evidence),
        spans=tuple(batch for one in found for batch in one.spans),
        logs=tuple(batch for one in found for batch in one.logs),
        series=tuple(batch for one in found for batch in one.series),
        changes=tuple({change.id: change for one in reversed(found) for change in reversed(one.changes)}.values())[
            ::-1
        ],
        baselines=tuple(baseline for one in found for baseline in one.baselines),
        edges=frozenset(edge for one in found for edge in one.edges),
        edge_readers=reduce(Readers.narrowed, observed) if observed else Readers.nobody(),
        notes=tuple(dict.fromkeys(note for one in found for note in one.notes)),
        on_call=next((one.on_call for one in found if one.on_call), None),
    )


def within(question: Question, at: datetime) -> bool:
    """Whether a change's time lies where the question asks for changes, up to the end of its window."""
    since = question.changes_since or question.window.start
    return since <= at <= question.window.end


def labels_in_words(details: Mapping[str, Any], limit: int = 1500) -> str:
    """`key: value` lines of a flat or nested object, bounded, keys that hold routing secrets left out."""
    lines: list[str] = []

    def walk(prefix: str, value: Any, depth: int) -> None:
        if sum(map(len, lines)) > limit or len(lines) > 60:
            return
        if isinstance(value, Mapping) and depth < 4:
            for key, inner in value.items():
                if text(key).lower() not in ("routing_key", "service_key", "integration_key"):
                    walk(f"{prefix}.{text(key, 100)}" if prefix else text(key, 100), inner, depth + 1)
        elif isinstance(value, list) and depth < 4:
            for inner in value[:20]:
                walk(prefix, inner, depth + 1)
        else:
            written = {True: "true", False: "false"}.get(value, "") if isinstance(value, bool) else text(value, 500)
            if written:
                lines.append(f"{prefix}: {written}" if prefix else written)

    walk("", details, 0)
    return "\n".join(lines)[:limit]
