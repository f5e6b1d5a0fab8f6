"""What GitHub would answer about the shop: REST API 2022-11-28, from real git. Times are the recording's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from demo import scenario
from demo.answers import API, WEB, Deployed, zulu
from demo.scenario import Person, Service
from demo.shop.history import Repository


def github(
    repositories: dict[str, Repository], deployed: Sequence[Deployed], started_at: datetime
) -> dict[str, dict[str, Any]]:
    """Answers by repository: `repository`, `commits`, `deployments`, `statuses`, `compare`, `pulls`, `releases`."""
    made: dict[str, dict[str, Any]] = {}
    for index, service in enumerate(scenario.SERVICES):
        repository = repositories[service.name]
        here = [one for one in deployed if one.change.service == service.name]
        commits = [_commit(service, raw) for raw in repository.commits()]
        by_sha = {one["sha"]: one for one in commits}
        first = _deployment(service, 8100 + index, commits[-1]["sha"], started_at - timedelta(days=30), "Start")
        deployments = [first]
        statuses = {str(first["id"]): [_status(service, first, "success", started_at - timedelta(days=30))]}
        compare = {}
        for number, one in enumerate(here):
            deployment = _deployment(service, 9000 + index * 10 + number, one.head, one.started_at, one.change.subject)
            deployment["creator"] = _user(one.change.author)
            deployment["updated_at"] = zulu(one.finished_at)
            deployments.insert(0, deployment)
            statuses[str(deployment["id"])] = [
                _status(service, deployment, "success", one.finished_at),
                _status(service, deployment, "in_progress", one.started_at),
            ]
            compare[f"{one.base}...{one.head}"] = _compare(service, repository, by_sha, one)
        made[service.repository] = {
            "repository": _repository(service, started_at),
            "commits": commits,
            "deployments": deployments,
            "statuses": statuses,
            "compare": compare,
            "pulls": [_pull(service, one) for one in reversed(here)],
            "releases": [],
        }
    return made


def _user(person: Person) -> dict[str, Any]:
    return {
        "login": person.login,
        "id": 50000 + scenario.PEOPLE.index(person),
        "type": "User",
        "url": f"{API}/users/{person.login}",
        "html_url": f"{WEB}/{person.login}",
        "site_admin": False,
    }


def _repository(service: Service, started_at: datetime) -> dict[str, Any]:
    return {
        "id": service.repository_id,
        "name": service.name,
        "full_name": service.repository,
        "private": True,
        "owner": {"login": scenario.OWNER, "id": 70001, "type": "Organization"},
        "html_url": f"{WEB}/{service.repository}",
        "url": f"{API}/repos/{service.repository}",
        "fork": False,
        "default_branch": scenario.DEFAULT_BRANCH,
        "visibility": "private",
        "archived": False,
        "created_at": zulu(started_at - timedelta(days=34)),
        "pushed_at": zulu(started_at),
        "updated_at": zulu(started_at),
    }


def _commit(service: Service, raw: dict[str, str]) -> dict[str, Any]:
    sha = raw["sha"]
    author = next(one for one in scenario.PEOPLE if one.email == raw["author_email"])
    return {
        "sha": sha,
        "commit": {
            "author": {"name": raw["author"], "email": raw["author_email"], "date": _utc(raw["authored_at"])},
            "committer": {"name": "GitHub", "email": "noreply@github.com", "date": _utc(raw["committed_at"])},
            "message": raw["subject"],
            "tree": {"sha": raw["tree"], "url": f"{API}/repos/{service.repository}/git/trees/{raw['tree']}"},
            "url": f"{API}/repos/{service.repository}/git/commits/{sha}",
            "comment_count": 0,
            "verification": {"verified": False, "reason": "unsigned", "signature": None, "payload": None},
        },
        "url": f"{API}/repos/{service.repository}/commits/{sha}",
        "html_url": f"{WEB}/{service.repository}/commit/{sha}",
        "comments_url": f"{API}/repos/{service.repository}/commits/{sha}/comments",
        "author": _user(author),
        "committer": None,
        "parents": [
            {
                "sha": parent,
                "url": f"{API}/repos/{service.repository}/commits/{parent}",
                "html_url": f"{WEB}/{service.repository}/commit/{parent}",
            }
            for parent in raw["parents"].split()
        ],
    }


def _deployment(service: Service, number: int, sha: str, at: datetime, what: str) -> dict[str, Any]:
    url = f"{API}/repos/{service.repository}/deployments/{number}"
    return {
        "url": url,
        "id": number,
        "node_id": f"DE_{number}",
        "sha": sha,
        "ref": scenario.DEFAULT_BRANCH,
        "task": "deploy",
        "payload": {},
        "original_environment": scenario.ENVIRONMENT,
        "environment": scenario.ENVIRONMENT,
        "description": what,
        "creator": _user(scenario.PEOPLE[0]),
        "created_at": zulu(at),
        "updated_at": zulu(at),
        "statuses_url": f"{url}/statuses",
        "repository_url": f"{API}/repos/{service.repository}",
        "transient_environment": False,
        "production_environment": True,
    }


def _status(service: Service, deployment: dict[str, Any], state: str, at: datetime) -> dict[str, Any]:
    number = deployment["id"] * 10 + (state == "success")
    run = f"{WEB}/{service.repository}/actions/runs/{deployment['id']}00"
    return {
        "url": f"{deployment['statuses_url']}/{number}",
        "id": number,
        "node_id": f"DES_{number}",
        "state": state,
        "creator": deployment["creator"],
        "description": "",
        "environment": scenario.ENVIRONMENT,
        "target_url": run,
        "created_at": zulu(at),
        "updated_at": zulu(at),
        "deployment_url": deployment["url"],
        "repository_url": deployment["repository_url"],
        "environment_url": "",
        "log_url": run,
    }


def _compare(service: Service, repository: Repository, commits: dict[str, Any], one: Deployed) -> dict[str, Any]:
    url = f"{API}/repos/{service.repository}/compare/{one.base}...{one.head}"
    page = f"{WEB}/{service.repository}/compare/{one.base}...{one.head}"
    files = []
    for entry in repository.files(one.base, one.head):
        name = entry["filename"]
        files.append(
            {
                **entry,
                "blob_url": f"{WEB}/{service.repository}/blob/{one.head}/{name}",
                "raw_url": f"{WEB}/{service.repository}/raw/{one.head}/{name}",
                "contents_url": f"{API}/repos/{service.repository}/contents/{name}?ref={one.head}",
            }
        )
    return {
        "url": url,
        "html_url": page,
        "permalink_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "base_commit": commits[one.base],
        "merge_base_commit": commits[one.base],
        "status": "ahead",
        "ahead_by": 1,
        "behind_by": 0,
        "total_commits": 1,
        "commits": [commits[one.head]],
        "files": files,
    }


def _pull(service: Service, one: Deployed) -> dict[str, Any]:
    number = one.change.pull_request
    return {
        "url": f"{API}/repos/{service.repository}/pulls/{number}",
        "id": 400000 + number,
        "html_url": f"{WEB}/{service.repository}/pull/{number}",
        "number": number,
        "state": "closed",
        "locked": False,
        "title": one.change.subject,
        "user": _user(one.change.author),
        "body": None,
        "labels": [],
        "draft": False,
        "created_at": zulu(one.merged_at - timedelta(hours=3)),
        "updated_at": zulu(one.merged_at),
        "closed_at": zulu(one.merged_at),
        "merged_at": zulu(one.merged_at),
        "merge_commit_sha": one.head,
        "head": {"ref": f"change-{number}", "sha": one.head},
        "base": {"ref": scenario.DEFAULT_BRANCH, "sha": one.base, "repo": {"full_name": service.repository}},
    }


def _utc(text: str) -> str:
    return zulu(datetime.fromisoformat(text))
