"""Groups from GitHub: `github:@acme/payments` is a team, `github:acme/checkout` whoever may read a repository.

People are known by the addresses in the organization's verified domains (`organizationVerifiedDomainEmails`), which
GitHub tells an owner's token alone; a profile's public address is its owner's own word and is not asked for.
Source: https://docs.github.com/graphql (Organization.teams, Team.members, Repository.collaborators).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from integrations.errors import Denied, Malformed, Unavailable
from integrations.http import Api, Egress, client
from integrations.reading import mapping, objects, text

MAX_PAGES = 500
TIMEOUT_SECONDS = 10.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_PEOPLE = "pageInfo { hasNextPage endCursor } nodes { organizationVerifiedDomainEmails(login: $org) }"
TEAMS = """query($org: String!, $after: String) { organization(login: $org) { found: teams(first: 100, after: $after) {
 pageInfo { hasNextPage endCursor } nodes { slug } } } }"""
MEMBERS = f"""query($org: String!, $of: String!, $after: String) {{ organization(login: $org) {{ team(slug: $of) {{
 found: members(first: 100, after: $after) {{ {_PEOPLE} }} }} }} }}"""
COLLABORATORS = f"""query($org: String!, $of: String!, $after: String) {{ repository(owner: $org, name: $of) {{
 found: collaborators(first: 100, after: $after) {{ {_PEOPLE} }} }} }}"""
_WAY = {TEAMS: ("organization",), MEMBERS: ("organization", "team"), COLLABORATORS: ("repository",)}


class GitHubTeams:
    """A `GroupSource` over one organization: its teams, and the collaborators of the repositories that are named."""

    def __init__(
        self,
        *,
        url: str,
        token: str,
        egress: Egress,
        organization: str,
        repositories: Sequence[str] = (),
        name: str = "github",
    ) -> None:
        """`repositories` as owner/name; those of other owners are refused. Raises ValueError for what is no name."""
        if not _NAME.fullmatch(organization):
            raise ValueError(f"not an organization: {organization!r}")
        for repository in repositories:
            owner, _, rest = repository.partition("/")
            if owner.lower() != organization.lower() or not _NAME.fullmatch(rest):
                raise ValueError(f"not a repository of {organization}: {repository!r}")
        self.name = name
        self._organization = organization
        self._repositories = tuple(one.partition("/")[2] for one in repositories)
        base = url.rstrip("/")
        # GitHub Enterprise Server: /api/v3 for REST, /api/graphql for GraphQL.
        self._path = base.removesuffix("/v3") + "/graphql" if base.endswith("/api/v3") else base + "/graphql"
        headers = {"Authorization": f"Bearer {token}", "User-Agent": "sitrep"}
        self._api = Api(
            name,
            client(egress, name, base + "/", headers=headers, timeout_seconds=TIMEOUT_SECONDS),
            credential="GITHUB_TOKEN",
            address="GITHUB_API_URL",
            timeout_seconds=TIMEOUT_SECONDS,
            answer_limit_bytes=egress.answer_limit_bytes,
        )

    async def aclose(self) -> None:
        await self._api.aclose()

    async def groups(self) -> Mapping[str, frozenset[str]]:
        """Raises Unavailable, Denied or Malformed; half a list is no list."""
        found: dict[str, frozenset[str]] = {}
        slugs = [text(node.get("slug"), 200) async for node in self._nodes(TEAMS, "")]
        for slug in slugs:
            if not slug:
                raise Malformed(self.name, "a team without slug")
            found[f"{self.name}:@{self._organization}/{slug}"] = await self._people(MEMBERS, slug)
        for repository in self._repositories:
            found[f"{self.name}:{self._organization}/{repository}"] = await self._people(COLLABORATORS, repository)
        return found

    async def _people(self, query: str, of: str) -> frozenset[str]:
        emails = set()
        async for node in self._nodes(query, of):
            addresses = node.get("organizationVerifiedDomainEmails")
            if not isinstance(addresses, list):
                raise Denied(
                    self.name, "does not tell verified addresses; the token needs an organization owner's rights"
                )
            emails |= {text(one, 320).strip().lower() for one in addresses if "@" in text(one, 320)}
        return frozenset(emails)

    async def _nodes(self, query: str, of: str) -> AsyncIterator[Mapping[str, Any]]:
        """Every node of the connection `found`, over all pages."""
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            variables = {"org": self._organization, "after": cursor} | ({"of": of} if of else {})
            data = mapping(
                await self._api.json(self._path, method="POST", body={"query": query, "variables": variables})
            )
            self._no_errors(data)
            place = mapping(data.get("data"))
            for step in _WAY[query]:
                place = mapping(place.get(step))
            connection = mapping(place.get("found"))
            page, nodes = mapping(connection.get("pageInfo")), connection.get("nodes")
            if not isinstance(nodes, list) or not isinstance(page.get("hasNextPage"), bool):
                raise Malformed(self.name, "an answer without nodes and pageInfo")
            if len(list(objects(nodes))) != len(nodes):
                raise Malformed(self.name, "a node that is no object")
            for node in objects(nodes):
                yield node
            if not page["hasNextPage"]:
                return
            cursor = text(page.get("endCursor"))
            if not cursor or cursor in seen:
                raise Malformed(self.name, "a page's cursor is empty or repeats")
            seen.add(cursor)
        raise Malformed(self.name, f"more than {MAX_PAGES} pages")

    def _no_errors(self, data: Mapping[str, Any]) -> None:
        """GraphQL answers errors with status 200, beside what it could read; that half does not count."""
        errors = list(objects(data.get("errors")))
        if not errors and not data.get("errors"):
            return
        kinds = {text(error.get("type")) for error in errors}
        if "RATE_LIMITED" in kinds:
            raise Unavailable(self.name, "rate limited", retry_after_seconds=60.0)
        if kinds & {"FORBIDDEN", "INSUFFICIENT_SCOPES", "NOT_FOUND"}:
            raise Denied(self.name, "refused; GITHUB_TOKEN needs read:org and an organization owner's rights")
        raise Malformed(self.name, "answered errors")
