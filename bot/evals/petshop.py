"""PetShop (CC-BY-4.0, Amazon): metrics of components and their call graph, without traces.

A folder holds `graph.csv`, `noissue/metrics.csv` (the healthy reference) and `train|test/issue_*/` with `metrics.csv`
(or `.csv.xz`) and `target.json`. The published task: the node that caused the target's metric to go wrong.
"""

from __future__ import annotations

import csv
import json
import lzma
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bot.errors import SitrepError
from bot.evals.outcome import Bar
from bot.evals.rank_figures import hit_rate, place
from bot.ranking.metric_only import metric_only_scores
from bot.ranking.metrics import find_moves
from bot.ranking.weights import Weights
from integrations.records import EVERYONE, Batch, Readers, Series, Window

STATISTIC = "Average"
BUCKET_SECONDS = 300.0
UNITS = {"latency": "seconds", "availability": "percent"}
Table = dict[tuple[str, str], dict[float, float]]
"""Node and metric to time and value."""


def measure_petshop(folder: Path, weights: Weights) -> tuple[list[dict[str, Any]], dict[str, Any], list[Bar]]:
    """Every issue below the folder (one traffic level, or the set with several). Raises SitrepError."""
    levels = [folder] if (folder / "graph.csv").is_file() else sorted(folder.glob("*/graph.csv"))
    levels = [one.parent if one.name == "graph.csv" else one for one in levels]
    if not levels:
        raise SitrepError(f"{str(folder)!r} holds no graph.csv: name the PetShop data set or one of its traffic levels")
    rows = [row for level in levels for row in _level(level, weights)]
    totals: dict[str, Any] = {}
    bars = []
    for level in levels:
        found = [one for one in rows if one["traffic"] == level.name]
        top1, top3 = round(hit_rate(found, "place", 1), 4), round(hit_rate(found, "place", 3), 4)
        totals[level.name] = {"cases": len(found), "service_top1": top1, "service_top3": top3}
        if level.name == "low_traffic":
            bars = [Bar("petshop_top1", top1, 0.62), Bar("petshop_top3", top3, 0.96)]
    return rows, totals, bars


def _level(level: Path, weights: Weights) -> list[dict[str, Any]]:
    healthy = _metrics(next(iter(level.glob("noissue/metrics.csv*")), level / "noissue" / "metrics.csv"))
    edges = _edges(level / "graph.csv")
    rows = []
    for path in sorted(level.glob("*/*/target.json")):
        label = json.loads(path.read_text(encoding="utf-8"))
        target, cause = label["target"], label["root_cause"]["node"]
        issue = _metrics(next(iter(path.parent.glob("metrics.csv*")), path.parent / "metrics.csv"))
        ranked = _ranked(issue, healthy, edges, target, weights)
        rows.append(
            {
                "case": f"{path.parent.parent.name}/{path.parent.name}",
                "traffic": level.name,
                "metric": target["metric"],
                "root_cause_service": cause,
                "place": place(cause, ranked),
                "ranked": ranked[:3],
            }
        )
    return rows


def _ranked(
    issue: Table, healthy: Table, edges: frozenset[tuple[str, str]], target: Mapping[str, Any], weights: Weights
) -> list[str]:
    """Nodes by score. The bucket that the issue begins in is neither before nor after."""
    at = float(target["timestamp"])
    last_healthy = max((time for points in healthy.values() for time in points), default=0.0)
    series = []
    for (node, metric), points in sorted(issue.items()):
        if metric != target["metric"]:
            continue
        # The healthy reference was recorded in another month: it is laid a day before the issue.
        reference = {
            time - last_healthy + at - 86_400: value for time, value in healthy.get((node, metric), {}).items()
        }
        kept = {time: value for time, value in points.items() if not at - BUCKET_SECONDS < time < at - 30}
        everything = sorted((reference | kept).items())
        series.append(
            Series(metric, node, [t for t, _ in everything], [v for _, v in everything], unit=UNITS.get(metric, ""))
        )
    start = datetime.fromtimestamp(at - 30 + weights.metric.before_seconds, UTC)
    window = Window(start, datetime.fromtimestamp(at, UTC) + timedelta(seconds=2 * BUCKET_SECONDS))
    moves = find_moves([Batch("petshop", Readers.of([EVERYONE]), series)], window, weights.metric)
    scores = metric_only_scores(moves, str(target["node"]), edges, weights.metric_only)
    return sorted(scores, key=lambda node: (-scores[node], node))


def _metrics(path: Path) -> Table:
    rows = _rows(path)
    if len(rows) < 4:
        raise SitrepError(f"{str(path)!r} has no rows: is it a PetShop metrics file?")
    columns = list(zip(rows[0][1:], rows[1][1:], rows[2][1:], strict=True))
    table: Table = {}
    for row in rows[4:]:
        for (node, metric, statistic), text in zip(columns, row[1:], strict=False):
            if statistic == STATISTIC and text:
                value = float(text)
                if math.isfinite(value):
                    table.setdefault((node, metric), {})[float(row[0])] = value
    return table


def _edges(path: Path) -> frozenset[tuple[str, str]]:
    rows = _rows(path)
    names = rows[0][1:]
    return frozenset(
        (row[0], name) for row in rows[1:] for name, cell in zip(names, row[1:], strict=False) if cell and float(cell)
    )


def _rows(path: Path) -> list[list[str]]:
    try:
        raw = path.read_bytes()
        text = (lzma.decompress(raw) if path.suffix == ".xz" else raw).decode("utf-8")
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as broken:
        raise SitrepError(f"{str(path)!r} cannot be read: {broken}") from None
    return list(csv.reader(text.splitlines()))
