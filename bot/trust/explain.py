"""Which rule lets whom read an item, in sentences. Told only to those who may read the item, and at the shell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.trust.audience import Audience, AudienceUnknown
from bot.trust.principals import CHANNEL_PREFIX, Principal
from integrations.records import EVERYONE, WORLD, Readers

Rules = Mapping[frozenset[str], str]
"""An any-of set and where it is written (`[sources.github] readers`)."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer and its reasons, one sentence each; the first one is the answer."""

    may: bool
    sentences: tuple[str, ...] = field(default=())


def explain(principal: Principal, readers: Readers, rules: Rules | None = None) -> Explanation:
    """Whether one principal may read an item, and through which group of each any-of set."""
    who = principal.id
    if principal.unknown:
        return Explanation(False, (f"{who} may read nothing: {who} {principal.unknown}.",))
    may = readers.admit(principal.groups)
    told = []
    for any_of in _ordered(readers):
        through = sorted(any_of & principal.groups)
        verdict = f"yes, through {_words(through)}" if through else "no"
        told.append(f"{_requirement(any_of, rules)}: {verdict}.")
    first = f"{who} may read it: every requirement holds." if may else f"{who} may not read it."
    return Explanation(may, (first, *told))


def explain_audience(audience: Audience | AudienceUnknown, readers: Readers, rules: Rules | None = None) -> Explanation:
    """Whether everybody who reads a channel may read an item, and which requirement somebody there does not meet."""
    if isinstance(audience, AudienceUnknown):
        return Explanation(False, (f"Nobody is shown it there: {audience.reason}.",))
    if audience.reads_all:
        return Explanation(True, ("The local operator may read all.",))
    told = []
    for any_of in _ordered(readers):
        missing = sum(signature.isdisjoint(any_of) for signature in audience.signatures)
        kinds = len(audience.signatures)
        verdict = "yes, everybody" if not missing else f"no, {missing} of {kinds} kinds of readers are in none of them"
        told.append(f"{_requirement(any_of, rules)}: {verdict}.")
    may = all(audience.reached_by(any_of) for any_of in readers.sets)
    first = (
        f"It is shown there: all {audience.people} readers may read it."
        if may
        else f"It is hidden there: not all {audience.people} readers may read it."
    )
    return Explanation(may, (first, *told, *(f"Note: {notice}." for notice in audience.notices)))


def _ordered(readers: Readers) -> list[frozenset[str]]:
    return sorted(readers.sets, key=sorted)


def _requirement(any_of: frozenset[str], rules: Rules | None) -> str:
    where = (rules or {}).get(any_of)
    named = f" ({where})" if where else ""
    if not any_of:
        return f"Readers that nobody stated{named}; unknown means nobody"
    names = [_group(group) for group in sorted(any_of)]
    return f"In {names[0]}{named}" if len(names) == 1 else f"In at least one of {_words(names)}{named}"


def _group(name: str) -> str:
    if name == EVERYONE:
        return "everyone (the workspace's full members)"
    if name == WORLD:
        return "world (everybody, guests and partners included)"
    if name.startswith(CHANNEL_PREFIX):
        return f"the readers of channel {name.removeprefix(CHANNEL_PREFIX)}"
    return name


def _words(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
