"""Everything behind the doors, over one stage of `permission_world`: what a person can ask for in private."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import prompts
from bot.experiment.live import LiveExperiments
from bot.flows.ask import Asking
from bot.flows.channels import ChannelFlow, ChannelRules, IncidentChannels
from bot.flows.desk import IncidentDesk
from bot.flows.drafts import Drafts
from bot.flows.entitled import Entitled
from bot.flows.grouping import Grouping
from bot.flows.home import Home
from bot.flows.labels import Label, Labels
from bot.flows.pages import Pages
from bot.flows.reading import Reading
from bot.flows.requests import Request
from bot.incidents.own_channel import Joined
from bot.model.spend import Ceilings
from bot.report.personal import PersonalReports
from bot.report.weekly import WeeklyReports
from bot.triage.check import Guards
from bot.trust.admins import Admins
from integrations.fixtures import FakeChannelMaker, ScriptedModel
from tests.support.calls import gateway
from tests.support.permission_world import Stage, Steps

WHO = "U1"
INCIDENT = "P1"


class Source:
    """An incident source that takes what people say; remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def acknowledge(self, incident_id: str, email: str) -> None:
        self.told.append(f"ack {incident_id}")

    async def find_note(self, incident_id: str, mark: str) -> str | None:
        return None

    async def add_note(self, incident_id: str, text: str, email: str) -> str:
        self.told.append(f"note {incident_id} {text}")
        return "N1"


class Files:
    """Takes files for one person."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send_privately(
        self, user_id: str, name: str, title: str, said: str, content: bytes, *, since: datetime | None = None
    ) -> None:
        self.sent.append(f"{user_id} {name} {title} {said} {content.decode()}")


@dataclass
class Doors:
    """One role each, as `bot.listeners.desk.Desks` has them; `marks`: of the change, and of any item."""

    stage: Stage
    desk: IncidentDesk
    labels: Labels
    reading: Reading
    grouping: Grouping
    asking: Asking
    drafts: Drafts
    home: Home
    reports: PersonalReports
    pages: Pages
    files: Files
    source: Source
    channels: IncidentChannels
    maker: FakeChannelMaker
    asked: ScriptedModel
    change: str = ""
    item: str = ""


async def doors_of(stage: Stage) -> Doors:
    """Over a stage that has triaged; a person may change what is shared if they are in g0."""

    async def never_paused(triage_id: str) -> str:
        return ""

    async def channel() -> str:
        return "C1"

    async def channels() -> list[str]:
        return ["C1"]

    store, clock, source, asked = stage.store, stage.clock, Source(), ScriptedModel([])
    asked.script = ['{"answer": []}'] * 50
    entitled = Entitled(stage.parts, stage.views, stage.directory)
    admins = Admins(frozenset({"g0"}))
    desk = IncidentDesk(
        entitled, wake=lambda: None, acknowledger=source, model=lambda: "", waiting=stage.outbox.waiting, admins=admins
    )
    reading = Reading(entitled, stage.directory, {})
    asking = Asking(
        entitled=entitled, reading=reading, gateway=gateway(store, asked, clock=clock), prompt=prompts.load("ask", 1),
        fence_key=b"k", guards=Guards(redact=lambda text: text), token_budget=6000, deadline_seconds=5.0,
        paused=never_paused,
    )  # fmt: skip
    weekly = WeeklyReports(
        store, "w", clock, ZoneInfo("UTC"), outbox=stage.outbox, directory=stage.directory, channels=channels,
        incident_readers=lambda source, service: stage.world.alert_readers,
        change_readers=lambda service: stage.world.alert_readers,
        experiments=LiveExperiments(store, "w", clock, (), {}),
    )  # fmt: skip
    files = Files()
    maker, rules = FakeChannelMaker(), ChannelRules()
    making = ChannelFlow(entitled, maker, rules, None, stage.refresher.write, stage.outbox.wake)

    async def run(incident_id: str, by: str, request_id: str) -> dict[str, Any]:
        return await making.run(Steps(), incident_id, by)  # type: ignore[arg-type]

    async def described(channel_id: str) -> Joined:
        return Joined(channel_id, "")

    own_channels = IncidentChannels(entitled, making, rules, run, described, channel)
    rows = await store.query("SELECT mark, kind FROM evidence ORDER BY mark")
    change = next((str(row["mark"]) for row in rows if row["kind"] == "change"), "")
    return Doors(
        stage, desk, Labels(entitled), reading, Grouping(entitled, admins, lambda: None), asking,
        Drafts(entitled, stage.directory, stage.outbox.say, stage._channel_id),
        Home(entitled, desk, Ceilings(), lambda at: False),
        PersonalReports(weekly, stage.directory, channel, clock, ZoneInfo("UTC")),
        Pages(entitled, files), files, source, own_channels, maker, asked, change,
        str(rows[0]["mark"]) if rows else "",
    )  # fmt: skip


async def _asked(doors: Doors) -> Any:
    """The answer, and what the model was shown for it."""
    answer = await doors.asking.ask(WHO, INCIDENT, "what changed at checkout?", "r-ask")
    return answer, [request.system + request.user for request in doors.asked.requests]


async def _paged(doors: Doors) -> Any:
    request = Request("r1", "command", WHO, "C1", doors.stage.clock.now())
    await doors.pages.send_page(WHO, INCIDENT, request)
    return doors.files.sent


async def _published(doors: Doors) -> Any:
    draft = await doors.drafts.draft(WHO, INCIDENT)
    done = await doors.drafts.publish(WHO, INCIDENT, draft.text, draft.made_of)
    await doors.stage.send()
    return done, draft.text


Call = Callable[[Doors], Awaitable[Any]]

SHOWN: dict[tuple[str, str], Call] = {
    ("desk", "find_incidents"): lambda d: d.desk.find_incidents(WHO, "", "C1"),
    ("desk", "status_for"): lambda d: d.desk.status_for(WHO),
    ("desk", "own_view"): lambda d: d.desk.own_view(WHO, INCIDENT),
    ("reading", "card"): lambda d: d.reading.card(WHO, INCIDENT),
    ("reading", "catch_up"): lambda d: d.reading.catch_up(WHO, INCIDENT),
    ("reading", "why"): lambda d: d.reading.why(WHO, INCIDENT, d.item),
    ("reading", "similar"): lambda d: d.reading.similar(WHO, INCIDENT),
    ("labels", "choices"): lambda d: d.labels.choices(INCIDENT, WHO),
    ("grouping", "merged"): lambda d: d.grouping.merged(WHO, INCIDENT),
    ("asking", "ask"): _asked,
    ("drafts", "draft"): lambda d: d.drafts.draft(WHO, INCIDENT),
    ("pages", "send_page"): _paged,
    ("home", "home"): lambda d: d.home.home(WHO),
}
"""Outlets that show what an incident holds: a word of it to who may read it, none to nobody."""

ENTITLED: dict[tuple[str, str], Call] = {
    ("desk", "start_triage"): lambda d: d.desk.start_triage(INCIDENT, WHO, "r1"),
    ("desk", "acknowledge"): lambda d: d.desk.acknowledge(INCIDENT, WHO),
    ("desk", "add_note"): lambda d: d.desk.add_note(INCIDENT, WHO, "seen", "r2"),
    ("labels", "vote"): lambda d: d.labels.vote(INCIDENT, WHO, 1, "helpful"),
    ("labels", "was_change"): lambda d: d.labels.was_change(INCIDENT, WHO, 1, d.change),
    ("labels", "was_not"): lambda d: d.labels.was_not(INCIDENT, WHO, 1, d.change),
    ("labels", "undo_was_not"): lambda d: d.labels.undo_was_not(INCIDENT, WHO, d.change),
    ("labels", "label"): lambda d: d.labels.label(INCIDENT, WHO, 1, Label(cause="external")),
    ("channels", "open"): lambda d: d.channels.open(WHO, INCIDENT, "r3"),
    ("grouping", "merge"): lambda d: d.grouping.merge(WHO, INCIDENT, "P2", "same"),
    ("grouping", "split"): lambda d: d.grouping.split(WHO, INCIDENT, "other"),
    ("grouping", "split_services"): lambda d: d.grouping.split_services(WHO, INCIDENT, ["checkout"], "other"),
    ("grouping", "services"): lambda d: d.grouping.services(WHO, INCIDENT),
    ("drafts", "publish"): _published,
}
"""What changes something, or names a service: refused (NotPermitted) to who may not see the incident."""

ELSEWHERE: dict[tuple[str, str], str] = {
    ("desk", "pause"): "the model of all; for [admins], tests/unit/test_desk.py",
    ("desk", "resume"): "the same",
    ("desk", "incident_of_thread"): "an id that one already holds; None for who may not see it, below",
    ("pages", "send_file"): "what one of the others made for this person",
    ("reports", "whole"): "the same figures as weekly, below",
    ("reports", "weekly"): "figures; services are veiled, below",
    ("channels", "arrived"): "no person asks: the app was invited; what goes out is permitted, test_channels.py",
    ("life", "declare"): "says, and shows nothing",
    ("life", "say"): "says; tests/unit of the life asks may_see",
}
OWN: frozenset[str] = frozenset({"requests", "screens"})
"""Roles that hold nothing but a person's own words, or forms that the others fill."""
