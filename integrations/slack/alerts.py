"""A monitoring bot's message in Slack as an alert: what the usual tools write there, read without trusting any of it.

Alertmanager writes `[FIRING:2] HighErrorRate (checkout)` and a new message `[RESOLVED] …`; Grafana, Datadog, Sentry and
CloudWatch's bots write a title, a colour and fields in an attachment; some edit their first message. So the same alert
is known by its title without state and numbers, in its channel, and not by the message.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from integrations.reading import mapping, objects, text, web_address
from integrations.records import Alert

Status = Literal["firing", "acknowledged", "resolved"]
MAX_TITLE = 200
_GOOD = frozenset({"good", "2eb886", "36a64f", "2eb67d", "00ff00", "008000", "2ecc71", "28a745"})
"""Colours that say that it is over."""
_ENDED = re.compile(
    r"\[?\b(resolved|recovered|recovery|closed|back to normal|no longer|is ok|ok:|fixed|cleared)\b", re.IGNORECASE
)
_STATE = re.compile(
    r"^(?::[a-z0-9_+-]{1,60}:\s*)*[^\w\[:]*(?:\[[A-Z]{2,12}(?::\d+)?\]|(?:firing|resolved|triggered|alerting|alarm|recovered"
    r"|ok|warn(?:ing)?|critical|error|no ?data|closed|new)\s*[:|–-])[\s:|–-]*",
    re.IGNORECASE,
)  # fmt: skip
"""`[FIRING:2]`, `:red_circle: Triggered:`, `ALARM: …`: the state in front of a title."""
_SEVERITY = re.compile(r"\b(critical|fatal|error|major|warning|minor|info|sev-?[1-5]|p[1-5])\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*%?")
_MARKUP = re.compile(r"<(?:https?://[^|>]{1,2000}\|)?([^<>|]{0,500})>")
_LINK = re.compile(r"<(https?://[^|>\s]{1,2000})(?:\|[^>]*)?>")
_FIELDS = {"service": "service", "app": "service", "application": "service", "job": "service", "severity": "severity",
           "priority": "severity", "level": "severity"}  # fmt: skip


def is_from_bot(message: Mapping[str, Any]) -> bool:
    """Whether an app wrote it: some bot messages have no subtype, some no user."""
    return bool(message.get("bot_id") or message.get("bot_profile") or message.get("subtype") == "bot_message")


def alert_of(message: Mapping[str, Any], channel: str, received_at: datetime) -> Alert | None:
    """The alert that a bot's message tells; None for a message without words."""
    lines = [line for line in told(message) if line]
    if not lines:
        return None
    title, before = lines[0][:MAX_TITLE], ""
    while before != title:  # "[FIRING:1] Critical: …" says its state twice
        before, title = title, _STATE.sub("", title, count=1).strip() or title
    fields = _fields(message)
    said = "\n".join(lines)
    found = _SEVERITY.search(fields.get("severity", "")) or _SEVERITY.search(said)
    service = fields.get("service") or None
    known = f"{channel}\n{_NUMBER.sub('#', title).casefold()}\n{service or ''}"
    return Alert(
        title=title,
        service=service,
        severity=found[1].lower() if found else "warning",
        status=_status(message, lines[0]),
        started_at=_at(message.get("ts")) or received_at,
        link=_link(message),
        dedupe_key=hashlib.sha256(known.encode("utf-8", "replace")).hexdigest()[:32],
        labels={name: value for name, value in fields.items() if value},
        extra={"text": said[:2000], "channel": channel},
    )


def told(message: Mapping[str, Any]) -> Iterator[str]:
    """Its lines in the order in which a person reads them, without markup."""
    for attachment in objects(message.get("attachments"), 20):
        title = attachment.get("title") or attachment.get("fallback") or attachment.get("pretext")
        yield from _lines(title)
    yield from _blocks(message.get("blocks"))
    yield from _lines(message.get("text"))
    for attachment in objects(message.get("attachments"), 20):
        yield from _blocks(attachment.get("blocks"))
        yield from _lines(attachment.get("text"))


def _blocks(blocks: Any) -> Iterator[str]:
    for block in objects(blocks, 50):
        yield from _lines(mapping(block.get("text")).get("text"))
        for field in objects(block.get("fields"), 20):
            yield from _lines(field.get("text"))


def _lines(value: Any) -> Iterator[str]:
    for line in text(value, 3000).splitlines()[:40]:
        yield _MARKUP.sub(lambda found: found[1], line).replace("*", "").replace("`", "").strip()[:500]


def _fields(message: Mapping[str, Any]) -> dict[str, str]:
    """What fields and `name: value` lines say of service and severity."""
    found: dict[str, str] = {}
    for attachment in objects(message.get("attachments"), 20):
        for field in objects(attachment.get("fields"), 40):
            name = _FIELDS.get(text(field.get("title"), 60).strip().casefold())
            if name is not None:
                found.setdefault(name, text(field.get("value"), 120).strip())
    for line in told(message):
        name, colon, value = line.partition(":")
        if colon and (known := _FIELDS.get(name.strip().casefold())) and value.strip():
            found.setdefault(known, value.strip()[:120])
    return found


def _status(message: Mapping[str, Any], first: str) -> Status:
    if _ENDED.search(first):
        return "resolved"
    colours = [text(one.get("color"), 20).lstrip("#").lower() for one in objects(message.get("attachments"), 20)]
    if colours and all(colour in _GOOD for colour in colours):
        return "resolved"
    return "acknowledged" if re.search(r"\backnowledged\b", first, re.IGNORECASE) else "firing"


def _link(message: Mapping[str, Any]) -> str | None:
    for attachment in objects(message.get("attachments"), 20):
        if found := web_address(attachment.get("title_link")) or web_address(attachment.get("from_url")):
            return found
    found_in_text = _LINK.search(text(message.get("text"), 3000))
    return web_address(found_in_text[1]) if found_in_text else None


def _at(ts: Any) -> datetime | None:
    """A Slack timestamp, `1700000000.000100`."""
    if not isinstance(ts, str) or not re.fullmatch(r"\d{9,11}\.\d{1,6}", ts):
        return None
    return datetime.fromtimestamp(float(ts), UTC)
