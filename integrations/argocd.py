"""Argo CD: what was synced to a service's applications, and syncs that failed.

An application's history holds the last ten syncs of the *whole* application that succeeded; `operationState` tells of
the last operation whatever it came to, such as a partial or failed sync. A list may be asked for some `fields` alone;
the history is none of them, so that applications are found by name and label, and read one by one. Source:
https://argo-cd.readthedocs.io/en/stable/developer-guide/api-docs/ (swagger), the Application resource's definition, and
server/application/forwarder_overwrite.go of argo-cd for what `fields` may name.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack

from integrations.asked import Allowed, Asked, AskedOptions
from integrations.asking import Part, merged, plain, within
from integrations.changes.asked import compare_page, is_sha
from integrations.errors import IntegrationError, Malformed
from integrations.http import parse_json
from integrations.reading import mapping, moment, objects, strings, text
from integrations.records import ChangeEvent, Findings, Question, ServiceNames

APPLICATIONS = 8
LISTED = 5000
FIELDS = "items.metadata.name,items.metadata.namespace,items.metadata.labels"
_NAME = re.compile(r"(?:([a-z0-9][a-z0-9.-]{0,252})/)?([a-z0-9][a-z0-9.-]{0,252})")
_STAGE = re.compile(r"[-_.](prod|production|live)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sync:
    """One sync of an application; `phase` is empty for one of the history, which succeeded."""

    id: str
    at: datetime
    revisions: tuple[str, ...]
    repositories: tuple[str, ...]
    automatic: bool
    phase: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Application:
    """What is read of an application. `syncs` are in order, oldest first."""

    name: str
    namespace: str
    labels: tuple[str, ...]
    destination: str
    images: tuple[str, ...]
    syncs: tuple[Sync, ...]


class ArgoCD(Asked):
    """Syncs of the applications that `[services]` maps, else of those whose name or label is the service's.

    `paths` are the applications that may be asked for: `name`, `namespace/name`, or patterns.
    """

    kind = "argocd"

    def __init__(self, *, paths: Sequence[str] = (), **common: Unpack[AskedOptions]) -> None:
        super().__init__(**common)
        self._allowed = Allowed(self.name, "paths", paths)

    async def fetch(self, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed when no application could be read."""
        notes: list[str] = []
        parts = []
        unmapped = []
        for service in question.services:
            named, refused = self._allowed.split(service.applications)
            notes += refused
            if not service.applications:
                unmapped.append(service)
            for name in named:
                if _NAME.fullmatch(name):
                    parts.append(Part(f"application {name}", self._one(name, service, question)))
                else:
                    notes.append(f"{self.name}: {name[:100]!r} is no application")
        parts = parts[:APPLICATIONS]
        if unmapped and self._allowed:  # a list would ask about all of them
            words = ", ".join(one.name for one in unmapped[:3])
            notes.append(
                f"{self.name}: applications of {words} not asked: `applications` of [services] does not say which"
            )
        elif unmapped:
            parts.append(Part("applications", self._found(unmapped, question)))
        return await self.ask_all(parts, question, notes)

    async def _one(self, name: str, service: ServiceNames, question: Question) -> Findings:
        found = _NAME.fullmatch(name)
        assert found is not None, "fetch looked at it"
        params = {"appNamespace": found[1]} if found[1] else {}
        applications = await self.ask(parse_applications, f"api/v1/applications/{found[2]}", params)
        return self._changes([(one, service) for one in applications], question)

    async def _found(self, services: Sequence[ServiceNames], question: Question) -> Findings:
        """Applications with a service's name or label."""
        listed = await self.ask(parse_applications, "api/v1/applications", {"fields": FIELDS})
        by_name = {plain(name): one for one in reversed(services) for name in (*one.otel, one.name) if plain(name)}
        wanted = {}
        for one in listed:
            names = (one.name, _STAGE.sub("", one.name), *one.labels)
            service = next((by_name[plain(name)] for name in names if plain(name) in by_name), None)
            path = f"{one.namespace}/{one.name}" if one.namespace else one.name
            if service is not None and _NAME.fullmatch(path):
                wanted[path] = service
        named = list(wanted.items())[:APPLICATIONS]
        answers = await asyncio.gather(
            *(self._one(path, service, question) for path, service in named), return_exceptions=True
        )
        failed = [(path, one) for (path, _), one in zip(named, answers, strict=True) if isinstance(one, BaseException)]
        for _, error in failed:
            if len(failed) == len(answers) or not isinstance(error, IntegrationError):
                raise error
        notes = tuple(f"{self.name}: application {path}: {getattr(one, 'message', 'failed')}" for path, one in failed)
        return merged([*(one for one in answers if isinstance(one, Findings)), Findings(notes=notes)])

    def _changes(self, pairs: Sequence[tuple[Application, ServiceNames]], question: Question) -> Findings:
        found = []
        for application, service in pairs:
            before: Sync | None = None
            for sync in application.syncs:
                if within(question, sync.at):
                    found.append(self._change(application, service, sync, before))
                if not sync.phase:
                    before = sync
        return Findings(changes=tuple(found))

    def _change(self, application: Application, service: ServiceNames, sync: Sync, before: Sync | None) -> ChangeEvent:
        revision = sync.revisions[0] if sync.revisions else ""
        earlier = before.revisions[0] if before is not None and before.revisions else ""
        repository = sync.repositories[0] if sync.repositories else ""
        shown = revision[:7] if is_sha(revision) else revision[:60]
        verb = {"": "Sync", "Succeeded": "Partial sync", "Running": "Sync running:"}.get(sync.phase, "Sync failed:")
        words = f"{verb} {service.name} to {shown or 'an unknown revision'}"
        if earlier and earlier == revision:
            words += " (the same revision again)"
        detail = [f"{one} {earlier[:12]} → {revision[:12]}" for one in (repository,) if one and earlier]
        detail += [sync.message] if sync.message else []
        detail += [f"runs {image}" for image in application.images[:5]] if sync is application.syncs[-1] else []
        readers, model = self.access.of(service.name)
        page = f"{self.link}/applications/{application.namespace or 'argocd'}/{application.name}"
        return ChangeEvent(
            id=f"{self.name}/sync/{application.namespace}/{application.name}/{sync.id}",
            kind="rollout",
            service=service.name,
            changed_at=sync.at,
            summary=words[:500],
            source=self.name,
            url=page,
            readers=readers,
            model=model,
            environment=application.destination or None,
            commit=revision.lower() if is_sha(revision) else None,
            author_role="automation" if sync.automatic else None,
            detail="\n".join(detail)[:4000],
            diff_url=compare_page(repository, earlier, revision) if earlier != revision else None,
            rollback_url=f"{page}?rollback=0",
        )


def parse_applications(system: str, body: bytes) -> list[Application]:
    """One application, or the items of a list. Raises Malformed."""
    answer = parse_json(system, body)
    if not isinstance(answer, Mapping):
        raise Malformed(system, "an answer that is no application")
    if "items" in answer:
        items = answer["items"]
        if not isinstance(items, list | None):
            raise Malformed(system, "a list of applications that is no list")
        many = list(objects(items, LISTED))
    elif "metadata" in answer:
        many = [answer]
    else:
        raise Malformed(system, "an answer that is no application (no metadata)")
    return [one for one in map(_application, many) if one.name]


def _application(raw: Mapping[str, Any]) -> Application:
    metadata, status = mapping(raw.get("metadata")), mapping(raw.get("status"))
    labels = mapping(metadata.get("labels"))
    named = ("app.kubernetes.io/name", "app", "service", "app.kubernetes.io/instance")
    history = [sync for one in objects(status.get("history"), 50) if (sync := _sync(one)) is not None]
    history.sort(key=lambda one: one.at)
    last = _operation(mapping(status.get("operationState")))
    # A whole sync that succeeded is in the history already; its times there differ by its duration.
    known = last is not None and last.phase == "Succeeded" and any(
        one.revisions == last.revisions and abs((one.at - last.at).total_seconds()) < 3600 for one in history
    )  # fmt: skip
    return Application(
        name=text(metadata.get("name"), 253),
        namespace=text(metadata.get("namespace"), 253),
        labels=tuple(said for name in named if (said := text(labels.get(name), 253))),
        destination=text(mapping(mapping(raw.get("spec")).get("destination")).get("namespace"), 253),
        images=tuple(strings(mapping(status.get("summary")).get("images"), 20)),
        syncs=tuple([*history, last] if last is not None and not known else history),
    )


def _sync(one: Mapping[str, Any]) -> Sync | None:
    at = moment(one.get("deployStartedAt")) or moment(one.get("deployedAt"))
    number = text(one.get("id"), 40)
    if at is None or not number:
        return None
    initiated = mapping(one.get("initiatedBy"))
    sources = [mapping(one.get("source")), *objects(one.get("sources"), 20)]
    return Sync(
        id=number,
        at=at,
        revisions=_revisions(one),
        repositories=tuple(said for source in sources if (said := text(source.get("repoURL"), 500))),
        automatic=initiated.get("automated") is True,
    )


def _operation(state: Mapping[str, Any]) -> Sync | None:
    """The last operation, where it was a sync that began."""
    result, operation = mapping(state.get("syncResult")), mapping(state.get("operation"))
    at, phase = moment(state.get("startedAt")), text(state.get("phase"), 40)
    if at is None or phase not in ("Running", "Succeeded", "Failed", "Error") or not (result or operation.get("sync")):
        return None
    asked = mapping(operation.get("sync"))
    sources = [
        one
        for part in (result, asked)
        for one in (mapping(part.get("source")), *objects(part.get("sources"), 20))
        if text(one.get("repoURL"), 500)
    ]
    repository = text(sources[0].get("repoURL"), 500) if sources else ""
    return Sync(
        id=f"operation-{int(at.timestamp())}",
        at=at,
        revisions=_revisions(result) or _revisions(asked),
        repositories=(repository,) if repository else (),
        automatic=mapping(operation.get("initiatedBy")).get("automated") is True,
        phase=phase,
        message="" if phase == "Succeeded" else text(state.get("message"), 1000),
    )


def _revisions(one: Mapping[str, Any]) -> tuple[str, ...]:
    single = text(one.get("revision"), 200)
    return (single,) if single else tuple(said[:200] for said in strings(one.get("revisions"), 20))
