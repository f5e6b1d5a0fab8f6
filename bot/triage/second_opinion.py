"""second opinion: Released → Released | Rejected. A second model may reject what `check` released, and never release.

It answers with numbers and fixed words only, so that nothing that it writes can reach people. What is no verdict (no
answer in time, no money, another form) leaves the summary as `check` decided: deterministic checks are enough alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.model.call import Answer, ModelCall, Reply
from bot.triage.compose import Composed
from bot.types import Claim, ModelOutcome, Rejected, Released, Summary
from prompts import Prompt

Kind = Literal["not_supported", "contradicted", "misleading", "unsafe"]
_WORDS: Mapping[Kind, str] = {
    "not_supported": "what claim {} cites does not show it",
    "contradicted": "an item contradicts claim {}",
    "misleading": "claim {} misleads a reader in a hurry",
    "unsafe": "following claim {} could make it worse",
}
_MOST_BYTES = 16 * 1024
LEAST_SECONDS = 1.0
"""With less time left nobody is asked."""


class _Objection(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    claim: int = Field(ge=1, le=10)
    kind: Kind
    evidence: list[str] = Field(max_length=6)


class _Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    verdict: Literal["pass", "reject"]
    objections: list[_Objection] = Field(max_length=10)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What became of asking. `outcome` is recorded with the call: released is a pass, rejected an objection."""

    outcome: ModelOutcome
    reason: str = ""

    @property
    def objects(self) -> bool:
        return self.outcome == "rejected"


@dataclass(frozen=True, slots=True)
class _Shown:
    """One claim as the template shows it."""

    section: str
    text: str
    positions: tuple[str, ...]


def claims_of(summary: Summary) -> list[tuple[str, Claim]]:
    """The claims in the order of their numbers, each with its section."""
    sections = (("going_on", summary.going_on), ("cause", summary.cause), ("next", summary.next))
    return [(section, claim) for section, claims in sections for claim in claims]


def question(
    composed: Composed, summary: Summary, prompt: Prompt, *, workflow_id: str, step: str, triage_id: str | None,
    team: str | None,
) -> ModelCall:  # fmt: skip
    """What a second model is asked: the same items under the same fence mark, and the claims."""
    position_of = {item.mark: item.position for item in composed.items}
    shown = [
        _Shown(section, claim.text, tuple(position_of[mark] for mark in claim.evidence if mark in position_of))
        for section, claim in claims_of(summary)
    ]
    system, user = prompt.render(fence=composed.fence, items=composed.items, claims=shown)
    return ModelCall(
        use="validate",
        workspace_id=composed.workspace_id,
        workflow_id=workflow_id,
        step=f"{step}/validate",
        prompt=prompt.id,
        prompt_sha256=prompt.sha256,
        system=system,
        user=user,
        schema_name=prompt.schema_name,
        schema=prompt.schema(composed.positions),
        max_output_tokens=prompt.max_output_tokens,
        parameters=prompt.parameters,
        fence=composed.fence,
        incident_id=composed.incident_id,
        triage_id=triage_id,
        team=team,
        snapshot=composed.snapshot,
        audience=composed.audience,
        evidence=tuple(item.mark for item in composed.items),
    )


def opinion(reply: Reply, summary: Summary) -> Opinion:
    """Read a verdict. An answer that contradicts itself, or objects to a claim that does not exist, is none."""
    if not isinstance(reply, Answer):
        return Opinion(reply.outcome, reply.reason)
    malformed = Opinion("malformed", "the second model's answer was not in the agreed form")
    if len(reply.text.encode(errors="replace")) > _MOST_BYTES:
        return malformed
    try:
        found = _Verdict.model_validate(json.loads(reply.text))
    except (ValueError, RecursionError, ValidationError):
        return malformed
    numbers = range(1, len(claims_of(summary)) + 1)
    if (found.verdict == "reject") != bool(found.objections) or any(o.claim not in numbers for o in found.objections):
        return malformed
    if found.verdict == "pass":
        return Opinion("released")
    first = found.objections[0]
    return Opinion("rejected", f"a second model objected: {_WORDS[first.kind].format(first.claim)}")


def supplement(released: Released, given: Opinion) -> Released | Rejected:
    """The only thing that an opinion can do: reject. There is no way from here to a release that `check` refused."""
    if given.objects:
        return Rejected(outcome="rejected", reason=given.reason, usage=released.usage)
    return released
