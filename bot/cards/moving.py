"""A card that moves to another channel, in the rows of `posts`: what stood becomes a pointer, the card goes out anew.

A message of ours is known by its mark. The message that stands keeps its mark and goes to a row of its own, which edits
it to a line that says where the card is; the card's row gets the next mark, so that it is posted once in the new
channel whatever dies in between. Whoever was sending it meanwhile finds its message by the mark (`holder`).
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from bot.cards import actions, phrases, words
from bot.cards.render import PARTS, Part
from bot.cards.state import CardState
from bot.store import Row, Transaction
from bot.trust.neutralise import LinkPolicy, mrkdwn, mrkdwn_link, mrkdwn_object, plain_text

NEVER_PERMITTED = datetime(1970, 1, 1, tzinfo=UTC)
MOVED = "moved"
_GENERATION = re.compile(r":(?:card|reply1|reply2|thread|narrowed):(\d{1,6})\Z")


def move_posts(tx: Transaction, workspace_id: str, target: str, channel: str, at: datetime) -> bool:
    """Everything of a card goes to this channel; whether there was something to move. The state that stands is
    permitted for the readers of the new channel before it is sent."""
    values = {"w": workspace_id, "t": target}
    rows = tx.query("SELECT * FROM posts WHERE workspace_id = :w AND target = :t AND kind = 'card'", values)
    card = next((row for row in rows if row["part"] == "card"), None)
    if card is None or card["channel"] == channel:
        return False
    before = CardState.model_validate_json(card["state"])
    version = int(card["version"]) + 1
    after = before.model_copy(update={"announced": None, "replies": (), "narrowed": False, "version": version})
    for row in rows:
        part: Part = row["part"]
        if part not in PARTS:
            continue
        number = generation_of(row["mark"])
        if row["ts"] is not None or row["status"] == "sending":
            tx.upsert("posts", [_pointer(row, number, before, channel, card["ts"], at)])
        tx.upsert(
            "posts",
            [{
                "workspace_id": workspace_id, "target": target, "part": part, "version": version,
                "state": after.model_dump_json() if part == "card" else "", "channel": channel,
                "mark": mark_of(workspace_id, target, part, number + 1), "permitted_at": NEVER_PERMITTED,
                "status": "wanted", "sent_version": 0, "ts": None, "attempts": 0, "next_attempt_at": at,
                "last_error": None, "failing_since_at": None, "created_at": at, "updated_at": at,
            }],
        )  # fmt: skip
    return True


def holder(tx: Transaction, row: Row) -> tuple[str, str]:
    """Target and part of the row that holds this row's message now: another one where the card moved meanwhile."""
    target, part = str(row["target"]), str(row["part"])
    values = {"w": row["workspace_id"], "t": target, "p": part, "m": row["mark"]}
    kept = tx.query(
        "SELECT 1 AS n FROM posts WHERE workspace_id = :w AND target = :t AND part = :p AND mark = :m", values
    )
    return (target, part) if kept else (_moved_target(target, generation_of(row["mark"])), part)


def generation_of(mark: str) -> int:
    """How often the card has moved, plus one: 1 is the card where it was first posted."""
    found = _GENERATION.search(mark)
    return int(found[1]) if found else 1


def placed(card: Row | None, channel: str) -> tuple[str, int, bool]:
    """The channel and the generation of what is written for a card, given the card's own row; and whether the writer
    still meant a channel that the card has left."""
    if card is None or card["kind"] != "card" or (number := generation_of(card["mark"])) == 1:
        return channel, 1, False
    return str(card["channel"]), number, card["channel"] != channel


def mark_of(workspace_id: str, target: str, part: str, number: int = 1) -> str:
    """The key of a message: the same for ever, so that it is found again and posted once."""
    return f"sitrep:{workspace_id}:{target}:{part}" + (f":{number}" if number > 1 else "")


def _moved_target(target: str, number: int) -> str:
    return f"{MOVED}:{number}:{target}"


def _pointer(
    row: Row, number: int, before: CardState, channel: str, thread_ts: str | None, at: datetime
) -> dict[str, Any]:
    """The row that turns the message that stands into a pointer; in the thread, into the fixed sentence."""
    blocks: list[dict[str, Any]] = []
    if row["part"] == "card":
        text = _told(before, channel)
        value = actions.ActionValue(before.incident.id, before.version).encode()
        button = {
            "type": "button", "action_id": actions.OWN_VIEW, "text": plain_text(words.SHOW_MINE, 75), "value": value,
        }  # fmt: skip
        blocks = [
            {"type": "section", "text": mrkdwn_object(text)}, {"type": "actions", "elements": [button]},
        ]  # fmt: skip
    else:
        text = words.MOVED_AWAY
        blocks = [{"type": "section", "text": mrkdwn_object(text)}]
    kept = ("workspace_id", "part", "channel", "mark", "status", "ts", "sent_version", "attempts", "created_at",
            "first_sent_at", "sent_at")  # fmt: skip
    said = {"text": text, "blocks": blocks, "thread_ts": None if row["part"] == "card" else thread_ts}
    status = "sending" if row["ts"] is None else "wanted"
    return {name: row[name] for name in kept} | {
        "target": _moved_target(row["target"], number),
        "kind": "message",
        "version": int(row["version"]) + 1,
        "state": json.dumps(said, ensure_ascii=False),
        "permitted_at": at,
        "status": status,
        "next_attempt_at": at,
        "updated_at": at,
    }


def _told(before: CardState, channel: str) -> str:
    """The fallback fields, which are for everybody, and where the card is."""
    incident = before.incident
    number = f" (#{incident.number})" if incident.number is not None else ""
    since = words.clock_minute(incident.triggered_at)
    on_call = f", on-call {mrkdwn(incident.on_call, 80)}" if incident.on_call else ""
    name = mrkdwn_link(incident.url, f"{incident.id}{number}", LinkPolicy(before.links))
    return f"*{phrases.severity(before)}* {name}, since {since}{on_call}. Its card is in <#{channel}> now."
