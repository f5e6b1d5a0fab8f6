"""A card in the terminal: the classic blocks as rich renderables. Pure; outside text is data, never markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

_TOKEN = re.compile(r"<(?P<url>https?://[^|>]*)(?:\|(?P<name>[^>]*))?>|\*(?P<bold>[^*\n]+)\*|`(?P<code>[^`\n]+)`")
_DATE = re.compile(r"<!date\^\d+\^[^|>]*\|(?P<fallback>[^>]*)>")


def draw(blocks: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The blocks of one message in a frame."""
    return Panel(Group(*_parts(blocks)), expand=False, width=None, padding=(0, 1))


def _parts(blocks: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    for block in blocks:
        match block.get("type"):
            case "header":
                yield Text(_plain(block["text"]["text"]), style="bold")
            case "section":
                texts = [block["text"]] if "text" in block else []
                for one in (*texts, *block.get("fields", ())):
                    yield _mrkdwn(one)
            case "context":
                for element in block["elements"]:
                    yield _mrkdwn(element, style="dim")
            case "actions":
                names = (f"[{_plain(e['text']['text'])}]" for e in block["elements"] if "text" in e)
                yield Padding(Text("  ".join(names), style="cyan"), (1, 0))
            case "divider":
                yield Text("─" * 40, style="dim")
            case kind:
                yield Text(f"({kind})", style="dim")


def _plain(text: str) -> str:
    return html.unescape(text)


def _mrkdwn(element: Mapping[str, Any], style: str = "") -> Text:
    raw = _DATE.sub(lambda found: found["fallback"], str(element.get("text", element.get("alt_text", ""))))
    if element.get("type") != "mrkdwn":
        return Text(_plain(raw), style=style)
    made, at = Text(style=style), 0
    for found in _TOKEN.finditer(raw):
        made.append(_plain(raw[at : found.start()]))
        if found["url"] is not None:
            made.append(_plain(found["name"] or found["url"]), style=f"underline link {found['url']}")
        elif found["bold"] is not None:
            made.append(_plain(found["bold"]), style="bold")
        else:
            made.append(_plain(found["code"]), style="magenta")
        at = found.end()
    made.append(_plain(raw[at:]))
    return made
