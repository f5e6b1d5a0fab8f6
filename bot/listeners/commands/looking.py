"""Commands that look at an incident: triage, status."""

from __future__ import annotations

from bot.errors import NotPermitted
from bot.listeners import answers
from bot.listeners.asked import Asked, Command
from integrations.ports import Answer

OVERRIDE = "--override"


async def triage(asked: Asked) -> Answer:
    """One more triage of the incident."""
    desk, line = asked.desks.desk, asked.incident
    if OVERRIDE not in asked.words.split():
        return answers.triage_started(line, await desk.start_triage(line.id, asked.user, asked.request.id))
    try:
        n = await desk.start_triage(line.id, asked.user, asked.request.id, override=True)
    except NotPermitted:
        return answers.said(answers.ONLY_ADMINS)
    return answers.triage_started(line, n)


async def status(asked: Asked) -> Answer:
    """Open incidents, and the bot's own state."""
    return answers.status(await asked.desks.desk.status_for(asked.user))


COMMANDS = (
    Command(
        "triage", "/sitrep triage [incident]", "look at an incident (again) and bring its card up to date",
        "The incident is its id or number; without one it is this channel's, or you choose from the open ones. "
        "Nothing is lost of the card that stands: it is edited. With `--override`, for admins and those of its team, "
        "what is held out for measurement is shown too; the measurement counts it.",
        triage, about_incident=True,
    ),
    Command(
        "status", "/sitrep status", "open incidents that you may see, and how Sitrep itself is",
        "Only you see the answer.", status,
    ),
)  # fmt: skip
