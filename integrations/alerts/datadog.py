"""Datadog's monitors, through whatever template the customer wrote for the webhook.

Source: https://docs.datadoghq.com/integrations/webhooks/ (the variables of a template).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.alerts import shape
from integrations.alerts.generic import Hints, at_path, each, recognise
from integrations.errors import NotASignal
from integrations.reading import text
from integrations.records import Alert

_TAG_IN_TITLE = re.compile(r"\bservice:([\w.-]{1,100})")
_SCOPE_IN_TITLE = re.compile(r"\s*\[[^\]{]{2,24}\bon \{([^{}\]]{1,300})\}\s*\]")


class DatadogParser:
    """Usual names, tags, and the title's first word: `[Triggered on {host:web-1}] …` is what every template has."""

    name = "datadog"
    _hints = Hints(
        title=("title", "event_title", "alert_title", "name"),
        severity=("priority", "alert_priority", "alert_type", "severity"),
        status=("alert_transition", "transition", "alert_status", "status", "overall_state"),
        started_at=("date", "date_happened", "last_updated", "timestamp"),
        link=("link", "url", "event_url"),
        dedupe_key=("alert_cycle_key", "aggreg_key", "aggregation_key"),
        labels=("tags", "alert_scope", "scopes", "scope"),
        words={
            "no data": "firing", "re-triggered": "firing", "renotify": "firing", "re-no data": "firing",
            "re-warn": "firing", "success": "resolved",
        },
    )  # fmt: skip
    _monitors = ("monitor_id", "alert_id", "monitor.id", "alertId", "monitorId")
    _scopes = ("alert_scope", "scopes", "scope", "alertScope", "group", "host.name", "hostname")

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        return [self._one(one, received_at) for one in each(payload)]

    def _one(self, body: Mapping[str, Any], received_at: datetime) -> Alert:
        _refuse_what_the_api_says(body)
        priority = text(body.get("priority"), 10)
        if priority.isdigit():
            body = {**body, "priority": f"P{priority}"}
        elif priority in ("normal", "low"):
            body = {k: v for k, v in body.items() if k != "priority"}  # an event's priority says nothing of the alert
        found = recognise(body, received_at, self._hints)
        title = shape.without_state(found.title)
        changes: dict[str, Any] = {"title": title}
        if found.severity == shape.UNKNOWN_SEVERITY and (state := shape.state_in_title(found.title)):
            first = found.title.lstrip("[ ").lower().removeprefix("re-")
            changes["severity"] = "info" if state == "resolved" else "warning" if first.startswith("warn") else "error"
        if found.service is None and (tag := _TAG_IN_TITLE.search(found.title)):
            changes["service"] = tag.group(1)
        if not any(shape.meant(at_path(body, path)) for path in self._hints.dedupe_key):
            changes["dedupe_key"] = self._key(body, found.title, found.dedupe_key)
        return found.model_copy(update=changes)

    def _key(self, body: Mapping[str, Any], title: str, other: str) -> str:
        """Monitor and group: `$ID` is the event's, another for the recovery, and one monitor watches many groups."""
        scopes = [shape.meant(at_path(body, path), 300) for path in self._scopes]
        in_title = _SCOPE_IN_TITLE.match(title)
        scope = next((one for one in scopes if one), in_title.group(1) if in_title else "")
        monitor = next((said for path in self._monitors if (said := shape.meant(at_path(body, path), 100))), "")
        if monitor:
            return f"{monitor}:{scope}" if scope else monitor
        if shape.state_in_title(title) is not None or scope:
            return shape.key_from(shape.without_state(title), scope)
        return other


def _refuse_what_the_api_says(body: Mapping[str, Any]) -> None:
    """A downtime, and a monitor as somebody defines it, have a name and no state."""
    if "downtime_type" in body or ("monitor_id" in body and {"scope", "recurrence"} <= set(body)):
        raise NotASignal("a downtime is no alert")
    if {"query", "options"} <= set(body) and "overall_state" not in body and "name" in body:
        raise NotASignal("the definition of a monitor is no alert")
