"""The room `collect`: a source that failed is asked again with patience, and once more a little later."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.clock import ManualClock
from bot.triage import collect
from integrations.errors import Denied, Unavailable
from integrations.records import Findings, Incident, Question, Readers

T0 = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)
INCIDENT = Incident(
    workspace_id="w", id="Q1", number=1, title="checkout fails", service="checkout", service_ref=None, severity=2,
    triggered_at=T0, url="https://acme.pagerduty.com/incidents/Q1",
)  # fmt: skip


class Flaky:
    """A source whose first answers fail."""

    name = kind = "flaky"
    deadline_seconds = 0.5

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked: list[Question] = []

    async def fetch(self, question: Question) -> Findings:
        self.asked.append(question)
        if self.failures:
            raise self.failures.pop(0)
        return Findings()


def collector(source: Flaky) -> collect.Collector:
    return collect.Collector(
        [source], ManualClock(T0), services={}, owner=lambda _: None, alert_readers=lambda _: Readers.nobody()
    )


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "AGAIN_AFTER_SECONDS", 0.01)


async def test_the_first_time_a_source_is_asked_once() -> None:
    source = Flaky(Unavailable("flaky", "answered 503"))
    collected = await collector(source).collect(INCIDENT)
    assert [status.answered for status in collected.sources] == [False]
    assert [question.patience_seconds for question in source.asked] == [0.0]


async def test_a_second_round_has_patience_and_forgives_one_failure() -> None:
    source = Flaky(Unavailable("flaky", "answered 503"))
    collected = await collector(source).collect(INCIDENT, deadline_seconds=60)
    assert [status.answered for status in collected.sources] == [True]
    assert [question.patience_seconds for question in source.asked] == [60, 60]


@pytest.mark.parametrize(
    ("failures", "asked"),
    [((Denied("flaky", "no"),), 1), ((Unavailable("flaky", "503"), Unavailable("flaky", "503")), 2)],
)
async def test_what_will_not_change_is_not_asked_again(failures: tuple[Exception, ...], asked: int) -> None:
    source = Flaky(*failures)
    collected = await collector(source).collect(INCIDENT, deadline_seconds=60)
    assert [status.answered for status in collected.sources] == [False]
    assert len(source.asked) == asked
