"""Findings as sentences with the counts that a person can check."""

from __future__ import annotations

from bot.ranking.metrics import Move
from bot.ranking.patterns import Pattern
from bot.ranking.times import Slow
from bot.ranking.window import Event

MAX_NAME = 90


def milliseconds_in_words(value: float) -> str:
    """`3 ms`, `0.4 ms`, `4.9 s`, `2 min`."""
    value = max(value, 0.0)
    if value < 1:
        return f"{value:.1f} ms"
    if value < 1000:
        return f"{value:.0f} ms"
    if value < 120_000:
        return f"{value / 1000:.1f} s"
    return f"{value / 60_000:.0f} min"


def share_in_words(part: float, whole: float) -> str:
    """A share as a responder says it: `38 %`, `0.2 %`."""
    percent = 100 * part / whole if whole else 0.0
    if percent >= 10 or percent == 0:
        return f"{percent:.0f} %"
    return f"{percent:.1f} %"


def one_in_words(part: int, whole: int) -> str:
    """`all 17`, `1 in 3`, or the counts."""
    if part == whole:
        return f"all {whole}"
    if part and whole / part < 20 and abs(whole / part - round(whole / part)) < 0.15:
        return f"1 in {round(whole / part)}"
    return f"{part} of {whole}"


def amount_in_words(value: float, unit: str) -> str:
    """A metric's value with its unit."""
    if unit == "percent":
        return f"{_short(value)} %"
    if unit == "ratio":
        return f"{_short(100 * value)} %"
    if unit == "seconds":
        return milliseconds_in_words(1000 * value)
    if unit == "per_second":
        return f"{_short(value)}/s"
    if unit == "bytes":
        for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if abs(value) >= size:
                return f"{_short(value / size)} {name}"
        return f"{_short(value)} B"
    return _short(value)


def pattern_in_words(pattern: Pattern) -> tuple[str, str]:
    """Title and sentence of a pattern."""
    name = _cut(pattern.operation[1]) if pattern.operation[1] else f"{pattern.service} without a trace"
    where = f"calls of {name}" if pattern.operation[1] else f"5-second stretches of {name}"
    usually = (
        f"usually {pattern.present_healthy} of {pattern.calls_healthy}"
        if pattern.calls_healthy
        else "no healthy call is known"
    )
    counts = f"{pattern.present} of {pattern.calls} {where}"
    if pattern.direction == "unequal" and pattern.other is not None:
        one, other = _thing(pattern.event), _thing(pattern.other)
        return (
            f"{pattern.service}: two events no longer come in equal numbers",
            f"{one} and {other} come in equal numbers in {counts}, {usually}",
        )
    if pattern.event[0] == "error":
        return f"{pattern.service}: {name} fails", f"{counts} failed, {usually}"
    verb = "called" if pattern.event[0] == "call" else "logged"
    thing = _thing(pattern.event)
    what = {"lost": "no longer" if pattern.present == 0 else "seldom", "gained": "now"}[pattern.direction]
    if pattern.direction == "lost" and pattern.present > pattern.calls / 2:
        what = "less often"
    return f"{pattern.service}: {what} {verb} {thing}", f"{counts} {verb} {thing}, {usually}"


def transit_in_words(slow: Slow) -> tuple[str, str]:
    """Title and sentence of time lost on the way into a service."""
    caller, (service, name) = slow.key
    now, normal = milliseconds_in_words(slow.median_ms), milliseconds_in_words(slow.healthy_ms)
    return (
        f"{service}: calls from {caller} wait {now} on the way (normal {normal})",
        f"{slow.slow} of {slow.calls} calls from {caller} to {service} {_cut(name)} spent {now} on the way, client "
        f"minus server (normal {normal}); usually {slow.slow_healthy} of {slow.calls_healthy} are that slow",
    )


def own_time_in_words(slow: Slow) -> tuple[str, str]:
    """Title and sentence of time spent in a service's own code."""
    service, name = slow.key[1]
    now, normal = milliseconds_in_words(slow.median_ms), milliseconds_in_words(slow.healthy_ms)
    return (
        f"{service}: {_cut(name)} takes {now} of its own (normal {normal})",
        f"{slow.slow} of {slow.calls} runs of {service} {_cut(name)} took {now} of their own time (normal {normal}); "
        f"usually {slow.slow_healthy} of {slow.calls_healthy} are that slow",
    )


def move_in_words(move: Move) -> tuple[str, str]:
    """Title and sentence of a metric that left its usual range."""
    label = {"cpu": "CPU", "memory": "memory"}.get(move.name, move.name.replace("_", " "))
    now, normal = amount_in_words(move.value, move.unit), amount_in_words(move.usual, move.unit)
    pod = f" of pod {move.pod}" if move.pod else ""
    return (
        f"{move.service}: {label} {now} (normal {normal})",
        f"{label}{pod} reached {now} at {move.seen_at:%H:%M:%S} UTC (normal {normal})",
    )


def _thing(event: Event) -> str:
    if event[0] == "call":
        return f"{event[1]} {_cut(event[2])}"
    level, text = event[1], event[2]
    quoted = f"“{_cut(text.removeprefix(level).strip())}”" if text else "a line without words"
    return quoted if level == "INFO" else f"{level} {quoted}"


def _cut(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def _short(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
