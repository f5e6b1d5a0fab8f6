"""Sections `[services.<name>]` proposed from what several systems call their services. Pure.

Names that are the same without case and punctuation are one service; names that are the same only without a usual
ending ("-service", "-api") are put together too, with a comment that asks to look.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bot.settings import ServiceSection

ENDINGS = ("service", "svc", "server", "app", "api", "production", "prod")
SHORTEST_STEM = 3
NOT_SERVICES = frozenset(
    {"prometheus", "alertmanager", "grafana", "nodeexporter", "jaeger", "jaegerquery", "pushgateway"}
)
"""Jobs of the monitoring itself, which Prometheus lists beside the services."""


class Named(Protocol):
    """What one system named."""

    @property
    def source(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def services(self) -> Sequence[tuple[str, str]]: ...

    @property
    def note(self) -> str: ...


@dataclass(slots=True)
class _Proposal:
    name: str
    names: dict[str, list[str]] = field(default_factory=dict)
    """Key of the section to what that system calls it."""
    by_stem: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)


def propose(listed: Sequence[Named], known: Mapping[str, ServiceSection]) -> str:
    """TOML to paste into sitrep.toml; what has its section already is a comment that says what to add to it."""
    lines: list[str] = []
    for one in listed:
        told = f"{len(one.services)} services" if one.services else "no service"
        lines.append(f"# {_comment(one.source)}: {told}{f' ({_comment(one.note)})' if one.note else ''}")
    if not listed:
        lines.append(
            "# nobody to ask: PAGERDUTY_API_TOKEN and [sources] of kind jaeger, prometheus, github name services"
        )
    new, added = 0, 0
    for proposal in _proposals(listed):
        section = _known(proposal, known)
        if section is None:
            new += 1
            lines += ["", *_section(proposal)]
        elif more := list(_missing(proposal, known[section])):
            added += 1
            lines += ["", f"# [services.{_key(section)}] is there; it lacks:", *(f"# {one}" for one in more)]
    lines += ["", f"# {new} new, {added} to complete; depends_on, team, channel and readers are yours to say"]
    return "\n".join(lines)


def _proposals(listed: Sequence[Named]) -> list[_Proposal]:
    """PagerDuty's names first: an incident names its service in them."""
    order = {"pagerduty": 0, "otel": 1, "repositories": 2, "prometheus": 3}
    found: list[_Proposal] = []
    for one in sorted(listed, key=lambda each: order.get(each.key, 9)):
        for ref, title in one.services:
            plain = _plain(title)
            if not plain or (one.key == "prometheus" and plain in NOT_SERVICES):
                continue
            exact = next((each for each in found if _plain(each.name) == plain), None)
            by_stem = exact or next((each for each in found if _stem(_plain(each.name)) == _stem(plain)), None)
            if by_stem is None:
                if one.key in ("repositories", "prometheus"):
                    continue  # a repository or a job that nobody else knows is seldom a service
                by_stem = _Proposal(_name(title))
                found.append(by_stem)
            elif exact is None:
                by_stem.by_stem.append(f"{one.key} {ref!r}")
            by_stem.names.setdefault(one.key, []).append(ref)
            if title not in (ref, by_stem.name) and one.key == "pagerduty":
                by_stem.titles.append(title)
    return found


def _known(proposal: _Proposal, known: Mapping[str, ServiceSection]) -> str | None:
    refs = {ref for many in proposal.names.values() for ref in many}
    for name, section in known.items():
        written = {*section.pagerduty, *section.otel, *section.repositories, *section.prometheus.values()}
        if refs & written or _plain(name) == _plain(proposal.name):
            return name
    return None


def _missing(proposal: _Proposal, section: ServiceSection) -> Iterator[str]:
    for key, refs in proposal.names.items():
        if key == "prometheus":
            if not section.prometheus:
                yield from _written(key, refs)
            continue
        more = [ref for ref in refs if ref not in getattr(section, key)]
        if more:
            yield from _written(key, [*getattr(section, key), *more])


def _section(proposal: _Proposal) -> Iterator[str]:
    yield f"[services.{_key(proposal.name)}]"
    if proposal.titles:
        yield f"# {_comment(', '.join(dict.fromkeys(proposal.titles)))}"
    for key, refs in proposal.names.items():
        yield from _written(key, refs)
    for one in proposal.by_stem:
        yield f"# look: {_comment(one)} is put here for its likeness"


def _written(key: str, refs: Sequence[str]) -> Iterator[str]:
    if key == "prometheus":
        yield f"prometheus = {{ job = {_text(refs[0])} }}"
        for more in refs[1:]:
            yield f"# or prometheus = {{ job = {_text(more)} }}"
    else:
        yield f"{key} = [{', '.join(_text(ref) for ref in dict.fromkeys(refs))}]"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _stem(plain: str) -> str:
    for ending in ENDINGS:
        if plain.endswith(ending) and len(plain) - len(ending) >= SHORTEST_STEM:
            return plain.removesuffix(ending)
    return plain


def _name(title: str) -> str:
    """A section's name: the system's own where that is one word, else its words joined by dashes."""
    return re.sub(r"[^A-Za-z0-9._/-]+", "-", title.strip()).strip("-").lower()[:80] or "service"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(value: str) -> str:
    """A TOML basic string of outside text: one line, nothing invisible."""
    return json.dumps("".join(char for char in value if char.isprintable()), ensure_ascii=False)


def _comment(value: str) -> str:
    return "".join(char if char.isprintable() else " " for char in value)[:200]
