"""Each published limit of Slack is noticed when a message breaks it, and a message that breaks none is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from bot.cards.limits import violations
from bot.cards.render import render
from bot.cards.samples import with_summary

Message = list[dict[str, Any]]


def block(message: Message, kind: str) -> dict[str, Any]:
    every = [*message, *(child for one in message for child in one.get("child_blocks", ()))]
    return next(one for one in every if one["type"] == kind)


def edit(message: Message, kind: str, **changes: Any) -> None:
    block(message, kind).update(changes)


def button(message: Message) -> dict[str, Any]:
    return block(message, "actions")["elements"][0]


def element(message: Message) -> dict[str, Any]:
    return block(message, "rich_text")["elements"][0]["elements"][0]


PLAIN = {"type": "plain_text", "text": "x", "emoji": False}
LONG = {"type": "plain_text", "text": "x" * 3001}
ROW = [{"type": "raw_text", "text": "x"}]

BROKEN: dict[str, Callable[[Message], Any]] = {
    "51 blocks": lambda m: m.extend([{"type": "divider"}] * 51),
    "no blocks": lambda m: m.clear(),
    "an unknown block": lambda m: m.append({"type": "carousel"}),
    "a header of 151": lambda m: edit(m, "header", text=PLAIN | {"text": "x" * 151}),
    "a header in mrkdwn": lambda m: edit(m, "header", text={"type": "mrkdwn", "text": "x"}),
    "an empty header": lambda m: edit(m, "header", text=PLAIN | {"text": ""}),
    "a section of 3001": lambda m: edit(m, "section", text=LONG),
    "a section without text": lambda m: block(m, "section").pop("text"),
    "11 context elements": lambda m: edit(m, "context", elements=[PLAIN] * 11),
    "no context elements": lambda m: edit(m, "context", elements=[]),
    "a context element of 3001": lambda m: edit(m, "context", elements=[LONG]),
    "26 buttons": lambda m: edit(m, "actions", elements=[button(m) | {"action_id": f"a{n}"} for n in range(26)]),
    "the same action twice": lambda m: edit(m, "actions", elements=[button(m)] * 2),
    "a button label of 76": lambda m: button(m).update(text=PLAIN | {"text": "x" * 76}),
    "a button value of 2001": lambda m: button(m).update(value="x" * 2001),
    "a button style": lambda m: button(m).update(style="loud"),
    "an action id of 256": lambda m: button(m).update(action_id="x" * 256),
    "a confirmation of 301": lambda m: button(m).update(
        confirm={"title": PLAIN, "text": PLAIN | {"text": "x" * 301}, "confirm": PLAIN, "deny": PLAIN}
    ),
    "a block id of 256": lambda m: edit(m, "header", block_id="x" * 256),
    "a block id twice": lambda m: [one.update(block_id="same") for one in m[:2]],
    "a block id twice, once inside": lambda m: (edit(m, "header", block_id="s"), edit(m, "table", block_id="s")),
    "a container title of 151": lambda m: edit(m, "container", title=PLAIN | {"text": "x" * 151}),
    "11 children": lambda m: edit(m, "container", child_blocks=[{"type": "divider"}] * 11),
    "a child that is no child": lambda m: edit(m, "container", child_blocks=[{"type": "rich_text", "elements": []}]),
    "collapsed for ever": lambda m: edit(m, "container", is_collapsible=False),
    "two tables": lambda m: m.append(copy.deepcopy(block(m, "table"))),
    "101 rows": lambda m: edit(m, "table", rows=[ROW] * 101),
    "21 columns": lambda m: edit(m, "table", rows=[ROW * 21]),
    "rows of two lengths": lambda m: edit(m, "table", rows=[ROW, ROW * 2]),
    "10,001 characters in cells": lambda m: edit(m, "table", rows=[[{"type": "raw_text", "text": "x" * 2500}] * 5]),
    "an empty cell": lambda m: edit(m, "table", rows=[[{"type": "raw_text", "text": ""}]]),
    "a feedback value of 2001": lambda m: block(m, "context_actions")["elements"][0]["positive_button"].update(
        value="x" * 2001
    ),
    "six context actions": lambda m: edit(m, "context_actions", elements=block(m, "context_actions")["elements"] * 6),
    "an empty rich text": lambda m: edit(m, "rich_text", elements=[]),
    "an empty rich section": lambda m: edit(m, "rich_text", elements=[{"type": "rich_text_section", "elements": []}]),
    "an empty rich element": lambda m: element(m).update(text=""),
    "a link of 3001": lambda m: element(m).update(type="link", url="https://x/" + "x" * 3000),
    "an unknown rich element": lambda m: element(m).update(type="poll"),
    "a date without a time": lambda m: element(m).update(type="date", format="{ago}"),
}


def message() -> Message:
    return copy.deepcopy(render(with_summary(), "modern").blocks)


def test_a_whole_card_breaks_nothing() -> None:
    assert violations("SEV2", message()) == []


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_limit_is_named(name: str) -> None:
    blocks = message()
    BROKEN[name](blocks)
    assert violations("SEV2", blocks)


@pytest.mark.parametrize("text", ["", "x" * 4001])
def test_the_text_is_never_empty_nor_endless(text: str) -> None:
    assert violations(text, message())


def test_characters_are_counted_as_slacks_clients_do() -> None:
    blocks = message()
    edit(blocks, "header", text=PLAIN | {"text": "𝕏" * 76})
    assert violations("SEV2", blocks)
