"""The private doors ask the decision: in worlds at random nobody is shown in private what they may not read, and a
draft holds nothing that anybody in the channel may not read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

from hypothesis import HealthCheck, given, settings

import prompts
from bot.cards import private
from bot.errors import NotPermitted
from bot.flows.ask import Asking
from bot.flows.desk import IncidentDesk
from bot.flows.drafts import Drafts
from bot.flows.entitled import Entitled
from bot.flows.home import Home
from bot.flows.labels import Labels
from bot.flows.reading import Reading
from bot.listeners import home, modals
from bot.listeners.modals import ActionValue
from bot.model.gateway import Gateway
from bot.model.spend import Ceilings
from bot.triage.check import Guards
from integrations.records import Readers
from tests.support.permission_world import Stage, Thing, World
from tests.unit.test_permission_outlets import KINDS, WORDS, forbidden, groups_of, nothing_of, open_world
from tests.unit.test_permission_outlets import readers_of_channel as readers_of
from tests.unit.test_permission_outlets import worlds as every_world

ABOUT = ActionValue("P1", 1)


class Doors:
    """What stands behind the private doors, over one stage."""

    def __init__(self, stage: Stage) -> None:
        entitled = Entitled(stage.parts, stage.views, stage.directory)
        model = Gateway(stage.store, stage.clock, {}, {}, redact=lambda text: text)
        self.reading = Reading(entitled, stage.directory, {})
        self.labels = Labels(entitled)
        self.desk = IncidentDesk(
            entitled, wake=lambda: None, acknowledger=None, model=lambda: "none", waiting=stage.outbox.waiting
        )  # fmt: skip
        self.home = Home(entitled, self.desk, Ceilings(), lambda at: False)
        self.drafts = Drafts(entitled, stage.directory, stage.outbox.say, self._channel)
        self.asking = Asking(
            entitled=entitled, reading=self.reading, gateway=model, prompt=prompts.load("ask", 1), fence_key=b"k",
            guards=Guards(redact=lambda text: text), token_budget=6000, deadline_seconds=5, paused=self._never,
        )  # fmt: skip

    async def _channel(self, name: str) -> str:
        return name

    async def _never(self, triage_id: str) -> str:
        return ""

    async def shown(self, person_id: str) -> dict[str, str]:
        """What each door shows this person."""
        question = f"canarytitle {' '.join(WORDS)}"
        made = {
            "catchup": await _or_nothing(self._drawn(private.catch_up, self.reading.catch_up(person_id, "P1"))),
            "timeline": await _or_nothing(self._drawn(private.timeline, self.reading.card(person_id, "P1"))),
            "suspects": await _or_nothing(self._drawn(private.suspects, self.reading.card(person_id, "P1"))),
            "ask": await _or_nothing(self._drawn(_without_question, self.asking.ask(person_id, "P1", question, "r1"))),
            "label": await _or_nothing(self._form(person_id)),
            "home": json.dumps(home.view(await self.home.home(person_id)), ensure_ascii=False),
            "status": str((await self.desk.status_for(person_id)).incidents),
            "find": str(await self.desk.find_incidents(person_id, "", "C1")),
        }
        for number in range(1, 12):
            made[f"why e{number}"] = await _or_nothing(self.reading.why(person_id, "P1", f"e{number}"))
        return made

    async def draft(self, person_id: str) -> str:
        return await _or_nothing(self.drafts.draft(person_id, "P1"))

    async def _drawn(self, draw: Any, reading: Awaitable[Any]) -> str:
        drawn = draw(await reading, "classic")
        return f"{drawn.text} {json.dumps(drawn.blocks, ensure_ascii=False)}"

    async def _form(self, person_id: str) -> str:
        return json.dumps(modals.label_form(await self.labels.choices("P1", person_id), ABOUT, "C1"))


def _without_question(told: private.Answered, form: Any) -> Any:
    """The asker's own words come back to the asker; they are no outlet."""
    return private.answer(private.Answered(told.state, "?", told.claims, told.found, told.searched, told.why), form)


async def _or_nothing(shown: Awaitable[Any]) -> str:
    try:
        return str(await shown)
    except NotPermitted:
        return ""


async def test_what_all_may_read_is_shown_at_every_private_door() -> None:
    """Else the test below would find nothing because there is nothing."""
    stage = Stage(open_world())
    await stage.triage()
    doors = Doors(stage)
    for door, text in (await doors.shown("U1")).items():
        if door in ("catchup", "ask", "home", "status", "find"):
            assert "canary" in text, door
    assert "canary" in await doors.draft("U1")
    await stage.close()


async def look(world: World, newcomer: str) -> None:
    stage = Stage(world)
    await stage.triage()
    doors = Doors(stage)
    at_first = forbidden(world, readers_of(world, world.inside))
    for person_id in world.people:
        theirs = forbidden(world, [groups_of(world, person_id)])
        for door, text in (await doors.shown(person_id)).items():
            nothing_of(theirs, text, f"{door} of {person_id}")
        nothing_of(theirs | at_first, await doors.draft(person_id), f"draft of {person_id}")
    await stage.join(newcomer)
    later = forbidden(world, readers_of(world, world.inside | {newcomer}))
    for person_id in world.people:
        theirs = forbidden(world, [groups_of(world, person_id)])
        nothing_of(theirs | at_first | later, await doors.draft(person_id), f"later draft of {person_id}")
    await stage.close()


async def test_somebody_outside_the_channel_is_shown_less_than_it_and_narrows_the_draft_when_they_join() -> None:
    """Two in a private channel may read the changes; a third may read the alert alone."""
    team, world = Readers.of(["g0"]), open_world()
    world.people["U3"] = ("full", frozenset())
    world.private, world.inside = True, frozenset({"U1", "U2"})
    world.things = [Thing(kind, team, word) for kind, word in zip(KINDS, WORDS, strict=False)]
    stage = Stage(world)
    await stage.triage()
    mine = " ".join((await Doors(stage).shown("U1")).values())
    assert [word for word in WORDS if word in mine], "there is something to hide"
    await stage.close()
    await look(world, "U3")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(every_world())
def test_nobody_is_shown_in_private_what_they_may_not_read(drawn: tuple[World, str]) -> None:
    asyncio.run(look(*drawn))
