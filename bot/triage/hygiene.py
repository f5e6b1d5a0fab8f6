"""Characters that no prompt and no post needs, and that deceive: control, invisible, bidirectional, tag characters."""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = re.compile(
    "["
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners, fillers
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # tags and variation selectors
    "\ufe00-\ufe0f"
    "]"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ue000-\uf8ff\U000f0000-\U0010ffff]")
_ANSI = re.compile("\x1b(?:\\[[0-9;:?]{0,32}[ -/]{0,4}[@-~]|\\][^\x07\x1b]{0,256}(?:\x07|\x1b\\\\)|[@-Z\\\\-_])")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")


def plain(text: str) -> str:
    """The text without terminal codes, control and invisible characters; every kind of space is a space.

    Tabs and line ends stay. Composed to NFC, so that one letter has one form.
    """
    text = _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _INVISIBLE.sub("", _CONTROL.sub("", text))
    return unicodedata.normalize("NFC", _SPACES.sub(" ", text))


def one_spaced(text: str) -> str:
    """Every kind of space as a space: models like narrow ones between a number and its unit."""
    return _SPACES.sub(" ", text)


def has_hidden(text: str) -> bool:
    """Whether `plain` would remove something."""
    return bool(_ANSI.search(text) or _CONTROL.search(text) or _INVISIBLE.search(text))
