"""The same incidents as another place would have sent them: what must not matter, and what may only cost.

Each perturbation changes every case: names, clocks, order and repeats (*kept*: nothing is lost, the figures should
stay), or a share of the data goes missing (*lost*: fewer are named, and what is named must be right).
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from bot.evals import rank_figures as figures
from bot.evals.outcome import Bar
from bot.evals.rank_cases import Case
from bot.ranking.engine import rank_causes
from bot.ranking.profile import Profiles
from bot.ranking.weights import Weights
from integrations.records import Baseline, Batch, LogRecord, Series, Span, Telemetry, Window

SKEW_NS = 2_000_000_000
DECOYS = 60
REWORDED_SERVICES = 3
SURE = 0.7


@dataclass(frozen=True, slots=True)
class Given:
    """What one case is ranked on."""

    telemetry: Telemetry
    alerting: str | None
    shift: timedelta = timedelta()
    name: Callable[[str], str] = str
    """What the case's service names have become."""


Perturb = Callable[[Case, Sequence[Case], random.Random], Given]


def perturbed(
    cases: Sequence[Case], weights: Weights, only: Sequence[str] = (), seed: int = 1
) -> tuple[list[dict[str, Any]], dict[str, Any], list[Bar]]:
    """A row for each perturbation; bars: the issue's own on what was kept, and "sure is right" on all."""
    rows: list[dict[str, Any]] = []
    chosen = {name: one for name, one in PERTURBATIONS.items() if not only or name in only}
    for name, (kind, perturb) in chosen.items():
        profiles = Profiles(limit=4)
        found = [
            _row(case, perturb(case, cases, random.Random(f"{seed}/{name}/{case.truth.case}")), profiles, weights)
            for case in cases
        ]
        totals = figures.totals_of(found)
        sure = [one for one in found if one["top_change_probability"] >= SURE]
        kept = ("service_top1", "service_top3", "change_top1", "change_top3", "incidents_named", "false_alarms_quiet")
        rows.append(
            {"perturbation": name, "kind": kind}
            | {key: totals[key] for key in kept}
            | {"sure": len(sure), "sure_right": sum(one["top_change"] == one["root_cause_change"] for one in sure)}
        )
    quiet = sum(one.truth.service is None for one in cases)
    totals = {"cases": len(cases), "perturbations": len(rows)}
    return rows, totals, _bars(rows, quiet)


def _bars(rows: Sequence[dict[str, Any]], false_alarms: int) -> list[Bar]:
    kept = [one for one in rows if one["kind"] == "kept"]
    bars = [
        Bar(f"worst_kept_{key}", min((one[key] for one in kept), default=1.0), bar)
        for key, bar in (("service_top1", 0.85), ("service_top3", 0.95), ("change_top1", 0.80), ("change_top3", 0.95))
    ]
    if false_alarms:
        worst = min((one["false_alarms_quiet"] / false_alarms for one in rows), default=1.0)
        bars.append(Bar("worst_false_alarms_quiet", round(worst, 4), 0.8))
    worst = min((one["sure_right"] / one["sure"] for one in rows if one["sure"]), default=1.0)
    bars.append(Bar("worst_sure_is_right", round(worst, 4), 0.7))
    return bars


def _row(case: Case, given: Given, profiles: Profiles, weights: Weights) -> dict[str, Any]:
    causes = rank_causes(
        given.telemetry,
        alerting=given.alerting,
        alerted_at=case.alerted_at + given.shift,
        profiles=profiles,
        weights=weights,
    )
    truth = replace(case.truth, service=given.name(case.truth.service) if case.truth.service else None)
    return figures.case_row(replace(case, truth=truth), causes)


# --- over the records of a window and of its healthy windows ----------------------------------------------------------

Spans = Callable[[list[Span]], list[Span]]
Logs = Callable[[list[LogRecord]], list[LogRecord]]


def _edited(
    told: Telemetry, spans: Spans = lambda found: found, logs: Logs = lambda found: found, *, healthy: bool = True
) -> Telemetry:
    def one(batches: tuple[Batch[Any], ...], edit: Callable[[list[Any]], list[Any]]) -> tuple[Batch[Any], ...]:
        return tuple(replace(batch, records=edit(list(batch.records))) for batch in batches)

    baselines = told.baselines
    if healthy:
        baselines = tuple(replace(b, spans=one(b.spans, spans), logs=one(b.logs, logs)) for b in baselines)
    return replace(told, spans=one(told.spans, spans), logs=one(told.logs, logs), baselines=baselines)


def _renamed(case: Case, _: Sequence[Case], dice: random.Random) -> Given:
    told = case.examined.telemetry
    new: dict[str, str] = {}

    def name(service: str) -> str:
        if service not in new:
            new[service] = f"unit-{zlib.crc32(service.encode()):08x}"
        return new[service]

    del dice
    edited = _edited(
        told,
        lambda found: [replace(one, service=name(one.service)) for one in found],
        lambda found: [replace(one, service=name(one.service)) for one in found],
    )
    series = tuple(
        replace(batch, records=[replace(one, service=name(one.service)) for one in batch.records])
        for batch in told.series
    )
    changes = tuple(one.model_copy(update={"service": name(one.service or "")}) for one in told.changes)
    alerting = name(case.examined.alerting) if case.examined.alerting else None
    return Given(replace(edited, series=series, changes=changes), alerting, name=name)


def _later(case: Case, _: Sequence[Case], dice: random.Random) -> Given:
    told, by = case.examined.telemetry, timedelta(days=dice.randint(100, 900), seconds=dice.randint(0, 86_400))
    ns = int(by.total_seconds()) * 10**9

    def moved(window: Window) -> Window:
        return Window(window.start + by, window.end + by)

    edited = _edited(
        told,
        lambda found: [replace(one, start_ns=one.start_ns + ns, end_ns=one.end_ns + ns) for one in found],
        lambda found: [replace(one, at_ns=one.at_ns + ns) for one in found],
    )

    def later(one: Series) -> Series:
        return replace(one, times=[at + by.total_seconds() for at in one.times])

    return Given(
        replace(
            edited,
            window=moved(told.window),
            series=tuple(replace(batch, records=[later(one) for one in batch.records]) for batch in told.series),
            changes=tuple(one.model_copy(update={"changed_at": one.changed_at + by}) for one in told.changes),
            baselines=tuple(Baseline(moved(one.window), one.spans, one.logs) for one in edited.baselines),
        ),
        case.examined.alerting,
        by,
    )


def _plain(edit: Callable[[Telemetry, random.Random, Case], Telemetry]) -> Perturb:
    return lambda case, _, dice: Given(edit(case.examined.telemetry, dice, case), case.examined.alerting)


def _shuffled(told: Telemetry, dice: random.Random, case: Case) -> Telemetry:
    del case
    edited = _edited(told, lambda found: dice.sample(found, len(found)), lambda found: dice.sample(found, len(found)))
    return replace(edited, changes=tuple(dice.sample(told.changes, len(told.changes))))


def _doubled(told: Telemetry, dice: random.Random, case: Case) -> Telemetry:
    """Two sources deliver every span; the collector of logs repeats one line in twenty."""
    del case
    edited = _edited(
        told, logs=lambda found: [copy for one in found for copy in [one] * (2 if dice.random() < 0.05 else 1)],
        healthy=False,
    )  # fmt: skip
    return replace(edited, spans=(*told.spans, *(replace(batch, source="another") for batch in told.spans)))


def _skewed(told: Telemetry, dice: random.Random, case: Case) -> Telemetry:
    """Each service's clock is off by up to two seconds, now and not before."""
    del case
    off: dict[str, int] = {}

    def by(service: str) -> int:
        return off.setdefault(service, dice.randint(-SKEW_NS, SKEW_NS))

    return _edited(
        told,
        lambda found: [
            replace(one, start_ns=one.start_ns + by(one.service), end_ns=one.end_ns + by(one.service)) for one in found
        ],
        lambda found: [replace(one, at_ns=one.at_ns + by(one.service)) for one in found],
        healthy=False,
    )


def _reworded(told: Telemetry, dice: random.Random, case: Case) -> Telemetry:
    """Innocent services were deployed with other words in their lines."""
    names = sorted({one.service for batch in told.logs for one in batch.records} - {case.truth.service})
    chosen = set(dice.sample(names, min(REWORDED_SERVICES, len(names))))
    return _edited(
        told,
        logs=lambda found: [
            replace(one, body=f"handler {one.body.lower()}") if one.service in chosen and one.level == "INFO" else one
            for one in found
        ],
        healthy=False,
    )


def _decoys(told: Telemetry, dice: random.Random, case: Case) -> Telemetry:
    """Many more changes, of every service but the culprit."""
    names = sorted({one.service for batch in told.spans for one in batch.records} - {case.truth.service})
    if not told.changes or not names:
        return told
    more = [
        told.changes[0].model_copy(
            update={
                "id": f"decoy-{number}", "service": dice.choice(names),
                "changed_at": case.alerted_at - timedelta(seconds=dice.uniform(1, 1500)),
            }
        )
        for number in range(DECOYS)
    ]  # fmt: skip
    return replace(told, changes=(*told.changes, *more))


def _long_window(case: Case, cases: Sequence[Case], dice: random.Random) -> Given:
    """Up to two healthy minutes before the bad one: what a live triage gets right after the alert."""
    told = case.examined.telemetry
    calm = [one.examined.telemetry for one in cases if one.truth.service is None and one is not case]
    for number, other in enumerate(dice.sample(calm, min(2, len(calm)))):
        by = int((told.window.start - other.window.end).total_seconds() * 1e9)
        mark = f"before{number}-"
        spans = [
            replace(
                one, trace_id=mark + one.trace_id, span_id=mark + one.span_id,
                parent_id=mark + one.parent_id if one.parent_id else "",
                start_ns=one.start_ns + by, end_ns=one.end_ns + by,
            )
            for batch in other.spans for one in batch.records
        ]  # fmt: skip
        logs = [
            replace(
                one, trace_id=mark + one.trace_id if one.trace_id else "",
                span_id=mark + one.span_id if one.span_id else "", at_ns=one.at_ns + by,
            )
            for batch in other.logs for one in batch.records
        ]  # fmt: skip
        told = replace(
            told,
            window=Window(told.window.start - (other.window.end - other.window.start), told.window.end),
            spans=(*told.spans, replace(other.spans[0], records=spans)) if other.spans else told.spans,
            logs=(*told.logs, replace(other.logs[0], records=logs)) if other.logs else told.logs,
        )
    return Given(told, case.examined.alerting)


def _sampled(told: Telemetry, dice: random.Random, case: Case) -> Telemetry:
    """Half of the traces, now and before, each with its lines."""
    del case
    chosen: dict[str, bool] = {}

    def kept(trace_id: str) -> bool:
        if trace_id not in chosen:
            chosen[trace_id] = dice.random() < 0.5
        return chosen[trace_id]

    return _edited(
        told,
        lambda found: [one for one in found if kept(one.trace_id)],
        lambda found: [one for one in found if not one.trace_id or kept(one.trace_id)],
    )


def _without_some(share: float, *, spans: bool) -> Perturb:
    def edit(told: Telemetry, dice: random.Random, case: Case) -> Telemetry:
        del case
        if spans:
            return _edited(told, lambda found: [one for one in found if dice.random() > share], healthy=False)
        return _edited(told, logs=lambda found: [one for one in found if dice.random() > share])

    return _plain(edit)


def _logs_without(**fields: str) -> Perturb:
    return _plain(
        lambda told, dice, case: _edited(told, logs=lambda found: [replace(one, **fields) for one in found])  # type: ignore[arg-type]
    )


PERTURBATIONS: dict[str, tuple[str, Perturb]] = {
    "none": ("kept", _plain(lambda told, dice, case: told)),
    "services renamed": ("kept", _renamed),
    "at another time": ("kept", _later),
    "in any order": ("kept", _plain(_shuffled)),
    "spans twice, some lines twice": ("kept", _plain(_doubled)),
    "clocks off by 2 s": ("kept", _plain(_skewed)),
    "lines name no level": ("kept", _logs_without(level="")),
    "lines name their trace alone": ("kept", _logs_without(span_id="")),
    "three innocent services reword their lines": ("kept", _plain(_reworded)),
    "60 changes more, all innocent": ("kept", _plain(_decoys)),
    "two healthy minutes before": ("kept", _long_window),
    "half of the traces": ("lost", _plain(_sampled)),
    "5 % of the spans lost now": ("lost", _without_some(0.05, spans=True)),
    "20 % of the lines lost": ("lost", _without_some(0.2, spans=False)),
    "lines name no span or trace": ("lost", _logs_without(span_id="", trace_id="")),
}
"""Name to kind and what it does."""
