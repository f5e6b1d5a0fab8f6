"""The risk of a change by rules that anybody can check: no model, no history, the diff alone. Pure.

A rule gives a reason with its place and its level; the risk of a change is the highest of its reasons, "low" without
one. The rules look for what public incident reports name most often: lowered limits, removed guards, schemas changed
under running code, doors opened, and changes too large to be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from bot.guardrails.diff import Diff, FileChange, Line

Risk = Literal["low", "medium", "high"]
LEVELS: tuple[Risk, ...] = ("low", "medium", "high")
MANY_LINES = 600
MANY_FILES = 40
MOST_REASONS = 200
_FALLS_FAR = 4.0
_FALLS = 1.5


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a change is riskier than others. `text` is ours, `path` the change's own word; `line` 0: the whole file."""

    risk: Risk
    kind: str
    text: str
    path: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Pattern:
    """Added lines that mean something wherever they stand."""

    risk: Risk
    kind: str
    text: str
    expression: re.Pattern[str]


def _pattern(risk: Risk, kind: str, text: str, expression: str) -> Pattern:
    return Pattern(risk, kind, text, re.compile(expression, re.IGNORECASE))


ADDED: tuple[Pattern, ...] = (
    _pattern("high", "data", "drops a table, a column or a database",
             r"\b(?:drop\s+(?:table|column|database|schema)|truncate\s+(?:table\s+)?[\w.\"`]+)|\b(?:drop_table|drop_column|remove_column)\b"),
    _pattern("high", "data", "deletes or changes every row of a table",
             r"\bdelete\s+from\s+[\w.\"`]+\s*(?:;|\"|'|$)|\bupdate\s+[\w.\"`]+\s+set\b(?!.*\bwhere\b).*;\s*$"),
    _pattern("high", "security", "turns off the check of certificates",
             r"\b(?:verify\s*=\s*False|InsecureSkipVerify\s*[:=]\s*true|rejectUnauthorized\s*:\s*false|check_hostname\s*=\s*False|CERT_NONE)\b"
             r"|NODE_TLS_REJECT_UNAUTHORIZED\D{0,4}0|(?<![\w-])--insecure\b"),
    _pattern("high", "security", "opens a door to everybody",
             r"0\.0\.0\.0/0|::/0|\"?Principal\"?\s*[:=]\s*[\"{]?\s*(?:\"?AWS\"?\s*:\s*)?\"?\*|\bpublic-read(?:-write)?\b|\bcluster-admin\b"),
    _pattern("high", "security", "runs a container with every privilege",
             r"\bprivileged\s*:\s*true\b|\bhostNetwork\s*:\s*true\b|(?<![\w-])--privileged\b"),
    _pattern("medium", "data", "changes a table that is in use",
             r"\balter\s+table\b|\b(?:add_column|alter_column|rename_column|change_column|add_index)\b"),
    _pattern("medium", "data", "makes an index in a way that locks the table",
             r"\bcreate\s+(?:unique\s+)?index\s+(?!concurrently\b)"),
    _pattern("medium", "force", "forces something past its own check",
             r"(?<![\w-])--(?:force|no-verify|skip-tests|ignore-errors)\b|\bgrace-period[=\s]+0\b|\|\|\s*true\s*$"),
)  # fmt: skip

_GUARD = re.compile(
    r"\b(?:timeout|deadline|retr(?:y|ies)|back_?off|circuit|breaker|rate_?limit|throttl\w*|semaphore|lock|mutex"
    r"|livenessProbe|readinessProbe|startupProbe|healthcheck|PodDisruptionBudget|rollback|assert|validate\w*"
    r"|authori[sz]e\w*|authenticate\w*|permission\w*|verify\w*)\b",
    re.IGNORECASE,
)
_CAPACITY = re.compile(
    r"(?:pool|limit|max|size|replicas?|memory|mem|cpu|connections?|concurrency|threads?|workers?|quota|capacity|timeout"
    r"|ttl|buffer|queue|batch|retries|heap|xmx|burst|shards?|partitions?)",
    re.IGNORECASE,
)
_SETTING = re.compile(
    r"^\s*[-#]{0,2}\s*[\"']?(?:export\s+|ENV\s+|val\s+|var\s+|const\s+|static\s+|final\s+|int\s+)*"
    r"(?P<key>[A-Za-z_][\w.\-]{1,80})[\"']?\s*(?::=|[:=])\s*[\"']?(?P<value>-?\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z%]{0,3})[\"',;]?"
)
_UNITS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "ki": 2.0**10, "mi": 2.0**20, "gi": 2.0**30, "ti": 2.0**40, "kb": 1e3, "mb": 1e6,
    "gb": 1e9, "g": 1e9, "ms": 1e-3, "s": 1.0, "%": 1.0,
}  # fmt: skip
_DOCS = re.compile(
    r"(?:^|/)(?:docs?|examples?)/|\.(?:md|rst|adoc|txt)$|(?:^|/)(?:LICENSE|CHANGELOG|README)", re.IGNORECASE
)
_TEST = re.compile(
    r"(?:^|/)(?:tests?|spec|__tests__|testdata|fixtures)/|(?:^|/)test_[^/]*$|[._-](?:test|spec)\.[^/]+$|_test\.\w+$",
    re.IGNORECASE,
)
_MIGRATION = re.compile(r"(?:^|/)(?:migrations?|migrate|alembic|flyway|liquibase)/|\.sql$", re.IGNORECASE)
_DEPLOYMENT = re.compile(
    r"(?:^|/)(?:Dockerfile|Procfile|docker-compose[^/]*|Jenkinsfile|\.gitlab-ci\.yml)$|\.(?:tf|tfvars|hcl)$"
    r"|(?:^|/)(?:\.github/workflows|k8s|kubernetes|helm|charts|terraform|ansible|deploy)/",
    re.IGNORECASE,
)
_LOCK = re.compile(
    r"(?:^|/)(?:package-lock\.json|yarn\.lock|pnpm-lock\.yaml|poetry\.lock|uv\.lock|Pipfile\.lock|go\.sum|Cargo\.lock|Gemfile\.lock"
    r"|composer\.lock|requirements[^/]*\.(?:txt|lock))$", re.IGNORECASE)  # fmt: skip
_CONFIG = re.compile(r"\.(?:ya?ml|toml|ini|conf|cfg|properties|env|json)$|(?:^|/)\.env[^/]*$", re.IGNORECASE)


def reasons(diff: Diff, *, secret: Callable[[str], bool], orders: Callable[[str], bool]) -> tuple[Reason, ...]:
    """Every reason, the gravest first, each place and kind once.

    `secret` and `orders` are the trust package's: whether a text holds a secret, or sounds like orders to a machine.
    """
    found: dict[tuple[str, str, str, int], Reason] = {}
    for reason in _all(diff, secret, orders):
        found.setdefault((reason.kind, reason.text, reason.path, reason.line), reason)
    ordered = sorted(found.values(), key=lambda one: (-LEVELS.index(one.risk), one.path, one.line))
    return tuple(ordered[:MOST_REASONS])


def highest(found: Iterable[Risk]) -> Risk:
    """The highest level; "low" where there is none."""
    return max(found, key=LEVELS.index, default="low")


def _all(diff: Diff, secret: Callable[[str], bool], orders: Callable[[str], bool]) -> Iterator[Reason]:
    for file in diff.files:
        added = "\n".join(line.text for line in file.lines("+"))
        if orders(added) or orders(file.path):
            yield Reason("medium", "orders", "holds text that sounds like orders to a machine", file.path)
        if secret(added):  # the whole first: a file without one is not looked at line by line
            yield from _secrets(file, secret)
        if _is(_DOCS, file) and not _is(_DEPLOYMENT, file):
            continue
        if not _is(_TEST, file):
            yield from _of_lines(file)
        yield from _of_file(file)
    total = diff.lines_added + diff.lines_removed
    if total > MANY_LINES:
        yield Reason("medium", "size", f"changes {total} lines, more than anybody reads ({MANY_LINES})")
    if len(diff.files) > MANY_FILES:
        yield Reason("medium", "size", f"changes {len(diff.files)} files, more than anybody reads ({MANY_FILES})")


def _is(what: re.Pattern[str], file: FileChange) -> bool:
    return bool(what.search(file.path) or what.search(file.old_path))


def _secrets(file: FileChange, secret: Callable[[str], bool]) -> Iterator[Reason]:
    places = [line.number for hunk in file.hunks for line in hunk.lines if line.sign == "+" and secret(line.text)]
    for number in places or [0]:
        yield Reason("high", "secret", "adds what looks like a secret", file.path, number)


def _of_lines(file: FileChange) -> Iterator[Reason]:
    for line in file.lines("+"):
        for pattern in ADDED:
            if pattern.expression.search(line.text):
                yield Reason(pattern.risk, pattern.kind, pattern.text, file.path, line.number)
    for hunk in file.hunks:
        yield from _lowered(file.path, hunk.lines)
        if not file.deleted:
            yield from _unguarded(file.path, hunk.lines)


def _lowered(path: str, lines: tuple[Line, ...]) -> Iterator[Reason]:
    """A number of capacity that falls: the same key, removed with one value and added with a smaller one."""
    before = {key: value for line in lines if line.sign == "-" for key, value in [_setting(line.text)] if key}
    for line in lines:
        key, value = _setting(line.text) if line.sign == "+" else ("", 0.0)
        if not key or key not in before or not _CAPACITY.search(key):
            continue
        old = before[key]
        if old > 0 and value >= 0 and old > value * _FALLS:
            far = old >= value * _FALLS_FAR
            share = f"{old / value:.3g} times lower" if value > 0 else "to nothing"
            yield Reason("high" if far else "medium", "limit", f"sets a limit {share}", path, line.number)


def _setting(text: str) -> tuple[str, float]:
    match = _SETTING.match(text[:300])
    if match is None:
        return "", 0.0
    unit = match["unit"].lower()
    return match["key"].lower(), float(match["value"]) * _UNITS.get(unit, 1.0)


def _unguarded(path: str, lines: tuple[Line, ...]) -> Iterator[Reason]:
    """A word of protection on a removed line that no added line of the hunk has."""
    kept = {word.lower() for line in lines if line.sign == "+" for word in _GUARD.findall(line.text[:500])}
    for line in lines:
        if line.sign != "-" or _comment(line.text):
            continue
        if gone := [word.lower() for word in _GUARD.findall(line.text[:500]) if word.lower() not in kept]:
            yield Reason("medium", "guard", f"removes a protection ({gone[0][:30]})", path, line.number)
            return


def _comment(text: str) -> bool:
    return text.lstrip().startswith(("#", "//", "*", "/*", "--", '"""'))


def _of_file(file: FileChange) -> Iterator[Reason]:
    if _is(_TEST, file):
        if file.deleted:
            yield Reason("medium", "tests", "removes tests", file.path)
        return
    for what, text, kind in (
        (_MIGRATION, "changes the database's schema or its data", "data"),
        (_DEPLOYMENT, "changes how it is built, deployed or run", "deployment"),
        (_LOCK, "changes what it depends on", "dependencies"),
    ):
        if _is(what, file):
            yield Reason("medium", kind, text, file.path)
            return
    if file.binary:
        yield Reason("medium", "unreadable", "changes a binary file, which nobody can read", file.path)
    elif _is(_CONFIG, file):
        yield Reason("low", "config", "changes configuration", file.path)
