"""infer: Composed → Answered. Asks the gateway; nothing here can fail, a refusal is an answer too."""

from __future__ import annotations

from dataclasses import dataclass

from bot.model.admission import Priority
from bot.model.call import Asks, ModelCall, Refusal, Reply
from bot.model.pins import Use
from bot.triage.compose import Composed


@dataclass(frozen=True, slots=True)
class Answered:
    """What was asked and what came of it; `check` alone may turn it into words for people."""

    composed: Composed
    reply: Reply


async def infer(
    composed: Composed,
    gateway: Asks,
    *,
    workflow_id: str,
    step: str,
    triage_id: str | None,
    team: str | None,
    deadline_seconds: float,
    use: Use = "triage",
    priority: Priority = "live",
) -> Answered:
    """One call within the deadline. `(workflow_id, step)` is who pays and how a restart is recognised."""
    if not composed.items:
        return Answered(composed, Refusal("off", "there is no evidence that a model may see"))
    prompt = composed.prompt
    call = ModelCall(
        use=use,
        workspace_id=composed.workspace_id,
        workflow_id=workflow_id,
        step=step,
        prompt=prompt.id,
        prompt_sha256=prompt.sha256,
        system=composed.system,
        user=composed.user,
        schema_name=prompt.schema_name,
        schema=composed.schema,
        max_output_tokens=prompt.max_output_tokens,
        parameters=prompt.parameters,
        fence=composed.fence,
        incident_id=composed.incident_id,
        triage_id=triage_id,
        team=team,
        snapshot=composed.snapshot,
        audience=composed.audience,
        evidence=tuple(item.mark for item in composed.items),
        priority=priority,
    )
    return Answered(composed, await gateway.complete(call, deadline_seconds))
