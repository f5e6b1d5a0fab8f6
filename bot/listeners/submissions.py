"""What each form does when it comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.cards.actions import ActionValue
from bot.listeners import answers, modals
from bot.listeners.asked import Asked
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
    if form is not None and callback_id == modals.LABEL:
        return await _label(asked, form)
    return answers.said(answers.NOT_OURS)


async def _label(asked: Asked, form: Form) -> Answer:
    about, labels = form.about, asked.desks.labels
    choices = await labels.choices(about.incident_id, asked.user)
    given = modals.label_of(form.fields, choices.services)
    return answers.labelled(await labels.label(about.incident_id, asked.user, about.version, given))
