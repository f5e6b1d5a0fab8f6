"""The warmed directory: who is who and who is where, kept in `people` and `memberships`, each answer with its age.

A card waits for it at most half a second. What it cannot say in that time, or what is older than its limit, is
nobody: `audience` then answers `AudienceUnknown` with the reason. Reading goes on in the background, so the next card
(or the hourly check) finds the answer. An answer counts from when it was *asked for*.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from bot.clock import Clock
from bot.store import Store
from bot.trust.audience import Audience, AudienceUnknown, PublicRule, audience_of_channel, placed
from bot.trust.directory_rows import CHANNEL, GROUPS, PEOPLE, DirectoryRows, Header, Key
from bot.trust.principals import Answer, EmailGroups, Limits, Principal, Principals, Snapshot, is_fresh
from integrations.errors import Denied, IntegrationError, Malformed, Unavailable
from integrations.ports import Directory, GroupSource
from integrations.records import Channel, Person

MAX_LOOKUPS = 20
"""People of one channel that are looked up one by one; beyond it the whole list is read."""
MAX_READS = 5
"""How often an answer is read because an event overtook it."""
PATIENCE_SECONDS = 0.03
"""The first wait before it is read again; doubles."""
GROUPS_SHARE = 0.6
"""The part of a card's waiting time that groups may take: without them the card is narrower, not unknown."""

Read = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DirectoryStatus:
    """How the directory is: ages in seconds (None: no answer that counts), remarks, and what failed last."""

    people_age_seconds: float | None
    groups_age_seconds: Mapping[str, float | None]
    remarks: tuple[str, ...]
    failures: tuple[str, ...] = ()


@dataclass(slots=True)
class _Flight:
    """What is being read now, and until when (monotonic seconds) a system wants to be left alone."""

    task: asyncio.Task[None] | None = None
    not_before: float = 0.0
    refusal: IntegrationError | None = None


@dataclass
class DirectoryCache:
    """One workspace's directory. Build it, `await warm()`, call `refresh_due()` every minute, `await close()` it.

    `static` is `[groups]`: name to e-mails. `sources` are the other directories of groups. Any number of processes may
    hold one over the same store: before each decision the headers are compared with what is in memory.
    """

    store: Store
    workspace_id: str
    directory: Directory
    clock: Clock
    static: Mapping[str, frozenset[str]] = field(default_factory=dict)
    sources: Sequence[GroupSource] = ()
    limits: Limits = field(default_factory=Limits)
    public_rule: PublicRule = "workspace"

    def __post_init__(self) -> None:
        self._rows = DirectoryRows(self.store, self.workspace_id)
        self._headers: dict[Key, Header] = {}
        self._values: dict[Key, Any] = {}
        self._flights: dict[Key, _Flight] = {}
        self._loading = asyncio.Lock()
        self._audiences: dict[Key, tuple[Principals, str, Audience | AudienceUnknown]] = {}
        self._principals: Principals | None = None
        self._principals_of: tuple[str, ...] = ()
        name = self.directory.name
        self._people = Key(PEOPLE, name)
        asks = [(name, self.directory.groups), *((source.name, source.groups) for source in self.sources)]
        self._groups: dict[Key, Read] = {
            Key(GROUPS, source): partial(self._read_groups, Key(GROUPS, source), ask) for source, ask in asks
        }

    # --- asking -------------------------------------------------------------------------------------------------

    async def audience(self, channel_id: str, deadline_seconds: float = 0.5) -> Audience | AudienceUnknown:
        """Everybody who reads the channel now. A directory that fails or is late means unknown, never an error."""
        try:
            async with asyncio.timeout(deadline_seconds):
                return await self._audience(channel_id, deadline_seconds)
        except TimeoutError:
            return AudienceUnknown(f"who is in this channel could not be read within {deadline_seconds * 1000:.0f} ms")
        except IntegrationError as failed:
            return AudienceUnknown(f"who is in this channel could not be read: {_word(failed)}")

    async def principal(self, person_id: str, deadline_seconds: float = 0.5) -> Principal:
        """One person with their groups, or nobody with the reason."""
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._sync((self._people, *self._groups))
                await self._groups_within(deadline_seconds * GROUPS_SHARE)
                await self._know({person_id})
                return (await self._resolved()).of(person_id)
        except TimeoutError:
            return Principal.nobody(person_id, f"could not be looked up within {deadline_seconds * 1000:.0f} ms")
        except IntegrationError as failed:
            return Principal.nobody(person_id, f"could not be looked up: {_word(failed)}")

    async def placed(self, principal: Principal, channel_id: str, deadline_seconds: float = 0.5) -> Principal:
        """The principal with the channel's own group, if they read it; as they are where that cannot be said."""
        try:
            async with asyncio.timeout(deadline_seconds):
                key = self._channel(channel_id)
                await self._sync((self._people, key, *self._groups))
                channel, members, _ = await self._members_of(key)
        except (TimeoutError, IntegrationError):
            return principal
        return placed(principal, channel, members, self.public_rule)

    async def _audience(self, channel_id: str, deadline_seconds: float) -> Audience | AudienceUnknown:
        key = self._channel(channel_id)
        await self._sync((self._people, key, *self._groups))
        groups = asyncio.ensure_future(self._groups_within(deadline_seconds * GROUPS_SHARE))
        try:
            channel, members, version = await self._members_of(key)
            await groups
        finally:
            groups.cancel()
        return await self._decided(key, channel, members, version, await self._resolved())

    async def _decided(
        self, key: Key, channel: Channel, members: frozenset[str], version: str, principals: Principals
    ) -> Audience | AudienceUnknown:
        """The channel's audience; the same one as long as neither its members nor anybody's groups changed."""
        known = self._audiences.get(key)
        if known is not None and known[0] is principals and known[1] == version:
            return known[2]
        work = partial(audience_of_channel, channel, members, principals, public_rule=self.public_rule)
        found = await asyncio.to_thread(_named, work)  # a large workspace takes a tenth of a second
        self._audiences[key] = (principals, version, found)
        return found

    async def _members_of(self, key: Key) -> tuple[Channel, frozenset[str], str]:
        """The channel, its members, and the version of just that answer."""
        await self._fresh(key, self.limits.membership_seconds, partial(self._read_channel, key))
        channel: Channel
        version = self._headers[key].version
        channel, members = self._values[key]
        if not channel.private and self.public_rule == "workspace":
            await self._fresh(self._people, self.limits.people_seconds, self._read_people)
        await self._know(members)
        return channel, members, version

    async def stored_people(self) -> Collection[Person]:
        """Everybody whom the store remembers, however old that is."""
        await self._sync((self._people,))
        people: Mapping[str, Person] = self._values.get(self._people, {})
        return people.values()

    async def status(self) -> DirectoryStatus:
        """Ages and remarks."""
        await self._sync((self._people, *self._groups))
        resolved = await self._resolved()
        failed = {key: flight.refusal for key, flight in self._flights.items() if flight.refusal}
        return DirectoryStatus(
            people_age_seconds=self._age(self._people),
            groups_age_seconds={key.source: self._age(key) for key in self._groups},
            remarks=(*resolved.remarks, *resolved.notices),
            failures=tuple(f"{key.scope}: {refusal}" for key, refusal in failed.items()),
        )

    # --- keeping it warm ----------------------------------------------------------------------------------------

    async def warm(self) -> None:
        """Load what the tables hold and start to read what is absent or past half its limit."""
        await self._sync((self._people, *self._groups))
        self.refresh_due()

    def refresh_due(self) -> None:
        """Start reading every list that is past half its limit. Returns at once."""
        if not self._young(self._people, self.limits.people_seconds / 2):
            self._start(self._people, self._read_people)
        for key, read in self._groups.items():
            if not self._young(key, self.limits.membership_seconds / 2):
                self._start(key, read)

    async def settle(self) -> None:
        """Wait until nothing is being read any more."""
        while tasks := [flight.task for flight in self._flights.values() if flight.task]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        for flight in self._flights.values():
            if flight.task:
                flight.task.cancel()
        await self.settle()

    # --- events -------------------------------------------------------------------------------------------------

    async def joined(self, channel_id: str, person_id: str) -> None:
        """Somebody joined: they count at once, and the list is read again."""
        await self._rows.joined(self._channel(channel_id), person_id, self.clock.now())

    async def left(self, channel_id: str, person_id: str) -> None:
        await self._rows.left(self._channel(channel_id), person_id)

    async def channel_changed(self, channel_id: str) -> None:
        """It was shared, converted, archived, or an invitation to share it was made, accepted or withdrawn."""
        await self._rows.forget(self._channel(channel_id))

    async def groups_changed(self, source: str | None = None) -> None:
        """A user group of the workspace changed (None), or one of another directory."""
        await self._rows.forget(Key(GROUPS, source or self.directory.name))

    async def person_changed(self, person_id: str, person: Person | None = None) -> bool:
        """Somebody was added, became guest or member, or left. Without the record they are looked up when needed.

        Returns whether anything that counts is new.
        """
        now = self.clock.now()
        learnt = Person(id=person_id, seen_at=now) if person is None else person.model_copy(update={"seen_at": now})
        return await self._rows.write_some([learnt], self._people, unless_same=True)

    async def reconnected(self) -> None:
        """Events may have been missed: no membership counts until it is read again; people keep their age."""
        await self._rows.forget_memberships()
        await self._sync(tuple(self._groups))
        self._start(self._people, self._read_people)
        self.refresh_due()

    # --- reading ------------------------------------------------------------------------------------------------

    async def _fresh(self, key: Key, limit_seconds: float, read: Read) -> None:
        """Have the answer in memory, read now if it is absent or too old. Raises IntegrationError."""
        if self._young(key, limit_seconds):
            return
        flight = self._flight(key)
        await asyncio.shield(self._start(key, read))
        if not self._young(key, limit_seconds):
            raise flight.refusal or Unavailable(key.source, "no answer")

    def _start(self, key: Key, read: Read) -> asyncio.Task[None]:
        """At most one reading of an answer at a time; its failure is kept in the flight, never raised by the task."""
        flight = self._flight(key)
        if flight.task is None:
            flight.task = asyncio.get_running_loop().create_task(self._fly(key, flight, read))
        return flight.task

    async def _fly(self, key: Key, flight: _Flight, read: Read) -> None:
        try:
            if self.clock.monotonic() >= flight.not_before:
                await read()
                flight.refusal = None
        except IntegrationError as failed:
            flight.refusal = failed
            wait = failed.retry_after_seconds if isinstance(failed, Unavailable) else None
            flight.not_before = self.clock.monotonic() + (wait or 0.0)
        finally:
            flight.task = None
            if key.name and self.clock.monotonic() >= flight.not_before:
                self._flights.pop(key, None)  # one person or channel of many: nothing to remember

    def _flight(self, key: Key) -> _Flight:
        return self._flights.setdefault(key, _Flight())

    async def _read_people(self) -> None:
        asked_at = self.clock.now()
        team_id = await self.directory.team_id()
        people = [one.model_copy(update={"seen_at": asked_at}) for one in await self.directory.people()]
        await self._rows.write_everybody(people, self._people, asked_at, team_id)
        await self._sync((self._people,))

    async def _read_groups(self, key: Key, ask: Callable[[], Awaitable[Mapping[str, frozenset[str]]]]) -> None:
        async def read(_: datetime) -> tuple[Mapping[str, frozenset[str]], Mapping[str, Any]]:
            return {name: frozenset(members) for name, members in (await ask()).items() if members}, {}

        await self._read(key, read)

    async def _read_channel(self, key: Key) -> None:
        async def read(asked_at: datetime) -> tuple[Mapping[str, frozenset[str]], Mapping[str, Any]]:
            channel, members = await asyncio.gather(self.directory.channel(key.name), self.directory.members(key.name))
            if channel.id != key.name:
                raise Malformed(key.source, f"asked for channel {key.name!r}, answered another")
            members |= await self._rows.recent_joiners(key, asked_at)
            return {key.name: members}, {"channel": channel.model_dump(mode="json")}

        await self._read(key, read)

    async def _read(
        self,
        key: Key,
        read: Callable[[datetime], Awaitable[tuple[Mapping[str, frozenset[str]], Mapping[str, Any]]]],
    ) -> None:
        """Ask until no event overtook the answer, and store it; or take what another process stored meanwhile."""
        known = (await self._rows.headers((key,))).get(key, Header())
        for attempt in range(MAX_READS):
            asked_at = self.clock.now()
            after, detail = await read(asked_at)
            before = await self._rows.members(key)
            if await self._rows.write_members(key, before, after, known.version, asked_at, detail):
                await self._sync((key,))
                return
            # Somebody wrote: an event, or another process that is at the same answer, perhaps in parts.
            await asyncio.sleep(PATIENCE_SECONDS * 2**attempt)
            now = (await self._rows.headers((key,))).get(key, Header())
            if now.as_of is not None and (known.as_of is None or now.as_of > known.as_of):
                await self._sync((key,))
                return
            known = now
        raise Unavailable(key.source, "it changes faster than it can be read")

    async def _groups_within(self, seconds: float) -> None:
        """Read the groups that are too old, but wait no longer than this: narrower is better than late."""
        limit = self.limits.membership_seconds
        tasks = [self._start(key, read) for key, read in self._groups.items() if not self._young(key, limit)]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def _know(self, members: Collection[str]) -> None:
        """Look up those of these people who are unknown or too old, one by one if they are few."""
        people: Mapping[str, Person] = self._values.get(self._people, {})
        now, limit = self.clock.now(), self.limits.people_seconds
        missing = [
            one
            for one in members
            if one not in people or people[one].kind == "unknown" or not is_fresh(people[one].seen_at, now, limit)
        ]
        if len(missing) > MAX_LOOKUPS:
            await asyncio.shield(self._start(self._people, self._read_people))
        elif missing:
            keys = [Key(PEOPLE, self.directory.name, one) for one in missing]
            await asyncio.wait([self._start(key, partial(self._read_person, key)) for key in keys])
        if missing:
            await self._sync((self._people,))

    async def _read_person(self, key: Key) -> None:
        """Look one person up; where the directory refuses to say they stay unknown."""
        if not self._headers.get(self._people, Header()).detail.get("team_id"):
            await self._rows.name_team(self._people, await self.directory.team_id())
        asked_at = self.clock.now()
        person = await self.directory.person(key.name)
        if person.id != key.name:
            raise Malformed(key.source, f"asked for person {key.name!r}, answered another")
        await self._rows.write_some([person.model_copy(update={"seen_at": asked_at})], self._people)

    # --- memory -------------------------------------------------------------------------------------------------

    async def _sync(self, keys: Collection[Key]) -> None:
        """Load the answers whose header is another than the one in memory."""
        async with self._loading:  # in turn: an older answer never replaces a newer one
            found = await self._rows.headers(keys)
            for key in keys:
                header = found.get(key)
                while header is not None and header != self._headers.get(key):
                    value = await self._load(key, header)
                    again = (await self._rows.headers((key,))).get(key)
                    if again == header:  # nobody wrote between the header and the rows
                        self._headers[key], self._values[key] = header, value
                    header = again
                if header is None:
                    self._headers.pop(key, None)
                    self._values.pop(key, None)

    async def _load(self, key: Key, header: Header) -> Any:
        if key.scope == PEOPLE:
            return await self._rows.people()
        members = await self._rows.members(key)
        if key.scope == GROUPS:
            return members
        stored = header.detail.get("channel")
        return (Channel.model_validate(stored) if stored else None, members.get(key.name, frozenset()))

    def _age(self, key: Key) -> float | None:
        as_of = self._headers.get(key, Header()).as_of
        return None if as_of is None else (self.clock.now() - as_of).total_seconds()

    def _young(self, key: Key, limit_seconds: float) -> bool:
        as_of = self._headers.get(key, Header()).as_of
        return as_of is not None and is_fresh(as_of, self.clock.now(), limit_seconds)

    def _channel(self, channel_id: str) -> Key:
        return Key(CHANNEL, self.directory.name, channel_id)

    async def _resolved(self) -> Principals:
        """The principals of what is in memory; built again when an answer changed or one became too old."""
        keys = (self._people, *self._groups)
        state = tuple(self._headers.get(key, Header()).version for key in keys)
        now = self.clock.now()
        if self._principals is None or state != self._principals_of or now > self._principals.valid_until:
            # A large workspace takes tens of milliseconds: not on the event loop.
            self._principals = await asyncio.to_thread(Principals, self._snapshot(), self.limits, now)
            self._principals_of = state
        return self._principals

    def _snapshot(self) -> Snapshot:
        own, *others = self._groups
        known = self._headers.get(self._people, Header())
        return Snapshot(
            team_id=known.detail.get("team_id", ""),
            # Without a complete list, the few people who were looked up count as themselves and no list does.
            people=Answer(self._values.get(self._people, {}), known.as_of or _LONG_AGO),
            groups=self._answer(own),
            static=self.static,
            others=tuple(EmailGroups(key.source, self._answer(key)) for key in others),
        )

    def _answer(self, key: Key) -> Answer[Mapping[str, frozenset[str]]] | None:
        header = self._headers.get(key)
        return None if header is None or header.as_of is None else Answer(self._values[key], header.as_of)


def _named(work: Callable[[], Audience | AudienceUnknown]) -> Audience | AudienceUnknown:
    """The audience with its name, which everybody who uses it asks for."""
    found = work()
    if isinstance(found, Audience):
        _ = found.signature
    return found


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _word(failed: IntegrationError) -> str:
    """A fixed clause a class of failure; never what the system said."""
    if isinstance(failed, Denied):
        return "the directory does not let Sitrep read it"
    if isinstance(failed, Malformed):
        return "the directory answered something else"
    return "the directory does not answer"
