"""Who is at work on an incident: on call now, assigned, paged, acknowledging, asked to respond; their logins.

Names and addresses go to the caller alone, who maps them to Slack; nothing of them is evidence, and no card names them.
Source: https://developer.pagerduty.com/api-reference (incidents, log entries, on-calls, users).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from integrations.errors import Denied, Refused
from integrations.pagerduty.fields import identifier
from integrations.pagerduty.rest import PAGE, PagerDutyApi
from integrations.reading import mapping, number, objects, text

MAX_PEOPLE = 25
"""People whose address is asked for, one request each; an incident with more has its own coordinators."""
_PAGED = ("assign_log_entry", "notify_log_entry", "acknowledge_log_entry")


async def responders(api: PagerDutyApi, incident_id: str) -> tuple[str, ...]:
    """E-mail addresses in lower case, the nearest to the incident first. Raises what a request raises; who PagerDuty
    does not tell of is left out."""
    incident = mapping((await api.get(f"/incidents/{incident_id}")).get("incident"))
    found = [*_of_incident(incident)]
    policy_id = identifier(mapping(incident.get("escalation_policy")).get("id"))
    if policy_id is not None:
        page = await api.get("/oncalls", {"escalation_policy_ids[]": [policy_id], "earliest": "true", "limit": PAGE})
        found += _first_level(page)
    log = await api.get(f"/incidents/{incident_id}/log_entries", {"is_overview": "false", "limit": PAGE})
    found += _of_log(log)
    people = list(dict.fromkeys(user_id for one in found if (user_id := identifier(one.get("id")))))
    logins = [await _login(api, user_id) for user_id in people[:MAX_PEOPLE]]
    return tuple(dict.fromkeys(login for login in logins if login))


def _of_incident(incident: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for one in objects(incident.get("assignments"), 50):
        yield mapping(one.get("assignee"))
    for one in objects(incident.get("acknowledgements"), 50):
        yield from _people(one.get("acknowledger"))
    for one in objects(incident.get("incidents_responders"), 100):
        if one.get("state") != "declined":
            yield mapping(one.get("user"))


def _first_level(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Who is on call now; the levels above are not woken for a channel."""
    listed = [
        (level, mapping(one.get("user")))
        for one in objects(page.get("oncalls"), 100)
        if (level := number(one.get("escalation_level"))) is not None
    ]
    first = min((level for level, _ in listed), default=0)
    return [user for level, user in listed if level == first]


def _of_log(page: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Who was assigned or paged before it went to somebody else."""
    for entry in objects(page.get("log_entries"), PAGE):
        kind = text(entry.get("type"), 100).removesuffix("_reference")
        if kind in _PAGED:
            yield from objects(entry.get("assignees"), 20)
            yield from _people(entry.get("user"))
            if kind == "acknowledge_log_entry":
                yield from _people(entry.get("agent"))


def _people(value: Any) -> Iterator[Mapping[str, Any]]:
    """A reference that is a person's: an agent may be a service or an integration."""
    found = mapping(value)
    if text(found.get("type"), 40) in ("user", "user_reference"):
        yield found


async def _login(api: PagerDutyApi, user_id: str) -> str:
    """The person's address; "" for somebody who was deleted or whom this token may not see."""
    try:
        user = mapping((await api.get(f"/users/{user_id}")).get("user"))
    except (Denied, Refused):
        return ""
    address = text(user.get("email"), 320).strip().lower()
    return address if "@" in address else ""
