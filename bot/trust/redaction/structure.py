"""Secrets in parsed JSON: by content, by the name of the field, by a name/value pair, split over two fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from bot.trust.redaction import names
from bot.trust.redaction.keyed import accepts
from bot.trust.redaction.views import one_byte_per_char

_NAME_FIELDS = ("name", "key", "id", "header", "field", "variable", "parameter")
_VALUE_FIELDS = ("value", "val", "content", "stringValue", "string_value", "default", "data")
_INHERITING = frozenset((*_VALUE_FIELDS, "string", "plain", "raw", "text", "secret", "plaintext", "values"))
_LONGEST_PART = 400
_OF_THE_PROTOCOL = frozenset(
    ("id", "type", "event_type", "resource_type", "status", "state", "kind", "action", "self", "severity", "urgency")
)
"""Fields by which systems tell what a message is and which one. Joined with a neighbour, one random id in five hundred
reads as a key: an event without its type could not be applied, and its incident would miss it."""


@dataclass(slots=True)
class Leaf:
    """A string (or a number) in its container, and the name that says what it is."""

    holder: Any
    place: Any
    value: str | int | float
    name: str
    whole: bool = False


@dataclass(slots=True)
class Walk:
    """A copy of the structure with the leaves still to be filled in."""

    root: list[Any] = field(default_factory=lambda: [None])
    leaves: list[Leaf] = field(default_factory=list)
    dicts: list[dict[Any, Any]] = field(default_factory=list)


def walked(value: Any) -> Walk:
    """Copy `value` without recursion: its depth is its author's."""
    walk = Walk()
    todo: list[tuple[Any, Any, Any, str, bool]] = [(value, walk.root, 0, "", False)]
    while todo:
        item, holder, place, name, whole = todo.pop()
        if isinstance(item, dict):
            made: dict[Any, Any] = dict.fromkeys(item)
            walk.dicts.append(made)
            holder[place] = made
            paired = _paired_name(item)
            secret = str(item.get("kind", "")).lower() == "secret"
            fields = []
            for key, inner in item.items():
                inherited = name if name and str(key) in _INHERITING else str(key)
                inherited = paired if paired and key in _VALUE_FIELDS else inherited
                all_secret = whole or (secret and key in ("data", "stringData") and isinstance(inner, dict))
                fields.append((inner, made, key, inherited, all_secret))
            todo.extend(reversed(fields))
        elif isinstance(item, (list, tuple)):
            listed: list[Any] = [None] * len(item)
            holder[place] = listed
            pair = len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], str)
            todo.extend(
                (inner, listed, index, item[0] if pair and index else name, whole)
                for index, inner in reversed(list(enumerate(item)))
            )
        else:
            holder[place] = item
            if isinstance(item, str) or (isinstance(item, (int, float)) and not isinstance(item, bool) and name):
                leaf = Leaf(holder, place, item, name, whole)
                walk.leaves.append(leaf)
    return walk


def _paired_name(item: dict[Any, Any]) -> str:
    """The name in `{"name": "DB_PASSWORD", "value": "…"}`."""
    if any(key in item for key in _VALUE_FIELDS):
        for key in _NAME_FIELDS:
            named = item.get(key)
            if isinstance(named, str) and len(named) <= 200:
                return named
    return ""


def kind_by_name(leaf: Leaf) -> str:
    """The kind of secret that the name of a leaf proves all of its value to be, or ""."""
    value = one_byte_per_char(leaf.value if isinstance(leaf.value, str) else str(leaf.value))
    if leaf.whole and value.strip():
        return "k8s-secret"
    reading = names.read(leaf.name)
    if not reading.strength or not value.strip():
        return ""
    if (
        not isinstance(leaf.value, str)
        and reading.strength != names.PASSWORD
        and reading.kind not in ("pin", "otp", "cvv")
    ):
        return ""
    if leaf.value == leaf.name and reading.strength != names.PASSWORD:
        return ""
    scheme, _, rest = value.partition(b" ")
    if rest and scheme.lower() in (b"bearer", b"basic", b"token", b"digest", b"apikey"):
        return ""  # read by its form, which keeps the scheme
    return reading.kind if accepts(reading, value, True) else ""


def split_pairs(leaves: Sequence[Leaf]) -> Iterator[tuple[Leaf, Leaf]]:
    """Neighbouring short words of one container: a secret may be cut in two there."""
    for first, second in pairwise(leaves):
        if first.holder is second.holder and _is_part(first) and _is_part(second):
            yield first, second


def is_word(piece: str) -> bool:
    """Whether this end of a value that was joined with its neighbour is a plain word, and so no half of a random key."""
    return piece.isalpha() and (piece.islower() or piece.isupper() or piece.istitle())


def _is_part(leaf: Leaf) -> bool:
    value = leaf.value
    if leaf.name in _OF_THE_PROTOCOL:
        return False
    return isinstance(value, str) and 4 <= len(value) <= _LONGEST_PART and not any(char in value for char in " \n\t<>")


def rebuilt(walk: Walk, redact_key: Callable[[str], str]) -> Any:
    """The copy with its keys redacted too."""
    for made in walk.dicts:
        if any(isinstance(key, str) and redact_key(key) != key for key in made):
            items = [(redact_key(key) if isinstance(key, str) else key, inner) for key, inner in made.items()]
            made.clear()
            made.update(items)
    return walk.root[0]
