"""An incident's own channel: made once whatever dies, the right people in it, and the card moves there once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from bot.cards import words
from bot.cards.state import CardState
from bot.errors import NotPermitted
from bot.flows.channels import ChannelFlow, ChannelRules, IncidentChannels, name_for, topic_of
from bot.flows.entitled import Entitled
from bot.incidents.own_channel import Joined
from integrations.errors import Denied, Refused, Unavailable
from integrations.fixtures import FakeChannelMaker
from integrations.records import Channel, Incident, Readers
from tests.support.permission_world import T0, Stage, Steps, Thing, World

OPEN = Readers.of(["everyone"])
MEMBERS = Readers.of(["g0"])
PEOPLE = {
    "U1": ("full", frozenset({"g0"})), "U2": ("full", frozenset({"g0"})), "U3": ("full", frozenset()),
    "U4": ("guest", frozenset()),
}  # fmt: skip
BOT = "UBOT"


@dataclass
class Place:
    """A stage whose card stands in C1, and what makes channels there."""

    stage: Stage
    maker: FakeChannelMaker = field(default_factory=FakeChannelMaker)
    logins: tuple[str, ...] = ("u2@x.example", "gone@x.example", "u3@x.example")
    waits: list[float] = field(default_factory=list)
    joined: Joined = field(default_factory=lambda: Joined("C9", "inc-7"))

    def made(self, **rules: Any) -> tuple[ChannelFlow, IncidentChannels]:
        entitled = Entitled(self.stage.parts, self.stage.views, self.stage.directory)
        known = ChannelRules(**rules)
        flow = ChannelFlow(
            entitled, self.maker, known, self, self.stage.refresher.write, self.stage.outbox.wake, self.sleep
        )  # fmt: skip

        async def run(incident_id: str, by: str, request_id: str) -> dict[str, Any]:
            return await flow.run(Steps(), incident_id, by)  # type: ignore[arg-type]

        return flow, IncidentChannels(entitled, flow, known, run, self.described, self.own_id)

    async def open(self, by: str = "U1", **rules: Any) -> Any:
        opened = await self.made(**rules)[1].open(by, "P1", "r1")
        await self.settle()
        return opened

    async def settle(self) -> None:
        """The posts that wait."""
        await self.stage.send()

    async def responders(self, incident_id: str) -> tuple[str, ...]:
        return self.logins

    async def described(self, channel_id: str) -> Joined:
        return self.joined

    async def own_id(self) -> str:
        return BOT

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def standing(self, channel: str) -> list[str]:
        """What stands in a channel, as one text a message."""
        return [
            f"{one.message.text} {json.dumps(one.message.blocks)}"
            for one in self.stage.poster.messages
            if one.posted.channel == channel
        ]

    async def row(self) -> Any:
        return (await self.stage.store.query("SELECT * FROM incidents WHERE id = 'P1'"))[0]


async def staged(alert: Readers = OPEN, change: Readers = OPEN, *, triaged: bool = True) -> Place:
    world = World(
        people=PEOPLE, inside=frozenset({"U1", "U2"}), alert_readers=alert,
        things=[Thing("change", change, "canaryabc"), Thing("runbook", OPEN, "canarydef")],
    )  # fmt: skip
    stage = Stage(world)
    for number in range(1, 6):
        made = f"C0MADE{number}"
        stage.slack.channels[made] = Channel(id=made, name="inc-7", private=True, shared=False)
    stage.slack.channels["C9"] = Channel(id="C9", name="inc-7", private=True, shared=False)
    stage.slack.inside["C9"] = frozenset({"U1", "U3"})
    if triaged:
        await stage.triage()
    await stage.directory.principal("U1", 5)
    addresses = {f"u{number}@x.example": f"U{number}" for number in range(1, 5)}
    return Place(stage, FakeChannelMaker(addresses=addresses, inside=stage.slack.inside))


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = await staged()
    yield made
    await made.stage.close()


async def test_a_channel_is_made_with_those_at_work_on_it_and_the_card_moves_there(place: Place) -> None:
    (before,) = [one for one in place.standing("C1") if "canarytitle" in one]
    opened = await place.open()
    assert (opened.channel, opened.refused) == ("C0MADE1", None)
    assert place.maker.made == {"inc-7": "C0MADE1"}
    assert place.maker.private == {"C0MADE1": True}
    assert place.maker.inside["C0MADE1"] == {"U1", "U2", "U3"}
    assert (opened.invited, opened.left_out) == (3, 1), "one of PagerDuty's people has no account here"
    topic, _ = place.maker.topics["C0MADE1"]
    assert "P1 (#7)" in topic and "https://x.example/P1" in topic and "canary" not in topic
    there = [one for one in place.standing("C0MADE1") if "canarytitle" in one]
    assert len(there) == 1 and before.split(" {")[0] in there[0]
    assert not [one for one in place.standing("C1") if "canary" in one], "what stood is only a pointer now"
    assert [one for one in place.standing("C1") if "Its card is in <#C0MADE1> now" in one]
    row = await place.row()
    assert (row["channel"], row["own_channel"]) == ("C0MADE1", "C0MADE1")
    (audit,) = await place.stage.store.query("SELECT * FROM audit WHERE action = 'channel'")
    assert audit["by"] == "U1" and json.loads(audit["detail"])["invited"] == 3
    again = await place.open()
    assert again.was_there and again.channel == "C0MADE1"
    assert len(place.maker.made) == 1


async def test_details_in_the_thread_go_with_the_card_and_the_old_ones_are_replaced(place: Place) -> None:
    assert len([one for one in place.standing("C1") if "canary" in one]) >= 2, "a card and its details"
    await place.open()
    replaced = [one for one in place.standing("C1") if words.MOVED_AWAY in one]
    assert len(replaced) == len(place.standing("C1")) - 1
    threads = {one.message.thread_ts for one in place.stage.poster.messages if one.posted.channel == "C0MADE1"}
    assert len(threads) == 2, "the card, and a thread under it"


async def test_the_card_is_permitted_for_the_readers_of_the_new_channel_before_it_is_sent() -> None:
    place = await staged(change=MEMBERS)
    assert [one for one in place.standing("C1") if "canaryabc" in one]
    await place.open()
    assert "U3" in place.maker.inside["C0MADE1"]
    assert not [one for one in place.standing("C0MADE1") if "canaryabc" in one], "U3 may not read the change"
    assert [one for one in place.standing("C0MADE1") if "canarytitle" in one]
    await place.stage.close()


async def test_who_may_not_see_the_incident_is_not_invited() -> None:
    place = await staged(alert=MEMBERS)
    opened = await place.open()
    assert place.maker.inside["C0MADE1"] == {"U1", "U2"}
    assert opened.left_out == 2
    with pytest.raises(NotPermitted):
        await place.open("U3")
    await place.stage.close()


@pytest.mark.parametrize("dies_after", range(1, 9))
async def test_a_death_between_any_two_effects_makes_nothing_twice_and_loses_nothing(dies_after: int) -> None:
    """The step that was in flight runs again, as the engine does it; what it did before may have happened."""
    place = await staged()
    flow, _ = place.made()
    count = 0

    class Dies(Exception):
        pass

    async def counted(work: Callable[[], Awaitable[Any]]) -> Any:
        nonlocal count
        count += 1
        if count == dies_after:
            raise Dies
        done = await work()
        count += 1
        if count == dies_after:
            raise Dies
        return done

    class Mortal(Steps):
        def __init__(self) -> None:
            self.done: dict[str, Any] = {}

        async def run(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
            if name not in self.done:
                self.done[name] = json.loads(json.dumps(await counted(work)))
            return self.done[name]

    steps = Mortal()
    for _ in range(3):
        try:
            opened = await flow.run(steps, "P1", "U1")  # type: ignore[arg-type]
        except Dies:
            continue
    await place.settle()
    assert opened["channel"] == "C0MADE1"
    assert place.maker.made == {"inc-7": "C0MADE1"}
    assert len(place.maker.invitations) == 1
    assert len([one for one in place.standing("C0MADE1") if "canarytitle" in one and "thread" not in one]) >= 1
    cards = [one for one in place.stage.poster.messages if one.message.mark.endswith(":card:2")]
    assert len(cards) == 1
    audits = await place.stage.store.query("SELECT * FROM audit WHERE action = 'channel'")
    assert len(audits) == 1
    await place.stage.close()


async def test_a_channel_whose_answer_was_lost_is_the_one_that_is_used(place: Place) -> None:
    place.maker.lost_answers = 1
    opened = await place.open()
    assert opened.channel == "C0MADE1" and place.maker.made == {"inc-7": "C0MADE1"}
    assert place.waits == [1.0]


async def test_a_message_that_was_on_its_way_when_the_card_moved_becomes_the_pointer(place: Place) -> None:
    """Sent in the old channel after the move was recorded: found by its mark, edited, and the card stands once."""
    flow, _ = place.made()
    stage = place.stage
    await stage.store.upsert(
        "posts", [{"workspace_id": "w", "target": "incident:P1", "part": "card", "version": 9, "sent_version": 1}]
    )
    post_update = stage.poster.update

    async def meanwhile(posted: Any, message: Any) -> None:
        stage.poster.update = post_update  # type: ignore[method-assign]
        place.maker.inside["C0MADE1"] = frozenset({"U1"})
        await flow.moved("P1", "C0MADE1", "U1", {})
        await post_update(posted, message)

    stage.poster.update = meanwhile  # type: ignore[method-assign]
    await place.settle()
    await place.settle()
    assert not [one for one in place.standing("C1") if "canary" in one]
    assert [one for one in place.standing("C1") if "Its card is in <#C0MADE1> now" in one]
    assert len([m for m in stage.poster.messages if m.message.mark.endswith(":card:2")]) == 1
    assert await stage.outbox.waiting() == 0


async def test_what_a_running_triage_writes_for_the_old_channel_is_permitted_again_and_goes_to_the_new(
    place: Place,
) -> None:
    await place.open()
    stage = place.stage
    before = len(place.standing("C1"))
    state = (await stage.store.query("SELECT state FROM posts WHERE target = 'incident:P1' AND part = 'card'"))[0]
    old = json.loads(state["state"]) | {"headline": "said for the readers of C1"}
    await stage.outbox.change("incident:P1", "C1", lambda _: CardState.model_validate(old), permitted_at=T0)
    (row,) = await stage.store.query("SELECT * FROM posts WHERE target = 'incident:P1' AND part = 'card'")
    assert (row["channel"], row["permitted_at"][:4]) == ("C0MADE1", "1970")
    await place.settle()
    assert len(place.standing("C1")) == before
    assert not [one for one in place.standing("C0MADE1") if "said for the readers of C1" in one]


async def test_a_later_triage_and_a_refresh_find_the_card_where_it_moved(place: Place) -> None:
    await place.open()
    before = len(place.standing("C1"))
    await place.stage.store.upsert("incidents", [{"workspace_id": "w", "id": "P1", "triages": 2}])
    await place.stage.flow.run(Steps(), "P1", 2)  # type: ignore[arg-type]
    await place.stage.refresher.write("P1")
    await place.settle()
    assert len(place.standing("C1")) == before
    assert len([m for m in place.stage.poster.messages if m.message.mark.endswith(":card:2")]) == 1
    assert (await place.row())["channel"] == "C0MADE1"


async def test_a_card_that_moves_twice_leaves_two_pointers_and_stands_once(place: Place) -> None:
    await place.open()
    flow, _ = place.made()
    await flow.moved("P1", "C9", "sitrep", {})
    await place.settle()
    assert [one for one in place.standing("C0MADE1") if "Its card is in <#C9> now" in one]
    assert [one for one in place.standing("C1") if "Its card is in <#C0MADE1> now" in one]
    assert [one for one in place.standing("C9") if "canarytitle" in one]
    assert not [one for one in [*place.standing("C1"), *place.standing("C0MADE1")] if "canary" in one]
    assert await place.stage.outbox.waiting() == 0


async def test_names_that_are_taken_and_no_name_at_all(place: Place) -> None:
    place.maker.taken = frozenset({"inc-7", "inc-7-2"})
    assert (await place.open()).channel == place.maker.made["inc-7-3"]
    other = await staged()
    other.maker.taken = frozenset({"inc-7", *(f"inc-7-{number}" for number in range(2, 6))})
    opened = await other.open()
    assert (opened.channel, opened.refused) == ("", "name_taken")
    assert [one for one in other.standing("C1") if "canarytitle" in one], "the card stays"
    await other.stage.close()


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (Denied("slack", "conversations.create: missing_scope"), "not_allowed"),
        (Refused("slack", "conversations.create: invalid_name", code="invalid_name"), "not_allowed"),
        (Unavailable("slack", "rate limit", retry_after_seconds=3600.0), "unavailable"),
    ],
)
async def test_what_slack_refuses_is_said_and_the_card_stays(place: Place, failure: Any, said: str) -> None:
    place.maker.failing = [failure]
    opened = await place.open()
    assert (opened.channel, opened.refused) == ("", said)
    assert (await place.row())["own_channel"] is None
    assert [one for one in place.standing("C1") if "canarytitle" in one]


async def test_who_cannot_be_invited_and_a_topic_that_is_refused_leave_the_channel(place: Place) -> None:
    place.maker.refusing_people = frozenset({"U2"})
    flow, _ = place.made()
    made = await flow.make("P1")
    place.maker.failing = [Denied("slack", "conversations.setTopic: missing_scope")]
    told = await flow.furnish("P1", "U1", made["channel"])
    assert told == {"invited": 2, "left_out": 2}


@pytest.mark.parametrize(
    ("rules", "columns", "said"),
    [
        ({"make": "never"}, {}, "off"),
        ({"shadow": True}, {}, "shadow"),
        ({}, {"source": "slack:C5", "channel": "C1"}, "said_there"),
        ({}, {"status": "resolved"}, "over"),
        ({}, {"own_channel": "C0LINKED"}, "linked"),
    ],
)
async def test_what_is_not_done_and_why(place: Place, rules: Any, columns: Any, said: str) -> None:
    await place.stage.store.upsert("incidents", [{"workspace_id": "w", "id": "P1", **columns}])
    assert (await place.open(**rules)).refused == said
    assert place.maker.made == {}


async def test_guests_have_no_channel_made(place: Place) -> None:
    place.stage.world.alert_readers = Readers.of(["world"])
    assert (await place.open("U4")).refused == "members"
    assert place.maker.made == {}


async def test_the_app_invited_to_the_incidents_channel_later_takes_the_card_there(place: Place) -> None:
    _, channels = place.made(name="inc-{number}")
    assert await channels.arrived("C9", "U1") is None, "somebody else joined"
    assert await channels.arrived("C9", BOT) == "P1"
    await place.stage.send()
    assert [one for one in place.standing("C9") if "canarytitle" in one]
    assert not [one for one in place.standing("C1") if "canary" in one]
    assert await channels.arrived("C9", BOT) is None, "it is there already"


async def test_a_channel_that_is_no_incidents_own_moves_nothing(place: Place) -> None:
    place.joined = Joined("C9", "lunch")
    assert await place.made(name="inc-{number}")[1].arrived("C9", BOT) is None
    place.joined = Joined("C9", "inc-7")
    assert await place.made()[1].arrived("C9", BOT) is None, "names count only where a setting says so"
    assert await place.made(name="inc-{number}", shadow=True)[1].arrived("C9", BOT) is None
    await place.stage.store.upsert("incidents", [{"workspace_id": "w", "id": "P1", "own_channel": "C9"}])
    assert await place.made()[1].arrived("C9", BOT) == "P1", "what its source links to is its own"


async def test_a_channel_made_before_the_first_card_gets_it() -> None:
    place = await staged(triaged=False)
    row = {
        "workspace_id": "w", "id": "P1", "number": 7, "title": "the alert canarytitle", "service": "checkout",
        "source": "pagerduty", "severity": 2, "first_severity": 2, "status": "triggered",
        "url": "https://x.example/P1", "triggered_at": T0, "first_signal_at": T0, "received_at": T0, "updated_at": T0,
        "triages": 1,
    }  # fmt: skip
    await place.stage.store.insert("incidents", [row])
    await place.open()
    assert (await place.row())["own_channel"] == "C0MADE1"
    assert place.stage.poster.messages == []
    await place.stage.close()


def test_a_name_and_a_topic_for_every_incident() -> None:
    incident = Incident(
        workspace_id="w", id="Q1TEASHOP7K2MP", number=None, title="x", service=None, severity=2, url="", triggered_at=T0
    )
    assert name_for(incident, None) == "inc-q1teashop7k2mp"
    assert name_for(incident, "war-{number}") == "inc-q1teashop7k2mp"
    assert name_for(incident.model_copy(update={"number": 12}), None) == "inc-12"
    assert topic_of(incident) == "SEV2 Q1TEASHOP7K2MP"
