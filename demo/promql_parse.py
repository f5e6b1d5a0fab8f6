"""PromQL as text to a tree of nodes: the grammar of `promql`, with Prometheus' own words for what is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

AGGREGATIONS = ("sum", "avg", "min", "max", "count", "group", "stddev", "topk", "bottomk", "quantile")
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
_PRECEDENCE = {
    "or": 1, "and": 2, "unless": 2, "==": 3, "!=": 3, "<=": 3, "<": 3, ">=": 3, ">": 3,
    "+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "^": 6,
}  # fmt: skip


class QueryError(ValueError):
    """The query cannot be evaluated; `kind` is Prometheus' errorType."""

    def __init__(self, message: str, kind: str = "bad_data") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the parsed query: what it is, its parameters, its operands."""

    kind: str
    value: Any = None
    inner: tuple[Node, ...] = ()


def duration(text: str) -> float:
    """Seconds of a duration such as `5m`, `1h30m` or `90`. Raises QueryError."""
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    if parts and "".join(f"{number}{unit}" for number, unit in parts) == text:
        return float(sum(int(number) * _UNITS[unit] for number, unit in parts))
    try:
        return float(text)
    except ValueError:
        raise QueryError(f"cannot parse {text!r} to a valid duration") from None


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
        if kind == "name" and text in AGGREGATIONS:
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
