"""Kubernetes: rollouts of a service's workloads, ConfigMaps that changed, and what the cluster says happened.

Asks the API server for the namespaces of the workloads that `[services]` maps (`namespace/workload`): ReplicaSets,
controller revisions (of StatefulSets and DaemonSets), events, and ConfigMaps' *metadata* alone, so that no data of
theirs leaves the cluster. A service account that may `list` these four is enough.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Unpack

from integrations.asked import Allowed, Asked, AskedOptions
from integrations.asking import Part, within
from integrations.changes.shape import commit_in
from integrations.errors import IntegrationError
from integrations.http import Api
from integrations.kubernetes.objects import (
    ConfigMap,
    Event,
    Page,
    Revision,
    difference,
    parse_config_maps,
    parse_controller_revisions,
    parse_events,
    parse_revisions,
)
from integrations.records import ChangeEvent, ChangeKind, Findings, LogRecord, Question

NAMESPACES = 4
PAGE = 500
PAGES = 3
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;q=0.1"
_WORKLOAD = re.compile(r"([a-z0-9][a-z0-9-]{0,62})/([a-z0-9][a-z0-9.-]{0,252})")
_SCALED = ("SuccessfulRescale",)


class Kubernetes(Asked):
    """`paths` are the workloads that may be asked about: `namespace/workload`, or patterns such as `prod/*`."""

    kind = "kubernetes"

    def __init__(self, *, paths: Sequence[str] = (), **common: Unpack[AskedOptions]) -> None:
        super().__init__(**common)
        self._allowed = Allowed(self.name, "paths", paths)
        self._page = common.get("link_url") or ""
        self._metadata = self.opened(common["url"], common["egress"], common.get("token"), {"Accept": METADATA_ONLY})

    async def aclose(self) -> None:
        await super().aclose()
        await self._metadata.aclose()

    async def fetch(self, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed when no namespace could be read."""
        notes: list[str] = []
        wanted: dict[str, dict[str, str]] = {}
        for service in question.services:
            named, refused = self._allowed.split(service.kubernetes)
            notes += refused
            for path in named:
                if found := _WORKLOAD.fullmatch(path):
                    wanted.setdefault(found[1], {}).setdefault(found[2], service.name)
                else:
                    notes.append(f"{self.name}: {path[:100]!r} is no workload (namespace/name)")
        if question.services and not wanted and not notes:
            first = question.services[0].name
            notes.append(f'{self.name}: not asked (map it: [services."{first}"] kubernetes = ["namespace/workload"])')
        if len(wanted) > NAMESPACES:
            notes.append(f"{self.name}: {len(wanted) - NAMESPACES} namespaces not asked, the farthest")
        parts = [
            Part(f"namespace {namespace}", self._namespace(namespace, workloads, question))
            for namespace, workloads in list(wanted.items())[:NAMESPACES]
        ]
        return await self.ask_all(parts, question, notes)

    async def _namespace(self, namespace: str, workloads: Mapping[str, str], question: Question) -> Findings:
        """A list that may not be read is a note; all of them are the namespace's failure."""
        core, apps = f"api/v1/namespaces/{namespace}", f"apis/apps/v1/namespaces/{namespace}"
        asked = {
            "replicasets": self._list(parse_revisions, f"{apps}/replicasets"),
            "controllerrevisions": self._list(parse_controller_revisions, f"{apps}/controllerrevisions"),
            "configmaps": self._list(parse_config_maps, f"{core}/configmaps", self._metadata),
            "events": self._list(parse_events, f"{core}/events"),
        }
        answers = dict(zip(asked, await asyncio.gather(*asked.values(), return_exceptions=True), strict=True))
        failed = {what: one for what, one in answers.items() if isinstance(one, BaseException)}
        for error in failed.values():
            if len(failed) == len(answers) or not isinstance(error, IntegrationError):
                raise error
        notes = [
            f"{self.name}: {what} of {namespace}: {one.message if isinstance(one, IntegrationError) else 'failed'}"
            for what, one in failed.items()
        ]
        deployed, controlled, maps, events = ([] if isinstance(one, BaseException) else one for one in answers.values())
        changes: list[ChangeEvent] = []
        lines: list[LogRecord] = []
        for workload, service in workloads.items():
            own = sorted(
                (one for name, one in (*deployed, *controlled) if name == workload), key=lambda one: one.number
            )
            about = [one for one in events if _is_about(one, workload)]
            changes += self._rollouts(namespace, workload, service, own, about, question)
            changes += self._configured(namespace, workload, service, own, maps, question)
            changes += self._scaled(namespace, workload, service, about, question)
            lines += _lines(about, service, question)
        return Findings(changes=tuple(changes), logs=self.batched(lines, self._page), notes=tuple(notes))

    async def _list(self, parse: Any, path: str, api: Api | None = None) -> list[Any]:
        found: list[Any] = []
        more = ""
        for _ in range(PAGES):
            params = {"limit": PAGE} | ({"continue": more} if more else {})
            page: Page = await self.ask(parse, path, params, api=api)
            found += page.items
            more = page.more
            if not more:
                break
        return found

    def _rollouts(
        self, namespace: str, workload: str, service: str, revisions: Sequence[Revision], events: Sequence[Event],
        question: Question,
    ) -> list[ChangeEvent]:  # fmt: skip
        found = []
        for at, one in enumerate(revisions):
            before = revisions[at - 1] if at else None
            # A StatefulSet's old revision gets the next number when it is rolled back to, and no other mark.
            reused = one.reused or any(other.created_at > one.created_at for other in revisions[:at])
            when = _rolled_out(one, events) if reused else one.created_at
            if when is None or not within(question, when):
                continue
            lines = difference(before.template, one.template) if before is not None else list(one.images)
            image = _tag(one.images[0]) if one.images else ""
            verb = "Roll back" if reused else "Roll out"
            words = f"{verb} {workload} to revision {one.number}" + (f" ({image})" if image else "")
            words += f": {one.cause}" if one.cause else ""
            found.append(
                self._change(
                    f"rollout/{namespace}/{workload}/{one.number}", "rollout", service, namespace, when, words, lines,
                    commit=commit_in(image), size=len(lines) if before is not None else None, unit="settings",
                    rollback=_way_back(namespace, workload, before),
                )
            )  # fmt: skip
        return found

    def _configured(
        self, namespace: str, workload: str, service: str, revisions: Sequence[Revision], maps: Sequence[ConfigMap],
        question: Question,
    ) -> list[ChangeEvent]:  # fmt: skip
        used = revisions[-1].config_maps if revisions else frozenset()
        found = []
        for one in maps:
            if not (one.name in used or workload in one.labels) or not within(question, one.changed_at):
                continue
            verb = "Create" if one.created else "Change"
            lines = [f"keys: {', '.join(one.keys)}"] if one.keys else []
            lines += [f"written by {one.manager}"] if one.manager else []
            key = f"configmap/{namespace}/{one.name}/{int(one.changed_at.timestamp())}"
            words = f"{verb} the ConfigMap {one.name} of {workload}"
            found.append(
                self._change(
                    key, "config", service, namespace, one.changed_at, words, lines, files=one.keys,
                    size=len(one.keys) or None, unit="keys", role=one.manager or None,
                )
            )  # fmt: skip
        return found

    def _scaled(
        self, namespace: str, workload: str, service: str, events: Sequence[Event], question: Question
    ) -> list[ChangeEvent]:
        return [
            self._change(
                f"scale/{namespace}/{workload}/{int(one.at.timestamp())}", "scale", service, namespace, one.at,
                f"Scale {workload}: {one.message}", [], role="autoscaler",
            )
            for one in events
            if one.reason in _SCALED and within(question, one.at)
        ]  # fmt: skip

    def _change(
        self, key: str, kind: ChangeKind, service: str, namespace: str, at: datetime, summary: str,
        lines: Sequence[str], *, commit: str | None = None, files: Sequence[str] = (), size: int | None = None,
        unit: Literal["lines", "settings", "keys"] = "settings", role: str | None = None, rollback: str = "",
    ) -> ChangeEvent:  # fmt: skip
        readers, model = self.access.of(service)
        return ChangeEvent(
            id=f"{self.name}/{key}",
            kind=kind,
            service=service,
            changed_at=at,
            summary=summary[:500],
            source=self.name,
            url=self._page,
            readers=readers,
            model=model,
            environment=namespace,
            commit=commit,
            author_role=role,
            size=size,
            size_unit=unit,
            files=tuple(files),
            detail="\n".join(lines)[:4000],
            diff_url=self._page or None,
            rollback=rollback,
        )


def _is_about(event: Event, workload: str) -> bool:
    """An event about the workload itself, its ReplicaSets or its pods: their names begin with the workload's."""
    if event.name == workload:
        return True
    rest = event.name.removeprefix(f"{workload}-")
    return rest != event.name and bool(re.fullmatch(r"[a-z0-9]{5,10}(-[a-z0-9]{5})?|[0-9]{1,4}", rest))


def _rolled_out(revision: Revision, events: Sequence[Event]) -> datetime | None:
    """When a revision that was there before was rolled out again: the event that scaled its ReplicaSet up.

    None where that event is gone: its creation would be a lie.
    """
    scaled = [one.at for one in events if one.reason == "ScalingReplicaSet" and revision.name in one.message]
    return min((at for at in scaled if at > revision.created_at + timedelta(seconds=60)), default=None)


def _lines(events: Sequence[Event], service: str, question: Question) -> list[LogRecord]:
    """Warnings and what was killed or scaled in the window, as log lines."""
    return [
        LogRecord(
            at_ns=int(one.at.timestamp() * 1e9), service=service, level="WARN" if one.warning else "INFO",
            body=f"{one.reason}: {one.message}" + (f" ({one.count} times)" if one.count > 1 else ""),
            pod=one.name if one.kind == "Pod" else "",
        )
        for one in sorted(events, key=lambda one: one.at)
        if question.window.start <= one.at < question.window.end
    ]  # fmt: skip


def _way_back(namespace: str, workload: str, before: Revision | None) -> str:
    """The API has no page to go back on; kubectl goes to the revision that ran before, if the cluster still has it."""
    if before is None:
        return ""
    return f"kubectl rollout undo {before.kind}/{workload} -n {namespace} --to-revision={before.number}"


def _tag(image: str) -> str:
    """`registry/app:1.2` is `app:1.2`; a digest is shortened."""
    name = image.rsplit("/", 1)[-1]
    return re.sub(r"@sha256:([0-9a-f]{12})[0-9a-f]*", r"@\1", name)[:100]
