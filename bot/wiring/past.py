"""Incidents of before, read from PagerDuty into the store, for the baseline of an experiment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from bot.clock import Clock
from bot.errors import MissingPart
from bot.experiment.recorded import ShadowCost, read_shadow_cost
from bot.experiment.rollout import FEW_SEVERITIES
from bot.experiment.units import Row
from bot.incidents import history, topology
from bot.incidents.history import KeptDays, Past
from bot.incidents.signals import redacted_signal
from bot.settings import Settings
from bot.store.sqlite import SqliteStore
from bot.store.values import to_text
from bot.trust.redaction import Redactor
from bot.trust.redaction.values import redact_value
from bot.wiring.app import experiments_of
from bot.wiring.outside import egress_of
from bot.wiring.sources import pagerduty_of
from bot.wiring.values import declared_edges, routing_of, secret_keys
from integrations.errors import IntegrationError
from integrations.pagerduty import Pace

REQUESTS_A_MINUTE = 240.0
"""A quarter of what PagerDuty allows an account: others ask it too."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What was read, as rows of a baseline."""

    rows: tuple[Row, ...]
    began_before: int
    written: int
    """Resolved incidents that are new in the store."""
    not_written: str
    """Why none was written; "" where they were."""
    shadow: ShadowCost | None


async def import_past(settings: Settings, *, weeks: float, clock: Clock, told: Callable[[int, int], None]) -> Imported:
    """The incidents of the last weeks, from midnight UTC on. `told(done, days)` hears of each day that was read.

    Raises MissingPart without PAGERDUTY_API_TOKEN, and IntegrationError's sentence where PagerDuty cannot be read.
    """
    now = clock.now()
    since = (now - timedelta(weeks=weeks)).replace(hour=0, minute=0, second=0, microsecond=0)
    redactor = Redactor(secret_keys(settings))
    kept = KeptDays(settings.home / "baseline" / "pagerduty.jsonl")
    async with AsyncExitStack() as stack:
        store = SqliteStore.open(settings.home / "sitrep.db")
        stack.push_async_callback(store.close)
        source = pagerduty_of(settings, egress_of(settings), stack, pace=Pace(REQUESTS_A_MINUTE))
        if source is None:
            raise MissingPart(
                "PAGERDUTY_API_TOKEN is not set; set it, or give past incidents as a file: --csv past.csv"
            )
        try:
            past = await history.read_past(
                source, since=since, until=now, kept=kept, clock=clock, told=told,
                redact=partial(redacted_signal, redact=partial(redact_value, redactor)),
            )  # fmt: skip
        except IntegrationError as failed:
            raise MissingPart(f"{failed}; the days that were read are kept, call the same again") from None
        why = await _why_not_written(settings, store, clock)
        written = 0
        if not why:
            learnt = await topology.learnt(store, settings.file.workspace, now)
            neighbours = topology.neighbours([*learnt, *declared_edges(settings)])
            written = await history.store_past(
                store, settings.file.workspace, past, routing_of(settings), neighbours, now
            )
        shadow = await read_shadow_cost(store, settings.file.workspace, since)
        units = await _units(store, settings.file.workspace, past)
    kept.remove()
    return Imported(_rows(settings, past, units), past.began_before, written, why, shadow)


async def _why_not_written(settings: Settings, store: SqliteStore, clock: Clock) -> str:
    """The incidents before the start are the baseline of an experiment's scores: they must not change under it."""
    live = await experiments_of(settings, store, clock)
    for one in settings.experiments:
        if await live.started(one.name) is not None and not live.is_over(one, clock.now()):
            return f"the experiment {one.name!r} has started, and what was before it must stay as it was"
    return ""


async def _units(store: SqliteStore, workspace_id: str, past: Past) -> dict[str, str]:
    """By incident, the unit that it joined."""
    since = min((one.life.triggered_at for one in past.incidents), default=None)
    if since is None:
        return {}
    rows = await store.query(
        "SELECT id, unit_id FROM incidents WHERE workspace_id = :w AND unit_id IS NOT NULL AND triggered_at >= :since",
        {"w": workspace_id, "since": to_text(since)},
    )
    return {row["id"]: row["unit_id"] for row in rows}


def _rows(settings: Settings, past: Past, units: dict[str, str]) -> tuple[Row, ...]:
    routing = routing_of(settings)
    rows = []
    for one in past.incidents:
        severity = routing.severity_of(one.fields.priority, one.fields.urgency)
        rows.append(
            Row(
                incident_id=one.incident_id,
                stratum=f"sev{min(max(severity, 1), FEW_SEVERITIES)}",
                service=routing.service(one.fields.service_ref, one.fields.service) or one.fields.service or "",
                arm="",
                triggered_at=one.life.triggered_at,
                resolved_at=one.life.resolved_at,
                storm_id=units.get(one.incident_id, ""),
                acknowledged_at=one.life.acknowledged_at,
            )
        )
    return tuple(rows)
