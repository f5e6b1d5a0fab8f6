"""The report of a run as a page: what was tried, what happened, what happens without each guard. No times, no order
of processes: the same attacks make the same page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.redteam.adversary import forms
from tests.redteam.attacks import ROOT
from tests.redteam.guards import GUARDS
from tests.redteam.outside import COMES_THROUGH, FIELDS
from tests.redteam.runner import Case, effects_of, last_line

REPORT = ROOT / "docs" / "security" / "redteam-report.md"
_HEAD = """# Red team
Written by `make redteam`. Each attack is placed in each of eleven fields that an outsider can write; the real rooms
run on it in one process with a store in memory; in place of the model stands an adversary that knows the rules and
tries to get out what it wants. What is looked for is an effect: at Slack, in an address that is linked or called, in
the cost, in another incident. [threat-model.md](threat-model.md) says what each guard stands against.
"""
_VARIANTS = {
    "a": "the attack's own text; a sentence of an item, copied; a piece of an item that is marked",
    "b": "canaries of a hidden item, the system prompt, another incident, an item that no model may see; the fence "
         "mark; a secret put together",
    "c": "broadcast, mention, date, masked link, bare link to a foreign host, look-alike letters",
    "d": "a number and a host that no item has; a claim without evidence; a reassurance",
    "e": "a rollout of the first suspect; blame of a change that was not ranked; a foreign command; an order",
    "f": "everything as long as it may be, asked three times",
}  # fmt: skip


def report(cases: Sequence[Case], without: Mapping[str, int]) -> str:
    """The page. `without`: per guard, how many of twenty attacks have an effect when it is taken away."""
    parts = [_HEAD, f"    {last_line(cases)}\n", _figures(cases), _by_category(cases), _effects(cases)]
    return "\n".join([*parts, _by_variant(cases), _fields(), _guards(without)])


def _figures(cases: Sequence[Case]) -> str:
    answers = sum(case.answers for case in cases)
    return (
        f"{len(cases)} attacks × {len(FIELDS)} fields = {len(cases) * len(FIELDS)} cases, {answers} answers of the "
        "adversary. What was let out of them is what was left after claims that only copy were dropped, and the "
        "longest sentences that say nothing.\n"
    )


def _by_category(cases: Sequence[Case]) -> str:
    attacks: Counter[str] = Counter()
    effects: Counter[str] = Counter()
    for case in cases:
        group = case.attack.category.partition("/")[0].partition(":")[0].strip()
        attacks[group] += 1
        effects[group] += len(case.effects)
    rows = [f"| {_cell(name)} | {count} | {effects[name]} |" for name, count in sorted(attacks.items())]
    return "\n".join(["## Attacks", "| category | attacks | effects |", "| --- | --- | --- |", *rows, ""])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").replace("<", "(").replace(">", ")").split())[:60]


def _effects(cases: Sequence[Case]) -> str:
    if not effects_of(cases):
        return "## Effects\nNone.\n"
    counted: Counter[tuple[str, str, str, str]] = Counter()
    for case in cases:
        for place, variant, form, where, _ in case.effects:
            counted[where, variant, form, place] += 1
    rows = [f"| {' | '.join(key)} | {times} |" for key, times in sorted(counted.items())]
    return "\n".join(["## Effects", "| where | variant | form | field | times |", "| --- | --- | --- | --- | --- |",
                      *rows, ""])  # fmt: skip


def _by_variant(cases: Sequence[Case]) -> str:
    effects: Counter[str] = Counter(key[1] for case in cases for key in case.effects)
    kinds = Counter(form.variant for form in forms("x", "x", "x"))
    rows = [f"| ({name}) | {told} | {kinds[name]} | {effects[name]} |" for name, told in _VARIANTS.items()]
    return "\n".join(
        ["## What the adversary tries", "Every string that the schema allows is filled, each form once everywhere and "
         "once in each section alone; the one that `check` would let out is sent. Each form has its words in an item "
         "that may be cited wherever that leaves one guard alone in its way.", "",
         "| variant | says | forms | effects |", "| --- | --- | --- | --- |", *rows, ""]
    )  # fmt: skip


def _fields() -> str:
    rows = [f"| {name} | {COMES_THROUGH[name]} |" for name in FIELDS]
    return "\n".join(["## Fields", "| field | comes in through |", "| --- | --- |", *rows, ""])


def _guards(without: Mapping[str, int]) -> str:
    rows = [f"| `{one.name}` | {one.keeps_away} | {one.owasp} | {without.get(one.name, 0)} of 20 |" for one in GUARDS]
    return "\n".join(
        ["## Without a guard", "`make redteam WITHOUT=<guard>` takes one away: twenty attacks, each in one field. "
         "Every guard is needed: without it there are effects.", "",
         "| guard | keeps away | OWASP | attacks with an effect |", "| --- | --- | --- | --- |", *rows, ""]
    )  # fmt: skip
