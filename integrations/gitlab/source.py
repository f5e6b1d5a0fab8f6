"""GitLab: what was deployed to a service's projects, and what each deployment changed.

Deployments that succeeded, newest first, each compared with the one before it to the same environment. A deployment
counts from when its job began. Source: https://docs.gitlab.com/api/deployments/ and …/api/repositories/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack
from urllib.parse import quote

from integrations.asked import Allowed, Asked, AskedOptions
from integrations.asking import Part, within
from integrations.changes.asked import is_sha, iso
from integrations.changes.diff import excerpt
from integrations.errors import IntegrationError, Malformed
from integrations.http import parse_json
from integrations.reading import mapping, moment, objects, text, web_address, whole
from integrations.records import ChangeEvent, Findings, Question

PROJECTS = 6
CHANGES = 6
"""Deployments of one project that are looked at, the newest."""
PAGE = 50
FILES = 50
_PROJECT = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)+")
_PRODUCTION = ("production", "prod", "live")


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment that succeeded."""

    id: int
    sha: str
    environment: str
    production: bool
    at: datetime
    title: str
    run_url: str | None
    automatic: bool


@dataclass(frozen=True, slots=True)
class Compared:
    """What lies between two commits."""

    files: tuple[str, ...] = ()
    detail: str = ""
    size: int | None = None
    commits: int = 0
    page: str | None = None
    known: bool = False
    """Whether there was a comparison at all."""


class GitLab(Asked):
    """Changes of the projects that `[services]` maps as `repositories`; `repositories` here narrows them further."""

    kind = "gitlab"

    def __init__(self, *, repositories: Sequence[str] = (), **common: Unpack[AskedOptions]) -> None:
        super().__init__(**common)
        self._allowed = Allowed(self.name, "repositories", repositories)

    def authorization(self, token: str) -> dict[str, str]:
        return {"PRIVATE-TOKEN": token}

    async def fetch(self, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed when no project could be read."""
        service_of: dict[str, str] = {}
        notes = []
        for service in question.services:
            named, refused = self._allowed.split(service.repositories)
            notes += refused
            for project in named:
                if _PROJECT.fullmatch(project):
                    service_of.setdefault(project, service.name)
                else:
                    notes.append(f"{self.name}: {project[:100]!r} is no project (group/name)")
        if len(service_of) > PROJECTS:
            notes.append(f"{self.name}: {len(service_of) - PROJECTS} projects not asked, the farthest")
        parts = [
            Part(f"changes of {project}", self._project(project, service, question))
            for project, service in list(service_of.items())[:PROJECTS]
        ]
        return await self.ask_all(parts, question, notes)

    async def _project(self, project: str, service: str, question: Question) -> Findings:
        path = f"api/v4/projects/{quote(project, safe='')}"
        params = {
            "status": "success", "order_by": "finished_at", "sort": "desc", "finished_before": iso(question.window.end),
            "per_page": PAGE,
        }  # fmt: skip
        deployed = await self.ask(parse_deployments, f"{path}/deployments", params)
        if any(one.production for one in deployed):
            deployed = [one for one in deployed if one.production]
        changes: list[ChangeEvent] = []
        notes = []
        for at, one in enumerate(deployed):
            if not within(question, one.at) or len(changes) == CHANGES:
                continue
            base = next((other for other in deployed[at + 1 :] if other.environment == one.environment), None)
            seen = Compared()
            if base is not None and base.sha != one.sha:
                try:
                    between = {"from": base.sha, "to": one.sha}
                    seen = await self.ask(parse_compare, f"{path}/repository/compare", between)
                except IntegrationError as failed:
                    notes.append(f"{self.name}: what {one.sha[:7]} changed in {project}: {failed.message}")
            changes.append(self._change(project, service, one, base, seen))
        return Findings(changes=tuple(changes), notes=tuple(dict.fromkeys(notes)))

    def _change(
        self, project: str, service: str, deployed: Deployed, base: Deployed | None, seen: Compared
    ) -> ChangeEvent:
        words = deployed.title
        if base is not None and base.sha == deployed.sha:
            words = "the same commit again"
        elif seen.known and not seen.commits:
            words = "back to an earlier commit" + (f": {words}" if words else "")
        place = service if deployed.production or not deployed.environment else f"{service} {deployed.environment}"
        readers, model = self.access.of(service)
        page = seen.page or (
            f"{self.link}/{project}/-/compare/{base.sha}...{deployed.sha}"
            if base is not None and base.sha != deployed.sha
            else f"{self.link}/{project}/-/commit/{deployed.sha}"
        )
        return ChangeEvent(
            id=f"{self.name}/deployment/{project}/{deployed.id}",
            kind="deploy",
            service=service,
            changed_at=deployed.at,
            summary=(f"Deploy {deployed.sha[:7]} to {place}" + (f": {words}" if words else ""))[:500],
            source=self.name,
            url=page,
            readers=readers,
            model=model,
            environment=deployed.environment or None,
            commit=deployed.sha,
            author_role="automation" if deployed.automatic else None,
            size=seen.size,
            files=seen.files,
            detail=seen.detail,
            diff_url=page,
            rollback_url=base.run_url if base is not None else None,
        )


def parse_deployments(system: str, body: bytes) -> list[Deployed]:
    """Deployments of an answer, newest first, review apps left out. Raises Malformed."""
    answer = parse_json(system, body)
    if not isinstance(answer, list):
        raise Malformed(system, "a list of deployments that is no list")
    found = (_deployed(one) for one in objects(answer, PAGE))
    return sorted((one for one in found if one is not None), key=lambda one: one.at, reverse=True)


def _deployed(raw: Mapping[str, Any]) -> Deployed | None:
    number, sha = whole(raw.get("id")), text(raw.get("sha"), 64).lower()
    environment, job = mapping(raw.get("environment")), mapping(raw.get("deployable"))
    name = text(environment.get("name"), 100)
    times = (moment(job.get("started_at")), moment(raw.get("created_at")), moment(raw.get("updated_at")))
    at = next((one for one in times if one is not None), None)
    if number is None or not is_sha(sha) or at is None or name.startswith("review/"):
        return None
    who = text(mapping(raw.get("user")).get("username"), 200)
    return Deployed(
        id=number,
        sha=sha,
        environment=name,
        production=environment.get("tier") == "production" or name.lower().split("/")[0] in _PRODUCTION,
        at=at,
        title=text(mapping(job.get("commit")).get("title"), 300),
        run_url=web_address(job.get("web_url")) or web_address(mapping(job.get("pipeline")).get("web_url")),
        automatic=bool(re.match(r"(project|group)_\d+_bot", who)),
    )


def parse_compare(system: str, body: bytes) -> Compared:
    """A comparison of two commits. Raises Malformed."""
    answer = parse_json(system, body)
    if not isinstance(answer, Mapping) or not isinstance(answer.get("diffs", []), list | None):
        raise Malformed(system, "a comparison that is none (no diffs)")
    files = []
    for one in objects(answer.get("diffs"), 1000):
        new, old = text(one.get("new_path"), 300), text(one.get("old_path"), 300)
        state = next((word for word in ("new", "deleted", "renamed") if one.get(f"{word}_file") is True), "modified")
        files.append({
            "filename": new or old, "patch": one.get("diff"), "status": {"new": "added"}.get(state, state),
            "previous_filename": old if old != new else "",
        })  # fmt: skip
    lines = [line for one in files for line in text(one["patch"], 200_000).splitlines()]
    changed = sum(1 for line in lines if line[:1] in "+-" and line[:1] and line[:3] not in ("+++", "---"))
    return Compared(
        files=tuple(str(one["filename"]) for one in files[:FILES] if one["filename"]),
        detail=excerpt(files),
        size=changed if files else None,
        commits=len(list(objects(answer.get("commits")))),
        page=web_address(answer.get("web_url")),
        known=True,
    )
