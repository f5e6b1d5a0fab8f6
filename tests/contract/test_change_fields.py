"""What each source of changes says of one is what docs/integrations.md promises, field by field."""

from __future__ import annotations

import pathlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from integrations.argocd import ArgoCD
from integrations.changes import change_of, changes_door
from integrations.flagd import differences
from integrations.github import GitHub
from integrations.gitlab import GitLab
from integrations.http import Egress
from integrations.kubernetes import Kubernetes
from integrations.launchdarkly import LaunchDarkly
from integrations.pagerduty import PagerDuty
from integrations.records import ServiceNames

DOCS = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "integrations.md"
COLUMNS = ("where", "who", "how much", "diff", "way back", "risk")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SERVICE = ServiceNames(
    "checkout-api", pagerduty=("PSVC123",), otel=("checkout",), repositories=("acme/checkout",),
    kubernetes=("prod/checkout",), applications=("checkout",), flags=("checkout-*",),
)  # fmt: skip
ASKED = {
    "github": (GitHub, "https://api.github.com"),
    "gitlab": (GitLab, "https://gitlab.example"),
    "argocd": (ArgoCD, "https://argocd.example"),
    "kubernetes": (Kubernetes, "https://kubernetes.internal:6443"),
    "launchdarkly": (LaunchDarkly, "https://app.launchdarkly.com"),
    "pagerduty": (PagerDuty, "https://api.pagerduty.com"),
}
MORE = {"kubernetes": {"link_url": "https://k8s.example"}, "launchdarkly": {"paths": ["default/production"]}}
TOLD = {
    "service": "checkout-api", "what": "Deploy a1b2c3d", "at": "2026-11-24T11:00:00Z", "size": 12, "risk": "high",
    "role": "payments", "environment": "production", "diff_url": "https://ci.example/diff", "rollback_url": "https://ci.example/back",
}  # fmt: skip


def promised() -> dict[str, dict[str, bool]]:
    """By source, whether a column says anything but "—"."""
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    start = lines.index("## What a change says")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:] if line.startswith("| `")]
    return {row[0].strip("`"): dict(zip(COLUMNS, (cell != "—" for cell in row[1:]), strict=True)) for row in rows[:8]}


def said(change) -> dict[str, bool]:
    values = (
        change.environment, change.author_role, change.size, change.diff_url, change.rollback_url or change.rollback,
        change.risk,
    )  # fmt: skip
    return {column: value not in (None, "") for column, value in zip(COLUMNS, values, strict=True)}


async def changes_of(name, access, question, cassette):
    if name == "changes":
        return [change_of(signal.body) for signal in changes_door(["s"]).parse({}, TOLD, "0" * 64, NOW)]
    if name == "flagd":
        before, after = {"pool": {"state": "ENABLED"}}, {"pool": {"state": "DISABLED"}}
        return differences("flagd", before, after, NOW, NOW, "https://flags.example/flags.json")
    cassette(name)
    kind, url = ASKED[name]
    more = {"token": "t", "deadline_seconds": 30, **MORE.get(name, {})}
    source = kind(url=url, egress=Egress([url]), access=access, **more)
    try:
        return (await source.fetch(replace(question, services=(SERVICE,)))).changes
    finally:
        await source.aclose()


def test_every_source_of_changes_has_a_row():
    assert set(promised()) == {*ASKED, "flagd", "changes"}


@pytest.mark.parametrize("name", [*ASKED, "flagd", "changes"])
async def test_a_source_says_what_the_docs_promise_and_what_where_and_when_always(name, access, question, cassette):
    found = await changes_of(name, access, question, cassette)
    assert found
    for change in found:
        assert change.summary and change.changed_at.tzinfo is not None and change.id
    assert any(change.service for change in found)
    got = {column: any(said(change)[column] for change in found) for column in COLUMNS}
    assert got == promised()[name]
