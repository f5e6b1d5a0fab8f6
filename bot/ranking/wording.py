"""A log line that says the same in other words: what a deploy of an innocent service brings by the dozen.

`as_before` takes a line that no healthy call of the service knows for the healthy line whose place it took, so that
new words are neither a lost event nor a gained one.
"""

from __future__ import annotations

import re
from collections import Counter

from bot.ranking.profile import Profile
from bot.ranking.templates import error_like
from bot.ranking.window import Calls, Context, Event

ALIKE = 0.5
"""Share of the longer line's words that both have."""
MIN_WORDS = 2
"""That both have: single words are alike by chance."""
MAX_PAIRS = 20_000
"""Lines compared in one window; past this new lines stay new lines."""
_OUTCOME = re.compile(
    r"succe\w*|true|false|null|nil|none|empty|ok|yes|no|not|done|complete\w*|missing|expired|found|without|zero|skip\w*",
)


def as_before(calls: Calls, profile: Profile) -> None:
    """Renames such lines in `calls.events`, in place.

    The new line has the healthy one's level and at least half of its words, speaks of the same outcome, never comes in
    one call with it, and stands for no more than one healthy line in an operation: "Get route by id" → "getting route
    by id", and never "route found" → "no route found".
    """
    fresh = _fresh_lines(calls, profile)
    pairs = 0
    for context, found in fresh.items():
        healthy = sorted(one for one in profile.events.get(context, ()) if one[0] == "log")
        pairs += len(healthy) * len(found)
        if pairs > MAX_PAIRS:
            return
        for new, old in _matched(found, healthy, calls).items():
            for i in found[new]:
                events = calls.events[i]
                events[old] = events.get(old, 0) + events.pop(new)


def _fresh_lines(calls: Calls, profile: Profile) -> dict[Context, dict[Event, list[int]]]:
    """By context the lines that no healthy call of the service knows, with the calls that wrote them."""
    fresh: dict[Context, dict[Event, list[int]]] = {}
    for i, (context, events) in enumerate(zip(calls.contexts, calls.events, strict=True)):
        service = context[1][0]
        for event in events:
            if event[0] == "log" and (service, event) not in profile.known:
                fresh.setdefault(context, {}).setdefault(event, []).append(i)
    return fresh


def _matched(found: dict[Event, list[int]], healthy: list[Event], calls: Calls) -> dict[Event, Event]:
    """New line to healthy line, the most alike first, one to one."""
    alike = [
        (-likeness, new, old)
        for new in found
        for old in healthy
        if (likeness := _likeness(new, old)) >= ALIKE and not any(old in calls.events[i] for i in found[new])
    ]
    matched: dict[Event, Event] = {}
    for _, new, old in sorted(alike):
        if new not in matched and old not in matched.values():
            matched[new] = old
    return matched


def _likeness(new: Event, old: Event) -> float:
    """Share of words in common, 0 where the level or what they say of the outcome differs."""
    if new[1] != old[1] or error_like(new[2]) != error_like(old[2]):
        return 0.0
    ours, theirs = Counter(new[2].casefold().split()), Counter(old[2].casefold().split())
    if _outcomes(ours) != _outcomes(theirs):
        return 0.0
    common = (ours & theirs).total()
    return common / max(ours.total(), theirs.total()) if common >= MIN_WORDS else 0.0


def _outcomes(words: Counter[str]) -> set[str]:
    return {word for word in words if _OUTCOME.fullmatch(word)}
