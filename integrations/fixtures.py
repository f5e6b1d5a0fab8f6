"""In-memory implementations of the ports, for the demo and for tests: real behaviour, no network."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from integrations.errors import IntegrationError, Refused, Unavailable
from integrations.ports import Answer, Completion, Message, Place, Posted, PromptRequest
from integrations.records import Channel, Person


@dataclass
class FakeDirectory:
    """A `Directory` that answers from what it holds. Change its fields between calls.

    `failing` names the methods that raise, and what; `delay_seconds` lets every answer wait; `calls` counts them.
    Methods in `blocked` wait until `release` is set.
    """

    name: str = "slack"
    team: str = "T1"
    listed: list[Person] = field(default_factory=list)
    """What `people` answers."""
    known: dict[str, Person] = field(default_factory=dict)
    """People that only `person` knows, such as partners."""
    user_groups: dict[str, frozenset[str]] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    inside: dict[str, frozenset[str]] = field(default_factory=dict)
    """Channel id to the ids of its members."""
    failing: dict[str, IntegrationError] = field(default_factory=dict)
    delay_seconds: float = 0.0
    blocked: set[str] = field(default_factory=set)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    calls: Counter[str] = field(default_factory=Counter)

    async def team_id(self) -> str:
        await self._answer("team_id")
        return self.team

    async def people(self) -> Sequence[Person]:
        answer = list(self.listed)
        await self._answer("people")
        return answer

    async def person(self, person_id: str) -> Person:
        await self._answer("person")
        found = next((one for one in self.listed if one.id == person_id), self.known.get(person_id))
        if found is None:
            raise Refused(self.name, "no such person", code="user_not_found")
        return found

    async def groups(self) -> Mapping[str, frozenset[str]]:
        answer = dict(self.user_groups)
        await self._answer("groups")
        return answer

    async def channel(self, channel_id: str) -> Channel:
        answer = self.channels.get(channel_id)
        await self._answer("channel")
        if answer is None:
            raise Refused(self.name, "no such channel", code="channel_not_found")
        return answer

    async def members(self, channel_id: str) -> frozenset[str]:
        answer = self.inside.get(channel_id, frozenset())
        await self._answer("members")
        return answer

    async def _answer(self, method: str) -> None:
        self.calls[method] += 1
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if method in self.blocked:
            await self.release.wait()
        if method in self.failing:
            raise self.failing[method]


@dataclass
class FakeGroupSource:
    """A `GroupSource` that answers from what it holds."""

    name: str
    by_email: dict[str, frozenset[str]] = field(default_factory=dict)
    failing: IntegrationError | None = None

    async def groups(self) -> Mapping[str, frozenset[str]]:
        if self.failing is not None:
            raise self.failing
        return dict(self.by_email)


@dataclass
class ScriptedModel:
    """A `ModelEndpoint` that plays its script, one line an attempt; the last line is played again.

    A line is a text (answered as a completion), a whole `Completion`, or an error that is raised.
    """

    script: list[str | Completion | IntegrationError]
    name: str = "scripted"
    answers_as: str | None = None
    delay_seconds: float = 0.0
    requests: list[PromptRequest] = field(default_factory=list)

    async def complete(self, request: PromptRequest, timeout_seconds: float) -> Completion:
        line = self.script[min(len(self.requests), len(self.script) - 1)]
        self.requests.append(request)
        if self.delay_seconds:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await asyncio.sleep(self.delay_seconds)
            except TimeoutError as late:
                raise Unavailable(self.name, f"no answer in {timeout_seconds:.1f} s", answer_lost=True) from late
        if isinstance(line, IntegrationError):
            raise line
        if isinstance(line, Completion):
            return line
        return Completion(
            text=line,
            answered_by=self.answers_as or request.model,
            tokens_in=len(request.system + request.user) // 4,
            tokens_cached=0,
            tokens_out=len(line) // 4,
            finish_reason="stop",
        )


@dataclass
class FakeMessage:
    """A message as it stands in a `FakePoster`; `edits` counts its updates."""

    posted: Posted
    message: Message
    edits: int = 0


@dataclass
class FakePoster:
    """A `Poster` with a memory. Set its fields to let it fail before or after a message went out.

    `failing` are raised one a call, before any effect; `lost_answers` posts and edits take effect and their answer is
    lost; `down` answers nothing at all; messages with a kind of block in `refused_kinds` are `invalid_blocks`; `calls`
    are the methods in order. Timestamps start at `started_at` and rise by a second a message.
    """

    started_at: datetime = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)
    messages: list[FakeMessage] = field(default_factory=list)
    failing: list[IntegrationError] = field(default_factory=list)
    lost_answers: int = 0
    down: bool = False
    refused_kinds: frozenset[str] = frozenset()
    deleted: set[str] = field(default_factory=set)
    """Timestamps of messages that somebody deleted."""
    calls: list[str] = field(default_factory=list)

    async def post(self, message: Message) -> Posted:
        self._begin("post", message)
        ts = f"{self.started_at.timestamp() + len(self.messages):.0f}.{len(self.messages):06d}"
        posted = Posted(message.channel, ts)
        self.messages.append(FakeMessage(posted, message))
        self._end()
        return posted

    async def update(self, posted: Posted, message: Message) -> None:
        self._begin("update", message)
        found = next((one for one in self.messages if one.posted == posted), None)
        if found is None or posted.ts in self.deleted:
            raise Refused("slack", "chat.update: message_not_found", code="message_not_found")
        found.message, found.edits = message, found.edits + 1
        self._end()

    async def find(self, channel: str, mark: str, since: datetime, thread_ts: str | None) -> Posted | None:
        self._begin("find", None)
        for one in reversed(self.messages):
            if one.posted.channel != channel or one.message.mark != mark or one.posted.ts in self.deleted:
                continue
            if one.message.thread_ts == thread_ts and float(one.posted.ts) >= since.timestamp():
                return one.posted
        return None

    def _begin(self, call: str, message: Message | None) -> None:
        self.calls.append(call)
        if self.failing:
            raise self.failing.pop(0)
        if self.down:
            raise Unavailable("slack", "no connection")
        if message is not None and any(block.get("type") in self.refused_kinds for block in message.blocks):
            raise Refused("slack", "invalid_blocks", code="invalid_blocks")

    def _end(self) -> None:
        if self.lost_answers:
            self.lost_answers -= 1
            raise Unavailable("slack", "no answer in 10 s", answer_lost=True)


@dataclass
class FakeReplies:
    """`Replies` that remembers who was told what; `failing` are raised one a call."""

    shown: list[tuple[Place, Answer]] = field(default_factory=list)
    failing: list[IntegrationError] = field(default_factory=list)

    async def to_person(self, place: Place, answer: Answer) -> None:
        if self.failing:
            raise self.failing.pop(0)
        self.shown.append((place, answer))


@dataclass
class FakeScreens:
    """`Screens` that remembers what was shown; `failing` are raised one a call."""

    forms: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    homes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    direct: list[tuple[str, str | None, Answer]] = field(default_factory=list)
    assistant: list[tuple[str, str, Any]] = field(default_factory=list)
    failing: list[IntegrationError] = field(default_factory=list)

    async def open_form(self, trigger_id: str, view: Mapping[str, Any]) -> None:
        self._may_fail()
        self.forms.append((trigger_id, view))

    async def publish_home(self, person_id: str, view: Mapping[str, Any]) -> None:
        self._may_fail()
        self.homes[person_id] = view

    async def say_in_direct(self, channel_id: str, thread_ts: str | None, answer: Answer) -> None:
        self._may_fail()
        self.direct.append((channel_id, thread_ts, answer))

    async def assistant_status(self, channel_id: str, thread_ts: str, status: str) -> None:
        self._may_fail()
        self.assistant.append((channel_id, thread_ts, status))

    async def assistant_prompts(self, channel_id: str, thread_ts: str, prompts: Sequence[tuple[str, str]]) -> None:
        self._may_fail()
        self.assistant.append((channel_id, thread_ts, tuple(prompts)))

    def _may_fail(self) -> None:
        if self.failing:
            raise self.failing.pop(0)


@dataclass
class FakeChannelMaker:
    """A `ChannelMaker` with a memory. `taken` are names of somebody else's channels; `refusing_people` cannot be
    invited; `failing` are raised one a call before any effect, `lost_answers` calls take effect and lose their answer.
    """

    taken: frozenset[str] = frozenset()
    refusing_people: frozenset[str] = frozenset()
    failing: list[IntegrationError] = field(default_factory=list)
    lost_answers: int = 0
    made: dict[str, str] = field(default_factory=dict)
    """Name to id."""
    private: dict[str, bool] = field(default_factory=dict)
    topics: dict[str, tuple[str, str]] = field(default_factory=dict)
    inside: dict[str, frozenset[str]] = field(default_factory=dict)
    invitations: list[tuple[str, ...]] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    """E-mail address to the person's id."""

    async def make(self, name: str, *, private: bool) -> str:
        self._begin()
        if name in self.taken:
            raise Refused("slack", "conversations.create: name_taken", code="name_taken")
        if name not in self.made:
            channel_id = f"C0MADE{len(self.made) + 1}"
            self.made[name], self.private[channel_id], self.inside[channel_id] = channel_id, private, frozenset()
        self._end()
        return self.made[name]

    async def describe(self, channel_id: str, topic: str, purpose: str) -> None:
        self._begin()
        self.topics[channel_id] = (topic, purpose)
        self._end()

    async def person_of(self, email: str) -> str | None:
        self._begin()
        return self.addresses.get(email)

    async def invite(self, channel_id: str, people: Sequence[str]) -> frozenset[str]:
        self._begin()
        missing = [one for one in people if one not in self.inside[channel_id]]
        if missing:
            self.invitations.append(tuple(missing))
        self.inside[channel_id] |= frozenset(missing) - self.refusing_people
        self._end()
        return self.inside[channel_id] & frozenset(people)

    def _begin(self) -> None:
        if self.failing:
            raise self.failing.pop(0)

    def _end(self) -> None:
        if self.lost_answers:
            self.lost_answers -= 1
            raise Unavailable("slack", "no answer in 10 s", answer_lost=True)
