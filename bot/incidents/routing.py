"""Severity, whether an incident gets a card, and the channel it goes to: by the settings alone, pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

URGENCY = {"high": 2, "low": 4}
ALERT_SEVERITY = {"critical": 2, "error": 2, "warning": 3, "info": 4}
UNKNOWN_SEVERITY = 3
"""Nothing maps: in the middle, so that the default setting still gives it a card."""


class Condition(Protocol):
    """A test over an incident (the settings' `match` and `when`)."""

    def holds(self, *, severity: int, service: str | None, team: str | None) -> bool: ...


@dataclass(frozen=True, slots=True)
class Service:
    """What the settings say about one service."""

    name: str
    refs: tuple[str, ...] = ()
    team: str | None = None
    channel: str | None = None
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Routing:
    """The settings that decide severity and channel."""

    default_channel: str
    when: Condition
    severity: Mapping[str, int] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    team_channels: Mapping[str, str] = field(default_factory=dict)
    routes: Sequence[tuple[Condition, str]] = ()
    shadow_channel: str | None = None

    def service(self, *names: str | None) -> str | None:
        """Our name of a service by any of its names; None when nothing maps. Explicit mappings first."""
        for name in filter(None, names):
            for service in self.services.values():
                if name == service.name or name in service.refs:
                    return service.name
        plain = {_plain(name): name for name in self.services}
        return next((plain[_plain(name)] for name in names if name and _plain(name) in plain), None)

    def severity_of(self, priority: str | None, urgency: str | None, alert: str | None = None) -> int:
        """1 (worst) to 5: the settings' mapping, else the source's urgency, else its own word."""
        for word in filter(None, (priority, urgency, alert)):
            if word in self.severity:
                return self.severity[word]
        if urgency in URGENCY:
            return URGENCY[urgency]
        if alert in ALERT_SEVERITY:
            return ALERT_SEVERITY[alert]
        for word in filter(None, (priority, alert)):
            if found := re.search(r"[1-5]", word):
                return int(found[0])
        return UNKNOWN_SEVERITY

    def team(self, service: str | None) -> str | None:
        known = self.services.get(service or "")
        return known.team if known else None

    def gets_card(self, severity: int, service: str | None) -> bool:
        return self.when.holds(severity=severity, service=service, team=self.team(service))

    def channel(self, severity: int, service: str | None, own: str | None) -> str:
        """The incident's own channel, else the service's (or its team's), else the first route, else the default."""
        return self.decide(severity, service, own)[0]

    def decide(self, severity: int, service: str | None, own: str | None) -> tuple[str, str]:
        """The channel, and which rule named it, in words."""
        if self.shadow_channel:
            return self.shadow_channel, 'mode = "shadow": every post goes there'
        if own:
            return own, "the incident's own channel"
        known = self.services.get(service or "")
        team = self.team(service)
        if known and known.channel:
            return known.channel, f"[services.{known.name}] channel"
        if known and team in self.team_channels:
            return self.team_channels[team or ""], f"[teams.{team}] channel"
        for number, (condition, channel) in enumerate(self.routes, start=1):
            if condition.holds(severity=severity, service=service, team=team):
                return channel, f"route {number}"
        return self.default_channel, "[slack] channel, the last resort"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
