"""Every door against the same attacks: forged, changed, repeated, oversized, slow, and bombs; and what it may reach.

The senders and their rules are those of docs/security/threat-model.md; each was built from the sender's own page.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from bot.clock import ManualClock
from bot.incidents.signals import store_signals
from bot.trust.redaction import Redactor
from bot.trust.redaction.values import redact_value
from bot.web.app import create_app
from bot.web.server import HEAD_BYTES, server_of
from integrations.alerts.doors import SENDERS, door_for, generic_door
from integrations.changes import changes_door
from integrations.github import github_door
from integrations.gitlab import gitlab_door
from integrations.launchdarkly import launchdarkly_door
from integrations.pagerduty import PagerDutyDoor
from tests.support.memory_store import MemoryStore

T0 = datetime(2026, 11, 24, 14, 2, 10, tzinfo=UTC)
SECRETS = ["new-secret", "old-secret"]
REDACTOR = Redactor([b"doors"])
Sign = Callable[[bytes, str, datetime], dict[str, str]]


def mac(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def body_only(header: str, prefix: str = "") -> Sign:
    return lambda body, secret, at: {header: prefix + mac(secret, body)}


def timed(header: str, time_header: str) -> Sign:
    def sign(body: bytes, secret: str, at: datetime) -> dict[str, str]:
        said = str(int(at.timestamp()))
        return {header: mac(secret, said.encode() + b":" + body), time_header: said}

    return sign


def bearer(body: bytes, secret: str, at: datetime) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def basic(body: bytes, secret: str, at: datetime) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"sitrep:{secret}".encode()).decode()}


@dataclass
class Sender:
    """A sender as it is: its door, how it signs, one of its bodies, and whether what it signs covers body and time."""

    door: Any
    sign: Sign
    body: dict[str, Any]
    covers_body: bool = True
    covers_time: bool = False
    more: dict[str, str] = field(default_factory=dict)


ALERT = {"alerts": [
    {"status": "firing", "startsAt": "2026-11-24T14:01:50Z", "fingerprint": "f1",
     "labels": {"alertname": "High", "service": "shop"}, "annotations": {"summary": "shop is down"}},
]}  # fmt: skip
PAGERDUTY = {"event": {
    "id": "01EVENT", "event_type": "incident.triggered", "occurred_at": "2026-11-24T14:01:50Z",
    "data": {"id": "P8K2Q1A", "type": "incident", "title": "down", "html_url": "https://x.example"},
}}  # fmt: skip
CHANGE = {"service": "shop", "what": "deploy of a1b2c3d", "at": "2026-11-24T14:01:12Z"}
DEPLOYED = {
    "action": "created", "repository": {"full_name": "acme/shop", "html_url": "https://github.com/acme/shop"},
    "deployment": {"id": 7, "sha": "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678", "environment": "production"},
    "deployment_status": {"id": 8, "state": "success", "created_at": "2026-11-24T14:01:12Z"},
}  # fmt: skip
FLAG = {
    "_id": "1", "kind": "flag", "name": "new-flow", "date": 1795615200000, "accesses": [], "title": "turned on",
    "_links": {"site": {"href": "/x"}}, "target": {"resources": ["proj/p:env/e:flag/new-flow"]},
}  # fmt: skip
GITLAB = {
    "object_kind": "deployment", "status": "success", "deployment_id": 5, "environment": "production",
    "status_changed_at": "2026-11-24T14:01:12Z",
    "project": {"path_with_namespace": "acme/shop", "web_url": "https://gitlab.com/acme/shop"},
}  # fmt: skip
SENTRY = {"action": "created", "data": {"event": {
    "event_id": "e1", "title": "boom", "datetime": "2026-11-24T14:01:50Z", "level": "error",
    "web_url": "https://sentry.example/1",
}}}  # fmt: skip
GRAFANA = ("X-Grafana-Alerting-Signature", "X-Grafana-Alerting-Timestamp")
TABLE: dict[str, Sender] = {
    "pagerduty": Sender(PagerDutyDoor(SECRETS), body_only("X-PagerDuty-Signature", "v1="), PAGERDUTY),
    "github": Sender(github_door(SECRETS), body_only("X-Hub-Signature-256", "sha256="), DEPLOYED,
                     more={"X-GitHub-Event": "deployment_status", "X-GitHub-Delivery": "d1"}),
    "grafana": Sender(door_for("grafana", SECRETS), timed(*GRAFANA), ALERT, covers_time=True),
    "sentry": Sender(door_for("sentry", SECRETS), body_only("Sentry-Hook-Signature"), SENTRY),
    "launchdarkly": Sender(launchdarkly_door(SECRETS), body_only("X-LD-Signature"), FLAG),
    "alertmanager": Sender(door_for("alertmanager", SECRETS), bearer, ALERT, covers_body=False),
    "datadog": Sender(door_for("datadog", SECRETS), basic, {"id": "1", "title": "down", "alert_transition": "Triggered",
                      "date": 1795615310000}, covers_body=False),
    "opsgenie": Sender(door_for("opsgenie", SECRETS), bearer, {"action": "Create", "alert": {"alertId": "a1", "message":
                       "down", "createdAt": 1795615310000}}, covers_body=False),
    "generic": Sender(generic_door("generic", SECRETS), body_only("X-Signature-256", "sha256="), {"id": "1",
                      "title": "down", "severity": "critical", "time": "2026-11-24T14:01:50Z"}),
    "generic by token": Sender(generic_door("generic", SECRETS), bearer, {"id": "1", "title": "down",
                               "time": "2026-11-24T14:01:50Z"}, covers_body=False),
    "changes": Sender(changes_door(SECRETS), body_only("X-Signature-256", "sha256="), CHANGE),
    "changes with a time": Sender(changes_door(SECRETS), timed("X-Signature-256", "X-Signature-Timestamp"), CHANGE,
                                  covers_time=True),
    "gitlab": Sender(gitlab_door(SECRETS), lambda body, secret, at: {"X-Gitlab-Token": secret}, GITLAB,
                     covers_body=False),
}  # fmt: skip
"""Slack has its own tests (test_slack.py, test_listeners.py), and so has SNS (test_alert_doors.py)."""


class House:
    """The web door with a store in memory, on a clock that a test moves."""

    def __init__(self, *doors: Any) -> None:
        self.clock = ManualClock(T0)
        self.store = MemoryStore()
        self.app = create_app(
            doors=doors, intake=lambda signals: store_signals(self.store, "w", signals),
            redact_small=lambda payload: redact_value(REDACTOR, payload), redact_large=self.large, clock=self.clock,
            ready=self.ready, metrics=lambda: "", body_seconds=0.5,
        )  # fmt: skip

    async def large(self, payload: Any) -> Any:
        return redact_value(REDACTOR, payload)

    async def ready(self) -> dict[str, str]:
        return {}

    async def signals(self) -> list[dict[str, Any]]:
        return await self.store.query("SELECT * FROM signals ORDER BY seq")

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sitrep") as client:
            return await client.post(path, content=body, headers=headers)


async def sent(sender: Sender, body: bytes, headers: dict[str, str], house: House | None = None) -> httpx.Response:
    return await (house or House(sender.door)).post(sender.door.path, body, {**sender.more, **headers})


def test_every_sender_of_alerts_is_in_the_table() -> None:
    assert set(SENDERS) <= set(TABLE)


@pytest.mark.parametrize("name", TABLE)
async def test_either_active_secret_opens_the_door_and_no_other(name: str) -> None:
    sender = TABLE[name]
    body = json.dumps(sender.body).encode()
    for secret in SECRETS:
        assert (await sent(sender, body, sender.sign(body, secret, T0))).status_code == 202
    for secret in ("wrong", "", "new-secre", "new-secret "):
        headers = {key: value.rstrip() for key, value in sender.sign(body, secret, T0).items()}
        if secret.strip() not in SECRETS:
            assert (await sent(sender, body, headers)).status_code == 401, secret
    assert (await sent(sender, body, {})).status_code == 401


@pytest.mark.parametrize("name", [name for name, one in TABLE.items() if one.covers_body])
async def test_a_signature_covers_the_raw_body(name: str) -> None:
    sender = TABLE[name]
    body = json.dumps(sender.body).encode()
    headers = sender.sign(body, SECRETS[0], T0)
    assert (await sent(sender, body + b" ", headers)).status_code == 401
    assert (await sent(sender, json.dumps(sender.body, indent=1).encode(), headers)).status_code == 401
    house = House(sender.door)
    assert (await sent(sender, body[:-1] + b"]", headers, house)).status_code == 401
    assert await house.signals() == []


@pytest.mark.parametrize("name", [name for name, one in TABLE.items() if one.covers_time])
async def test_a_signed_time_holds_for_five_minutes_either_way(name: str) -> None:
    sender = TABLE[name]
    body = json.dumps(sender.body).encode()
    for seconds, status in ((-299, 202), (299, 202), (-301, 401), (301, 401), (-86400, 401)):
        headers = sender.sign(body, SECRETS[0], T0 + timedelta(seconds=seconds))
        assert (await sent(sender, body, headers)).status_code == status, seconds
    headers = sender.sign(body, SECRETS[0], T0 - timedelta(days=1))
    moved = {key: str(int(T0.timestamp())) if key.endswith("Timestamp") else value for key, value in headers.items()}
    assert (await sent(sender, body, moved)).status_code == 401
    bare = {key: value for key, value in headers.items() if not key.endswith("Timestamp")}
    assert (await sent(sender, body, bare)).status_code == 401


@pytest.mark.parametrize("name", TABLE)
async def test_a_delivery_that_is_played_again_changes_nothing_even_under_another_delivery_id(name: str) -> None:
    sender = TABLE[name]
    house = House(sender.door)
    body = json.dumps(sender.body).encode()
    headers = sender.sign(body, SECRETS[0], T0)
    first = await sent(sender, body, headers, house)
    assert first.json()["stored"] == 1
    house.clock.advance(20)
    ids = {"X-GitHub-Delivery": "another", "X-Webhook-Id": "another", "Request-ID": "another"}
    again = await house.post(sender.door.path, body, {**sender.more, **headers, **ids})
    assert again.status_code == 202
    assert again.json()["stored"] == 0
    assert len(await house.signals()) == 1


BOMBS = {
    "deep": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "as deep as the parser goes": b"[" * 900 + b"]" * 900,
    "a huge whole number": b'{"id": ' + b"9" * 500_000 + b"}",
    "a huge number": b'{"id": 1e999999, "value": -1e400}',
    "many digits": b'{"id": ' + b"9" * 4200 + b', "startsAt": ' + b"9" * 300 + b"}",
    "not a number": b'{"id": NaN, "startsAt": Infinity, "x": -Infinity}',
    "a key twice": b'{"event": {"id": "a"}, "event": {"id": "b"}, "alerts": [], "alerts": 5}',
    "many keys": json.dumps({f"k{n}": {} for n in range(30_000)}).encode(),
    "many alerts": json.dumps({"alerts": [{}] * 100_000}).encode(),
    "lone surrogates and NUL": b'{"id": "\\ud800\\u0000", "title": "\\udfff"}',
    "no UTF-8": b'{"id": "\xff\xfe"}',
    "UTF-16": '{"id": "a"}'.encode("utf-16"),
    "text": b"hello",
    "nothing": b"",
    "null": b"null",
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_is_kept_as_what_it_is_and_costs_little(bomb: str) -> None:
    """Signed, so that it comes through: a sender whose secret leaked, or whose own input is hostile."""
    body = BOMBS[bomb]
    for name in (
        ("pagerduty", "generic") if bomb.startswith("many ") else ("pagerduty", "grafana", "generic", "changes")
    ):
        sender, began = TABLE[name], time.process_time()
        house = House(sender.door)
        answer = await sent(sender, body, sender.sign(body, SECRETS[0], T0), house)
        assert answer.status_code == 202, (name, answer.text)
        assert time.process_time() - began < 8, name
        for row in await house.signals():
            assert len(row["body"]) < 3 * 1024 * 1024
            json.loads(row["body"])


@pytest.mark.parametrize("name", TABLE)
async def test_a_body_over_the_limit_is_refused_announced_or_not(name: str) -> None:
    sender = TABLE[name]
    limit = sender.door.body_limit
    assert limit <= 1024 * 1024
    house = House(sender.door)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(limit // 65_536 + 2):
            yield b"x" * 65_536

    async with httpx.AsyncClient(transport=httpx.ASGITransport(house.app), base_url="http://sitrep") as client:
        assert (await client.post(sender.door.path, content=parts())).status_code == 413
        for said in ("9" * 30, str(limit + 1)):
            answer = await client.post(sender.door.path, content=b"", headers={"Content-Length": said})
            assert answer.status_code == 413


# --- a real server ------------------------------------------------------------------------------------------------


@pytest.fixture
async def port() -> AsyncIterator[int]:
    house = House(TABLE["pagerduty"].door)
    server = server_of(house.app, host="127.0.0.1", port=0, head_seconds=0.4, at_once=40)
    running = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


async def talk(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Everything that comes back until the server hangs up or has answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(65_536), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_who_says_nothing_or_drips_headers_is_hung_up_on(port: int) -> None:
    assert await talk(port) == b""
    assert await talk(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A") == b""
    dripped = await talk(port, *[b"GET /healthz HTTP/1.1\r\nHost: x\r\n"] + [b"X: y\r\n"] * 8, pause=0.1)
    assert b"200" not in dripped


async def test_a_body_that_drips_is_refused(port: int) -> None:
    head = b"POST /webhooks/pagerduty HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    assert b" 408 " in (await talk(port, head, b"{")).split(b"\r\n")[0]


async def test_a_header_bomb_is_refused_and_the_door_stays_open(port: int) -> None:
    bomb = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Bomb: " + b"a" * (2 * HEAD_BYTES)
    assert b" 400 " in (await talk(port, bomb, b"\r\n\r\n")).split(b"\r\n")[0]
    many = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-Header: y\r\n" * 5000
    assert b" 400 " in (await talk(port, many, b"\r\n")).split(b"\r\n")[0]
    assert b" 200 " in await talk(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_two_lengths_and_smuggled_requests_are_refused(port: int) -> None:
    for headers in (
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
    ):
        answer = await talk(port, b"POST /webhooks/pagerduty HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\nhello")
        assert answer.split(b"\r\n")[0].split(b" ")[1:2] in ([b"400"], [b"413"], [b"501"], []), answer


async def test_too_many_connections_are_told_so_and_the_next_one_is_served(port: int) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(45)]
    assert b" 503 " in await talk(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    for reader, _ in idle:
        assert await asyncio.wait_for(reader.read(), 20) == b""
    for _, writer in idle:
        writer.close()
    assert b" 200 " in await talk(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_a_connection_is_kept_between_requests_for_longer_than_a_head_may_take(port: int) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    assert b" 200 " in await asyncio.wait_for(reader.read(4096), 20)
    await asyncio.sleep(0.6)
    writer.write(request)
    assert b" 200 " in await asyncio.wait_for(reader.read(4096), 20)
    writer.write(b"GET /healthz HTTP/1.1\r\n")
    assert await asyncio.wait_for(reader.read(4096), 20) == b""
    writer.close()


# --- addresses in a payload -----------------------------------------------------------------------------------------


ADDRESSES = ("url", "link", "callback_url", "response_url", "generatorURL", "SubscribeURL")


def with_address(value: Any, address: str) -> Any:
    """The payload with every text replaced by an address, but the words that decide what it is."""
    kept = {"event_type", "action", "status", "kind", "object_kind", "state", "alert_transition", "type", "at",
            "occurred_at", "created_at", "startsAt", "full_name", "sha", "service"}  # fmt: skip
    if isinstance(value, dict):
        return {
            key: inner if key in kept else with_address(inner, address) for key, inner in value.items()
        } | dict.fromkeys(("url", "link", "callback_url", "response_url", "generatorURL", "SubscribeURL"), address)
    if isinstance(value, list):
        return [with_address(one, address) for one in value]
    return address if isinstance(value, str) else value


@pytest.mark.parametrize("name", TABLE)
async def test_no_address_of_a_payload_is_called(name: str, serve: Any) -> None:
    reached = await serve()
    sender = TABLE[name]
    house = House(sender.door)
    for address in (f"{reached.url}/x", f"http://localhost:{reached.port}/latest/meta-data"):
        body = json.dumps(with_address(sender.body, address)).encode()
        answer = await sent(sender, body, sender.sign(body, SECRETS[0], T0), house)
        assert answer.status_code == 202, answer.text
    assert reached.asked == []
    assert not reached.open
