"""The recorder's arithmetic: rates over counters, quantiles over histograms, when a rule fires, when errors began.

All of it follows Prometheus' own definitions (docs/querying/functions: `rate`, `histogram_quantile`; docs/
configuration/alerting_rules: `for`), without extrapolation: the recorder scrapes on a fixed beat, so that the first
and last sample of a window are the window's ends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

Labels = tuple[tuple[str, str], ...]
Samples = list[tuple[float, float]]
"""Time in seconds since the epoch, value; ascending."""

_LINE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parse_exposition(text: str) -> dict[tuple[str, Labels], float]:
    """Samples of a page in Prometheus' text format, by name and sorted labels. Raises ValueError."""
    found: dict[tuple[str, Labels], float] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"not a sample in Prometheus' text format: {line!r}")
        labels = tuple(sorted(_LABEL.findall(match["labels"] or "")))
        found[match["name"], labels] = float(match["value"])
    return found


def without_resets(samples: Sequence[tuple[float, float]]) -> Samples:
    """A counter as if its process had never been restarted: a fall counts as a restart from zero."""
    made: Samples = []
    offset = previous = 0.0
    for at, value in samples:
        if value < previous:
            offset += previous
        made.append((at, value + offset))
        previous = value
    return made


def increase(samples: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """How much a counter rose within [start, end], restarts allowed for. A series that begins inside began at 0."""
    inside = without_resets([pair for pair in samples if pair[0] <= end])
    if not inside:
        return 0.0
    before = [value for at, value in inside if at <= start]
    return inside[-1][1] - (before[-1] if before else 0.0)


def quantile(q: float, buckets: Mapping[float, float]) -> float:
    """The q-quantile of a cumulative histogram (upper border to count), linear within a bucket; NaN when empty."""
    borders = sorted(buckets)
    if not borders or borders[-1] != math.inf or buckets[math.inf] <= 0:
        return math.nan
    rank = q * buckets[math.inf]
    below, lower = 0.0, 0.0
    for border in borders:
        if buckets[border] >= rank:
            if border == math.inf:
                return lower
            inside = buckets[border] - below
            return lower + (border - lower) * ((rank - below) / inside if inside else 1.0)
        below, lower = buckets[border], border
    return lower


def fires_at(samples: Sequence[tuple[float, float]], threshold: float, for_seconds: float) -> float | None:
    """When a rule `value > threshold` that has to hold for `for_seconds` first fires; NaN does not hold."""
    since: float | None = None
    for at, value in samples:
        if not value > threshold:
            since = None
            continue
        since = at if since is None else since
        if at - since >= for_seconds:
            return at
    return None


def errors_began(error_times: Sequence[float], alert_at: float, quiet_seconds: float = 10.0) -> float | None:
    """The first error of the uninterrupted run of errors that leads up to the alert; a gap longer than that ends it."""
    began: float | None = None
    for at in sorted((at for at in error_times if at <= alert_at), reverse=True):
        if began is not None and began - at > quiet_seconds:
            break
        began = at
    return began
