"""Slack's blocks of 2026: rich_text, container, table, context_actions. Outside text is data, never markup.

Inside the container only kinds that both Slack's documentation and its validator name are used (section, table).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from bot.cards import actions, words
from bot.cards.content import Card, Paragraph
from bot.cards.details import Section
from bot.cards.markup import MAX_LINE_UNITS, Block, button, context_block, markup
from bot.cards.runs import Line, Run
from bot.trust.neutralise import (
    LinkPolicy,
    clean,
    link_element,
    mrkdwn_object,
    plain_text,
    text_element,
    units,
)  # fmt: skip

MAX_LIST_LINES = 30
CELL_LIMIT = 160


def card(content: Card, policy: LinkPolicy, began: datetime) -> list[Block]:
    """The channel's message."""
    blocks: list[Block] = [{"type": "header", "text": plain_text(content.header, 150)}]
    blocks += context_block(content.context, policy, began, times="local")
    for paragraph in content.paragraphs:
        blocks += _paragraph(paragraph, policy, began)
    blocks += _container(content, policy, began)
    if content.buttons:
        blocks.append({"type": "actions", "elements": [button(one) for one in content.buttons]})
    if content.feedback:
        blocks.append(_feedback(content.feedback))
    blocks += context_block(content.footer, policy, began, times="local")
    return blocks


def details(sections: Iterable[Section], policy: LinkPolicy, began: datetime) -> list[Block]:
    """The thread's message: a heading and a bulleted list each."""
    blocks: list[Block] = []
    for section in sections:
        blocks.append(_rich_text([_section([text_element(section.heading, 75, bold=True)])]))
        for start in range(0, len(section.lines), MAX_LIST_LINES):
            lines = section.lines[start : start + MAX_LIST_LINES]
            items = [_section(made) for line in lines if (made := list(elements(line, policy, began, 600)))]
            if not items:
                continue
            blocks.append(_rich_text([{"type": "rich_text_list", "style": "bullet", "elements": items}]))
        for drawing in section.drawings:
            told = list(elements(drawing.line, policy, began, MAX_LINE_UNITS))
            drawn = {"type": "text", "text": "\n".join(drawing.rows)}
            parts: list[Block] = [_section(told)] if told else []
            blocks.append(_rich_text([*parts, {"type": "rich_text_preformatted", "elements": [drawn]}]))
    return blocks


def reply(line: Line, policy: LinkPolicy, began: datetime) -> list[Block]:
    """One sentence in the thread that is also sent to the channel."""
    return [_rich_text([_section(list(elements(line, policy, began, MAX_LINE_UNITS)))])]


def elements(line: Line, policy: LinkPolicy, began: datetime, budget: int) -> Iterator[Block]:
    """Rich text elements of a line, never empty, of at most `budget` UTF-16 units."""
    left = budget
    for run in line:
        element = _element(run, policy, began)
        shown = element.get("text", element.get("fallback", ""))
        if not shown:
            continue
        left -= units(shown)
        if left < 0:
            yield text_element("…", 1)
            return
        yield element


def _element(run: Run, policy: LinkPolicy, began: datetime) -> Block:
    if run.kind == "mark":
        return link_element(run.url, run.text, policy)
    if run.kind == "gap":
        return {"type": "text", "text": "  "}
    if run.at is not None:
        fallback = words.clock_second(run.at, began)
        ago = run.kind == "ago"
        # "{ago}" is live, so that an old card does not claim "3 min ago".
        return {
            "type": "date",
            "timestamp": int(run.at.timestamp()),
            "format": "{ago}" if ago else "{time_secs}",
            "fallback": fallback,
        }
    style = {run.kind: True} if run.kind in ("bold", "code", "strike") else {}
    return text_element(run.text, run.limit, **style)


def _paragraph(paragraph: Paragraph, policy: LinkPolicy, began: datetime) -> list[Block]:
    parts: list[Block] = []
    head = list(elements(paragraph.line, policy, began, MAX_LINE_UNITS))
    if head:
        parts.append(_section(head))
    items = [_section(made) for step in paragraph.steps if (made := list(elements(step, policy, began, 600)))]
    if items:
        parts.append({"type": "rich_text_list", "style": "ordered", "elements": items})
    return [_rich_text(parts)] if parts else []


def _container(content: Card, policy: LinkPolicy, began: datetime) -> list[Block]:
    inside: list[Block] = []
    if content.suspects:
        rows = [[_cell(cell) for cell in row] for row in content.suspects]
        settings = [{"is_wrapped": True}] * 4 + [{"align": "right"}]
        inside.append({"type": "table", "rows": rows, "column_settings": settings})
    if content.timeline:
        lines = [markup(line, policy, began, times="local") for line in content.timeline]
        shown = "\n".join(lines)
        while len(shown) > MAX_LINE_UNITS and len(lines) > 1:
            lines.pop(0)
            shown = "\n".join(lines)
        inside.append({"type": "section", "text": mrkdwn_object(shown)})
    if not inside:
        return []
    return [
        {
            "type": "container",
            "title": plain_text(content.more_title, 150),
            "is_collapsible": True,
            "default_collapsed": True,
            "child_blocks": inside,
        }
    ]


def _cell(value: str) -> Block:
    return {"type": "raw_text", "text": clean(value, CELL_LIMIT) or "–"}


def _feedback(value: str) -> Block:
    return {
        "type": "context_actions",
        "elements": [
            {
                "type": "feedback_buttons",
                "action_id": actions.FEEDBACK,
                "positive_button": {"text": plain_text("Helpful", 75), "value": f"+{value}"[:2000]},
                "negative_button": {"text": plain_text("Not helpful", 75), "value": f"-{value}"[:2000]},
            }
        ],
    }


def _section(made: list[Block]) -> Block:
    return {"type": "rich_text_section", "elements": made}


def _rich_text(parts: list[Block]) -> Block:
    return {"type": "rich_text", "elements": parts}
