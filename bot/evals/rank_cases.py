"""Runs the real rooms over labelled incident bundles and keeps what the figures need."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bot.clock import ManualClock
from bot.errors import SitrepError
from bot.evals.outcome import CHECKOUT
from bot.ranking.calibrate import combined
from bot.ranking.causes import Causes
from bot.ranking.engine import Examined, examine, judge, rank_causes
from bot.ranking.fit import Labelled
from bot.ranking.profile import Profiles
from bot.ranking.weights import Weights
from bot.triage.collect import Collector
from bot.triage.permit import permit
from bot.triage.rank import first_alert_at
from bot.triage.redact import Redacted, Redactor, redact
from bot.trust.audience import Audience
from integrations.bundle import Shelf, open_bundle
from integrations.errors import IntegrationError
from integrations.records import EVERYONE, Readers

SOURCES = ("changes", "traces", "logs", "metrics")
"""What can be taken away from a bundle to see what is left; alerts always stay."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A bundle's label. `service` and `change` are None for a false alarm."""

    case: str
    fault_type: str
    service: str | None
    change: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """One bundle after the rooms: what was examined, and what came out with the shipped weights."""

    truth: Truth
    examined: Examined
    causes: Causes
    seconds: float
    cpu_seconds: float
    alerted_at: datetime
    alert_title: str
    spans: int

    def labelled(self, weights: Weights) -> Labelled:
        signs = self.examined.signs
        return Labelled({name: signs.values(name, weights.sum) for name in sorted(signs.services)}, self.truth.service)

    def judged(self, weights: Weights) -> Causes:
        """The same signs under other weights."""
        return judge(self.examined, weights, {})

    def top_score(self, weights: Weights) -> float:
        signs = self.examined.signs
        return max((combined(signs.values(one, weights.sum), weights.signs) for one in signs.services), default=0.0)


def bundle_folders(directory: Path) -> list[Path]:
    """The labelled bundles below a folder. Raises SitrepError when there is none."""
    found = sorted(one.parent for one in directory.glob("*/truth.json")) if directory.is_dir() else []
    if not found:
        raise SitrepError(f"{str(directory)!r} holds no labelled bundle: name a folder of folders with truth.json")
    return found


def default_bundles() -> Path:
    return CHECKOUT / "tests" / "data" / "bundles"


def run_cases(
    folders: Sequence[Path],
    redactor: Redactor,
    weights: Weights,
    *,
    without: Collection[str] = (),
    baselines: Sequence[Path] = (),
) -> list[Case]:
    """Each bundle through collect, permit, redact and rank; healthy windows are read and profiled once."""
    shelf, profiles = Shelf(), Profiles()
    cases = []
    for warming in (True, False):
        for folder in folders[:1] if warming else folders:
            case = _run(folder, redactor, weights, shelf, profiles, without, baselines)
            if not warming:
                cases.append(case)
    return cases


def read_truth(folder: Path) -> Truth:
    """The label of a bundle. Raises SitrepError with the path when it is no label."""
    path = folder / "truth.json"
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as broken:
        raise SitrepError(f"{str(path)!r} cannot be read: {broken}") from None
    if not isinstance(raw, Mapping):
        raise SitrepError(f"{str(path)!r} is no JSON object")
    return Truth(
        case=str(raw.get("case") or folder.name),
        fault_type=str(raw.get("fault_type") or "unknown"),
        service=raw.get("root_cause_service") or None,
        change=raw.get("root_cause_change") or None,
    )


def _run(
    folder: Path,
    redactor: Redactor,
    weights: Weights,
    shelf: Shelf,
    profiles: Profiles,
    without: Collection[str],
    baselines: Sequence[Path],
) -> Case:
    wall, cpu = time.perf_counter(), time.process_time()
    redacted = _redacted(folder, redactor, shelf, without, baselines)
    alerted_at = first_alert_at(redacted)
    causes = rank_causes(
        redacted.telemetry,
        alerting=redacted.alerting_service,
        edges=redacted.edges,
        alerted_at=alerted_at,
        profiles=profiles,
        weights=weights,
    )
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    examined = examine(
        redacted.telemetry,
        alerting=redacted.alerting_service,
        edges=redacted.edges,
        alerted_at=alerted_at,
        profiles=profiles,
        weights=weights,
    )
    alert = next((one for one in redacted.evidence if one.kind == "alert"), None)
    return Case(
        truth=read_truth(folder),
        examined=examined,
        causes=causes,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        alerted_at=alerted_at,
        alert_title=alert.title if alert else redacted.incident.title,
        spans=sum(len(one.records) for one in redacted.telemetry.spans),
    )


def _redacted(
    folder: Path, redactor: Redactor, shelf: Shelf, without: Collection[str], baselines: Sequence[Path]
) -> Redacted:
    try:
        bundle = open_bundle(folder, baselines, shelf=shelf)
    except IntegrationError as wrong:
        raise SitrepError(f"{folder.name}: {wrong.message}") from None
    clock = ManualClock(bundle.incident.triggered_at + timedelta(seconds=30))
    everyone = Readers.of([EVERYONE])
    collector = Collector(
        [one for one in bundle.sources() if one.name not in without],
        clock,
        services={},
        owner=lambda _: None,
        alert_readers=lambda _: everyone,
    )
    collected = asyncio.run(collector.collect(bundle.incident, question=bundle.question()))
    permitted = permit(collected, Audience.local_operator(clock.now()), clock.now())
    return redact(permitted, redactor)
