"""Changes by webhook: who may send, CDEvents and CloudEvents, the three-field JSON, GitHub, and hostile payloads."""

from __future__ import annotations

import hashlib
import hmac
import json
import pathlib
import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.clock import ManualClock
from bot.web.app import create_app
from integrations.changes import change_of, changes_door
from integrations.errors import BadSignature
from integrations.github import github_door
from integrations.ports import SignalDoor
from integrations.records import Readers

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SHA = "0" * 64
TOKEN = {"authorization": "Bearer s3cret"}
README = pathlib.Path(__file__).resolve().parents[2] / "README.md"


def changes(payload, headers=TOKEN, door=None):
    signals = (door or changes_door(["s3cret"])).parse(headers, payload, SHA, NOW)
    return [change_of(one.body) if one.kind == "change" else one.body["refused"] for one in signals]


def only(payload, headers=TOKEN, door=None):
    (one,) = changes(payload, headers, door)
    return one


def signed(body: bytes, at: datetime | None = None, secret: str = "s3cret") -> dict[str, str]:
    said = {} if at is None else {"x-signature-timestamp": str(int(at.timestamp()))}
    text = body if at is None else f"{int(at.timestamp())}:".encode() + body
    return {"x-signature-256": "sha256=" + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest(), **said}


# --- who may send -------------------------------------------------------------------------------------------------


def test_a_token_a_signature_or_a_signature_over_a_recent_time_opens_the_door():
    door = changes_door(["s3cret", "older"])
    assert isinstance(door.path, str)
    door.verify(TOKEN, b"{}", NOW)
    door.verify(signed(b"{}"), b"{}", NOW)
    door.verify(signed(b"{}", NOW - timedelta(seconds=299), "older"), b"{}", NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"authorization": "Bearer wrong"}, signed(b"{ }"), signed(b"{}", NOW - timedelta(seconds=301)),
        signed(b"{}", NOW + timedelta(seconds=301)), {**signed(b"{}"), "x-signature-timestamp": str(NOW.timestamp())},
        {**signed(b"{}", NOW), "x-signature-timestamp": str(int(NOW.timestamp()) + 1)},
        {"x-signature-256": "", "authorization": "Bearer s3cret"},
    ],
)  # fmt: skip
def test_every_other_proof_is_refused_and_a_signature_counts_before_a_token(headers):
    with pytest.raises(BadSignature):
        changes_door(["s3cret"]).verify(headers, b"{}", NOW)


def test_a_change_told_twice_is_one_delivery_and_a_signed_body_without_a_time_must_say_when():
    body = {"service": "checkout-api", "what": "deploy a1b2c3d", "at": "2026-11-24T11:58:00Z"}
    door = changes_door(["s3cret"])
    first, again = (door.parse(TOKEN, body, sha, NOW)[0] for sha in (SHA, "1" * 64))
    other = door.parse(TOKEN, body | {"at": "2026-11-24T11:59:00Z"}, SHA, NOW)[0]
    assert first.delivery_key == again.delivery_key != other.delivery_key
    del body["at"]
    assert "no time" in only(body, signed(b""))
    assert only(body, signed(b"", NOW - timedelta(seconds=90))).changed_at == NOW - timedelta(seconds=90)
    assert only(body).changed_at == NOW


def test_what_does_not_say_when_is_a_repeat_within_its_minute_and_another_change_later():
    body = {"service": "checkout-api", "what": "deploy"}
    pagerduty = {"payload": {"summary": "deploy", "source": "ci"}}
    for payload in (body, pagerduty):
        ids = [
            changes_door(["s3cret"]).parse(TOKEN, payload, SHA, NOW + timedelta(seconds=after))[0].delivery_key
            for after in (0, 30, 90, 86_400)
        ]
        assert ids[0] == ids[1]
        assert len(set(ids)) == 3
    timed = signed(b"", NOW)  # a repeat of a signed delivery is the same change whenever it comes
    first, late = (changes_door(["s"]).parse(timed, body, SHA, NOW + timedelta(seconds=s))[0] for s in (1, 250))
    assert first.delivery_key == late.delivery_key


# --- three fields -------------------------------------------------------------------------------------------------


def test_three_fields_are_a_change():
    change = only({"service": "checkout-api", "what": "deploy a1b2c3d", "at": "2026-11-24T11:58:00Z"})
    assert (change.kind, change.service, change.commit) == ("deploy", "checkout-api", "a1b2c3d")
    assert change.summary == "Deploy a1b2c3d: checkout-api"
    assert change.changed_at == datetime(2026, 11, 24, 11, 58, tzinfo=UTC)
    assert change.readers == Readers.nobody()  # the settings decide when it is read


def test_everything_a_change_can_say_is_kept_and_bounded():
    change = only({
        "service": "checkout-api", "version": "v1.4.0", "at": 1795521600, "kind": "rollback", "environment": "prod",
        "role": "release train", "size": 120, "files": ["a.py", 3, "b.py"], "risk": "critical", "detail": "x" * 9000,
        "diff_url": "https://git.example/compare/1...2", "rollback_url": "https://ci.example/runs/7", "id": "run-7",
        "url": "javascript:alert(1)", "commit": "A1B2",
    })  # fmt: skip
    assert (change.id, change.kind, change.risk) == ("changes/told/run-7", "deploy", "high")
    assert (change.size, change.files, change.environment) == (120, ("a.py", "b.py"), "prod")
    assert (change.url, change.rollback_url) == ("https://git.example/compare/1...2", "https://ci.example/runs/7")
    assert (len(change.detail), change.author_role, change.commit) == (4000, "release train", None)


@pytest.mark.parametrize("role", ["priya@example.com", "x" * 61, {"name": "Priya"}, ""])
def test_who_is_a_role_and_never_an_address(role):
    assert only({"service": "a", "what": "deploy", "role": role}).author_role is None


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ({}, "no service"), ({"what": "deploy"}, "no service"), ({"service": "a"}, "nothing says what"),
        (None, "a JSON object"), ([], "an empty list"), ([7], "a JSON object"), ("text", "a JSON object"),
        ({"unreadable": "not JSON", "bytes": 3}, "no service"),
    ],
)  # fmt: skip
def test_what_is_no_change_is_kept_with_the_reason(payload, why):
    assert why in only(payload)


def test_one_that_cannot_be_read_costs_none_of_the_others_and_a_thousand_are_read_at_once():
    one = {"service": "a", "what": "deploy", "at": "2026-11-24T11:58:00Z"}
    read = changes([one, {"what": 1}, one | {"service": "b"}])
    assert [getattr(change, "service", None) for change in read] == ["a", None, "b"]
    many = changes([one | {"id": str(n)} for n in range(1001)])
    assert len(many) == 1001
    assert "only the first 1000 of 1001" in many[-1]


def test_a_clock_that_is_wrong_by_days_does_not_put_a_change_into_the_future():
    assert only({"service": "a", "what": "x", "at": "2026-12-24T00:00:00Z"}).changed_at == NOW
    soon = "2026-11-24T12:01:00Z"
    assert only({"service": "a", "what": "x", "at": soon}).changed_at == datetime(2026, 11, 24, 12, 1, tzinfo=UTC)


def test_what_a_pipeline_sends_pagerduty_as_a_change_event_is_read_too_without_its_key():
    signals = changes_door(["s"]).parse(TOKEN, {
        "routing_key": "R0UT1NGK3Y", "payload": {
            "summary": "Build Success: Increase snapshot create timeout to 30 seconds", "source": "prod-build-agent",
            "timestamp": "2026-11-24T11:17:09Z", "custom_details": {"service": "checkout-api", "build_state": "passed"},
        }, "links": [{"href": "https://ci.example/builds/1", "text": "View"}],
    }, SHA, NOW)  # fmt: skip
    change = change_of(signals[0].body)
    assert (change.service, change.kind, change.url) == ("checkout-api", "deploy", "https://ci.example/builds/1")
    assert "build_state: passed" in change.detail
    assert "R0UT1NGK3Y" not in signals[0].model_dump_json()


# --- CDEvents -----------------------------------------------------------------------------------------------------


def test_published_cdevents_of_services_environments_and_merges_are_changes(wire):
    read = {name.split(".")[0]: only(one) for name, one in wire("cdevents").items()}
    deployed = read["service_deployed"]
    assert (deployed.kind, deployed.service, deployed.environment) == ("deploy", "mySubject123", "test123")
    assert deployed.summary == "Deploy mySubject123 to sha256:0b31b1c02ff4… in test123"
    assert deployed.changed_at == datetime(2023, 3, 20, 14, 27, 5, 315384, tzinfo=UTC)
    assert read["service_removed"].summary.startswith("Remove")
    assert read["environment_modified"].kind == "config"
    assert (read["change_merged"].kind, read["change_merged"].inferred) == ("merge", True)
    assert "changes nothing that runs" in read["incident_detected"]


@pytest.mark.parametrize("kind", ["dev.cdevents.service.deployed.0.1.1", "dev.cdevents.service.deployed.0.3.0-draft"])
def test_an_older_event_is_known_by_the_beginning_of_its_type(kind):
    event = {
        "context": {"version": "0.4.1", "id": "7", "source": "/ci", "type": kind, "timestamp": "2026-11-24T11:58:00Z"},
        "subject": {"id": "/prod/checkout-api", "content": {"environment": {"id": "/env/prod"},
                    "artifactId": "pkg:github/acme/checkout@a1b2c3d4e5f60718293a4b5c6d7e8f9012345678"}},
        "customData": {"risk": "medium", "diff_url": "https://git.example/1", "role": "platform team"},
    }  # fmt: skip
    change = only(event)
    assert (change.service, change.environment, change.risk) == ("checkout-api", "prod", "medium")
    assert change.commit == "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678"
    assert (change.diff_url, change.author_role) == ("https://git.example/1", "platform team")


def test_a_cloudevent_is_read_structured_batched_and_binary_as_the_same_change(wire):
    event = wire("cdevents", "service_upgraded")["service_upgraded.json"]
    outer = {
        "specversion": "1.0", "id": event["context"]["id"], "source": event["context"]["source"],
        "type": event["context"]["type"], "time": "2023-03-20T14:27:05.315384Z", "datacontenttype": "application/json",
    }  # fmt: skip
    alone = only(event)
    assert only({**outer, "data": event}, {"content-type": "application/cloudevents+json"}) == alone
    assert only([{**outer, "data": event}], {"content-type": "application/cloudevents-batch+json"}) == alone
    binary = {f"ce-{name}": value.replace("/", "%2F") for name, value in outer.items()}
    assert only(event, {"content-type": "application/json", **binary}) == alone
    bare = {"subject": event["subject"]}  # what the headers say need not stand in the body
    assert only(bare, binary).id == alone.id


def test_a_cloudevent_that_is_no_cdevent_or_hides_its_data_is_refused_with_the_reason(wire):
    assert "no CDEvents type" in only({"specversion": "1.0", "type": "com.example.thing", "data": {}})
    assert "data_base64" in only(
        {"specversion": "1.0", "type": "dev.cdevents.service.deployed.0.3.0", "data_base64": ""}
    )
    event = wire("cdevents", "service_deployed")["service_deployed.json"]
    assert "names no service" in only({**event, "subject": {"content": {}}})


# --- GitHub -------------------------------------------------------------------------------------------------------


def hook(event: str, payload):
    return only(payload, {"x-github-event": event}, github_door(["s"]))


def test_github_s_published_events_are_changes_or_say_why_not(wire):
    samples = wire("github", "webhook_*")
    deployed = hook("deployment_status", samples["webhook_deployment_status.json"])
    assert (deployed.id, deployed.kind) == ("github/deployment/Codertocat/Hello-World/145988746", "deploy")
    assert (deployed.service, deployed.environment) == ("Codertocat/Hello-World", "production")
    assert deployed.commit == "f95f852bd8fca8fcc58a9a2d6c842781e32a215e"
    assert deployed.diff_url == f"https://github.com/Codertocat/Hello-World/commit/{deployed.commit}"
    assert deployed.author_role is None  # a person's name is nobody's business
    assert "not deployed yet" in hook("deployment", samples["webhook_deployment.json"])
    assert "does not deploy by its name" in hook("workflow_run", samples["webhook_workflow_run.completed.json"])
    assert "not out" in hook("release", samples["webhook_release.prereleased.json"])
    assert "'ping' events are not read" in hook("ping", samples["webhook_ping.json"])
    failed = samples["webhook_deployment_status.json"]
    failed = {**failed, "deployment_status": failed["deployment_status"] | {"state": "failure"}}
    assert "'failure' is not deployed" in hook("deployment_status", failed)


def test_a_run_of_a_workflow_that_deploys_and_a_published_release_are_inferred_changes(wire):
    run = wire("github", "webhook_workflow_run*")["webhook_workflow_run.completed.json"]
    run = {**run, "workflow_run": run["workflow_run"] | {"name": "Deploy to production"}}
    change = hook("workflow_run", run)
    assert (change.kind, change.inferred, change.id[:10]) == ("deploy", True, "github/run")
    assert change.summary.startswith("Workflow 'Deploy to production' ran 3484a3f for ")
    release = wire("github", "webhook_release*")["webhook_release.prereleased.json"]
    change = hook("release", {**release, "action": "published"})
    assert (change.kind, change.summary) == ("release", "Release 0.0.1 of Codertocat/Hello-World")


def test_github_s_signature_is_of_the_raw_bytes():
    door = github_door(["s3cret"])
    given = {"x-hub-signature-256": signed(b"{}")["x-signature-256"]}
    door.verify(given, b"{}", NOW)
    for wrong in ({}, {"x-hub-signature": "sha1=00"}, {"x-hub-signature-256": "sha256=00"}):
        with pytest.raises(BadSignature):
            door.verify(wrong, b"{}", NOW)
    with pytest.raises(BadSignature):
        door.verify(given, b"{} ", NOW)


# --- hostile ------------------------------------------------------------------------------------------------------


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_mutated_delivery_is_a_change_or_a_reason_and_nothing_else(wire, mutate, junk, data):
    github = {
        ("x-github-event", name.split("_", 1)[1].split(".")[0]): one
        for name, one in wire("github", "webhook_*").items()
    }
    plain = {"service": "a", "what": "deploy", "at": "2026-11-24T11:58:00Z", "files": ["x"], "risk": "low", "size": 3}
    samples = [*github.items(), *((("", ""), one) for one in [*wire("cdevents").values(), plain])]
    (header, value), payload = data.draw(st.sampled_from(samples))
    payload = mutate(payload, data.draw(st.lists(st.integers(0, 30), max_size=5)), data.draw(junk))
    for door in (github_door(["s"]), changes_door(["s"])):
        for signal in door.parse({header: value} if header else {}, payload, SHA, NOW):
            assert signal.kind in ("change", "unknown")
            json.loads(signal.model_dump_json())
            if signal.kind == "change":
                change_of(signal.body)


# --- the door as it is served -------------------------------------------------------------------------------------


async def test_the_line_of_the_readme_works_and_says_what_was_stored_or_why_not():
    said = README.read_text(encoding="utf-8")
    line = next(one for one in said.replace("\\\n", " ").splitlines() if one.lstrip().startswith("curl"))
    body = re.search(r"-d '(\{.*?\})'", line)[1]
    address = re.search(r"https?://\S+", line)[0]
    assert "Authorization: Bearer $CHANGES_WEBHOOK_SECRETS" in line
    stored = []

    async def intake(signals):
        stored.extend(signals)
        return len(signals)

    async def ready():
        return {}

    app = create_app(
        doors=[changes_door(["s3cret"])], intake=intake, redact_small=lambda x: x, redact_large=None,
        clock=ManualClock(NOW), ready=ready, metrics=lambda: "",
    )  # fmt: skip
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        answer = await client.post(address, content=body, headers=TOKEN)
        assert (answer.status_code, answer.json()) == (202, {"stored": 1, "received": 1})
        assert change_of(stored[0].body).service == "checkout-api"
        answer = await client.post(address, content=b"{}", headers=TOKEN)
        assert answer.status_code == 202
        assert "no service" in answer.json()["unread"][0]
        assert (await client.post(address, content=body)).status_code == 401


def test_a_door_is_a_signal_door():
    door: SignalDoor = changes_door(["s"])
    assert (door.name, door.path, door.body_limit) == ("changes", "/webhooks/changes", 1024 * 1024)
