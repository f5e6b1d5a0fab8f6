"""`ChannelMaker` on Slack: conversations.create, .invite, .setTopic, .setPurpose.

Sources: docs.slack.dev/reference/methods/conversations.create and …/conversations.invite. A private channel needs
`groups:write`, a public one `channels:manage`. An answer that was lost leaves a channel of ours: its name is taken
then, and it is known by its creator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from integrations.asking import utc_now
from integrations.errors import Malformed, Refused
from integrations.slack.directory import person_of
from integrations.slack.web import SYSTEM, SlackWeb

MAX_TOPIC = 250
INVITED_AT_ONCE = 100
"""conversations.invite takes up to a hundred."""
NAME_TAKEN = "name_taken"


class SlackChannels:
    """On the same client as the posts."""

    def __init__(self, web: SlackWeb) -> None:
        self._web = web

    async def make(self, name: str, *, private: bool) -> str:
        try:
            made = await self._web.call("conversations.create", body={"name": name, "is_private": private}, effect=True)
        except Refused as refused:
            if refused.code == NAME_TAKEN and (ours := await self._made(name)) is not None:
                return ours
            raise
        channel = made.get("channel")
        channel_id = channel.get("id") if isinstance(channel, Mapping) else None
        if not isinstance(channel_id, str) or not channel_id:
            raise Malformed(SYSTEM, "conversations.create: an answer without the channel's id")
        return channel_id

    async def describe(self, channel_id: str, topic: str, purpose: str) -> None:
        for method, key, words in (
            ("conversations.setTopic", "topic", topic), ("conversations.setPurpose", "purpose", purpose),
        ):  # fmt: skip
            await self._web.call(method, body={"channel": channel_id, key: words[:MAX_TOPIC]}, effect=True)

    async def person_of(self, email: str) -> str | None:
        """`users.lookupByEmail` (`users:read.email`): it finds nobody who has left."""
        try:
            found = (await self._web.call("users.lookupByEmail", params={"email": email})).get("user")
        except Refused as refused:
            if refused.code == "users_not_found":
                return None
            raise
        person = person_of(found, str((await self._web.identity()).get("team_id")), utc_now())
        known = person.active and person.kind not in ("bot", "stranger") and person.email == email.lower()
        return person.id if known else None

    async def invite(self, channel_id: str, people: Sequence[str]) -> frozenset[str]:
        there = await self._members(channel_id)
        missing = [one for one in dict.fromkeys(people) if one not in there]
        for first in range(0, len(missing), INVITED_AT_ONCE):
            some = missing[first : first + INVITED_AT_ONCE]
            body = {"channel": channel_id, "users": ",".join(some), "force": True}
            try:
                await self._web.call("conversations.invite", body=body, effect=True)
            except Refused:
                continue  # with `force` whoever can be invited was; who is in the channel is read below
        return (await self._members(channel_id) if missing else there) & frozenset(people)

    async def _members(self, channel_id: str) -> frozenset[str]:
        members: set[str] = set()
        async for page in self._web.pages("conversations.members", "members", {"channel": channel_id}):
            members |= {one for one in page if isinstance(one, str)}
        return frozenset(members)

    async def _made(self, name: str) -> str | None:
        """A channel of this name that this app made and is in."""
        ours = (await self._web.identity()).get("user_id")
        params = {"types": "public_channel,private_channel", "exclude_archived": "true"}
        async for page in self._web.pages("users.conversations", "channels", params, limit=900):
            for one in page:
                if isinstance(one, Mapping) and one.get("name") == name and ours and one.get("creator") == ours:
                    return str(one.get("id"))
        return None
