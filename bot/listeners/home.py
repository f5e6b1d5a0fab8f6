"""The Home tab (docs.slack.dev/surfaces/app-home): what one person may see, drawn in the classic blocks."""

from __future__ import annotations

from typing import Any

from bot.cards import actions, words
from bot.cards.actions import ActionValue
from bot.flows.home import HomeTold, Spent
from bot.listeners import answers
from bot.listeners.desk import IncidentLine
from bot.trust.neutralise import mrkdwn, mrkdwn_code, mrkdwn_object, plain_text

Block = dict[str, Any]
MAX_OPEN = 15
MAX_OWED = 5


def view(told: HomeTold) -> Block:
    """The whole tab: at most 100 blocks."""
    shown = told.status.incidents[:MAX_OPEN]
    blocks: list[Block] = [_header("Open incidents")]
    for line in shown:
        blocks += [_section(_line(line)), _buttons([(actions.CATCH_UP, "Catch me up", _value(line, 0))])]
    more = told.status.more + len(told.status.incidents) - len(shown)
    if not shown:
        blocks.append(_section("None that you may see."))
    elif more:
        blocks.append(_section(f"and {words.count(more, 'more incident')}: `/sitrep status`"))
    if told.owed:
        blocks += [_header("Your vote is missing"), _section("Was the card of these incidents helpful?")]
        for line, version in list(zip(told.owed, told.versions, strict=True))[:MAX_OWED]:
            value = _value(line, version)
            votes = [(actions.HELPFUL, "Helpful", value), (actions.NOT_HELPFUL, "Not helpful", value)]
            blocks += [_section(_line(line)), _buttons(votes)]
    blocks += [_header("How Sitrep is"), *(_section(text) for text in answers.packed(_how(told))[:5])]
    blocks.append({"type": "context", "elements": [mrkdwn_object(f"As of {words.clock_minute(told.at)}")]})
    return {"type": "home", "blocks": blocks}


def _how(told: HomeTold) -> list[str]:
    status = told.status
    lines = [f"*Model*  {mrkdwn(status.model, 200) or 'unknown'}"]
    lines.append(f"*Spend*  {', '.join(_spent(one) for one in told.spent)}")
    runs = "an experiment runs" if told.experiment_runs else "no experiment runs"
    lines.append(f"*Measurement*  {runs}")
    if status.posts_waiting:
        lines.append(f"*Posts*  {words.count(status.posts_waiting, 'post')} waiting to go out")
    lines += [mrkdwn(f"You: {notice}", 200) for notice in status.notices[:4]]
    return lines


def _spent(one: Spent) -> str:
    ceiling = f" of {words.money(one.ceiling_usd)}" if one.ceiling_usd is not None else ""
    return f"{words.money(one.usd)}{ceiling} {one.name}"


def _line(line: IncidentLine) -> str:
    name, title = mrkdwn_code(answers.name_of(line), 60), mrkdwn(line.title, 120)
    since = f"{line.triggered_at:%Y-%m-%d} {words.clock_minute(line.triggered_at)}"
    return f"SEV{line.severity} {name} {mrkdwn(line.status, 20)} since {since}: {title}"


def _value(line: IncidentLine, version: int) -> str:
    return ActionValue(line.id, version).encode()


def _header(text: str) -> Block:
    return {"type": "header", "text": plain_text(text, 150)}


def _section(markup: str) -> Block:
    return {"type": "section", "text": mrkdwn_object(markup)}


def _buttons(made: list[tuple[str, str, str]]) -> Block:
    elements = [
        {"type": "button", "action_id": action, "text": plain_text(label, 75), "value": value}
        for action, label, value in made
    ]
    return {"type": "actions", "elements": elements}
