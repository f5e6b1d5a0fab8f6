"""The way out: what is not named by a setting is not reached, by any of the three HTTP stacks."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from datetime import UTC, datetime

import aiohttp
import httpx
import httpx2
import pytest

from integrations.errors import Denied, Malformed, NotIncluded, Unavailable
from integrations.http import (
    Api,
    Egress,
    aiohttp_session,
    client,
    failure,
    httpx2_async_client,
    httpx2_transport,
    origin_of,
    parse_json,
    wait_of,
)

NOW = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)


def resolver(*addresses: str):
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve


async def get(egress: Egress, url: str, allowed_url: str | None = None, **options) -> bytes:
    api = Api(
        "jaeger", client(egress, "jaeger", allowed_url or url, **options), credential="JAEGER_TOKEN",
        address="`url` of [sources.jaeger]", timeout_seconds=options.get("timeout_seconds", 5.0),
        answer_limit_bytes=egress.answer_limit_bytes,
    )  # fmt: skip
    try:
        return (await api.answer(url)).body
    finally:
        await api.aclose()


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://API.GitHub.com", "https://api.github.com"),
        ("https://api.github.com:443/x?y", "https://api.github.com"),
        ("wss://wss-primary.slack.com/link", "https://wss-primary.slack.com"),
        ("http://[::1]:9090/", "http://[::1]:9090"),
        ("http://bücher.example./", "http://xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_scheme_host_and_port(address, origin):
    assert str(origin_of(address)) == origin


@pytest.mark.parametrize(
    "address", ["", "api.github.com", "file:///etc/passwd", "http://", "http://u:p@host/", "http://host:99999/"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValueError):
        origin_of(address)


@pytest.mark.parametrize(
    "url",
    [
        "https://jaeger.example:16686/",  # other scheme
        "http://jaeger.example:16687/",  # other port
        "http://jaeger.example/",
        "http://evil.example:16686/",
        "http://jaeger.example.evil.example:16686/",
        "http://127.0.0.1:16686/",
    ],
)
async def test_another_scheme_port_or_host_is_denied_and_named(url):
    egress = Egress(["http://jaeger.example:16686"])
    with pytest.raises(Denied) as denied:
        await get(egress, url, "http://jaeger.example:16686")
    assert str(origin_of(url)) in str(denied.value)
    assert "[sources]" in str(denied.value)
    assert egress.counts[origin_of(url).host].refused == 1


def test_a_client_for_an_address_that_is_not_allowed_cannot_be_made():
    with pytest.raises(Denied, match=r"https://jaeger\.example is not an allowed address"):
        client(Egress([]), "jaeger", "https://jaeger.example")
    with pytest.raises(Denied):
        httpx2_async_client(Egress([]), "model", "https://models.example/v1", timeout_seconds=1)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"])
async def test_a_well_known_name_that_resolves_inside_is_denied(address):
    egress = Egress([], ["https://api.github.com"], resolve=resolver(address))
    with pytest.raises(Denied, match="not public"):
        await get(egress, "https://api.github.com/zen")


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "::ffff:169.254.169.254"])
async def test_a_configured_name_never_leads_to_link_local(address):
    egress = Egress(["http://prometheus.internal:9090"], resolve=resolver(address))
    with pytest.raises(Denied, match="resolves to"):
        await get(egress, "http://prometheus.internal:9090/x")


async def test_a_configured_name_may_lead_inside_and_the_next_address_is_tried(serve):
    served = await serve()
    egress = Egress([f"http://jaeger.internal:{served.port}"], resolve=resolver("::1", "127.0.0.1"))
    assert await get(egress, f"http://jaeger.internal:{served.port}/api/services?a=1") == b"{}"
    assert served.asked[0].target == "/api/services?a=1"
    assert served.asked[0].headers["host"] == f"jaeger.internal:{served.port}"
    assert egress.counts["jaeger.internal"].requests == 1
    assert egress.counts["jaeger.internal"].bytes_in == 2


async def test_a_name_that_does_not_resolve_is_unavailable():
    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(Unavailable, match="does not resolve"):
        await get(Egress(["http://gone.internal"], resolve=nowhere), "http://gone.internal/")


async def test_a_redirect_is_not_followed_by_any_stack(serve):
    served, other = await serve(), await serve()
    served.answer = lambda asked: (307, {"Location": f"{other.url}/stolen"}, b"")
    egress = Egress([served.url])
    with pytest.raises(Malformed, match="redirect"):
        await get(egress, served.url + "/a")
    async with httpx2_async_client(egress, "model", served.url, timeout_seconds=5) as model:
        assert (await model.get(served.url + "/b")).status_code == 307
    async with aiohttp_session(egress, "slack") as session:
        with pytest.raises(Denied):
            await session.get(served.url + "/c")
    assert other.asked == []


async def test_the_environment_changes_nothing(serve, monkeypatch, tmp_path):
    served, proxy = await serve(), await serve()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv(name.lower(), proxy.url)
    monkeypatch.setenv("OPENAI_BASE_URL", proxy.url)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    egress = Egress([served.url])
    assert await get(egress, served.url + "/one") == b"{}"
    async with httpx2_async_client(egress, "model", served.url, timeout_seconds=5) as model:
        assert (await model.get(served.url + "/two")).text == "{}"
    with httpx2.Client(transport=httpx2_transport(egress, "pagerduty"), trust_env=False) as pager:
        assert (await asyncio.to_thread(pager.get, served.url + "/three")).text == "{}"
    async with aiohttp_session(egress, "slack") as session, session.get(served.url + "/four") as answer:
        assert await answer.text() == "{}"
    assert [asked.target for asked in served.asked] == ["/one", "/two", "/three", "/four"]
    assert all("authorization" not in asked.headers for asked in served.asked)
    assert proxy.asked == []


async def test_the_openai_client_reaches_only_the_model_that_a_setting_names(serve, monkeypatch):
    import openai

    served, elsewhere = await serve(), await serve()
    served.answer = lambda asked: (307, {"Location": elsewhere.url}, b"")
    monkeypatch.setenv("OPENAI_BASE_URL", elsewhere.url)
    egress = Egress([served.url])
    async with httpx2_async_client(egress, "model", served.url, timeout_seconds=5) as http:
        model = openai.AsyncOpenAI(api_key="k", base_url=served.url, http_client=http, max_retries=0)
        with pytest.raises(openai.APIStatusError):
            await model.models.list()
        model = openai.AsyncOpenAI(api_key="k", base_url=elsewhere.url, http_client=http, max_retries=0)
        with pytest.raises((Denied, openai.APIConnectionError)) as refused:
            await model.models.list()
    assert isinstance(refused.value, Denied) or isinstance(refused.value.__cause__, Denied)
    assert elsewhere.asked == []


async def test_a_slack_client_that_took_a_proxy_from_the_environment_is_refused_rather_than_sent_there(
    serve, monkeypatch
):
    from slack_sdk.web.async_client import AsyncWebClient

    served, proxy = await serve(), await serve()
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    async with aiohttp_session(Egress([served.url]), "slack") as session:
        slack = AsyncWebClient(token="t", base_url=served.url + "/api/", session=session, retry_handlers=[])
        with pytest.raises(Denied):
            await slack.auth_test()
        slack.proxy = None
        served.answer = lambda asked: (200, {"content-type": "application/json"}, b'{"ok": true}')
        assert (await slack.auth_test())["ok"]
    assert proxy.asked == []
    assert [asked.target for asked in served.asked] == ["/api/auth.test"]


async def test_aiohttp_is_held_to_the_list_by_origin_and_by_address(serve):
    served = await serve()
    egress = Egress([served.url], ["https://slack.com"], resolve=resolver("10.0.0.7"))
    async with aiohttp_session(egress, "slack") as session:
        with pytest.raises(Denied, match="not an allowed address"):
            await session.get("https://evil.example/")
        with pytest.raises(Denied, match="not public"):
            await session.get("https://slack.com/api/api.test")
        with pytest.raises(aiohttp.ClientError):
            await session.get("ftp://127.0.0.1/")


async def test_an_answer_is_read_no_further_than_the_limit(serve):
    served = await serve()
    served.answer = lambda asked: (200, {}, b"x" * 200_000)
    egress = Egress([served.url], answer_limit_bytes=100_000)
    with pytest.raises(Malformed, match="more than 100000 bytes"):
        await get(egress, served.url)
    async with httpx2_async_client(egress, "model", served.url, timeout_seconds=5) as model:
        with pytest.raises(Malformed, match="more than 100000 bytes"):
            await model.get(served.url)
    pager = httpx2.Client(transport=httpx2_transport(egress, "pagerduty"), trust_env=False)
    with pager, pytest.raises(Malformed, match="more than 100000 bytes"):
        await asyncio.to_thread(pager.get, served.url)


async def test_an_answer_that_unpacks_to_more_than_the_limit_is_not_read(serve):
    served = await serve()
    served.answer = lambda asked: (200, {"content-encoding": "gzip"}, gzip.compress(b"\0" * 5_000_000))
    egress = Egress([served.url], answer_limit_bytes=1_000_000)
    with pytest.raises(Malformed, match="more than 1000000 bytes"):
        await get(egress, served.url)
    async with httpx2_async_client(egress, "model", served.url, timeout_seconds=5) as model:
        with pytest.raises(Malformed, match="encoding 'gzip'"):
            await model.get(served.url)


async def test_a_server_that_drips_or_hangs_is_cut_off_at_the_timeout(serve):
    async def dripping():
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
        for _ in range(100):
            yield b"x"
            await asyncio.sleep(0.05)

    served = await serve()
    served.answer = lambda asked: b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"  # then closes short
    with pytest.raises(Unavailable, match="before its answer ended"):
        await get(Egress([served.url]), served.url)
    served.answer = lambda asked: dripping()
    with pytest.raises(Unavailable, match=r"no answer in 0\.2 s"):
        await get(Egress([served.url]), served.url, timeout_seconds=0.2)
    served.answer = lambda asked: None
    with pytest.raises(Unavailable, match=r"no answer in 0\.2 s"):
        await get(Egress([served.url]), served.url, timeout_seconds=0.2)


async def test_what_a_system_sets_as_a_cookie_is_not_sent_back(serve):
    served = await serve()
    served.answer = lambda asked: (200, {"set-cookie": "session=planted; Path=/"}, b"{}")
    async with client(Egress([served.url]), "jaeger", served.url) as http:
        await http.get("/a")
        await http.get("/b")
    assert [asked.headers.get("cookie") for asked in served.asked] == [None, None]


async def test_an_idle_connection_that_the_server_closed_is_not_used_again():
    closed = asyncio.Event()
    taken = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        taken += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                await writer.drain()
                if taken == 1:
                    break
        writer.close()
        await writer.wait_closed()
        closed.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, client(Egress([url]), "jaeger", url) as http:
        assert (await http.get("/a")).status_code == 200
        await closed.wait()
        closed.clear()
        await asyncio.sleep(0.05)  # until the end has come over the loopback
        for _ in range(3):
            assert (await http.get("/b")).status_code == 200
        pool = http._transport._inner._pool
        assert len(pool.connections) == 1
        await http.aclose()
        await closed.wait()
    assert taken == 2


async def test_a_private_authority_is_trusted_only_when_it_is_named(serve, tmp_path):
    served = await serve(tls=True)
    authority = tmp_path / "ca.pem"
    authority.write_bytes(served.ca_pem)
    with pytest.raises(Denied, match="SITREP_CA_FILE"):
        await get(Egress([served.url]), served.url)
    trusting = Egress([served.url], ca_file=str(authority))
    assert await get(trusting, served.url) == b"{}"
    with httpx2.Client(transport=httpx2_transport(trusting, "pagerduty"), trust_env=False) as pager:
        assert (await asyncio.to_thread(pager.get, served.url)).text == "{}"
    async with aiohttp_session(trusting, "slack") as session, session.get(served.url) as answer:
        assert await answer.text() == "{}"


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (301, {"location": "https://x.example"}, Malformed),
        (400, {}, Malformed),
        (401, {}, Denied),
        (402, {}, NotIncluded),
        (403, {}, Denied),
        (403, {"retry-after": "30"}, Unavailable),
        (403, {"x-ratelimit-remaining": "0"}, Unavailable),
        (403, {"x-ratelimit-remaining": "12"}, Denied),
        (404, {}, Denied),
        (422, {}, Malformed),
        (429, {}, Unavailable),
        (500, {}, Unavailable),
        (503, {"retry-after": "2"}, Unavailable),
    ],
)
def test_each_status_is_exactly_one_error(status, headers, kind):
    error = failure("github", status, headers, b"secret body", NOW, credential="GITHUB_TOKEN", address="GITHUB_API_URL")
    assert type(error) is kind
    assert "secret body" not in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30),
        ({"retry-after": "Mon, 23 Nov 2026 20:00:30 GMT"}, 30),
        ({"retry-after": "Mon, 23 Nov 2026 19:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "inf"}, None),
        ({"ratelimit-reset": "20"}, 20),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 90)}, 90),
        ({"x-ratelimit-reset": "1507651200000"}, None),
        ({"retry-after": "99999999"}, None),
    ],
)
def test_the_wait_is_read_from_whichever_header_has_it(headers, seconds):
    assert wait_of(headers, NOW) == seconds


@pytest.mark.parametrize(
    "body",
    [b"", b"  \n", b"<html>login</html>", b'{"a": [1, 2', b"\xff\xfe", b"[" * 200_000, b'{"a": ' + b"9" * 5000 + b"}"],
    ids=["empty", "blank", "html", "half", "not utf-8", "deep", "digits"],
)
def test_what_is_no_json_is_malformed(body):
    with pytest.raises(Malformed):
        parse_json("jaeger", body)


async def test_a_lost_answer_says_so_only_where_the_request_may_have_had_its_effect(serve):
    served = await serve()
    served.answer = lambda asked: b""
    egress = Egress([served.url, "http://127.0.0.1:9"])
    api = Api("pagerduty", client(egress, "pagerduty", served.url), credential="T", address="U", timeout_seconds=5)
    with pytest.raises(Unavailable) as lost:
        await api.json("/notes", method="POST", body={})
    assert lost.value.answer_lost
    with pytest.raises(Unavailable) as read:
        await api.json("/notes")
    assert not read.value.answer_lost
    await api.aclose()
    api = Api("x", client(egress, "x", "http://127.0.0.1:9"), credential="T", address="U", timeout_seconds=5)
    with pytest.raises(Unavailable) as never_sent:
        await api.json("/notes", method="POST", body={})
    assert not never_sent.value.answer_lost
    await api.aclose()


def test_the_pools_still_take_a_network_backend():
    """The attribute that the address check hangs on is not public: an upgrade that moves it must fail here."""
    for transport in (httpx.AsyncHTTPTransport(), httpx2.HTTPTransport(), httpx2.AsyncHTTPTransport()):
        assert hasattr(transport._pool, "_network_backend")
