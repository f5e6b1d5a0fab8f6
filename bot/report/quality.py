"""Was what was said right: suspects against labels, votes, rejected answers, and what caused most incidents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Said:
    """By incident, what a person said last of its cause, and the triage that counts."""

    labels: Mapping[str, LabelRow]
    triages: Mapping[str, TriageRow]


def latest(material: Material, until: datetime) -> Said:
    """As it was known at an instant."""
    return Said(latest_labels(material.labels, until), latest_triages(material.triages, until))


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


@dataclass(frozen=True, slots=True)
class _Judged:
    """A triage that said that something stood out, against the label of its incident."""

    triage: TriageRow
    probability: float
    """What it stated for its first suspect."""
    first: bool
    """The label names the first suspect."""
    among_three: bool


def quality(said: Said, material: Material, until: datetime) -> QualityPart:
    """To date."""
    stated, unused = [], 0
    for incident, triage in said.triages.items():
        if not (suspects := stated_suspects(triage)):
            continue
        label = said.labels.get(incident)
        if label is None:
            unused += 1
        else:
            names = [suspect.change_id for suspect in suspects]
            named = label.change_id if label.cause == "change" else ""
            right = bool(named) and named in names
            stated.append(_Judged(triage, suspects[0].probability, right and named == names[0], right))
    votes = [vote for vote in material.votes if vote.at <= until]
    answers = [t for t in material.triages if t.started_at <= until and t.outcome in ANSWERED]
    rejected = [t for t in answers if t.outcome in REJECTED]
    return QualityPart(
        top1=Share(name="first suspect right", part=sum(one.first for one in stated), whole=len(stated)),
        top3=Share(name="right one in three", part=sum(one.among_three for one in stated), whole=len(stated)),
        wrong=sum(not one.among_three for one in stated),
        unused=unused,
        helpful=Share(name="helpful", part=sum(vote.helpful for vote in votes), whole=len(votes)),
        rejected=Share(name="rejected", part=len(rejected), whole=len(answers)),
        rejected_because=most(t.outcome_reason or t.outcome for t in rejected),
        calibration=tuple(_band(name, low, high, stated) for name, low, high in _BANDS),
        by_version=_by_version(stated),
        hidden=sum(t.hidden for t in said.triages.values()),
    )


def stated_suspects(triage: TriageRow) -> Sequence[SuspectRow]:
    """The suspects that were said to stand out."""
    return [suspect for suspect in triage.suspects[:3] if suspect.probability >= STATED]


def _band(name: str, low: float, high: float, stated: Sequence[_Judged]) -> Share:
    inside = [one for one in stated if low <= one.probability < high]
    return Share(name=name, part=sum(one.first for one in inside), whole=len(inside))


def _by_version(stated: Sequence[_Judged]) -> tuple[Share, ...]:
    groups: dict[tuple[str, str], list[bool]] = {}
    for one in stated:
        groups.setdefault((one.triage.prompt, one.triage.model), []).append(one.first)
    named: dict[str, list[bool]] = {}
    for version, right in groups.items():
        named.setdefault(" · ".join(part for part in version if part) or "facts alone", []).extend(right)
    return tuple(Share(name=name, part=sum(right), whole=len(right)) for name, right in sorted(named.items()))


def top_causes(rows: Sequence[IncidentRow], said: Said) -> tuple[Counted, ...]:
    """What people said had caused the week's incidents."""
    return most(
        _cause(said.labels[row.incident_id], said.triages.get(row.incident_id))
        for row in rows
        if row.incident_id in said.labels
    )


def top_changes(rows: Sequence[IncidentRow], said: Said) -> tuple[Counted, ...]:
    """The changes that people said had caused the week's incidents."""
    of_week = (said.labels[row.incident_id] for row in rows if row.incident_id in said.labels)
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


def wrong_suggestions(rows: Sequence[IncidentRow], said: Said) -> tuple[Counted, ...]:
    """Suspects that came first in the week's incidents and were not it."""
    wrong = []
    for row in rows:
        triage, label = said.triages.get(row.incident_id), said.labels.get(row.incident_id)
        if triage is None or label is None or not (suspects := stated_suspects(triage)):
            continue
        first = suspects[0]
        if label.cause != "change" or label.change_id != first.change_id:
            wrong.append(f"{first.change_id} ({first.service})" if first.service else first.change_id)
    return most(wrong)
