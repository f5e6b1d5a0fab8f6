"""A silent week posts in one channel and counts nothing; a second team sees nothing of the first's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from bot.cards.state import CardState
from bot.clock import ManualClock
from bot.flows.parts import Parts, Timeouts
from bot.flows.triage import TriageFlow
from bot.incidents.book import Book
from bot.settings import load
from bot.triage.collect import Collected, Collector
from bot.triage.permit import permit
from bot.trust.audience import Audience, AudienceUnknown, audience_of_person, may_all_read
from bot.trust.principals import Principal
from bot.types import Rejected
from bot.wiring.values import (
    access_of,
    alert_readers_of,
    change_readers_of,
    channels_of,
    declared_edges,
    report_channel,
    routing_of,
)
from integrations.records import EVERYONE, Evidence, Incident, Telemetry, Window
from tests.support.memory_store import MemoryStore

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
TOML = """
{mode}
[slack]
channel = "#incidents"
shadow_channel = "#quiet"
[teams.payments]
channel = "#payments"
readers = ["payments"]
[teams.search]
channel = "#search"
readers = ["search"]
[services.checkout]
team = "payments"
depends_on = ["ledger"]
[services.ledger]
team = "payments"
channel = "#ledger"
[services.index]
team = "search"
[sources.pagerduty]
readers = ["everyone"]
[sources.github]
readers = ["everyone"]
[[routes]]
match = {{ severity = 1 }}
channel = "#sev1"
"""


def settings(tmp_path, mode: str = ""):
    (tmp_path / "sitrep.toml").write_text(TOML.format(mode=mode))
    return load({"SITREP_HOME": str(tmp_path)}, folder=tmp_path)


def incident(service: str | None = "checkout", **more: object) -> Incident:
    return Incident(
        workspace_id="default", id="P1", title="the alert", service=service, severity=1, url="https://x.example/P1",
        triggered_at=NOW, **more,
    )  # fmt: skip


# --- the silent week --------------------------------------------------------------------------------------------------


def test_in_shadow_mode_every_place_for_a_post_is_the_one_channel(tmp_path):
    shadow = settings(tmp_path, 'mode = "shadow"')
    routing = routing_of(shadow)
    for service in ("checkout", "ledger", "index", None, "unheard-of"):
        for severity in (1, 5):
            for own in (None, "C0OWN0001"):
                assert routing.channel(severity, service, own) == "#quiet"
    assert channels_of(shadow) == ["#quiet"]
    assert report_channel(shadow) == "#quiet"


def test_live_the_incidents_channel_comes_before_the_services_the_teams_the_routes_and_the_last_resort(tmp_path):
    routing = routing_of(settings(tmp_path))
    assert routing.decide(1, "ledger", "C0OWN0001") == ("C0OWN0001", "the incident's own channel")
    assert routing.decide(1, "ledger", None) == ("#ledger", "[services.ledger] channel")
    assert routing.decide(1, "index", None) == ("#search", "[teams.search] channel")
    assert routing.decide(1, None, None) == ("#sev1", "route 1")
    assert routing.decide(3, None, None) == ("#incidents", "[slack] channel, the last resort")


class Stage:
    """A triage's parts over a store in memory; remembers what was wanted where."""

    def __init__(self, settings, *, shadow: bool, own: str | None = None) -> None:
        self.store, self.clock = MemoryStore(), ManualClock(NOW)
        self.wanted: list[tuple[str, CardState]] = []
        self.asked_for_own: list[Incident] = []

        async def own_channel(one: Incident, linked: str | None) -> str | None:
            self.asked_for_own.append(one)
            return own or linked

        async def summarise(*_: object, **__: object) -> Rejected:
            return Rejected(outcome="off", reason="no model is configured")

        async def assign(*_: object) -> tuple[None, None]:
            return None, None

        async def audience(*_: object) -> AudienceUnknown:
            return AudienceUnknown("nobody was asked")

        async def channel_id(name: str) -> str:
            return name

        self.flow = TriageFlow(
            Parts(
                book=Book(self.store, "default"), clock=self.clock, routing=routing_of(settings),
                collector=Collector((), self.clock, services={}, owner=lambda _: None,
                                    alert_readers=alert_readers_of(settings)),
                directory=SimpleNamespace(audience=audience), worker=SimpleNamespace(), cards=self, assign=assign,
                summarise=summarise, channel_id=channel_id, own_channel=own_channel, shadow=shadow,
                timeouts=Timeouts(),
            )
        )  # fmt: skip

    async def change(self, target, channel, transform, **_) -> int:
        self.wanted.append((channel, transform(None)))
        return 1

    async def sent_times(self, target):
        return NOW + timedelta(seconds=1), NOW + timedelta(seconds=9)

    async def begin(self, **row: object) -> None:
        values = {
            "workspace_id": "default", "id": "P1", "source": "pagerduty", "title": "t", "service": "checkout",
            "severity": 1, "first_severity": 1, "status": "triggered", "url": "", "triages": 1, "triggered_at": NOW,
            "received_at": NOW, "first_signal_at": NOW, "updated_at": NOW, **row,
        }  # fmt: skip
        await self.store.upsert("incidents", [values])

    async def close(self) -> None:
        await self.store.close()


@pytest.fixture
async def stage(tmp_path):
    made: list[Stage] = []

    def build(mode: str, **more) -> Stage:
        made.append(Stage(settings(tmp_path, f'mode = "{mode}"'), shadow=mode == "shadow", **more))
        return made[-1]

    yield build
    for one in made:
        await one.close()


@pytest.mark.parametrize(("mode", "channel", "kind"), [("shadow", "#quiet", "none"), ("live", "C0OWN0001", "card")])
async def test_a_triage_in_shadow_mode_runs_whole_posts_in_one_channel_and_exposes_nobody(stage, mode, channel, kind):
    one = stage(mode, own="C0OWN0001")
    await one.begin()
    route = await one.flow.route("P1", 1)
    await one.flow.record("P1", 1, Rejected(outcome="off", reason="no model is configured"))
    assert route["channel"] == channel
    assert [where for where, _ in one.wanted] == [channel]
    exposures = await one.store.query("SELECT kind FROM exposures", {})
    assert [row["kind"] for row in exposures] == [kind]
    assert len(one.asked_for_own) == (0 if mode == "shadow" else 1)


async def test_a_later_triage_is_for_the_readers_of_the_channel_where_the_card_stands(stage):
    """Its own channel may be known later; the card is edited where it is, so it must be filtered for that one."""
    one = stage("live")
    await one.begin()
    assert (await one.flow.route("P1", 1))["channel"] == "#payments"
    await one.begin(own_channel="C0OWN0001")
    assert (await one.flow.route("P1", 2))["channel"] == "#payments"


# --- two teams --------------------------------------------------------------------------------------------------------

OF_PAYMENTS = frozenset({EVERYONE, "payments"})
OF_SEARCH = frozenset({EVERYONE, "search"})


def reads(groups: frozenset[str], readers) -> bool:
    return may_all_read(Audience.of([groups], NOW), readers)


def test_a_second_team_may_read_neither_incidents_nor_evidence_changes_or_edges_of_the_first(tmp_path):
    file = settings(tmp_path)
    for service in ("checkout", "ledger"):
        alert = alert_readers_of(file)(incident(service))
        evidence = access_of(file, file.file.sources["github"]).of(service)[0]
        changes = change_readers_of(file)(service)
        for readers in (alert, evidence, changes):
            assert reads(OF_PAYMENTS, readers)
            assert not reads(OF_SEARCH, readers)
    assert reads(OF_SEARCH, alert_readers_of(file)(incident("index")))
    assert not reads(OF_PAYMENTS, alert_readers_of(file)(incident("index")))
    (edge,) = declared_edges(file)
    assert not reads(OF_SEARCH, edge.readers)


def test_the_first_teams_card_in_the_second_teams_channel_is_the_fallback_alone(tmp_path):
    file = settings(tmp_path)
    readers = access_of(file, file.file.sources["github"]).of("checkout")[0]
    item = Evidence(
        id="github/change/1", kind="change", source="github", observed_at=NOW, fetched_at=NOW, url="", readers=readers,
        title="canary", text="canary", service="checkout",
    )  # fmt: skip
    one = incident("checkout")
    collected = Collected(
        incident=one, telemetry=Telemetry(window=Window(NOW - timedelta(minutes=5), NOW)), collected_at=NOW,
        evidence=(item,), alert_readers=alert_readers_of(file)(one),
    )  # fmt: skip
    theirs = permit(collected, Audience.of([OF_SEARCH], NOW), NOW)
    assert theirs.fallback is not None
    assert theirs.evidence == ()
    assert "the alert" not in theirs.incident.model_dump_json()
    assert "canary" not in repr(theirs)
    ours = permit(collected, Audience.of([OF_PAYMENTS], NOW), NOW)
    assert (ours.fallback, len(ours.evidence)) == (None, 1)
    both = permit(collected, Audience.of([OF_PAYMENTS, OF_SEARCH], NOW), NOW)
    assert both.fallback is not None


def test_somebody_of_the_second_team_does_not_see_that_the_incident_exists(tmp_path):
    readers = alert_readers_of(settings(tmp_path))(incident("checkout"))
    for groups, may in ((OF_PAYMENTS, True), (OF_SEARCH, False), (frozenset({EVERYONE}), False)):
        audience = audience_of_person(Principal("U1", groups), NOW)
        assert not isinstance(audience, AudienceUnknown)
        assert may_all_read(audience, readers) is may
