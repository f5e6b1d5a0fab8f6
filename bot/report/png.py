"""The weekly chart as PNG, for Slack's classic image block, which takes no SVG. Drawn by ourselves with numpy.

Lines and dots are blended by their distance to each pixel; words are set in a 5 × 7 dot face, twice as large.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bot.report.model import WeekPoint
from bot.report.svg import minutes, round_up

WIDTH, HEIGHT = 1200, 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 120, 40, 30, 110
_INK, _GRID = (68, 68, 68), (221, 221, 221)
_COLOURS = ((180, 68, 12), (31, 58, 147))
_DASHES = (None, (14.0, 8.0))
_DOT = 2
Canvas = npt.NDArray[np.float64]
Point = tuple[float, float]

# Columns of a 5 x 7 dot face, lowest bit on top.
_FACE = {
    "0": "3E5149453E", "1": "00427F4000", "2": "4261514946", "3": "2141454B31", "4": "1814127F10", "5": "2745454539",
    "6": "3C4A494930", "7": "0171090503", "8": "3649494936", "9": "064949291E", "a": "2054545478", "b": "7F48444438",
    "c": "3844444420", "d": "384444487F", "e": "3854545418", "f": "087E090102", "g": "0C5252523E", "h": "7F08040478",
    "i": "00447D4000", "j": "2040443D00", "k": "7F10284400", "l": "00417F4000", "m": "7C04180478", "n": "7C08040478",
    "o": "3844444438", "p": "7C14141408", "q": "081414187C", "r": "7C08040408", "s": "4854545420", "t": "043F444020",
    "u": "3C4040207C", "v": "1C2040201C", "w": "3C4030403C", "x": "4428102844", "y": "0C5050503C", "z": "4464544C44",
    "W": "3F4038403F", ".": "0060600000", "+": "08083E0808", "-": "0808080808", "@": "324979413E", "/": "2010080402",
    ",": "0050300000", "(": "001C224100", ")": "0041221C00", " ": "0000000000",
}  # fmt: skip
_UNKNOWN = "7F4141417F"


def weekly_png(points: Sequence[WeekPoint]) -> bytes:
    """Median time to resolve by week and arm as a PNG of 1200 × 520; a gap where a week has none."""
    weeks = sorted({point.week for point in points})
    arms = list(dict.fromkeys(point.arm for point in points))[::-1]
    top = round_up(max((p.median for p in points if p.median is not None), default=60.0))
    canvas = np.full((HEIGHT, WIDTH, 3), 255.0)
    step = (WIDTH - _LEFT - _RIGHT - 40) / max(len(weeks) - 1, 1)
    place = {week: _LEFT + 20 + step * i for i, week in enumerate(weeks)}
    floor = HEIGHT - _BOTTOM

    def y(value: float) -> float:
        return _TOP + (floor - _TOP) * (1 - value / top)

    for quarter in range(5):
        level = y(top * quarter / 4)
        _segment(canvas, (_LEFT, level), (WIDTH - _RIGHT, level), 1.0, _GRID)
        _words(canvas, minutes(top * quarter / 4) if quarter else "0", _LEFT - 12, level - 7, right=True)
    for week in weeks[:: max(1, math.ceil(len(weeks) / 13))]:
        _words(canvas, week[5:], place[week] - 18, floor + 14)
    for i, arm in enumerate(arms):
        _arm(canvas, [(place[p.week], None if p.median is None else y(p.median)) for p in points if p.arm == arm], i)
        x = float(_LEFT + 20 + 420 * (i % 2))
        row = HEIGHT - 48 + 24 * (i // 2)
        _line(canvas, [(x, row), (x + 60, row)], i)
        _words(canvas, arm, x + 76, row - 7)
    return encode(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))


def _arm(canvas: Canvas, places: Sequence[tuple[float, float | None]], style: int) -> None:
    run: list[Point] = []
    for x, level in places:
        if level is None:
            _line(canvas, run, style)
            run = []
            continue
        run.append((x, level))
        _segment(canvas, (x, level), (x, level), 7.0, _COLOURS[style % 2])
    _line(canvas, run, style)


def _line(canvas: Canvas, points: Sequence[Point], style: int) -> None:
    """A line through points, dashed where the style says so."""
    dash = _DASHES[style % 2]
    for a, b in pairwise(points):
        length = math.dist(a, b)
        if dash is None or not length:
            _segment(canvas, a, b, 2.0, _COLOURS[style % 2])
            continue
        for begin in np.arange(0.0, length, sum(dash)):
            end = min(begin + dash[0], length)
            _segment(canvas, _between(a, b, begin / length), _between(a, b, end / length), 2.0, _COLOURS[style % 2])


def _between(a: Point, b: Point, share: float) -> Point:
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def _segment(canvas: Canvas, a: Point, b: Point, radius: float, colour: tuple[int, int, int]) -> None:
    """Blend all pixels within `radius` of the segment from a to b."""
    reach = radius + 1
    x0, x1 = max(int(min(a[0], b[0]) - reach), 0), min(int(max(a[0], b[0]) + reach + 1), WIDTH)
    y0, y1 = max(int(min(a[1], b[1]) - reach), 0), min(int(max(a[1], b[1]) + reach + 1), HEIGHT)
    if x0 >= x1 or y0 >= y1:
        return
    rows, columns = np.mgrid[y0:y1, x0:x1].astype(np.float64)
    dx, dy = b[0] - a[0], b[1] - a[1]
    squared = dx * dx + dy * dy
    along = np.clip(((columns - a[0]) * dx + (rows - a[1]) * dy) / squared, 0, 1) if squared else np.zeros_like(rows)
    distance = np.hypot(columns - a[0] - along * dx, rows - a[1] - along * dy)
    cover = np.clip(radius + 0.5 - distance, 0, 1)[:, :, None]
    part = canvas[y0:y1, x0:x1]
    part += cover * (np.array(colour, dtype=np.float64) - part)


def _words(canvas: Canvas, text: str, x: float, y: float, *, right: bool = False) -> None:
    """Set text with its upper left (or upper right) corner at x, y; what does not fit is cut."""
    advance = 6 * _DOT
    left = int(x) - (advance * len(text) if right else 0)
    for i, letter in enumerate(text):
        columns = bytes.fromhex(_FACE.get(letter) or _FACE.get(letter.lower()) or _UNKNOWN)
        for column, bits in enumerate(columns):
            for row in range(7):
                if bits >> row & 1:
                    px, py = left + i * advance + column * _DOT, int(y) + row * _DOT
                    if 0 <= px < WIDTH - _DOT and 0 <= py < HEIGHT - _DOT:
                        canvas[py : py + _DOT, px : px + _DOT] = _INK


def encode(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG of 8-bit RGB pixels, shape (height, width, 3) (W3C, PNG specification, third edition)."""
    height, width, _ = pixels.shape
    raw = np.concatenate([np.zeros((height, 1), dtype=np.uint8), pixels.reshape(height, width * 3)], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
