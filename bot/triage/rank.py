"""The room `rank`: from redacted material to `Ranked`, the only thing that leaves the gather step. Pure.

Findings become evidence items that a person can open and check; derived numbers ("58 s before", "4.9 s (normal
3 ms)") are written into the items here, so that nobody computes them later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime

from bot.errors import SitrepError
from bot.ranking.causes import Causes, ChangeCause, Finding
from bot.ranking.engine import rank_causes
from bot.ranking.profile import Profiles
from bot.triage.draw import MAX_DRAWN_BYTES, drawings
from bot.triage.redact import Redacted
from bot.types import MAX_EVIDENCE, MAX_RANKED_BYTES, Ranked, Reason, ServiceScore, Suspect, TimelineEntry
from integrations.records import ChangeEvent, Evidence, first_alert

_PROFILES = Profiles()
"""Healthy windows, in the worker's memory only, keyed by source, window and readers."""
MAX_SUSPECTS = 5
MAX_SERVICES = 5
MAX_TIMELINE = 6
MAX_ALERTS = 20
"""Alerts that stand before what was found out; the others take what room is left."""
WORTH_A_LINE = 0.05
"""Probability of a change from which it stands in the timeline, beside the first."""
MAX_TEXT = 2000
"""Characters of one item's text that leave the gather step."""
MAX_TITLE = 1000


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"


def rank(
    redacted: Redacted,
    *,
    marks: Mapping[str, str] | None = None,
    profiles: Profiles | None = None,
    past_culprits: Mapping[str, int] | None = None,
) -> Ranked:
    """Ranks services and changes and builds the items that show why.

    `marks` are those already given in this incident (evidence id to `e1`, …): they are kept and never reused.
    `profiles` are the healthy windows that this process knows; by default one memory a process. `past_culprits` counts
    the earlier incidents that each service caused, as people labelled them.
    """
    causes = rank_causes(
        redacted.telemetry,
        alerting=redacted.alerting_service,
        edges=redacted.edges,
        alerted_at=first_alert_at(redacted),
        profiles=profiles if profiles is not None else _PROFILES,
        past_culprits=past_culprits,
    )
    desk = _Desk(redacted, causes, marks or {}, past_culprits or {})
    return desk.ranked()


def first_alert_at(redacted: Redacted) -> datetime:
    """When the first alert fired; when the incident was triggered where no alert of the hour before says."""
    fired = (one.observed_at for one in redacted.evidence if one.kind == "alert")
    return first_alert(fired, redacted.incident.triggered_at)


def seconds_in_words(seconds: float) -> str:
    """`58 s`, `4 min`, `3 h`, `2 days`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"


def distance_in_words(seconds_before: float) -> str:
    """How far a moment lies from the alert: `58 s before`, `3 min after`."""
    return f"{seconds_in_words(abs(seconds_before))} {'before' if seconds_before >= 0 else 'after'}"


class _Desk:
    """Builds one `Ranked`: numbers the items, keeps to the limits, drops whole items by rank."""

    def __init__(
        self, redacted: Redacted, causes: Causes, marks: Mapping[str, str], past_culprits: Mapping[str, int]
    ) -> None:
        self.redacted = redacted
        self.past_culprits = past_culprits
        self.causes = causes
        self.marks = dict(marks)
        self.alerted_at = first_alert_at(redacted)
        self.items: list[Evidence] = []
        self._last = max((int(mark[1:]) for mark in marks.values() if mark[1:].isdigit()), default=0)
        self._by_id: dict[str, Evidence] = {}
        self._budget = MAX_RANKED_BYTES - 24 * 1024 - MAX_DRAWN_BYTES
        self._findings_at: dict[str, Finding] = {}

    def keep(self, item: Evidence) -> str | None:
        """Gives the item a mark and keeps it; None when the limits leave no room."""
        if item.id in self._by_id:
            return self._by_id[item.id].mark
        if len(self.items) == MAX_EVIDENCE:
            return None
        mark = self.marks.get(item.id)
        if mark is None:
            mark = f"e{self._last + 1}"
        kept = item.model_copy(
            update={"mark": mark, "title": _cut(item.title, MAX_TITLE), "text": _cut(item.text, MAX_TEXT)}
        )
        size = len(kept.model_dump_json().encode())
        if size > self._budget:
            return None
        self._budget -= size
        if item.id not in self.marks:
            self._last += 1
            self.marks[item.id] = mark
        self.items.append(kept)
        self._by_id[item.id] = kept
        return mark

    def ranked(self) -> Ranked:
        given = self.redacted.evidence
        alerts = [one for one in given if one.kind == "alert"]
        if len(alerts) > MAX_ALERTS:
            alerts.sort(key=lambda one: one.observed_at)
        for item in alerts[:MAX_ALERTS]:
            self.keep(item)
        symptom = self.causes.symptom
        if symptom is not None:
            self._keep_finding(symptom.finding)
        suspects = self._suspects()
        services = self._services()
        for item in (*(one for one in given if one.kind not in ("alert", "change")), *alerts[MAX_ALERTS:]):
            self.keep(item)
        for cause in self.causes.changes[MAX_SUSPECTS:]:
            self.keep(self._change_item(cause))
        redacted = self.redacted
        waterfalls, plots = drawings(redacted.telemetry, self._findings_at)
        ranked = Ranked(
            incident=redacted.incident,
            headline=self._headline(),
            evidence=tuple(self.items),
            suspects=suspects,
            services=services,
            timeline=self._timeline(suspects),
            waterfalls=waterfalls,
            plots=plots,
            looked_at=self.causes.looked_at,
            sources=redacted.sources,
            hidden=redacted.hidden,
            model_withheld=sum(one.model == "never" for one in self.items),
            alerts_in_storm=redacted.alerts_in_storm,
            owner=redacted.owner,
            on_call=redacted.on_call,
            not_mapped=redacted.not_mapped,
            fallback=redacted.fallback,
            notices=redacted.notices,
            collected_at=redacted.collected_at,
            permitted_at=redacted.permitted_at,
            audience=redacted.audience,
            basis=redacted.basis,
            snapshot=snapshot_of(self.items),
        )
        size = len(ranked.model_dump_json().encode())
        if size > MAX_RANKED_BYTES:
            raise SitrepError(
                f"the ranked triage is {size} bytes and only {MAX_RANKED_BYTES} may leave the gather step; shorten "
                "the incident's own texts (title, notices, source notes)"
            )
        return ranked

    def _suspects(self) -> tuple[Suspect, ...]:
        suspects = []
        for cause in self.causes.changes[:MAX_SUSPECTS]:
            mark = self.keep(self._change_item(cause))
            if mark is None:
                break
            change = cause.change
            reasons = [Reason(text=self._distance(cause), evidence=(mark,))]
            reasons += self._reasons(self._findings(change.service))
            reasons += [Reason(text=said, evidence=(mark,)) for said in self._beside(change)]
            suspects.append(
                Suspect(
                    change_id=change.id,
                    mark=mark,
                    service=change.service,
                    kind=change.kind,
                    summary=_cut(change.summary, MAX_TITLE),
                    changed_at=change.changed_at,
                    seconds_before=self._seconds_before(change),
                    score=cause.score,
                    probability=cause.probability,
                    reasons=tuple(reasons),
                    url=change.url,
                    rollback_url=change.rollback_url,
                    rollback=change.rollback,
                )
            )
        return tuple(suspects)

    def _seconds_before(self, change: ChangeEvent) -> float:
        return (self.alerted_at - change.changed_at).total_seconds()

    def _distance(self, cause: ChangeCause) -> str:
        """How long before the first alert, and before the trouble where the telemetry shows when it began."""
        text = f"{distance_in_words(self._seconds_before(cause.change))} the first alert"
        began_at = self.causes.began_at
        if began_at != self.alerted_at:
            gap = (began_at - cause.change.changed_at).total_seconds()
            text += f", {distance_in_words(gap)} the first sign at {began_at:%H:%M:%S} UTC"
        return text

    def _services(self) -> tuple[ServiceScore, ...]:
        return tuple(
            ServiceScore(
                service=one.service,
                score=one.score,
                probability=one.probability,
                reasons=tuple(self._reasons(one.findings)),
                signs={name: round(value, 4) for name, value in one.signs.items() if value > 0},
            )
            for one in self.causes.services[:MAX_SERVICES]
        )

    def _findings(self, service: str | None) -> tuple[Finding, ...]:
        return next((one.findings for one in self.causes.services if one.service == service), ())

    def _reasons(self, findings: Iterable[Finding]) -> list[Reason]:
        reasons = []
        for finding in findings:
            mark = self._keep_finding(finding)
            if mark is not None:
                reasons.append(Reason(text=finding.text, evidence=(mark,)))
        return reasons

    def _keep_finding(self, finding: Finding) -> str | None:
        mark = self.keep(self._finding_item(finding))
        if mark is not None:
            self._findings_at.setdefault(mark, finding)
        return mark

    def _finding_item(self, finding: Finding) -> Evidence:
        assert finding.kind != "change"
        readers = finding.origins[0].readers
        for origin in finding.origins[1:]:
            readers = readers.narrowed(origin.readers)
        sources = sorted({one.source for one in finding.origins})
        digest = hashlib.sha256(finding.key.encode()).hexdigest()[:12]
        return Evidence(
            id=f"{sources[0]}/{finding.kind}/{digest}",
            kind=finding.kind,
            source=", ".join(sources),
            observed_at=finding.seen_at,
            fetched_at=self.redacted.collected_at,
            url=finding.url or next((one.url for one in finding.origins if one.url), ""),
            readers=readers,
            title=finding.title,
            text=finding.text,
            service=finding.service,
            model="never" if any(one.model == "never" for one in finding.origins) else "allowed",
            suspicious=not self.redacted.suspicious_templates.isdisjoint(finding.templates),
        )

    def _change_item(self, cause: ChangeCause) -> Evidence:
        change = cause.change
        found = self._given_change(change)
        if found is not None:
            told = "\n".join((found.text, self._distance(cause), *self._beside(change)))
            return found.model_copy(update={"text": told})
        made = change_evidence(change, self.redacted.collected_at, self._distance(cause))
        return made.model_copy(update={"text": "\n".join((made.text, *self._beside(change)))})

    def _beside(self, change: ChangeEvent) -> list[str]:
        """What else weighs: the risk that a gate called it, and what people said of earlier incidents."""
        told = []
        if change.risk in ("high", "medium"):
            told.append(f"a gate called its risk {change.risk}")
        caused = self.past_culprits.get(change.service or "", 0)
        if caused:
            told.append(
                f"{change.service} caused {caused} earlier incident{'' if caused == 1 else 's'}, as people said"
            )
        return told

    def _given_change(self, change: ChangeEvent) -> Evidence | None:
        return next(
            (
                one
                for one in self.redacted.evidence
                if one.kind == "change" and one.attributes.get("change_id") == change.id
            ),
            None,
        )

    def _headline(self) -> str:
        if self.causes.symptom is not None:
            return self.causes.symptom.text
        alert = next((one for one in self.redacted.evidence if one.kind == "alert"), None)
        return alert.title if alert is not None else self.redacted.incident.title

    def _timeline(self, suspects: tuple[Suspect, ...]) -> tuple[TimelineEntry, ...]:
        """Changes that are suspects, the first signs of the first service, the alerts: six lines at most, by time."""
        named = [one for one in suspects[:3] if one.probability >= WORTH_A_LINE] or suspects[:1]
        entries = [TimelineEntry(at=one.changed_at, text=one.summary, evidence=(one.mark,)) for one in named]
        shown = self.causes.services[0].findings[:2] if self.causes.services else ()
        for finding in shown:
            item = self._by_id.get(self._finding_item(finding).id)
            if item is not None:
                entries.append(TimelineEntry(at=item.observed_at, text=item.title, evidence=(item.mark,)))
        alerts = sorted((one for one in self.items if one.kind == "alert"), key=lambda one: one.observed_at)
        room = max(1, MAX_TIMELINE - len(entries))
        entries += [TimelineEntry(at=one.observed_at, text=one.title, evidence=(one.mark,)) for one in alerts[:room]]
        return tuple(sorted(entries, key=lambda one: one.at)[:MAX_TIMELINE])


def with_items(ranked: Ranked, items: Iterable[Evidence], marks: Mapping[str, str]) -> Ranked:
    """The same with more items, numbered on; `marks` are those already given in this incident. Changes that nothing
    cites make room where the limits leave none; an item for which there is still none is left out."""
    cited = {mark for one in ranked.suspects for mark in (one.mark, *(m for r in one.reasons for m in r.evidence))}
    cited |= {mark for entry in ranked.timeline for mark in entry.evidence}
    kept = list(ranked.evidence)
    spare = [one for one in kept if one.kind == "change" and one.mark not in cited]
    last = max(
        (int(mark[1:]) for mark in (*marks.values(), *(one.mark for one in kept)) if mark[1:].isdigit()), default=0
    )
    for item in items:
        known = marks.get(item.id)
        fresh = item.model_copy(update={"mark": known or f"e{last + 1}", "text": item.text[:MAX_TEXT]})
        size = len(fresh.model_dump_json().encode())
        while spare and (len(kept) >= MAX_EVIDENCE or _size_of(ranked, kept) + size > MAX_RANKED_BYTES):
            kept.remove(spare.pop())
        if len(kept) >= MAX_EVIDENCE or _size_of(ranked, kept) + size > MAX_RANKED_BYTES:
            break
        last += known is None
        kept.append(fresh)
    return ranked.model_copy(update={"evidence": tuple(kept), "snapshot": snapshot_of(kept)})


def _size_of(ranked: Ranked, items: list[Evidence]) -> int:
    return len(ranked.model_copy(update={"evidence": tuple(items)}).model_dump_json().encode()) + 8


def change_evidence(change: ChangeEvent, fetched_at: datetime, distance: str) -> Evidence:
    """The citable item of a change: what, where, who (a role), when, how large; `distance`: how long before it."""
    text = [change.summary, f"{change.kind} of {change.service or 'an unnamed service'}"]
    text[1] += f", {distance}"
    if change.environment:
        text[1] += f", in {change.environment}"
    if change.author_role:
        text[1] += f", by {change.author_role}"
    if change.size is not None:
        unit = change.size_unit.removesuffix("s") if change.size == 1 else change.size_unit
        text.append(f"{change.size} {unit} changed")
    if change.files:
        text.append("files: " + ", ".join(change.files[:10]))
    if change.risk:
        text.append(f"risk: {change.risk}")
    if change.rollback:
        text.append(f"the way back: {change.rollback}")
    if change.inferred:
        text.append("read from a merge, a release or a workflow run, not from a deployment")
    if change.detail:
        text.append(change.detail)
    return Evidence(
        id=f"{change.source}/change/{change.id}",
        kind="change",
        source=change.source,
        observed_at=change.changed_at,
        fetched_at=fetched_at,
        url=change.url,
        readers=change.readers,
        title=change.summary,
        text="\n".join(text),
        service=change.service,
        model=change.model,
        attributes={"change_id": change.id},
    )


def snapshot_of(items: Iterable[Evidence]) -> str:
    """Digest of the evidence as it stands: for cache keys and the prompt's fence."""
    told = [(one.mark, one.kind, one.title, one.text, one.readers.signature) for one in items]
    return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()[:32]
