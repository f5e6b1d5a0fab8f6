"""The redactor: find where something is (`findings`), and replace it.

Everything is linear in the size of the text. Comments that ask a
scanner to look away (`gitleaks:allow`, `pragma: allowlist secret`) are text like any other.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bot.trust.redaction import structure
from bot.trust.redaction.findings import NOTHING, PLACEHOLDER, Scanner, Span
from bot.trust.redaction.personal import COUNTRIES
from bot.trust.redaction.scan import Engine, best_engine

_ROUNDS = 8
LONGEST_TEXT = 4 << 20
"""Characters of one text that are looked at. What is beyond leaves as one placeholder: nothing passes unseen."""
_CUT_BACK = 1 << 14
"""How far before the cut the last line break is looked for, so that no secret is cut in two there."""
_PLACEHOLDERS_ONLY = re.compile(rf"(?:[\s,;]*{PLACEHOLDER})+")
_PERSONAL_KINDS = frozenset(("email", "phone", "card", "iban", "national-id", "ip"))


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without secrets and personal data. `suspicious` is advice: the text sounds like orders to a machine."""

    text: str
    spans: tuple[Span, ...]
    suspicious: bool = False
    reasons: tuple[str, ...] = ()


class Redactor:
    """Replaces secrets and personal data by placeholders with a keyed digest, the same for the same value and key.

    `keys`: at least one secret key, newest first; the first makes the digests. `countries`: whose national ids.
    Cheap to make and to send to a worker process: patterns are compiled once a process.
    """

    def __init__(
        self, keys: Sequence[bytes], *, countries: Iterable[str] = COUNTRIES, engine: Engine | None = None
    ) -> None:
        if not keys or not all(keys):
            raise ValueError("a redactor needs at least one key that is not empty: set SITREP_SECRET_KEY")
        self._keys = tuple(keys)
        self._countries = tuple(sorted(set(countries)))
        self._engine: Engine = engine or best_engine()
        self._scanner = Scanner(self._engine, self._countries)

    def __repr__(self) -> str:
        return f"Redactor({len(self._keys)} keys, countries={self._countries!r}, engine={self._engine!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (self._keys, self._countries, self._engine)

    def redact(self, text: str) -> Redacted:
        """`text` without secrets and personal data."""
        return self.redact_many((text,))[0]

    def redact_many(self, texts: Sequence[str]) -> list[Redacted]:
        """Each of `texts`, in order; one pass over all of them, much faster than one by one."""
        if any(len(text) > LONGEST_TEXT for text in texts):
            return [self._cut(text) if len(text) > LONGEST_TEXT else self.redact(text) for text in texts]
        findings = self._scanner.findings(texts)
        spans = {index: found.spans for index, found in enumerate(findings) if found.spans}
        clean = {index: self._replaced(texts[index], found) for index, found in spans.items()}
        # What was behind a secret may be seen only now. The answer is one in which nothing more is found.
        unsettled = list(spans)
        for _ in range(_ROUNDS):
            further = self._scanner.findings([clean[index] for index in unsettled]) if unsettled else []
            unsettled = [index for index, found in zip(unsettled, further, strict=True) if found.spans]
            for index, more in zip(unsettled, (found.spans for found in further if found.spans), strict=True):
                spans[index] = _with_more(spans[index], more)
                clean[index] = self._replaced(texts[index], spans[index])
        for index in unsettled:  # made so that each look finds more: nobody needs it
            spans[index] = (Span(0, len(texts[index]), "unsettled"),)
            clean[index] = self._replaced(texts[index], spans[index])
        return [
            Redacted(text, ())
            if found is NOTHING
            else Redacted(clean.get(index, text), spans.get(index, ()), bool(found.reasons), found.reasons)
            for index, (text, found) in enumerate(zip(texts, findings, strict=True))
        ]

    def _cut(self, text: str) -> Redacted:
        """A text that is too long: its beginning as ever, the rest replaced as a whole."""
        line = text.rfind("\n", LONGEST_TEXT - _CUT_BACK, LONGEST_TEXT) + 1
        cut = line or LONGEST_TEXT - _CUT_BACK
        done = self.redact(text[:cut])
        rest = Span(cut, len(text), "too-long")
        spans = (*done.spans, rest)
        if done.spans and done.spans[-1].end == cut:
            spans = (*done.spans[:-1], Span(done.spans[-1].start, len(text), "too-long"))
        return Redacted(self._replaced(text, spans), spans, done.suspicious, done.reasons)

    def redact_value(self, value: Any) -> Any:
        """A copy of parsed JSON without secrets and personal data, in keys and in strings.

        Beside what a string itself shows, the name of its field counts (`{"password": "x"}`, numbers too), the name in
        a pair (`{"name": "DB_PASSWORD", "value": "x"}`), a Kubernetes Secret, and a key cut in two over neighbours.
        """
        walk = structure.walked(value)
        keys = list({key for made in walk.dicts for key in made if isinstance(key, str)})
        strings = [leaf for leaf in walk.leaves if isinstance(leaf.value, str)]
        pairs = list(structure.split_pairs(strings))
        # A string that is too long is read on its own, up to the limit.
        texts = [str(leaf.value) if len(str(leaf.value)) <= LONGEST_TEXT else "" for leaf in strings]
        texts += [f"{first.value}{second.value}" for first, second in pairs]
        findings = self._scanner.findings([*texts, *keys])
        by_leaf = {id(leaf): found.spans for leaf, found in zip(strings, findings, strict=False)}
        by_leaf |= {
            id(leaf): self._cut(str(leaf.value)).spans for leaf in strings if len(str(leaf.value)) > LONGEST_TEXT
        }
        for (first, second), found in zip(pairs, findings[len(strings) :], strict=False):
            cut = len(str(first.value))
            for span in found.spans:
                halves = (str(first.value)[span.start :], str(second.value)[: span.end - cut])
                if span.kind == "generated" and any(map(structure.is_word, halves)):
                    continue
                if span.start < cut < span.end and not (by_leaf[id(first)] and by_leaf[id(second)]):
                    by_leaf[id(first)] += (Span(span.start, cut, span.kind),)
                    by_leaf[id(second)] = (Span(0, span.end - cut, span.kind), *by_leaf[id(second)])
        for leaf in walk.leaves:
            text = str(leaf.value)
            kind = structure.kind_by_name(leaf)
            spans = by_leaf.get(id(leaf), ())
            if kind and not _PLACEHOLDERS_ONLY.fullmatch(text):
                leaf.holder[leaf.place] = self.placeholder(text, kind)
            elif spans:
                leaf.holder[leaf.place] = self._replaced(text, _apart(spans))
        clean = {
            key: self._replaced(key, found.spans)
            for key, found in zip(keys, findings[len(texts) :], strict=True)
            if found.spans
        }
        return structure.rebuilt(walk, lambda key: clean.get(key, key))

    def _replaced(self, text: str, spans: tuple[Span, ...]) -> str:
        pieces: list[str] = []
        at = 0
        for span in spans:
            pieces.append(text[at : span.start])
            pieces.append(self.placeholder(text[span.start : span.end], span.kind))
            at = span.end
        pieces.append(text[at:])
        return "".join(pieces)

    def placeholder(self, value: str, kind: str) -> str:
        """`<secret:aws-key:7f3a>`: the digest is HMAC-SHA256 under the first key, 16 bits of it."""
        digest = hmac.digest(self._keys[0], value.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"<{_family(kind)}:{kind}:{digest[:2].hex()}>"


def _with_more(spans: tuple[Span, ...], more: tuple[Span, ...]) -> tuple[Span, ...]:
    """`spans` of a text, and `more` that were found once those were replaced, as spans of the same text."""
    result: list[Span] = []
    left = list(reversed(more))
    shift = 0  # how much longer the redacted text is than the text, so far
    for span in (*spans, None):
        while left and (span is None or left[-1].start < span.start + shift):
            found = left.pop()
            result.append(Span(found.start - shift, found.end - shift, found.kind))
        if span is not None:
            result.append(span)
            shift += placeholder_length(span.kind) - (span.end - span.start)
    return tuple(result)


def placeholder_length(kind: str) -> int:
    """How many characters a placeholder of this kind has."""
    return len(f"<{_family(kind)}:{kind}:0000>")


def _family(kind: str) -> str:
    return "personal" if kind in _PERSONAL_KINDS else "secret"


def _apart(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Without those that begin inside an earlier one."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return tuple(kept)


def _rebuilt(keys: tuple[bytes, ...], countries: tuple[str, ...], engine: Engine) -> Redactor:
    return Redactor(keys, countries=countries, engine=engine)
