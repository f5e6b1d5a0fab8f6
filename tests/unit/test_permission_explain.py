"""Which rule lets whom read an item, in sentences and at the shell."""

from __future__ import annotations

import asyncio
import json
import pathlib
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.cli import main
from bot.clock import SystemClock
from bot.store.sqlite import SqliteStore
from bot.trust.audience import Audience, AudienceUnknown, may_all_read
from bot.trust.directory import DirectoryCache
from bot.trust.explain import explain, explain_audience
from bot.trust.principals import Principal
from integrations.fixtures import FakeDirectory
from integrations.records import Channel, Person, Readers

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PAYMENTS = Principal("U1", frozenset({"everyone", "world", "payments"}))
RULES = {frozenset({"payments", "sre"}): "[services.checkout-api] readers"}


def test_each_requirement_is_told_with_its_group_and_where_it_is_written() -> None:
    told = explain(PAYMENTS, Readers.of(["payments", "sre"], ["everyone"]), RULES)
    assert told.may
    assert told.sentences == (
        "U1 may read it: every requirement holds.",
        "In everyone (the workspace's full members): yes, through everyone.",
        "In at least one of payments and sre ([services.checkout-api] readers): yes, through payments.",
    )


def test_the_requirement_that_fails_is_told() -> None:
    told = explain(PAYMENTS, Readers.of(["sre"], ["everyone"]))
    assert not told.may
    assert "In sre: no." in told.sentences


def test_nobody_and_readers_that_nobody_stated() -> None:
    unknown = explain(Principal.nobody("U9", "is not in the directory"), Readers.of(["world"]))
    assert unknown.sentences == ("U9 may read nothing: U9 is not in the directory.",)
    assert "unknown means nobody" in explain(PAYMENTS, Readers.nobody()).sentences[1]


def test_a_channel_is_told_by_numbers_never_by_names() -> None:
    audience = Audience.of([PAYMENTS.groups, frozenset({"everyone", "world"})], NOW, notices=("groups are old",))
    told = explain_audience(audience, Readers.of(["payments"], ["everyone"]))
    assert told.sentences == (
        "It is hidden there: not all 2 readers may read it.",
        "In everyone (the workspace's full members): yes, everybody.",
        "In payments: no, 1 of 2 kinds of readers are in none of them.",
        "Note: groups are old.",
    )
    assert explain_audience(audience, Readers.of(["world"])).may
    assert "late" in explain_audience(AudienceUnknown("late"), Readers.of(["world"])).sentences[0]
    assert explain_audience(Audience.local_operator(NOW), Readers.nobody()).may


GROUPS = st.frozensets(st.sampled_from("abc"))
READERS = st.frozensets(GROUPS, min_size=1, max_size=3).map(lambda sets: Readers(sets=sets))


@settings(deadline=None)
@given(st.lists(GROUPS, min_size=1, max_size=5), READERS)
def test_the_explanation_is_the_decision(people: list[frozenset[str]], readers: Readers) -> None:
    assert explain(Principal("U1", people[0]), readers).may == readers.admit(people[0])
    audience = Audience.of(people, NOW)
    assert explain_audience(audience, readers).may == may_all_read(audience, readers)


CONFIG = """
[sources.pagerduty]
readers = ["everyone"]
[sources.jaeger]
readers = ["everyone"]
url = "http://127.0.0.1:16686"
[services.checkout-api]
readers = ["payments"]
[groups]
payments = ["priya@example.com"]
[tokens.page]
groups = ["everyone"]
"""


@pytest.fixture
def home(state_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("SITREP_HOME", str(state_folder))
    monkeypatch.setenv("SITREP_CONFIG", str(state_folder / "sitrep.toml"))
    monkeypatch.setenv("SITREP_API_TOKENS", "page=x")
    return state_folder


@pytest.fixture(scope="module")
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A state folder whose directory knows two people and one channel."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "sitrep.toml").write_text(CONFIG)

    async def fill() -> None:
        now = datetime.now(UTC)
        people = [
            Person(id=one, email=f"{name}@example.com", kind="full", team_id="T1", seen_at=now)
            for one, name in (("U1", "priya"), ("U2", "bob"))
        ]
        slack = FakeDirectory(
            listed=people,
            channels={"C1": Channel(id="C1", name="x", private=True)},
            inside={"C1": frozenset({"U1", "U2"})},
        )
        store = SqliteStore.open(folder / "sitrep.db")
        cache = DirectoryCache(store, "default", slack, SystemClock())
        await cache.warm()
        await cache.settle()
        await cache.audience("C1", 5)
        await store.insert(
            "evidence",
            [
                {
                    "workspace_id": "default", "ulid": "x", "incident_id": "P1", "mark": "e1", "source": "s",
                    "kind": "log", "external_id": "x", "title": "t", "text": "t", "url": "",
                    "readers": '[["payments"]]', "model": "allowed", "observed_at": now, "fetched_at": now,
                }
            ],
        )  # fmt: skip
        await cache.close()
        await store.close()

    asyncio.run(fill())
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--source", "jaeger", "--service", "checkout-api", "--person", "U1"], 0, "through payments"),
        (["--source", "jaeger", "--service", "checkout-api", "--person", "PRIYA@example.com"], 0, "U1 may read it"),
        (
            ["--source", "jaeger", "--service", "checkout-api", "--person", "U2"],
            1,
            "[services.checkout-api] readers): no",
        ),
        (["--source", "jaeger", "--person", "U2"], 0, "[sources.pagerduty] readers, [sources.jaeger] readers"),
        (["--source", "jaeger", "--person", "U9"], 1, "U9 may read nothing"),
        (["--evidence", "P1/e1", "--person", "U2"], 1, "U2 may not read it"),
        (["--evidence", "P1/e1", "--groups", "payments, sre"], 0, "somebody in payments and sre may read it"),
        (["--evidence", "P1/e1", "--groups", ""], 1, "somebody in no group"),
        (["--evidence", "P1/e1", "--token", "page"], 1, "token:page may not"),
        (["--evidence", "P1/e1", "--channel", "C1"], 1, "not all 2 readers"),
        (["--source", "jaeger", "--channel", "C1"], 0, "all 2 readers may read it"),
        (["--source", "jaeger", "--channel", "C9"], 1, "could not be read"),
        (["--evidence", "P1/e9", "--person", "U1"], 1, "no stored item 'P1/e9'"),
        (["--source", "tempo", "--person", "U1"], 2, "no [sources.tempo]"),
        (["--evidence", "P1/e1", "--token", "none"], 2, "no [tokens.none]"),
        (["--source", "jaeger", "--person", "nobody@example.com"], 1, "0 people"),
        (["--person", "U1"], 2, "name one item"),
        (["--source", "jaeger"], 2, "name one reader"),
        (["--source", "jaeger", "--person", "U1", "--groups", "a"], 2, "name one reader"),
    ],
)
def test_at_the_shell(
    home: pathlib.Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, word: str
) -> None:
    assert main(["permissions", "explain", *arguments]) == code
    out, err = capsys.readouterr()
    assert word in out + err


def test_as_json(home: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["permissions", "explain", "--evidence", "P1/e1", "--person", "U1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["may"], told["readers"]) == (True, [["payments"]])
    assert told["sentences"][0] == "U1 may read it: every requirement holds."


def test_the_eval_finds_a_decision_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "permissions", "--worlds", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["totals"]["decisions"] > 300_000
    assert 0 < told["totals"]["readable"] < told["totals"]["decisions"]
    assert [bar["holds"] for bar in told["bars"]] == [True, True]
    monkeypatch.setattr("bot.evals.permissions.readable", lambda audience, items: __import__("numpy").ones(len(items)))
    assert main(["eval", "permissions", "--worlds", "1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["totals"]["shown_wrongly"] > 0
