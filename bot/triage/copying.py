"""Whether a claim only says again, word for word, what an item says.

Grounding lets through whatever an item says, and anybody who can write into an alert, a commit message or a log line
writes items. So what protects against a model that only passes on what it reads is that passing on is no claim: the
item stands on the card under its own mark, and a sentence that is copied from it adds nothing but our voice. What may
be copied is what cannot be said otherwise: measurements, names, and the commands of a runbook.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil

from bot.triage import quantities
from bot.triage.grounding import normal

RUN = 5
"""Plain words in a row that are a copied sentence; numbers, times and identifiers end a row."""
FEWEST = 3
WHOLE = 0.8
"""A claim of at least three words of which so many stand in an item in one piece is that item's, not the model's."""
LONGEST_MEASURED_SECONDS = 120
"""What takes longer is a plan or a story ("muted for 2 hours"), not what telemetry measures of a request."""
_QUOTATION = re.compile(r"“[^”]{1,120}”|\"[^\"]{1,120}\"|`[^`]{1,120}`")
_OURS = re.compile(
    r"\b(?:before|after) the first (?:alert|error|sign)(?: at)?\b|\bon the way\b|\bclient minus server\b"
    r"|\bof (?:its|their) own(?: time)?\b|\bare that slow\b|\bno longer come in equal numbers\b"
    r"|\bcome in equal numbers in\b|\bno healthy call is known\b|\bfor a connection\b|\bin this incident because\b",
    re.IGNORECASE,
)
"""Phrases that `rank` and our sources write: to repeat them is to say what we measured."""
_SHARE = re.compile(r"\b\d+ (?:of|in|out of) \d+\b")
_EDGES = ".,;:!?()[]{}\"'`…‘’“”*<>|/\\-–—"
_PLAIN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


class Said:
    """The text of the items of one claim, read once."""

    def __init__(self, items: str) -> None:
        self._rows = frozenset(_rows(items))
        self._words = f" {' '.join(_words(items))} "

    def copied_by(self, claim: str, *, command: bool) -> bool:
        """Whether the claim is a copy of it. `command`: it gives a command, which has to be a copy."""
        if any(row in self._rows for row in _rows(_QUOTATION.sub(" 0 ", claim))):
            return True
        return not command and not _measures(claim) and self._holds(claim)

    def _holds(self, claim: str) -> bool:
        """Whether nearly all of the claim stands in it in one piece."""
        words = _words(claim)
        if len(words) < FEWEST:
            return False
        size = ceil(WHOLE * len(words))
        pieces = (words[at : at + size] for at in range(len(words) - size + 1))
        return any(f" {' '.join(piece)} " in self._words for piece in pieces)


def _measures(text: str) -> bool:
    """Whether it tells a share, a rate, a size or a latency. A time of day is no measurement: any sentence has one."""
    if _SHARE.search(text):
        return True
    for value, dimension, _ in quantities.claimed(normal(text)).numbers:
        if dimension in ("ratio", "bytes") or (dimension == "time" and value <= LONGEST_MEASURED_SECONDS):
            return True
    return False


def _words(text: str) -> list[str]:
    return [word for token in normal(text).lower().split() if (word := token.strip(_EDGES))]


def _rows(text: str) -> Iterator[tuple[str, ...]]:
    """Every row of five plain words, in lower case."""
    text = normal(text)
    blank = list(text)
    for start, end in quantities.claimed(text).spans:
        blank[start:end] = "0" * (end - start)
    row: list[str] = []
    for token in _OURS.sub(" 0 ", "".join(blank)).lower().split():
        word = token.strip(_EDGES)
        if not word:
            continue
        row = [*row[1 - RUN :], word] if _PLAIN.fullmatch(word) else []
        if len(row) == RUN:
            yield tuple(row)
