"""Slack: posting and finding messages, and who is who and where. On slack_sdk's AsyncWebClient, its retries off.

Slack answers errors as 200 with `ok: false`. Lists are paged until the cursor is empty: pages may be short before the
end, and a cursor that repeats is a list that never ends. Half a list is no list.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from integrations.errors import Denied, IntegrationError, Malformed, Refused, Unavailable
from integrations.ports import Message, Posted
from integrations.records import Channel, Person

SYSTEM = "slack"
PAGE = 200
MAX_PAGES = 500
HISTORY_PAGES = 5
EVENT_TYPE = "sitrep_post"
MAX_BLOCK_ID = 255

_LATER = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)
_DENIED = frozenset(
    {
        "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope",
        "not_in_channel", "channel_not_found", "is_archived", "restricted_action", "no_permission", "ekm_access_denied",
        "org_login_required", "access_denied", "not_allowed_token_type", "team_access_not_granted",
    }
)  # fmt: skip


def web_client(token: str, api_url: str, session: aiohttp.ClientSession) -> AsyncWebClient:
    """A client that sends once, through our session only, and reads no proxy from the environment."""
    client = AsyncWebClient(token=token, base_url=api_url.rstrip("/") + "/", session=session, retry_handlers=[])
    client.proxy = None
    return client


@contextlib.asynccontextmanager
async def _one_call(*, effect: bool = False) -> AsyncIterator[None]:
    """Every way a call can fail, as one of our errors. With `effect` a broken answer may hide one that happened."""
    try:
        yield
    except SlackApiError as refused:
        raise _error(refused) from None
    except aiohttp.ClientConnectorError:
        raise Unavailable(SYSTEM, "cannot be reached") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as broken:
        raise Unavailable(SYSTEM, f"no answer ({type(broken).__name__})", answer_lost=effect) from None
    except (SlackClientError, ValueError, TypeError, AttributeError, KeyError) as odd:
        raise Malformed(SYSTEM, f"an answer that is not Slack's ({type(odd).__name__})") from None


def _error(refused: SlackApiError) -> IntegrationError:
    response: Any = refused.response
    status = getattr(response, "status_code", 200)
    data = getattr(response, "data", None)
    code = str(data.get("error", "")) if isinstance(data, Mapping) else ""
    if status == 429 or code in ("ratelimited", "rate_limited"):
        headers = {str(k).lower(): v for k, v in (getattr(response, "headers", None) or {}).items()}
        seconds = str(headers.get("retry-after", "1"))
        wait = float(seconds) if seconds.replace(".", "", 1).isdigit() else 1.0
        return Unavailable(SYSTEM, "rate limited", retry_after_seconds=min(wait, 3600.0))
    if status >= 500 or code in _LATER:
        return Unavailable(SYSTEM, f"answered {status} {code}".strip(), answer_lost=True)
    if code in _DENIED or status in (401, 403):
        return Denied(SYSTEM, code or f"answered {status}")
    if not code:
        return Malformed(SYSTEM, f"answered {status} without Slack's own form")
    return Refused(SYSTEM, f"refused: {code}", code=code)


async def _pages(call: Any, key: str, **parameters: Any) -> AsyncIterator[list[Any]]:
    """Each page's list until the cursor is empty."""
    cursor, seen = "", set[str]()
    for _ in range(MAX_PAGES):
        async with _one_call():
            answer = await call(limit=PAGE, **({"cursor": cursor} if cursor else {}), **parameters)
            page = answer.get(key)
            cursor = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
        if not isinstance(page, list):
            raise Malformed(SYSTEM, f"a page without {key!r}")
        yield page
        if not cursor:
            return
        if cursor in seen:
            raise Malformed(SYSTEM, "a page's cursor repeats")
        seen.add(cursor)
    raise Malformed(SYSTEM, f"more than {MAX_PAGES} pages")


class SlackPoster:
    """`Poster` over chat.postMessage, chat.update and the channel's history. Unfurls nothing, parses nothing."""

    def __init__(self, client: AsyncWebClient) -> None:
        self._client = client

    async def post(self, message: Message) -> Posted:
        async with _one_call(effect=True):
            answer = await self._client.chat_postMessage(
                channel=message.channel,
                thread_ts=message.thread_ts,
                reply_broadcast=True if message.broadcast and message.thread_ts else None,
                unfurl_links=False,
                unfurl_media=False,
                parse="none",
                **self._content(message),
            )
            return Posted(str(answer["channel"]), str(answer["ts"]))

    async def update(self, posted: Posted, message: Message) -> None:
        async with _one_call():
            await self._client.chat_update(channel=posted.channel, ts=posted.ts, parse="none", **self._content(message))

    async def find(self, channel: str, mark: str, since: datetime, thread_ts: str | None) -> Posted | None:
        cursor, oldest = "", f"{since.timestamp():.6f}"
        for _ in range(HISTORY_PAGES):
            async with _one_call():
                more: dict[str, Any] = {"cursor": cursor} if cursor else {}
                if thread_ts is None:
                    answer = await self._client.conversations_history(
                        channel=channel, oldest=oldest, limit=100, include_all_metadata=True, **more
                    )
                else:
                    answer = await self._client.conversations_replies(
                        channel=channel, ts=thread_ts, oldest=oldest, limit=100, include_all_metadata=True, **more
                    )
                messages = answer.get("messages") or []
                found = next((str(one["ts"]) for one in messages if _carries(one, mark)), None)
                cursor = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
            if found is not None:
                return Posted(channel, found)
            if not cursor:
                return None
        return None

    @staticmethod
    def _content(message: Message) -> dict[str, Any]:
        """Text, blocks and the mark: in the metadata and, since some servers drop those, in the first block's id."""
        blocks = [dict(block) for block in message.blocks]
        if blocks:
            blocks[0]["block_id"] = message.mark[:MAX_BLOCK_ID]
        return {
            "text": message.text,
            "blocks": blocks,
            "metadata": {"event_type": EVENT_TYPE, "event_payload": {"mark": message.mark}},
        }


def _carries(message: Any, mark: str) -> bool:
    metadata = message.get("metadata") or {}
    if (metadata.get("event_payload") or {}).get("mark") == mark:
        return True
    blocks = message.get("blocks") or []
    return bool(blocks) and blocks[0].get("block_id") == mark[:MAX_BLOCK_ID]


class SlackDirectory:
    """`Directory` over users.list, usergroups.list, conversations.info and conversations.members."""

    name = SYSTEM

    def __init__(self, client: AsyncWebClient) -> None:
        self._client = client
        self._team: str | None = None
        self._tells_guests: bool | None = None

    async def team_id(self) -> str:
        if self._team is None:
            async with _one_call():
                answer = await self._client.auth_test()
                self._team = str(answer["team_id"])
        return self._team

    async def people(self) -> Sequence[Person]:
        asked_at, own = datetime.now(UTC), await self.team_id()
        found: list[Person] = []
        async for page in _pages(self._client.users_list, "members"):
            self._tells_guests = bool(self._tells_guests) or _tells_guests(page)
            found += [person_of(one, own, asked_at) for one in page]
        return found if self._tells_guests else [_as_told(one, own) for one in found]

    async def person(self, person_id: str) -> Person:
        asked_at, own = datetime.now(UTC), await self.team_id()
        async with _one_call():
            answer = await self._client.users_info(user=person_id)
            found = person_of(answer["user"], own, asked_at)
        if found.kind == "unknown" and self._tells_guests is None:
            async for page in _pages(self._client.users_list, "members"):
                self._tells_guests = _tells_guests(page)
                break
        return found if self._tells_guests is not False else _as_told(found, own)

    async def groups(self) -> Mapping[str, frozenset[str]]:
        async with _one_call():
            answer = await self._client.usergroups_list(include_users=True, include_disabled=False)
            groups = answer.get("usergroups")
        if not isinstance(groups, list):
            raise Malformed(SYSTEM, "an answer without 'usergroups'")
        found: dict[str, frozenset[str]] = {}
        for group in groups:
            users = group.get("users")
            if users is None:
                async with _one_call():
                    users = (await self._client.usergroups_users_list(usergroup=group["id"])).get("users")
            if not isinstance(users, list):
                raise Malformed(SYSTEM, "a user group without its users")
            found[str(group["handle"])] = frozenset(map(str, users))
        return found

    async def channel(self, channel_id: str) -> Channel:
        async with _one_call():
            answer = await self._client.conversations_info(channel=channel_id)
            return channel_of(answer["channel"])

    async def members(self, channel_id: str) -> frozenset[str]:
        found: set[str] = set()
        async for page in _pages(self._client.conversations_members, "members", channel=channel_id):
            found.update(map(str, page))
        return frozenset(found)


def person_of(user: Mapping[str, Any], own_team: str, seen_at: datetime) -> Person:
    """A user object as a Person. Whoever is foreign or whose flags are absent is never a full member."""
    profile = user.get("profile") or {}
    team = user.get("team_id")
    confirmed = user.get("is_email_confirmed", True)
    email = profile.get("email") if confirmed and isinstance(profile.get("email"), str) else None
    foreign = bool(user.get("is_stranger")) or (team is not None and team != own_team)
    flags = [user.get(name) for name in ("is_restricted", "is_ultra_restricted")]
    kind: Any = "unknown"
    if user.get("is_bot") or user.get("id") == "USLACKBOT":
        kind = "bot"
    elif foreign:
        kind = "stranger"
    elif flags[1]:
        kind = "single_channel_guest"
    elif flags[0]:
        kind = "guest"
    elif team == own_team and all(flag is False for flag in flags):
        kind = "full"
    return Person(
        id=str(user["id"]), email=email, kind=kind, active=not user.get("deleted", False), team_id=team, seen_at=seen_at
    )


def _tells_guests(users: Sequence[Any]) -> bool:
    """Whether this server knows guests at all: Slack says so of every active user, some local servers of none."""
    return any("is_restricted" in user for user in users)


def _as_told(person: Person, own_team: str) -> Person:
    """On a server without guests, whoever is of the workspace is a full member of it."""
    mine = person.kind == "unknown" and person.team_id == own_team
    return person.model_copy(update={"kind": "full"}) if mine else person


def channel_of(channel: Mapping[str, Any]) -> Channel:
    """A conversation object as a Channel. What it does not say of its kind is private; of sharing, pending."""
    private = channel.get("is_private", True) or channel.get("is_im", False) or channel.get("is_mpim", False)
    pending = bool(
        channel.get("is_pending_ext_shared")
        or channel.get("pending_shared")
        or channel.get("pending_connected_team_ids")
    )
    return Channel(
        id=str(channel["id"]),
        name=str(channel.get("name") or channel["id"]),
        private=bool(private),
        shared=bool(channel.get("is_ext_shared") or channel.get("is_org_shared") or channel.get("is_shared")),
        pending_share=pending,
        archived=bool(channel.get("is_archived")),
    )


class ChannelNames:
    """Channel ids for the names that the settings use; read once, and again when a name is not known."""

    def __init__(self, client: AsyncWebClient) -> None:
        self._client = client
        self._ids: dict[str, str] = {}
        self._reading = asyncio.Lock()

    async def channel_id(self, name: str) -> str:
        """The id of `#name`; an id, or a name that cannot be resolved now, is returned as it is."""
        if not name.startswith("#"):
            return name
        if name not in self._ids:
            async with self._reading:
                with contextlib.suppress(IntegrationError):
                    await self._read()
        return self._ids.get(name, name)

    async def _read(self) -> None:
        kinds = "public_channel,private_channel"
        async for page in _pages(self._client.conversations_list, "channels", types=kinds, exclude_archived=True):
            self._ids |= {f"#{one['name']}": str(one["id"]) for one in page if one.get("name")}
