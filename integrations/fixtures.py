"""In-memory implementations of the ports, for the demo and for tests: real behaviour, no network."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from integrations.errors import IntegrationError, Refused, Unavailable
from integrations.ports import Completion, PromptRequest
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
