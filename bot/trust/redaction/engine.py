"""The redactor: find where something may be, look there closely, replace what it is.

One pass of automata and array operations over the whole text says which lines may hold something (most hold nothing);
only those lines, their neighbours and their unescaped readings are looked at by the detectors. Everything is linear in
the size of the text. Comments that ask a scanner to look away (`gitleaks:allow`, `pragma: allowlist secret`) are text.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bot.trust.redaction import names, shapes
from bot.trust.redaction.forms import Forms
from bot.trust.redaction.keyed import GENERATED, Candidate, KeyedValues
from bot.trust.redaction.personal import COUNTRIES, PersonalData
from bot.trust.redaction.scan import BREAK, MASK, Engine, best_engine, compile_pattern
from bot.trust.redaction.vendors import LITERALS, VendorFormats
from bot.trust.redaction.views import Unescaper, View, decoded_base64, one_byte_per_char

_BATCH = 1 << 18
_CONTEXT_LINES = 2
_LONGEST_BLOCK_LINES = 120

_PLACEHOLDER = r"<(?:secret|personal):[a-z0-9\-]{1,40}:[0-9a-f]{4}>"
_PERSONAL_KINDS = frozenset(("email", "phone", "card", "iban", "national-id", "ip"))

_GATE_NAMES = (
    r"(?i)"
    + names.CORE
    + r"[A-Za-z0-9_.\-]*(?:\\*[\"'`]?[\])]?[ \t]*(?:[=:>]|->)|[ \t][ \t]*[\"'`]?[^ \t\r\n\x00]|[\"'>\r\n]|\\u00|%3)"
)
_GATE_FORMS = (
    r"(?i)://[^\s/?#\"'<>\x00]*@|PRIVATE KEY|PuTTY-User|eyJ[a-z0-9]|[a-z0-9]@[a-z0-9][a-z0-9.\-]*\.[a-z]"
    r"|\$(?:2[abxy]|1|5|6|y|argon2)|identified[ \t]|snmp-server|[ \t]-(?:p|u|a|w)[ \t\"']?|kind:[ \t]*secret|(?:phone|tel|mobile|call|fax|sms|contact)[a-z]*[ :=]+[+0-9(]"
    r"|\bssn\b|steuer|idnr|\btin\b|\bbsn\b|pesel|personnummer|\bpnr\b|\bcpf\b|aadhaa?r|\bpan\b|\bsin\b|\btfn\b|\bcpr\b|\bfnr\b|\bnif\b|\bpps|\bnhs\b|id[ _-]?n"
)
_GATE_DIGITS = (
    r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|\+[1-9][0-9 .()\-]{6}|\([0-9]{3}\) ?[0-9]|[0-9]{3}[-.][0-9]{2,3}[-.][0-9]{4}"
    r"|[2-6][0-9]{3}[ \-]?[0-9]{4,6}[ \-]?[0-9]{4,5}|[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4}|[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{3}"
    r"|[0-9]{6}[-+A][0-9]{3}[0-9A-Y]|[0-9]{2}\.[0-9]{2}\.[0-9]{2}-|[0-9]{3}\.[0-9]{3}\.[0-9]{3}-|[0-9XYZ][0-9]{7}-?[A-Z]|[A-Z]{6}[0-9]{2}[A-Z]|[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]"
    r"|[12] ?[0-9]{2} ?[0-9]{2} ?[0-9][0-9AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}|[2-9][0-9]{3} [0-9]{4} [0-9]{4}"
)
_GATE_ESCAPES = r"\\+u00[0-7]|\\+x[2-7]|%[2-7][0-9A-Fa-f]|&(?:quot|amp|lt|gt|apos|#)|\x1b\[|\x01|[\"'][ \t\r\n]*\+[ \t\r\n]*[\"']|\\\r?\n|\\+[\"/]"
_BASE64 = r"[A-Za-z0-9+/_\-]{20,}={0,2}"
_GENERATED = r"[A-Za-z0-9+/_\-]{24,}={0,2}"

_CLASS = bytearray(256)
for _first, _last, _bit in ((48, 57, 1), (97, 102, 2), (103, 122, 4), (65, 70, 8), (71, 90, 16)):
    for _code in range(_first, _last + 1):
        _CLASS[_code] = _bit
_SHAPE_CLASSES = bytes(_CLASS)
_SHORTEST_RUN = 16


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
    """A stretch of a text that is looked at. `view` says where its characters came from; `whole`: from all of it."""

    text: int
    offset: int
    data: bytes
    view: View | None = None
    whole: tuple[int, int] | None = None


class Rules:
    """All compiled patterns for one engine and one choice of countries; made once a process, shared by all redactors."""

    def __init__(self, engine: Engine, countries: tuple[str, ...]) -> None:
        self.engine: Engine = engine
        self.gates = tuple(
            compile_pattern(pattern, engine)
            for pattern in (
                _GATE_NAMES,
                _GATE_FORMS,
                LITERALS,
                _GATE_DIGITS,
            )
        )
        self.escapes = compile_pattern(_GATE_ESCAPES, engine)
        self.placeholder = compile_pattern(_PLACEHOLDER, engine)
        self.base64 = compile_pattern(_BASE64, engine)
        self.generated = compile_pattern(_GENERATED, engine)
        self.secret_block = compile_pattern(r"(?i)kind\\*[\"']?[ \t]*:[ \t]*\\*[\"']?secret\b", engine)
        self.unescape = Unescaper(engine)
        self.detectors = (KeyedValues(engine), Forms(engine), VendorFormats(engine))
        self.personal = PersonalData(engine, countries)


@functools.lru_cache(maxsize=8)
def rules(engine: Engine, countries: tuple[str, ...]) -> Rules:
    return Rules(engine, countries)


class Scanner:
    """Finds the spans of many texts at once."""

    def __init__(self, engine: Engine, countries: tuple[str, ...]) -> None:
        self._rules = rules(engine, countries)

    def spans(self, texts: Sequence[str]) -> list[tuple[Span, ...]]:
        """For each text its spans, ordered, not overlapping."""
        result: list[tuple[Span, ...]] = []
        batch: list[str] = []
        size = 0
        for text in texts:
            batch.append(text)
            size += len(text)
            if size >= _BATCH:
                result.extend(self._batch(batch))
                batch, size = [], 0
        if batch:
            result.extend(self._batch(batch))
        return result

    def _batch(self, texts: Sequence[str]) -> list[tuple[Span, ...]]:
        joined = self._without_placeholders(BREAK.join(map(one_byte_per_char, texts)))
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        starts = np.concatenate(([0], np.cumsum(lengths + len(BREAK))))
        segments = list(self._segments(joined, starts))
        if not segments:
            return [()] * len(texts)
        found: dict[int, list[Candidate]] = {}
        for segment_text, candidate in self._candidates(segments):
            found.setdefault(segment_text, []).append(candidate)
        return [
            _merged(found[index], joined, int(starts[index])) if index in found else () for index in range(len(texts))
        ]

    def _without_placeholders(self, joined: bytes) -> bytes:
        if b"<secret:" not in joined and b"<personal:" not in joined:
            return joined
        masked = bytearray(joined)
        for found in self._rules.placeholder.finditer(joined):
            masked[found.start() : found.end()] = bytes((MASK,)) * (found.end() - found.start())
        return bytes(masked)

    def _segments(self, joined: bytes, starts: npt.NDArray[np.int64]) -> Iterator[_Segment]:
        hits: list[int] = []
        for gate in self._rules.gates:
            hits.extend(found.start() for found in gate.finditer(joined))
        escapes = [found.start() for found in self._rules.escapes.finditer(joined)]
        shaped = _generated_runs(joined)
        if not hits and not escapes and not len(shaped):
            return
        positions = np.unique(np.concatenate((np.array(hits + escapes, np.int64), shaped)))
        for text, first, last in self._regions(joined, starts, positions):
            offset = first - int(starts[text])
            data = joined[first:last]
            yield _Segment(text, offset, data)
            escaped = bisect.bisect_left(escapes, first) < bisect.bisect_left(escapes, last)
            view = self._rules.unescape(data) if escaped else None
            if view is not None:
                yield _Segment(text, offset, view.data, view)

    def _regions(
        self, joined: bytes, starts: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]
    ) -> Iterator[tuple[int, int, int]]:
        """(text, from, to): the lines with a hit and their neighbours, never across texts."""
        newlines = np.flatnonzero(np.frombuffer(joined, np.uint8) == 10)
        lines = np.unique(np.searchsorted(newlines, positions))
        texts = np.searchsorted(starts, positions, side="right") - 1
        text_of_line = dict(zip(np.searchsorted(newlines, positions).tolist(), texts.tolist(), strict=True))
        first = last = -1
        current = -1
        for line in lines.tolist():
            text = text_of_line[line]
            begin_text, end_text = int(starts[text]), int(starts[text + 1]) - len(BREAK)
            low, high = line - _CONTEXT_LINES, line + _CONTEXT_LINES
            begin = int(newlines[low - 1]) + 1 if low > 0 else 0
            end = int(newlines[high]) if high < len(newlines) else len(joined)
            begin, end = max(begin, begin_text), min(end, end_text)
            here = joined[
                int(newlines[line - 1]) + 1 if line else 0 : int(newlines[line])
                if line < len(newlines)
                else len(joined)
            ]
            if b"PRIVATE KEY" in here or b"PuTTY" in here or self._rules.secret_block.search(here):
                far = line + _LONGEST_BLOCK_LINES
                end = min(int(newlines[far]) if far < len(newlines) else len(joined), end_text)
            if text == current and begin <= last:
                last = max(last, end)
                continue
            if current >= 0:
                yield current, first, last
            current, first, last = text, begin, end
        if current >= 0:
            yield current, first, last

    def _candidates(self, segments: list[_Segment]) -> Iterator[tuple[int, Candidate]]:
        text, edges = _joined(segments)
        yield from self._located(segments, text, edges, personal=True)
        inner = list(self._decoded(segments, text, edges))
        if inner:
            inside, inner_edges = _joined(inner)
            yield from self._located(inner, inside, inner_edges, personal=False)

    def _located(
        self, segments: list[_Segment], text: bytes, edges: npt.NDArray[np.int64], *, personal: bool
    ) -> Iterator[tuple[int, Candidate]]:
        found = [candidate for detector in self._rules.detectors for candidate in detector(text)]
        found.extend(self._generated(text))
        if personal:
            found.extend(self._rules.personal(text))
        if not found:
            return
        where = np.searchsorted(edges, np.array([candidate.start for candidate in found]), side="right") - 1
        for candidate, index in zip(found, where.tolist(), strict=True):
            segment = segments[index]
            start, end = candidate.start - int(edges[index]), candidate.end - int(edges[index])
            end = min(end, len(segment.data))
            if start >= end:
                continue
            if segment.whole is not None:
                start, end = segment.whole
            elif segment.view is not None:
                start, end = segment.view.origin(start, end)
            yield segment.text, Candidate(start + segment.offset, end + segment.offset, candidate.kind, candidate.rank)

    def _decoded(self, segments: list[_Segment], text: bytes, edges: npt.NDArray[np.int64]) -> Iterator[_Segment]:
        for found in self._rules.base64.finditer(text):
            token = found.group()
            if shapes.is_hex(token):
                continue
            plain = decoded_base64(token)
            if plain is None or len(plain) < 8:
                continue
            index = int(np.searchsorted(edges, found.start(), side="right")) - 1
            segment = segments[index]
            start, end = found.start() - int(edges[index]), found.end() - int(edges[index])
            if segment.view is not None:
                start, end = segment.view.origin(start, end)
            yield _Segment(segment.text, segment.offset, plain, None, (start, end))

    def _generated(self, text: bytes) -> Iterator[Candidate]:
        for found in self._rules.generated.finditer(text):
            token = found.group()
            before = text[max(0, found.start() - 24) : found.start()]
            if shapes.looks_generated(token) and not _beside_a_digest_name(before):
                yield Candidate(found.start(), found.end(), "generated", GENERATED)


def _beside_a_digest_name(before: bytes) -> bool:
    tail = before.lower().rstrip(b" :=-\"'")
    return tail.endswith(
        (
            b"sha256",
            b"sha512",
            b"sha384",
            b"sha1",
            b"md5",
            b"integrity",
            b"etag",
            b"digest",
            b"fingerprint",
            b"checksum",
            b"/",
            b".",
            b"_id",
            b" id",
            b"uid",
            b"hash",
        )
    ) or before.endswith((b"/", b"."))


def _joined(segments: list[_Segment]) -> tuple[bytes, npt.NDArray[np.int64]]:
    lengths = np.array([len(segment.data) + len(BREAK) for segment in segments], np.int64)
    return BREAK.join(segment.data for segment in segments), np.concatenate(([0], np.cumsum(lengths)[:-1]))


def _generated_runs(joined: bytes) -> npt.NDArray[np.int64]:
    """Where a run of 16 or more letters and digits begins that holds both, and a letter that is not hexadecimal."""
    classes = np.frombuffer(joined.translate(_SHAPE_CLASSES), np.uint8)
    inside = classes != 0
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    if len(inside) and inside[0]:
        edges = np.concatenate(([0], edges))
    if len(edges) % 2:
        edges = np.concatenate((edges, [len(inside)]))
    runs = edges.reshape(-1, 2)
    runs = runs[runs[:, 1] - runs[:, 0] >= _SHORTEST_RUN]
    if not len(runs):
        return np.empty(0, np.int64)
    bounds = runs.ravel()
    padded = np.append(classes, 0)
    present = np.bitwise_or.reduceat(padded, bounds)[::2]
    mixed = ((present & 1) != 0) & ((present & (4 | 16)) != 0)
    starts: npt.NDArray[np.int64] = runs[mixed, 0].astype(np.int64)
    return starts


def _merged(candidates: list[Candidate], joined: bytes, base: int) -> tuple[Span, ...]:
    """Spans from overlapping candidates: their union, with the kind of the highest rank; secrets before personal data."""
    spans: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.start, -c.end)):
        if spans and candidate.start < spans[-1].end:
            last = spans[-1]
            kind, rank = max((last.rank, last.kind), (candidate.rank, candidate.kind))[::-1]
            if (last.rank > 0 and candidate.rank == 0) or (candidate.rank > 0 and last.rank == 0):
                # Personal data that overlaps a secret ("user:pass@host.example") is part of its form, not more of it.
                stronger = last if last.rank > 0 else candidate
                spans[-1] = stronger
                continue
            spans[-1] = Candidate(last.start, max(last.end, candidate.end), str(kind), int(rank))
        else:
            spans.append(candidate)
    result: list[Span] = []
    for start, end, kind, _ in spans:
        result.extend(_around_masks(joined, base, start, end, kind))
    return tuple(result)


def _around_masks(joined: bytes, base: int, start: int, end: int, kind: str) -> Iterator[Span]:
    piece = joined[base + start : base + end]
    if MASK not in piece:
        yield Span(start, end, kind)
        return
    at = 0
    for part in piece.split(bytes((MASK,))):
        if part.strip(b" \t\r\n"):
            yield Span(start + at, start + at + len(part), kind)
        at += len(part) + 1


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
        return [
            Redacted(self._replaced(text, spans), spans) if spans else Redacted(text, ())
            for text, spans in zip(texts, self._scanner.spans(texts), strict=True)
        ]

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
        family = "personal" if kind in _PERSONAL_KINDS else "secret"
        digest = hmac.new(self._keys[0], value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        return f"<{family}:{kind}:{digest[:4]}>"


def _rebuilt(keys: tuple[bytes, ...], countries: tuple[str, ...], engine: Engine) -> Redactor:
    return Redactor(keys, countries=countries, engine=engine)
