"""Log templates: what a line says without what it is about.

A template is the first eight words of at least two letters among the first 400 characters; words with digits (ids,
addresses, numbers), one-word values of `key: value` pairs, and what log formats put in front (level, date, labels of
ids) are dropped. `template` is idempotent,
`template(template(x)) == template(x)`, because the room `redact` replaces bodies by redacted templates before `rank`
sees them.
"""

from __future__ import annotations

import re

MAX_CHARACTERS = 400
MAX_WORDS = 8
_OUTCOME = re.compile(r"succe|true|false|null|none|empty|ok|yes|no|not|done|complete|missing|expired", re.IGNORECASE)
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
    text = body[:MAX_CHARACTERS]
    for found in _CHUNK.finditer(text):
        chunk = found.group()
        if _is_value(text, found.start(), found.end()) and not _OUTCOME.match(chunk) and not error_like(chunk):
            continue
        if chunk.isalpha():
            if len(chunk) < 2 or chunk in _NOISE or (len(chunk) >= 8 and _HEX_ID.fullmatch(chunk)):
                continue
            words.append(chunk)
        elif _HAS_DIGIT.search(chunk) or _HEX_ID.fullmatch(chunk):
            continue
        else:
            words += [one for one in _WORD.findall(chunk) if one not in _NOISE and not _HEX_ID.fullmatch(one)]
        if len(words) >= MAX_WORDS:
            break
    return " ".join(words[:MAX_WORDS])


def _is_value(text: str, start: int, end: int) -> bool:
    """`key: value]`, `key=value,`: a one-word value is data, not behaviour, unless it is an outcome."""
    if end >= len(text) or text[end] not in ",;])}":
        return False
    before = text[max(0, start - 3) : start].rstrip()
    return len(before) > 1 and before[-1] in ":=：" and before[:-1].rstrip()[-1:].isalnum()


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
