"""One call of Slack's Web API: its whole answer, or exactly one of our errors.

Slack answers errors with 200 and `ok: false`; 429 carries `Retry-After` in seconds
(docs.slack.dev/apis/web-api, docs.slack.dev/apis/web-api/rate-limits). Texts name Slack's own error word and never a
body, since what a server writes is outside text.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from integrations.errors import Denied, IntegrationError, Malformed, NotIncluded, Refused, Unavailable
from integrations.http import wait_of

if TYPE_CHECKING:
    from slack_sdk.web.async_slack_response import AsyncSlackResponse

SYSTEM = "slack"
_LATER = frozenset(
    {
        "ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout",
        "team_added_to_org",
    }
)  # fmt: skip
_DENIED = frozenset(
    {
        "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "no_permission",
        "missing_scope", "not_allowed_token_type", "org_login_required", "access_denied", "ekm_access_denied",
        "team_access_not_granted", "accesslimited", "two_factor_setup_required", "not_in_channel", "is_archived",
        "restricted_action", "restricted_action_read_only_channel", "restricted_action_thread_only_channel",
        "restricted_action_non_threadable_channel", "method_not_supported_for_channel_type", "user_is_restricted",
        "unknown_method",
    }
)  # fmt: skip
_NOT_INCLUDED = frozenset({"paid_only", "paid_teams_only", "plan_upgrade_required"})
_NEVER_LEFT = (aiohttp.ClientConnectorError, aiohttp.InvalidURL)
_WORD = re.compile(r"[a-z0-9_.:,-]{1,200}\Z")
MAX_PAGES = 200


def web_client(token: str, base_url: str, session: aiohttp.ClientSession) -> AsyncWebClient:
    """The SDK's client without its own retries and without what it would read from the environment."""
    client = AsyncWebClient(token=token, base_url=base_url, session=session, retry_handlers=[])
    # It reads HTTP_PROXY by itself; an address that no setting names must change nothing.
    client.proxy = None
    return client


@dataclass(frozen=True, slots=True)
class Granted:
    """What Slack says of a token. `scopes` and `at` (its clock, whole seconds) are None where it does not say."""

    identity: Mapping[str, Any]
    scopes: frozenset[str] | None
    at: datetime | None


class SlackWeb:
    """Calls with one reading of how they fail. `timeout_seconds` holds for a whole exchange."""

    def __init__(self, client: AsyncWebClient, *, timeout_seconds: float = 10.0) -> None:
        self._client = client
        self._timeout = timeout_seconds
        self._identity: Mapping[str, Any] | None = None
        self._asking = asyncio.Lock()

    async def call(
        self,
        method: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        effect: bool = False,
    ) -> Mapping[str, Any]:
        """The answer's data. With `effect`, an answer that does not come counts as lost (it may have worked).

        Raises Unavailable, Denied, Malformed, or Refused with Slack's own error word as `code`.
        """
        return (await self._answer(method, params, body, effect))[0]

    async def _answer(
        self, method: str, params: Mapping[str, Any] | None, body: Mapping[str, Any] | None, effect: bool
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """The answer's data and its headers, names in lower case."""
        try:
            async with asyncio.timeout(self._timeout):
                if body is not None:
                    answer = await self._client.api_call(method, json=dict(body))
                else:
                    answer = await self._client.api_call(method, http_verb="GET", params=dict(params or {}))
        except SlackApiError as failed:
            raise _error_of(method, failed, effect) from None
        except IntegrationError:
            raise
        except TimeoutError:
            raise Unavailable(SYSTEM, f"{method}: no answer in {self._timeout:g} s", answer_lost=effect) from None
        except (aiohttp.ClientError, OSError) as failed:
            lost = effect and not isinstance(failed, _NEVER_LEFT)
            what = type(failed).__name__
            raise Unavailable(SYSTEM, f"{method}: no connection ({what})", answer_lost=lost) from None
        except (SlackClientError, AttributeError, TypeError, LookupError, ValueError) as failed:
            # The SDK reads an answer that is no JSON object with the wrong method.
            raise Malformed(SYSTEM, f"{method}: an answer that is not Slack's ({type(failed).__name__})") from None
        if not isinstance(answer.data, Mapping):
            raise Malformed(SYSTEM, f"{method}: an answer that is no JSON object")
        return answer.data, {str(name).lower(): str(value) for name, value in dict(answer.headers).items()}

    async def pages(
        self, method: str, key: str, params: Mapping[str, Any], *, limit: int = 200, wait_seconds: float = 0.0
    ) -> AsyncIterator[list[Any]]:
        """Each page's list until the cursor is empty; a page may be short, or empty, before the end.

        A rate limit is waited out, all waits together at most `wait_seconds`. A cursor that repeats, a missing list or
        pages without end are Malformed: half a list is no list.
        """
        cursor, seen, left = "", {""}, wait_seconds
        for _ in range(MAX_PAGES):
            asked = {**params, "limit": limit} | ({"cursor": cursor} if cursor else {})
            while True:
                try:
                    data = await self.call(method, params=asked)
                except Unavailable as failed:
                    pause = failed.retry_after_seconds
                    if pause is None or pause > left:
                        raise
                    left -= pause
                    await asyncio.sleep(pause)
                else:
                    break
            found = data.get(key)
            if not isinstance(found, list):
                raise Malformed(SYSTEM, f"{method}: an answer without {key!r}")
            yield found
            cursor = _next_cursor(method, data)
            if not cursor:
                return
            if cursor in seen:
                raise Malformed(SYSTEM, f"{method}: the same cursor twice")
            seen.add(cursor)
        raise Malformed(SYSTEM, f"{method}: more than {MAX_PAGES} pages")

    async def granted(self) -> Granted:
        """Whose token this is, what it may do, and Slack's clock: one `auth.test`, asked anew."""
        data, headers = await self._answer("auth.test", None, {}, False)
        scopes = headers.get("x-oauth-scopes")
        try:
            at = parsedate_to_datetime(headers.get("date", ""))
        except ValueError:
            at = None
        return Granted(
            identity=data,
            scopes=None if scopes is None else frozenset(filter(None, (one.strip() for one in scopes.split(",")))),
            at=at if at is not None and at.tzinfo is not None else None,
        )

    async def token_works(self) -> None:
        """Asks Slack now. Raises Denied when it takes the token no more."""
        await self.call("auth.test", body={})

    async def identity(self) -> Mapping[str, Any]:
        """`auth.test`, asked once: whose token this is, in which workspace."""
        async with self._asking:
            if self._identity is None:
                self._identity = await self.call("auth.test", body={})
        return self._identity


def _next_cursor(method: str, data: Mapping[str, Any]) -> str:
    metadata = data.get("response_metadata")
    if metadata is None:
        return ""
    cursor = metadata.get("next_cursor", "") if isinstance(metadata, Mapping) else None
    if cursor is None and isinstance(metadata, Mapping):
        return ""
    if not isinstance(cursor, str):
        raise Malformed(SYSTEM, f"{method}: a cursor that is no text")
    return cursor


def _error_of(method: str, failed: SlackApiError, effect: bool) -> IntegrationError:
    response: AsyncSlackResponse | aiohttp.ClientResponse = failed.response
    # The SDK hands over its own response, or aiohttp's where it could not read the body.
    status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0))
    headers = {str(name).lower(): str(value) for name, value in dict(response.headers).items()}
    data = getattr(response, "data", None)
    code, needed = "", ""
    if isinstance(data, Mapping):
        code, needed = _word(data.get("error")), _word(data.get("needed"))
    wait = wait_of(headers, datetime.now(UTC))
    if status == 429 or code in ("ratelimited", "rate_limited"):
        asked = "" if wait is None else f", asks to wait {wait:.0f} s"
        return Unavailable(SYSTEM, f"{method}: rate limit reached{asked}", retry_after_seconds=wait)
    if status >= 500 or status == 408 or code in _LATER:
        # Slack says of `fatal_error` that some of the operation may have succeeded.
        return Unavailable(SYSTEM, f"{method}: answered {code or status}", retry_after_seconds=wait, answer_lost=effect)
    if code in _NOT_INCLUDED:
        return NotIncluded(SYSTEM, f"{method}: not included in this plan ({code})")
    if code in _DENIED:
        missing = f": add the scope {needed} and install the app again" if needed else ""
        return Denied(SYSTEM, f"{method}: {code}{missing}")
    if code:
        return Refused(SYSTEM, f"{method}: {code}", code=code)
    if status in (401, 403):
        return Denied(SYSTEM, f"{method}: answered {status}: check SLACK_BOT_TOKEN and SLACK_API_URL")
    return Malformed(SYSTEM, f"{method}: answered {status} without an error that Slack documents")


def _word(value: Any) -> str:
    """Slack's own word; anything else is outside text and is not repeated."""
    if value is None or value == "":
        return ""
    return value if isinstance(value, str) and _WORD.match(value) else "unknown"
