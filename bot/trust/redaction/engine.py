"""The redactor: find where something may be, look there closely, replace what it is.

Two automata over the whole text say which lines may hold something (most hold nothing); only those lines and their
unescaped readings are looked at by the detectors. Everything is linear in the size of the text. Comments that ask a
scanner to look away (`gitleaks:allow`, `pragma: allowlist secret`) are text like any other.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from bot.trust.redaction import structure
from bot.trust.redaction.calls import CodeForms
from bot.trust.redaction.candidates import PERSONAL, Candidate
from bot.trust.redaction.forms import Forms
from bot.trust.redaction.gates import Gates
from bot.trust.redaction.generated import Generated
from bot.trust.redaction.keyed import KeyedValues
from bot.trust.redaction.loose import LooselyNamed
from bot.trust.redaction.marker import DISGUISED, Marker
from bot.trust.redaction.personal import COUNTRIES, PersonalData
from bot.trust.redaction.prose import Sentences
from bot.trust.redaction.scan import BREAK, MASK, Engine, best_engine, compile_pattern
from bot.trust.redaction.vendors import VendorFormats
from bot.trust.redaction.views import Unescaper, View, joined_bytes

_BATCH = 1 << 18
_ROUNDS = 8
LONGEST_TEXT = 4 << 20
"""Characters of one text that are looked at. What is beyond leaves as one placeholder: nothing passes unseen."""
_CUT_BACK = 1 << 14
"""How far before the cut the last line break is looked for, so that no secret is cut in two there."""
_PLACEHOLDER = r"<(?:secret|personal):[a-z0-9\-]{1,40}:[0-9a-f]{4}>"
_PLACEHOLDERS_ONLY = re.compile(rf"(?:[\s,;]*{_PLACEHOLDER})+")
_PERSONAL_KINDS = frozenset(("email", "phone", "card", "iban", "national-id", "ip"))


@dataclass(frozen=True, slots=True)
class Span:
    """What was replaced: [start, end) in characters of the original text, and its kind."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without secrets and personal data. `suspicious` is advice: the text sounds like orders to a machine."""

    text: str
    spans: tuple[Span, ...]
    suspicious: bool = False
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Segment:
    """A stretch of text number `text` that is looked at; it begins at `offset` there.

    `view` says where its characters came from; `whole`: all of it came from that stretch (decoded base64).
    """

    text: int
    offset: int
    data: bytes
    view: View | None = None
    whole: tuple[int, int] | None = None

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """[start, end) of this segment as offsets in the text."""
        if self.whole is not None:
            start, end = self.whole
        elif self.view is not None:
            start, end = self.view.origin(start, end)
        return start + self.offset, end + self.offset


class Rules:
    """All compiled patterns for one engine and one choice of countries; made once a process, shared by all redactors."""

    def __init__(self, engine: Engine, countries: tuple[str, ...]) -> None:
        self.gates = Gates(engine)
        self.placeholder = compile_pattern(_PLACEHOLDER, engine)
        self.unescape = Unescaper(engine)
        self.generated = Generated(engine)
        self.detectors = (
            KeyedValues(engine), CodeForms(engine), LooselyNamed(engine), Sentences(engine), Forms(engine),
            VendorFormats(engine), self.generated,
        )  # fmt: skip
        self.personal = PersonalData(engine, countries)
        self.marker = Marker(engine)


@functools.lru_cache(maxsize=8)
def rules(engine: Engine, countries: tuple[str, ...]) -> Rules:
    return Rules(engine, countries)


class Finding(NamedTuple):
    """Of one text: what to replace, and why it sounds like orders to a machine."""

    spans: tuple[Span, ...]
    reasons: tuple[str, ...]


_NOTHING = Finding((), ())


class Scanner:
    """Finds the spans of many texts at once, and marks those that sound like orders to a machine."""

    def __init__(self, engine: Engine, countries: tuple[str, ...]) -> None:
        self._rules = rules(engine, countries)

    def findings(self, texts: Sequence[str]) -> list[Finding]:
        """For each text its spans (ordered, not overlapping) and the reasons of its mark."""
        if len(texts) == 1:
            return self._batch(texts)
        result: list[Finding] = []
        first = size = 0
        for index, text in enumerate(texts):
            size += len(text)
            if size >= _BATCH:
                result.extend(self._batch(texts[first : index + 1]))
                first, size = index + 1, 0
        if first < len(texts):
            result.extend(self._batch(texts[first:]))
        return result

    def _batch(self, texts: Sequence[str]) -> list[Finding]:
        joined = self._without_placeholders(joined_bytes(texts))
        starts = [len(BREAK), *accumulate((len(text) + len(BREAK) for text in texts), initial=len(BREAK))][1:-1]
        ends = [start + len(text) for start, text in zip(starts, texts, strict=True)]
        segments = list(self._segments(joined, starts, ends))
        reasons = self._rules.marker.reasons(texts, joined, starts)
        found: dict[int, list[Candidate]] = {}
        for text, candidate in self._candidates(segments, reasons) if segments else ():
            found.setdefault(text, []).append(candidate)
        result = [_NOTHING] * len(texts)
        for text in found.keys() | reasons.keys():
            spans = _merged(found[text], joined, starts[text]) if text in found else ()
            result[text] = Finding(spans, reasons.get(text, ()))
        return result

    def _without_placeholders(self, joined: bytes) -> bytes:
        if self._rules.placeholder.find(joined) is None:
            return joined
        masked = bytearray(joined)
        for spans in self._rules.placeholder.spans(joined):
            start, end = spans[0]
            masked[start:end] = bytes((MASK,)) * (end - start)
        return bytes(masked)

    def _segments(self, joined: bytes, starts: list[int], ends: list[int]) -> Iterator[_Segment]:
        for text, first, last in self._rules.gates.regions(joined, starts, ends):
            data = joined[first:last]
            offset = first - starts[text]
            yield _Segment(text, offset, data)
            view = self._rules.unescape(data)
            if view is not None:
                yield _Segment(text, offset, view.data, view)

    def _candidates(
        self, segments: list[_Segment], reasons: dict[int, tuple[str, ...]]
    ) -> Iterator[tuple[int, Candidate]]:
        data, edges = _joined(segments)
        yield from self._located(segments, data, edges, personal=True)
        inner = [
            _Segment(segment.text, 0, plain, whole=segment.origin(start, end))
            for start, end, plain in self._rules.generated.readable(data)
            for segment, start, end in (_within(segments, edges, start, end),)
        ]
        for segment in (*(segment for segment in segments if segment.view is not None), *inner):
            # Orders that were written in escapes or in base64 so as not to be seen.
            if DISGUISED not in reasons.get(segment.text, ()) and self._rules.marker.of(segment.data):
                reasons[segment.text] = (*reasons.get(segment.text, ()), DISGUISED)
        if inner:
            yield from self._located(inner, *_joined(inner), personal=False)

    def _located(
        self, segments: list[_Segment], data: bytes, edges: list[int], *, personal: bool
    ) -> Iterator[tuple[int, Candidate]]:
        for detector in self._rules.detectors:
            for candidate in detector(data):
                yield _placed(candidate, segments, edges)
        if personal:
            for candidate in self._rules.personal(data):
                yield _placed(candidate, segments, edges)


def _within(segments: list[_Segment], edges: list[int], start: int, end: int) -> tuple[_Segment, int, int]:
    """The segment that [start, end) of the joined segments lies in, and the stretch within it."""
    index = max(bisect.bisect_right(edges, start) - 1, 0)
    segment, edge = segments[index], edges[index]
    start = min(max(start - edge, 0), max(len(segment.data) - 1, 0))
    return segment, start, max(start + 1, min(end - edge, len(segment.data)))


def _placed(candidate: Candidate, segments: list[_Segment], edges: list[int]) -> tuple[int, Candidate]:
    segment, start, end = _within(segments, edges, candidate.start, candidate.end)
    start, end = segment.origin(start, end)
    return segment.text, Candidate(start, end, candidate.kind, candidate.rank)


def _joined(segments: list[_Segment]) -> tuple[bytes, list[int]]:
    edges = list(accumulate((len(segment.data) + len(BREAK) for segment in segments), initial=len(BREAK)))[:-1]
    return b"".join((BREAK, BREAK.join([segment.data for segment in segments]), BREAK)), edges


def _merged(candidates: list[Candidate], joined: bytes, base: int) -> tuple[Span, ...]:
    """Spans from overlapping candidates: their union, with the kind of the highest rank.

    Personal data that overlaps a secret (`user:pass@host.example`) is part of the secret's form, not more of it.
    """
    secret = [candidate for candidate in candidates if candidate.rank != PERSONAL]
    spans = _united(secret)
    if len(secret) < len(candidates):
        taken = [(span.start, span.end) for span in spans]
        free = [
            candidate
            for candidate in candidates
            if candidate.rank == PERSONAL and not _overlaps(taken, candidate.start, candidate.end)
        ]
        spans = sorted((*spans, *_united(free)))
    result: list[Span] = []
    for start, end, kind, _ in spans:
        if MASK in joined[base + start : base + end]:
            result.extend(_around_masks(joined[base + start : base + end], start, kind))
        else:
            result.append(Span(start, end, kind))
    return tuple(result)


def _overlaps(taken: list[tuple[int, int]], start: int, end: int) -> bool:
    at = bisect.bisect_left(taken, (end, 0))
    return at > 0 and taken[at - 1][1] > start


def _united(candidates: list[Candidate]) -> list[Candidate]:
    spans: list[Candidate] = []
    for candidate in sorted(candidates):
        if spans and candidate.start < spans[-1].end:
            last = spans[-1]
            best = candidate if (candidate.rank, candidate.kind) > (last.rank, last.kind) else last
            spans[-1] = Candidate(last.start, max(last.end, candidate.end), best.kind, best.rank)
        else:
            spans.append(candidate)
    return spans


def _around_masks(piece: bytes, start: int, kind: str) -> Iterator[Span]:
    """What is left of a stretch beside the placeholders that are already in it."""
    for part in piece.split(bytes((MASK,))):
        if part.strip(b" \t\r\n"):
            yield Span(start, start + len(part), kind)
        start += len(part) + 1


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
            if found is _NOTHING
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
