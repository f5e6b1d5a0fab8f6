"""What the gateway is asked, and the two ways in which it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bot.model.admission import Priority
from bot.model.pins import Use
from bot.types import ModelOutcome, Usage


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One logical question to a model. Texts are permitted and redacted already; `evidence` are the marks shown.

    `(workflow_id, step)` is who pays: a step that starts again may call once more, and never a third time.
    """

    use: Use
    workspace_id: str
    workflow_id: str
    step: str
    prompt: str
    prompt_sha256: str
    system: str
    user: str
    schema_name: str
    schema: Mapping[str, Any]
    max_output_tokens: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fence: str = ""
    incident_id: str | None = None
    triage_id: str | None = None
    team: str | None = None
    snapshot: str = ""
    audience: str = ""
    evidence: tuple[str, ...] = ()
    priority: Priority = "live"


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's text, not checked yet. `usage.call_id` is the row to conclude once it is."""

    text: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Refusal:
    """No text: the outcome, and words that go on the card after "no summary: "."""

    outcome: ModelOutcome
    reason: str
    usage: Usage | None = None


Reply = Answer | Refusal


class Asks(Protocol):
    """The gateway, or a batch at a provider: whoever answers a call and hears what became of the answer."""

    async def complete(self, call: ModelCall, deadline_seconds: float) -> Reply: ...

    async def conclude(
        self, workspace_id: str, use: Use, usage: Usage, outcome: ModelOutcome, reason: str = ""
    ) -> None: ...
