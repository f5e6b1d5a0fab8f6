"""What the shell prints for a person asks the decision: `db export`, `report` and `experiment export` with --for."""

from __future__ import annotations

import asyncio
import pathlib
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.cli import main
from bot.cli.reader import hidden_incidents, reader_of
from bot.clock import SystemClock
from bot.settings import load
from bot.store.export import Shows, export
from bot.store.sqlite import SqliteStore
from bot.trust.audience import Audience, may_all_read
from bot.trust.directory import DirectoryCache
from integrations.fixtures import FakeDirectory
from integrations.records import Person, Readers

NOW = datetime.now(UTC).replace(microsecond=0)
SINCE = (NOW - timedelta(days=20)).date().isoformat()
SERVICES = ("canaryaaa", "canarybbb", "canaryccc")
CONFIG = """
timezone = "UTC"
[sources.pagerduty]
readers = ["everyone"]
[services.canaryaaa]
readers = ["payments"]
[services.canarybbb]
readers = ["search"]
[services.canaryccc]
[groups]
payments = ["priya@example.com"]
search = ["bob@example.com"]
ops = ["priya@example.com", "bob@example.com"]
[admins]
groups = ["ops"]
[slack]
channel = "#incidents"
"""


async def fill(path: pathlib.Path, *, people: bool = True) -> None:
    """An incident, a triage with a suspect, and a label for each service; three people of whom two are admins."""
    store = SqliteStore.open(path)
    started = NOW - timedelta(days=8)
    for number, service in enumerate(SERVICES, 1):
        key = {"workspace_id": "default", "incident_id": f"P{service}"}
        unit = {"workspace_id": "default", "id": f"u{service}", "triggered_at": started, "services": [service],
                "stratum": "2"}  # fmt: skip
        await store.insert("units", [unit])
        await store.insert("incidents", [{
            "workspace_id": "default", "id": f"P{service}", "number": number, "title": "t", "service": service,
            "source": "pagerduty", "severity": 2, "first_severity": 2, "urgency": "high", "status": "resolved",
            "unit_id": f"u{service}", "triggered_at": started, "resolved_at": started + timedelta(hours=1),
            "first_signal_at": started, "received_at": started, "url": "", "updated_at": started,
        }])  # fmt: skip
        suspects = [{"change_id": f"deploy-{one}", "service": one, "probability": 0.9} for one in SERVICES]
        await store.insert("triages", [key | {
            "id": f"P{service}/1", "n": 1, "reason": "signal", "suspects": suspects, "started_at": started,
            "facts_at": started, "recorded_at": started,
        }])  # fmt: skip
        await store.insert("labels", [key | {
            "id": f"l{number}", "triage_id": f"P{service}/1", "post_version": 1, "by": "U1", "at": started,
            "cause": "change", "service": service, "change_id": f"deploy-{service}", "suspect_rank": 1,
        }])  # fmt: skip
    if people:
        listed = [
            Person(id=one, email=f"{name}@example.com", kind="full", team_id="T1", seen_at=datetime.now(UTC))
            for one, name in (("U1", "priya"), ("U2", "bob"), ("U3", "eve"))
        ]
        cache = DirectoryCache(store, "default", FakeDirectory(listed=listed), SystemClock())
        await cache.warm()
        await cache.settle()
        await cache.close()
    await store.close()


@pytest.fixture
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    (tmp_path / "sitrep.toml").write_text(CONFIG)
    monkeypatch.setenv("SITREP_HOME", str(tmp_path))
    monkeypatch.setenv("SITREP_CONFIG", str(tmp_path / "sitrep.toml"))
    monkeypatch.setenv("SITREP_SECRET_KEY", "k" * 32)
    asyncio.run(fill(tmp_path / "sitrep.db"))
    return tmp_path


def words(path: pathlib.Path) -> str:
    """Everything that an export says."""
    database = sqlite3.connect(path)
    said = "\n".join(database.iterdump())
    database.close()
    return said


def exported(home: pathlib.Path, *arguments: str) -> str:
    target = home / "out.db"
    target.unlink(missing_ok=True)
    assert main(["db", "export", "--since", SINCE, "--output", str(target), "--replace", *arguments]) == 0
    return words(target)


def reported(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    week = (NOW - timedelta(days=8)).strftime("%G-W%V")
    said = []
    for form in ("json", "csv", "html", "slack"):
        capsys.readouterr()
        assert main(["report", "--week", week, "--format", form, *arguments]) == 0
        said.append(capsys.readouterr().out)
    return "".join(said)


def test_an_export_for_a_person_holds_what_that_person_may_read(home: pathlib.Path) -> None:
    assert all(service in exported(home) for service in SERVICES)
    priya, bob = exported(home, "--for", "priya@example.com"), exported(home, "--for", "U2")
    assert "canaryaaa" in priya and "canarybbb" not in priya and "canaryccc" in priya
    assert "canarybbb" in bob and "canaryaaa" not in bob
    assert '"deploy-canaryccc"' in priya


def test_an_export_is_for_admins_and_for_people_who_can_be_placed(
    home: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for person, why in (("U3", "[admins]"), ("U9", "cannot place"), ("nobody@example.com", "0 people")):
        assert main(["db", "export", "--since", SINCE, "--output", str(home / "no.db"), "--for", person]) == 1
        assert why in capsys.readouterr().err
        assert not (home / "no.db").exists()


def test_a_report_for_a_person_names_what_that_person_may_read(
    home: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, theirs = reported(capsys), reported(capsys, "--for", "U3")
    assert all(service in whole for service in SERVICES)
    assert "canaryccc" in theirs
    assert "canaryaaa" not in theirs and "canarybbb" not in theirs


def test_with_nobody_in_place_of_the_decision_neither_names_anything(
    home: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(self: Audience, readers: Any) -> None:
        for sets in readers:
            self._decided[sets] = False

    assert "canary" in exported(home, "--for", "U1")
    monkeypatch.setattr(Audience, "decide", nobody)
    assert "canary" not in exported(home, "--for", "U1")
    assert "canary" not in reported(capsys, "--for", "U1")


def test_the_rows_of_an_experiment_leave_out_what_its_reader_may_not_read(home: pathlib.Path) -> None:
    async def hidden() -> list[frozenset[str]]:
        store = SqliteStore.open(home / "sitrep.db")
        try:
            told = load()
            people = [await reader_of(told, store, person, NOW, "export") for person in (None, "U1", "U2")]
            return [await hidden_incidents(told, store, audience) for audience in people]
        finally:
            await store.close()

    assert asyncio.run(hidden()) == [frozenset(), {"Pcanarybbb"}, {"Pcanaryaaa"}]


GROUP = st.sampled_from(["g0", "g1", "g2", "everyone", "world"])
READERS = st.lists(st.frozensets(GROUP, max_size=3), min_size=1, max_size=2).map(lambda sets: Readers.of(*sets))


def look(live: pathlib.Path, incident: list[Readers], changes: list[Readers], groups: frozenset[str]) -> None:
    """An export of a world holds no name that its reader may not read, and all that it may."""
    audience = Audience.of([groups | {"world"}], NOW)
    of_incident, of_changes = dict(zip(SERVICES, incident, strict=True)), dict(zip(SERVICES, changes, strict=True))
    shows = Shows(
        lambda source, service: may_all_read(audience, of_incident[service or ""]),
        lambda service: service in of_changes and may_all_read(audience, of_changes[service]),
    )
    target = live.with_name("one.db")
    export(live, target, workspace_id="default", since=NOW - timedelta(days=20), until=NOW, clean=str, shows=shows,
           replace=True)  # fmt: skip
    said = words(target)
    for service in SERVICES:
        may = all(any_of & (groups | {"world"}) for any_of in of_incident[service].sets)
        assert (f"'P{service}'" in said) == may, service
        if not may and not all(any_of & (groups | {"world"}) for any_of in of_changes[service].sets):
            assert service not in said


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("live") / "sitrep.db"
    asyncio.run(fill(path, people=False))
    return path


WORLDS = st.tuples(
    st.lists(READERS, min_size=3, max_size=3), st.lists(READERS, min_size=3, max_size=3),
    st.frozensets(st.sampled_from(["g0", "g1", "everyone"])),
)  # fmt: skip
CHECKED = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)


@settings(max_examples=12, deadline=None, suppress_health_check=CHECKED)
@given(drawn=WORLDS)
def test_exports_of_worlds_at_random(live: pathlib.Path, drawn: Any) -> None:
    look(live, *drawn)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=CHECKED)
@given(drawn=WORLDS)
def test_exports_of_five_hundred_worlds(live: pathlib.Path, drawn: Any) -> None:
    look(live, *drawn)
