"""What each form does when it comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.cards.actions import ActionValue
from bot.listeners import answers, modals
from bot.listeners.asked import Asked
from bot.listeners.commands.asking import answer
from integrations.ports import Answer


@dataclass(frozen=True, slots=True)
class Form:
    """A submitted form as it is stored with its request."""

    about: ActionValue
    fields: Mapping[str, str]

    @classmethod
    def decode(cls, value: str) -> Form | None:
        try:
            read: Mapping[str, Any] = json.loads(value)
            about = ActionValue.decode(str(read["a"]))
            fields = {str(name): str(given) for name, given in read["f"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return cls(about, fields) if about is not None else None

    def encode(self) -> str:
        return json.dumps({"a": self.about.encode(), "f": dict(self.fields)}, ensure_ascii=False)


async def submitted(asked: Asked, callback_id: str) -> Answer | None:
    """The form's work."""
    form = Form.decode(asked.request.value)
    work = _FORMS.get(callback_id)
    return answers.said(answers.NOT_OURS) if form is None or work is None else await work(asked, form)


async def _label(asked: Asked, form: Form) -> Answer:
    about, labels = form.about, asked.desks.labels
    choices = await labels.choices(about.incident_id, asked.user)
    given = modals.label_of(form.fields, choices.services)
    return answers.labelled(await labels.label(about.incident_id, asked.user, about.version, given))


async def _ask(asked: Asked, form: Form) -> Answer:
    return await answer(asked, form.about.incident_id, form.fields.get("question", ""))


async def _note(asked: Asked, form: Form) -> Answer:
    text = form.fields.get("note", "")
    outcome = await asked.desks.desk.add_note(form.about.incident_id, asked.user, text, asked.request.id)
    return answers.said(answers.NOTED[outcome])


async def _draft(asked: Asked, form: Form) -> Answer:
    text, made_of = form.fields.get("draft", ""), form.fields.get("made_of", "")
    outcome = await asked.desks.drafts.publish(asked.user, form.about.incident_id, text, made_of)
    return answers.said(answers.PUBLISHED[outcome])


_FORMS = {modals.LABEL: _label, modals.ASK: _ask, modals.NOTE: _note, modals.DRAFT: _draft}
