"""What a card says, before it takes a form: paragraphs of runs, a table, buttons. Both forms draw the same content.

The builders here choose and order; `blocks_modern` and `blocks_classic` only draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.cards import words
from bot.cards.buttons import Button, buttons, value_of
from bot.cards.footer import footer
from bot.cards.phrases import (
    change_name,
    change_words,
    cited,
    context,
    header,
    marks,
    moment,
    restricted_reason,
)  # fmt: skip
from bot.cards.runs import GAP, NAME_LIMIT, Line, Run, bold, text
from bot.cards.state import CardState, CauseSaid, StormPart
from bot.trust.neutralise import clean
from bot.types import Claim, Reason, Suspect


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Lines of prose, or an ordered list with a heading of its own."""

    line: Line
    steps: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """The channel's message."""

    header: str
    context: Line
    paragraphs: tuple[Paragraph, ...]
    more_title: str
    suspects: tuple[tuple[str, ...], ...]
    """Rows of the table in the collapsed part, its head first; empty when there is nothing to rank."""
    timeline: tuple[Line, ...]
    buttons: tuple[Button, ...]
    feedback: str
    """Value of the feedback buttons, empty for none."""
    footer: Line


def paragraphs(state: CardState) -> tuple[Paragraph, ...]:
    """Cause, what is going on, next: with a summary in the model's checked words, else in fixed sentences."""
    if state.restricted:
        return (Paragraph((text(restricted_reason(state)),)),)
    made = [*_storm(state), *_cause(state), *_struck(state)]
    if state.summary is not None and state.summary.going_on:
        heading = "What was going on" if state.phase == "resolved" else "What is going on"
        made.append(Paragraph((bold(heading), GAP, *_claims(state, state.summary.going_on))))
    if state.phase == "resolved":
        if state.cause_said is not None:
            made.append(Paragraph((bold("Cause"), GAP, text(_cause_in_words(state.cause_said)))))
        elif state.confirmed is None and "label" in state.offers:
            made.append(Paragraph((bold(words.ASK_CAUSE), GAP, text("One click below tells the next responder."))))
        return tuple(made)
    steps = _claim_steps(state) or _fixed_steps(state)
    if steps:
        made.append(Paragraph((bold("Next"),), steps))
    return tuple(made)


def _cause_in_words(said: CauseSaid) -> str:
    by = f", said by {said.by}" if said.by else ""
    return f"{words.CAUSES[said.cause]}{f' {said.service}' if said.service else ''}{by}."


def _claims(state: CardState, claims: Sequence[Claim]) -> Line:
    return tuple(run for claim in claims[:4] for run in cited(state, claim.text, claim.evidence))


def _storm(state: CardState) -> list[Paragraph]:
    if len(state.storm) < 2:
        return []
    shown = state.storm[:6]
    listed = ", ".join(f"{part.service} {part.alerts}" for part in shown)
    rest = state.storm[6:]
    more = f" and {words.count(len(rest), 'more service', 'more services')}" if rest else ""
    seen = sum(part.alerts for part in state.storm)
    note = "" if seen >= state.alerts_in_storm else f" ({state.alerts_in_storm - seen:,} more not listed)"
    return [Paragraph((bold("Alerts"), GAP, text(f"{listed}{more}{note}.")))]


def _cause(state: CardState) -> list[Paragraph]:
    first = state.first_suspect
    claims = state.summary.cause if state.summary is not None and state.summary_fits else ()
    line = [*(_nothing_stands_out(state) if first is None else _suspect_sentence(state, first))]
    if claims:
        line += _claims(state, claims)
    elif first is not None:
        line += _reasons(state, _telling(first), 3)
    return [Paragraph(tuple(line))]


def _telling(suspect: Suspect) -> list[Reason]:
    """The reasons that say more than the sentence before them, which tells how long before the alert it was."""
    own = {suspect.mark}
    return [one for one in suspect.reasons if not (set(one.evidence) <= own and "the first alert" in one.text)]


def _reasons(state: CardState, reasons: Sequence[Reason], limit: int) -> list[Run]:
    """The first reasons, the first always, as many as leave the card short; the thread has them all."""
    line: list[Run] = []
    used = 0
    for reason in reasons[:limit]:
        used += len(reason.text)
        if line and used > REASONS_BUDGET:
            break
        line += cited(state, reason.text, reason.evidence)
    return line


def _suspect_sentence(state: CardState, suspect: Suspect) -> Line:
    item = state.item(suspect.mark)
    kind, name, says = change_name(suspect, item)
    confirmed = state.confirmed is not None and state.confirmed.change_id == suspect.change_id
    word = words.confidence_word(suspect)
    if state.phase == "resolved":
        word = "It was" if confirmed else f"It was {word.lower()}"
    elif confirmed:
        word = "Confirmed"
    line: list[Run] = [bold(word), text(f" {kind} ")]
    line.append(Run(name, "code", limit=NAME_LIMIT) if says or _is_commit(name) else text(f"“{name}”", NAME_LIMIT))
    if suspect.service:
        line.append(text(f" to {suspect.service}", NAME_LIMIT))
    if says:
        line.append(text(f" “{clean(says, NAME_LIMIT)}”", NAME_LIMIT + 4))
    line += [text(", "), moment(suspect.changed_at), text(f", {words.distance(suspect.seconds_before)}")]
    if abs(suspect.seconds_before) >= 1:
        line.append(text(" the first alert"))
    if confirmed and state.confirmed is not None and state.confirmed.by:
        line.append(text(f"; confirmed by {state.confirmed.by}", NAME_LIMIT))
    return (*line, *marks(state, [suspect.mark]), text(". "))


def _is_commit(name: str) -> bool:
    return 7 <= len(name) <= 40 and all(c in "0123456789abcdef" for c in name)


def _nothing_stands_out(state: CardState) -> Line:
    if state.everything_down:
        return (bold("Nothing is known yet"), GAP, text(words.NO_SOURCE))
    left = [s for s in state.suspects if s.change_id not in state.struck]
    looked = [words.count(len(left), "change")]
    if state.services:
        looked.append(words.count(len(state.services), "service"))
    answered = sum(source.answered for source in state.sources)
    if state.sources:
        looked.append(words.count(answered, "source"))
    line: list[Run] = [bold("Nothing stands out"), GAP, text(f"Looked at {', '.join(looked)}. ")]
    top = state.services[0] if state.services else None
    if top is not None and top.probability >= words.POSSIBLY and top.reasons:
        line += [text("Telemetry points at "), bold(top.service), text(". "), *_reasons(state, top.reasons, 2)]
    elif left:
        nearest = max(left, key=lambda suspect: suspect.probability)
        line.append(text(f"Nearest: {change_words(nearest, state.item(nearest.mark))}"))
        if nearest.service:
            line.append(text(f" to {nearest.service}", NAME_LIMIT))
        line += [text(f", {words.distance(nearest.seconds_before)}"), *marks(state, [nearest.mark]), text(". ")]
    return tuple(line)


def _struck(state: CardState) -> list[Paragraph]:
    made = []
    by_id = {suspect.change_id: suspect for suspect in state.suspects}
    for one in state.ruled_out[-2:]:
        suspect = by_id.get(one.change_id)
        if suspect is None:
            continue
        name = change_words(suspect, state.item(suspect.mark))
        by = f" by {one.by}" if one.by else ""
        line = (Run(name, "strike", limit=NAME_LIMIT), text(f" ruled out{by}, ", NAME_LIMIT), moment(one.at), text("."))
        made.append(Paragraph(line))
    return made


def _claim_steps(state: CardState) -> tuple[Line, ...]:
    if state.summary is None or not state.summary_fits:
        return ()
    return tuple((text(words.sentence(claim.text)), *marks(state, claim.evidence)) for claim in state.summary.next[:4])


def _fixed_steps(state: CardState) -> tuple[Line, ...]:
    """What to do next where no model says it: from the evidence, in fixed sentences."""
    steps: list[Line] = []
    first = state.first_suspect
    if first is not None:
        steps.append((text(f"Look at the {'change' if first.kind == 'other' else first.kind}"),
                      *marks(state, [first.mark])))  # fmt: skip
        if first.rollback_url:
            steps.append((Run("Roll it back", "mark", url=first.rollback_url, limit=NAME_LIMIT),
                          text(" if the diff explains it")))  # fmt: skip
        elif first.rollback:
            steps.append((text("If the diff explains it, roll it back: "), Run(first.rollback, "code")))
    runbook = next((item for item in state.evidence if item.kind == "runbook" and not item.suspicious), None)
    if runbook is not None:
        steps.append((text(f"Follow the runbook “{runbook.title[:NAME_LIMIT]}”"), *marks(state, [runbook.mark])))
    for kind, sentence in (("trace", "Look at the slowest request"), ("metric", "Look at the graph"),
                           ("past_incident", "Compare with a similar incident")):  # fmt: skip
        item = next((item for item in state.evidence if item.kind == kind), None)
        if item is not None and len(steps) < 3:
            steps.append((text(sentence), *marks(state, [item.mark])))
    if not steps:
        alert = next((item for item in state.evidence if item.kind == "alert"), None)
        if alert is not None:
            steps.append((text("Open the alert itself"), *marks(state, [alert.mark])))
        if state.incident.on_call:
            steps.append((text(f"Ask on-call {state.incident.on_call}", NAME_LIMIT),))
    return tuple(steps[:3])


# --- the collapsed part, the footer ----------------------------------------------------------------------------------


def suspect_rows(state: CardState) -> tuple[tuple[str, ...], ...]:
    """Change, where, when, why, score; the head first."""
    if not state.suspects:
        return ()
    rows = [("change", "where", "when", "why", "score")]
    struck = state.struck
    for suspect in state.suspects[:MAX_ROWS]:
        name = change_words(suspect, state.item(suspect.mark))
        if suspect.change_id in struck:
            name += " (ruled out)"
        why = "; ".join(reason.text.strip().rstrip(".") for reason in suspect.reasons[:2]) or "no sign in telemetry"
        when = words.distance(suspect.seconds_before)
        rows.append((name, suspect.service or "–", when, why[:160], f"{suspect.probability:.2f}"))
    return tuple(rows)


MAX_ROWS = 5
REASONS_BUDGET = 320
"""Characters of reasons on the card: about four lines."""
MAX_TIMELINE = 6


def timeline(state: CardState, limit: int = MAX_TIMELINE) -> tuple[Line, ...]:
    """The last lines of the timeline, oldest first: a time, what happened, its marks."""
    shown = sorted(state.timeline, key=lambda entry: entry.at)[-limit:]
    return tuple(
        (moment(entry.at), GAP, text(words.sentence(entry.text), 200), *marks(state, entry.evidence)) for entry in shown
    )


def storm_lines(parts: Sequence[StormPart]) -> tuple[Line, ...]:
    """Alerts by service, one a line, for the thread."""
    return tuple((text(part.service, NAME_LIMIT), GAP, text(words.count(part.alerts, "alert"))) for part in parts)


def card(state: CardState) -> Card:
    """The whole channel message."""
    suspects = () if state.restricted else suspect_rows(state)
    lines = () if state.restricted else timeline(state)
    inside = [f"Suspects ({len(suspects) - 1})"] if suspects else []
    inside += ["timeline"] if lines else []
    told = ", ".join(inside)
    return Card(
        header=header(state),
        context=context(state),
        paragraphs=paragraphs(state),
        more_title=told[:1].upper() + told[1:],
        suspects=suspects,
        timeline=lines,
        buttons=buttons(state),
        feedback=value_of(state, state.first_suspect) if "feedback" in state.offers and not state.restricted else "",
        footer=footer(state),
    )
