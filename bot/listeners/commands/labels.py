"""What people say of an incident, typed: label."""

from __future__ import annotations

from bot.cards.actions import ActionValue
from bot.listeners import answers, modals
from bot.listeners.asked import Asked, Command
from bot.listeners.desk import CAUSES, Label
from bot.listeners.finding import MARK
from bot.listeners.opening import open_form
from integrations.ports import Answer


async def label(asked: Asked) -> Answer | None:
    """The form, or the label itself where it is typed."""
    if asked.words:
        return await _typed(asked)
    choices = await asked.desks.labels.choices(asked.incident.id, asked.user)
    about = ActionValue(asked.incident.id, choices.version)
    opened = await open_form(asked, modals.label_form(choices, about, asked.request.channel))
    return None if opened == "opened" else answers.said(answers.LABEL_TYPED)


async def _typed(asked: Asked) -> Answer:
    """`e3 rolled back`, `external the provider mended it`."""
    first, _, fixed_by = asked.words.partition(" ")
    choices = await asked.desks.labels.choices(asked.incident.id, asked.user)
    fixed_by = fixed_by.strip()
    if MARK.match(first):
        given = Label("change", first, None, fixed_by)
    elif cause := next((one for one in CAUSES if one == first.lower()), None):
        service = asked.incident.service if cause == "service" else None
        given = Label(cause, "", service, fixed_by)
    else:
        return answers.said(answers.LABEL_TYPED)
    said = await asked.desks.labels.label(asked.incident.id, asked.user, choices.version, given)
    return answers.labelled(said)


COMMANDS = (
    Command(
        "label", "/sitrep label [incident]", "say what the cause was, and what fixed it",
        "A form opens. Or type it: `/sitrep label e3 rolled back` for the change with that mark, or `service`, "
        "`external`, `unknown` or `change` in place of the mark. The latest word of a person counts.",
        label, about_incident=True, takes="words",
    ),
)  # fmt: skip
