"""review: Diff → a question to a model → findings. A model may raise the risk of a change, and never lower it.

The diff is an outsider's text: it is redacted and fenced like every item, and whatever it says, the rules of
`bot.guardrails.risk` have spoken already. The model answers with positions and fixed words only, so that nothing that
it writes can reach a log, a pull request or a person.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.guardrails.diff import Diff, FileChange
from bot.guardrails.risk import Reason, Risk, highest
from bot.model.admission import Priority
from bot.model.call import Answer, ModelCall, Reply
from bot.model.pins import Use
from bot.model.tokens import estimate_text
from bot.triage.compose import unfenced
from bot.triage.hygiene import plain
from bot.types import ModelOutcome, Usage
from prompts import POSITIONS, Prompt

Kind = Literal["limit", "guard", "data", "interface", "order", "security", "logic", "load", "race"]
WORDS: Mapping[Kind, str] = {
    "limit": "lowers or removes a limit, a pool, a timeout or a retry",
    "guard": "removes a check, a lock or a validation",
    "data": "can lose or corrupt data, or cannot be undone",
    "interface": "changes what others call or read, without the old form beside it",
    "order": "works only when another change is out before it",
    "security": "opens access, or shows a secret",
    "logic": "contradicts the code or the values around it",
    "load": "can make much more work: a query or a call for each item, or without an end",
    "race": "can deadlock, race or leak",
}
MOST_PIECE = 1_500
"""Characters of one piece of a hunk: some forty lines."""
_MOST_BYTES = 32 * 1024
_LABEL_TOKENS = 60


class _Finding(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    kind: Kind
    risk: Literal["medium", "high"]
    evidence: list[str] = Field(min_length=1, max_length=4)


class _Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    findings: list[_Finding] = Field(max_length=12)


@dataclass(frozen=True, slots=True)
class Piece:
    """One block of the prompt: a part of a hunk. `line` is its first changed line in the new file."""

    position: str
    path: str
    line: int
    text: str
    suspicious: bool


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is shown of a change. `left_out` counts the pieces that had no room."""

    prompt: Prompt
    system: str
    user: str
    pieces: tuple[Piece, ...]
    positions: int
    left_out: int
    fence: str
    snapshot: str
    """Of the diff: its sha256, shortened."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of asking. `outcome` is recorded with the call: released when the findings may count."""

    outcome: ModelOutcome
    reason: str = ""
    findings: tuple[Reason, ...] = ()
    usage: Usage | None = None

    @property
    def risk(self) -> Risk:
        return highest(one.risk for one in self.findings)


def question(
    diff: Diff, rules: Sequence[Reason], prompt: Prompt, *, fence: str, snapshot: str, token_budget: int,
    redact: Callable[[str], str], orders: Callable[[str], bool],
) -> Question:  # fmt: skip
    """Fill the budget: hunks that a rule named first, then in the order of the diff. Whole pieces or none."""
    wanted = list(_pieces(diff, rules, fence, redact, orders))
    schema = json.dumps(prompt.schema(POSITIONS[-1]), separators=(",", ":"))
    fixed = estimate_text(prompt.system_template + prompt.user_template) + estimate_text(schema)
    room = token_budget - prompt.max_output_tokens - fixed - _LABEL_TOKENS
    pieces: list[Piece] = []
    for path, line, text, suspicious in wanted:
        cost = estimate_text(text) + estimate_text(path) + _LABEL_TOKENS
        if cost <= room and len(pieces) < POSITIONS[-1]:
            room -= cost
            pieces.append(Piece(f"s{len(pieces) + 1}", path, line, text, suspicious))
    left_out = len(wanted) - len(pieces)
    system, user = prompt.render(fence=fence, pieces=pieces, left_out=left_out)
    positions = next(size for size in POSITIONS if len(pieces) <= size)
    return Question(prompt, system, user, tuple(pieces), positions, left_out, fence, snapshot)


def asked(
    question: Question, *, workspace_id: str, workflow_id: str, step: str, team: str | None,
    use: Use = "review", priority: Priority = "live",
) -> ModelCall:  # fmt: skip
    """The call. A repeated job asks the same about the same diff: its answer may come from the cache."""
    prompt = question.prompt
    return ModelCall(
        use=use, workspace_id=workspace_id, workflow_id=workflow_id, step=step, prompt=prompt.id,
        prompt_sha256=prompt.sha256, system=question.system, user=question.user, schema_name=prompt.schema_name,
        schema=prompt.schema(question.positions), max_output_tokens=prompt.max_output_tokens,
        parameters=prompt.parameters, fence=question.fence, team=team, snapshot=question.snapshot,
        evidence=tuple(f"{piece.path}:{piece.line}" for piece in question.pieces), priority=priority,
    )  # fmt: skip


def verdict(reply: Reply, question: Question) -> Verdict:
    """Read the findings. One that cites what was not supplied rejects the answer as a whole."""
    if not isinstance(reply, Answer):
        return Verdict(reply.outcome, reply.reason, usage=reply.usage)
    malformed = Verdict("malformed", "an answer was rejected: it was not in the agreed form", usage=reply.usage)
    if len(reply.text.encode(errors="replace")) > _MOST_BYTES:
        return malformed
    try:
        told = _Verdict.model_validate(json.loads(reply.text))
    except (ValueError, RecursionError, ValidationError):
        return malformed
    by_position = {piece.position: piece for piece in question.pieces}
    found: dict[tuple[str, str, int], Reason] = {}
    for finding in told.findings:
        for position in finding.evidence:
            piece = by_position.get(position)
            if piece is None:
                why = "an answer was rejected: it cited lines that were not supplied"
                return Verdict("rejected", why, usage=reply.usage)
            key = (finding.kind, piece.path, piece.line)
            before = found.get(key)
            risk = highest([finding.risk, before.risk] if before else [finding.risk])
            found[key] = Reason(risk, finding.kind, WORDS[finding.kind], piece.path, piece.line)
    return Verdict("released", findings=tuple(found.values()), usage=reply.usage)


def _pieces(
    diff: Diff, rules: Sequence[Reason], fence: str, redact: Callable[[str], str], orders: Callable[[str], bool]
) -> list[tuple[str, int, str, bool]]:
    """Path, line, text and whether it sounds like orders; what a rule named stands first, the gravest before."""
    rank = {(one.path, one.line): number for number, one in reversed(list(enumerate(rules)))}
    found: list[tuple[int, tuple[str, int, str, bool]]] = []
    for file in diff.files:
        path = unfenced(plain(redact(file.path)).replace("\n", " "), fence)
        for hunk in file.hunks:
            lines = [(one.number, f"{one.sign}{one.text}", one.sign != " ") for one in hunk.lines]
            best = min((rank[place] for n, _, _ in lines if (place := (file.path, n)) in rank), default=len(rules))
            for line, text in _cut(_redacted(lines, redact), hunk.start):
                shown = unfenced(plain(text), fence)
                found.append((best, (path, line, shown, orders(text) or orders(file.path))))
        if not file.hunks:
            found.append((len(rules), (path, 0, _without_text(file), False)))
    return [piece for _, piece in sorted(found, key=lambda one: one[0])]


def _redacted(lines: Sequence[tuple[int, str, bool]], redact: Callable[[str], str]) -> list[tuple[int, str, bool]]:
    """A hunk is redacted as one text, since a key may have many lines; a placeholder in their stead joins them."""
    clean = redact("\n".join(text for _, text, _ in lines)).split("\n")
    if len(clean) == len(lines):
        return [(number, text, changes) for (number, _, changes), text in zip(lines, clean, strict=True)]
    return [(lines[0][0], text, True) for text in clean]


def _cut(lines: Sequence[tuple[int, str, bool]], start: int) -> list[tuple[int, str]]:
    """Parts of at most MOST_PIECE characters, each with its first changed line; parts without a change are left out."""
    found: list[tuple[int, str]] = []
    part: list[tuple[int, str, bool]] = []
    size = 0

    def end() -> None:
        changed = [number for number, _, changes in part if changes]
        if changed:
            found.append((changed[0] or start, "\n".join(text for _, text, _ in part)))
        part.clear()

    for number, whole, changes in lines:
        text = whole if len(whole) <= MOST_PIECE else whole[:MOST_PIECE] + " [cut here]"
        if part and size + len(text) > MOST_PIECE:
            end()
            size = 0
        part.append((number, text, changes))
        size += len(text) + 1
    end()
    return found


def _without_text(file: FileChange) -> str:
    said = "binary file" if file.binary else "file"
    what = "added" if file.added else "deleted" if file.deleted else "changed"
    moved = file.old_path != file.path and not file.added and not file.deleted
    return f"[{said} renamed]" if moved else f"[{said} {what}, no text shown]"
