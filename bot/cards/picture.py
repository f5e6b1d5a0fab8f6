"""Waterfalls and curves as SVG for the page, drawn by ourselves: they scale, print, and load nothing.

Each picture is named in words for a screen reader. Failures and changes are marked by sign and word, not by colour
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from markupsafe import Markup, escape

from bot.cards import words
from bot.cards.drawn import amount, call_names, told_of_plot, told_of_waterfall
from bot.trust.neutralise import clean
from bot.types import Plot, Suspect, Waterfall

WIDTH = 860
_ROW = 22
_LABELS = 330
_RIGHT = 86
_INK, _DIM, _GRID, _BAR, _FAILED = "#1d1c1d", "#5c5b5d", "#dddddd", "#1264a3", "#b4440c"
_LABEL_CHARACTERS = 46
_PLOT = (60.0, 16.0, 150.0)
"""Left edge, top and height of a curve."""


def waterfall(drawn: Waterfall) -> Markup:
    """One call a row: name, when in the request, how long, `failed` where it did."""
    scale = (WIDTH - _LABELS - _RIGHT) / drawn.total_ms if drawn.total_ms > 0 else 0.0
    bottom = 20 + _ROW * len(drawn.bars)
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _LABELS + share * drawn.total_ms * scale
        parts.append(_line(x, 16, x, bottom, _GRID))
        parts.append(_text(x, 11, words.duration(share * drawn.total_ms / 1000), anchor="middle", colour=_DIM))
    for row, (bar, name) in enumerate(zip(drawn.bars, call_names(drawn), strict=True)):
        y = 20 + _ROW * row
        indent = 8 * min(bar.depth, 12)
        parts.append(_text(indent, y + 14, clean(name, _LABEL_CHARACTERS - min(bar.depth, 12))))
        x = min(_LABELS + bar.start_ms * scale, WIDTH - _RIGHT - 2.0)
        width = max(2.0, min(bar.duration_ms * scale, WIDTH - _RIGHT - x))
        parts.append(_rect(x, y + 4, width, 12, _FAILED if bar.failed else _BAR))
        took = words.duration(bar.duration_ms / 1000) + (" failed" if bar.failed else "")
        parts.append(_text(x + width + 5, y + 14, took, colour=_FAILED if bar.failed else _DIM))
    return _picture(bottom + 4, told_of_waterfall(drawn), parts)


def plot(drawn: Plot, changes: Sequence[Suspect]) -> Markup:
    """The curve, its normal as a dashed line, each change as a labelled line across."""
    left, top, height = _PLOT
    first, last = drawn.points[0][0], drawn.points[-1][0]
    values = [value for _, value in drawn.points]
    shown = values if drawn.usual is None else [*values, drawn.usual]
    low, high = min(0.0, *shown), max(shown)
    high = high if high > low else low + 1.0

    def x(at: float) -> float:
        return left + (WIDTH - left - _RIGHT) * (at - first) / ((last - first) or 1.0)

    def y(value: float) -> float:
        return top + height * (high - value) / (high - low)

    bottom = top + height
    parts = []
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        parts.append(_line(left, y(value), WIDTH - _RIGHT, y(value), _GRID))
        parts.append(_text(left - 6, y(value) + 4, amount(value, drawn.unit), anchor="end", colour=_DIM))
    if drawn.usual is not None:
        parts.append(_line(left, y(drawn.usual), WIDTH - _RIGHT, y(drawn.usual), _DIM, dash="2 4"))
        parts.append(_text(WIDTH - _RIGHT + 5, y(drawn.usual) + 4, "normal", colour=_DIM))
    for row, one in enumerate(changes):
        at = x(one.changed_at.timestamp())
        parts.append(_line(at, top, at, bottom + 6 + 14 * row, _FAILED, dash="6 3"))
        near_end = at > WIDTH - 260
        label = f"{one.mark} {one.kind} {one.service or ''}".strip()
        place = at - 5 if near_end else at + 5
        parts.append(_text(place, bottom + 10 + 14 * row, clean(label, 48), anchor="end" if near_end else "start",
                           colour=_FAILED))  # fmt: skip
    path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in drawn.points)
    parts.append(Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>').format(path, _BAR))
    low_edge = bottom + 24 + 14 * len(changes)
    for share in (0.0, 0.5, 1.0):
        at = first + share * (last - first)
        said = f"{datetime.fromtimestamp(at, UTC):%H:%M}" + (" UTC" if share == 1.0 else "")
        parts.append(_text(x(at), low_edge, said, anchor="middle", colour=_DIM))
    name = drawn.name.replace("_", " ")
    return _picture(low_edge + 6, clean(f"{name} of {drawn.service}: {told_of_plot(drawn, changes)}", 400), parts)


def _picture(height: float, title: str, parts: Sequence[Markup]) -> Markup:
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" font-family="system-ui, sans-serif">').format(
        WIDTH, f"{height:.0f}", title
    )
    return opening + Markup("<title>{}</title>").format(title) + Markup().join(parts) + Markup("</svg>")


def _text(x: float, y: float, said: str, *, anchor: str = "start", colour: str = _INK) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" font-size="12" fill="{}">{}</text>').format(
        x, y, anchor, colour, escape(said)
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, dash: str = "none") -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-dasharray="{}"/>').format(
        x1, y1, x2, y2, colour, dash
    )


def _rect(x: float, y: float, width: float, height: float, colour: str) -> Markup:
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2" fill="{}"/>').format(
        x, y, width, height, colour
    )
