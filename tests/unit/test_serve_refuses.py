"""`sitrep serve` where it cannot start: one sentence, the right exit code, and nothing changed."""

from __future__ import annotations

import pathlib
import socket

import pytest

from bot.cli import main
from bot.clock import SystemClock
from bot.flows.engine import Engine
from bot.store.sqlite import migrate


@pytest.fixture
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    for name, value in {
        "SITREP_HOME": str(tmp_path / "home"), "SLACK_BOT_TOKEN": "xoxb-test", "SLACK_API_URL": "http://127.0.0.1:9/api",
        "PORT": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def refused(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["serve"])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return code, said


def test_a_home_that_is_a_file_or_cannot_be_made(home, monkeypatch, capsys):
    home.write_text("")
    code, said = refused(capsys)
    assert (code, "SITREP_HOME" in said) == (2, True)
    monkeypatch.setenv("SITREP_HOME", "/proc/sitrep")
    code, said = refused(capsys)
    assert (code, "SITREP_HOME='/proc/sitrep' cannot be written to" in said) == (2, True)


@pytest.mark.parametrize("name", ["sitrep.db", "engine.db"])
def test_a_database_that_is_none_is_named_and_left_alone(home, capsys, name):
    home.mkdir()
    (home / name).write_text("no database at all, and more than sixteen bytes")
    code, said = refused(capsys)
    assert (code, name in said) == (1, True)
    assert (home / name).read_text().startswith("no database")


def test_a_port_that_is_taken_is_said_before_anything_begins(home, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("PORT", str(taken.getsockname()[1]))
        code, said = refused(capsys)
    assert (code, "cannot be listened on" in said) == (2, True)
    assert not home.exists()


def test_without_a_bot_token_no_key_is_made(home, monkeypatch, capsys):
    monkeypatch.delenv("SLACK_BOT_TOKEN")
    code, said = refused(capsys)
    assert (code, "SLACK_BOT_TOKEN" in said) == (2, True)
    assert not (home / "secret.key").exists()


@pytest.mark.parametrize("url", ["postgresql://db/sitrep", "sqlite:////tmp/elsewhere.db"])
def test_another_database_is_refused_and_never_ignored(home, monkeypatch, capsys, url):
    monkeypatch.setenv("SITREP_DATABASE_URL", url)
    code, said = refused(capsys)
    assert (code, "SITREP_DATABASE_URL" in said) == (2, True)


def test_a_second_process_changes_nothing_of_the_first_ones(home, capsys):
    """What the first has reserved for a call that runs is not settled by one that may not start."""
    first = Engine(home, SystemClock())
    first.lock()
    migrate(home / "sitrep.db")
    before = (home / "sitrep.db").read_bytes()
    code, said = refused(capsys)
    assert (code, "another sitrep process" in said) == (1, True)
    assert (home / "sitrep.db").read_bytes() == before
    assert not (home / "secret.key").exists()
    first._lock.close()
