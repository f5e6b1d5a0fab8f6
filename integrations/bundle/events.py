"""What a bundle says happened: the incident, its alerts and the changes before it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from integrations.bundle.documents import SYSTEM, document, parse_time, parsed, present, text_of, texts
from integrations.errors import Malformed
from integrations.records import Alert, ChangeEvent, ChangeKind, Evidence, Findings, Incident

if TYPE_CHECKING:
    from integrations.bundle import Bundle

MAX_CHANGES = 10_000
MAX_TITLE = 1024
"""Characters of an incident's title, as PagerDuty limits it."""
MAX_YEAR = 9000
"""Windows reach beyond an incident; years do not reach beyond 9999."""
_KINDS: Mapping[str, ChangeKind] = {
    "deploy": "deploy", "deployment": "deploy", "rollout": "rollout", "config": "config", "flag": "flag",
    "scale": "scale", "migration": "migration", "release": "release", "merge": "merge",
}  # fmt: skip


def read_incident(payload: Any, workspace_id: str) -> tuple[Incident, str | None]:
    event = payload.get("event") if isinstance(payload, Mapping) else None
    data = event.get("data") if isinstance(event, Mapping) else None
    if not isinstance(event, Mapping) or not isinstance(data, Mapping) or not data.get("id"):
        raise Malformed(SYSTEM, "pagerduty.json has no event.data.id; a PagerDuty V3 webhook is expected")
    service = data.get("service") if isinstance(data.get("service"), Mapping) else {}
    priority = data.get("priority") if isinstance(data.get("priority"), Mapping) else {}
    teams = tuple(
        str(one["summary"]) for one in data.get("teams") or () if isinstance(one, Mapping) and one.get("summary")
    )
    policy = data.get("escalation_policy")
    policy_name = str(policy["summary"]) if isinstance(policy, Mapping) and policy.get("summary") else None
    assert isinstance(service, Mapping)
    assert isinstance(priority, Mapping)
    urgency = str(data["urgency"]) if data.get("urgency") else None
    number = data.get("number")
    triggered_at = parse_time(data.get("created_at") or event.get("occurred_at"), "pagerduty.json: created_at")
    if not 1971 <= triggered_at.year <= MAX_YEAR:
        raise Malformed(SYSTEM, f"pagerduty.json: created_at is in the year {triggered_at.year}: no incident is")
    on_call = teams[0] if teams else policy_name
    incident = Incident(
        workspace_id=workspace_id,
        id=str(data["id"]),
        number=number if isinstance(number, int) else None,
        title=str(data.get("title") or "Incident without a title")[:MAX_TITLE],
        service=str(service["summary"]) if service.get("summary") else None,
        service_ref=str(service["id"]) if service.get("id") else None,
        severity=_severity(str(priority.get("summary") or ""), urgency),
        urgency=urgency,
        priority=str(priority["summary"]) if priority.get("summary") else None,
        url=str(data.get("html_url") or ""),
        triggered_at=triggered_at,
        teams=teams,
        on_call=on_call,
    )
    return incident, on_call


def _severity(priority: str, urgency: str | None) -> int:
    """PagerDuty's usual priority names P1 to P5, else urgency: high 2, low 4, unknown 3."""
    digits = priority[-1:]
    if digits in "12345" and digits and priority[:-1].upper() in ("P", "SEV", "SEV-"):
        return int(digits)
    return {"high": 2, "low": 4}.get(urgency or "", 3)


def fetch_alerts(bundle: Bundle) -> Findings:
    payload = document(present(bundle.folder / "alerts.json"))
    entries = payload.get("alerts") if isinstance(payload, Mapping) else None
    if not isinstance(entries, list):
        raise Malformed(SYSTEM, "alerts.json has no list 'alerts'; an Alertmanager webhook (version 4) is expected")
    common = payload.get("commonLabels")
    alerts = [read_alert(one, common, bundle.incident) for one in entries]
    return Findings(
        evidence=tuple(_alert_evidence(bundle, one) for one in alerts),
        on_call=bundle.on_call,
    )


def read_alert(entry: Any, common: Any, incident: Incident) -> Alert:
    """One alert of an Alertmanager webhook. Raises Malformed."""
    if not isinstance(entry, Mapping):
        raise Malformed(SYSTEM, "alerts.json: an alert is not an object")
    labels = texts(common) | texts(entry.get("labels"))
    annotations = texts(entry.get("annotations"))
    title = annotations.get("summary") or labels.get("alertname") or incident.title
    firing = str(entry.get("status") or "firing") != "resolved"
    return Alert(
        title=title,
        service=labels.get("service") or labels.get("job"),
        severity=labels.get("severity", "unknown"),
        status="firing" if firing else "resolved",
        started_at=parse_time(entry["startsAt"], "alerts.json: startsAt")
        if entry.get("startsAt")
        else incident.triggered_at,
        link=str(entry["generatorURL"]) if entry.get("generatorURL") else None,
        dedupe_key=str(entry.get("fingerprint") or json.dumps(labels, sort_keys=True)),
        labels=labels,
        extra={"annotations": annotations},
    )


def _alert_evidence(bundle: Bundle, alert: Alert) -> Evidence:
    annotations = alert.extra["annotations"]
    text = [annotations[key] for key in ("description", "message") if annotations.get(key)]
    text.append(f"{alert.status} since {alert.started_at:%H:%M:%S} UTC, severity {alert.severity}")
    item = f"alertmanager/alert/{alert.dedupe_key}"
    return Evidence(
        id=item,
        kind="alert",
        source="alertmanager",
        observed_at=alert.started_at,
        fetched_at=bundle.incident.triggered_at,
        url=alert.link or "",
        readers=bundle.readers("alerts", "alert", "alertmanager", alert.service, alert.dedupe_key, item),
        title=alert.title,
        text="\n".join(text),
        service=alert.service,
        attributes={"severity": alert.severity, "status": alert.status, "dedupe_key": alert.dedupe_key},
    )


def fetch_changes(bundle: Bundle) -> Findings:
    path = present(bundle.folder / "changes.jsonl")
    changes, broken = [], []
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        if line.strip():
            try:
                changes.append(_change(bundle, parsed(line, f"changes.jsonl, line {number}"), number))
            except Malformed as wrong:
                broken.append(wrong)
        if len(changes) + len(broken) > MAX_CHANGES:
            raise Malformed(SYSTEM, f"changes.jsonl has more than {MAX_CHANGES} changes")
    if broken and not changes:
        raise broken[0]
    notes = (f"{len(broken)} of {len(changes) + len(broken)} lines left out: {broken[0].message}",) if broken else ()
    return Findings(changes=tuple({one.id: one for one in changes}.values()), notes=notes)


def _change(bundle: Bundle, entry: Any, number: int) -> ChangeEvent:
    where = f"changes.jsonl, line {number}"
    payload = entry.get("payload") if isinstance(entry, Mapping) else None
    if not isinstance(payload, Mapping):
        raise Malformed(SYSTEM, f"{where} has no payload; a PagerDuty change event is expected")
    details = payload.get("custom_details")
    details = details if isinstance(details, Mapping) else {}
    links = entry.get("links") if isinstance(entry.get("links"), list) else []
    link = next((str(one["href"]) for one in links if isinstance(one, Mapping) and one.get("href")), "")
    identity = str(details.get("id") or f"line-{number}")
    service = str(details["service"]) if details.get("service") else None
    source = str(payload.get("source") or "changes")
    return ChangeEvent(
        id=identity,
        kind=_KINDS.get(str(details.get("kind") or "").lower(), "other"),
        service=service,
        changed_at=parse_time(payload.get("timestamp"), f"{where}: timestamp"),
        summary=str(payload.get("summary") or details.get("subject") or identity),
        source=source,
        url=link,
        readers=bundle.readers("changes", "change", source, service, identity, f"{source}/change/{identity}"),
        environment=str(details["environment"]) if details.get("environment") else None,
        commit=str(details["commit"]) if details.get("commit") else None,
    )
