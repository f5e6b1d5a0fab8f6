"""The room `redact`: no secret and no personal data leaves it. Pure; runs in the warm worker process.

Every text that can reach a card, a model or the store is redacted: evidence, changes, names, span attributes. Of the
logs the *distinct templates* are redacted and each line's body is replaced by its redacted template: raw bodies end
here. A template word survives only if the redactor left it standing in the raw line that it came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar

from bot.ranking.templates import MAX_CHARACTERS, template
from bot.triage.permit import Permitted
from integrations.records import Baseline, Batch, ChangeEvent, Evidence, LogRecord, Series, Span, Telemetry

_T = TypeVar("_T", Span, LogRecord, Series)
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

    def redact(self, text: str) -> RedactedText: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted(Permitted):
    """Permitted material whose texts are redacted; log bodies are templates."""

    suspicious_templates: frozenset[str] = frozenset()


class _Texts:
    """One redaction a distinct text."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._known: dict[str, RedactedText] = {}
        self._templates: dict[str, str] = {}
        self._by_body: dict[str, str] = {}
        self.suspicious_templates: set[str] = set()

    def full(self, text: str) -> RedactedText:
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = self._redactor.redact(text)
        return known

    def clean(self, text: str) -> str:
        return self.full(text).text if text else text

    def maybe(self, text: str | None) -> str | None:
        return None if text is None else self.clean(text)

    def template(self, body: str) -> str:
        """The redacted template of a line; one redaction a distinct template."""
        known = self._by_body.get(body)
        if known is not None:
            return known
        raw = template(body)
        redacted = self._templates.get(raw)
        if redacted is None:
            redacted = self._templates[raw] = self._redact_template(raw, body)
        self._by_body[body] = redacted
        return redacted

    def _redact_template(self, raw: str, body: str) -> str:
        line = self._redactor.redact(body[:MAX_CHARACTERS])
        standing = set(_WORDS.findall(_PLACEHOLDER.sub(" ", line.text)))
        survived = " ".join(word for word in raw.split() if word in standing)
        checked = self._redactor.redact(survived)
        clean = template(checked.text)
        if line.suspicious or checked.suspicious:
            self.suspicious_templates.add(clean)
        return clean


def redact(permitted: Permitted, redactor: Redactor) -> Redacted:
    """Redacts all texts; numbers, times and ids stay. Structure (which item, which readers) is unchanged."""
    texts = _Texts(redactor)
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
        }
    )


def _span(span: Span, texts: _Texts) -> Span:
    name, service, pod = texts.clean(span.name), texts.clean(span.service), texts.clean(span.pod)
    attributes = _attributes(span.attributes, texts) if span.attributes else span.attributes
    if name == span.name and service == span.service and pod == span.pod and attributes == span.attributes:
        return span
    return replace(span, name=name, service=service, pod=pod, attributes=attributes)


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
    return tuple(_batch(one, _span, texts) for one in batches)


def _logs(batches: Iterable[Batch[LogRecord]], texts: _Texts) -> tuple[Batch[LogRecord], ...]:
    return tuple(_batch(one, _log, texts) for one in batches)


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
