"""PagerDuty's webhooks: signatures on the raw bytes, and every kind of event there is a sample of."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.errors import BadSignature
from integrations.pagerduty import PagerDutyDoor, incident_fields, incident_of, log_entry_kind
from integrations.records import Incident, Signal

NOW = datetime(2026, 4, 1, 3, 0, tzinfo=UTC)
SHA = "0" * 64


def signed(body: bytes, *secrets: str) -> dict[str, str]:
    return {
        "x-pagerduty-signature": ",".join(
            "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() for secret in secrets
        )
    }


def test_the_published_signature_vector_is_accepted(wire):
    vector = wire("pagerduty", "webhook_v3_signature_vector*")["webhook_v3_signature_vector.http.json"]
    body = vector["request"]["body"].encode()
    PagerDutyDoor([vector["secret"]]).verify(vector["request"]["headers"], body, NOW)
    with pytest.raises(BadSignature, match="fits none of the secrets"):
        PagerDutyDoor([vector["secret"]]).verify(vector["request"]["headers"], body + b" ", NOW)
    with pytest.raises(BadSignature, match="fits none of the secrets"):
        PagerDutyDoor(["another"]).verify(vector["request"]["headers"], body, NOW)


def test_any_signature_may_match_any_active_secret():
    body = b'{"event": {}}'
    door = PagerDutyDoor(["new", "old"])
    for secrets in (["new"], ["old"], ["other", "old"], ["new", "other"]):
        door.verify(signed(body, *secrets), body, NOW)
    spaced = {"x-pagerduty-signature": signed(body, "x", "old")["x-pagerduty-signature"].replace(",", " , ")}
    door.verify(spaced, body, NOW)
    with pytest.raises(BadSignature):
        door.verify(signed(body, "other", "third"), body, NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-pagerduty-signature": ""},
        {"x-pagerduty-signature": "v1="},
        {"x-pagerduty-signature": "v0=" + hmac.new(b"new", b"{}", hashlib.sha256).hexdigest()},
        {"x-pagerduty-signature": hmac.new(b"new", b"{}", hashlib.sha256).hexdigest()},
        {"x-pagerduty-signature": "v1=é, v1=\udcff, v1=" + "a" * 100_000},
        {"x-pagerduty-signature": "v1=0," * 20 + "v1=" + hmac.new(b"new", b"{}", hashlib.sha256).hexdigest()},
    ],
)  # fmt: skip
def test_a_missing_or_odd_signature_is_refused(headers):
    with pytest.raises(BadSignature):
        PagerDutyDoor(["new"]).verify(headers, b"{}", NOW)


def test_without_a_secret_nothing_is_accepted_and_the_setting_is_named():
    empty = {"x-pagerduty-signature": "v1=" + hmac.new(b"", b"{}", hashlib.sha256).hexdigest()}
    for secrets in ([], [""]):
        with pytest.raises(BadSignature, match="PAGERDUTY_WEBHOOK_SECRETS"):
            PagerDutyDoor(secrets).verify(empty, b"{}", NOW)


EXPECTED = {
    "webhook_v3_incident.triggered.json": ("triggered", "PFQZPSY"),
    "webhook_v3_incident.resolved.json": ("resolved", "PCPZE64"),
    "webhook_v3_incident.annotated.json": ("annotated", "Q3B15VLMF3ASBD"),
    "webhook_v3_incident.escalated.json": ("escalated", "Q3B15VLMF3ASBD"),
    "webhook_v3_incident.reassigned.json": ("reassigned", "PIQUG8X"),
    "webhook_v3_incident.unacknowledged.json": ("unacknowledged", "PQ1K5C8"),
    "webhook_v3_incident.responder.added.json": ("unknown", "Q3B15VLMF3ASBD"),
    "webhook_v3_incident.conference_bridge.updated.json": ("unknown", "Q3B15VLMF3ASBD"),
    "webhook_v3_incident.status_update_published.json": ("unknown", "Q3B15VLMF3ASBD"),
    "webhook_v3_incident.workflow.completed.json": ("unknown", "Q3B15VLMF3ASBD"),
    "webhook_v3_signed_body.json": ("priority_updated", "PGR0VU2"),
    "made_v3_incident.role.assigned.json": ("unknown", "Q1MADE0000001"),
    "made_v3_incident.task.completed.json": ("unknown", "Q1MADE0000001"),
    "webhook_v3_service.created.json": ("unknown", None),
    "made_v3_service.updated.json": ("unknown", None),
    "made_v3_pagey.ping.json": ("unknown", None),
}


def test_every_sample_becomes_one_signal_with_its_event_id_and_time(wire):
    samples = {**wire("pagerduty", "webhook_v3_*"), **wire("pagerduty", "made_v3_*")}
    for name, payload in samples.items():
        if name.endswith(".http.json"):
            continue
        (signal,) = PagerDutyDoor(["s"]).parse({}, payload, SHA, NOW + timedelta(days=365))
        assert signal.delivery_key == payload["event"]["id"], name
        assert signal.occurred_at.isoformat(timespec="milliseconds") == payload["event"]["occurred_at"].replace(
            "Z", "+00:00"
        ), name
        assert signal.body == payload
        if name in EXPECTED:
            assert (signal.kind, signal.incident_id) == EXPECTED[name], name


def test_an_older_body_is_kept_as_unknown_with_a_key_that_a_retry_repeats(wire):
    payload = wire("pagerduty", "webhook_v2_*")["webhook_v2_incident.trigger.json"]
    door = PagerDutyDoor(["s"])
    (first,) = door.parse({"x-webhook-id": "abc"}, payload, SHA, NOW)
    (again,) = door.parse({"x-webhook-id": "abc"}, payload, SHA, NOW + timedelta(seconds=60))
    assert (first.kind, first.incident_id, first.occurred_at) == ("unknown", None, NOW)
    assert first.delivery_key == again.delivery_key
    assert door.parse({}, payload, "f" * 64, NOW)[0].delivery_key != first.delivery_key


def test_a_time_far_in_the_future_is_not_believed(wire):
    payload = copy.deepcopy(wire("pagerduty", "webhook_v3_incident.triggered")["webhook_v3_incident.triggered.json"])
    payload["event"]["occurred_at"] = "2031-01-01T00:00:00Z"
    assert PagerDutyDoor(["s"]).parse({}, payload, SHA, NOW)[0].occurred_at == NOW


@pytest.mark.parametrize(
    "payload",
    [None, [], "x", 3, {}, {"event": None}, {"event": []}, {"event": {"event_type": ["incident.triggered"]}},
     {"event": {"event_type": "incident.triggered", "data": {"id": "../../users", "type": "incident"}}},
     {"event": {"event_type": "incident.triggered", "data": {"id": 7, "type": "incident"}}},
     {"event": {"id": {"a": 1}, "event_type": "incident.triggered", "occurred_at": "yesterday", "data": None}}],
)  # fmt: skip
def test_a_signed_body_that_cannot_be_read_is_a_signal_of_kind_unknown(payload):
    (signal,) = PagerDutyDoor(["s"]).parse({}, payload, SHA, NOW)
    assert (signal.kind, signal.incident_id, signal.occurred_at) == ("unknown", None, NOW)


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_mutated_event_never_raises_and_can_be_stored(wire, mutate, junk, data):
    samples = [*wire("pagerduty", "webhook_v3_*").values(), *wire("pagerduty", "made_v3_*").values()]
    sample = data.draw(st.sampled_from(samples))
    mutated = mutate(sample, data.draw(st.lists(st.integers(0, 30), max_size=5)), data.draw(junk))
    for signal in PagerDutyDoor(["s"]).parse({}, mutated, SHA, NOW):
        assert Signal.model_validate_json(signal.model_dump_json()).delivery_key == signal.delivery_key
    if isinstance(mutated, dict):
        incident_fields(mutated)


def test_a_body_nested_to_the_limit_of_the_parser_can_still_be_stored():
    payload = json.loads('{"event": ' + '{"a":' * 400 + "1" + "}" * 400 + "}")
    (signal,) = PagerDutyDoor(["s"]).parse({}, payload, SHA, NOW)
    assert "nested too deeply" in signal.model_dump_json()


def test_the_fields_of_a_webhook_incident_fill_our_incident(wire):
    payload = wire("pagerduty", "webhook_v3_incident.triggered")["webhook_v3_incident.triggered.json"]
    fields = incident_fields(incident_of(payload["event"]["data"]))
    assert fields == {
        "id": "PFQZPSY", "number": 9, "title": "Test Incident 3", "service": "Acme service", "service_ref": "PA2P440",
        "urgency": "high", "status": "triggered", "url": "https://acme1.pagerduty.com/incidents/PFQZPSY",
    }  # fmt: skip
    Incident(workspace_id="w", severity=2, triggered_at=NOW, **fields)


def test_the_fields_of_a_rest_incident_have_its_times_priority_and_teams(wire):
    incident = wire("pagerduty", "made_shape_incident_get")["made_shape_incident_get.json"]["incident"]
    fields = incident_fields({**incident, "status": "resolved"})
    at = datetime(2026, 9, 1, 10, tzinfo=UTC)
    assert (fields["triggered_at"], fields["acknowledged_at"], fields["resolved_at"]) == (at, at, at)
    assert (fields["number"], fields["priority"], fields["teams"]) == (1234, "Checkout errors", ("Checkout errors",))
    assert "resolved_at" not in incident_fields({**incident, "status": "triggered"})


def test_a_reference_with_null_fields_says_only_what_it_knows():
    assert incident_fields({"id": "Q1MADE0000001", "type": "incident_reference", "summary": None, "teams": None}) == {
        "id": "Q1MADE0000001"
    }


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        ("acknowledge_log_entry", "acknowledged"),
        ("acknowledgement_log_entry", "acknowledged"),
        ("resolve_log_entry_reference", "resolved"),
        ("notify_log_entry", "unknown"),
        (None, "unknown"),
        ({}, "unknown"),
    ],
)
def test_a_log_entry_s_type_is_a_life_cycle_kind(kind, ours):
    assert log_entry_kind(kind) == ours
