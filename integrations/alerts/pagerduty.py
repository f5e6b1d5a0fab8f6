"""PagerDuty's incidents, alerts and events as alerts, for whoever pipes them in: its webhook has a door of its own.

Source: https://developer.pagerduty.com/docs/webhooks-overview and …/events-api-v2-overview.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.alerts.generic import Hints, recognise
from integrations.errors import NotASignal
from integrations.reading import mapping, moment, objects, text
from integrations.records import Alert


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
