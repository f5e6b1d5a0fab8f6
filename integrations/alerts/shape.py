"""The parts that every sender's alert is made of: severity, status, service, key, in our words."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from integrations.reading import mapping, objects, storable, text
from integrations.records import Alert

Status = Literal["firing", "acknowledged", "resolved"]

_SEVERITIES = {
    "critical": "critical crit fatal emergency emerg disaster page blocker catastrophic highest panic sev0 sev1",
    "error": "error err high major severe failure failed urgent sev2",
    "warning": "warning warn medium moderate minor average degraded normalpriority sev3",
    "info": "info information informational low lowest notice debug trivial ok okay normal none clear cleared success "
            "sev4 sev5",
}  # fmt: skip
_SEVERITY = {word: ours for ours, words in _SEVERITIES.items() for word in words.split()}
UNKNOWN_SEVERITY = "unknown"
"""What the sender does not say; the settings give it a number."""

_FIRING = (
    "firing fire fired alert alerting alarm alarming triggered trigger retriggered open opened opening new active "
    "activated problem down critical unhealthy failing failed failure error warn warning nodata created create "
    "unresolved reopened reopen anomalous breached breaching violated violation start started starting pending "
    "insufficientdata unreachable degraded unknown outage in_alarm inalarm raised detected on bad unacknowledged "
    "escalated renotify retriggered rewarn renodata majoroutage partialoutage degradedperformance "
    "alertnotificationtrigger"
)
_ACKNOWLEDGED = (
    "acknowledged acknowledge acknowledgement ack acked acknowledging ignored muted snoozed silenced suppressed "
    "archived investigating inprogress assigned paused undermaintenance maintenance"
)
_RESOLVED = (
    "resolved resolve resolving ok okay recovered recover recovery recovering closed close clear cleared normal up "
    "healthy inactive success successful passed passing end ended ending fixed done completed autoresolved operational "
    "manuallyresolved stopped expired deleted delete off good backtonormal green alertnotificationclear"
)
_STATUS: dict[str, Status] = {
    **dict.fromkeys(_FIRING.split(), "firing"),
    **dict.fromkeys(_ACKNOWLEDGED.split(), "acknowledged"),
    **dict.fromkeys(_RESOLVED.split(), "resolved"),
}
SERVICE_LABELS = (
    "service", "service_name", "service.name", "servicename", "app", "application", "app.kubernetes.io/name",
    "app_kubernetes_io_name", "component",
)  # fmt: skip

_PLACEHOLDER = re.compile(
    r"\$[A-Z][A-Z0-9_]*|\*insert .*\*|\{\{.*\}\}|<[^<>]*>|\$\{.*\}|%[a-z_]+%|n/?a|none|null|undefined|-+"
)
_STATE_PREFIX = re.compile(
    r"^\s*(?:\[\s*([\w -]{2,24}?)(?:[:!][^\]]*| on \{[^\]]*)?\s*\]"
    r"|(triggered|recovered|resolved|firing|problem|ok|closed|alert)\s*:)\s*",
    re.IGNORECASE,
)


def word(value: Any) -> str:
    """A value as one lower-case word without punctuation: how words of different senders are compared."""
    return re.sub(r"[\W_]+", "", text(value, 100).lower())


def meant(value: Any, limit: int = 2000) -> str:
    """The text of a value, "" where it is a placeholder of a template that nobody filled (`$SERVICE`, `{{ x }}`)."""
    said = text(value, limit).strip()
    return "" if _PLACEHOLDER.fullmatch(said.lower() if not said.startswith("$") else said) else said


def severity_of(value: Any) -> str:
    """`critical`, `error`, `warning`, `info` or a priority `P1` … `P5`; the sender's own word where none fits."""
    said = meant(value, 60)
    key = word(said)
    if re.fullmatch(r"p[0-9]", key):
        return key.upper()
    if re.fullmatch(r"(prio|priority)[0-9]", key):
        return f"P{key[-1]}"
    return _SEVERITY.get(key, said.lower()) or UNKNOWN_SEVERITY


def is_severity(value: Any) -> bool:
    """Whether a word is one of the known severities or priorities."""
    key = word(value)
    return key in _SEVERITY or bool(re.fullmatch(r"p[0-9]|(prio|priority)[0-9]", key))


def status_of(value: Any) -> Status | None:
    """What a sender's word for a state means; None when it is no word for one."""
    return _STATUS.get(word(value))


def state_in_title(title: str) -> Status | None:
    """What a title's first word says: `[Recovered] …`, `Triggered: …`, `[FIRING:3] …`."""
    found = _STATE_PREFIX.match(title)
    return status_of((found.group(1) or found.group(2)).split(":")[0]) if found else None


def without_state(title: str) -> str:
    """A title without the state in front of it, so that an alert and its recovery have the same one."""
    shorter = title
    while (found := _STATE_PREFIX.match(shorter)) and status_of(found.group(1) or found.group(2)) is not None:
        shorter = shorter[found.end() :]
    return shorter.strip() or title


def labels_of(*values: Any) -> dict[str, str]:
    """Labels of any of the shapes senders use: an object, `k:v` words, `[key, value]` pairs, `{key, value}` objects."""
    found: dict[str, str] = {}
    for value in values:
        if isinstance(value, Mapping):
            pairs: Iterable[tuple[Any, Any]] = value.items()
        elif isinstance(value, str):
            pairs = (tag.partition(":")[::2] for tag in value.split(",") if ":" in tag)
        elif isinstance(value, list):
            pairs = [pair for one in value[:200] for pair in _pairs(one)]
        else:
            continue
        for key, inner in pairs:
            name, said = (
                text(key, 200).strip(),
                ("true" if inner else "false") if isinstance(inner, bool) else text(inner),
            )
            if name and said and name not in found and len(found) < 200:
                found[name] = said.strip()
    return found


def _pairs(one: Any) -> list[tuple[Any, Any]]:
    if isinstance(one, str) and ":" in one:
        return [one.partition(":")[::2]]
    if isinstance(one, list) and len(one) == 2:
        return [(one[0], one[1])]
    if isinstance(one, Mapping):
        key = next((one[name] for name in ("key", "name", "Name", "Key", "tag") if name in one), None)
        value = next((one[name] for name in ("value", "Value") if name in one), None)
        if isinstance(value, Mapping):  # OTLP's: {"key": …, "value": {"stringValue": …}}
            value = next((inner for kind, inner in value.items() if str(kind).endswith("Value")), None)
        return [(key, value)] if key is not None and value is not None else []
    return []


def service_in(labels: Mapping[str, str], *more: str) -> str | None:
    """The service that labels name, by the usual keys in order, then by `more`."""
    lower = {key.lower(): value for key, value in reversed(tuple(labels.items()))}
    return next((found for key in (*SERVICE_LABELS, *more) if (found := meant(lower.get(key), 200))), None)


def key_from(*parts: Any) -> str:
    """A key for a sender that has none: the same for an alert and its recovery."""
    return hashlib.sha256(json.dumps(storable(list(parts)), sort_keys=True).encode()).hexdigest()[:16]


def alert(
    *,
    title: str,
    status: Status,
    severity: Any,
    started_at: datetime | None,
    received_at: datetime,
    payload: Mapping[str, Any],
    service: str | None = None,
    link: str | None = None,
    dedupe_key: str = "",
    labels: Mapping[str, str] | None = None,
    consumed: Iterable[str] = (),
) -> Alert:
    """An alert; `payload` is the sender's object, kept in `extra` but for the keys in `consumed`.

    Without `dedupe_key` it is made of title, service and labels; without `started_at` it is when we received it.
    """
    labels = dict(labels or {})
    name = meant(title, 500) or "alert without a title"
    key = meant(dedupe_key, 500) or key_from(
        without_state(name), service, {k: v for k, v in labels.items() if not is_severity(v)}
    )
    drop = set(consumed)
    return Alert(
        title=name,
        service=meant(service, 200) or None,
        severity=severity_of(severity),
        status=status,
        started_at=started_at if started_at is not None else received_at,
        link=link,
        dedupe_key=key,
        labels=storable(labels),
        extra=storable({text(k, 300): v for k, v in payload.items() if k not in drop}),
    )


def pairs_of(value: Any) -> dict[str, str]:
    """A list of `{key, value}` objects as a mapping; what is a placeholder is left out."""
    return {k: v for k, v in labels_of(value).items() if meant(v)} if isinstance(value, list) else {}


def only(value: Any) -> Mapping[str, Any]:
    """The first object of a list, or the object itself; empty where there is none."""
    return next(objects(value), mapping(value))
