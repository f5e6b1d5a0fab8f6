"""Alerts of senders without a parser of their own: usual field names, wherever they stand in the payload.

For each thing that an alert has there is a list of names, best first; a name counts less the deeper it stands. What
has no title, or nothing but a title, is no alert.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from integrations.alerts import shape
from integrations.alerts.elsewhere import plain, refuse_what_is_something_else
from integrations.alerts.names import (
    ENDED,
    IDENTITY,
    IDENTITY_ENDS,
    INSIDE,
    LABELS,
    LINK,
    LINK_ENDS,
    LISTS,
    NOT_THE_ALERT,
    OTHER_LINKS,
    OTHER_NAMES,
    OTHER_TIMES,
    SERVICE,
    SEVERITY,
    SEVERITY_ENDS,
    STARTED,
    STARTED_ENDS,
    STATE_KEYS_THAT_ARE_OFTEN_NOT,
    STATUS,
    STATUS_ENDS,
    TITLE,
    TITLE_ENDS,
)
from integrations.errors import NotASignal
from integrations.reading import mapping, moment, objects, text, web_address
from integrations.records import Alert

DEEPEST = 5
NODES = 3000
ALERTS = 10_000
"""Alerts of one payload."""

LABELS_DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Found:
    """One scalar of the payload."""

    key: str
    """The field's name, lower case without punctuation."""
    path: tuple[str, ...]
    value: Any
    beside: bool
    """Inside an object that is about something else than the alert."""

    @property
    def depth(self) -> int:
        return len(self.path) - 1


@dataclass(frozen=True, slots=True)
class Hints:
    """Field names of one sender that go before the usual ones: dotted paths, as in a declared mapping."""

    title: Sequence[str] = ()
    severity: Sequence[str] = ()
    status: Sequence[str] = ()
    started_at: Sequence[str] = ()
    link: Sequence[str] = ()
    service: Sequence[str] = ()
    dedupe_key: Sequence[str] = ()
    labels: Sequence[str] = ()
    always_an_alert: bool = False
    """This sender's webhook carries nothing else, so a title is enough."""
    words: Mapping[str, shape.Status] = field(default_factory=dict)
    """This sender's own words for a state."""


NO_HINTS = Hints()


class GenericParser:
    """Recognises alerts by usual field names, or by a declared mapping (`{"title": "check.name", …}`)."""

    def __init__(self, name: str = "generic", hints: Hints = NO_HINTS) -> None:
        self.name = name
        self._hints = hints

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        """Every alert of a payload: an object, a list of them, or an object that holds such a list."""
        return [recognise(one, received_at, self._hints) for one in each(payload)]


def each(payload: Any) -> list[Mapping[str, Any]]:
    """The objects of a payload that may be alerts, each with what its surroundings say. Raises NotASignal for none."""
    if isinstance(payload, list):
        found = [one for item in payload[:ALERTS] for one in (each(item) if isinstance(item, list | Mapping) else ())]
        if not found:
            raise NotASignal("a list without an object in it is no alert")
        return found
    if not isinstance(payload, Mapping) or not payload:
        raise NotASignal(f"{_what(payload)} is no alert")
    for key, value in payload.items():
        if plain(key) in LISTS and isinstance(value, list):
            items = [item for item in objects(value, ALERTS) if _alert_like(item)]
            if items:
                around = {k: v for k, v in payload.items() if k != key and not isinstance(v, list)}
                return [{**around, **item} for item in items]
    return [payload]


def recognise(payload: Mapping[str, Any], received_at: datetime, hints: Hints = NO_HINTS) -> Alert:
    """One object as an alert. Raises NotASignal with the reason when it is none."""
    refuse_what_is_something_else(payload)
    found = list(_walk(payload))
    labels = _labels(payload, hints)
    title = _title(found, payload, hints)
    if not title:
        raise NotASignal("nothing in it that could be a title (title, name, summary, message): no alert")
    severity, severity_said = _severity(found, labels, payload, hints)
    status = _status(found, payload, hints) or shape.state_in_title(title)
    identity = _first(payload, hints.dedupe_key) or _identity(found)
    started_at = _moment(payload, hints.started_at) or _started(found)
    if not (hints.always_an_alert or severity_said or status or identity or started_at):
        raise NotASignal("it has a title and nothing else of an alert (severity, state, id or time)")
    if status is None and any(
        one.key in ENDED and (at := moment(one.value)) is not None and at <= received_at for one in found
    ):
        status = "resolved"
    return shape.alert(
        title=title,
        status=status or "firing",
        severity=severity,
        started_at=started_at,
        received_at=received_at,
        payload=payload,
        service=_service(found, labels, payload, hints),
        link=_link(found, payload, hints),
        dedupe_key=identity,
        labels=labels,
        consumed=[key for key in payload if payload[key] == title],
    )


# --- finding fields -----------------------------------------------------------------------------------------------


def at_path(payload: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; a name that itself has dots is tried first, a number is a place in a list."""
    if path in payload:
        return payload[path]
    value: Any = payload
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _first(payload: Mapping[str, Any], paths: Sequence[str]) -> str:
    return next((said for path in paths if (said := shape.meant(at_path(payload, path)))), "")


def _moment(payload: Mapping[str, Any], paths: Sequence[str]) -> datetime | None:
    return next((at for path in paths if (at := moment(at_path(payload, path))) is not None), None)


def _walk(payload: Mapping[str, Any]) -> Iterator[Found]:
    """Every scalar, nearest first, at most 3,000 of them and five levels deep."""
    level: list[tuple[tuple[str, ...], Any, bool]] = [((), payload, False)]
    seen = 0
    for _ in range(DEEPEST):
        below: list[tuple[tuple[str, ...], Any, bool]] = []
        for path, value, beside in level:
            pairs = value.items() if isinstance(value, Mapping) else ((path[-1] if path else "", one) for one in value)
            for key, inner in pairs:
                seen += 1
                if seen > NODES:
                    return
                name = text(key, 200)
                if isinstance(inner, Mapping | list):
                    below.append(((*path, name), inner, beside or plain(name) in NOT_THE_ALERT))
                elif isinstance(value, Mapping):
                    yield Found(plain(name), (*path, name), inner, beside)
        level = below


def _candidates(
    found: Sequence[Found], names: Sequence[str], ends: Sequence[str] = (), never: re.Pattern[str] | None = None
) -> list[Found]:
    """Scalars by these names, best first: an earlier name wins, but each level of depth costs three places.

    After them those whose name ends in one of `ends`, but for those that `never` describes.
    """
    rank = {name: at for at, name in enumerate(names)}
    exact = sorted((one for one in found if one.key in rank), key=lambda one: rank[one.key] + 3 * one.depth)
    alike = [
        (next(at for at, end in enumerate(ends) if one.key.endswith(end)) + 3 * one.depth, one)
        for one in found
        if one.key not in rank and one.key.endswith(tuple(ends)) and not (never and never.search(one.key))
    ]
    return exact + [one for _, one in sorted(alike, key=lambda pair: pair[0])]


def _identity(found: Sequence[Found]) -> str:
    near = (one for one in _candidates(found, IDENTITY, IDENTITY_ENDS, OTHER_NAMES) if not one.beside)
    return next((said for one in near if (said := shape.meant(one.value, 500))), "")


def _title(found: Sequence[Found], payload: Mapping[str, Any], hints: Hints) -> str:
    said = _first(payload, hints.title)
    if said:
        return said
    annotations = mapping(payload.get("annotations")) or mapping(payload.get("commonAnnotations"))
    labels = mapping(payload.get("labels")) or mapping(payload.get("commonLabels"))
    near = [one for one in _candidates(found, TITLE, TITLE_ENDS, OTHER_NAMES) if not one.beside]
    direct = [one for one in near if one.depth == 0 and one.key in TITLE[: TITLE.index("name")]]
    for said in (
        *(shape.meant(one.value, 500) for one in direct),
        shape.meant(annotations.get("summary"), 500),
        shape.meant(labels.get("alertname"), 500),
        *(shape.meant(one.value, 500) for one in near),
    ):
        if isinstance(said, str) and said and not said.isdigit() and web_address(said) is None:
            return said.splitlines()[0].strip() or said
    return ""


def _severity(
    found: Sequence[Found], labels: Mapping[str, str], payload: Mapping[str, Any], hints: Hints
) -> tuple[Any, bool]:
    said = _first(payload, hints.severity)
    if said:
        return said, True
    lower = {key.lower(): value for key, value in labels.items()}
    for name in ("severity", "level", "priority"):
        if shape.meant(lower.get(name), 60):
            return lower[name], True
    fallback: Any = None
    for one in _candidates(found, SEVERITY, SEVERITY_ENDS):
        value = shape.meant(one.value, 60)
        if not value or "\n" in value or len(value) > 30:
            continue
        if one.key == "priority" and value.isdigit():
            value = f"P{value}"
        if shape.is_severity(value):
            return value, True
        if (
            not one.beside
            and shape.status_of(_state_word(one)) is None
            and not (one.key == "alerttype" and value.isdigit())
        ):
            fallback = fallback or value
    for one in _candidates(found, STATUS, STATUS_ENDS):  # some senders put it there: "status": "critical"
        if not one.beside and shape.is_severity(one.value) and shape.severity_of(one.value) != "info":
            return one.value, True
    return fallback, fallback is not None


def _status(found: Sequence[Found], payload: Mapping[str, Any], hints: Hints) -> shape.Status | None:
    words = {shape.word(key): value for key, value in hints.words.items()}
    for path in hints.status:
        hinted = shape.word(at_path(payload, path))
        if (meaning := words.get(hinted) or shape.status_of(hinted)) is not None:
            return meaning
    for one in found:
        if one.beside or not isinstance(one.value, bool):
            continue
        if one.key in ("resolved", "isresolved", "recovered", "closed", "isclosed"):
            return "resolved" if one.value else "firing"
        if one.key in ("firing", "isfiring", "active", "isactive", "triggered", "open", "isopen"):
            return "firing" if one.value else "resolved"
    for one in _candidates(found, STATUS, STATUS_ENDS):
        said = words.get(shape.word(one.value)) or shape.status_of(_state_word(one))
        if said is not None and not one.beside:
            return said
    return None


def _state_word(one: Found) -> str:
    """The word of a state field; in `incident.resolved` or `ALERT_CLOSED` the last one counts."""
    said = text(one.value, 100)
    if one.key not in STATE_KEYS_THAT_ARE_OFTEN_NOT or shape.status_of(said) is not None:
        return said
    parts = re.split(r"[\W_]+", said)
    return parts[-1] if len(parts) <= 4 else ""


def _started(found: Sequence[Found]) -> datetime | None:
    near = [one for one in _candidates(found, STARTED, STARTED_ENDS, OTHER_TIMES) if not one.beside]
    precise = (at for one in near if (at := moment(one.value)) is not None and not _only_a_day(one.value))
    return next(precise, next((at for one in near if (at := moment(one.value)) is not None), None))


def _only_a_day(value: Any) -> bool:
    return isinstance(value, str) and len(value.strip()) <= 10 and "-" in value


def _link(found: Sequence[Found], payload: Mapping[str, Any], hints: Hints) -> str | None:
    for path in hints.link:
        if (link := web_address(at_path(payload, path))) is not None:
            return link
    near = [one for one in _candidates(found, LINK, LINK_ENDS, OTHER_LINKS) if not one.beside]
    return next((link for one in near if (link := web_address(one.value)) is not None), None)


def _service(found: Sequence[Found], labels: Mapping[str, str], payload: Mapping[str, Any], hints: Hints) -> str | None:
    said = _first(payload, hints.service)
    if said:
        return said
    for key in payload:
        if plain(key) in ("service", "application", "app", "component"):
            inner = mapping(payload[key])
            for name in ("name", "summary", "display_name", "displayName", "id"):
                if shape.meant(inner.get(name), 200):
                    return shape.meant(inner.get(name), 200)
    near = [one for one in found if one.key in SERVICE and not one.beside and one.depth <= 2]
    near.sort(key=lambda one: 4 * SERVICE.index(one.key) + one.depth)  # `service` further in before `app` up front
    direct = next((said for one in near if (said := shape.meant(one.value, 200))), None)
    return direct or shape.service_in(labels)


def _labels(payload: Mapping[str, Any], hints: Hints) -> dict[str, str]:
    """Of the object itself, else of the alert inside it (`data.issue.labels`)."""
    values = [at_path(payload, path) for path in hints.labels]
    level: list[Mapping[str, Any]] = [payload]
    for _ in range(LABELS_DEEPEST):
        for name in LABELS:
            values += [
                value
                for one in level
                for key, value in one.items()
                if plain(key) == name and isinstance(value, Mapping | list | str)
            ]
        found = {key: value for key, value in shape.labels_of(*values).items() if shape.meant(value)}
        if found:
            return found
        level = [mapping(value) for one in level for key, value in one.items() if plain(key) in INSIDE]
    return {}


def _alert_like(item: Mapping[str, Any]) -> bool:
    """Whether an object in a list has a title of its own, or the labels of an alert."""
    keys = {plain(key) for key in item}
    titled = keys & {*TITLE[: TITLE.index("name") + 1], "message", "msg"}
    return bool(titled and keys & {*SEVERITY, *STATUS, *STARTED, *IDENTITY}) or bool({"labels", "annotations"} & keys)


def _what(payload: Any) -> str:
    if payload is None:
        return "nothing"
    return {dict: "an empty object", str: "a text", list: "a list", bool: "true or false"}.get(
        type(payload), "a number"
    )
