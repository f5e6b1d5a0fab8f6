"""What each button does. A value comes back from Slack, so it is read as outside input."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from bot.cards import actions, private
from bot.cards.actions import ActionValue
from bot.errors import NotPermitted
from bot.flows.life import Said
from bot.listeners import answers, modals
from bot.listeners.asked import Asked
from bot.listeners.commands import life
from bot.listeners.desk import Vote
from bot.listeners.opening import Opened, open_form
from integrations.errors import Denied
from integrations.ports import Answer

Click = Callable[[Asked, ActionValue], Awaitable[Answer | None]]


def _vote(vote: Vote) -> Click:
    async def work(asked: Asked, value: ActionValue) -> Answer:
        await asked.desks.labels.vote(value.incident_id, asked.user, value.version, vote)
        return answers.voted(vote)

    return work


async def was_change(asked: Asked, value: ActionValue) -> Answer | None:
    """The form with this suspect chosen; where there are no forms, the click itself is the label."""
    choices = await asked.desks.labels.choices(value.incident_id, asked.user)
    if value.mark not in {suspect.mark for suspect in choices.suspects}:
        raise NotPermitted(value.mark)
    opened = await open_form(asked, modals.label_form(choices, value, asked.request.channel))
    if opened == "opened":
        return None
    if opened == "too_late":
        return answers.said(answers.FORM_TOO_LATE)
    name = await asked.desks.labels.was_change(value.incident_id, asked.user, value.version, value.mark)
    return answers.was_change(name)


async def was_not(asked: Asked, value: ActionValue) -> Answer:
    name, until_at = await asked.desks.labels.was_not(value.incident_id, asked.user, value.version, value.mark)
    return answers.was_not(name, until_at)


async def undo_was_not(asked: Asked, value: ActionValue) -> Answer:
    return answers.undone(await asked.desks.labels.undo_was_not(value.incident_id, asked.user, value.mark))


def _life(said: Said) -> Click:
    async def work(asked: Asked, value: ActionValue) -> Answer:
        return await life.say(asked, value.incident_id, said)

    return work


async def own_view(asked: Asked, value: ActionValue) -> Answer:
    state = await asked.desks.desk.own_view(asked.user, value.incident_id)
    return answers.own_view(state, asked.form)


async def label(asked: Asked, value: ActionValue) -> Answer | None:
    """The form, no suspect chosen."""
    choices = await asked.desks.labels.choices(value.incident_id, asked.user)
    opened = await open_form(asked, modals.label_form(choices, value, asked.request.channel))
    return _instead(opened, answers.LABEL_TYPED)


async def catch_up(asked: Asked, value: ActionValue) -> Answer:
    told = await asked.desks.reading.catch_up(asked.user, value.incident_id)
    return answers.of(private.catch_up(told, asked.form))


async def ask(asked: Asked, value: ActionValue) -> Answer | None:
    """The form for a question; whoever may not see the incident gets none."""
    await asked.desks.reading.card(asked.user, value.incident_id)
    opened = await open_form(asked, modals.ask_form(value, asked.request.channel))
    return _instead(opened, answers.ASK_WHAT)


async def note(asked: Asked, value: ActionValue) -> Answer | None:
    """The form for a note in PagerDuty, which is also what is to be confirmed."""
    await asked.desks.reading.card(asked.user, value.incident_id)
    opened = await open_form(asked, modals.note_form(value, asked.request.channel))
    return _instead(opened, answers.FORM_NOT_HERE)


async def draft(asked: Asked, value: ActionValue) -> Answer | None:
    """The draft of a report, to edit and publish."""
    made = await asked.desks.drafts.draft(asked.user, value.incident_id)
    opened = await open_form(asked, modals.draft_form(made.text, value, asked.request.channel, made.made_of))
    return _instead(opened, answers.FORM_NOT_HERE)


def _instead(opened: Opened, not_here: str) -> Answer | None:
    if opened == "opened":
        return None
    return answers.said(answers.FORM_TOO_LATE if opened == "too_late" else not_here)


REPORT_FILES: Mapping[str, Literal["html", "csv"]] = {"sitrep.report_page": "html", "sitrep.report_csv": "csv"}
"""The weekly report's buttons; the week is their value."""


async def report_file(asked: Asked, form: Literal["html", "csv"]) -> Answer:
    """The whole report of the week, as a file for the one who clicked."""
    week = asked.request.value[:8]
    try:
        made = await asked.desks.reports.whole(asked.user, week, form)
    except NotPermitted:
        return answers.said(answers.REPORT_NOT_YOURS)
    if made is None:
        return answers.said(answers.NOT_OURS)
    title = f"Weekly report {week}"
    try:
        await asked.desks.pages.send_file(asked.user, week, form, title, answers.REPORT_FILE, made, asked.request)
    except Denied:
        return answers.said(answers.NO_FILES)
    return answers.said("The report is in your messages with Sitrep.")


CLICKS: Mapping[str, Click] = {
    actions.HELPFUL: _vote("helpful"),
    actions.NOT_HELPFUL: _vote("not_helpful"),
    actions.WAS_CHANGE: was_change,
    actions.WAS_NOT: was_not,
    actions.UNDO_WAS_NOT: undo_was_not,
    actions.ACKNOWLEDGE: _life("acknowledged"),
    actions.MITIGATED: _life("mitigated"),
    actions.RESOLVE: _life("resolved"),
    actions.OWN_VIEW: own_view,
    actions.LABEL: label,
    actions.CATCH_UP: catch_up,
    actions.ASK: ask,
    actions.NOTE: note,
    actions.DRAFT: draft,
}


async def clicked(asked: Asked, action_id: str) -> Answer | None:
    """The button's work; a value that is not ours, or a button of another version, does nothing."""
    given = asked.request.value
    if action_id == actions.FEEDBACK:
        action_id, given = (actions.HELPFUL if given[:1] == "+" else actions.NOT_HELPFUL), given[1:]
    if action_id in REPORT_FILES:
        return await report_file(asked, REPORT_FILES[action_id])
    work, value = CLICKS.get(action_id), ActionValue.decode(given)
    return answers.said(answers.NOT_OURS) if work is None or value is None else await work(asked, value)
