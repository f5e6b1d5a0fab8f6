"""Taking one guard away: each is shown to be needed by what happens without it.

A guard is a function of the product that is replaced by one that lets everything through. The names are those that
`make redteam WITHOUT=` takes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from bot.flows import summarise, warm
from bot.model import spend
from bot.triage import check, copying, forms, permit
from bot.trust import neutralise
from bot.trust.redaction import values
from bot.types import Claim

Patch = tuple[Any, str, Any]


@dataclass(frozen=True, slots=True)
class Guard:
    """What it keeps away, and how it is taken away. `owasp` are the kinds that it stands against."""

    name: str
    keeps_away: str
    owasp: str
    patches: Callable[[], list[Patch]]


def _nothing(*args: Any, **more: Any) -> None:
    return None


def _false(*args: Any, **more: Any) -> bool:
    return False


def _may_read() -> list[Patch]:
    return [(permit, "may_all_read", lambda audience, readers: True),
            (permit, "readable", lambda audience, readers: _All(len(readers)))]  # fmt: skip


class _All:
    def __init__(self, count: int) -> None:
        self._count = count

    def tolist(self) -> list[bool]:
        return [True] * self._count


def _model_reads_all() -> list[Patch]:
    compose = summarise.compose

    def composed(ranked: Any, *args: Any, **more: Any) -> Any:
        items = tuple(item.model_copy(update={"model": "allowed"}) for item in ranked.evidence)
        return compose(ranked.model_copy(update={"evidence": items}), *args, **more)

    return [(summarise, "compose", composed)]


def _not_redacted() -> list[Patch]:
    class Raw:
        def redact_many(self, texts: Any) -> list[Any]:
            return [_Raw(text) for text in texts]

    original = warm.redact
    return [(values, "redact_value", lambda redactor, value: value),
            (warm, "redact", lambda permitted, redactor: original(permitted, Raw()))]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Raw:
    text: str
    suspicious: bool = False


def _any_citation() -> list[Patch]:
    def cited(draft: Any, composed: Any) -> list[Any]:
        return [item for position in draft.evidence if (item := composed.item(position)) is not None]

    return [(check, "_cited", cited)]


def _nothing_checked() -> list[Patch]:
    def claim(section: Any, draft: Any, composed: Any, *more: Any) -> Claim:
        items = [item for position in draft.evidence if (item := composed.item(position)) is not None]
        return Claim(text=draft.text, evidence=tuple(item.mark for item in items))

    return [(check, "_claim", claim)]


def _raw_cut(text: str, limit: int, *, edges: bool = False) -> str:
    return text[:limit].replace("\n", " ")


GUARDS = (
    Guard("permit", "items that not every reader may read, from post and prompt", "LLM02, LLM08", _may_read),
    Guard("model-never", "items that no model may see, from the prompt", "LLM02", _model_reads_all),
    Guard("redact", "secrets and personal data, from store, post and prompt", "LLM02", _not_redacted),
    Guard("check", "everything that a model makes up or passes on (all of the below)", "LLM01, LLM05, LLM09",
          _nothing_checked),
    Guard("citations", "claims without evidence", "LLM09", _any_citation),
    Guard("grounding", "numbers, names, hosts and identifiers that no cited item has", "LLM02, LLM07, LLM09",
          lambda: [(check, "ungrounded", _nothing)]),
    Guard("form", "markup, links, mentions, questions, code", "LLM05",
          lambda: [(forms, "ill_formed", _nothing), (forms, "is_sentence", lambda text: True),
                   (forms, "several_sentences", _false)]),
    Guard("look-alikes", "letters that look like others", "LLM05", lambda: [(forms, "deceptive", _nothing)]),
    Guard("secrets", "secrets that a model puts together", "LLM02", lambda: [(check.Guards, "redact", _SAME)]),
    Guard("policy", "phrases that no report has", "LLM09", lambda: [(forms, "policy_problem", _nothing)]),
    Guard("copying", "sentences that outsiders wrote, in our voice", "LLM01, LLM09",
          lambda: [(copying.Said, "copied_by", _false)]),
    Guard("repetition", "pieces of text that sounds like orders to a machine", "LLM01",
          lambda: [(check, "_not_repeated", _nothing)]),
    Guard("blame", "changes that were not ranked, as a cause", "LLM04, LLM09", lambda: [(check, "_blame", _nothing)]),
    Guard("rollout", "advice to roll out a change", "LLM06", lambda: [(forms, "advises_rollout", _false)]),
    Guard("orders", "advice that no cited runbook has", "LLM06", lambda: [(forms, "orders", _nothing)]),
    Guard("commands", "commands that no cited runbook has word for word", "LLM03, LLM06",
          lambda: [(forms, "foreign_command", _nothing)]),
    Guard("neutralise", "Slack markup in outside text", "LLM05", lambda: [(neutralise, "escape", lambda text: text)]),
    Guard("invisible", "invisible and control characters at Slack", "LLM05", lambda: [(neutralise, "clean", _raw_cut)]),
    Guard("links", "addresses on hosts that nobody allowed", "LLM03, LLM05",
          lambda: [(neutralise.LinkPolicy, "safe", lambda self, url: url or None)]),
    Guard("ceiling", "spending beyond an incident's ceiling", "LLM10",
          lambda: [(spend, "_guarded_add", _added_unguarded)]),
)  # fmt: skip
NAMES = tuple(guard.name for guard in GUARDS)


class _Same:
    """Stands in the place of a guard's field: every text is its own redaction."""

    def __get__(self, instance: Any, owner: Any) -> Any:
        return lambda text: text

    def __set__(self, instance: Any, value: Any) -> None:
        return None


_SAME = _Same()


def _added_unguarded(tx: Any, payer: Any, usd: float, ceilings: Any, reserved_at: Any, now: Any) -> None:
    wanted = spend.scopes(payer, ceilings, reserved_at)
    spend._add(tx, payer.workspace_id, wanted, usd)


@contextlib.contextmanager
def without(name: str | None) -> Iterator[None]:
    """The product without one guard; None takes nothing away. Raises KeyError for a name that is no guard's."""
    guard = None if name is None else {one.name: one for one in GUARDS}[name]
    with contextlib.ExitStack() as stack:
        for target, attribute, instead in guard.patches() if guard else ():
            stack.enter_context(mock.patch.object(target, attribute, instead))
        yield


__all__ = ["GUARDS", "NAMES", "Guard", "without"]
