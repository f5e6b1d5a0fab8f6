"""Money: reserve before a call, settle after it, so that calls at the same time cannot overspend together.

Everything here runs inside one transaction of the store. A reservation is keyed (workflow id, step, attempt): a step
that starts again settles the open one at its full amount and may call once more, at most twice in all. Whoever finds
a reservation without a living workflow settles it at its full amount: recorded spend is never below what was sent.
Days and months are UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from bot import telemetry
from bot.store import Transaction

CALLS_PER_STEP = 2
WARN_AT = 0.8
_DUST_USD = 1e-9
"""Sums of dollars in floating point differ by less than this from the truth."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Most dollars per scope; None is no ceiling. Per use and per team: by name and month."""

    incident_usd: float | None = None
    day_usd: float | None = None
    month_usd: float | None = None
    use_month_usd: Mapping[str, float] = field(default_factory=dict)
    team_month_usd: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays for a call, and which step of which workflow makes it."""

    workspace_id: str
    workflow_id: str
    step: str
    use: str
    model: str
    incident_id: str | None = None
    team: str | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money that counts as spent until it is settled."""

    payer: Payer
    attempt: int
    reserved_at: datetime
    usd: float


class OverCeiling(Exception):
    """The call would cost more than a ceiling allows; the text goes on the card after "no summary: "."""

    def __init__(self, reason: str, scope: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.scope = scope


def reserve(tx: Transaction, payer: Payer, usd: float, ceilings: Ceilings, now: datetime) -> Reservation:
    """Set `usd` aside for one call. Raises OverCeiling, and then nothing has changed but older reservations."""
    attempt = _restarts(tx, payer, now) + 1
    if attempt > CALLS_PER_STEP:
        raise OverCeiling("this step has asked a model twice already", "step")
    _guarded_add(tx, payer, usd, ceilings, now, now)
    row = {
        "workspace_id": payer.workspace_id, "workflow_id": payer.workflow_id, "step": payer.step, "attempt": attempt,
        "use": payer.use, "model": payer.model, "team": payer.team, "incident_id": payer.incident_id,
        "reserved_usd": usd, "state": "open", "reserved_at": now,
    }  # fmt: skip
    tx.insert("spend", [row])
    return Reservation(payer, attempt, now, usd)


def extend(tx: Transaction, reservation: Reservation, usd: float, ceilings: Ceilings, now: datetime) -> Reservation:
    """Set more aside: an answer was lost, may be charged all the same, and the request is sent again."""
    _guarded_add(tx, reservation.payer, usd, ceilings, reservation.reserved_at, now)
    tx.execute(
        f"UPDATE spend SET reserved_usd = reserved_usd + :usd WHERE {_KEY} AND state = 'open'",  # noqa: S608
        {**_key(reservation), "usd": usd},
    )
    return replace(reservation, usd=reservation.usd + usd)


def settle(tx: Transaction, reservation: Reservation, usd: float, ceilings: Ceilings, now: datetime) -> None:
    """What it really cost takes the place of what was set aside. Settling twice changes nothing."""
    changed = tx.execute(
        f"UPDATE spend SET settled_usd = :usd, state = 'settled', settled_at = :now WHERE {_KEY} AND state = 'open'",  # noqa: S608
        {**_key(reservation), "usd": usd, "now": now},
    )
    if changed:
        wanted = scopes(reservation.payer, ceilings, reservation.reserved_at)
        _add(tx, reservation.payer.workspace_id, wanted, usd - reservation.usd)


def settle_abandoned(tx: Transaction, workspace_id: str, living: Collection[str], now: datetime) -> int:
    """At start-up: settle what workflows outside `living` (ids) left open, at its full amount. Returns how many."""
    rows = tx.query(
        "SELECT workflow_id, step, attempt FROM spend WHERE workspace_id = :workspace_id AND state = 'open'",
        {"workspace_id": workspace_id},
    )
    dead = [row for row in rows if row["workflow_id"] not in living]
    for row in dead:
        _close(tx, {"workspace_id": workspace_id, **row}, now)
    return len(dead)


def spent(tx: Transaction, workspace_id: str, wanted: Collection[str]) -> dict[str, float]:
    """Dollars settled and reserved per scope; 0 for a scope without a row."""
    marks, names = _named(wanted)
    rows = tx.query(
        f"SELECT scope, usd FROM spend_totals WHERE workspace_id = :workspace_id AND scope IN ({marks})",  # noqa: S608
        {"workspace_id": workspace_id, **names},
    )
    return dict.fromkeys(wanted, 0.0) | {row["scope"]: float(row["usd"]) for row in rows}


def scopes(payer: Payer, ceilings: Ceilings, at: datetime) -> dict[str, tuple[float | None, str]]:
    """Scope to its ceiling and the words for the card when it is reached."""
    month = f"{at:%Y-%m}"
    found: dict[str, tuple[float | None, str]] = {
        f"day:{at:%Y-%m-%d}": (ceilings.day_usd, "model over its daily budget"),
        f"month:{month}": (ceilings.month_usd, "model over its monthly budget"),
        f"use:{payer.use}:{month}": (
            ceilings.use_month_usd.get(payer.use), f"model over its monthly budget for {payer.use}",
        ),
    }  # fmt: skip
    if payer.incident_id:
        found[f"incident:{payer.incident_id}"] = (ceilings.incident_usd, "model over its budget for this incident")
    if payer.team:
        found[f"team:{payer.team}:{month}"] = (
            ceilings.team_month_usd.get(payer.team), "model over the team's monthly budget",
        )  # fmt: skip
    return found


_KEY = "workspace_id = :workspace_id AND workflow_id = :workflow_id AND step = :step AND attempt = :attempt"


def _key(reservation: Reservation) -> dict[str, object]:
    payer = reservation.payer
    return {
        "workspace_id": payer.workspace_id, "workflow_id": payer.workflow_id, "step": payer.step,
        "attempt": reservation.attempt,
    }  # fmt: skip


def _restarts(tx: Transaction, payer: Payer, now: datetime) -> int:
    """How often this step has reserved before; what it left open is settled at its full amount."""
    key = {"workspace_id": payer.workspace_id, "workflow_id": payer.workflow_id, "step": payer.step}
    rows = tx.query(
        "SELECT attempt, state FROM spend"
        " WHERE workspace_id = :workspace_id AND workflow_id = :workflow_id AND step = :step",
        key,
    )
    for row in rows:
        if row["state"] == "open":
            _close(tx, {**key, "attempt": row["attempt"]}, now)
    return max((int(row["attempt"]) for row in rows), default=0)


def _close(tx: Transaction, key: Mapping[str, object], now: datetime) -> None:
    tx.execute(
        f"UPDATE spend SET settled_usd = reserved_usd, state = 'abandoned', settled_at = :now WHERE {_KEY}",  # noqa: S608
        {**key, "now": now},
    )


def _guarded_add(
    tx: Transaction, payer: Payer, usd: float, ceilings: Ceilings, reserved_at: datetime, now: datetime
) -> None:
    """Look at every ceiling, then add to every total of the reservation's day and month."""
    wanted = scopes(payer, ceilings, reserved_at)
    before = spent(tx, payer.workspace_id, wanted)
    for scope, (ceiling, words) in wanted.items():
        if ceiling is not None and before[scope] + usd > ceiling + _DUST_USD:
            raise OverCeiling(words, scope)
    _add(tx, payer.workspace_id, wanted, usd)
    for scope, (ceiling, _) in wanted.items():
        if ceiling and not scope.startswith("incident:") and before[scope] + usd >= WARN_AT * ceiling:
            _notice(tx, payer.workspace_id, scope, before[scope] + usd, ceiling, now)


def _add(tx: Transaction, workspace_id: str, wanted: Collection[str], usd: float) -> None:
    marks, names = _named(wanted)
    changed = tx.execute(
        f"UPDATE spend_totals SET usd = usd + :usd WHERE workspace_id = :workspace_id AND scope IN ({marks})",  # noqa: S608
        {"workspace_id": workspace_id, "usd": usd, **names},
    )
    if changed < len(wanted):
        missing = [{"workspace_id": workspace_id, "scope": scope, "usd": usd} for scope in wanted]
        tx.insert("spend_totals", missing, ignore=True)


def _named(wanted: Collection[str]) -> tuple[str, dict[str, str]]:
    """Named parameters for an IN list."""
    names = {f"scope_{number}": scope for number, scope in enumerate(wanted)}
    return ", ".join(f":{name}" for name in names), names


def _notice(tx: Transaction, workspace_id: str, scope: str, usd: float, ceiling: float, now: datetime) -> None:
    """Once a scope: a row of `notices`, which the Slack side posts."""
    text = f"Model spending ({_words(scope)}) has reached {WARN_AT:.0%} of its ceiling: ${usd:.2f} of ${ceiling:.2f}."
    detail = {"text": text, "scope": scope, "usd": round(usd, 6), "ceiling_usd": ceiling}
    row = {
        "workspace_id": workspace_id,
        "id": f"spend:{scope}:80",
        "kind": "spend",
        "detail": detail,
        "created_at": now,
    }
    if tx.insert("notices", [row], ignore=True):
        telemetry.counter(telemetry.SPEND_WARNINGS).add(1, {telemetry.REASON: scope.partition(":")[0]})


def _words(scope: str) -> str:
    kind, _, rest = scope.partition(":")
    if kind in {"day", "month"}:
        return rest
    name, _, month = rest.rpartition(":")
    return f"{kind} {name}, {month}"
