"""One self-contained page of a card: what it says, suspects with reasons, waterfalls, metrics, evidence.

No script, no outside address: marks lead to the evidence on the page itself, and an item's own address stands there as
text. Everything from outside is cleaned like the card's and escaped by the template; it is filtered exactly as the
card is, so that a restricted card shows its fallback fields and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from bot.cards import content, details, picture, words
from bot.cards.drawn import changes_within
from bot.cards.phrases import change_words, cited, lock_screen, marks
from bot.cards.runs import Line
from bot.cards.state import CardEvidence, CardState
from bot.trust.neutralise import LinkPolicy, clean
from bot.types import Ranked, Reason, confidence

MAX_ITEM_TEXT = 4000
RANK_WIDTH = 90
"""Pixels of a bar for a probability of 1."""


def page(card: CardState, ranked: Ranked | None) -> str:
    """The page. `ranked` adds the texts of the items, and may be None where only the card is known."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        resources.files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    )
    told = content.card(card)
    head = told.header
    return template.render(
        card=card,
        title=clean(f"{card.incident.id}: {lock_screen(card)}", 200),
        head=clean(head, 300),
        context=_html(told.context, card),
        paragraphs=[
            {"line": _html(one.line, card), "steps": [_html(step, card) for step in one.steps]}
            for one in told.paragraphs
        ],
        footer=_html(told.footer, card),
        suspects=_suspects(card),
        services=_services(card),
        timeline=[_html(line, card) for line in content.timeline(card, 20)],
        traces=_traces(card),
        metrics=_metrics(card),
        evidence=_evidence(card, ranked),
    )


def _html(line: Line, card: CardState) -> Markup:
    """The runs of a line; a mark leads to its item below where the page holds it, and all times are in UTC."""
    made = Markup()
    for run in line:
        if run.kind == "ago":
            continue
        if run.at is not None:
            made += escape(words.clock_second(run.at, card.incident.triggered_at))
            continue
        shown = escape(clean(run.text, run.limit, edges=run.kind in ("text", "gap")))
        if run.kind == "mark" and card.item(run.text) is not None:
            made += Markup('<a href="#{0}">{0}</a>').format(shown)
        elif run.kind in _TAGS:
            made += Markup("<{0}>{1}</{0}>").format(Markup(_TAGS[run.kind]), shown)  # noqa: S704 - ours
        else:
            made += shown
    return made


_TAGS = {"bold": "b", "code": "code", "strike": "del"}


def _reasons(card: CardState, reasons: Sequence[Reason]) -> list[Markup]:
    return [_html(cited(card, one.text, one.evidence), card) for one in reasons]


def _suspects(card: CardState) -> list[dict[str, Any]]:
    return [
        {
            "name": clean(change_words(one, card.item(one.mark)), 120),
            "struck": one.change_id in card.struck,
            "marks": _html(marks(card, [one.mark]), card),
            "service": clean(one.service or "–", 80),
            "at": words.clock_second(one.changed_at, card.incident.triggered_at),
            "distance": words.distance(one.seconds_before),
            "word": confidence(one.probability),
            "score": f"{one.probability:.2f}",
            "width": round(one.probability * RANK_WIDTH),
            "reasons": _reasons(card, one.reasons),
        }
        for one in card.suspects
    ]


def _services(card: CardState) -> list[dict[str, Any]]:
    return [
        {
            "service": clean(one.service, 80),
            "score": f"{one.probability:.2f}",
            "width": round(one.probability * RANK_WIDTH),
            "reasons": _reasons(card, one.reasons),
        }
        for one in card.services
    ]


def _traces(card: CardState) -> list[dict[str, Markup]]:
    drawings = zip(card.waterfalls, details.traces(card), strict=True)
    return [{"line": _html(told.line, card), "picture": picture.waterfall(one)} for one, told in drawings]


def _metrics(card: CardState) -> list[dict[str, Markup]]:
    drawings = zip(card.plots, details.metrics(card), strict=True)
    return [
        {"line": _html(told.line, card), "picture": picture.plot(one, changes_within(card, one))}
        for one, told in drawings
    ]


def _evidence(card: CardState, ranked: Ranked | None) -> list[dict[str, Any]]:
    """The card's own items, so that nothing stands here that the card does not name."""
    texts = {item.mark: item for item in ranked.evidence} if ranked is not None else {}
    policy = LinkPolicy(card.links)
    made = []
    for item in card.evidence:
        full = texts.get(item.mark)
        made.append(
            {
                "mark": item.mark,
                "kind": item.kind.replace("_", " "),
                "source": clean(item.source, 80),
                "at": words.clock_second(item.observed_at, card.incident.triggered_at),
                "title": clean(item.title, 300),
                "suspicious": full is not None and full.suspicious,
                "text": _lines(full.text, item) if full is not None else "",
                "address": policy.safe(item.url) or "",
            }
        )
    return made


def _lines(text: str, item: CardEvidence) -> str:
    """The item's text, each line cleaned; empty where it only repeats the title."""
    told = [clean(line, 600) for line in text[:MAX_ITEM_TEXT].splitlines()]
    shown = "\n".join(line for line in told if line)
    return "" if shown == clean(item.title, 600) else shown
