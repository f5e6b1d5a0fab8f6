"""PagerDuty's REST API: what the source reads of an incident, what the account lacks, and how it fails."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.errors import Denied, IntegrationError, Malformed, NotIncluded, Refused, Unavailable
from integrations.http import Egress
from integrations.pagerduty import PagerDuty
from integrations.ports import IncidentSource, Source
from integrations.records import Readers

NOW = datetime(2026, 11, 23, 14, 10, tzinfo=UTC)
URL = "https://api.pagerduty.com"


@pytest.fixture
def pagerduty(access):
    return PagerDuty(
        url=URL, token="pd-token", egress=Egress([], [URL]), access=access, email="bot@example.com", now=lambda: NOW
    )


@pytest.fixture
async def local(serve, access, tmp_path):
    """A PagerDuty on a TLS server of this machine, and its source."""
    served = await serve(tls=True)
    authority = tmp_path / "ca.pem"
    authority.write_bytes(served.ca_pem)
    egress = Egress([served.url], ca_file=str(authority), answer_limit_bytes=65_536)
    source = PagerDuty(
        url=served.url, token="pd-token", egress=egress, access=access, deadline_seconds=1.0, now=lambda: NOW
    )
    source._owner._timeout = 1.0
    yield served, source
    await source.aclose()


async def test_it_plays_the_roles_of_a_source_and_of_an_incident_source(pagerduty):
    assert isinstance(pagerduty, Source)
    incident_source: IncidentSource = pagerduty
    assert incident_source.name == "pagerduty"


async def test_an_incident_is_read_with_its_alerts_log_changes_and_on_call(pagerduty, question, cassette):
    played = cassette("pagerduty")
    found = await pagerduty.fetch(question)
    await pagerduty.aclose()
    by_id = {item.id: item for item in found.evidence}
    assert set(by_id) == {
        "pagerduty/alert/PALERT1", "pagerduty/alert/PALERT2", "pagerduty/log/Q2PK8XZ1T9ABCD",
        "pagerduty/oncall/PPOL001",
    }  # fmt: skip
    alert = by_id["pagerduty/alert/PALERT1"]
    assert (alert.kind, alert.service, alert.url) == (
        "alert", "checkout-api", "https://acme.pagerduty.com/alerts/PALERT1",
    )  # fmt: skip
    assert alert.observed_at == datetime(2026, 11, 23, 14, 2, 8, tzinfo=UTC)
    assert "firing.alertname: HighErrorRate" in alert.text
    assert "never shown" not in alert.text
    assert alert.attributes == {"severity": "critical", "status": "triggered", "dedupe_key": "key-PALERT1"}
    assert by_id["pagerduty/log/Q2PK8XZ1T9ABCD"].text.splitlines() == [
        "14:02:10 triggered by an integration", "14:03:30 acknowledged by a responder",
        "14:05:00 annotated by a responder: Rolling back a1b2c3d",
    ]  # fmt: skip
    assert found.on_call == "Payments primary"
    assert by_id["pagerduty/oncall/PPOL001"].text.splitlines()[1:] == [
        "Level 1: Payments primary", "Level 2: Payments on-call",
    ]  # fmt: skip
    assert found.notes == ("past incidents: not included in this PagerDuty plan",)
    assert all("Person" not in item.text + item.title for item in found.evidence)
    assert {request.headers["Authorization"] for request in played.sent} == {"Token token=pd-token"}
    assert len(played.sent) == 7


async def test_changes_come_once_from_both_lists_with_kind_commit_links_and_no_routing_key(
    pagerduty, question, cassette
):
    cassette("pagerduty")
    changes = {change.id: change for change in (await pagerduty.fetch(question)).changes}
    assert set(changes) == {"pagerduty/change/PCHG001", "pagerduty/change/PCHG002"}  # the old one is out of the window
    deploy = changes["pagerduty/change/PCHG001"]
    assert (deploy.kind, deploy.service, deploy.commit, deploy.environment) == (
        "deploy", "checkout-api", "a1b2c3d", "production",
    )  # fmt: skip
    assert deploy.url == "https://github.com/acme/checkout/commit/a1b2c3d"
    assert deploy.rollback_url == "https://deploys.example.com/checkout/rollback"
    assert "R0UTING" not in deploy.model_dump_json()


async def test_readers_are_the_source_s_narrowed_by_the_service_s(pagerduty, question, cassette):
    cassette("pagerduty")
    by_id = {item.id: item for item in (await pagerduty.fetch(question)).evidence}
    assert by_id["pagerduty/alert/PALERT1"].readers == Readers.of(["everyone"], ["payments"])
    assert by_id["pagerduty/alert/PALERT2"].readers == Readers.of(["everyone"])
    assert by_id["pagerduty/alert/PALERT2"].model == "never"


async def test_its_times_notes_and_acknowledgement_as_the_owner_of_an_incident(pagerduty, question, cassette):
    played = cassette("pagerduty_owner")
    assert (await pagerduty.incident("Q2PK8XZ1T9ABCD"))["incident_number"] == 4711
    signals = [signal async for signal in pagerduty.transitions(datetime(2026, 11, 23, 14, 1, tzinfo=UTC))]
    assert [(one.kind, one.delivery_key, one.said_by) for one in signals] == [
        ("triggered", "R1TRIG0000000000000000001", "integration"),
        ("acknowledged", "R3ACK00000000000000000003", "responder"),
        ("annotated", "R4NOTE0000000000000000004", "responder"),
    ]
    assert {one.incident_id for one in signals} == {"Q2PK8XZ1T9ABCD"}
    assert signals[0].incident.service_ref == "PSVC123"
    assert (signals[0].incident.priority, signals[0].incident.urgency) == ("P1", "high")
    assert await pagerduty.add_note("Q2PK8XZ1T9ABCD", "Sitrep: see P8K2Q1 [sitrep-mark-7f3a]") == "PNOTE01"
    assert await pagerduty.find_note("Q2PK8XZ1T9ABCD", "sitrep-mark-7f3a") == "PNOTE01"  # the oldest that has the mark
    await pagerduty.acknowledge("Q2PK8XZ1T9ABCD", "priya@example.com")
    written = {request.method: request for request in played.sent if request.method != "GET"}
    assert json.loads(written["POST"].body) == {"note": {"content": "Sitrep: see P8K2Q1 [sitrep-mark-7f3a]"}}
    assert written["POST"].headers["From"] == "bot@example.com"
    assert json.loads(written["PUT"].body)["incident"]["status"] == "acknowledged"
    assert written["PUT"].headers["From"] == "priya@example.com"
    past = await pagerduty._past(pagerduty._api, "/incidents/Q2PK8XZ1T9ABCD", question)
    assert past.evidence[0].id == "pagerduty/past_incident/PPAST01"
    assert past.evidence[0].url == "https://acme.pagerduty.com/incidents/PPAST01"


async def test_a_window_with_more_entries_than_paging_reaches_is_halved(local, monkeypatch):
    served, source = local
    monkeypatch.setattr("integrations.pagerduty.rest.REACH", 200)
    start = NOW - timedelta(hours=1)

    def answer(asked):
        from urllib.parse import parse_qs, urlsplit

        query = parse_qs(urlsplit(asked.target).query)
        since, until = (datetime.fromisoformat(query[name][0]) for name in ("since", "until"))
        offset = int(query["offset"][0])
        assert offset + int(query["limit"][0]) <= 200
        minutes = [m for m in range(60 * 6) if since <= start + timedelta(seconds=10 * m) < until]
        page = sorted(minutes, reverse=True)[offset : offset + 100]
        entries = [
            {
                "id": f"R{m}", "type": "trigger_log_entry", "incident": {"id": "PI"},
                "created_at": (start + timedelta(seconds=10 * m)).isoformat(),
            }
            for m in page
        ]  # fmt: skip
        return 200, {}, json.dumps({"log_entries": entries, "more": offset + 100 < len(minutes)}).encode()

    served.answer = answer
    signals = [signal async for signal in source.transitions(start)]
    assert [signal.delivery_key for signal in signals] == [f"R{m}" for m in range(360)]


async def test_the_second_that_runs_is_asked_for_too(local):
    served, source = local
    source._now = lambda: NOW + timedelta(milliseconds=1)
    served.answer = lambda asked: (200, {}, b'{"log_entries": [], "more": false}')
    assert [signal async for signal in source.transitions(NOW)] == []
    assert "until=2026-11-23T14%3A10%3A01Z" in served.asked[0].target


async def test_a_second_with_more_entries_than_that_is_said_and_not_skipped(local, monkeypatch):
    served, source = local
    monkeypatch.setattr("integrations.pagerduty.rest.REACH", 100)
    entry = {"id": "R1", "type": "x", "incident": {"id": "PI"}, "created_at": NOW.isoformat()}
    served.answer = lambda asked: (200, {}, json.dumps({"log_entries": [entry] * 100, "more": True}).encode())
    with pytest.raises(Unavailable, match="log entries within 1 s"):
        await anext(source.transitions(NOW - timedelta(seconds=2)))


async def test_one_request_that_fails_or_is_late_is_a_note_and_the_rest_stands(local, question):
    served, source = local

    def answer(asked):
        if "/alerts" in asked.target:
            return 200, {}, json.dumps({"alerts": [{"id": "PA1", "created_at": NOW.isoformat()}]}).encode()
        if "/log_entries" in asked.target:
            return 500, {}, b""
        if "/past_incidents" in asked.target:
            return 403, {}, b'{"error": {"message": "Your plan does not include this", "code": 2100}}'
        if "/related_change_events" in asked.target:
            return 429, {}, b""
        return None

    served.answer = answer
    found = await source.fetch(question)
    assert [item.id for item in found.evidence] == ["pagerduty/alert/PA1"]
    assert found.notes[:3] == (
        "pagerduty incident log: answered 500", "pagerduty related change events: rate limit reached (429)",
        "past incidents: not included in this PagerDuty plan",
    )  # fmt: skip
    assert [note.split(" in ")[0] for note in found.notes[3:]] == [
        "pagerduty on-call: no answer", "pagerduty change events: no answer",
    ]  # fmt: skip


async def test_each_failure_of_everything_is_exactly_one_error_and_one_request_each(local, question, failing):
    served, source = local
    name, answer, error = failing
    served.answer = lambda asked: answer
    if error is NotIncluded:
        found = await source.fetch(question)
        assert found.notes == tuple(
            f"{what}: not included in this PagerDuty plan"
            for what in (
                "alerts", "incident log", "related change events", "past incidents", "on-call", "change events",
            )
        )  # fmt: skip
    else:
        with pytest.raises(error):
            await source.fetch(question)
    assert len(served.asked) <= 6, f"{name}: the client's own retries are on"


async def test_a_note_whose_answer_was_lost_says_so(local):
    served, source = local
    for answer in (b"", None):
        served.answer = lambda asked, answer=answer: answer
        with pytest.raises(Unavailable) as lost:
            await source.add_note("PI", "text")
        assert lost.value.answer_lost
    served.answer = lambda asked: (400, {}, b'{"error": {"message": "Requester User Not Found", "code": 1008}}')
    with pytest.raises(Refused) as refused:
        await source.acknowledge("PI", "nobody@example.com")
    assert refused.value.code == "1008"
    assert "pd-token" not in str(refused.value)
    served.answer = lambda asked: (201, {}, b'{"note": {}}')
    with pytest.raises(Malformed):
        await source.add_note("PI", "text")


@pytest.mark.parametrize("body", [b'{"error": "plain text"}', b'{"error": {"code": {}}}', b"[]", b"nonsense", b""])
async def test_an_error_body_of_any_shape_is_read(local, body):
    served, source = local
    served.answer = lambda asked: (401, {}, body)
    with pytest.raises(Denied, match="PAGERDUTY_API_TOKEN"):
        await source.incident("PI")


async def test_an_incident_of_another_source_asks_only_for_the_services_changes(local, question):
    served, source = local
    served.answer = lambda asked: (200, {}, b'{"change_events": []}')
    declared = replace(question, incident=question.incident.model_copy(update={"source": "slack"}))
    assert (await source.fetch(declared)).evidence == ()
    assert [asked.target.split("?")[0] for asked in served.asked] == ["/services/PSVC123/change_events"]


async def test_an_id_that_is_no_id_never_becomes_a_path(local):
    served, source = local
    for bad in ("../users", "P1/../../users", "", "P1?x"):
        with pytest.raises(Malformed):
            await source.incident(bad)
    assert served.asked == []


def test_an_address_without_tls_or_outside_the_list_is_refused_at_once(access):
    with pytest.raises(Denied, match="https://"):
        PagerDuty(url="http://127.0.0.1:1", token="t", egress=Egress(["http://127.0.0.1:1"]), access=access)
    with pytest.raises(Denied, match="not an allowed address"):
        PagerDuty(url="https://evil.example", token="t", egress=Egress([], [URL]), access=access)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_answer_ends_in_findings_or_in_one_of_the_errors(wire, mutate, junk, question, access, data):
    """Every documented shape, with any node replaced by anything, given as the answer to every request."""
    import asyncio

    samples = list(wire("pagerduty", "made_shape_*").values())
    sample = data.draw(st.sampled_from(samples))
    answer = mutate(sample, data.draw(st.lists(st.integers(0, 30), max_size=6)), data.draw(junk))
    source = PagerDuty(url=URL, token="t", egress=Egress([], [URL]), access=access, now=lambda: NOW)
    wide = replace(question, changes_since=datetime(2026, 1, 1, tzinfo=UTC))

    async def canned(path, params=None):
        return answer if isinstance(answer, dict) else {}

    async def run():
        source._api.get = canned
        source._owner.get = canned
        try:
            found = await source.fetch(wide)
            [item.model_dump_json() for item in (*found.evidence, *found.changes)]
            [signal.model_dump_json() async for signal in source.transitions(NOW - timedelta(seconds=1))]
        except IntegrationError:
            pass

    asyncio.run(run())


async def test_who_works_on_an_incident_is_told_by_login_once_each_and_whom_it_may_not_see_is_left_out(local):
    served, source = local
    user = {name: {"id": f"PUSER{name.upper()}1", "type": "user_reference"} for name in "abcdefg"}
    answers = {
        "/incidents/PINC001": {"incident": {
            "id": "PINC001", "escalation_policy": {"id": "PPOL001"},
            "assignments": [{"assignee": user["a"]}], "acknowledgements": [{"acknowledger": user["b"]}],
            "incidents_responders": [{"state": "pending", "user": user["c"]}, {"state": "declined", "user": user["g"]}],
        }},
        "/oncalls": {"oncalls": [{"escalation_level": 2, "user": user["g"]}, {"escalation_level": 1, "user": user["a"]},
                                 {"escalation_level": 1, "user": user["d"]}]},
        "/incidents/PINC001/log_entries": {"log_entries": [
            {"type": "notify_log_entry", "user": user["e"]}, {"type": "assign_log_entry", "assignees": [user["f"]]},
            {"type": "acknowledge_log_entry", "agent": {"id": "PSERV01", "type": "service_reference"}},
            {"type": "annotate_log_entry", "agent": user["g"]},
        ]},
    }  # fmt: skip

    def answer(asked):
        path = asked.target.partition("?")[0]
        if path.startswith("/users/"):
            name = path[-2].lower()
            if name == "f":
                return 404, {}, json.dumps({"error": {"message": "Not Found", "code": 2100}}).encode()
            return 200, {}, json.dumps({"user": {"id": path[7:], "email": f"{name.upper()}@Example.com"}}).encode()
        return 200, {}, json.dumps(answers[path]).encode()

    served.answer = answer
    assert await source.responders("PINC001") == tuple(f"{name}@example.com" for name in "abcde")
    with pytest.raises(Malformed):
        await source.responders("../users")
