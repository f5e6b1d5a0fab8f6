"""The experiment as it runs: assigned once, before anything is shown, derivable again, and paused by lines."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from bot.clock import ManualClock
from bot.errors import ConfigurationError
from bot.experiment.analyse import Options, analyse
from bot.experiment.assign import arms_of, seed_digest
from bot.experiment.hypothesis import parse
from bot.experiment.live import LiveExperiments, read_assignments, seed_at
from bot.experiment.pauses import pause, read_pauses, resume
from bot.experiment.recorded import read_recorded
from bot.experiment.units import Rows
from bot.experiment.watch import CutlineWatch, harm_since
from bot.flows.asked import HELD_OUT, NOT_SWITCHED_ON, shown_for
from bot.flows.summarise import ByVersion, Pausable
from bot.incidents.book import Book
from bot.settings import load
from bot.store.sqlite import SqliteStore
from bot.types import Rejected
from bot.wiring import experiments_of

START = datetime(2026, 11, 23, tzinfo=UTC)
SEED = bytes(range(32))
TEXT = """
name = "summary"
changes = "The card carries a model's summary, not the facts alone."
arms = ["facts", "facts+summary"]
expected_ratio = 0.8
starts_on = 2026-11-23
owner = "sre"
{more}
"""


def hypothesis(more: str = "", **replaced: str):
    text = TEXT.format(more=more)
    for before, after in replaced.items():
        text = text.replace(before, after)
    return parse(text, file="experiments/summary.toml")


class Live:
    def __init__(self, store, *hypotheses, seed: bytes = SEED) -> None:
        self.store, self.clock = store, ManualClock(START + timedelta(hours=1))
        self.made = LiveExperiments(store, "W", self.clock, hypotheses, {one.name: seed for one in hypotheses})

    async def incident(self, name: str, *, unit: str | None = "", severity: int = 2, service: str | None = "api"):
        at = self.clock.now()
        unit = f"u-{name}" if unit == "" else unit
        row = {
            "workspace_id": "W", "id": name, "title": "t", "service": service, "source": "pagerduty",
            "severity": severity, "first_severity": severity, "status": "triggered", "url": "", "unit_id": unit,
            "triggered_at": at, "first_signal_at": at, "received_at": at, "updated_at": at,
        }  # fmt: skip
        await self.store.insert("incidents", [row], ignore=True)
        if unit:
            await self.store.insert("units", [{"workspace_id": "W", "id": unit, "triggered_at": at}], ignore=True)
        return SimpleNamespace(id=name), unit

    async def assign(self, name: str, **more):
        found = await self.made(*await self.incident(name, **more))
        await self.triaged(name)
        return found

    async def triaged(self, name: str, n: int = 1, **more) -> None:
        row = {"workspace_id": "W", "id": f"{name}/{n}", "incident_id": name, "n": n, "started_at": self.clock.now()}
        await self.store.upsert("triages", [row | more])


@pytest.fixture
async def store(tmp_path):
    opened = SqliteStore.open(tmp_path / "s.db")
    yield opened
    await opened.close()


# Assigning


async def test_every_assignment_is_derived_again_from_seed_and_recorded_order(store):
    live = Live(store, hypothesis())
    waiting = [live.made(*await live.incident(f"P{i}", severity=1 + i % 3, unit=f"u-P{i}")) for i in range(42)]
    await asyncio.gather(*waiting)  # at once: no two take one number
    rows = await store.query("SELECT * FROM assignments")
    assert len(rows) == 42
    by_stratum = defaultdict(list)
    for row in sorted(rows, key=lambda r: (r["stratum"], r["ordinal"])):
        by_stratum[row["stratum"]].append(row)
    assert set(by_stratum) == {"sev1", "sev2", "sev3"}
    for stratum, group in by_stratum.items():
        numbers = [row["ordinal"] for row in group]
        assert numbers == list(range(14))
        assert [row["arm"] for row in group] == arms_of(SEED, stratum, numbers)
        assert arms_of(bytes(32), stratum, numbers) != arms_of(SEED, stratum, numbers)
        for block in range(3):
            assert Counter(row["arm"] for row in group[block * 4 : block * 4 + 4]) == {"control": 2, "treatment": 2}
    assert {row["seed_sha256"] for row in rows} == {seed_digest(SEED)}
    flag = json.loads(rows[0]["flag"])
    assert flag["feature_flag.key"] == "sitrep.experiment.summary"
    assert flag["feature_flag.version"] == hypothesis().sha256
    assert flag["feature_flag.result.reason"] == "split"
    assert SEED.hex() not in json.dumps(rows)


async def test_a_unit_keeps_its_arm_for_every_incident_of_it_and_when_reopened(store):
    live = Live(store, hypothesis())
    first = await live.assign("P1")
    live.clock.advance(600)
    assert await live.assign("P2", unit="u-P1", severity=1) == first
    live.clock.advance(86400 * 300)  # the horizon has passed
    assert await live.made(*await live.incident("P1")) == first
    assert await live.assign("P9") == (None, None)
    assert len(await read_assignments(store, "W", "summary")) == 1


@pytest.mark.parametrize(
    ("more", "incident", "shown"),
    [
        ("[rollout]\nseverities = [1]", {}, "facts"),
        ('[rollout]\nservices = ["web"]\notherwise = "facts+summary"', {}, "facts+summary"),
        ("[rollout]\nshare = 1e-9\notherwise = 'off'", {}, "off"),
        ("", {"unit": None}, "facts"),
    ],
)
async def test_who_takes_no_part_has_no_arm_and_gets_what_the_file_says(store, more, incident, shown):
    live = Live(store, hypothesis(more))
    assert await live.assign("P1", **incident) == (None, shown)
    assert await store.query("SELECT * FROM assignments") == []
    assert await live.made.started("summary") is None


async def test_nothing_is_assigned_before_the_start_nor_to_a_unit_that_began_before_it(store):
    live = Live(store, hypothesis())
    live.clock.advance(-7200)
    assert await live.assign("P1") == (None, None)
    live.clock.advance(7200)
    assert await live.assign("P2", unit="u-P1") == (None, None)
    assert (await live.assign("P3"))[0] == "summary"


async def test_what_was_shown_before_its_unit_was_assigned_is_not_assigned_afterwards(store):
    live = Live(store, hypothesis())
    await pause(store, "W", experiment=None, by="U1", reason="quiet", at=live.clock.now())
    assert await live.assign("P1") == (None, None)
    await resume(store, "W", experiment=None, by="U1", reason="go on", at=live.clock.now())
    assert await live.assign("P2", unit="u-P1") == (None, "facts")
    assert (await live.assign("P3"))[0] == "summary"


async def test_the_stratum_is_the_severity_of_the_first_signal(store):
    live = Live(store, hypothesis())
    found, unit = await live.incident("P1", severity=3)
    await store.upsert("incidents", [{"workspace_id": "W", "id": "P1", "severity": 1}])
    await live.made(found, unit)
    assert [one.stratum for one in await read_assignments(store, "W", "summary")] == ["sev3"]


async def test_another_file_or_seed_is_refused_once_the_experiment_has_started(store):
    live = Live(store, hypothesis())
    changed = hypothesis("horizon_weeks = 13")
    await Live(store, changed).made.verify()
    await live.assign("P1")
    await live.made.verify()
    with pytest.raises(ConfigurationError, match="has changed since the experiment started"):
        await Live(store, changed).made.verify()
    with pytest.raises(ConfigurationError, match="not the seed"):
        await Live(store, hypothesis(), seed=bytes(32)).made.verify()
    (row,) = await store.query("SELECT * FROM audit")
    assert (row["action"], json.loads(row["detail"])["sha256"]) == ("experiment.start", hypothesis().sha256)


def test_a_seed_is_made_once_private_and_refused_when_spoilt(tmp_path):
    path = tmp_path / "home" / "experiments" / "summary.seed"
    seed = seed_at(path)
    assert (len(seed), seed_at(path), path.stat().st_mode & 0o777) == (32, seed, 0o600)
    for spoilt in ("not hex", "abcd"):
        path.write_text(spoilt)
        with pytest.raises(ConfigurationError, match="backup"):
            seed_at(path)


# Asked for by a person


async def request(store, name: str, n: int, body: dict) -> None:
    at = START
    await store.insert(
        "signals",
        [{"workspace_id": "W", "delivery_key": f"request:{name}-{n}", "seq": n, "source": "slack", "kind": "unknown",
          "incident_id": name, "occurred_at": at, "received_at": at, "body": body, "sha256": "", "state": "applied",
          "note": [{"kind": "triage", "incident_id": name, "key": str(n), "severity": 2}]}],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arm", "body", "shown", "reason"),
    [
        ("off", {}, "facts", "override"),
        ("off", {"override": True}, "facts+summary", "override"),
        ("facts", {}, "facts", "request"),
        ("facts", {"override": True}, "facts+summary", "override"),
        ("facts+summary", {"override": True}, "facts+summary", "request"),
        (None, {}, None, "request"),
    ],
)
async def test_a_person_may_ask_for_more_than_the_arm_shows_and_only_that_is_crossover(store, arm, body, shown, reason):
    book = Book(store, "W")
    await request(store, "P1", 2, body)
    found = await shown_for(book, "P1", 2, "summary", arm)
    assert (found.arm, found.reason) == (shown, reason)
    reopened = await shown_for(book, "P1", 3, "summary", arm)
    assert (reopened.arm, reopened.reason) == (arm, "signal")


async def test_a_card_says_why_it_has_no_summary_and_names_no_experiment(store):
    book = Book(store, "W")
    assert (await shown_for(book, "P1", 1, "summary", "facts")).no_summary == HELD_OUT
    assert (await shown_for(book, "P1", 1, None, "facts")).no_summary == NOT_SWITCHED_ON
    assert (await shown_for(book, "P1", 1, None, None)).no_summary == ""
    assert "summary.toml" not in HELD_OUT + NOT_SWITCHED_ON and "arm" not in (HELD_OUT + NOT_SWITCHED_ON).split()


# Two versions of a prompt; the evaluation in every record


async def test_two_versions_of_the_prompt_are_two_arms_and_each_triage_asks_its_own(store):
    file = parse(
        TEXT.format(more="").replace('"facts", "facts+summary"', '"facts+summary@v1", "facts+summary@v2"'), file="x"
    )
    live, asked = Live(store, file), []

    def of(version: int):
        async def inner(ranked, *, triage_id, step):
            asked.append((triage_id, version))
            return "summary"

        return inner

    summarise = ByVersion({1: of(1), 2: of(2)}, 1, live.made.arm_of)
    arms = {}
    for i in range(8):
        experiment, arms[f"P{i}/1"] = await live.assign(f"P{i}")
        await live.triaged(f"P{i}", experiment=experiment, arm=arms[f"P{i}/1"])
        await summarise(None, triage_id=f"P{i}/1", step="infer")
    assert asked == [(name, int(arm[-1])) for name, arm in arms.items()]
    assert sorted(version for _, version in asked) == [1] * 4 + [2] * 4
    await live.triaged("P0", 2)  # no arm: the default
    await summarise(None, triage_id="P0/2", step="infer")
    assert asked[-1] == ("P0/2", 1)
    gone = await ByVersion({1: of(1)}, 1, live.made.arm_of)(
        None, triage_id=next(name for name, arm in arms.items() if arm.endswith("2")), step="infer"
    )
    assert gone.outcome == "off" and "version 2" in gone.reason


async def test_every_triage_has_the_evaluation_by_the_names_of_opentelemetry(store):
    live = Live(store, hypothesis("[rollout]\nseverities = [2]"))
    flag = live.made.flag
    assigned = await live.assign("P1")
    first = await flag("P1", "u-P1", 1, *assigned)
    assert first["feature_flag.result.reason"] == "split" and first["feature_flag.result.variant"] == assigned[1]
    again = await flag("P1", "u-P1", 2, *assigned)
    joined = await flag("P9", "u-P1", 1, *assigned)
    assert again == joined == first | {"feature_flag.result.reason": "cached"}
    outside = await live.assign("P2", severity=5)
    told = await flag("P2", "u-P2", 1, *outside)
    assert (told["feature_flag.result.reason"], told["feature_flag.result.variant"]) == ("default", "facts")
    await pause(store, "W", experiment="summary", by="sitrep", reason="dear", at=live.clock.now(), cutline="harm")
    told = await flag("P3", "u-P3", 1, *(await live.assign("P3")))
    assert (told["feature_flag.result.reason"], told["feature_flag.result.variant"]) == ("disabled", "none")
    assert set(told) == set(first) and told["feature_flag.version"] == hypothesis("[rollout]\nseverities = [2]").sha256
    assert await Live(store).made.flag("P4", None, 1, None, None) == {}


# Pauses


async def test_while_paused_no_model_is_asked_nothing_is_assigned_and_both_ends_are_audited(store):
    live, asked = Live(store, hypothesis()), []

    async def inner(ranked, *, triage_id, step):
        asked.append(triage_id)
        return "summary"

    summarise = Pausable(inner, live.made.paused)
    experiment, arm = await live.assign("P1")
    await live.triaged("P1", experiment=experiment, arm=arm)
    assert await summarise(None, triage_id="P1/1", step="infer") == "summary"
    now = live.clock.now()
    assert await pause(
        store, "W", experiment="summary", by="sitrep", reason="$0.90 a triage", at=now, cutline="usd_per_triage"
    )
    assert await pause(store, "W", experiment="summary", by="U1", reason="again", at=now) is None
    answer = await summarise(None, triage_id="P1/1", step="infer")
    assert isinstance(answer, Rejected) and answer.outcome == "off"
    assert "costs more than its line" in answer.reason and "summary.toml" not in answer.reason
    assert await live.assign("P2") == (None, None)
    assert isinstance(await summarise(None, triage_id="P2/1", step="infer"), Rejected)
    with pytest.raises(ValueError, match="only a person"):
        await resume(store, "W", experiment="summary", by="sitrep", reason="", at=now)
    (ended,) = await resume(store, "W", experiment="summary", by="U1", reason="cheaper model", at=now)
    assert ended.cutline == "usd_per_triage"
    assert await summarise(None, triage_id="P1/1", step="infer") == "summary"
    assert len(asked) == 2
    rows = await store.query("SELECT action, by FROM audit WHERE action IN ('pause', 'resume') ORDER BY id")
    assert sorted((row["action"], row["by"]) for row in rows) == [("pause", "sitrep"), ("resume", "U1")]
    (told,) = await read_pauses(store, "W", "summary")
    assert told.resumed_by == "U1" and "$0.90 a triage" in told.told


async def test_a_general_pause_holds_without_any_experiment(store):
    live = Live(store)
    assert await live.assign("P1") == (None, None)
    await pause(store, "W", experiment=None, by="U1", reason="quiet", at=live.clock.now())
    assert await live.made.paused("P1/1") == "summaries are paused by a person"
    assert await live.made.paused("unknown/1") != ""


# Settings


def loaded(tmp_path, **files: str):
    (tmp_path / "sitrep.toml").write_text("", encoding="utf-8")
    folder = tmp_path / "experiments"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name.replace('_', '.')}.toml").write_text(text, encoding="utf-8")
    return load({"SITREP_HOME": str(tmp_path / "home")}, folder=tmp_path)


def test_hypothesis_files_beside_the_settings_are_read_and_examples_are_not(tmp_path):
    assert loaded(tmp_path).experiments == ()
    found = loaded(tmp_path, summary=TEXT.format(more=""), other_example="nonsense")
    assert [one.name for one in found.experiments] == ["summary"]
    later = TEXT.format(more="").replace('"summary"', '"later"').replace("2026-11-23", "2027-06-07")
    assert [one.name for one in loaded(tmp_path, later=later).experiments] == ["summary", "later"]


def test_every_problem_of_every_file_is_said_at_once(tmp_path):
    second = TEXT.format(more="").replace('"summary"', '"second"').replace("2026-11-23", "2026-12-07")
    with pytest.raises(ConfigurationError) as caught:
        loaded(
            tmp_path, summary=TEXT.format(more=""), second=second, renamed=TEXT.format(more=""),
            broken=TEXT.format(more="tau_hour = 3").replace("0.8", "1.8"),
        )  # fmt: skip
    said = str(caught.value)
    for part in ("second.toml starts on 2026-12-07 while 'summary' runs until 2027-05-24", "renamed.toml: name",
                 "broken.toml: expected_ratio", "broken.toml: tau_hour"):  # fmt: skip
        assert part in said


# Cutlines


class Box:
    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []

    async def say(self, target, channel, text, blocks):
        assert blocks
        self.said.append((target, channel, text))
        return 1


async def told_in(owner: str) -> list[str]:
    return ["C1", f"C{owner.upper()}"]


LINES = "[cutlines]\nat_least = 5\nusd_per_triage = 0.5\nharm = {harm}"


async def dear_triages(live: Live, count: int, usd: float) -> None:
    for i in range(count):
        await live.triaged(
            f"D{live.clock.now():%d}{i}", experiment="summary", arm="facts+summary", outcome="released", cost_usd=usd,
            recorded_at=live.clock.now(), timings={"first_post_seconds": 1.0},
        )  # fmt: skip


async def test_crossing_a_cutline_pauses_once_tells_channel_and_owner_once_and_waits_for_a_person(store):
    live, box = Live(store, hypothesis(LINES.format(harm="false"))), Box()
    watch = CutlineWatch(store, "W", live.clock, live.made, box, told_in)
    await dear_triages(live, 4, 0.9)
    assert await watch.check() == []
    await dear_triages(live, 5, 0.9)
    (crossing,) = await watch.check()
    assert crossing.cutline == "usd_per_triage"
    for _ in range(3):
        assert await watch.check() == []
    assert [channel for _, channel, _ in box.said] == ["C1", "CSRE"]
    assert len({target for target, _, _ in box.said}) == 2
    assert all("$0.90" in text and "Only a person resumes" in text for _, _, text in box.said)
    rows = await store.query("SELECT * FROM audit WHERE action = 'pause'")
    assert [(row["by"], json.loads(row["detail"])["cutline"]) for row in rows] == [("sitrep", "usd_per_triage")]
    live.clock.advance(60)
    await resume(store, "W", experiment="summary", by="U1", reason="cheaper model", at=live.clock.now())
    live.clock.advance(60)
    assert await watch.check() == []  # what was before the person's word is not held against it
    assert await live.made.paused("P1/1") == ""
    live.clock.advance(86400)
    await dear_triages(live, 5, 0.9)
    assert len(await watch.check()) == 1
    assert len(box.said) == 4


async def test_a_process_that_dies_between_pausing_and_telling_tells_at_its_next_start(store):
    live, box = Live(store, hypothesis()), Box()
    await pause(
        store, "W", experiment="summary", by="sitrep", reason="$0.90", at=live.clock.now(), cutline="usd_per_triage"
    )
    await pause(store, "W", experiment=None, by="U1", reason="quiet", at=live.clock.now())
    await CutlineWatch(store, "W", live.clock, live.made, box, told_in).check()
    await CutlineWatch(store, "W", live.clock, live.made, box, told_in).check()
    assert [channel for _, channel, _ in box.said] == ["C1", "CSRE"]


@pytest.mark.parametrize(
    "other", [{"arm": "facts"}, {"experiment": "other"}, {"reason": "override"}, {"recorded_at": None}]
)
async def test_only_what_the_arm_with_a_model_shows_by_itself_counts(store, other):
    live = Live(store, hypothesis(LINES.format(harm="false")))
    await dear_triages(live, 9, 0.9)
    watch = CutlineWatch(store, "W", live.clock, live.made, Box(), told_in)
    rows = await store.query("SELECT id FROM triages")
    for row in rows:
        await store.upsert("triages", [{"workspace_id": "W", "id": row["id"]} | other])
    assert await watch.check() == []


async def slow_treatment(live: Live, weeks: int, a_week: int) -> None:
    """Units of one stratum whose incidents take four times as long with the treatment."""
    for week in range(weeks):
        for i in range(a_week):
            name = f"H{week}x{i}"
            await live.assign(name)
            (row,) = await live.store.query("SELECT arm FROM assignments WHERE unit_id = :u", {"u": f"u-{name}"})
            minutes = (240 if row["arm"] == "treatment" else 60) + i
            ended = live.clock.now() + timedelta(minutes=minutes)
            await live.store.upsert("incidents", [{"workspace_id": "W", "id": name, "resolved_at": ended}])
            live.clock.advance(7 * 86400 / a_week)


async def test_harm_pauses_and_after_a_person_resumed_the_bet_begins_anew(store):
    live, box = Live(store, hypothesis(LINES.format(harm="true"))), Box()
    live.clock.advance(-3600)
    watch = CutlineWatch(store, "W", live.clock, live.made, box, told_in)
    await slow_treatment(live, 6, 12)
    (crossing,) = await watch.check()
    assert crossing.cutline == "harm" and crossing.value > 20
    recorded = await read_recorded(store, "W", hypothesis(), live.clock.now())
    report = analyse(
        Rows(recorded.rows),
        Options(as_of=live.clock.now(), start=START, ordinals=recorded.ordinals, baseline=recorded.baseline),
    )
    assert crossing.value == pytest.approx(report.e_slower, rel=1e-9) and report.harm == "pause"
    assert "longer" in await live.made.paused("H0x0/1")
    await resume(store, "W", experiment="summary", by="U1", reason="we go on", at=live.clock.now())
    assert await watch.check() == []
    assert (
        harm_since(recorded, hypothesis(), now=live.clock.now(), resumed_at=live.clock.now() - timedelta(weeks=30)) > 20
    )


async def test_the_watch_checks_at_start_after_each_triage_and_survives_a_failure(store):
    live = Live(store, hypothesis())
    checks = []

    class Counting(CutlineWatch):
        async def check(self):
            checks.append(1)
            if len(checks) == 1:
                raise RuntimeError("the store is busy")
            return []

    class Still(ManualClock):
        async def sleep(self, seconds):
            assert seconds == 86400
            await asyncio.Event().wait()

    watch = Counting(store, "W", Still(START), live.made, Box(), told_in)
    loop = asyncio.ensure_future(watch.run())
    for expected in (1, 2, 3):
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(checks) == expected
        watch.triage_recorded()
    loop.cancel()


async def test_in_shadow_mode_nothing_is_assigned_and_other_prompt_versions_are_refused(tmp_path, store):
    settings = loaded(tmp_path, summary=TEXT.format(more=""))
    clock = ManualClock(START + timedelta(hours=1))
    assert (await experiments_of(settings, store, clock)).running(clock.now()) is not None
    assert (tmp_path / "home" / "experiments" / "summary.seed").stat().st_mode & 0o777 == 0o600
    shadow = settings.model_copy(update={"file": settings.file.model_copy(update={"mode": "shadow"})})
    assert (await experiments_of(shadow, store, clock)).running(clock.now()) is None
    versions = TEXT.format(more="").replace('"facts", "facts+summary"', '"facts+summary@v1", "facts+summary@v2"')
    with pytest.raises(ConfigurationError, match="facts\\+summary@v2"):
        await experiments_of(loaded(tmp_path, summary=versions), store, clock)
