"""The room `redact`: no secret and no personal data leaves it. Pure; runs in the warm worker process.

Every text that can reach a card, a model or the store is redacted: evidence, changes, names, span attributes. Of the
logs the *distinct templates* are redacted and each line's body is replaced by its redacted template: raw bodies end
here. A template word survives only if the redactor left it standing in the raw line that it came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar

from bot.ranking.templates import MAX_CHARACTERS, template
from bot.triage.permit import Permitted
from integrations.records import Baseline, Batch, ChangeEvent, Evidence, LogRecord, Series, Span, Telemetry

_T = TypeVar("_T", LogRecord, Series)
_WORDS = re.compile(r"[^\W\d_]{2,}")
_PLACEHOLDER = re.compile(r"<[a-z]+:[^<>\s]*>")


class RedactedText(Protocol):
    """What a redactor says of one text."""

    @property
    def text(self) -> str: ...

    @property
    def suspicious(self) -> bool:
        """Reads like an instruction to a machine; advice for people, never a guard."""
        ...


class Redactor(Protocol):
    """Replaces secrets and personal data by placeholders; the same value always becomes the same placeholder."""

    def redact_many(self, texts: Sequence[str]) -> Sequence[RedactedText]:
        """Each of the texts, in order; one pass over all of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted(Permitted):
    """Permitted material whose texts are redacted; log bodies are templates."""

    suspicious_templates: frozenset[str] = frozenset()


class _Texts:
    """One redaction a distinct text; all of them in a few passes (`prime`), since one pass a text is slow."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._known: dict[str, RedactedText] = {}
        self._templates: dict[str, str] = {}
        self._raw: dict[str, str] = {}
        self.changed: set[str] = set()
        self.suspicious_templates: set[str] = set()

    def prime(self, texts: Iterable[str]) -> None:
        """Redacts what is not known yet, in one pass."""
        new = [text for text in dict.fromkeys(texts) if text and text not in self._known]
        for text, redacted in zip(new, self._redactor.redact_many(new) if new else (), strict=True):
            self._known[text] = redacted
            if redacted.text != text:
                self.changed.add(text)

    def full(self, text: str) -> RedactedText:
        known = self._known.get(text)
        if known is None:
            self.prime((text,))
            known = self._known.get(text, _Empty())
        return known

    def clean(self, text: str) -> str:
        return self.full(text).text if text else text

    def maybe(self, text: str | None) -> str | None:
        return None if text is None else self.clean(text)

    def prime_templates(self, bodies: Iterable[str]) -> None:
        """Redacts each distinct template once: a word survives if the redactor left it standing in its raw line."""
        lines: dict[str, str] = {}
        for body in bodies:
            if body not in self._raw:
                raw = self._raw[body] = template(body)
                if raw not in self._templates:
                    lines.setdefault(raw, body[:MAX_CHARACTERS])
        if not lines:
            return
        redacted = self._redactor.redact_many(list(lines.values()))
        survived = []
        for raw, line in zip(lines, redacted, strict=True):
            standing = set(_WORDS.findall(_PLACEHOLDER.sub(" ", line.text)))
            survived.append(" ".join(word for word in raw.split() if word in standing))
        for raw, line, checked in zip(lines, redacted, self._redactor.redact_many(survived), strict=True):
            clean = self._templates[raw] = template(checked.text)
            if line.suspicious or checked.suspicious:
                self.suspicious_templates.add(clean)

    def template(self, body: str) -> str:
        """The redacted template of a line that `prime_templates` has seen."""
        return self._templates[self._raw[body]]


@dataclass(frozen=True, slots=True)
class _Empty:
    text: str = ""
    suspicious: bool = False


def redact(permitted: Permitted, redactor: Redactor) -> Redacted:
    """Redacts all texts; numbers, times and ids stay. Structure (which item, which readers) is unchanged."""
    texts = _Texts(redactor)
    texts.prime(_all_texts(permitted))
    telemetry = _telemetry(permitted.telemetry, texts)
    incident = permitted.incident
    values = {one.name: getattr(permitted, one.name) for one in fields(permitted)}
    values |= {
        "incident": incident.model_copy(
            update={
                "title": texts.clean(incident.title),
                "service": texts.maybe(incident.service),
                "url": texts.clean(incident.url),
                "teams": tuple(map(texts.clean, incident.teams)),
                "on_call": texts.maybe(incident.on_call),
            }
        ),
        "telemetry": telemetry,
        "evidence": tuple(_evidence(one, texts) for one in permitted.evidence),
        "edges": frozenset((texts.clean(caller), texts.clean(callee)) for caller, callee in permitted.edges),
        "sources": tuple(
            one.model_copy(update={"note": texts.clean(one.note)}) if one.note else one for one in permitted.sources
        ),
        "on_call": texts.maybe(permitted.on_call),
        "owner": texts.maybe(permitted.owner),
        "not_mapped": tuple(map(texts.clean, permitted.not_mapped)),
        "alerting": texts.maybe(permitted.alerting),
    }
    return Redacted(**values, suspicious_templates=frozenset(texts.suspicious_templates))


def _all_texts(permitted: Permitted) -> Iterator[str]:
    """The texts outside the spans and log records, for one pass over them; what it forgets costs a pass of its own."""
    incident = permitted.incident
    yield from (incident.title, incident.service or "", incident.url, *incident.teams)
    for item in permitted.evidence:
        yield from (item.title, item.text, item.url, item.service or "", *item.attributes, *item.attributes.values())
    for change in permitted.telemetry.changes:
        yield from (change.summary, change.detail, change.rollback, change.url, change.service or "", *change.files)
        yield from (one or "" for one in (change.environment, change.author_role, change.diff_url, change.rollback_url))
    for edge in permitted.edges:
        yield from edge
    for batch in permitted.telemetry.series:
        for one in batch.records:
            yield from (one.name, one.service, one.pod, one.url, *one.labels, *one.labels.values())


def _evidence(item: Evidence, texts: _Texts) -> Evidence:
    title, text = texts.full(item.title), texts.full(item.text)
    return item.model_copy(
        update={
            "title": title.text,
            "text": text.text,
            "service": texts.maybe(item.service),
            "url": texts.clean(item.url),
            "attributes": _attributes(item.attributes, texts),
            "suspicious": item.suspicious or title.suspicious or text.suspicious,
        }
    )


def _attributes(attributes: Mapping[str, str], texts: _Texts) -> dict[str, str]:
    return {texts.clean(key): texts.clean(value) for key, value in attributes.items()}


def _change(change: ChangeEvent, texts: _Texts) -> ChangeEvent:
    return change.model_copy(
        update={
            "service": texts.maybe(change.service),
            "summary": texts.clean(change.summary),
            "detail": texts.clean(change.detail),
            "url": texts.clean(change.url),
            "environment": texts.maybe(change.environment),
            "author_role": texts.maybe(change.author_role),
            "files": tuple(map(texts.clean, change.files)),
            "diff_url": texts.maybe(change.diff_url),
            "rollback_url": texts.maybe(change.rollback_url),
            "rollback": texts.clean(change.rollback),
        }
    )


def _span_texts(span: Span) -> Iterator[str]:
    yield span.name
    yield span.service
    yield span.pod
    for key, value in span.attributes.items():
        yield key
        yield value


def _span(span: Span, texts: _Texts) -> Span:
    if texts.changed.isdisjoint(_span_texts(span)):
        return span
    attributes = _attributes(span.attributes, texts)
    return replace(
        span,
        name=texts.clean(span.name),
        service=texts.clean(span.service),
        pod=texts.clean(span.pod),
        attributes=attributes,
    )


def _log(record: LogRecord, texts: _Texts) -> LogRecord:
    return LogRecord(
        record.at_ns,
        texts.clean(record.service),
        record.level,
        texts.template(record.body),
        record.trace_id,
        record.span_id,
        texts.clean(record.pod),
    )


def _series(series: Series, texts: _Texts) -> Series:
    return replace(
        series,
        name=texts.clean(series.name),
        service=texts.clean(series.service),
        pod=texts.clean(series.pod),
        labels=_attributes(series.labels, texts),
        url=texts.clean(series.url),
    )


def _spans(batches: Iterable[Batch[Span]], texts: _Texts) -> tuple[Batch[Span], ...]:
    found = []
    for batch in batches:
        mentioned = {text for span in batch.records for text in _span_texts(span)}
        texts.prime(mentioned)
        url = texts.clean(batch.url)
        if url == batch.url and texts.changed.isdisjoint(mentioned):
            found.append(batch)
        else:
            found.append(replace(batch, records=tuple(_span(one, texts) for one in batch.records), url=url))
    return tuple(found)


def _logs(batches: Iterable[Batch[LogRecord]], texts: _Texts) -> tuple[Batch[LogRecord], ...]:
    listed = list(batches)
    for batch in listed:
        texts.prime_templates(one.body for one in batch.records)
    return tuple(_batch(one, _log, texts) for one in listed)


def _batch(batch: Batch[_T], each: Callable[[_T, _Texts], _T], texts: _Texts) -> Batch[_T]:
    return replace(batch, records=tuple(each(one, texts) for one in batch.records), url=texts.clean(batch.url))


def _telemetry(telemetry: Telemetry, texts: _Texts) -> Telemetry:
    return Telemetry(
        window=telemetry.window,
        spans=_spans(telemetry.spans, texts),
        logs=_logs(telemetry.logs, texts),
        series=tuple(_batch(one, _series, texts) for one in telemetry.series),
        changes=tuple(_change(one, texts) for one in telemetry.changes),
        baselines=tuple(
            Baseline(one.window, _spans(one.spans, texts), _logs(one.logs, texts)) for one in telemetry.baselines
        ),
    )


__all__ = ["Redacted", "RedactedText", "Redactor", "redact"]
