"""GitHub's REST API: repository, commits, compare, deployments and their statuses, pull requests, releases."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from demo.systems.pages import github_pages
from demo.tape import Tape

LIMIT = 5000
RATE_LIMITED = {"x-ratelimit-limit": str(LIMIT), "x-ratelimit-remaining": "0"}


class _GitHub:
    """Answers from the recording; whoever comes without a token is told that nothing exists, as GitHub does."""

    def __init__(self, tape: Tape, token: str) -> None:
        self._tape = tape
        self._token = token
        self._used = 0

    def routes(self) -> list[Route]:
        base = "/repos/{owner}/{name}"
        listed: dict[str, Callable[[Request, dict[str, Any]], Response]] = {
            base: lambda request, repo: self._json(repo["repository"]),
            f"{base}/commits": self._commits,
            f"{base}/commits/{{ref}}": self._commit,
            f"{base}/commits/{{ref}}/pulls": self._pulls_of_commit,
            f"{base}/compare/{{range:path}}": self._compare,
            f"{base}/deployments": self._deployments,
            f"{base}/deployments/{{number}}": self._deployment,
            f"{base}/deployments/{{number}}/statuses": self._statuses,
            f"{base}/pulls": self._pulls,
            f"{base}/pulls/{{number}}": self._pull,
            f"{base}/releases": lambda request, repo: self._page(request, repo["releases"]),
        }
        return [Route("/rate_limit", self._rate_limit), *[Route(path, self._in(fn)) for path, fn in listed.items()]]

    def _in(self, answer: Callable[[Request, dict[str, Any]], Response]) -> Callable[[Request], Response]:
        def handle(request: Request) -> Response:
            self._used += 1
            if not self._known(request):
                return self._json({"message": "Bad credentials", "status": "401"}, 401)
            repository = f"{request.path_params['owner']}/{request.path_params['name']}".lower()
            for name, answers in self._tape.github.items():
                if name.lower() == repository:
                    return answer(request, answers)
            return self._missing()

        return handle

    def _known(self, request: Request) -> bool:
        return request.headers.get("authorization", "") in (f"Bearer {self._token}", f"token {self._token}")

    def _rate_limit(self, request: Request) -> Response:
        core = {"limit": LIMIT, "used": self._used, "remaining": LIMIT - self._used, "reset": self._reset()}
        return self._json({"resources": {"core": core}, "rate": core})

    def _commits(self, request: Request, repo: dict[str, Any]) -> Response:
        asked = request.query_params
        commits = [one for one in repo["commits"] if self._within(one["commit"]["committer"]["date"], asked)]
        start = asked.get("sha")
        if start and start != repo["repository"]["default_branch"]:
            shas = [one["sha"] for one in commits]
            if start not in shas:
                return self._missing()
            commits = commits[shas.index(start) :]
        return self._page(request, commits)

    def _commit(self, request: Request, repo: dict[str, Any]) -> Response:
        wanted = request.path_params["ref"]
        if wanted == repo["repository"]["default_branch"]:
            wanted = repo["commits"][0]["sha"]
        for one in repo["commits"]:
            if one["sha"].startswith(wanted) and len(wanted) >= 7:
                files = next((two["files"] for key, two in repo["compare"].items() if key.endswith(one["sha"])), [])
                stats = {key: sum(file[key] for file in files) for key in ("additions", "deletions")}
                return self._json({**one, "files": files, "stats": {**stats, "total": sum(stats.values())}})
        return self._json({"message": f"No commit found for SHA: {wanted}", "status": "422"}, 422)

    def _pulls_of_commit(self, request: Request, repo: dict[str, Any]) -> Response:
        wanted = request.path_params["ref"]
        return self._page(request, [one for one in repo["pulls"] if one["merge_commit_sha"].startswith(wanted)])

    def _compare(self, request: Request, repo: dict[str, Any]) -> Response:
        base, _, head = request.path_params["range"].partition("...")
        shas = [one["sha"] for one in repo["commits"]]
        full = [next((sha for sha in shas if wanted and sha.startswith(wanted)), None) for wanted in (base, head)]
        if None in full:
            return self._missing()
        answer = repo["compare"].get("...".join(str(one) for one in full)) or self._computed(repo, shas, full)
        if "diff" in request.headers.get("accept", ""):
            text = "\n".join(
                f"--- a/{one['filename']}\n+++ b/{one['filename']}\n{one['patch']}" for one in answer["files"]
            )
            return PlainTextResponse(text + "\n")
        return self._json(answer)

    def _computed(self, repo: dict[str, Any], shas: list[str], full: list[str | None]) -> dict[str, Any]:
        """Any other pair of the few commits there are, from what each of them changed."""
        base, head = (shas.index(str(one)) for one in full)
        between = shas[head:base]
        files = [
            file for sha in reversed(between) for key, one in repo["compare"].items() if key.endswith(sha)
            for file in one["files"]
        ]  # fmt: skip
        commits = {one["sha"]: one for one in repo["commits"]}
        url = f"https://github.com/{repo['repository']['full_name']}/compare/{full[0]}...{full[1]}"
        status = "identical" if base == head else "ahead" if between else "behind"
        return {
            "url": f"{repo['repository']['url']}/compare/{full[0]}...{full[1]}",
            "html_url": url,
            "permalink_url": url,
            "diff_url": f"{url}.diff",
            "patch_url": f"{url}.patch",
            "base_commit": commits[shas[base]],
            "merge_base_commit": commits[shas[max(base, head)]],
            "status": status,
            "ahead_by": len(between),
            "behind_by": max(0, head - base),
            "total_commits": len(between),
            "commits": [commits[sha] for sha in reversed(between)],
            "files": files,
        }

    def _deployments(self, request: Request, repo: dict[str, Any]) -> Response:
        asked = request.query_params
        found = [
            one for one in repo["deployments"]
            if all(asked.get(key) in (None, "", one[key]) for key in ("sha", "ref", "task", "environment"))
        ]  # fmt: skip
        return self._page(request, found)

    def _deployment(self, request: Request, repo: dict[str, Any]) -> Response:
        found = [one for one in repo["deployments"] if str(one["id"]) == request.path_params["number"]]
        return self._json(found[0]) if found else self._missing()

    def _statuses(self, request: Request, repo: dict[str, Any]) -> Response:
        found = repo["statuses"].get(request.path_params["number"])
        return self._missing() if found is None else self._page(request, found)

    def _pulls(self, request: Request, repo: dict[str, Any]) -> Response:
        asked = request.query_params
        found = [
            one for one in repo["pulls"]
            if asked.get("state", "open") in ("all", one["state"])
            and asked.get("base") in (None, "", one["base"]["ref"])
        ]  # fmt: skip
        key = {"updated": "updated_at", "created": "created_at"}.get(asked.get("sort", "created"), "created_at")
        found.sort(key=lambda one: one[key], reverse=asked.get("direction", "desc") == "desc")
        return self._page(request, found)

    def _pull(self, request: Request, repo: dict[str, Any]) -> Response:
        found = [one for one in repo["pulls"] if str(one["number"]) == request.path_params["number"]]
        return self._json({**found[0], "merged": True}) if found else self._missing()

    def _within(self, date: str, asked: Any) -> bool:
        at = self._tape.shifted(date)
        return (asked.get("since") or "") <= at <= (asked.get("until") or "9")

    def _page(self, request: Request, found: list[Any]) -> Response:
        """One page: `per_page` at most 100, default 30, `Link` to the others. What has not happened yet is left out."""
        try:
            size = max(1, min(100, int(request.query_params.get("per_page", 30))))
            page = max(1, int(request.query_params.get("page", 1)))
        except ValueError:
            size, page = 30, 1
        now = self._tape.clock()
        found = [
            one for one in found if "created_at" not in one or _epoch(self._tape.shifted(one["created_at"])) <= now
        ]
        last = max(1, math.ceil(len(found) / size))
        links = []
        for relation, number in (("prev", page - 1), ("next", page + 1), ("last", last), ("first", 1)):
            if (
                1 <= number <= last
                and not (relation == "last" and page >= last)
                and not (relation == "first" and page == 1)
            ):
                links.append(f'<{request.url.include_query_params(page=number)}>; rel="{relation}"')
        answer = self._json(found[(page - 1) * size : page * size])
        if links:
            answer.headers["link"] = ", ".join(links)
        return answer

    def _json(self, body: Any, status: int = 200) -> JSONResponse:
        headers = {
            "x-github-media-type": "github.v3; format=json",
            "x-ratelimit-limit": str(LIMIT),
            "x-ratelimit-remaining": str(LIMIT - self._used),
            "x-ratelimit-used": str(self._used),
            "x-ratelimit-reset": str(self._reset()),
            "x-ratelimit-resource": "core",
        }
        return JSONResponse(self._tape.shifted(body), status, headers)

    def _missing(self) -> JSONResponse:
        return self._json(
            {"message": "Not Found", "documentation_url": "https://docs.github.com/rest", "status": "404"}, 404
        )

    def _reset(self) -> int:
        return (int(self._tape.clock()) // 3600 + 1) * 3600


def github(tape: Tape, token: str) -> Starlette:
    """The application; `token` is the only one that it knows."""
    return Starlette(routes=[*_GitHub(tape, token).routes(), *github_pages(tape)])


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
