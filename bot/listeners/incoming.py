"""What Slack sends, as requests: one function a kind of payload. Everything in a payload is outside text.

What people type is redacted before it is in a request. A request's id is Slack's own where it gives one, so that what
is sent twice has the same.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from bot.flows.requests import Request
from bot.listeners import answers, doing, talking
from bot.listeners.modals import Submitted
from bot.listeners.submissions import Form as SubmittedForm
from integrations.ports import Place

Body = Mapping[str, Any]
Redact = Callable[[str], str]
MAX_ID = 200
MAX_TYPED = 1000
ASSISTANT_EVENTS = ("assistant_thread_started", "assistant_thread_context_changed")
_NAMED = re.compile(r"\b(?=[A-Z0-9]*\d)[A-Z][A-Z0-9]{4,40}\b")
"""An incident's id in a message."""


def of_command(command: Body, now: datetime, redact: Redact) -> Request:
    """`/sitrep …`"""
    return Request(
        id=request_id(command.get("trigger_id")), kind=doing.COMMAND, by=str(command["user_id"]),
        channel=str(command["channel_id"]), received_at=now, words=redact(str(command.get("text", ""))[:MAX_TYPED]),
        response_url=text(command.get("response_url")),
    )  # fmt: skip


def of_click(body: Body, action: Body, now: datetime) -> Request:
    """A button, or a choice in a menu; nobody types in it."""
    action_id, trigger_id = str(action.get("action_id", "")), text(body.get("trigger_id"))
    kind, words, value = f"{doing.CLICK}:{action_id}", "", text(action.get("value")) or ""
    if action_id == answers.PICK_INCIDENT:
        kind, words = doing.PICK, str(action.get("block_id", "")).removeprefix(answers.MENU_OF)
        value = text((action.get("selected_option") or {}).get("value")) or ""
    place = place_of(body)
    return Request(
        id=request_id(f"{trigger_id}:{action_id}" if trigger_id else None), kind=kind, by=place.user,
        channel=place.channel, received_at=now, words=words[:MAX_ID], value=value[:2000], thread_ts=place.thread_ts,
        response_url=place.response_url,
    )  # fmt: skip


def of_form(body: Body, view: Body, form: Submitted | None, now: datetime, redact: Redact) -> Request:
    """A form that came back without errors; None for one that is not ours."""
    fields = {name: redact(given) for name, given in form.fields.items()} if form is not None else {}
    return Request(
        id=request_id(f"{view.get('id')}:{view.get('hash')}"), kind=f"{doing.FORM}:{view.get('callback_id', '')}",
        by=str((body.get("user") or {}).get("id", "")), channel=form.channel if form is not None else "",
        received_at=now, value=SubmittedForm(form.about, fields).encode() if form is not None else "",
    )  # fmt: skip


def of_message(shortcut: Body, now: datetime, redact: Redact) -> Request:
    """The message shortcut; the value is the incident that the message names."""
    words, place = words_of(shortcut.get("message")), place_of(shortcut)
    named = _NAMED.search(words)
    return Request(
        id=request_id(shortcut.get("trigger_id")), kind=doing.MESSAGE, by=place.user, channel=place.channel,
        received_at=now, words=redact(words.strip().partition("\n")[0][:MAX_TYPED]),
        value=named.group() if named else "", response_url=place.response_url,
    )  # fmt: skip


def of_event(event: Body, event_id: str | None, now: datetime, redact: Redact) -> Request | None:
    """What is said to the app; None for what is not for us: other events, bots, edits, ourselves."""
    kind, by, channel = str(event.get("type", "")), text(event.get("user")), text(event.get("channel"))
    thread, words, value = text(event.get("thread_ts")), text(event.get("text")) or "", ""
    if event.get("bot_id") or event.get("subtype"):
        return None
    if kind in ASSISTANT_EVENTS:
        opened = event.get("assistant_thread") or {}
        by, channel, thread = (text(opened.get(name)) for name in ("user_id", "channel_id", "thread_ts"))
        kind, words = talking.ASSISTANT, ""
        value = text((opened.get("context") or {}).get("channel_id")) or ""
    elif kind == "app_home_opened" and event.get("tab", "home") == "home":
        kind, channel, words = talking.HOME, "", ""
    elif kind == "app_mention" and channel is not None and not channel.startswith("D"):
        kind = talking.MENTION
    elif kind == "message" and event.get("channel_type") == "im":
        kind, thread = talking.DIRECT, thread or text(event.get("ts"))
    else:
        return None
    if by is None or channel is None:
        return None
    return Request(
        id=request_id(event_id), kind=kind, by=by, channel=channel, received_at=now, words=redact(words[:MAX_TYPED]),
        value=value[:200], thread_ts=thread,
    )  # fmt: skip


def request_id(given: Any) -> str:
    """Slack's own id, a digest of one that is too long, or a new one."""
    known = text(given)
    if known is None:
        return secrets.token_hex(8)
    return known if len(known) <= MAX_ID else hashlib.sha256(known.encode()).hexdigest()


def words_of(message: Any) -> str:
    """What a message says; a bot's may stand in its first attachment alone."""
    if not isinstance(message, Mapping):
        return ""
    attachments = message.get("attachments")
    first = attachments[0] if isinstance(attachments, list) and attachments else {}
    first = first if isinstance(first, Mapping) else {}
    for value in (message.get("text"), first.get("title"), first.get("fallback"), first.get("text")):
        if (words := text(value)) and words.strip():
            return words.strip()[:2000]
    return ""


def text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def place_of(body: Body) -> Place:
    """Where a click happened."""
    container = body.get("container") or {}
    channel = (body.get("channel") or {}).get("id") or container.get("channel_id") or ""
    return Place(
        channel=str(channel),
        user=str((body.get("user") or {}).get("id", "")),
        response_url=text(body.get("response_url")),
        thread_ts=text(container.get("thread_ts")),
    )
