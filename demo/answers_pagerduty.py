"""What PagerDuty would answer about the incident: REST API v2. Times are the recording's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from demo import scenario
from demo.answers import PD_API, PD_WEB, WEB, Deployed, Fired, zulu
from demo.scenario import Person, Service


def reference(kind: str, identifier: str, summary: str, folder: str) -> dict[str, Any]:
    """A reference object, as PagerDuty puts them everywhere."""
    return {
        "id": identifier,
        "type": f"{kind}_reference",
        "summary": summary,
        "self": f"{PD_API}/{folder}/{identifier}",
        "html_url": f"{PD_WEB}/{folder}/{identifier}",
    }


def service_reference(service: Service) -> dict[str, Any]:
    made = reference("service", service.pagerduty_id, service.name, "services")
    return {**made, "html_url": f"{PD_WEB}/service-directory/{service.pagerduty_id}"}


def user_reference(person: Person) -> dict[str, Any]:
    return reference("user", person.pagerduty_id, person.name, "users")


def policy_reference() -> dict[str, Any]:
    return reference("escalation_policy", *scenario.ESCALATION_POLICY, "escalation_policies")


def team_reference() -> dict[str, Any]:
    return reference("team", *scenario.TEAM, "teams")


def pagerduty(fired: Sequence[Fired], deployed: Sequence[Deployed]) -> dict[str, Any]:
    """Everything the account holds about the incident, as it was when it was triggered, and what does not change."""
    first = fired[0]
    service = scenario.service(first.rule.service)
    title = alert_title(first)
    incident: dict[str, Any] = {
        "id": scenario.INCIDENT_ID,
        "type": "incident",
        "summary": f"[#{scenario.INCIDENT_NUMBER}] {title}",
        "self": f"{PD_API}/incidents/{scenario.INCIDENT_ID}",
        "html_url": f"{PD_WEB}/incidents/{scenario.INCIDENT_ID}",
        "incident_number": scenario.INCIDENT_NUMBER,
        "title": title,
        "description": title,
        "created_at": zulu(first.at),
        "updated_at": zulu(first.at),
        "status": "triggered",
        "incident_key": alert_key(first),
        "service": service_reference(service),
        "assignments": [{"at": zulu(first.at), "assignee": user_reference(scenario.PEOPLE[0])}],
        "assigned_via": "escalation_policy",
        "last_status_change_at": zulu(first.at),
        "last_status_change_by": service_reference(service),
        "resolved_at": None,
        "first_trigger_log_entry": reference(
            "trigger_log_entry", "R1TRIGGERENTRY", f"Triggered: {title}", "log_entries"
        ),
        "alert_counts": {"all": len(fired), "triggered": len(fired), "resolved": 0},
        "is_mergeable": True,
        "incident_type": {"name": "incident_default"},
        "escalation_policy": policy_reference(),
        "teams": [team_reference()],
        "pending_actions": [],
        "acknowledgements": [],
        "alert_grouping": {
            "grouping_type": "time",
            "started_at": zulu(first.at),
            "ended_at": None,
            "alert_grouping_active": True,
        },
        "priority": {
            **reference("priority", *scenario.PRIORITY, "priorities"),
            "type": "priority",
            "name": scenario.PRIORITY[1],
            "description": "",
        },
        "conference_bridge": None,
        "incidents_responders": [],
        "responder_requests": [],
        "urgency": "high",
        "body": {"type": "incident_body", "details": alert_details(first)},
    }
    return {
        "incident": incident,
        "alerts": [_alert(one, number) for number, one in enumerate(fired)],
        "log_entries": _log_entries(incident, fired),
        "change_events": [_change_event(one, number) for number, one in enumerate(deployed)],
        "past_incidents": [_past(first.at, *one) for one in scenario.PAST_INCIDENTS],
        "oncalls": _oncalls(first.at),
        "services": [_service(one, first.at) for one in scenario.SERVICES],
        "users": [_account(one) for one in scenario.PEOPLE],
        "team_members": [{"user": user_reference(one), "role": "responder"} for one in scenario.PEOPLE[:2]],
        "priorities": [incident["priority"]],
    }


def alert_title(fired: Fired) -> str:
    """What the alert says, from what its rule saw: no number here is typed."""
    service = fired.rule.service
    if fired.rule.series == "http_error_ratio":
        return f"{service}: {_percent(fired.value)} of requests fail (normal {_percent(fired.normal)})"
    if fired.rule.series == "http_latency_p95_seconds":
        return f"{service}: 95th percentile {_seconds(fired.value)} (normal {_seconds(fired.normal)})"
    return f"{service}: requests wait {_seconds(fired.value)} for a connection (normal {_seconds(fired.normal)})"


def alert_details(fired: Fired) -> dict[str, Any]:
    """The custom details that Prometheus' Alertmanager would send along."""
    return {
        "alertname": fired.rule.name,
        "service": fired.rule.service,
        "environment": scenario.ENVIRONMENT,
        "severity": fired.rule.severity,
        "expr": f'{fired.rule.series}{{service="{fired.rule.service}"}} > {fired.rule.threshold:g}',
        "for": f"{fired.rule.for_seconds:g}s",
        "value": f"{fired.value:.4g}",
        "normal": f"{fired.normal:.4g}",
        "began_at": zulu(fired.began_at),
        "fired_at": zulu(fired.at),
    }


def alert_key(fired: Fired) -> str:
    return f"{fired.rule.name}/{fired.rule.service}"


def _alert(fired: Fired, number: int) -> dict[str, Any]:
    identifier = f"Q1ALERT{number:07d}"
    service = scenario.service(fired.rule.service)
    return {
        "id": identifier,
        "type": "alert",
        "summary": alert_title(fired),
        "self": f"{PD_API}/alerts/{identifier}",
        "html_url": f"{PD_WEB}/alerts/{identifier}",
        "created_at": zulu(fired.at),
        "updated_at": zulu(fired.at),
        "resolved_at": None,
        "status": "triggered",
        "alert_key": alert_key(fired),
        "service": service_reference(service),
        "first_trigger_log_entry": reference("trigger_log_entry", f"R1ALERT{number:07d}", "Triggered", "log_entries"),
        "incident": reference("incident", scenario.INCIDENT_ID, f"[#{scenario.INCIDENT_NUMBER}]", "incidents"),
        "suppressed": False,
        "severity": fired.rule.severity,
        "integration": reference("events_api_v2_inbound_integration", "PINTPROM", "Prometheus", "integrations"),
        "body": {"type": "alert_body", "contexts": [], "details": alert_details(fired)},
    }


def _log_entries(incident: dict[str, Any], fired: Sequence[Fired]) -> list[dict[str, Any]]:
    service = scenario.service(fired[0].rule.service)
    integration = reference("events_api_v2_inbound_integration", "PINTPROM", "Prometheus", "integrations")
    trigger = log_entry(incident, "trigger", "R1TRIGGERENTRY", fired[0].at, integration, "Triggered through Prometheus")
    trigger["channel"] = {"type": "api", "summary": incident["title"], "details": alert_details(fired[0])}
    assign = log_entry(
        incident, "assign", "R1ASSIGNENTRY1", fired[0].at, service_reference(service),
        f"Assigned to {scenario.PEOPLE[0].name} by escalation policy {scenario.ESCALATION_POLICY[1]}",
    )  # fmt: skip
    assign["assignees"] = [user_reference(scenario.PEOPLE[0])]
    return [trigger, assign]


def log_entry(
    incident: dict[str, Any], kind: str, identifier: str, at: datetime, agent: dict[str, Any], summary: str
) -> dict[str, Any]:
    """One log entry of kind trigger, assign, acknowledge, unacknowledge, resolve or annotate."""
    return {
        "id": identifier,
        "type": f"{kind}_log_entry",
        "summary": summary,
        "self": f"{PD_API}/log_entries/{identifier}",
        "html_url": f"{PD_WEB}/incidents/{incident['id']}/log_entries/{identifier}",
        "created_at": zulu(at),
        "agent": agent,
        "channel": {"type": "website" if kind in ("acknowledge", "resolve") else "auto"},
        "service": incident["service"],
        "incident": reference("incident", incident["id"], incident["summary"], "incidents"),
        "teams": incident["teams"],
        "contexts": [],
        "event_details": {},
    }


def _change_event(one: Deployed, number: int) -> dict[str, Any]:
    service = scenario.service(one.change.service)
    identifier = f"01TEASHOPCHANGE{number:011d}"
    compare = f"{WEB}/{service.repository}/compare/{one.base}...{one.head}"
    return {
        "id": identifier,
        "type": "change_event",
        "summary": one.change.subject,
        "self": f"{PD_API}/change_events/{identifier}",
        "html_url": f"{PD_WEB}/change_events/{identifier}",
        "timestamp": zulu(one.finished_at),
        "services": [service_reference(service)],
        "integration": reference("inbound_integration", "PINTDEPL", "Deploys", "integrations"),
        "routing_key": "R0UT1NGK3YOFTEASHOPDEPLOYS000000",
        "source": "deploys",
        "links": [{"href": compare, "text": "Compare"}],
        "images": [],
        "custom_details": {
            "id": f"{service.name}-{one.head[:7]}",
            "kind": "deploy",
            "service": service.name,
            "commit": one.head,
            "environment": scenario.ENVIRONMENT,
            "subject": one.change.subject,
        },
    }


def _past(at: datetime, identifier: str, number: int, title: str, days: int, score: float) -> dict[str, Any]:
    return {
        "incident": {
            "id": identifier,
            "incident_number": number,
            "created_at": zulu(at - timedelta(days=days)),
            "self": f"{PD_API}/incidents/{identifier}",
            "html_url": f"{PD_WEB}/incidents/{identifier}",
            "title": title,
        },
        "score": score,
    }


def _oncalls(at: datetime) -> list[dict[str, Any]]:
    shift = {"start": zulu(at - timedelta(days=2)), "end": zulu(at + timedelta(days=5))}
    schedule = reference("schedule", *scenario.SCHEDULE, "schedules")
    return [
        {
            "escalation_policy": policy_reference(),
            "escalation_level": level,
            "schedule": schedule if level == 1 else None,
            "user": user_reference(person),
            **(shift if level == 1 else {"start": None, "end": None}),
        }
        for level, person in enumerate(scenario.PEOPLE[:2], start=1)
    ]


def _service(service: Service, at: datetime) -> dict[str, Any]:
    return {
        **service_reference(service),
        "type": "service",
        "name": service.name,
        "description": f"The shop's {service.name}",
        "created_at": zulu(at - timedelta(days=400)),
        "status": "critical" if service.name == "checkout-api" else "active",
        "escalation_policy": policy_reference(),
        "teams": [team_reference()],
        "integrations": [reference("events_api_v2_inbound_integration", "PINTPROM", "Prometheus", "integrations")],
        "alert_creation": "create_alerts_and_incidents",
    }


def _account(person: Person) -> dict[str, Any]:
    return {
        **user_reference(person),
        "type": "user",
        "name": person.name,
        "email": person.email,
        "time_zone": "Etc/UTC",
        "role": "user",
        "job_title": "",
        "teams": [team_reference()] if person.team == scenario.TEAM[1] else [],
        "contact_methods": [],
        "notification_rules": [],
    }


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.0f} %" if ratio >= 0.1 else f"{ratio * 100:.2g} %"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.3g} ms"
