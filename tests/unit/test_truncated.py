"""A webhook that max_alerts cut short lies; Alertmanager's API has the truth, and is asked until nothing fires."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from bot.incidents.truncated import Truncated
from integrations.alerts.alertmanager import AlertmanagerParser
from integrations.alerts.doors import door_for
from integrations.errors import Unavailable
from integrations.records import Alert
from tests.unit.test_life import T0, World

BEGAN = (T0 - timedelta(minutes=2)).isoformat()


def listed(name: str, receiver: str = "sitrep", state: str = "active") -> dict[str, Any]:
    """One alert as GET /api/v2/alerts lists it."""
    return {
        "labels": {"alertname": name, "service": "checkout", "severity": "critical"}, "annotations": {},
        "startsAt": BEGAN, "endsAt": (T0 + timedelta(hours=1)).isoformat(), "updatedAt": BEGAN,
        "fingerprint": name.lower(), "receivers": [{"name": receiver}],
        "status": {"state": state, "inhibitedBy": [], "silencedBy": []},
    }  # fmt: skip


class Cut(World):
    """A world whose Alertmanager fires three alerts and sends one of them, saying that it is over."""

    def __init__(self) -> None:
        super().__init__()
        self.alerts = [listed("A"), listed("B"), listed("C", state="suppressed"), listed("Other", receiver="others")]
        self.whole, self.asked = True, 0
        self.truncated = Truncated(self, self.store, "W", self.clock, self.intake)

    async def firing(self, now: Any) -> tuple[list[Alert], bool]:
        self.asked += 1
        return AlertmanagerParser().parse(self.alerts, now) if self.alerts else [], self.whole

    async def deliver(self, status: str = "resolved", truncated: int = 2) -> None:
        one = {key: value for key, value in listed("A").items() if key not in ("receivers", "updatedAt")}
        body = {"version": "4", "receiver": "sitrep", "status": status, "truncatedAlerts": truncated,
                "alerts": [{**one, "status": status}]}  # fmt: skip
        door = door_for("alertmanager", ["s"])
        await self.intake(door.parse({}, json.loads(json.dumps(body)), f"{status}{truncated}", self.clock.now()))

    async def states(self) -> dict[str, str]:
        rows = await self.store.query("SELECT title, status FROM alerts ORDER BY title")
        return {row["title"]: row["status"] for row in rows}


@pytest.fixture
async def cut() -> AsyncIterator[Cut]:
    made = Cut()
    yield made
    await made.store.close()


async def test_what_a_body_left_out_is_read_from_the_api_and_its_end_too(cut):
    await cut.deliver("firing")
    assert await cut.truncated.round() == 3, "three of this receiver's, one of them known already"
    assert await cut.states() == {"A": "firing", "B": "firing", "C": "firing"}
    assert await cut.truncated.round() == 0
    (incident,) = await cut.store.query("SELECT * FROM incidents")
    assert incident["status"] == "triggered"
    await cut.deliver("resolved")
    assert (await cut.states())["A"] == "firing", "its word is not believed"
    cut.alerts = [listed("Other", receiver="others")]
    assert await cut.truncated.round() == 0, "one reading is not enough"
    cut.clock.advance(60)
    assert await cut.truncated.round() == 3
    assert set((await cut.states()).values()) == {"resolved"}
    (incident,) = await cut.store.query("SELECT * FROM incidents")
    assert incident["status"] == "resolved"
    asked = cut.asked
    assert await cut.truncated.round() == 0
    assert cut.asked == asked, "nothing fires any more: nobody is asked"


async def test_an_alertmanager_that_has_just_started_ends_nothing(cut):
    await cut.deliver("firing")
    await cut.truncated.round()
    cut.alerts, cut.whole = [], False
    for _ in range(3):
        cut.clock.advance(60)
        assert await cut.truncated.round() == 0
    assert set((await cut.states()).values()) == {"firing"}


async def test_without_a_delivery_that_was_cut_short_nobody_is_asked(cut):
    await cut.deliver("firing", truncated=0)
    assert await cut.truncated.round() == 0
    assert cut.asked == 0


async def test_an_alertmanager_that_does_not_answer_ends_nothing(cut):
    await cut.deliver("firing")

    async def down(now: Any) -> Any:
        raise Unavailable("alertmanager", "down")

    cut.firing = down
    with pytest.raises(Unavailable):
        await cut.truncated.round()
    assert await cut.states() == {"A": "firing"}
