"""check: Answered → Released | Rejected. The last thing between a model and people; deterministic, and alone enough.

Whatever the model wrote, only this passes: three lists of one-sentence claims, each citing items that were supplied,
each saying nothing that its items do not say, blaming only what was ranked, advising no rollout, without markup,
links, mentions, marks, secrets or look-alikes. One claim that fails rejects the whole answer; the facts card stands.
A claim that only copies an item is left out: the item stands on the card in its own words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.model.call import Refusal
from bot.triage import forms
from bot.triage.compose import Composed, Item
from bot.triage.copying import Said
from bot.triage.grounding import Ground, Supplied, is_plain, ungrounded
from bot.triage.hygiene import one_spaced
from bot.triage.infer import Answered
from bot.types import Claim, Rejected, Released, Summary

Section = Literal["going_on", "cause", "next", "answer"]
T = TypeVar("T", bound=BaseModel)
_MOST_BYTES = 64 * 1024
_COPIED_WORDS = 4
_FOREIGN_WORDS = 4
_FOREIGN_SHARE = 0.5
_ODD = re.compile(r"(?=.*[^\W\d_])(?=.*\d)\w+|[^\W\d_]")
"""Letters mixed with digits, and single letters: names have some, a sentence of them is a disguise."""
_COMMIT = re.compile(r"(?<![\w-])(?=[a-f]*\d)[0-9a-f]{7,40}(?![\w-])")
_CAUSAL = re.compile(
    r"\b(?:because|caus\w+|due|blam\w+|trigger\w*|broke\w*|break\w*|led|lead\w*|result\w*|after|since|made|makes?"
    r"|introduc\w+|responsib\w+|culprit|root|reason|why|behind|from|by|through|slow\w*|fail\w*|start\w*|began)\b",
    re.IGNORECASE,
)
"""Words with which an answer may blame: wide on purpose, since a change that is no suspect can be named
without them."""
_QUOTATION = re.compile(r"“[^”]{1,120}”|\"[^\"]{1,120}\"")
"""A log line in quotation marks: `ungrounded` has found it in a cited item, word for word."""


class _Draft(BaseModel):
    """One claim as the model writes it; the same bounds as schema.json, which some servers do not enforce."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str = Field(min_length=1, max_length=280)
    evidence: list[str] = Field(min_length=1, max_length=6)


class _Report(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    going_on: list[_Draft] = Field(min_length=1, max_length=3)
    cause: list[_Draft] = Field(max_length=3)
    next: list[_Draft] = Field(max_length=4)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    answer: list[_Draft] = Field(max_length=4)


class _Failed(Exception):
    """A claim may not pass; the reason completes "an answer was rejected: …"."""


@dataclass(frozen=True, slots=True)
class Guards:
    """What `check` is given. `redact` and `suspicious` are the trust package's; `policy` is reason to phrases."""

    redact: Callable[[str], str]
    suspicious: Callable[[str], bool] = lambda text: False
    policy: Mapping[str, Sequence[str]] | None = None


def check(answered: Answered, guards: Guards) -> Released | Rejected:
    """Release the answer, or say why not in one finished sentence for the card."""
    composed, reply = answered.composed, answered.reply
    if isinstance(reply, Refusal):
        return Rejected(outcome=reply.outcome, reason=reply.reason, usage=reply.usage)
    report = _parse(reply.text, _Report)
    if report is None:
        return Rejected(
            outcome="malformed", reason="an answer was rejected: it was not in the agreed form", usage=reply.usage
        )
    grounds = _Grounds()
    try:
        summary = Summary(
            going_on=_section("going_on", report.going_on, composed, guards, grounds),
            cause=_section("cause", report.cause, composed, guards, grounds),
            next=_section("next", report.next, composed, guards, grounds),
        )
    except _Failed as failed:
        return Rejected(outcome="rejected", reason=f"an answer was rejected: {failed}", usage=reply.usage)
    if not (summary.going_on or summary.cause or summary.next):
        why = "an answer was rejected: it only repeated what items say"
        return Rejected(outcome="rejected", reason=why, usage=reply.usage)
    return Released(summary=summary, usage=reply.usage)


def check_answer(answered: Answered, guards: Guards) -> tuple[Claim, ...] | Rejected:
    """The same for an answer to a question: its claims, none where the items do not say, or why it may not be shown."""
    composed, reply = answered.composed, answered.reply
    if isinstance(reply, Refusal):
        return Rejected(outcome=reply.outcome, reason=reply.reason, usage=reply.usage)
    given = _parse(reply.text, _Answer)
    if given is None:
        return Rejected(
            outcome="malformed", reason="an answer was rejected: it was not in the agreed form", usage=reply.usage
        )
    try:
        claims = _section("answer", given.answer, composed, guards, _Grounds())
    except _Failed as failed:
        return Rejected(outcome="rejected", reason=f"an answer was rejected: {failed}", usage=reply.usage)
    if given.answer and not claims:
        why = "an answer was rejected: it only repeated what items say"
        return Rejected(outcome="rejected", reason=why, usage=reply.usage)
    return claims


def _parse(text: str, form: type[T]) -> T | None:
    if len(text.encode(errors="replace")) > _MOST_BYTES:
        return None
    try:
        return form.model_validate(json.loads(text, object_pairs_hook=_no_repeats))
    except (ValueError, RecursionError, ValidationError):
        return None


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A key that stands twice means something else to every reader."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _section(
    section: Section, drafts: list[_Draft], composed: Composed, guards: Guards, grounds: _Grounds
) -> tuple[Claim, ...]:
    """The section's claims, those left out that only copy. Raises _Failed."""
    claims = [_claim(section, draft, composed, guards, grounds) for draft in drafts]
    return tuple(claim for claim in claims if claim is not None)


class _Grounds:
    """What claims may say, read once for the claims that cite the same items."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Ground] = {}
        self._said: Said | None = None

    def all_of(self, composed: Composed) -> Said:
        """Every item that was supplied, cited or not: a sentence of plain words needs no citation of its own."""
        if self._said is None:
            self._said = Said("\n".join(item.text for item in composed.items))
        return self._said

    def of(self, items: list[Item]) -> Ground:
        key = tuple(item.position for item in items)
        if key not in self._known:
            told = [Supplied(f"{item.text}\n{item.observed_at}", item.kind == "runbook") for item in items]
            self._known[key] = Ground(told)
        return self._known[key]


def _claim(section: Section, draft: _Draft, composed: Composed, guards: Guards, grounds: _Grounds) -> Claim | None:
    items = _cited(draft, composed)
    text = one_spaced(draft.text).strip()
    ground = grounds.of(items)
    _form(text, ground, composed, guards)
    if why := ungrounded(text, ground):
        raise _Failed(why)
    _english(text)
    _not_repeated(text, composed.items, guards)
    _blame(section, text, items, composed)
    if forms.advises_rollout(text, advice=section == "next"):
        raise _Failed("it advised to roll out a change")
    if why := forms.orders(text, ground.runbooks, advice=section == "next"):
        raise _Failed(why)
    if why := forms.foreign_command(text, ground.runbooks):
        raise _Failed(why)
    told = forms.without_commands(text)
    if grounds.all_of(composed).copied_by(told, command=told != text):
        return None
    return Claim(text=text, evidence=tuple(dict.fromkeys(item.mark for item in items)))


def _cited(draft: _Draft, composed: Composed) -> list[Item]:
    """The items behind the positions; a position above the number supplied is refused, never dropped."""
    items = []
    for position in draft.evidence:
        item = composed.item(position) if re.fullmatch(r"s[1-9]\d?", position) else None
        if item is None:
            raise _Failed("it cited evidence that was not supplied")
        items.append(item)
    return items


def _form(text: str, ground: Ground, composed: Composed, guards: Guards) -> None:
    """What no text may be, whatever it cites."""
    if composed.fence in text.lower():
        raise _Failed("it repeated the fence mark")
    if not text or forms.several_sentences(text):
        raise _Failed("a claim was not one sentence")
    policy = guards.policy if guards.policy is not None else forms.shipped_policy()
    for why in (
        forms.ill_formed(text),
        None if forms.is_sentence(text) else "a claim was not a plain sentence",
        forms.deceptive(text, ground.text),
        "it contained what looks like a secret or personal data" if guards.redact(text) != text else None,
        forms.policy_problem(text, policy),
    ):
        if why:
            raise _Failed(why)


def _english(text: str) -> None:
    """Grounding lets any word of the evidence through; a claim made of such words is copied, and not of operations."""
    said = _QUOTATION.sub(" ", text)
    words = [word.lower() for word in re.findall(r"(?<![\w./:@-])[A-Za-z']{2,}(?![\w/:@-])", said)]
    odd = [token for token in said.split() if _ODD.fullmatch(token.strip(".,;:!?()'"))]
    if len(odd) > _FOREIGN_WORDS and len(odd) > _FOREIGN_SHARE * len(said.split()):
        raise _Failed("it was not plain English about operations")
    foreign = {word for word in words if not is_plain(word)}
    if len(foreign) > 1 and (len(foreign) > _FOREIGN_WORDS or len(foreign) > _FOREIGN_SHARE * len(words)):
        raise _Failed("it was not plain English about operations")


def _not_repeated(text: str, items: Sequence[Item], guards: Guards) -> None:
    """What sounds like orders to a machine is not passed on, be it the claim or a piece copied from a marked item."""
    if guards.suspicious(text):
        raise _Failed("it repeated text that sounds like orders to a machine")
    words = re.findall(r"\w+", text.lower())
    runs = {" ".join(words[at : at + _COPIED_WORDS]) for at in range(len(words) - _COPIED_WORDS + 1)}
    for item in items:
        if item.suspicious and runs:
            said = " ".join(re.findall(r"\w+", item.text.lower()))
            if any(run in said for run in runs):
                raise _Failed("it repeated text that sounds like orders to a machine")


def _blame(section: Section, text: str, items: list[Item], composed: Composed) -> None:
    """Only ranked suspects may be blamed: outside of advice no other change is cited, or named by its commit."""
    if section == "next" or (section == "answer" and not _CAUSAL.search(text)):
        return
    suspects = {position for position, _ in composed.suspects}
    changes = [item for item in composed.items if item.kind == "change"]
    others = [item for item in changes if item.position not in suspects]
    named = {commit[:7] for commit in _COMMIT.findall(text.lower())}
    ranked = {commit[:7] for item in changes if item.position in suspects for commit in _COMMIT.findall(item.text)}
    foreign = {commit[:7] for item in others for commit in _COMMIT.findall(item.text)} - ranked
    if any(item in others for item in items) or named & foreign:
        raise _Failed("it blamed a change that is not among the suspects")
