"""What monitoring systems send becomes alerts in our words, by a parser of their own or by usual field names."""

from __future__ import annotations

import json
import pathlib
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.cli.alerts import FIELDS, command
from integrations.alerts import PARSERS, GenericParser, Hints, parse_alerts, payloads_in
from integrations.alerts.alertmanager import fingerprint_of
from integrations.errors import NotASignal
from integrations.records import Alert

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PAYLOADS = pathlib.Path(__file__).resolve().parent.parent / "data" / "provider_alerts"


def of_product(name: str) -> list[Alert]:
    return parse_alerts(name, json.loads((PAYLOADS / f"{name}.json").read_text(encoding="utf-8")), NOW)


def row(alert: Alert) -> tuple:
    started = None if alert.started_at == NOW else f"{alert.started_at:%Y-%m-%dT%H:%M:%SZ}"
    return alert.status, alert.severity, alert.title, alert.service, started


PRODUCTS = {
    "axiom": [("firing", "unknown", "Triggered: New monitor", None, "2025-02-15T14:59:03Z")],
    "checkmk": [("resolved", "info", "CheckMK server1 - DOWN -> UP", None, "2024-10-26T23:20:39Z")],
    "cloudwatch": [
        ("firing", "P3", "HighCPUUsage", None, None), ("firing", "P2", "HighMemoryUsage", None, None),
        ("firing", "P1", "APIErrorRate", None, None),
    ],
    "coralogix": [("firing", "error", "Keep", None, "2024-08-14T21:28:56Z")],
    "datadog": [
        ("firing", "P3", "High CPU Usage", None, None), ("firing", "P4", "Low Disk Space", None, None),
        ("firing", "P4", "MQ Consumer Is Struggling", None, None),
    ],
    "gcpmonitoring": [
        ("firing", "critical", "High rate of 5XX errors detected in production environment", None, None),
        ("firing", "warning", "Memory usage exceeds 90% on production servers", None, None),
        ("firing", "warning", "Database query latency above threshold", None, None),
    ],
    "grafana": [
        ("firing", "warning", "High Memory Usage", "api", None), ("firing", "info", "Network Latency High", "db", None),
    ],
    "libre_nms": [
        ("resolved", "info", "Device 10.10.1.147 recovered from Devices up/down", None, "2025-03-04T11:01:41Z"),
    ],
    "prometheus": [
        ("firing", "critical", "CPU usage is over 90%", "example2", None),
        ("firing", "warning", "Message queue is over 33% capacity", None, None),
        ("firing", "critical", "Message queue is over 90% capacity", None, None),
        ("firing", "warning", "Disk space is below 20%", None, None),
        ("firing", "info", "Network latency is higher than normal for customer_id:acme", None, None),
    ],
    "signalfx": [("firing", "critical", "Manually resolved: logs (logs)", None, None)],
    "thousandeyes": [
        ("firing", "info", "Default Agent Offline Notification: te", None, "2025-03-24T17:28:40Z"),
        ("resolved", "info", "PDF Test: https://pdf.ezhil.dev - HTTP Server", None, "2025-03-17T19:43:00Z"),
    ],
    "wazuh": [("firing", "info", "New dpkg (Debian Package) installed.", None, "2025-02-03T20:41:42Z")],
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_product_s_payload_becomes_its_alerts(name):
    alerts = of_product(name)
    assert [row(alert) for alert in alerts] == PRODUCTS[name]
    assert len({alert.dedupe_key for alert in alerts}) >= len(alerts) - 1  # two of Datadog's share a monitor
    assert all(alert.extra for alert in alerts)


def test_netbox_is_refused_as_no_alert_under_its_own_and_under_any_name():
    for name in ("netbox", "whatever"):
        payload = json.loads((PAYLOADS / "netbox.json").read_text(encoding="utf-8"))
        with pytest.raises(NotASignal, match="no alert"):
            parse_alerts(name, payload, NOW)


def test_every_product_of_the_shared_folder_is_covered(shared_data):
    names = {path.stem for path in (shared_data / "provider_alerts").glob("*.json")}
    assert names - {"netbox"} <= set(PRODUCTS)
    assert names <= set(PARSERS)


# --- Alertmanager and Grafana -------------------------------------------------------------------------------------


def body_of(sample) -> dict:
    return payloads_in(sample)[0]


def test_each_alert_of_a_webhook_stands_for_itself(wire):
    for name, sample in wire("alertmanager", "captured_webhook_*").items():
        body = body_of(sample)
        alerts = parse_alerts("alertmanager", body, NOW)
        assert len(alerts) == len(body["alerts"]), name
        for alert, sent in zip(alerts, body["alerts"], strict=True):
            assert alert.labels == sent["labels"]
            assert alert.title == sent["annotations"].get("summary", sent["labels"]["alertname"])
            assert alert.severity == sent["labels"]["severity"]
            assert alert.dedupe_key.startswith(sent["fingerprint"])
            assert alert.service == sent["labels"].get("service")


def test_nothing_is_resolved_from_a_body_that_was_cut_short(wire):
    samples = wire("alertmanager", "captured_webhook_*")
    cut = parse_alerts("alertmanager", body_of(samples["captured_webhook_08_bulk2_resolved.http.json"]), NOW)
    assert [alert.status for alert in cut] == ["firing", "firing"]
    assert [(alert.extra["status"], alert.extra["truncatedAlerts"]) for alert in cut] == [("resolved", 5)] * 2
    whole = parse_alerts("alertmanager", body_of(samples["captured_webhook_09_alertmanager_resolved.http.json"]), NOW)
    assert [alert.status for alert in whole] == ["resolved"]


def test_an_alert_has_one_key_in_the_webhook_its_recovery_and_the_api(wire):
    samples = wire("alertmanager", "captured_*")
    keys = [
        {alert.labels["pod"]: alert.dedupe_key for alert in parse_alerts("alertmanager", body_of(samples[name]), NOW)
         if alert.labels.get("pod", "").startswith("cart-")}
        for name in ("captured_webhook_02_bulk2_firing.http.json", "captured_webhook_08_bulk2_resolved.http.json",
                     "captured_get_alerts.http.json")
    ]  # fmt: skip
    assert keys[0] == keys[1]
    assert keys[0].items() <= keys[2].items()


def test_the_fingerprint_of_labels_is_alertmanager_s(wire):
    for sample in wire("alertmanager", "captured_webhook_*").values():
        for sent in body_of(sample)["alerts"]:
            assert fingerprint_of(sent["labels"]) == sent["fingerprint"]


def test_grafana_s_three_shapes_are_read(wire):
    samples = wire("grafana")
    mixed = parse_alerts("grafana", samples["made_webhook_mixed.json"], NOW)
    assert [(one.status, one.service, one.started_at.hour) for one in mixed] == [
        ("firing", "checkout", 10), ("resolved", "cart", 10),
    ]  # fmt: skip
    assert mixed[0].link == "https://grafana.example.com/alerting/grafana/abc/view?orgId=1"
    (legacy,) = parse_alerts("grafana", samples["webhook_legacy_no_data.json"], NOW)
    assert (legacy.title, legacy.status, legacy.dedupe_key) == ("No Data alert", "firing", "rule:1:3")
    no_data = {"labels": {"alertname": "DatasourceNoData", "rulename": "Orders"}, "status": "firing"}
    assert parse_alerts("grafana", {"alerts": [no_data]}, NOW)[0].title == "Orders: no data"


# --- the others ---------------------------------------------------------------------------------------------------


def test_datadog_s_default_template_is_read_by_its_title(wire):
    (alert,) = parse_alerts("datadog", wire("datadog", "made_webhook_default")["made_webhook_default.json"], NOW)
    assert row(alert) == (
        "firing", "error", "High error ratio on {service:checkout}", "checkout", "2026-09-01T10:03:21Z",
    )  # fmt: skip
    recovered = {"title": "[Recovered] High error ratio on {service:checkout}", "id": "7654321", "tags": "env:prod"}
    (alert_2,) = parse_alerts("datadog", recovered, NOW)
    assert (alert_2.status, alert_2.severity, alert_2.dedupe_key) == ("resolved", "info", alert.dedupe_key)


def test_cloudwatch_is_read_in_each_of_its_envelopes(wire):
    alarm = {
        "AlarmName": "checkout-5xx", "NewStateValue": "ALARM", "StateChangeTime": "2026-09-01T10:00:00.000+0000",
        "AlarmArn": "arn:aws:cloudwatch:eu-west-1:1:alarm:checkout-5xx", "Region": "EU (Ireland)",
        "Trigger": {"MetricName": "5xx", "Namespace": "AWS/ECS",
                    "Dimensions": [{"name": "ServiceName", "value": "checkout"}]},
    }  # fmt: skip
    sns = {"Type": "Notification", "Message": json.dumps(alarm), "Timestamp": "2026-09-01T10:00:01Z"}
    for payload in (alarm, sns, {"Records": [{"Sns": sns}]}, {"Records": [{"body": json.dumps(sns)}]}, [alarm]):
        (alert,) = parse_alerts("cloudwatch", payload, NOW)
        assert row(alert) == ("firing", "unknown", "checkout-5xx", "checkout", "2026-09-01T10:00:00Z")
        assert alert.dedupe_key == alarm["AlarmArn"]
        assert alert.labels["metric"] == "5xx"
    for state, status in (("OK", "resolved"), ("INSUFFICIENT_DATA", "firing")):
        assert parse_alerts("cloudwatch", {**alarm, "NewStateValue": state}, NOW)[0].status == status
    composite = wire("cloudwatch_sns", "cloudWatchAlarmEvent*")["cloudWatchAlarmEventCompositeMetric.json"]
    assert parse_alerts("cloudwatch_sns", composite, NOW)[0].title == "CompositeDemo.Main"
    for name in ("snsEvent.json", "sns_http_notification.json"):
        with pytest.raises(NotASignal, match="no CloudWatch alarm"):
            parse_alerts("cloudwatch", wire("cloudwatch_sns", "sns*")[name], NOW)
    with pytest.raises(NotASignal, match="SubscriptionConfirmation"):
        parse_alerts("cloudwatch", {"Type": "SubscriptionConfirmation", "Message": "You have chosen"}, NOW)


def test_sentry_s_issues_events_and_metric_alerts_are_read_and_comments_refused(wire):
    samples = wire("sentry", "*")
    (issue,) = parse_alerts("sentry", samples["mock_issue.created.json"], NOW)
    assert row(issue) == ("firing", "error", "Error #1: This is a test error!", "ipe", "2022-04-04T18:17:18Z")
    (event,) = parse_alerts("sentry", samples["webhook_event_alert_message.json"], NOW)
    assert (event.severity, event.dedupe_key, event.service) == ("info", "issue:1635261062", "example-project")
    statuses = {
        name: parse_alerts("sentry", samples[f"mock_{name}.json"], NOW)[0]
        for name in ("issue.ignored", "metric_alert.critical", "metric_alert.warning", "metric_alert.resolved")
    }
    assert [(one.status, one.severity) for one in statuses.values()] == [
        ("acknowledged", "error"), ("firing", "critical"), ("firing", "warning"), ("resolved", "info"),
    ]  # fmt: skip
    assert len({one.dedupe_key for name, one in statuses.items() if "metric" in name}) == 1
    for name in ("mock_comment.deleted.json", "mock_installation.deleted.json"):
        with pytest.raises(NotASignal):
            parse_alerts("sentry", samples[name], NOW)


def test_opsgenie_s_actions_are_states_and_its_notes_are_none():
    alert = {"alertId": "a-1", "alias": "cpu", "message": "CPU high", "priority": "P2", "createdAt": 1788257001000,
             "details": {"service": "checkout"}, "tags": ["prod"]}  # fmt: skip
    for action, status in (("Create", "firing"), ("Acknowledge", "acknowledged"), ("Close", "resolved")):
        (one,) = parse_alerts("opsgenie", {"action": action, "alert": alert}, NOW)
        assert row(one) == (status, "P2", "CPU high", "checkout", "2026-09-01T10:03:21Z")
        assert one.dedupe_key == "cpu"
    with pytest.raises(NotASignal, match="AddNote"):
        parse_alerts("opsgenie", {"action": "AddNote", "alert": alert}, NOW)


def test_pagerduty_s_incidents_are_alerts_and_what_is_about_part_of_one_is_not(wire):
    (one,) = parse_alerts("pagerduty", wire("pagerduty", "webhook_v3_incident.resolved*").popitem()[1], NOW)
    assert row(one) == ("resolved", "error", "Test Incident", "Acme service", "2021-06-04T13:16:53Z")
    told = {"summary": "Disk full", "severity": "critical", "source": "db-1", "component": "orders"}
    trigger = {"routing_key": "k", "event_action": "trigger", "dedup_key": "d", "payload": told}
    (event,) = parse_alerts("pagerduty", trigger, NOW)
    assert (event.status, event.severity, event.title, event.service, event.dedupe_key) == (
        "firing", "critical", "Disk full", "orders", "d",
    )  # fmt: skip
    with pytest.raises(NotASignal):
        parse_alerts("pagerduty", wire("pagerduty", "webhook_v3_incident.annotated*").popitem()[1], NOW)


# --- senders without a parser -------------------------------------------------------------------------------------

UNSEEN = {
    "one of three fields": (
        {"name": "queue depth", "state": "alarm", "uuid": "77"}, ("firing", "unknown", "queue depth", None, None), "77",
    ),
    "a bare line with a level": (
        {"message": "disk full on web-1", "level": "crit", "ts": 1788257001},
        ("firing", "critical", "disk full on web-1", None, None), None,
    ),
    "names with prefixes": (
        {"event_id": "1234", "event_name": "High CPU", "event_severity": "Average", "trigger_status": "PROBLEM",
         "event_tags": "service:checkout,env:prod"},
        ("firing", "warning", "High CPU", "checkout", None), "1234",
    ),
    "essentials inside data": (
        {"schemaId": "x", "data": {"essentials": {"alertId": "/s/1", "alertRule": "R2", "severity": "Sev3",
         "monitorCondition": "Resolved", "firedDateTime": "2019-03-22T13:58:24.3713213Z",
         "resolvedDateTime": "2019-03-22T14:03:16Z"}}},
        ("resolved", "warning", "R2", None, "2019-03-22T13:58:24Z"), "/s/1",
    ),
    "state in the type of the message": (
        {"message_type": "RECOVERY", "entity_id": "disk/db01", "entity_display_name": "Low disk on DB01",
         "state_start_time": 1601000000},
        ("resolved", "unknown", "Low disk on DB01", None, "2020-09-25T02:13:20Z"), "disk/db01",
    ),
    "incident beside a page": (
        {"page": {"id": "1", "name": "Status"}, "incident": {"name": "Down", "impact": "critical", "id": "lb",
         "status": "resolved", "created_at": "2013-05-29T15:08:51-06:00"}},
        ("resolved", "critical", "Down", None, "2013-05-29T21:08:51Z"), "lb",
    ),
    "severity where the status should be": (
        {"check": "nightly backup", "status": "critical", "service": {"name": "backup", "id": 3}},
        ("firing", "critical", "nightly backup", "backup", None), None,
    ),
    "resolved as true or false": (
        {"title": "Latency", "is_resolved": True, "severity": "high", "id": 9},
        ("resolved", "error", "Latency", None, None), "9",
    ),
    "a priority of its own kind": (
        {"subject": "Pool exhausted", "priority": 2, "application": "orders", "id": "a"},
        ("firing", "P2", "Pool exhausted", "orders", None), "a",
    ),
    "json:api": (
        {"data": {"id": "25", "type": "incident", "attributes": {"name": "shop", "status": "Started",
         "started_at": "2026-11-23T14:02:10.000Z", "resolved_at": None}}},
        ("firing", "unknown", "shop", None, "2026-11-23T14:02:10Z"), "25",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSEEN)
def test_a_sender_that_nobody_knows_is_read_by_usual_field_names(name):
    payload, expected, key = UNSEEN[name]
    (alert,) = parse_alerts("some-new-monitor", payload, NOW)
    got = row(alert)
    assert got[:4] == expected[:4]
    if expected[4] is not None:
        assert got[4] == expected[4]
    assert key is None or alert.dedupe_key == key
    assert alert.dedupe_key


def test_a_list_and_an_object_that_holds_one_are_all_of_their_alerts():
    one, other = {"title": "A", "severity": "high", "id": 1}, {"title": "B", "status": "ok", "id": 2}
    for payload in ([one, other], {"events": [one, other], "source": "x"}, [[one], {"incidents": [other]}]):
        assert [alert.title for alert in parse_alerts("x", payload, NOW)] == ["A", "B"]


def test_an_alert_and_its_recovery_without_an_id_have_the_same_key():
    firing = {"title": "[FIRING:1] Disk full", "service": "db", "status": "firing", "severity": "critical"}
    (one,) = parse_alerts("x", firing, NOW)
    (other,) = parse_alerts(
        "x", {**firing, "title": "[RESOLVED] Disk full", "status": "resolved", "severity": "ok"}, NOW
    )
    assert one.dedupe_key == other.dedupe_key
    (third,) = parse_alerts("x", {**firing, "service": "cart"}, NOW)
    assert third.dedupe_key != one.dedupe_key


@pytest.mark.parametrize(
    "payload",
    [None, 3, "text", True, [], {}, [1, 2], {"a": 1}, {"title": ""}, {"title": "only a title"},
     {"title": "$ALERT_TITLE", "id": 1}, {"title": ["a"]}, {"message": "hello", "channel": "C1"},
     {"ref": "x", "before": "a", "after": "b", "repository": {}},
     {"status": "success", "data": {"resultType": "matrix", "result": []}}],
    ids=str,
)  # fmt: skip
def test_what_is_no_alert_is_refused_with_a_reason(payload):
    with pytest.raises(NotASignal) as refused:
        parse_alerts("some-new-monitor", payload, NOW)
    assert str(refused.value)


def test_a_declared_mapping_goes_before_the_usual_names():
    hints = Hints(
        title=("check.what",), service=("check.of",), dedupe_key=("n",), status=("s",), words={"rot": "firing"}
    )
    payload = {"title": "not this", "check": {"what": "Kasse", "of": "checkout"}, "n": 5, "s": "rot"}
    (alert,) = GenericParser("own", hints).parse(payload, NOW)
    assert (alert.title, alert.service, alert.dedupe_key, alert.status) == ("Kasse", "checkout", "5", "firing")


def test_a_placeholder_that_nobody_filled_is_no_value():
    payload = {"title": "CPU", "service": "$SERVICE", "severity": "{{severity}}", "id": "<id>", "status": "firing"}
    (alert,) = parse_alerts("x", payload, NOW)
    assert (alert.service, alert.severity) == (None, "unknown")
    assert "<" not in alert.dedupe_key


@pytest.fixture(scope="module")
def every_sample(wire):
    samples = [(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(PAYLOADS.glob("*.json"))]
    for system in ("alertmanager", "grafana", "datadog", "cloudwatch_sns", "sentry", "pagerduty"):
        samples += [(system, sample) for sample in wire(system).values()]
    return samples + [("unknown", payload) for payload, *_ in UNSEEN.values()]


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_mutated_payload_is_alerts_that_can_be_stored_or_is_refused(every_sample, mutate, junk, data):
    name, sample = data.draw(st.sampled_from(every_sample))
    mutated = mutate(sample, data.draw(st.lists(st.integers(0, 30), max_size=6)), data.draw(junk))
    try:
        alerts = parse_alerts(name, mutated, NOW)
    except NotASignal:
        return
    for alert in alerts:
        again = Alert.model_validate_json(alert.model_dump_json())
        assert (again.title, again.dedupe_key) == (alert.title, alert.dedupe_key)
        assert alert.title and alert.severity and alert.dedupe_key
        alert.model_dump_json().encode()


def test_a_large_payload_is_read_in_bounded_time():
    import time

    storm = {"alerts": [{"labels": {"alertname": f"A{n}", "service": "x"}, "status": "firing"} for n in range(10_000)]}
    began = time.perf_counter()
    assert len(parse_alerts("alertmanager", storm, NOW)) == 10_000
    assert time.perf_counter() - began < 10
    began = time.perf_counter()
    wide = {"title": "x", "severity": "high", **{f"k{n}": {"a": {"b": {"c": list(range(50))}}} for n in range(5000)}}
    assert parse_alerts("x", wide, NOW)[0].title == "x"
    assert time.perf_counter() - began < 10


# --- the command --------------------------------------------------------------------------------------------------


def run(name: str, content: str | bytes):
    return CliRunner().invoke(command, ["parse", "--from", name], input=content)


def test_the_command_prints_every_field_and_ends_0():
    done = run("thousandeyes", (PAYLOADS / "thousandeyes.json").read_bytes())
    assert done.exit_code == 0
    alerts = json.loads(done.stdout)["alerts"]
    assert [set(alert) for alert in alerts] == [set(FIELDS)] * 2
    assert alerts[1]["started_at"] == "2025-03-17T19:43:00Z"
    assert alerts[0]["link"] is None and alerts[0]["service"] is None


def test_the_command_refuses_what_is_no_alert_with_1_and_a_reason():
    done = run("netbox", (PAYLOADS / "netbox.json").read_bytes())
    assert done.exit_code == 1
    assert "no alert" in done.stderr
    assert json.loads(done.stdout) == {
        "alerts": [],
        "refused": ["NetBox reports a change of an object in its inventory: no alert"],
    }
    for content in ("", "{", "[1", b"\xff", "[" * 100_000):
        assert run("x", content).exit_code == 1


def test_of_a_list_the_good_ones_are_printed_and_the_others_named():
    done = run("x", json.dumps([{"title": "A", "severity": "high"}, {"nothing": 1}]))
    assert done.exit_code == 1
    assert [alert["title"] for alert in json.loads(done.stdout)["alerts"]] == ["A"]
    assert "payload 2:" in done.stderr


def test_the_command_needs_a_name():
    assert CliRunner().invoke(command, ["parse"], input="{}").exit_code == 2
