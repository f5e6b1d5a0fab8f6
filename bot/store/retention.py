"""How long each table keeps what: one rule a table, enforced by a schedule, and how a person is forgotten.

A table without a rule fails a test. Times are `[retention]` of the settings, in days; what open incidents need is
never removed. Rows go in parts, so that the one writer is not held up.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bot.store import Store, Transaction

_PART = 500
"""Rows of one transaction."""
_OPEN = "SELECT id FROM incidents WHERE workspace_id = :w AND status <> 'resolved'"
_NOT_OPEN = f"incident_id NOT IN ({_OPEN})"
_LEFT_ALONE = (
    "NOT EXISTS (SELECT 1 FROM memberships h WHERE h.workspace_id = memberships.workspace_id"
    " AND h.scope = memberships.scope AND h.source = memberships.source AND h.member = ''"
    " AND h.name IN ('', memberships.name) AND h.seen_at >= :before)"
)
"""Members are as fresh as their list's header; a row of its own may be old. One that went alone would widen a list."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to a table's rows when they grow old.

    `days` names the setting; None: the table is kept, and `why` says for what reason. `column` is the time that counts.
    `condition` is SQL that must hold too. With `blank`, the row stays and these columns are emptied.
    """

    table: str
    why: str
    days: str | None = None
    column: str = ""
    condition: str = "1 = 1"
    blank: tuple[str, ...] = ()


RULES: tuple[Rule, ...] = (
    Rule("signals", "bodies of webhooks, redacted", "signals_days", "received_at", "state <> 'new'"),
    Rule("requests", "what people asked in Slack, redacted", "signals_days", "received_at"),
    Rule("evidence", "texts, redacted", "evidence_days", "fetched_at", _NOT_OPEN),
    Rule("incident_words", "words of items that were shown, redacted", "evidence_days", "indexed_at", _NOT_OPEN),
    Rule("alerts", "texts and labels, redacted", "evidence_days", "seen_at", f"(incident_id IS NULL OR {_NOT_OPEN})"),
    Rule("triages", "what was ranked and summarised holds evidence", "evidence_days", "started_at",
         f"{_NOT_OPEN} AND (ranked IS NOT NULL OR checked IS NOT NULL)", blank=("ranked", "checked")),
    Rule("triages", "what the experiment counts", "outcomes_days", "started_at", _NOT_OPEN),
    Rule("posts", "cards hold evidence; they are checked again for 30 days", "posts_days", "updated_at",
         "target NOT IN (SELECT 'incident:' || id FROM incidents WHERE workspace_id = :w AND status <> 'resolved')"),
    Rule("transcripts", "prompts and answers, redacted", "transcripts_days", "created_at"),
    Rule("transcripts", "each says itself when it expires", "expired", "expires_at"),
    Rule("calls", "what model calls cost and came to", "outcomes_days", "started_at"),
    Rule("spend", "money, attempt by attempt", "outcomes_days", "reserved_at", "state <> 'open'"),
    Rule("batch_requests", "ids and money of what waits at a provider's batch door", "signals_days", "reserved_at"),
    Rule("spend_totals", "sums by day, month, team and incident: no text, no person"),
    Rule("rate_buckets", "one row an endpoint"),
    Rule("incidents", "what the experiment counts", "outcomes_days", "triggered_at", "status = 'resolved'"),
    Rule("incident_times", "what the experiment counts", "outcomes_days", "at", _NOT_OPEN),
    Rule("units", "what the experiment counts", "outcomes_days", "triggered_at"),
    Rule("assignments", "what the experiment counts", "outcomes_days", "assigned_at"),
    Rule("exposures", "what the experiment counts", "outcomes_days", "at", _NOT_OPEN),
    Rule("votes", "what the experiment counts", "outcomes_days", "at"),
    Rule("labels", "what the experiment counts and the ranking learns from", "outcomes_days", "at"),
    Rule("incident_marks", "what the experiment leaves out", "outcomes_days", "at", _NOT_OPEN),
    Rule("pauses", "when the model was off, for the experiment", "outcomes_days", "at", "resumed_at IS NOT NULL"),
    Rule("audit", "who did what", "audit_days", "at"),
    Rule("people", "who is who; older than a day means nobody", "directory_days", "seen_at"),
    Rule("memberships", "who is where; older than 15 minutes means nobody", "directory_days", "seen_at", _LEFT_ALONE),
    Rule("topology", "which service calls which", "topology_days", "seen_at"),
    Rule("changes", "change events as they came", "changes_days", "received_at"),
    Rule("notices", "what was said once", "notices_days", "created_at", "kind <> 'cursor'"),
    Rule("migrations", "the schema's own history; has no workspace"),
)  # fmt: skip
"""Every table, in the order in which rows go. A table may have two rules."""

SEARCHED = frozenset({"incident_words"})
"""Tables with a search index, which keeps words of removed rows until it is compacted."""


async def enforce(store: Store, workspace_id: str, days: Mapping[str, int], now: datetime) -> dict[str, int]:
    """Remove or empty what is older than its rule; returns rows by table, those without any left out.

    `days` maps the settings' names to days. Raises KeyError for a rule whose setting is not among them.
    """
    counts: dict[str, int] = {}
    for rule in RULES:
        if rule.days is None:
            continue
        before = now if rule.days == "expired" else now - timedelta(days=days[rule.days])
        while changed := await store.transaction(lambda tx, r=rule, b=before: _part(tx, r, workspace_id, b)):  # type: ignore[misc]
            counts[rule.table] = counts.get(rule.table, 0) + changed
    for table in SEARCHED & counts.keys():
        await store.compact(table)
    return counts


def _part(tx: Transaction, rule: Rule, workspace_id: str, before: datetime) -> int:
    """One part of the rows of a rule: those up to the time of the oldest 500."""
    where = f"workspace_id = :w AND {rule.column} < :before AND {rule.condition}"
    values: dict[str, Any] = {"w": workspace_id, "before": before}
    times = tx.query(
        f"SELECT {rule.column} AS at FROM {rule.table} WHERE {where} ORDER BY {rule.column} LIMIT {_PART}",  # noqa: S608
        values,
    )
    if not times:
        return 0
    values["until"] = times[-1]["at"]
    if rule.blank:
        empty = ", ".join(f"{column} = NULL" for column in rule.blank)
        return tx.execute(f"UPDATE {rule.table} SET {empty} WHERE {where} AND {rule.column} <= :until", values)  # noqa: S608
    return tx.execute(f"DELETE FROM {rule.table} WHERE {where} AND {rule.column} <= :until", values)  # noqa: S608


# --- forgetting a person --------------------------------------------------------------------------------------------

NAMED: Mapping[str, tuple[str, ...]] = {
    "votes": ("by",),
    "labels": ("by",),
    "audit": ("by",),
    "incident_times": ("said_by",),
    "pauses": ("by", "resumed_by"),
    "incident_marks": ("by",),
}
"""Columns that hold a person's id: they get the pseudonym."""
WITHIN: Mapping[str, tuple[str, ...]] = {
    "audit": ("detail",),
    "posts": ("state",),
    "notices": ("detail",),
    "signals": ("body",),
    "alerts": ("labels",),
    "changes": ("record",),
}
"""JSON columns in which a person's id may stand as a value."""
PART_OF_ID: Mapping[str, str] = {"labels": "id"}
"""Columns in which a person's id stands between slashes."""
REMOVED: Mapping[str, str] = {"people": "id", "memberships": "member", "requests": "by"}
"""Tables whose rows about the person go: who they are, and what they asked. Whoever is still in the workspace is read
again: permission needs it."""


def new_pseudonym() -> str:
    """Random, so that nobody can compute it from the person: there is no way back."""
    return f"forgotten-{secrets.token_hex(8)}"


async def forget(store: Store, workspace_id: str, person_id: str, pseudonym: str) -> dict[str, int]:
    """Replace a person by a pseudonym in votes, labels, audit and whatever else names them; returns rows by table."""

    def work(tx: Transaction) -> dict[str, int]:
        counts: dict[str, int] = {}
        values = {"w": workspace_id, "who": person_id, "as": pseudonym}
        for table, columns in NAMED.items():
            for column in columns:
                sql = f"UPDATE {table} SET {column} = :as WHERE workspace_id = :w AND {column} = :who"  # noqa: S608
                counts[table] = counts.get(table, 0) + tx.execute(sql, values)
        for table, column in PART_OF_ID.items():
            sql = (
                f"UPDATE {table} SET {column} = replace({column}, '/' || :who || '/', '/' || :as || '/')"  # noqa: S608
                f" WHERE workspace_id = :w AND instr({column}, '/' || :who || '/') > 0"
            )
            counts[table] = counts.get(table, 0) + tx.execute(sql, values)
        for table, columns in WITHIN.items():
            for column in columns:
                counts[table] = counts.get(table, 0) + _replace_within(
                    tx, table, column, workspace_id, person_id, pseudonym
                )
        for table, column in REMOVED.items():
            sql = f"DELETE FROM {table} WHERE workspace_id = :w AND {column} = :who"  # noqa: S608 - names above
            counts[table] = tx.execute(sql, {"w": workspace_id, "who": person_id})
        return {table: count for table, count in counts.items() if count}

    return await store.transaction(work)


def _replace_within(tx: Transaction, table: str, column: str, workspace_id: str, person_id: str, pseudonym: str) -> int:
    """Replace the id where it is a JSON string, or a Slack mention inside one."""
    pattern = "%" + person_id.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    rows = tx.query(
        f"SELECT DISTINCT {column} AS text FROM {table}"  # noqa: S608 - names above
        f" WHERE workspace_id = :w AND {column} LIKE :pattern ESCAPE '\\'",
        {"w": workspace_id, "pattern": pattern},
    )
    changed = 0
    for row in rows:
        told = json.dumps(
            _replaced(json.loads(row["text"]), person_id, pseudonym), separators=(",", ":"), ensure_ascii=False
        )
        if told != row["text"]:
            changed += tx.execute(
                f"UPDATE {table} SET {column} = :told WHERE workspace_id = :w AND {column} = :text",  # noqa: S608
                {"w": workspace_id, "told": told, "text": row["text"]},
            )
    return changed


def _replaced(value: Any, person_id: str, pseudonym: str) -> Any:
    if isinstance(value, str):
        return pseudonym if value == person_id else value.replace(f"<@{person_id}>", pseudonym)
    if isinstance(value, list):
        return [_replaced(one, person_id, pseudonym) for one in value]
    if isinstance(value, dict):
        return {name: _replaced(one, person_id, pseudonym) for name, one in value.items()}
    return value
