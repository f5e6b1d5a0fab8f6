"""The room `permit`: keeps what everyone who will read the post may read. Deny by default.

Two moments need it. A gather filters everything that was collected (`permit`). A refresh filters what was ranked and
written before, for the audience of now (`permit_ranked`, `permit_released`): there, what does not say where it comes
from is not shown either, because it may come from an item that is hidden now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from bot.triage.collect import Collected, Edge, Material
from bot.trust.audience import Audience, AudienceUnknown, may_all_read, readable
from bot.types import Plot, Ranked, Reason, Rejected, Released, ServiceScore, Suspect, Waterfall
from integrations.records import Baseline, Batch, ChangeEvent, Evidence, Incident, Readers, Telemetry, services_in

T = TypeVar("T")
D = TypeVar("D", Waterfall, Plot)

_OF_THE_MOMENT = {"incident", "permitted_at", "audience", "notices"}
"""Fields of `Ranked` that differ from one moment to the next for the same readers."""
NOT_FOR_THIS_CHANNEL = "not everyone who reads this channel may read the alert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted(Material):
    """What is left for this audience. May still hold secrets.

    With a `fallback` it holds the fallback card's fields and nothing else: number, severity, times, on-call, link.
    """

    permitted_at: datetime
    audience: str
    """The audience's signature: who the post is filtered for."""
    basis: Readers = field(default_factory=Readers.nobody)
    """Who may read everything that is left, and the alert; see `Ranked.basis`."""
    hidden: int = 0
    """Items that were found and that the audience may not read: evidence, changes, batches of telemetry."""
    hidden_context: int = 0
    """Baselines and calls that were left out beside; they are nobody's items and are counted for the metrics only."""
    fallback: str | None = None
    """Why only the fallback card may be shown, in words; None: the card may be shown."""
    notices: tuple[str, ...] = ()
    """Finished sentences for the card's last line."""


def permit(collected: Collected, audience: Audience | AudienceUnknown, permitted_at: datetime) -> Permitted:
    """Keeps what the whole audience may read, and counts the rest.

    Where the audience is unknown or may not read the alert itself, nothing is kept but the fallback card's fields. The
    model is a reader too, and is asked in `compose`: an item keeps its `model` here.
    """
    why = _why_fallback(audience, collected.alert_readers)
    if why is not None or isinstance(audience, AudienceUnknown):
        return _fallback(collected, audience, permitted_at, why or "")
    telemetry, batches_hidden, baselines_hidden = _telemetry(collected.telemetry, audience)
    evidence = _items(audience, collected.evidence)
    edges, edges_hidden = _edges(collected.edge_batches, audience)
    hidden = batches_hidden + _items_hidden(collected, evidence, telemetry.changes)
    kept = {
        "incident": collected.incident,
        "telemetry": telemetry,
        "collected_at": collected.collected_at,
        "evidence": evidence,
        "edges": edges,
        "sources": collected.sources,
        "on_call": collected.on_call,
        "owner": collected.owner,
        "alerts_in_storm": collected.alerts_in_storm,
        "not_mapped": collected.not_mapped,
        "alerting": collected.alerting,
    }
    if hidden or baselines_hidden or edges_hidden:
        seen = _services(collected.incident, evidence, telemetry)
        kept["not_mapped"] = tuple(name for name in collected.not_mapped if name in seen)
    return Permitted(
        **kept,  # type: ignore[arg-type]
        permitted_at=permitted_at,
        audience=audience.signature,
        basis=_basis(collected, audience, evidence, telemetry),
        hidden=hidden,
        hidden_context=baselines_hidden + edges_hidden,
        notices=audience.notices,
    )


def permit_ranked(
    ranked: Ranked, audience: Audience | AudienceUnknown, alert_readers: Readers, permitted_at: datetime
) -> Ranked:
    """What was ranked before, for the audience of now. Never more than `ranked` holds.

    It stays whole while all may read everything that was looked at. Else a reason, timeline entry or suspect stays only
    if it cites an item and every item that it cites is readable; a text that cites none may come from anything, so the
    headline becomes the alert's own title, and what is not named here goes.
    """
    why = _why_fallback(audience, alert_readers) or ranked.fallback
    if why is not None or isinstance(audience, AudienceUnknown):
        signature = "" if isinstance(audience, AudienceUnknown) else audience.signature
        return Ranked(
            incident=fallback_incident(ranked.incident),
            headline="",
            evidence=(),
            hidden=ranked.hidden + len(ranked.evidence),
            on_call=ranked.on_call,
            fallback=why,
            collected_at=ranked.collected_at,
            permitted_at=permitted_at,
            audience=signature,
        )
    evidence = _items(audience, ranked.evidence)
    newly_hidden = len(ranked.evidence) - len(evidence)
    if not newly_hidden and may_all_read(audience, ranked.basis):
        now = {"permitted_at": permitted_at, "audience": audience.signature, "notices": audience.notices}
        return ranked.model_copy(update=now)
    marks = frozenset(item.mark for item in evidence)
    services = {item.service for item in evidence} | {ranked.incident.service}
    return Ranked(
        incident=ranked.incident,
        headline=ranked.incident.title,
        evidence=evidence,
        suspects=tuple(_suspects(ranked.suspects, marks)),
        services=tuple(_service_scores(ranked.services, marks)),
        timeline=tuple(entry for entry in ranked.timeline if _cited(entry.evidence, marks)),
        waterfalls=tuple(_drawings(ranked.waterfalls, marks, audience)),
        plots=tuple(_drawings(ranked.plots, marks, audience)),
        sources=ranked.sources,
        hidden=ranked.hidden + newly_hidden,
        model_withheld=sum(item.model == "never" for item in evidence),
        alerts_in_storm=ranked.alerts_in_storm,
        owner=ranked.owner,
        on_call=ranked.on_call,
        not_mapped=tuple(name for name in ranked.not_mapped if name in services),
        notices=audience.notices,
        collected_at=ranked.collected_at,
        permitted_at=permitted_at,
        audience=audience.signature,
        basis=ranked.basis,
        snapshot=ranked.snapshot,
    )


def permit_released(released: Released | Rejected | None, before: Ranked, now: Ranked) -> Released | Rejected | None:
    """A summary stays only while the audience may read everything that the model was shown.

    The model had all of `before` in its prompt, so that any sentence may carry any of it, whatever it cites.
    """
    whole = all(getattr(now, name) == getattr(before, name) for name in Ranked.model_fields.keys() - _OF_THE_MOMENT)
    if isinstance(released, Released) and not whole:
        return Rejected(
            outcome="superseded", reason="somebody reads this channel who may see less", usage=released.usage
        )
    return released


def fallback_incident(incident: Incident) -> Incident:
    """The incident as the fallback card shows it: number, severity, state, times, on-call, link; none of its texts."""
    return incident.model_copy(update={"title": "", "service": None, "service_ref": None, "teams": ()})


def _why_fallback(audience: Audience | AudienceUnknown, alert_readers: Readers) -> str | None:
    if isinstance(audience, AudienceUnknown):
        return audience.reason
    return None if may_all_read(audience, alert_readers) else NOT_FOR_THIS_CHANNEL


def _fallback(
    collected: Collected, audience: Audience | AudienceUnknown, permitted_at: datetime, why: str
) -> Permitted:
    telemetry = collected.telemetry
    hidden = _items_hidden(collected, (), ())
    hidden += sum(bool(batch.records) for batch in telemetry.spans)
    hidden += sum(bool(batch.records) for batch in telemetry.logs)
    hidden += sum(bool(batch.records) for batch in telemetry.series)
    return Permitted(
        incident=fallback_incident(collected.incident),
        telemetry=Telemetry(window=telemetry.window),
        collected_at=collected.collected_at,
        on_call=collected.on_call,
        permitted_at=permitted_at,
        audience="" if isinstance(audience, AudienceUnknown) else audience.signature,
        hidden=hidden,
        fallback=why,
    )


def _basis(collected: Collected, audience: Audience, evidence: Sequence[Evidence], telemetry: Telemetry) -> Readers:
    """The readers of all that is left, together: each of them must hold."""
    every = [collected.alert_readers, *(item.readers for item in evidence)]
    every += [change.readers for change in telemetry.changes]
    every += [spans.readers for spans in telemetry.spans] + [logs.readers for logs in telemetry.logs]
    every += [series.readers for series in telemetry.series]
    for baseline in telemetry.baselines:
        every += [spans.readers for spans in baseline.spans] + [logs.readers for logs in baseline.logs]
    every += [batch.readers for batch in collected.edge_batches if may_all_read(audience, batch.readers)]
    return Readers(sets=frozenset().union(*(one.sets for one in every)))


def _items(audience: Audience, items: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    mask = readable(audience, [item.readers for item in items])
    return tuple(item for item, may in zip(items, mask.tolist(), strict=True) if may)


def _batches(audience: Audience, batches: Sequence[Batch[T]]) -> tuple[tuple[Batch[T], ...], int]:
    """The batches that all may read, and how many with records were left out."""
    kept = tuple(batch for batch in batches if may_all_read(audience, batch.readers))
    return kept, sum(bool(batch.records) for batch in batches) - sum(bool(batch.records) for batch in kept)


def _telemetry(telemetry: Telemetry, audience: Audience) -> tuple[Telemetry, int, int]:
    """What is left, the number of batches left out, and that of baseline batches."""
    spans, spans_hidden = _batches(audience, telemetry.spans)
    logs, logs_hidden = _batches(audience, telemetry.logs)
    series, series_hidden = _batches(audience, telemetry.series)
    baselines, context_hidden = [], 0
    for baseline in telemetry.baselines:
        normal_spans, hidden = _batches(audience, baseline.spans)
        normal_logs, more = _batches(audience, baseline.logs)
        context_hidden += hidden + more
        if normal_spans or normal_logs:
            baselines.append(Baseline(baseline.window, normal_spans, normal_logs))
    kept = replace(
        telemetry,
        spans=spans,
        logs=logs,
        series=series,
        changes=tuple(change for change in telemetry.changes if may_all_read(audience, change.readers)),
        baselines=tuple(baselines),
    )
    return kept, spans_hidden + logs_hidden + series_hidden, context_hidden


def _edges(batches: Sequence[Batch[Edge]], audience: Audience) -> tuple[frozenset[Edge], int]:
    every = {edge for batch in batches for edge in batch.records}
    kept = frozenset(edge for batch in batches if may_all_read(audience, batch.readers) for edge in batch.records)
    return kept, len(every) - len(kept)


def _items_hidden(collected: Collected, evidence: Sequence[Evidence], changes: Sequence[ChangeEvent]) -> int:
    """Evidence and changes that were left out; a change and the item that shows it are one."""
    shown = {item.id for item in evidence}
    away = [item for item in collected.evidence if item.id not in shown]
    kept_changes = {change.id for change in changes}
    told = {item.attributes.get("change_id") for item in away if item.kind == "change"}
    return len(away) + sum(
        change.id not in kept_changes and change.id not in told for change in collected.telemetry.changes
    )


def _services(incident: Incident, evidence: Iterable[Evidence], telemetry: Telemetry) -> set[str | None]:
    """Names that the audience sees anyway: only these may be listed as not mapped."""
    names: set[str | None] = {incident.service, incident.service_ref}
    names |= {item.service for item in evidence} | {change.service for change in telemetry.changes}
    for batches in (telemetry.spans, telemetry.logs, telemetry.series):
        for batch in batches:
            names |= services_in(batch)
    return names


def _drawings(drawings: Sequence[D], marks: frozenset[str], audience: Audience) -> Iterable[D]:
    """A drawing of an item that stays, if all may read what else it shows."""
    return (one for one in drawings if one.mark in marks and may_all_read(audience, one.readers))


def _cited(cites: Sequence[str], marks: frozenset[str]) -> bool:
    return bool(cites) and marks.issuperset(cites)


def _reasons(reasons: Sequence[Reason], marks: frozenset[str]) -> tuple[Reason, ...]:
    return tuple(reason for reason in reasons if _cited(reason.evidence, marks))


def _suspects(suspects: Sequence[Suspect], marks: frozenset[str]) -> Iterable[Suspect]:
    for suspect in suspects:
        if suspect.mark in marks:
            yield suspect.model_copy(update={"reasons": _reasons(suspect.reasons, marks)})


def _service_scores(services: Sequence[ServiceScore], marks: frozenset[str]) -> Iterable[ServiceScore]:
    for service in services:
        if reasons := _reasons(service.reasons, marks):
            yield service.model_copy(update={"reasons": reasons})
