"""Similar incidents: found by alert, sign, service and words, told with what ended them, only to who may read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from bot.incidents.book import Book
from bot.incidents.similar import as_evidence, remember, sign_of, similar_incidents
from bot.triage.rank import with_items
from bot.trust.audience import Audience
from bot.types import MAX_EVIDENCE, Ranked, Reason, ServiceScore
from integrations.records import Evidence, Incident, Readers
from tests.support.memory_store import MemoryStore
from tests.support.ranked import AT, evidence, ranked

EVERYONE = Readers.of(["everyone"])
PAYMENTS = Readers.of(["everyone"], ["payments"])
ALL = Audience.of([frozenset({"everyone", "payments"})], AT)
OUTSIDER = Audience.of([frozenset({"everyone"})], AT)


def alert_readers(incident: Incident) -> Readers:
    return Readers.of(["everyone"], ["secret"]) if incident.service == "vault" else EVERYONE


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    opened = MemoryStore()
    yield opened
    await opened.close()


def looks(
    incident_id: str, title: str, days_ago: int, *, service: str = "checkout-api", sign: str = "",
    readers: Readers = EVERYONE,
) -> Ranked:  # fmt: skip
    """An incident with its alert and, with `sign`, a trace that its first service's reason cites."""
    base = ranked()
    items = [evidence("e1", "alert", title, title).model_copy(update={"readers": EVERYONE})]
    services: tuple[ServiceScore, ...] = ()
    if sign:
        items.append(evidence("e2", "trace", sign, sign).model_copy(update={"readers": readers}))
        reason = Reason(text=sign, evidence=("e2",))
        services = (ServiceScore(service=service, score=3, probability=0.9, reasons=(reason,)),)
    at = AT - timedelta(days=days_ago)
    incident = base.incident.model_copy(
        update={"id": incident_id, "title": title, "service": service, "triggered_at": at}
    )
    return base.model_copy(update={"incident": incident, "evidence": tuple(items), "services": services})


async def keep(store: MemoryStore, one: Ranked, **more: Any) -> None:
    incident = one.incident
    row = {
        "workspace_id": incident.workspace_id, "id": incident.id, "title": incident.title, "service": incident.service,
        "source": "pagerduty", "severity": 2, "first_severity": 2, "status": "resolved", "url": incident.url,
        "triggered_at": incident.triggered_at, "resolved_at": incident.triggered_at + timedelta(minutes=38),
        "first_signal_at": incident.triggered_at, "received_at": incident.triggered_at,
        "updated_at": incident.triggered_at, **more,
    }  # fmt: skip
    await store.insert("incidents", [row])
    await remember(store, one, alert_readers(incident), incident.triggered_at)


NOW = looks("P9", "checkout-api: 38 % of requests fail", 0, sign="payments-db: calls wait 4.9 s for a connection")


async def test_the_same_alert_and_sign_on_another_day_is_found_first_and_says_in_what_it_is_alike(store):
    same = "payments-db: calls wait 2.2 s for a connection"
    await keep(store, looks("P1", "checkout-api: 12 % of requests fail", 9, sign=same))
    await keep(store, looks("P2", "checkout-api: 50 % of requests fail", 20))
    await keep(store, looks("P3", "disk of search is full", 3, service="search"))
    await keep(store, NOW)
    found = await similar_incidents(store, NOW.incident, ALL, alert_readers)
    assert [one.incident.id for one in found] == ["P1", "P2"]
    assert found[0].reasons == (
        "the same alert “checkout-api: # of requests fail”",
        "the same sign “payments-db: calls wait # for a connection”",
        "the same service checkout-api",
    )
    assert found[0].likeness > 0.9 > found[1].likeness
    assert found[0].resolved_by == "resolved after 38 min"


async def test_what_a_person_said_about_the_cause_is_told_the_newest_word_counts(store):
    await keep(store, looks("P1", "checkout-api: 12 % of requests fail", 9))
    change = evidence("e3", "change", "Deploy a1b2c3d to checkout-api", attributes={"change_id": "d-1"})
    await Book(store, "T1").keep_evidence("P1", (change,), AT)
    label = {"workspace_id": "T1", "incident_id": "P1", "by": "U1", "at": AT, "service": "checkout-api"}
    await store.insert(
        "labels",
        [
            {**label, "id": "1", "cause": "external", "at": AT - timedelta(days=1)},
            {**label, "id": "2", "cause": "change", "change_id": "d-1", "fixed_by": "a rollback"},
            {**label, "id": "3", "cause": "unknown", "ruled_out": "d-2", "at": AT + timedelta(days=1)},
            {**label, "id": "4", "cause": "external", "undone_at": AT, "at": AT + timedelta(days=2)},
        ],
    )
    await keep(store, NOW)
    (found,) = await similar_incidents(store, NOW.incident, ALL, alert_readers)
    assert found.resolved_by == (
        "the cause was Deploy a1b2c3d to checkout-api; fixed by a rollback; resolved after 38 min"
    )


async def test_nobody_hears_of_an_incident_an_item_or_a_change_that_they_may_not_read(store):
    sign = "payments-db: calls wait 2.2 s for a connection"
    await keep(store, looks("P1", "checkout-api: 12 % of requests fail", 9, sign=sign, readers=PAYMENTS))
    await keep(store, looks("P2", "checkout-api: 12 % of requests fail", 8, service="vault"))
    secret = evidence("e3", "change", "Deploy a1b2c3d", attributes={"change_id": "d-1"})
    await Book(store, "T1").keep_evidence("P1", (secret.model_copy(update={"readers": PAYMENTS}),), AT)
    label = {"workspace_id": "T1", "incident_id": "P1", "id": "1", "by": "U1", "at": AT, "cause": "change"}
    await store.insert("labels", [{**label, "service": "vault", "change_id": "d-1"}])
    await keep(store, NOW)
    (found,) = await similar_incidents(store, NOW.incident, OUTSIDER, alert_readers)
    assert found.incident.id == "P1"
    assert "payments-db" not in " ".join(found.reasons)
    assert found.resolved_by == "the cause was a change; resolved after 38 min"
    assert found.readers == EVERYONE
    (more,) = await similar_incidents(store, NOW.incident, ALL, alert_readers)
    assert "payments-db" in " ".join(more.reasons)
    assert "Deploy a1b2c3d" in more.resolved_by
    assert more.readers == PAYMENTS


async def test_later_merged_and_other_workspaces_incidents_are_not_earlier_ones(store):
    title = "checkout-api: 12 % of requests fail"
    await keep(store, looks("P1", title, -1))
    await keep(store, looks("P2", title, 4), merged_into="P5")
    other = looks("P3", title, 4)
    other = other.model_copy(update={"incident": other.incident.model_copy(update={"workspace_id": "T2"})})
    await keep(store, other)
    await keep(store, NOW)
    assert await similar_incidents(store, NOW.incident, ALL, alert_readers) == []


async def test_an_incident_is_remembered_once_and_not_at_all_where_only_the_fallback_may_be_shown(store):
    await keep(store, NOW)
    await remember(store, NOW, EVERYONE, AT)
    await remember(store, NOW.model_copy(update={"fallback": "why"}), EVERYONE, AT)
    assert await store.query("SELECT count(*) AS n FROM incident_words") == [{"n": 1}]


async def test_hostile_words_are_words(store):
    title = 'a" OR words MATCH "* NEAR(b) {"x"} \x00 \ud83d -- ' + "x" * 5000
    await keep(store, looks("P1", title.replace("\ud83d", ""), 1, service="s"))
    asked = looks("P2", title.replace("\ud83d", ""), 0, service="s")
    await keep(store, asked)
    assert [one.incident.id for one in await similar_incidents(store, asked.incident, ALL, alert_readers)] == ["P1"]


def test_a_sign_has_no_numbers():
    assert sign_of("calls wait 4.9 s (normal 3 ms), pod-7f9c8d1 at 12:04") == "calls wait # (normal #), pod-# at #"


def items(count: int) -> tuple[Evidence, ...]:
    return tuple(evidence(f"e{n}", "change", f"change {n}", "x" * 900) for n in range(1, count + 1))


async def test_similar_incidents_become_items_with_marks_of_their_own_and_changes_that_nobody_cites_make_room(store):
    await keep(store, looks("P1", "checkout-api: 12 % of requests fail", 9))
    await keep(store, NOW)
    past = as_evidence(await similar_incidents(store, NOW.incident, ALL, alert_readers), AT)
    full = ranked(items(MAX_EVIDENCE))
    found = with_items(full, past, {"old": "e80"})
    assert len(found.evidence) == MAX_EVIDENCE
    assert (found.evidence[-1].kind, found.evidence[-1].mark) == ("past_incident", "e81")
    assert found.evidence[2].mark == "e3", "a suspect's item stays"
    assert found.snapshot != full.snapshot
    assert with_items(full, past, {past[0].id: "e7"}).evidence[-1].mark == "e7"
