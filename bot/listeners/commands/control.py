"""Commands for admins: pause, resume."""

from __future__ import annotations

from bot.errors import NotPermitted
from bot.listeners import answers
from bot.listeners.asked import Asked, Command
from integrations.ports import Answer


async def pause(asked: Asked) -> Answer:
    """Stop asking a model for summaries."""
    if not asked.words:
        return answers.said(answers.WHY_NEEDED)
    try:
        return answers.paused(await asked.desks.desk.pause(asked.user, asked.words))
    except NotPermitted:
        return answers.said(answers.ONLY_ADMINS)


async def resume(asked: Asked) -> Answer:
    """Let summaries begin again."""
    if not asked.words:
        return answers.said(answers.WHY_NEEDED)
    try:
        return answers.resumed(await asked.desks.desk.resume(asked.user, asked.words))
    except NotPermitted:
        return answers.said(answers.ONLY_ADMINS)


COMMANDS = (
    Command(
        "pause", "/sitrep pause reason", "stop asking a model for summaries; the facts stay",
        "For the groups of [admins]. It holds until somebody resumes; the reason stands in the audit trail.",
        pause, takes="words",
    ),
    Command(
        "resume", "/sitrep resume reason", "let summaries begin again after any pause",
        "For the groups of [admins]. It ends a pause by a cutline too.", resume, takes="words",
    ),
)  # fmt: skip
