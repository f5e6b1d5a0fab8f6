"""One adapter per HTTP stack: httpx (ours), httpx2 (openai and pagerduty) and aiohttp (slack-bolt).

Each refuses an address outside the allow-list before anything is sent, connects only to addresses that passed the
check after resolution, follows no redirect, reads nothing from the environment, and stops reading at the limit.
"""

from __future__ import annotations

import asyncio
import math
import select
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from integrations.errors import Malformed
from integrations.http.egress import Egress

if TYPE_CHECKING:
    import aiohttp
    import httpx2

CONNECT_SECONDS = 5.0


def too_large(system: str, limit: int) -> Malformed:
    return Malformed(system, f"an answer of more than {limit} bytes was not read to its end")


class _NoCookies(httpx.Cookies):
    """Keeps nothing that a system sets: credentials are the settings' alone."""

    def extract_cookies(self, response: httpx.Response) -> None:
        pass


class _Bounded(httpx.AsyncByteStream):
    """Passes a body on and counts it."""

    def __init__(self, inner: httpx.AsyncByteStream, egress: Egress, system: str, host: str) -> None:
        self._inner, self._egress, self._system, self._host = inner, egress, system, host

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for chunk in self._inner:
            seen += len(chunk)
            self._egress.count(self._host).bytes_in += len(chunk)
            if seen > self._egress.answer_limit_bytes:
                raise too_large(self._system, self._egress.answer_limit_bytes)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Readable(httpcore.AsyncNetworkStream):
    """A stream that answers at once whether bytes wait. The pool asks every idle connection before every request, and
    anyio's way there costs more than the request."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._socket: socket.socket | None = inner.get_extra_info("socket")

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _Readable(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable" or self._socket is None:
            return self._inner.get_extra_info(info)
        if self._socket.fileno() < 0:
            return True  # closed: reading it ends at once
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


class _Dial(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that passed the check, in turn; TLS still checks the name."""

    def __init__(self, egress: Egress, system: str) -> None:
        self._egress, self._system = egress, system
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,  # noqa: ASYNC109
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._egress.addresses(self._system, host, port)
        except TimeoutError as late:
            raise httpcore.ConnectTimeout("name resolution took too long") from late
        failed: Exception = httpcore.ConnectError("no address")
        for address in addresses:
            try:
                return _Readable(await self._inner.connect_tcp(address, port, timeout, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as this_one:
                failed = this_one
        raise failed

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class Transport(httpx.AsyncBaseTransport):
    """httpx's transport behind the allow-list."""

    def __init__(self, egress: Egress, system: str, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._egress, self._system = egress, system
        if inner is None:
            inner = httpx.AsyncHTTPTransport(verify=egress.tls, trust_env=False)
            # httpx has no public way to hand its pool a network backend; httpcore has. A test fails when this
            # attribute is gone.
            inner._pool._network_backend = _Dial(egress, system)
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = self._egress.require(self._system, str(request.url)).host
        self._egress.sent(self._system, host)
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.TransportError:
            self._egress.failed(self._system, host)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Bounded(response.stream, self._egress, self._system, host)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def client(
    egress: Egress,
    system: str,
    base_url: str,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_seconds: float = 10.0,
) -> httpx.AsyncClient:
    """An httpx client for one system. Raises Denied at once when `base_url` is not on the allow-list."""
    egress.require(system, base_url)
    made = httpx.AsyncClient(
        base_url=base_url,
        headers=headers,
        transport=Transport(egress, system),
        timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, CONNECT_SECONDS)),
        trust_env=False,
        follow_redirects=False,
    )
    made._cookies = _NoCookies()  # httpx copies what it is given into a jar of its own
    return made


# --- httpx2 -------------------------------------------------------------------------------------------------------


def httpx2_transport(egress: Egress, system: str, total_seconds: float | None = None) -> httpx2.BaseTransport:
    """The synchronous httpx2 transport (the `pagerduty` client), behind the allow-list.

    `total_seconds` bounds a whole exchange, since a thread cannot be cancelled and httpx2's timeouts are per read.
    """
    import httpcore2
    import httpx2

    class Dial(httpcore2.NetworkBackend):
        def __init__(self) -> None:
            self._inner = httpcore2.SyncBackend()

        def connect_tcp(
            self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
            socket_options: Any = None,
        ) -> httpcore2.NetworkStream:  # fmt: skip
            failed: Exception = httpcore2.ConnectError("no address")
            for address in egress.addresses_blocking(system, host, port):
                try:
                    return self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
                except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as this_one:
                    failed = this_one
            raise failed

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, inner: httpx2.SyncByteStream, host: str, until: float) -> None:
            self._inner, self._host, self._until = inner, host, until

        def __iter__(self) -> Iterator[bytes]:
            seen = 0
            for chunk in self._inner:
                seen += len(chunk)
                if time.monotonic() > self._until:
                    raise httpx2.ReadTimeout("the answer took too long")
                egress.count(self._host).bytes_in += len(chunk)
                if seen > egress.answer_limit_bytes:
                    raise too_large(system, egress.answer_limit_bytes)
                yield chunk

        def close(self) -> None:
            self._inner.close()

    class Checked(httpx2.BaseTransport):
        def __init__(self) -> None:
            self._inner = httpx2.HTTPTransport(verify=egress.tls, trust_env=False)
            self._inner._pool._network_backend = Dial()

        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            host = egress.require(system, str(request.url)).host
            request.headers["Accept-Encoding"] = "identity"
            egress.sent(system, host)
            until = time.monotonic() + total_seconds if total_seconds is not None else math.inf
            try:
                response = self._inner.handle_request(request)
            except httpx2.TransportError:
                egress.failed(system, host)
                raise
            _plain(system, response.headers.get("content-encoding"))
            assert isinstance(response.stream, httpx2.SyncByteStream)
            response.stream = Bounded(response.stream, host, until)
            return response

        def close(self) -> None:
            self._inner.close()

    return Checked()


def httpx2_async_transport(egress: Egress, system: str, connections: int = 100) -> httpx2.AsyncBaseTransport:
    """The asynchronous httpx2 transport (the `openai` client), behind the allow-list; `connections` at most."""
    import httpcore2
    import httpx2

    class Dial(httpcore2.AsyncNetworkBackend):
        def __init__(self) -> None:
            self._inner = httpcore2.AnyIOBackend()

        async def connect_tcp(
            self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,  # noqa: ASYNC109
            socket_options: Any = None,
        ) -> httpcore2.AsyncNetworkStream:  # fmt: skip
            failed: Exception = httpcore2.ConnectError("no address")
            for address in await egress.addresses(system, host, port):
                try:
                    return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
                except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as this_one:
                    failed = this_one
            raise failed

        async def sleep(self, seconds: float) -> None:
            await self._inner.sleep(seconds)

    class Bounded(httpx2.AsyncByteStream):
        def __init__(self, inner: httpx2.AsyncByteStream, host: str) -> None:
            self._inner, self._host = inner, host

        async def __aiter__(self) -> AsyncIterator[bytes]:
            seen = 0
            async for chunk in self._inner:
                seen += len(chunk)
                egress.count(self._host).bytes_in += len(chunk)
                if seen > egress.answer_limit_bytes:
                    raise too_large(system, egress.answer_limit_bytes)
                yield chunk

        async def aclose(self) -> None:
            await self._inner.aclose()

    class Checked(httpx2.AsyncBaseTransport):
        def __init__(self) -> None:
            limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
            self._inner = httpx2.AsyncHTTPTransport(verify=egress.tls, trust_env=False, limits=limits)
            self._inner._pool._network_backend = Dial()

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            host = egress.require(system, str(request.url)).host
            request.headers["Accept-Encoding"] = "identity"
            egress.sent(system, host)
            try:
                response = await self._inner.handle_async_request(request)
            except httpx2.TransportError:
                egress.failed(system, host)
                raise
            _plain(system, response.headers.get("content-encoding"))
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = Bounded(response.stream, host)
            return response

        async def aclose(self) -> None:
            await self._inner.aclose()

    return Checked()


def httpx2_async_client(
    egress: Egress, system: str, base_url: str, *, timeout_seconds: float, connections: int = 20
) -> httpx2.AsyncClient:
    """An httpx2 client for `openai.AsyncOpenAI(http_client=…)`. Raises Denied when `base_url` is not allowed."""
    import httpx2

    egress.require(system, base_url)
    return httpx2.AsyncClient(
        transport=httpx2_async_transport(egress, system),
        timeout=httpx2.Timeout(timeout_seconds, connect=min(timeout_seconds, CONNECT_SECONDS)),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        trust_env=False,
        follow_redirects=False,
    )


def _plain(system: str, encoding: str | None) -> None:
    """The limit counts what arrives, so an answer that unpacks to more than it weighs is not accepted."""
    if encoding and encoding.lower() != "identity":
        raise Malformed(system, f"an answer in encoding {encoding[:40]!r}, which was not asked for")


# --- aiohttp ------------------------------------------------------------------------------------------------------


def aiohttp_connector(egress: Egress, system: str) -> aiohttp.TCPConnector:
    """A connector for an `aiohttp.ClientSession` that reaches nothing outside the allow-list.

    Every hop passes here, redirects included, so a redirect to another host is refused like a first request.
    """
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Resolver(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            return [
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                    proto=0,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
                for address in await egress.addresses(system, host, port)
            ]

        async def close(self) -> None:
            return None

    class Connector(aiohttp.TCPConnector):
        async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109
            host = egress.require(system, str(req.url)).host
            if req.proxy is not None:
                egress.require(system, str(req.proxy))
            egress.sent(system, host)
            try:
                return await super().connect(req, traces, timeout)
            except (aiohttp.ClientError, TimeoutError, OSError):
                egress.failed(system, host)
                raise

    return Connector(resolver=Resolver(), ssl=egress.tls, use_dns_cache=False)


def aiohttp_session(egress: Egress, system: str, timeout_seconds: float = 10.0) -> aiohttp.ClientSession:
    """A session for `AsyncWebClient(session=…)`; call inside the running loop, close it at the end.

    slack_sdk reads HTTP_PROXY by itself, even so: set `client.proxy = None` after making the client, on the
    Socket Mode client too. A proxy that slips through is refused here, since no setting names it.
    """
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp_connector(egress, system),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=min(timeout_seconds, CONNECT_SECONDS)),
        trust_env=False,
    )
