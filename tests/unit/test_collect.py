"""The room `collect`: a source that failed is asked again with patience, and once more a little later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.clock import ManualClock
from bot.triage import collect
from integrations.errors import Denied, Unavailable
from integrations.records import ChangeEvent, Findings, Incident, Question, Readers

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


def change(number: int, source: str, commit: str | None, service: str = "cart", seconds: float = 0) -> ChangeEvent:
    return ChangeEvent(
        id=f"{source}-{number}", kind="deploy", service=service, changed_at=T0 - timedelta(seconds=seconds),
        summary="deploy", source=source, url="", readers=Readers.of(["everyone"]), commit=commit,
    )  # fmt: skip


async def kept(*changes: ChangeEvent) -> list[str]:
    class Told(Flaky):
        async def fetch(self, question: Question) -> Findings:
            return Findings(changes=changes)

    collected = await collector(Told()).collect(INCIDENT)
    return [one.id for one in collected.telemetry.changes]


async def test_a_change_that_two_systems_report_is_one() -> None:
    short, long = "0123456", "0123456789abcdef"
    assert await kept(change(1, "github", long), change(2, "pagerduty", short, seconds=90)) == ["github-1"]
    assert len(await kept(change(1, "github", long), change(2, "pagerduty", short, seconds=700))) == 2
    assert len(await kept(change(1, "github", long), change(2, "pagerduty", "0123999"))) == 2
    assert len(await kept(change(1, "github", long), change(2, "pagerduty", short, service="shop"))) == 2
    assert len(await kept(change(1, "github", long), change(2, "github", long))) == 2
    assert await kept(change(1, "github", None), change(1, "GITHUB", None)) == ["GITHUB-1"]


async def test_ten_thousand_changes_are_not_each_compared_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    same = collect._same_change

    def counted(one: ChangeEvent, other: ChangeEvent) -> bool:
        nonlocal compared
        compared += 1
        return same(one, other)

    monkeypatch.setattr(collect, "_same_change", counted)
    many = [change(i, ("github", "pagerduty")[i % 2], f"{i // 2:08x}"[::-1]) for i in range(10_000)]
    assert len(await kept(*many)) == 5_000
    assert compared < 100_000
