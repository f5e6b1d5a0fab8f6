"""An incident bundle: one incident as its sources reported it, in a folder, so that a triage runs offline.

Each file is a source of its own with the role of a live one, so that a file that is absent or cannot be read becomes
a line on the card as a silent server would. Only a missing folder, `pagerduty.json` or a broken `audience.json` is an
error: without the first two there is no incident, and a permission file that cannot be read must never widen.
`truth.json` is never opened.
"""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from integrations import otlp
from integrations.errors import Malformed, Unavailable
from integrations.ports import Source
from integrations.records import (
    EVERYONE,
    WORLD,
    Alert,
    Baseline,
    Batch,
    ChangeEvent,
    ChangeKind,
    Evidence,
    Findings,
    Incident,
    LogRecord,
    Question,
    Readers,
    Series,
    ServiceNames,
    Span,
    Window,
)

SYSTEM = "bundle"
MAX_JSON_BYTES = 64 * 1024 * 1024
MAX_CHANGES = 10_000
MAX_POINTS = 2_000_000
DEFAULT_WINDOW = timedelta(minutes=1)
_KINDS: Mapping[str, ChangeKind] = {
    "deploy": "deploy", "deployment": "deploy", "rollout": "rollout", "config": "config", "flag": "flag",
    "scale": "scale", "migration": "migration", "release": "release", "merge": "merge",
}  # fmt: skip

T = TypeVar("T", Span, LogRecord, Series)


@dataclass(frozen=True, slots=True)
class BundleAudience:
    """`audience.json`: who will read the post, in which groups they are, and who may read what is not public.

    `members` maps a person's id to group names; `readers` maps what is not public to its Readers: a
    file (`traces`, `logs`, `metrics`, `changes`, `alerts`), a service, or an item (a change's id, an alert's
    fingerprint). Several that apply all narrow.
    """

    channel: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, frozenset[str]] = field(default_factory=dict)
    readers: Mapping[str, Readers] = field(default_factory=dict)

    def narrowed(self, *keys: str | None) -> Readers:
        """The readers of an item that is known by these keys; each key narrows, none widens."""
        readers = Readers.of([EVERYONE])
        for key in keys:
            if key:
                readers = readers.narrowed(self.readers.get(key))
        return readers


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
            end = min((one.observed_at for one in _fetch_alerts(self).evidence), default=self.incident.triggered_at)
        except (Unavailable, Malformed):
            end = self.incident.triggered_at
        return Question(
            incident=self.incident,
            services=(ServiceNames(name=service),) if service else (),
            window=Window(end - DEFAULT_WINDOW, end),
        )

    def sources(self) -> tuple[Source, ...]:
        """One source a file, in the order of the card."""
        return (
            BundleSource("alerts", self, _fetch_alerts),
            BundleSource("changes", self, _fetch_changes),
            BundleSource("traces", self, _fetch_traces),
            BundleSource("logs", self, _fetch_logs),
            BundleSource("metrics", self, _fetch_metrics),
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
    path = folder / "pagerduty.json"
    if not path.is_file():
        raise Unavailable(SYSTEM, f"{str(folder)!r} has no pagerduty.json, so there is no incident in it")
    incident, on_call = _incident(_document(path), workspace_id)
    return Bundle(folder, incident, _audience(folder), _baseline_paths(folder, baselines), on_call, shelf)


def parse_time(value: object, what: str) -> datetime:
    """An ISO instant as aware UTC. Raises Malformed."""
    if isinstance(value, str) and len(value) <= 64:
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            parsed = None
        if parsed is not None:
            parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
            try:
                return parsed.astimezone(UTC)
            except OverflowError:
                pass
    raise Malformed(SYSTEM, f"{what} is {str(value)[:60]!r}; an ISO time such as 2026-03-01T14:02:10Z is expected")


# --- the incident -----------------------------------------------------------------------------------------------------


def _incident(payload: Any, workspace_id: str) -> tuple[Incident, str | None]:
    event = payload.get("event") if isinstance(payload, Mapping) else None
    data = event.get("data") if isinstance(event, Mapping) else None
    if not isinstance(event, Mapping) or not isinstance(data, Mapping) or not data.get("id"):
        raise Malformed(SYSTEM, "pagerduty.json has no event.data.id; a PagerDuty V3 webhook is expected")
    service = data.get("service") if isinstance(data.get("service"), Mapping) else {}
    priority = data.get("priority") if isinstance(data.get("priority"), Mapping) else {}
    teams = tuple(
        str(one["summary"]) for one in data.get("teams") or () if isinstance(one, Mapping) and one.get("summary")
    )
    policy = data.get("escalation_policy")
    policy_name = str(policy["summary"]) if isinstance(policy, Mapping) and policy.get("summary") else None
    assert isinstance(service, Mapping)
    assert isinstance(priority, Mapping)
    urgency = str(data["urgency"]) if data.get("urgency") else None
    number = data.get("number")
    on_call = teams[0] if teams else policy_name
    incident = Incident(
        workspace_id=workspace_id,
        id=str(data["id"]),
        number=number if isinstance(number, int) else None,
        title=str(data.get("title") or "Incident without a title"),
        service=str(service["summary"]) if service.get("summary") else None,
        service_ref=str(service["id"]) if service.get("id") else None,
        severity=_severity(str(priority.get("summary") or ""), urgency),
        urgency=urgency,
        priority=str(priority["summary"]) if priority.get("summary") else None,
        url=str(data.get("html_url") or ""),
        triggered_at=parse_time(data.get("created_at") or event.get("occurred_at"), "pagerduty.json: created_at"),
        teams=teams,
        on_call=on_call,
    )
    return incident, on_call


def _severity(priority: str, urgency: str | None) -> int:
    """PagerDuty's usual priority names P1 to P5, else urgency: high 2, low 4, unknown 3."""
    digits = priority[-1:]
    if digits in "12345" and digits and priority[:-1].upper() in ("P", "SEV", "SEV-"):
        return int(digits)
    return {"high": 2, "low": 4}.get(urgency or "", 3)


# --- one function a file ----------------------------------------------------------------------------------------------


def _fetch_alerts(bundle: Bundle) -> Findings:
    payload = _document(_there(bundle, "alerts.json"))
    entries = payload.get("alerts") if isinstance(payload, Mapping) else None
    if not isinstance(entries, list):
        raise Malformed(SYSTEM, "alerts.json has no list 'alerts'; an Alertmanager webhook (version 4) is expected")
    common = payload.get("commonLabels")
    alerts = [read_alert(one, common, bundle.incident) for one in entries]
    return Findings(
        evidence=tuple(_alert_evidence(bundle, one) for one in alerts),
        on_call=bundle.on_call,
    )


def read_alert(entry: Any, common: Any, incident: Incident) -> Alert:
    """One alert of an Alertmanager webhook. Raises Malformed."""
    if not isinstance(entry, Mapping):
        raise Malformed(SYSTEM, "alerts.json: an alert is not an object")
    labels = _texts(common) | _texts(entry.get("labels"))
    annotations = _texts(entry.get("annotations"))
    title = annotations.get("summary") or labels.get("alertname") or incident.title
    firing = str(entry.get("status") or "firing") != "resolved"
    return Alert(
        title=title,
        service=labels.get("service") or labels.get("job"),
        severity=labels.get("severity", "unknown"),
        status="firing" if firing else "resolved",
        started_at=parse_time(entry["startsAt"], "alerts.json: startsAt")
        if entry.get("startsAt")
        else incident.triggered_at,
        link=str(entry["generatorURL"]) if entry.get("generatorURL") else None,
        dedupe_key=str(entry.get("fingerprint") or json.dumps(labels, sort_keys=True)),
        labels=labels,
        extra={"annotations": annotations},
    )


def _alert_evidence(bundle: Bundle, alert: Alert) -> Evidence:
    annotations = alert.extra["annotations"]
    text = [annotations[key] for key in ("description", "message") if annotations.get(key)]
    text.append(f"{alert.status} since {alert.started_at:%H:%M:%S} UTC, severity {alert.severity}")
    item = f"alertmanager/alert/{alert.dedupe_key}"
    return Evidence(
        id=item,
        kind="alert",
        source="alertmanager",
        observed_at=alert.started_at,
        fetched_at=bundle.incident.triggered_at,
        url=alert.link or "",
        readers=bundle.readers("alerts", "alert", "alertmanager", alert.service, alert.dedupe_key, item),
        title=alert.title,
        text="\n".join(text),
        service=alert.service,
        attributes={"severity": alert.severity, "status": alert.status, "dedupe_key": alert.dedupe_key},
    )


def _fetch_changes(bundle: Bundle) -> Findings:
    path = _there(bundle, "changes.jsonl")
    changes = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            changes.append(_change(bundle, _parse(line, f"changes.jsonl, line {number}"), number))
        if len(changes) > MAX_CHANGES:
            raise Malformed(SYSTEM, f"changes.jsonl has more than {MAX_CHANGES} changes")
    return Findings(changes=tuple({one.id: one for one in changes}.values()))


def _change(bundle: Bundle, entry: Any, number: int) -> ChangeEvent:
    where = f"changes.jsonl, line {number}"
    payload = entry.get("payload") if isinstance(entry, Mapping) else None
    if not isinstance(payload, Mapping):
        raise Malformed(SYSTEM, f"{where} has no payload; a PagerDuty change event is expected")
    details = payload.get("custom_details")
    details = details if isinstance(details, Mapping) else {}
    links = entry.get("links") if isinstance(entry.get("links"), list) else []
    link = next((str(one["href"]) for one in links if isinstance(one, Mapping) and one.get("href")), "")
    identity = str(details.get("id") or f"line-{number}")
    service = str(details["service"]) if details.get("service") else None
    source = str(payload.get("source") or "changes")
    return ChangeEvent(
        id=identity,
        kind=_KINDS.get(str(details.get("kind") or "").lower(), "other"),
        service=service,
        changed_at=parse_time(payload.get("timestamp"), f"{where}: timestamp"),
        summary=str(payload.get("summary") or details.get("subject") or identity),
        source=source,
        url=link,
        readers=bundle.readers("changes", "change", source, service, identity, f"{source}/change/{identity}"),
        environment=str(details["environment"]) if details.get("environment") else None,
        commit=str(details["commit"]) if details.get("commit") else None,
    )


def _fetch_traces(bundle: Bundle) -> Findings:
    spans = _batches(bundle, "traces", otlp.read_traces(_there(bundle, "traces.jsonl.gz")))
    edges = observed_edges(one for batch in spans for one in batch.records)
    baselines, notes = [], []
    for path in bundle.baselines:
        found = path.with_name(path.name + ".traces.jsonl.gz")
        try:
            records = _shelved(bundle.shelf.spans if bundle.shelf else None, found, otlp.read_traces)
        except (Unavailable, Malformed) as failed:
            notes.append(f"baseline {path.name}: {failed.message}")
            continue
        edges |= observed_edges(records)
        window = _window_of([one.start_ns for one in records], [one.end_ns for one in records], bundle)
        baselines.append(Baseline(window, spans=_batches(bundle, "traces", records)))
    narrowed = frozenset(bundle.audience.readers if bundle.audience else ())
    return Findings(
        spans=spans,
        edges=frozenset(edge for edge in edges if not narrowed.intersection(edge)),
        edge_readers=bundle.readers("traces", "trace"),
        baselines=tuple(baselines),
        notes=tuple(notes),
    )


def _fetch_logs(bundle: Bundle) -> Findings:
    logs = _batches(bundle, "logs", otlp.read_logs(_there(bundle, "logs.jsonl.gz")))
    baselines, notes = [], []
    for path in bundle.baselines:
        found = path.with_name(path.name + ".logs.jsonl.gz")
        try:
            records = _shelved(bundle.shelf.logs if bundle.shelf else None, found, otlp.read_logs)
        except (Unavailable, Malformed) as failed:
            notes.append(f"baseline {path.name}: {failed.message}")
            continue
        times = [one.at_ns for one in records]
        baselines.append(Baseline(_window_of(times, times, bundle), logs=_batches(bundle, "logs", records)))
    return Findings(logs=logs, baselines=tuple(baselines), notes=tuple(notes))


def _fetch_metrics(bundle: Bundle) -> Findings:
    path = _there(bundle, "metrics.json.gz")
    payload = _document(path)
    data = payload.get("data") if isinstance(payload, Mapping) else None
    result = data.get("result") if isinstance(data, Mapping) else None
    if not isinstance(result, list):
        raise Malformed(SYSTEM, "metrics.json.gz has no data.result; a Prometheus query_range answer is expected")
    series, points = [], 0
    for entry in result:
        one = _series(entry)
        points += len(one.times)
        if points > MAX_POINTS:
            raise Malformed(SYSTEM, f"metrics.json.gz holds more than {MAX_POINTS} points")
        series.append(one)
    return Findings(series=_batches(bundle, "metrics", series))


def _series(entry: Any) -> Series:
    metric = entry.get("metric") if isinstance(entry, Mapping) else None
    values = entry.get("values") if isinstance(entry, Mapping) else None
    if not isinstance(metric, Mapping) or not isinstance(values, list):
        raise Malformed(SYSTEM, "metrics.json.gz: a series has no metric or no values; a matrix is expected")
    times, numbers = [], []
    for point in values:
        try:
            at, value = float(point[0]), float(point[1])
        except (TypeError, ValueError, IndexError, KeyError):
            raise Malformed(SYSTEM, f"metrics.json.gz: {str(point)[:60]!r} is not a point") from None
        if math.isfinite(at) and math.isfinite(value):
            times.append(at)
            numbers.append(value)
    labels = _texts(metric)
    name, unit = metric_words(labels.pop("__name__", "metric"))
    service = labels.pop("service", None) or labels.get("job") or otlp.UNKNOWN
    return Series(name, service, times, numbers, unit=unit, pod=labels.pop("pod", ""), labels=labels)


def metric_words(name: str) -> tuple[str, str]:
    """What a metric measures as a responder says it, and its unit, from Prometheus' naming convention."""
    unit = ""
    for suffix, word in (("_percent", "percent"), ("_ratio", "ratio"), ("_per_second", "per_second"),
                         ("_seconds", "seconds"), ("_bytes", "bytes")):  # fmt: skip
        if name.endswith(suffix):
            name, unit = name.removesuffix(suffix), word
            break
    short = name.removeprefix("pod_").removeprefix("container_").removesuffix("_usage")
    return {"requests": "request_rate"}.get(short, short), unit


# --- shared -----------------------------------------------------------------------------------------------------------


def observed_edges(spans: Iterable[Span]) -> frozenset[tuple[str, str]]:
    """The calls between services that spans show: caller and callee."""
    listed = list(spans)
    service = {one.span_id: one.service for one in listed}
    return frozenset(
        (caller, one.service)
        for one in listed
        if (caller := service.get(one.parent_id)) is not None and caller != one.service
    )


def _batches(bundle: Bundle, source: str, records: Sequence[T]) -> tuple[Batch[T], ...]:
    """One batch, or one a service where the audience file narrows services."""
    narrowed = bundle.audience.readers if bundle.audience else {}
    apart: dict[str, list[T]] = {}
    for one in records:
        apart.setdefault(one.service if one.service in narrowed else "", []).append(one)
    return tuple(
        Batch(source=source, readers=bundle.readers(source, source.removesuffix("s"), service), records=tuple(found))
        for service, found in sorted(apart.items())
    )


def _window_of(starts: Sequence[int], ends: Sequence[int], bundle: Bundle) -> Window:
    known = [one for one in starts if one]
    if not known:
        at = bundle.incident.triggered_at
        return Window(at - DEFAULT_WINDOW, at)
    start, end = min(known), max(max(ends), max(known))
    return Window(datetime.fromtimestamp(start / 1e9, UTC), datetime.fromtimestamp((end + 1) / 1e9, UTC))


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


def _audience(folder: pathlib.Path) -> BundleAudience | None:
    path = folder / "audience.json"
    if not path.exists():
        return None
    payload = _document(path)
    if not isinstance(payload, Mapping):
        raise Malformed(SYSTEM, "audience.json is not an object; without it the reader is one local operator")
    channel = payload.get("channel")
    return BundleAudience(
        channel=channel if isinstance(channel, Mapping) else {},
        members=_members(payload),
        readers=_readers(payload["readers"] if "readers" in payload else payload.get("items", {})),
    )


def _members(payload: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Members as ids beside `groups` (group to ids), as objects with `id` and `groups`, or as id to groups.

    Full members are in `everyone`; one of another `kind` (guest, partner) is only in `world` and in what is said.
    """
    raw, groups = payload.get("members"), payload.get("groups", {})
    members: dict[str, set[str]] = {}
    if isinstance(raw, Mapping):
        raw = [{"id": key, "groups": value} for key, value in raw.items()]
    if not isinstance(raw, list) or not isinstance(groups, Mapping):
        raise Malformed(SYSTEM, "audience.json needs 'members': ids, or objects with id and groups")
    for one in raw:
        entry = {"id": one} if isinstance(one, str) else one
        identity = entry.get("id") or entry.get("email") if isinstance(entry, Mapping) else None
        if not isinstance(identity, str) or not identity:
            raise Malformed(SYSTEM, f"audience.json: {str(one)[:60]!r} is no member; an id, or an object with one")
        builtin = {WORLD, EVERYONE} if entry.get("kind", "full") == "full" else {WORLD}
        members.setdefault(identity, set()).update(builtin, _names(entry.get("groups", []), "a member's groups"))
    for group, ids in groups.items():
        for identity in _names(ids, f"group {group!r}"):
            if identity in members:
                members[identity].add(str(group))
    return {identity: frozenset(found) for identity, found in members.items()}


def _readers(raw: object) -> dict[str, Readers]:
    if raw and isinstance(raw, list) and all(isinstance(one, Mapping) and one.get("id") for one in raw):
        raw = {one["id"]: one.get("readers") for one in raw}
    if not isinstance(raw, Mapping):
        raise Malformed(SYSTEM, "audience.json: 'readers' maps a source, service or item id to group names")
    readers = {}
    for key, value in raw.items():
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list) and all(isinstance(one, list) for one in value) and value:
            readers[str(key)] = Readers.of(*(_names(one, f"readers of {key!r}") for one in value))
        else:
            readers[str(key)] = Readers.of(_names(value, f"readers of {key!r}"))
    return readers


def _names(value: object, what: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Malformed(SYSTEM, f"audience.json: {what} is not a list of names")
    return value


def _texts(raw: object) -> dict[str, str]:
    if not isinstance(raw, Mapping):
        return {}
    return {str(key): value if isinstance(value, str) else json.dumps(value, default=str) for key, value in raw.items()}


def _there(bundle: Bundle, name: str) -> pathlib.Path:
    return _present(bundle.folder / name)


def _present(path: pathlib.Path) -> pathlib.Path:
    if not path.is_file():
        raise Unavailable(SYSTEM, f"{path.name} is not there")
    return path


def _shelved(
    shelf: dict[pathlib.Path, list[T]] | None, path: pathlib.Path, read: Callable[[pathlib.Path], list[T]]
) -> list[T]:
    if shelf is None:
        return read(_present(path))
    if path not in shelf:
        shelf[path] = read(_present(path))
    return shelf[path]


def _text(path: pathlib.Path) -> str:
    return otlp.read_bytes(path, MAX_JSON_BYTES).decode("utf-8", errors="replace")


def _document(path: pathlib.Path) -> Any:
    return _parse(_text(path), path.name)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as broken:
        raise Malformed(SYSTEM, f"{where} is not JSON: {str(broken)[:120]}") from None
