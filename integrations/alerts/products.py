"""Senders whose payloads the usual field names nearly explain: what is special about each, and no more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.alerts import shape
from integrations.alerts.generic import GenericParser, Hints, each, recognise
from integrations.errors import NotASignal
from integrations.reading import mapping, moment, objects, text, web_address
from integrations.records import Alert

_TAG_IN_TITLE = re.compile(r"\bservice:([\w.-]{1,100})")


class DatadogParser:
    """Datadog: the body is whatever the customer's template says, so usual names, tags, and the title's first word."""

    name = "datadog"
    _hints = Hints(
        title=("title", "event_title", "name"),
        severity=("priority", "alert_priority", "alert_type", "severity"),
        status=("alert_transition", "transition", "alert_status", "status", "overall_state"),
        started_at=("date", "date_happened", "last_updated", "timestamp"),
        link=("link", "url", "event_url"),
        dedupe_key=("alert_cycle_key", "aggreg_key", "aggregation_key", "monitor_id", "alert_id", "id"),
        labels=("tags", "alert_scope"),
        words={"no data": "firing", "re-triggered": "firing", "renotify": "firing", "success": "resolved"},
    )

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        return [self._one(one, received_at) for one in each(payload)]

    def _one(self, body: Mapping[str, Any], received_at: datetime) -> Alert:
        priority = text(body.get("priority"), 10)
        if priority.isdigit():
            body = {**body, "priority": f"P{priority}"}
        elif priority in ("normal", "low"):
            body = {k: v for k, v in body.items() if k != "priority"}  # an event's priority says nothing of the alert
        found = recognise(body, received_at, self._hints)
        title = shape.without_state(found.title)
        changes: dict[str, Any] = {"title": title}
        if found.severity == shape.UNKNOWN_SEVERITY and (state := shape.state_in_title(found.title)):
            first = found.title.lstrip("[ ").lower()
            changes["severity"] = "info" if state == "resolved" else "warning" if first.startswith("warn") else "error"
        if found.service is None and (tag := _TAG_IN_TITLE.search(found.title)):
            changes["service"] = tag.group(1)
        return found.model_copy(update=changes)


class SentryParser:
    """Sentry's integration platform: issues, event alerts and metric alerts. Comments and installations are none."""

    name = "sentry"

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        if isinstance(payload, list):
            return [alert for one in payload for alert in self.parse(one, received_at)]
        body = mapping(payload)
        data, action = mapping(body.get("data")), text(body.get("action"), 40)
        if isinstance(data.get("metric_alert"), Mapping):
            return [self._metric(body, data, action, received_at)]
        for kind in ("issue", "event", "error"):
            if isinstance(data.get(kind), Mapping):
                return [self._issue(body, data, mapping(data[kind]), action, received_at)]
        known = next((key for key in data if isinstance(data[key], Mapping)), None)
        raise NotASignal(f"Sentry's {known or action or 'message'} is no issue, event or metric alert: no alert")

    def _issue(
        self,
        body: Mapping[str, Any],
        data: Mapping[str, Any],
        issue: Mapping[str, Any],
        action: str,
        received_at: datetime,
    ) -> Alert:
        labels = shape.labels_of(issue.get("tags"))
        status = shape.status_of(action) if action not in ("created", "triggered", "assigned") else None
        project = mapping(issue.get("project"))
        slug = text(project.get("slug"), 200) or _after("projects", issue.get("url"), 2)
        links = (issue.get("web_url"), issue.get("permalink"), issue.get("issue_url"))
        rule = text(mapping(data.get("issue_alert")).get("title") or data.get("triggered_rule"), 300)
        return shape.alert(
            title=text(issue.get("title"), 500) or text(issue.get("message"), 500) or rule,
            status=status or shape.status_of(issue.get("status")) or "firing",
            severity=issue.get("level") or labels.get("level") or "error",
            started_at=moment(issue.get("datetime"))
            or moment(issue.get("firstSeen"))
            or moment(issue.get("timestamp")),
            received_at=received_at,
            payload=body,
            service=shape.service_in(labels) or slug or None,
            link=next((found for one in links if (found := web_address(one))), None),
            dedupe_key=f"issue:{_after('issues', issue.get('issue_url')) or _id_of(issue)}",
            labels=labels,
        )

    def _metric(self, body: Mapping[str, Any], data: Mapping[str, Any], action: str, received_at: datetime) -> Alert:
        metric = mapping(data["metric_alert"])
        projects = metric.get("projects")
        slug = text(projects[0], 200) if isinstance(projects, list) and projects else ""
        return shape.alert(
            title=text(data.get("description_title"), 500) or text(metric.get("title"), 500) or "metric alert",
            status="resolved" if action == "resolved" else "firing",
            severity="info" if action == "resolved" else action or shape.UNKNOWN_SEVERITY,
            started_at=moment(metric.get("date_started")) or moment(metric.get("date_created")),
            received_at=received_at,
            payload=body,
            service=slug or None,
            link=web_address(data.get("web_url")),
            dedupe_key=f"metric:{text(metric.get('id') or metric.get('identifier'), 100)}",
        )


def _after(part: str, url: Any, places: int = 1) -> str:
    """What stands so many places after a part of an address: `…/projects/<organisation>/<project>/events/…`."""
    parts = text(url, 500).split("/")
    at = parts.index(part) + places if part in parts else len(parts)
    return parts[at] if at < len(parts) else ""


def _id_of(issue: Mapping[str, Any]) -> str:
    return text(issue.get("issue_id") or issue.get("id") or issue.get("event_id"), 100)


class OpsgenieParser:
    """Opsgenie's webhook: an action and its alert. Notes, tags and assignments change no alert's state."""

    name = "opsgenie"
    _silent = (
        "addnote", "addtags", "removetags", "adddetails", "removedetails", "addteam", "addrecipient",
        "assignownership", "updatedescription", "updatemessage", "updatepriority", "escalate", "escalatenext",
    )  # fmt: skip

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        if isinstance(payload, list):
            return [alert for one in payload for alert in self.parse(one, received_at)]
        body = mapping(payload)
        one, action = mapping(body.get("alert")), shape.word(body.get("action"))
        if not one:
            raise NotASignal("no alert in it (Opsgenie sends it under `alert`)")
        if action in self._silent:
            raise NotASignal(f"Opsgenie's {text(body.get('action'), 40)} changes no alert's state")
        labels = shape.labels_of(one.get("details"), one.get("tags"))
        return [
            shape.alert(
                title=text(one.get("message"), 500) or text(one.get("description"), 500),
                status=shape.status_of(action) or shape.status_of(one.get("status")) or "firing",
                severity=one.get("priority") or labels.get("severity"),
                started_at=moment(one.get("createdAt")) or moment(one.get("insertedAt")),
                received_at=received_at,
                payload=body,
                service=shape.service_in(labels) or shape.meant(one.get("entity"), 200) or None,
                link=web_address(one.get("url")) or web_address(labels.get("url")),
                dedupe_key=text(one.get("alias"), 500) or text(one.get("alertId") or one.get("id"), 100),
                labels=labels,
            )
        ]


class CheckmkParser:
    """Checkmk: host and service notifications; both sides of a problem share host and service."""

    name = "checkmk"
    _types: Mapping[str, shape.Status] = {
        "problem": "firing", "recovery": "resolved", "acknowledgement": "acknowledged", "flappingstart": "firing",
        "flappingstop": "resolved", "downtimestart": "acknowledged", "downtimeend": "firing",
    }  # fmt: skip

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        return [self._one(one, received_at) for one in each(payload)]

    def _one(self, body: Mapping[str, Any], received_at: datetime) -> Alert:
        found = recognise(body, received_at, Hints(title=("summary",), severity=("severity",), always_an_alert=True))
        kind = shape.word(text(body.get("notification_type"), 60).partition("(")[0])
        host, check = text(body.get("host"), 200), text(body.get("service") or body.get("service_description"), 200)
        update: dict[str, Any] = {"started_at": moment(body.get("long_date_time")) or found.started_at}
        if kind in self._types:
            update["status"] = self._types[kind]
        if host:
            update["dedupe_key"] = f"{text(body.get('site'), 60)}:{host}:{check or 'HOST'}".lstrip(":")
            update["labels"] = {**found.labels, "host": host}
        return found.model_copy(update=update)


class LibreNmsParser:
    """LibreNMS: `state` is 0 for a recovery, 1 for an alert, 2 acknowledged, 3 worse, 4 better."""

    name = "libre_nms"
    _states: Mapping[str, shape.Status] = {
        "0": "resolved",
        "1": "firing",
        "2": "acknowledged",
        "3": "firing",
        "4": "firing",
    }

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        return [self._one(one, received_at) for one in each(payload)]

    def _one(self, body: Mapping[str, Any], received_at: datetime) -> Alert:
        hints = Hints(title=("title", "name"), severity=("severity",), started_at=("timestamp",), always_an_alert=True)
        found = recognise({k: v for k, v in body.items() if k not in ("status", "type")}, received_at, hints)
        device = text(body.get("hostname") or body.get("sysName") or body.get("device_id"), 200)
        rule = text(body.get("rule_id") or body.get("name"), 200)
        recovered = shape.word(body.get("severity")) in ("ok", "recovery") or "recovered" in found.title.lower()
        default: shape.Status = "resolved" if recovered else "firing"
        update: dict[str, Any] = {
            "status": self._states.get(text(body.get("state"), 10), default),
            "extra": {**found.extra, **{k: body[k] for k in ("status", "type") if k in body}},
        }
        if device and rule:
            update |= {"dedupe_key": f"{device}:{rule}", "labels": {**found.labels, "device": device}}
        return found.model_copy(update=update)


class ThousandEyesParser:
    """ThousandEyes: `alert` beside `eventType`, which says whether it began or cleared."""

    name = "thousandeyes"
    _hints = Hints(
        status=("eventType",), severity=("severity",), started_at=("dateStartZoned", "dateStart"),
        link=("permalink",), dedupe_key=("alertId", "id"), labels=("testLabels",), always_an_alert=True,
        title=("ruleName",), words={"ALERT_NOTIFICATION_TRIGGER": "firing", "ALERT_NOTIFICATION_CLEAR": "resolved"},
    )  # fmt: skip

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        return [self._one(one, received_at) for one in each(payload)]

    def _one(self, body: Mapping[str, Any], received_at: datetime) -> Alert:
        inner = mapping(body.get("alert")) or mapping(body.get("agentAlert"))
        found = recognise(
            {**{k: v for k, v in body.items() if k not in ("alert", "agentAlert")}, **inner}, received_at, self._hints
        )
        about = text(inner.get("testName") or inner.get("agentName") or inner.get("hostname"), 300)
        title = f"{found.title}: {about}" if about and about not in found.title else found.title
        return found.model_copy(update={"title": title[:500]})


class CoralogixParser:
    """Coralogix: half of it stands in a list of key and value, and what the alert does not have is a placeholder."""

    name = "coralogix"

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        return [self._one(one, received_at) for one in each(payload)]

    def _one(self, body: Mapping[str, Any], received_at: datetime) -> Alert:
        fields = shape.pairs_of(body.get("fields"))
        service = (
            shape.meant(body.get("service"), 200) or shape.service_in(fields) or shape.service_in(fields, "subsystem")
        )
        found = recognise(
            {k: v for k, v in body.items() if k != "fields"},
            received_at,
            Hints(title=("name",), status=("alert_action",), link=("alert_url",), dedupe_key=("alert_id",),
                  words={"trigger": "firing", "resolve": "resolved"}, always_an_alert=True),
        )  # fmt: skip
        return found.model_copy(
            update={
                "severity": shape.severity_of(fields.get("severity") or fields.get("priority") or body.get("severity")),
                "service": service,
                "started_at": moment(fields.get("timestamp")) or found.started_at,
                "dedupe_key": fields.get("dedupKey") or fields.get("alertUniqueIdentifier") or found.dedupe_key,
                "labels": fields,
                "extra": {**found.extra, "fields": body.get("fields")},
            }
        )


class GcpMonitoringParser:
    """Google Cloud Monitoring: everything stands under `incident`; times are seconds, 0 for none."""

    name = "gcpmonitoring"

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        if isinstance(payload, list):
            return [alert for one in payload for alert in self.parse(one, received_at)]
        body = mapping(payload)
        incident = mapping(body.get("incident"))
        if not incident:
            raise NotASignal("no incident in it (Cloud Monitoring sends it under `incident`)")
        resource, metadata = mapping(incident.get("resource")), mapping(incident.get("metadata"))
        labels = shape.labels_of(
            metadata.get("user_labels"), incident.get("policy_user_labels"), resource.get("labels"),
            metadata.get("system_labels"), mapping(incident.get("metric")).get("labels"),
        )  # fmt: skip
        title = text(incident.get("summary"), 500) or text(incident.get("condition_name"), 500)
        return [
            shape.alert(
                title=title or text(incident.get("policy_name"), 500),
                status=shape.status_of(incident.get("state")) or "firing",
                severity=incident.get("severity") or labels.get("severity"),
                started_at=moment(incident.get("started_at")),
                received_at=received_at,
                payload=body,
                service=shape.service_in(labels),
                link=web_address(incident.get("url")),
                dedupe_key=text(incident.get("incident_id"), 200),
                labels=labels,
            )
        ]


class PagerDutyParser:
    """PagerDuty's own shapes: V3 webhooks of incidents, Events API v2, and alerts and incidents of its REST API."""

    name = "pagerduty"
    _hints = Hints(
        title=("title", "summary", "payload.summary"),
        severity=("severity", "payload.severity", "priority.summary", "urgency"),
        status=("event_action", "status"), started_at=("created_at", "payload.timestamp", "timestamp"),
        link=("html_url", "client_url"), dedupe_key=("alert_key", "incident_key", "dedup_key", "id"),
        service=("service.summary", "payload.component", "payload.source"), labels=("payload.custom_details",),
    )  # fmt: skip

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        if isinstance(payload, list):
            return [alert for one in payload for alert in self.parse(one, received_at)]
        body = mapping(payload)
        event = mapping(body.get("event"))
        if event:
            data = mapping(event.get("data"))
            if data.get("type") != "incident":
                raise NotASignal(
                    f"{text(event.get('event_type'), 60) or 'the event'} is about no incident as a whole: no alert"
                )
            found = recognise(data, received_at, self._hints)
            at = moment(data.get("created_at")) or moment(event.get("occurred_at")) or received_at
            return [found.model_copy(update={"started_at": at, "extra": {**found.extra, "event": {
                key: event.get(key) for key in ("id", "event_type", "occurred_at")}}})]  # fmt: skip
        for key in ("alerts", "incidents", "messages"):
            if isinstance(body.get(key), list):
                return [alert for one in objects(body[key]) for alert in self.parse(one, received_at)]
        if not self._stands_for_one(body):
            inner = next((mapping(body[key]) for key in ("alert", "incident") if mapping(body.get(key))), body)
            if not self._stands_for_one(inner):
                raise NotASignal("no alert, incident or event of PagerDuty's: no alert")
            body = inner
        return [recognise(body, received_at, self._hints)]

    @staticmethod
    def _stands_for_one(body: Mapping[str, Any]) -> bool:
        """An alert or incident has a state and an id, an event an action."""
        return "event_action" in body or ("status" in body and "id" in body and bool({"title", "summary"} & set(body)))


class NotAnAlertParser:
    """A sender whose webhooks are about something else: refused by name, with the reason."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self._reason = reason

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        raise NotASignal(self._reason)


AXIOM = GenericParser(
    "axiom",
    Hints(
        title=("event.title",), status=("action",), started_at=("event.timestamp", "event.queryEndTime"),
        dedupe_key=("event.monitorID",), labels=("event.matchedEvent",), words={"open": "firing", "closed": "resolved"},
    ),
)  # fmt: skip
SIGNALFX = GenericParser(
    "signalfx",
    Hints(
        title=("messageTitle", "inputs.messageTitle", "rule"), severity=("severity",),
        status=("statusExtended", "status"),
        started_at=("timestamp",), link=("detectorUrl",), dedupe_key=("incidentId",), labels=("dimensions",),
    ),
)  # fmt: skip
WAZUH = GenericParser(
    "wazuh",
    Hints(title=("message", "title", "rule.description"), severity=("severity", "rule.level"),
          started_at=("created_at", "timestamp"), dedupe_key=("id",), always_an_alert=True),
)  # fmt: skip
NETBOX = NotAnAlertParser("netbox", "NetBox reports a change of an object in its inventory: no alert")
