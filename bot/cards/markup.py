"""What both forms share: lines as mrkdwn, the small grey line, buttons."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from bot.cards import words
from bot.cards.buttons import Button
from bot.cards.runs import Line, Run
from bot.trust.neutralise import (
    LinkPolicy,
    escape,
    mrkdwn,
    mrkdwn_code,
    mrkdwn_link,
    mrkdwn_object,
    plain_text,
    units,
)

Block = dict[str, Any]
Times = Literal["local", "minute", "second"]
"""A time as Slack's date token, which each reader sees in local time; as "14:02 UTC"; as "14:02:10 UTC"."""

MAX_LINE_UNITS = 2800
"""Text of one section or mrkdwn object; Slack allows 3,000."""


def markup(line: Line, policy: LinkPolicy, began: datetime, *, times: Times) -> str:
    """The line as mrkdwn; times as `times` says."""
    return "".join(_marked_up(run, policy, began, times) for run in line).strip()


def _marked_up(run: Run, policy: LinkPolicy, began: datetime, times: Times) -> str:
    if run.kind == "mark":
        return mrkdwn_link(run.url, run.text, policy)
    if run.kind == "gap":
        return "  "
    if run.at is not None:
        return _moment(run.at, run.kind == "ago", began, times)
    if run.kind == "code":
        return mrkdwn_code(run.text, run.limit)
    shown = mrkdwn(run.text, run.limit, edges=run.kind == "text")
    sign = {"bold": "*", "strike": "~"}.get(run.kind, "")
    return f"{sign}{shown}{sign}" if shown else ""


def _moment(at: datetime, ago: bool, began: datetime, times: Times) -> str:
    if times != "local":
        shown = words.clock_minute if times == "minute" else words.clock_second
        return "" if ago else shown(at, began)
    fallback = escape(words.clock_second(at, began))
    if ago:
        return f" (<!date^{int(at.timestamp())}^{{ago}}|{fallback}>)"
    return f"<!date^{int(at.timestamp())}^{{time_secs}}|{fallback}>"


def pieces(line: Line, policy: LinkPolicy, began: datetime, *, times: Times) -> list[str]:
    """The line as mrkdwn in texts of at most MAX_LINE_UNITS: cut between runs, so that no link or entity is cut."""
    made, current = [], ""
    for run in line:
        shown = _marked_up(run, policy, began, times)
        if units(current + shown) > MAX_LINE_UNITS:
            made.append(current)
            current = ""
        current += shown
    return [piece.strip() for piece in [*made, current] if piece.strip()]


def context_block(line: Line, policy: LinkPolicy, began: datetime, *, times: Times) -> list[Block]:
    """Small grey text. mrkdwn, because a context takes no rich text."""
    texts = pieces(line, policy, began, times=times)[:2]
    return [{"type": "context", "elements": [mrkdwn_object(one) for one in texts]}] if texts else []


def button(one: Button) -> Block:
    """A button of ours; the confirmation is Slack's own dialog."""
    made: Block = {
        "type": "button",
        "action_id": one.action,
        "text": plain_text(one.label, 75),
        "value": one.value,
    }
    if one.primary:
        made["style"] = "primary"
    if one.confirm is not None:
        title, question, agree = one.confirm
        made["confirm"] = {
            "title": plain_text(title, 100),
            "text": plain_text(question, 300),
            "confirm": plain_text(agree, 30),
            "deny": plain_text("Not now", 30),
        }
    return made
