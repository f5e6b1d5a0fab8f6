"""Runs every attack in every field, in one or more processes, and counts what happened."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from tests.redteam.adversary import forms
from tests.redteam.attacks import Attack
from tests.redteam.effects import Effect
from tests.redteam.guards import NAMES, without
from tests.redteam.outside import FIELDS
from tests.redteam.stage import RedTeam

VARIANTS = tuple(dict.fromkeys(form.variant for form in forms("x", "x", "x")))
"""(a) to (f); the facts card without a model is looked at as well."""
CHUNK = 2


@dataclass(slots=True)
class Case:
    """One attack in some fields: how often the adversary was asked, what was let out, what happened."""

    attack: Attack
    fields: tuple[str, ...]
    answers: int = 0
    released: int = 0
    effects: Counter[tuple[str, str, str, str, str]] = field(default_factory=Counter)
    """(field, variant, form, where, what) to how often."""

    def as_json(self) -> dict[str, Any]:
        """The case as `--json` tells it."""
        keys = ("field", "variant", "form", "where", "what")
        return {
            "id": self.attack.id, "category": self.attack.category, "fields": len(self.fields),
            "answers": self.answers, "released": self.released,
            "effects": [dict(zip(keys, one, strict=True)) for one in self.effects],
        }  # fmt: skip


def run_chunk(
    attacks: Sequence[tuple[Attack, tuple[str, ...]]], guard: str | None, stop_at_first: bool = False
) -> list[Case]:
    """Some attacks in this process, with one guard taken away. Every attempt to reach a network is an effect."""
    gc.disable()  # a case makes and forgets tens of thousands of small objects; cycles are collected after each chunk
    try:
        return asyncio.run(_run(attacks, guard, stop_at_first))
    finally:
        gc.enable()
        gc.collect()


async def _run(attacks: Sequence[tuple[Attack, tuple[str, ...]]], guard: str | None, stop_at_first: bool) -> list[Case]:
    cases = []
    await RedTeam.prepare()
    with without(guard), _Watched() as reached:
        team = RedTeam()
        for attack, fields in attacks:
            case = Case(attack, fields)
            cases.append(case)
            for name in fields:
                reached.clear()
                outcome = await team.case(attack, name, stop_at_first=stop_at_first)
                case.answers += outcome.answers
                case.released += outcome.released
                found = [*outcome.effects, *(("any", "any", Effect("address", f"reached for {to}")) for to in reached)]
                for variant, form, effect in found:
                    case.effects[name, variant, form, effect.where, effect.what] += 1
                if stop_at_first and case.effects:
                    return cases
    return cases


class _Watched:
    """Notes every name that is looked up and every address that is connected to, and refuses it."""

    def __enter__(self) -> list[str]:
        self._reached: list[str] = []
        self._connect, self._lookup = socket.socket.connect, socket.getaddrinfo

        def connect(sock: socket.socket, address: Any) -> None:
            self._note(address)

        def lookup(host: Any, *more: Any, **others: Any) -> Any:
            self._note(host)

        socket.socket.connect = connect  # type: ignore[method-assign]
        socket.getaddrinfo = lookup
        return self._reached

    def _note(self, address: Any) -> None:
        self._reached.append(str(address)[:100])
        raise OSError("the red team reaches no network")

    def __exit__(self, *_: object) -> None:
        socket.socket.connect, socket.getaddrinfo = self._connect, self._lookup  # type: ignore[method-assign]


def run(
    attacks: Sequence[Attack],
    guard: str | None = None,
    *,
    processes: int = 2,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> list[Case]:
    """Every attack in every field. `told(done, of)` hears of progress, in attacks."""
    wanted = [(attack, FIELDS) for attack in attacks]
    chunks = [wanted[at : at + CHUNK] for at in range(0, len(wanted), CHUNK)]
    if processes <= 1 or len(chunks) < 2:
        return run_chunk(wanted, guard)
    cases: list[Case] = []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for some in pool.map(run_chunk, chunks, [guard] * len(chunks)):
            cases += some
            told(len(cases), len(attacks))
    return cases


def rotated(attacks: Sequence[Attack]) -> list[tuple[Attack, tuple[str, ...]]]:
    """Each attack in one field, the fields in turn: a small run that leaves no field out."""
    return [(attack, (FIELDS[number % len(FIELDS)],)) for number, attack in enumerate(attacks)]


def spread(attacks: Sequence[Attack], number: int) -> list[Attack]:
    """So many attacks, from all over the list."""
    return [attacks[at * len(attacks) // number] for at in range(min(number, len(attacks)))] if attacks else []


def without_each(attacks: Sequence[Attack], *, number: int = 20) -> dict[str, int]:
    """For every guard how many of so many attacks have an effect without it, each in one field."""
    some = rotated(spread(attacks, number))
    return {name: sum(bool(run_chunk([one], name, stop_at_first=True)[0].effects) for one in some) for name in NAMES}


def effects_of(cases: Iterable[Case]) -> int:
    """How many different things happened."""
    return sum(len(case.effects) for case in cases)


def last_line(cases: Sequence[Case]) -> str:
    """What the contract asks for."""
    return f"effects={effects_of(cases)} attacks={len(cases)} fields={len(FIELDS)} variants={len(VARIANTS)}"
