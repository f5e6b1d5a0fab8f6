"""A store of two years of incidents: the first came through the door and the drainer, the rest are copies of the rows.

The last 26 weeks are an experiment. Fixed seed; copies lie a few minutes to hours after their original.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bot.clock import ManualClock
from bot.experiment.assign import arms_of, seed_digest
from bot.experiment.hypothesis import Hypothesis, parse
from bot.experiment.live import started_key
from bot.experiment.schedule import starts_at
from bot.incidents.intake import Drainer
from bot.incidents.routing import Routing, Service
from bot.incidents.signals import store_signals
from bot.settings import Match
from bot.store.sqlite import SqliteStore
from bot.store.values import to_text
from integrations.pagerduty import PagerDutyDoor
from tests.support.report_material import EXAMPLE

WORKSPACE = "default"
WEEKS = 104
END = datetime(2026, 11, 23, tzinfo=UTC)
EXPERIMENT = END - timedelta(weeks=26)
SEED = hashlib.sha256(b"the seed of the big store").digest()
INGESTED = 2_000
SERVICES = 40
_SECRET = "of-the-bench"
_COPIED = ("incidents", "incident_times", "units", "exposures", "triages", "votes", "labels", "calls", "spend")
_IDS = {"id", "incident_id", "unit_id", "triage_id", "workflow_id"}


def hypothesis() -> Hypothesis:
    """The example's, begun 26 weeks before the end."""
    text = EXAMPLE.read_text().replace("2026-12-07", EXPERIMENT.date().isoformat())
    return parse(text, file="experiments/summary.toml")


async def fill(path: Path, incidents: int, *, weeks: int = WEEKS) -> None:
    """Make the store at `path` with so many incidents over the last `weeks`."""
    chance = random.Random(8)
    store = SqliteStore.open(path)
    await _ingest(store, min(INGESTED, incidents), END - timedelta(weeks=weeks), chance)
    await _triages(store, chance)
    await store.close()
    database = sqlite3.connect(path)
    # Made to be thrown away: no journal, and the indexes' pages stay in memory.
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1500000", "secure_delete = OFF"):
        database.execute(f"PRAGMA {pragma}")
    with database:
        for table in _COPIED:
            database.execute(f"CREATE TEMP TABLE of_{table} AS SELECT * FROM {table}")
        for copy in range(1, -(-incidents // INGESTED)):
            for table in _COPIED:
                _copy(database, table, copy)
        _assign(database)
    database.execute("ANALYZE")
    database.close()


async def _ingest(store: SqliteStore, incidents: int, begin: datetime, chance: random.Random) -> None:
    """Signed deliveries through the door, stored, and applied by the drainer: triggered, acknowledged, resolved."""
    door = PagerDutyDoor([_SECRET])
    services = {f"service-{n}": Service(f"service-{n}", (f"PSVC{n}",)) for n in range(SERVICES)}
    routing = Routing("#incidents", Match(), services=services, severity={"P1": 1, "P2": 2, "P3": 3})

    async def start(wanted: object) -> None:
        """Triages have rows of their own below."""

    async def neighbours() -> dict[str, frozenset[str]]:
        return {}

    drainer = Drainer(store, WORKSPACE, routing, ManualClock(END), start, neighbours)
    signals = []
    for number in range(incidents):
        at = begin + (END - begin) * (number + chance.random()) / incidents
        minutes = chance.lognormvariate(4.2, 1.1)
        events = [("triggered", 0.0), ("resolved", minutes)]
        if number % 9:
            events.insert(1, ("acknowledged", min(chance.lognormvariate(1.2, 0.7), minutes / 2)))
        service = chance.randrange(SERVICES)
        for kind, after in events:
            moment = at + timedelta(minutes=after)
            if moment < END:
                signals += _delivery(door, number, kind, moment, at, service, ("P1", "P2", "P3")[number % 3])
    signals.sort(key=lambda signal: signal.occurred_at)
    for first in range(0, len(signals), 500):
        await store_signals(store, WORKSPACE, signals[first : first + 500])
    await drainer.drain()


def _delivery(
    door: PagerDutyDoor, number: int, kind: str, at: datetime, created: datetime, service: int, priority: str
):
    data = {
        "id": f"P{number:06d}", "type": "incident", "number": number, "title": f"service-{service} is slow",
        "status": kind, "html_url": "https://acme.pagerduty.com/incidents/x", "urgency": "high",
        "service": {"id": f"PSVC{service}", "summary": f"Service {service}"}, "priority": {"summary": priority},
        "created_at": created.isoformat(),
    }  # fmt: skip
    agent = {"type": "user_reference"}
    event = {"id": f"E{number}{kind}", "event_type": f"incident.{kind}", "occurred_at": at.isoformat(), "agent": agent}
    body = json.dumps({"event": event | {"data": data}}).encode()
    signature = hmac.new(_SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-pagerduty-signature": f"v1={signature}"}
    door.verify(headers, body, at)
    return door.parse(headers, json.loads(body), hashlib.sha256(body).hexdigest(), at)


async def _triages(store: SqliteStore, chance: random.Random) -> None:
    """What `record`, the gateway and people leave of an incident: one triage, one call, perhaps a vote and a label."""
    rows = await store.query("SELECT id, service, triggered_at, acknowledged_at, resolved_at FROM incidents")
    tables: dict[str, list[dict[str, object]]] = {name: [] for name in _COPIED[3:]}
    for number, row in enumerate(rows):
        name, service = row["id"], row["service"]
        at = datetime.fromisoformat(row["triggered_at"])
        out, later = at + timedelta(seconds=4), at + timedelta(minutes=40)
        suspects = [
            {"change_id": f"deploy-{number % 50}{k}", "service": service, "probability": p}
            for k, p in enumerate((0.92 if number % 3 else 0.5, 0.2, 0.1))
        ]
        outcome = ("released", "rejected", "off", "released", "budget")[number % 5]
        cost = 0.0 if outcome in ("off", "budget") else round(chance.uniform(0.004, 0.02), 6)
        key = {"workspace_id": WORKSPACE, "incident_id": name}
        tables["exposures"].append(
            key | {"kind": "card", "at": out, "triage_id": f"{name}/1", "before_acknowledged": 1, "before_resolved": 1}
        )
        tables["triages"].append(
            key | {
                "id": f"{name}/1", "n": 1, "outcome": outcome, "started_at": at, "recorded_at": out,
                "suspects": suspects,
                "outcome_reason": "a number that no item has" if outcome == "rejected" else "", "hidden": number % 4,
                "cost_usd": cost, "model": "local-1", "prompt": "triage/v1", "timings": {"first_post_seconds": 4.0},
                "services": [{"service": service, "probability": 0.8}],
            }
        )  # fmt: skip
        if cost:
            tables["calls"].append(
                key | {
                    "id": f"call-{name}", "triage_id": f"{name}/1", "use": "triage", "prompt": "triage/v1",
                    "prompt_sha256": "0" * 64, "model": "local-1", "outcome": outcome, "cost_usd": cost,
                    "tokens_in": 4000, "tokens_out": 300, "attempts": 1, "started_at": at, "ended_at": out,
                }
            )  # fmt: skip
            tables["spend"].append(
                key | {
                    "workflow_id": f"{name}/1", "step": "infer", "attempt": 1, "use": "triage", "model": "local-1",
                    "reserved_usd": cost, "settled_usd": cost, "state": "settled", "reserved_at": at, "settled_at": out,
                }
            )  # fmt: skip
        if number % 3 == 0:
            vote = "helpful" if number % 4 else "not_helpful"
            tables["votes"].append(
                key | {"triage_id": f"{name}/1", "post_version": 1, "by": "U1", "vote": vote, "at": later}
            )
        if number % 4 != 3:
            change = suspects[0]["change_id"] if number % 2 else "deploy-other"
            tables["labels"].append(
                key | {"id": f"L{name}", "by": "U1", "at": later, "cause": "change", "service": service,
                       "change_id": change, "suspect_rank": 1}
            )  # fmt: skip
    for table, found in tables.items():
        await store.insert(table, found)


def _copy(database: sqlite3.Connection, table: str, copy: int) -> None:
    """Every original row once more, under other ids and `copy` times 37 s later."""
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    shown = []
    for column in columns:
        if column in _IDS:
            shown.append(f"'{copy:03d}~' || {column}")  # in front: a copy's rows lie together in the index
        elif column == "at" or column.endswith("_at"):
            shown.append(f"strftime('%Y-%m-%dT%H:%M:%f', {column}, '+{37 * copy} seconds') || '000Z'")
        else:
            shown.append(column)
    database.execute(f"INSERT INTO {table} SELECT {', '.join(shown)} FROM of_{table}")


def _assign(database: sqlite3.Connection) -> None:
    """Every unit of the experiment by the seed, and what the experiment started with."""
    found = hypothesis()
    units: dict[str, list[tuple[str, str]]] = {}
    rows = database.execute(
        "SELECT u.id, u.stratum, min(i.triggered_at) AS at FROM units u JOIN incidents i ON i.unit_id = u.id"
        " AND i.workspace_id = u.workspace_id GROUP BY u.id HAVING at >= ? ORDER BY at, u.id",
        (to_text(EXPERIMENT),),
    ).fetchall()
    for unit_id, stratum, at in rows:
        units.setdefault(stratum, []).append((unit_id, at))
    for stratum, of_it in units.items():
        arms = arms_of(SEED, stratum, range(len(of_it)))
        database.executemany(
            "INSERT INTO assignments (workspace_id, unit_id, experiment, arm, stratum, ordinal, seed_sha256,"
            " assigned_at, flag) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '{}')",
            [
                (WORKSPACE, unit_id, found.name, arm, stratum, n, seed_digest(SEED), at)
                for n, ((unit_id, at), arm) in enumerate(zip(of_it, arms, strict=True))
            ],
        )
    detail = {
        "sha256": found.sha256, "seed_sha256": seed_digest(SEED), "started_at": to_text(starts_at(found)),
        "first_unit_at": to_text(EXPERIMENT),
    }  # fmt: skip
    database.execute(
        "INSERT INTO notices (workspace_id, id, kind, detail, created_at) VALUES (?, ?, 'cursor', ?, ?)",
        (WORKSPACE, started_key(found.name), json.dumps(detail), to_text(EXPERIMENT)),
    )
