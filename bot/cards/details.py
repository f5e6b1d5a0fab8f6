"""The thread's message: the depth behind the card, by headings, each item with its mark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bot.cards import words
from bot.cards.content import storm_lines, timeline
from bot.cards.drawn import changes_within, plot_rows, told_of_plot, told_of_waterfall, waterfall_rows
from bot.cards.phrases import change_words, cited, marks
from bot.cards.runs import GAP, NAME_LIMIT, Line, Run, bold, text
from bot.cards.state import CardState

MAX_EVIDENCE_LINES = 64
MAX_SUSPECT_REASONS = 4


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, its lines, and what is drawn under them."""

    heading: str
    lines: tuple[Line, ...]
    drawings: tuple[Drawing, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """A sentence that says what a drawing shows, and the drawing in characters of one width."""

    line: Line
    rows: tuple[str, ...]


def sections(state: CardState) -> tuple[Section, ...]:
    """Empty sections are left out; a card that may show only the fallback has none."""
    if state.restricted:
        return ()
    made = [
        Section("Suspects", tuple(_suspects(state))),
        Section("Services", tuple(_services(state))),
        Section("Alerts by service", storm_lines(state.storm) if len(state.storm) > 1 else ()),
        Section("Timeline", timeline(state, 20)),
        Section("Traces", (), tuple(traces(state))),
        Section("Metrics", (), tuple(metrics(state))),
        Section("Similar incidents", tuple(_similar(state))),
        Section("Evidence", tuple(_evidence(state))),
        Section("Sources", tuple(_sources(state))),
    ]
    return tuple(section for section in made if section.lines or section.drawings)


def _suspects(state: CardState) -> Iterable[Line]:
    for suspect in state.suspects:
        struck = suspect.change_id in state.struck
        name = change_words(suspect, state.item(suspect.mark))
        line: list[Run] = [Run(name, "strike" if struck else "bold", limit=NAME_LIMIT)]
        if suspect.service:
            line.append(text(f" to {suspect.service}", NAME_LIMIT))
        line += [text(f", {words.distance(suspect.seconds_before)}, score {suspect.probability:.2f}")]
        line += [*marks(state, [suspect.mark]), text(". ")]
        for reason in suspect.reasons[:MAX_SUSPECT_REASONS]:
            line += cited(state, reason.text, reason.evidence)
        yield tuple(line)


def _services(state: CardState) -> Iterable[Line]:
    for service in state.services[:5]:
        line: list[Run] = [bold(service.service), text(f", score {service.probability:.2f}. ")]
        for reason in service.reasons[:MAX_SUSPECT_REASONS]:
            line += cited(state, reason.text, reason.evidence)
        yield tuple(line)


def traces(state: CardState) -> Iterable[Drawing]:
    """A waterfall each, in their order."""
    for one in state.waterfalls:
        yield Drawing(
            (*_about(state, one.mark), text(told_of_waterfall(one), 300)),
            waterfall_rows(one),
        )


def metrics(state: CardState) -> Iterable[Drawing]:
    """A curve each, in their order."""
    for one in state.plots:
        changes = changes_within(state, one)
        yield Drawing((*_about(state, one.mark), text(told_of_plot(one, changes), 300)), plot_rows(one, changes))


def _about(state: CardState, mark: str) -> Line:
    """The item's mark and title."""
    item = state.item(mark)
    if item is None:
        return ()
    return (Run(item.mark, "mark", url=item.url, limit=8), GAP, text(f"{item.title.rstrip('. ')}. ", 200))


def _similar(state: CardState) -> Iterable[Line]:
    """What was like this one, with what resolved it: the item's own title says both."""
    for item in state.evidence:
        if item.kind == "past_incident":
            yield (Run(item.mark, "mark", url=item.url, limit=8), GAP, text(item.title, 300))


def _evidence(state: CardState) -> Iterable[Line]:
    for item in state.evidence[:MAX_EVIDENCE_LINES]:
        if item.kind == "past_incident":
            continue  # under a heading of their own
        kind = item.kind.replace("_", " ")
        yield (
            Run(item.mark, "mark", url=item.url, limit=8),
            GAP,
            text(f"{kind}, {item.source}: {item.title}", 200),
            *((text(f" ({words.LIKE_ORDERS})"),) if item.suspicious else ()),
            text(", "),
            Run("", "time", at=item.observed_at),
        )


def _sources(state: CardState) -> Iterable[Line]:
    for source in state.sources:
        said = source.note or ("answered" if source.answered else "no answer")
        took = f" in {words.duration(source.seconds)}" if source.answered and source.seconds else ""
        yield (bold(source.name), GAP, text(f"{said}{took}", 200))
