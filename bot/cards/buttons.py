"""What can be done from a card: its buttons, the likeliest first. Both forms draw the same ones."""

from __future__ import annotations

from dataclasses import dataclass

from bot.cards import actions, words
from bot.cards.phrases import change_words
from bot.cards.state import CardState
from bot.types import Suspect


@dataclass(frozen=True, slots=True)
class Button:
    """One button: our words, an action and a value that says what it is about."""

    action: str
    label: str
    value: str
    primary: bool = False
    confirm: tuple[str, str, str] | None = None
    """Title, question and the word of agreement, where a click has an effect outside."""


def buttons(state: CardState) -> tuple[Button, ...]:
    """What can be done from the card now, the likeliest first."""
    made: list[Button] = []
    first = None if state.restricted else state.first_suspect
    value = value_of(state, first)
    open_question = state.confirmed is None and state.cause_said is None
    if first is not None and "label" in state.offers and open_question:
        made.append(Button(actions.WAS_CHANGE, "It was this change", value, primary=state.phase == "resolved"))
        made.append(Button(actions.WAS_NOT, "It was not", value))
    if state.ruled_out and "label" in state.offers and not state.restricted:
        last = state.ruled_out[-1]
        suspect = next((s for s in state.suspects if s.change_id == last.change_id), None)
        if suspect is not None:
            until = words.clock_minute(last.undo_until_at)
            label = f"Undo: not {change_words(suspect, state.item(suspect.mark), 20)} (until {until})"
            made.append(Button(actions.UNDO_WAS_NOT, label, value_of(state, suspect)))
    if state.phase == "resolved" and not state.restricted:
        if first is None and "label" in state.offers and open_question:
            made.append(Button(actions.LABEL, "Name the cause", value, primary=True))
        if "draft" in state.offers:
            made.append(Button(actions.DRAFT, "Draft a report", value))
    if state.phase != "resolved":
        if "ask" in state.offers and not state.restricted:
            made.append(Button(actions.ASK, "Ask", value))
        if "catchup" in state.offers and not state.restricted:
            made.append(Button(actions.CATCH_UP, "Catch me up", value))
        if "acknowledge" in state.offers and state.times.acknowledged_at is None and state.phase != "mitigated":
            source = words.SYSTEM_NAMES.get(state.incident.source)
            question = f"Acknowledge {state.incident.id[:100]}{f' in {source}' if source else ''}?"
            made.append(Button(actions.ACKNOWLEDGE, "Acknowledge", value,
                               confirm=("Acknowledge", question, "Acknowledge")))  # fmt: skip
        if "life" in state.offers and state.times.acknowledged_at is not None:
            if state.phase != "mitigated":
                made.append(Button(actions.MITIGATED, "Mitigated", value))
            if state.incident.source != "pagerduty":
                question = f"Say that {state.incident.id[:100]} is over?"
                made.append(Button(actions.RESOLVE, "Resolve", value, confirm=("Resolve", question, "Resolve")))
        if "note" in state.offers and state.incident.source == "pagerduty" and not state.restricted:
            made.append(Button(actions.NOTE, "Add note", value))
    if "own_view" in state.offers and (state.hidden or state.restricted):
        number = f" ({state.hidden})" if state.hidden else ""
        made.append(Button(actions.OWN_VIEW, f"{words.SHOW_MINE}{number}", value))
    return tuple(made)


def value_of(state: CardState, suspect: Suspect | None) -> str:
    """About which incident, which version of its card and which suspect a click is."""
    mark = suspect.mark if suspect is not None else ""
    return actions.ActionValue(state.incident.id, state.version, mark).encode()
