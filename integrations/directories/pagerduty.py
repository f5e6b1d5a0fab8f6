"""Groups from PagerDuty: `pagerduty` is everybody with a login, `pagerduty:<team>` a team, by login e-mail.

Source: https://developer.pagerduty.com/api-reference (GET /users?include[]=teams); 100 a page, at most 10,000 in all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from integrations.errors import Malformed
from integrations.http import Api, Egress, client
from integrations.reading import mapping, text

PAGE = 100
MOST = 10_000
TIMEOUT_SECONDS = 10.0


class PagerDutyTeams:
    """A `GroupSource` over one account. An address changes only with its owner's word, so it counts as verified."""

    def __init__(self, *, url: str, token: str, egress: Egress, name: str = "pagerduty") -> None:
        self.name = name
        headers = {
            "Authorization": f"Token token={token}",
            "Accept": "application/vnd.pagerduty+json;version=2",
            "User-Agent": "sitrep",
        }
        self._api = Api(
            name,
            client(egress, name, url.rstrip("/") + "/", headers=headers, timeout_seconds=TIMEOUT_SECONDS),
            credential="PAGERDUTY_API_TOKEN",
            address="PAGERDUTY_API_URL",
            timeout_seconds=TIMEOUT_SECONDS,
            answer_limit_bytes=egress.answer_limit_bytes,
        )

    async def aclose(self) -> None:
        await self._api.aclose()

    async def groups(self) -> Mapping[str, frozenset[str]]:
        """Raises Unavailable, Denied or Malformed; half a list is no list."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        seen: set[str] = set()
        for offset in range(0, MOST, PAGE):
            page = mapping(await self._api.json("users", _parameters(offset)))
            users = page.get("users")
            if not isinstance(users, list) or not isinstance(page.get("more"), bool):
                raise Malformed(self.name, "a page of users without 'users' and 'more'")
            for user in users:
                self._add(found, seen, user)
            if not page["more"]:
                return {name: frozenset(emails) for name, emails in found.items()}
            if not users:
                raise Malformed(self.name, "an empty page before the last")
        raise Malformed(self.name, f"more than {MOST} users")

    def _add(self, found: defaultdict[str, set[str]], seen: set[str], user: Any) -> None:
        who = mapping(user)
        identity, email = text(who.get("id")), text(who.get("email"), 320).strip().lower()
        if not identity or identity in seen:
            raise Malformed(self.name, "a user without id, or twice")
        seen.add(identity)
        teams = who.get("teams")
        if "@" not in email or not isinstance(teams, list):
            raise Malformed(self.name, "a user without email or teams")
        found[self.name].add(email)
        for team in teams:
            if title := text(mapping(team).get("summary"), 200).strip():
                found[f"{self.name}:{title}"].add(email)


def _parameters(offset: int) -> dict[str, Any]:
    return {"include[]": "teams", "limit": PAGE, "offset": offset}
