"""SIGKILL at every point of an incident's way, then a restart: one message, each finished step once, nothing lost.

`make chaos` runs the whole matrix; `make test` the kill inside each outward effect, and one before and one after.
"""

from __future__ import annotations

import os
import pathlib
import sqlite3
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from bot.store.sqlite import migrate
from demo.systems import Systems
from integrations.records import IncidentFields
from tests.workflow.fake_slack import FakeSlack

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = ("route", "gather", "publish.facts", "infer", "publish.summary", "record")
AROUND = [f"{step}.{where}" for step in STEPS for where in ("before", "inside", "after")]
OUTBOX = ["outbox.before_send", "outbox.after_send", "outbox.recorded", "outbox.before_update", "outbox.after_update"]
DRAIN = ["drain.before", "drain.applied", "drain.started"]
NOTE = ["note.before_send", "note.after_send", "note.recorded"]
QUICK = {"gather.before", "publish.facts.after", "outbox.after_send", "outbox.after_update"}
RECORDED = "SELECT outcome FROM triages WHERE recorded_at IS NOT NULL"
ENDED = "SELECT 1 FROM workflow_status WHERE name = 'triage' AND status = 'SUCCESS'"
SET_ASIDE = "SELECT 1 FROM notices WHERE kind = 'set_aside'"
CARD_OUT = "SELECT 1 FROM posts WHERE part = 'card' AND sent_version = version"
LATE = ("gather.late", "publish.summary.early", "publish.facts.late", "supersede", "infer.again")
AROUND_LATE = [f"{step}.{where}" for step in LATE for where in ("before", "inside", "after")]
SIDE_BY_SIDE = ("infer", "gather.late", "publish.summary.early")
SETTINGS = """
[slack]
channel = "#incidents"
blocks = "classic"
[sources.pagerduty]
readers = ["everyone"]
[timeouts]
collecting_seconds = 0.2
publish_wait_seconds = 3
slack_down_seconds = 1
late_source_seconds = 20
coalesce_seconds = 0.2
"""
WITH_TRACES = """
[sources.github]
readers = ["everyone"]
[sources.jaeger]
readers = ["everyone"]
url = "{jaeger}"
[services."checkout-api"]
otel = ["checkout-api"]
repositories = ["tea-shop/checkout-api"]
depends_on = ["payments"]
"""
"""Who the incident is about is known without traces; which deploy it was only with them."""


@pytest.fixture(scope="module")
def slack() -> Iterator[FakeSlack]:
    with FakeSlack() as running:
        yield running


@pytest.fixture(scope="module")
def world() -> Iterator[Systems]:
    with Systems() as running:
        yield running


class Case:
    """One incident, one state folder, a process that is started again and again."""

    def __init__(self, folder: pathlib.Path, slack: FakeSlack, world: Systems) -> None:
        self.folder, self.slack, self.world = folder, slack, world
        self.log = folder / "points.log"
        self.home = folder / "home"
        self.home.mkdir()
        (self.home / "sitrep.toml").write_text(SETTINGS, encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None
        world.trigger()
        self.incident_id = str(world.state.incident["id"])
        self._signal()

    def _signal(self) -> None:
        """A triggered signal, stored as the door stores one: before any process runs."""
        migrate(self.home / "sitrep.db")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        fields = IncidentFields(
            title="Checkout fails", url="https://x.pagerduty.com/incidents/P", service="checkout-api", urgency="high"
        )
        body = '{"payload":{},"said_by":null,"incident":' + fields.model_dump_json() + "}"
        self.write(
            "INSERT INTO signals (workspace_id, delivery_key, seq, source, kind, incident_id, occurred_at, received_at,"
            " body, sha256) VALUES ('default', 'd1', 1, 'webhook', 'triggered', ?, ?, ?, ?, '')",
            (self.incident_id, now, now, body),
        )

    def add(self, toml: str) -> None:
        """More settings."""
        with (self.home / "sitrep.toml").open("a", encoding="utf-8") as file:
            file.write(toml)

    def start(self, kill_at: str = "", *, always: bool = False, **environment_too: str) -> None:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT), **self.world.environment(),
            "SLACK_BOT_TOKEN": "xoxb-test", "SLACK_API_URL": self.slack.url, "SITREP_HOME": str(self.home),
            "SITREP_CONFIG": str(self.home / "sitrep.toml"), "PORT": "0", "VICTIM_LOG": str(self.log),
            "VICTIM_KILL_AT": kill_at, "VICTIM_ALWAYS": "1" if always else "", **environment_too,
        }  # fmt: skip
        with (self.folder / "out.log").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.workflow.victim"], cwd=ROOT, env=environment, stdout=out, stderr=out
            )

    def wait_killed(self, seconds: float = 180) -> None:
        assert self.process is not None
        assert self.process.wait(seconds) == -9, self.said()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(60) == 0, self.said()

    def said(self) -> str:
        return (self.folder / "out.log").read_text(errors="replace")[-3000:]

    def write(self, sql: str, values: tuple = (), database: str = "sitrep.db") -> None:
        connection = sqlite3.connect(self.home / database, timeout=10)
        with connection:
            connection.execute(sql, values)
        connection.close()

    def rows(self, sql: str, database: str = "sitrep.db") -> list[tuple]:
        connection = sqlite3.connect(f"file:{self.home / database}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as failed:
            if "no such table" in str(failed):  # the engine has not made its tables yet
                return []
            raise
        finally:
            connection.close()

    def wait_for(self, sql: str, seconds: float = 180, database: str = "sitrep.db") -> list[tuple]:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if (self.home / database).exists() and (found := self.rows(sql, database)):
                return found
            assert self.process is not None
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)
        raise AssertionError(f"never: {sql}\n{self.said()}")

    def points(self) -> Counter[str]:
        return Counter(self.log.read_text().split() if self.log.exists() else ())

    def cards(self) -> list[dict]:
        return self.slack.with_mark(f"sitrep:default:incident:{self.incident_id}:card")


@pytest.fixture
def case(tmp_path, slack, world) -> Iterator[Case]:
    slack.reset()
    world.reset_faults()
    made = Case(tmp_path, slack, world)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def check(case: Case, point: str, expected: tuple[str, ...] = STEPS) -> None:
    case.wait_for(ENDED, database="engine.db")
    case.wait_for(RECORDED)
    case.wait_for(CARD_OUT)
    case.stop()
    assert len(case.cards()) == 1, case.said()
    assert len(case.slack.messages) == len({m["blocks"][0]["block_id"] for m in case.slack.messages})
    assert case.rows("SELECT count(*) FROM incidents") == [(1,)]
    assert case.rows("SELECT count(*), count(DISTINCT incident_id) FROM triages") == [(1, 1)]
    steps = dict(case.rows("SELECT function_name, count(*) FROM operation_outputs GROUP BY 1", "engine.db"))
    assert {name: n for name, n in steps.items() if name in STEPS + LATE} == dict.fromkeys(expected, 1)
    killed_in = point.rpartition(".")[0]
    for step in expected:
        beside = step in SIDE_BY_SIDE and killed_in in SIDE_BY_SIDE and expected != STEPS
        in_flight = step == killed_in or beside or point.startswith("outbox")
        assert 1 <= case.points()[f"{step}.before"] <= (2 if in_flight else 1), (step, case.points())


def quick_or_slow(points: list[str], quick: set[str]) -> list:
    return [pytest.param(point, marks=[] if point in quick else [pytest.mark.slow]) for point in points]


@pytest.mark.parametrize("point", quick_or_slow(AROUND + OUTBOX + DRAIN, QUICK))
def test_a_kill_at_any_point_leaves_one_card_and_each_finished_step_once(case, point):
    case.start(point)
    case.wait_killed()
    step, _, where = point.rpartition(".")
    if where == "inside":
        assert case.points()[f"{step}.before"] == 1
        assert case.rows(f"SELECT 1 FROM operation_outputs WHERE function_name = '{step}'", "engine.db") == []
    case.start()
    check(case, point)


@pytest.mark.slow
@pytest.mark.parametrize("point", AROUND_LATE)
def test_a_kill_while_a_late_source_is_asked_again_leaves_one_card_with_the_later_ranking(case, world, point):
    case.add(WITH_TRACES.format(jaeger=world.url["jaeger"]))
    world.faults["jaeger"].status = 500
    case.start(point)
    while case.process.poll() is None and "gather.after" not in case.points():
        time.sleep(0.02)
    world.reset_faults()
    world.faults[
        "jaeger"
    ].delay_seconds = 0.5  # so that infer ends first, and its answer is shown before it is withdrawn
    case.wait_killed()
    case.start()
    check(case, point, STEPS + LATE)
    (card,) = case.cards()
    assert "jaeger: no answer" not in str(card)
    assert str(world.tape.manifest["changes"][-1]["head"])[:7] in card["text"]


@pytest.mark.parametrize("point", quick_or_slow(NOTE, {"note.after_send"}))
def test_a_kill_around_the_pagerduty_note_leaves_one_note_and_one_card_when_slack_is_back(case, world, point):
    case.slack.down = True
    case.start(point)
    case.wait_killed()
    case.start()
    case.wait_for("SELECT 1 FROM posts WHERE part = 'note' AND status = 'sent'")
    trusted = ssl.create_default_context(cafile=str(world.ca_file))
    answer = httpx.get(
        f"{world.url['pagerduty']}/incidents/{case.incident_id}/notes", verify=trusted,
        headers={"Authorization": f"Token token={world.environment()['PAGERDUTY_API_TOKEN']}"},
    )  # fmt: skip
    assert sum("sitrep:default" in note["content"] for note in answer.json()["notes"]) == 1
    case.slack.down = False
    case.wait_for(CARD_OUT)
    case.stop()
    assert len(case.cards()) == 1


def test_a_post_whose_answer_was_lost_is_adopted(case):
    case.slack.lose_answers = 1
    case.start()
    check(case, "outbox")
    assert "conversations.history" in case.slack.calls


@pytest.mark.slow
def test_an_incident_that_crashes_the_process_every_time_is_set_aside_with_the_alert_posted(case):
    crashes = 0
    while crashes < 9:
        case.start("gather.before", always=True)
        while case.process.poll() is None and not case.rows(SET_ASIDE):
            time.sleep(0.1)
        if case.process.poll() is None:
            break
        assert case.process.returncode == -9, case.said()
        crashes += 1
    case.wait_for(CARD_OUT)
    case.stop()
    assert crashes == 5
    assert len(case.cards()) == 1


@pytest.mark.slow
def test_a_workflow_of_another_engine_version_is_adopted_and_finished(case):
    case.start("gather.after")
    case.wait_killed()
    case.write("UPDATE workflow_status SET application_version = 'older'", database="engine.db")
    case.start()
    check(case, "gather.after")


@pytest.mark.slow
def test_a_kill_in_the_middle_of_an_adoption_forgets_nothing(case):
    case.start("gather.after")
    case.wait_killed()
    case.write("UPDATE workflow_status SET application_version = 'older'", database="engine.db")
    (case.folder / "points.killed").unlink()
    case.start("adopt.cancelled")
    case.wait_killed()
    case.start()
    check(case, "gather.after")


@pytest.mark.slow
def test_a_refresh_that_crashes_the_process_every_time_is_set_aside_and_its_card_reduced(case):
    case.start()
    check(case, "")
    crashes = 0
    while crashes < 9:
        case.start("refresh.before", always=True)
        while case.process.poll() is None and not case.rows(SET_ASIDE):
            time.sleep(0.1)
        if case.process.poll() is None:
            break
        assert case.process.returncode == -9, case.said()
        crashes += 1
    case.wait_for("SELECT 1 FROM posts WHERE part = 'card' AND status = 'sent' AND sent_version = version")
    case.stop()
    assert crashes == 5
    (card,) = case.cards()
    assert "could not be brought up to date" in str(card)
    # An hour later what ended the process is gone, and the card gets back what it had.
    hour_ago = f"updated_at = updated_at - {61 * 60 * 1000}"
    case.write(f"UPDATE workflow_status SET {hour_ago} WHERE name = 'refresh'", database="engine.db")
    case.start()
    case.wait_for("SELECT 1 FROM workflow_status WHERE name = 'refresh' AND status = 'SUCCESS'", database="engine.db")
    case.wait_for("SELECT 1 FROM posts WHERE part = 'card' AND status = 'sent' AND sent_version = version")
    case.stop()
    (card,) = case.cards()
    assert "could not be brought up to date" not in str(card)


def test_a_process_that_is_killed_leaves_no_worker_behind(case):
    case.start()
    case.wait_for(CARD_OUT)
    children = pathlib.Path(f"/proc/{case.process.pid}/task/{case.process.pid}/children")
    if not children.exists():
        pytest.skip("children of a process are read from /proc")
    workers = children.read_text().split()
    assert workers
    case.process.kill()
    case.process.wait(10)
    until = time.monotonic() + 20
    while alive := [pid for pid in workers if _runs(pid)]:
        assert time.monotonic() < until, alive
        time.sleep(0.05)


def _runs(pid: str) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_a_workflow_that_was_edited_between_kill_and_restart_is_reported_and_the_alert_is_posted(case):
    case.start("gather.after")
    case.wait_killed()
    case.start(VICTIM_EDITED="1")
    case.wait_for(SET_ASIDE)
    case.wait_for(CARD_OUT)
    assert "was set aside" in case.said()
    case.stop()
    assert len(case.cards()) == 1


@pytest.mark.slow
def test_a_guarded_edit_between_kill_and_restart_is_not_taken_by_what_began_before_it(case):
    case.start("gather.after")
    case.wait_killed()
    case.start(VICTIM_EDITED="guarded")
    check(case, "gather.after")
    assert case.points()["a.new.step.before"] == 0


@pytest.mark.slow
def test_a_guarded_edit_is_taken_again_by_what_had_taken_it_before_the_kill(case):
    case.start("gather.after", VICTIM_EDITED="guarded")
    case.wait_killed()
    case.start(VICTIM_EDITED="guarded")
    check(case, "gather.after")
    assert case.points()["a.new.step.before"] == 1
