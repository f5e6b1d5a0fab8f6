"""`sitrep eval correlate`: incidents per alert storm, and storms that were wrongly taken for one.

ITBench says which alerts belong to one fault, not when they came: arrival times are drawn here (seeded; exponential
gaps of 20 s in the mean, a storm within 5 min, in an order drawn anew). The causal edges of the scenario are the call
graph that is known; of a pair, those of both. Beside it stands what comes of the edges of all scenarios together (what
traces of a whole shop would have taught before), and of those of all others alone: nothing of the storm is known.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import click

from bot.evals.outcome import Bar, report
from bot.evals.storms import Edge, Scenario, graph_of, hops_between, read_scenarios
from bot.incidents.correlate import Correlator, Graph, Place

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
MEAN_GAP_SECONDS = 20.0
STORM_SECONDS = 300.0
FAR = 2
"""Pairs whose alerting entities are more hops apart than this must never be merged."""

Arrival = tuple[float, str, str]
"""Seconds, service, and the storm that the alert is of."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one drawing came to: the storms in each incident that stands, and how many were opened on the way."""

    standing: Sequence[frozenset[str]]
    opened: int

    @property
    def wrong(self) -> int:
        """Incidents that hold alerts of two storms."""
        return sum(len(storms) > 1 for storms in self.standing)


@click.command("correlate")
@click.option(
    "--itbench", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True,
    help="The folder of ITBench's scenarios (scenario_<n>/groundtruth_v1.yaml).",
)  # fmt: skip
@click.option("--draws", default=20, show_default=True, type=click.IntRange(1), help="Drawings of times per case.")
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(itbench: Path, draws: int, seed: int, as_json: bool) -> None:
    """Draw alert storms and count incidents. Bars: one incident a storm, no merge of storms that are far apart."""
    cases, totals, bars = measure(read_scenarios(itbench), draws, seed)
    report(cases, totals, bars, as_json=as_json)


def measure(
    scenarios: Sequence[Scenario], draws: int, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Any], list[Bar]]:
    """Cases (storms, then pairs), totals and bars."""
    drawn = [one for one in scenarios if one.placed]
    everything = frozenset(edge for one in scenarios for edge in one.edges)
    storms = [_storm(one, scenarios, draws, seed) for one in drawn]
    pairs = [_pair(one, other, everything, draws, seed) for one, other in combinations(drawn, 2)]
    judged = [pair for pair in pairs if pair["judged"]]
    others = [pair for pair in pairs if not pair["judged"]]
    judged_by_all = [pair for pair in pairs if pair["judged_with_the_edges_of_all"]]
    connected = [storm for storm in storms if storm["pieces"] == 1]
    totals: dict[str, Any] = {
        "scenarios_with_alerts": len(scenarios),
        "without_an_entity": [one.name for one in scenarios if not one.placed],
        "storms": len(storms),
        "alerts": sum(len(one.placed) for one in drawn),
        "alerts_without_an_entity": sum(len(one.alerts) - len(one.placed) for one in scenarios),
        "draws": draws,
        "incidents_per_storm": _mean(storm["incidents_per_storm"] for storm in storms),
        "opened_per_storm": _mean(storm["opened_per_storm"] for storm in storms),
        "pieces_per_storm": _mean(storm["pieces"] for storm in storms),
        "connected_storms": len(connected),
        "incidents_per_connected_storm": _mean(storm["incidents_per_storm"] for storm in connected),
        "incidents_per_storm_with_the_edges_of_all": _mean(storm["with_the_edges_of_all"] for storm in storms),
        "incidents_per_storm_with_the_edges_of_the_others": _mean(
            storm["with_the_edges_of_the_others"] for storm in storms
        ),
        "pairs": len(pairs),
        "pairs_judged": len(judged),
        "pairs_left_out": len(others),
        "wrong_merges": sum(pair["wrong_merges"] for pair in judged),
        "merges_per_pair_left_out": _mean(pair["wrong_merges"] / draws for pair in others),
        "pairs_judged_with_the_edges_of_all": len(judged_by_all),
        "wrong_merges_with_the_edges_of_all": sum(p["wrong_merges_with_the_edges_of_all"] for p in judged_by_all),
    }
    names = ("incidents_per_storm", "incidents_per_storm_with_the_edges_of_all")
    bars = [Bar(name, totals[name], 1.0, "at most") for name in names]
    names = ("wrong_merges", "wrong_merges_with_the_edges_of_all")
    bars += [Bar(name, totals[name], 0, "at most") for name in names]
    return [*storms, *pairs], totals, bars


def _storm(scenario: Scenario, scenarios: Sequence[Scenario], draws: int, seed: int) -> dict[str, Any]:
    others = [edge for one in scenarios if one is not scenario for edge in one.edges]
    own, before, whole = graph_of(scenario.edges), graph_of(others), graph_of([*others, *scenario.edges])
    times = [arrivals(scenario, seed, draw) for draw in range(draws)]
    outcomes = [replay(one, own) for one in times]
    return {
        "kind": "storm",
        "scenario": scenario.name,
        "alerts": len(scenario.placed),
        "alerts_without_an_entity": len(scenario.alerts) - len(scenario.placed),
        "services": sorted({one.service for one in scenario.placed if one.service}),
        "pieces": len(pieces(own, {one.service for one in scenario.placed if one.service})),
        "incidents_per_storm": _mean(len(one.standing) for one in outcomes),
        "opened_per_storm": _mean(one.opened for one in outcomes),
        "most_incidents": max(len(one.standing) for one in outcomes),
        "with_the_edges_of_all": _mean(len(replay(one, whole).standing) for one in times),
        "with_the_edges_of_the_others": _mean(len(replay(one, before).standing) for one in times),
    }


def _pair(one: Scenario, other: Scenario, everything: frozenset[Edge], draws: int, seed: int) -> dict[str, Any]:
    graph, whole = graph_of(one.edges | other.edges), graph_of(everything)
    ours, theirs = ({alert.service for alert in s.placed if alert.service} for s in (one, other))
    hops = hops_between(graph, ours, theirs)
    far = hops_between(whole, ours, theirs)
    times = [[*arrivals(one, seed, draw), *arrivals(other, seed, draw)] for draw in range(draws)]
    return {
        "kind": "pair",
        "pair": [one.name, other.name],
        "hops": hops,
        "judged": hops is None or hops > FAR,
        "wrong_merges": sum(replay(drawn, graph).wrong for drawn in times),
        "hops_with_the_edges_of_all": far,
        "judged_with_the_edges_of_all": far is None or far > FAR,
        "wrong_merges_with_the_edges_of_all": sum(replay(drawn, whole).wrong for drawn in times),
    }


def arrivals(scenario: Scenario, seed: int, draw: int) -> list[Arrival]:
    """When each alert comes, in seconds; the same for the same scenario, seed and drawing."""
    dice = random.Random(f"{seed}/{scenario.name}/{draw}")
    order = [alert.service for alert in scenario.placed if alert.service is not None]
    dice.shuffle(order)
    for _ in range(1000):  # a storm that takes longer than 5 min is drawn again
        times, now = [], 0.0
        for _ in order:
            times.append(now)
            now += dice.expovariate(1 / MEAN_GAP_SECONDS)
        if times[-1] <= STORM_SECONDS:
            break
    else:
        times = [one * STORM_SECONDS / times[-1] for one in times]
    return [(at, service, scenario.name) for at, service in zip(times, order, strict=True)]


def replay(alerts: Iterable[Arrival], graph: Graph) -> Outcome:
    """What correlation makes of alerts that arrive in order of their times."""
    correlator = Correlator(graph)
    holds: dict[str, set[str]] = {}
    for number, (seconds, service, storm) in enumerate(sorted(alerts)):
        place, at = Place(service), BEGAN + timedelta(seconds=seconds)
        found = correlator.place(place, at)
        incident_id = found.incident_id or f"I{number}"
        for gone in found.merged:
            correlator.merge(gone, incident_id)
            holds[incident_id] |= holds[gone]
        if found.incident_id is None:
            correlator.open(incident_id, place, at)
        correlator.join(incident_id, place, at)
        holds.setdefault(incident_id, set()).add(storm)
    return Outcome([frozenset(holds[one]) for one in correlator.storms], len(holds))


def pieces(graph: Graph, services: Iterable[str]) -> list[frozenset[str]]:
    """The alerting services in the fewest incidents that the rule allows with this graph: each at most two hops from
    another one of its piece."""
    left, found = set(services), []
    while left:
        piece, edge = set(), {min(left)}
        while edge:
            piece |= edge
            left -= edge
            near = (hops_between(graph, {other}, piece) for other in left)
            edge = {other for other, hops in zip(tuple(left), near, strict=True) if hops is not None and hops <= FAR}
        found.append(frozenset(piece))
    return found


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return round(sum(listed) / len(listed), 4) if listed else 0.0
