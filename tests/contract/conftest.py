"""A loopback server that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
import vcr
from hypothesis import strategies as st

from integrations.asking import Access, ServiceRule
from integrations.errors import Denied, Malformed, NotIncluded, Unavailable
from integrations.records import Incident, Question, Readers, ServiceNames, Window

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = ROOT / "tests" / "data" / "wire"
"""A small licensed slice of the wire samples; the whole of them is used where it lies beside the checkout."""


@pytest.fixture(scope="session")
def wire() -> Callable[..., dict[str, Any]]:
    """`wire("pagerduty", "webhook_v3_*")` is name to parsed sample, at least one."""
    beside = pathlib.Path(os.environ.get("SITREP_TEST_DATA", ROOT.parent / "shared" / "data")) / "wire"

    def samples(system: str, pattern: str = "*") -> dict[str, Any]:
        folders = [folder / system for folder in (HERE, beside) if (folder / system).is_dir()]
        files = {path.name: path for folder in folders for path in sorted(folder.glob(f"{pattern}.json"))}
        assert files, f"no wire sample {system}/{pattern}"
        return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items()}

    return samples


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Served:
    """A running server.

    `answer` maps a request to (status, headers, body), to raw bytes at once or one by one, or to None to hang.
    """

    port: int
    scheme: str
    ca_pem: bytes | None
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], Any] = lambda asked: (200, {}, b"{}")
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


def as_json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    return status, {"content-type": "application/json", **(headers or {})}, json.dumps(value).encode()


async def _serve(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    served.open.add(writer)
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        asked = Asked(method, target, headers, body)
        served.asked.append(asked)
        answer = served.answer(asked)
        if answer is None:
            await reader.read()  # until the client gives up
        elif isinstance(answer, bytes):
            writer.write(answer)
        elif isinstance(answer, AsyncIterator):
            async for part in answer:
                writer.write(part)
                await writer.drain()
        else:
            status, extra, content = answer
            head = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\nConnection: close\r\n{head}\r\n".encode()
            )
            writer.write(content)
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
        pass
    finally:
        writer.close()
        served.open.discard(writer)


async def _start(tls: bool) -> tuple[Served, asyncio.Server]:
    context, pem = None, None
    if tls:
        authority = trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        pem = authority.cert_pem.bytes()
    served = Served(0, "https" if tls else "http", pem)
    server = await asyncio.start_server(lambda r, w: _serve(served, r, w), "127.0.0.1", 0, ssl=context)
    served.port = server.sockets[0].getsockname()[1]
    return served, server


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Served]]]:
    """`await serve()` or `await serve(tls=True)` starts one."""
    running: list[tuple[Served, asyncio.Server]] = []

    async def start(tls: bool = False) -> Served:
        running.append(await _start(tls))
        return running[-1][0]

    yield start
    for served, server in running:
        server.close()
        for writer in tuple(served.open):
            writer.transport.abort()
    for _ in range(3):  # lets the loop close what was aborted
        await asyncio.sleep(0)


# --- the incident that the cassettes are about --------------------------------------------------------------------

NOW = datetime(2026, 11, 23, 14, 5, tzinfo=UTC)


@pytest.fixture
def question() -> Question:
    """checkout-api fails since 14:02:10; payments-db is what it calls."""
    triggered_at = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)
    window = Window(triggered_at - timedelta(minutes=15), triggered_at + timedelta(minutes=2))
    return Question(
        incident=Incident(
            workspace_id="w", id="Q2PK8XZ1T9ABCD", number=4711, title="checkout-api: 38 % of requests fail",
            service="checkout-api", service_ref="PSVC123", severity=2, triggered_at=triggered_at,
            url="https://acme.pagerduty.com/incidents/Q2PK8XZ1T9ABCD",
        ),
        services=(
            ServiceNames(
                "checkout-api", otel=("checkout",), pagerduty=("PSVC123",), repositories=("acme/checkout",),
                prometheus={"job": "co"},
            ),
            ServiceNames("payments-db"),
        ),
        window=window,
        baselines=tuple(
            Window(window.start - back, window.end - back)
            for back in (timedelta(hours=1), timedelta(days=1), timedelta(days=7))
        ),
        changes_since=triggered_at - timedelta(hours=24),
    )  # fmt: skip


@pytest.fixture
def access() -> Access:
    """Everyone may read what the source says; checkout-api's only payments, and no model may see payments-db's."""

    def rule(service: str) -> ServiceRule:
        return {
            "checkout-api": ServiceRule(Readers.of(["payments"])), "payments-db": ServiceRule(None, "never"),
        }.get(service, ServiceRule())  # fmt: skip

    return Access(Readers.of(["everyone"]), service_rule=rule)


# --- recorded answers ---------------------------------------------------------------------------------------------

CASSETTES = ROOT / "tests" / "contract" / "cassettes"


@dataclass
class Playing:
    """A cassette at work: `sent` are the requests as they left us, credentials included."""

    sent: list[Any] = field(default_factory=list)

    def targets(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.sent]


@pytest.fixture
def cassette() -> Iterator[Callable[[str], Playing]]:
    """`cassette("jaeger")` plays that file: a request that is not in it fails, and so does an entry not played."""
    playing: list[tuple[Any, Any]] = []

    def play(name: str) -> Playing:
        seen = Playing()
        recorder = vcr.VCR(
            cassette_library_dir=str(CASSETTES), record_mode="none",
            match_on=("method", "scheme", "host", "port", "path", "query"),
        )  # fmt: skip
        context = recorder.use_cassette(f"{name}.yaml")
        tape = context.__enter__()
        answer = tape.play_response

        def noted(request: Any) -> Any:
            seen.sent.append(request)
            return answer(request)

        tape.play_response = noted
        playing.append((context, tape))
        return seen

    yield play
    for context, tape in playing:
        context.__exit__(None, None, None)
        unplayed = [request.uri for at, (request, _) in enumerate(tape.data) if not tape.play_counts[at]]
        assert tape.all_played, f"never asked for: {unplayed}"


# --- how calls fail -----------------------------------------------------------------------------------------------

FAILURES: dict[str, tuple[Any, type[Exception]]] = {
    "401": ((401, {}, b'{"error": "bad token"}'), Denied),
    "402": ((402, {}, b""), NotIncluded),
    "403": ((403, {}, b'{"message": "no"}'), Denied),
    "404": ((404, {"content-type": "text/plain"}, b"404 page not found"), Denied),
    "429 without headers or body": ((429, {}, b""), Unavailable),
    "500": ((500, {}, b"oops"), Unavailable),
    "503": ((503, {"retry-after": "7"}, b""), Unavailable),
    "a redirect": ((302, {"location": "https://login.example"}, b""), Malformed),
    "a web page": ((200, {"content-type": "text/html"}, b"<!doctype html><title>Sign in</title>"), Malformed),
    "half JSON": ((200, {}, b'{"data": [{"a": 1}, {"b'), Malformed),
    "an empty body": ((200, {}, b""), Malformed),
    "more than the limit": ((200, {}, b"[" + b" " * 70_000 + b"]"), Malformed),
    "no HTTP": (b"\x16\x03\x01garbage\r\n\r\n", Malformed),
    "a closed connection": (b"", Unavailable),
    "silence": (None, Unavailable),
}
"""Name of a failure, the answer that is it, and the one error it must become."""
LIMIT = 65_536
"""The answer limit under which "more than the limit" is too much."""


@pytest.fixture(params=FAILURES)
def failing(request: pytest.FixtureRequest) -> tuple[str, Any, type[Exception]]:
    answer, error = FAILURES[request.param]
    return request.param, answer, error


# --- hostile answers ----------------------------------------------------------------------------------------------

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800") | st.just("incident"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _mutate(value: Any, path: list[int], junk: Any) -> Any:
    """The value with the node that `path` leads to replaced."""
    if not path or not isinstance(value, dict | list) or not value:
        return junk
    if isinstance(value, list):
        index = path[0] % len(value)
        return [_mutate(item, path[1:], junk) if at == index else item for at, item in enumerate(value)]
    chosen = sorted(value)[path[0] % len(value)]
    return {key: _mutate(item, path[1:], junk) if key == chosen else item for key, item in value.items()}


@pytest.fixture(scope="session")
def mutate() -> Callable[[Any, list[int], Any], Any]:
    return _mutate


@pytest.fixture(scope="session")
def junk() -> st.SearchStrategy[Any]:
    """Anything that JSON can hold, and what Python's parser lets through beside (NaN, lone surrogates)."""
    return JUNK
