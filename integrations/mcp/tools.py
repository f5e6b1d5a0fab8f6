"""What a person approved of an MCP server: which tool, with which arguments, and how it looked then."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from integrations.records import EvidenceKind, Question, Readers

VARIABLES = (
    "incident_id", "number", "title", "service", "severity", "status", "source", "triggered_at", "since", "until",
)  # fmt: skip
"""What may stand in a template as `{name}`: the incident's own fields, and the window that is looked at. Times are ISO
8601 in UTC."""
_NUMBERS = frozenset({"number", "severity"})
_VARIABLE = re.compile(r"\{([^{}]*)\}")
MAX_ARGUMENT = 500
"""Characters of one incident field in an argument."""


@dataclass(frozen=True, slots=True)
class ToolRule:
    """One tool that may be called. `arguments` is its fixed template, `approved` the fingerprint it had when a person
    looked at it."""

    name: str
    approved: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    kind: EvidenceKind = "message"
    readers: Readers | None = None
    """Narrows the source's readers; None: they are the source's."""
    deadline_seconds: float = 3.0
    limit_bytes: int = 20_000

    def __post_init__(self) -> None:
        if unknown := sorted(_variables(self.arguments) - set(VARIABLES)):
            raise ValueError(
                f"tool {self.name!r}: arguments name {', '.join(map(repr, unknown))}; "
                f"known: {', '.join(f'{{{one}}}' for one in VARIABLES)}"
            )


class MissingField(Exception):
    """The incident does not say what an argument needs; the text is the field's name."""


def fingerprint(tool: Mapping[str, Any]) -> str:
    """`sha256:…` of a tool's schemas and annotations, whatever the generation of the protocol.

    Its description is for a model, and none reads it here; so it may change.
    """
    told = {name: tool.get(name) or None for name in ("inputSchema", "outputSchema", "annotations")}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def approve(rule: ToolRule, tool: Mapping[str, Any] | None, source: str) -> str:
    """Why this tool is refused, as a sentence for the card and the log; "" when it may be called."""
    if tool is None:
        return f"tool {rule.name} is not offered any more"
    annotations = tool.get("annotations") or {}
    if annotations.get("readOnlyHint") is not True or annotations.get("destructiveHint") is True:
        return f"tool {rule.name} was refused: it is not declared read-only"
    if fingerprint(tool) != rule.approved:
        return f"tool {rule.name} was refused: it changed since it was approved; look at it with sitrep mcp {source}"
    return ""


def arguments_for(rule: ToolRule, question: Question) -> dict[str, Any]:
    """The template with the incident's fields. Raises MissingField."""
    return {name: _filled(value, _fields(question)) for name, value in rule.arguments.items()}


def _fields(question: Question) -> dict[str, str | int | None]:
    incident, window = question.incident, question.window
    return {
        "incident_id": incident.id, "number": incident.number, "title": incident.title, "service": incident.service,
        "severity": incident.severity, "status": incident.status, "source": incident.source,
        "triggered_at": incident.triggered_at.isoformat(), "since": window.start.isoformat(),
        "until": window.end.isoformat(),
    }  # fmt: skip


def _filled(value: Any, fields: Mapping[str, str | int | None]) -> Any:
    """A text that is nothing but `{severity}` or `{number}` becomes a number."""
    if isinstance(value, Mapping):
        return {name: _filled(inner, fields) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(inner, fields) for inner in value]
    if not isinstance(value, str):
        return value
    whole = _VARIABLE.fullmatch(value)
    if whole and whole[1] in _NUMBERS:
        return _field(fields, whole[1])
    return _VARIABLE.sub(lambda found: str(_field(fields, found[1]))[:MAX_ARGUMENT], value)


def _field(fields: Mapping[str, str | int | None], name: str) -> str | int:
    found = fields[name]
    if found is None:
        raise MissingField(name)
    return found


def _variables(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        return set().union(*(_variables(inner) for inner in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(_variables(inner) for inner in value))
    return set(_VARIABLE.findall(value)) if isinstance(value, str) else set()
