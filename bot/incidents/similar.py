"""Similar incidents: by service, alert, error signature and text, each with what resolved it.

What an incident looked like is kept as one row for each set of readers of its items (`incident_words`), already
redacted and permitted, with a search index over the words. A search sees only rows that the whole audience may read:
the condition stands in the query. An incident is named only if its alert may be read as well, by the settings of now.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from bot.incidents.book import incident_of
from bot.store import Row, Store, Transaction
from bot.store.values import to_text
from bot.trust.audience import Audience, may_all_read
from bot.trust.query import Filter, parse_readers, stored_filter
from bot.types import Ranked
from integrations.records import Evidence, Incident, Readers

AlertReaders = Callable[[Incident], Readers]

FOUND = 5
"""Similar incidents in one answer."""
LOOKED_AT = 60
"""Rows that the search and the same service bring, each."""
MAX_SIGNS = 12
MAX_ALERTS = 20
MAX_WORDS = 2000
"""Characters of one row's words."""
SEARCH_WORDS = 60
FROM = 0.35
"""Likeness (0 to 1) from which an incident is called similar."""
_ALERT, _SIGN, _SERVICE, _TEXT = 0.40, 0.35, 0.10, 0.15
"""What the same alerts, the same signs, the same service and alike words each add to a likeness, at most."""

_NUMBERS = re.compile(r"\b\d[\d.,:]*\s?(?:%|[kMGT]?i?B|ms|µs|ns|s|min|h)?(?=\W|$)|\b[0-9a-f]*\d[0-9a-f]{6,}\b")
_WORD = re.compile(r"[^\W_]{3,40}")


@dataclass(frozen=True, slots=True)
class Similar:
    """One earlier incident. `reasons` say in what it is alike, `resolved_by` what ended it ("" where nobody said)."""

    incident: Incident
    likeness: float
    """0 to 1."""
    reasons: tuple[str, ...]
    resolved_by: str
    readers: Readers
    """Who may read all of this: the incident, what matched, and the change that is named."""


@dataclass(frozen=True, slots=True)
class _Looks:
    """What an incident looks like to one audience."""

    service: str | None
    alerts: frozenset[str]
    signs: frozenset[str]
    words: tuple[str, ...] = field(repr=False)


# --- writing -------------------------------------------------------------------------------------------------------


async def remember(store: Store, ranked: Ranked, alert_readers: Readers, at: datetime) -> None:
    """Keep what the incident looks like now; replaces what was kept of it. `ranked` is permitted and redacted."""
    incident = ranked.incident
    if ranked.fallback is not None:
        return
    parts: dict[str, list[Evidence]] = {}
    shown = {mark for one in ranked.services[:2] for reason in one.reasons for mark in reason.evidence}
    for item in ranked.evidence:
        if item.kind == "alert" or (item.kind in ("log", "trace", "metric") and item.mark in shown):
            parts.setdefault(item.readers.narrowed(alert_readers).signature, []).append(item)
    parts.setdefault(alert_readers.signature, [])
    rows = [
        {"workspace_id": incident.workspace_id, "incident_id": incident.id, "readers": readers, "indexed_at": at}
        | _looks_row(incident, items)
        for readers, items in sorted(parts.items())
    ]

    def work(tx: Transaction) -> None:
        key = {"w": incident.workspace_id, "i": incident.id}
        tx.execute("DELETE FROM incident_words WHERE workspace_id = :w AND incident_id = :i", key)
        (last,) = tx.query("SELECT coalesce(max(number), 0) AS n FROM incident_words")
        tx.insert("incident_words", [row | {"number": last["n"] + n} for n, row in enumerate(rows, start=1)])

    await store.transaction(work)


def _looks_row(incident: Incident, items: Sequence[Evidence]) -> dict[str, object]:
    alerts = dict.fromkeys(sign_of(one.title) for one in items if one.kind == "alert")
    signs = dict.fromkeys(sign_of(one.title) for one in items if one.kind != "alert")
    words = [incident.title, *(f"{one.title}\n{one.text}" for one in items if one.kind == "alert"), *signs]
    return {
        "service": incident.service,
        "alerts": list(alerts)[:MAX_ALERTS],
        "signs": list(signs)[:MAX_SIGNS],
        "words": "\n".join(words)[:MAX_WORDS],
    }


def sign_of(title: str) -> str:
    """A title without its numbers, so that the same failure reads the same on another day."""
    return " ".join(_NUMBERS.sub("#", title).split())[:200]


# --- finding -------------------------------------------------------------------------------------------------------


async def similar_incidents(
    store: Store,
    incident: Incident,
    audience: Audience,
    alert_readers: AlertReaders,
    *,
    limit: int = FOUND,
) -> list[Similar]:
    """Earlier incidents that are like this one, the likest first, for this audience alone.

    The incident itself must be readable by the audience: that is the caller's to check.
    """
    workspace_id = incident.workspace_id
    may = await stored_filter(store, workspace_id, "incident_words", audience)
    looks = await _looks(store, incident, may)
    found = await _rows(store, incident, looks, may)
    kept: list[Similar] = []
    for incident_id, rows in found.items():
        likeness, reasons, readers = _compared(looks, rows)
        if likeness < FROM:
            continue
        stored = await store.query(
            "SELECT * FROM incidents WHERE workspace_id = :w AND id = :i AND merged_into IS NULL",
            {"w": workspace_id, "i": incident_id},
        )
        if not stored or stored[0]["triggered_at"] >= to_text(incident.triggered_at):
            continue
        other = incident_of(stored[0])
        own = alert_readers(other)
        if may_all_read(audience, own):
            kept.append(Similar(other, likeness, reasons, "", readers.narrowed(own)))
    kept.sort(key=lambda one: (-one.likeness, -one.incident.triggered_at.timestamp(), one.incident.id))
    return [await _with_end(store, one, audience, alert_readers) for one in kept[:limit]]


async def _looks(store: Store, incident: Incident, may: Filter) -> _Looks:
    """What this incident looks like, from what the audience may read of it."""
    rows = await store.query(
        f"SELECT * FROM incident_words WHERE workspace_id = :w AND incident_id = :i AND {may.sql}",  # noqa: S608 - names
        {"w": incident.workspace_id, "i": incident.id, **may.parameters},
    )
    alerts = frozenset(one for row in rows for one in json.loads(row["alerts"]))
    signs = frozenset(one for row in rows for one in json.loads(row["signs"]))
    text = "\n".join([incident.title, *(row["words"] for row in rows)])
    return _Looks(incident.service, alerts or frozenset({sign_of(incident.title)}), signs, _words(text))


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.casefold() for word in _WORD.findall(text) if not word.isdigit()))[:SEARCH_WORDS]


async def _rows(store: Store, incident: Incident, looks: _Looks, may: Filter) -> dict[str, list[Row]]:
    """Rows of other incidents that may be alike: found by words, or of the same service. By incident."""
    values = {"w": incident.workspace_id, "i": incident.id, "service": incident.service, "n": LOOKED_AT}
    others = f"incident_words.workspace_id = :w AND incident_words.incident_id <> :i AND {may.sql}"
    by_words = await store.search(
        "incident_words", looks.words, where=others, parameters={**values, **may.parameters}, limit=LOOKED_AT
    )
    same_service = await store.query(
        f"SELECT incident_words.*, 0.0 AS relevance FROM incident_words WHERE {others} AND service = :service"  # noqa: S608
        " ORDER BY indexed_at DESC LIMIT :n",
        {**values, **may.parameters},
    )
    found: dict[str, list[Row]] = {}
    seen: set[int] = set()
    for row in (*by_words, *same_service):
        if row["number"] not in seen:
            seen.add(row["number"])
            found.setdefault(row["incident_id"], []).append(row)
    return found


def _compared(looks: _Looks, rows: Sequence[Row]) -> tuple[float, tuple[str, ...], Readers]:
    """How alike (0 to 1), in what, and who may read all that was compared."""
    alerts = {one for row in rows for one in json.loads(row["alerts"])}
    signs = {one for row in rows for one in json.loads(row["signs"])}
    words = set(_words("\n".join(row["words"] for row in rows)))
    same_alerts, same_signs = sorted(looks.alerts & alerts), sorted(looks.signs & signs)
    same_service = looks.service is not None and any(row["service"] == looks.service for row in rows)
    text = len(words & set(looks.words)) / max(1, len(words | set(looks.words)))
    likeness = (
        _ALERT * (len(same_alerts) / max(1, len(looks.alerts | alerts))) ** 0.5
        + _SIGN * min(1.0, len(same_signs) / max(1, min(3, len(looks.signs))))
        + _SERVICE * same_service
        + _TEXT * text
    )
    reasons = [f"the same alert “{one}”" for one in same_alerts[:2]]
    reasons += [f"the same sign “{one}”" for one in same_signs[:2]]
    if same_service:
        reasons.append(f"the same service {looks.service}")
    if not reasons:
        reasons.append("alike in words")
    readers = parse_readers(rows[0]["readers"])
    for row in rows[1:]:
        readers = readers.narrowed(parse_readers(row["readers"]))
    return round(likeness, 4), tuple(reasons), readers


# --- how it ended --------------------------------------------------------------------------------------------------


async def _with_end(store: Store, found: Similar, audience: Audience, alert_readers: AlertReaders) -> Similar:
    """The same with what resolved it, in words: the newest label of a person, as far as the audience may read it."""
    incident, readers = found.incident, found.readers
    values = {"w": incident.workspace_id, "i": incident.id}
    labels = await store.query(
        "SELECT cause, service, change_id, fixed_by FROM labels WHERE workspace_id = :w AND incident_id = :i"
        " AND ruled_out IS NULL AND undone_at IS NULL ORDER BY at DESC, id LIMIT 1",
        values,
    )
    parts: list[str] = []
    for label in labels:
        service, change = label["service"], ""
        if service is not None:
            own = alert_readers(incident.model_copy(update={"service": service}))
            service = service if may_all_read(audience, own) else None
            readers = readers.narrowed(own) if service is not None else readers
        if label["change_id"] is not None:
            change, own = await _change(store, values, label["change_id"], audience)
            readers = readers.narrowed(own) if change else readers
        parts += _cause_in_words(label["cause"], service, change)
        if label["fixed_by"]:
            parts.append(f"fixed by {label['fixed_by']}")
    if incident.resolved_at is not None:
        minutes = max(0.0, (incident.resolved_at - incident.triggered_at).total_seconds() / 60)
        parts.append(f"resolved after {minutes:.0f} min" if minutes < 120 else f"resolved after {minutes / 60:.0f} h")
    else:
        parts.append("not resolved yet")
    return replace(found, resolved_by="; ".join(parts), readers=readers)


async def _change(store: Store, values: Mapping[str, str], change_id: str, audience: Audience) -> tuple[str, Readers]:
    """A change's name and who may read it; "" where the audience may not, or it is not kept any more."""
    rows = await store.query(
        "SELECT title, attributes, readers FROM evidence"
        " WHERE workspace_id = :w AND incident_id = :i AND kind = 'change'",
        values,
    )
    for row in rows:
        readers = parse_readers(row["readers"])
        if json.loads(row["attributes"]).get("change_id") == change_id and may_all_read(audience, readers):
            return str(row["title"]), readers
    return "", Readers.nobody()


def _cause_in_words(cause: str, service: str | None, change: str) -> list[str]:
    of = f" of {service}" if service and service not in change else ""
    if cause == "change":
        return [f"the cause was {change or 'a change'}{of}"]
    if cause == "service" and service:
        return [f"the cause was in {service}"]
    return ["the cause was outside"] if cause == "external" else []


# --- as evidence ---------------------------------------------------------------------------------------------------


def as_evidence(found: Iterable[Similar], fetched_at: datetime) -> tuple[Evidence, ...]:
    """Similar incidents as citable items for the card's thread and for a summary."""
    return tuple(
        Evidence(
            id=f"sitrep/past_incident/{one.incident.id}",
            kind="past_incident",
            source="sitrep",
            observed_at=one.incident.triggered_at,
            fetched_at=fetched_at,
            url=one.incident.url,
            readers=one.readers,
            title=f"{one.incident.id} of {one.incident.triggered_at:%Y-%m-%d}: {one.incident.title}: {one.resolved_by}",
            text="\n".join(
                (f"{one.incident.id} of {one.incident.triggered_at:%Y-%m-%d %H:%M} UTC: {one.incident.title}",
                 f"alike ({one.likeness:.2f}): {'; '.join(one.reasons)}", one.resolved_by)
            ),
            service=one.incident.service,
        )
        for one in found
    )  # fmt: skip
