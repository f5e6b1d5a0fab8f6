"""Traces and logs from files of OTLP/JSON, as OpenTelemetry's file exporter writes them: one export request a line.

Read is the end of each file that `allow.paths` names, when an incident asks; what lies outside its windows is dropped.
Source: https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/.
"""

from __future__ import annotations

import asyncio
import glob
import gzip
import json
import math
import re
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from integrations.asked import batched, edges_of, renamed
from integrations.asking import Access, Names, Part, ask_parts, patience
from integrations.errors import Denied, Malformed
from integrations.otlp import logs_of, spans_of
from integrations.records import Baseline, Findings, LogRecord, Question, Span, Window

FILES = 8
TAIL_BYTES = 48 * 1024 * 1024
"""Of one file; a rotated one holds the rest."""
SPREAD_NS = 600 * 10**9
"""How far apart the records of one export request may lie."""
RECORDS = 60_000
"""Spans, and log records, of one window that are kept, the newest."""
_TIME = re.compile(rb'"(?:startT|t)imeUnixNano"\s*:\s*"?(\d{19})\b')


@dataclass
class Read:
    """What one file holds of each window, and what could not be read."""

    spans: list[list[Span]] = field(default_factory=list)
    logs: list[list[LogRecord]] = field(default_factory=list)
    broken: int = 0
    cut: bool = False


class OtlpFiles:
    """Spans and log records of the incident's window and of healthy windows before it.

    `paths` are files or patterns with `*`; a name that ends in `.gz` is unpacked.
    """

    kind = "otlp"

    def __init__(
        self, *, paths: Sequence[str], access: Access, name: str = "otlp", deadline_seconds: float = 3.0
    ) -> None:
        """Raises ValueError where no path is named, or one is relative."""
        if not paths or any(not one.startswith("/") for one in paths):
            raise ValueError('allow.paths: name the files, such as ["/var/log/otel/*.jsonl"], from the root')
        self.name = name
        self.deadline_seconds = deadline_seconds
        self._paths = tuple(paths)
        self._access = access

    async def fetch(self, question: Question) -> Findings:
        """Raises Denied when no file can be read, Malformed when none holds OTLP/JSON."""
        found = sorted({path for pattern in self._paths for path in glob.glob(pattern)}, key=_age)  # noqa: PTH207
        if not found:
            raise Denied(self.name, f"no file at {self._paths[0]!r}: check allow.paths of [sources.{self.name}]")
        windows = [question.window, *question.baselines]
        names = Names(question.services, "otel")
        # A thread cannot be cancelled: it ends by itself, before the question does, with what it has.
        until = time.monotonic() + 0.85 * patience(self, question)
        parts = [Part(Path(path).name, self._file(path, windows, names, until)) for path in found[:FILES]]
        answer = await ask_parts(self.name, parts, 0.95 * patience(self, question))
        spans = [span for batch in answer.spans for span in batch.records]
        notes = [*answer.notes]
        if not spans and not answer.logs:
            notes.append(f"{self.name}: nothing in its files of the time of the incident")
        return Findings(
            spans=answer.spans, logs=answer.logs, baselines=_joined(answer.baselines), edges=edges_of(spans),
            edge_readers=self._access.readers, notes=tuple(notes),
        )  # fmt: skip

    async def _file(self, path: str, windows: Sequence[Window], names: Names, until: float) -> Findings:
        read = await asyncio.to_thread(read_file, self.name, path, windows, until)
        spans = [batched(self.name, self._access, renamed(one, names)) for one in read.spans]
        logs = [batched(self.name, self._access, renamed(one, names)) for one in read.logs]
        notes = [f"{self.name}: {read.broken} lines of {Path(path).name} are no OTLP/JSON"] if read.broken else []
        notes += [f"{self.name}: only the newest records of {Path(path).name} are read"] if read.cut else []
        baselines = [Baseline(windows[n], spans[n], logs[n]) for n in range(1, len(windows)) if spans[n] or logs[n]]
        return Findings(spans=spans[0], logs=logs[0], baselines=tuple(baselines), notes=tuple(notes))


def read_file(system: str, path: str, windows: Sequence[Window], until: float = math.inf) -> Read:
    """The records of a file's end that lie in each of these windows, as far as they are read by `until` (monotonic),
    the newest first. Raises Denied or Malformed."""
    edges = [(int(one.start.timestamp() * 1e9), int(one.end.timestamp() * 1e9)) for one in windows]
    read = Read([[] for _ in windows], [[] for _ in windows])
    lines, good = 0, 0
    for line in _lines(system, path, read):
        if time.monotonic() > until:
            read.cut = True
            break
        lines += 1
        if _elsewhere(line, edges):
            good += 1
            continue
        try:
            request = json.loads(line)
            spans, logs = _records(request)
        except (Malformed, ValueError, RecursionError):
            read.broken += 1
            continue
        good += 1
        for n, (start, end) in enumerate(edges):
            read.spans[n] += [span for span in spans if start <= span.start_ns < end]
            read.logs[n] += [one for one in logs if start <= one.at_ns < end]
    if lines and not good:
        raise Malformed(system, f"{Path(path).name} holds no OTLP/JSON: one export request a line is expected")
    read.cut |= any(len(some) > RECORDS for some in read.spans) or any(len(some) > RECORDS for some in read.logs)
    read.spans = [some[:RECORDS] for some in read.spans]
    read.logs = [some[:RECORDS] for some in read.logs]
    return read


def _records(request: Any) -> tuple[list[Span], list[LogRecord]]:
    """An export request of traces or of logs; one of metrics holds neither."""
    if isinstance(request, dict) and ({"resourceMetrics", "resource_metrics"} & request.keys()):
        return [], []
    if isinstance(request, dict) and ({"resourceLogs", "resource_logs"} & request.keys()):
        return [], list(logs_of(request))
    return list(spans_of(request)), []


def _lines(system: str, path: str, read: Read) -> Iterator[bytes]:
    """The last lines of a file; the first of a cut file is half a line and left out."""
    try:
        if path.endswith(".gz"):
            with gzip.open(path) as file:
                content = file.read(TAIL_BYTES + 1)
            if len(content) > TAIL_BYTES:
                raise Malformed(system, f"{Path(path).name} is larger than {TAIL_BYTES} bytes after unpacking")
        else:
            with open(path, "rb") as file:  # noqa: PTH123 - a pattern of the settings found it
                size = file.seek(0, 2)
                file.seek(max(0, size - TAIL_BYTES))
                content = file.read(TAIL_BYTES)
            if size > TAIL_BYTES:
                read.cut = True
                content = content.partition(b"\n")[2]
    except (OSError, EOFError, zlib.error) as failed:
        words = f"{Path(path).name} cannot be read ({type(failed).__name__}): check allow.paths"
        raise Denied(system, words) from None
    if content.strip()[:1] == b"{" and content.lstrip().split(b"\n", 1)[0].strip() == b"{":
        yield content  # one document over many lines
        return
    yield from (line for line in reversed(content.split(b"\n")) if line.strip())


def _elsewhere(line: bytes, edges: Sequence[tuple[int, int]]) -> bool:
    """Whether a request lies outside all windows by its first time: not worth parsing. Its others are near that one."""
    found = _TIME.search(line, 0, 100_000)
    if found is None:
        return False
    at = int(found[1])
    return not any(start - SPREAD_NS <= at < end + SPREAD_NS for start, end in edges)


def _joined(baselines: Sequence[Baseline]) -> tuple[Baseline, ...]:
    """One baseline a window, whichever files its records stood in."""
    by_window: dict[Window, Baseline] = {}
    for one in baselines:
        known = by_window.get(one.window, Baseline(one.window))
        by_window[one.window] = Baseline(one.window, known.spans + one.spans, known.logs + one.logs)
    return tuple(by_window.values())


def _age(path: str) -> float:
    """Newest first."""
    try:
        return -Path(path).stat().st_mtime
    except OSError:
        return 0.0
