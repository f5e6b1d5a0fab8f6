"""Sentry: issues, event alerts and metric alerts. Comments, installations and the rest are no alerts.

Source: https://docs.sentry.io/organization/integrations/integration-platform/webhooks/.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.alerts import shape
from integrations.errors import NotASignal
from integrations.reading import mapping, moment, text, web_address
from integrations.records import Alert


class SentryParser:
    """Issues, event alerts and metric alerts of the integration platform, and what the older webhook plugin sends."""

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
        if isinstance(body.get("event"), Mapping) and ("project" in body or "project_slug" in body):
            return [self._plugin(body, mapping(body["event"]), received_at)]
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

    def _plugin(self, body: Mapping[str, Any], event: Mapping[str, Any], received_at: datetime) -> Alert:
        """The webhook plugin: the issue around one event of it, always a new one."""
        labels = shape.labels_of(event.get("tags"), body.get("tags"))
        titles = (event.get("title"), body.get("message"), event.get("message"), body.get("culprit"))
        times = (event.get("datetime"), event.get("timestamp"), event.get("received"))
        slugs = (body.get("project_slug"), body.get("project"), body.get("project_name"))
        return shape.alert(
            title=next((said for one in titles if (said := text(one, 500))), ""),
            status="firing",
            severity=body.get("level") or event.get("level") or labels.get("level") or "error",
            started_at=next((at for one in times if (at := moment(one)) is not None), None),
            received_at=received_at,
            payload=body,
            service=shape.service_in(labels) or next((said for one in slugs if (said := text(one, 200))), None),
            link=web_address(body.get("url")),
            dedupe_key=f"issue:{_id_of(body) or _id_of(event)}",
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
