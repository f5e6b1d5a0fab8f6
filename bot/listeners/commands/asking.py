"""Questions: ask, and the weekly report."""

from __future__ import annotations

from bot.cards import private
from bot.cards.actions import ActionValue
from bot.errors import NotPermitted
from bot.listeners import answers, modals
from bot.listeners.asked import Asked, Command
from bot.listeners.opening import open_form
from integrations.ports import Answer


async def ask(asked: Asked) -> Answer | None:
    """The answer, or the form to write the question in."""
    if asked.words:
        return await answer(asked, asked.incident.id, asked.words)
    about = ActionValue(asked.incident.id, 0)
    opened = await open_form(asked, modals.ask_form(about, asked.request.channel))
    return None if opened == "opened" else answers.said(answers.ASK_WHAT)


async def answer(asked: Asked, incident_id: str, question: str) -> Answer:
    """One question about one incident, for this person."""
    told = await asked.desks.asking.ask(asked.user, incident_id, question, asked.request.id)
    return answers.of(private.answer(told, asked.form))


async def report(asked: Asked) -> Answer:
    """The report of one week, as this person may see it."""
    try:
        return await asked.desks.reports.weekly(asked.user, asked.words.strip(), asked.form)
    except NotPermitted:
        return answers.said(answers.REPORT_NOT_YOURS)


ASK = Command(
    "ask", "/sitrep ask [incident] question", "a question, answered from the incident's evidence alone",
    "With the marks of what the answer stands on, or it says that the evidence does not say. Only what you may read is "
    "used, and only you see the answer. In the incident's channel its id may be left out; mentioning the app there "
    "does the same.",
    ask, about_incident=True, takes="words",
)  # fmt: skip
COMMANDS = (
    ASK,
    Command(
        "report", "/sitrep report [2026-W47]", "the weekly report, for you alone",
        "This week so far, or the ISO week that you name. Services and changes that you may not see have no names in "
        "it. For those who read the report's channel.",
        report, takes="words",
    ),
)  # fmt: skip
