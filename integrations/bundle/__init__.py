"""An incident bundle: one incident as its sources reported it, in a folder, so that a triage runs offline.

Each file is a source of its own with the role of a live one, so that a file that is absent or cannot be read becomes
a line on the card as a silent server would. Only a missing folder, `pagerduty.json` or a broken `audience.json` is an
error: without the first two there is no incident, and a permission file that cannot be read must never widen.
`truth.json` is never opened.
"""

from __future__ import annotations

import glob
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from integrations.bundle.audience import BundleAudience, read_audience
from integrations.bundle.documents import SYSTEM, document
from integrations.bundle.events import fetch_alerts, fetch_changes, read_incident
from integrations.bundle.telemetry import fetch_logs, fetch_metrics, fetch_traces, metric_words
from integrations.errors import Malformed, Unavailable
from integrations.ports import Source
from integrations.records import (
    EVERYONE,
    Findings,
    Incident,
    LogRecord,
    Question,
    Readers,
    ServiceNames,
    Span,
    Window,
    first_alert,
)

DEFAULT_WINDOW = timedelta(minutes=1)


@dataclass(slots=True)
class Shelf:
    """Healthy windows that several bundles share, read once."""

    spans: dict[pathlib.Path, list[Span]] = field(default_factory=dict)
    logs: dict[pathlib.Path, list[LogRecord]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle folder that has an incident. Build it with `open_bundle`."""

    folder: pathlib.Path
    incident: Incident
    audience: BundleAudience | None
    baselines: tuple[pathlib.Path, ...]
    """Paths without suffix: `<path>.traces.jsonl.gz` and `<path>.logs.jsonl.gz`."""
    on_call: str | None = None
    shelf: Shelf | None = None

    def question(self) -> Question:
        """What a live triage of this incident would ask; the window is the minute before the first alert."""
        service = self.incident.service
        try:
            fired = [one.observed_at for one in fetch_alerts(self).evidence]
        except (Unavailable, Malformed):
            fired = []
        end = first_alert(fired, self.incident.triggered_at)
        return Question(
            incident=self.incident,
            services=(ServiceNames(name=service),) if service else (),
            window=Window(end - DEFAULT_WINDOW, end),
        )

    def sources(self) -> tuple[Source, ...]:
        """One source a file, in the order of the card."""
        return (
            BundleSource("alerts", self, fetch_alerts),
            BundleSource("changes", self, fetch_changes),
            BundleSource("traces", self, fetch_traces),
            BundleSource("logs", self, fetch_logs),
            BundleSource("metrics", self, fetch_metrics),
        )

    def readers(self, *keys: str | None) -> Readers:
        return self.audience.narrowed(*keys) if self.audience else Readers.of([EVERYONE])


@dataclass(slots=True)
class BundleSource:
    """One file of a bundle in the role of `ports.Source`."""

    name: str
    bundle: Bundle
    _fetch: Callable[[Bundle], Findings]
    kind: str = "bundle"
    deadline_seconds: float = 30.0

    async def fetch(self, question: Question) -> Findings:
        """What the file says, whatever is asked. Raises Unavailable when it is absent, Malformed when unreadable."""
        del question
        return self._fetch(self.bundle)


def open_bundle(
    folder: pathlib.Path,
    baselines: Sequence[pathlib.Path] = (),
    *,
    workspace_id: str = "local",
    shelf: Shelf | None = None,
) -> Bundle:
    """Reads what makes it an incident. Raises Unavailable (no such folder or file) or Malformed, with the path."""
    if not folder.is_dir():
        raise Unavailable(SYSTEM, f"{str(folder)!r} is not a folder; name the folder of one incident bundle")
    for one in baselines:
        if not one.exists() and not any(one.parent.glob(f"{glob.escape(one.name)}.*")):
            raise Unavailable(SYSTEM, f"there is no baseline {str(one)!r}; name a folder, or files without suffix")
    path = folder / "pagerduty.json"
    if not path.is_file():
        raise Unavailable(SYSTEM, f"{str(folder)!r} has no pagerduty.json, so there is no incident in it")
    incident, on_call = read_incident(document(path), workspace_id)
    return Bundle(folder, incident, read_audience(folder), _baseline_paths(folder, baselines), on_call, shelf)


def _baseline_paths(folder: pathlib.Path, given: Sequence[pathlib.Path]) -> tuple[pathlib.Path, ...]:
    found = []
    for path in given or ([folder.parent / "baseline"] if (folder.parent / "baseline").is_dir() else []):
        names = sorted(path.iterdir()) if path.is_dir() else [path]
        found += [one.with_name(_stem(one.name)) for one in names if not one.is_dir()]
    return tuple(dict.fromkeys(found))


def _stem(name: str) -> str:
    for suffix in (".gz", ".jsonl", ".json", ".traces", ".logs"):
        name = name.removesuffix(suffix)
    return name


__all__ = ["Bundle", "BundleAudience", "BundleSource", "Shelf", "metric_words", "open_bundle"]
