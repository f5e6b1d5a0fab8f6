"""Redaction of parsed JSON: every string, in the light of the key that it stands under.

`{"password": "correct horse"}` says what the value is only through its key, and a Kubernetes pair
(`{"name": "API_KEY", "value": "…"}`) through its neighbour. So each string is scanned together with its key, and what
is found in the string is replaced in place. Walks without recursion: a body nested like a bomb costs its length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bot.trust.redaction.engine import Redactor

_PAIR_NAMES = ("name", "key", "Name", "Key")
_PAIR_VALUES = ("value", "Value")
MAX_KEY = 200
SHORT_KEY = 12
"""Keys up to here are too short to be a secret; longer ones are redacted as well."""


def redact_value(redactor: Redactor, value: Any) -> Any:
    """The same structure with every string redacted, keys included. The input is left as it is."""
    copy, slots = _copied(value, redactor)
    texts = [_with_key(slot.key, slot.text) for slot in slots]
    for slot, (_, before), found in zip(slots, texts, redactor.redact_many([text for text, _ in texts]), strict=True):
        spans = [span for span in found.spans if span.end > before and span.start < before + len(slot.text)]
        text, at = [], 0
        for span in spans:
            start, end = max(span.start - before, 0), min(span.end - before, len(slot.text))
            text += [slot.text[at:start], redactor.placeholder(slot.text[start:end], span.kind)]
            at = end
        slot.put("".join(text) + slot.text[at:] if spans else slot.text)
    return copy[0]


class _Slot:
    """One string of the structure: where it stands and the key that it stands under."""

    __slots__ = ("at", "holder", "key", "text")

    def __init__(self, holder: Any, at: Any, key: str, text: str) -> None:
        self.holder, self.at, self.key, self.text = holder, at, key, text

    def put(self, text: str) -> None:
        self.holder[self.at] = text


def _with_key(key: str, text: str) -> tuple[str, int]:
    """The string as an assignment, so that keyed rules see it; and where the string begins in it."""
    if not key:
        return text, 0
    before = f'"{key}": "'
    return (f'{before}{text}"', len(before)) if '"' not in text else (f"{key}: {text}", len(key) + 2)


def _copied(value: Any, redactor: Redactor) -> tuple[list[Any], list[_Slot]]:
    root: list[Any] = [value]
    slots: list[_Slot] = []
    todo: list[tuple[Any, Any, str, Any]] = [(root, 0, "", value)]
    while todo:
        holder, at, key, one = todo.pop()
        if isinstance(one, str):
            slots.append(_Slot(holder, at, key[:MAX_KEY], one))
        elif isinstance(one, dict):
            holder[at] = fresh = {}
            for key_found, inner, said in _entries(one):
                name = redactor.redact(key_found).text if len(key_found) > SHORT_KEY else key_found
                fresh[name] = inner
                todo.append((fresh, name, said, inner))
        elif isinstance(one, list | tuple):
            holder[at] = listed = list(one)
            todo += [(listed, n, key, inner) for n, inner in enumerate(listed)]
    return root, slots


def _entries(one: dict[Any, Any]) -> Iterator[tuple[str, Any, str]]:
    """Name, value, and the key in whose light the value is read."""
    pair = next((one[n] for n in _PAIR_NAMES if isinstance(one.get(n), str)), None)
    for name, inner in one.items():
        text = str(name)
        yield text, inner, pair if pair is not None and text in _PAIR_VALUES else text
