"""The call graph between services: how far, and whether at all."""

from __future__ import annotations

from collections.abc import Mapping


def distances(start: str, edges: frozenset[tuple[str, str]]) -> dict[str, int]:
    """Calls between `start` and everything that it reaches, itself at 0."""
    callees = _adjacent(edges)
    found = {start: 0}
    frontier = [start]
    while frontier:
        reached = []
        for caller in frontier:
            for callee in callees.get(caller, ()):
                if callee not in found:
                    found[callee] = found[caller] + 1
                    reached.append(callee)
        frontier = sorted(reached)
    return found


def connected(alerting: str | None, edges: frozenset[tuple[str, str]]) -> frozenset[str] | None:
    """What the alerting service reaches or is reached from; None when the graph does not know the service."""
    if alerting is None or not any(alerting in edge for edge in edges):
        return None
    callers = frozenset((callee, caller) for caller, callee in edges)
    return frozenset(distances(alerting, edges)) | frozenset(distances(alerting, callers))


def _adjacent(edges: frozenset[tuple[str, str]]) -> Mapping[str, list[str]]:
    callees: dict[str, list[str]] = {}
    for caller, callee in edges:
        if caller != callee:
            callees.setdefault(caller, []).append(callee)
    return callees
