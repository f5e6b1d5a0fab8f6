"""What people said of earlier incidents weighs in the ranking of changes, with a reason, and tells nobody too much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from bot.incidents.culprits import past_culprits
from bot.triage.collect import Collected
from bot.triage.permit import permit
from bot.triage.rank import rank
from bot.triage.redact import redact
from bot.trust.audience import Audience
from bot.trust.redaction import Redactor
from integrations.records import ChangeEvent, Incident, Readers, Telemetry, Window
from tests.support.memory_store import MemoryStore
from tests.support.ranked import AT, ranked

EVERYONE = Readers.of(["everyone"])


def readers(incident: Incident) -> Readers:
    return Readers.of(["everyone"], ["vault"]) if incident.service == "vault" else EVERYONE


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    opened = MemoryStore()
    yield opened
    await opened.close()


async def label(store: MemoryStore, incident_id: str, days_ago: int, service: str | None, **more: Any) -> None:
    at = AT - timedelta(days=days_ago)
    own = more.pop("own", "checkout-api")
    row = {"workspace_id": "T1", "id": incident_id, "title": "x", "service": own, "source": "pagerduty", "severity": 2,
           "first_severity": 2, "status": "resolved", "url": "", "triggered_at": at, "first_signal_at": at,
           "received_at": at, "updated_at": at}  # fmt: skip
    await store.insert("incidents", [row], ignore=True)
    said = {"workspace_id": "T1", "id": f"{incident_id}/{more.get('at', at)}", "incident_id": incident_id, "by": "U1",
            "at": at, "cause": "change", "service": service, **more}  # fmt: skip
    await store.insert("labels", [said])


async def test_each_incident_counts_once_by_its_newest_label(store):
    await label(store, "P1", 9, "cart")
    await label(store, "P2", 5, "cart")
    await label(store, "P2", 5, "search", at=AT - timedelta(days=4))
    await label(store, "P3", 4, "cart", cause="service")
    await label(store, "P4", 3, None, cause="external")
    await label(store, "P5", 3, "cart", ruled_out="chg-1")
    await label(store, "P6", 3, "cart", undone_at=AT)
    await label(store, "P7", 400, "cart")
    await label(store, "P8", -1, "cart")
    assert await past_culprits(store, ranked().incident, readers) == {"cart": 2, "search": 1}


async def test_what_readers_of_this_incident_may_not_know_is_not_counted(store):
    await label(store, "P1", 9, "vault")
    await label(store, "P2", 8, "cart", own="vault")
    assert await past_culprits(store, ranked().incident, readers) == {}
    inside = ranked().incident.model_copy(update={"service": "vault"})
    assert await past_culprits(store, inside, readers) == {"vault": 1, "cart": 1}


def change(name: str, service: str, **more: Any) -> ChangeEvent:
    return ChangeEvent(
        id=name, kind="deploy", service=service, changed_at=AT - timedelta(minutes=5), summary=f"Deploy {name}",
        source="github", url="", readers=EVERYONE, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "culprits", "said"),
    [
        ({}, {"cart": 3}, "cart caused 3 earlier incidents, as people said"),
        ({"risk": "high"}, {}, "a gate called its risk high"),
    ],
)
def test_they_weigh_and_are_given_as_reasons_that_a_person_can_check(more, culprits, said):
    changes = (change("a", "api"), change("b", "cart", **more))
    collected = Collected(
        incident=ranked().incident, collected_at=AT, alert_readers=EVERYONE,
        telemetry=Telemetry(Window(AT - timedelta(minutes=15), AT), changes=changes),
    )  # fmt: skip
    permitted = permit(collected, Audience.of([frozenset({"everyone"})], AT), AT)
    redacted = redact(permitted, Redactor([b"k"]))
    plain = {one.change_id: one.score for one in rank(redacted).suspects}
    found = rank(redacted, past_culprits=culprits)
    first = found.suspects[0]
    assert first.change_id == "b"
    assert culprits == {} or first.score > plain["b"]
    reason = next(one for one in first.reasons if one.text == said)
    assert reason.evidence == (first.mark,)
    (item,) = [one for one in found.evidence if one.mark == first.mark]
    assert said in item.text
    assert not any(said in one.text for one in found.suspects[1].reasons)
