"""Every kind of source and door is built from the settings, and what a kind needs and lacks is said."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bot.clock import SystemClock
from bot.errors import ConfigurationError
from bot.settings import Settings, load
from bot.store.sqlite import SqliteStore
from bot.wiring.asked import ASKED
from bot.wiring.changes import CHANGE_SENDERS, change_doors, flag_watch, stored_changes
from bot.wiring.outside import egress_of
from bot.wiring.sources import sources_of
from integrations.ports import Source
from integrations.records import Readers

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {"elasticsearch": 'allow = { indices = ["logs-*"] }', "opensearch": 'allow = { indices = ["logs-*"] }',
         "otlp": 'allow = { paths = ["/var/log/x.jsonl"] }'}  # fmt: skip


def settings(tmp_path: Path, toml: str, **environment: str) -> Settings:
    (tmp_path / "sitrep.toml").write_text(toml, encoding="utf-8")
    return load({"SITREP_HOME": str(tmp_path / "home"), **environment}, folder=tmp_path)


async def built(told: Settings) -> list[Source]:
    async with AsyncExitStack() as stack:
        return sources_of(told, egress_of(told), stack, None)


async def test_the_example_builds_every_source_that_it_names(tmp_path):
    text = (ROOT / "sitrep.example.toml").read_text(encoding="utf-8")
    told = settings(tmp_path, text, SITREP_API_TOKENS="status-page=t", GITHUB_TOKEN="t", KUBERNETES_TOKEN="k")
    kinds = {source.kind for source in await built(told)}
    assert kinds >= {
        "jaeger", "gitlab", "argocd", "kubernetes", "launchdarkly", "flagd", "tempo", "loki", "elasticsearch", "otlp",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ASKED)
async def test_a_kind_is_built_under_any_name_with_its_own_address_and_deadline(tmp_path, kind):
    toml = f'[sources.second-one]\nkind = "{kind}"\nurl = "http://x:1/base"\nreaders = ["a"]\ndeadline_seconds = 7\n'
    told = settings(tmp_path, toml + NEEDS.get(kind, ""), SITREP_SOURCE_SECOND_ONE_TOKEN="t")
    (source,) = await built(told)
    assert isinstance(source, Source)
    assert (source.name, source.deadline_seconds) == ("second-one", 7)


@pytest.mark.parametrize("kind", [kind for kind in ASKED if kind != "otlp"])
async def test_a_kind_without_an_address_or_with_an_allow_list_that_cannot_be_is_said(tmp_path, kind):
    toml = f'[sources.{kind}]\nreaders = ["a"]\n{NEEDS.get(kind, "")}\n'
    with pytest.raises(ConfigurationError, match=rf"\[sources\.{kind}\] needs url"):
        await built(settings(tmp_path, toml))


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ('[sources.elasticsearch]\nurl = "http://x"\nreaders = ["a"]\n', "names no index"),
        ('[sources.otlp]\nreaders = ["a"]\n', "name the files"),
        (
            '[sources.launchdarkly]\nurl = "http://x"\nreaders = ["a"]\nallow = { paths = ["x"] }\n',
            "project/environment",
        ),
    ],
)
async def test_an_allow_list_that_cannot_be_obeyed_is_a_configuration_error(tmp_path, toml, why):
    with pytest.raises(ConfigurationError, match=why):
        await built(settings(tmp_path, toml))


async def test_doors_of_changes_open_with_their_secret_and_are_read_by_their_section(tmp_path, caplog):
    secrets = {f"{name.upper()}_WEBHOOK_SECRETS": "s" for name in CHANGE_SENDERS}
    toml = '[sources.gh]\nkind = "github"\nreaders = ["a"]\n[sources.changes]\nreaders = ["b"]\n'
    told = settings(tmp_path, toml, **secrets)
    assert {door.path for door in change_doors(told)} == {f"/webhooks/{name}" for name in CHANGE_SENDERS}
    store = SqliteStore.open(tmp_path / "s.db")
    (source,) = stored_changes(told, store, SystemClock())
    assert source._access("github").of(None)[0] == Readers.of(["a"])
    assert source._access("changes").of(None)[0] == Readers.of(["b"])
    assert source._access("gitlab").of(None)[0] == Readers.nobody()
    assert "/webhooks/gitlab is open" in caplog.text
    assert "/webhooks/github is open" not in caplog.text
    bare = settings(tmp_path, "")
    assert (change_doors(bare), stored_changes(bare, store, SystemClock())) == ([], [])
    assert flag_watch(bare, [], store, SystemClock(), None) is None
    await store.close()


async def test_flags_are_watched_where_a_flagd_is_configured(tmp_path):
    told = settings(tmp_path, '[sources.flags]\nkind = "flagd"\nurl = "http://x:8016"\nreaders = ["a"]\n')
    store = SqliteStore.open(tmp_path / "s.db")
    assert flag_watch(told, await built(told), store, SystemClock(), None) is not None
    (source,) = stored_changes(told, store, SystemClock())
    assert source._access("flags").of(None)[0] == Readers.of(["a"])
    await store.close()
