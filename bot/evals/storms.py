"""Labelled alert storms in ITBench's form: which alerts belong to one fault, and how the fault spreads.

Source: https://github.com/itbench-hub/ITBench, ground truth version 1 (a document, or its `spec`). Of a scenario that
has only version 2 the alerts are known by name alone, and no entity says where they stand.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.errors import MissingPart, SitrepError

WORKLOADS = frozenset({"Service", "Pod", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ServiceOperation"})
"""Kinds that are faces of one service when they have its name."""
_ID_TAIL = re.compile(r"-(service|pod|deployment|replicaset|endpoint)(-\d+)?$|-\d+$")
_PATTERN = re.compile(r"\\b|\^|\$|-?\.\*.*|-?\[.*|(-v)?\*$")

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Stated:
    """One alert as a scenario states it; `service` None: it names no entity."""

    name: str
    service: str | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault: its alerts, and its causal edges between services (and whatever else takes part)."""

    name: str
    alerts: tuple[Stated, ...]
    edges: frozenset[Edge]

    @property
    def placed(self) -> tuple[Stated, ...]:
        return tuple(one for one in self.alerts if one.service is not None)


def read_scenarios(folder: Path) -> list[Scenario]:
    """Every scenario that has alerts, in order of its number. Raises SitrepError for what cannot be read."""
    folders = sorted(
        (one for one in folder.glob("scenario_*") if one.is_dir()), key=lambda one: (_number(one.name), one.name)
    )
    if not folders:
        raise SitrepError(f"{str(folder)!r} holds no folder scenario_<n>; name the folder of ITBench's scenarios")
    found = [_read(one) for one in folders]
    return [one for one in found if one.alerts]


def graph_of(edges: Iterable[Edge]) -> dict[str, frozenset[str]]:
    """Neighbours in both directions."""
    found: dict[str, set[str]] = defaultdict(set)
    for one, other in edges:
        if one != other:
            found[one].add(other)
            found[other].add(one)
    return {name: frozenset(others) for name, others in found.items()}


def hops_between(graph: Mapping[str, frozenset[str]], some: Iterable[str], others: Iterable[str]) -> int | None:
    """The fewest edges between one of these and one of those; None when no path leads there."""
    wanted, edge, seen, hops = set(others), set(some), set(some), 0
    while edge:
        if edge & wanted:
            return hops
        edge = {other for name in edge for other in graph.get(name, ())} - seen
        seen |= edge
        hops += 1
    return None


def _number(name: str) -> int:
    tail = name.rpartition("_")[2]
    return int(tail) if tail.isdigit() else 0


def _read(folder: Path) -> Scenario:
    first, second = _document(folder / "groundtruth_v1.yaml"), _document(folder / "groundtruth.yaml")
    if first is None and second is None:
        raise SitrepError(f"{folder.name} holds neither groundtruth_v1.yaml nor groundtruth.yaml")
    if first is None:
        stated = [Stated(_text(one.get("name")), None) for one in _objects((second or {}).get("alerts"))]
        return Scenario(folder.name, tuple(stated), frozenset())
    names = _names(first)
    alerts = []
    for one in _objects(first.get("alerts")):
        group = _text(one.get("group_id"))
        alerts.append(Stated(_text(one.get("id")), (names.get(group) or _ID_TAIL.sub("", group)) if group else None))
    edges = {
        tuple(names.get(_text(one.get(end))) or _text(one.get(end)) for end in ("source", "target"))
        for one in _objects(first.get("propagations"))
    }
    return Scenario(folder.name, tuple(alerts), frozenset((a, b) for a, b in edges))


def _document(path: Path) -> dict[str, Any] | None:
    try:
        import yaml
    except ImportError as missing:
        raise MissingPart("this eval reads YAML; install pyyaml") from missing
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as wrong:
        raise SitrepError(f"{path.parent.name}/{path.name} cannot be read ({type(wrong).__name__})") from wrong
    if not isinstance(read, dict):
        raise SitrepError(f"{path.parent.name}/{path.name} is no ground truth: a mapping was expected")
    spec = read.get("spec", read)
    return spec if isinstance(spec, dict) else {}


def _names(document: Mapping[str, Any]) -> dict[str, str]:
    """What each group is called: the service whose face it is, by its own name and by the scenario's aliases."""
    groups = {_text(one.get("id")): one for one in _objects(document.get("groups"))}
    names = {group_id: _name(group_id, one) for group_id, one in groups.items()}
    for aliases in document.get("aliases") or []:
        known = [_text(one) for one in aliases if _text(one) in groups]
        faces = sorted(known, key=lambda one: (groups[one].get("kind") != "Service", known.index(one)))
        for one in faces[1:]:
            names[one] = names[faces[0]]
    return names


def _name(group_id: str, group: Mapping[str, Any]) -> str:
    filters: Sequence[Any] = group.get("filter") or ()
    said = _text(group.get("name")) or (_text(filters[0]) if filters else "")
    name = _PATTERN.sub("", said) or _ID_TAIL.sub("", group_id)
    kind = _text(group.get("kind"))
    return name if kind in WORKLOADS else f"{kind} {name}"


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
