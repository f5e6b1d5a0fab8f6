"""What is said to the app: a mention in a channel or thread, a direct message, the assistant's panel, the Home tab.

Everything is answered like `/sitrep ask`, for the one who asked alone.
"""

from __future__ import annotations

import logging
import re

from bot.listeners import answers, home
from bot.listeners.asked import Asked
from bot.listeners.commands.asking import ASK, answer
from bot.listeners.finding import about, split
from integrations.errors import IntegrationError
from integrations.ports import Answer

log = logging.getLogger(__name__)

MENTION, DIRECT, ASSISTANT, HOME = "mention", "direct", "assistant", "home"
"""Kinds of requests."""
_MENTION = re.compile(r"<@[A-Z0-9]{2,20}(?:\|[^>]*)?>")
PROMPTS = (
    ("What is going on?", "What is going on?"),
    ("What changed before it?", "What changed before it began?"),
    ("What is slow?", "Which calls are slow?"),
    ("What should I look at?", "What do the runbooks say about this?"),
)
LOOKING = "is looking at the evidence…"


def without_mentions(text: str) -> str:
    """The question in a message that mentions the app."""
    return " ".join(_MENTION.sub(" ", text).split())


async def mentioned(asked: Asked) -> Answer:
    """A question in a channel; in a card's thread, about that card's incident."""
    question = without_mentions(asked.request.words)
    if not question:
        return answers.said(answers.ASK_WHAT)
    thread = asked.request.thread_ts
    if thread is not None:
        incident_id = await asked.desks.desk.incident_of_thread(asked.user, asked.request.channel, thread)
        if incident_id is not None:
            return await answer(asked, incident_id, question)
    return await _about_one(asked, question)


async def direct(asked: Asked) -> Answer:
    """In the person's own conversation: about the channel that they came from, else the one open incident."""
    question = without_mentions(asked.request.words)
    if not question:
        return answers.said(answers.ASK_WHAT)
    thread = asked.request.thread_ts
    if thread is not None:
        await _panel(asked, thread, LOOKING)
    try:
        came_from = await asked.desks.requests.context_of(asked.user, thread) if thread else ""
        name, _ = split(question, ASK)
        if came_from and not name:
            here = await asked.desks.desk.find_incidents(asked.user, "", came_from)
            if len(here) == 1 and here[0].channel == came_from:
                return await answer(asked, here[0].id, question)
        return await _about_one(asked, question)
    finally:
        if thread is not None:
            await _panel(asked, thread, "")


async def _about_one(asked: Asked, question: str) -> Answer:
    found = await about(Asked(asked.desks, asked.request, asked.form, question), ASK)
    if isinstance(found, Answer):
        return found
    return await answer(asked, found.incident.id, found.words or question)


async def assistant_started(asked: Asked) -> None:
    """The panel was opened: questions to begin with."""
    thread = asked.request.thread_ts
    if thread is None:
        return
    try:
        await asked.desks.screens.assistant_prompts(asked.request.channel, thread, PROMPTS)
    except IntegrationError as failed:
        log.warning("the assistant's panel could not be filled: %s", failed.message)


async def show_home(asked: Asked) -> None:
    """The person's Home tab, as of now."""
    told = await asked.desks.home.home(asked.user)
    try:
        await asked.desks.screens.publish_home(asked.user, home.view(told))
    except IntegrationError as failed:
        log.warning("a Home tab could not be shown: %s", failed.message)


async def _panel(asked: Asked, thread: str, status: str) -> None:
    """What the assistant's panel says it does. Where there is no panel, nothing."""
    try:
        await asked.desks.screens.assistant_status(asked.request.channel, thread, status)
    except IntegrationError:
        return
