"""Was what was said right: suspects against labels, votes, rejected answers, and what caused most incidents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from bot.experiment.cutlines import ANSWERED, REJECTED
from bot.report.figures import most
from bot.report.model import Counted, QualityPart, Share, Withheld
from bot.report.rows import IncidentRow, LabelRow, Material, SuspectRow, TriageRow

STATED = 0.4
"""Below this nothing was said to stand out."""
_BANDS = (
    ("almost certainly (≥ 90 %)", 0.9, 1.01),
    ("probably (70 to 89 %)", 0.7, 0.9),
    ("possibly (40 to 69 %)", STATED, 0.7),
)


def latest_labels(labels: Iterable[LabelRow], until: datetime) -> dict[str, LabelRow]:
    """By incident, the latest label given by then."""
    found: dict[str, LabelRow] = {}
    for label in sorted(labels, key=lambda one: one.at):
        if label.at <= until:
            found[label.incident_id] = label
    return found


def latest_triages(triages: Iterable[TriageRow], until: datetime) -> dict[str, TriageRow]:
    """By incident, the last triage that named suspects, else the last."""
    found: dict[str, TriageRow] = {}
    for triage in sorted(triages, key=lambda one: one.started_at):
        if triage.started_at <= until and (triage.suspects or triage.incident_id not in found):
            found[triage.incident_id] = triage
    return found


def quality(material: Material, until: datetime) -> QualityPart:
    """To date."""
    labels, triages = latest_labels(material.labels, until), latest_triages(material.triages, until)
    judged = [(triage, labels[incident]) for incident, triage in triages.items() if incident in labels]
    stated = [(t, label) for t, label in judged if stated_suspects(t)]
    votes = [vote for vote in material.votes if vote.at <= until]
    answers = [t for t in material.triages if t.started_at <= until and t.outcome in ANSWERED]
    rejected = [t for t in answers if t.outcome in REJECTED]
    return QualityPart(
        top1=Share(name="first suspect right", part=sum(_right(t, label, 1) for t, label in stated), whole=len(stated)),
        top3=Share(name="right one in three", part=sum(_right(t, label, 3) for t, label in stated), whole=len(stated)),
        wrong=sum(not _right(t, label, 3) for t, label in stated),
        unused=sum(1 for incident, t in triages.items() if stated_suspects(t) and incident not in labels),
        helpful=Share(name="helpful", part=sum(vote.helpful for vote in votes), whole=len(votes)),
        rejected=Share(name="rejected", part=len(rejected), whole=len(answers)),
        rejected_because=most(t.outcome_reason or t.outcome for t in rejected),
        calibration=tuple(_band(name, low, high, stated) for name, low, high in _BANDS),
        by_version=_by_version(stated),
        hidden=sum(t.hidden for t in triages.values()),
    )


def stated_suspects(triage: TriageRow) -> Sequence[SuspectRow]:
    """The suspects that were said to stand out."""
    return [suspect for suspect in triage.suspects[:3] if suspect.probability >= STATED]


def _right(triage: TriageRow, label: LabelRow, among: int) -> bool:
    named = [suspect.change_id for suspect in stated_suspects(triage)[:among]]
    return label.cause == "change" and bool(label.change_id) and label.change_id in named


def _band(name: str, low: float, high: float, stated: Sequence[tuple[TriageRow, LabelRow]]) -> Share:
    inside = [(t, label) for t, label in stated if low <= stated_suspects(t)[0].probability < high]
    return Share(name=name, part=sum(_right(t, label, 1) for t, label in inside), whole=len(inside))


def _by_version(stated: Sequence[tuple[TriageRow, LabelRow]]) -> tuple[Share, ...]:
    groups: dict[str, list[bool]] = {}
    for triage, label in stated:
        name = " · ".join(part for part in (triage.prompt, triage.model) if part) or "facts alone"
        groups.setdefault(name, []).append(_right(triage, label, 1))
    return tuple(Share(name=name, part=sum(right), whole=len(right)) for name, right in sorted(groups.items()))


def top_causes(rows: Sequence[IncidentRow], material: Material, until: datetime) -> tuple[Counted, ...]:
    """What people said had caused the week's incidents."""
    labels = latest_labels(material.labels, until)
    triages = latest_triages(material.triages, until)
    return most(
        _cause(labels[row.incident_id], triages.get(row.incident_id)) for row in rows if row.incident_id in labels
    )


def top_changes(rows: Sequence[IncidentRow], material: Material, until: datetime) -> tuple[Counted, ...]:
    """The changes that people said had caused the week's incidents."""
    labels = latest_labels(material.labels, until)
    of_week = (labels[row.incident_id] for row in rows if row.incident_id in labels)
    return most(
        f"{label.change_id} ({label.service})" if label.service else label.change_id
        for label in of_week
        if label.cause == "change" and label.change_id
    )


def withheld(triages: Sequence[TriageRow]) -> Withheld:
    """What was hidden from the week's readers, and why there was no summary."""
    why = (t.outcome_reason or t.outcome for t in triages if t.outcome not in ("released", "superseded"))
    return Withheld(
        hidden_items=sum(t.hidden for t in triages),
        hidden_triages=sum(t.hidden > 0 for t in triages),
        triages=len(triages),
        because=most(why, limit=8),
    )


def _cause(label: LabelRow, triage: TriageRow | None) -> str:
    if label.cause != "change":
        return {"service": f"service {label.service}" if label.service else "a service"}.get(label.cause, label.cause)
    where = label.service or next(
        (s.service for s in (triage.suspects if triage else ()) if s.change_id == label.change_id), ""
    )
    return f"change to {where}" if where else "a change"


def wrong_suggestions(rows: Sequence[IncidentRow], material: Material, until: datetime) -> tuple[Counted, ...]:
    """Suspects that came first in the week's incidents and were not it."""
    labels = latest_labels(material.labels, until)
    triages = latest_triages(material.triages, until)
    wrong = []
    for row in rows:
        triage, label = triages.get(row.incident_id), labels.get(row.incident_id)
        if triage and label and stated_suspects(triage) and not _right(triage, label, 1):
            first = stated_suspects(triage)[0]
            wrong.append(f"{first.change_id} ({first.service})" if first.service else first.change_id)
    return most(wrong)
