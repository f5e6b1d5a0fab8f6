"""mine: which ranked change do responders' notes name as the cause, for incidents that nobody labelled.

A proposal and never a label: a person says it, or nobody does. The notes are outsiders' text, fenced like every item;
the model answers with positions only, and a change counts only where a cited note names it by something that stands in
its item too (a commit, a version, a flag, its service): being convinced is not enough.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.model.call import Answer, ModelCall, Reply
from bot.triage.compose import unfenced
from bot.triage.hygiene import plain
from bot.types import ModelOutcome, Ranked, Suspect, Usage
from prompts import POSITIONS, Prompt

Cause = Literal["change", "other", "unknown"]
MOST_SUSPECTS, MOST_NOTES = 8, 8
_MOST_TEXT = 900
_MOST_BYTES = 8 * 1024
_NAME = re.compile(r"[A-Za-z0-9](?:[\w.\-/]*[A-Za-z0-9])?")
_COMMIT = re.compile(r"(?<![0-9a-z])(?=[a-f]*\d)[0-9a-f]{7,40}(?![0-9a-z])")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    cause: Cause
    suspect: list[str] = Field(max_length=1)
    evidence: list[str] = Field(max_length=4)


@dataclass(frozen=True, slots=True)
class Shown:
    """One block of the prompt."""

    position: str
    kind: Literal["suspect", "note"]
    text: str
    suspicious: bool


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one incident. `suspects` by position; `incident_id` is the incident's."""

    prompt: Prompt
    system: str
    user: str
    shown: tuple[Shown, ...]
    suspects: tuple[tuple[str, Suspect], ...]
    positions: int
    incident_id: str
    fence: str
    snapshot: str
    audience: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What became of asking; with `released` the cause, and the change where it is one."""

    outcome: ModelOutcome
    reason: str = ""
    cause: Cause = "unknown"
    suspect: Suspect | None = None
    notes: tuple[str, ...] = ()
    usage: Usage | None = None


def question(
    ranked: Ranked, notes: Sequence[str], prompt: Prompt, *, fence: str, orders: Callable[[str], bool]
) -> Question | None:
    """None where there is nothing to ask: no suspect that a model may see, or no note."""
    texts = {item.mark: f"{item.title}\n{item.text}" for item in ranked.evidence if item.model == "allowed"}
    suspects = [one for one in ranked.suspects if one.mark in texts][:MOST_SUSPECTS]
    said = [note for note in notes if note.strip()][-MOST_NOTES:]
    if not suspects or not said:
        return None
    blocks: list[tuple[Literal["suspect", "note"], str]] = [("suspect", texts[one.mark]) for one in suspects]
    blocks += [("note", note) for note in said]
    shown = tuple(
        Shown(f"s{number}", kind, unfenced(plain(text)[:_MOST_TEXT].strip(), fence), orders(text))
        for number, (kind, text) in enumerate(blocks, start=1)
    )
    system, user = prompt.render(fence=fence, items=shown, suspects=len(suspects))
    by_position = tuple((shown[number].position, one) for number, one in enumerate(suspects))
    return Question(
        prompt, system, user, shown, by_position, POSITIONS[0], ranked.incident.id, fence, ranked.snapshot,
        ranked.audience,
    )  # fmt: skip


def asked(made: Question, *, workspace_id: str, workflow_id: str, step: str, team: str | None) -> ModelCall:
    """The call: it can wait, and is paid as batch and by no incident, which is long over."""
    prompt = made.prompt
    return ModelCall(
        use="batch", workspace_id=workspace_id, workflow_id=workflow_id, step=step, prompt=prompt.id,
        prompt_sha256=prompt.sha256, system=made.system, user=made.user, schema_name=prompt.schema_name,
        schema=prompt.schema(made.positions), max_output_tokens=prompt.max_output_tokens,
        parameters=prompt.parameters, fence=made.fence, team=team, snapshot=made.snapshot, audience=made.audience,
        evidence=tuple(one.mark for _, one in made.suspects), priority="batch",
    )  # fmt: skip


def proposal(reply: Reply, made: Question) -> Proposal:
    """Read the answer; what no cited note shows is rejected."""
    if not isinstance(reply, Answer):
        return Proposal(reply.outcome, reply.reason, usage=reply.usage)
    malformed = Proposal("malformed", "an answer was rejected: it was not in the agreed form", usage=reply.usage)
    if len(reply.text.encode(errors="replace")) > _MOST_BYTES:
        return malformed
    try:
        told = _Answer.model_validate(json.loads(reply.text))
    except (ValueError, RecursionError, ValidationError):
        return malformed
    if (told.cause == "change") != bool(told.suspect):
        return malformed

    def rejected(why: str) -> Proposal:
        return Proposal("rejected", f"an answer was rejected: {why}", usage=reply.usage)

    notes = {one.position: one.text for one in made.shown if one.kind == "note"}
    suspects = dict(made.suspects)
    if any(position not in notes for position in told.evidence) or any(one not in suspects for one in told.suspect):
        return rejected("it cited what was not supplied")
    if told.cause != "unknown" and not told.evidence:
        return rejected("it cited no note")
    cited = tuple(notes[position] for position in dict.fromkeys(told.evidence))
    if told.cause != "change":
        return Proposal("released", cause=told.cause, notes=cited, usage=reply.usage)
    (position,) = told.suspect
    text = next(one.text for one in made.shown if one.position == position)
    if not any(names(note, text, suspects[position].service) for note in cited):
        return rejected("the notes that it cites do not name the change")
    return Proposal("released", cause="change", suspect=suspects[position], notes=cited, usage=reply.usage)


def names(note: str, item: str, service: str | None) -> bool:
    """Whether a note shares with a change's item a commit, a name with a digit or a mark in it, or its service."""
    commits = {one[:7] for one in _COMMIT.findall(note.lower())}
    if commits & {one[:7] for one in _COMMIT.findall(item.lower())}:
        return True
    said, there = _names(note), _names(item)
    return bool(said & there) or (service is not None and service.lower() in said | {w.lower() for w in note.split()})


def _names(text: str) -> set[str]:
    """Names that few things have: more than four characters, a digit, dot, dash, slash or underscore among them."""
    found = {one.lower() for one in _NAME.findall(text)}
    return {
        one for one in found if len(one) > 4 and re.search(r"[\d.\-/_]", one) and not re.fullmatch(r"[\d.:\-/]+", one)
    }
