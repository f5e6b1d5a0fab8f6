"""The pull requests that a deployment carries: their numbers and titles, a role, and what a gate called their risk.

The one of the deployed commit is asked for (`GET …/commits/<sha>/pulls`); the others stand in the messages of the
commits that were compared, as GitHub writes them when it merges. Source: https://docs.github.com/rest/commits/commits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from integrations.changes.shape import Risk, risk_of
from integrations.reading import mapping, objects, text, web_address, whole

SHOWN = 5
_SQUASHED = re.compile(r"^(.{1,300}?)\s*\(#(\d{1,9})\)$")
_MERGED = re.compile(r"^Merge pull request #(\d{1,9}) from \S")
_RISK = re.compile(r"risk\s*[:/= -]\s*(\w+)", re.IGNORECASE)
_ASSOCIATIONS = {
    "OWNER": "owner", "MEMBER": "member", "COLLABORATOR": "collaborator", "CONTRIBUTOR": "contributor",
    "FIRST_TIME_CONTRIBUTOR": "first-time contributor", "FIRST_TIMER": "first-time contributor",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pulls:
    """`lines` are `#12 Title`, the deployed commit's first; `role` of its author in the organization, never a name."""

    lines: tuple[str, ...] = ()
    url: str | None = None
    role: str | None = None
    risk: Risk | None = None


def pulls_of(answer: Any, commits: Any) -> Pulls:
    """From the list of one commit's pull requests (None where it was not read) and the commits of a comparison."""
    merged = sorted(
        (one for one in objects(answer, 100) if one.get("merged_at")), key=lambda one: text(one.get("merged_at"), 40)
    )
    titles: dict[int, str] = {}
    for one in merged[::-1]:
        number = whole(one.get("number"))
        if number is not None and number > 0:
            titles[number] = text(one.get("title"), 300)
    for number, title in _in_messages(objects(commits, 250)):
        titles.setdefault(number, title)
    lines = [f"#{number} {title}".strip() for number, title in list(titles.items())[:SHOWN]]
    if len(titles) > SHOWN:
        lines.append(f"and {len(titles) - SHOWN} more pull requests")
    last = merged[-1] if merged else {}
    return Pulls(
        lines=tuple(lines), url=web_address(last.get("html_url")), role=role_of(last), risk=_risk(merged)
    )  # fmt: skip


def role_of(pull: Mapping[str, Any]) -> str | None:
    """What its author is to the repository; a person's name is not read."""
    if mapping(pull.get("user")).get("type") == "Bot":
        return "automation"
    return _ASSOCIATIONS.get(text(pull.get("author_association"), 40))


def _risk(pulls: Iterable[Mapping[str, Any]]) -> Risk | None:
    """The highest risk that a label says (`risk: high`, `risk/medium`)."""
    said = [
        found
        for pull in pulls
        for label in objects(pull.get("labels"), 100)
        if (match := _RISK.fullmatch(text(label.get("name"), 60).strip())) and (found := risk_of(match[1]))
    ]
    order: tuple[Risk, ...] = ("high", "medium", "low")
    return next((risk for risk in order if risk in said), None)


def _in_messages(commits: Iterable[Mapping[str, Any]]) -> Iterable[tuple[int, str]]:
    """Numbers and titles, the newest first."""
    for one in reversed(list(commits)):
        subject, _, rest = text(mapping(one.get("commit")).get("message"), 5000).partition("\n")
        if squashed := _SQUASHED.match(subject):
            yield int(squashed[2]), squashed[1]
        elif merge := _MERGED.match(subject):
            yield int(merge[1]), next((line.strip()[:300] for line in rest.splitlines() if line.strip()), "")
