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
from dataclasses import dataclass
from typing import Any, Protocol

from demo.maths import quantile

LOOKBACK_SECONDS = 300.0
"""How old a sample an instant selector still takes."""
Labels = tuple[tuple[str, str], ...]
Vector = dict[Labels, float]
Value = float | Vector
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<duration>(?:\d+(?:ms|[smhdwy]))+)(?![\w.])
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|(?:[Ii]nf|[Nn]a[Nn])\b)
    | (?P<range>\[[^\]]*\])
    | (?P<name>[a-zA-Z_:][\w:]*)
    | (?P<op>=~|!~|!=|==|>=|<=|[-+*/%^(){},=<>])
    )""",
    re.VERBOSE,
)
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
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
_PRECEDENCE = {
    "or": 1, "and": 2, "unless": 2, "==": 3, "!=": 3, "<=": 3, "<": 3, ">=": 3, ">": 3,
    "+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "^": 6,
}  # fmt: skip
_COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt,
}  # fmt: skip


class QueryError(ValueError):
    """The query cannot be evaluated; `kind` is Prometheus' errorType."""

    def __init__(self, message: str, kind: str = "bad_data") -> None:
        super().__init__(message)
        self.kind = kind


class Samples(Protocol):
    """Where samples come from: every series of that name that `keep` accepts, samples in [start, end]."""

    def select(
        self, name: str | None, keep: Callable[[Mapping[str, str]], bool], start: float, end: float
    ) -> list[tuple[Mapping[str, str], Sequence[tuple[float, float]]]]: ...


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the parsed query: what it is, its parameters, its operands."""

    kind: str
    value: Any = None
    inner: tuple[Node, ...] = ()


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


def duration(text: str) -> float:
    """Seconds of a duration such as `5m`, `1h30m` or `90`. Raises QueryError."""
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    if parts and "".join(f"{number}{unit}" for number, unit in parts) == text:
        return float(sum(int(number) * _UNITS[unit] for number, unit in parts))
    try:
        return float(text)
    except ValueError:
        raise QueryError(f"cannot parse {text!r} to a valid duration") from None


# --- parsing -----------------------------------------------------------------------------------------------------


def parse(query: str) -> Node:
    """Raises QueryError with the position, as Prometheus does."""
    return _Parser(query).whole()


class _Parser:
    def __init__(self, query: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        at = 0
        while query[at:].strip():
            match = _TOKEN.match(query, at)
            if match is None:
                raise QueryError(f"1:{at + 1}: parse error: unexpected character: {query[at:].lstrip()[0]!r}")
            kind = match.lastgroup or ""
            self._tokens.append((kind, match[kind], match.start(kind)))
            at = match.end()
        self._tokens.append(("end", "", len(query)))
        self._at = 0

    def whole(self) -> Node:
        if self._peek()[0] == "end":
            raise QueryError("unknown position: parse error: no expression found in input")
        node = self._binary(0)
        if self._peek()[0] != "end":
            raise self._unexpected()
        return node

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._at]

    def _next(self) -> tuple[str, str, int]:
        if self._peek()[0] == "end":
            raise self._unexpected()
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, text: str) -> bool:
        if self._peek()[1] == text and self._peek()[0] in ("op", "name"):
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._unexpected()

    def _unexpected(self) -> QueryError:
        kind, text, at = self._peek()
        return QueryError(f"1:{at + 1}: parse error: unexpected {'end of input' if kind == 'end' else repr(text)}")

    def _binary(self, least: int) -> Node:
        left = self._unary()
        while (op := self._peek()[1]) in _PRECEDENCE and self._peek()[0] in ("op", "name") and _PRECEDENCE[op] >= least:
            self._next()
            as_bool = self._take("bool")
            matching: tuple[str, tuple[str, ...]] | None = None
            if self._peek()[1] in ("on", "ignoring"):
                matching = (self._next()[1], self._names())
            if self._peek()[1] in ("group_left", "group_right"):
                raise QueryError("many-to-one matching is not evaluated here", "execution")
            right = self._binary(_PRECEDENCE[op] + (0 if op == "^" else 1))
            left = Node("binary", {"op": op, "bool": as_bool, "matching": matching}, (left, right))
        return left

    def _unary(self) -> Node:
        if self._take("-"):
            return Node("binary", {"op": "*", "bool": False, "matching": None}, (Node("number", -1.0), self._unary()))
        self._take("+")
        return self._primary()

    def _primary(self) -> Node:
        kind, text, _ = self._peek()
        if self._take("("):
            node = self._binary(0)
            self._expect(")")
            return node
        if kind == "number":
            self._next()
            return Node("number", float(text))
        if kind == "string":
            self._next()
            return Node("string", _unquote(text))
        if kind == "name" and text in (*_AGGREGATIONS, "topk", "bottomk", "quantile"):
            return self._aggregation()
        if kind == "name" and self._tokens[self._at + 1][1] == "(":
            self._next()
            return Node("call", text, self._arguments())
        if kind == "name" or text == "{":
            return self._selector()
        raise self._unexpected()

    def _aggregation(self) -> Node:
        name = self._next()[1]
        grouping = self._grouping()
        arguments = self._arguments()
        grouping = grouping or self._grouping() or ("by", ())
        return Node("aggregate", {"name": name, "grouping": grouping}, arguments)

    def _grouping(self) -> tuple[str, tuple[str, ...]] | None:
        if self._peek()[1] in ("by", "without"):
            return self._next()[1], self._names()
        return None

    def _names(self) -> tuple[str, ...]:
        self._expect("(")
        names = []
        while not self._take(")"):
            names.append(self._next()[1])
            self._take(",")
        return tuple(names)

    def _arguments(self) -> tuple[Node, ...]:
        self._expect("(")
        made = []
        while not self._take(")"):
            if self._peek()[0] == "end":
                raise QueryError(f"1:{self._peek()[2] + 1}: parse error: unclosed left parenthesis")
            made.append(self._binary(0))
            if self._peek()[1] != ")" and not self._take(","):
                self._expect(")")
        return tuple(made)

    def _selector(self) -> Node:
        name = self._next()[1] if self._peek()[0] == "name" else None
        matchers = []
        if self._take("{"):
            while not self._take("}"):
                label, compare, wanted = self._next()[1], self._next()[1], self._next()
                if compare not in ("=", "!=", "=~", "!~") or wanted[0] != "string":
                    raise QueryError(f"1:{wanted[2] + 1}: parse error: unexpected {wanted[1]!r} in label matching")
                matchers.append((label, compare, _unquote(wanted[1])))
                self._take(",")
        span = 0.0
        if self._peek()[0] == "range":
            text = self._next()[1][1:-1].strip()
            if ":" in text:
                raise QueryError("subqueries are not evaluated here", "execution")
            span = duration(text)
        offset = 0.0
        if self._take("offset"):
            sign = -1.0 if self._take("-") else 1.0
            offset = sign * duration(self._next()[1])
        if name is None and not matchers:
            raise self._unexpected()
        return Node("selector", {"name": name, "matchers": tuple(matchers), "range": span, "offset": offset})


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), text[1:-1])


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
