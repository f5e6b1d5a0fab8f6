"""Slack's published limits as a check on a whole message: what Slack would answer `invalid_blocks` to, and why.

Sources: docs.slack.dev/reference/block-kit (blocks, block elements, composition objects) and
docs.slack.dev/reference/methods/chat.postMessage. Counts are UTF-16 units, the strictest reading of "characters".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bot.trust.neutralise import units

MAX_BLOCKS = 50
MAX_TEXT = 3000
MAX_MESSAGE_TEXT = 4000
MAX_ID = 255
MAX_TABLE_CHARACTERS = 10_000
_CONTAINER_CHILDREN = frozenset({"actions", "context", "divider", "header", "image", "section", "table", "video"})
"""Kinds that Slack's documentation and its validator both allow inside a container."""
_RICH_TEXT_KINDS = frozenset(
    {"text", "link", "date", "emoji", "user", "usergroup", "channel", "broadcast", "color", "team"}
)

Block = Mapping[str, Any]


def violations(text: str, blocks: Sequence[Block]) -> list[str]:
    """Each limit that the message breaks, in words; empty when Slack has no reason to refuse it."""
    return list(_violations(text, blocks))


def view_violations(view: Block) -> list[str]:
    """The same for a modal or a Home tab: docs.slack.dev/reference/views."""
    return list(_view_violations(view))


def _view_violations(view: Block) -> Iterator[str]:
    blocks = view.get("blocks", ())
    yield from _number("blocks", blocks, 100)
    if units(str(view.get("private_metadata", ""))) > 3000:
        yield "private_metadata: more than 3,000 characters"
    if view.get("type") == "modal":
        yield from _length("callback_id", view.get("callback_id"), MAX_ID)
        for name in ("title", "submit", "close"):
            yield from _plain(name, view.get(name), 24)
    elif view.get("type") != "home":
        yield f"a view {view.get('type')!r}"
    ids = Counter(block["block_id"] for block in blocks if "block_id" in block)
    for block_id, times in ids.items():
        if times > 1:
            yield f"block_id {block_id!r} stands {times} times"
        yield from _length("block_id", block_id, MAX_ID)
    for block in blocks:
        for problem in _block(block):
            yield f"{block.get('type')}: {problem}"


def _violations(text: str, blocks: Sequence[Block]) -> Iterator[str]:
    if not 1 <= units(text) <= MAX_MESSAGE_TEXT:
        yield f"text: {units(text)} characters, wanted 1 to {MAX_MESSAGE_TEXT}"
    if not 1 <= len(blocks) <= MAX_BLOCKS:
        yield f"{len(blocks)} blocks, wanted 1 to {MAX_BLOCKS}"
    every = list(_every_block(blocks))
    ids = Counter(block["block_id"] for block in every if "block_id" in block)
    for block_id, times in ids.items():
        if times > 1:
            yield f"block_id {block_id!r} stands {times} times"
        yield from _length("block_id", block_id, MAX_ID)
    if sum(block.get("type") == "table" for block in every) > 1:
        yield "more than one table"
    for block in every:
        for problem in _block(block):
            yield f"{block.get('type')}: {problem}"


def _every_block(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        yield from block.get("child_blocks", ())


def _block(block: Block) -> Iterator[str]:
    check = _CHECKS.get(str(block.get("type")))
    if check is None:
        yield "an unknown kind of block"
    else:
        yield from check(block)


def _header(block: Block) -> Iterator[str]:
    yield from _plain("text", block.get("text"), 150)


def _section(block: Block) -> Iterator[str]:
    yield from _text_object("text", block.get("text"), MAX_TEXT)


def _context(block: Block) -> Iterator[str]:
    yield from _number("elements", block.get("elements", ()), 10)
    for element in block.get("elements", ()):
        yield from _text_object("element", element, MAX_TEXT)


def _actions(block: Block) -> Iterator[str]:
    elements = block.get("elements", ())
    yield from _number("elements", elements, 25)
    seen = Counter(element.get("action_id") for element in elements)
    for action_id, times in seen.items():
        if times > 1:
            yield f"action_id {action_id!r} stands {times} times"
    for element in elements:
        yield from _select(element) if element.get("type") == "static_select" else _button(element)


def _select(element: Block) -> Iterator[str]:
    yield from _length("action_id", element.get("action_id"), MAX_ID)
    if "placeholder" in element:
        yield from _plain("placeholder", element["placeholder"], 150)
    options = element.get("options", ())
    yield from _number("options", options, 100)
    for option in options:
        yield from _plain("option", option.get("text"), 75)
        yield from _length("option value", option.get("value"), 150)
    if len({option.get("value") for option in options}) < len(options):
        yield "two options have one value"
    if "initial_option" in element and element["initial_option"] not in options:
        yield "initial_option is none of the options"


def _input(block: Block) -> Iterator[str]:
    yield from _plain("label", block.get("label"), 2000)
    if "hint" in block:
        yield from _plain("hint", block["hint"], 2000)
    element = block.get("element", {})
    if element.get("type") == "static_select":
        yield from _select(element)
    elif element.get("type") == "plain_text_input":
        yield from _length("action_id", element.get("action_id"), MAX_ID)
        most = element.get("max_length", MAX_TEXT)
        if not 1 <= most <= MAX_TEXT:
            yield f"max_length {most!r}"
        if "initial_value" in element:
            yield from _length("initial_value", element["initial_value"], most)
    else:
        yield f"an element {element.get('type')!r} that we do not use"


def _button(element: Block) -> Iterator[str]:
    if element.get("type") != "button":
        yield f"an element {element.get('type')!r} that we do not use"
    yield from _length("action_id", element.get("action_id"), MAX_ID)
    yield from _plain("button", element.get("text"), 75)
    yield from _length("value", element.get("value"), 2000)
    if element.get("style") not in (None, "primary", "danger"):
        yield f"style {element.get('style')!r}"
    confirm = element.get("confirm")
    if confirm is not None:
        for name, limit in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
            yield from _plain(f"confirm.{name}", confirm.get(name), limit)


def _container(block: Block) -> Iterator[str]:
    yield from _plain("title", block.get("title"), 150)
    children = block.get("child_blocks", ())
    yield from _number("child_blocks", children, 10)
    for child in children:
        if child.get("type") not in _CONTAINER_CHILDREN:
            yield f"child {child.get('type')!r}"
    if block.get("default_collapsed") and not block.get("is_collapsible"):
        yield "default_collapsed without is_collapsible"


def _table(block: Block) -> Iterator[str]:
    rows = block.get("rows", ())
    yield from _number("rows", rows, 100)
    if len({len(row) for row in rows}) > 1:
        yield "rows of different length"
    if len(block.get("column_settings", ())) > 20:
        yield "more than 20 column settings"
    total = 0
    for row in rows:
        yield from _number("cells", row, 20)
        for cell in row:
            if cell.get("type") != "raw_text":
                yield f"a cell {cell.get('type')!r} that we do not use"
            yield from _length("cell", cell.get("text"), MAX_TEXT)
            total += units(str(cell.get("text", "")))
    if total > MAX_TABLE_CHARACTERS:
        yield f"{total} characters in all cells"


def _context_actions(block: Block) -> Iterator[str]:
    elements = block.get("elements", ())
    yield from _number("elements", elements, 5)
    for element in elements:
        if element.get("type") != "feedback_buttons":
            yield f"an element {element.get('type')!r} that we do not use"
        yield from _length("action_id", element.get("action_id"), MAX_ID)
        for name in ("positive_button", "negative_button"):
            one = element.get(name, {})
            yield from _plain(name, one.get("text"), 75)
            yield from _length(f"{name}.value", one.get("value"), 2000)


def _rich_text(block: Block) -> Iterator[str]:
    total = 0
    parts = block.get("elements", ())
    if not parts:
        yield "no elements"
    for part in parts:
        sections = part.get("elements", ()) if part.get("type") == "rich_text_list" else (part,)
        if part.get("type") == "rich_text_list" and part.get("style") not in ("bullet", "ordered"):
            yield f"list style {part.get('style')!r}"
        if not sections:
            yield "an empty list"
        for section in sections:
            if section.get("type") not in ("rich_text_section", "rich_text_preformatted"):
                yield f"{section.get('type')!r} in the place of a section"
            if not section.get("elements"):
                yield "an empty section"
            for element in section.get("elements", ()):
                yield from _rich_element(element)
                total += units(str(element.get("text", element.get("fallback", ""))))
    if total > 4 * MAX_TEXT:
        yield f"{total} characters"


def _rich_element(element: Block) -> Iterator[str]:
    kind = element.get("type")
    if kind not in _RICH_TEXT_KINDS:
        yield f"an element {kind!r}"
    if kind in ("text", "link"):
        yield from _length(str(kind), element.get("text"), MAX_TEXT)
    if kind == "link":
        yield from _length("url", element.get("url"), MAX_TEXT)
    if kind == "date" and (type(element.get("timestamp")) is not int or "{" not in str(element.get("format"))):
        yield "a date without timestamp or format"


def _text_object(name: str, value: Any, limit: int) -> Iterator[str]:
    if not isinstance(value, Mapping) or value.get("type") not in ("mrkdwn", "plain_text"):
        yield f"{name}: no text object"
        return
    if value["type"] == "plain_text":
        yield from _plain(name, value, limit)
    else:
        if "emoji" in value:
            yield f"{name}: emoji on mrkdwn"
        yield from _length(name, value.get("text"), limit)


def _plain(name: str, value: Any, limit: int) -> Iterator[str]:
    if not isinstance(value, Mapping) or value.get("type") != "plain_text" or "verbatim" in value:
        yield f"{name}: no plain_text"
        return
    yield from _length(name, value.get("text"), limit)


def _length(name: str, value: Any, limit: int) -> Iterator[str]:
    if not isinstance(value, str) or not 1 <= units(value) <= limit:
        size = units(value) if isinstance(value, str) else value
        yield f"{name}: {size} characters, wanted 1 to {limit}"


def _number(name: str, values: Sequence[Any], limit: int) -> Iterator[str]:
    if not 1 <= len(values) <= limit:
        yield f"{name}: {len(values)}, wanted 1 to {limit}"


def _image(block: Block) -> Iterator[str]:
    yield from _length("alt_text", block.get("alt_text"), 2000)
    if ("image_url" in block) == ("slack_file" in block):
        yield "an image needs image_url or slack_file, and not both"
    if "image_url" in block:
        yield from _length("image_url", block["image_url"], MAX_TEXT)


def _chart(block: Block) -> Iterator[str]:
    """`data_visualization`; the counts are on the safe side of what is documented."""
    yield from _length("title", block.get("title"), 50)
    chart = block.get("chart", {})
    series = chart.get("series", ())
    yield from _number("series", series, 6)
    for one in series:
        yield from _length("series name", one.get("name"), 20)
        yield from _number("points", one.get("data", ()), 20)
        for point in one.get("data", ()):
            yield from _length("label", point.get("label"), 20)
            if not isinstance(point.get("value"), int | float):
                yield f"a value {point.get('value')!r}"


def _divider(_: Block) -> Iterator[str]:
    yield from ()


_CHECKS = {
    "header": _header,
    "section": _section,
    "context": _context,
    "actions": _actions,
    "input": _input,
    "container": _container,
    "table": _table,
    "context_actions": _context_actions,
    "rich_text": _rich_text,
    "divider": _divider,
    "image": _image,
    "data_visualization": _chart,
}
