"""The rows of an experiment as the CSV that `sitrep experiment analyse` reads, and the hash of what was known."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from bot.experiment.units import COLUMNS, Row

RECORDED = (*COLUMNS, "ordinal", "left_out")


def rows_csv(rows: Iterable[Row]) -> str:
    """One incident a line, in the order of their start. It names arms: for those who may see them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(rows, key=lambda r: (r.triggered_at, r.incident_id)):
        resolved = "" if row.resolved_at is None else _iso(row.resolved_at)
        writer.writerow(
            (row.incident_id, row.stratum, row.service, row.arm, _iso(row.triggered_at), resolved, row.storm_id)
        )
    return out.getvalue()


def recorded_csv(rows: Iterable[Row], ordinals: Mapping[str, int]) -> str:
    """The same with what was recorded at assignment and what a rule leaves out, so that `analyse` says what the report
    says, whatever order units were assigned in."""
    out = io.StringIO()
    writer = csv.DictWriter(out, RECORDED, lineterminator="\n")
    writer.writeheader()
    writer.writerows(recorded_rows(rows, ordinals))
    return out.getvalue()


def recorded_rows(rows: Iterable[Row], ordinals: Mapping[str, int]) -> Iterator[dict[str, object]]:
    """The lines of `recorded_csv`."""
    for row in sorted(rows, key=lambda r: (r.triggered_at, r.incident_id)):
        yield {
            "incident_id": row.incident_id, "stratum": row.stratum, "service": row.service, "arm": row.arm,
            "triggered_at": _iso(row.triggered_at),
            "resolved_at": "" if row.resolved_at is None else _iso(row.resolved_at), "storm_id": row.storm_id,
            "ordinal": ordinals.get(row.unit_id, ""), "left_out": row.left_out,
        }  # fmt: skip


def data_sha256(rows: Iterable[Row], known_at: datetime) -> str:
    """Hash of what was known at an instant: a verdict is kept with it, and a later correction shows."""
    known = [
        row if row.resolved_at is None or row.resolved_at <= known_at else _still_open(row)
        for row in rows
        if row.triggered_at <= known_at
    ]
    told = rows_csv(known) + "\n".join(sorted(f"{row.incident_id}\t{row.left_out}" for row in known if row.left_out))
    return hashlib.sha256(told.encode()).hexdigest()


def _still_open(row: Row) -> Row:
    return Row(row.incident_id, row.stratum, row.service, row.arm, row.triggered_at, None, row.storm_id, row.left_out)


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
