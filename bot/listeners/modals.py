"""Forms (Slack's modals), and reading what comes back from them. What comes back is outside input.

Limits: docs.slack.dev/reference/views/modal-views (title and buttons 24 characters, private_metadata 3,000).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.cards import words
from bot.cards.actions import ActionValue
from bot.listeners.desk import CAUSES, Label, LabelChoices
from bot.trust.neutralise import plain_text, units

Block = dict[str, Any]
LABEL, NOTE, ASK, DRAFT = "sitrep.form.label", "sitrep.form.note", "sitrep.form.ask", "sitrep.form.draft"
NO_SUSPECT = "none"
MAX_TYPED = 2900
_CAUSES = tuple(words.CAUSES.items())


@dataclass(frozen=True, slots=True)
class Submitted:
    """A form that came back: whose words about which incident, and where it was opened."""

    about: ActionValue
    channel: str
    fields: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)
    """By block id; what Slack shows at the field."""


def _form(
    callback_id: str, title: str, submit: str, about: ActionValue, channel: str, blocks: Sequence[Block], more: str = ""
) -> Block:
    metadata = {"i": about.incident_id, "v": about.version, "m": about.mark, "c": channel, "x": more}
    return {
        "type": "modal",
        "callback_id": callback_id,
        "title": plain_text(title, 24),
        "submit": plain_text(submit, 24),
        "close": plain_text("Cancel", 24),
        "private_metadata": json.dumps(metadata, separators=(",", ":")),
        "blocks": list(blocks),
    }


def _option(text: str, value: str) -> Block:
    return {"text": plain_text(text, 75), "value": value}


def _select(name: str, label: str, options: Sequence[Block], initial: Block | None, *, optional: bool = False) -> Block:
    element: Block = {"type": "static_select", "action_id": name, "options": list(options)[:100]}
    if initial is not None:
        element["initial_option"] = initial
    return {
        "type": "input", "block_id": name, "label": plain_text(label, 150), "element": element, "optional": optional,
    }  # fmt: skip


def _typed(
    name: str, label: str, *, most: int, initial: str = "", lines: bool = True, optional: bool = False, hint: str = ""
) -> Block:
    element: Block = {"type": "plain_text_input", "action_id": name, "multiline": lines, "max_length": most}
    if initial:
        element["initial_value"] = initial[:most]
    block = {
        "type": "input", "block_id": name, "label": plain_text(label, 150), "element": element, "optional": optional,
    }  # fmt: skip
    return block | ({"hint": plain_text(hint, 150)} if hint else {})


def label_form(choices: LabelChoices, about: ActionValue, channel: str) -> Block:
    """What was the cause? `about.mark` is the suspect that was clicked."""
    causes = [_option(said, cause) for cause, said in _CAUSES]
    causes[0] = _option("A change", "change")
    clicked = next((one for one in choices.suspects if one.mark == about.mark), None)
    none = _option("None of them", NO_SUSPECT)
    by_mark = {
        one.mark: _option(f"{rank}. {one.summary}{f' ({one.service})' if one.service else ''}", one.mark)
        for rank, one in enumerate(choices.suspects, start=1)
    }
    suspects = list(by_mark.values())
    chosen = next((one for one in suspects if clicked is not None and one["value"] == clicked.mark), none)
    services = [_option(name, name) for name in choices.services if units(name) <= 150]
    blocks = [_select("cause", "What was the cause?", causes, causes[0] if clicked is not None else None)]
    blocks.append(_select("suspect", "Which suspect was right?", [*suspects[:98], none], chosen))
    if services:
        blocks.append(_select("service", "In which service?", services, None, optional=True))
    hint = "In a few words: rolled back, fixed forward, scaled up, it went away."
    blocks.append(_typed("fixed_by", "What fixed it?", most=200, lines=False, optional=True, hint=hint))
    return _form(LABEL, "What was the cause?", "Save", about, channel, blocks)


def note_form(about: ActionValue, channel: str) -> Block:
    """A note for the incident source, written as this person."""
    hint = "It is written in PagerDuty under your name, for everybody who reads the incident there."
    block = _typed("note", f"Note on {about.incident_id}", most=2000, hint=hint)
    return _form(NOTE, "Add note in PagerDuty", "Add note", about, channel, [block])


def ask_form(about: ActionValue, channel: str) -> Block:
    hint = "The answer comes from this incident's evidence alone, and only you see it."
    block = _typed("question", f"Your question about {about.incident_id}", most=400, hint=hint)
    return _form(ASK, "Ask about the incident", "Ask", about, channel, [block])


def draft_form(text: str, about: ActionValue, channel: str, made_of: str) -> Block:
    """A draft to edit and publish; `made_of` says from which evidence it was made."""
    hint = "Publishing posts it in the incident's channel. Nothing is posted before."
    block = _typed("draft", f"Report on {about.incident_id}", most=MAX_TYPED, initial=text, hint=hint)
    return _form(DRAFT, "Post-incident report", "Publish", about, channel, [block], made_of)


def read(view: Mapping[str, Any]) -> Submitted | None:
    """What was submitted; None for what is no form of ours."""
    try:
        metadata = json.loads(view.get("private_metadata", ""))
        encoded = json.dumps({"i": metadata["i"], "v": metadata["v"], "m": metadata["m"]})
        about, channel, more = ActionValue.decode(encoded), metadata["c"], metadata.get("x", "")
        values = view["state"]["values"]
        fields = {name: _value(block[name]) for name, block in values.items() if name in block}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if about is None or not isinstance(channel, str) or not isinstance(more, str):
        return None
    fields["made_of"] = more
    return Submitted(about, channel, fields, _errors(str(view.get("callback_id", "")), fields))


def _value(element: Mapping[str, Any]) -> str:
    if element.get("type") == "static_select":
        chosen = element.get("selected_option")
        return str(chosen["value"])[:150] if chosen else ""
    return str(element.get("value") or "")[: MAX_TYPED + 100].strip()


def _errors(callback_id: str, fields: Mapping[str, str]) -> dict[str, str]:
    """What has to be mended before the form is taken."""
    if callback_id == LABEL and fields.get("cause") not in words.CAUSES:
        return {"cause": "Choose one."}
    if callback_id == LABEL and fields.get("cause") != "change" and fields.get("suspect", NO_SUSPECT) != NO_SUSPECT:
        return {"suspect": "A suspect is a change: choose “None of them”, or “A change” as the cause."}
    wanted = {NOTE: "note", ASK: "question", DRAFT: "draft"}.get(callback_id)
    if wanted is not None and not fields.get(wanted):
        return {wanted: "Write something first."}
    return {}


def label_of(fields: Mapping[str, str], services: Sequence[str]) -> Label:
    """The label of a form that has no errors; `services` are those that this person may name."""
    service = fields.get("service", "")
    mark = fields.get("suspect", NO_SUSPECT)
    kept = service if service in services else None
    cause = next(one for one in CAUSES if one == fields["cause"])
    return Label(cause, "" if mark == NO_SUSPECT else mark, kept, fields.get("fixed_by", ""))
