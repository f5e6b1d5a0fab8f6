"""The call graph that triages learn, each call with who may read it and when it was last seen."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from bot.store import Store
from bot.store.values import to_text
from integrations.records import Batch, Readers

KEPT = timedelta(days=30)
MAX_EDGES = 5000
Edge = tuple[str, str]


async def learn(store: Store, workspace_id: str, batches: Iterable[Batch[Edge]], at: datetime) -> None:
    """Remember what was seen; the same call of the same source is one row."""
    rows = [
        {
            "workspace_id": workspace_id, "caller": caller, "callee": callee, "source": batch.source,
            "readers": batch.readers.signature, "seen_at": at,
        }
        for batch in batches
        for caller, callee in batch.records
    ]  # fmt: skip
    if rows:
        await store.upsert("topology", rows[:MAX_EDGES])


async def learnt(store: Store, workspace_id: str, now: datetime) -> list[Batch[Edge]]:
    """What was seen in the last 30 days, by source and readers."""
    rows = await store.query(
        "SELECT caller, callee, source, readers FROM topology WHERE workspace_id = :w AND seen_at >= :since"
        " ORDER BY seen_at DESC LIMIT :n",
        {"w": workspace_id, "since": to_text(now - KEPT), "n": MAX_EDGES},
    )
    parts: dict[tuple[str, str], list[Edge]] = defaultdict(list)
    for row in rows:
        parts[row["source"], row["readers"]].append((row["caller"], row["callee"]))
    return [
        Batch(source, Readers.model_validate(json.loads(readers)), sorted(edges))
        for (source, readers), edges in sorted(parts.items())
    ]


def neighbours(batches: Sequence[Batch[Edge]]) -> Mapping[str, frozenset[str]]:
    """Who calls whom, in both directions; for units, which nobody reads."""
    found: dict[str, set[str]] = defaultdict(set)
    for batch in batches:
        for caller, callee in batch.records:
            found[caller].add(callee)
            found[callee].add(caller)
    return {name: frozenset(others) for name, others in found.items()}
