"""compose: Ranked → Composed. The only way of outside text into a prompt.

Each item is one fenced, labelled block of limited size, whole or not at all; the token budget is filled by rank.
Positions s1…sN exist from here to `check` only, which maps them back to marks. The fence mark is a keyed digest of
incident and snapshot: no author of evidence can know it, and the same input makes the same prompt.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bot.model.tokens import estimate_text
from bot.triage.hygiene import plain
from bot.types import Ranked, Suspect, confidence
from integrations.records import Evidence, EvidenceKind
from prompts import POSITIONS, Prompt

MAX_CHARACTERS: Mapping[EvidenceKind, int] = {
    "alert": 1200, "change": 1600, "trace": 1200, "metric": 600, "log": 1200, "runbook": 2400,
    "past_incident": 800, "ownership": 400, "message": 600,
}  # fmt: skip
"""Longest text of one item of a kind; what is longer is cut at a space and says so."""
CUT = " [cut here]"
MAX_QUESTION = 400
LEAST_PROBABILITY = 0.1
"""A suspect below this is shown as evidence and may not be blamed."""

LeftOut = Literal["size", "never", "suspicious"]
Suspicious = Literal["quoted", "dropped"]


@dataclass(frozen=True, slots=True)
class Item:
    """One block of the prompt. `text` and `observed_at` are all that a claim which cites it may say."""

    position: str
    mark: str
    kind: EvidenceKind
    source: str
    observed_at: str
    text: str
    suspicious: bool


@dataclass(frozen=True, slots=True)
class Composed:
    """A prompt and what it shows. `suspects` are the shown ones by rank, as position and suspect."""

    prompt: Prompt
    system: str
    user: str
    positions: int
    items: tuple[Item, ...]
    suspects: tuple[tuple[str, Suspect], ...]
    left_out: tuple[tuple[str, LeftOut], ...]
    incident_id: str
    workspace_id: str
    snapshot: str
    audience: str
    fence: str

    @property
    def schema(self) -> dict[str, Any]:
        return self.prompt.schema(self.positions)

    @property
    def withheld(self) -> int:
        """Items that the model's owner may not read."""
        return sum(reason == "never" for _, reason in self.left_out)

    def item(self, position: str) -> Item | None:
        return next((item for item in self.items if item.position == position), None)


def fence_mark(key: bytes, workspace_id: str, incident_id: str, snapshot: str) -> str:
    """Sixteen hex digits that nobody without the key can guess; a new snapshot has a new one."""
    message = "\x00".join(("sitrep fence", workspace_id, incident_id, snapshot)).encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:16]


def compose(
    ranked: Ranked,
    prompt: Prompt,
    *,
    fence: str,
    token_budget: int,
    context_tokens: int,
    suspicious: Suspicious = "quoted",
    question: str | None = None,
    first: Sequence[str] = (),
) -> Composed:
    """Fill the budget by rank, the marks of `first` before all. `question` is a person's, for a prompt that has one;
    it is fenced like an item. `token_budget` covers what is sent and the longest answer; estimates never fall short.

    Raises ValueError for a fence mark that is not sixteen hex digits: a short one could stand in evidence by chance.
    """
    if not re.fullmatch(r"[0-9a-f]{16}", fence):
        raise ValueError("the fence mark must be sixteen hex digits; use fence_mark()")
    left_out: list[tuple[str, LeftOut]] = []
    candidates: list[tuple[Evidence, str]] = []
    said = _ranks_words(ranked)
    worth = worth_blaming(ranked)
    for evidence in _by_rank(ranked, worth, first):
        if evidence.model == "never":
            left_out.append((evidence.mark, "never"))
        elif evidence.suspicious and suspicious == "dropped":
            left_out.append((evidence.mark, "suspicious"))
        else:
            candidates.append((evidence, _block(evidence, said.get(evidence.mark, ()), fence)))
    asked = {} if question is None else {"question": unfenced(plain(question)[:MAX_QUESTION].strip(), fence)}
    room = min(token_budget, context_tokens) - prompt.max_output_tokens - fixed_tokens(prompt, len(candidates))
    room -= sum(estimate_text(text) for text in asked.values())
    chosen: list[tuple[Evidence, str]] = []
    for evidence, text in candidates:
        cost = estimate_text(text) + _label_tokens(fence)
        if cost <= room and len(chosen) < POSITIONS[-1]:
            room -= cost
            chosen.append((evidence, text))
        else:
            left_out.append((evidence.mark, "size"))
    items = tuple(
        Item(
            position=f"s{number}",
            mark=evidence.mark,
            kind=evidence.kind,
            source=_label(evidence.source),
            observed_at=evidence.observed_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            text=text,
            suspicious=evidence.suspicious,
        )
        for number, (evidence, text) in enumerate(chosen, start=1)
    )
    return _render(ranked, prompt, items, worth, tuple(left_out), fence, asked)


def worth_blaming(ranked: Ranked) -> tuple[Suspect, ...]:
    """The suspects that a summary may blame: none when nothing stands out, else those that are not far behind.

    The card says "nothing stands out" below 0.4 (CARD.md); a summary that blames a change then would contradict it.
    """
    left = [suspect for suspect in ranked.suspects if not suspect.ruled_out]
    if not left or confidence(left[0].probability) == "nothing stands out":
        return ()
    return tuple(suspect for suspect in left if suspect.probability >= LEAST_PROBABILITY)


def _render(
    ranked: Ranked,
    prompt: Prompt,
    items: tuple[Item, ...],
    worth: tuple[Suspect, ...],
    left_out: tuple[tuple[str, LeftOut], ...],
    fence: str,
    asked: Mapping[str, str],
) -> Composed:
    position_of = {item.mark: item.position for item in items}
    suspects = tuple((position_of[suspect.mark], suspect) for suspect in worth if suspect.mark in position_of)
    kinds = {evidence.mark: evidence.kind for evidence in ranked.evidence}
    counts = Counter(kinds[mark] for mark, reason in left_out if reason == "size")
    system, user = prompt.render(
        fence=fence,
        severity=ranked.incident.severity,
        triggered_at=ranked.incident.triggered_at.strftime("%Y-%m-%d %H:%M:%S"),
        items=items,
        suspects=[_suspect(position, suspect, position_of) for position, suspect in suspects],
        left_out=", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(counts.items())),
        **asked,
    )
    return Composed(
        prompt=prompt,
        system=system,
        user=user,
        positions=next(size for size in POSITIONS if len(items) <= size),
        items=items,
        suspects=suspects,
        left_out=left_out,
        incident_id=ranked.incident.id,
        workspace_id=ranked.incident.workspace_id,
        snapshot=ranked.snapshot,
        audience=ranked.audience,
        fence=fence,
    )


def _suspect(position: str, suspect: Suspect, position_of: Mapping[str, str]) -> str:
    """A suspect's position, and those of the items that speak for it."""
    speak = [position_of[mark] for reason in suspect.reasons for mark in reason.evidence if mark in position_of]
    others = [one for one in dict.fromkeys(speak) if one != position]
    return f"{position} (see {', '.join(others)})" if others else position


def _by_rank(ranked: Ranked, worth: tuple[Suspect, ...], first: Sequence[str]) -> list[Evidence]:
    """The first alert, then each suspect and what speaks for it, then what points at services, then the rest."""
    by_mark = {evidence.mark: evidence for evidence in ranked.evidence if evidence.mark}

    def order() -> Iterable[str]:
        yield from first
        yield from [evidence.mark for evidence in ranked.evidence if evidence.kind == "alert"][:1]
        for suspect in worth:
            yield suspect.mark
            for reason in suspect.reasons:
                yield from reason.evidence
        for service in ranked.services:
            for reason in service.reasons:
                yield from reason.evidence
        yield from (mark for mark, evidence in by_mark.items() if evidence.kind != "change")
        yield from by_mark

    return [by_mark[mark] for mark in dict.fromkeys(order()) if mark in by_mark]


def _ranks_words(ranked: Ranked) -> dict[str, list[str]]:
    """What `rank` computed about a suspect stands in its own item: derived numbers come from there alone.

    A reason that another item says in the same words stands there already.
    """
    texts = [evidence.text for evidence in ranked.evidence if evidence.model == "allowed"]
    found: dict[str, list[str]] = {}
    for number, suspect in enumerate(worth_blaming(ranked), start=1):
        own = [reason.text for reason in suspect.reasons if not any(reason.text in text for text in texts)]
        found[suspect.mark] = [f"Ranked {number} of {len(ranked.suspects)}.", *own]
    return found


def _block(evidence: Evidence, rank_says: Iterable[str], fence: str) -> str:
    """One item's text: cleaned, cut, unable to end its own fence."""
    title, text = plain(evidence.title).strip(), plain(evidence.text).strip()
    limit = MAX_CHARACTERS[evidence.kind]
    body = text if text.startswith(title) else f"{title}\n{text}" if text else title
    parts = [_cut(body, limit)]
    parts += [_cut(sentence, 300) for sentence in map(plain, rank_says) if sentence not in body]
    return unfenced("\n".join(parts), fence)


def _cut(text: str, limit: int) -> str:
    """At a space, so that no number and no name becomes another one."""
    if len(text) <= limit:
        return text
    head = text[: limit - len(CUT) + 1]
    at = max(head.rfind(" "), head.rfind("\n"))
    return (text[:at] if at > 0 else "").rstrip() + CUT


def unfenced(text: str, fence: str) -> str:
    """Nothing in the data looks like a fence: not the mark, not the brackets (full-width and mathematical ones too)."""
    text = re.sub("[<＜〈⟨❮«]{2,}", lambda run: "‹" * len(run[0]), text)
    text = re.sub("[>＞〉⟩❯»]{2,}", lambda run: "›" * len(run[0]), text)
    return re.sub(re.escape(fence), "[mark removed]", text, flags=re.IGNORECASE)


def _label(source: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", source)[:40]


def _label_tokens(fence: str) -> int:
    return (
        estimate_text(f"<<<{fence} s64 kind=past_incident source= observed=2026-11-24T21:39:16Z\n{fence} s64>>>\n\n")
        + 20
    )


def fixed_tokens(prompt: Prompt, candidates: int) -> int:
    """Our own words and the schema; both count as input."""
    positions = next((size for size in POSITIONS if candidates <= size), POSITIONS[-1])
    schema = json.dumps(prompt.schema(positions), separators=(",", ":"))
    return estimate_text(prompt.system_template + prompt.user_template) + estimate_text(schema) + 120
