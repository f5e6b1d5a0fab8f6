"""Attacks as JSON lines: `{"id", "category", "text"}`; `{canary}` in a text stands for a fresh token."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
OWN = ROOT / "tests" / "data" / "redteam" / "attacks.jsonl"
SLICE = ROOT / "tests" / "data" / "injection" / "attacks.jsonl"
TEXT_KEYS = ("text", "attack", "payload", "prompt", "content", "input", "body", "message")
MOST_CHARACTERS = 100_000
_WRONG_LINES_TOLD = 5


class AttackFileError(Exception):
    """The file cannot be used; the text says which lines and what is wanted."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile text. `category` is the author's own word; the OWASP kinds in our own file."""

    id: str
    category: str
    text: str

    def armed(self, field: str) -> tuple[str, str]:
        """The text with its token, and the token: one a case, the same whenever the case is run."""
        digest = hashlib.sha256(f"{self.id}\n{field}\n{self.text}".encode("utf-8", "replace")).digest()
        token = "zq" + "".join(chr(ord("a") + byte % 26) for byte in digest[:9])
        return self.text.replace("{canary}", token), token


def default_files() -> list[Path]:
    """Our own attacks, and the public sets: whole where they lie beside the checkout, else the slice of them."""
    beside = Path(os.environ.get("SITREP_TEST_DATA", ROOT.parent / "shared" / "data")) / "injection" / "attacks.jsonl"
    return [OWN, beside if beside.is_file() else SLICE]


def read(paths: Sequence[Path]) -> list[Attack]:
    """Every attack of the files. Raises AttackFileError."""
    found = [attack for path in paths for attack in _read_one(path)]
    seen: dict[str, int] = {}
    named = []
    for attack in found:
        seen[attack.id] = seen.get(attack.id, 0) + 1
        again = seen[attack.id]
        named.append(attack if again == 1 else Attack(f"{attack.id}#{again}", attack.category, attack.text))
    return named


def _read_one(path: Path) -> list[Attack]:
    try:
        raw = path.read_bytes()
        content = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (OSError, EOFError, ValueError) as wrong:
        raise AttackFileError(f"{str(path)!r} cannot be read ({wrong}): name a file of JSON lines in UTF-8") from wrong
    attacks, wrong_lines = [], []
    for place, record in _records(content):
        why = record if isinstance(record, str) else _wrong(record)
        if why:
            wrong_lines.append(f"{place}: {why}")
        else:
            attacks.append(_attack(place, record))
    if wrong_lines:
        more = len(wrong_lines) - _WRONG_LINES_TOLD
        told = "\n  ".join(wrong_lines[:_WRONG_LINES_TOLD] + ([f"and {more} more"] if more > 0 else []))
        raise AttackFileError(f'{str(path)!r}: write one object a line, {{"id", "category", "text"}}:\n  {told}')
    if not attacks:
        raise AttackFileError(f'{str(path)!r} holds no attack: write one object a line, {{"id", "category", "text"}}')
    return attacks


def _records(content: str) -> list[tuple[str, Any]]:
    """Place and record; a text in place of a record says why there is none. A JSON list of objects is read as well."""
    if content.lstrip().startswith("["):
        try:
            listed = json.loads(content)
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list):
            return [
                (f"item {n}", one if not isinstance(one, str) else {"text": one}) for n, one in enumerate(listed, 1)
            ]
    found: list[tuple[str, Any]] = []
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            try:
                found.append((f"line {number}", json.loads(line)))
            except (ValueError, RecursionError) as wrong:
                found.append((f"line {number}", f"no JSON ({str(wrong)[:80]})"))
    return [(place, {"text": one} if isinstance(one, str) and not one.startswith("no JSON") else one)
            for place, one in found]  # fmt: skip


def _wrong(record: Any) -> str:
    if not isinstance(record, dict):
        return f"{type(record).__name__} in the place of an object"
    key = next((key for key in TEXT_KEYS if key in record), None)
    if key is None:
        return 'no key "text"'
    if not isinstance(record[key], str) or not record[key].strip():
        return f"{key!r} is no text"
    return f"{key!r} is longer than {MOST_CHARACTERS} characters" if len(record[key]) > MOST_CHARACTERS else ""


def _attack(place: str, record: dict[str, Any]) -> Attack:
    text = next(record[key] for key in TEXT_KEYS if key in record)
    category = next((record[key] for key in ("category", "kind", "type") if record.get(key)), "uncategorised")
    known = record.get("id")
    return Attack(str(place if known in (None, "") else known)[:200], str(category)[:100], text)
