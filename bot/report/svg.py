"""Pictures of the report as SVG, drawn by ourselves: they scale, print, and need no library and no network.

Every picture has a title that says in words what it shows. Arms differ by dash and mark, not by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from bot.report.model import CurvePart, WeekPoint

WIDTH = 640
_LEFT, _RIGHT, _TOP = 56, 16, 14
_STYLES = (("#b4440c", "none"), ("#1f3a93", "6 3"))
_INK, _GRID = "#444", "#ddd"
_SCALES = (4, 8, 20, 40, 80, 120, 240, 480, 960, 1440, 2880, 5760)
_RATIO_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True)
class _Frame:
    """A plot's place on the picture and its scales."""

    top: float
    height: float
    low: float
    high: float

    def y(self, value: float) -> float:
        return self.top + self.height * (self.high - value) / (self.high - self.low)


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 11, weight: str = "normal") -> str:
    """One line of text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{_INK}">{escape(words)}</text>'
    )


def line(points: Sequence[tuple[float, float]], style: int) -> str:
    """A line through points in the style of an arm."""
    colour, dash = _STYLES[style % len(_STYLES)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'


def picture(height: float, title: str, parts: Sequence[str]) -> str:
    """A whole picture."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(title, quote=True)}" font-family="system-ui, sans-serif">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def minutes(value: float) -> str:
    """A duration as a person reads it: `45 s`, `41 min`, `3.1 h`, `2.5 d`."""
    if value < 1:
        return f"{value * 60:.0f} s"
    if value < 120:
        return f"{value:.0f} min"
    hours = value < 60 * 48
    figure = f"{value / (60 if hours else 1440):.1f}".removesuffix(".0")
    return f"{figure} {'h' if hours else 'd'}"


def interval_bar(ratio: tuple[float, float, float], bounded: tuple[bool, bool]) -> str:
    """The interval on a log scale around 1 = no change; an arrow where nothing bounds it."""
    point, low, high = ratio
    first, last = min(low, 0.5) / 1.1, max(high, 2.0) * 1.1

    def x(value: float) -> float:
        return 20 + (WIDTH - 40) * math.log(value / first) / math.log(last / first)

    ticks = [
        t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100) if first < t < last
    ]
    while len(ticks) > 9:
        ticks = [t for i, t in enumerate(ticks) if t == 1 or i % 2 == (ticks.index(1) % 2)]
    parts = [text(x(1) - 6, 14, "faster", anchor="end", size=15), text(x(1) + 6, 14, "slower", size=15)]
    for tick in ticks:
        parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="18" y2="52" stroke="{_GRID}"/>')
        parts.append(text(x(tick), 68, f"{tick:g}×", anchor="middle", size=15))
    colour = _STYLES[0][0]
    parts.append(f'<line x1="{x(1):.1f}" x2="{x(1):.1f}" y1="4" y2="52" stroke="{_INK}" stroke-width="1.5"/>')
    parts.append(
        f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="35" y2="35" stroke="{colour}" stroke-width="8" '
        'opacity="0.45"/>'
    )
    for end, is_bound, step in ((low, bounded[0], 9), (high, bounded[1], -9)):
        if is_bound:
            parts.append(
                f'<line x1="{x(end):.1f}" x2="{x(end):.1f}" y1="26" y2="44" stroke="{colour}" stroke-width="2"/>'
            )
        else:
            tip = x(end)
            parts.append(f'<path d="M{tip:.1f},35 l{step},-9 v18 z" fill="{colour}"/>')
    parts.append(f'<circle cx="{x(point):.1f}" cy="35" r="5" fill="{colour}"/>')
    return picture(76, f"Minutes with over minutes without: {point:.2f}, from {low:.2f} to {high:.2f}", parts)


def survival_curves(curves: Sequence[CurvePart], tau_minutes: float) -> str:
    """Share of incidents still open by time since start, on a log-like scale, with numbers at risk below."""
    frame = _Frame(_TOP, 220.0, 0.0, 1.0)
    span = math.log1p(tau_minutes / 15.0)

    def x(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * math.log1p(min(value, tau_minutes) / 15.0) / span

    parts = _horizontal(frame, (0.0, 0.25, 0.5, 0.75, 1.0), lambda v: f"{v:.0%}")
    bottom = frame.top + frame.height
    for i, curve in enumerate(curves):
        points, share = [(x(0.0), frame.y(1.0))], 1.0
        for at, still_open in zip(curve.minutes, curve.still_open, strict=True):
            points += [(x(at), frame.y(share)), (x(at), frame.y(still_open))]
            share = still_open
        points.append((x(tau_minutes), frame.y(share)))
        parts.append(line(points, i))
        row = bottom + 46 + 16 * i
        parts += _legend_mark(8, row, i)
        parts += [text(x(t), row, str(n), anchor="middle") for t, n in zip(curve.ticks, curve.at_risk, strict=True)]
    parts += [
        text(x(t), bottom + 16, minutes(t) if t else "0", anchor="middle") for t in (curves[0].ticks if curves else ())
    ]
    parts.append(text(_LEFT, bottom + 30, "number still open, by time since start", size=10))
    parts += _legend([curve.arm for curve in curves], bottom + 50 + 16 * len(curves))
    told = "; ".join(f"{curve.arm}: {curve.at_risk[0] if curve.at_risk else 0} incidents" for curve in curves)
    return picture(bottom + 62 + 16 * len(curves), f"Share of incidents still open by time since start ({told})", parts)


def weekly_lines(points: Sequence[WeekPoint]) -> str:
    """Median time to resolve by week and arm; a gap where a week has none."""
    weeks = sorted({point.week for point in points})
    arms = list(dict.fromkeys(point.arm for point in points))[::-1]
    known = [point.median for point in points if point.median is not None]
    top = round_up(max(known, default=60.0))
    frame = _Frame(_TOP, 200.0, 0.0, top)
    step = (WIDTH - _LEFT - _RIGHT - 20) / max(len(weeks) - 1, 1)
    place = {week: _LEFT + 10 + step * i for i, week in enumerate(weeks)}
    parts = _horizontal(frame, [top * i / 4 for i in range(5)], minutes)
    for i, arm in enumerate(arms):
        colour = _STYLES[i % 2][0]
        run: list[tuple[float, float]] = []
        for point in (p for p in points if p.arm == arm):
            if point.median is None:
                parts += [line(run, i)] if len(run) > 1 else []
                run = []
                continue
            run.append((place[point.week], frame.y(point.median)))
            parts.append(f'<circle cx="{run[-1][0]:.1f}" cy="{run[-1][1]:.1f}" r="3.5" fill="{colour}"/>')
        parts += [line(run, i)] if len(run) > 1 else []
    bottom = frame.top + frame.height
    every = max(1, math.ceil(len(weeks) / 13))
    parts += [text(place[w], bottom + 16, w[5:], anchor="middle") for w in weeks[::every]]
    parts += _legend(arms, bottom + 36)
    return picture(bottom + 46, "Median time to resolve by week of start", parts)


def _horizontal(frame: _Frame, values: Sequence[float], label: Callable[[float], str]) -> list[str]:
    parts = []
    for value in values:
        y = frame.y(value)
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>')
        parts.append(text(_LEFT - 6, y + 4, label(value), anchor="end"))
    return parts


def _legend(arms: Sequence[str], y: float) -> list[str]:
    parts: list[str] = []
    x = float(_LEFT)
    for i, arm in enumerate(arms):
        parts += [*_legend_mark(x, y, i), text(x + 32, y, arm)]
        x += 52 + 7 * len(arm)
    return parts


def _legend_mark(x: float, y: float, style: int) -> list[str]:
    return [line([(x, y - 4), (x + 26, y - 4)], style)]


def round_up(value: float) -> float:
    """The next scale in minutes whose quarters are round."""
    return next((top for top in _SCALES if top >= value), math.ceil(value / 5760.0) * 5760.0)
