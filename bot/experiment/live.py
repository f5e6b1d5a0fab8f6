"""The experiment as it runs: which arm a unit is in, decided before anything is shown, and kept.

An assignment is made in one transaction: the unit's number in its stratum is the highest so far and one, its arm is
what `assign` gives for seed, stratum and number. So every arm can be derived again from the seed and the numbers that
were recorded, and two triages at once cannot take one number. When the first unit is assigned the experiment has
started: the hash of its hypothesis and of its seed are written down, and another file or seed is refused from then on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex

from bot.clock import Clock
from bot.errors import ConfigurationError
from bot.experiment.assign import seed_digest
from bot.experiment.hypothesis import Hypothesis, changed
from bot.experiment.pauses import BY_CUTLINE, audit_in, open_pause, open_pause_in
from bot.experiment.rollout import Evaluation, Reason, evaluate, stratum_of
from bot.experiment.schedule import ends_at, starts_at
from bot.store import Row, Store, Transaction
from bot.store.values import to_time
from integrations.records import Incident

log = logging.getLogger(__name__)

Arm = tuple[str | None, str | None]
"""(experiment, what is shown): both None where no experiment decides."""


def seed_at(path: Path) -> bytes:
    """The secret seed of an experiment, made on first use: 32 random bytes in hex, mode 0600.

    It is not derived from the secret key: that one is rotated, and an arm must stay derivable. Raises
    ConfigurationError for a file that holds something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists() or path.stat().st_size == 0:  # empty: the process died before it was written
        path.touch(mode=0o600)
        path.write_text(token_hex(32) + "\n", encoding="ascii")
    try:
        seed = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as wrong:
        raise ConfigurationError(
            [f"{path} is no seed ({type(wrong).__name__}); restore it from the backup of SITREP_HOME"]
        ) from wrong
    if len(seed) < 16:
        raise ConfigurationError([f"{path} holds {len(seed)} bytes, a seed has 32; restore it from the backup"])
    return seed


@dataclass(frozen=True, slots=True)
class Assignment:
    """One unit's row of `assignments`."""

    unit_id: str
    arm: str
    stratum: str
    ordinal: int


async def read_assignments(store: Store, workspace_id: str, experiment: str) -> list[Assignment]:
    """In the order in which they were made."""
    rows = await store.query(
        "SELECT unit_id, arm, stratum, ordinal FROM assignments WHERE workspace_id = :w AND experiment = :e"
        " ORDER BY assigned_at, stratum, ordinal",
        {"w": workspace_id, "e": experiment},
    )
    return [Assignment(r["unit_id"], r["arm"], r["stratum"], r["ordinal"]) for r in rows]


def started_key(experiment: str) -> str:
    """The id of the row of `notices` that says what an experiment started with."""
    return f"experiment:{experiment}"


class LiveExperiments:
    """The experiments of one workspace; at most one is running. Callable as the `Assigner` of a triage."""

    def __init__(
        self,
        store: Store,
        workspace_id: str,
        clock: Clock,
        hypotheses: Sequence[Hypothesis],
        seeds: Mapping[str, bytes],
    ) -> None:
        """seeds: by name of the experiment."""
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._known = {hypothesis.name: hypothesis for hypothesis in hypotheses}
        self._seeds = seeds

    def seed(self, experiment: str) -> bytes:
        return self._seeds[experiment]

    def running(self, at: datetime) -> Hypothesis | None:
        """The one that assigns at this instant."""
        for hypothesis in self._known.values():
            end = ends_at(hypothesis)
            if starts_at(hypothesis) <= at and (end is None or at < end):
                return hypothesis
        return None

    def allows_model(self, name: str, at: datetime) -> bool:
        """Whether a model beyond the first of its chain may answer: while an experiment runs, only if that names it."""
        running = self.running(at)
        return running is None or name in running.models

    def reported(self, at: datetime) -> Hypothesis | None:
        """The one that a report of this instant tells of: the latest that has begun, also after its horizon."""
        begun = [hypothesis for hypothesis in self._known.values() if starts_at(hypothesis) <= at]
        return max(begun, key=starts_at, default=None)

    def is_over(self, hypothesis: Hypothesis, at: datetime) -> bool:
        """Its horizon has passed, and every unit of it is old enough to be read: the seed may be published."""
        end = ends_at(hypothesis)
        return end is not None and at >= end + hypothesis.tau

    def told(self, hypothesis: Hypothesis, at: datetime) -> dict[str, object]:
        """What an export says of an experiment; its seed only when it is over."""
        seed = self._seeds[hypothesis.name]
        return {
            "name": hypothesis.name,
            "control": hypothesis.arms[0],
            "treatment": hypothesis.arms[1],
            "starts_on": hypothesis.starts_on.isoformat(),
            "tau_hours": hypothesis.tau_hours,
            "verdict_rule": hypothesis.verdict_rule,
            "horizon_weeks": hypothesis.horizon_weeks,
            "cannot_find": hypothesis.cannot_find,
            "hypothesis": hypothesis.model_dump(mode="json"),
            "sha256": hypothesis.sha256,
            "seed_sha256": seed_digest(seed),
            "seed": seed.hex() if self.is_over(hypothesis, at) else None,
        }

    async def verify(self) -> None:
        """Refuse a hypothesis or a seed that is not the one its experiment started with. Raises ConfigurationError."""
        problems = []
        for hypothesis in self._known.values():
            started = await self.started(hypothesis.name)
            if started is None:
                continue
            if why := changed(str(started["sha256"]), hypothesis):
                problems.append(why)
            if started["seed_sha256"] != seed_digest(self._seeds[hypothesis.name]):
                problems.append(
                    f"experiments/{hypothesis.name}.seed in SITREP_HOME is not the seed that {hypothesis.name!r} "
                    "started with, and no arm could be derived again; restore it from the backup, or give the "
                    "experiment another name"
                )
        if problems:
            raise ConfigurationError(problems)

    async def started(self, experiment: str) -> dict[str, object] | None:
        """What was written down when its first unit was assigned: sha256, seed_sha256, started_at, given."""
        rows = await self._store.query(
            "SELECT detail FROM notices WHERE workspace_id = :w AND id = :i",
            {"w": self._workspace_id, "i": started_key(experiment)},
        )
        return dict(json.loads(rows[0]["detail"])) if rows else None

    # --- assigning ----------------------------------------------------------------------------------------------

    async def __call__(self, incident: Incident, unit_id: str | None) -> Arm:
        """(experiment, what is shown). A unit keeps its arm; who takes no part has no experiment and no assignment.

        (None, None) means: as without an experiment. While the model is paused nothing new is assigned.
        """
        now = self._clock.now()
        return await self._store.transaction(lambda tx: self._assign(tx, incident, unit_id, now))

    def _assign(self, tx: Transaction, incident: Incident, unit_id: str | None, now: datetime) -> Arm:
        recorded = self._recorded(tx, unit_id) if unit_id else None
        if recorded is not None:
            hypothesis = self._known[recorded["experiment"]]
            return hypothesis.name, hypothesis.arm_shown(recorded["arm"])
        running = self.running(now)
        if running is None:
            return None, None
        if unit_id is None:
            return None, running.rollout.otherwise
        found = self._first_signal(tx, unit_id)
        if found is None or to_time(found["unit_at"]) < starts_at(running):
            return None, None
        if open_pause_in(tx, self._workspace_id, running.name) is not None:
            return None, None
        if self._was_shown(tx, unit_id, incident.id):
            return None, running.rollout.otherwise  # something of this unit is out already: too late to assign it
        return self._first(tx, running, found, unit_id, now)

    def _first(self, tx: Transaction, running: Hypothesis, found: Row, unit_id: str, now: datetime) -> Arm:
        """Evaluate the flag for a unit at its first signal, and write the assignment down if it takes part."""
        seed, severity, service = self._seeds[running.name], found["first_severity"], found["service"]
        stratum = stratum_of(running, severity=severity, service=service)
        (row,) = tx.query(
            "SELECT coalesce(max(ordinal), -1) + 1 AS n FROM assignments"
            " WHERE workspace_id = :w AND experiment = :e AND stratum = :s",
            {"w": self._workspace_id, "e": running.name, "s": stratum},
        )
        ordinal = int(row["n"])
        evaluation = evaluate(running, unit_id=unit_id, severity=severity, service=service, ordinal=ordinal, seed=seed)
        if evaluation.arm is None:
            return None, evaluation.shows
        self._note_start(tx, running, seed, now)
        self._write(tx, evaluation, ordinal, seed, now)
        return running.name, evaluation.shows

    def _recorded(self, tx: Transaction, unit_id: str) -> Row | None:
        rows = tx.query(
            "SELECT experiment, arm FROM assignments WHERE workspace_id = :w AND unit_id = :u"
            " ORDER BY assigned_at DESC",
            {"w": self._workspace_id, "u": unit_id},
        )
        return next((row for row in rows if row["experiment"] in self._known), None)

    def _first_signal(self, tx: Transaction, unit_id: str) -> Row | None:
        """What the incident that made the unit was at its first signal."""
        rows = tx.query(
            "SELECT i.first_severity, i.service, u.triggered_at AS unit_at FROM units u"
            " JOIN incidents i ON i.workspace_id = u.workspace_id AND i.unit_id = u.id"
            " WHERE u.workspace_id = :w AND u.id = :u"
            " ORDER BY CASE WHEN i.id = :founder THEN 0 ELSE 1 END, i.received_at, i.id LIMIT 1",
            {"w": self._workspace_id, "u": unit_id, "founder": unit_id.removeprefix("u-")},
        )
        return rows[0] if rows else None

    def _was_shown(self, tx: Transaction, unit_id: str, incident_id: str) -> bool:
        """Whether another incident of the unit, or an earlier triage of this one, came before."""
        rows = tx.query(
            "SELECT 1 FROM triages t JOIN incidents i ON i.workspace_id = t.workspace_id AND i.id = t.incident_id"
            " WHERE t.workspace_id = :w AND i.unit_id = :u AND NOT (t.incident_id = :i AND t.n = 1) LIMIT 1",
            {"w": self._workspace_id, "u": unit_id, "i": incident_id},
        )
        return bool(rows)

    def _write(self, tx: Transaction, evaluation: Evaluation, ordinal: int, seed: bytes, now: datetime) -> None:
        row = {
            "workspace_id": self._workspace_id,
            "unit_id": evaluation.unit_id,
            "experiment": evaluation.experiment,
            "arm": evaluation.arm,
            "stratum": evaluation.stratum,
            "ordinal": ordinal,
            "seed_sha256": seed_digest(seed),
            "assigned_at": now,
            "flag": evaluation.attributes(),
        }
        tx.insert("assignments", [row])

    def _note_start(self, tx: Transaction, running: Hypothesis, seed: bytes, now: datetime) -> None:
        """Once: what the experiment started with. Kept as a cursor, which no retention removes."""
        detail = {
            "sha256": running.sha256,
            "seed_sha256": seed_digest(seed),
            "started_at": starts_at(running),
            "first_unit_at": now,
        }
        row = {
            "workspace_id": self._workspace_id, "id": started_key(running.name), "kind": "cursor", "detail": detail,
            "created_at": now,
        }  # fmt: skip
        if tx.insert("notices", [row], ignore=True):
            told = {"experiment": running.name, "sha256": running.sha256, "seed_sha256": seed_digest(seed)}
            audit_in(tx, self._workspace_id, now, BY_CUTLINE, "experiment.start", dict(told))
            log.info("the experiment %s has started (hypothesis %s)", running.name, running.sha256[:12])

    # --- what is recorded with a triage ---------------------------------------------------------------------------

    async def arm_of(self, triage_id: str) -> str:
        """The arm that is recorded with a triage; "" without one."""
        rows = await self._store.query(
            "SELECT arm FROM triages WHERE workspace_id = :w AND id = :t", {"w": self._workspace_id, "t": triage_id}
        )
        return str(rows[0]["arm"] or "") if rows else ""

    async def flag(
        self, incident_id: str, unit_id: str | None, n: int, experiment: str | None, arm: str | None
    ) -> dict[str, str]:
        """The feature-flag evaluation of triage `n`, by OpenTelemetry's names; empty where no experiment is there.

        The evaluation that assigned the unit is the one of its first incident's first triage; later ones are cached.
        """
        if experiment is not None:
            rows = await self._store.query(
                "SELECT flag FROM assignments WHERE workspace_id = :w AND unit_id = :u AND experiment = :e",
                {"w": self._workspace_id, "u": unit_id, "e": experiment},
            )
            told = dict(json.loads(rows[0]["flag"])) if rows else {}
            first = n == 1 and unit_id == f"u-{incident_id}"
            return told if first or not told else told | {"feature_flag.result.reason": "cached"}
        running = self.running(self._clock.now())
        if running is None:
            return {}
        paused = await open_pause(self._store, self._workspace_id, running.name)
        reason: Reason = "default" if paused is None else "disabled"
        shows = arm or "none"
        unit = unit_id or incident_id
        return Evaluation(running.name, running.sha256, unit, shows, None, "", reason, "").attributes()

    # --- pauses -------------------------------------------------------------------------------------------------

    async def paused(self, triage_id: str) -> str:
        """Why no model is asked for this triage, as a card may say it; "" when one may be."""
        rows = await self._store.query(
            "SELECT experiment FROM triages WHERE workspace_id = :w AND id = :t",
            {"w": self._workspace_id, "t": triage_id},
        )
        experiment = rows[0]["experiment"] if rows else None
        running = self.running(self._clock.now())
        # Outside the experiment the experiment's pause still holds: the line that was crossed is the model's.
        name = experiment or (running.name if running else None)
        found = await open_pause(self._store, self._workspace_id, name)
        return found.sentence if found else ""
