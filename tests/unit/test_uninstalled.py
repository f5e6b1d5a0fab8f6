"""When Slack takes the token away nothing is sent any more, and the data is kept or purged by setting."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.clock import ManualClock
from bot.errors import ConfigurationError
from bot.flows.uninstalled import Uninstalled
from bot.store.sqlite import SqliteStore
from integrations.errors import Denied, Unavailable

T0 = datetime(2026, 11, 24, 14, 2, 10, tzinfo=UTC)


class Slack:
    def __init__(self) -> None:
        self.failing: Exception | None = Denied("slack", "auth.test: token_revoked")
        self.forgotten = 0

    async def works(self) -> None:
        if self.failing is not None:
            raise self.failing

    async def forget(self) -> int:
        self.forgotten += 1
        return 0


@pytest.fixture
async def store(tmp_path):
    opened = SqliteStore.open(tmp_path / "s.db")
    for workspace in ("W", "V"):
        vote = {"workspace_id": workspace, "incident_id": "P1", "triage_id": "P1/1", "post_version": 1, "by": "U1",
                "vote": "helpful", "at": T0}  # fmt: skip
        await opened.insert("votes", [vote])
    yield opened
    await opened.close()


def made(store, slack, *, purge):
    return Uninstalled(store, "W", ManualClock(T0), slack.works, slack.forget, purge=purge)


async def votes(store):
    return [row["workspace_id"] for row in await store.query("SELECT workspace_id FROM votes ORDER BY 1")]


async def test_a_word_that_the_token_contradicts_changes_nothing(store):
    slack = Slack()
    for failure in (None, Unavailable("slack", "no answer")):
        slack.failing = failure
        end = made(store, slack, purge=True)
        await end.heard("app_uninstalled")
        assert not end.gone
    assert await store.query("SELECT * FROM notices") == []


@pytest.mark.parametrize("purge", [False, True])
async def test_it_ends_and_the_setting_says_what_becomes_of_the_data(purge, store):
    slack = Slack()
    end = made(store, slack, purge=purge)
    await end.heard("app_uninstalled")
    assert end.gone
    await end.wait()
    await end.finish()
    assert await votes(store) == (["V"] if purge else ["V", "W"])
    audit = await store.query("SELECT action, by FROM audit WHERE workspace_id = 'W'")
    assert [(one["action"], one["by"]) for one in audit] == ([("purge", "slack")] if purge else [])
    assert slack.forgotten == purge


async def test_it_does_not_start_again_until_it_is_installed_again(store):
    slack = Slack()
    await made(store, slack, purge=True).heard("tokens_revoked")
    with pytest.raises(ConfigurationError, match="SLACK_BOT_TOKEN"):
        await made(store, slack, purge=True).refuse_start()
    assert await votes(store) == ["V"], "what the process before did not live to do"
    slack.failing = Unavailable("slack", "no answer")
    await made(store, slack, purge=True).refuse_start()
    slack.failing = None
    await made(store, slack, purge=True).refuse_start()
    slack.failing = Denied("slack", "invalid_auth")
    await made(store, slack, purge=True).refuse_start()
