"""CardState to Slack messages: the card, two replies to the channel, the thread's details. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bot.cards import blocks_classic, blocks_modern, content, details, phrases, words
from bot.cards.runs import NAME_LIMIT, Line, Run, text
from bot.cards.state import CardState
from bot.trust.neutralise import LinkPolicy, mrkdwn, mrkdwn_object, plain_text, units

Form = Literal["modern", "classic", "minimal"]
"""`minimal` is the lock screen's sentence alone, for a server that refuses the classic form too."""
Part = Literal["card", "reply1", "reply2", "thread", "narrowed"]
PARTS: tuple[Part, ...] = ("card", "reply1", "reply2", "thread", "narrowed")

MAX_TEXT = 2900
_TEXT_RUN = 400


@dataclass(frozen=True, slots=True)
class RenderedPart:
    """One message: the text for notification and screen reader, and its blocks."""

    text: str
    blocks: list[dict[str, Any]]
    broadcast: bool = False
    """A thread reply that is also sent to the channel."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The card itself, and what hangs in its thread; a part that has nothing to say is absent."""

    text: str
    blocks: list[dict[str, Any]]
    thread: Mapping[str, RenderedPart] = field(default_factory=dict)

    def part(self, name: str) -> RenderedPart | None:
        """The card or a part of its thread by the outbox's name for it."""
        return RenderedPart(self.text, self.blocks) if name == "card" else self.thread.get(name)


def render(state: CardState, form: Form = "modern") -> Rendered:
    """Every message of this state in one form."""
    policy, began = LinkPolicy(state.links), state.incident.triggered_at
    told = content.card(state)
    notification = _notification(state, told, policy)
    if form == "minimal":
        return Rendered(notification, [_minimal(phrases.lock_screen(state))], _minimal_thread(state))
    made = blocks_modern if form == "modern" else blocks_classic
    thread: dict[str, RenderedPart] = {}
    for name, change_id in zip(("reply1", "reply2"), state.replies, strict=False):
        line = reply_line(state, change_id)
        thread[name] = RenderedPart(plain(line), made.reply(line, policy, began), broadcast=True)
    depth = details.sections(state)
    if depth:
        heading = f"Details of {state.incident.id}: " + ", ".join(s.heading.lower() for s in depth)
        thread["thread"] = RenderedPart(mrkdwn(heading, 300), made.details(depth, policy, began))
    thread |= _narrowed(state)
    return Rendered(notification, made.card(told, policy, began), thread)


def parts_of(state: CardState) -> frozenset[str]:
    """The parts that have something to say; the others are absent from `render`."""
    parts = {"card", *(name for name, _ in zip(("reply1", "reply2"), state.replies, strict=False))}
    parts |= {"narrowed"} if state.narrowed else set()
    return frozenset(parts | ({"thread"} if details.sections(state) else set()))


def reply_line(state: CardState, change_id: str) -> Line:
    """The new sentence for the channel; of a suspect that this card may no longer show, only that."""
    suspect = next((s for s in state.suspects if s.change_id == change_id), None)
    if suspect is None or state.restricted:
        return (text(words.NO_LONGER_SHOWN),)
    item = state.item(suspect.mark)
    line: list[Run] = [text(f"{phrases.severity(state)} {phrases.subject(state)}. ", 200)]
    line.append(text(f"Suspect now: {words.confidence_word(suspect).lower()} "))
    line.append(text(phrases.change_words(suspect, item), NAME_LIMIT))
    if suspect.service:
        line.append(text(f" to {suspect.service}", NAME_LIMIT))
    line.append(text(f", {words.distance(suspect.seconds_before)}"))
    if abs(suspect.seconds_before) >= 1:
        line.append(text(" the first alert"))
    return (*line, *phrases.marks(state, [suspect.mark]), text("."))


def _notification(state: CardState, told: content.Card, policy: LinkPolicy) -> str:
    """The lock screen's sentence first, then the whole card in plain words for a screen reader."""
    lines = [mrkdwn(phrases.lock_screen(state), 500)]
    for paragraph in () if state.restricted else told.paragraphs:
        lines.append(plain(paragraph.line))
        lines += [f"{number}. {plain(step)}" for number, step in enumerate(paragraph.steps, start=1)]
    lines.append(plain(told.footer))
    kept, used = [], 0
    for line in lines:
        size = units(line) + 1
        if line and used + size <= MAX_TEXT:
            kept.append(line)
            used += size
    return "\n".join(kept)


def plain(line: Line) -> str:
    """The line without links, dates or styles, escaped: Slack parses `text` like mrkdwn."""
    shown: list[str] = []
    for run in line:
        if run.kind == "ago":
            continue
        if run.kind == "gap":
            # No colon: with one before it in outside text it would make an emoji code.
            shown.append(" – ")
        elif run.at is not None:
            shown.append(words.clock_second(run.at))
        else:
            shown.append(mrkdwn(run.text, min(run.limit, _TEXT_RUN), edges=True))
    return "".join(shown).strip()


def _narrowed(state: CardState) -> dict[str, RenderedPart]:
    """A line in the thread that something was narrowed, never what."""
    if not state.narrowed:
        return {}
    return {"narrowed": RenderedPart(words.NARROWED, [{"type": "section", "text": mrkdwn_object(words.NARROWED)}])}


def _minimal(sentence: str) -> dict[str, Any]:
    return {"type": "section", "text": plain_text(sentence, 2900)}


def _minimal_thread(state: CardState) -> dict[str, RenderedPart]:
    thread = {}
    for name, change_id in zip(("reply1", "reply2"), state.replies, strict=False):
        told = plain(reply_line(state, change_id))
        block = {"type": "section", "text": mrkdwn_object(told)}
        thread[name] = RenderedPart(told, [block], broadcast=True)
    return thread | _narrowed(state)
