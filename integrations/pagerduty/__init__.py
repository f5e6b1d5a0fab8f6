"""PagerDuty: its webhooks (`PagerDutyDoor`) and the fields of its incidents."""

from integrations.pagerduty.door import PagerDutyDoor
from integrations.pagerduty.fields import EVENT_KINDS, identifier, incident_fields, incident_of, log_entry_kind

__all__ = ["EVENT_KINDS", "PagerDutyDoor", "identifier", "incident_fields", "incident_of", "log_entry_kind"]
