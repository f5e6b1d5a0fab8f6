"""The one place that compiles patterns for outside text.

Patterns run on RE2 (a finite automaton: time linear in the text, whoever wrote it). Where no RE2 wheel exists for the
platform the same patterns run on the standard library's engine, slower and with the same result: they are written in
the subset that both share, without backreferences and look-around. Repetitions are written possessive (`*+`) where what
follows cannot match what they took: the standard library's engine then gives nothing back, and RE2, which never goes
back, is given the plain form.

A text is scanned as bytes with one byte a character (see `views.one_byte_per_char`), so that an offset in the bytes is
an offset in the text.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

Engine = Literal["re2", "re"]
Spans = Sequence[tuple[int, int]]
"""Of one match: [0] all of it, [i] group i; (-1, -1) for a group that took no part."""

BREAK = b"\n\x00\n"
"""Stands before, between and after texts that are scanned together. No pattern crosses a NUL."""
MASK = 0x02
"""Stands for each character of a placeholder that is already there."""
INVISIBLE = 0x01
"""Stands for a zero-width or otherwise invisible character."""

_POSSESSIVE = re.compile(rb"([*+?}])\+")


class Pattern(Protocol):
    """A compiled pattern."""

    def spans(self, text: bytes) -> Iterator[Spans]:
        """Every match, from left to right, not overlapping."""
        ...

    def find(self, text: bytes, start: int = 0) -> Spans | None:
        """The first match at or after `start`."""
        ...

    def fits(self, text: bytes) -> bool:
        """Does all of `text` match?"""
        ...


def best_engine() -> Engine:
    """ "re2" where its extension can be imported, else "re"."""
    try:
        importlib.import_module("re2")
    except ImportError:
        return "re"
    return "re2"


def compile_pattern(pattern: str, engine: Engine) -> Pattern:
    """`pattern` (Latin-1 characters only) for scanning bytes."""
    source = pattern.encode("latin-1")
    return _Backtracking(source) if engine == "re" else _Automaton(_POSSESSIVE.sub(rb"\1", source))


class _Automaton:
    """RE2. Its extension is called directly: the objects that its Python face makes cost more than the matching."""

    def __init__(self, source: bytes) -> None:
        re2: Any = importlib.import_module("re2")
        extension: Any = importlib.import_module("re2._re2")
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.log_errors = False
        # The automaton's states are made as texts need them and kept; 8 MiB (the default) is few for the widest ones.
        options.max_mem = 64 << 20
        self._compiled = extension.RE2(source, options)
        if not self._compiled.ok():
            raise ValueError(f"RE2 refuses {source[:80]!r}: {self._compiled.error()!r}")
        self._match = self._compiled.Match
        self._anywhere, self._both = extension.RE2.Anchor.UNANCHORED, extension.RE2.Anchor.ANCHOR_BOTH

    def spans(self, text: bytes) -> Iterator[Spans]:
        at, end, match, anywhere = 0, len(text), self._match, self._anywhere
        while at <= end:
            found = match(anywhere, text, at, end)
            start, stop = found[0]
            if start < 0:
                return
            yield found
            at = stop if stop > start else stop + 1

    def find(self, text: bytes, start: int = 0) -> Spans | None:
        found: Spans = self._match(self._anywhere, text, start, len(text))
        return found if found[0][0] >= 0 else None

    def fits(self, text: bytes) -> bool:
        return bool(self._match(self._both, text, 0, len(text))[0][0] >= 0)


class _Backtracking:
    """The standard library's engine."""

    def __init__(self, source: bytes) -> None:
        # "Anything on the line" and long names are bounded here, so that a line of many beginnings of a match is not
        # walked to its end once for each of them.
        source = source.replace(rb"[^\n\x00]*?", rb"[^\n\x00]{0,1000}?").replace(b"]*+", b"]{0,400}+")
        # RE2's white space has no vertical tab. Patterns name it inside brackets only.
        self._compiled = re.compile(source.replace(rb"\s", rb" \t\n\f\r"))

    def spans(self, text: bytes) -> Iterator[Spans]:
        return (found.regs for found in self._compiled.finditer(text))

    def find(self, text: bytes, start: int = 0) -> Spans | None:
        found = self._compiled.search(text, start)
        return found.regs if found else None

    def fits(self, text: bytes) -> bool:
        return self._compiled.fullmatch(text) is not None
