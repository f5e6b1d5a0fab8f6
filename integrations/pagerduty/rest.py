"""PagerDuty's REST API v2 through the `pagerduty` client: synchronous, so every call runs in a thread of its own pool.

The client's own retries are off (by default it repeats a 429 for ever and sleeps between), and its every answer is
read here, because it gives back a `Response` for most refusals and raises for some.
Source: https://developer.pagerduty.com/api-reference.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from integrations.errors import Denied, IntegrationError, NotIncluded, Refused
from integrations.http import Egress, broken, failure, httpx2_transport, parse_json
from integrations.reading import mapping, text

if TYPE_CHECKING:
    import httpx2

CREDENTIAL = "PAGERDUTY_API_TOKEN"
ADDRESS = "PAGERDUTY_API_URL"
PAGE = 100
"""The most that one page may hold."""
REACH = 10_000
"""offset + limit may not exceed this; beyond it the window of time must be narrowed."""
THREADS = 8
NOT_IN_PLAN = "not included in this PagerDuty plan"
_PLAN_WORDS = ("plan", "does not have", "not available", "upgrade", "entitle", "abilit")


class Pace:
    """At most so many requests a minute, evenly: the account's limit is shared with whatever else asks it."""

    def __init__(
        self,
        requests_a_minute: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gap = 60.0 / requests_a_minute
        self._monotonic = monotonic
        self._sleep = sleep
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until the next request may go."""
        now = self._monotonic()
        at = max(self._next, now)
        self._next = at + self._gap
        if at > now:
            await self._sleep(at - now)


class PagerDutyApi:
    """Requests in a thread, each with one timeout, each ending in JSON or in exactly one error."""

    def __init__(
        self, system: str, url: str, token: str, egress: Egress, *, timeout_seconds: float, email: str | None = None,
        pace: Pace | None = None,
    ) -> None:  # fmt: skip
        egress.require(system, url)
        if not url.startswith("https://"):
            raise Denied(system, f"{ADDRESS} must begin with https:// (found {url!r})")
        self.system = system
        self._url, self._token, self._egress, self._email = url, token, egress, email
        self._timeout = timeout_seconds
        self._pace = pace
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pagerduty")
        self._client: Any = None

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """The object that a GET answers. Raises Unavailable, Denied (NotIncluded) or Malformed."""
        return await self._call("GET", path, params=dict(params or {}))

    async def write(
        self, method: str, path: str, body: Mapping[str, Any], email: str | None = None
    ) -> Mapping[str, Any]:
        """The object that a POST or PUT answers; also raises Refused, with PagerDuty's own code.

        `email` is the PagerDuty login on whose behalf it is done, which a token of the account needs.
        """
        headers = {"From": email or self._email} if email or self._email else {}
        return await self._call(method, path, json=dict(body), headers=headers)

    async def _call(self, method: str, path: str, **options: Any) -> Mapping[str, Any]:
        if self._pace is not None:
            await self._pace.turn()
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._threads, lambda: self._blocking(method, path, options))
        return mapping(answer)

    def _blocking(self, method: str, path: str, options: dict[str, Any]) -> Any:
        lost = method != "GET"
        try:
            response = self._made().request(method, path, **options)
            return parse_json(self.system, response.content)
        except IntegrationError:
            raise
        except Exception as failed:  # noqa: BLE001 - this is the door: the client raises its own, httpx2's and more
            cause = failed.__cause__ or failed
            raise broken(self.system, cause, self._timeout, lost=lost, address=ADDRESS) from None

    def _made(self) -> Any:
        """The client, made on first use: importing it costs 0.3 s that `sitrep --help` need not pay."""
        if self._client is None:
            self._client = _client(self)
        return self._client

    def transport(self) -> httpx2.BaseTransport:
        return httpx2_transport(self._egress, self.system, total_seconds=self._timeout)

    def refusal(self, method: str, status: int, headers: Mapping[str, str], body: bytes) -> IntegrationError:
        """The error that a status outside 2xx is. Reads PagerDuty's error object, whatever shape it has."""
        code, message = _error(body)
        if status == 402 or (status == 403 and any(words in message.lower() for words in _PLAN_WORDS)):
            return NotIncluded(self.system, NOT_IN_PLAN)
        if status == 400 and method != "GET":
            return Refused(self.system, f"did not accept the request (400, code {code or 'none'})", code=code or "400")
        return failure(self.system, status, headers, body, datetime.now(UTC), credential=CREDENTIAL, address=ADDRESS)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()


def _client(api: PagerDutyApi) -> Any:
    from pagerduty import RestApiV2Client

    class Client(RestApiV2Client):  # type: ignore[misc, unused-ignore]
        """Raises for every refusal before the client's own handling (sleep and repeat, raise, give back) begins."""

        max_network_attempts = 0

        def postprocess(self, response: httpx2.Response, suffix: str | None = None) -> None:
            if not response.is_success:
                raise api.refusal(response.request.method, response.status_code, response.headers, response.read())

    client = Client(api._token, base_url=api._url.rstrip("/"), transport=api.transport(), trust_env=False)
    client.timeout = api._timeout  # type: ignore[assignment]  # an int only by its default
    return client


def _error(body: bytes) -> tuple[str, str]:
    """Code and message of an error body; `error` may be an object, a string or absent, the body empty."""
    try:
        error = mapping(parse_json("pagerduty", body)).get("error")
    except IntegrationError:
        return "", ""
    if isinstance(error, str):
        return "", text(error, 300)
    return text(mapping(error).get("code"), 20), text(mapping(error).get("message"), 300)


async def pages(
    api: PagerDutyApi, path: str, key: str, params: Mapping[str, Any], most: int
) -> tuple[list[Mapping[str, Any]], bool]:
    """The items of a paged list, at most `most`, and whether there are more. `more` ends it; `total` may be null."""
    items: list[Mapping[str, Any]] = []
    offset = 0
    while True:
        page = await api.get(path, {**params, "limit": min(PAGE, most), "offset": offset})
        found = [item for item in _list(page.get(key)) if isinstance(item, Mapping)]
        items += found
        offset += PAGE
        more = page.get("more") is True and bool(found)
        if not more or len(items) >= most or offset + PAGE > REACH:
            return items[:most], more or len(items) > most


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
