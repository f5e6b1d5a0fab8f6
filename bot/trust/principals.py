"""People and the groups they are in: what `Readers` are compared with. Unknown, unclear or stale means nobody.

A directory's answers are turned into group sets once (`Principals`), at one moment, and looked up by person id.
Where a group's name comes from, and who may fill it:

- `everyone` (full, active members of the workspace) and `world` are built in; no directory can fill them.
- `channel:<id>` is the channel's own audience; it is granted in `bot.trust.audience` alone.
- `[groups]` of the settings owns the names that it defines: a Slack user group of the same name is ignored (and
  said), because whoever may make user groups in Slack could otherwise let people in by choosing a name.
- Slack user groups have their bare handle. Every other directory's groups are `<directory>` or
  `<directory>:<group>` (`github:@acme/payments`), so that two directories never fill one name.

`[groups]` and the other directories know people by e-mail. A join needs an e-mail that the workspace's directory
verified (`Person.email`) and that exactly one person of it has; otherwise it grants nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from integrations.records import EVERYONE, WORLD, Person

T = TypeVar("T")

CHANNEL_PREFIX = "channel:"
"""Names that start with it are a channel's own audience; never filled by a directory."""
CLOCK_SKEW_SECONDS = 60.0
"""An answer may seem to be from the future by this much (another machine's clock); by more it is unknown."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How old an answer may be before it means nobody. Seconds."""

    people_seconds: float = 24 * 3600.0
    membership_seconds: float = 15 * 60.0


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """One complete answer of a directory, and when it was asked for (not when it arrived: the older of the two)."""

    value: T
    as_of: datetime

    def fresh(self, now: datetime, limit_seconds: float) -> bool:
        return is_fresh(self.as_of, now, limit_seconds)


def is_fresh(as_of: datetime, now: datetime, limit_seconds: float) -> bool:
    """Not older than the limit, and not from the future."""
    return -CLOCK_SKEW_SECONDS <= (now - as_of).total_seconds() <= limit_seconds


@dataclass(frozen=True, slots=True)
class Principal:
    """An identity and its groups. `unknown` says in words why it is nobody; then `groups` is empty."""

    id: str
    groups: frozenset[str]
    unknown: str = ""
    bot: bool = False
    """An app of this workspace. It is nobody, and nobody who looks: an audience does not count it."""
    active: bool = True

    @classmethod
    def nobody(cls, person_id: str, why: str) -> Principal:
        return cls(person_id, frozenset(), unknown=why)

    @classmethod
    def token(cls, name: str, groups: Iterable[str]) -> Principal:
        """The holder of an API token: `[tokens.<name>] groups`, and `world` as everybody has it."""
        return cls(f"token:{name}", frozenset(groups) | {WORLD})


@dataclass(frozen=True, slots=True)
class EmailGroups:
    """What a directory that knows people by e-mail answered last; None when it never answered."""

    name: str
    answer: Answer[Mapping[str, frozenset[str]]] | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the directories said, each answer with its age. `team_id` is the workspace's own."""

    team_id: str
    people: Answer[Mapping[str, Person]] | None
    groups: Answer[Mapping[str, frozenset[str]]] | None
    """The workspace's own groups: name to person ids. None when they could not be had (then they are empty)."""
    static: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """`[groups]`: name to e-mails."""
    others: tuple[EmailGroups, ...] = ()


def normal_email(address: str) -> str:
    """Compared without case and surrounding space; nothing else is assumed to be the same mailbox."""
    return address.strip().casefold()


def is_reserved(name: str) -> bool:
    """Names that no directory and no setting may fill."""
    return name in (EVERYONE, WORLD) or name.startswith(CHANNEL_PREFIX) or not name.strip()


class Principals:
    """The people of one snapshot with their groups, at one moment. Equal group sets are one object.

    `notices` are finished sentences for the card (a group source that is absent or stale); `remarks` are for
    whoever looks after the bot (names that were ignored). `valid_until` is when the first fresh answer becomes stale.
    """

    def __init__(self, snapshot: Snapshot, limits: Limits, now: datetime) -> None:
        self.now = now
        self.team_id = snapshot.team_id
        self._notices: list[str] = []
        self._remarks: list[str] = []
        self._expiry: list[datetime] = []
        self._people_limit = limits.people_seconds
        self._people: Mapping[str, Person] = snapshot.people.value if snapshot.people else {}
        self.complete = snapshot.people is not None and snapshot.people.fresh(now, limits.people_seconds)
        """Whether the list of all people is known and fresh: without it no public channel's audience is."""
        if snapshot.people is not None and self.complete:
            self._expiry.append(snapshot.people.as_of + timedelta(seconds=limits.people_seconds))
        granted = self._grants(snapshot, limits)
        self._principals: dict[str, Principal] = {}
        shared: dict[frozenset[str], frozenset[str]] = {}
        for person_id, person in self._people.items():
            self._principals[person_id] = self._resolve(person, granted.get(person_id), shared)
        self.notices = tuple(self._notices)
        self.remarks = tuple(self._remarks)
        self.valid_until = min(self._expiry, default=now)

    def of(self, person_id: str) -> Principal:
        """The principal, or nobody with the reason."""
        known = self._principals.get(person_id)
        return known if known is not None else Principal.nobody(person_id, "is not in the directory")

    def full_members(self) -> list[Principal]:
        """Everybody in the built-in group `everyone`; meaningful only when `complete`."""
        return [principal for principal in self._principals.values() if EVERYONE in principal.groups]

    def unclear_members(self) -> int:
        """Active people of the workspace itself who are nobody: they may be full members, who read public channels."""
        return sum(
            1
            for person_id, principal in self._principals.items()
            if principal.unknown
            and self._people[person_id].active
            and self._people[person_id].team_id in (None, self.team_id)
        )

    def _resolve(
        self, person: Person, granted: set[str] | None, shared: dict[frozenset[str], frozenset[str]]
    ) -> Principal:
        why = self._why_unknown(person)
        if why:
            return Principal.nobody(person.id, why)
        self._expiry.append(person.seen_at + timedelta(seconds=self._people_limit))
        if not person.active:
            return Principal(person.id, frozenset(), active=False)
        foreign = person.team_id != self.team_id
        if person.kind == "bot" and not foreign:
            return Principal(person.id, frozenset(), bot=True)
        groups = {WORLD}
        if not foreign and person.kind != "stranger":
            groups |= granted or set()
            if person.kind == "full":
                groups.add(EVERYONE)
        key = frozenset(groups)
        return Principal(person.id, shared.setdefault(key, key))

    def _why_unknown(self, person: Person) -> str:
        if not is_fresh(person.seen_at, self.now, self._people_limit):
            return f"was last looked up more than {_span(self._people_limit)} ago"
        if not person.active:
            return ""  # whoever left reads nothing, and directories tell little of them
        if person.kind == "unknown":
            return "has a status that the directory does not tell (member, guest or outsider)"
        if person.team_id is None and person.kind != "stranger":
            return "belongs to a workspace that the directory does not tell"
        return ""

    def _grants(self, snapshot: Snapshot, limits: Limits) -> dict[str, set[str]]:
        """Person id to group names, of every directory that may be believed now."""
        granted: dict[str, set[str]] = defaultdict(set)
        by_email = self._by_email()
        for name, emails in snapshot.static.items():
            if is_reserved(name):
                self._remarks.append(f"[groups] cannot fill the built-in name {name!r}: ignored")
                continue
            self._join(name, emails, by_email, granted)
        if snapshot.groups is None:
            self._notices.append("Slack user groups could not be read: they count as empty")
        elif not snapshot.groups.fresh(self.now, limits.membership_seconds):
            self._notices.append(
                f"Slack user groups are older than {_span(limits.membership_seconds)}: they count as empty"
            )
        else:
            self._expiry.append(snapshot.groups.as_of + timedelta(seconds=limits.membership_seconds))
            for name, members in snapshot.groups.value.items():
                if self._may_fill(name, snapshot):
                    for person_id in members:
                        granted[person_id].add(name)
        for other in snapshot.others:
            self._grant_other(other, limits, by_email, granted)
        return granted

    def _may_fill(self, name: str, snapshot: Snapshot) -> bool:
        owner = name.split(":", 1)[0]
        if is_reserved(name):
            self._remarks.append(f"a Slack user group is called {name!r}, which is built in: ignored")
        elif name in snapshot.static:
            self._remarks.append(f"a Slack user group is called {name!r} like one of [groups]: [groups] counts alone")
        elif any(owner == other.name for other in snapshot.others):
            self._remarks.append(f"a Slack user group is called {name!r} like a group of {owner!r}: ignored")
        else:
            return True
        return False

    def _grant_other(
        self, other: EmailGroups, limits: Limits, by_email: Mapping[str, str], granted: dict[str, set[str]]
    ) -> None:
        if other.answer is None:
            self._notices.append(f"groups of {other.name} could not be read: they count as empty")
            return
        if not other.answer.fresh(self.now, limits.membership_seconds):
            self._notices.append(
                f"groups of {other.name} are older than {_span(limits.membership_seconds)}: they count as empty"
            )
            return
        self._expiry.append(other.answer.as_of + timedelta(seconds=limits.membership_seconds))
        for name, emails in other.answer.value.items():
            if name != other.name and not name.startswith(f"{other.name}:"):
                self._remarks.append(f"{other.name} answered a group {name!r} outside its own names: ignored")
            else:
                self._join(name, emails, by_email, granted)

    def _by_email(self) -> dict[str, str]:
        """Verified e-mail to the one active person of this workspace who has it; ambiguous ones are left out."""
        holders = [
            (normal_email(person.email), person.id)
            for person in self._people.values()
            if person.email
            and person.active
            and person.team_id == self.team_id
            and person.kind not in ("bot", "stranger")
        ]
        count = Counter(address for address, _ in holders)
        return {address: person_id for address, person_id in holders if count[address] == 1}

    def _join(
        self, name: str, emails: Iterable[str], by_email: Mapping[str, str], granted: dict[str, set[str]]
    ) -> None:
        for address in emails:
            person_id = by_email.get(normal_email(address))
            if person_id is not None:
                granted[person_id].add(name)


def _span(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:g} h"
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
