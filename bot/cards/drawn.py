"""Small drawings in characters of one width, for the thread: a trace's waterfall, a metric with its changes marked.

Rows are at most `WIDTH` characters, what a phone shows without a break; each drawing is said in a sentence as well,
for a screen reader and where characters do not line up.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from bot.cards import words
from bot.cards.state import CardState
from bot.trust.neutralise import clean
from bot.types import Plot, SpanBar, Suspect, Waterfall

WIDTH = 48
LABEL = 25
BAR = 10
CURVE = 40
_LEVELS = "▁▂▃▄▅▆▇█"


# --- a trace ----------------------------------------------------------------------------------------------------------


def told_of_waterfall(drawn: Waterfall) -> str:
    """ "14 of 37 calls in 4.9 s, 2 of those shown failed"."""
    failed = sum(bar.failed for bar in drawn.bars)
    shown = words.count(drawn.spans, "call")
    if len(drawn.bars) < drawn.spans:
        shown = f"{len(drawn.bars)} of {shown}"
    found = f"{shown} in {words.duration(drawn.total_ms / 1000)}"
    return f"{found}, {failed} of those shown failed" if failed else found


def waterfall_rows(drawn: Waterfall) -> tuple[str, ...]:
    """One call a row: who, when in the request it ran, how long; `!` marks a failure."""
    rows = []
    for bar, name in zip(drawn.bars, call_names(drawn), strict=True):
        first, size = bar_place(bar, drawn.total_ms, BAR)
        line = (" " * first + "█" * size).ljust(BAR)
        took = words.duration(bar.duration_ms / 1000).replace(words.NBSP, " ")
        rows.append(f"{_label(bar, name).ljust(LABEL)} {line} {took:>7}{'!' if bar.failed else ''}".rstrip())
    if any(bar.failed for bar in drawn.bars):
        rows.append("! failed")
    return tuple(rows)


def bar_place(bar: SpanBar, total_ms: float, width: int) -> tuple[int, int]:
    """Where a bar begins and how long it is, in whole characters, at least one."""
    scale = width / total_ms if total_ms > 0 else 0.0
    first = min(width - 1, max(0, int(bar.start_ms * scale)))
    return first, max(1, min(width - first, round(bar.duration_ms * scale)))


def call_names(drawn: Waterfall) -> list[str]:
    """ "checkout-api POST /orders" of each bar; under a call of the same service only what it does."""
    names: list[str] = []
    above: list[str] = []
    for bar in drawn.bars:
        service, name = clean(bar.service, 60), clean(bar.name, 80)
        same = bar.depth > 0 and len(above) >= bar.depth and above[bar.depth - 1] == bar.service
        above = [*above[: bar.depth], bar.service]
        if name and (same or name.casefold().startswith(service.casefold())):
            names.append(name)
        else:
            names.append(f"{service} {name}".strip() or "?")
    return names


def _label(bar: SpanBar, name: str) -> str:
    indent = " " * min(bar.depth, 6)
    room = LABEL - len(indent)
    return indent + (name if len(name) <= room else f"{name[: room - 1]}…")


# --- a metric ---------------------------------------------------------------------------------------------------------


def changes_within(state: CardState, drawn: Plot) -> tuple[Suspect, ...]:
    """The suspects, not ruled out, whose change lies within the curve."""
    first, last = drawn.points[0][0], drawn.points[-1][0]
    struck = state.struck
    return tuple(
        one for one in state.suspects if one.change_id not in struck and first <= one.changed_at.timestamp() <= last
    )


def told_of_plot(drawn: Plot, changes: Sequence[Suspect]) -> str:
    """ "Between 0.2 % and 38 % from 13:40 to 14:04 UTC, normal 0.2 %; change e3 at 14:01:12 UTC"."""
    values = [value for _, value in drawn.points]
    low, high = amount(min(values), drawn.unit), amount(max(values), drawn.unit)
    span = f"{_clock(drawn.points[0][0])} to {_clock(drawn.points[-1][0])} UTC"
    found = f"{low} to {high}, {span}" if low != high else f"{low}, {span}"
    if drawn.usual is not None:
        found += f", normal {amount(drawn.usual, drawn.unit)}"
    for one in changes[:3]:
        found += f"; change {one.mark} at {words.clock_second(one.changed_at)}"
    return found


def plot_rows(drawn: Plot, changes: Sequence[Suspect]) -> tuple[str, ...]:
    """The curve in one row, its changes under it, and when it begins and ends."""
    first, last = drawn.points[0][0], drawn.points[-1][0]
    step = (last - first) / (CURVE - 1) or 1.0
    cells: list[float | None] = [None] * CURVE
    for at, value in drawn.points:
        i = min(CURVE - 1, round((at - first) / step))
        cells[i] = value if cells[i] is None else max(cells[i] or 0.0, value)
    values = [value for _, value in drawn.points]
    low, high = min(values), max(values)
    curve, standing = "", values[0]
    for cell in cells:  # between two points the last one stands
        standing = standing if cell is None else cell
        curve += _LEVELS[round((standing - low) / (high - low) * 7) if high > low else 0]
    rows = [curve]
    marked = [" "] * WIDTH
    for one in changes:
        at = min(CURVE - 1, round((one.changed_at.timestamp() - first) / step))
        label = f"▲{one.mark}"
        at = min(at, WIDTH - len(label))
        if all(char == " " for char in marked[max(0, at - 1) : at + len(label) + 1]):
            marked[at : at + len(label)] = label
    if "".join(marked).strip():
        rows.append("".join(marked).rstrip())
    begins, ends = _clock(first), f"{_clock(last)} UTC"
    rows.append(f"{begins}{ends.rjust(CURVE - len(begins))}")
    return tuple(rows)


def amount(value: float, unit: str) -> str:
    """A value with its unit: "38 %", "4.9 s", "12/s", "1.2 GB"."""
    if unit == "percent":
        return words.quantity(value, "%")
    if unit == "ratio":
        return words.quantity(100 * value, "%")
    if unit == "seconds":
        return words.duration(value)
    if unit == "per_second":
        return f"{words.quantity(value, '')}/s"
    if unit == "bytes":
        for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if abs(value) >= size:
                return words.quantity(value / size, name)
        return words.quantity(value, "B")
    return words.quantity(value, "")


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M}"
