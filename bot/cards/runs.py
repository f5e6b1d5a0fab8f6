"""Runs: the pieces of one line, before a form draws them. Our words, outside text, code, a mark, a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

SENTENCE_LIMIT = 400
NAME_LIMIT = 80


@dataclass(frozen=True, slots=True)
class Run:
    """One piece of a line. `url` belongs to a mark, `at` to a time; `limit` caps its text."""

    text: str
    kind: Literal["text", "bold", "code", "strike", "mark", "time", "ago", "gap"] = "text"
    url: str = ""
    at: datetime | None = None
    limit: int = SENTENCE_LIMIT


Line = tuple[Run, ...]


def text(value: str, limit: int = SENTENCE_LIMIT) -> Run:
    return Run(value, limit=limit)


def bold(value: str) -> Run:
    return Run(value, "bold", limit=NAME_LIMIT)


GAP = Run("  ", "gap")
"""Between a heading and its sentences."""


def joined(parts: Iterable[Sequence[Run]], separator: str = " · ") -> Line:
    """Parts of a context line, those that are empty left out."""
    line: list[Run] = []
    for part in parts:
        if part:
            line += ([text(separator)] if line else []) + list(part)
    return tuple(line)
