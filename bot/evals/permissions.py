"""`sitrep eval permissions`: the decision who may read, against a reference that is plain enough to be believed.

Every small world (three people, three groups, every readers value of at most three any-of sets, every channel), large
ones at random, and the store's filter on the same rows. One disagreement is a failure; so is one item that is shown to
somebody who may not read it, which is counted by itself.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, combinations, product
from time import perf_counter
from typing import Any

import click

from bot.evals.outcome import Bar, report
from bot.trust.audience import Audience, readable
from bot.trust.query import readers_filter
from integrations.records import Readers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = ("a", "b", "c")
Person = frozenset[str]


@dataclass
class Tally:
    """Decisions compared, and those that differ."""

    name: str
    decisions: int = 0
    disagreements: int = 0
    shown_wrongly: int = 0
    readable: int = 0
    seconds: float = 0.0
    examples: list[str] = field(default_factory=list)

    def add(self, people: Sequence[Person], items: Sequence[Readers], ours: Sequence[bool]) -> None:
        for item, shown in zip(items, ours, strict=True):
            right = reference(people, item)
            self.decisions += 1
            self.readable += right
            if shown != right:
                self.disagreements += 1
                self.shown_wrongly += shown
                if len(self.examples) < 3:
                    self.examples.append(f"{sorted(map(sorted, people))} {item.signature} {shown}")

    def case(self) -> dict[str, Any]:
        return {**self.__dict__, "seconds": round(self.seconds, 2)}


def reference(people: Sequence[Person], item: Readers) -> bool:
    """The rule: there is a reader, and each one is, for each any-of set, in at least one of its groups."""
    if not people:
        return False
    for person in people:
        for any_of in item.sets:
            if not any(group in person for group in any_of):
                return False
    return True


@click.command("permissions")
@click.option("--worlds", default=300, show_default=True, help="Large worlds at random.")
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def command(worlds: int, seed: int, as_json: bool) -> None:
    """Compare the decision who may read with its reference. Bars: no disagreement, nothing shown wrongly."""
    tallies = [_timed(_small), _timed(_large, worlds, seed), _timed(_stored, max(1, worlds // 5), seed)]
    decisions = sum(one.decisions for one in tallies)
    wrong = sum(one.disagreements for one in tallies)
    shown = sum(one.shown_wrongly for one in tallies)
    totals = {
        "decisions": decisions,
        "readable": sum(one.readable for one in tallies),
        "disagreements": wrong,
        "shown_wrongly": shown,
    }
    bars = [Bar("disagreements", wrong, 0, "at most"), Bar("shown_wrongly", shown, 0, "at most")]
    report([one.case() for one in tallies], totals, bars, as_json=as_json)


def _timed(measure: Any, *arguments: int) -> Tally:
    began = perf_counter()
    tally: Tally = measure(*arguments)
    tally.seconds = perf_counter() - began
    return tally


def _subsets(of: Sequence[str]) -> list[tuple[str, ...]]:
    return list(chain.from_iterable(combinations(of, size) for size in range(len(of) + 1)))


def _small() -> Tally:
    """Each of three people in each subset of three groups; each channel of them; 92 readers values."""
    tally = Tally("every small world")
    items = [Readers.of(*sets) for size in (1, 2, 3) for sets in combinations(_subsets(SMALL), size)]
    groups = [frozenset(one) for one in _subsets(SMALL)]
    for three in product(groups, repeat=3):
        for inside in _subsets("012"):
            people = [three[int(number)] for number in inside]
            if people:
                tally.add(people, items, readable(Audience.of(people, NOW), items).tolist())
    return tally


def _worlds(count: int, seed: int) -> Iterator[tuple[list[Person], list[Readers]]]:
    rng = random.Random(seed)
    for _ in range(count):
        pool = [f"g{number}" for number in range(rng.randint(1, 60))]
        common = pool[: rng.randint(0, 2)]
        people = []
        for _ in range(rng.randint(1, 200)):
            own = rng.sample(pool, rng.randint(0, min(8, len(pool))))
            people.append(frozenset([*common, *own, rng.choice(["left", "right"])]))
        widest = rng.choice([3, 60])
        items = []
        for _ in range(rng.randint(1, 60)):
            sets = [rng.sample(pool, rng.randint(0, min(widest, len(pool)))) for _ in range(rng.randint(1, 3))]
            items.append(Readers.of(*(one + (["left", "right"] if rng.random() < 0.4 else []) for one in sets)))
        yield people, items


def _large(count: int, seed: int) -> Tally:
    tally = Tally("large worlds at random")
    for people, items in _worlds(count, seed):
        audience = Audience.of(people, NOW)
        tally.add(people, items, readable(audience, items).tolist())
        tally.add(people, items, readable(Audience.of(audience.minimal, NOW), items).tolist())
    return tally


def _stored(count: int, seed: int) -> Tally:
    """The same decision inside a query."""
    tally = Tally("the store's filter")
    for people, items in _worlds(count, seed + 1):
        database = sqlite3.connect(":memory:")
        try:
            database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, readers TEXT NOT NULL)")
            database.executemany("INSERT INTO t VALUES (?, ?)", [(n, item.signature) for n, item in enumerate(items)])
            distinct = [row[0] for row in database.execute("SELECT DISTINCT readers FROM t")]
            where = readers_filter(Audience.of(people, NOW), distinct)
            rows = database.execute(f"SELECT id FROM t WHERE {where.sql}", dict(where.parameters))  # noqa: S608 - ours
            found = {row[0] for row in rows}
        finally:
            database.close()
        tally.add(people, items, [number in found for number in range(len(items))])
    return tally
