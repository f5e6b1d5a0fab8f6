"""PagerDuty: its webhooks (`PagerDutyDoor`), its REST API (`PagerDuty`), and the fields of its incidents."""

from integrations.pagerduty.door import PagerDutyDoor
from integrations.pagerduty.fields import (
    EVENT_KINDS,
    described,
    identifier,
    incident_fields,
    incident_of,
    log_entry_kind,
)
from integrations.pagerduty.rest import Pace
from integrations.pagerduty.source import PagerDuty

__all__ = [
    "EVENT_KINDS", "Pace", "PagerDuty", "PagerDutyDoor", "described", "identifier", "incident_fields", "incident_of",
    "log_entry_kind",
]  # fmt: skip
