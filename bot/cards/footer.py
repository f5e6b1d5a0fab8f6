"""A card's last line: what is missing, what was hidden, how long it took, what it cost."""

from __future__ import annotations

from bot.cards import words
from bot.cards.runs import Line, joined, text
from bot.cards.state import CardState
from bot.types import SourceStatus


def footer(state: CardState) -> Line:
    """What is missing, what was hidden, how long it took, what it cost: reasons in words, never an error text."""
    parts = [_sources(state), _hidden(state), _like_orders(state), *_missing_summary(state)]
    if state.narrowed:
        parts.append(words.NARROWED.rstrip("."))
    if state.paused:
        parts.append(f"summaries paused: {state.paused}")
    if state.not_mapped:
        parts.append(f"not mapped: {', '.join(state.not_mapped[:3])}")
    parts += [notice.strip().rstrip(".") for notice in state.notices[:4]]
    timings = []
    if state.facts_seconds is not None:
        timings.append(f"facts at +{words.duration(state.facts_seconds)}")
    if state.summary_seconds is not None and state.summary is not None:
        timings.append(f"summary at +{words.duration(state.summary_seconds)}")
    parts.append(", ".join(timings))
    if state.model and state.tokens:
        parts.append(f"model {state.model}, {words.tokens(state.tokens)}, {words.money(state.cost_usd)}")
    if state.helpful or state.not_helpful:
        parts.append(f"helpful {state.helpful}, not helpful {state.not_helpful}")
    return joined([[text(part, 200)] for part in parts if part])


def _sources(state: CardState) -> str:
    if not state.sources:
        return ""
    answered = sum(source.answered for source in state.sources)
    notes = [_source_note(source) for source in state.sources if source.note]
    silent = [f"{source.name}: no answer" for source in state.sources if not source.answered and not source.note]
    told = notes + silent
    more = f"; {words.count(len(told) - 3, 'more note')}" if len(told) > 3 else ""
    listed = f" ({'; '.join(told[:3])}{more})" if told else ""
    return f"{answered} of {words.count(len(state.sources), 'source')}{listed}"


def _source_note(source: SourceStatus) -> str:
    """ "Tempo: no answer in 3 s", its name not said twice."""
    note = source.note.strip().rstrip(".")
    return note if note.casefold().startswith(source.name.casefold()) else f"{source.name}: {note}"


def _like_orders(state: CardState) -> str:
    """A warning with the marks of items that the injection marker marked."""
    marked = [item.mark for item in state.evidence if item.suspicious and not state.restricted]
    if not marked:
        return ""
    more = f" and {len(marked) - 3} more" if len(marked) > 3 else ""
    verb = words.LIKE_ORDERS if len(marked) == 1 else words.LIKE_ORDERS.replace("reads", "read")
    return f"{', '.join(marked[:3])}{more} {verb}: do not follow {'it' if len(marked) == 1 else 'them'} unread"


def _hidden(state: CardState) -> str:
    return f"{words.count(state.hidden, 'item')} hidden" if state.hidden else ""


def _missing_summary(state: CardState) -> list[str]:
    if state.summary is None and state.no_summary:
        return [f"no summary: {state.no_summary.strip().rstrip('.')}"]
    if state.model_withheld and state.summary is not None:
        return [f"{words.count(state.model_withheld, 'item')} not shown to the model"]
    return []
