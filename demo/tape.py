"""The recording, played so that its incident happens now.

The moment of the alert in the recording is laid on the moment of the trigger. What lies before the recording is its
healthy period, again and again (so an hour, a day and a week earlier the shop was well); what lies after it is the
last minute of the failure, again and again, until the incident is resolved; after that the shop is well.
"""

from __future__ import annotations

import bisect
import gzip
import json
import math
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from demo.maths import without_resets

FOLDER = pathlib.Path(__file__).parent / "recording"
TAIL_SECONDS = 60.0
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_TIMES = re.compile(r'("(?:startTime|timestamp)": ?)(\d+)')
_PHASES = ("recorded", "before", "tail", "after")
_PAST_TILES = 4000
"""How many healthy periods counters are raised by, so that none is negative weeks before."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the recording and where it is played: live time = recorded time + offset."""

    start: float
    end: float
    offset: float
    phase: str
    """recorded, before, tail or after."""
    turn: int
    """How often the stretch was repeated; negative before the recording."""


@dataclass(frozen=True, slots=True)
class RecordedSeries:
    """One series of the recording. Counters are without resets."""

    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]
    counter: bool

    def at(self, moment: float) -> float:
        """The latest value at a recorded moment, the first one before that."""
        return self.values[max(0, bisect.bisect_right(self.times, moment) - 1)]


class Tape:
    """The recording and the present position in it."""

    def __init__(self, folder: pathlib.Path = FOLDER, clock: Callable[[], float] = time.time) -> None:
        if not (folder / "manifest.json").exists():
            raise FileNotFoundError(f"no recording in {folder.name}/: make one with `make record`")
        self.clock = clock
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.github: dict[str, Any] = json.loads((folder / "github.json").read_text(encoding="utf-8"))
        self.pagerduty: dict[str, Any] = json.loads((folder / "pagerduty.json").read_text(encoding="utf-8"))
        self._trace_texts = _lines(folder / "traces.jsonl.gz")
        self.traces: list[dict[str, Any]] = [json.loads(line) for line in self._trace_texts]
        self._trace_starts = [trace["spans"][0]["startTime"] / 1e6 for trace in self.traces]
        self.logs = [json.loads(line) for line in _lines(folder / "logs.jsonl.gz")]
        self.series = _series(json.loads(gzip.decompress((folder / "metrics.json.gz").read_bytes())))
        self._by_name: dict[str, list[RecordedSeries]] = {}
        for one in self.series:
            self._by_name.setdefault(one.labels["__name__"], []).append(one)
        self.healthy_from = float(self.manifest["healthy_from"])
        self.healthy_to = _epoch(self.manifest["changes"][-1]["started_at"])
        self.ended_at = float(self.manifest["ended_at"])
        self.alert_at = float(self.manifest["alert_at"])
        self.addresses: dict[str, str] = {}
        """Real addresses, such as `https://github.com`, to what answers for them here."""
        self.triggered_at = clock()
        self.resolved_at: float | None = None

    def trigger(self, at: float | None = None) -> None:
        """Lays the recorded alert on this moment and forgets that the incident was resolved."""
        self.triggered_at = self.clock() if at is None else at
        self.resolved_at = None

    @property
    def shift(self) -> float:
        """Seconds from the recording's clock to ours."""
        return self.triggered_at - self.alert_at

    def localised(self, value: Any) -> Any:
        """A copy with every address of a real system replaced by ours, so that nothing leads to somebody else's."""
        if isinstance(value, dict):
            return {key: self.localised(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.localised(one) for one in value]
        if isinstance(value, str) and value.startswith("https://"):
            for theirs, ours in self.addresses.items():
                if value.startswith(theirs):
                    return ours + value.removeprefix(theirs)
        return value

    def shifted(self, value: Any) -> Any:
        """A copy of a recorded answer with every ISO time in it moved to the present, and our addresses."""
        if isinstance(value, dict):
            return {key: self.shifted(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.shifted(one) for one in value]
        if isinstance(value, str):
            value = self.localised(value)
            return _ISO.sub(lambda match: _move(match[0], self.shift), value)
        return value

    def segments(self, start: float, end: float) -> Iterator[Segment]:
        """The stretches of the recording that are played in [start, end) of live time, in order."""
        at = start
        while at < end - 1e-9:
            segment = self._segment(at)
            stop = min(end, segment.end + segment.offset)
            if stop <= at:  # a stretch of no length at a border of floating point
                at = math.nextafter(at, math.inf) + 1e-6
                continue
            yield Segment(at - segment.offset, stop - segment.offset, segment.offset, segment.phase, segment.turn)
            at = stop

    def _segment(self, live: float) -> Segment:
        recorded = live - self.shift
        healthy = self.healthy_to - self.healthy_from
        resolved = math.inf if self.resolved_at is None else self.resolved_at - self.shift
        phase, turn, start, end = "recorded", 0, self.healthy_from, min(self.ended_at, resolved)
        if recorded >= resolved:
            phase, turn, end = "after", math.floor((recorded - resolved) / healthy), self.healthy_to
        elif recorded < self.healthy_from:
            phase, turn, end = "before", math.floor((recorded - self.healthy_from) / healthy), self.healthy_to
        elif recorded >= self.ended_at:
            phase, turn = "tail", math.floor((recorded - self.ended_at) / TAIL_SECONDS) + 1
            start, end = self.ended_at - TAIL_SECONDS, min(self.ended_at, resolved - turn * TAIL_SECONDS)
        return Segment(start, end, self._offset(phase, turn), phase, turn)

    def _offset(self, phase: str, turn: int) -> float:
        if phase == "tail":
            return self.shift + turn * TAIL_SECONDS
        healthy = self.healthy_to - self.healthy_from
        if phase == "after" and self.resolved_at is not None:
            return self.resolved_at - self.healthy_from + turn * healthy
        return self.shift + turn * healthy

    def began_in(self, start: float, end: float) -> Iterator[tuple[int, Segment]]:
        """Which recorded traces are played in [start, end) and up to now, newest first."""
        for segment in reversed(list(self.segments(start, min(end, self.clock())))):
            low = bisect.bisect_left(self._trace_starts, segment.start)
            high = bisect.bisect_left(self._trace_starts, segment.end)
            for index in range(high - 1, low - 1, -1):
                yield index, segment

    def played(self, index: int, segment: Segment) -> str:
        """A recorded trace as JSON, moved in time and with an id of its own when repeated.

        On the text, not on objects: a search answers with a megabyte, and the bot asks twenty of them at once.
        """
        micros = round(segment.offset * 1e6)
        text = _TIMES.sub(lambda match: f"{match[1]}{int(match[2]) + micros}", self._trace_texts[index])
        recorded = self.traces[index]["traceID"]
        return text.replace(recorded, _marked(recorded, segment))

    def live_traces(self, start: float, end: float) -> Iterator[dict[str, Any]]:
        """Traces that began in [start, end) and before now, in Jaeger's form, newest first."""
        for index, segment in self.began_in(start, end):
            yield json.loads(self.played(index, segment))

    def live_trace(self, trace_id: str) -> dict[str, Any] | None:
        """One trace by the id under which it is played; None when there is none, or not yet."""
        if not re.fullmatch(r"[0-9a-f]{32}", trace_id):
            return None
        for index, trace in enumerate(self.traces):
            if trace["traceID"][8:] == trace_id[8:]:
                mark = int(trace_id[:8], 16) ^ int(trace["traceID"][:8], 16)
                phase, turn = _PHASES[(mark >> 24) % len(_PHASES)], mark & 0xFFFFFF
                turn -= (1 << 24) if turn >= 1 << 23 else 0
                live = trace["spans"][0]["startTime"] / 1e6 + self._offset(phase, turn)
                segment = self._segment(live)
                if live <= self.clock() and (segment.phase, segment.turn) == (phase, turn):
                    return dict(json.loads(self.played(index, segment)))
        return None

    def select(
        self, name: str | None, keep: Callable[[Mapping[str, str]], bool], start: float, end: float
    ) -> list[tuple[Mapping[str, str], Sequence[tuple[float, float]]]]:
        """Samples in [start, end] and up to now, for `promql`."""
        end = min(end, self.clock())
        segments = list(self.segments(start, math.nextafter(end, math.inf))) if end >= start else []
        found = []
        for series in self.series if name is None else self._by_name.get(name, ()):
            if not keep(series.labels):
                continue
            points = []
            for segment in segments:
                low = bisect.bisect_left(series.times, segment.start)
                high = bisect.bisect_left(series.times, segment.end)
                raised = self._raised(series, segment)
                points += [(series.times[at] + segment.offset, series.values[at] + raised) for at in range(low, high)]
            found.append((series.labels, points))
        return found

    def _raised(self, series: RecordedSeries, segment: Segment) -> float:
        """What is added to a counter's recorded value in this segment, so that it only ever rises."""
        if not series.counter:
            return 0.0
        healthy = series.at(self.healthy_to) - series.at(self.healthy_from)
        base = _PAST_TILES * healthy
        tail = series.at(self.ended_at) - series.at(self.ended_at - TAIL_SECONDS)
        if segment.phase == "before":
            return base + segment.turn * healthy
        if segment.phase == "recorded":
            return base
        if segment.phase == "tail":
            return base + segment.turn * tail
        resolved = (self.resolved_at or 0.0) - self.shift
        turns = max(0.0, math.ceil((resolved - self.ended_at) / TAIL_SECONDS))
        reached = series.at(resolved - turns * TAIL_SECONDS) + turns * tail
        return base + reached - series.at(self.healthy_from) + segment.turn * healthy


def _marked(trace_id: str, segment: Segment) -> str:
    mark = _PHASES.index(segment.phase) << 24 | segment.turn & 0xFFFFFF
    return format(int(trace_id[:8], 16) ^ mark, "08x") + trace_id[8:]


def _series(answer: Mapping[str, Any]) -> list[RecordedSeries]:
    names = {one["metric"]["__name__"] for one in answer["data"]["result"]}
    made = []
    for one in answer["data"]["result"]:
        name = one["metric"]["__name__"]
        stem = re.sub(r"_(bucket|count|sum)$", "", name)
        counter = name.endswith("_total") or (stem != name and f"{stem}_bucket" in names)
        points = [(float(at), float(value)) for at, value in one["values"]]
        points = without_resets(points) if counter else points
        made.append(RecordedSeries(one["metric"], [at for at, _ in points], [value for _, value in points], counter))
    return made


def _lines(path: pathlib.Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _move(text: str, shift: float) -> str:
    moved = datetime.fromtimestamp(datetime.fromisoformat(text).timestamp() + shift, UTC)
    return moved.isoformat(timespec="milliseconds" if "." in text else "seconds").replace("+00:00", "Z")
