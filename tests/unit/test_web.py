"""The web door: what is stored, what is refused, and what a stranger learns."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from datetime import UTC, datetime

import httpx
import pytest

from bot.clock import ManualClock
from bot.errors import NotPermitted
from bot.web.app import create_app
from integrations.pagerduty import PagerDutyDoor

T0 = datetime(2026, 11, 24, 14, 2, 10, tzinfo=UTC)
EVENT = {
    "event": {
        "id": "01EVENT", "event_type": "incident.triggered", "occurred_at": "2026-11-24T14:02:10.350Z", "agent": None,
        "data": {"id": "P8K2Q1A", "type": "incident", "title": "password=hunter2secret", "status": "triggered",
                 "html_url": "https://acme.pagerduty.com/incidents/P8K2Q1A", "urgency": "high",
                 "service": {"id": "PSVC123", "summary": "Checkout"}},
    }
}  # fmt: skip


def signed(body: bytes, secret: str = "new") -> dict[str, str]:
    return {"X-PagerDuty-Signature": "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


class Desk:
    def __init__(self) -> None:
        self.stored = []
        self.broken = False

    async def intake(self, signals):
        if self.broken:
            raise OSError("disk full")
        self.stored += signals
        return len(signals)

    def redact(self, payload):
        return json.loads(json.dumps(payload).replace("hunter2secret", "<secret>"))

    async def redact_large(self, payload):
        return self.redact(payload) | {"large": True}

    async def ready(self):
        return {}

    async def view(self, name, incident_id):
        if incident_id == "hidden":
            raise NotPermitted("no")
        return {"id": incident_id, "for": name} if incident_id == "P1" else None


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
async def client(desk):
    app = create_app(
        doors=[PagerDutyDoor(["new", "old"])], intake=desk.intake, redact_small=desk.redact,
        redact_large=desk.redact_large, clock=ManualClock(T0), ready=desk.ready, metrics=lambda: "x 1\n",
        tokens=[("status", "tok-1")], incident_view=desk.view,
    )  # fmt: skip
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sitrep") as client:
        yield client


async def test_a_signed_delivery_is_redacted_stored_and_then_accepted(client, desk):
    body = json.dumps(EVENT).encode()
    answer = await client.post("/webhooks/pagerduty", content=body, headers=signed(body, "old"))
    assert answer.status_code == 202
    (signal,) = desk.stored
    assert (signal.kind, signal.incident_id, signal.delivery_key) == ("triggered", "P8K2Q1A", "01EVENT")
    assert signal.incident.service_ref == "PSVC123"
    assert "hunter2secret" not in signal.model_dump_json()
    assert signal.sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("headers", [{}, {"X-PagerDuty-Signature": "v1=00"}, signed(b"other")])
async def test_a_wrong_signature_gets_401_with_one_line_and_stores_nothing(client, desk, headers):
    answer = await client.post("/webhooks/pagerduty", content=json.dumps(EVENT), headers=headers)
    assert answer.status_code == 401
    assert "signature" in answer.json()["error"].lower()
    assert desk.stored == []


@pytest.mark.parametrize("body", [b"", b"not json", b"[" * 5000, b'{"event": 7}', b'"text"', b"null", b"[1,2]"])
async def test_what_is_signed_and_cannot_be_read_is_stored_and_accepted(client, desk, body):
    answer = await client.post("/webhooks/pagerduty", content=body, headers=signed(body))
    assert answer.status_code == 202
    assert [s.kind for s in desk.stored] == ["unknown"]


async def test_a_body_over_a_mebibyte_is_refused(client, desk):
    body = b"x" * (1024 * 1024 + 1)
    assert (await client.post("/webhooks/pagerduty", content=body, headers=signed(body))).status_code == 413
    assert desk.stored == []


async def test_large_bodies_are_redacted_elsewhere(client, desk):
    body = json.dumps(EVENT | {"pad": "y" * 70_000}).encode()
    await client.post("/webhooks/pagerduty", content=body, headers=signed(body))
    assert desk.stored[0].body["large"] is True


class SlowReader(PagerDutyDoor):
    """Remembers in which thread it read."""

    def parse(self, headers, payload, sha256, received_at):
        self.read_in = threading.get_ident()
        return super().parse(headers, payload, sha256, received_at)


@pytest.mark.parametrize(("padding", "elsewhere"), [(10, False), (70_000, True)])
async def test_a_large_body_is_read_in_a_thread_so_that_other_deliveries_come_in_meanwhile(desk, padding, elsewhere):
    door = SlowReader(["new"])
    app = create_app(
        doors=[door], intake=desk.intake, redact_small=desk.redact, redact_large=desk.redact_large,
        clock=ManualClock(T0), ready=desk.ready, metrics=lambda: "",
    )  # fmt: skip
    body = json.dumps(EVENT | {"pad": "y" * padding}).encode()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sitrep") as client:
        assert (await client.post("/webhooks/pagerduty", content=body, headers=signed(body))).status_code == 202
    assert (door.read_in != threading.get_ident()) is elsewhere
    assert [one.kind for one in desk.stored] == ["triggered"]


async def test_a_store_that_fails_asks_the_sender_to_try_again(client, desk):
    desk.broken = True
    body = json.dumps(EVENT).encode()
    answer = await client.post("/webhooks/pagerduty", content=body, headers=signed(body))
    assert answer.status_code == 503
    assert "disk full" not in answer.text


async def test_an_incident_needs_a_token_and_shows_only_what_its_holder_may_see(client):
    assert (await client.get("/incidents/P1")).status_code == 401
    good = {"Authorization": "Bearer tok-1"}
    assert (await client.get("/incidents/P1", headers=good)).json() == {"id": "P1", "for": "status"}
    hidden, absent = [await client.get(f"/incidents/{i}", headers=good) for i in ("hidden", "nope")]
    assert (hidden.status_code, hidden.text) == (absent.status_code, absent.text) == (404, absent.text)


async def test_health_metrics_and_readiness_answer(client):
    assert (await client.get("/healthz")).text == "ok\n"
    assert (await client.get("/metrics")).text == "x 1\n"
    assert (await client.get("/readyz")).json()["ready"] is True
