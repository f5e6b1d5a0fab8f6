"""ask: one person's question about one incident, answered from what that person may read of its evidence.

    stored evidence → permit (this person) → the items that match first → compose → infer → check

The order of the rooms is the triage's; what differs is the reader, who is one person, and that nothing is stored.
Without a model, or where an incident's arm has none, the items that match the words of the question are the answer,
and are said to be that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.cards.private import Answered, Found
from bot.cards.state import CardState
from bot.cards.words import HELD_OUT
from bot.experiment.hypothesis import level
from bot.flows.asked import NOT_SWITCHED_ON, shown_for
from bot.flows.entitled import Entitled
from bot.model.call import Answer
from bot.model.gateway import Gateway
from bot.triage.check import Guards, check_answer
from bot.triage.compose import MAX_QUESTION, Suspicious, compose, fence_mark
from bot.triage.hygiene import plain
from bot.triage.infer import infer
from bot.types import Claim, Ranked, Rejected
from integrations.records import Evidence
from prompts import Prompt

_FULL = "facts+summary"
MAX_FOUND = 6
NOTHING_SHOWN = "there is no evidence that you may see"
_WORD = re.compile(r"[^\W_][\w.-]{1,60}")
_COMMON = frozenset(
    """a an the is are was were be been of to in on at for from by with and or not no what why who when where which how
    did do does it its this that these those there has have had can could would should i we you my our me us any some
    all about after before since until now then""".split()  # noqa: SIM905 - a list of one word a line is no clearer
)


class Reader(Protocol):
    """What one person reads of an incident (`Reading`)."""

    async def card(self, user_id: str, incident_id: str) -> CardState: ...

    async def ranked_for(self, user_id: str, incident_id: str) -> Ranked: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Built once. `paused(triage_id)` says why no model is asked, "" when one may be."""

    entitled: Entitled
    reading: Reader
    gateway: Gateway
    prompt: Prompt
    fence_key: bytes
    guards: Guards
    token_budget: int
    deadline_seconds: float
    paused: Callable[[str], Awaitable[str]]
    suspicious: Suspicious = "quoted"

    async def ask(self, user_id: str, incident_id: str, question: str, request_id: str) -> Answered:
        """The answer for this one person. Raises NotPermitted and NotTriaged."""
        question = " ".join(plain(question).split())[:MAX_QUESTION]
        state = await self.reading.card(user_id, incident_id)
        ranked = await self.reading.ranked_for(user_id, incident_id)
        searched = _searched(ranked.evidence)
        if ranked.fallback is not None or not ranked.evidence:
            return Answered(state, question, searched=searched, why=NOTHING_SHOWN)
        matching = matches(question, ranked)
        found = tuple(Found(one.mark) for one in matching[:MAX_FOUND])
        why = await self._withheld(incident_id)
        told: tuple[Claim, ...] | Rejected = Rejected(outcome="off", reason=why)
        if not why:
            told = await self._from_model(ranked, question, [one.mark for one in matching], request_id)
        if isinstance(told, Rejected):
            return Answered(state, question, found=found, searched=searched, why=told.reason)
        return Answered(state, question, claims=told, searched=searched)

    async def _withheld(self, incident_id: str) -> str:
        """Why no model is asked about this incident, in words; "" where one may be."""
        if self.gateway.pin("ask") is None:
            return "no model is configured for questions"
        row = await self.entitled.book.triage_row(incident_id)
        if row is not None:
            # What its card shows, not why it was made: a card on request shows facts alone unless an admin overrode.
            shown = await shown_for(self.entitled.book, incident_id, int(row["n"]), row["experiment"], row["arm"])
            if level(shown.arm or _FULL) < level(_FULL):
                return HELD_OUT if row["experiment"] is not None else NOT_SWITCHED_ON
        return await self.paused(await self.entitled.triage_id(incident_id))

    async def _from_model(
        self, ranked: Ranked, question: str, first: Sequence[str], request_id: str
    ) -> tuple[Claim, ...] | Rejected:
        incident, pin = ranked.incident, self.gateway.pin("ask")
        assert pin is not None, "it was asked before"
        composed = compose(
            ranked, self.prompt,
            fence=fence_mark(self.fence_key, incident.workspace_id, incident.id, ranked.snapshot),
            token_budget=self.token_budget, context_tokens=pin.context_tokens, suspicious=self.suspicious,
            question=question, first=first,
        )  # fmt: skip
        answered = await infer(
            composed, self.gateway, workflow_id=f"ask:{request_id}", step="ask", triage_id=None,
            team=self.entitled.parts.routing.team(incident.service), deadline_seconds=self.deadline_seconds, use="ask",
        )  # fmt: skip
        checked = check_answer(answered, self.guards)
        if isinstance(answered.reply, Answer):
            outcome = checked.outcome if isinstance(checked, Rejected) else "released"
            reason = checked.reason if isinstance(checked, Rejected) else ""
            usage = answered.reply.usage
            await self.gateway.conclude(incident.workspace_id, "ask", usage, outcome, reason)
        return checked


def matches(question: str, ranked: Ranked) -> list[Evidence]:
    """The items that hold words of the question, those with the rarer ones first; pure."""
    wanted = dict.fromkeys(word for word in _words(question) if word not in _COMMON)
    held = {item.mark: Counter(_words(f"{item.title} {item.text} {item.kind} {item.service or ''}"))
            for item in ranked.evidence}  # fmt: skip
    scores: dict[str, float] = {}
    for word in wanted:
        having = [mark for mark, counted in held.items() if any(_same(word, one) for one in counted)]
        for mark in having:
            scores[mark] = scores.get(mark, 0.0) + 1.0 / len(having)
    order = {item.mark: number for number, item in enumerate(ranked.evidence)}
    best = sorted(scores, key=lambda mark: (-scores[mark], order[mark]))
    by_mark = {item.mark: item for item in ranked.evidence}
    return [by_mark[mark] for mark in best]


def _words(text: str) -> list[str]:
    return [word.casefold().strip(".-") for word in _WORD.findall(plain(text))]


def _same(wanted: str, held: str) -> bool:
    """The word itself, or one that begins alike ("deploy", "deploys", "deployment")."""
    if wanted == held:
        return True
    short, long = sorted((wanted.rstrip("s"), held), key=len)
    return len(short) >= 4 and long.startswith(short)


def _searched(evidence: Sequence[Evidence]) -> str:
    """ "2 alerts, 1 change, 3 traces": what the answer was looked for in."""
    counted = Counter(item.kind.replace("_", " ") for item in evidence)
    return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in sorted(counted.items()))
