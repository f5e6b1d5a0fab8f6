"""The page that somebody asks for holds what that person may see, and goes to nobody else."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from bot.cards.samples import ranked
from bot.clock import ManualClock
from bot.errors import NotPermitted
from bot.flows.pages import Pages
from bot.flows.requests import Request
from bot.listeners.asked import Asked
from bot.listeners.commands.looking import page as page_command
from bot.triage.permit import permit_ranked
from bot.trust.audience import Audience
from integrations.errors import Denied
from integrations.records import EVERYONE, Readers
from tests.support.desk import P1, FakeDesk, desks

KEY = hashlib.sha256(b"r1").hexdigest()[:8]
NOW = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)
GROUPS = {"U0SRE": frozenset({EVERYONE, "sre"}), "U0MEI": frozenset({EVERYONE})}


class World:
    """Two people, an incident of which one item is for sre alone, and a Slack that remembers what it was given."""

    def __init__(self) -> None:
        self.parts = SimpleNamespace(link_hosts=(), clock=ManualClock(NOW))
        self.views = self
        self.sent: list[tuple[str, str, str, str, bytes]] = []

    async def principal(self, user_id: str) -> frozenset[str]:
        return GROUPS[user_id]

    async def own_ranked(self, incident_id: str, groups: frozenset[str]):
        if incident_id != "P8K2Q1":
            raise NotPermitted("no such incident")
        items = tuple(
            item.model_copy(update={"readers": Readers.of(["sre"]), "text": "canary"}) if item.mark == "e12" else item
            for item in ranked().evidence
        )
        return permit_ranked(
            ranked().model_copy(update={"evidence": items}), Audience.of([groups], NOW), Readers.of([EVERYONE]), NOW
        )

    async def send_privately(self, *given, since=None) -> None:
        self.sent.append(given)
        self.looked_since = since


def request(attempts: int = 1) -> Request:
    return Request("r1", "command", "U0SRE", "C1", NOW, attempts=attempts)


@pytest.mark.parametrize(("user_id", "seen"), [("U0SRE", True), ("U0MEI", False)])
async def test_the_page_is_filtered_for_the_one_who_asked(user_id, seen):
    world = World()
    await Pages(world, world).send_page(user_id, "P8K2Q1", request())
    ((to, name, title, said, content),) = world.sent
    assert (to, name, title) == (user_id, f"sitrep-P8K2Q1-{KEY}.html", "Sitrep P8K2Q1")
    assert "14:05" in said
    html = content.decode()
    assert ("canary" in html) is seen
    assert ("checkout rollback" in html) is seen
    assert "<script" not in html


async def test_whoever_may_not_see_the_incident_is_sent_nothing():
    world = World()
    with pytest.raises(NotPermitted):
        await Pages(world, world).send_page("U0MEI", "../../etc/passwd", request())
    assert world.sent == []


async def test_where_slack_takes_no_file_the_answer_says_what_to_do():
    desk = FakeDesk(failing=Denied("slack", "files.getUploadURLExternal: missing_scope"))
    request = Request("r1", "command", "U0PRIYA", "C0PAYMENTS", NOW, "page P1")
    answer = await page_command(Asked(desks(desk), request, "classic", "", P1))
    assert "files:write" in answer.text


async def test_a_request_that_is_answered_again_looks_for_what_it_sent():
    world = World()
    await Pages(world, world).send_page("U0SRE", "P8K2Q1", request())
    assert world.looked_since is None
    await Pages(world, world).send_page("U0SRE", "P8K2Q1", request(attempts=2))
    assert world.looked_since == NOW
    assert world.sent[0][1] == world.sent[1][1], "the name is the key"
