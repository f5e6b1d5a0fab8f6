"""A file for one person: the documented way of three calls and one upload, and every way in which it can fail."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from integrations.errors import Denied, IntegrationError, Malformed, Unavailable
from integrations.http import Egress, aiohttp_session
from integrations.slack import SlackFiles, SlackWeb, web_client

PAGE = b"<!doctype html><p>caf\xc3\xa9</p>"


class Slack:
    """Answers as docs.slack.dev/messaging/working-with-files shows."""

    def __init__(self) -> None:
        self.upload_url: str | None = None
        self.upload_status = 200
        self.answers: dict[str, dict[str, Any]] = {}
        self.got: list[tuple[str, Any]] = []
        self.url = ""

    def answer(self, asked: Any) -> Any:
        path = urlsplit(asked.target).path
        if path.startswith("/upload/"):
            self.got.append(("upload", asked.body))
            return self.upload_status, {}, b"OK - 30"
        method = path.rsplit("/", 1)[-1]
        query = {name: values[0] for name, values in parse_qs(urlsplit(asked.target).query).items()}
        self.got.append((method, json.loads(asked.body) if asked.body[:1] == b"{" else query))
        known = {
            "conversations.open": {"ok": True, "channel": {"id": "D0PRIYA01"}},
            "files.getUploadURLExternal": {
                "ok": True, "upload_url": self.upload_url or f"{self.url}/upload/v1/ABC", "file_id": "F0PAGE001",
            },
            "files.completeUploadExternal": {"ok": True, "files": [{"id": "F0PAGE001", "title": "Sitrep P1"}]},
        }  # fmt: skip
        body = json.dumps(self.answers.get(method) or known[method]).encode()
        return 200, {"content-type": "application/json"}, body


@pytest.fixture
async def slack(serve):
    """`await slack.send()` sends the page."""
    served, world = await serve(), Slack()
    served.answer, world.url = world.answer, served.url
    session: aiohttp.ClientSession = aiohttp_session(Egress([served.url], ()), "slack")
    web = SlackWeb(web_client("xoxb-1", f"{served.url}/api/", session))
    files = SlackFiles(web, session, f"{served.url}/api/", settle_seconds=0)
    world.send = lambda **more: files.send_privately("U0PRIYA01", "sitrep-P1.html", "Sitrep P1", "a copy", PAGE, **more)
    world.keep = lambda: files.keep_picture("week.png", "Week", PAGE)
    yield world
    await session.close()


async def test_the_file_goes_into_the_conversation_of_that_person(slack):
    await slack.send()
    assert slack.got == [
        ("conversations.open", {"users": "U0PRIYA01"}),
        ("files.getUploadURLExternal", {"filename": "sitrep-P1.html", "length": str(len(PAGE))}),
        ("upload", PAGE),
        (
            "files.completeUploadExternal",
            {"files": [{"id": "F0PAGE001", "title": "Sitrep P1"}], "channel_id": "D0PRIYA01",
             "initial_comment": "a copy"},
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(("there", "sent"), [("sitrep-P1.html", False), ("sitrep-P2.html", True)])
async def test_a_file_that_is_there_already_is_not_sent_again(slack, there, sent):
    messages = [{"text": "hi"}, {"files": [{"name": there}]}]
    slack.answers["conversations.history"] = {"ok": True, "messages": messages}
    await slack.send(since=datetime(2026, 11, 24, 14, 5, tzinfo=UTC))
    assert slack.got[1] == (
        "conversations.history",
        {"channel": "D0PRIYA01", "oldest": "1795529100.000000", "inclusive": "true", "limit": "100"},
    )
    assert ("upload" in [name for name, _ in slack.got]) is sent


@pytest.mark.parametrize(
    "address",
    ["https://files.slack.com.evil.example/upload/v1/A", "http://169.254.169.254/upload/", "file:///etc", "x"],
)
async def test_nothing_is_sent_to_an_address_that_is_not_slacks(slack, address):
    slack.upload_url = address
    with pytest.raises(Denied, match="not Slack's"):
        await slack.send()
    assert "upload" not in [name for name, _ in slack.got]
    assert "files.completeUploadExternal" not in [name for name, _ in slack.got]


@pytest.mark.parametrize(("status", "kind"), [(500, Unavailable), (429, Unavailable), (403, Denied), (302, Denied)])
async def test_an_upload_that_is_refused_is_not_completed(slack, status, kind):
    slack.upload_status = status
    with pytest.raises(kind):
        await slack.send()
    assert "files.completeUploadExternal" not in [name for name, _ in slack.got]


@pytest.mark.parametrize("method", ["conversations.open", "files.getUploadURLExternal", "files.completeUploadExternal"])
async def test_a_missing_scope_names_itself(slack, method):
    slack.answers[method] = {"ok": False, "error": "missing_scope", "needed": "files:write"}
    with pytest.raises(Denied, match="add the scope files:write"):
        await slack.send()


@pytest.mark.parametrize("method", ["conversations.open", "files.getUploadURLExternal"])
@pytest.mark.parametrize("answer", [{"ok": True}, {"ok": True, "channel": 3, "upload_url": 3, "file_id": []}])
async def test_an_answer_without_its_fields_is_malformed(slack, method, answer):
    slack.answers[method] = answer
    with pytest.raises(Malformed):
        await slack.send()


async def test_a_picture_for_a_message_is_put_into_no_conversation(slack):
    assert await slack.keep() == "F0PAGE001"
    assert slack.got == [
        ("files.getUploadURLExternal", {"filename": "week.png", "length": str(len(PAGE))}),
        ("upload", PAGE),
        ("files.completeUploadExternal", {"files": [{"id": "F0PAGE001", "title": "Week"}]}),
    ]


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "files.completeUploadExternal"])
async def test_a_picture_that_slack_does_not_take_says_why(slack, method):
    slack.answers[method] = {"ok": False, "error": "missing_scope", "needed": "files:write"}
    with pytest.raises(Denied, match="add the scope files:write"):
        await slack.keep()


async def test_a_file_that_is_too_large_is_not_begun(slack, monkeypatch):
    monkeypatch.setattr("integrations.slack.files.MAX_BYTES", 3)
    with pytest.raises(IntegrationError):
        await slack.send()
    assert slack.got == []
