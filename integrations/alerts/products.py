"""Senders whose payloads the usual field names nearly explain: what is special about each, and no more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.alerts import shape
from integrations.alerts.generic import GenericParser, Hints, each, recognise
from integrations.errors import NotASignal
from integrations.reading import mapping, moment, text, web_address
from integrations.records import Alert


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


class CdEventsParser:
    """CDEvents about incidents; what else they tell of is a change, for `/webhooks/changes`."""

    name = "cdevents"

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        if isinstance(payload, list):
            return [alert for one in payload for alert in self.parse(one, received_at)]
        body = mapping(payload)
        body = mapping(body.get("data")) if "specversion" in body and isinstance(body.get("data"), Mapping) else body
        context, subject = mapping(body.get("context")), mapping(body.get("subject"))
        content, custom = mapping(subject.get("content")), mapping(body.get("customData"))
        said = re.match(r"(?:dev\.)?cdevents\.incident\.(detected|reported|resolved)\b", text(context.get("type"), 200))
        if said is None:
            raise NotASignal(f"{text(context.get('type'), 100) or 'what is no CDEvent'} tells of no incident: no alert")
        service = content.get("service")
        environment = text(mapping(content.get("environment")).get("id"), 200)
        return [
            shape.alert(
                title=text(content.get("description"), 500) or text(subject.get("id"), 500),
                status="resolved" if said[1] == "resolved" else "firing",
                severity=custom.get("severity") or custom.get("priority"),
                started_at=moment(context.get("timestamp")),
                received_at=received_at,
                payload=body,
                service=text(mapping(service).get("id") or service, 200) or None,
                link=web_address(content.get("ticketURI")) or web_address(content.get("uri")),
                dedupe_key=text(subject.get("id"), 300),
                labels={"environment": environment} if environment else {},
            )
        ]


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
