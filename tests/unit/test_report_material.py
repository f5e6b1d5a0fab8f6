"""From the store's rows to a week's figures: what was recorded is what is counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bot.report.build import build
from bot.report.material import read_material
from bot.report.weeks import parse_week
from bot.store.sqlite import SqliteStore

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path):
    opened = SqliteStore.open(tmp_path / "s.db")
    yield opened
    await opened.close()


def incident(n: int, minutes: float | None, **more) -> dict:
    at = MONDAY + timedelta(hours=n)
    resolved = at + timedelta(minutes=minutes) if minutes is not None else None
    return {
        "workspace_id": "W", "id": f"P{n}", "title": "t", "service": "checkout-api", "source": "pagerduty",
        "severity": 2, "first_severity": 2, "status": "resolved" if minutes else "triggered", "url": "",
        "triggered_at": at,
        "acknowledged_at": at + timedelta(minutes=2), "resolved_at": resolved, "first_signal_at": at, "received_at": at,
        "updated_at": at, **more,
    }  # fmt: skip


async def test_a_week_counts_mean_median_and_p90_of_what_was_recorded(store):
    await store.insert("incidents", [incident(n, float(10 * n)) for n in range(1, 11)] + [incident(20, None)])
    material = await read_material(store, "W", MONDAY + timedelta(days=8), hidden_services=frozenset())
    report = build(material, parse_week("2026-W47"), ZoneInfo("UTC"), now=MONDAY + timedelta(days=9))
    (arm,) = report.arms
    assert (arm.incidents, arm.resolved, arm.still_open) == (11, 10, 1)
    assert arm.mtta_mean == pytest.approx(2)
    assert (arm.mttr_mean, arm.mttr_median) == (pytest.approx(55), pytest.approx(55))
    assert 90 <= arm.mttr_p90 <= 100


async def test_labels_that_were_taken_back_or_rule_out_are_no_causes(store):
    await store.insert("incidents", [incident(1, 10.0)])
    base = {"workspace_id": "W", "incident_id": "P1", "by": "U1", "at": MONDAY + timedelta(hours=2), "cause": "change"}
    rows = [
        base | {"id": "a", "change_id": "c1"},
        base | {"id": "b", "change_id": "c2", "undone_at": MONDAY},
        base | {"id": "c", "cause": "unknown", "ruled_out": "c3"},
    ]
    for row in rows:
        await store.insert("labels", [row])
    material = await read_material(store, "W", MONDAY + timedelta(days=8), hidden_services=frozenset())
    assert [label.change_id for label in material.labels] == ["c1"]


@pytest.mark.parametrize(
    ("labels", "counts"),
    [
        (["deploy-1"], True), (["flag-1"], False), (["deploy-1", "flag-1"], False), (["flag-1", "deploy-1"], True),
        (["deploy-1", None], False), (["deploy-of-another"], False),
    ],
)  # fmt: skip
async def test_failed_deployment_recovery_is_of_incidents_whose_latest_label_names_a_deployment(store, labels, counts):
    """`labels`: the changes that were named, oldest first; None: something else was the cause."""
    await store.insert("incidents", [incident(1, 10.0)])
    suspects = [
        {"change_id": f"{kind}-1", "service": "a", "probability": 0.9, "kind": kind} for kind in ("flag", "deploy")
    ]
    key = {"workspace_id": "W", "incident_id": "P1"}
    await store.insert("triages", [key | {"id": "P1/1", "n": 1, "started_at": MONDAY, "suspects": suspects}])
    for n, change in enumerate(labels):
        at = MONDAY + timedelta(hours=2 + n)
        row = {"id": f"L{n}", "by": "U1", "at": at, "cause": "change" if change else "external", "change_id": change}
        await store.insert("labels", [key | row])
    material = await read_material(store, "W", MONDAY + timedelta(days=8), hidden_services=frozenset())
    report = build(material, parse_week("2026-W47"), ZoneInfo("UTC"), now=MONDAY + timedelta(days=9))
    assert (report.deployments is not None) is counts


async def test_an_empty_store_is_a_report_and_other_workspaces_do_not_count(store):
    await store.insert("incidents", [incident(1, 10.0, workspace_id="other")])
    material = await read_material(store, "W", MONDAY + timedelta(days=8), hidden_services=frozenset())
    report = build(material, parse_week("2026-W47"), ZoneInfo("Europe/Berlin"), now=MONDAY + timedelta(days=9))
    assert material.incidents == ()
    assert sum(arm.incidents for arm in report.arms) == 0
