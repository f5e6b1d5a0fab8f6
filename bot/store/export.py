"""An export: a plain SQLite file of a period, for Datasette or a notebook, and a metadata file that explains it.

Everything is read in one transaction of the database's own, so that the tables fit each other, and copied by SQLite
itself. Who may have one is decided by who calls this; what is never in one is decided in `export_tables`.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bot.errors import SitrepError
from bot.store.export_tables import (
    CHANGE,
    CLEAN,
    EXPERIMENTS,
    MERGED,
    NUMBER,
    PERSON,
    QUERIES,
    ROWS,
    SERVICE,
    SUSPECTS,
    TABLES,
    Table,
)  # fmt: skip
from bot.store.values import encode_row, to_text

ROLES = frozenset({"responder", "integration", "sitrep"})
"""Words for who did something that are no person."""


@dataclass(frozen=True, slots=True)
class Shows:
    """What the one that an export is made for may see: incidents by source and service, changes by service."""

    incident: Callable[[str, str | None], bool]
    changes: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    path: Path
    metadata: Path
    rows: Mapping[str, int]


def export(
    source: Path,
    target: Path,
    *,
    workspace_id: str,
    since: datetime,
    until: datetime,
    clean: Callable[[str], str],
    shows: Shows,
    experiments: Iterable[Mapping[str, Any]] = (),
    rows: Iterable[Mapping[str, Any]] = (),
    replace: bool = False,
) -> Exported:
    """Copy the period into a new file that only its owner may read, with `<name>.metadata.json` beside it.

    clean: redaction, for words that people wrote. shows: incidents that its reader may not see are left out with all
    that belongs to them, and changes and services are not named.
    experiments, rows: the tables `experiments` and `experiment_rows`.
    Raises SitrepError when the file is there already and may not be replaced.
    """
    metadata = target.with_name(f"{target.stem}.metadata.json")
    if target.exists() and not replace:
        raise SitrepError(f"{target} is there already; give another --output, or --replace it")
    for path in (target, metadata):
        path.unlink(missing_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    out = sqlite3.connect(target.absolute().as_uri(), uri=True, isolation_level=None)
    try:
        persons = _Persons()
        out.create_function("person", 1, persons.numbered)
        out.create_function("clean", 1, lambda text: clean(text) if text else text)
        _create_veils(out, shows)
        out.execute("PRAGMA journal_mode = OFF")
        out.execute("PRAGMA synchronous = OFF")
        out.execute("ATTACH ? AS live", (f"{source.absolute().as_uri()}?mode=ro",))
        out.execute("BEGIN")
        values = {"w": workspace_id, "since": to_text(since), "until": to_text(until)}
        out.execute("CREATE TEMP TABLE hidden (id TEXT PRIMARY KEY, unit_id TEXT)")
        out.execute(
            "INSERT INTO hidden SELECT id, unit_id FROM live.incidents"
            " WHERE workspace_id = :w AND NOT shown(source, service)",
            values,
        )
        hidden = {row[0] for row in out.execute("SELECT id FROM hidden")}
        counts = {table.name: _copy(out, table, values) for table in TABLES}
        counts["experiments"] = _fill(out, "experiments", EXPERIMENTS, experiments)
        counts["experiment_rows"] = _fill(
            out, "experiment_rows", ROWS, (row for row in rows if row["incident_id"] not in hidden)
        )
        out.execute("COMMIT")
    except BaseException:
        out.close()
        for path in (target, metadata):
            path.unlink(missing_ok=True)
        raise
    out.close()
    told = json.dumps(metadata_of(target.stem, since, until), ensure_ascii=False, indent=1) + "\n"
    metadata.write_text(told, encoding="utf-8")
    return Exported(target, metadata, counts)


class _Persons:
    """Numbers persons in the order in which they are met: one number everywhere in this export, another in the next."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def numbered(self, who: str | None) -> str | None:
        if not who or who in ROLES:
            return who
        return self._known.setdefault(who, f"person-{len(self._known) + 1}")


def _create_veils(out: sqlite3.Connection, shows: Shows) -> None:
    """What the statements of `_copy` ask of `shows`."""

    def suspects(told: str | None) -> str:
        kept = [one for one in json.loads(told or "[]") if shows.changes(str(one.get("service") or ""))]
        return json.dumps(kept, ensure_ascii=False)

    out.create_function("shown", 2, lambda source, service: shows.incident(source or "", service))
    out.create_function("suspects", 1, suspects)
    out.create_function("of_change", 2, lambda name, service: name if shows.changes(service or "") else None)


def _copy(out: sqlite3.Connection, table: Table, values: Mapping[str, Any]) -> int:
    shown = {
        CLEAN: "clean({0})", PERSON: "person({0})", NUMBER: f"'{table.name}-' || rowid", SUSPECTS: "suspects({0})",
        CHANGE: "of_change({0}, service)", SERVICE: "of_change({0}, {0})",
        MERGED: "CASE WHEN {0} IN (SELECT id FROM hidden) THEN NULL ELSE {0} END",
    }  # fmt: skip
    columns = ", ".join(
        f"{shown[table.treated[name]].format(name)} AS {name}" if name in table.treated else name
        for name in table.columns
    )
    if table.column:
        inside = f"{table.column} >= :since AND {table.column} < :until"
    else:
        of_these = "SELECT id FROM live.incidents WHERE workspace_id = :w AND triggered_at >= :since"
        inside = f"incident_id IN ({of_these} AND triggered_at < :until)"
    where = f"workspace_id = :w AND {inside}"
    own = {"incidents": "id", "units": "id", "assignments": "unit_id"}.get(table.name, "incident_id")
    if own in table.columns:
        # A unit names the services of all its incidents: it is left out with the first that is hidden.
        of_hidden = (
            "unit_id FROM hidden WHERE unit_id NOTNULL" if table.name in ("units", "assignments") else "id FROM hidden"
        )
        where += f" AND ({own} IS NULL OR {own} NOT IN (SELECT {of_hidden}))"
    chosen = f"SELECT {columns} FROM live.{table.name} WHERE {where}"  # noqa: S608 - names of export_tables
    out.execute(f"CREATE TABLE {table.name} AS {chosen}", values)
    for column in ("id", "incident_id", "unit_id"):
        if column in table.columns:
            out.execute(f"CREATE INDEX {table.name}_{column} ON {table.name} ({column})")
    return int(out.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])  # noqa: S608


def _fill(out: sqlite3.Connection, name: str, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> int:
    out.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
    marks = ", ".join(f":{column}" for column in columns)
    return out.executemany(f"INSERT INTO {name} VALUES ({marks})", map(encode_row, rows)).rowcount  # noqa: S608


def metadata_of(database: str, since: datetime, until: datetime) -> dict[str, Any]:
    """What Datasette shows beside the tables (`datasette FILE --metadata FILE.metadata.json`)."""
    tables = {table.name: (table.what, table.columns) for table in TABLES}
    tables["experiments"] = "The hypothesis of each experiment.", EXPERIMENTS
    tables["experiment_rows"] = (
        "The incidents of each experiment as its analysis reads them, and those of its baseline.", ROWS,
    )  # fmt: skip
    return {
        "title": "Sitrep export",
        "description": (
            f"Incidents, triages, costs, votes and labels from {since:%Y-%m-%d} to {until:%Y-%m-%d} (UTC). Times are "
            "ISO 8601 UTC. Persons are numbered; no text from outside is in it. It names arms: for admins. "
            "Definitions of the report's figures: docs/metrics.md."
        ),
        "databases": {
            database: {
                "tables": {
                    name: {"description": what, "columns": {c: told for c, told in columns.items() if told}}
                    for name, (what, columns) in tables.items()
                },
                "queries": {name: {"title": title, "sql": sql} for name, (title, sql) in QUERIES.items()},
            }
        },
    }
