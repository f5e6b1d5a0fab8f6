"""A `Ranked` as the rooms before compose make it: the pool that was cut from 20 to 2."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bot.types import Ranked, Reason, Suspect
from integrations.records import EVERYONE, Evidence, Incident, Readers

AT = datetime(2026, 11, 24, 14, 2, 10, tzinfo=UTC)
FENCE = "0123456789abcdef"


def evidence(mark: str, kind: str, title: str, text: str = "", **more: Any) -> Evidence:
    return Evidence(
        id=f"demo/{kind}/{mark}",
        kind=kind,
        source=more.pop("source", "demo"),
        observed_at=more.pop("observed_at", AT),
        fetched_at=AT + timedelta(seconds=2),
        url=f"https://example.com/{mark}",
        readers=Readers.of([EVERYONE]),
        title=title,
        text=text,
        mark=mark,
        **more,
    )


def suspect(mark: str, change_id: str = "d-1", probability: float = 0.82, **more: Any) -> Suspect:
    return Suspect(
        change_id=change_id,
        mark=mark,
        service="checkout-api",
        kind="deploy",
        summary="Deploy a1b2c3d to checkout-api",
        changed_at=AT - timedelta(seconds=58),
        seconds_before=58,
        score=3.1,
        probability=probability,
        reasons=more.pop("reasons", (Reason(text="58 s before the first error.", evidence=("e1",)),)),
        **more,
    )


POOL = (
    evidence("e1", "alert", "checkout-api: 38 % of requests fail", "since 14:02:10 38 % fail (normal 0.2 %)"),
    evidence("e3", "change", "Deploy a1b2c3d to checkout-api", "Deploy a1b2c3d4e5f6 to checkout-api at 14:01:12"),
    evidence("e7", "change", "Diff of a1b2c3d", "config/pool.yaml: DB_POOL_SIZE changed from 20 to 2"),
    evidence("e9", "trace", "checkout-api → payments-db", "calls wait 4.9 s for a connection, normal 3 ms"),
    evidence("e12", "runbook", "Rollback", "Roll back: kubectl rollout undo deployment/checkout-api -n shop"),
)  # fmt: skip


def ranked(items: tuple[Evidence, ...] = POOL, suspects: tuple[Suspect, ...] | None = None, **more: Any) -> Ranked:
    incident = Incident(
        workspace_id="T1",
        id="P8K2Q1",
        title="checkout-api: 38 % of requests fail",
        service="checkout-api",
        severity=2,
        url="https://example.com/P8K2Q1",
        triggered_at=AT,
    )
    return Ranked(
        incident=incident,
        headline="38 % of requests fail (normal 0.2 %)",
        evidence=items,
        suspects=(suspect("e3"),) if suspects is None else suspects,
        collected_at=AT,
        permitted_at=AT,
        snapshot="5f1c",
        audience='[["everyone"]]',
        **more,
    )
