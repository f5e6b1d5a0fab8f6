"""Opsgenie's webhook, and that of Jira Service Management, which has its shape.

Source: https://support.atlassian.com/opsgenie/docs/opsgenie-edge-connector-alert-action-data/.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.alerts import shape
from integrations.errors import NotASignal
from integrations.reading import mapping, moment, text, web_address
from integrations.records import Alert


class OpsgenieParser:
    """An action and its alert. Notes, tags and a team's own actions change no alert's state."""

    name = "opsgenie"
    _actions: Mapping[str, shape.Status] = {
        "": "firing", "create": "firing", "acknowledge": "acknowledged", "unacknowledge": "firing",
        "snooze": "acknowledged", "snoozeended": "firing", "close": "resolved", "delete": "resolved",
    }  # fmt: skip

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        if isinstance(payload, list):
            return [alert for one in payload for alert in self.parse(one, received_at)]
        body = mapping(payload)
        one, action = mapping(body.get("alert")), shape.word(body.get("action"))
        if not one:
            raise NotASignal("no alert in it (Opsgenie sends it under `alert`)")
        if action not in self._actions:
            raise NotASignal(f"Opsgenie's {text(body.get('action'), 40)} changes no alert's state")
        labels = shape.labels_of(one.get("details"), one.get("tags"))
        status = (shape.status_of(one.get("status")) if not action else None) or self._actions[action]
        return [
            shape.alert(
                title=text(one.get("message"), 500) or text(one.get("description"), 500),
                status=status,
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
