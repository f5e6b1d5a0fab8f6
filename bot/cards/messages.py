"""What a row of `posts` says: the message in the form that its workspace takes. Pure.

A message that Slack refused is tried in the next simpler form; which one was refused stands in the row's last error.
"""

from __future__ import annotations

import json
from typing import Any

from bot.cards import words
from bot.cards.render import Form, RenderedPart, render
from bot.cards.state import CardState
from bot.store import Row
from bot.trust.neutralise import plain_text
from integrations.ports import Message

MINIMAL = "refused in every form"
"""A row's last error when its message goes out as one sentence."""
SIMPLER = "refused, going out in a simpler form"


def message_of(row: Row, card: Row, form: Form) -> Message | None:
    """The message of a part whose card is `card`, a message's own row otherwise; None when it has nothing to say."""
    minimal = row["last_error"] == MINIMAL
    if row["kind"] == "message":
        content = json.loads(row["state"])
        blocks = content["simpler"] if row["last_error"] == SIMPLER else content["blocks"]
        blocks = [_text_block(content["text"])] if minimal else blocks
        part, thread_ts = RenderedPart(content["text"], blocks), content.get("thread_ts")
    else:
        state = CardState.model_validate_json(card["state"])
        drawn = render(state, "minimal" if minimal else form).part(row["part"])
        if drawn is None and row["ts"] is None and row["status"] != "sending":
            return None
        # What stands in the thread and may no longer be shown is replaced, not left standing.
        part = drawn or RenderedPart(words.NOT_SHOWN_HERE, [_text_block(words.NOT_SHOWN_HERE)])
        thread_ts = None if row["part"] == "card" else card["ts"]
    return Message(
        channel=row["channel"], text=part.text, blocks=part.blocks, mark=row["mark"], thread_ts=thread_ts,
        broadcast=part.broadcast,
    )  # fmt: skip


def simpler_form(row: Row) -> str:
    """What comes after a form that was refused: a message's simpler blocks if it has any, else one sentence."""
    tried = row["kind"] != "message" or row["last_error"] == SIMPLER
    return MINIMAL if tried or not json.loads(row["state"]).get("simpler") else SIMPLER


def _text_block(text: str) -> dict[str, Any]:
    return {"type": "section", "text": plain_text(text, 2900)}
