"""The one place that compiles patterns for outside text.

Patterns run on RE2 (a finite automaton: time linear in the text, whoever wrote it). Where no RE2 wheel exists for the
platform the same patterns run on the standard library's engine, slower and with the same result: they are written in
the subset that both share, without backreferences and look-around, and no two neighbouring repetitions share a
character, so that backtracking has nothing to try twice.

A text is scanned as bytes with one byte a character (see `views.one_byte_per_char`), so that an offset in the bytes is
an offset in the text.

Repetitions are written possessive (`*+`) where what follows cannot match what they took: the standard library's engine
then gives nothing back, and RE2, which never goes back, is given the plain form.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any, Literal, Protocol, cast

Engine = Literal["re2", "re"]

BREAK = b"\n\x00\n"
"""Stands between texts that are scanned together. No pattern crosses a NUL."""
MASK = 0x02
"""Stands for each character of a placeholder that is already there."""
INVISIBLE = 0x01
"""Stands for a zero-width or otherwise invisible character."""


class Found(Protocol):
    """A match: the part of `re.Match` that both engines have."""

    def start(self, group: int = 0, /) -> int: ...
    def end(self, group: int = 0, /) -> int: ...
    def group(self, group: int = 0, /) -> bytes: ...


class Pattern(Protocol):
    """A compiled pattern: the part of `re.Pattern` that both engines have."""

    def finditer(self, text: bytes, /) -> Iterator[Found]: ...
    def search(self, text: bytes, /) -> Found | None: ...
    def match(self, text: bytes, /) -> Found | None: ...
    def fullmatch(self, text: bytes, /) -> Found | None: ...


_POSSESSIVE = re.compile(rb"([*+?}])\+")


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
    if engine == "re":
        return cast(Pattern, re.compile(source))
    source = _POSSESSIVE.sub(rb"\1", source)
    re2: Any = importlib.import_module("re2")
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    # The automaton's states are cached; 8 MiB (the default) is few for the widest alternations.
    options.max_mem = 64 << 20
    return cast(Pattern, re2.compile(source, options))
