"""Several people in a local Slack, over Socket Mode: commands, buttons, forms, a mention, Home, somebody who joins, the
end. What one of them may not see, nothing shows them.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from bot.cards import actions, words
from bot.listeners import answers
from demo.bot_process import BotProcess, settings
from demo.slack import CHANNELS, SlackThread
from demo.systems import Systems
from tests.support.slack_channel import SECONDS, Channel, first_block, text_of

TEAM, OTHERS = "#payments", "#incidents"
PRIYA, TOMAS, MEI, BOT = "U0PRIYA01", "U0TOMAS01", "U0MEI0001", "U0SITREP1"


class People:
    """What they do, in a thread of the local Slack, and what each of them sees."""

    def __init__(self, slack: SlackThread, bot: BotProcess) -> None:
        self.slack, self.bot = slack, bot
        self.team, self.others = Channel(slack, bot, TEAM), Channel(slack, bot, OTHERS)

    async def types(self, text: str, user: str = "priya", channel: str = TEAM) -> None:
        await asyncio.to_thread(self.slack.command, channel, "/sitrep", text, user=user)

    async def clicks(self, ts: str, action_id: str, user: str = "priya") -> None:
        await asyncio.to_thread(self.slack.click, self.team.name, ts, action_id, user=user)

    async def fills_in(self, callback_id: str, values: dict[str, str], user: str = "priya") -> None:
        assert (await self.team.form())["callback_id"] == callback_id
        await asyncio.to_thread(self.slack.submit, values, user=user)

    async def home(self, user: str, wanted: str, person_id: str) -> str:
        """The person's Home tab, once it says this."""
        await asyncio.to_thread(self.slack.open_home, user=user)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            homes = (await asyncio.to_thread(self.slack.page))["homeViews"].get(person_id) or {}
            if wanted in (shown := json.dumps(homes, ensure_ascii=False).replace("\u00a0", " ")):
                return shown
            await asyncio.sleep(0.1)
        raise AssertionError(f"the Home tab does not say {wanted!r}\n{self.bot.log_tail()}")


def all_of(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False).replace("\u00a0", " ")


@pytest.fixture
async def people(tmp_path: Any, systems: Systems, slack: SlackThread) -> Any:
    toml = settings(systems.url, channel=TEAM)
    mine, theirs = '[sources.github]\nreaders = ["payments"]', '[sources.github]\nreaders = ["everyone"]'
    assert theirs in toml
    bot = BotProcess(
        tmp_path / "home", {**systems.environment(), **slack.environment()}, toml.replace(theirs, mine)
    )  # fmt: skip
    await bot.start()
    systems.webhook_to(bot.webhook_url)
    yield People(slack, bot)
    assert await bot.stop() == 0, bot.log_tail()


async def test_several_people_work_on_an_incident(people: People, systems: Systems, slack: SlackThread) -> None:
    systems.trigger()
    team, incident_id = people.team, str(systems.state.incident["id"])
    card = await team.card_says("checkout-api", actions.WAS_NOT)

    # Commands: the channel's incident is meant, and each answer is for the one who asked.
    for typed, said in (
        ("catchup", f"Catch-up of {incident_id}"), ("timeline", f"Timeline of {incident_id}"),
        ("suspects", f"Suspects of {incident_id}"), ("similar", "No earlier incident that you may see"),
        ("why e1", "You may read it: every requirement holds."), ("status", "1 open incident"),
        ("ask which deploy changed the pool?", "No model answered"), ("report", "no experiment runs"),
        ("help merge", "For admins of the teams of both"), ("merge", "Name both"),
    ):  # fmt: skip
        await people.types(typed)
        assert (await team.private(said))["ephemeral_to"] == PRIYA, typed
    suspects = text_of(await team.private("Suspects of"))
    assert "deploy" in suspects

    # Somebody of another team may see the alert and not the changes.
    await people.types("suspects", user="mei", channel=OTHERS)
    shown = text_of(await people.others.private("Suspects of", MEI))
    assert "No change was found near this incident that you may see." in shown
    assert "deploy" not in shown
    await people.types("triage PNOTHERE", user="mei", channel=OTHERS)
    menu = await people.others.private("There is no such incident", MEI)
    await asyncio.to_thread(
        slack.choose, OTHERS, menu["ts"], answers.PICK_INCIDENT, incident_id, user="mei"
    )  # fmt: skip
    await people.others.private(f"Looking at `{incident_id}`", MEI)

    # A mention in the card's thread is answered like ask, for the one who asked.
    await asyncio.to_thread(
        slack.say, TEAM, f"<@{BOT}> which deploy changed the pool?", user="tomas", thread_ts=card["ts"]
    )  # fmt: skip
    await team.private("No model answered", TOMAS)

    # Struck, taken back, named in a form.
    await people.clicks(card["ts"], actions.WAS_NOT, "tomas")
    await team.private("Ruled out", TOMAS)
    await team.card_says(actions.UNDO_WAS_NOT)
    await people.clicks(card["ts"], actions.UNDO_WAS_NOT, "tomas")
    await team.private("Taken back", TOMAS)
    await team.card_says(actions.WAS_CHANGE)
    await people.clicks(card["ts"], actions.WAS_CHANGE)
    await people.fills_in("sitrep.form.label", {"fixed_by": "rolled back"})
    await team.private("The cause: ", PRIYA)
    await team.card_says("Confirmed")

    # In PagerDuty under one's own name.
    await people.clicks(card["ts"], actions.NOTE)
    await people.fills_in("sitrep.form.note", {"note": "rolling back now"})
    await team.private("The note is in PagerDuty", PRIYA)
    assert any("rolling back now" in str(note) for note in systems.state.notes)
    await people.clicks(card["ts"], actions.ACKNOWLEDGE)
    await team.private("Acknowledged", PRIYA)
    await team.card_says("Acknowledged")

    # Home, each their own.
    home = await people.home("priya", incident_id, PRIYA)
    assert "no experiment runs" in home and "Your vote is missing" in home
    assert incident_id in await people.home("mei", "How Sitrep is", MEI)

    # Somebody joins who may see less: the card is narrowed, and the thread says that something was.
    slack.proxy.fail("answer", "conversations.members", answer={"members": [PRIYA, TOMAS, MEI, BOT]})
    joined = {"type": "member_joined_channel", "user": MEI, "channel": CHANNELS[TEAM], "channel_type": "G"}
    await asyncio.to_thread(slack.tell, joined)
    narrowed = await team.card_says("Narrowed")
    assert actions.WAS_CHANGE not in json.dumps(narrowed)
    await team.until(lambda messages: [m for m in messages if text_of(m) == words.NARROWED], "the thread is not told")

    # Its own channel: made once although the answer is lost, with who is on call and who asked; the card moves there.
    for one in list(slack.proxy.rules):
        slack.proxy.rules.remove(one)
    slack.proxy.fail("lost_answer", "conversations.create", times=1)
    await people.types("channel", "tomas")
    await team.private("is made, 2 people were invited", TOMAS)
    (made,) = slack.proxy.made.names.values()
    assert sorted(slack.proxy.made.invited[made]) == [PRIYA, TOMAS]
    assert incident_id in slack.proxy.made.said[made]["topic"]
    pointer = await team.card_says("Its card is in", made, actions.OWN_VIEW)
    assert "checkout-api" not in json.dumps(pointer)
    await people.types("channel")
    await team.private("Its channel is", PRIYA)
    team = people.team = Channel(slack, people.bot, made)
    await team.card_says("checkout-api")

    # The end: past tense, and a draft that a person publishes.
    systems.move("resolved")
    resolved = await team.card_says("Resolved", actions.DRAFT)
    assert "resolved after" in text_of(resolved) + json.dumps(resolved["blocks"])
    await people.clicks(resolved["ts"], actions.DRAFT)
    await people.fills_in("sitrep.form.draft", {"draft": "It was the pool. <!channel>"})
    await team.private("Published in", PRIYA)
    report = await team.until(lambda messages: [m for m in messages if text_of(m).startswith("Report on")], "no report")
    assert "<!channel>" not in json.dumps(report)
    cards = [one for one in await team.cards() if ":incident:" in first_block(one)]
    assert len(cards) == 1

    # The next one of its like: the card's thread names this one with what ended it, and so does the command.
    team = people.team = Channel(slack, people.bot, TEAM)
    await people.types("declare sev2 checkout-api checkout-api: 38 % of requests fail")
    said = f"{incident_id} of ", "fixed by rolled back"
    await team.until(
        lambda messages: [m for m in messages if all(one in all_of(m) for one in ("Similar incidents", *said))],
        "no similar incident is told with what ended it",
    )
    await people.types("similar")
    assert incident_id in all_of(await team.private("fixed by rolled back"))
    assert not slack.proxy.refusals
