"""Grafana's alerts in its three shapes: unified alerting, the legacy webhook, and a rule as its API exports it.

Source: https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.alerts import shape
from integrations.alerts.alertmanager import AlertmanagerParser
from integrations.reading import mapping, objects, text, web_address
from integrations.records import Alert


class GrafanaParser:
    """Grafana's unified alerting (Alertmanager's shape), its legacy webhook, and a rule as its API exports it."""

    name = "grafana"

    def __init__(self) -> None:
        self._unified = AlertmanagerParser(self.name)

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        if isinstance(payload, list):
            return [alert for one in payload for alert in self.parse(one, received_at)]
        body = mapping(payload)
        if "ruleId" in body or "evalMatches" in body:
            return [self._legacy(body, received_at)]
        if isinstance(body.get("alerts"), list):
            return self._unified.parse(body, received_at)
        if "title" in body and ("condition" in body or "ruleGroup" in body):
            return [self._rule(body, received_at)]
        return self._unified.parse(body, received_at)

    def _legacy(self, body: Mapping[str, Any], received_at: datetime) -> Alert:
        labels = shape.labels_of(body.get("tags"))
        for match in objects(body.get("evalMatches"), 100):
            labels = shape.labels_of(labels, match.get("tags"))
        return shape.alert(
            title=text(body.get("ruleName"), 500) or shape.without_state(text(body.get("title"), 500)),
            status=shape.status_of(body.get("state")) or shape.state_in_title(text(body.get("title"), 500)) or "firing",
            severity=labels.get("severity") or labels.get("priority"),
            started_at=None,
            received_at=received_at,
            payload=body,
            service=shape.service_in(labels),
            link=web_address(body.get("ruleUrl")),
            dedupe_key=f"rule:{text(body.get('orgId'), 20)}:{text(body.get('ruleId'), 40)}" if "ruleId" in body else "",
            labels=labels,
            consumed=("tags", "ruleName"),
        )

    def _rule(self, body: Mapping[str, Any], received_at: datetime) -> Alert:
        labels = shape.labels_of(body.get("labels"))
        return shape.alert(
            title=text(body.get("title"), 500),
            status=shape.status_of(body.get("state")) or "firing",
            severity=labels.get("severity"),
            started_at=None,
            received_at=received_at,
            payload=body,
            service=shape.meant(body.get("service"), 200) or shape.service_in(labels),
            dedupe_key=text(body.get("uid"), 100),
            labels=labels,
            consumed=("title", "labels"),
        )
