"""GitHub: what was deployed to a service's repositories, and what each deployment changed.

Deployments that have a success status, compared with the successful deployment before them; where a repository has
no deployments at all, what `inferred` finds instead.
Source: https://docs.github.com/rest (version 2022-11-28).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from integrations.asking import Access, Part, ask_parts, patience, within
from integrations.changes.diff import excerpt
from integrations.changes.shape import Risk, risk_of, role_of
from integrations.errors import IntegrationError, Malformed
from integrations.github.door import told_beside
from integrations.github.inferred import Inferred
from integrations.github.pulls import Pulls, pulls_of
from integrations.http import Api, Egress, client, failure, origin_of, parse_json
from integrations.reading import mapping, moment, objects, text, web_address, whole
from integrations.records import ChangeEvent, ChangeKind, Findings, Question

REPOSITORIES = 6
CHANGES = 6
"""Changes of one repository that are looked at, the newest."""
PULLS_ASKED = 3
"""Deployments of one repository whose pull requests are asked for, the newest: one more request each."""
LOOKED_BACK = 4
"""Deployments before it that may be its base: the first of them that succeeded is."""
SERVICES_LISTED = 100
PAGE = 50
FILES_OF_COMPARE = 300
"""A comparison lists no more files than this, on its first page only."""
FILES = 50
AT_ONCE = 8
CREDENTIAL = "GITHUB_TOKEN"
ADDRESS = "GITHUB_API_URL"
NO_PULLS = Pulls()
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}/[A-Za-z0-9_.-]{1,100}")
_SHA = re.compile(r"[0-9a-fA-F]{7,64}")


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment that happened: when it began to have its effect, and where its run can be seen."""

    id: int
    sha: str
    environment: str
    description: str
    automatic: bool
    role: str | None
    risk: Risk | None
    at: datetime
    run_url: str | None


class GitHub:
    """Changes of the repositories that `[services]` maps; `repositories` narrows them further, empty means all."""

    kind = "github"

    def __init__(
        self,
        *,
        url: str,
        egress: Egress,
        access: Access,
        name: str = "github",
        deadline_seconds: float = 3.0,
        token: str | None = None,
        repositories: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.deadline_seconds = deadline_seconds
        self._access = access
        self._allowed = frozenset(one.lower() for one in repositories)
        self._origin = origin_of(url)
        self._at_once = asyncio.Semaphore(AT_ONCE)
        timeout = 0.9 * deadline_seconds
        headers = {
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "sitrep",
        } | ({"Authorization": f"Bearer {token}"} if token else {})
        self._api = Api(
            name,
            client(egress, name, url.rstrip("/") + "/", headers=headers, timeout_seconds=timeout),
            credential=CREDENTIAL,
            address=ADDRESS,
            timeout_seconds=timeout,
            answer_limit_bytes=egress.answer_limit_bytes,
        )

    async def aclose(self) -> None:
        await self._api.aclose()

    async def fetch(self, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed when no repository could be read."""
        repositories: dict[str, str] = {}
        notes = []
        for service in question.services:
            for repository in service.repositories:
                if not _REPOSITORY.fullmatch(repository) or ".." in repository:
                    notes.append(f"{self.name}: {repository[:100]!r} is no repository (owner/name)")
                elif self._allowed and repository.lower() not in self._allowed:
                    notes.append(f"{self.name}: {repository} is not in allow.repositories")
                else:
                    repositories.setdefault(repository, service.name)
        if len(repositories) > REPOSITORIES:
            notes.append(f"{self.name}: {len(repositories) - REPOSITORIES} repositories not asked, the farthest")
        parts = [
            Part(f"changes of {repository}", self._repository(repository, service, question))
            for repository, service in list(repositories.items())[:REPOSITORIES]
        ]
        found = await ask_parts(self.name, parts, 0.95 * patience(self, question))
        return Findings(changes=found.changes, notes=(*notes, *found.notes))

    async def services(self) -> tuple[list[tuple[str, str]], bool]:
        """The repositories of `allow.repositories`, else those that the token reaches, lately pushed to first."""
        if self._allowed:
            return [(name, name.partition("/")[2]) for name in sorted(self._allowed)], False
        listed = list(objects(await self._json("user/repos", {"per_page": SERVICES_LISTED, "sort": "pushed"})))
        names = [text(one.get("full_name"), 200) for one in listed if one.get("archived") is not True]
        known = [name for name in names if _REPOSITORY.fullmatch(name) and ".." not in name]
        return [(name, name.partition("/")[2]) for name in known], len(listed) == SERVICES_LISTED

    # --- deployments ----------------------------------------------------------------------------------------------

    async def _repository(self, repository: str, service: str, question: Question) -> Findings:
        path = f"repos/{repository}"
        listed = list(objects(await self._json(f"{path}/deployments", {"per_page": PAGE})))
        if not listed:
            return await Inferred(self.name, self._json, self._event).fetch(path, repository, service, question)
        listed = _production(listed)
        recent = [n for n, one in enumerate(listed) if (at := moment(one.get("created_at"))) and within(question, at)]
        # One made before the window may have succeeded in it (a queue, an approval), so one more is looked at.
        asked = recent[:CHANGES]
        further = (asked[-1] + 1) if asked else 0
        asked += [further] if further < len(listed) else []
        deployed = dict(
            zip(asked, await asyncio.gather(*(self._deployed(path, listed[n]) for n in asked)), strict=True)
        )
        changes: list[Any] = []
        for n, one in deployed.items():
            if one is not None and within(question, one.at):
                base = await self._base(path, listed, deployed, n)
                pulls = len(changes) < PULLS_ASKED
                changes.append(self._change(path, repository, service, one, base, pulls=pulls))
        made = await asyncio.gather(*changes)
        return Findings(
            changes=tuple(change for change, _ in made), notes=tuple(dict.fromkeys(note for _, note in made if note))
        )

    async def _deployed(self, path: str, raw: Mapping[str, Any]) -> Deployed | None:
        """The deployment if one of its statuses is a success: without it nothing was deployed."""
        number, sha = whole(raw.get("id")), text(raw.get("sha"), 64)
        if number is None or number < 0 or not _SHA.fullmatch(sha):
            return None
        statuses = [
            (at, one)
            for one in objects(await self._json(f"{path}/deployments/{number}/statuses", {"per_page": PAGE}))
            if (at := moment(one.get("created_at")))
        ]
        succeeded = [at for at, one in statuses if one.get("state") == "success"]
        if not succeeded:
            return None
        began = [at for at, one in statuses if one.get("state") == "in_progress" and at <= max(succeeded)]
        told = told_beside(raw)
        runs = [web_address(one.get("log_url")) or web_address(one.get("target_url")) for _, one in statuses]
        return Deployed(
            id=number,
            sha=sha.lower(),
            environment=text(raw.get("environment"), 100),
            description=text(raw.get("description"), 300),
            automatic=mapping(raw.get("creator")).get("type") == "Bot",
            role=role_of(told.get("role")),
            risk=risk_of(told.get("risk")),
            at=min(began or succeeded),
            run_url=next((run for run in runs if run), None),
        )

    async def _base(
        self, path: str, listed: Sequence[Mapping[str, Any]], known: Mapping[int, Deployed | None], n: int
    ) -> Deployed | None:
        """The successful deployment to the same environment before the n-th."""
        this = listed[n]
        looked = 0
        for at in range(n + 1, len(listed)):
            other = listed[at]
            if (other.get("environment"), other.get("task")) != (this.get("environment"), this.get("task")):
                continue
            if looked == LOOKED_BACK:
                return None
            looked += 1
            found = known[at] if at in known else await self._deployed(path, other)
            if found is not None:
                return found
        return None

    async def _change(
        self, path: str, repository: str, service: str, deployed: Deployed, base: Deployed | None, *, pulls: bool
    ) -> tuple[ChangeEvent, str]:
        """The deployment as a change, and a note when what it changed could not be read."""
        seen: Mapping[str, Any] = {}
        asking = asyncio.ensure_future(self._pulls(path, deployed.sha)) if pulls else None
        note = ""
        try:
            if base is not None:
                seen = mapping(await self._json(f"{path}/compare/{base.sha}...{deployed.sha}", {"per_page": 100}))
            else:
                seen = mapping(await self._json(f"{path}/commits/{deployed.sha}"))
        except IntegrationError as failed:
            note = f"{self.name}: what {deployed.sha[:7]} changed in {repository}: {failed.message}"
        finally:
            answer = await asking if asking is not None else None
        carried = pulls_of(answer, seen.get("commits"))
        words = deployed.description or _subject(seen, deployed.sha)
        if base is not None and base.sha == deployed.sha:
            words = "the same commit again"
        elif seen.get("status") == "behind":
            words = f"back by {whole(seen.get('behind_by')) or 'some'} commits" + (f": {words}" if words else "")
        to = (
            service
            if deployed.environment.lower() in ("", "production", "prod")
            else f"{service} {deployed.environment}"
        )
        summary = f"Deploy {deployed.sha[:7]} to {to}" + (f": {words}" if words else "")
        change = self._event(
            f"deployment/{repository}/{deployed.id}", "deploy", service, deployed.at, summary, seen,
            sha=deployed.sha, environment=deployed.environment or None, rollback_url=base.run_url if base else None,
            url=deployed.run_url, role=deployed.role or carried.role or ("automation" if deployed.automatic else None),
            pulls=replace(carried, risk=deployed.risk or carried.risk),
        )  # fmt: skip
        return change, note

    async def _pulls(self, path: str, sha: str) -> Any:
        """The pull requests of a commit; None where they cannot be read, which costs nothing else."""
        try:
            return await self._json(f"{path}/commits/{sha}/pulls", {"per_page": 10})
        except IntegrationError:
            return None

    def _event(
        self, external_id: str, kind: ChangeKind, service: str, at: datetime, summary: str, seen: Mapping[str, Any], *,
        sha: str | None, environment: str | None = None, rollback_url: str | None = None, url: str | None = None,
        role: str | None = None, inferred: bool = False, pulls: Pulls = NO_PULLS,
    ) -> ChangeEvent:  # fmt: skip
        files = list(objects(seen.get("files"), FILES_OF_COMPARE))
        sizes = [size for one in files if (size := whole(one.get("changes"))) is not None and size >= 0]
        readers, model = self._access.of_item(service, external_id)
        diff_url = web_address(seen.get("html_url"))
        detail = excerpt(files)
        if len(files) >= FILES_OF_COMPARE:
            detail = f"(the first {FILES_OF_COMPARE} files of more)\n{detail}"
        detail = "\n".join((*pulls.lines, detail)).strip()
        return ChangeEvent(
            id=f"{self.name}/{external_id}",
            kind=kind,
            service=service,
            changed_at=at,
            summary=summary[:500],
            source=self.name,
            url=diff_url or url or "",
            readers=readers,
            model=model,
            environment=environment,
            commit=sha,
            author_role=role,
            size=sum(sizes) if sizes else None,
            files=tuple(name for one in files[:FILES] if (name := text(one.get("filename"), 300))),
            detail=detail,
            diff_url=diff_url or pulls.url,
            rollback_url=rollback_url,
            risk=pulls.risk,
            inferred=inferred,
        )

    # --- requests -------------------------------------------------------------------------------------------------

    async def _json(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """JSON of a GET. A renamed repository answers with a redirect to its number on the same host: followed once."""
        async with self._at_once:
            status, headers, body, _ = await self._api.exchange(path, dict(params or {}))
            if status in (301, 302, 307, 308):
                status, headers, body, _ = await self._api.exchange(self._moved(headers.get("location", "")))
        if not 200 <= status < 300:
            raise failure(self.name, status, headers, body, datetime.now(UTC), credential=CREDENTIAL, address=ADDRESS)
        return parse_json(self.name, body)

    def _moved(self, location: str) -> str:
        try:
            same = origin_of(location) == self._origin
        except ValueError:
            same = False
        if not same:
            raise Malformed(
                self.name, f"answered with a redirect to another host, which is not followed: check {ADDRESS}"
            )
        return location


def _production(listed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Newest first, without previews; where there are deployments to production, only those."""
    lasting = [one for one in listed if one.get("transient_environment") is not True]
    kept = [one for one in lasting if one.get("production_environment") is True or _is_production(one)] or lasting
    return sorted(kept, key=lambda one: moment(one.get("created_at")) or datetime.min.replace(tzinfo=UTC), reverse=True)


def _is_production(deployment: Mapping[str, Any]) -> bool:
    return text(deployment.get("environment"), 100).lower() in ("production", "prod")


def _subject(seen: Mapping[str, Any], sha: str) -> str:
    """The first line of the deployed commit's message, from a comparison or a commit; "" when it is not there.

    The newest commits of a comparison of more than 250 stand on its last page, so the last one here may be another.
    """
    for one in [seen, *reversed(list(objects(seen.get("commits"))))]:
        if text(one.get("sha"), 64).lower() == sha:
            return text(mapping(one.get("commit")).get("message"), 5000).partition("\n")[0][:300]
    return ""
