"""The weekly report goes out once a week, late rather than never, and shows no more than its channel may read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from bot.cards.limits import violations
from bot.cards.outbox import Outbox, OutboxLimits
from bot.clock import ManualClock
from bot.experiment.assign import arm_of, seed_digest
from bot.experiment.live import LiveExperiments
from bot.experiment.pauses import pause, resume
from bot.incidents.signals import store_signals
from bot.report.material import read_material
from bot.report.png import weekly_png
from bot.report.weekly import WeeklyReports, ask_again
from bot.report.weeks import parse_week
from bot.store.sqlite import SqliteStore
from bot.trust.audience import Audience, AudienceUnknown
from integrations.errors import Denied, IntegrationError, Refused
from integrations.ports import Posted
from integrations.records import Readers, Signal
from tests.unit.test_experiment_live import SEED, hypothesis

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 11, 16, 8, tzinfo=UTC)  # 09:00 in Berlin
EVERYONE, PAYMENTS = Readers.of(["everyone"]), Readers.of(["payments"])


class Slack:
    """Posts that went out; refuses the blocks named."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, str]] = []
        self.refuses: tuple[str, ...] = ()

    def _take(self, kind: str, message) -> None:
        drawn = json.dumps(message.blocks)
        if any(f'"type": "{one}"' in drawn for one in self.refuses):
            raise Refused("slack", "invalid_blocks", code="invalid_blocks")
        assert not violations(message.text, message.blocks)
        self.posts.append((kind, drawn))

    async def post(self, message):
        self._take("post", message)
        return Posted(message.channel, f"{len(self.posts)}.0")

    async def update(self, posted, message):
        self._take("update", message)

    async def find(self, *_):
        return None


class Bench:
    def __init__(self, store, *hypotheses, zone=BERLIN, blocks="auto") -> None:
        self.store, self.clock, self.slack = store, ManualClock(MONDAY), Slack()
        self.to, self.narrow = ["C1"], set()
        self.kept: list[tuple[str, bytes]] = []
        self.keeps: IntegrationError | None = None
        self.readers: Audience | AudienceUnknown = Audience.of([frozenset({"everyone", "payments"})], MONDAY)
        self.outbox = Outbox(store, "W", self.slack, self.clock, limits=OutboxLimits(blocks=blocks))
        self.experiments = LiveExperiments(store, "W", self.clock, hypotheses, {one.name: SEED for one in hypotheses})
        self.weekly = WeeklyReports(
            store, "W", self.clock, zone, outbox=self.outbox, directory=self, channels=self.channels,
            incident_readers=lambda source, service: PAYMENTS if service == "payments-db" else EVERYONE,
            change_readers=lambda service: PAYMENTS if service in ("payments-db", "vault") else EVERYONE,
            experiments=self.experiments, pictures=self,
        )  # fmt: skip

    async def keep_picture(self, name: str, title: str, content: bytes) -> str:
        if self.keeps is not None:
            raise self.keeps
        self.kept.append((name, content))
        return "F0WEEK001"

    async def channels(self) -> list[str]:
        return self.to

    async def audience(self, channel_id, deadline_seconds=0.5):
        assert channel_id in self.to
        if channel_id in self.narrow:
            return Audience.of([frozenset({"everyone"})], MONDAY)
        return self.readers

    async def sent(self) -> str:
        """What stands in Slack now."""
        for _ in range(4):
            self.clock.advance(5)
            await self.outbox.send_due()
        return self.slack.posts[-1][1]

    async def incident(self, n: int, at: datetime, **more) -> None:
        row = {
            "workspace_id": "W", "id": f"P{n}", "title": "t", "service": "checkout-api", "source": "pagerduty",
            "severity": 2, "first_severity": 2, "status": "resolved", "url": "", "unit_id": f"u-P{n}",
            "triggered_at": at, "acknowledged_at": at + timedelta(minutes=2),
            "resolved_at": at + timedelta(minutes=30 + n), "first_signal_at": at, "received_at": at, "updated_at": at,
        }  # fmt: skip
        await self.store.insert("incidents", [row | more])
        await self.store.insert("units", [{"workspace_id": "W", "id": f"u-P{n}", "triggered_at": at}])


@pytest.fixture
async def store(tmp_path):
    opened = SqliteStore.open(tmp_path / "s.db")
    yield opened
    await opened.close()


# When


async def test_a_report_goes_out_on_monday_morning_local_time_and_once(store):
    made = Bench(store)
    assert await made.weekly.send_due() == []  # the first time: nothing older than this is reported
    made.clock.advance(7 * 86400 - 3600)
    assert await made.weekly.send_due() == []  # 08:00 in Berlin
    made.clock.advance(3600)
    assert await made.weekly.send_due() == ["2026-W47"]
    for _ in range(3):
        assert await made.weekly.send_due() == []
    assert "No incident began this week" in await made.sent()
    assert [kind for kind, _ in made.slack.posts] == ["post"]


async def test_weeks_that_passed_while_the_process_was_down_are_sent_oldest_first(store):
    await Bench(store).weekly.send_due()
    later = Bench(store)
    later.clock.advance(3 * 7 * 86400)
    assert await later.weekly.send_due() == ["2026-W47", "2026-W48", "2026-W49"]
    assert await Bench(store).weekly.send_due() == []


async def test_a_process_that_dies_before_it_remembers_edits_its_post_and_does_not_post_again(store):
    made = Bench(store)
    await made.weekly.send_due()
    made.clock.advance(7 * 86400)
    await made.weekly.send_due()
    await made.sent()
    await store.transaction(lambda tx: tx.execute("DELETE FROM notices WHERE kind = 'report'"))
    assert await made.weekly.send_due() == ["2026-W47"]
    await made.sent()
    assert [kind for kind, _ in made.slack.posts] == ["post", "update"]


async def test_the_clock_change_moves_the_hour_and_another_time_zone_is_said(store):
    made = Bench(store)
    assert made.weekly.due_at(parse_week("2026-W12")) == datetime(2026, 3, 23, 8, tzinfo=UTC)
    assert made.weekly.due_at(parse_week("2026-W13")) == datetime(2026, 3, 30, 7, tzinfo=UTC)
    await made.weekly.send_due()
    made.clock.advance(7 * 86400)
    await made.weekly.send_due()
    moved = Bench(store, zone=ZoneInfo("America/New_York"))
    moved.clock.advance(15 * 86400)
    assert await moved.weekly.send_due() == ["2026-W48"]
    assert "The time zone changed from Europe/Berlin to America/New_York" in await moved.sent()


async def test_a_report_waits_for_the_look_that_belongs_to_its_week(store):
    east = Bench(store, hypothesis(), zone=ZoneInfo("Pacific/Auckland"))
    ends = parse_week("2026-W48").ends_at(ZoneInfo("Pacific/Auckland"))
    assert ends < east.weekly.due_at(parse_week("2026-W48")) == datetime(2026, 11, 30, tzinfo=UTC)


async def test_several_channels_get_their_own_report_once_each_and_a_new_one_no_old_weeks(store):
    made = Bench(store)
    made.to, made.narrow = ["C1", "C2"], {"C2"}
    await made.weekly.send_due()
    made.clock.advance(7 * 86400)
    await fill(made)
    assert await made.weekly.send_due() == ["2026-W47"] and await made.weekly.send_due() == []
    rows = {row["target"]: row["state"] for row in await store.query("SELECT target, state FROM posts")}
    assert set(rows) == {"report:2026-W47", "report:2026-W47:C2"}
    assert "payments-db" in rows["report:2026-W47"] and "payments-db" not in rows["report:2026-W47:C2"]
    made.to = ["C1", "C2", "C3"]
    assert await made.weekly.send_due() == []
    made.clock.advance(7 * 86400)
    assert await made.weekly.send_due() == ["2026-W48"]
    posts = await store.query("SELECT target FROM posts WHERE channel = 'C3'")
    assert [row["target"] for row in posts] == ["report:2026-W48:C3"]


async def test_webhooks_that_came_twice_are_dropped_and_said(store):
    made = Bench(store)
    at = MONDAY + timedelta(days=1)
    one = Signal(
        delivery_key="d1", source="pagerduty", kind="unknown", incident_id=None, occurred_at=at, received_at=at,
        body={}, sha256="",
    )  # fmt: skip
    for _ in range(3):
        await store_signals(store, "W", [one, one.model_copy(update={"delivery_key": "p1", "source": "poll"})])
    await store_signals(store, "W", [one.model_copy(update={"received_at": at - timedelta(days=7)})])
    report = await made.weekly.report(parse_week("2026-W47"), "C1")
    assert "2 webhook deliveries were dropped as repeats of one that was stored." in report.odd
    assert (await store.query("SELECT count(*) AS n FROM signals"))[0]["n"] == 2


async def test_a_report_is_posted_once_more_when_somebody_asks_and_that_is_audited(store):
    made = Bench(store)
    await made.weekly.send_due()
    made.clock.advance(7 * 86400)
    await made.weekly.send_due()
    await made.sent()
    await ask_again(store, "W", parse_week("2026-W47"), by="shell:priya", at=made.clock.now())
    assert await made.weekly.send_due() == ["2026-W47"] and await made.weekly.send_due() == []
    await made.sent()
    assert [kind for kind, _ in made.slack.posts] == ["post", "post"]
    (told,) = await store.query("SELECT by FROM audit WHERE action = 'report.again'")
    assert told["by"] == "shell:priya"


# Who may read what


async def fill(made: Bench) -> None:
    at = MONDAY + timedelta(days=1)
    await made.incident(1, at)
    await made.incident(2, at + timedelta(hours=2), service="payments-db")
    for n, service, change in ((1, "vault", "rotate vault keys"), (2, "payments-db", "resize payments-db")):
        suspects = [{"change_id": change, "service": service, "probability": 0.9}]
        row = {"workspace_id": "W", "id": f"P{n}/1", "incident_id": f"P{n}", "n": 1, "started_at": at}
        await made.store.insert("triages", [row | {"suspects": suspects, "outcome": "released"}])
        label = {"workspace_id": "W", "id": f"L{n}", "incident_id": f"P{n}", "by": "U1", "at": at, "cause": "external"}
        await made.store.insert("labels", [label])


@pytest.mark.parametrize("blocks", ["modern", "classic"])
async def test_names_that_not_every_reader_may_see_are_veiled_and_still_counted(store, blocks):
    made = Bench(store)
    await fill(made)
    open_report = await made.weekly.report(parse_week("2026-W47"), "C1")
    assert "payments-db" in str(open_report) and "rotate vault keys" in str(open_report)
    made.readers = Audience.of([frozenset({"everyone", "payments"}), frozenset({"everyone"})], MONDAY)
    await made.weekly.send_due()
    made.clock.advance(7 * 86400)
    if blocks == "classic":
        await made.outbox._forms.remember_classic()
    await made.weekly.send_due()
    drawn = await made.sent()
    assert ('"type": "table"' in drawn) == (blocks == "modern")
    rows = await store.query("SELECT state FROM posts WHERE target = 'report:2026-W47'")
    for text in (drawn, rows[0]["state"]):
        for secret in ("payments-db", "vault", "resize"):
            assert secret not in text
    report = await made.weekly.report(parse_week("2026-W47"), "C1")
    assert "checkout-api" in str(report.services)
    assert not any(secret in str(report) for secret in ("payments-db", "vault", "resize"))
    assert sum(one.count for one in report.services) == 2
    assert sum(one.count for one in report.wrong_suggestions) == 2


async def test_where_nobody_can_say_who_reads_the_channel_every_name_is_veiled(store):
    made = Bench(store)
    await fill(made)
    made.readers = AudienceUnknown("the directory does not answer")
    report = await made.weekly.report(parse_week("2026-W47"), "C1")
    assert not any(name in str(report) for name in ("checkout-api", "payments-db", "vault"))
    assert report.arms[0].incidents == 2


# In which form


async def test_a_workspace_that_refuses_the_newer_blocks_gets_the_classic_report(store):
    made = Bench(store)
    await fill(made)
    await made.weekly.send_due()
    made.clock.advance(7 * 86400)
    made.slack.refuses = ("data_visualization",)
    await made.weekly.send_due()
    drawn = await made.sent()
    assert "data_visualization" not in drawn and "```" in drawn
    assert "sitrep.report_page" in drawn
    assert [kind for kind, _ in made.slack.posts] == ["post"]


async def test_a_report_that_is_refused_in_both_forms_is_one_sentence(store):
    made = Bench(store)
    await made.weekly.send_due()
    made.clock.advance(7 * 86400)
    made.slack.refuses = ("context",)
    await made.weekly.send_due()
    assert "No experiment runs" in await made.sent()


async def test_the_classic_report_shows_its_chart_as_a_picture_of_what_the_channel_may_see(store):
    made = Bench(store, blocks="classic")
    await fill(made)
    await made.weekly.send_due()
    made.clock.advance(7 * 86400)
    await made.weekly.send_due()
    assert '"slack_file": {"id": "F0WEEK001"}' in await made.sent()
    report = await made.weekly.report(parse_week("2026-W47"), "C1")
    assert any(point.median is not None for point in report.weekly)
    assert made.kept == [("sitrep-2026-W47.png", weekly_png(report.weekly))]


async def test_a_report_goes_out_without_a_picture_that_slack_does_not_keep_or_show(store):
    made = Bench(store, blocks="classic")
    await fill(made)
    await made.weekly.send_due()
    made.clock.advance(7 * 86400)
    made.keeps = Denied("slack", "files.getUploadURLExternal: missing_scope")
    await made.weekly.send_due()
    assert '"image"' not in await made.sent()
    made.keeps, made.slack.refuses = None, ("image",)
    await ask_again(store, "W", parse_week("2026-W47"), by="U1", at=made.clock.now())
    await made.weekly.send_due()
    drawn = await made.sent()
    assert '"image"' not in drawn and "```" in drawn
    assert [kind for kind, _ in made.slack.posts] == ["post", "post"] and len(made.kept) == 1


async def test_a_week_without_a_median_has_no_picture(store):
    made = Bench(store, blocks="classic")
    await made.weekly.send_due()
    made.clock.advance(7 * 86400)
    await made.weekly.send_due()
    assert '"image"' not in await made.sent() and made.kept == []


# What it is made of


async def run_experiment(made: Bench, weeks: int, effect: float) -> None:
    """Twelve incidents a week, assigned as they come; the treatment multiplies their minutes."""
    for i in range(12 * weeks):
        at = made.clock.now()
        await made.incident(i, at)
        await made.experiments(SimpleNamespace(id=f"P{i}"), f"u-P{i}")
        (row,) = await made.store.query("SELECT * FROM assignments WHERE unit_id = :u", {"u": f"u-P{i}"})
        assert row["arm"] == arm_of(SEED, "sev2", i)
        minutes = (60 + i % 7) * (effect if row["arm"] == "treatment" else 1)
        ended = at + timedelta(minutes=minutes)
        await made.store.upsert("incidents", [{"workspace_id": "W", "id": f"P{i}", "resolved_at": ended}])
        made.clock.advance(7 * 86400 / 12)


async def test_the_material_of_a_running_experiment_is_what_was_recorded(store):
    made = Bench(store, hypothesis("[incidents]\nauto_resolved = 'exclude'"))
    await made.incident(900, MONDAY)
    made.clock.advance(7 * 86400 - 8 * 3600)
    await run_experiment(made, 1, 1.0)
    now = made.clock.now()
    await pause(store, "W", experiment="summary", by="sitrep", reason="dear", at=now, cutline="usd_per_triage")
    await resume(store, "W", experiment="summary", by="U1", reason="go on", at=now + timedelta(hours=1))
    await store.insert(
        "triages", [{"workspace_id": "W", "id": "P1/2", "incident_id": "P1", "n": 2, "reason": "override",
                     "started_at": now}],
    )  # fmt: skip
    await store.upsert("incidents", [{"workspace_id": "W", "id": "P2", "merged_into": "P1"}])
    times = {"workspace_id": "W", "kind": "resolved", "source": "webhook", "recorded_at": now, "at": now}
    await store.insert("incident_times", [
        times | {"incident_id": "P3", "ordinal": 1, "said_by": "integration"},
        times | {"incident_id": "P4", "ordinal": 1, "said_by": "responder"},
    ])  # fmt: skip
    material = await read_material(
        store, "W", now + timedelta(days=1), hidden_services=frozenset(), experiments=made.experiments
    )
    running = material.running
    assert running is not None
    assert running.hypothesis.name == "summary" and running.started_at == datetime(2026, 11, 23, tzinfo=UTC)
    assert running.ordinals == {f"u-P{i}": i for i in range(12)}
    assert seed_digest(running.seed) == seed_digest(SEED) and not running.ended
    (told,) = running.paused
    assert "usd_per_triage" in told and "dear" in told
    by_id = {row.incident_id: row for row in material.incidents}
    assert {by_id[f"P{i}"].arm for i in range(12)} == {"control", "treatment"}
    assert by_id["P900"].arm == "" and [row.incident_id for row in material.baseline] == ["P900"]
    assert {row.stratum for row in material.incidents} == {"sev2"}
    assert [name for name, row in by_id.items() if row.crossover] == ["P1"]
    assert by_id["P2"].left_out == ""  # merging changes cards, never units
    assert (by_id["P3"].left_out, by_id["P4"].left_out) == ("resolved by itself", "")


async def test_a_verdict_that_was_given_is_kept_with_its_data_and_says_what_a_correction_changes(store):
    made = Bench(store, hypothesis())
    made.clock.advance(7 * 86400 - 8 * 3600)
    await run_experiment(made, 8, 0.2)
    made.clock.advance(9.5 * 3600)
    await made.weekly.send_due()
    made.clock.advance(7 * 86400)
    assert await made.weekly.send_due() == ["2027-W03"]
    report = await made.weekly.report(parse_week("2027-W03"), "C1")
    assert report.experiment is not None and report.experiment.verdict == "faster"
    assert report.experiment.not_derivable == 0 and report.experiment.seed is None
    assert SEED.hex() not in str(report) and report.experiment.corrections == ()
    given = (await made.experiments.started("summary"))["given"]
    assert given["verdict"] == "faster" and given["data_sha256"] == report.experiment.data_sha256
    drawn = await made.sent()
    assert "facts+summary against facts" in drawn
    for i in range(96):
        (row,) = await store.query("SELECT * FROM incidents WHERE id = :i", {"i": f"P{i}"})
        ended = datetime.fromisoformat(row["triggered_at"]) + timedelta(minutes=60 + i % 7)
        await store.upsert("incidents", [{"workspace_id": "W", "id": f"P{i}", "resolved_at": ended}])
    corrected = await made.weekly.report(parse_week("2027-W03"), "C1")
    assert corrected.experiment.verdict == "faster"
    assert "it would now be: not distinguishable" in corrected.experiment.corrections[0]
