"""What stands in for deployments in a repository that has none: merges to its default branch, releases, and runs of a
workflow that deploys by its name. All of it is marked "inferred".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from integrations.asking import within
from integrations.errors import Denied, Malformed
from integrations.github.pulls import Pulls, pulls_of
from integrations.reading import mapping, moment, objects, text, web_address, whole
from integrations.records import ChangeEvent, Findings, Question

CHANGES = 6
"""Merges, and runs, of one repository that are looked at, the newest."""
PAGE = 50
_SHA = re.compile(r"[0-9a-fA-F]{7,64}")
_DEPLOYS = re.compile(
    r"(?<![a-z])(re)?(deploy|release|roll-?(out|back)|publish|promote|ship|migrat|helm|terraform|argo)", re.IGNORECASE
)
"""Names of workflows that change what runs; all others build and test."""

Merge = tuple[datetime, str, str, str | None, Pulls]
"""When, which commit, its title, where it can be seen, and what its pull request says beside that."""
Ask = Callable[..., Awaitable[Any]]
"""Path and parameters to parsed JSON."""


def deploys(run: Mapping[str, Any]) -> bool:
    """Whether a workflow run changed what runs, as far as its name or file says so."""
    path = text(run.get("path"), 300).rsplit("/", 1)[-1]
    return bool(_DEPLOYS.search(text(run.get("name"), 300)) or _DEPLOYS.search(path))


def run_summary(run: Mapping[str, Any], sha: str, service: str) -> str:
    """A workflow run as one line."""
    name = text(run.get("name"), 100) or text(run.get("path"), 200).rsplit("/", 1)[-1]
    title = text(run.get("display_title"), 300)
    return f"Workflow {name!r} ran {sha[:7]} for {service}" + (f": {title}" if title else "")


class Inferred:
    """`event` makes a change from what was seen of a commit (`GitHub._event`)."""

    def __init__(self, name: str, ask: Ask, event: Callable[..., ChangeEvent]) -> None:
        self._name, self._ask, self._event = name, ask, event

    async def fetch(self, path: str, repository: str, service: str, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed."""
        about = mapping(await self._ask(path))
        branch = text(about.get("default_branch"), 200)
        if not branch:
            raise Malformed(self._name, f"{repository} has no default branch in the answer")
        pulls, releases, (runs, note) = await asyncio.gather(
            self._ask(
                f"{path}/pulls",
                {"state": "closed", "base": branch, "sort": "updated", "direction": "desc", "per_page": PAGE},
            ),
            self._ask(f"{path}/releases", {"per_page": 20}),
            self._runs(path, repository, question),
        )
        merges = [
            (
                at,
                text(one.get("merge_commit_sha"), 64),
                text(one.get("title"), 300),
                web_address(one.get("html_url")),
                replace(pulls_of([one], ()), lines=()),
            )
            for one in objects(pulls)
            if (at := moment(one.get("merged_at"))) and within(question, at)
        ]
        if not merges:
            merges = await self._pushed(path, branch, question)
        merges = sorted((one for one in merges if _SHA.fullmatch(one[1])), key=lambda one: one[0], reverse=True)
        changes = list(await asyncio.gather(*(self._merged(path, repository, service, *m) for m in merges[:CHANGES])))
        changes += self._released(releases, repository, service, question)
        changes += self._ran(runs, repository, service, question)
        return Findings(changes=tuple(changes), notes=(note,) if note else ())

    async def _runs(self, path: str, repository: str, question: Question) -> tuple[Any, str]:
        """Successful runs; a token that may not read Actions costs a note, not the merges."""
        since = question.changes_since or question.window.start
        params = {"status": "success", "created": f"{_iso(since)}..{_iso(question.window.end)}", "per_page": PAGE}
        try:
            return mapping(await self._ask(f"{path}/actions/runs", params)).get("workflow_runs"), ""
        except Denied as refused:
            return [], f"{self._name}: workflow runs of {repository}: {refused.message}"

    def _ran(self, runs: Any, repository: str, service: str, question: Question) -> list[ChangeEvent]:
        found = []
        for one in objects(runs, PAGE):
            at, number = moment(one.get("run_started_at")) or moment(one.get("created_at")), whole(one.get("id"))
            sha = text(one.get("head_sha"), 64).lower()
            if at is None or number is None or not _SHA.fullmatch(sha) or not within(question, at) or not deploys(one):
                continue
            found.append(
                self._event(
                    f"run/{repository}/{number}", "deploy", service, at, run_summary(one, sha, service), {}, sha=sha,
                    url=web_address(one.get("html_url")), inferred=True,
                )
            )  # fmt: skip
        return found[:CHANGES]

    def _released(self, releases: Any, repository: str, service: str, question: Question) -> list[ChangeEvent]:
        found = []
        for one in objects(releases, 20):
            at, number = moment(one.get("published_at")), whole(one.get("id"))
            if one.get("draft") is True or at is None or number is None or not within(question, at):
                continue
            tag = text(one.get("tag_name"), 100)
            title = text(one.get("name"), 300)
            summary = f"Release {tag} of {service}" + (f": {title}" if title and title != tag else "")
            found.append(
                self._event(
                    f"release/{repository}/{number}", "release", service, at, summary,
                    {"html_url": one.get("html_url")}, sha=None, inferred=True,
                )
            )  # fmt: skip
        return found

    async def _pushed(self, path: str, branch: str, question: Question) -> list[Merge]:
        """Commits that reached the default branch without a pull request."""
        since = question.changes_since or question.window.start
        params = {"sha": branch, "since": _iso(since), "until": _iso(question.window.end), "per_page": PAGE}
        found = []
        for one in objects(await self._ask(f"{path}/commits", params)):
            commit = mapping(one.get("commit"))
            at = moment(mapping(commit.get("committer")).get("date"))
            if at is not None and within(question, at):
                subject = text(commit.get("message"), 5000).partition("\n")[0][:300]
                found.append((at, text(one.get("sha"), 64), subject, web_address(one.get("html_url")), Pulls()))
        return found

    async def _merged(
        self, path: str, repository: str, service: str, at: datetime, sha: str, title: str, url: str | None,
        pulls: Pulls,
    ) -> ChangeEvent:  # fmt: skip
        seen = mapping(await self._ask(f"{path}/commits/{quote(sha)}"))
        summary = f"Merge {sha[:7]} to {service}" + (f": {title}" if title else "")
        return self._event(
            f"merge/{repository}/{sha.lower()}", "merge", service, at, summary, seen, sha=sha.lower(), url=url,
            role=pulls.role, inferred=True, pulls=pulls,
        )  # fmt: skip


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
