"""From a stored request to its answer, whoever took it: the process that acknowledged it, or the one after it."""

from __future__ import annotations

from bot.errors import NotPermitted
from bot.listeners import answers, talking
from bot.listeners.asked import Asked, Typed
from bot.listeners.clicks import clicked
from bot.listeners.commands import BY_NAME, help_for, life, parse
from bot.listeners.finding import about, picked
from bot.listeners.submissions import submitted
from integrations.ports import Answer

COMMAND, CLICK, PICK, FORM, MESSAGE = "command", "click", "pick", "form", "message"
"""Kinds of requests; a click's is followed by its action id, a form's by its callback id."""


async def answer_to(asked: Asked) -> Answer | None:
    """Raises NotPermitted for what this person may not see or do, and whatever the bot behind raises."""
    kind, _, name = asked.request.kind.partition(":")
    if kind == COMMAND:
        return await _command(asked)
    if kind == PICK:
        return await _picked(asked)
    if kind == CLICK:
        return await clicked(asked, name)
    if kind == FORM:
        return await submitted(asked, name)
    if kind == talking.MENTION:
        return await talking.mentioned(asked)
    if kind == talking.DIRECT:
        return await talking.direct(asked)
    if kind == talking.ASSISTANT:
        await talking.assistant_started(asked)
        return None
    if kind == talking.HOME:
        await talking.show_home(asked)
        return None
    if kind == MESSAGE:
        return await life.triage_this(asked)
    return answers.said(answers.NOT_OURS)


async def _command(asked: Asked) -> Answer | None:
    typed = parse(asked.request.words)
    command = BY_NAME.get(typed.name)
    if command is None:
        return help_for(typed)
    asked = _with_words(asked, typed.words)
    if command.about_incident:
        found = await about(asked, command)
        if isinstance(found, Answer):
            return found
        asked = found
    return await command.work(asked)


async def _picked(asked: Asked) -> Answer | None:
    """A choice in a menu runs the command that showed the menu; `words` of the request names that one."""
    before = await asked.desks.requests.find(asked.request.words, asked.user)
    typed = parse(before.words) if before is not None else None
    if before is not None and before.kind in (talking.MENTION, talking.DIRECT):
        typed = Typed("ask", talking.without_mentions(before.words))
    command = BY_NAME.get(typed.name) if typed is not None else None
    if typed is None or command is None:
        return answers.said(answers.MENU_TOO_OLD)
    found = await picked(_with_words(asked, typed.words), command, asked.request.value)
    if found is None:
        raise NotPermitted(asked.request.value)
    return await command.work(found)


def _with_words(asked: Asked, words: str) -> Asked:
    return Asked(asked.desks, asked.request, asked.form, words, asked.line, asked.trigger_id)
