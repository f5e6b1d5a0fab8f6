"""Documented variants of what monitoring systems send, and shapes beside them that are no alert."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from integrations.alerts import parse_alerts
from integrations.errors import NotASignal

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def one(name: str, payload):
    (alert,) = parse_alerts(name, payload, NOW)
    return alert


# --- Alertmanager and Grafana -------------------------------------------------------------------------------------

ALERT = {"labels": {"alertname": "Down", "service": "checkout"}, "annotations": {}, "startsAt": "2026-09-01T10:00:00Z"}


def test_an_alert_that_says_nothing_does_not_cost_the_others_of_its_webhook():
    body = {"version": "4", "status": "firing", "alerts": [{"status": "firing"}, {**ALERT, "status": "firing"}]}
    assert one("alertmanager", body).title == "Down"
    with pytest.raises(NotASignal, match="without alertname"):
        parse_alerts("alertmanager", {**body, "alerts": [{"status": "firing"}]}, NOW)


def test_an_alert_without_a_label_has_the_title_of_its_webhook():
    bare = {"status": "resolved", "labels": {}, "annotations": {}, "startsAt": "2026-09-01T05:54:04.522Z",
            "endsAt": "2026-09-01T10:30:00Z", "fingerprint": "57c6d9296de2ad39", "values": {}}  # fmt: skip
    body = {"receiver": "", "status": "resolved", "alerts": [bare], "version": "1", "truncatedAlerts": 0,
            "title": "[RESOLVED:1]  (TestAlert Grafana)"}  # fmt: skip
    alert = one("grafana", body)
    assert (alert.title, alert.status, alert.dedupe_key[:16]) == (
        "(TestAlert Grafana)", "resolved", "57c6d9296de2ad39",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "service"),
    [
        ({"job": "kube-state-metrics", "container": "checkout", "pod": "checkout-1"}, "checkout"),
        ({"service": "kps-kube-state-metrics", "deployment": "cart", "container": "app"}, "cart"),
        ({"job": "kubelet", "node": "n1"}, "kubelet"),
        ({"job": "checkout", "container": "app"}, "checkout"),
    ],
)
def test_what_an_exporter_says_of_a_workload_is_about_the_workload(labels, service):
    body = {"alerts": [{"status": "firing", "labels": {"alertname": "KubePodCrashLooping", **labels}}]}
    assert one("alertmanager", body).service == service


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("alerting", "firing"),
        ("no_data", "firing"),
        ("pending", "firing"),
        ("ok", "resolved"),
        ("paused", "acknowledged"),
    ],
)
def test_every_state_of_grafana_s_legacy_webhook_is_read(state, status):
    body = {"ruleId": 3, "ruleName": "Orders", "orgId": 1, "state": state, "title": f"[{state}] Orders",
            "evalMatches": [{"value": 1, "metric": "m", "tags": {"service": "orders"}}]}  # fmt: skip
    alert = one("grafana", body)
    assert (alert.title, alert.status, alert.service, alert.dedupe_key) == ("Orders", status, "orders", "rule:1:3")


# --- Datadog ------------------------------------------------------------------------------------------------------

TEMPLATES = {
    "the default": {"id": "$ID", "title": "$EVENT_TITLE", "body": "$EVENT_MSG", "last_updated": "$LAST_UPDATED",
                    "event_type": "$EVENT_TYPE", "date": "$DATE", "org": {"id": "$ORG_ID", "name": "$ORG_NAME"}},
    "everything by its own name": {
        "alert_cycle_key": "$ALERT_CYCLE_KEY", "alert_id": "$ALERT_ID", "alert_title": "$ALERT_TITLE",
        "alert_transition": "$ALERT_TRANSITION", "alert_type": "$ALERT_TYPE", "alert_priority": "$ALERT_PRIORITY",
        "alert_scope": "$ALERT_SCOPE", "date": "$DATE", "link": "$LINK", "tags": "$TAGS"},
    "monitor and scope": {"monitor_id": "$ALERT_ID", "scopes": "$ALERT_SCOPE", "title": "$EVENT_TITLE", "id": "$ID",
                          "alert_transition": "$ALERT_TRANSITION", "severity": "$ALERT_PRIORITY", "tags": "$TAGS",
                          "url": "$LINK", "last_updated": "$LAST_UPDATED"},
    "names of a programmer": {"alertId": "$ALERT_ID", "alertTitle": "$ALERT_TITLE", "alertStatus": "$ALERT_TRANSITION",
                              "alertScope": "$ALERT_SCOPE", "timestamp": "$DATE", "link": "$LINK"},
    "inside an object": {"alert": {"id": "$ALERT_CYCLE_KEY", "title": "$EVENT_TITLE", "state": "$ALERT_TRANSITION",
                                   "link": "$LINK", "date": "$DATE"}},
}  # fmt: skip


def filled(template, transition: str, event: int, scope: str):
    """A template as Datadog fills it; the event's id is another for the recovery, the cycle's key is not."""
    values = {
        "$ALERT_CYCLE_KEY": f"90512{len(scope)}", "$ALERT_ID": "1234", "$ALERT_PRIORITY": "P2", "$ALERT_SCOPE": scope,
        "$ALERT_TITLE": f"[{transition} on {{{scope}}}] Host is down", "$ALERT_TRANSITION": transition,
        "$ALERT_TYPE": "success" if transition == "Recovered" else "error", "$DATE": "1788257001000",
        "$EVENT_MSG": "%%%\nx\n%%%", "$EVENT_TITLE": f"[{transition} on {{{scope}}}] Host is down",
        "$EVENT_TYPE": "query_alert_monitor", "$ID": str(event), "$LAST_UPDATED": "1788257001000",
        "$LINK": "https://app.datadoghq.com/event/event?id=1", "$ORG_ID": "1", "$ORG_NAME": "Acme",
        "$TAGS": f"env:prod,{scope}",
    }  # fmt: skip
    if isinstance(template, dict):
        return {key: filled(value, transition, event, scope) for key, value in template.items()}
    return values.get(template, template)


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_template_of_datadog_s_has_one_key_for_an_alert_and_its_recovery_and_another_for_another_group(name):
    template = TEMPLATES[name]
    fired, again, over, other = (
        one("datadog", filled(template, *rest))
        for rest in (
            ("Triggered", 1, "host:web-1"), ("Re-Triggered", 2, "host:web-1"), ("Recovered", 3, "host:web-1"),
            ("Triggered", 4, "host:web-22"),
        )
    )  # fmt: skip
    assert [fired.status, again.status, over.status] == ["firing", "firing", "resolved"]
    assert fired.dedupe_key == again.dedupe_key == over.dedupe_key != other.dedupe_key
    assert fired.title == over.title == "Host is down"
    assert fired.started_at == datetime(2026, 9, 1, 10, 3, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("transition", "status"),
    [("No Data", "firing"), ("Re-No Data", "firing"), ("Warn", "firing"), ("Re-Warn", "firing"), ("Renotify", "firing"),
     ("Recovered", "resolved")],
)  # fmt: skip
def test_each_transition_of_datadog_s_is_a_state(transition, status):
    alert = one("datadog", {"title": "CPU", "alert_transition": transition, "monitor_id": 5, "tags": "service:cart"})
    assert (alert.status, alert.service, alert.dedupe_key) == (status, "cart", "5")


# --- CloudWatch ---------------------------------------------------------------------------------------------------


def test_the_dimensions_of_metric_math_name_the_service():
    stat = {"Metric": {"Dimensions": [{"name": "ServiceName", "value": "checkout"}], "MetricName": "5xx"}}
    alarm = {"AlarmName": "a", "NewStateValue": "ALARM", "StateChangeTime": "2019-12-23T16:29:57.163+0000",
             "Trigger": {"Metrics": [{"Expression": "m1", "Id": "e1"}, {"Id": "m1", "MetricStat": stat}]}}  # fmt: skip
    assert one("cloudwatch", alarm).service == "checkout"


def test_an_alarm_of_eventbridge_has_one_key_whatever_its_state():
    arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:ServerCpuTooHigh"
    metric = {"metric": {"namespace": "AWS/ECS", "name": "x", "dimensions": {"ServiceName": "cart"}}}
    for state, status in (("ALARM", "firing"), ("OK", "resolved")):
        body = {"source": "aws.cloudwatch", "time": "2019-10-02T17:04:40Z", "resources": [arn], "detail": {
            "alarmName": "ServerCpuTooHigh", "configuration": {"metrics": [{"id": "m", "metricStat": metric}]},
            "state": {"value": state, "timestamp": "2019-10-02T17:04:40.985+0000"}}}  # fmt: skip
        alert = one("cloudwatch", body)
        assert (alert.status, alert.service, alert.dedupe_key) == (status, "cart", arn)


# --- Sentry, Opsgenie, CDEvents -----------------------------------------------------------------------------------


def test_sentry_s_older_plugin_is_read_too():
    body = {
        "id": "1972208801", "project": "foo-live", "project_name": "live", "project_slug": "foo-live", "message": "",
        "level": "error", "culprit": "__main__", "url": "https://sentry.io/organizations/x/issues/1972208801/",
        "event": {"event_id": "c916", "title": "ValueError: no", "timestamp": 1603322711.147672,
                  "tags": [["level", "error"]]},
    }  # fmt: skip
    alert = one("sentry", body)
    assert (alert.title, alert.service, alert.severity, alert.dedupe_key) == (
        "ValueError: no", "foo-live", "error", "issue:1972208801",
    )  # fmt: skip
    assert alert.started_at == datetime(2020, 10, 21, 23, 25, 11, 147672, tzinfo=UTC)
    assert alert.link == body["url"]


@pytest.mark.parametrize(
    ("action", "status"),
    [("Create", "firing"), ("Acknowledge", "acknowledged"), ("UnAcknowledge", "firing"), ("Snooze", "acknowledged"),
     ("SnoozeEnded", "firing"), ("Close", "resolved"), ("Delete", "resolved")],
)  # fmt: skip
def test_the_actions_of_opsgenie_s_that_change_a_state(action, status):
    assert one("opsgenie", {"action": action, "alert": {"alertId": "a", "message": "CPU"}}).status == status


@pytest.mark.parametrize(
    "action",
    ["AddNote", "AddTags", "RemoveTags", "AddDetails", "RemoveDetails", "AddTeam", "AddRecipient", "AddResponder",
     "AssignOwnership", "TakeOwnership", "UpdatePriority", "UpdateMessage", "Escalate", "EscalateNext", "TestAction"],
)  # fmt: skip
def test_every_other_action_of_opsgenie_s_leaves_a_closed_alert_closed(action):
    with pytest.raises(NotASignal, match=action):
        parse_alerts("opsgenie", {"action": action, "alert": {"alertId": "a", "message": "CPU"}}, NOW)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.4.1-draft"])
def test_a_cdevent_about_an_incident_is_an_alert_and_any_other_is_none(version):
    def event(kind: str) -> dict:
        return {
            "context": {"type": f"dev.cdevents.{kind}.{version}", "timestamp": "2026-09-01T10:00:00Z", "id": "e"},
            "subject": {"id": "incident-123", "content": {
                "description": "Slow", "service": {"id": "myApp"}, "environment": {"id": "prod1"},
                "ticketURI": "https://issues.example/1"}},
            "customData": {"severity": "medium"},
        }  # fmt: skip

    found, over = one("cdevents", event("incident.reported")), one("cdevents", event("incident.resolved"))
    assert (found.title, found.service, found.severity, found.link) == (
        "Slow", "myApp", "warning", "https://issues.example/1",
    )  # fmt: skip
    assert (found.status, over.status) == ("firing", "resolved") and found.dedupe_key == over.dedupe_key
    for name in ("cdevents", "any other"):
        with pytest.raises(NotASignal, match="no alert"):
            parse_alerts(name, event("service.deployed"), NOW)


# --- the generic recognition --------------------------------------------------------------------------------------


def test_labels_in_opentelemetry_s_form_inside_the_alert_name_its_service():
    issue = {"id": "b9", "summary": "Errors", "status": "resolved", "start": "2025-02-03T07:17:17Z", "labels": [
        {"key": "service.name", "value": {"stringValue": "checkout"}}]}  # fmt: skip
    alert = one("dash0", {"type": "alert.resolved", "data": {"issue": issue}})
    assert (alert.service, alert.status, alert.dedupe_key) == ("checkout", "resolved", "b9")


def test_an_alert_type_that_is_a_state_is_no_severity_and_a_check_has_one_key():
    body = {"event": "x", "check_name": "API", "check_id": "c-1", "started_at": "2025-01-26T11:19:40Z"}
    fired = one("checkly", {**body, "alert_type": "ALERT_FAILURE", "uuid": "1"})
    over = one("checkly", {**body, "alert_type": "ALERT_RECOVERY", "uuid": "2"})
    assert [(a.status, a.severity, a.dedupe_key) for a in (fired, over)] == [
        ("firing", "unknown", "c-1"), ("resolved", "unknown", "c-1"),
    ]  # fmt: skip


def test_a_date_with_dots_is_a_time():
    alert = one("zabbix", {"name": "CPU high", "severity": "High", "id": "1", "time": "2024.01.31 10:00:00"})
    assert alert.started_at == datetime(2024, 1, 31, 10, tzinfo=UTC)


def test_what_other_systems_say_is_no_alert_under_any_name(wire):
    never = {
        "github": "webhook_*", "gitlab": "webhook_*", "kubernetes": "live_*", "launchdarkly": "auditlog_*",
        "mcp": "*", "otlp": "*", "slack": "event_*", "loki": "golden_0*", "argocd": "*",
    }  # fmt: skip
    read = []
    for system, pattern in never.items():
        for file, sample in wire(system, pattern).items():
            try:
                parse_alerts("some-new-monitor", sample, NOW)
                read.append(file)
            except NotASignal:
                pass
    assert read in ([], ["webhook_member.json"])  # GitLab's names nothing but a user
