"""The allow-list of addresses that Sitrep may call, checked by origin and again by the address a name resolves to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import httpx

from integrations.errors import Denied, Unavailable

ANSWER_LIMIT_BYTES = 32 * 1024 * 1024
"""No answer is read further than this."""
ADDRESSES_TRIED = 4
"""Of the addresses that one name resolves to."""

_PORTS = {"http": 80, "https": 443}
_SAME_AS = {"ws": "http", "wss": "https"}
"""A WebSocket begins as an HTTP request to the same host and port, so it is the same origin here."""

HOW_TO_ALLOW = (
    "an address is allowed when a setting names it: `url` of a section in [sources] or of an MCP server, "
    "SLACK_API_URL, PAGERDUTY_API_URL, GITHUB_API_URL, or an endpoint in models.toml"
)

Verdict = Literal["sent", "failed", "refused"]
"""Of one request: it went out, its connection failed, or its address is not allowed and nothing was sent."""
Heard = Callable[[str, str, Verdict], None]
"""Told of every request: host, caller, verdict. May be called from any thread."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to literal addresses; raises OSError."""


class Origin(NamedTuple):
    """Scheme, host (lower case, IDNA) and port: the unit that is allowed or not."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = _PORTS.get(self.scheme) == self.port
        return f"{self.scheme}://{host}" if default else f"{self.scheme}://{host}:{self.port}"


def origin_of(address: str) -> Origin:
    """The origin of a URL. Raises ValueError with what is wrong with it."""
    parts = urlsplit(address)
    scheme = _SAME_AS.get(parts.scheme.lower(), parts.scheme.lower())
    if scheme not in _PORTS:
        raise ValueError(f"{address!r} does not begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"an address with a user name or password ({parts.hostname!r}): use the token setting")
    try:
        port = parts.port if parts.port is not None else _PORTS[scheme]
    except ValueError as wrong:
        raise ValueError(f"{address!r} has no valid port") from wrong
    if not parts.hostname:
        raise ValueError(f"{address!r} names no host")
    return Origin(scheme, _host(parts.hostname), port)


def _host(name: str) -> str:
    name = name.lower().rstrip(".")
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError as wrong:
        raise ValueError(f"{name!r} is no host name") from wrong


@dataclass
class Count:
    """What went to one host since the start."""

    requests: int = 0
    failed: int = 0
    refused: int = 0
    bytes_in: int = 0


async def _resolve(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _resolve_blocking(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Egress:
    """Which addresses may be called, and the clients that call them.

    `allowed` are addresses that a setting names: they may lie on loopback or a private network. `public` are
    addresses that the code knows by itself (an API's usual one): they must resolve to public addresses, so that a
    forged name cannot lead inside. A *name* never leads to a link-local address, where clouds keep credentials.
    Everything else is refused, redirects are not followed, and no proxy or other environment variable counts.
    """

    def __init__(
        self,
        allowed: Iterable[str],
        public: Iterable[str] = (),
        *,
        ca_file: str | None = None,
        answer_limit_bytes: int = ANSWER_LIMIT_BYTES,
        resolve: Resolve = _resolve,
        heard: Heard = lambda host, caller, verdict: None,
    ) -> None:
        self.allowed = frozenset(origin_of(address) for address in allowed)
        self.public = frozenset(origin_of(address) for address in public) - self.allowed
        self.answer_limit_bytes = answer_limit_bytes
        self._resolve = resolve
        self._heard = heard
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._counts: dict[str, Count] = {}

    @property
    def tls(self) -> ssl.SSLContext:
        """The authorities of certifi, and those of `ca_file`; nothing from the environment."""
        if self._tls is None:
            context = httpx.create_ssl_context(trust_env=False)
            if self._ca_file:
                context.load_verify_locations(cafile=self._ca_file)
            self._tls = context
        return self._tls

    @property
    def counts(self) -> Mapping[str, Count]:
        """Host to what went there; only hosts that are allowed, or were refused at least once."""
        return self._counts

    def count(self, host: str) -> Count:
        return self._counts.setdefault(self._known(host), Count())

    def sent(self, system: str, host: str) -> Count:
        """A request of this caller goes out."""
        return self._told(system, host, "sent")

    def failed(self, system: str, host: str) -> Count:
        """The connection for it failed."""
        return self._told(system, host, "failed")

    def _told(self, system: str, host: str, verdict: Verdict) -> Count:
        host = self._known(host)
        count = self.count(host)
        count.requests += verdict == "sent"
        count.failed += verdict == "failed"
        count.refused += verdict == "refused"
        self._heard(host, system, verdict)
        return count

    def _known(self, host: str) -> str:
        """A refused host is outside input: the table stays small."""
        return host if host in self._counts or len(self._counts) < 256 else "(other)"

    def require(self, system: str, address: str) -> Origin:
        """The origin of an address that may be called; raises Denied for any other."""
        try:
            origin = origin_of(address)
        except ValueError as wrong:
            raise Denied(system, f"{wrong}; {HOW_TO_ALLOW}") from wrong
        if origin not in self.allowed and origin not in self.public:
            self._told(system, origin.host, "refused")
            raise Denied(system, f"{origin} is not an allowed address, nothing was sent; {HOW_TO_ALLOW}")
        return origin

    async def addresses(self, system: str, host: str, port: int) -> list[str]:
        """The literal addresses that a host of the allow-list may be called at, in the resolver's order.

        Raises Denied when the name leads where it must not, Unavailable when it leads nowhere.
        """
        literal = _literal(host)
        if literal is not None:
            return self._checked(system, host, port, [literal])
        try:
            found = await self._resolve(host, port)
        except OSError as failed:
            raise Unavailable(system, f"the name {host!r} does not resolve") from failed
        return self._checked(system, host, port, found)

    def addresses_blocking(self, system: str, host: str, port: int) -> list[str]:
        """The same in a thread, for clients that are synchronous."""
        literal = _literal(host)
        if literal is not None:
            return self._checked(system, host, port, [literal])
        try:
            found = _resolve_blocking(host, port)
        except OSError as failed:
            raise Unavailable(system, f"the name {host!r} does not resolve") from failed
        return self._checked(system, host, port, found)

    def _checked(self, system: str, host: str, port: int, found: list[str]) -> list[str]:
        configured = any(origin.host == host and origin.port == port for origin in self.allowed)
        if not configured and not any(origin.host == host and origin.port == port for origin in self.public):
            self._told(system, host, "refused")
            raise Denied(system, f"{host}:{port} is not an allowed address, nothing was sent; {HOW_TO_ALLOW}")
        usable = [address for address in found if _usable(address, host, configured)]
        if not usable:
            self._told(system, host, "refused")
            where = ", ".join(found[:ADDRESSES_TRIED]) or "no address"
            raise Denied(
                system,
                f"{host!r} resolves to {where}, which is not public, nothing was sent; "
                "an internal address is allowed only where a setting names it",
            )
        return usable[:ADDRESSES_TRIED]


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return None


def _usable(address: str, host: str, configured: bool) -> bool:
    try:
        ip = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if not configured:
        return ip.is_global and not ip.is_multicast
    if _literal(host) is not None:
        return True
    return not (ip.is_link_local or ip.is_multicast or ip.is_unspecified)
