"""Draw one trace of a spans file (`[telemetry] spans_file`) as a waterfall in SVG.

Usage: python tools/draw_trace.py SPANS.jsonl PICTURE.svg [TRACE_ID]      (without an id: the trace with most spans)
"""

from __future__ import annotations

import html
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

LINE, LEFT, WIDTH, TOP = 20, 330, 900, 46
COLOURS = {"sitrep.step": "#4c78a8", "sitrep.source": "#72b7b2", "chat": "#f58518", "sitrep.model": "#eeca3b",
           "sitrep.outbox": "#54a24b", "sitrep.door": "#b279a2", "sitrep.incident": "#bab0ac"}  # fmt: skip


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    spans = [json.loads(line) for line in Path(arguments[0]).read_text(encoding="utf-8").splitlines()]
    if not spans:
        print(f"{arguments[0]} holds no span", file=sys.stderr)
        return 1
    wanted = arguments[2] if len(arguments) == 3 else Counter(span["trace_id"] for span in spans).most_common(1)[0][0]
    Path(arguments[1]).write_text(draw([span for span in spans if span["trace_id"] == wanted]), encoding="utf-8")
    return 0


def draw(spans: list[dict[str, Any]]) -> str:
    """Rows in the order of a depth-first walk, children by their start."""
    known = {span["span_id"] for span in spans}
    children: dict[str | None, list[dict[str, Any]]] = {}
    for span in sorted(spans, key=lambda span: (span["start_ns"], -span["end_ns"])):
        children.setdefault(span["parent_id"] if span["parent_id"] in known else None, []).append(span)
    rows: list[tuple[int, dict[str, Any]]] = []
    stack = [(0, span) for span in reversed(children.get(None, []))]
    while stack:
        depth, span = stack.pop()
        rows.append((depth, span))
        stack += [(depth + 1, child) for child in reversed(children.get(span["span_id"], []))]
    first = min(span["start_ns"] for span in spans)
    last = max(span["end_ns"] for span in spans)
    scale = WIDTH / max(last - first, 1)
    height = TOP + LINE * len(rows) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 110}" height="{height}"'
        f' font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="20" font-size="14">{len(spans)} spans, {_time(last - first)}</text>',
    ]
    for tick in range(6):
        x, at = LEFT + WIDTH * tick / 5, _time((last - first) * tick / 5)
        parts.append(
            f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{TOP - 8}" y2="{height - 8}" stroke="#ddd"/>'
            f'<text x="{x:.0f}" y="{TOP - 12}" text-anchor="middle" fill="#666">{at}</text>'
        )
    for number, (depth, span) in enumerate(rows):
        y = TOP + LINE * number
        x, wide = LEFT + (span["start_ns"] - first) * scale, max((span["end_ns"] - span["start_ns"]) * scale, 1.5)
        colour = (
            "#e45756"
            if span["error"]
            else next((c for n, c in COLOURS.items() if span["name"].startswith(n)), "#9d9da1")
        )
        parts.append(
            f'<text x="{8 + 14 * depth}" y="{y + 14}">{html.escape(_label(span))}</text>'
            f'<rect x="{x:.1f}" y="{y + 4}" width="{wide:.1f}" height="{LINE - 7}" rx="2" fill="{colour}"/>'
            f'<text x="{x + wide + 5:.1f}" y="{y + 14}" fill="#444">{_time(span["end_ns"] - span["start_ns"])}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _label(span: dict[str, Any]) -> str:
    """The span's name with the one attribute that tells it from its like."""
    attributes = span["attributes"]
    more = next((attributes[key] for key in ("sitrep.step.name", "sitrep.source.name", "sitrep.part", "sitrep.attempt")
                 if attributes.get(key)), "")  # fmt: skip
    outcome = attributes.get("sitrep.outcome", "")
    return " ".join(str(part) for part in (span["name"], more, outcome) if part != "")[:46]


def _time(ns: float) -> str:
    return f"{ns / 1e6:.1f} ms" if ns < 1e9 else f"{ns / 1e9:.2f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
