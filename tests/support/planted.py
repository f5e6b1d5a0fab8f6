"""Fake secrets of many kinds, to plant somewhere and look for afterwards. None of them opens anything.

`PLANTED[i].text` holds `PLANTED[i].secret` as a system would write it; `leaks(text)` names the kinds in a text.
"""

from __future__ import annotations

import json
import pathlib
from typing import NamedTuple


class Planted(NamedTuple):
    """One fake secret: its kind, a line that holds it, and itself."""

    kind: str
    text: str
    secret: str


PLANTED = tuple(
    Planted(**entry)
    for entry in json.loads(
        (pathlib.Path(__file__).parent.parent / "data" / "planted.json").read_text(encoding="utf-8")
    )
)


def leaks(text: str) -> list[str]:
    """The kinds of those planted secrets that stand in `text`."""
    return [planted.kind for planted in PLANTED if planted.secret in text]
