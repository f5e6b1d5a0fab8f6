"""The buttons' action ids and what their values say. A value comes back from Slack, so it is read as outside input."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

WAS_CHANGE = "sitrep.was_change"
WAS_NOT = "sitrep.was_not"
UNDO_WAS_NOT = "sitrep.undo_was_not"
ACKNOWLEDGE = "sitrep.acknowledge"
MITIGATED = "sitrep.mitigated"
RESOLVE = "sitrep.resolve"
OWN_VIEW = "sitrep.own_view"
HELPFUL = "sitrep.helpful"
NOT_HELPFUL = "sitrep.not_helpful"
FEEDBACK = "sitrep.feedback"
ASK = "sitrep.ask"
CATCH_UP = "sitrep.catch_up"
NOTE = "sitrep.note"
LABEL = "sitrep.label"
DRAFT = "sitrep.draft"

MAX_VALUE = 2000
"""Slack's limit on a button's value."""
_MARK = re.compile(r"(e[1-9][0-9]{0,5})?\Z")
_INCIDENT = re.compile(r"[^\x00-\x1f\x7f]{1,255}\Z")


@dataclass(frozen=True, slots=True)
class ActionValue:
    """About which incident, in which version of the card, and which suspect by its mark (empty for none)."""

    incident_id: str
    version: int
    mark: str = ""

    def encode(self) -> str:
        encoded = json.dumps({"i": self.incident_id, "v": self.version, "m": self.mark}, separators=(",", ":"))
        if len(encoded) <= MAX_VALUE:
            return encoded
        return json.dumps({"i": "", "v": self.version, "m": ""})

    @classmethod
    def decode(cls, value: str) -> ActionValue | None:
        """None for what is not a value of ours."""
        if len(value) > MAX_VALUE:
            return None
        try:
            read = json.loads(value)
        except ValueError:
            return None
        if not isinstance(read, dict):
            return None
        incident, version, mark = read.get("i"), read.get("v"), read.get("m", "")
        if not isinstance(incident, str) or not isinstance(mark, str) or type(version) is not int:
            return None
        if not _INCIDENT.match(incident) or not _MARK.match(mark) or not 0 <= version < 2**53:
            return None
        return cls(incident, version, mark)
