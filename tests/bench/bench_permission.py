"""What the permission decision costs: 10,000 members and 10,000 items, in every shape. Bars: 50 ms, 50 MB, one core.

Counted: from the members' group sets to one bool an item, nothing cached; time on the core, the best of five runs. The
minimal signatures and the audience's name (made once per audience, for cache keys) are measured beside it.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.trust.audience import Audience, readable
from bot.trust.principals import Answer, Limits, Principals, Snapshot
from integrations.records import Person, Readers
from tests.bench.run import HERE, ROOT, Measured, Skipped, watch

MEMBERS = ITEMS = 10_000
NOW = datetime(2026, 11, 24, tzinfo=UTC)
BAR_MS, BAR_MB = 50.0, 50.0


@dataclass(frozen=True)
class Shape:
    """One way a workspace can look. Members' group sets and items' readers."""

    name: str
    members: list[frozenset[str]]
    items: list[Readers]


def _groups(count: int) -> list[str]:
    return [f"group-{number:04d}" for number in range(count)]


def members(rng: random.Random, distinct: int, common: bool, pool: list[str]) -> list[frozenset[str]]:
    """10,000 group sets of 3 to 8 groups, so many of them distinct, each also on one of two sides (a partition)."""
    base = ["everyone", "world"] if common else []
    seen: dict[frozenset[str], None] = {}
    while len(seen) < distinct:
        side = "side-a" if rng.random() < 0.5 else "side-b"
        seen.setdefault(frozenset([*base, side, *rng.sample(pool, rng.randint(3, 8))]))
    kinds = list(seen)
    found = kinds + [rng.choice(kinds) for _ in range(MEMBERS - len(kinds))]
    rng.shuffle(found)
    return found


def items(
    rng: random.Random, distinct: int, pool: list[str], readable_by_all: Callable[[], list[str]] | None
) -> list[Readers]:
    """10,000 readers of one to three any-of sets; with `readable_by_all` each any-of set reaches everybody."""
    kinds: dict[Readers, None] = {}
    while len(kinds) < distinct:
        sets = []
        for _ in range(rng.randint(1, 3)):
            sets.append(rng.sample(pool, rng.randint(1, 6)) + (readable_by_all() if readable_by_all else []))
        kinds.setdefault(Readers.of(*sets))
    known = list(kinds)
    return [Readers(sets=rng.choice(known).sets) for _ in range(ITEMS)] if distinct < ITEMS else known


def shapes() -> Iterator[Shape]:
    rng = random.Random(20261124)
    pool = _groups(400)
    for signatures in (20, 2_000, MEMBERS):
        for common in (True, False):
            people = members(rng, signatures, common, pool)
            everybody = "a common group" if common else "no common group"
            reach = (lambda: [rng.choice(["everyone", "world"])]) if common else (lambda: ["side-a", "side-b"])
            for distinct in (50, ITEMS):
                for may, how in ((None, "few readable"), (reach, "all readable")):
                    name = f"{signatures} signatures, {everybody}, {distinct} reader sets, {how}"
                    yield Shape(name, people, items(rng, distinct, pool, may))


def odd_shapes() -> Iterator[Shape]:
    """Many tiny groups, and readers whose group sets contain one another."""
    own = [frozenset([f"person-{number}", f"desk-{number // 2}"]) for number in range(MEMBERS)]
    desks = [Readers.of([f"desk-{(number + step) % 5000}" for step in range(40)]) for number in range(ITEMS)]
    yield Shape("10,000 groups of one or two people", own, desks)
    pool = _groups(100)
    chain = [frozenset(pool[: 1 + number % 100]) for number in range(MEMBERS)]
    yield Shape("nested group sets", chain, [Readers.of([pool[number % 3]]) for number in range(ITEMS)])


def rows() -> Iterator[Measured | Skipped]:
    worst_ms = worst_mb = worst_name = 0.0
    every = [*shapes(), *odd_shapes()]
    for shape in every:
        seen = watch(lambda s=shape: readable(Audience.of(s.members, NOW), s.items), runs=5, cpu=True)
        yield Measured(f"permission: {shape.name}", seen.best, "ms CPU", 5, BAR_MS)
        worst_ms, worst_mb = max(worst_ms, seen.best), max(worst_mb, seen.peak_mb)
        naming = watch(lambda s=shape: Audience.of(s.members, NOW).signature, runs=1, cpu=True)
        worst_name = max(worst_name, naming.best)
    yield Measured("permission: 10,000 members × 10,000 items, slowest shape", worst_ms, "ms CPU", len(every), BAR_MS)
    yield Measured("permission: 10,000 members × 10,000 items, most memory", worst_mb, "MB", len(every), BAR_MB)
    yield Measured("permission: naming an audience of 10,000, slowest shape", worst_name, "ms CPU", len(every))
    yield _very_wide()
    yield from _resolving()
    yield from _cedar()


def _very_wide() -> Measured:
    """Beyond what anybody writes, for the record: each of 10,000 any-of sets names about 90 groups, none alike."""
    rng = random.Random(3)
    pool = _groups(100)
    people = [frozenset(rng.sample(pool, 4)) for _ in range(MEMBERS)]
    wide = [Readers.of([one for one in pool if rng.random() < 0.9]) for _ in range(ITEMS)]
    seen = watch(lambda: readable(Audience.of(people, NOW), wide), runs=3, cpu=True)
    return Measured("permission: 10,000 different any-of sets of 90 groups (no bar)", seen.best, "ms CPU", 3)


def _resolving() -> Iterator[Measured]:
    """From the directory's answers to group sets: once per changed answer, in a thread."""
    rng = random.Random(1)
    people = {
        f"U{n}": Person(id=f"U{n}", email=f"u{n}@example.com", kind="full", team_id="T1", seen_at=NOW)
        for n in range(MEMBERS)
    }
    groups = {name: frozenset(rng.sample(list(people), 200)) for name in _groups(400)}
    snapshot = Snapshot("T1", Answer(people, NOW), Answer(groups, NOW))
    seen = watch(lambda: Principals(snapshot, Limits(), NOW), runs=5, cpu=True)
    yield Measured("permission: groups of 10,000 people from 400 user groups of 200", seen.best, "ms CPU", 5)


def _cedar() -> Iterator[Measured | Skipped]:
    """Cedar beside ours, for the record: one item against 1,000 members. It lives in the check environment."""
    name = "permission: Cedar, one item against 1,000 members"
    world = {"people": [[f"group-{number % 7}", "everyone"] for number in range(1000)], "items": [[["everyone"]]]}
    command = [ROOT / ".venv-check" / "bin" / "python", HERE / "cedar.py"]
    try:
        ended = subprocess.run(command, input=json.dumps(world), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        yield Skipped(name, "`make check` installs cedarpy into .venv-check")
        return
    yield Measured(name, json.loads(ended.stdout)["seconds"] * 1000, "ms", 1)
