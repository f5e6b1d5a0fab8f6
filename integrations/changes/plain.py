"""The three-field JSON of a change, `{"service", "what", "at"}`, and PagerDuty's change-event format, so that a
pipeline that sends one there can send the same here.

Source of the second: https://developer.pagerduty.com/docs/send-change-events.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.asking import labels_in_words
from integrations.changes.shape import change, commit_in, first_moment, first_text, key_of, kind_of, last_part
from integrations.errors import NotASignal
from integrations.reading import mapping, objects, text, web_address
from integrations.records import ChangeEvent

_SERVICE = ("service", "app", "application", "component")
_WHAT = ("what", "summary", "title", "message", "description")
_AT = ("at", "time", "timestamp", "changed_at", "date")


def read(
    source: str, payload: Mapping[str, Any], received_at: datetime, *, told_at: datetime | None = None,
    must_say_when: bool = False,
) -> ChangeEvent:  # fmt: skip
    """Raises NotASignal with the field that is missing.

    A change that does not say when counts from `told_at`, the time that its signature covers, else from when it came;
    then what is said again in another minute is another change. `must_say_when`: where a signature covers no time,
    only a time of its own tells a change from a repeat.
    """
    if mapping(payload.get("payload")).get("summary"):
        return _pagerduty(source, payload, received_at, told_at, must_say_when)
    service = first_text(payload, *_SERVICE, limit=200)
    version = first_text(payload, "version", "commit", "sha", limit=100)
    what = first_text(payload, *_WHAT)
    if not service:
        raise NotASignal('no service: send {"service": "checkout-api", "what": "deploy a1b2c3d", "at": "<ISO time>"}')
    if not what and not version:
        raise NotASignal('nothing says what changed: add "what" or "version"')
    at = first_moment(payload, *_AT) or told_at
    _timed(at, must_say_when)
    own_id = text(payload.get("id"), 200)
    return change(
        source=source,
        external_id=f"told/{own_id}" if own_id else f"told/{key_of(service, what, version, _when(at, received_at))}",
        kind=kind_of(payload.get("kind"), what, "deploy" if not what else ""),
        service=service,
        at=at,
        received_at=received_at,
        summary=_summary(what, version, service),
        said=payload,
        commit=commit_in(payload.get("commit"), payload.get("sha"), version, what),
    )


def _summary(what: str, version: str, service: str) -> str:
    words = what or f"Deploy {version}"
    words = words[:1].upper() + words[1:]
    if what and version and version not in what:
        words += f" ({version})"
    return words if service.casefold() in words.casefold() else f"{words}: {service}"


def _pagerduty(
    source: str, payload: Mapping[str, Any], received_at: datetime, told_at: datetime | None, must_say_when: bool
) -> ChangeEvent:
    inner = mapping(payload.get("payload"))
    details = mapping(inner.get("custom_details"))
    links = [href for one in objects(payload.get("links"), 20) if (href := web_address(one.get("href")))]
    at = first_moment(inner, "timestamp") or told_at
    _timed(at, must_say_when)
    summary = text(inner.get("summary"), 500)
    service = first_text(details, *_SERVICE, limit=200) or last_part(inner.get("source"))
    return change(
        source=source,
        external_id=f"told/{key_of(service, summary, _when(at, received_at))}",
        kind=kind_of(details.get("kind"), summary, "deploy"),
        service=service or None,
        at=at,
        received_at=received_at,
        summary=summary,
        said={"detail": labels_in_words(details), **details},
        url=links[0] if links else None,
        commit=commit_in(details.get("commit"), details.get("sha"), details.get("revision"), summary),
    )


def _when(at: datetime | None, received_at: datetime) -> str:
    """The time in a change's identity: its own, else the minute in which it came."""
    return (at or received_at.replace(second=0, microsecond=0)).isoformat()


def _timed(at: datetime | None, must_say_when: bool) -> None:
    if at is None and must_say_when:
        raise NotASignal('no time: add "at", or sign one with X-Signature-Timestamp, so that a repeat can be told')
