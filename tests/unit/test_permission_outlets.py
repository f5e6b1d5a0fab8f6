"""Each outlet asks the decision: with the decision "nobody" nothing is found at any, and in worlds at random no reader
of any outlet finds anything that they may not read."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.trust.audience import Audience
from integrations.records import Readers
from tests.support.permission_world import Stage, Thing, World

KINDS = ("alert", "runbook", "change", "span", "log", "edge")
OPEN = Readers.of(["everyone"])
WORDS = [f"canary{letter}{letter}{letter}" for letter in "abcdefghij"]


def open_world() -> World:
    """Three people who may read everything, and one of everything."""
    return World(
        people={one: ("full", frozenset({"g0"})) for one in ("U1", "U2", "U3")},
        inside=frozenset({"U1", "U2"}),
        things=[Thing(kind, OPEN, word) for kind, word in zip(KINDS, WORDS, strict=False)],
        alert_readers=OPEN,
        tokens={"page": frozenset({"everyone", "g0"})},
    )


async def outlets(stage: Stage) -> dict[str, str]:
    """What stands at each outlet."""
    return {
        "post": stage.in_slack(),
        "prompt": stage.in_prompts(),
        "own view": await stage.own_view("U1"),
        "stored view": await stage.stored_view("U1"),
        "web page": await stage.web_page("page"),
        "note": await stage.note(),
        "store": str(await stage.stored_items()),
    }


async def test_what_all_may_read_is_at_every_outlet() -> None:
    """Else the tests below would find nothing because there is nothing."""
    stage = Stage(open_world())
    await stage.triage()
    found = await outlets(stage)
    assert stage.model.requests
    assert "Requests fail at canary" in found["post"], "the summary is shown"
    for outlet in ("post", "prompt", "own view", "stored view", "web page", "store"):
        assert "canary" in found[outlet], outlet
    for word in ("canarybbb", "canaryccc", "canaryddd", "canaryeee"):
        assert word in found["store"], word
    pagerduty = dataclasses.replace(open_world(), alert_readers=Readers.of(["world"]))
    pagerduty.things = [Thing("runbook", Readers.of(["world"]), "canaryaaa")]
    noted = Stage(pagerduty)
    await noted.triage()
    assert "canary" in await noted.note()
    await noted.close()
    await stage.close()


async def test_when_nobody_may_read_there_is_nothing_at_any_outlet(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(self: Audience, readers: object) -> None:
        for sets in readers:  # type: ignore[attr-defined]
            self._decided[sets] = False

    monkeypatch.setattr(Audience, "decide", nobody)
    stage = Stage(open_world())
    await stage.triage()
    await stage.join("U3")
    found = await outlets(stage)
    assert stage.poster.messages, "the fallback card is posted"
    for outlet, text in found.items():
        assert "canary" not in text, outlet
    await stage.close()


async def test_an_edit_asks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is out; from then on nobody may read: the edit leaves the fallback."""
    stage = Stage(open_world())
    await stage.triage()
    assert "canary" in stage.in_slack()
    decide = Audience.decide

    def nobody(self: Audience, readers: object) -> None:
        for sets in readers:  # type: ignore[attr-defined]
            self._decided[sets] = False

    monkeypatch.setattr(Audience, "decide", nobody)
    await stage.join("U3")
    assert "canary" not in stage.in_slack()
    monkeypatch.setattr(Audience, "decide", decide)
    await stage.close()


GROUP = st.sampled_from(["g0", "g1", "everyone", "world"])
READERS = st.lists(st.lists(GROUP, max_size=3), min_size=1, max_size=2).map(lambda sets: Readers.of(*sets))
GENEROUS = READERS | st.just(OPEN) | st.just(Readers.of(["world"]))
PERSON = st.tuples(st.sampled_from(["full", "full", "guest"]), st.frozensets(st.sampled_from(["g0", "g1"])))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, str]:
    """A world, and who joins later."""
    people = {f"U{number}": draw(PERSON) for number in range(1, 5)}
    everyone = sorted(people)
    inside = draw(st.frozensets(st.sampled_from(everyone[:3]), min_size=1))
    things = [
        Thing(
            draw(st.sampled_from(KINDS)), draw(GENEROUS), word, draw(st.sampled_from(["allowed", "allowed", "never"]))
        )
        for word in draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6, unique=True))
    ]
    world = World(
        people=people,
        inside=inside,
        things=things,
        alert_readers=draw(GENEROUS),
        private=draw(st.booleans()),
        shared=draw(st.sampled_from([False, False, True])),
        tokens={"page": draw(st.frozensets(st.sampled_from(["g0", "everyone", "pagerduty"])))},
    )
    return world, draw(st.sampled_from(everyone))


def groups_of(world: World, person_id: str) -> set[str]:
    kind, groups = world.people[person_id]
    return {"world", *groups} | ({"everyone"} if kind == "full" else set())


def readers_of_channel(world: World, inside: frozenset[str]) -> list[set[str]]:
    """The group sets of everybody who can open the channel, in plain words."""
    found = [groups_of(world, one) for one in inside]
    if not world.private:
        found += [groups_of(world, one) for one, (kind, _) in world.people.items() if kind == "full"]
    return found + ([{"world"}] if world.shared else [])


def forbidden(world: World, readers: list[set[str]]) -> set[str]:
    """Words that must not be where these people look."""

    def may(item: Readers) -> bool:
        return all(any(group in one for group in any_of) for one in readers for any_of in item.sets)

    if not may(world.alert_readers):
        return {"canary"}
    edges = [thing for thing in world.things if thing.kind == "edge"]
    hidden = {thing.word for thing in world.things if thing.kind != "edge" and not may(thing.readers)}
    return hidden | ({thing.word for thing in edges} if edges and not may(edges[0].readers) else set())


def nothing_of(words: set[str], where: str, outlet: str) -> None:
    found = [word for word in sorted(words) if word in where]
    assert not found, (outlet, found)


async def look(world: World, newcomer: str) -> None:
    stage = Stage(world)
    await stage.triage()
    at_first = forbidden(world, readers_of_channel(world, world.inside))
    nothing_of(at_first, stage.in_slack(), "post")
    kept_back = {thing.word for thing in world.things if thing.model == "never" and thing.kind != "edge"}
    nothing_of(at_first | kept_back, stage.in_prompts(), "prompt")
    nothing_of(at_first, str(await stage.stored_items()), "store")
    for person_id in world.people:
        words = forbidden(world, [groups_of(world, person_id)])
        nothing_of(words, await stage.own_view(person_id), f"own view of {person_id}")
        nothing_of(words | at_first, await stage.stored_view(person_id), f"stored view of {person_id}")
    words = forbidden(world, [{"world", *world.tokens["page"]}])
    nothing_of(words | at_first, await stage.web_page("page"), "web page")
    nothing_of(forbidden(world, [{"world", "pagerduty"}]) | at_first, await stage.note(), "note")
    await stage.join(newcomer)
    later = forbidden(world, readers_of_channel(world, world.inside | {newcomer}))
    nothing_of(at_first | later, stage.in_slack(), "edit")
    await stage.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds())
def test_no_reader_of_any_outlet_finds_what_they_may_not_read(drawn: tuple[World, str]) -> None:
    asyncio.run(look(*drawn))


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds())
def test_five_hundred_worlds(drawn: tuple[World, str]) -> None:
    asyncio.run(look(*drawn))


async def test_a_note_is_for_the_readers_of_all_that_was_looked_at() -> None:
    """Everybody in PagerDuty may read the alert and the item, and not the calls that were looked at beside."""
    world = open_world()
    world.alert_readers = Readers.of(["world"])
    world.things = [Thing("runbook", Readers.of(["world"]), "canaryaaa")]
    told = Stage(world)
    await told.triage()
    assert "Sitrep cannot reach Slack. SEV2 checkout" in await told.note()
    world.things.append(Thing("edge", OPEN, "canarybbb"))
    untold = Stage(world)
    await untold.triage()
    assert "Sitrep cannot reach Slack. SEV2 P1 since" in await untold.note()
    for stage in (told, untold):
        await stage.close()
