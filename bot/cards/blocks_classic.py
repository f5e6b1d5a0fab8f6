"""The classic blocks: header, section, context, actions. For workspaces and servers that refuse the newer ones.

The same content as the modern form. Times are in UTC ("14:02 UTC", with seconds in the thread), because the servers
that want this form show date tokens raw; what the modern form folds away is in the thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bot.cards import actions
from bot.cards.buttons import Button
from bot.cards.content import Card, Paragraph
from bot.cards.details import Section
from bot.cards.markup import MAX_LINE_UNITS, Block, button, context_block, markup, pieces
from bot.cards.runs import Line
from bot.trust.neutralise import LinkPolicy, escape, mrkdwn_object, plain_text, units

MAX_SECTIONS = 40


def card(content: Card, policy: LinkPolicy, began: datetime) -> list[Block]:
    """The channel's message."""
    blocks: list[Block] = [{"type": "header", "text": plain_text(content.header, 150)}]
    blocks += context_block(content.context, policy, began, times="minute")
    for paragraph in content.paragraphs:
        blocks += [_section(piece) for piece in _paragraph(paragraph, policy, began)]
    shown = [*content.buttons]
    if content.feedback:
        shown.append(Button(actions.HELPFUL, "Helpful", content.feedback))
        shown.append(Button(actions.NOT_HELPFUL, "Not helpful", content.feedback))
    if shown:
        blocks.append({"type": "actions", "elements": [button(one) for one in shown]})
    blocks += context_block(content.footer, policy, began, times="minute")
    return blocks


def details(sections: Iterable[Section], policy: LinkPolicy, began: datetime) -> list[Block]:
    """The thread's message: each heading with its lines, in as many sections as the text needs."""
    blocks: list[Block] = []
    for section in sections:
        texts = [f"*{escape(section.heading)}*"]
        for line in section.lines:
            told = pieces(line, policy, began, times="second")
            if not told:
                continue
            shown = f"•  {told[0]}"
            if units(f"{texts[-1]}\n{shown}") > MAX_LINE_UNITS:
                texts.append(shown)
            else:
                texts[-1] += f"\n{shown}"
        blocks += [_section(one) for one in texts if one]
        for drawing in section.drawings:
            told = pieces(drawing.line, policy, began, times="second")
            blocks += [_section(told[0])] if told else []
            blocks += [_section(one) for one in _drawn(drawing.rows)]
    return blocks[:MAX_SECTIONS]


def _drawn(rows: Iterable[str]) -> list[str]:
    """Rows of one width between fences, in as many texts as they need."""
    texts = [""]
    for row in rows:
        shown = escape(row.replace("`", "ˋ"))
        if units(f"{texts[-1]}\n{shown}") > MAX_LINE_UNITS - 8:
            texts.append(shown)
        else:
            texts[-1] += f"\n{shown}" if texts[-1] else shown
    return [f"```{one}```" for one in texts if one]


def reply(line: Line, policy: LinkPolicy, began: datetime) -> list[Block]:
    """One sentence in the thread that is also sent to the channel."""
    return [_section(piece) for piece in pieces(line, policy, began, times="minute")[:1]]


def _paragraph(paragraph: Paragraph, policy: LinkPolicy, began: datetime) -> list[str]:
    texts = pieces(paragraph.line, policy, began, times="minute")
    for number, step in enumerate(paragraph.steps, start=1):
        shown = f"{number}.  {markup(step, policy, began, times='minute')}"
        if not texts or units(f"{texts[-1]}\n{shown}") > MAX_LINE_UNITS:
            texts.append(shown)
        else:
            texts[-1] += f"\n{shown}"
    return texts


def _section(text: str) -> Block:
    return {"type": "section", "text": mrkdwn_object(text)}
