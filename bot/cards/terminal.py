"""A message's blocks in a terminal, both forms, as rich renderables. Pure; outside text is data, never markup.

Classic: header, section, context, actions, divider, image. Of 2026: markdown, rich_text, container, table, data_table,
data_visualization, context_actions. What is not known is named, never dropped in silence.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

Block = Mapping[str, Any]
_TOKEN = re.compile(
    r"<(?P<url>https?://[^|>\s]+)(?:\|(?P<name>[^>]*))?>|<!date\^\d+\^[^|>]*\|(?P<date>[^>]*)>|<(?P<other>[^>]*)>"
    r"|(?<![\w*])\*(?P<bold>[^*\n]+)\*(?![\w*])|(?<![\w_])_(?P<italic>[^_\n]+)_(?![\w_])"
    r"|(?<![\w~])~(?P<strike>[^~\n]+)~(?![\w~])|```(?P<pre>.+?)```|`(?P<code>[^`\n]+)`",
    re.DOTALL,
)
_STYLES = {"bold": "bold", "italic": "italic", "strike": "strike", "code": "magenta"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def draw(blocks: Sequence[Block]) -> RenderableType:
    """The blocks of one message in a frame."""
    return Panel(Group(*_parts(blocks)), expand=False, padding=(0, 1))


def _parts(blocks: Sequence[Block]) -> Iterator[RenderableType]:
    for block in blocks:
        yield from _part(block)


def _part(block: Block) -> Iterator[RenderableType]:
    match block.get("type"):
        case "header":
            yield Text(_plain(block["text"]["text"]), style="bold")
        case "section":
            yield from _section(block)
        case "context":
            yield Text("  ", style="dim").join(_text(one, "dim") for one in block.get("elements", ()))
        case "actions" | "context_actions":
            yield Padding(_buttons(block.get("elements", ())), (1, 0, 0, 0))
        case "divider":
            yield Text("─" * 40, style="dim")
        case "image":
            yield Text(f"[picture: {_plain(block.get('alt_text', ''))}]", style="dim")
        case "markdown":
            yield mrkdwn(str(block.get("text", "")))
        case "rich_text":
            yield from (_rich_text(one) for one in block.get("elements", ()))
        case "container":
            closed = bool(block.get("default_collapsed"))
            title = Text("▸ " if closed else "▾ ").append_text(_text(block.get("title", {}), "bold"))
            inside = () if closed else _parts(block.get("child_blocks", ()))
            yield Padding(Group(title, *inside), (0, 0, 0, 2))
        case "table" | "data_table":
            yield _table(block)
        case "data_visualization":
            title = block.get("title", "")
            yield Text(f"[chart: {_plain(title if isinstance(title, str) else title.get('text', ''))}]", style="dim")
        case kind:
            yield Text(f"({kind})", style="dim")


def mrkdwn(raw: str, style: str = "") -> Text:
    """Slack's mrkdwn as styled text: links, dates, bold, italic, strike, code; mentions and the like as written."""
    made, at = Text(style=style), 0
    for found in _TOKEN.finditer(raw):
        made.append(_plain(raw[at : found.start()]))
        kind = found.lastgroup if found["url"] is None else "url"
        if kind == "url":
            made.append(_plain(found["name"] or found["url"]), style=f"underline link {found['url']}")
        elif kind == "date":
            made.append(_plain(found["date"]))
        elif kind == "other":
            made.append(_plain(f"<{found['other']}>"))
        elif kind == "pre":
            made.append(_plain(found["pre"]), style="magenta")
        else:
            # Bold may hold a link or code in its turn; each level is shorter than the one around it.
            made.append_text(mrkdwn(found[kind or 0], _STYLES.get(kind or "", "")) if kind != "code" else _code(found))
        at = found.end()
    made.append(_plain(raw[at:]))
    return made


def _code(found: re.Match[str]) -> Text:
    return Text(_plain(found["code"]), style="magenta")


def _section(block: Block) -> Iterator[RenderableType]:
    if block.get("text"):
        yield _text(block["text"])
    yield from (_text(one) for one in block.get("fields", ()))
    if block.get("accessory"):
        yield _buttons([block["accessory"]])


def _text(element: Block, style: str = "") -> Text:
    raw = str(element.get("text", element.get("alt_text", "")))
    return mrkdwn(raw, style) if element.get("type") == "mrkdwn" else Text(_plain(raw), style=style)


def _buttons(elements: Sequence[Block]) -> Text:
    names = []
    for one in elements:
        label = one.get("text") or one.get("placeholder")
        if label:
            names.append(_plain(label["text"] if isinstance(label, Mapping) else str(label)))
        names += [_plain(one[key]["text"]["text"]) for key in ("positive_button", "negative_button") if key in one]
    return Text("  ".join(f"[{name}]" for name in names), style="cyan")


def _rich_text(element: Block) -> Text:
    kind = element.get("type")
    if kind == "rich_text_list":
        numbered = element.get("style") == "ordered"
        rows = [
            Text(f"{number}. " if numbered else "• ").append_text(_rich_text(one))
            for number, one in enumerate(element.get("elements", ()), start=1)
        ]
        return Text("\n").join(rows)
    if kind in ("rich_text_section", "rich_text_preformatted", "rich_text_quote"):
        made = Text(style="magenta" if kind == "rich_text_preformatted" else "")
        for one in element.get("elements", ()):
            made.append_text(_rich_text(one))
        return made
    style = " ".join(_STYLES[name] for name, on in (element.get("style") or {}).items() if on and name in _STYLES)
    if kind == "link":
        return Text(_plain(element.get("text") or element["url"]), style=f"{style} underline link {element['url']}")
    shown = element.get("text") or element.get("fallback") or element.get("user_id") or element.get("name") or ""
    return Text(_plain(str(shown)), style=style)


def _table(block: Block) -> RenderableType:
    rows = [[_cell(cell) for cell in row] for row in block.get("rows", ())]
    made = Table(box=SIMPLE, show_edge=False, pad_edge=False)
    for head in rows[0] if rows else ():
        made.add_column(head)
    for row in rows[1:]:
        made.add_row(*row)
    return made


def _cell(cell: Block) -> Text:
    if cell.get("type") == "rich_text":
        return Text("\n").join(_rich_text(one) for one in cell.get("elements", ()))
    return _text(cell)


def _plain(text: str) -> str:
    """Slack's three entities undone, and nothing that would steer the terminal."""
    return _CONTROL.sub("", html.unescape(text))
