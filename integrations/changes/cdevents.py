"""CDEvents: what a delivery pipeline says about a service, alone or inside a CloudEvent.

Types end in a version (`dev.cdevents.service.deployed.0.3.0`), so the beginning decides; the specification's own
version is `context.version` up to 0.4 and `context.specversion` after it. A CloudEvent carries it structured (one
JSON object with `data`), batched (a list of them) or binary (`ce-` headers, the CDEvent as body).
Source: https://github.com/cdevents/spec, https://github.com/cloudevents/spec (HTTP protocol binding).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from integrations.changes.shape import change, commit_in, first_text, key_of, last_part
from integrations.errors import NotASignal
from integrations.reading import mapping, moment, text, web_address
from integrations.records import ChangeEvent, ChangeKind

_TYPE = re.compile(r"dev\.cdevents\.([a-z]+)\.([a-z]+)(?:\.|$)", re.IGNORECASE)
_SERVICE: dict[str, tuple[ChangeKind, str]] = {
    "deployed": ("deploy", "Deploy"), "upgraded": ("deploy", "Upgrade"), "rolledback": ("deploy", "Roll back"),
    "removed": ("other", "Remove"), "published": ("release", "Publish"),
}  # fmt: skip
_ENVIRONMENT = {"created": "Create", "modified": "Modify", "deleted": "Delete"}


def is_cdevent(payload: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Whether a body or its headers claim to be a CDEvent or CloudEvent; whether it is a change is another matter."""
    return (
        "cloudevents" in headers.get("content-type", "").lower()
        or "ce-type" in headers
        or "specversion" in payload
        or _TYPE.match(text(mapping(payload.get("context")).get("type"), 200)) is not None
    )


def read(source: str, event: Mapping[str, Any], headers: Mapping[str, str], received_at: datetime) -> ChangeEvent:
    """One event as a change. Raises NotASignal for an event that changes nothing that runs."""
    outer: Mapping[str, Any] = {}
    if "data_base64" in event:
        raise NotASignal("data_base64 is not read: send the event's data as JSON")
    if "specversion" in event and "context" not in event:
        outer, event = event, mapping(event.get("data"))
    elif "ce-type" in headers:
        outer = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    context, subject = mapping(event.get("context")), mapping(event.get("subject"))
    said = text(context.get("type"), 200) or text(outer.get("type"), 200)
    found = _TYPE.match(said)
    if found is None:
        raise NotASignal(f"{said[:100]!r} is no CDEvents type (dev.cdevents.…)")
    what, predicate = found[1].lower(), found[2].lower()
    content, own = mapping(subject.get("content")), mapping(event.get("customData"))
    at = moment(context.get("timestamp")) or moment(outer.get("time"))
    subject_id = text(subject.get("id"), 300) or text(outer.get("subject"), 300)
    environment = first_text(content, "environment", limit=300)
    artifact = text(content.get("artifactId"), 500)
    event_id = text(context.get("id"), 200) or text(outer.get("id"), 200)
    origin = text(context.get("source"), 300) or text(outer.get("source"), 300)
    common: dict[str, Any] = {
        "source": source,
        "external_id": f"cdevent/{key_of(origin, event_id) if event_id else key_of(event)}",
        "at": at,
        "received_at": received_at,
        "said": own,
        "url": web_address(own.get("url")) or web_address(content.get("uri")) or web_address(content.get("url")),
    }
    if what == "service" and predicate in _SERVICE:
        kind, verb = _SERVICE[predicate]
        name = first_text(own, "service") or last_part(subject_id)
        if not name:
            raise NotASignal("the event names no service: subject.id is empty")
        version = _version(artifact)
        words = first_text(own, "what", "summary") or " ".join(
            part for part in (verb, name, f"to {version}" if version else "", _place(environment)) if part
        )
        return change(
            **common, kind=kind, service=name, summary=words, environment=last_part(environment) or None,
            commit=commit_in(own.get("commit"), unquote(artifact)),
        )  # fmt: skip
    if what == "environment" and predicate in _ENVIRONMENT:
        name = text(content.get("name"), 200) or last_part(subject_id)
        words = first_text(own, "what", "summary") or f"{_ENVIRONMENT[predicate]} the environment {name}"
        return change(
            **common, kind="config", service=first_text(own, "service") or None, summary=words, environment=name or None
        )
    if (what, predicate) == ("change", "merged"):
        repository = first_text(content, "repository", limit=300)
        words = (
            first_text(own, "what", "summary") or f"Merge {last_part(subject_id)} into {repository or 'a repository'}"
        )
        return change(
            **common, kind="merge", service=first_text(own, "service") or repository or None, summary=words,
            commit=commit_in(own.get("commit"), subject_id), inferred=True,
        )  # fmt: skip
    raise NotASignal(f"{what}.{predicate} changes nothing that runs: services, environments and merges are read")


def _version(artifact: str) -> str:
    """The version of a package URL (`pkg:oci/app@sha256%3A0b31…`), shortened where it is a digest."""
    version = unquote(artifact.partition("@")[2].partition("?")[0].partition("#")[0])
    return f"{version[:19]}…" if version.startswith("sha256:") else version[:60]


def _place(environment: str) -> str:
    return f"in {last_part(environment)}" if environment else ""
