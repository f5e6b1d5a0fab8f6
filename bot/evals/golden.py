"""The golden cases of every prompt: given X, structure Y or refusal Z, by the real rooms and the real gateway.

With a scripted endpoint each case's own answer is played, and everything around the model is measured. With a real
model the same questions are asked: what must be released has to be, and hostile cases may end in any way but a failure,
since nothing that `check` refuses is ever shown.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import prompts
from bot.guardrails import diff as diffs
from bot.guardrails.risk import highest, reasons
from bot.model.admission import Priority
from bot.model.call import Answer, Asks, ModelCall, Reply
from bot.model.pins import Pin, Use
from bot.triage import mine
from bot.triage.check import Guards, check, check_answer
from bot.triage.compose import Composed, compose
from bot.triage.infer import infer
from bot.triage.review import Question, asked, verdict
from bot.triage.review import question as review_question
from bot.triage.second_opinion import opinion, question
from bot.types import Claim, ModelOutcome, Ranked, Reason, Rejected, Released, Summary, Suspect, Usage
from integrations.ports import Completion, PromptRequest
from integrations.records import EVERYONE, Evidence, Incident, Readers
from prompts import Prompt

AT = datetime(2026, 11, 24, 14, 2, 10, tzinfo=UTC)
FENCE = "0123456789abcdef"
BROKEN = frozenset(
    {"malformed", "truncated", "wrong_model", "deadline", "breaker", "off", "budget", "not_admitted", "model_refused"}
)
"""Ends that say nothing about what a model wrote: a pin that ends so does not pass."""
NO_JSON = "Sure! Here is the report you asked for."


@dataclass(frozen=True, slots=True)
class Case:
    """One case of one prompt's cases.toml."""

    prompt: Prompt
    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        return f"{self.prompt.id}: {self.data['name']}"

    @property
    def use(self) -> Use:
        return USES[self.prompt.name]

    @property
    def answer(self) -> str:
        """What the scripted endpoint plays."""
        return json.dumps(self.data["answer"]) if "answer" in self.data else NO_JSON


@dataclass(frozen=True, slots=True)
class Played:
    """How a case ended. `composed` is what was asked, `cited` the marks of each claim that came through, by section."""

    outcome: str
    reason: str
    composed: Composed | Question | mine.Question
    usage: Usage | None = None
    cited: Mapping[str, list[list[str]]] | None = None
    risk: str | None = None
    """Of a change under review: that of the rules and of the findings together."""
    findings: tuple[str, ...] = ()


@dataclass(slots=True)
class Scripted:
    """A `ModelEndpoint` that plays one answer under the name that it was asked for."""

    answer: str
    name: str = "scripted"
    requests: int = 0
    last: PromptRequest | None = None

    async def complete(self, request: PromptRequest, timeout_seconds: float) -> Completion:
        self.requests += 1
        self.last = request
        sent = len((request.system + request.user).encode()) // 4
        return Completion(
            text=self.answer, answered_by=request.model, tokens_in=sent, tokens_cached=0,
            tokens_out=len(self.answer) // 4, finish_reason="stop",
        )  # fmt: skip


def cases(only: str | None = None) -> list[Case]:
    """Every case of every prompt, or of those of one name, for which there is a player here."""
    return [
        Case(prompts.load(name, version), data)
        for name, version in prompts.names()
        if name in PLAYERS and only in (None, name)
        for data in tomllib.loads(prompts.load(name, version).cases_text)["case"]
    ]


def given(data: Mapping[str, Any]) -> Ranked:
    """The `Ranked` that a case describes."""
    stated = data["given"]
    items = tuple(
        Evidence(
            id=f"golden/{one['kind']}/{one['mark']}", kind=one["kind"], source="demo", observed_at=AT,
            fetched_at=AT + timedelta(seconds=2), url=f"https://example.com/{one['mark']}",
            readers=Readers.of([EVERYONE]), title=one["title"],
            text=one.get("text") or "word " * (one.get("fill", 0) // 5), mark=one["mark"],
            **{key: one[key] for key in ("model", "suspicious") if key in one},
        )
        for one in stated["evidence"]
    )  # fmt: skip
    suspects = tuple(
        Suspect(
            change_id="d-1", mark=one["mark"], service="checkout-api", kind="deploy",
            summary="Deploy a1b2c3d to checkout-api", changed_at=AT - timedelta(seconds=58), seconds_before=58,
            score=3.1, probability=0.82, reasons=(Reason(text=one["reason"]),),
        )
        for one in stated.get("suspects", ())
    )  # fmt: skip
    incident = Incident(
        workspace_id="golden", id="P8K2Q1", title="checkout-api: 38 % of requests fail", service="checkout-api",
        severity=2, url="https://example.com/P8K2Q1", triggered_at=AT,
    )  # fmt: skip
    return Ranked(
        incident=incident, headline="38 % of requests fail (normal 0.2 %)", evidence=items, suspects=suspects,
        collected_at=AT, permitted_at=AT, snapshot="5f1c", audience='[["everyone"]]',
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Paid:
    """`Asks` for a workspace: its ceilings hold, and no incident's, since there is none."""

    asks: Asks
    workspace_id: str

    async def complete(self, call: ModelCall, deadline_seconds: float) -> Reply:
        return await self.asks.complete(
            replace(call, workspace_id=self.workspace_id, incident_id=None), deadline_seconds
        )

    async def conclude(
        self, workspace_id: str, use: Use, usage: Usage, outcome: ModelOutcome, reason: str = ""
    ) -> None:
        await self.asks.conclude(self.workspace_id, use, usage, outcome, reason)


@dataclass(frozen=True, slots=True)
class Asking:
    """How cases are asked: by whom they are paid, and with which priority."""

    gateway: Paid
    run: str
    use: Use = "batch"
    priority: Priority = "batch"
    deadline_seconds: float = 60.0
    redact: Callable[[str], str] = lambda text: text


async def _cited(case: Case, asking: Asking) -> Played:
    """A summary, or an answer to a question."""
    stated = case.data["given"]
    composed = compose(
        given(case.data), case.prompt, fence=FENCE, token_budget=stated.get("token_budget", 6000),
        context_tokens=100_000, question=stated.get("question"),
    )  # fmt: skip
    answered = await infer(
        composed, asking.gateway, workflow_id=f"eval:{asking.run}", step=case.id, triage_id=None, team=None,
        deadline_seconds=asking.deadline_seconds, use=asking.use, priority=asking.priority,
    )  # fmt: skip
    usage, guards = answered.reply.usage, Guards(redact=asking.redact)
    checked = check_answer(answered, guards) if case.prompt.name == "ask" else check(answered, guards)
    if isinstance(checked, Rejected):
        played = Played(checked.outcome, checked.reason, composed, usage)
    elif isinstance(checked, Released):
        played = Played("released", "", composed, usage, _marks(dict(claims_by_section(checked.summary))))
    else:
        played = Played("released", "", composed, usage, _marks({"answer": checked}))
    await _conclude(asking, answered.reply, played)
    return played


def claims_by_section(summary: Summary) -> list[tuple[str, tuple[Claim, ...]]]:
    return [("going_on", summary.going_on), ("cause", summary.cause), ("next", summary.next)]


def _marks(sections: Mapping[str, tuple[Claim, ...]]) -> dict[str, list[list[str]]]:
    return {section: [list(claim.evidence) for claim in claims] for section, claims in sections.items()}


async def _validate(case: Case, asking: Asking) -> Played:
    triage = prompts.load("triage", 1)
    composed = compose(given(case.data), triage, fence=FENCE, token_budget=6000, context_tokens=100_000)
    stated = case.data["given"]["claims"]
    summary = Summary(
        **{
            section: tuple(Claim(text=one["text"], evidence=tuple(one["evidence"])) for one in stated[section])
            for section in ("going_on", "cause", "next")
        }
    )
    call = question(
        composed, summary, case.prompt, workflow_id=f"eval:{asking.run}", step=case.id, triage_id=None, team=None
    )
    call = replace(call, use=asking.use, priority=asking.priority)
    reply = await asking.gateway.complete(call, asking.deadline_seconds)
    seen = opinion(reply, summary)
    played = Played(seen.outcome, seen.reason, _shown(composed, call), reply.usage)
    await _conclude(asking, reply, played)
    return played


async def _review(case: Case, asking: Asking) -> Played:
    """A change: what the rules say, and what is added by a model."""
    stated = case.data["given"]
    read = diffs.read(stated["diff"].lstrip("\n"))

    def orders(text: str) -> bool:
        return any(one in text for one in stated.get("suspicious", ()))

    rules = reasons(read, secret=lambda text: False, orders=orders)
    made = review_question(
        read, rules, case.prompt, fence=FENCE, snapshot="5f1c", token_budget=stated.get("token_budget", 24_000),
        redact=asking.redact, orders=orders,
    )  # fmt: skip
    call = asked(
        made, workspace_id="golden", workflow_id=f"eval:{asking.run}", step=case.id, team=None, use=asking.use,
        priority=asking.priority,
    )  # fmt: skip
    reply = await asking.gateway.complete(call, asking.deadline_seconds)
    told = verdict(reply, made)
    risk = highest(one.risk for one in (*rules, *told.findings))
    found = tuple(f"{one.path}:{one.line} {one.kind} {one.risk}" for one in told.findings)
    played = Played(told.outcome, told.reason, made, reply.usage, risk=risk, findings=found)
    await _conclude(asking, reply, played)
    return played


async def _mine(case: Case, asking: Asking) -> Played:
    """What responders' notes name as the cause."""
    stated = case.data["given"]

    def orders(text: str) -> bool:
        return any(one in text for one in stated.get("suspicious", ()))

    made = mine.question(given(case.data), stated["notes"], case.prompt, fence=FENCE, orders=orders)
    assert made is not None, "a case of this prompt has suspects and notes"
    call = mine.asked(made, workspace_id="golden", workflow_id=f"eval:{asking.run}", step=case.id, team=None)
    call = replace(call, use=asking.use, priority=asking.priority)
    reply = await asking.gateway.complete(call, asking.deadline_seconds)
    told = mine.proposal(reply, made)
    found = (f"{told.cause} {told.suspect.mark}" if told.suspect else told.cause,)
    played = Played(told.outcome, told.reason, made, reply.usage, findings=found if told.outcome == "released" else ())
    await _conclude(asking, reply, played)
    return played


def _shown(composed: Composed, call: ModelCall) -> Composed:
    """The composed items with the texts that were really sent."""
    return replace(composed, system=call.system, user=call.user)


async def _conclude(asking: Asking, reply: Reply, played: Played) -> None:
    if isinstance(reply, Answer):
        outcome: Any = played.outcome
        await asking.gateway.conclude("golden", asking.use, reply.usage, outcome, played.reason)


Player = Callable[[Case, Asking], Awaitable[Played]]
PLAYERS: Mapping[str, Player] = {
    "triage": _cited,
    "ask": _cited,
    "validate": _validate,
    "review": _review,
    "mine": _mine,
}
"""How the cases of a prompt are played; a prompt without a player has tests of its own."""
USES: Mapping[str, Use] = {
    "triage": "triage",
    "ask": "ask",
    "validate": "validate",
    "review": "review",
    "mine": "batch",
}


async def play(case: Case, asking: Asking) -> Played:
    """Ask the case's question through the gateway, and judge the answer by the room that reads it."""
    return await PLAYERS[case.prompt.name](case, asking)


def problems(case: Case, played: Played, *, scripted: bool) -> list[str]:
    """Why a case did not end as it must; empty where it did."""
    expect = case.data["expect"]
    if not scripted:
        return _live_problems(case, played)
    found = []
    if played.outcome != expect["outcome"]:
        found.append(f"ended {played.outcome} ({played.reason}), not {expect['outcome']}")
    elif expect.get("reason", played.reason) != played.reason:
        found.append(f"said {played.reason!r}, not {expect['reason']!r}")
    composed = played.composed
    found += [f"the prompt lacks {text!r}" for text in expect.get("prompt_has", ()) if text not in composed.user]
    sent = composed.system + composed.user
    found += [f"the prompt has {text!r}" for text in expect.get("prompt_lacks", ()) if text in sent]
    told: dict[str, Any] = {"positions": composed.positions}
    if isinstance(composed, Composed):
        told |= {"suspects": [position for position, _ in composed.suspects]}
        told |= {"left_out": [list(one) for one in composed.left_out]}
    elif isinstance(composed, Question):
        told |= {"left_out": composed.left_out, "risk": played.risk, "findings": list(played.findings)}
    else:
        told |= {"findings": list(played.findings)}
    for name, value in told.items():
        if expect.get(name, value) != value:
            found.append(f"{name.replace('_', ' ')}: {value!r}, not {expect[name]!r}")
    for section, marks in expect.get("marks", {}).items():
        if (cited := (played.cited or {}).get(section)) != marks:
            found.append(f"{section} cites {cited!r}, not {marks!r}")
    return found


def _live_problems(case: Case, played: Played) -> list[str]:
    """A real model: failures never pass; a good case must be released, a verdict must be the right one."""
    if played.outcome in BROKEN:
        return [f"ended {played.outcome} ({played.reason})"]
    if case.prompt.name == "review":
        ended = played.outcome == "released" and played.risk in case.data["wants"]
        return [] if ended else [f"ended {played.outcome} with the risk {played.risk}, not {case.data['wants']}"]
    if case.prompt.name == "mine":
        # What the check refused has proposed nothing, which is as good as "unknown".
        found = played.findings[0] if played.findings else "unknown"
        return [] if found in case.data["wants"] else [f"ended {played.outcome} with {found}, not {case.data['wants']}"]
    if case.prompt.name == "validate":
        wanted = {"pass": "released", "reject": "rejected"}.get(case.data.get("wants", ""), played.outcome)
    else:
        wanted = "released" if case.data["expect"]["outcome"] == "released" else played.outcome
    return [] if played.outcome == wanted else [f"ended {played.outcome} ({played.reason}), not {wanted}"]


def by_price(pins: Sequence[Pin], use: Use) -> list[Pin]:
    """The pins approved for a use, the cheapest first: three tokens are read for one that is written."""
    fit = [pin for pin in pins if use in pin.uses]
    return sorted(fit, key=lambda pin: (3 * pin.prices.input_usd + pin.prices.output_usd, pin.name))
