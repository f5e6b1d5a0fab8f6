"""Every outlet that there is, found by looking, asks the decision: with "nobody" in its place none shows a word.

Whoever adds a method behind a door, a path of the web, or a command has to say here which kind it is.
"""

from __future__ import annotations

import gc
import inspect
import json
import pathlib
import shutil
import typing
from collections.abc import AsyncIterator

import httpx
import pytest

from bot.cli import COMMANDS, main
from bot.errors import NotPermitted
from bot.flows.views import IncidentView
from bot.listeners import desk as roles
from bot.trust.audience import Audience
from bot.web.app import create_app
from integrations.records import Readers
from tests.support.permission_doors import ELSEWHERE, ENTITLED, INCIDENT, OWN, SHOWN, WHO, Doors, doors_of
from tests.support.permission_world import Stage, Thing, World

ROOT = pathlib.Path(__file__).resolve().parents[2]
KINDS = ("alert", "runbook", "change", "span", "log", "edge")
OPEN = Readers.of(["everyone"])


def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nobody may read anything, whatever was decided before."""

    def decide(self: Audience, readers: typing.Any) -> None:
        for sets in readers:
            self._decided[sets] = False

    monkeypatch.setattr(Audience, "decide", decide)
    for one in gc.get_objects():
        if isinstance(one, Audience):
            one._decided.clear()


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    """Three people who may read everything, one of everything, a card that stands, and a second incident."""
    things = [Thing(kind, OPEN, f"canary{letter * 3}") for kind, letter in zip(KINDS, "abcdef", strict=True)]
    stage = Stage(
        World(
            people={one: ("full", frozenset({"g0"})) for one in ("U1", "U2", "U3")}, inside=frozenset({"U1", "U2"}),
            things=things, alert_readers=OPEN, tokens={"page": frozenset({"everyone"})},
        )
    )  # fmt: skip
    await stage.triage()
    (first,) = await stage.store.query("SELECT * FROM incidents")
    earlier = {
        **first,
        "id": "P0",
        "number": 3,
        "title": "an earlier canaryold",
        "status": "resolved",
        "merged_into": INCIDENT,
    }
    await stage.store.insert("incidents", [earlier, {**first, "id": "P2", "number": 8, "title": "another canarytwo"}])
    made = await doors_of(stage)
    assert made.change
    yield made
    await stage.close()


def methods() -> set[tuple[str, str]]:
    """(role, method) of everything that the listeners can ask for."""
    hints = typing.get_type_hints(roles.Desks)
    return {
        (role, name)
        for role, protocol in hints.items()
        if role not in OWN
        for name, one in vars(protocol).items()
        if inspect.iscoroutinefunction(one) and not name.startswith("_")
    }


def test_every_method_behind_the_doors_has_its_place_here() -> None:
    known = [*SHOWN, *ENTITLED, *ELSEWHERE]
    assert len(known) == len(set(known))
    assert methods() == set(known)
    assert set(typing.get_type_hints(roles.Desks)) >= OWN


SHOWS_NOTHING_YET = {("reading", "similar")}
"""No earlier incident is alike in this world; tests/unit/test_similar.py has some."""


async def test_who_may_read_finds_it_at_every_outlet(doors: Doors) -> None:
    """Else the test below would find nothing because there is nothing."""
    for outlet, call in SHOWN.items():
        shown = str(await call(doors))
        assert "canary" in shown or outlet in SHOWS_NOTHING_YET, outlet
    assert "canary" in str(doors.asked.requests)


async def test_with_nobody_in_place_of_the_decision_no_outlet_shows_a_word(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody(monkeypatch)
    for outlet, call in SHOWN.items():
        try:
            shown = str(await call(doors))
        except NotPermitted as refused:
            shown = str(refused)
        assert "canary" not in shown, outlet
    assert "canary" not in str(doors.asked.requests)
    assert doors.files.sent == []


async def test_with_nobody_in_place_of_the_decision_nothing_is_done(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = ("votes", "labels", "audit", "signals")
    before = [await doors.stage.store.query(f"SELECT * FROM {table}") for table in tables]
    posted = len(doors.stage.poster.messages)
    nobody(monkeypatch)
    for outlet, call in ENTITLED.items():
        with pytest.raises(NotPermitted) as refused:
            await call(doors)
        assert "canary" not in str(refused.value), outlet
        assert [await doors.stage.store.query(f"SELECT * FROM {table}") for table in tables] == before, outlet
        assert len(doors.stage.poster.messages) == posted, outlet
        assert doors.source.told == [], outlet
        assert doors.maker.made == {}, outlet


async def test_a_thread_leads_to_no_incident_and_a_report_names_no_service(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = await doors.stage.store.query("SELECT channel, ts FROM posts WHERE part = 'card'")
    assert await doors.desk.incident_of_thread(WHO, row["channel"], row["ts"]) == INCIDENT
    nobody(monkeypatch)
    assert await doors.desk.incident_of_thread(WHO, row["channel"], row["ts"]) is None
    report = await doors.reports.weekly(WHO, "", "modern")
    assert "checkout" not in str(report)
    for form in ("html", "csv"):
        assert "checkout" not in str(await doors.reports.whole(WHO, "", form))
    assert "canary" not in str(report)


# --- the web and the shell ------------------------------------------------------------------------------------------


async def test_no_path_of_the_web_shows_a_word(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ready() -> dict[str, str]:
        return {}

    stage = doors.stage
    app = create_app(
        doors=[], intake=None, redact_small=None, redact_large=None, clock=stage.clock, ready=ready, metrics=lambda: "",  # type: ignore[arg-type]
        tokens=[("page", "t")], incident_view=IncidentView(stage.views, stage.world.tokens).view,
    )  # fmt: skip
    paths = [route.path.replace("{incident_id:str}", INCIDENT) for route in app.routes]  # type: ignore[attr-defined]
    assert f"/incidents/{INCIDENT}" in paths
    assert not any("{" in path for path in paths), "another path takes something: fill it in here"
    transport = httpx.ASGITransport(app=app)

    async def all_of_it() -> str:
        async with httpx.AsyncClient(transport=transport, base_url="http://bot") as client:
            headers = {"Authorization": "Bearer t"}
            return "".join([(await client.get(path, headers=headers)).text for path in paths])

    assert "canary" in await all_of_it()
    nobody(monkeypatch)
    assert "canary" not in await all_of_it()


SHELL = {
    "replay": "asks, below",
    "triage": "a dry run asks like a triage: tests/unit of the preview",
    "permissions": "says which rule lets whom read; shows no text",
    "labels": "reads the database's texts, as audit does",
    "audit": "reads the database's texts: whoever may read the file, has them",
    "db": "an export has no text from outside, and asks for whom it is: tests/unit/test_permission_shell.py",
    "report": "asks for the person it is for: the same",
    "experiment": "figures; an export of incidents asks for the person it is for: the same",
    "serve": "its outlets are the ones above",
    "web": "the same",
    "worker": "the same",
    "redact": "what comes in goes out, redacted",
    "review": "says of a diff that comes in what our own rules call it; shows no text",
} | dict.fromkeys(("init", "services", "eval", "alerts", "privacy", "mcp", "check", "doctor"), "shows no incident")


def test_every_command_has_its_place_here() -> None:
    assert set(COMMANDS) == set(SHELL)


def test_a_replay_and_its_page_show_only_what_the_audience_may_read(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(ROOT / "tests" / "data" / "bundles" / "tt-2023-01-30-1409", bundle)
    (bundle / "truth.json").unlink()
    changes = [json.loads(line) for line in (bundle / "changes.jsonl").read_text().splitlines()]
    words = {one["payload"]["custom_details"]["commit"][:7] for one in changes}
    assert len(words) > 20

    def shown(readers: list[str]) -> str:
        audience = {"members": {"U1": ["everyone", "sre"]}, "readers": {"changes": [readers]}}
        (bundle / "audience.json").write_text(json.dumps(audience))
        page = tmp_path / "page.html"
        page.unlink(missing_ok=True)
        assert main(["replay", str(bundle), "--json", "--html", str(page)]) == 0
        return capsys.readouterr().out + page.read_text(encoding="utf-8")

    allowed, forbidden = shown(["sre"]), shown(["nobody-is-in-this"])
    assert any(word in allowed for word in words)
    assert not [word for word in words if word in forbidden]
