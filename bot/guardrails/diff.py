"""A unified diff, read: files, hunks, and the numbers of their lines. Pure; the text is an outsider's.

Format: what `git diff` writes (https://git-scm.com/docs/diff-format) and POSIX `diff -u`. The lengths in a hunk's
header say where it ends, so that a line of content which looks like a header is content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

MOST_BYTES = 4 * 1024 * 1024
MOST_FILES = 5_000
MOST_LINE = 2_000
"""Of a line of content, more is cut: a minified file is one line of megabytes."""
_MOST_PATH = 300
_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_ESCAPED = re.compile(r"\\(?:([0-7]{3})|(.))")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}

Sign = Literal[" ", "+", "-"]


class NotADiff(ValueError):
    """The text is not a diff that can be judged; the words say what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a hunk. `number` is its line in the new file, of a removed one the line where it would stand."""

    sign: Sign
    text: str
    number: int


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that change together, with the unchanged ones around them."""

    start: int
    lines: tuple[Line, ...]

    @property
    def end(self) -> int:
        return max((line.number for line in self.lines), default=self.start)


@dataclass(slots=True)
class FileChange:
    """What happens to one file. `path` is the new one, or the old one of a file that goes."""

    path: str
    old_path: str
    hunks: list[Hunk] = field(default_factory=list)
    added: bool = False
    deleted: bool = False
    binary: bool = False

    def lines(self, sign: Sign) -> Iterator[Line]:
        """The added (`+`) or removed (`-`) lines."""
        return (line for hunk in self.hunks for line in hunk.lines if line.sign == sign)


@dataclass(frozen=True, slots=True)
class Diff:
    """Every file of one change."""

    files: tuple[FileChange, ...]

    @property
    def lines_added(self) -> int:
        return sum(1 for file in self.files for _ in file.lines("+"))

    @property
    def lines_removed(self) -> int:
        return sum(1 for file in self.files for _ in file.lines("-"))


def read(text: str) -> Diff:
    """Read a diff. Raises NotADiff for what is none, is cut off, or is too large to be judged as a whole."""
    if len(text.encode(errors="replace")) > MOST_BYTES:
        raise NotADiff(f"the diff has more than {MOST_BYTES // 1024 // 1024} MiB; split the change")
    reader = _Reader(text.split("\n"))
    files = reader.files()
    if not files:
        raise NotADiff("there is no file in it; send what `git diff BASE...HEAD` prints")
    if len(files) > MOST_FILES:
        raise NotADiff(f"the diff has {len(files)} files, more than {MOST_FILES}; split the change")
    return Diff(tuple(files))


class _Reader:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 0

    def files(self) -> list[FileChange]:
        found: list[FileChange] = []
        current: FileChange | None = None
        while self._at < len(self._lines):
            line = self._lines[self._at].rstrip("\r")
            following = self._lines[self._at + 1] if self._at + 1 < len(self._lines) else ""
            if line.startswith("diff --git "):
                old, new = _git_paths(line)
                current = FileChange(new, old)
                found.append(current)
            elif line.startswith("--- ") and following.startswith("+++ "):
                old, new = _path(line[4:]), _path(following.rstrip("\r")[4:])
                if current is None or current.hunks:
                    current = FileChange(new, old)
                    found.append(current)
                current.added, current.deleted = current.added or old == "", current.deleted or new == ""
                current.path, current.old_path = new or old, old or new
                self._at += 1
            elif line.startswith("@@ "):
                if current is None:
                    raise NotADiff("a hunk stands before any file; send what `git diff BASE...HEAD` prints")
                current.hunks.append(self._hunk(line))
                continue
            elif current is not None and not current.hunks:
                _extended(line, current)
            self._at += 1
        return found

    def _hunk(self, header: str) -> Hunk:
        """The header's lengths decide where it ends."""
        match = _HUNK.match(header)
        if match is None:
            raise NotADiff(f"line {self._at + 1} is no header of a hunk; combined diffs (merges) cannot be read")
        old_left, new_left = int(match[2] or 1), int(match[4] or 1)
        number = start = int(match[3])
        self._at += 1
        lines: list[Line] = []
        while old_left > 0 or new_left > 0:
            if self._at >= len(self._lines) or (self._at == len(self._lines) - 1 and not self._lines[self._at]):
                raise NotADiff("the diff is cut off in the middle of a hunk")
            raw = self._lines[self._at]
            sign = raw[:1] or " "
            self._at += 1
            if sign == "\\":  # "\ No newline at end of file"
                continue
            if sign not in (" ", "+", "-"):
                raise NotADiff(f"line {self._at} belongs to no hunk: its header promises more lines than there are")
            old_left -= sign != "+"
            new_left -= sign != "-"
            if old_left < 0 or new_left < 0:
                raise NotADiff(f"line {self._at} is more than its hunk's header says")
            lines.append(Line(sign, raw[1:].rstrip("\r")[:MOST_LINE], number))  # type: ignore[arg-type] # one of three
            number += sign != "-"
        return Hunk(start, tuple(lines))


def _extended(line: str, current: FileChange) -> None:
    """git's own header lines between `diff --git` and the hunks."""
    if line.startswith("new file mode"):
        current.added = True
    elif line.startswith("deleted file mode"):
        current.deleted = True
    elif line.startswith(("Binary files ", "GIT binary patch")):
        current.binary = True
    elif line.startswith("rename from "):
        current.old_path = _unquoted(line[len("rename from ") :])
    elif line.startswith("rename to "):
        current.path = _unquoted(line[len("rename to ") :])


def _git_paths(line: str) -> tuple[str, str]:
    """The two paths of `diff --git a/x b/x`; where they hold spaces the later `---` and `+++` correct them."""
    rest = line[len("diff --git ") :]
    if match := re.fullmatch(r'"((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"', rest):
        return _stripped(_unescaped(match[1])), _stripped(_unescaped(match[2]))
    middle = len(rest) // 2
    old, new = (rest[:middle], rest[middle + 1 :]) if rest[middle : middle + 1] == " " else rest.rsplit(" ", 1) if (
        " " in rest
    ) else (rest, rest)  # fmt: skip
    return _stripped(_unquoted(old)), _stripped(_unquoted(new))


def _path(said: str) -> str:
    """A path of `---` or `+++`: without its prefix and time; "" for /dev/null."""
    name = _unquoted(said.split("\t", 1)[0])
    return "" if name == "/dev/null" else _stripped(name)


def _stripped(path: str) -> str:
    return (path[2:] if path[:2] in {"a/", "b/"} else path)[:_MOST_PATH]


def _unquoted(path: str) -> str:
    return _unescaped(path[1:-1]) if len(path) > 1 and path[0] == path[-1] == '"' else path


def _unescaped(quoted: str) -> str:
    """git quotes bytes of odd paths as \\ooo; several make one character."""
    raw = bytearray()
    at = 0
    for match in _ESCAPED.finditer(quoted):
        raw += quoted[at : match.start()].encode(errors="replace")
        raw += (
            bytes([int(match[1], 8) & 255]) if match[1] else _LETTERS.get(match[2], match[2]).encode(errors="replace")
        )
        at = match.end()
    raw += quoted[at:].encode(errors="replace")
    return raw.decode(errors="replace")
