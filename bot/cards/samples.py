"""One invented incident in every state of its card: for `sitrep triage --sample`, the pictures in docs/slack and tests.

Nothing here is a person's, a customer's or a real system's.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bot.cards.making import collecting, from_ranked
from bot.cards.state import CardState, StormPart
from bot.types import (
    Claim,
    Plot,
    Ranked,
    Reason,
    Rejected,
    Released,
    ServiceScore,
    SourceStatus,
    SpanBar,
    Summary,
    Suspect,
    TimelineEntry,
    Usage,
    Waterfall,
)  # fmt: skip
from integrations.records import ChangeKind, Evidence, EvidenceKind, Incident, IncidentStatus, Readers, Record

BEGAN = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)
LINKS = ("github.com", "*.pagerduty.com", "prometheus.acme.example", "jaeger.acme.example", "wiki.acme.example")
EVERYONE = Readers.of(["everyone"])


def incident(status: IncidentStatus = "triggered") -> Incident:
    """The incident itself."""
    return Incident(
        workspace_id="T0SAMPLE",
        id="P8K2Q1",
        number=1834,
        title="checkout-api: error ratio above 5 %",
        service="checkout-api",
        severity=2,
        status=status,
        url="https://acme.pagerduty.com/incidents/P8K2Q1",
        triggered_at=BEGAN,
        on_call="payments",
    )


def _item(mark: str, kind: EvidenceKind, title: str, url: str, source: str, **more: str) -> Evidence:
    return Evidence(
        id=f"{source}/{kind}/{mark}",
        kind=kind,
        source=source,
        observed_at=BEGAN - timedelta(seconds=20),
        fetched_at=BEGAN,
        url=url,
        readers=EVERYONE,
        title=title,
        text=title,
        service="checkout-api",
        mark=mark,
        attributes=more,
    )


def _suspect(
    change_id: str,
    mark: str,
    kind: ChangeKind,
    service: str,
    summary: str,
    seconds: float,
    probability: float,
    *reasons: Reason,
) -> Suspect:
    return Suspect(
        change_id=change_id,
        mark=mark,
        service=service,
        kind=kind,
        summary=summary,
        changed_at=BEGAN - timedelta(seconds=seconds),
        seconds_before=seconds,
        score=probability,
        probability=probability,
        reasons=reasons,
        url="https://github.com/acme/checkout/deployments",
    )


EVIDENCE = (
    _item("e1", "metric", "error ratio of checkout-api: 38 % (normal 0.2 %)",
          "https://prometheus.acme.example/graph?g0.expr=errors", "prometheus"),
    _item("e2", "alert", "checkout-api: error ratio above 5 %",
          "https://acme.pagerduty.com/incidents/P8K2Q1", "pagerduty"),
    _item("e3", "change", "Deploy a1b2c3d to production: Smaller pool for checkout",
          "https://github.com/acme/checkout/deployments", "github", commit="a1b2c3d9f8e7d6c5b4a3"),
    _item("e4", "change", "Flag new-tax on for 10 % of users", "https://flags.acme.example/new-tax", "flagd"),
    _item("e5", "change", "Scale web from 3 to 4", "https://github.com/acme/web", "kubernetes"),
    _item("e7", "change", "Diff: DB_POOL_SIZE 20 → 2",
          "https://github.com/acme/checkout/compare/9f8e7d6...a1b2c3d", "github"),
    _item("e9", "trace", "POST /orders: 4.9 s waiting for a connection to payments-db (normal 3 ms)",
          "https://jaeger.acme.example/trace/4bf92f3577b34da6a3ce929d0e0e4736", "jaeger"),
    _item("e12", "runbook", "checkout rollback", "https://wiki.acme.example/runbooks/checkout-rollback", "runbooks"),
)  # fmt: skip

SUSPECTS = (
    _suspect(
        "deploy-1", "e3", "deploy", "checkout-api", "Smaller pool for checkout", 58, 0.86,
        Reason(text="It cut the connection pool from 20 to 2", evidence=("e7",)),
        Reason(text="Errors began 58 s after it", evidence=("e1",)),
        Reason(text="Calls to payments-db wait 4.9 s for a connection, normal 3 ms", evidence=("e9",)),
    ),
    _suspect("flag-1", "e4", "flag", "tax", "flag new-tax on for 10 % of users", 1320, 0.09,
             Reason(text="In the call path of the failing requests")),
    _suspect("scale-1", "e5", "scale", "web", "Scale web from 3 to 4", 2460, 0.03, Reason(text="Upstream only")),
)  # fmt: skip

SERVICES = (
    ServiceScore(
        service="checkout-api",
        score=5.1,
        probability=0.81,
        reasons=(
            Reason(text="503 in 17 of 45 calls, usually 0 of 1,204", evidence=("e1",)),
            Reason(text="Waits 4.9 s for a connection, normal 3 ms", evidence=("e9",)),
        ),
    ),
    ServiceScore(service="payments-db", score=1.2, probability=0.12, reasons=()),
)

SOURCES = (
    SourceStatus(name="pagerduty", answered=True, seconds=0.4),
    SourceStatus(name="github", answered=True, seconds=0.6),
    SourceStatus(name="prometheus", answered=True, seconds=0.2),
    SourceStatus(name="jaeger", answered=True, seconds=0.5),
    SourceStatus(name="kubernetes", answered=True, seconds=0.3),
    SourceStatus(name="runbooks", answered=True, seconds=0.1),
    SourceStatus(name="tempo", answered=False, note="no answer in 3 s", seconds=3.0),
)

TIMELINE = (
    TimelineEntry(at=BEGAN - timedelta(seconds=1320), text="Flag new-tax on for 10 % of users", evidence=("e4",)),
    TimelineEntry(at=BEGAN - timedelta(seconds=58), text="Deploy a1b2c3d to checkout-api", evidence=("e3",)),
    TimelineEntry(at=BEGAN - timedelta(seconds=12), text="First 503 at POST /orders", evidence=("e9",)),
    TimelineEntry(at=BEGAN, text="Alert: error ratio above 5 %", evidence=("e2",)),
)

SUMMARY = Summary(
    cause=(
        Claim(text="It cut the connection pool from 20 to 2", evidence=("e7",)),
        Claim(text="Errors began 58 s after it", evidence=("e1",)),
        Claim(text="Calls to payments-db wait 4.9 s for a connection, normal 3 ms", evidence=("e9",)),
    ),
    going_on=(
        Claim(text="Orders fail at checkout with 503, browsing works", evidence=("e2",)),
        Claim(text="1 in 3 payment requests is hit", evidence=("e1",)),
    ),
    next=(
        Claim(text="Look at the diff", evidence=("e7",)),
        Claim(text="Roll back by runbook “checkout rollback”, last used 9 days ago", evidence=("e12",)),
        Claim(text="If errors stay, check payments-db's connection limit", evidence=("e9",)),
    ),
)

USAGE = Usage(
    model="gpt-x-2026-08-06",
    prompt="summary/v1",
    prompt_sha256="0" * 64,
    tokens_in=3620,
    tokens_out=480,
    cost_usd=0.012,
    attempts=1,
)


WATERFALL = Waterfall(
    mark="e9",
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    total_ms=4961,
    spans=31,
    readers=EVERYONE,
    bars=(
        SpanBar(service="web", name="POST /orders", depth=0, start_ms=0, duration_ms=4961, failed=True),
        SpanBar(service="checkout-api", name="POST /orders", depth=1, start_ms=8, duration_ms=4949, failed=True),
        SpanBar(service="cart", name="GET /cart", depth=2, start_ms=11, duration_ms=14),
        SpanBar(service="tax", name="POST /quote", depth=2, start_ms=27, duration_ms=12),
        SpanBar(service="checkout-api", name="wait for a connection", depth=2, start_ms=41, duration_ms=4902),
        SpanBar(service="payments-db", name="INSERT orders", depth=2, start_ms=4944, duration_ms=3),
    ),
)
_ERRORS = (0.2, 0.2, 0.3, 0.1, 0.2, 0.2, 0.4, 0.2, 0.2, 0.2, 0.3, 0.2, 0.2, 0.1, 0.2, 0.2, 0.2, 4.1, 22.0, 36.4, 38.2)
PLOT = Plot(
    mark="e1",
    name="error_ratio",
    service="checkout-api",
    unit="percent",
    usual=0.2,
    points=tuple(((BEGAN - timedelta(seconds=30 * (18 - i))).timestamp(), value) for i, value in enumerate(_ERRORS)),
    readers=EVERYONE,
)


def ranked(
    *,
    suspects: tuple[Suspect, ...] = SUSPECTS,
    services: tuple[ServiceScore, ...] = SERVICES,
    evidence: tuple[Evidence, ...] = EVIDENCE,
    sources: tuple[SourceStatus, ...] = SOURCES,
    fallback: str | None = None,
    alerts: int = 4,
    headline: str = "38 % of requests fail (normal 0.2 %)",
) -> Ranked:
    """What the gather step hands over for this incident."""
    return Ranked(
        incident=incident(),
        headline=headline,
        evidence=evidence,
        suspects=suspects,
        services=services,
        timeline=TIMELINE if evidence == EVIDENCE else (),
        waterfalls=(WATERFALL,) if evidence == EVIDENCE else (),
        plots=(PLOT,) if evidence == EVIDENCE else (),
        sources=sources,
        hidden=2,
        alerts_in_storm=alerts,
        owner="payments",
        on_call="payments",
        fallback=fallback,
        collected_at=BEGAN + timedelta(seconds=1),
        permitted_at=BEGAN + timedelta(seconds=1),
    )


def facts() -> CardState:
    """The facts card while a summary is awaited."""
    return from_ranked(ranked(), links=LINKS, facts_seconds=1.3)


def with_summary() -> CardState:
    """The card in its resting state."""
    return facts().with_summary(Released(summary=SUMMARY, usage=USAGE), seconds=9)


def every_state() -> dict[str, CardState]:
    """Each state of CARD.md by its name, as the pictures are named."""
    after = BEGAN + timedelta(minutes=2, seconds=14)
    summary = with_summary()
    acknowledged = summary.acknowledged(after, "on-call payments")
    mitigated = acknowledged.mitigated(BEGAN + timedelta(minutes=11))
    resolved = mitigated.resolved(BEGAN + timedelta(minutes=23))
    struck = facts().rule_out("deploy-1", by="on-call payments", at=after)
    rejected = Rejected(outcome="rejected", reason="an answer was rejected: it named a host that no evidence contains")
    storm = (
        StormPart(service="checkout-api", alerts=12),
        StormPart(service="payments-db", alerts=7),
        StormPart(service="web", alerts=3),
        StormPart(service="tax", alerts=1),
    )
    weak = tuple(one.model_copy(update={"probability": one.probability / 5}) for one in SUSPECTS)
    quiet = tuple(one.model_copy(update={"probability": one.probability / 5}) for one in SERVICES)
    down = tuple(SourceStatus(name=one.name, answered=False, note="no answer in 3 s") for one in SOURCES[1:4])
    only_alert = tuple(item for item in EVIDENCE if item.kind == "alert")
    silent = ranked(
        suspects=(), services=(), evidence=only_alert, sources=down, alerts=1, headline="error ratio above 5 %"
    )
    return {
        "collecting": collecting(incident(), links=LINKS, number_of_sources=7),
        "facts": facts().without_summary("held out for measurement"),
        "summary": summary,
        "rejected": facts().with_summary(rejected),
        "acknowledged": acknowledged,
        "mitigated": mitigated,
        "resolved": resolved,
        "reopened": resolved.reopened(BEGAN + timedelta(minutes=31)),
        "ruled-out": struck,
        "confirmed": resolved.confirm("deploy-1", by="on-call payments", at=after),
        "storm": from_ranked(ranked(alerts=23), links=LINKS, facts_seconds=1.4, storm=storm),
        "nothing-stands-out": from_ranked(
            ranked(suspects=weak, services=SERVICES), links=LINKS, facts_seconds=1.3, no_summary="no change stands out"
        ),
        "nothing-at-all": from_ranked(ranked(suspects=weak, services=quiet), links=LINKS, facts_seconds=1.3),
        "everything-down": from_ranked(silent, links=LINKS, facts_seconds=3.1, no_summary="there is no evidence"),
        "fallback": from_ranked(
            ranked(fallback="who can read this channel could not be established"), links=LINKS, facts_seconds=1.0
        ),
        "paused": from_ranked(ranked(), links=LINKS, facts_seconds=1.3, paused="cost of a triage is over its line"),
        "narrowed": from_ranked(ranked(suspects=SUSPECTS[1:], alerts=1), links=LINKS, facts_seconds=1.3, narrowed=True),
    }


def marked_sample(now: datetime) -> CardState:
    """The resting card as of now, and it says that it is a sample: without buttons, links, or anything to count."""
    state: CardState = _moved(with_summary(), now - timedelta(minutes=3) - BEGAN)
    sample = state.incident.model_copy(
        update={"id": "SAMPLE", "number": None, "url": "", "service": None, "title": "Sample, nothing is broken"}
    )
    return state.model_copy(
        update={
            "incident": sample,
            "headline": f"Sample, nothing is broken: checkout-api, {state.headline}",
            "offers": (),
            "links": (),
            "hidden": 0,
            "notices": ("this is a sample: nothing happened, and nothing is counted",),
        }
    )


def _moved(value: Any, by: timedelta) -> Any:
    """The same record with every time moved."""
    if isinstance(value, datetime):
        return value + by
    if isinstance(value, tuple):
        return tuple(_moved(one, by) for one in value)
    if not isinstance(value, Record):
        return value
    changed = {name: _moved(getattr(value, name), by) for name in type(value).model_fields}
    if isinstance(value, Plot):
        changed["points"] = tuple((at + by.total_seconds(), number) for at, number in value.points)
    return value.model_copy(update=changed)
