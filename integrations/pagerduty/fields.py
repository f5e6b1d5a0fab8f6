"""Turning PagerDuty's objects (webhook `data`, REST incidents, log entries) into our nouns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from integrations.reading import mapping, moment, objects, text, web_address, whole
from integrations.records import IncidentFields, SignalKind

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHANNEL = r"([CG][A-Z0-9]{7,20})"
_SLACK_LINKS = (
    re.compile(rf"https://[a-z0-9-]+(?:\.enterprise)?\.slack\.com/archives/{_CHANNEL}/?\Z"),
    re.compile(rf"https://app\.slack\.com/client/[TE][A-Z0-9]{{2,20}}/{_CHANNEL}/?\Z"),
    re.compile(rf"slack://channel\?(?:team=[TE][A-Z0-9]{{2,20}}&)?id={_CHANNEL}\Z"),
)
STATUSES = ("triggered", "acknowledged", "resolved")

EVENT_KINDS: dict[str, SignalKind] = {
    "incident.triggered": "triggered",
    "incident.acknowledged": "acknowledged",
    "incident.unacknowledged": "unacknowledged",
    "incident.resolved": "resolved",
    "incident.reopened": "reopened",
    "incident.escalated": "escalated",
    "incident.reassigned": "reassigned",
    "incident.delegated": "reassigned",
    "incident.annotated": "annotated",
    "incident.priority_updated": "priority_updated",
}
"""V3 webhook event types that change what we know of an incident; every other type is kept as `unknown`."""

LOG_ENTRY_KINDS: dict[str, SignalKind] = {
    "trigger_log_entry": "triggered",
    "acknowledge_log_entry": "acknowledged",
    "unacknowledge_log_entry": "unacknowledged",
    "resolve_log_entry": "resolved",
    "reopen_log_entry": "reopened",
    "escalate_log_entry": "escalated",
    "assign_log_entry": "reassigned",
    "delegate_log_entry": "reassigned",
    "annotate_log_entry": "annotated",
    "priority_change_log_entry": "priority_updated",
    "urgency_change_log_entry": "priority_updated",
}
"""The same for the poller. PagerDuty also writes `acknowledgement_log_entry` and the like in its schema."""


def identifier(value: Any) -> str | None:
    """An id as PagerDuty makes them (7, 14 or 26 letters and digits); None for what is not safe in a path."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def log_entry_kind(kind: Any) -> SignalKind:
    """The life-cycle kind of a log entry's `type`, with or without `_reference`; `unknown` for the rest."""
    name = text(kind, 100).removesuffix("_reference").replace("acknowledgement_", "acknowledge_")
    return LOG_ENTRY_KINDS.get(name, "unknown")


def incident_of(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The incident that a webhook's `data` is about: `data` itself, `data.incident`, or that of a list's first item."""
    if data.get("type") == "incident":
        return data
    inner = data.get("incident")
    if isinstance(inner, Mapping):
        return inner
    for value in data.values():
        for item in objects(value, limit=50):
            if isinstance(item.get("incident"), Mapping):
                return mapping(item["incident"])
    if "incident_number" in data or ("status" in data and "title" in data):
        return data
    return None


def incident_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `records.Incident` that a webhook's incident, a REST incident or a reference to one fills.

    Only what the object says is in the result, so that it can be laid over what is already known. `service` is
    PagerDuty's own word for it, `service_ref` its id. Times are aware UTC. Never raises.
    """
    service, priority = mapping(data.get("service")), mapping(data.get("priority"))
    acknowledged = [at for one in objects(data.get("acknowledgements")) if (at := moment(one.get("at")))]
    status = text(data.get("status"), 20)
    resolved_at = moment(data.get("resolved_at")) or moment(data.get("last_status_change_at"))
    fields: dict[str, Any] = {
        "id": identifier(data.get("id")),
        "number": whole(data.get("number", data.get("incident_number"))),
        "title": text(data.get("title")) or text(data.get("summary")) or text(data.get("description")),
        "service": text(service.get("summary"), 300) or text(service.get("name"), 300),
        "service_ref": identifier(service.get("id")),
        "urgency": text(data.get("urgency"), 20),
        "priority": text(priority.get("summary"), 100) or text(priority.get("name"), 100),
        "status": status if status in STATUSES else None,
        "url": web_address(data.get("html_url")),
        "triggered_at": moment(data.get("created_at")),
        "acknowledged_at": min(acknowledged, default=None),
        "resolved_at": resolved_at if status == "resolved" else None,
        "teams": tuple(name for team in objects(data.get("teams"), 50) if (name := text(team.get("summary"), 200))),
    }
    return {name: value for name, value in fields.items() if value not in (None, "", ())}


def described(incident: Mapping[str, Any] | None) -> IncidentFields | None:
    """An incident object as `IncidentFields`; None without one. A reference says little, and that little is kept.

    A reference whose summary is null says nothing: a title made up for it would replace the real one.
    """
    if incident is None or (incident_id := identifier(incident.get("id"))) is None:
        return None
    said = incident_fields(incident)
    if "title" not in said and "service" not in said:
        return None
    return IncidentFields(
        title=said.get("title") or f"PagerDuty incident {incident_id}",
        url=said.get("url") or "",
        number=said.get("number"),
        service=said.get("service"),
        service_ref=said.get("service_ref"),
        urgency=said.get("urgency"),
        priority=said.get("priority"),
        teams=said.get("teams", ()),
        own_channel=slack_channel(incident),
        created_at=said.get("triggered_at"),
        status=said.get("status"),
        acknowledged_at=said.get("acknowledged_at"),
    )


def slack_channel(incident: Mapping[str, Any]) -> str | None:
    """The Slack channel that the incident's conference bridge leads to, as its id; None where it leads elsewhere.

    Sources: PagerDuty's `conference_bridge.conference_url`, Slack's links to channels.
    """
    url = text(mapping(incident.get("conference_bridge")).get("conference_url"), 300)
    found = (pattern.match(url) for pattern in _SLACK_LINKS)
    return next((one[1] for one in found if one is not None), None)


def said_by(agent: Any) -> str | None:
    """The role of who did it, from a webhook's or log entry's `agent`; never the person's name."""
    kind = text(mapping(agent).get("type"), 100)
    if kind.startswith("user"):
        return "responder"
    return "integration" if kind else None
