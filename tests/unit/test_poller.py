"""The poller: a cursor that moves only after the signals are stored, and a look back that loses nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.clock import ManualClock
from bot.incidents.poller import FIRST_LOOK_BACK, OVERLAP, Poller
from bot.incidents.signals import store_signals
from bot.store.sqlite import SqliteStore
from integrations.errors import Unavailable
from integrations.records import Signal

T0 = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)


class Source:
    name = "pagerduty"

    def __init__(self) -> None:
        self.asked = []
        self.signals = []
        self.down_after = None

    async def transitions(self, since):
        self.asked.append(since)
        for n, signal in enumerate(self.signals):
            if self.down_after is not None and n >= self.down_after:
                raise Unavailable("pagerduty", "no answer")
            if signal.occurred_at >= since:
                yield signal


def entry(n: int, at: datetime) -> Signal:
    return Signal(
        delivery_key=f"log:{n}", source="poll", kind="triggered", incident_id=f"P{n}", occurred_at=at, received_at=at,
        body={}, sha256="",
    )  # fmt: skip


@pytest.fixture
async def parts(tmp_path):
    store = SqliteStore.open(tmp_path / "s.db")
    source, clock = Source(), ManualClock(T0)

    async def intake(signals):
        return await store_signals(store, "W", signals)

    yield source, clock, Poller(source, store, "W", clock, intake, 10), store
    await store.close()


async def test_the_first_round_looks_back_a_little_and_the_next_from_its_cursor(parts):
    source, clock, poller, _ = parts
    source.signals = [entry(1, T0 - timedelta(seconds=30))]
    assert await poller.poll() == 1
    assert source.asked == [T0 - FIRST_LOOK_BACK - OVERLAP]
    clock.advance(600)
    assert await poller.poll() == 0
    assert source.asked[1] >= T0 - OVERLAP - OVERLAP


async def test_an_entry_that_appears_late_is_still_found(parts):
    source, clock, poller, _ = parts
    await poller.poll()
    source.signals = [entry(2, T0 - timedelta(seconds=60))]
    clock.advance(10)
    assert await poller.poll() == 1


async def test_a_source_that_fails_half_way_leaves_the_cursor_where_it_was(parts):
    source, clock, poller, store = parts
    source.signals = [entry(n, T0 - timedelta(seconds=100 - n)) for n in range(5)]
    source.down_after = 3
    with pytest.raises(Unavailable):
        await poller.poll()
    assert await store.query("SELECT * FROM notices") == []
    source.down_after = None
    clock.advance(10)
    assert await poller.poll() == 5
