"""A team's half-year as a report reads it: incidents of a made-up world, triages, votes, labels. Fixed seeds."""

from __future__ import annotations

import pathlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from bot.experiment.hypothesis import parse
from bot.experiment.worlds import SCENARIOS, make_world, rows_of
from bot.report.rows import IncidentRow, LabelRow, Material, Running, SuspectRow, TriageRow, VoteRow

START = datetime(2026, 8, 31, tzinfo=UTC)
SEED = b"the seed of tests"
EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "experiments" / "summary.example.toml"


def material(
    *, seed: int = 1, rate: float = 5.0, weeks: int = 12, effect: float = -0.2, scenario: str = "storms"
) -> Material:
    """`weeks` of an experiment that began on Monday 31 August 2026."""
    random = np.random.default_rng(seed)
    world = make_world(SCENARIOS[scenario], rate_per_week=rate, weeks=weeks, effect=effect, random=random, seed=SEED)
    rows = rows_of(world, start=START, name="P")
    incidents, triages, votes, labels = [], [], [], []
    for i, row in enumerate(rows):
        with_model = row.arm == "treatment"
        acknowledged = row.triggered_at + timedelta(minutes=float(random.lognormal(1.4, 0.6)))
        ended = row.resolved_at
        assert ended is not None
        incidents.append(
            IncidentRow(
                incident_id=row.incident_id,
                unit_id=row.unit_id,
                service=row.service,
                severity=int(row.stratum),
                triggered_at=row.triggered_at,
                acknowledged_at=acknowledged if acknowledged < ended and i % 9 else None,
                resolved_at=ended,
                from_deployment=i % 4 == 0,
                arm=row.arm,
                stratum=row.stratum,
                exposed=True,
                before_acknowledged=i % 5 != 0,
                before_resolved=True,
                crossover=i % 40 == 7,
            )
        )
        suspects = tuple(
            SuspectRow(change_id=f"deploy {i:03d}{k}", service=row.service, probability=p)
            for k, p in enumerate((0.92 if i % 3 else 0.55, 0.2, 0.1))
        )
        outcome = ("rejected" if i % 11 == 0 else "released") if with_model else "off"
        triages.append(
            TriageRow(
                triage_id=f"{row.incident_id}:1",
                incident_id=row.incident_id,
                started_at=row.triggered_at,
                arm=row.arm,
                outcome=outcome,
                outcome_reason="it named a host that no evidence contains" if outcome == "rejected" else "",
                cost_usd=0.012 if with_model else 0.0,
                hidden=int(i % 6 == 0),
                suspects=suspects,
                prompt="triage/v1" if with_model else "",
                model="local-1" if with_model else "",
            )
        )
        if i % 2 == 0:
            votes.append(VoteRow(incident_id=row.incident_id, at=ended, helpful=i % 8 != 0))
        if i % 5 != 4:
            right = i % 4 != 1
            labels.append(
                LabelRow(
                    incident_id=row.incident_id,
                    at=ended + timedelta(minutes=5),
                    cause="change" if right or i % 2 else "external",
                    service=row.service,
                    change_id=suspects[0].change_id if right else "deploy other",
                )
            )
    ordinals = {
        unit_id: int(4 * world.block[unit] + world.slot[unit])
        for unit, unit_id in {int(world.unit[i]): row.unit_id for i, row in enumerate(rows)}.items()
    }
    hypothesis = parse(EXAMPLE.read_text(), file=EXAMPLE.name)
    hypothesis = hypothesis.model_copy(
        update={"starts_on": START.date(), "cannot_find": "cannot find an effect below 38 %"}
    )
    running = Running(hypothesis=hypothesis, started_at=START, seed=SEED, ordinals=ordinals)
    return Material(
        incidents=tuple(incidents), triages=tuple(triages), votes=tuple(votes), labels=tuple(labels), running=running
    )


def without_experiment(found: Material) -> Material:
    """The same incidents before any experiment."""
    outside = tuple(replace(row, arm="", stratum="") for row in found.incidents)
    return replace(found, incidents=outside, running=None)
