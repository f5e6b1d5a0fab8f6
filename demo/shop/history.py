"""The shop's repositories: real git, so that commit ids and patches in the recording are git's own."""

from __future__ import annotations

import os
import pathlib
import subprocess
from datetime import UTC, datetime, timedelta

from demo.scenario import DEFAULT_BRANCH, PEOPLE, SERVICES, Change, Person

CONFIG = pathlib.Path(__file__).parent / "config"
PATH_IN_REPOSITORY = "config/production.toml"
_FIELDS = "%H%x1f%T%x1f%P%x1f%an%x1f%ae%x1f%aI%x1f%cn%x1f%ce%x1f%cI%x1f%s"


class Repository:
    """One service's repository: its working tree holds the config that the service runs with."""

    def __init__(self, folder: pathlib.Path, service: str) -> None:
        self.service = service
        self.folder = folder
        self.config = folder / PATH_IN_REPOSITORY
        self.config.parent.mkdir(parents=True)
        self._git("init", "-q", "-b", DEFAULT_BRANCH)
        self.config.write_text((CONFIG / f"{service}.toml").read_text(encoding="utf-8"), encoding="utf-8")
        self._commit("Start with the settings of production", PEOPLE[0], datetime.now(UTC) - timedelta(days=34))

    def apply(self, change: Change, at: datetime) -> str:
        """Edits the config, commits, and returns the commit id. Raises ValueError when an edit finds nothing."""
        text = self.config.read_text(encoding="utf-8")
        for old, new in change.edits:
            if old not in text:
                raise ValueError(f"{self.service}: no line {old!r} in {PATH_IN_REPOSITORY} to change")
            text = text.replace(old, new)
        self.config.write_text(text, encoding="utf-8")
        return self._commit(f"{change.subject} (#{change.pull_request})", change.author, at)

    def head(self) -> str:
        return self._git("rev-parse", "HEAD").strip()

    def commits(self) -> list[dict[str, str]]:
        """Newest first."""
        names = ("sha", "tree", "parents", "author", "author_email", "authored_at", "committer", "committer_email",
                 "committed_at", "subject")  # fmt: skip
        lines = self._git("log", f"--format={_FIELDS}").splitlines()
        return [dict(zip(names, line.split("\x1f"), strict=True)) for line in lines]

    def files(self, base: str, head: str) -> list[dict[str, object]]:
        """What GitHub's compare lists as `files`: name, status, counts and the patch without git's header."""
        made: list[dict[str, object]] = []
        for line in self._git("diff", "--numstat", base, head).splitlines():
            added, removed, name = line.split("\t")
            patch = self._git("diff", base, head, "--", name)
            made.append(
                {
                    "sha": self._git("rev-parse", f"{head}:{name}").strip(),
                    "filename": name,
                    "status": "modified",
                    "additions": int(added),
                    "deletions": int(removed),
                    "changes": int(added) + int(removed),
                    "patch": patch[patch.index("@@") :].rstrip("\n"),
                }
            )
        return made

    def _commit(self, message: str, author: Person, at: datetime) -> str:
        stamp = at.isoformat(timespec="seconds")
        self._git("add", "-A")
        self._git(
            "commit", "-q", "-m", message,
            environment={
                "GIT_AUTHOR_NAME": author.name, "GIT_AUTHOR_EMAIL": author.email, "GIT_AUTHOR_DATE": stamp,
                "GIT_COMMITTER_NAME": "GitHub", "GIT_COMMITTER_EMAIL": "noreply@github.com",
                "GIT_COMMITTER_DATE": stamp,
            },
        )  # fmt: skip
        return self.head()

    def _git(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            ["git", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null", *arguments],
            cwd=self.folder,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, **(environment or {})},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout


def repositories(folder: pathlib.Path) -> dict[str, Repository]:
    """A repository for each service, at the settings it starts with."""
    return {one.name: Repository(folder / one.name, one.name) for one in SERVICES}
