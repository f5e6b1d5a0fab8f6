"""The permission rule inside a database query: rows that carry readers are filtered there, not after it.

A table with a `readers` column holds few distinct signatures. They are read, each is decided once for the audience,
and the query takes those that it may read. A signature that appears between the two is not in the list, so its rows
are not found: never wider.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from bot.store import Store
from bot.trust.audience import Audience, may_all_read
from integrations.records import Readers

MAX_SIGNATURES = 20_000
"""Parameters of one query: below SQLite's 32,766 and Postgres' 65,535."""
_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?")


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition to put behind WHERE or AND, with its named parameters."""

    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def parse_readers(stored: str | None) -> Readers:
    """A stored signature; what cannot be read, or was never written, is nobody."""
    if not stored:
        return Readers.nobody()
    try:
        return Readers.model_validate_json(stored)
    except ValidationError:
        return Readers.nobody()


def readers_filter(
    audience: Audience, signatures: Iterable[str], *, column: str = "readers", prefix: str = "may"
) -> Filter:
    """The condition for rows that the whole audience may read, among rows with these stored signatures.

    `column` is a plain or qualified name. Raises ValueError for another, or for more signatures than a query takes.
    """
    if not _NAME.fullmatch(column) or not _NAME.fullmatch(prefix):
        raise ValueError(f"not a column name: {column!r} (prefix {prefix!r})")
    allowed = [one for one in dict.fromkeys(signatures) if may_all_read(audience, parse_readers(one))]
    if not allowed:
        return Filter("1 = 0")
    if len(allowed) > MAX_SIGNATURES:
        raise ValueError(
            f"{len(allowed)} distinct readers in one query, at most {MAX_SIGNATURES}: give sources fewer, larger groups"
        )
    parameters = {f"{prefix}{number}": one for number, one in enumerate(allowed)}
    return Filter(f"{column} IN ({', '.join(f':{name}' for name in parameters)})", parameters)


async def stored_filter(
    store: Store, workspace_id: str, table: str, audience: Audience, *, column: str = "readers"
) -> Filter:
    """`readers_filter` over the signatures that a table of this workspace holds now."""
    if not _NAME.fullmatch(table) or not _NAME.fullmatch(column):
        raise ValueError(f"not a table and column: {table!r}, {column!r}")
    rows = await store.query(
        f"SELECT DISTINCT {column} AS readers FROM {table} WHERE workspace_id = :workspace",  # noqa: S608 - checked
        {"workspace": workspace_id},
    )
    return readers_filter(audience, [row["readers"] for row in rows if row["readers"]], column=column)
