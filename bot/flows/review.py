"""A change under review, for a CI gate: diff → rules → redact → question → infer → verdict → the audit trail.

The rules speak first and alone are enough: without a model, or when its answer does not pass, the risk is what they
say. A model can add findings and so raise the risk; nothing lowers it. Live incidents go before every review.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bot.clock import Clock
from bot.guardrails import diff as diffs
from bot.guardrails.risk import LEVELS, Reason, Risk, highest, reasons
from bot.incidents.book import Book
from bot.model.call import Answer, Asks
from bot.model.pins import Pin
from bot.store.values import ulid
from bot.triage.compose import fence_mark
from bot.triage.hygiene import plain
from bot.triage.review import Question, Verdict, asked, question, verdict
from bot.trust.redaction import Redactor
from bot.types import Usage
from prompts import Prompt

PROMPT = ("review", 1)
"""Name and version of the prompt."""
_MOST_PATH = 160
_SECRET = "<secret:"  # noqa: S105 - how a placeholder begins
FAIL_ON: Mapping[str, int] = {"high": 2, "medium": 1, "never": 3}
"""From which risk on a gate does not hold, as its place among the levels."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is reviewed, and for whom. Everything but the diff is the caller's word about it."""

    diff: str
    service: str | None = None
    by: str = "ci"
    fail_on: str = "high"
    advisory: bool = False
    """The model's findings are told and do not count."""
    ask_model: bool = True


@dataclass(frozen=True, slots=True)
class Review:
    """What a gate is told. `outcome` and `reason` say what became of the model."""

    risk: Risk
    holds: bool
    fail_on: str
    files: int
    lines_added: int
    lines_removed: int
    rules: tuple[Reason, ...]
    findings: tuple[Reason, ...]
    outcome: str
    reason: str
    shown: int
    left_out: int
    usage: Usage | None = None

    def as_json(self) -> dict[str, Any]:
        """For machines; every text is ours but the paths, which are cleaned and redacted."""
        told = [{"by": "rule", **_row(one)} for one in self.rules]
        told += [{"by": "model", **_row(one)} for one in self.findings]
        return {
            "risk": self.risk, "holds": self.holds, "fail_on": self.fail_on, "files": self.files,
            "lines_added": self.lines_added, "lines_removed": self.lines_removed, "reasons": told,
            "model": {
                "outcome": self.outcome, "reason": self.reason, "model": self.usage.model if self.usage else None,
                "cost_usd": self.usage.cost_usd if self.usage else 0.0, "pieces_shown": self.shown,
                "pieces_left_out": self.left_out, "call": self.usage.call_id if self.usage else None,
            },
        }  # fmt: skip


def _row(one: Reason) -> dict[str, Any]:
    return {"risk": one.risk, "kind": one.kind, "text": one.text, "path": one.path, "line": one.line}


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the rules say, and the question to a model. Paths are redacted and cleaned already."""

    files: int
    lines_added: int
    lines_removed: int
    rules: tuple[Reason, ...]
    question: Question


def prepare(text: str, redactor: Redactor, prompt: Prompt, fence: str, snapshot: str, token_budget: int) -> Prepared:
    """Everything that is heavy: reading, rules, redaction. Pure. Raises NotADiff for what cannot be judged."""
    read = diffs.read(text)

    def redact(part: str) -> str:
        return redactor.redact(part).text

    def secret(part: str) -> bool:
        return redact(part).count(_SECRET) > part.count(_SECRET)

    def orders(part: str) -> bool:
        return redactor.redact(part).suspicious

    rules = reasons(read, secret=secret, orders=orders)
    made = question(
        read, rules, prompt, fence=fence, snapshot=snapshot, token_budget=token_budget, redact=redact, orders=orders
    )
    pieces = tuple(replace(piece, path=_shown(piece.path)) for piece in made.pieces)
    told = tuple(replace(one, path=_shown(redact(one.path))) for one in rules)
    return Prepared(len(read.files), read.lines_added, read.lines_removed, told, replace(made, pieces=pieces))


def _shown(path: str) -> str:
    """A path as it may stand in a log or a pull request: one line, no markup, no workflow command."""
    return re.sub(r"[^\w./@+~ ()=,-]", "_", plain(path))[:_MOST_PATH]


class Prepares(Protocol):
    """Runs `prepare` where it holds nobody up."""

    async def __call__(self, text: str, fence: str, snapshot: str, token_budget: int) -> Prepared: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewing:
    """Reviews one change after another. `asks` is the gateway, `pin` what it asks first for a review."""

    asks: Asks
    pin: Pin | None
    prepare: Prepares
    book: Book
    clock: Clock
    fence_key: bytes
    token_budget: int
    deadline_seconds: float
    may_leave: Callable[[str | None], bool]
    """Whether text of a service may be sent to a model."""
    team: Callable[[str | None], str | None]

    async def __call__(self, wanted: Asked) -> Review:
        """Judge one diff. Raises NotADiff for what cannot be judged; a model that fails is an outcome, no error."""
        if wanted.fail_on not in FAIL_ON:
            raise ValueError(f"fail_on is one of {sorted(FAIL_ON)}, not {wanted.fail_on!r}")
        if not wanted.diff.strip():
            raise diffs.NotADiff("it is empty; send what `git diff BASE...HEAD` prints")
        sha256 = hashlib.sha256(wanted.diff.encode(errors="replace")).hexdigest()
        snapshot, context = sha256[:16], self.pin.context_tokens if self.pin else self.token_budget
        fence = fence_mark(self.fence_key, self.book.workspace_id, "review", snapshot)
        made = await self.prepare(wanted.diff, fence, snapshot, min(self.token_budget, context))
        told = await self._ask(made, wanted)
        counted = () if wanted.advisory else told.findings
        risk = highest(one.risk for one in (*made.rules, *counted))
        holds = LEVELS.index(risk) < FAIL_ON[wanted.fail_on]
        shown = len(made.question.pieces) if told.usage else 0
        review = Review(
            risk, holds, wanted.fail_on, made.files, made.lines_added, made.lines_removed, made.rules, told.findings,
            told.outcome, told.reason, shown, made.question.left_out, told.usage,
        )  # fmt: skip
        detail = {
            "diff_sha256": sha256, "service": wanted.service, "risk": risk, "holds": holds, "fail_on": wanted.fail_on,
            "files": made.files, "rules": len(made.rules), "findings": len(told.findings), "outcome": told.outcome,
            "call": told.usage.call_id if told.usage else None,
        }  # fmt: skip
        await self.book.audit(self.clock.now(), wanted.by, "review", None, detail)
        return review

    async def _ask(self, made: Prepared, wanted: Asked) -> Verdict:
        if not wanted.ask_model:
            return Verdict("off", "no model was asked for")
        if self.pin is None:
            return Verdict("off", "no model is configured for reviews")
        if not self.may_leave(wanted.service):
            return Verdict("off", 'sitrep.toml says model = "never" for it, so that none of it is sent to one')
        if not made.question.pieces:
            return Verdict("off", "nothing in it fits a question to a model")
        workspace = self.book.workspace_id
        call = asked(
            made.question, workspace_id=workspace, workflow_id=f"review:{ulid(self.clock.now())}", step="review",
            team=self.team(wanted.service), priority="batch",
        )  # fmt: skip
        reply = await self.asks.complete(call, self.deadline_seconds)
        told = verdict(reply, made.question)
        if isinstance(reply, Answer):
            await self.asks.conclude(workspace, "review", reply.usage, told.outcome, told.reason)
        return told
