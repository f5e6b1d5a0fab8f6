"""Slack's commands, buttons and events as Slack sends them, over Bolt and over signed HTTP, with a desk behind."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import pathlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import urlencode

import aiohttp
import httpx
import pytest
from slack_bolt.async_app import AsyncBoltRequest
from starlette.applications import Starlette

from bot.cards import actions
from bot.cards.actions import ActionValue
from bot.cards.limits import view_violations, violations
from bot.clock import ManualClock
from bot.flows.channels import Opened, Refusal
from bot.flows.requests import Request
from bot.flows.views import NotTriaged
from bot.listeners import answers
from bot.listeners.app import CHANNEL_EVENTS, GROUP_EVENTS, PERSON_EVENTS, TRIAGE_MESSAGE, Listeners
from bot.listeners.app import COMMAND as COMMAND_NAME
from bot.listeners.commands import COMMANDS, help_for, parse
from bot.listeners.desk import Label
from bot.listeners.http import slack_route
from bot.listeners.incoming import ASSISTANT_EVENTS
from bot.wiring import doctor_outside
from integrations.errors import Denied, Refused, Unavailable
from integrations.fixtures import FakeReplies, FakeScreens
from integrations.ports import Answer, Place
from integrations.slack import SlackReplies, SlackWeb, verify_signature, web_client
from tests.support.desk import AT, FakeDesk, FakeEar, FakeReaderEvents, FakeRequests, desks

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
VALUE = ActionValue("P8K2Q1", 7, "e3").encode()


@dataclass
class Door:
    """The listeners with everything around them."""

    listeners: Listeners
    app: Any
    desk: FakeDesk = field(default_factory=FakeDesk)
    replies: FakeReplies = field(default_factory=FakeReplies)
    readers: FakeReaderEvents = field(default_factory=FakeReaderEvents)
    requests: FakeRequests = field(default_factory=FakeRequests)
    screens: FakeScreens = field(default_factory=FakeScreens)
    gone: list[str] = field(default_factory=list)
    ear: FakeEar = field(default_factory=FakeEar)
    sent: int = 0

    async def shortcut(self, message: Any, channel: str = "C0OTHER") -> Any:
        body = {
            "type": "message_action", "callback_id": TRIAGE_MESSAGE, "user": {"id": "U0PRIYA"}, "team": {"id": "T1"},
            "channel": {"id": channel}, "message": message, "message_ts": "1.0", "trigger_id": self._trigger("m"),
            "response_url": "https://hooks.slack.com/app/T1/1/x",
        }  # fmt: skip
        return await self._send(urlencode({"payload": json.dumps(body)}), "application/x-www-form-urlencoded")

    async def command(self, text: str, user: str = "U0PRIYA", channel: str = "C0OTHER") -> Any:
        form = {
            "command": "/sitrep", "text": text, "user_id": user, "channel_id": channel, "team_id": "T1",
            "response_url": "https://hooks.slack.com/commands/T1/1/x", "trigger_id": self._trigger("x"),
        }  # fmt: skip
        return await self._send(urlencode(form), "application/x-www-form-urlencoded")

    async def click(
        self, action_id: str, value: Any = VALUE, user: str = "U0PRIYA", channel: str | None = "C0PAYMENTS", **more: Any
    ) -> Any:
        """A click in a channel's message, or without one in the Home tab."""
        where: dict[str, Any] = {"container": {"type": "view", "view_id": "V1"}}
        if channel is not None:
            where = {"channel": {"id": channel}, "container": {"type": "message", "channel_id": channel},
                     "response_url": "https://hooks.slack.com/actions/T1/1/x"}  # fmt: skip
        body = {
            "type": "block_actions", "user": {"id": user, "team_id": "T1"}, "team": {"id": "T1"}, **where,
            "trigger_id": self._trigger("y"),
            "actions": [{"action_id": action_id, "block_id": "b", "type": "button", "value": value, **more}],
        }  # fmt: skip
        return await self._send(urlencode({"payload": json.dumps(body)}), "application/x-www-form-urlencoded")

    async def submit(self, view: Any, fields: dict[str, Any], user: str = "U0PRIYA") -> Any:
        """A form comes back as Slack sends it: `fields` by block id, an option's value or typed text."""
        state: dict[str, Any] = {}
        for block in view["blocks"]:
            if block["type"] != "input":
                continue
            name, element = block["block_id"], block["element"]
            given = fields.get(name, (element.get("initial_option") or {}).get("value", element.get("initial_value")))
            kind = element["type"]
            chosen = next((one for one in element.get("options", ()) if one["value"] == given), None)
            state[name] = {name: {"type": kind, "selected_option": chosen} if kind == "static_select" else
                           {"type": kind, "value": given}}  # fmt: skip
        self.sent += 1
        body = {
            "type": "view_submission", "user": {"id": user, "team_id": "T1"}, "team": {"id": "T1"},
            "trigger_id": f"{self.sent}.2.v",
            "view": {**view, "id": f"V{self.sent}", "hash": "1.a", "state": {"values": state}},
        }  # fmt: skip
        return await self._send(urlencode({"payload": json.dumps(body)}), "application/x-www-form-urlencoded")

    async def event(self, event: dict[str, Any], event_id: str = "Ev1") -> Any:
        body = {"type": "event_callback", "team_id": "T1", "event_id": event_id, "event": event, "authorizations": []}
        return await self._send(json.dumps(body), "application/json")

    def _trigger(self, letter: str) -> str:
        self.sent += 1
        return f"{self.sent}.2.{letter}"

    async def _send(self, body: str, kind: str) -> Any:
        request = AsyncBoltRequest(body=body, headers={"content-type": kind})
        answered = await self.app.async_dispatch(request)
        await self.settled()
        return answered

    async def settled(self) -> None:
        """Until what was acknowledged is done as well; work that is slow on purpose is not waited for."""
        for turn in range(40):
            await asyncio.sleep(0.001)
            if turn > 8 and not self.listeners._working:
                return

    def said(self) -> str:
        assert self.replies.shown, "nobody was answered"
        return self.replies.shown[-1][1].text


@pytest.fixture
async def slack_web(serve: Any) -> AsyncIterator[Any]:
    served = await serve()
    served.answer = lambda _: (
        200, {"content-type": "application/json"},
        b'{"ok": true, "team_id": "T1", "user_id": "UBOT", "bot_id": "BBOT", "url": "https://x.slack.com/"}',
    )  # fmt: skip
    async with aiohttp.ClientSession() as session:
        yield web_client("xoxb-1", f"{served.url}/api", session)


@pytest.fixture
async def door(slack_web: Any) -> Door:
    desk, replies, readers, requests = FakeDesk(), FakeReplies(), FakeReaderEvents(), FakeRequests()
    screens = FakeScreens()

    async def form() -> Any:
        return "classic"

    def redact(text: str) -> str:
        return text.replace("hunter2", "<secret>")

    ear = FakeEar()
    told: list[str] = []

    async def gone(what: str) -> None:
        told.append(what)

    listeners = Listeners(desks(desk, requests, screens), replies, readers, form, ManualClock(AT), redact, gone, ear)
    return Door(listeners, listeners.bolt(slack_web), desk, replies, readers, requests, screens, told, ear)


# --- commands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "name"),
    [("triage P8K2Q1", "triage"), ("  TRIAGE ", "triage"), ("", "help"), ("?", "help"), ("--help", "help"),
     ("status now", "status"), ("help triage", "help"), ("`status`", "status"), ("nonsense", "")],
)  # fmt: skip
def test_what_is_typed_becomes_a_command(typed: str, name: str) -> None:
    assert parse(typed).name == name


async def test_a_triage_is_queued_for_the_incident_that_is_named(door: Door) -> None:
    answered = await door.command("triage P8K2Q1")

    assert answered.status == 200
    assert door.desk.calls[-1] == ("triage", "P8K2Q1", "U0PRIYA", "1.2.x")
    assert door.requests.ended == ["1.2.x"]
    assert "Looking at `P8K2Q1` again (run 2)" in door.said()


async def test_in_its_own_channel_the_incident_need_not_be_named(door: Door) -> None:
    await door.command("triage", channel="C0PAYMENTS")
    assert door.desk.calls[-1][:2] == ("triage", "P8K2Q1")


async def test_a_missing_incident_is_answered_with_a_menu_of_those_that_may_be_seen(door: Door) -> None:
    await door.command("triage")

    _, answer = door.replies.shown[-1]
    (select,) = answer.blocks[1]["elements"]
    assert [option["value"] for option in select["options"]] == ["P8K2Q1", "P9Z7X3"]
    menu = answer.blocks[1]["block_id"]
    await door.click(answers.PICK_INCIDENT, None, selected_option={"value": "P9Z7X3"}, block_id=menu)
    assert door.desk.calls[-1][:2] == ("triage", "P9Z7X3")


async def test_a_menu_is_for_the_one_who_got_it(door: Door) -> None:
    door.desk.may.add("U0TOMAS")
    await door.command("triage")
    menu = door.replies.shown[-1][1].blocks[1]["block_id"]
    for stranger in ({"user": "U0TOMAS", "block_id": menu}, {"block_id": f"{answers.MENU_OF}9.9.x"}):
        await door.click(answers.PICK_INCIDENT, None, selected_option={"value": "P9Z7X3"}, **stranger)
        assert door.said() == answers.MENU_TOO_OLD
    await door.click(answers.PICK_INCIDENT, None, selected_option={"value": "PNOTHERE"}, block_id=menu)
    assert door.said() == answers.NO_SUCH
    assert not [call for call in door.desk.calls if call[0] == "triage"]


async def test_an_unknown_incident_is_answered_with_the_menu_too(door: Door) -> None:
    await door.command("triage PNOTHERE")
    answer = door.replies.shown[-1][1]
    assert answer.text == answers.NO_SUCH
    assert len(answer.blocks[1]["elements"][0]["options"]) == 2


async def test_somebody_who_may_see_nothing_learns_nothing(door: Door) -> None:
    await door.command("triage P8K2Q1", user="U0MEI")
    about_real = door.said()
    await door.command("triage PNOTHERE", user="U0MEI")
    assert door.said() == about_real == answers.NO_SUCH
    assert not [call for call in door.desk.calls if call[0] == "triage"]
    await door.command("triage", user="U0MEI")
    assert "P8K2Q1" not in str(door.replies.shown[-1])
    await door.command("status", user="U0MEI")
    assert "P8K2Q1" not in str(door.replies.shown[-1])


async def test_only_admins_pause_resume_and_override_and_a_pause_needs_a_reason(door: Door) -> None:
    for typed in ("pause too many wrong", "resume mended", "triage P8K2Q1 --override"):
        await door.command(typed)
        assert door.said() == answers.ONLY_ADMINS
    door.desk.admins.add("U0PRIYA")
    before = len(door.desk.calls)
    await door.command("pause")
    assert door.said() == answers.WHY_NEEDED and len(door.desk.calls) == before
    await door.command("pause too many wrong")
    assert door.desk.calls[-1] == ("pause", "U0PRIYA", "too many wrong") and "paused" in door.said()
    await door.command("resume mended")
    assert door.desk.calls[-1] == ("resume", "U0PRIYA", "mended") and "begin again" in door.said()
    await door.command("triage --override P8K2Q1")
    assert door.desk.calls[-1] == ("triage", "P8K2Q1", "U0PRIYA", f"{door.sent}.2.x", "override")


async def test_status_lists_incidents_and_how_the_bot_is(door: Door) -> None:
    await door.command("status")
    said = door.said().replace("\u00a0", " ")
    for part in ("2 open incidents", "P8K2Q1 (#1834)", "<#C0PAYMENTS>", "no model is configured", "3 posts waiting",
                 "Tempo is not mapped"):  # fmt: skip
        assert part in said
    assert "<!channel>" not in str(door.replies.shown)


async def test_help_lists_every_command_and_an_unknown_word_is_met_with_the_nearest(door: Door) -> None:
    await door.command("help")
    assert all(command.usage in door.said() for command in COMMANDS)
    await door.command("help triage")
    assert "edited" in door.said()
    await door.command("staus")
    assert "Did you mean `/sitrep status`?" in door.said()
    await door.command("<!channel>")
    assert "<!channel>" not in door.said()


# --- buttons --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action_id", "value", "call", "said"),
    [
        (actions.HELPFUL, VALUE, ("vote", "P8K2Q1", "U0PRIYA", 7, "helpful"), "Counted as helpful"),
        (actions.NOT_HELPFUL, VALUE, ("vote", "P8K2Q1", "U0PRIYA", 7, "not_helpful"), "Counted as not helpful"),
        (actions.FEEDBACK, f"+{VALUE}", ("vote", "P8K2Q1", "U0PRIYA", 7, "helpful"), "Counted as helpful"),
        (actions.FEEDBACK, f"-{VALUE}", ("vote", "P8K2Q1", "U0PRIYA", 7, "not_helpful"), "Counted as not"),
        (actions.CATCH_UP, VALUE, ("catch_up", "U0PRIYA", "P8K2Q1"), "Catch-up of P8K2Q1"),
        (actions.WAS_NOT, VALUE, ("was_not", "P8K2Q1", "U0PRIYA", 7, "e3"), "until 14:12"),
        (actions.UNDO_WAS_NOT, VALUE, ("undo", "P8K2Q1", "U0PRIYA", "e3"), "Taken back"),
        (actions.ACKNOWLEDGE, VALUE, ("acknowledge", "P8K2Q1", "U0PRIYA"), "Acknowledged"),
        (actions.OWN_VIEW, VALUE, ("own_view", "U0PRIYA", "P8K2Q1"), "SEV2 checkout-api"),
    ],
)  # fmt: skip
async def test_each_button_does_its_one_thing(action_id: str, value: str, call: Any, said: str, door: Door) -> None:
    answered = await door.click(action_id, value)

    assert answered.status == 200
    assert [one for one in door.desk.calls if one[0] != "say"] == [call]
    assert said in door.said()
    assert door.replies.shown[-1][0] == Place("C0PAYMENTS", "U0PRIYA", "https://hooks.slack.com/actions/T1/1/x")


@pytest.mark.parametrize(("action_id", "suffix"), [("sitrep.report_page", "html"), ("sitrep.report_csv", "csv")])
async def test_the_weekly_reports_buttons_give_the_file_to_who_clicks(action_id: str, suffix: str, door: Door) -> None:
    await door.click(action_id, "2026-W47")
    assert door.desk.calls == [
        ("whole", "U0PRIYA", "2026-W47", suffix), ("send_file", "U0PRIYA", "2026-W47", suffix, "<html>"),
    ]  # fmt: skip
    assert "in your messages" in door.said()
    await door.click(action_id, "2026-W99")
    assert door.said() == answers.NOT_OURS
    await door.click(action_id, "2026-W47", user="U0OTHER")
    assert door.said() == answers.REPORT_NOT_YOURS


async def test_a_channel_is_made_and_its_answer_says_who_could_not_be_invited(door: Door) -> None:
    await door.command("channel P8K2Q1")
    (call,) = [one for one in door.desk.calls if one[0] == "open"]
    assert call[1:3] == ("U0PRIYA", "P8K2Q1")
    assert "<#C0MADE1> is made, 2\u00a0people were invited, 1\u00a0person could not be" in door.said()
    await door.event({"type": "member_joined_channel", "channel": "C5", "user": "UBOT"})
    assert ("arrived", "C5", "UBOT") in door.desk.calls


@pytest.mark.parametrize("refused", list(answers.CHANNEL_REFUSED))
def test_each_refusal_of_a_channel_has_its_sentence(refused: Any) -> None:
    assert set(answers.CHANNEL_REFUSED) == {one for kind in get_args(Refusal) for one in get_args(kind) or (kind,)}
    for channel in ("", "C0INC1", "#<!channel>"):
        said = answers.opened(Opened(channel, refused)).text
        assert "{" not in said and "<!channel>" not in said


async def test_every_button_of_a_card_is_heard(door: Door) -> None:
    from bot.cards.render import render
    from bot.cards.samples import every_state

    offered = set()
    for state in every_state().values():
        for form in ("modern", "classic"):
            for block in render(state, form).blocks:
                if block["type"] in ("actions", "context_actions"):
                    offered |= {one["action_id"] for one in block["elements"]}
    assert len(offered) >= 8
    for action_id in offered:
        assert (await door.click(action_id)).status == 200, action_id


async def test_too_late_to_take_back_is_said(door: Door) -> None:
    door.desk.undo_works = False
    await door.click(actions.UNDO_WAS_NOT)
    assert "ten minutes are over" in door.said()


@pytest.mark.parametrize("outcome", list(answers.ACKNOWLEDGED))
async def test_each_outcome_of_an_acknowledgement_has_its_sentence(outcome: Any, door: Door) -> None:
    door.desk.acknowledges = outcome
    await door.click(actions.ACKNOWLEDGE)
    assert door.said() == answers.ACKNOWLEDGED[outcome]


@pytest.mark.parametrize("value", [None, "", "x", "{}", '{"i": "P1", "v": "7"}', "[" * 500])
async def test_a_value_that_is_not_ours_does_nothing(value: Any, door: Door) -> None:
    await door.click(actions.WAS_NOT, value)
    assert door.desk.calls == []
    assert "another version" in door.said()


async def test_somebody_who_may_not_see_it_changes_nothing(door: Door) -> None:
    await door.click(actions.ACKNOWLEDGE, user="U0MEI")
    assert door.said() == answers.NO_SUCH


# --- forms ----------------------------------------------------------------------------------------------------------


async def test_it_was_this_change_opens_a_form_and_the_label_is_what_comes_back(door: Door) -> None:
    await door.click(actions.WAS_CHANGE)
    trigger_id, view = door.screens.forms[-1]
    assert trigger_id == "1.2.y"
    assert view_violations(view) == []
    assert door.replies.shown == []
    answered = await door.submit(view, {"service": "payments-db", "fixed_by": "rolled back, hunter2"})
    assert answered.status == 200
    label = Label("change", "e3", "payments-db", "rolled back, <secret>")
    assert door.desk.calls[-1] == ("label", "P8K2Q1", "U0PRIYA", 7, label)
    assert "The cause: deploy a1b2c3d" in door.said()
    assert door.replies.shown[-1][0].channel == "C0PAYMENTS"


async def test_a_form_says_at_its_field_what_is_missing(door: Door) -> None:
    await door.command("label P8K2Q1")
    _, view = door.screens.forms[-1]
    before = len(door.desk.calls)
    for fields, wrong in (({}, "cause"), ({"cause": "external", "suspect": "e3"}, "suspect")):
        answered = await door.submit(view, fields)
        assert list(json.loads(answered.body)["errors"]) == [wrong]
    assert len(door.desk.calls) == before
    await door.submit(view, {"cause": "external", "suspect": "none", "service": "nothing offered"})
    assert door.desk.calls[-1] == ("label", "P8K2Q1", "U0PRIYA", 4, Label("external"))


async def test_where_there_are_no_forms_the_click_is_the_label(door: Door) -> None:
    door.screens.failing = [Denied("slack", "views.open: unknown_method")]
    await door.click(actions.WAS_CHANGE)
    assert door.desk.calls[-1] == ("was_change", "P8K2Q1", "U0PRIYA", 7, "e3")
    assert "it was deploy a1b2c3d" in door.said()


async def test_a_form_that_comes_too_late_is_said(door: Door) -> None:
    door.screens.failing = [Refused("slack", "views.open: expired_trigger_id", code="expired_trigger_id")]
    await door.click(actions.WAS_CHANGE)
    assert door.said() == answers.FORM_TOO_LATE
    request = Request("9.9.y", f"click:{actions.WAS_CHANGE}", "U0PRIYA", "C1", AT, value=VALUE, attempts=2)
    door.requests.left = [request]
    await door.listeners.resume()
    assert door.said() == answers.FORM_TOO_LATE
    assert not [call for call in door.desk.calls if call[0] in ("label", "was_change")]


async def test_a_form_of_somebody_who_may_not_see_the_incident_changes_nothing(door: Door) -> None:
    await door.click(actions.WAS_CHANGE)
    await door.submit(door.screens.forms[-1][1], {}, user="U0MEI")
    assert door.said() == answers.NO_SUCH
    await door.click(actions.WAS_CHANGE, ActionValue("P8K2Q1", 7, "e99").encode())
    assert door.said() == answers.NO_SUCH
    assert len(door.screens.forms) == 1


@pytest.mark.parametrize("metadata", ["", "{}", "[]", '{"i": 1, "v": 2, "m": "", "c": "C"}', "x" * 3000])
async def test_a_form_that_is_not_ours_does_nothing(metadata: str, door: Door) -> None:
    view = {"type": "modal", "callback_id": "sitrep.form.label", "private_metadata": metadata, "blocks": []}
    await door.submit(view, {})
    assert door.desk.calls == []


# --- commands about one incident --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "call", "said"),
    [
        ("catchup P8K2Q1", ("catch_up", "U0PRIYA", "P8K2Q1"), "Looked at again (run 2)"),
        ("timeline P8K2Q1", ("card", "U0PRIYA", "P8K2Q1"), "First 503 at POST /orders (e9)"),
        ("suspects P8K2Q1", ("card", "U0PRIYA", "P8K2Q1"), "score 0.86"),
        ("similar #1834", ("similar", "U0PRIYA", "P8K2Q1"), "Ended by: rolled back"),
        ("why P8K2Q1/e3", ("why", "U0PRIYA", "P8K2Q1", "e3"), "every requirement holds"),
        ("why P8K2Q1 e3", ("why", "U0PRIYA", "P8K2Q1", "e3"), "every requirement holds"),
        ("label P8K2Q1 e3 rolled back", ("label", "P8K2Q1", "U0PRIYA", 4, Label("change", "e3", None, "rolled back")),
         "Noted. The cause"),
        ("ask P8K2Q1 what changed?", ("ask", "U0PRIYA", "P8K2Q1", "what changed?"), "pool from 20 to 2 (e7)"),
        ("label P8K2Q1 unknown", ("label", "P8K2Q1", "U0PRIYA", 4, Label("unknown")), "Noted. The cause"),
    ],
)  # fmt: skip
async def test_each_command_about_an_incident_answers(typed: str, call: Any, said: str, door: Door) -> None:
    await door.command(typed)
    assert door.desk.calls[-1] == call
    assert said in door.said().replace("\u00a0", " ")
    _, answer = door.replies.shown[-1]
    assert violations(answer.text, answer.blocks) == []
    assert "<!here>" not in str(answer)
    await door.command(typed, user="U0MEI")
    assert door.said() in (answers.NO_SUCH, "No open incident that you may see.")


async def test_a_question_without_an_incident_is_about_the_channels_or_a_menu_keeps_it(door: Door) -> None:
    await door.command("ask why do 503 requests fail", channel="C0PAYMENTS")
    assert door.desk.calls[-1] == ("ask", "U0PRIYA", "P8K2Q1", "why do 503 requests fail")
    await door.command("ask why do 503 requests fail")
    menu = door.replies.shown[-1][1].blocks[1]["block_id"]
    await door.click(answers.PICK_INCIDENT, None, selected_option={"value": "P9Z7X3"}, block_id=menu)
    assert door.desk.calls[-1] == ("ask", "U0PRIYA", "P9Z7X3", "why do 503 requests fail")
    await door.command("ask", channel="C0PAYMENTS")
    _, view = door.screens.forms[-1]
    assert view_violations(view) == []
    await door.submit(view, {"question": "and now?"})
    assert door.desk.calls[-1] == ("ask", "U0PRIYA", "P8K2Q1", "and now?")
    assert "Only you see this answer" in door.said()


async def test_the_report_is_for_its_readers(door: Door) -> None:
    await door.command("report 2026-W47")
    assert door.desk.calls[-1] == ("weekly", "U0PRIYA", "2026-W47")
    assert "Week 47" in door.said()
    await door.command("report", user="U0MEI")
    assert door.said() == answers.REPORT_NOT_YOURS


@pytest.mark.parametrize(
    ("action_id", "fields", "call", "said"),
    [
        (actions.ASK, {"question": "why?"}, ("ask", "U0PRIYA", "P8K2Q1", "why?"), "pool from 20 to 2"),
        (actions.NOTE, {"note": "rolled back"}, ("note", "P8K2Q1", "U0PRIYA", "rolled back"), "under your name"),
        (actions.DRAFT, {"draft": "All of it."},
         ("publish", "U0PRIYA", "P8K2Q1", "All of it.", '{"m":["e7"],"w":true}'), "Published"),
        (actions.LABEL, {"cause": "unknown", "suspect": "none"}, ("label", "P8K2Q1", "U0PRIYA", 7, Label("unknown")),
         "Noted"),
    ],
)  # fmt: skip
async def test_each_form_does_its_one_thing(action_id: str, fields: Any, call: Any, said: str, door: Door) -> None:
    await door.click(action_id)
    _, view = door.screens.forms[-1]
    assert view_violations(view) == []
    if action_id not in (actions.LABEL, actions.DRAFT):
        empty = await door.submit(view, {})
        assert "errors" in json.loads(empty.body)
    await door.submit(view, fields)
    assert door.desk.calls[-1] == call
    assert said in door.said()
    forms = len(door.screens.forms)
    await door.click(action_id, user="U0MEI")
    assert (door.said(), len(door.screens.forms)) == (answers.NO_SUCH, forms)
    door.screens.failing = [Denied("slack", "unknown_method")]
    await door.click(action_id)
    assert door.said() in (answers.ASK_WHAT, answers.FORM_NOT_HERE, answers.LABEL_TYPED)


# --- what is said to the app ------------------------------------------------------------------------------------------


async def test_a_mention_is_answered_to_the_one_who_asked_in_a_cards_thread_about_that_card(door: Door) -> None:
    said = {"type": "app_mention", "user": "U0PRIYA", "channel": "C0PAYMENTS", "ts": "1.1"}
    await door.event(said | {"text": "<@UBOT> what changed, hunter2?"}, "Ev10")
    assert door.desk.calls[-1] == ("ask", "U0PRIYA", "P8K2Q1", "what changed, <secret>?")
    place, _ = door.replies.shown[-1]
    assert (place.channel, place.user, place.response_url) == ("C0PAYMENTS", "U0PRIYA", None)
    await door.event(said | {"text": "<@UBOT> why?", "thread_ts": "9.1"}, "Ev11")
    assert door.desk.calls[-1] == ("ask", "U0PRIYA", "P9Z7X3", "why?")
    assert door.replies.shown[-1][0].thread_ts == "9.1"
    await door.event(said | {"text": "<@UBOT>"}, "Ev12")
    assert door.said() == answers.ASK_WHAT
    before = len(door.replies.shown)
    await door.event(said | {"text": "<@UBOT> why?", "thread_ts": "9.1"}, "Ev11")
    await door.event(said | {"text": "<@UBOT> why?", "bot_id": "B1"}, "Ev13")
    assert len(door.replies.shown) == before, "sent twice, or by a bot"
    await door.event(said | {"text": "<@UBOT> P8K2Q1?", "user": "U0MEI"}, "Ev14")
    assert "20 to 2" not in door.said()


async def test_a_mention_that_may_mean_several_incidents_shows_a_menu_that_keeps_the_question(door: Door) -> None:
    event = {"type": "app_mention", "user": "U0PRIYA", "channel": "C1", "ts": "1.1", "text": "<@UBOT> what changed?"}
    await door.event(event, "Ev10")
    menu = door.replies.shown[-1][1].blocks[1]["block_id"]
    await door.click(answers.PICK_INCIDENT, None, selected_option={"value": "P9Z7X3"}, block_id=menu)
    assert door.desk.calls[-1] == ("ask", "U0PRIYA", "P9Z7X3", "what changed?")


async def test_the_assistants_panel_answers_about_the_channel_that_somebody_came_from(door: Door) -> None:
    opened = {"user_id": "U0PRIYA", "channel_id": "D1", "thread_ts": "7.1", "context": {"channel_id": "C0PAYMENTS"}}
    await door.event({"type": "assistant_thread_started", "assistant_thread": opened}, "Ev20")
    assert door.screens.assistant[-1][:2] == ("D1", "7.1")
    said = {"type": "message", "channel_type": "im", "user": "U0PRIYA", "channel": "D1", "ts": "7.2"}
    await door.event(said | {"text": "what changed?", "thread_ts": "7.1"}, "Ev21")
    assert door.desk.calls[-1] == ("ask", "U0PRIYA", "P8K2Q1", "what changed?")
    assert [status for _, _, status in door.screens.assistant[1:]] == ["is looking at the evidence…", ""]
    channel, thread, answer = door.screens.direct[-1]
    assert (channel, thread) == ("D1", "7.1")
    assert "20 to 2" in answer.text
    door.screens.failing = [Denied("slack", "unknown_method"), Denied("slack", "unknown_method")]
    await door.event(said | {"text": "P9Z7X3 why?"}, "Ev22")
    assert door.desk.calls[-1] == ("ask", "U0PRIYA", "P9Z7X3", "why?")
    before = len(door.desk.calls)
    for other in ({"subtype": "message_changed"}, {"bot_id": "B1"}, {"channel_type": "channel"}):
        await door.event(said | {"text": "x"} | other, f"Ev3{before}{other}")
    assert len(door.desk.calls) == before


async def test_the_home_tab_is_published_when_opened_after_a_click_and_when_something_changed(door: Door) -> None:
    await door.event({"type": "app_home_opened", "user": "U0PRIYA", "channel": "D1", "tab": "home"}, "Ev40")
    view = door.screens.homes["U0PRIYA"]
    assert view_violations(view) == []
    shown = json.dumps(view, ensure_ascii=False)
    for words in ("P8K2Q1", "an experiment runs", "$0.31 of $20.00 today", "Your vote is missing", "no model is"):
        assert words in shown
    assert "<!channel>" not in shown
    await door.event({"type": "app_home_opened", "user": "U0MEI", "channel": "D2", "tab": "home"}, "Ev41")
    assert "P8K2Q1" not in json.dumps(door.screens.homes["U0MEI"])
    await door.event({"type": "app_home_opened", "user": "U0TOMAS", "channel": "D3", "tab": "messages"}, "Ev42")
    assert "U0TOMAS" not in door.screens.homes

    shown_before: dict[str, str] = {}
    assert await door.listeners.refresh_homes(shown_before) == 2
    assert await door.listeners.refresh_homes(shown_before) == 0
    door.desk.incidents.pop(0)
    assert await door.listeners.refresh_homes(shown_before) == 1
    assert "P8K2Q1" not in json.dumps(door.screens.homes["U0PRIYA"])

    door.screens.homes.clear()
    await door.click(actions.HELPFUL, channel=None)
    assert list(door.screens.homes) == ["U0PRIYA"]
    assert door.screens.direct[-1][0] == "U0PRIYA"


async def test_triage_this_looks_at_the_incident_that_a_message_names(door: Door) -> None:
    for text, channel, wanted in (("look at P9Z7X3 please", "C1", "P9Z7X3"), ("it is slow", "C0PAYMENTS", "P8K2Q1")):
        body = {
            "type": "message_action", "callback_id": "sitrep.triage_message", "trigger_id": f"{channel}.z",
            "user": {"id": "U0PRIYA"}, "team": {"id": "T1"}, "channel": {"id": channel},
            "message": {"type": "message", "text": text, "ts": "1.1"}, "message_ts": "1.1",
            "response_url": "https://hooks.slack.com/app/T1/1/x",
        }  # fmt: skip
        await door._send(urlencode({"payload": json.dumps(body)}), "application/x-www-form-urlencoded")
        assert door.desk.calls[-1][:2] == ("triage", wanted)


async def test_in_the_incidents_channel_its_mark_is_enough(door: Door) -> None:
    await door.command("why e3", channel="C0PAYMENTS")
    assert door.desk.calls[-1] == ("why", "U0PRIYA", "P8K2Q1", "e3")
    await door.command("why", channel="C0PAYMENTS")
    assert door.said() == answers.WHICH_ITEM
    await door.command("why e3")
    menu = door.replies.shown[-1][1].blocks[1]["block_id"]
    await door.click(answers.PICK_INCIDENT, None, selected_option={"value": "P9Z7X3"}, block_id=menu)
    assert door.desk.calls[-1] == ("why", "U0PRIYA", "P9Z7X3", "e3")


async def test_what_nobody_has_looked_at_says_how_to_look(door: Door) -> None:
    door.desk.failing = None

    async def untriaged(user_id: str, incident_id: str) -> Any:
        raise NotTriaged("not yet")

    door.desk.catch_up = untriaged  # type: ignore[method-assign]
    await door.command("catchup P8K2Q1")
    assert door.said() == answers.NOT_TRIAGED


async def test_merge_takes_two_ids_and_a_menu_the_second(door: Door) -> None:
    await door.command("merge P8K2Q1 into P9Z7X3 same storm")
    assert door.said() == answers.ONLY_ADMINS_OF_TEAMS
    door.desk.admins.add("U0PRIYA")
    await door.command("merge P8K2Q1 into P9Z7X3 same storm")
    assert door.desk.calls[-1] == ("merge", "U0PRIYA", "P8K2Q1", "P9Z7X3", "same storm")
    assert "is part of" in door.said()
    await door.command("merge P9Z7X3", channel="C0PAYMENTS")
    assert door.desk.calls[-1] == ("merge", "U0PRIYA", "P8K2Q1", "P9Z7X3", "asked in Slack")
    await door.command("merge P9Z7X3")
    select = door.replies.shown[-1][1].blocks[1]
    assert [one["value"] for one in select["elements"][0]["options"]] == ["P8K2Q1"]
    chosen = {"selected_option": {"value": "P8K2Q1"}, "block_id": select["block_id"]}
    await door.click(answers.PICK_INCIDENT, None, **chosen)
    assert door.desk.calls[-1] == ("merge", "U0PRIYA", "P9Z7X3", "P8K2Q1", "asked in Slack")
    await door.command("merge")
    assert "Name both" in door.said()


async def test_split_takes_a_merged_incident_or_services(door: Door) -> None:
    await door.command("split PMERGED not the same")
    assert door.said() == answers.ONLY_ADMINS_OF_TEAMS
    door.desk.admins.add("U0PRIYA")
    await door.command("split PMERGED not the same")
    assert door.desk.calls[-1] == ("split", "U0PRIYA", "PMERGED", "not the same")
    await door.command("split P8K2Q1 search other cause")
    assert door.desk.calls[-1] == ("split_services", "U0PRIYA", "P8K2Q1", ("search",), "other cause")
    await door.command("split P8K2Q1")
    assert "merged into it: `PMERGED`; alerts of: `checkout-api`, `search`" in door.said()


# --- when it goes wrong ---------------------------------------------------------------------------------------------


async def test_an_error_is_a_fixed_sentence_with_a_reference_that_the_log_knows(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    door.desk.failing = RuntimeError("password=hunter2")
    await door.click(actions.WAS_NOT)

    assert "hunter2" not in door.said()
    assert "`P8K2Q1`" in door.said()
    reference = door.said().split("reference `")[1].split("`")[0]
    assert reference in caplog.text
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text


async def test_slow_work_is_acknowledged_before_slack_gives_up(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.listeners.app.ACK_SECONDS", 0.02)
    door.desk.delay_seconds = 0.3
    begun = asyncio.get_running_loop().time()
    answered = await door.click(actions.WAS_NOT)
    assert answered.status == 200
    assert asyncio.get_running_loop().time() - begun < 0.28
    await asyncio.sleep(0.3)
    assert "Ruled out" in door.said()


async def test_what_the_store_takes_too_slowly_is_kept_elsewhere_before_it_is_acknowledged(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.listeners.app.ACK_SECONDS", 0.02)
    accept, free, order = door.requests.accept, asyncio.Event(), list[str]()

    async def accepting(request: Request) -> bool:
        await free.wait()
        order.append("stored")
        return await accept(request)

    async def ack() -> None:
        order.extend([*door.requests.aside, "acknowledged"])

    door.requests.accept = accepting  # type: ignore[method-assign]
    command = {"trigger_id": "1.2.x", "user_id": "U0PRIYA", "channel_id": "C1", "text": "status"}
    working = asyncio.ensure_future(door.listeners.command(ack, command))
    while "acknowledged" not in order:
        await asyncio.sleep(0.001)
    assert order == ["1.2.x", "acknowledged"]
    free.set()
    await working
    assert order[-1] == "stored" and "open incidents" in door.said()
    free.clear()
    event = {"type": "app_mention", "user": "U0PRIYA", "channel": "C1", "text": "<@UBOT> what changed?"}
    answering = asyncio.ensure_future(door.event(event, "Ev77"))
    while len(door.requests.aside) < 2:
        await asyncio.sleep(0.001)
    free.set()
    assert (await answering).status == 200


async def test_what_is_asked_is_stored_before_it_is_acknowledged(door: Door) -> None:
    order: list[str] = []
    accept = door.requests.accept

    async def accepting(request: Request) -> bool:
        await asyncio.sleep(0.02)
        order.append("stored")
        return await accept(request)

    async def ack() -> None:
        order.append("acknowledged")

    door.requests.accept = accepting  # type: ignore[method-assign]
    command = {"trigger_id": "1.2.x", "user_id": "U0PRIYA", "channel_id": "C1", "text": "pause hunter2 is wrong"}
    await door.listeners.command(ack, command)
    assert order == ["stored", "acknowledged"]
    assert door.requests.kept["1.2.x"].words == "pause <secret> is wrong"


async def test_what_is_sent_twice_is_done_once(door: Door) -> None:
    async def ack() -> None:
        pass

    command = {"trigger_id": "1.2.x", "user_id": "U0PRIYA", "channel_id": "C1", "text": "triage P8K2Q1"}
    for _ in range(2):
        await door.listeners.command(ack, command)
    assert [call[0] for call in door.desk.calls] == ["find", "triage"]
    assert len(door.replies.shown) == 1


async def test_what_another_process_left_is_answered_at_the_next_start_or_given_up(door: Door) -> None:
    door.requests.left = [
        Request("1.1.x", "command", "U0PRIYA", "C1", AT, words="triage P8K2Q1", attempts=2),
        Request("1.2.x", "command", "U0MEI", "C1", AT, words="status", attempts=4),
    ]
    assert await door.listeners.resume() == 2
    assert [place.user for place, _ in door.replies.shown] == ["U0PRIYA", "U0MEI"]
    assert "Looking at `P8K2Q1`" in door.replies.shown[0][1].text
    assert door.said() == answers.lost().text
    assert door.requests.ended == ["1.1.x", "1.2.x"]


async def test_a_store_that_fails_is_said_and_still_acknowledged(door: Door) -> None:
    async def broken(request: Request) -> bool:
        raise OSError("disk full")

    door.requests.accept = broken  # type: ignore[method-assign]
    assert (await door.command("status")).status == 200
    assert "did not work on Sitrep's side" in door.said()


async def test_somebody_who_waits_is_told_that_the_answer_comes(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.listeners.app.SLOW_SECONDS", 0.02)
    door.desk.delay_seconds = 0.1
    await door.click(actions.OWN_VIEW)
    await asyncio.gather(*door.listeners._working)
    assert door.replies.shown[0][1].text == answers.working().text
    assert "SEV2" in door.said()


async def test_an_answer_that_cannot_be_shown_breaks_nothing(door: Door) -> None:
    door.replies.failing = [Unavailable("slack", "no answer")]
    assert (await door.click(actions.HELPFUL)).status == 200
    await door.click(actions.HELPFUL)
    assert len(door.replies.shown) == 1


async def test_an_answer_that_a_channel_refuses_goes_to_the_person_directly(door: Door) -> None:
    door.replies.failing = [Denied("slack", "chat.postEphemeral: not_in_channel")]
    await door.click(actions.HELPFUL)
    ((person, thread_ts, answer),) = door.screens.direct
    assert (person, thread_ts) == ("U0PRIYA", None)
    assert "Counted as helpful" in answer.text
    door.replies.failing = [Denied("slack", "x")]
    door.screens.failing = [Denied("slack", "y")]
    assert (await door.click(actions.HELPFUL)).status == 200


# --- events -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "heard"),
    [
        ({"type": "member_joined_channel", "channel": "C1", "user": "U1"}, ("joined", "C1", "U1")),
        ({"type": "member_left_channel", "channel": "C1", "user": "U1"}, ("left", "C1", "U1")),
        ({"type": "channel_shared", "channel": "C1"}, ("channel_changed", "C1")),
        ({"type": "channel_rename", "channel": {"id": "C1", "name": "x"}}, ("channel_changed", "C1")),
        ({"type": "channel_archive", "channel": "C1", "user": "U1"}, ("channel_changed", "C1")),
        ({"type": "shared_channel_invite_accepted", "channel": {"id": "C1"}}, ("channel_changed", "C1")),
        ({"type": "message", "subtype": "channel_convert_to_public", "channel": "C1"}, ("channel_changed", "C1")),
        ({"type": "channel_shared"}, ("reconnected",)),
        ({"type": "subteam_members_changed", "subteam_id": "S1"}, ("groups_changed",)),
        ({"type": "user_change", "user": {"id": "U1"}}, ("person_changed", "U1")),
        ({"type": "team_join", "user": {"id": "U1"}}, ("person_changed", "U1")),
    ],
)
async def test_what_changes_who_reads_is_passed_on(event: Any, heard: Any, door: Door) -> None:
    assert (await door.event(event)).status == 200
    assert door.readers.heard == [heard]


async def test_that_the_app_is_gone_is_passed_on_and_other_peoples_tokens_are_not(door: Door) -> None:
    await door.event({"type": "tokens_revoked", "tokens": {"oauth": ["U1"]}}, "Ev60")
    await door.event({"type": "tokens_revoked", "tokens": {"oauth": [], "bot": ["UBOT"]}}, "Ev61")
    await door.event({"type": "app_uninstalled"}, "Ev62")
    assert door.gone == ["tokens_revoked", "app_uninstalled"]


async def test_slacks_own_samples_are_understood(door: Door, wire: Any) -> None:
    for sample in wire("slack", "block_actions").values():
        body = urlencode({"payload": json.dumps(sample)})
        request = AsyncBoltRequest(body=body, headers={"content-type": "application/x-www-form-urlencoded"})
        assert (await door.app.async_dispatch(request)).status == 404  # not a button of ours
    for sample in wire("slack", "socket_slash_commands").values():
        payload = sample["payload"] | {"command": "/sitrep", "text": "help"}
        request = AsyncBoltRequest(mode="socket_mode", body=payload, headers={})
        assert (await door.app.async_dispatch(request)).status == 200


# --- signed HTTP ------------------------------------------------------------------------------------------------------


@dataclass
class Http:
    client: httpx.AsyncClient
    door: Door

    async def post(self, body: bytes, *, kind: str = "application/x-www-form-urlencoded", sign: bool = True,
                   age: int = 0, **headers: str) -> httpx.Response:  # fmt: skip
        timestamp = str(int(AT.timestamp()) - age)
        if sign:
            digest = hmac.new(SECRET.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
            headers |= {"x-slack-request-timestamp": timestamp, "x-slack-signature": f"v0={digest}"}
        answered = await self.client.post("/slack/events", content=body, headers={"content-type": kind, **headers})
        await self.door.settled()
        return answered


@pytest.fixture
async def http(door: Door) -> AsyncIterator[Http]:
    def verify(headers: Any, body: bytes, at: Any) -> None:
        verify_signature(["newer", SECRET], headers, body, at)

    route = slack_route(door.app, verify, ManualClock(AT), door.readers.reconnected)
    transport = httpx.ASGITransport(Starlette(routes=[route]))
    async with httpx.AsyncClient(transport=transport, base_url="http://bot") as client:
        yield Http(client, door)


COMMAND = urlencode({"command": "/sitrep", "text": "help", "user_id": "U0PRIYA", "channel_id": "C1"}).encode()


async def test_a_signed_command_is_answered(http: Http) -> None:
    assert (await http.post(COMMAND)).status_code == 200
    assert "/sitrep triage" in http.door.said()


@pytest.mark.parametrize("change", [{"sign": False}, {"age": 301}, {"age": -301}])
async def test_what_is_not_signed_now_gets_401_and_does_nothing(change: Any, http: Http) -> None:
    answered = await http.post(COMMAND, **change)
    assert answered.status_code == 401
    assert list(answered.json()) == ["error"]
    assert http.door.replies.shown == []


async def test_ssl_check_does_not_bypass_the_signature(http: Http) -> None:
    assert (await http.post(b"token=random&ssl_check=1", sign=False)).status_code == 200
    smuggled = COMMAND + b"&ssl_check=1"
    assert (await http.post(smuggled, sign=False)).status_code == 200
    bad = {"x-slack-signature": "v0=00", "x-slack-request-timestamp": str(int(AT.timestamp()))}
    assert (await http.post(smuggled, sign=False, **bad)).status_code == 401
    assert http.door.desk.calls == []
    assert http.door.replies.shown == []


async def test_the_address_is_confirmed_to_slack(http: Http) -> None:
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw1aB", "token": "x"}).encode()
    answered = await http.post(body, kind="application/json")
    assert answered.status_code == 200
    assert "3eZbrw1aB" in answered.text


async def test_dropped_events_are_made_up_for(http: Http) -> None:
    body = json.dumps({"type": "app_rate_limited", "minute_rate_limited": 1, "team_id": "T1"}).encode()
    assert (await http.post(body, kind="application/json")).status_code == 200
    assert http.door.readers.heard == [("reconnected",)]


@pytest.mark.parametrize("body", [b"\xff\xfe", b"payload=%7Bhalf", b"{", b"", b"payload=[]", b"[" * 100_000])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
async def test_a_signed_body_that_cannot_be_read_breaks_nothing(body: bytes, kind: str, http: Http) -> None:
    answered = await http.post(body, kind=kind)
    assert answered.status_code in (200, 404)


async def test_a_body_over_the_limit_is_refused(http: Http) -> None:
    assert (await http.post(b"x" * (1024 * 1024 + 1))).status_code == 413


# --- private answers ------------------------------------------------------------------------------------------------


@pytest.fixture
async def replies(serve: Any) -> AsyncIterator[tuple[Callable[[], SlackReplies], Any]]:
    served = await serve()
    async with aiohttp.ClientSession() as session:
        web = SlackWeb(web_client("xoxb-1", f"{served.url}/api/", session))
        yield lambda: SlackReplies(web, session, f"{served.url}/api/", timeout_seconds=0.3), served


ANSWER = Answer("only you see this", ({"type": "divider"},))


async def test_a_private_answer_goes_to_the_response_url(replies: Any) -> None:
    made, served = replies
    await made().to_person(Place("C1", "U1", f"{served.url}/_hooks/response/1"), ANSWER)
    (asked,) = served.asked
    sent = json.loads(asked.body)
    assert asked.target == "/_hooks/response/1"
    assert (sent["response_type"], sent["replace_original"], sent["blocks"]) == (
        "ephemeral", False, [{"type": "divider"}],
    )  # fmt: skip
    assert "authorization" not in asked.headers


@pytest.mark.parametrize("status", [404, 302, 500, None])
async def test_an_expired_response_url_falls_back_to_an_ephemeral_post(status: Any, replies: Any) -> None:
    made, served = replies
    fine = (200, {"content-type": "application/json"}, b'{"ok": true}')
    broken = None if status is None else (status, {"location": "https://evil.example"}, b"")
    served.answer = lambda asked: broken if "_hooks" in asked.target else fine
    await made().to_person(Place("C1", "U1", f"{served.url}/_hooks/response/1", "1.2"), ANSWER)
    last = served.asked[-1]
    assert last.target == "/api/chat.postEphemeral"
    assert json.loads(last.body)["thread_ts"] == "1.2"
    assert json.loads(last.body)["user"] == "U1"


@pytest.mark.parametrize("url", ["https://evil.example/x", "http://127.0.0.1:1/x", "file:///etc/passwd", "https://["])
async def test_a_response_url_of_another_host_is_never_called(url: str, replies: Any) -> None:
    made, served = replies
    served.answer = lambda _: (200, {"content-type": "application/json"}, b'{"ok": true}')
    await made().to_person(Place("C1", "U1", url), ANSWER)
    assert [asked.target for asked in served.asked] == ["/api/chat.postEphemeral"]


async def test_an_answer_that_nobody_can_be_shown_raises(replies: Any) -> None:
    made, served = replies
    served.answer = lambda _: (500, {}, b"")
    with pytest.raises(Unavailable):
        await made().to_person(Place("C1", "U1"), ANSWER)


async def test_every_private_answer_is_inside_slacks_limits(door: Door) -> None:
    from dataclasses import replace

    from bot.cards.samples import every_state
    from tests.support.desk import P1

    many = [replace(P1, id=f"P{number}", title="<!channel> " * 60) for number in range(300)]
    made = [
        help_for(parse("help")), help_for(parse("x" * 500)), answers.triage_started(P1, 3),
        answers.status(await FakeDesk(incidents=many).status_for("U0PRIYA")), answers.failed("ab12", "P1"),
    ]  # fmt: skip
    made += [answers.own_view(state, form) for state in every_state().values() for form in ("modern", "classic")]
    for answer in made:
        assert violations(answer.text, answer.blocks) == []
    menu = answers.menu(many, "", "1.2.x" * 80)
    assert len(menu.blocks[1]["elements"][0]["options"]) == 100
    assert all(len(one["text"]["text"]) <= 75 for one in menu.blocks[1]["elements"][0]["options"])


# --- the app's manifest -----------------------------------------------------------------------------------------------

SCOPES = {
    "chat.postMessage": {"chat:write"}, "chat.update": {"chat:write"}, "chat.postEphemeral": {"chat:write"},
    "conversations.info": {"channels:read", "groups:read"}, "conversations.members": {"channels:read", "groups:read"},
    "users.conversations": {"channels:read", "groups:read"}, "conversations.list": {"channels:read", "groups:read"},
    "conversations.history": {"channels:history", "groups:history"}, "users.list": {"users:read", "users:read.email"},
    "conversations.replies": {"channels:history", "groups:history"}, "users.info": {"users:read", "users:read.email"},
    "views.open": set(), "views.publish": set(), "assistant.threads.setStatus": {"assistant:write"},
    "assistant.threads.setSuggestedPrompts": {"assistant:write"}, "usergroups.list": {"usergroups:read"},
    "usergroups.users.list": {"usergroups:read"}, "auth.test": set(), "conversations.open": {"im:write"},
    "files.getUploadURLExternal": {"files:write"}, "files.completeUploadExternal": {"files:write"},
    "conversations.join": {"channels:join"}, "conversations.create": {"groups:write"},
    "conversations.invite": {"groups:write"}, "conversations.setTopic": {"groups:write"},
    "conversations.setPurpose": {"groups:write"}, "users.lookupByEmail": {"users:read.email"},
}  # fmt: skip
"""What Slack's reference says each method needs for channels of both kinds."""
EVENT_SCOPES = {"app_mention": {"app_mentions:read"}, "message.im": {"im:history"}}
"""What Slack's reference says each event needs, of those that need more than the methods do."""


def test_the_manifest_asks_for_the_fewest_scopes_and_explains_each() -> None:
    import yaml

    text = (ROOT / "docs" / "slack" / "manifest.yaml").read_text(encoding="utf-8")
    manifest = yaml.safe_load(text)
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "integrations" / "slack").glob("*.py"))
    called = set(
        re.findall(r'"((?:chat|conversations|users|usergroups|auth|views|assistant|files)\.[a-zA-Z.]+)"', source)
    )
    assert called == set(SCOPES)
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == (
        set().union(*SCOPES.values(), *EVENT_SCOPES.values()) | {"commands"}
    )
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == set(doctor_outside.SCOPES) | set(doctor_outside.OPTIONAL)
    for scope in manifest["oauth_config"]["scopes"]["bot"]:
        (line,) = [one for one in text.splitlines() if one.strip().startswith(f"- {scope} ")]
        assert "#" in line, scope
    assert [one["command"] for one in manifest["features"]["slash_commands"]] == [COMMAND_NAME]


async def test_every_event_of_the_manifest_is_heard(door: Door) -> None:
    import yaml

    manifest = yaml.safe_load((ROOT / "docs" / "slack" / "manifest.yaml").read_text(encoding="utf-8"))
    events = manifest["settings"]["event_subscriptions"]["bot_events"]
    assert set(EVENT_SCOPES) <= set(events)
    for number, name in enumerate(events):
        door.readers.heard.clear()
        door.ear.heard.clear()
        kept = len(door.requests.kept)
        kind, _, where = name.partition(".")
        event = {"type": kind, "channel": "C1", "user": "U1", "text": "x", "channel_type": where,
                 "assistant_thread": {"user_id": "U1", "channel_id": "D1", "thread_ts": "1.1"}}  # fmt: skip
        await door.event(event, f"Ev9{number}")
        assert door.readers.heard or door.gone or door.ear.heard or len(door.requests.kept) > kept, name
    (shortcut,) = manifest["features"]["shortcuts"]
    assert shortcut["callback_id"] == TRIAGE_MESSAGE


CONNECT_EVENTS = {
    "shared_channel_invite_accepted", "shared_channel_invite_approved", "shared_channel_invite_received",
}  # fmt: skip
"""Heard where somebody subscribes to them: they need scopes over Slack Connect's invitations that nothing else does.
The hourly check finds a pending invitation without them."""


def test_the_manifest_subscribes_to_every_event_that_is_listened_for() -> None:
    import yaml

    manifest = yaml.safe_load((ROOT / "docs" / "slack" / "manifest.yaml").read_text(encoding="utf-8"))
    subscribed = set(manifest["settings"]["event_subscriptions"]["bot_events"])
    source = (ROOT / "bot" / "listeners" / "app.py").read_text(encoding="utf-8")
    single = set(re.findall(r'app\.event\("([a-z_.]+)"\)', source)) | {"app_mention", "app_home_opened"}
    lists = {*CHANNEL_EVENTS, *GROUP_EVENTS, *PERSON_EVENTS, *ASSISTANT_EVENTS}
    messages = {one for one in subscribed if one.startswith("message.")}
    assert messages == {"message.channels", "message.groups", "message.im"}
    assert (single - {"message"}) | lists == (subscribed - messages) | CONNECT_EVENTS
    assert [one["callback_id"] for one in manifest["features"]["shortcuts"]] == [TRIAGE_MESSAGE]


# --- what is heard --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", [None, "bot_message", "message_changed"])
async def test_messages_and_new_channels_are_told_to_the_ear_before_they_are_acknowledged(
    door: Door, subtype: str | None
) -> None:
    event = {"type": "message", "channel": "C0ALERTS", "text": "x", "bot_id": "B1", "ts": "1.000001"}
    answered = await door.event({**event, "subtype": subtype} if subtype else event)
    assert answered.status == 200
    assert (await door.event({"type": "channel_created", "channel": {"id": "C0NEW", "name": "inc-1"}})).status == 200
    await door.event({**event, "channel_type": "im"})
    assert [one["type"] for one in door.ear.heard] == ["message", "channel_created"]
    door.ear.failing = True
    assert (await door.event(event)).status == 200


@pytest.mark.parametrize(
    ("message", "call", "said"),
    [
        ({"text": "orders fail, hunter2\nsince noon"}, ("declare", "U0PRIYA", "orders fail, <secret>"), "Declared"),
        ({"text": "", "attachments": [{"title": "[FIRING] x"}]}, ("declare", "U0PRIYA", "[FIRING] x"), "Declared"),
        ({"text": "P8K2Q1: checkout is down"}, ("triage", "P8K2Q1", "U0PRIYA"), "Looking at"),
        ({"text": "see (P9Z7X3)."}, ("triage", "P9Z7X3", "U0PRIYA"), "Looking at"),
        ({"text": "see PNOTHERE1."}, ("declare", "U0PRIYA", "see PNOTHERE1."), "Declared"),
        ({"blocks": "x"}, ("declare", "U0PRIYA", ""), "Say what is wrong"),
        ("no message", ("declare", "U0PRIYA", ""), "Say what is wrong"),
    ],
)
async def test_a_message_is_triaged_by_its_shortcut(door: Door, message: Any, call: tuple[Any, ...], said: str) -> None:
    await door.shortcut(message)
    assert door.desk.calls[-1][:3] == call
    assert said in door.said()


# --- an incident's life ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "call", "said"),
    [
        ("declare orders fail", ("declare", "U0PRIYA", "orders fail", "C0OTHER", "1.2.x"), "Declared `S0000000001`"),
        ("declare", ("declare", "U0PRIYA", "", "C0OTHER", "1.2.x"), "Say what is wrong"),
        ("ack P9Z7X3", ("say", "P9Z7X3", "U0PRIYA", "acknowledged"), "Acknowledged. The card follows."),
        ("ack P8K2Q1", ("acknowledge", "P8K2Q1", "U0PRIYA"), "Acknowledged. The card follows."),
        ("mitigated P8K2Q1", ("say", "P8K2Q1", "U0PRIYA", "mitigated"), "no longer hurt"),
        ("resolve P9Z7X3", ("say", "P9Z7X3", "U0PRIYA", "resolved"), "asks for the cause"),
        ("resolve P8K2Q1", ("say", "P8K2Q1", "U0PRIYA", "resolved"), "resolve it there"),
    ],
)  # fmt: skip
async def test_a_persons_word_about_an_incident_is_passed_on_and_answered(
    door: Door, text: str, call: tuple[Any, ...], said: str
) -> None:
    await door.command(text)
    assert door.desk.calls[-1] == call
    assert said in door.said()


async def test_who_is_no_member_is_told_that_nothing_was_declared(door: Door) -> None:
    await door.command("declare all is lost", user="U0MEI")
    assert "nothing was declared" in door.said()


@pytest.mark.parametrize(("action_id", "said"), [(actions.MITIGATED, "no longer hurt"), (actions.RESOLVE, "Resolved")])
async def test_the_buttons_of_a_life_say_the_same(door: Door, action_id: str, said: str) -> None:
    value = ActionValue("P9Z7X3", 7, "").encode()
    await door.click(action_id, value)
    assert door.desk.calls[-1][:3] == ("say", "P9Z7X3", "U0PRIYA")
    assert said in door.said()
