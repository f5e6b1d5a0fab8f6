"""The roles that outside systems play. Protocols are the role; implementations are named after the system.

A call ends in records or in exactly one error of `integrations.errors`; never in None for failure, never in a bare
Exception. Every method has its own timeout, shorter than the room's deadline.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar, runtime_checkable

from integrations.errors import IntegrationError
from integrations.records import Alert, Channel, Findings, Incident, Person, Question, Signal

T = TypeVar("T")


@runtime_checkable
class Source(Protocol):
    """Fetches evidence and telemetry about an incident from one system."""

    @property
    def name(self) -> str:
        """The section's name in `[sources]`; stands on the card."""
        ...

    @property
    def kind(self) -> str: ...

    @property
    def deadline_seconds(self) -> float: ...

    async def fetch(self, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed."""
        ...


@runtime_checkable
class ServiceLister(Protocol):
    """A system that can name the services that it knows."""

    async def services(self) -> tuple[list[tuple[str, str]], bool]:
        """What the system calls each (as settings write it) and a name for people, which may be the same; and whether
        there are more. Raises Unavailable, Denied or Malformed."""
        ...


class Offload(Protocol):
    """Runs a module-level function elsewhere and returns what it returns: in another process, or in a thread."""

    async def __call__(self, work: Callable[..., T], *arguments: Any) -> T: ...


@runtime_checkable
class ReadsElsewhere(Protocol):
    """A source whose answers are so large that they are read outside the process that asks."""

    offload: Offload


class SignalDoor(Protocol):
    """A webhook's sender: what it signs and what it says. Pure: no I/O, so that the door stays fast."""

    name: str
    path: str
    body_limit: int

    def verify(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        """Constant time, on the raw bytes. Raises BadSignature. Header names are lower case."""
        ...

    def parse(self, headers: Mapping[str, str], payload: Any, sha256: str, received_at: datetime) -> list[Signal]:
        """`payload` is the parsed, redacted body. What is signed and cannot be read is a signal of kind unknown."""
        ...


@runtime_checkable
class PreparedDoor(Protocol):
    """A door that must fetch something before it can verify, such as a certificate. The only I/O of a door."""

    async def prepare(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        """Called before `verify`; never raises: what is wrong is left for `verify` to refuse."""
        ...


class AlertParser(Protocol):
    """Turns one sender's payload into alerts. Pure."""

    name: str

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        """Raises NotASignal for what is no alert."""
        ...


class IncidentSource(Protocol):
    """The system that owns an incident's life: its times are the ones that count."""

    name: str

    async def incident(self, incident_id: str) -> Mapping[str, Any]:
        """The system's own record of one incident."""
        ...

    def transitions(self, since: datetime) -> AsyncIterator[Signal]:
        """Every life-cycle transition since then, oldest first, as signals for the intake."""
        ...

    async def add_note(self, incident_id: str, text: str) -> str:
        """Writes a note and returns its id."""
        ...

    async def find_note(self, incident_id: str, mark: str) -> str | None:
        """The id of the note that contains this mark, if there is one."""
        ...


class Directory(Protocol):
    """Who is who, and who is where. Each answer is complete or raises: half a list is no list."""

    name: str

    async def team_id(self) -> str:
        """The workspace's own id (Slack: `auth.test`): whoever has another is foreign and never a full member."""
        ...

    async def people(self) -> Sequence[Person]:
        """Everybody, those who left included (`active` false)."""
        ...

    async def person(self, person_id: str) -> Person:
        """One of them, a partner of another workspace included; for somebody who joined since `people`."""
        ...

    async def groups(self) -> Mapping[str, frozenset[str]]:
        """Group name to person ids."""
        ...

    async def channel(self, channel_id: str) -> Channel: ...

    async def members(self, channel_id: str) -> frozenset[str]: ...


class GroupSource(Protocol):
    """Another directory of groups (GitHub teams, PagerDuty, a SCIM export), which knows people by e-mail.

    Each answer is complete or raises. Names are the source's own, so that no two fill one: `name` itself, or
    `<name>:<group>` (`github:@acme/payments`).
    """

    name: str

    async def groups(self) -> Mapping[str, frozenset[str]]:
        """Group name to e-mails that this directory has verified."""
        ...


@dataclass(frozen=True, slots=True)
class Posted:
    """Where a message stands: Slack's channel id and timestamp."""

    channel: str
    ts: str


@dataclass(frozen=True, slots=True)
class Message:
    """One wanted Slack message. `mark` is our key: it is put into metadata and into the first block's id."""

    channel: str
    text: str
    blocks: Sequence[Mapping[str, Any]]
    mark: str
    thread_ts: str | None = None
    broadcast: bool = False
    """A thread reply that is also sent to the channel."""


class Poster(Protocol):
    """Slack's side of the outbox: post, edit, and find again what was posted."""

    async def post(self, message: Message) -> Posted:
        """Raises Unavailable(answer_lost=True) when the post may have gone out all the same."""
        ...

    async def update(self, posted: Posted, message: Message) -> None: ...

    async def find(self, channel: str, mark: str, since: datetime, thread_ts: str | None) -> Posted | None:
        """The message of ours that carries this mark, looking back no further than `since`."""
        ...


class ChannelMaker(Protocol):
    """Makes a channel for an incident. Each method may be called twice; each raises Unavailable, Denied, Malformed, or
    Refused with the system's own word as `code`."""

    async def make(self, name: str, *, private: bool) -> str:
        """The id of a new channel of that name, or of the one that this app made under it before. Refused with
        `name_taken` where somebody else's has it."""
        ...

    async def describe(self, channel_id: str, topic: str, purpose: str) -> None: ...

    async def person_of(self, email: str) -> str | None:
        """Who is active here under this confirmed address."""
        ...

    async def invite(self, channel_id: str, people: Sequence[str]) -> frozenset[str]:
        """Who of these is in the channel afterwards."""
        ...


class PictureKeeper(Protocol):
    """Keeps a picture, shown to nobody before a message names it."""

    async def keep_picture(self, name: str, title: str, content: bytes) -> str:
        """Its id, for an image block. Raises Unavailable, Denied, Malformed or Refused."""
        ...


class FileSender(Protocol):
    """Gives one person a file."""

    async def send_privately(
        self, user_id: str, name: str, title: str, said: str, content: bytes, *, since: datetime | None = None
    ) -> None:
        """With `since`, a file of this name that the person got after it is the one meant, and none is sent again.
        Raises Unavailable, Denied, Malformed or Refused."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody stands in Slack when they ask: what a private answer needs. `response_url` is Slack's own."""

    channel: str
    user: str
    response_url: str | None = None
    thread_ts: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A private answer: text for notification and screen reader, and blocks (empty: the text alone)."""

    text: str
    blocks: Sequence[Mapping[str, Any]] = ()


class Replies(Protocol):
    """Private answers to one person, which nobody else in the channel sees."""

    async def to_person(self, place: Place, answer: Answer) -> None:
        """Raises Unavailable, Denied, Malformed or Refused when it cannot be shown."""
        ...


class Screens(Protocol):
    """What one person is shown outside of messages: forms (modals), the Home tab, the assistant's side panel.

    Each raises Unavailable, Denied, Malformed, or Refused with Slack's own word as `code`.
    """

    async def open_form(self, trigger_id: str, view: Mapping[str, Any]) -> None:
        """A modal; `trigger_id` is of a click or command within the last three seconds."""
        ...

    async def publish_home(self, person_id: str, view: Mapping[str, Any]) -> None: ...

    async def say_in_direct(self, channel_id: str, thread_ts: str | None, answer: Answer) -> None:
        """A message in a direct conversation with one person (the assistant's is one)."""
        ...

    async def assistant_status(self, channel_id: str, thread_ts: str, status: str) -> None:
        """What the assistant's panel says it is doing; "" ends it."""
        ...

    async def assistant_prompts(self, channel_id: str, thread_ts: str, prompts: Sequence[tuple[str, str]]) -> None:
        """Questions to begin with, each a title and the message that it sends; at most four."""
        ...


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """What goes to a model: messages and the JSON schema of the only acceptable answer."""

    model: str
    system: str
    user: str
    schema_name: str
    schema: Mapping[str, Any]
    max_output_tokens: int
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back: text, the model that says it answered, and the tokens that are charged."""

    text: str
    answered_by: str
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    finish_reason: str
    refusal: str | None = None
    fingerprint: str | None = None


class ModelEndpoint(Protocol):
    """An OpenAI-compatible endpoint; one request is one attempt, retries are the gateway's."""

    name: str

    async def complete(self, request: PromptRequest, timeout_seconds: float) -> Completion: ...


@dataclass(frozen=True, slots=True)
class BatchState:
    """How far a batch is. `ended` says that nothing more will come; what was answered lies in the two files."""

    id: str
    status: str
    ended: bool
    output_file: str | None = None
    error_file: str | None = None


class BatchEndpoint(Protocol):
    """A provider's batch door: many requests at once, answered within hours, at a lower price."""

    name: str

    async def submit(self, requests: Mapping[str, PromptRequest], mark: str, timeout_seconds: float) -> BatchState: ...

    async def find(self, mark: str, timeout_seconds: float) -> BatchState | None: ...

    async def state(self, batch_id: str, timeout_seconds: float) -> BatchState: ...

    async def results(
        self, state: BatchState, requests: Mapping[str, PromptRequest], timeout_seconds: float
    ) -> Mapping[str, Completion | IntegrationError]: ...

    async def cancel(self, batch_id: str, timeout_seconds: float) -> BatchState: ...


__all__ = [
    "AlertParser", "Answer", "BatchEndpoint", "BatchState", "Completion", "Directory", "GroupSource", "Incident",
    "IncidentSource", "Message",
    "ModelEndpoint", "Place", "Posted", "Poster", "PreparedDoor", "PromptRequest", "Replies", "Screens", "SignalDoor",
    "Source",
]  # fmt: skip
