"""Commands that look at an incident: triage, catchup, timeline, suspects, similar, page, channel, why, status."""

from __future__ import annotations

from bot.cards import private
from bot.errors import NotPermitted
from bot.listeners import answers
from bot.listeners.asked import Asked, Command
from bot.listeners.finding import MARK
from integrations.errors import Denied
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


async def catch_up(asked: Asked) -> Answer:
    """Five lines for a latecomer."""
    told = await asked.desks.reading.catch_up(asked.user, asked.incident.id)
    return answers.of(private.catch_up(told, asked.form))


async def timeline(asked: Asked) -> Answer:
    """What happened when."""
    state = await asked.desks.reading.card(asked.user, asked.incident.id)
    return answers.of(private.timeline(state, asked.form))


async def suspects(asked: Asked) -> Answer:
    """Every ranked change with its reasons."""
    state = await asked.desks.reading.card(asked.user, asked.incident.id)
    return answers.of(private.suspects(state, asked.form))


async def similar(asked: Asked) -> Answer:
    """Earlier incidents that are alike."""
    found = await asked.desks.reading.similar(asked.user, asked.incident.id)
    return answers.similar(asked.incident, found)


async def page(asked: Asked) -> Answer:
    """Everything on one page, as a file."""
    try:
        await asked.desks.pages.send_page(asked.user, asked.incident.id, asked.request)
    except Denied:
        return answers.said(answers.NO_FILES)
    return answers.page_sent(asked.incident)


async def channel(asked: Asked) -> Answer:
    """The incident's own channel."""
    return answers.opened(await asked.desks.channels.open(asked.user, asked.incident.id, asked.request.id))


async def why(asked: Asked) -> Answer:
    """Which rule lets whom read an item."""
    mark = next((word for word in asked.words.split() if MARK.match(word)), "")
    if not mark:
        return answers.said(answers.WHICH_ITEM)
    return answers.why(await asked.desks.reading.why(asked.user, asked.incident.id, mark))


async def status(asked: Asked) -> Answer:
    """Open incidents, and the bot's own state."""
    return answers.status(await asked.desks.desk.status_for(asked.user))


_WHICH = "The incident is its id or number; without one it is this channel's, or you choose from the open ones. "
COMMANDS = (
    Command(
        "triage", "/sitrep triage [incident]", "look at an incident (again) and bring its card up to date",
        f"{_WHICH}Nothing is lost of the card that stands: it is edited. With `--override`, for admins and those of "
        "its team, what is held out for measurement is shown too; the measurement counts it.",
        triage, about_incident=True,
    ),
    Command(
        "catchup", "/sitrep catchup [incident]", "five lines for a latecomer, for you alone",
        f"What it is, since when, what changed on the card, what was tried, what is open. {_WHICH}"
        "It holds what you may see of the card.",
        catch_up, about_incident=True,
    ),
    Command(
        "timeline", "/sitrep timeline [incident]", "what happened when, each line with its evidence",
        f"{_WHICH}Only you see the answer, and only what you may see.", timeline, about_incident=True,
    ),
    Command(
        "suspects", "/sitrep suspects [incident]", "every ranked change with its reasons and its score",
        f"{_WHICH}Only you see the answer, and only what you may see.", suspects, about_incident=True,
    ),
    Command(
        "similar", "/sitrep similar [incident]", "earlier incidents that are alike, and what ended them",
        f"By service, alerts, error signatures and words. {_WHICH}Only incidents that you may see are named.",
        similar, about_incident=True,
    ),
    Command(
        "page", "/sitrep page [incident]", "everything on one page, as a file for you alone",
        f"{_WHICH}The sources are asked again for what you may see; the file comes in your messages with Sitrep. It is "
        "a copy and does not change when the card does.",
        page, about_incident=True,
    ),
    Command(
        "channel", "/sitrep channel [incident]", "make the incident's own channel and invite who works on it",
        f"{_WHICH}On call, paged, assigned and asked to respond in PagerDuty, and who acted on it here, as far as they "
        "have a verified address in Slack and may see the incident. Its card moves there; where it stood is a line "
        "that says so. For full members.",
        channel, about_incident=True,
    ),
    Command(
        "why", "/sitrep why e3", "which rule lets you, and this channel, read an item",
        "The item is named by its mark, in the incident's channel (`e3`) or with the incident (`P8K2Q1/e3`). Only "
        "for items that you may read.",
        why, about_incident=True, takes="mark",
    ),
    Command(
        "status", "/sitrep status", "open incidents that you may see, and how Sitrep itself is",
        "Only you see the answer.", status,
    ),
)  # fmt: skip
