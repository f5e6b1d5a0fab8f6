"""What is kept of every model call: a row of `calls` for good, the redacted texts in `transcripts` for a while."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.model.call import ModelCall
from bot.store import Row, Store, Transaction
from bot.types import ModelOutcome, Usage

NOT_CHECKED = "the answer was not checked"


@dataclass(slots=True)
class Trial:
    """One request that was sent, and what came of it: a text, or the error in our words."""

    answer: str


@dataclass(slots=True)
class CallRecord:
    """One logical call as it is recorded."""

    id: str
    call: ModelCall
    started_at: datetime
    trials: list[Trial] = field(default_factory=list)
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The rows of one call, redacted outside of the transaction that writes them."""

    call: Row
    transcripts: list[Row]

    def write(self, tx: Transaction) -> None:
        tx.insert("calls", [self.call])
        tx.insert("transcripts", self.transcripts)


def rows(
    record: CallRecord,
    usage: Usage,
    outcome: ModelOutcome,
    reason: str,
    *,
    ended_at: datetime,
    keep: timedelta,
    redact: Callable[[str], str],
) -> Written:
    """What is kept. The request stands with the first trial only: the others sent the same."""
    call = record.call
    row = {
        "workspace_id": call.workspace_id, "id": record.id, "triage_id": call.triage_id,
        "incident_id": call.incident_id, "use": call.use, "prompt": call.prompt,
        "prompt_sha256": call.prompt_sha256, "model": usage.model, "answered_by": usage.answered_by,
        "fingerprint": record.fingerprint, "tokens_in": usage.tokens_in, "tokens_cached": usage.tokens_cached,
        "tokens_out": usage.tokens_out, "cost_usd": usage.cost_usd, "latency_seconds": usage.latency_seconds,
        "attempts": usage.attempts, "cache_hit": usage.cache_hit, "outcome": outcome, "reason": reason,
        "snapshot": call.snapshot, "evidence": list(call.evidence), "started_at": record.started_at,
        "ended_at": ended_at,
    }  # fmt: skip
    texts = [
        {
            "workspace_id": call.workspace_id, "call_id": record.id, "attempt": number,
            "request": redact(f"{call.system}\n\n{call.user}") if number == 1 else "",
            "answer": redact(trial.answer), "created_at": ended_at, "expires_at": ended_at + keep,
        }
        for number, trial in enumerate(record.trials, start=1)
    ]  # fmt: skip
    return Written(row, texts)


async def conclude(store: Store, workspace_id: str, call_id: str, outcome: ModelOutcome, reason: str = "") -> None:
    """What `check`, and later the flow, decided about an answer (released, rejected, superseded)."""
    await store.transaction(
        lambda tx: tx.execute(
            "UPDATE calls SET outcome = :outcome, reason = :reason WHERE workspace_id = :workspace_id AND id = :id",
            {"outcome": outcome, "reason": reason, "workspace_id": workspace_id, "id": call_id},
        )
    )


async def of_triage(store: Store, workspace_id: str, triage_id: str) -> Sequence[Row]:
    """The calls of one triage, oldest first."""
    return await store.query(
        "SELECT * FROM calls WHERE workspace_id = :workspace_id AND triage_id = :triage_id ORDER BY started_at",
        {"workspace_id": workspace_id, "triage_id": triage_id},
    )
