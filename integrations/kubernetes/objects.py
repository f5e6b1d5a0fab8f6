"""What is read of Kubernetes' API objects: revisions of a workload, configuration that changed, events. Pure.

A ReplicaSet's revision is a string in an annotation; a rollback gives the old ReplicaSet the next number, so that its
creation says nothing about when. An event's times stand in one of two styles, the other's are null. A pod template is
compared by image, command, resources and environment; a value is shown only where its name says that it is no secret.
Source: https://kubernetes.io/docs/reference/kubernetes-api/.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from integrations.errors import Malformed
from integrations.http import parse_json
from integrations.reading import mapping, moment, objects, text, whole

ITEMS = 2000
SHOWN = 200
_SECRET = re.compile(r"pass|secret|token|key|cred|auth|cert|private|dsn|conn|url|uri|cookie|salt", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Revision:
    """One version of a workload's pods."""

    number: int
    name: str
    created_at: datetime
    cause: str
    images: tuple[str, ...]
    template: Mapping[str, str]
    """What a pod is made of, flattened: path to value."""
    config_maps: frozenset[str]
    reused: bool = False
    """Whether it had another number before: a rollback."""
    kind: str = "deployment"
    """Of its workload, as kubectl calls it."""


@dataclass(frozen=True, slots=True)
class ConfigMap:
    """When a ConfigMap was last written, by what, and which keys that owns; its data is never asked for."""

    name: str
    changed_at: datetime
    keys: tuple[str, ...]
    manager: str
    labels: tuple[str, ...] = ()
    created: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One event about an object."""

    at: datetime
    kind: str
    name: str
    reason: str
    message: str
    warning: bool
    count: int


@dataclass(frozen=True, slots=True)
class Page:
    """Items of a list, and the token of the next page."""

    items: tuple[Any, ...]
    more: str = ""
    by: Mapping[str, Any] = field(default_factory=dict)


def _list(system: str, body: bytes) -> tuple[list[Mapping[str, Any]], str]:
    answer = parse_json(system, body)
    if not isinstance(answer, Mapping) or not isinstance(answer.get("items", []), list | None):
        raise Malformed(system, "an answer that is no list of Kubernetes (no items)")
    if "items" not in answer and answer.get("kind") == "Status":
        raise Malformed(system, "an answer that is a status where a list was due")
    return list(objects(answer.get("items"), ITEMS)), text(mapping(answer.get("metadata")).get("continue"), 2000)


def parse_revisions(system: str, body: bytes) -> Page:
    """Revisions of every Deployment in a list of ReplicaSets: pairs of its name and a revision. Raises Malformed."""
    items, more = _list(system, body)
    found = []
    for one in items:
        metadata = mapping(one.get("metadata"))
        annotations = mapping(metadata.get("annotations"))
        owner = next((o for o in objects(metadata.get("ownerReferences"), 10) if o.get("kind") == "Deployment"), {})
        number, at = (
            whole(annotations.get("deployment.kubernetes.io/revision")),
            moment(metadata.get("creationTimestamp")),
        )
        workload = text(owner.get("name"), 253)
        if number is None or at is None or not workload:
            continue
        template = mapping(mapping(mapping(one.get("spec")).get("template")).get("spec"))
        revision = Revision(
            number, text(metadata.get("name"), 253), at, text(annotations.get("kubernetes.io/change-cause"), 300),
            _images(template), flattened(template), frozenset(filter(None, _config_maps(template))),
            bool(text(annotations.get("deployment.kubernetes.io/revision-history"), 100)),
        )  # fmt: skip
        found.append((workload, revision))
    return Page(tuple(found), more)


def parse_controller_revisions(system: str, body: bytes) -> Page:
    """Revisions of StatefulSets and DaemonSets, as pairs like those of Deployments. Raises Malformed."""
    items, more = _list(system, body)
    found = []
    for one in items:
        metadata = mapping(one.get("metadata"))
        owners = objects(metadata.get("ownerReferences"), 10)
        owner = next((one for one in owners if one.get("kind") in ("StatefulSet", "DaemonSet")), {})
        workload = text(owner.get("name"), 253)
        number, at = whole(one.get("revision")), moment(metadata.get("creationTimestamp"))
        if number is None or at is None or not workload:
            continue
        data = mapping(mapping(one.get("data")).get("spec"))
        template = mapping(mapping(data.get("template")).get("spec"))
        revision = Revision(
            number, text(metadata.get("name"), 253), at, "", _images(template), flattened(template),
            frozenset(filter(None, _config_maps(template))), kind=text(owner.get("kind"), 20).lower(),
        )  # fmt: skip
        found.append((workload, revision))
    return Page(tuple(found), more)


def parse_config_maps(system: str, body: bytes) -> Page:
    """ConfigMaps of a list of metadata. Raises Malformed."""
    items, more = _list(system, body)
    return Page(tuple(one for raw in items if (one := _config_map(mapping(raw.get("metadata")))) is not None), more)


def parse_events(system: str, body: bytes) -> Page:
    """Events of a list. Raises Malformed."""
    items, more = _list(system, body)
    return Page(tuple(one for raw in items if (one := _event(raw)) is not None), more)


def _config_map(metadata: Mapping[str, Any]) -> ConfigMap | None:
    name, created = text(metadata.get("name"), 253), moment(metadata.get("creationTimestamp"))
    written = [
        (at, one) for one in objects(metadata.get("managedFields"), 100) if (at := moment(one.get("time"))) is not None
    ]
    if not name or (created is None and not written):
        return None
    at, last = max(written, key=lambda pair: pair[0], default=(created, {}))
    assert at is not None, "one of the two is there"
    owned = [
        key
        for part in ("f:data", "f:binaryData")
        for key in mapping(mapping(last.get("fieldsV1")).get(part))
        if isinstance(key, str) and key.startswith("f:")
    ]
    labels = mapping(metadata.get("labels"))
    named = tuple(said for key in ("app", "app.kubernetes.io/name") if (said := text(labels.get(key), 253)))
    return ConfigMap(
        name, at, tuple(text(key[2:], 200) for key in sorted(owned)[:50]), text(last.get("manager"), 100), named,
        created is not None and abs((at - created).total_seconds()) < 5,
    )  # fmt: skip


def _event(raw: Mapping[str, Any]) -> Event | None:
    about = mapping(raw.get("involvedObject")) or mapping(raw.get("regarding"))
    series = mapping(raw.get("series"))
    times = (
        series.get("lastObservedTime"),
        raw.get("lastTimestamp"),
        raw.get("eventTime"),
        raw.get("deprecatedLastTimestamp"),
        raw.get("firstTimestamp"),
        mapping(raw.get("metadata")).get("creationTimestamp"),
    )
    at = next((found for one in times if (found := moment(one)) is not None), None)
    reason = text(raw.get("reason"), 100)
    if at is None or not reason:
        return None
    return Event(
        at=at,
        kind=text(about.get("kind"), 60),
        name=text(about.get("name"), 253),
        reason=reason,
        message=text(raw.get("message") or raw.get("note"), 1000),
        warning=raw.get("type") == "Warning",
        count=max(1, whole(series.get("count")) or whole(raw.get("count")) or whole(raw.get("deprecatedCount")) or 1),
    )


def _containers(template: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for part in ("initContainers", "containers"):
        yield from objects(template.get(part), 50)


def _images(template: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(image for one in _containers(template) if (image := text(one.get("image"), 500)))


def _config_maps(template: Mapping[str, Any]) -> Iterable[str]:
    for one in _containers(template):
        for source in objects(one.get("envFrom"), 100):
            yield text(mapping(source.get("configMapRef")).get("name"), 253)
        for variable in objects(one.get("env"), 500):
            yield text(mapping(mapping(variable.get("valueFrom")).get("configMapKeyRef")).get("name"), 253)
    for volume in objects(template.get("volumes"), 200):
        yield text(mapping(volume.get("configMap")).get("name"), 253)
        for source in objects(mapping(volume.get("projected")).get("sources"), 50):
            yield text(mapping(source.get("configMap")).get("name"), 253)


def flattened(template: Mapping[str, Any]) -> dict[str, str]:
    """What a pod is made of, as far as a rollout changes it; values that may be secret are only told apart."""
    found: dict[str, str] = {}
    for one in _containers(template):
        name = text(one.get("name"), 100)
        found[f"{name} image"] = text(one.get("image"), 500)
        for part in ("command", "args", "resources", "livenessProbe", "readinessProbe", "ports"):
            if one.get(part):
                found[f"{name} {part}"] = json.dumps(one[part], sort_keys=True, ensure_ascii=False)[:SHOWN]
        for variable in objects(one.get("env"), 500):
            key = text(variable.get("name"), 200)
            value = variable.get("value")
            shown = text(value, SHOWN) if value is not None else json.dumps(variable.get("valueFrom"), sort_keys=True)
            if value is not None and (_SECRET.search(key) or len(shown) > 60):
                shown = f"(hidden, {hash_of(shown)})"
            found[f"{name} env {key}"] = shown[:SHOWN]
    return found


def hash_of(value: str) -> str:
    """Tells two values apart; never shown."""
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What changed between two templates, one line each; hidden values say only that they did."""
    lines = []
    for key in sorted({*before, *after}, key=lambda key: (" image" not in key, key)):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        old, new = (None if one is None else "(hidden)" if one.startswith("(hidden") else one for one in (old, new))
        lines.append(f"{key}: {'(none)' if old is None else old} → {'(none)' if new is None else new}")
    return lines
