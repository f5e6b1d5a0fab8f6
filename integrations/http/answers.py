"""Reading an answer: every way a call can fail becomes exactly one of Unavailable, Denied or Malformed, here.

The texts name status codes and settings, never a body: what a server writes is outside text, and may hold secrets.
"""

from __future__ import annotations

import asyncio
import json
import math
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from integrations.errors import Denied, IntegrationError, Malformed, NotIncluded, Unavailable
from integrations.http.egress import ANSWER_LIMIT_BYTES
from integrations.http.stacks import CONNECT_SECONDS, too_large

LONGEST_WAIT_SECONDS = 86_400.0
"""A longer wait in a header is not believed."""
_PATIENCE: ContextVar[float] = ContextVar("patience", default=0.0)
RATE_LIMIT_WORDS = ("rate limit", "abuse detection", "too many requests")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with a 2xx status, its body decoded and within the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


@contextmanager
def exchanges_within(seconds: float) -> Iterator[None]:
    """Inside, and in every task that begins here, an exchange may take this long where that is longer than its
    client's own time: a late source that is asked again has more patience than the first time."""
    before = _PATIENCE.set(seconds)
    try:
        yield
    finally:
        _PATIENCE.reset(before)


def wait_of(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the server asks us to wait, from whichever header says so; None when none does.

    `Retry-After` is seconds or an HTTP date, `ratelimit-reset` (PagerDuty) seconds to go, `x-ratelimit-reset`
    (GitHub) an epoch in seconds.
    """
    said = headers.get("retry-after", "").strip()
    if said:
        seconds = _number(said)
        if seconds is None:
            try:
                at = parsedate_to_datetime(said)
            except ValueError:
                at = None
            if at is not None:
                at = at if at.tzinfo else at.replace(tzinfo=UTC)
                seconds = (at - now).total_seconds()
        return _believable(seconds)
    seconds = _number(headers.get("ratelimit-reset", ""))
    if seconds is not None:
        return _believable(seconds)
    epoch = _number(headers.get("x-ratelimit-reset", ""))
    return None if epoch is None else _believable(epoch - now.timestamp())


def _number(text: str) -> float | None:
    try:
        value = float(text.strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _believable(seconds: float | None) -> float | None:
    if seconds is None or seconds > LONGEST_WAIT_SECONDS:
        return None
    return max(0.0, seconds)


def rate_limited(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a refusal is a rate limit. GitHub answers both limits with 403 *or* 429: the headers decide."""
    if status == 429:
        return True
    if status != 403:
        return False
    if "retry-after" in headers or headers.get("x-ratelimit-remaining", "").strip() == "0":
        return True
    start = body[:2000].decode("utf-8", "replace").lower()
    return any(words in start for words in RATE_LIMIT_WORDS)


def failure(
    system: str, status: int, headers: Mapping[str, str], body: bytes, now: datetime, *, credential: str, address: str
) -> IntegrationError:
    """The error that a status outside 2xx is. `credential` and `address` name the settings a person would change."""
    if rate_limited(status, headers, body):
        wait = wait_of(headers, now)
        asked = "" if wait is None else f", asks to wait {wait:.0f} s"
        return Unavailable(system, f"rate limit reached ({status}{asked})", retry_after_seconds=wait)
    if status in (408, 425) or status >= 500:
        return Unavailable(system, f"answered {status}", retry_after_seconds=wait_of(headers, now))
    if status == 401:
        return Denied(system, f"does not accept the credentials (401): check {credential}")
    if status == 402:
        return NotIncluded(system, "not included in this plan (402)")
    if status == 403:
        return Denied(system, f"the credentials may not read this (403): check what {credential} is allowed to read")
    if status in (404, 410):
        return Denied(system, f"no such object or path ({status}): check {address}, and that {credential} may see it")
    if 300 <= status < 400:
        return Malformed(system, f"answered with a redirect ({status}), which is not followed: check {address}")
    return Malformed(system, f"refused the request as wrong ({status})")


def broken(system: str, failed: BaseException, timeout_seconds: float, *, lost: bool, address: str) -> IntegrationError:
    """The error that a failed exchange is. Reads class names, because httpx and httpx2 share them by design.

    `lost` says that the request has an effect: unless it provably never left, its answer counts as lost.
    """
    names = {kind.__name__ for kind in type(failed).__mro__}
    if isinstance(failed, IntegrationError):
        return failed
    if untrusted(failed):
        return Denied(system, f"its TLS certificate is not trusted: check {address}, or set SITREP_CA_FILE")
    if "TimeoutException" in names or isinstance(failed, TimeoutError):
        never_left = names & {"ConnectTimeout", "PoolTimeout"}
        return Unavailable(system, f"no answer in {timeout_seconds:g} s", answer_lost=lost and not never_left)
    if names & {"DecodingError", "RemoteProtocolError"}:
        if "RemoteProtocolError" in names and any(words in str(failed) for words in ("disconnected", "peer closed")):
            return Unavailable(system, "closed the connection before its answer ended", answer_lost=lost)
        return Malformed(system, "its answer is not valid HTTP")
    if names & {"UnsupportedProtocol", "InvalidURL", "LocalProtocolError", "ValueError"}:
        return Denied(system, f"its address or credentials cannot be sent as HTTP: check {address}")
    return Unavailable(
        system, f"no connection ({type(failed).__name__})", answer_lost=lost and "ConnectError" not in names
    )


def untrusted(failed: BaseException | None) -> bool:
    """Whether a certificate that we do not trust is at the bottom of this."""
    for _ in range(8):
        if failed is None:
            return False
        if isinstance(failed, ssl.SSLCertVerificationError):
            return True
        if "CERTIFICATE_VERIFY_FAILED" in str(failed):
            return True
        failed = failed.__cause__ or failed.__context__
    return False


def parse_json(system: str, body: bytes) -> Any:
    """The document in a body; Malformed for HTML, half a document, nothing, or one too deep to read."""
    if not body.strip():
        raise Malformed(system, "an empty answer where JSON was due")
    if body.lstrip()[:1] == b"<":
        raise Malformed(system, "a web page where JSON was due (a login page or a wrong address?)")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as wrong:  # ValueError: bad JSON, bad UTF-8, numbers of 5,000 digits
        raise Malformed(system, f"an answer that is not JSON ({type(wrong).__name__})") from None


class Api:
    """One system's HTTP API on an allow-listed client: whole answers or exactly one of the three errors."""

    def __init__(
        self,
        system: str,
        http: httpx.AsyncClient,
        *,
        credential: str,
        address: str,
        timeout_seconds: float,
        answer_limit_bytes: int = ANSWER_LIMIT_BYTES,
    ) -> None:
        self.system = system
        self._http = http
        self._credential = credential
        self._address = address
        self._timeout = timeout_seconds
        self._limit = answer_limit_bytes

    async def json(self, path: str, params: Any = None, *, method: str = "GET", body: Any = None) -> Any:
        """The parsed JSON of a 2xx answer. Raises Unavailable, Denied or Malformed."""
        answer = await self.answer(path, params, method=method, body=body)
        return parse_json(self.system, answer.body)

    async def answer(self, path: str, params: Any = None, *, method: str = "GET", body: Any = None) -> Answer:
        """The whole 2xx answer. Raises Unavailable, Denied or Malformed."""
        status, headers, content, url = await self.exchange(path, params, method=method, body=body)
        if not 200 <= status < 300:
            raise failure(
                self.system, status, headers, content, datetime.now(UTC), credential=self._credential,
                address=self._address,
            )  # fmt: skip
        return Answer(status, headers, content, url)

    async def exchange(
        self, path: str, params: Any = None, *, method: str = "GET", body: Any = None
    ) -> tuple[int, httpx.Headers, bytes, str]:
        """Status, headers, body and address of any answer, redirects and errors included."""
        seconds = max(self._timeout, _PATIENCE.get())
        timeout = httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
        try:
            # httpx's timeouts are per read; this one holds for the whole exchange, so that a server that drips
            # cannot keep us.
            async with (
                asyncio.timeout(seconds),
                self._http.stream(method, path, params=params, json=body, timeout=timeout) as response,
            ):
                chunks, size = [], 0
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > self._limit:
                        raise too_large(self.system, self._limit)
                    chunks.append(chunk)
                return response.status_code, response.headers, b"".join(chunks), str(response.url)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, TimeoutError, OSError, ValueError) as failed:
            raise broken(
                self.system, failed, seconds, lost=method != "GET", address=self._address
            ) from None  # the original may quote the request, credentials included

    async def aclose(self) -> None:
        await self._http.aclose()
