"""What the listeners ask of the bot behind them. They parse, acknowledge and answer; the desk decides and does.

Every method is about one person (`user_id` or `by`, Slack user ids): it answers with what that person may see and
raises NotPermitted for what they may not, in the same way as for what does not exist. What changes something is
durable before the method returns, and may be called twice with the same arguments without doing it twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from bot.cards.private import Answered, CatchUp
from bot.cards.render import Form
from bot.cards.state import CardState
from bot.flows.channels import Opened
from bot.flows.desk import Acknowledged, DeskStatus, Done, IncidentLine, Noted
from bot.flows.drafts import Draft, Published
from bot.flows.home import HomeTold
from bot.flows.labels import CAUSES, Label, LabelChoices, Vote
from bot.flows.life import Declared, Outcome, Said
from bot.flows.reading import SimilarIncident
from bot.flows.requests import Request
from integrations.ports import Answer, Screens
from integrations.records import Incident, Person

__all__ = [
    "CAUSES",
    "Acknowledged",
    "Asking",
    "Channels",
    "Desk",
    "DeskStatus",
    "Desks",
    "Done",
    "Drafts",
    "Groups",
    "HomeSource",
    "IncidentLine",
    "Label",
    "LabelChoices",
    "Labelling",
    "Noted",
    "Opened",
    "Published",
    "ReaderEvents",
    "Readings",
    "Reports",
    "Requests",
    "Vote",
]  # fmt: skip


class Desk(Protocol):
    """The bot, as one person may use it."""

    async def find_incidents(self, user_id: str, words: str, channel_id: str) -> Sequence[IncidentLine]:
        """What the words may mean: an id, a number, `P8K2Q1/e3`; none given, the incident of this channel, else all
        open ones. Newest first, at most 100, only what the person may see."""
        ...

    async def start_triage(self, incident_id: str, by: str, request_id: str, *, override: bool = False) -> int:
        """Queues one more triage and returns its number; the same `request_id` again is the same triage. `override`
        asks for what is held out for measurement, which only admins may."""
        ...

    async def pause(self, by: str, reason: str) -> bool:
        """Pauses every summary; whether they were running. Only admins may."""
        ...

    async def resume(self, by: str, reason: str) -> int:
        """Ends every pause; how many there were. Only admins may."""
        ...

    async def status_for(self, user_id: str) -> DeskStatus: ...

    async def acknowledge(self, incident_id: str, by: str) -> Acknowledged:
        """Acknowledges at the incident source, as the mapped person."""
        ...

    async def add_note(self, incident_id: str, by: str, text: str, request_id: str) -> Noted:
        """A note at the incident source, as the mapped person; the same request again is the same note."""
        ...

    async def incident_of_thread(self, user_id: str, channel_id: str, thread_ts: str) -> str | None:
        """The incident whose card this thread hangs under; None also where this person may not see it."""
        ...

    async def own_view(self, user_id: str, incident_id: str) -> CardState:
        """The card as this person may see it, collected again; may take as long as the sources do."""
        ...


class Labelling(Protocol):
    """What people say of an incident."""

    async def vote(self, incident_id: str, by: str, version: int, vote: Vote) -> None:
        """One vote a person and incident; the latest counts."""
        ...

    async def was_change(self, incident_id: str, by: str, version: int, mark: str) -> str:
        """Labels the suspect with this mark as the cause; returns its name ("deploy a1b2c3d")."""
        ...

    async def was_not(self, incident_id: str, by: str, version: int, mark: str) -> tuple[str, datetime]:
        """Rules the suspect out; returns its name and until when that can be taken back."""
        ...

    async def undo_was_not(self, incident_id: str, by: str, mark: str) -> bool:
        """Whether it was taken back; False when its ten minutes are over."""
        ...

    async def choices(self, incident_id: str, by: str) -> LabelChoices:
        """What the form for a label offers this person."""
        ...

    async def label(self, incident_id: str, by: str, version: int, label: Label) -> str:
        """Stores a word about the cause; returns it in words."""
        ...


class Life(Protocol):
    """The incident source that people are."""

    async def declare(
        self, by: str, words: str, channel_id: str, request_id: str, *, own_channel: bool = True
    ) -> Declared | None:
        """A new incident; None when the words say nothing. NotPermitted for who is no full member."""
        ...

    async def say(self, incident_id: str, by: str, said: Said, request_id: str) -> Outcome:
        """One transition by this person's word."""
        ...


class Readings(Protocol):
    """What one person reads of an incident. Raises NotTriaged where nobody has looked at it yet."""

    async def card(self, user_id: str, incident_id: str) -> CardState:
        """The card as it stands, for this person."""
        ...

    async def catch_up(self, user_id: str, incident_id: str) -> CatchUp: ...

    async def why(self, user_id: str, incident_id: str, mark: str) -> Sequence[str]:
        """Which rule lets this person, and the channel, read an item, in sentences."""
        ...

    async def similar(self, user_id: str, incident_id: str) -> Sequence[SimilarIncident]: ...


class Asking(Protocol):
    """Questions about one incident."""

    async def ask(self, user_id: str, incident_id: str, question: str, request_id: str) -> Answered:
        """For this person alone. Raises NotTriaged."""
        ...


class Drafts(Protocol):
    """The post-incident draft."""

    async def draft(self, user_id: str, incident_id: str) -> Draft: ...

    async def publish(self, user_id: str, incident_id: str, text: str, made_of: str) -> Published: ...


class Reports(Protocol):
    """The weekly report for one person."""

    async def weekly(self, user_id: str, week: str, form: Form) -> Answer:
        """This week so far, or the one that is named. NotPermitted for who does not read the report's channel."""
        ...

    async def whole(self, user_id: str, week: str, form: Literal["html", "csv"]) -> str | None:
        """The whole report as a page or as rows; None for what is no week yet. NotPermitted as above."""
        ...


class HomeSource(Protocol):
    async def home(self, user_id: str) -> HomeTold: ...


class Groups(Protocol):
    """Which incidents share a card. Raises OnlyAdmins for who may not change it."""

    async def merge(self, by: str, incident_id: str, into: str, reason: str) -> str:
        """ "" or why nothing changed."""
        ...

    async def split(self, by: str, incident_id: str, reason: str) -> str: ...

    async def split_services(
        self, by: str, incident_id: str, services: Sequence[str], reason: str
    ) -> tuple[str | None, str]: ...

    async def merged(self, user_id: str, incident_id: str) -> Sequence[Incident]: ...

    async def services(self, user_id: str, incident_id: str) -> Sequence[str]: ...


class Channels(Protocol):
    """An incident's own channel."""

    async def open(self, by: str, incident_id: str, request_id: str) -> Opened:
        """Makes it and invites who is at work on the incident; the same request again is the same channel."""
        ...

    async def arrived(self, channel_id: str, person_id: str) -> str | None:
        """Somebody joined a channel: where that is the app in an incident's own one, its card moves there."""
        ...


class PageSender(Protocol):
    """The incident's page as a file."""

    async def send_page(self, user_id: str, incident_id: str, request: Request) -> None:
        """To this person alone, once a request; may take as long as the sources do."""
        ...

    async def send_file(
        self, user_id: str, about: str, suffix: str, title: str, said: str, content: str, request: Request
    ) -> None:
        """What was made for this person alone, once a request."""
        ...


class ReaderEvents(Protocol):
    """Slack's events about who reads what."""

    async def joined(self, channel_id: str, person_id: str) -> int: ...

    async def left(self, channel_id: str, person_id: str) -> None: ...

    async def channel_changed(self, channel_id: str) -> int: ...

    async def groups_changed(self) -> None: ...

    async def person_changed(self, person_id: str, person: Person | None = None) -> None: ...

    async def reconnected(self) -> None: ...


class Requests(Protocol):
    """What was asked, stored before it is acknowledged."""

    async def accept(self, request: Request) -> bool:
        """Whether it is new."""
        ...

    async def keep_aside(self, request: Request) -> bool:
        """Durably elsewhere, where the store takes it too slowly; whether that was possible."""
        ...

    async def end(self, request_id: str) -> None: ...

    async def find(self, request_id: str, by: str) -> Request | None: ...

    async def take_over(self) -> list[Request]:
        """What an earlier process left without an answer."""
        ...

    async def context_of(self, by: str, thread_ts: str) -> str:
        """The channel that this person came from when they opened the assistant in this thread; "" for none."""
        ...

    async def lately(self, kind: str, within: timedelta) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Desks:
    """Everything behind the door, one role each."""

    requests: Requests
    desk: Desk
    life: Life
    labels: Labelling
    reading: Readings
    grouping: Groups
    asking: Asking
    drafts: Drafts
    reports: Reports
    home: HomeSource
    pages: PageSender
    channels: Channels
    screens: Screens
