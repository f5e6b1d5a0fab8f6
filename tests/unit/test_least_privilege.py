"""Files are their owner's alone, readers of the database write nothing, and no secret is in a repr."""

from __future__ import annotations

import asyncio
import json
import pathlib
import pickle
import stat
import traceback
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from bot.errors import ConfigurationError
from bot.flows import engine
from bot.settings import Settings, load
from bot.settings.environment import SYSTEMS
from bot.store.files import private
from bot.store.sqlite import SqliteStore
from bot.tracing import to_file
from bot.trust.redaction import Redactor
from bot.trust.sealed import Seal
from bot.wiring.outside import doors_of, egress_of, group_sources
from bot.wiring.sources import pagerduty_of, sources_of
from bot.wiring.values import secret_keys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_state_is_readable_by_its_owner_alone_even_if_it_was_not(tmp_path: pathlib.Path) -> None:
    home = tmp_path / "home"
    settings = load({"SITREP_HOME": str(home)}, folder=tmp_path)
    secret_keys(settings)
    loose = home / "sitrep.db"
    loose.touch(mode=0o644)
    loose.chmod(0o644)
    store = SqliteStore.open(loose)
    await store.insert("notices", [{"workspace_id": "w", "id": "n", "kind": "x", "created_at": "2026-11-24T00:00:00Z"}])
    engine._prepare(home / "engine.db")
    await to_file(home / "spans.jsonl")([])
    files = {path.name: mode(path) for path in home.iterdir() if path.suffix != ".migrate"}
    assert {"sitrep.db", "sitrep.db-wal", "engine.db", "secret.key", "spans.jsonl"} <= set(files)
    assert {name for name, rights in files.items() if rights & 0o077} == set()
    assert mode(home) == 0o700
    await store.close()
    assert mode(private(tmp_path / "new")) == 0o600


async def test_who_reads_the_database_cannot_write_it(tmp_path: pathlib.Path) -> None:
    store = SqliteStore.open(tmp_path / "sitrep.db")
    row = {"workspace_id": "w", "id": "n", "kind": "x", "created_at": "2026-11-24T00:00:00Z"}
    await store.insert("notices", [row])
    for sql in ("DELETE FROM notices", "UPDATE notices SET kind = 'y'", "DROP TABLE notices"):
        with pytest.raises(Exception, match="readonly"):
            await store.query(sql)
    with pytest.raises(Exception, match=r"not authorized|no such function"):
        await store.query("SELECT load_extension('x')")
    assert [one["kind"] for one in await store.query("SELECT kind FROM notices")] == ["x"]
    await store.close()


PLANTED = "planted-Zq8Xw7Vy6Ut5"


def environment(tmp_path: pathlib.Path) -> dict[str, str]:
    """Every variable that holds a secret, each with the planted value inside."""
    names = ["SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRETS", "PAGERDUTY_API_TOKEN", "OPENAI_API_KEY",
             "PAGERDUTY_WEBHOOK_SECRETS", "SITREP_SECRET_KEY", "SITREP_SOURCE_JAEGER_TOKEN"]  # fmt: skip
    names += [f"{system.upper()}_{kind}" for system in SYSTEMS for kind in ("TOKEN", "WEBHOOK_SECRETS")]
    found = {name: f"{PLANTED}-{number}" for number, name in enumerate(names)}
    found["SITREP_API_TOKENS"] = f"status-page={PLANTED}-api"
    found["SITREP_HOME"] = str(tmp_path / "home")
    return found


def full(tmp_path: pathlib.Path) -> Settings:
    text = (ROOT / "sitrep.example.toml").read_text(encoding="utf-8")
    (tmp_path / "sitrep.toml").write_text(text, encoding="utf-8")
    return load(environment(tmp_path), folder=tmp_path)


def shown(thing: Any) -> str:
    return f"{thing!r} {thing!s} {thing}"


def test_no_secret_of_any_variable_is_shown_by_the_settings(tmp_path: pathlib.Path) -> None:
    settings = full(tmp_path)
    secrets = settings.secrets
    read = [
        secrets.slack_bot_token,
        *secrets.secret_keys,
        *secrets.system_tokens.values(),
        *secrets.source_tokens.values(),
    ]
    assert all(one is not None and PLANTED in one.get_secret_value() for one in read)
    for thing in (settings, secrets, vars(secrets), SimpleNamespace(settings=settings), [settings]):
        assert PLANTED not in shown(thing)
    assert PLANTED not in settings.model_dump_json()
    assert PLANTED not in json.dumps(settings.model_dump(mode="json"))
    assert PLANTED not in str(settings.model_dump())


def test_no_object_that_holds_a_secret_shows_it(tmp_path: pathlib.Path) -> None:
    async def look() -> None:
        settings = full(tmp_path)
        keys = secret_keys(settings)
        redactor = Redactor(keys)
        async with AsyncExitStack() as stack:
            egress = egress_of(settings)
            pagerduty = pagerduty_of(settings, egress, stack)
            held = [redactor, Seal(keys, "t.c"), egress, pagerduty, *doors_of(settings, egress, stack)]
            held += [*group_sources(settings, egress, stack), *sources_of(settings, egress, stack, pagerduty)]
            assert len(held) >= 10
            for thing in held:
                assert PLANTED not in shown(thing), type(thing)
                assert PLANTED not in str(sorted(vars(thing))) if hasattr(thing, "__dict__") else True
        assert PLANTED in str(pickle.dumps(redactor)), "a worker process needs the key: it goes through a pipe alone"

    asyncio.run(look())


def test_a_wrong_setting_is_told_without_the_secrets_beside_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "sitrep.toml").write_text("[slack]\nchanel = 1\n", encoding="utf-8")
    wrong = environment(tmp_path) | {"PORT": "eighty", "SITREP_API_TOKENS": f"{PLANTED}-without-a-name"}
    with pytest.raises(ConfigurationError) as caught:
        load(wrong, folder=tmp_path)
    assert PLANTED not in str(caught.value)
    assert PLANTED not in "".join(traceback.format_exception(caught.value))
