"""Evaluates the part of PromQL that dashboards and alerting rules use, over any source of samples.

Selectors with matchers, ranges and offsets; `rate`, `increase` and their kin with Prometheus' own extrapolation
(promql/functions.go, `extrapolatedRate`); `…_over_time`; `histogram_quantile`; the usual aggregations with `by` and
`without`; arithmetic, comparison and set operators with `on` and `ignoring` (one to one). What is left out is refused
with Prometheus' error shape: subqueries, `@`, native histograms, `group_left`.
"""

from __future__ import annotations

import bisect
import itertools
import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from demo.maths import quantile
from demo.promql_parse import Node, QueryError, parse

LOOKBACK_SECONDS = 300.0
"""How old a sample an instant selector still takes."""
Labels = tuple[tuple[str, str], ...]
Vector = dict[Labels, float]
Value = float | Vector
_AGGREGATIONS: dict[str, Callable[[list[float]], float]] = {
    "sum": math.fsum,
    "avg": lambda values: math.fsum(values) / len(values),
    "min": min,
    "max": max,
    "count": lambda values: float(len(values)),
    "group": lambda values: 1.0,
    "stddev": lambda values: math.sqrt(
        math.fsum((v - math.fsum(values) / len(values)) ** 2 for v in values) / len(values)
    ),
}
_OVER_TIME: dict[str, Callable[[list[float]], float]] = {
    **{f"{name}_over_time": _AGGREGATIONS[name] for name in ("sum", "avg", "min", "max", "count", "stddev")},
    "last_over_time": lambda values: values[-1],
    "present_over_time": lambda values: 1.0,
}
_MATHS: dict[str, Callable[[float], float]] = {
    "abs": abs, "ceil": math.ceil, "floor": math.floor, "round": lambda value: math.floor(value + 0.5),
    "sqrt": lambda value: math.sqrt(value) if value >= 0 else math.nan,
    "ln": lambda value: math.log(value) if value > 0 else math.nan,
}  # fmt: skip
_COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt,
}  # fmt: skip


class Samples(Protocol):
    """Where samples come from: every series of that name that `keep` accepts, samples in [start, end]."""

    def select(
        self, name: str | None, keep: Callable[[Mapping[str, str]], bool], start: float, end: float
    ) -> list[tuple[Mapping[str, str], Sequence[tuple[float, float]]]]: ...


def evaluate(query: str, at: float, samples: Samples) -> Value:
    """The query's value at one moment. Raises QueryError."""
    node = parse(query)
    if node.kind == "selector" and node.value["range"]:
        raise QueryError('invalid expression type "range vector" for a query at one moment')
    return _evaluate(node, at, samples)


def evaluate_range(
    query: str, start: float, end: float, step: float, samples: Samples
) -> dict[Labels, list[tuple[float, float]]]:
    """The query at start, start + step, … up to end; a series misses the moments at which it has no value."""
    node = parse(query)
    fetched = _Fetched(node, start, end, samples)
    made: dict[Labels, list[tuple[float, float]]] = defaultdict(list)
    for index in range(int((end - start) / step + 1e-9) + 1):
        at = start + index * step
        value = _evaluate(node, at, fetched)
        for labels, number in (value if isinstance(value, dict) else {(): value}).items():
            made[labels].append((at, number))
    return dict(made)


class _Fetched:
    """The samples of each selector of a query over a whole range, selected once and cut to size at each step."""

    def __init__(self, node: Node, start: float, end: float, samples: Samples) -> None:
        self._found: dict[int, list[tuple[Labels, list[float], list[tuple[float, float]]]]] = {}
        for selector in _selectors(node):
            span = selector.value["range"] or LOOKBACK_SECONDS
            first, last = start - selector.value["offset"] - span, end - selector.value["offset"]
            self._found[id(selector)] = [
                (tuple(sorted(labels.items())), [at for at, _ in points], list(points))
                for labels, points in samples.select(selector.value["name"], _keeper(selector), first, last)
            ]

    def cut(self, node: Node, start: float, end: float) -> dict[Labels, list[tuple[float, float]]]:
        made = {}
        for labels, times, points in self._found[id(node)]:
            low, high = bisect.bisect_left(times, start), bisect.bisect_right(times, end)
            if low < high:
                made[labels] = points[low:high]
        return made


def _selectors(node: Node) -> Iterator[Node]:
    if node.kind == "selector":
        yield node
    for one in node.inner:
        yield from _selectors(one)


# --- evaluating --------------------------------------------------------------------------------------------------


def _evaluate(node: Node, at: float, samples: Samples | _Fetched) -> Value:
    if node.kind == "number":
        return float(node.value)
    if node.kind == "selector":
        if node.value["range"]:
            raise QueryError("expected an instant vector, got a range vector")
        return {labels: points[-1][1] for labels, points in _select(node, at, LOOKBACK_SECONDS, samples).items()}
    if node.kind == "aggregate":
        return _aggregate(node, at, samples)
    if node.kind == "call":
        return _call(node, at, samples)
    if node.kind == "binary":
        return _binary(node, _evaluate(node.inner[0], at, samples), _evaluate(node.inner[1], at, samples))
    raise QueryError(f"a {node.kind} cannot stand here")


def _select(node: Node, at: float, span: float, samples: Samples | _Fetched) -> dict[Labels, list[tuple[float, float]]]:
    moment = at - node.value["offset"]
    if isinstance(samples, _Fetched):
        return samples.cut(node, moment - span, moment)
    found = samples.select(node.value["name"], _keeper(node), moment - span, moment)
    return {tuple(sorted(labels.items())): list(points) for labels, points in found if points}


def _keeper(node: Node) -> Callable[[Mapping[str, str]], bool]:
    def keep(labels: Mapping[str, str]) -> bool:
        return all(_matches(labels.get(one, ""), compare, wanted) for one, compare, wanted in node.value["matchers"])

    return keep


def _matches(value: str, compare: str, wanted: str) -> bool:
    if compare in ("=", "!="):
        return (value == wanted) == (compare == "=")
    try:
        return (re.fullmatch(wanted, value) is not None) == (compare == "=~")
    except re.error as error:
        raise QueryError(f"error parsing regexp: {error}") from None


def _call(node: Node, at: float, samples: Samples | _Fetched) -> Value:
    name, inner = node.value, node.inner
    if name in ("rate", "increase", "irate", "delta", "idelta", *_OVER_TIME):
        source = inner[-1] if inner else node
        if source.kind != "selector" or not source.value["range"]:
            raise QueryError(f'expected type range vector in call to function "{name}"')
        span = source.value["range"]
        moment = at - source.value["offset"]
        made: Vector = {}
        for labels, points in _select(source, at, span, samples).items():
            value = _over_range(name, points, moment - span, moment)
            if value is not None:
                made[_unnamed(labels)] = value
        return made
    values = [_evaluate(one, at, samples) for one in inner if one.kind != "string"]
    if name == "histogram_quantile":
        return _histogram_quantile(_number(values[0]), _vector(values[1]))
    if name in _MATHS:
        return {_unnamed(labels): _MATHS[name](value) for labels, value in _vector(values[0]).items()}
    if name in ("clamp_min", "clamp_max"):
        pick = max if name == "clamp_min" else min
        return {_unnamed(labels): pick(value, _number(values[1])) for labels, value in _vector(values[0]).items()}
    if name == "vector":
        return {(): _number(values[0])}
    if name == "scalar":
        vector = _vector(values[0])
        return next(iter(vector.values())) if len(vector) == 1 else math.nan
    if name == "time":
        return at
    if name == "absent":
        return {} if _vector(values[0]) else {(): 1.0}
    if name in ("sort", "sort_desc"):
        pairs = sorted(_vector(values[0]).items(), key=lambda pair: pair[1], reverse=name == "sort_desc")
        return dict(pairs)
    raise QueryError(f'unknown function with name "{name}"')


def _over_range(name: str, points: list[tuple[float, float]], start: float, end: float) -> float | None:
    if name in _OVER_TIME:
        return _OVER_TIME[name]([value for _, value in points])
    if len(points) < 2:
        return None
    if name in ("irate", "idelta"):
        (before, first), (after, last) = points[-2:]
        rise = last if name == "irate" and last < first else last - first
        return rise / (after - before) if name == "irate" else rise
    return _extrapolated(name, points, start, end)


def _extrapolated(name: str, points: list[tuple[float, float]], start: float, end: float) -> float:
    counter = name != "delta"
    rise = points[-1][1] - points[0][1]
    if counter:
        rise += sum(before for (_, before), (_, after) in itertools.pairwise(points) if after < before)
    sampled = points[-1][0] - points[0][0]
    to_start, to_end = points[0][0] - start, end - points[-1][0]
    average = sampled / (len(points) - 1)
    limit = average * 1.1
    if to_start >= limit:
        to_start = average / 2
    if counter and rise > 0 and points[0][1] >= 0:
        to_start = min(to_start, sampled * points[0][1] / rise)
    if to_end >= limit:
        to_end = average / 2
    rise *= (sampled + to_start + to_end) / sampled
    return rise / (end - start) if name == "rate" else rise


def _histogram_quantile(q: float, vector: Vector) -> Vector:
    groups: dict[Labels, dict[float, float]] = defaultdict(dict)
    for labels, value in vector.items():
        border = dict(labels).get("le")
        if border is not None:
            rest = tuple(pair for pair in _unnamed(labels) if pair[0] != "le")
            groups[rest][float(border)] = value
    return {labels: quantile(q, buckets) for labels, buckets in groups.items()}


def _aggregate(node: Node, at: float, samples: Samples | _Fetched) -> Value:
    name = node.value["name"]
    how, names = node.value["grouping"]
    vector = _vector(_evaluate(node.inner[-1], at, samples))
    groups: dict[Labels, list[tuple[Labels, float]]] = defaultdict(list)
    for labels, value in vector.items():
        kept = tuple(pair for pair in labels if (pair[0] in names) == (how == "by") and pair[0] != "__name__")
        groups[kept].append((labels, value))
    if name in ("topk", "bottomk"):
        count = int(_number(_evaluate(node.inner[0], at, samples)))
        picked = [
            sorted(members, key=lambda pair: pair[1], reverse=name == "topk")[:count] for members in groups.values()
        ]
        return {labels: value for members in picked for labels, value in members}
    if name == "quantile":
        q = _number(_evaluate(node.inner[0], at, samples))
        return {labels: _plain_quantile(q, [value for _, value in members]) for labels, members in groups.items()}
    return {labels: float(_AGGREGATIONS[name]([value for _, value in members])) for labels, members in groups.items()}


def _plain_quantile(q: float, values: list[float]) -> float:
    ordered = sorted(values)
    rank = q * (len(ordered) - 1)
    low = max(0, min(math.floor(rank), len(ordered) - 1))
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def _binary(node: Node, left: Value, right: Value) -> Value:
    op = node.value["op"]
    if isinstance(left, float | int) and isinstance(right, float | int):
        if op in _COMPARE:
            return float(_COMPARE[op](left, right))
        return _calculate(op, float(left), float(right))
    if op in ("and", "or", "unless"):
        return _sets(node, _vector(left), _vector(right))
    if isinstance(left, dict) and isinstance(right, dict):
        other = {_key(node, labels): value for labels, value in right.items()}
        pairs = [(labels, value, other[key]) for labels, value in left.items() if (key := _key(node, labels)) in other]
    elif isinstance(left, dict):
        pairs = [(labels, value, float(right)) for labels, value in left.items()]  # type: ignore[arg-type]
    else:
        pairs = [(labels, float(left), value) for labels, value in right.items()]  # type: ignore[union-attr]
    made: Vector = {}
    for labels, one, two in pairs:
        if op not in _COMPARE:
            made[_key(node, labels)] = _calculate(op, one, two)
        elif node.value["bool"]:
            made[_key(node, labels)] = float(_COMPARE[op](one, two))
        elif _COMPARE[op](one, two):
            made[labels] = one if isinstance(left, dict) else two
    return made


def _sets(node: Node, left: Vector, right: Vector) -> Vector:
    op = node.value["op"]
    mine, theirs = ({_key(node, labels) for labels in side} for side in (left, right))
    if op == "or":
        return {**left, **{labels: value for labels, value in right.items() if _key(node, labels) not in mine}}
    return {labels: value for labels, value in left.items() if (_key(node, labels) in theirs) == (op == "and")}


def _key(node: Node, labels: Labels) -> Labels:
    matching = node.value["matching"]
    if matching is None:
        return _unnamed(labels)
    how, names = matching
    return tuple(pair for pair in _unnamed(labels) if (pair[0] in names) == (how == "on"))


def _calculate(op: str, left: float, right: float) -> float:
    if op == "/":
        if right:
            return left / right
        return math.nan if not left or math.isnan(left) else math.copysign(math.inf, left)
    if op == "%":
        return math.fmod(left, right) if right else math.nan
    simple: dict[str, Callable[[float, float], float]] = {
        "+": operator.add, "-": operator.sub, "*": operator.mul, "^": operator.pow,
    }  # fmt: skip
    return float(simple[op](left, right))


def _unnamed(labels: Labels) -> Labels:
    return tuple(pair for pair in labels if pair[0] != "__name__")


def _vector(value: Value) -> Vector:
    if not isinstance(value, dict):
        raise QueryError("expected type instant vector, got scalar")
    return value


def _number(value: Value) -> float:
    if isinstance(value, dict):
        raise QueryError("expected type scalar, got instant vector")
    return float(value)
