"""Log templates: what a line says without what it is about.

A template is the first eight words of at least two letters among the first 400 characters; words with digits (ids,
addresses, numbers) and the correlation labels that log formats put in front are dropped. `template` is idempotent,
`template(template(x)) == template(x)`, because the room `redact` replaces bodies by redacted templates before `rank`
sees them.
"""

from __future__ import annotations

import re

MAX_CHARACTERS = 400
MAX_WORDS = 8
_CHUNK = re.compile(r"[\w-]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_HAS_DIGIT = re.compile(r"\d")
_HEX_ID = re.compile(r"[a-f-]{8,}|[A-F-]{8,}")
_LEVELS = "INFO WARN WARNING DEBUG TRACE"
_LABELS = "TraceID SpanID traceId spanId traceid spanid"
_DATES = "Mon Tue Wed Thu Fri Sat Sun Jan Feb Mar Apr Jun Jul Aug Sep Oct Nov Dec UTC GMT CET CEST CST EST PST AM PM"
_NOISE = frozenset(f"{_LEVELS} {_LABELS} {_DATES}".split())
"""Words that say where or when, not what: levels, labels of ids, parts of dates."""
_ERROR_LIKE = re.compile(
    r"error|exception|fail|fatal|panic|timeout|timed out|refused|denied|unavailable|cannot|can not|could not"
    r"|unable|abort|reject|no route|out of memory|unreachable|invalid",
    re.IGNORECASE,
)


def template(body: str) -> str:
    """The template of a log line, words joined by one space; empty when the line has no word."""
    words: list[str] = []
    for chunk in _CHUNK.findall(body[:MAX_CHARACTERS]):
        if _HAS_DIGIT.search(chunk) or chunk in _NOISE or _HEX_ID.fullmatch(chunk):
            continue
        for word in _WORD.findall(chunk):
            if word in _NOISE or _HEX_ID.fullmatch(word):
                continue
            words.append(word)
            if len(words) == MAX_WORDS:
                return " ".join(words)
    return " ".join(words)


def error_like(text: str) -> bool:
    """Whether a template reads like a failure whatever its level says."""
    return _ERROR_LIKE.search(text) is not None


class Templates:
    """Memory of templates by body, so that a repeated line costs one look-up. Lives for one triage."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, body: str) -> str:
        known = self._known.get(body)
        if known is None:
            known = self._known[body] = template(body)
        return known
