"""How monitoring systems prove who they are, and what their deliveries become."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import shutil
import socket
import subprocess
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from bot.clock import ManualClock
from bot.web.app import create_app
from integrations.alerts import parse_alerts
from integrations.alerts.api import AlertmanagerApi
from integrations.alerts.doors import SENDERS, alert_of, door_for, generic_door
from integrations.alerts.sns import SnsDoor, fetch_by, origin_of_topic, string_to_sign
from integrations.errors import BadSignature, Malformed, Unavailable
from integrations.http import Egress
from integrations.ports import PreparedDoor, SignalDoor
from integrations.records import Signal
from tests.contract.conftest import as_json

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SHA = "0" * 64
FIRING = {"alerts": [{"labels": {"alertname": "DiskFull"}, "status": "firing", "startsAt": "2026-11-24T11:59:00Z"}]}


def basic(password: str, user: str = "sitrep") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


# --- tokens and passwords -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alertmanager", "datadog", "opsgenie"])
def test_any_active_token_or_password_opens_the_door(name):
    door = door_for(name, ["new", "old"])
    for headers in ({"authorization": "Bearer new"}, {"authorization": "bearer old"}, basic("old"), basic("new", "")):
        door.verify(headers, b"{}", NOW)


@pytest.mark.parametrize(
    "headers",
    [{}, basic(""), basic("wrong"), {"authorization": "Basic " + base64.b64encode(b"new").decode()}]
    + [{"authorization": said}
       for said in ("", "Bearer", "Bearer ", "Bearer newx", "new", "Digest new", "Basic new", "Bearer é")],
    ids=str,
)  # fmt: skip
def test_every_other_authorization_is_refused(headers):
    with pytest.raises(BadSignature):
        door_for("alertmanager", ["new"]).verify(headers, b"{}", NOW)
    with pytest.raises(BadSignature):
        door_for("alertmanager", []).verify(headers, b"{}", NOW)
    with pytest.raises(BadSignature):
        door_for("alertmanager", [""]).verify(headers, b"{}", NOW)


def test_the_captured_calls_of_a_real_alertmanager_open_it(wire):
    samples = wire("alertmanager", "captured_webhook_*")
    for name, secret in (("04_bulk_firing", "fake-password"), ("05_alertmanager_firing", "fake-token-not-a-secret")):
        headers = samples[f"captured_webhook_{name}.http.json"]["request"]["headers"]
        door_for("alertmanager", [secret]).verify(headers, b"", NOW)
        with pytest.raises(BadSignature):
            door_for("alertmanager", ["another"]).verify(headers, b"", NOW)


# --- signatures ---------------------------------------------------------------------------------------------------


def test_grafana_s_signature_covers_the_time_and_an_old_one_is_refused(wire):
    vector = wire("grafana", "made_webhook_hmac*")["made_webhook_hmac.http.json"]
    headers, body = vector["request"]["headers"], vector["request"]["body"].encode()
    at = datetime.fromtimestamp(int(headers["x-grafana-alerting-timestamp"]), UTC)
    door = door_for("grafana", ["other", vector["secret"]])
    for drift in (0, -300, 300):
        door.verify(headers, body, at + timedelta(seconds=drift))
    for drift in (-301, 301):
        with pytest.raises(BadSignature, match="300 s"):
            door.verify(headers, body, at + timedelta(seconds=drift))
    with pytest.raises(BadSignature, match="fits none"):
        door.verify(headers, body + b" ", at)
    later = headers | {"x-grafana-alerting-timestamp": str(int(at.timestamp()) + 1)}
    with pytest.raises(BadSignature, match="fits none"):
        door.verify(later, body, at)
    for said in ("", "soon", "-5"):
        with pytest.raises(BadSignature, match="no time"):
            door.verify(headers | {"x-grafana-alerting-timestamp": said}, body, at)
    with pytest.raises(BadSignature, match="no signature"):
        door.verify({}, body, at)


def test_sentry_s_published_rule_is_followed(wire):
    vector = wire("sentry", "made_signature_vector*")["made_signature_vector.http.json"]
    headers, body = vector["request"]["headers"], vector["request"]["body"].encode()
    door_for("sentry", [vector["secret"]]).verify(headers, body, NOW)
    for wrong in (body[:-1], b""):
        with pytest.raises(BadSignature):
            door_for("sentry", [vector["secret"]]).verify(headers, wrong, NOW)
    with pytest.raises(BadSignature):
        door_for("sentry", ["f" * 64]).verify(headers, body, NOW)


def test_the_generic_door_takes_a_signature_or_a_token_and_never_the_token_in_place_of_a_wrong_signature():
    door, body = generic_door("checks", ["s3cret"]), b'{"title": "x"}'
    signature = {"x-signature-256": "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()}
    door.verify(signature, body, NOW)
    door.verify({"authorization": "Bearer s3cret"}, body, NOW)
    with pytest.raises(BadSignature):
        door.verify({"authorization": "Bearer s3cret", "x-signature-256": "sha256=00"}, body, NOW)
    assert door.path == "/webhooks/checks"


def test_a_mapping_for_a_field_that_an_alert_has_not_is_refused():
    with pytest.raises(ValueError, match="sevirity"):
        generic_door("checks", ["s"], {"sevirity": "a.b"})
    door = generic_door("checks", ["s"], {"title": "check.what", "dedupe_key": "check.n"})
    (signal,) = door.parse({}, {"check": {"what": "Kasse", "n": 7}, "title": "no"}, SHA, NOW)
    assert (alert_of(signal).title, alert_of(signal).dedupe_key) == ("Kasse", "7")


# --- signals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SENDERS)
def test_each_door_is_a_door_at_its_own_path(name):
    door: SignalDoor = door_for(name, ["s"])
    assert (door.name, door.path) == (name, f"/webhooks/{name}")
    assert not isinstance(door, PreparedDoor)


def test_each_alert_of_a_delivery_is_a_signal_that_can_be_stored_and_read_back(wire):
    for sample in wire("alertmanager", "captured_webhook_*").values():
        body = sample["request"]["body"]
        signals = door_for("alertmanager", ["s"]).parse({}, body, SHA, NOW)
        assert [signal.kind for signal in signals] == ["alert"] * len(body["alerts"])
        assert len({signal.delivery_key for signal in signals}) == len(signals)
        for signal in signals:
            assert alert_of(Signal.model_validate_json(signal.model_dump_json())) == alert_of(signal)


def test_a_repeat_is_one_delivery_and_a_recovery_and_a_relapse_are_others():
    door = door_for("alertmanager", ["s"])

    def key(body, sha=SHA, at=NOW) -> str:
        (signal,) = door.parse({}, body, sha, at)
        return signal.delivery_key

    one = FIRING["alerts"][0]
    resolved = {"alerts": [{**one, "status": "resolved", "endsAt": "2026-11-24T12:00:00Z"}]}
    relapse = {"alerts": [{**one, "startsAt": "2026-11-24T13:00:00Z"}]}
    assert key(FIRING) == key(FIRING, "f" * 64, NOW + timedelta(hours=1))  # repeat_interval
    assert len({key(FIRING), key(resolved), key(relapse, at=NOW + timedelta(hours=2))}) == 3


def test_without_a_start_only_the_same_body_in_the_same_minute_is_a_repeat():
    door = door_for("datadog", ["s"])

    def key(sha, at) -> str:
        (signal,) = door.parse({}, {"title": "CPU", "priority": "P2", "monitor_id": "1"}, sha, at)
        return signal.delivery_key

    assert key(SHA, NOW) == key(SHA, NOW + timedelta(seconds=20))
    assert len({key(SHA, NOW), key("f" * 64, NOW), key(SHA, NOW + timedelta(minutes=5))}) == 3


def test_times_are_the_sender_s_and_one_far_ahead_is_not_believed():
    door = door_for("alertmanager", ["s"])
    (firing,) = door.parse({}, FIRING, SHA, NOW)
    assert firing.occurred_at == datetime(2026, 11, 24, 11, 59, tzinfo=UTC)
    ended = {"alerts": [{**FIRING["alerts"][0], "status": "resolved", "endsAt": "2026-11-24T11:59:30Z"}]}
    assert door.parse({}, ended, SHA, NOW)[0].occurred_at == datetime(2026, 11, 24, 11, 59, 30, tzinfo=UTC)
    ahead = {"alerts": [{**FIRING["alerts"][0], "startsAt": "2031-01-01T00:00:00Z"}]}
    assert door.parse({}, ahead, SHA, NOW)[0].occurred_at == NOW


@pytest.mark.parametrize("payload", [None, [], {}, "x", {"alerts": []}, {"a": "\ud800"}])
def test_what_is_signed_and_no_alert_is_kept_as_unknown_with_the_reason(payload):
    (signal,) = door_for("alertmanager", ["s"]).parse({}, payload, SHA, NOW)
    assert (signal.kind, signal.delivery_key) == ("unknown", f"alertmanager:sha256:{SHA}")
    assert signal.body["refused"]
    signal.model_dump_json()


# --- SNS ----------------------------------------------------------------------------------------------------------

TOPIC = "arn:aws:sns:eu-west-1:111111111111:alarms"
ORIGIN = "https://sns.eu-west-1.amazonaws.com"
CERTIFICATE = f"{ORIGIN}/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"


class Amazon:
    """Its side: a key, its certificate, and a record of what was fetched."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        certificate = (
            x509.CertificateBuilder(name, name, self.key.public_key(), 1)
            .not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=1))
            .sign(self.key, hashes.SHA256())
        )  # fmt: skip
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.fetched: list[tuple[str, str, dict]] = []
        self.down = False

    async def fetch(self, origin, path, query) -> bytes:
        self.fetched.append((origin, path, dict(query)))
        if self.down:
            raise Unavailable("cloudwatch_sns", "no connection")
        return self.pem if path.endswith(".pem") else b"<ConfirmSubscriptionResponse/>"

    def message(self, kind: str = "Notification", **fields) -> bytes:
        message = {
            "Type": kind, "MessageId": "00000000-0000-4000-8000-00000000000a", "TopicArn": TOPIC,
            "Message": json.dumps({"AlarmName": "checkout-5xx", "NewStateValue": "ALARM"}),
            "Timestamp": "2026-11-24T11:59:00.000Z", "SignatureVersion": "2", "SigningCertURL": CERTIFICATE,
        }  # fmt: skip
        if kind != "Notification":
            query = f"Action=ConfirmSubscription&TopicArn={TOPIC}&Token=abc"
            message |= {"Token": "abc", "SubscribeURL": f"{ORIGIN}/?{query}"}
        message |= fields
        signature = self.key.sign(string_to_sign(message), padding.PKCS1v15(), hashes.SHA256())
        return json.dumps({"Signature": base64.b64encode(signature).decode(), **message}).encode()


@pytest.fixture(scope="module")
def amazon_once() -> Amazon:
    return Amazon()


@pytest.fixture
def amazon(amazon_once) -> Amazon:
    amazon_once.fetched, amazon_once.down = [], False
    return amazon_once


async def opened(door: SnsDoor, body: bytes, at: datetime = NOW) -> None:
    await door.prepare({}, body, at)
    door.verify({}, body, at)


async def test_a_signed_notification_opens_the_door_and_its_certificate_is_fetched_once(amazon):
    door = SnsDoor([TOPIC], amazon.fetch)
    assert isinstance(door, PreparedDoor)
    for subject in (None, "ALARM: checkout-5xx"):
        body = amazon.message(**({"Subject": subject} if subject else {}))
        await opened(door, body)
        (signal,) = door.parse({}, json.loads(body), SHA, NOW)
        assert (signal.kind, alert_of(signal).title) == ("alert", "checkout-5xx")
    assert len(amazon.fetched) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"TopicArn": "arn:aws:sns:eu-west-1:222222222222:alarms"},
        {"SignatureVersion": "1"},
        {"SignatureVersion": None},
        {
            "SigningCertURL": "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0123456789abcdef.pem"
        },
        {"SigningCertURL": "https://evil.example/SimpleNotificationService-0123456789abcdef.pem"},
        {"SigningCertURL": CERTIFICATE.replace("https", "http")},
        {"SigningCertURL": CERTIFICATE.replace("eu-west-1", "us-east-1")},
        {"SigningCertURL": CERTIFICATE.replace("https://", "https://user@")},
        {"SigningCertURL": CERTIFICATE + "?x=1"},
        {"SigningCertURL": f"{ORIGIN}/../other.pem"},
        {"SigningCertURL": ""},
        {"Type": "Other"},
    ],
    ids=str,
)
async def test_nothing_is_fetched_for_another_topic_version_or_host(amazon, change):
    door = SnsDoor([TOPIC], amazon.fetch)
    with pytest.raises(BadSignature):
        await opened(door, amazon.message(**change))
    assert amazon.fetched == []


async def test_a_changed_message_a_wrong_signature_and_an_old_certificate_are_refused(amazon):
    door = SnsDoor([TOPIC], amazon.fetch)
    sent = json.loads(amazon.message())
    for changed in (
        {"Message": "other"}, {"Subject": "added"}, {"MessageId": "x"}, {"Signature": "AAAA"},
        {"Signature": "no base64!"}, {"Signature": None},
    ):  # fmt: skip
        with pytest.raises(BadSignature):
            await opened(door, json.dumps({**sent, **changed}).encode())
    with pytest.raises(BadSignature, match="not valid now"):
        await opened(door, amazon.message(), NOW + timedelta(days=2))
    for body in (b"", b"[]", b"\xff", b"[" * 100_000):
        with pytest.raises(BadSignature):
            await opened(door, body)


async def test_a_subscription_is_confirmed_only_when_it_is_signed_and_leads_to_sns_of_its_topic(amazon):
    door = SnsDoor([TOPIC], amazon.fetch)
    await opened(door, amazon.message("SubscriptionConfirmation"))
    assert amazon.fetched[-1] == (
        ORIGIN, "/", {"Action": "ConfirmSubscription", "TopicArn": TOPIC, "Token": "abc"},
    )  # fmt: skip
    amazon.fetched.clear()
    other = f"{ORIGIN}/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:222222222222:x&Token=abc"
    for url in (
        "https://evil.example/?Action=ConfirmSubscription",
        other,
        f"{ORIGIN}/?Action=DeleteTopic&TopicArn={TOPIC}",
    ):
        await door.prepare({}, amazon.message("SubscriptionConfirmation", SubscribeURL=url), NOW)
    unsigned = json.loads(amazon.message("SubscriptionConfirmation")) | {"Signature": "AAAA"}
    await door.prepare({}, json.dumps(unsigned).encode(), NOW)
    assert amazon.fetched == []
    (signal,) = door.parse({}, json.loads(amazon.message("SubscriptionConfirmation")), SHA, NOW)
    assert signal.kind == "unknown"
    assert "abc" not in signal.model_dump_json()


async def test_a_certificate_that_cannot_be_fetched_refuses_and_is_tried_again_later_but_not_without_end(amazon):
    door = SnsDoor([TOPIC], amazon.fetch)
    amazon.down = True
    with pytest.raises(BadSignature, match="could not be fetched"):
        await opened(door, amazon.message())
    amazon.down = False
    await opened(door, amazon.message())
    amazon.fetched.clear()
    for n in range(30):
        forged = CERTIFICATE.replace("0123456789abcdef0123456789abcdef", f"{n:032x}")
        await door.prepare({}, amazon.message(SigningCertURL=forged), NOW)
    assert len(amazon.fetched) <= 8


async def test_the_made_vectors_hold_with_the_certificate_that_amazon_would_serve(wire, cassette):
    samples = wire("cloudwatch_sns", "made_sns_vector_*")
    cassette("cloudwatch_sns")
    async with AsyncExitStack() as stack:
        fetch = fetch_by(Egress([], [ORIGIN]), [TOPIC], stack)
        door = SnsDoor([TOPIC], fetch)
        for _, sample in sorted(samples.items()):
            body = sample["request"]["body"].encode()
            if sample["expect"] == "valid":
                await opened(door, body)
                assert string_to_sign(json.loads(body)) == sample["string_to_sign"].encode()
            else:
                with pytest.raises(BadSignature):
                    await opened(door, body)
        assert len(samples) >= 3


def test_a_topic_s_address_is_sns_of_its_region():
    assert origin_of_topic(TOPIC) == ORIGIN
    assert origin_of_topic("arn:aws-cn:sns:cn-north-1:111111111111:a") == "https://sns.cn-north-1.amazonaws.com.cn"
    for wrong in ("", "alarms", "arn:aws:sns:evil.example/:111111111111:a", "arn:aws:sqs:eu-west-1:111111111111:a"):
        with pytest.raises(ValueError):
            origin_of_topic(wrong)


# --- a real sender, and the web door ------------------------------------------------------------------------------


async def test_a_real_alertmanager_s_calls_open_the_door_and_become_its_alerts(serve, without_part, tmp_path):
    if not shutil.which("prometheus-alertmanager"):
        without_part("alertmanager", "`make test-parts` installs it")
    served = await serve()
    (tmp_path / "alertmanager.yml").write_text(
        "route: {receiver: sitrep, group_wait: 0s, group_interval: 1s}\n"
        "receivers:\n- name: sitrep\n  webhook_configs:\n"
        f"  - url: {served.url}/webhooks/alertmanager\n"
        "    http_config: {authorization: {credentials: am-secret}}\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = subprocess.Popen(
        ["prometheus-alertmanager", f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/data",
         f"--web.listen-address={address}", "--cluster.listen-address="],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    started = datetime.now(UTC).replace(microsecond=123_000) - timedelta(seconds=30)
    labels = {"alertname": "DiskFull", "service": "orders", "severity": "critical"}
    alert = {"labels": labels, "annotations": {"summary": "disk 97 % full"}, "startsAt": started.isoformat()}
    try:
        async with httpx.AsyncClient(trust_env=False, base_url=f"http://{address}") as http:
            for _ in range(200):
                with contextlib.suppress(httpx.TransportError):
                    if (await http.post("/api/v2/alerts", json=[alert])).status_code == 200:
                        break
                await asyncio.sleep(0.05)
            for _ in range(200):
                if served.asked:
                    break
                await asyncio.sleep(0.05)
            listed = (await http.get("/api/v2/alerts")).json()
    finally:
        server.terminate()
        server.wait(10)
    (asked,) = served.asked[:1]
    door = door_for("alertmanager", ["am-secret"])
    door.verify(asked.headers, asked.body, datetime.now(UTC))
    with pytest.raises(BadSignature):
        door_for("alertmanager", ["other"]).verify(asked.headers, asked.body, datetime.now(UTC))
    (signal,) = door.parse(asked.headers, json.loads(asked.body), SHA, datetime.now(UTC))
    found = alert_of(signal)
    assert (found.title, found.service, found.severity, found.status) == (
        "disk 97 % full",
        "orders",
        "critical",
        "firing",
    )
    assert found.started_at == started
    assert parse_alerts("alertmanager", listed, datetime.now(UTC))[0].dedupe_key == found.dedupe_key


async def test_the_web_door_prepares_verifies_and_stores_what_amazon_sends(amazon):
    stored: list[Signal] = []

    async def intake(signals) -> int:
        stored.extend(signals)
        return len(signals)

    async def ready():
        return {}

    app = create_app(
        doors=[SnsDoor([TOPIC], amazon.fetch), door_for("alertmanager", ["am-secret"])], intake=intake,
        redact_small=lambda body: body, redact_large=None, clock=ManualClock(NOW), ready=ready, metrics=lambda: "",
    )  # fmt: skip
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sitrep") as http:
        body = amazon.message()
        headers = {"content-type": "text/plain; charset=UTF-8"}
        assert (await http.post("/webhooks/cloudwatch_sns", content=body, headers=headers)).status_code == 202
        forged = body.replace(b"checkout-5xx", b"checkout-4xx")
        assert (await http.post("/webhooks/cloudwatch_sns", content=forged, headers=headers)).status_code == 401
        assert (await http.post("/webhooks/alertmanager", json=FIRING)).status_code == 401
        token = {"authorization": "Bearer am-secret"}
        assert (await http.post("/webhooks/alertmanager", json=FIRING, headers=token)).status_code == 202
    assert [(signal.source, signal.kind) for signal in stored] == [
        ("cloudwatch_sns", "alert"),
        ("alertmanager", "alert"),
    ]


# --- Alertmanager's API ---------------------------------------------------------------------------------------------


async def test_what_fires_is_read_from_alertmanagers_api_as_it_answers(serve, wire):
    answers = {
        "/api/v2/status": wire("alertmanager", "captured_status*")["captured_status.http.json"]["response"]["body"],
        "/api/v2/alerts": wire("alertmanager", "captured_get_alerts*")["captured_get_alerts.http.json"]["response"][
            "body"
        ],
    }
    served = await serve()
    served.answer = lambda asked: as_json(answers[asked.target])
    api = AlertmanagerApi(served.url, Egress([served.url]), token="t0k")
    now = datetime(2026, 11, 23, 20, 8, tzinfo=UTC)
    listed, whole = await api.firing(now + timedelta(hours=1))
    assert whole
    assert {one.status for one in listed} == {"firing"}
    assert {name["name"] for one in listed for name in one.extra["receivers"]} >= {"bulk", "nogroup", "bulk2"}
    assert listed[0].dedupe_key == "43df2b7b7af96ab6:2026-11-23T20:06:31.215+00:00"
    started = datetime.fromisoformat(answers["/api/v2/status"]["uptime"])
    assert not (await api.firing(started + timedelta(minutes=4)))[1], "it has just started"
    assert {one.headers["authorization"] for one in served.asked} == {"Bearer t0k"}
    answers["/api/v2/alerts"] = []
    assert (await api.firing(now))[0] == []
    answers["/api/v2/alerts"] = "bad request"
    with pytest.raises(Malformed):
        await api.firing(now)
    await api.aclose()
