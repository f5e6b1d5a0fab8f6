"""The hypothesis file `experiments/<name>.toml`: what changes, for whom, and every rule of the verdict, beforehand.

It is hashed when the experiment starts. A change makes another hash, which is another experiment: nothing that decides
a verdict can be moved after somebody has looked.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from datetime import date, timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from bot.errors import ConfigurationError
from bot.experiment.units import ARMS

LEVELS = ("off", "facts", "facts+summary")
"""What an arm shows, ascending: recorded only; the facts card; the card with a model's summary."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _arm(name: str) -> str:
    level, at, prompt = name.partition("@")
    if level not in LEVELS or (at and (level != "facts+summary" or not re.fullmatch(r"v[1-9][0-9]{0,5}", prompt))):
        raise ValueError(f"no arm {name!r}; write off, facts, facts+summary, or facts+summary@v2 for a prompt version")
    return name


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or len(set(names)) < len(names):
        raise ValueError("name each source once, at least one of pagerduty, slack, alert")
    return names


def _no_two(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("name each guard once")
    return names


ArmName = Annotated[str, AfterValidator(_arm)]
Names = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
TimesFrom = Annotated[
    tuple[Literal["pagerduty", "slack", "alert"], ...], BeforeValidator(_tuple), AfterValidator(_each_once)
]
Guards = Annotated[tuple[Literal["harm", "sample_ratio"], ...], BeforeValidator(_tuple), AfterValidator(_no_two)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_tuple)]


class Rollout(_Section):
    """Who takes part. Everybody else gets `otherwise` and is no part of the experiment."""

    share: float = Field(default=1.0, gt=0, le=1, description="share of units that take part")
    severities: Numbers = (1, 2, 3, 4, 5)
    services: Names = Field(default=(), description="empty: all")
    otherwise: ArmName = "facts"


class Incidents(_Section):
    """What becomes of special incidents. What is decided after the assignment can be excluded, never moved."""

    merged: Literal["keep"] = Field(default="keep", description="merging changes cards, never units; both are counted")
    duplicate: Literal["keep", "exclude"] = "keep"
    auto_resolved: Literal["keep", "exclude"] = "keep"
    test: Literal["exclude"] = "exclude"
    test_titles: Names = Field(default=("[test]",), description="beginnings of titles of test incidents, in any case")


class Cutlines(_Section):
    """Lines that pause the model for this experiment; None switches one off."""

    usd_per_triage: float | None = Field(default=0.50, gt=0)
    rejected_share: float | None = Field(default=0.30, gt=0, lt=1)
    negative_vote_share: float | None = Field(default=0.50, gt=0, lt=1)
    first_post_p90_seconds: float | None = Field(default=30.0, gt=0)
    harm: bool = True
    window_days: int = Field(default=28, ge=1, description="how far back the first four look")
    at_least: int = Field(default=20, ge=1, description="triages, answers or votes below which a line is not judged")


class Hypothesis(_Section):
    """One experiment, fixed before it starts."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    changes: str = Field(min_length=10, max_length=500, description="what the treatment does, for a reader in a year")
    arms: tuple[ArmName, ArmName] = Field(description="control, treatment")
    primary_metric: Literal["time_to_resolve", "time_to_mitigate"] = "time_to_resolve"
    expected_ratio: float = Field(gt=0, lt=1, description="minutes with over minutes without; 0.8 is 20 % faster")
    starts_on: date
    tau_hours: float = Field(default=72.0, gt=0, le=2400)
    verdict_rule: Literal["planned", "open"] = "planned"
    horizon_weeks: int = Field(default=26, ge=1, le=520)
    strata: Literal["severity", "service"] = "severity"
    times_from: TimesFrom = Field(
        default=("pagerduty", "slack", "alert"),
        description="whose timestamps count, first that has one; one order for all arms",
    )
    models: Names = Field(
        default=(), description="models that may stand in for the first while it runs; others of a chain are not asked"
    )
    guards: Guards = Field(
        default=("harm", "sample_ratio"),
        description="what the report warns of beside the metric; the cutline `harm` needs it here",
    )
    owner: str = Field(min_length=1, description="the group that is told when a cutline is crossed")
    cannot_find: str = Field(default="", description="written by `sitrep experiment baseline`")
    rollout: Rollout = Rollout()
    incidents: Incidents = Incidents()
    cutlines: Cutlines = Cutlines()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        control, treatment = self.arms
        if control == treatment:
            raise ValueError(f"both arms are {control!r}; an experiment names two that differ")
        if level(treatment) < level(control):
            raise ValueError(f"arms are control, then treatment: {treatment!r} shows less than {control!r}; swap them")
        if self.cutlines.harm and "harm" not in self.guards:
            raise ValueError('[cutlines] harm = true needs "harm" among guards; name it, or set harm = false')
        return self

    @property
    def contrast(self) -> str:
        """What every report names: the treatment against the control, never "the bot"."""
        return f"{self.arms[1]} against {self.arms[0]}"

    @property
    def tau(self) -> timedelta:
        return timedelta(hours=self.tau_hours)

    @property
    def sha256(self) -> str:
        """Hash of everything that stands here, whatever the order and layout of the file."""
        fields = self.model_dump(mode="json")
        if not fields["models"]:
            del fields["models"]  # came later: files without it keep the hash that their experiment started with
        told = json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(told.encode()).hexdigest()

    def arm_shown(self, arm: str) -> str:
        """What `control` or `treatment` means here."""
        return self.arms[ARMS.index(arm)]


def version_of(arm: str) -> int | None:
    """The version of the prompt that an arm names (`facts+summary@v2`: 2); None where it names none."""
    return int(arm.partition("@v")[2]) if "@v" in arm else None


def level(arm: str) -> int:
    """Place of an arm among `LEVELS`."""
    return LEVELS.index(arm.partition("@")[0])


def parse(text: str, *, file: str) -> Hypothesis:
    """Read a hypothesis file. Raises ConfigurationError with every problem: where it stands and what should."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise ConfigurationError([f"{file}: not TOML: {wrong}"]) from wrong
    try:
        return Hypothesis.model_validate(found)
    except ValidationError as wrong:
        raise ConfigurationError(
            [
                f"{file}: {'.'.join(str(part) for part in problem['loc']) or 'file'}: {_wrong(problem)}"
                for problem in wrong.errors()
            ]
        ) from wrong


def _wrong(problem: ErrorDetails) -> str:
    """What is wrong in our words where pydantic's say too little."""
    if problem["type"] == "extra_forbidden":
        return "there is no such key; experiments/summary.example.toml has them all"
    if problem["type"] == "missing":
        return "is missing; experiments/summary.example.toml explains it"
    return f"{problem['msg'].removeprefix('Value error, ')}, got {problem['input']!r}"[:300]


def with_cannot_find(text: str, line: str) -> str:
    """The file with `cannot_find` set, everything else as a person wrote it."""
    entry = f"cannot_find = {json.dumps(line, ensure_ascii=False)}"
    lines = text.splitlines()
    for i, existing in enumerate(lines):
        if existing.startswith("["):
            break
        if existing.split("=")[0].strip() == "cannot_find":
            lines[i] = entry
            return "\n".join(lines) + "\n"
    place = next((i for i, existing in enumerate(lines) if existing.startswith("[")), len(lines))
    return "\n".join([*lines[:place], entry, *lines[place:]]) + "\n"


def changed(started_sha256: str, now: Hypothesis) -> str:
    """Why a running experiment cannot go on with this file; "" when it can."""
    if now.sha256 == started_sha256:
        return ""
    return (
        f"experiments/{now.name}.toml has changed since the experiment started ({started_sha256[:12]} → "
        f"{now.sha256[:12]}); undo it, or give the changed one another name: it is another experiment"
    )
