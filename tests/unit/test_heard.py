"""Alert channels and incident channels: what bots write is an alert, what people write is not read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.flows.heard import Heard
from integrations.errors import Denied
from integrations.slack.alerts import alert_of, is_from_bot
from tests.unit.test_life import T0, World

ALERTS = "C0ALERTS"
TS = str(T0.timestamp() - 30) + "00"


def bot_message(text: str = "", ts: str = TS, **more: Any) -> dict[str, Any]:
    return {"type": "message", "channel": ALERTS, "text": text, "ts": ts, "bot_id": "B1", **more}


FIRING = bot_message(attachments=[{"color": "danger", "title": "[FIRING:1] HighErrorRate checkout-api (critical)",
                                   "title_link": "https://alerts.example/1", "text": "*38 %* of requests fail",
                                   "fields": [{"title": "Service", "value": "checkout"}]}])  # fmt: skip
RESOLVED = bot_message(ts=str(T0.timestamp()), attachments=[{"color": "good", "title": "[RESOLVED] HighErrorRate "
                       "checkout-api (critical)", "fields": [{"title": "Service", "value": "checkout"}]}])  # fmt: skip


class Ears(World):
    def __init__(self, *, own_channel: bool = True, pattern: str | None = "inc-*") -> None:
        super().__init__()
        self.joined: list[str] = []
        self.heard = Heard(
            self.book, self.clock, watched=self.watched, read=self.read, redact=self.redact, intake=self.intake,
            own_channel=own_channel, pattern=pattern, join=self.join,
        )  # fmt: skip

    async def watched(self) -> list[str]:
        return [ALERTS]

    def read(self, message: Any, channel: str) -> Any:
        return alert_of(message, channel, self.clock.now()) if is_from_bot(message) else None

    def redact(self, value: Any) -> Any:
        return json.loads(json.dumps(value).replace("hunter2", "<secret>"))

    async def join(self, channel: str) -> None:
        if channel == "C0CLOSED":
            raise Denied("slack", "not_allowed")
        self.joined.append(channel)

    async def incidents(self) -> list[dict[str, Any]]:
        return await self.store.query("SELECT * FROM incidents ORDER BY triggered_at, id")


@pytest.fixture
async def ears() -> AsyncIterator[Ears]:
    made = Ears()
    yield made
    await made.store.close()


async def test_a_bots_alert_is_an_incident_in_its_channel_and_ends_with_the_bots_own_word(ears):
    assert await ears.heard.message(FIRING)
    (incident,) = await ears.incidents()
    assert (incident["title"], incident["service"]) == ("HighErrorRate checkout-api (critical)", "checkout-api")
    assert (incident["source"], incident["own_channel"], incident["severity"]) == (f"slack:{ALERTS}", ALERTS, 2)
    assert incident["triggered_at"].startswith("2026-11-24T14:01:40")
    assert incident["url"] == "https://alerts.example/1"
    assert not await ears.heard.message(FIRING), "Slack sends an event again"
    ears.clock.advance(60)
    assert await ears.heard.message(RESOLVED)
    (incident,) = await ears.incidents()
    assert incident["status"] == "resolved"


async def test_a_message_that_is_edited_to_its_end_ends_it(ears):
    await ears.heard.message(FIRING)
    ears.clock.advance(60)
    edited = {**FIRING, "attachments": RESOLVED["attachments"]}
    event = {"type": "message", "subtype": "message_changed", "channel": ALERTS, "message": edited}
    assert await ears.heard.message(event)
    assert [one["status"] for one in await ears.incidents()] == ["resolved"]


@pytest.mark.parametrize(
    "event",
    [
        {**FIRING, "channel": "C0OTHER"},
        {**FIRING, "bot_id": None},
        {**FIRING, "thread_ts": "1.000001"},
        bot_message("   "),
        {"type": "message", "channel": 5, "bot_id": "B1"},
        {"type": "message", "subtype": "message_changed", "channel": ALERTS, "message": "x"},
    ],
)
async def test_other_channels_people_threads_and_nothing_are_not_alerts(ears, event):
    assert not await ears.heard.message(event)
    assert await ears.store.query("SELECT * FROM signals") == []


async def test_secrets_in_an_alert_are_not_stored(ears):
    await ears.heard.message(bot_message("Login failed with hunter2"))
    kept = json.dumps(await ears.store.query("SELECT * FROM signals") + await ears.incidents())
    assert "hunter2" not in kept
    assert "<secret>" in kept


async def test_where_the_settings_say_who_may_read_the_card_is_routed():
    ears = Ears(own_channel=False)
    await ears.heard.message(FIRING)
    assert [one["own_channel"] for one in await ears.incidents()] == [None]
    await ears.store.close()


@pytest.mark.parametrize(
    ("text", "title", "status", "severity"),
    [
        ("[FIRING:2] Critical: disk is full", "disk is full", "firing", "critical"),
        ("ALARM: cpu of db-7 over 90% in eu-west-1", "cpu of db-7 over 90% in eu-west-1", "firing", "warning"),
        (":red_circle: Triggered: p1 orders fail", "p1 orders fail", "firing", "p1"),
        ("Recovered: orders fail", "orders fail", "resolved", "warning"),
        ("*[RESOLVED]* <https://x.example/a|orders fail>", "orders fail", "resolved", "warning"),
        ("The check orders is OK again, no longer failing", "The check orders is OK again, no longer failing",
         "resolved", "warning"),
    ],
)  # fmt: skip
def test_what_the_usual_bots_write_is_read(text, title, status, severity):
    found = alert_of(bot_message(text), ALERTS, T0)
    assert found is not None
    assert (found.title, found.status, found.severity) == (title, status, severity)


def test_the_same_alert_has_the_same_key_whatever_its_state_and_numbers():
    keys = {
        alert_of(bot_message(text), ALERTS, T0).dedupe_key
        for text in ("[FIRING:1] cpu over 90%", "[RESOLVED] cpu over 12%", "Firing: CPU over 95.5%")
    }
    assert len(keys) == 1
    assert alert_of(bot_message("[FIRING:1] cpu over 90%"), "C0OTHER", T0).dedupe_key not in keys


KEYS = ["text", "title", "fields", "value", "color", "type", "ts", "fallback", "blocks"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["text", "attachments", "blocks", "ts", "bot_id", "user"]), values))
def test_no_message_breaks_the_reader(message):
    found = alert_of(message, ALERTS, T0)
    assert found is None or (0 < len(found.title) <= 200 and len(json.dumps(found.model_dump(mode="json"))) < 60_000)


# --- channels of incidents ------------------------------------------------------------------------------------------


def created(name: str, channel: str = "C0NEW") -> dict[str, Any]:
    return {"type": "channel_created", "channel": {"id": channel, "name": name, "creator": "U1"}}


async def test_a_channel_of_the_pattern_declares_an_incident_and_is_its_own(ears):
    assert await ears.heard.channel_created(created("inc-2026-11-24-checkout-slow"))
    (incident,) = await ears.incidents()
    assert (incident["title"], incident["own_channel"], incident["source"]) == ("checkout slow", "C0NEW", "slack")
    assert await ears.times(incident["id"]) == [("triggered", "slack", "U1")]
    assert ears.joined == ["C0NEW"]
    assert await ears.heard.channel_created(created("inc-2026-11-24-checkout-slow"))
    assert len(await ears.incidents()) == 1, "told twice"


@pytest.mark.parametrize("name", ["inc-{id}-checkout", "INC-{id}", "inc-checkout-api-errors"])
async def test_a_channel_that_names_an_open_incident_becomes_its_own(ears, name):
    await ears.heard.message({**FIRING, "channel": ALERTS})
    (before,) = await ears.incidents()
    await ears.store.upsert("incidents", [{"workspace_id": "W", "id": before["id"], "own_channel": None}])
    assert await ears.heard.channel_created(created(name.format(id=before["id"].lower())))
    (after,) = await ears.incidents()
    assert (after["id"], after["own_channel"]) == (before["id"], "C0NEW")


@pytest.mark.parametrize(
    ("name", "channel"), [("general", "C0NEW"), ("old-inc-1", "C0NEW"), ("inc-x", "bad id"), ("inc-x", "C0CLOSED")]
)
async def test_other_channels_and_those_that_we_cannot_join_are_left_alone(ears, name, channel):
    assert not await ears.heard.channel_created(created(name, channel))
    assert await ears.incidents() == []


async def test_without_a_pattern_no_channel_is_an_incident():
    ears = Ears(pattern=None)
    assert not await ears.heard.channel_created(created("inc-1"))
    await ears.store.close()


def test_the_time_of_a_message_is_its_own():
    assert alert_of(bot_message("x fails"), ALERTS, T0).started_at == T0 - timedelta(seconds=30)
    assert alert_of(bot_message("x fails", ts="soon"), ALERTS, T0).started_at == T0
    assert alert_of(bot_message("x fails", ts="1700000000.000100"), ALERTS, T0).started_at == datetime(
        2023, 11, 14, 22, 13, 20, 100, tzinfo=UTC
    )
