"""Where in texts something is that must be replaced: the lines that may hold it, and what the detectors find in them.

Two automata over the whole text say which lines may hold something (most hold nothing); only those lines and their
unescaped readings are looked at by the detectors.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from bot.trust.redaction.calls import CodeForms
from bot.trust.redaction.candidates import PERSONAL, Candidate
from bot.trust.redaction.forms import Forms
from bot.trust.redaction.gates import Gates
from bot.trust.redaction.generated import Generated
from bot.trust.redaction.keyed import KeyedValues
from bot.trust.redaction.loose import LooselyNamed
from bot.trust.redaction.marker import DISGUISED, Marker
from bot.trust.redaction.personal import PersonalData
from bot.trust.redaction.prose import Sentences
from bot.trust.redaction.scan import BREAK, MASK, Engine, compile_pattern
from bot.trust.redaction.vendors import VendorFormats
from bot.trust.redaction.views import Unescaper, View, joined_bytes

_BATCH = 1 << 18
PLACEHOLDER = r"<(?:secret|personal):[a-z0-9\-]{1,40}:[0-9a-f]{4}>"


@dataclass(frozen=True, slots=True)
class Span:
    """What was replaced: [start, end) in characters of the original text, and its kind."""

    start: int
    end: int
    kind: str


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
        self.placeholder = compile_pattern(PLACEHOLDER, engine)
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


NOTHING = Finding((), ())


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
        result = [NOTHING] * len(texts)
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
