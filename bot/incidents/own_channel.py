"""Which of the channels that the app is in belongs to an incident: by PagerDuty's link, by name, by topic. Pure.

A channel's name and topic are outside text: whoever may invite the app to a channel may make one that matches. The card
is filtered for that channel's readers as for any other, so nothing is shown to more people; it can be led astray, which
is why names and topics are looked at only where a setting says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from integrations.records import Incident

DECLARED = "slack"
"""Source of an incident that somebody declared in Slack: its channel is the one where that was said."""
SHORTEST_ID = 6
"""An id that is shorter stands in other texts by chance."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A channel that the app is in, not archived."""

    id: str
    name: str
    topic: str = ""
    purpose: str = ""


def own_channel(
    incident: Incident, hint: str | None, joined: Iterable[Joined], *, pattern: str | None, by_topic: bool
) -> str | None:
    """`hint` (what the incident source links to) if the app is in it; else the channel that has the incident's name by
    `pattern` ("inc-{number}"), else the only one whose topic or purpose names the incident or its address."""
    channels = list(joined)
    if hint is not None and any(one.id == hint for one in channels):
        return hint
    if pattern is not None and (name := name_of(incident, pattern)) is not None:
        for one in channels:
            if one.name.lower() == name:
                return one.id
    if not by_topic:
        return None
    told = [one.id for one in channels if _names(incident, f"{one.topic}\n{one.purpose}")]
    return told[0] if len(told) == 1 else None


def name_of(incident: Incident, pattern: str) -> str | None:
    """The channel's name by the pattern, as Slack writes names; None where the incident has no number for it."""
    if "{number}" in pattern and incident.number is None:
        return None
    made = pattern.replace("{number}", str(incident.number)).replace("{id}", incident.id)
    return re.sub(r"[^a-z0-9_-]+", "-", made.lower()).strip("-")[:80] or None


def _names(incident: Incident, text: str) -> bool:
    if incident.url and re.search(rf"{re.escape(incident.url)}(?![\w/-])", text):
        return True
    return (
        len(incident.id) >= SHORTEST_ID and re.search(rf"(?<![\w-]){re.escape(incident.id)}(?![\w-])", text) is not None
    )
