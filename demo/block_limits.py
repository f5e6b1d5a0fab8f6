"""The limits of Block Kit that the local Slack does not know, checked as Slack's API would (docs: reference/blocks)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

CLASSIC = frozenset({"header", "section", "context", "actions", "divider", "image", "input"})
"""Block kinds that every workspace shows; newer ones may be answered with `invalid_blocks`."""


def problems(blocks: Sequence[Mapping[str, Any]]) -> list[str]:
    """What Slack would refuse, each with its place, in the words of `response_metadata.messages`."""
    return list(_problems(blocks))


def newer_kinds(blocks: Sequence[Mapping[str, Any]]) -> set[str]:
    """Kinds of block here that are not classic."""
    return {str(one.get("type")) for one in blocks} - CLASSIC


def _problems(blocks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(blocks) > 50:
        yield f"[ERROR] no more than 50 items allowed [json-pointer:/blocks], found {len(blocks)}"
    seen: set[str] = set()
    for index, block in enumerate(blocks):
        where = f"/blocks/{index}"
        identifier = block.get("block_id")
        if identifier is not None:
            if identifier in seen:
                yield f"[ERROR] `block_id` {identifier!r} already exists [json-pointer:{where}/block_id]"
            if len(identifier) > 255:
                yield f"[ERROR] must be no more than 255 characters [json-pointer:{where}/block_id]"
            seen.add(identifier)
        yield from _block(block, where)


def _block(block: Mapping[str, Any], where: str) -> Iterator[str]:
    kind = block.get("type")
    if kind == "header":
        if block.get("text", {}).get("type") != "plain_text":
            yield f"[ERROR] must be plain_text [json-pointer:{where}/text]"
        yield from _text(block.get("text"), 150, f"{where}/text")
    elif kind == "section":
        if not block.get("text") and not block.get("fields"):
            yield f"[ERROR] missing required field: text or fields [json-pointer:{where}]"
        if block.get("text"):
            yield from _text(block["text"], 3000, f"{where}/text")
        fields = block.get("fields", [])
        if len(fields) > 10:
            yield f"[ERROR] no more than 10 items allowed [json-pointer:{where}/fields]"
        for number, field in enumerate(fields):
            yield from _text(field, 2000, f"{where}/fields/{number}")
    elif kind == "context":
        elements = block.get("elements", [])
        if not 1 <= len(elements) <= 10:
            yield f"[ERROR] 1 to 10 items allowed [json-pointer:{where}/elements]"
        for number, element in enumerate(elements):
            if element.get("type") in ("mrkdwn", "plain_text"):
                yield from _text(element, 3000, f"{where}/elements/{number}")
    elif kind == "actions":
        yield from _actions(block.get("elements", []), where)
    elif kind == "image" and not block.get("alt_text"):
        yield f"[ERROR] missing required field: alt_text [json-pointer:{where}]"


def _actions(elements: Sequence[Mapping[str, Any]], where: str) -> Iterator[str]:
    if not 1 <= len(elements) <= 25:
        yield f"[ERROR] 1 to 25 items allowed [json-pointer:{where}/elements]"
    seen: set[str] = set()
    for number, element in enumerate(elements):
        here = f"{where}/elements/{number}"
        action = element.get("action_id")
        if action is not None and action in seen:
            yield f"[ERROR] `action_id` {action!r} already exists [json-pointer:{here}]"
        seen.add(str(action))
        if element.get("type") == "button":
            yield from _text(element.get("text"), 75, f"{here}/text")
            if len(str(element.get("value", ""))) > 2000:
                yield f"[ERROR] must be no more than 2000 characters [json-pointer:{here}/value]"


def _text(text: Any, limit: int, where: str) -> Iterator[str]:
    length = len(text.get("text", "")) if isinstance(text, Mapping) else 0
    if not length:
        yield f"[ERROR] must be more than 0 characters [json-pointer:{where}]"
    elif length > limit:
        yield f"[ERROR] must be no more than {limit} characters, found {length} [json-pointer:{where}]"
