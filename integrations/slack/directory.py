"""`Directory` on Slack: people, user groups, channels and their members. Each answer is complete or raises.

A person whose flags are absent, or whose team is another, is never a full member (docs.slack.dev/reference/objects/
user-object): absent flags say nothing, they do not say "no guest". Slack says so of every active user; a local server
that says it of none knows neither guests nor shared channels, and there, and only there, absent means no.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from integrations.asking import Now, utc_now
from integrations.errors import Malformed
from integrations.records import EVERYONE, WORLD, Channel, Person
from integrations.slack.web import SYSTEM, SlackWeb

PEOPLE_PAGE = 900
MEMBERS_PAGE = 200
MAX_WAIT_SECONDS = 120.0
"""All rate limits together that one list may wait out."""
SHARE_FLAGS = ("is_shared", "is_ext_shared", "is_org_shared")
_USER = re.compile(r"[A-Z0-9]{2,40}\Z")
Kind = Literal["full", "guest", "single_channel_guest", "stranger", "bot", "unknown"]


class SlackDirectory:
    """Who is who, and who is where, from one workspace's Web API."""

    name = "slack"

    def __init__(self, web: SlackWeb, *, now: Now = utc_now) -> None:
        self._web = web
        self._now = now
        self._tells_guests: bool | None = None

    async def team_id(self) -> str:
        team = (await self._web.identity()).get("team_id")
        if not isinstance(team, str) or not team:
            raise Malformed(SYSTEM, "auth.test: an answer without team_id")
        return team

    async def people(self) -> Sequence[Person]:
        team, asked_at = await self.team_id(), self._now()
        people: dict[str, Person] = {}
        pages = self._web.pages("users.list", "members", {}, limit=PEOPLE_PAGE, wait_seconds=MAX_WAIT_SECONDS)
        async for page in pages:
            self._tells_guests = bool(self._tells_guests) or _tells_guests(page)
            for found in page:
                person = person_of(found, team, asked_at)
                people[person.id] = person
        if self._tells_guests:
            return tuple(people.values())
        return tuple(_without_guests(person, team) for person in people.values())

    async def person(self, person_id: str) -> Person:
        team, asked_at = await self.team_id(), self._now()
        data = await self._web.call("users.info", params={"user": person_id})
        person = person_of(data.get("user"), team, asked_at)
        if person.id != person_id:
            raise Malformed(SYSTEM, "users.info: an answer about somebody else")
        if person.kind == "unknown" and person.active and not await self._knows_guests():
            return _without_guests(person, team)
        return person

    async def _knows_guests(self) -> bool:
        if self._tells_guests is None:
            pages = self._web.pages("users.list", "members", {}, limit=PEOPLE_PAGE, wait_seconds=MAX_WAIT_SECONDS)
            tells = False
            async for page in pages:
                if tells := _tells_guests(page):
                    break
            self._tells_guests = tells
        return self._tells_guests

    async def groups(self) -> Mapping[str, frozenset[str]]:
        data = await self._web.call("usergroups.list", params={"include_users": "true", "include_count": "true"})
        listed = data.get("usergroups")
        if not isinstance(listed, list):
            raise Malformed(SYSTEM, "usergroups.list: an answer without 'usergroups'")
        groups: dict[str, frozenset[str]] = {}
        for found in listed:
            if not isinstance(found, Mapping) or not isinstance(found.get("id"), str):
                raise Malformed(SYSTEM, "usergroups.list: a group without id")
            handle = found.get("handle")
            if not isinstance(handle, str) or not handle or found.get("date_delete") or found.get("is_external"):
                continue
            if handle in (EVERYONE, WORLD):
                continue  # built-in groups are decided by us, not by whoever may name a user group
            groups[handle] = await self._members_of_group(found)
        return groups

    async def _members_of_group(self, found: Mapping[str, Any]) -> frozenset[str]:
        users = found.get("users")
        count = str(found.get("user_count", ""))
        if isinstance(users, list) and (not count.isdigit() or int(count) == len(users)):
            return _ids("usergroups.list", users)
        data = await self._web.call("usergroups.users.list", params={"usergroup": found["id"]})
        return _ids("usergroups.users.list", data.get("users"))

    async def channel(self, channel_id: str) -> Channel:
        data = await self._web.call("conversations.info", params={"channel": channel_id})
        found = data.get("channel")
        if not isinstance(found, Mapping) or found.get("id") != channel_id:
            raise Malformed(SYSTEM, "conversations.info: no such channel in the answer")
        if not any(name in found for name in SHARE_FLAGS) and not await self._knows_guests():
            found = {**found, "is_shared": False}
        return channel_of(found)

    async def members(self, channel_id: str) -> frozenset[str]:
        members: set[str] = set()
        pages = self._web.pages(
            "conversations.members", "members", {"channel": channel_id}, limit=MEMBERS_PAGE,
            wait_seconds=MAX_WAIT_SECONDS,
        )  # fmt: skip
        async for page in pages:
            members |= _ids("conversations.members", page)
        return frozenset(members)


def person_of(found: Any, team_id: str, asked_at: datetime) -> Person:
    """A user object as a `Person`. Raises Malformed for what has no usable id."""
    if not isinstance(found, Mapping) or not isinstance(found.get("id"), str) or not _USER.match(found["id"]):
        raise Malformed(SYSTEM, "a user without id")
    profile = found.get("profile")
    email = profile.get("email") if isinstance(profile, Mapping) else None
    if found.get("is_email_confirmed") is False:
        email = None  # an address that nobody confirmed would put its bearer into groups
    team = found.get("team_id")
    return Person(
        id=found["id"],
        email=email.lower() if isinstance(email, str) and "@" in email else None,
        kind=_kind(found, team_id),
        active=found.get("deleted") is not True,  # whoever may still be here counts as a reader
        team_id=team if isinstance(team, str) and team else None,
        seen_at=asked_at,
    )


def _kind(found: Mapping[str, Any], team_id: str) -> Kind:
    if found.get("is_bot") is True or found["id"] == "USLACKBOT":
        return "bot"
    team = found.get("team_id")
    if found.get("is_stranger") is True or (isinstance(team, str) and team and team != team_id):
        return "stranger"
    if found.get("is_ultra_restricted") is True:
        return "single_channel_guest"
    if found.get("is_restricted") is True:
        return "guest"
    flags = (found.get("is_restricted"), found.get("is_ultra_restricted"), found.get("is_bot"))
    if "deleted" not in found or team != team_id or any(flag is not False for flag in flags):
        return "unknown"
    return "full"


def _tells_guests(users: Sequence[Any]) -> bool:
    return any(isinstance(user, Mapping) and "is_restricted" in user for user in users)


def _without_guests(person: Person, team_id: str) -> Person:
    """On a server that knows no guests, whoever belongs to the workspace is a full member."""
    mine = person.kind == "unknown" and person.team_id == team_id
    return person.model_copy(update={"kind": "full"}) if mine else person


def channel_of(found: Mapping[str, Any]) -> Channel:
    """A conversation object as a `Channel`; every flag that would open it must be there. Raises Malformed."""
    private = found.get("is_private")
    if found.get("is_im") is True or found.get("is_mpim") is True:
        private = True
    flags = [found.get(name) for name in SHARE_FLAGS]
    if not isinstance(private, bool) or not any(isinstance(flag, bool) for flag in flags):
        raise Malformed(SYSTEM, "conversations.info: a channel that does not say whether it is private or shared")
    waiting = (found.get("pending_shared"), found.get("pending_connected_team_ids"))
    name = found.get("name")
    return Channel(
        id=str(found["id"]),
        name=name if isinstance(name, str) else "",
        private=private,
        shared=any(flag is True for flag in flags),
        pending_share=found.get("is_pending_ext_shared") is True or any(bool(one) for one in waiting),
        archived=found.get("is_archived") is True,
    )


def _ids(method: str, users: Any) -> frozenset[str]:
    if not isinstance(users, list) or not all(isinstance(one, str) and _USER.match(one) for one in users):
        raise Malformed(SYSTEM, f"{method}: a list with something that is no user id")
    return frozenset(users)
