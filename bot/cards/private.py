"""Private answers about one incident, drawn from the card as one person may see it: timeline, suspects, catch-up.

Pure, and built of the card's own lines, so that a mark is a link to the item itself here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.cards import content, details, phrases, words
from bot.cards.footer import footer
from bot.cards.markup import MAX_LINE_UNITS, Block, context_block, pieces
from bot.cards.render import Form, RenderedPart, plain
from bot.cards.runs import GAP, NAME_LIMIT, Line, Run, bold, text
from bot.cards.state import CardState
from bot.trust.neutralise import LinkPolicy, mrkdwn_object, units
from bot.types import Claim

MAX_SECTIONS = 40
MAX_TEXT = 2900
DOES_NOT_SAY = "The evidence of this incident does not say."
NO_MESSAGES = "Sitrep reads no messages of this channel, so it cannot say what was tried beyond that."


@dataclass(frozen=True, slots=True)
class Happened:
    """One thing that happened to a card."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class CatchUp:
    """A latecomer's five lines, for one person. `state` is the card as this person may see it."""

    state: CardState
    happened: Sequence[Happened] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """An item that matches the words of a question."""

    mark: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a question. `claims` come from a model and passed every check; with `why` no model answered, for
    that reason, and `found` is what matches the question's words. Neither: the evidence does not say."""

    state: CardState
    question: str
    claims: tuple[Claim, ...] = ()
    found: tuple[Found, ...] = ()
    searched: str = ""
    why: str = ""


def drawn(lines: Iterable[Line], state: CardState, form: Form, footer: Line = ()) -> RenderedPart:
    """Lines one below the other. Times are local in the modern form, in UTC in the classic one."""
    policy, began = LinkPolicy(state.links), state.incident.triggered_at
    times = "local" if form == "modern" else "minute"
    blocks: list[Block] = []
    paragraph, told, used = "", [], 0
    for line in lines:
        for piece in pieces(line, policy, began, times=times):  # type: ignore[arg-type]
            if paragraph and units(paragraph) + units(piece) + 1 > MAX_LINE_UNITS:
                blocks.append({"type": "section", "text": mrkdwn_object(paragraph)})
                paragraph = ""
            paragraph = f"{paragraph}\n{piece}" if paragraph else piece
        said = plain(line)
        if said and used + units(said) + 1 <= MAX_TEXT:
            told.append(said)
            used += units(said) + 1
    if paragraph:
        blocks.append({"type": "section", "text": mrkdwn_object(paragraph)})
    if footer:
        if used + units(plain(footer)) + 1 <= MAX_TEXT:
            told.append(plain(footer))
        blocks += context_block(footer, policy, began, times=times)  # type: ignore[arg-type]
    return RenderedPart("\n".join(told) or "–", blocks[:MAX_SECTIONS])


def heading(state: CardState, what: str) -> Line:
    """ "Timeline of P8K2Q1 (#1834)": the id leads to the incident itself."""
    incident = state.incident
    return (bold(what), text(" of "), Run(phrases.reference(state), "mark", url=incident.url, limit=NAME_LIMIT))


def restricted(state: CardState) -> Line:
    return (text(phrases.lock_screen(state)),)


def timeline(state: CardState, form: Form) -> RenderedPart:
    """What happened when, the incident's own life included, oldest first."""
    if state.restricted:
        return drawn([restricted(state)], state, form)
    lines = [(entry.at, line) for entry, line in zip(_by_time(state), content.timeline(state, 60), strict=True)]
    lines += [(at, (phrases.moment(at), GAP, text(said))) for at, said in _life(state)]
    ordered = [line for _, line in sorted(lines, key=lambda one: one[0])]
    return drawn([heading(state, "Timeline"), *ordered], state, form)


def _by_time(state: CardState) -> Sequence[Happened]:
    return [Happened(entry.at, entry.text) for entry in sorted(state.timeline, key=lambda entry: entry.at)[-60:]]


def _life(state: CardState) -> list[tuple[datetime, str]]:
    """The incident's transitions, and what people said to the card."""
    times, began = state.times, state.incident.triggered_at
    by = f" by {times.acknowledged_by}" if times.acknowledged_by else ""
    found = [
        (times.acknowledged_at, f"Acknowledged{by}"), (times.mitigated_at, "Mitigated"),
        (times.resolved_at, "Resolved"), (times.reopened_at, "Fired again"),
    ]  # fmt: skip
    told = [(at, f"{said}, {words.duration((at - began).total_seconds())} after it began.") for at, said in found if at]
    return [(began, "The incident began."), *told, *((one.at, one.text) for one in said_by_people(state))]


def said_by_people(state: CardState) -> list[Happened]:
    """Strikes and confirmations, of suspects that this card holds."""
    names = {one.change_id: phrases.change_words(one, state.item(one.mark)) for one in state.suspects}
    made = [
        Happened(one.at, f"Ruled out{f' by {one.by}' if one.by else ''}: {names[one.change_id]}.")
        for one in state.ruled_out
        if one.change_id in names
    ]
    confirmed, cause = state.confirmed, state.cause_said
    if confirmed is not None and confirmed.change_id in names:
        by = f" by {confirmed.by}" if confirmed.by else ""
        made.append(Happened(confirmed.at, f"Confirmed{by} as the cause: {names[confirmed.change_id]}."))
    if cause is not None:
        made.append(Happened(cause.at, f"Named as the cause: {words.CAUSES[cause.cause].lower()}."))
    return made


def suspects(state: CardState, form: Form) -> RenderedPart:
    """Every ranked change with its reasons, and where telemetry points."""
    if state.restricted:
        return drawn([restricted(state)], state, form)
    lines = [
        line for part in details.sections(state) if part.heading in ("Suspects", "Services") for line in part.lines
    ]
    if not state.suspects:
        lines.insert(0, (text("No change was found near this incident that you may see."),))
    footer = (text(words.count(state.hidden, "item") + " hidden from this channel"),) if state.hidden else ()
    return drawn([heading(state, "Suspects"), *lines], state, form, footer)


def catch_up(told: CatchUp, form: Form) -> RenderedPart:
    """Five lines: what, since when, what changed on the card, what was tried, what is open."""
    state = told.state
    if state.restricted:
        return drawn([restricted(state)], state, form)
    what = (bold("What"), GAP, text(f"{phrases.severity(state)} {phrases.subject(state).rstrip('. ')}. ", 300))
    lines: list[Line] = [(*what, *_cause(state))]
    lines.append((bold("Since"), GAP, *phrases.context(state)))
    lines.append((bold("Changes"), GAP, *_listed(told.happened, "The card has not changed since it was posted.")))
    tried = said_by_people(state)
    lines.append((bold("Tried"), GAP, *(_listed(tried, "") if tried else ()), text(NO_MESSAGES)))
    lines.append((bold("Open"), GAP, *_open(state)))
    return drawn([heading(state, "Catch-up"), *lines], state, form, footer(state))


def _cause(state: CardState) -> Line:
    if state.summary is not None and state.summary_fits and state.summary.cause:
        return _claims(state, state.summary.cause)
    first = state.first_suspect
    if first is None:
        return (text("No change stands out."),)
    word = words.confidence_word(first)
    name = phrases.change_words(first, state.item(first.mark))
    confirmed = state.confirmed is not None and state.confirmed.change_id == first.change_id
    return (text(f"{'Confirmed' if confirmed else word}: {name}", 200), *phrases.marks(state, [first.mark]), text("."))


def _claims(state: CardState, claims: Sequence[Claim]) -> Line:
    return tuple(run for claim in claims[:3] for run in phrases.cited(state, claim.text, claim.evidence))


def _listed(happened: Sequence[Happened], nothing: str) -> Line:
    if not happened:
        return (text(nothing),)
    line: list[Run] = []
    for one in happened[-5:]:
        line += [phrases.moment(one.at), text(" "), text(f"{one.text} ", 200)]
    return tuple(line)


def _open(state: CardState) -> Line:
    """What nobody has done or said yet."""
    times, left = state.times, []
    if state.phase == "resolved":
        return (text("It is over." if _cause_is_known(state) else "It is over; nobody has named the cause."),)
    if times.acknowledged_at is None:
        left.append("nobody has acknowledged it")
    if state.phase != "mitigated":
        left.append("users are still hurt, as far as the incident source says")
    if state.first_suspect is not None and state.confirmed is None:
        left.append("whether it was the first suspect")
    silent = [source.name for source in state.sources if not source.answered]
    if silent:
        left.append(f"no answer from {', '.join(silent[:3])}")
    return (text(words.sentence("; ".join(left) or "nothing that Sitrep knows of"), 400), text("."))


def _cause_is_known(state: CardState) -> bool:
    return state.confirmed is not None or state.cause_said is not None


def answer(told: Answered, form: Form) -> RenderedPart:
    """At most four sentences with their marks, or that the evidence does not say, or the items that match."""
    state = told.state
    asked: Line = (Run(f"“{told.question}”", "text", limit=420),)
    searched = f"Searched {told.searched}." if told.searched else "There was nothing to search."
    footer: Line = (text(f"{searched} Only you see this answer.", 300),)
    if told.claims:
        lines = [asked, *(phrases.cited(state, claim.text, claim.evidence) for claim in told.claims[:4])]
        return drawn(lines, state, form, (*footer, text(" A model wrote it; every sentence was checked.")))
    if not told.why:
        return drawn([asked, (text(DOES_NOT_SAY),)], state, form, footer)
    reason = (text(f"No model answered ({told.why.strip().rstrip('.')}). ", 300),)
    items = [item for one in told.found if (item := state.item(one.mark)) is not None]
    if not items:
        return drawn([asked, (*reason, text("No item of this incident holds words of your question."))], state, form,
                     footer)  # fmt: skip
    listed: list[Line] = [
        (Run(item.mark, "mark", url=item.url, limit=8), GAP,
         text(f"{item.kind.replace('_', ' ')}, {item.source}: ", 80), text(f"{item.title}, ", 200),
         phrases.moment(item.observed_at))
        for item in items
    ]  # fmt: skip
    return drawn([asked, (*reason, text("These items hold words of your question:")), *listed], state, form, footer)
