"""What the answers about the recorded incident are made from, and the addresses of the real systems.

GitHub: REST API 2022-11-28 (repositories, commits, compare, deployments, pull requests). PagerDuty: REST API v2 and
webhooks V3. Times are the recording's own; whoever serves them shifts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from demo import scenario
from demo.scenario import Change

API = "https://api.github.com"
WEB = "https://github.com"
PD_API = "https://api.pagerduty.com"
PD_WEB = f"https://{scenario.SUBDOMAIN}.pagerduty.com"


@dataclass(frozen=True, slots=True)
class Deployed:
    """A change as it was really carried out."""

    change: Change
    base: str
    head: str
    merged_at: datetime
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Fired:
    """A rule that fired, with what it saw. `value` and `normal` are in the series' own unit."""

    rule: scenario.Rule
    at: datetime
    began_at: datetime
    value: float
    normal: float


def zulu(at: datetime) -> str:
    """ISO 8601 to the second, as GitHub and PagerDuty's REST API write it."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
