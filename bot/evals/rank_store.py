"""`sitrep eval rank --fit --store FILE`: the weights fitted to this installation's own labelled incidents.

A triage keeps how much of each sign its first services showed, as numbers (`triages.services`); a person's label says
which service it was. Services beyond the first five are not kept: their share of the probability is small.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bot.errors import SitrepError
from bot.evals.outcome import Bar
from bot.ranking.calibrate import combined, probabilities
from bot.ranking.fit import Labelled, fit_weights
from bot.ranking.weights import Weights
from bot.store import Store
from bot.store.sqlite import SqliteStore

FEW = 24
"""Labelled incidents under which the table is better left as it is."""


@dataclass(frozen=True, slots=True)
class Known:
    """One labelled incident of the store."""

    incident_id: str
    labelled: Labelled


def measure_store(
    path: Path, workspace_id: str, weights: Weights
) -> tuple[list[dict[str, Any]], dict[str, Any], list[Bar]]:
    """Rows, totals and no bar: what is enough is for a person to say. Raises SitrepError without a label."""
    if not path.is_file():
        raise SitrepError(f"there is no {path}: name the sitrep.db of an installation")
    known = asyncio.run(_read(path, workspace_id))
    if not known:
        raise SitrepError(
            f"{path}: no labelled incident whose triage kept the signs of its services; labels come from the card's "
            "buttons and /sitrep label, and triages keep signs where there are traces"
        )
    cases = [one.labelled for one in known]
    left_out = [fit_weights([*cases[:n], *cases[n + 1 :]], weights) for n in range(len(cases))]
    rows = [
        {"case": one.incident_id, "culprit": one.labelled.culprit, **_judged(one.labelled, weights, "shipped"),
         **_judged(one.labelled, fitted, "left_out")}
        for one, fitted in zip(known, left_out, strict=True)
    ]  # fmt: skip
    fitted = fit_weights(cases, weights)
    named = [row for row in rows if row["culprit"] is not None]
    totals: dict[str, Any] = {
        "labelled": len(rows),
        "with_a_culprit": len(named),
        "service_top1_shipped": _share(named, "shipped_right"),
        "service_top1_left_out": _share(named, "left_out_right"),
        "brier_shipped": _mean([row["shipped_brier"] for row in rows]),
        "brier_left_out": _mean([row["left_out_brier"] for row in rows]),
        "fitted": {"signs": asdict(fitted.signs), "decision": asdict(fitted.decision)},
        "table": table_of(fitted),
    }
    if len(rows) < FEW:
        totals["advice"] = f"{len(rows)} labels say little; from {FEW} on, and if the left-out figures are better"
    return rows, totals, []


def table_of(weights: Weights) -> str:
    """[signs] and [decision] as they stand in bot/ranking/weights.toml."""
    lines = ["[signs]", *(f"{name} = {value:.3g}" for name, value in asdict(weights.signs).items())]
    lines += ["[decision]", *(f"{name} = {value:.3g}" for name, value in asdict(weights.decision).items())]
    return "\n".join(lines)


async def labelled_incidents(store: Store, workspace_id: str) -> list[Known]:
    """The incidents with a label and signs, oldest first; the newest label of each counts."""
    rows = await store.query(
        "SELECT l.incident_id, l.cause, l.service, t.services FROM labels l JOIN triages t"
        " ON t.workspace_id = l.workspace_id AND t.incident_id = l.incident_id"
        " WHERE l.workspace_id = :w AND l.ruled_out IS NULL AND l.undone_at IS NULL AND l.cause <> 'unknown'"
        " ORDER BY l.at DESC, l.id, t.n DESC",
        {"w": workspace_id},
    )
    found: dict[str, Known] = {}
    for row in rows:
        signs = {one["service"]: one["signs"] for one in json.loads(row["services"]) if one.get("signs")}
        culprit = row["service"] if row["cause"] in ("change", "service") else None
        if row["incident_id"] in found or not signs or (row["cause"] != "external" and culprit is None):
            continue
        found[row["incident_id"]] = Known(row["incident_id"], Labelled(signs, culprit))
    return list(reversed(found.values()))


async def _read(path: Path, workspace_id: str) -> list[Known]:
    store = SqliteStore.open(path)
    try:
        return await labelled_incidents(store, workspace_id)
    finally:
        await store.close()


def _judged(case: Labelled, weights: Weights, prefix: str) -> dict[str, Any]:
    scores = {name: combined(values, weights.signs) for name, values in case.signs.items()}
    chances = probabilities(scores, weights.decision.nothing, weights.decision.temperature)
    first = max(chances, key=lambda name: (chances[name], name))
    right = first == case.culprit
    return {
        f"{prefix}_first": first, f"{prefix}_probability": round(chances[first], 4), f"{prefix}_right": right,
        f"{prefix}_brier": round((chances[first] - right) ** 2, 4),
    }  # fmt: skip


def _share(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    return round(sum(bool(row[name]) for row in rows) / len(rows), 4) if rows else None


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)
