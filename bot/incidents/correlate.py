"""Which open incident an alert belongs to: pure, by time and the call graph alone, with the reason in words.

An alert joins an incident when both began close together and their services are the same or few calls apart in the
call graph that is known at that moment. An alert that stands between two incidents shows that they are one: the
younger is merged into the older. Only an incident that alerts made is merged away; one that another system owns
(PagerDuty, a person) is joined and never moved.

An alert that names no service has no place in the graph: it is put beside the other such alerts of its sender.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

Graph = Mapping[str, frozenset[str]]
"""Who calls whom, in both directions."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How close is close: in time, and in calls between two services."""

    within: timedelta = timedelta(minutes=5)
    hops: int = 2
    most: int = 20
    """Incidents that alerts may open within that time; what comes beyond is put into the last of them."""


class Place(NamedTuple):
    """Where an alert stands: a service, or the sender of alerts that name none."""

    service: str | None
    sender: str = ""

    @classmethod
    def of(cls, service: str | None, sender: str) -> Place:
        return cls(service) if service is not None else cls(None, sender)


@dataclass(slots=True)
class Storm:
    """One open incident as correlation sees it: when something began at which place. Not one entry an alert, so that
    ten thousand alerts of one service are one entry."""

    incident_id: str
    opened_at: datetime
    owned: bool = False
    """Another system says how it goes on; it is never merged into another one."""
    places: dict[Place, tuple[datetime, datetime]] = field(default_factory=dict)
    """The first and the last start of an alert at each place."""
    apart: set[str] = field(default_factory=set)
    """Incidents that a person separated from this one: they are never merged again by an alert."""

    def add(self, place: Place, at: datetime) -> None:
        first, last = self.places.get(place, (at, at))
        self.places[place] = (min(first, at), max(last, at))

    def absorb(self, other: Storm) -> None:
        for place, (first, last) in other.places.items():
            self.add(place, first)
            self.add(place, last)
        self.opened_at = min(self.opened_at, other.opened_at)
        self.apart |= other.apart


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an alert belongs. `incident_id` None: to a new incident. `merged`: incidents it shows to be the same."""

    incident_id: str | None
    reason: str
    merged: tuple[str, ...] = ()


class _Link(NamedTuple):
    storm: Storm
    path: tuple[str, ...]
    """The services between, both ends included; one for the same service, none for alerts without one."""
    seconds: float


class Correlator:
    """The open incidents of a moment and the call graph that is known at it."""

    def __init__(self, graph: Graph, rules: Rules | None = None, storms: Iterable[Storm] = ()) -> None:
        self.rules = rules or Rules()
        self.storms: dict[str, Storm] = {}
        self._graph = graph
        self._near: dict[str, dict[str, tuple[str, ...]]] = {}
        self._at: dict[Place, set[str]] = defaultdict(set)
        for storm in storms:
            self.add(storm)

    def place(self, place: Place, at: datetime) -> Placement:
        """Where an alert at this place that began at this time belongs."""
        links = sorted(self._links(place, at), key=_preference)
        if not links:
            return self._flood(at) or Placement(None, self._alone(place))
        nearest = min(links, key=_nearness)
        one = [link for link in links if not _separated(link.storm, nearest.storm)]
        best = one[0]
        merged = tuple(
            link.storm.incident_id for link in one[1:] if not (link.storm.owned or _separated(link.storm, best.storm))
        )
        return Placement(best.storm.incident_id, self._because(best, place), merged)

    def add(self, storm: Storm) -> None:
        """An open incident that was not known before."""
        self.storms[storm.incident_id] = storm
        for place in storm.places:
            self._at[place].add(storm.incident_id)

    def open(self, incident_id: str, place: Place, at: datetime, *, owned: bool = False) -> Storm:
        """A new incident that began with this alert."""
        storm = self.storms[incident_id] = Storm(incident_id, at, owned)
        self.join(incident_id, place, at)
        return storm

    def join(self, incident_id: str, place: Place, at: datetime) -> None:
        self.storms[incident_id].add(place, at)
        self._at[place].add(incident_id)

    def merge(self, incident_id: str, into: str) -> None:
        gone = self.storms.pop(incident_id)
        self.storms[into].absorb(gone)
        for place in gone.places:
            self._at[place].discard(incident_id)
            self._at[place].add(into)

    def close(self, incident_id: str) -> None:
        """Resolved: nothing joins it any more."""
        if gone := self.storms.pop(incident_id, None):
            for place in gone.places:
                self._at[place].discard(incident_id)

    def _links(self, place: Place, at: datetime) -> Iterable[_Link]:
        """The best link to each incident that is close; only places near this one are looked at."""
        near: Mapping[Place, tuple[str, ...]] = (
            {place: ()} if place.service is None else {Place(k): v for k, v in self._paths(place.service).items()}
        )
        found: dict[str, _Link] = {}
        for other, path in near.items():
            for incident_id in self._at.get(other, ()):
                storm = self.storms[incident_id]
                link = _Link(storm, path, _apart(at, storm.places[other]))
                if link.seconds > self.rules.within.total_seconds():
                    continue
                known = found.get(incident_id)
                if known is None or (len(path), link.seconds, path) < (len(known.path), known.seconds, known.path):
                    found[incident_id] = link
        return found.values()

    def _flood(self, at: datetime) -> Placement | None:
        """Where an alert goes that is close to nothing while everything seems to alert: not into one more card."""
        within = self.rules.within
        young = [one for one in self.storms.values() if not one.owned and abs(one.opened_at - at) <= within]
        if len(young) < self.rules.most:
            return None
        last = max(young, key=lambda one: (one.opened_at, one.incident_id))
        window = _duration(within.total_seconds())
        reason = f"{len(young)} incidents began within {window}: taken as part of the last one"
        return Placement(last.incident_id, reason)

    def _paths(self, service: str) -> Mapping[str, tuple[str, ...]]:
        """The shortest path from a service to each that is at most `hops` calls away, itself included."""
        if service not in self._near:
            found: dict[str, tuple[str, ...]] = {service: (service,)}
            edge = [service]
            for _ in range(self.rules.hops):
                following = []
                for name in edge:
                    for other in sorted(self._graph.get(name, frozenset()) - found.keys()):
                        found[other] = (*found[name], other)
                        following.append(other)
                edge = following
            self._near[service] = found
        return self._near[service]

    def _because(self, link: _Link, place: Place) -> str:
        apart = f"{_duration(link.seconds)} apart"
        if not link.path:
            return f"names no service, like other alerts of {place.sender} that began {apart}"
        if len(link.path) == 1:
            return f"same service, {place.service}, began {apart}"
        calls = "one call" if len(link.path) == 2 else f"{len(link.path) - 1} calls"
        return f"{place.service} is {calls} from {link.path[-1]} ({' – '.join(link.path)}), began {apart}"

    def _alone(self, place: Place) -> str:
        window = _duration(self.rules.within.total_seconds())
        if place.service is None:
            return f"names no service, and no other such alert of {place.sender} began within {window}"
        if place.service not in self._graph:
            return f"no call of {place.service} is known, and nothing open is about it within {window}"
        return f"nothing open within {window} is {place.service} or at most {self.rules.hops} calls from it"


def _preference(link: _Link) -> tuple[bool, int, datetime, str]:
    """The incident that another system owns first, the nearest of those; else the oldest."""
    storm = link.storm
    return (not storm.owned, len(link.path) if storm.owned else 0, storm.opened_at, storm.incident_id)


def _nearness(link: _Link) -> tuple[bool, int, float, datetime, str]:
    storm = link.storm
    return (not storm.owned, len(link.path), link.seconds, storm.opened_at, storm.incident_id)


def _separated(one: Storm, other: Storm) -> bool:
    return other.incident_id in one.apart or one.incident_id in other.apart


def _apart(at: datetime, began: tuple[datetime, datetime]) -> float:
    """Seconds to the span of time in which alerts began; 0 inside it."""
    first, last = began
    return max((first - at).total_seconds(), (at - last).total_seconds(), 0.0)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


# --- what people correct ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """An incident of a merge or split, as the rules see it."""

    incident_id: str
    merged_into: str | None = None
    status: str = "triggered"


@dataclass(frozen=True, slots=True)
class Regrouped:
    """New values of `merged_into` by incident; or the reason, a finished sentence, why nothing changes."""

    merged_into: Mapping[str, str | None] = field(default_factory=dict)
    refused: str = ""


def merged(members: Sequence[Member], incident_id: str, into: str) -> Regrouped:
    """One incident's card, with all that was merged into it, becomes part of another's. `members`: both, and whatever
    is merged into either. Chains are never made: everything points at the one that stands."""
    known = {member.incident_id: member for member in members}
    if incident_id not in known or into not in known:
        missing = incident_id if incident_id not in known else into
        return Regrouped(refused=f"No incident {missing!r}.")
    source, target = (known[one].merged_into or one for one in (incident_id, into))
    if source == target:
        return Regrouped(refused=f"{incident_id} and {into} are one incident already.")
    if known[target].status == "resolved" and known[source].status != "resolved":
        return Regrouped(refused=f"{target} is resolved: merge it into {source}, which is open.")
    moved = [source, *(member.incident_id for member in members if member.merged_into == source)]
    return Regrouped(dict.fromkeys(moved, target))


def separated(members: Sequence[Member], incident_id: str) -> Regrouped:
    """An incident that was merged stands on its own again."""
    known = {member.incident_id: member for member in members}
    if incident_id not in known:
        return Regrouped(refused=f"No incident {incident_id!r}.")
    if known[incident_id].merged_into is None:
        return Regrouped(refused=f"{incident_id} is not merged into another incident.")
    return Regrouped({incident_id: None})


def divided(services: Sequence[str | None], taken: Sequence[str]) -> str:
    """Why the alerts of these services cannot become an incident of their own; empty when they can. `services`: of the
    incident's alerts."""
    absent = [name for name in taken if name not in services]
    if not taken or absent:
        named = ", ".join(repr(name) for name in absent) or "no service"
        return f"No alert of this incident is about {named}."
    if all(service in taken for service in services):
        return "Every alert of this incident would move: there is nothing to split."
    return ""
