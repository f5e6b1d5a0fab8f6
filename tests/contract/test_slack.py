"""Slack: one contract for the real client and the fake one, and what the real one makes of every answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from integrations.errors import BadSignature, Denied, Malformed, NotIncluded, Refused, Unavailable
from integrations.fixtures import FakeChannelMaker, FakePoster
from integrations.ports import Message, Posted
from integrations.slack import (
    ChannelNames,
    SlackChannels,
    SlackDirectory,
    SlackPoster,
    SlackWeb,
    verify_signature,
    web_client,
)  # fmt: skip
from integrations.slack.messages import written_since

NOW = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)
MESSAGE = Message(
    channel="C0PAYMENTS",
    text="SEV2 checkout-api",
    blocks=[{"type": "header", "text": {"type": "plain_text", "text": "SEV2", "emoji": False}}],
    mark="sitrep:T1:incident:P1:card",
)


def ok(**data: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-type": "application/json"}, json.dumps({"ok": True, **data}).encode()


def error(code: str, **data: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-type": "application/json"}, json.dumps({"ok": False, "error": code, **data}).encode()


@dataclass
class Workspace:
    """Answers as Slack does for the methods of a poster; `drops_metadata` is what the local Slack does."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    page: int = 100
    drops_metadata: bool = False
    bodies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    mute: int = 0
    """Answers that are lost after their effect."""

    def answer(self, asked: Any) -> Any:
        parts = urlsplit(asked.target)
        method = parts.path.rsplit("/", 1)[-1]
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = json.loads(asked.body) if asked.body[:1] == b"{" else query
        self.bodies.append((method, body))
        answered = getattr(self, "on_" + method.replace(".", "_"))(body)
        if self.mute and method.startswith("chat."):
            self.mute -= 1
            return b""
        return answered

    def on_auth_test(self, _: Mapping[str, Any]) -> Any:
        return ok(team_id="T1", user_id="UBOT", bot_id="BBOT")

    def on_chat_postMessage(self, body: Mapping[str, Any]) -> Any:
        ts = f"{NOW.timestamp() + len(self.messages):.0f}.000100"
        kept = {name: body[name] for name in ("text", "blocks", "thread_ts") if name in body}
        if not self.drops_metadata:
            kept["metadata"] = body["metadata"]
        self.messages.append({"type": "message", "ts": ts, "channel": body["channel"], "bot_id": "BBOT", **kept})
        return ok(channel=body["channel"], ts=ts, message={})

    def on_chat_update(self, body: Mapping[str, Any]) -> Any:
        for message in self.messages:
            if message["ts"] == body["ts"]:
                message.update({name: body[name] for name in ("text", "blocks")})
                return ok(channel=body["channel"], ts=body["ts"])
        return error("message_not_found")

    def on_conversations_history(self, query: Mapping[str, Any]) -> Any:
        return self._list(query, lambda one: "thread_ts" not in one)

    def on_conversations_replies(self, query: Mapping[str, Any]) -> Any:
        return self._list(query, lambda one: query["ts"] in (one.get("thread_ts"), one["ts"]))

    def _list(self, query: Mapping[str, Any], keep: Callable[[dict[str, Any]], bool]) -> Any:
        fit = [one for one in reversed(self.messages) if float(one["ts"]) >= float(query["oldest"]) and keep(one)]
        fit = [one for one in fit if one["channel"] == query["channel"]]
        start = int(query.get("cursor", 0))
        after = start + self.page
        cursor = str(after) if after < len(fit) else ""
        return ok(messages=fit[start:after], response_metadata={"next_cursor": cursor})


@pytest.fixture
async def connect(serve: Any) -> AsyncIterator[Callable[..., Any]]:
    """`await connect(answer)` is a client of a loopback server that answers so."""
    sessions = []

    async def start(answer: Callable[[Any], Any], *, timeout_seconds: float = 5.0) -> tuple[SlackWeb, Any]:
        served = await serve()
        served.answer = answer
        session = aiohttp.ClientSession()
        sessions.append(session)
        return SlackWeb(web_client("xoxb-1", f"{served.url}/api", session), timeout_seconds=timeout_seconds), served

    yield start
    for session in sessions:
        await session.close()


@dataclass
class Both:
    """A poster and how to look at, and trouble, what stands behind it."""

    poster: Any
    texts: Callable[[], list[str]]
    lose_next_answer: Callable[[], None]


@pytest.fixture(params=["slack", "slack without metadata", "slack with short pages", "fake"])
async def both(request: pytest.FixtureRequest, connect: Any) -> Both:
    if request.param == "fake":
        fake = FakePoster(started_at=NOW)
        return Both(fake, lambda: [one.message.text for one in fake.messages], lambda: setattr(fake, "lost_answers", 1))
    workspace = Workspace(drops_metadata="metadata" in request.param, page=1 if "pages" in request.param else 100)
    web, _ = await connect(workspace.answer)
    return Both(
        SlackPoster(web), lambda: [one["text"] for one in workspace.messages], lambda: setattr(workspace, "mute", 1)
    )


async def test_a_post_is_found_by_its_mark(both: Both) -> None:
    posted = await both.poster.post(MESSAGE)
    await both.poster.post(replace(MESSAGE, mark="sitrep:T1:incident:P2:card"))
    await both.poster.post(replace(MESSAGE, mark="sitrep:T1:incident:P3:card"))

    assert await both.poster.find("C0PAYMENTS", MESSAGE.mark, NOW - timedelta(minutes=1), None) == posted
    assert await both.poster.find("C0PAYMENTS", "sitrep:T1:incident:P9:card", NOW, None) is None
    assert await both.poster.find("C0OTHER", MESSAGE.mark, NOW, None) is None


async def test_a_post_whose_answer_was_lost_is_found(both: Both) -> None:
    both.lose_next_answer()
    with pytest.raises(Unavailable) as lost:
        await both.poster.post(MESSAGE)

    assert lost.value.answer_lost
    found = await both.poster.find("C0PAYMENTS", MESSAGE.mark, NOW - timedelta(minutes=1), None)
    assert found is not None
    assert both.texts() == ["SEV2 checkout-api"]


async def test_nothing_older_than_asked_is_found(both: Both) -> None:
    await both.poster.post(MESSAGE)
    assert await both.poster.find("C0PAYMENTS", MESSAGE.mark, NOW + timedelta(minutes=1), None) is None


async def test_an_edit_changes_the_message_in_place(both: Both) -> None:
    posted = await both.poster.post(MESSAGE)
    await both.poster.update(posted, replace(MESSAGE, text="Acknowledged"))
    assert both.texts() == ["Acknowledged"]


async def test_an_edit_of_what_is_gone_is_refused_with_slacks_word(both: Both) -> None:
    with pytest.raises(Refused) as refused:
        await both.poster.update(Posted("C0PAYMENTS", "1.0"), MESSAGE)
    assert refused.value.code == "message_not_found"


async def test_a_reply_is_found_in_its_thread_only(both: Both) -> None:
    card = await both.poster.post(MESSAGE)
    reply = replace(MESSAGE, mark="sitrep:T1:incident:P1:reply1", thread_ts=card.ts, broadcast=True)
    posted = await both.poster.post(reply)

    assert await both.poster.find("C0PAYMENTS", reply.mark, NOW, card.ts) == posted
    assert await both.poster.find("C0PAYMENTS", reply.mark, NOW, None) is None


# --- what the real one sends ----------------------------------------------------------------------------------------


async def test_what_is_sent_unfurls_links_and_parses_nothing(connect: Any) -> None:
    workspace = Workspace()
    web, served = await connect(workspace.answer)
    posted = await SlackPoster(web).post(replace(MESSAGE, thread_ts="1.0", broadcast=True))
    await SlackPoster(web).update(posted, MESSAGE)

    (method, sent), (edit, edited) = workspace.bodies
    assert (method, edit) == ("chat.postMessage", "chat.update")
    assert sent["unfurl_links"] is False
    assert sent["unfurl_media"] is False
    assert sent["parse"] == edited["parse"] == "none"
    assert "link_names" not in sent
    assert sent["reply_broadcast"] is True
    assert sent["blocks"][0]["block_id"] == MESSAGE.mark
    assert sent["metadata"] == {"event_type": "sitrep_post", "event_payload": {"mark": MESSAGE.mark}}
    assert served.asked[0].headers["authorization"] == "Bearer xoxb-1"
    assert "block_id" not in MESSAGE.blocks[0]


async def test_a_mark_longer_than_a_block_id_is_found_by_its_digest(connect: Any) -> None:
    workspace = Workspace(drops_metadata=True)
    web, _ = await connect(workspace.answer)
    long = replace(MESSAGE, mark="sitrep:" + "x" * 400)
    posted = await SlackPoster(web).post(long)
    assert len(workspace.messages[0]["blocks"][0]["block_id"]) <= 255
    assert await SlackPoster(web).find("C0PAYMENTS", long.mark, NOW, None) == posted


async def test_somebody_elses_copy_of_a_mark_is_not_adopted(connect: Any) -> None:
    workspace = Workspace()
    web, _ = await connect(workspace.answer)
    await SlackPoster(web).post(MESSAGE)
    workspace.messages[0] |= {"bot_id": "BEVIL", "user": "UEVIL"}
    assert await SlackPoster(web).find("C0PAYMENTS", MESSAGE.mark, NOW, None) is None


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, connect: Any) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    web, _ = await connect(Workspace().answer)
    assert (await SlackPoster(web).post(MESSAGE)).channel == "C0PAYMENTS"


# --- how calls fail -----------------------------------------------------------------------------------------------

ANSWERS: dict[str, tuple[Any, type[Exception], dict[str, Any]]] = {
    "ratelimited": (
        (429, {"retry-after": "30", "content-type": "application/json"}, b'{"ok":false,"error":"ratelimited"}'),
        Unavailable, {"retry_after_seconds": 30.0, "answer_lost": False},
    ),
    "429 with text": ((429, {"content-type": "text/plain"}, b"slow down"), Unavailable, {"retry_after_seconds": None}),
    "500": ((500, {}, b"oops"), Unavailable, {"answer_lost": True}),
    "503 as JSON": (
        (503, {"content-type": "application/json"}, b'{"ok":false,"error":"service_unavailable"}'), Unavailable,
        {"answer_lost": True},
    ),
    "fatal_error": (error("fatal_error"), Unavailable, {"answer_lost": True}),
    "missing_scope": (error("missing_scope", needed="chat:write"), Denied, {}),
    "invalid_auth": (error("invalid_auth"), Denied, {}),
    "paid_teams_only": (error("paid_teams_only"), NotIncluded, {}),
    "invalid_blocks": (error("invalid_blocks"), Refused, {"code": "invalid_blocks"}),
    "channel_not_found": (error("channel_not_found"), Refused, {"code": "channel_not_found"}),
    "an error that is no word": (error("<!channel> boom"), Refused, {"code": "unknown"}),
    "no error at all": ((200, {"content-type": "application/json"}, b'{"ok":false}'), Malformed, {}),
    "a web page": ((200, {"content-type": "text/html"}, b"<title>Sign in</title>"), Malformed, {}),
    "half JSON": ((200, {"content-type": "application/json"}, b'{"ok": tr'), Malformed, {}),
    "a list": ((200, {"content-type": "application/json"}, b"[1]"), Malformed, {}),
    "text": ((200, {"content-type": "text/plain"}, b"ok"), Malformed, {}),
    "no ts": (ok(channel="C1"), Malformed, {}),
    "403": ((403, {}, b"no"), Denied, {}),
    "a closed connection": (b"", Unavailable, {"answer_lost": True}),
    "no HTTP": (b"\x16\x03\x01garbage\r\n\r\n", Unavailable, {"answer_lost": True}),
    "silence": (None, Unavailable, {"answer_lost": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
async def test_each_way_a_post_can_fail_is_exactly_one_error(name: str, connect: Any) -> None:
    answer, kind, fields = ANSWERS[name]
    web, _ = await connect(lambda _: answer, timeout_seconds=0.3)

    with pytest.raises(kind) as failed:
        await SlackPoster(web).post(MESSAGE)

    assert type(failed.value) is kind
    for field_name, value in fields.items():
        assert getattr(failed.value, field_name) == value
    assert "<!channel>" not in str(failed.value)
    assert "oops" not in str(failed.value)


async def test_a_server_that_is_not_there_took_nothing(connect: Any, unused_port: int) -> None:
    async with aiohttp.ClientSession() as session:
        web = SlackWeb(web_client("xoxb-1", f"http://127.0.0.1:{unused_port}/api", session))
        with pytest.raises(Unavailable) as failed:
            await SlackPoster(web).post(MESSAGE)
    assert not failed.value.answer_lost


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# --- the directory --------------------------------------------------------------------------------------------------


def by_method(**answers: Any) -> Callable[[Any], Any]:
    """Answers by method name (dots as underscores); a list is played one a call."""

    def answer(asked: Any) -> Any:
        method = urlsplit(asked.target).path.rsplit("/", 1)[-1].replace(".", "_")
        found = answers.get(method, ok(team_id="T012AB3C4") if method == "auth_test" else error("unknown_method"))
        return found.pop(0) if isinstance(found, list) else found

    return answer


async def directory(connect: Any, **answers: Any) -> SlackDirectory:
    web, _ = await connect(by_method(**answers))
    return SlackDirectory(web, now=lambda: NOW)


def as_answer(sample: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-type": "application/json"}, json.dumps(sample).encode()


PEOPLE = {
    "made_users_info_full_member.json": ("full", True),
    "made_users_info_multi_guest.json": ("guest", True),
    "made_users_info_single_guest.json": ("single_channel_guest", True),
    "made_users_info_connect_external.json": ("stranger", True),
    "made_users_info_stranger.json": ("stranger", True),
    "made_users_info_bot.json": ("bot", True),
    "made_users_info_deactivated.json": (None, False),
}


@pytest.mark.parametrize("name", PEOPLE)
async def test_people_are_what_their_flags_say(name: str, wire: Any, connect: Any) -> None:
    sample = wire("slack", "made_users_info_*")[name]
    found = await (await directory(connect, users_info=as_answer(sample))).person(sample["user"]["id"])

    kind, active = PEOPLE[name]
    assert found.active is active
    assert kind is None or found.kind == kind
    assert found.seen_at == NOW


@pytest.mark.parametrize("flag", ["is_restricted", "is_ultra_restricted", "is_bot", "team_id"])
async def test_a_flag_that_is_absent_makes_nobody_a_full_member(flag: str, wire: Any, connect: Any) -> None:
    sample = wire("slack", "made_users_info_full_member")["made_users_info_full_member.json"]
    user = {name: value for name, value in sample["user"].items() if name != flag}
    everybody = ok(members=[sample["user"]])
    found = await (await directory(connect, users_info=ok(user=user), users_list=everybody)).person(user["id"])
    assert found.kind == "unknown"
    (listed, _) = await (
        await directory(connect, users_list=ok(members=[user, sample["user"] | {"id": "U2"}]))
    ).people()
    assert listed.kind == "unknown"


PLAIN = {"id": "U1", "team_id": "T012AB3C4", "deleted": False, "is_bot": False, "profile": {}}
"""A user as a local server tells it, which knows no guests."""


async def test_on_a_server_without_guests_its_people_are_full_members_and_its_channels_unshared(connect: Any) -> None:
    foreign = PLAIN | {"id": "U2", "team_id": "T9"}
    channel = {"id": "C1", "name": "payments", "is_private": True}
    answers = {
        "users_list": ok(members=[PLAIN, foreign]), "users_info": ok(user=PLAIN),
        "conversations_info": ok(channel=channel),
    }  # fmt: skip
    people = await (await directory(connect, **answers)).people()
    assert [one.kind for one in people] == ["full", "stranger"]
    assert (await (await directory(connect, **answers)).person("U1")).kind == "full"
    assert not (await (await directory(connect, **answers)).channel("C1")).shared


async def test_somebody_without_the_deleted_flag_may_be_here_and_is_nobody(wire: Any, connect: Any) -> None:
    sample = wire("slack", "made_users_info_full_member")["made_users_info_full_member.json"]
    user = {name: value for name, value in sample["user"].items() if name != "deleted"}
    answers = {"users_info": ok(user=user), "users_list": ok(members=[sample["user"]])}
    found = await (await directory(connect, **answers)).person(user["id"])
    assert (found.active, found.kind) == (True, "unknown")


async def test_an_address_that_nobody_confirmed_is_none(connect: Any) -> None:
    user = PLAIN | {
        "is_restricted": False,
        "is_ultra_restricted": False,
        "is_email_confirmed": False,
        "profile": {"email": "a@b.example"},
    }
    assert (await (await directory(connect, users_info=ok(user=user))).person("U1")).email is None


async def test_people_are_read_to_the_empty_cursor_with_short_pages(wire: Any, connect: Any) -> None:
    sample = wire("slack", "web_users.list")["web_users.list.json"]
    pages = [
        ok(members=sample["members"][:1], response_metadata={"next_cursor": "a="}),
        ok(members=[], response_metadata={"next_cursor": "b="}),
        ok(members=sample["members"][1:], response_metadata={"next_cursor": ""}),
    ]
    found = await (await directory(connect, users_list=pages)).people()
    assert [one.id for one in found] == [one["id"] for one in sample["members"]]


async def test_a_cursor_that_repeats_is_no_list(connect: Any) -> None:
    page = ok(members=["U1"], response_metadata={"next_cursor": "same"})
    with pytest.raises(Malformed):
        await (await directory(connect, conversations_members=page)).members("C0PAYMENTS")


async def test_half_a_list_is_no_list(connect: Any) -> None:
    pages = [ok(members=["U1"], response_metadata={"next_cursor": "a"}), error("internal_error")]
    with pytest.raises(Unavailable):
        await (await directory(connect, conversations_members=pages)).members("C0PAYMENTS")


async def test_a_rate_limit_in_the_middle_of_a_list_is_waited_out(connect: Any) -> None:
    pages = [
        ok(members=["U1"], response_metadata={"next_cursor": "a"}),
        (429, {"retry-after": "0"}, b""),
        ok(members=["U2"]),
    ]
    assert await (await directory(connect, conversations_members=pages)).members("C0P") == {"U1", "U2"}


@pytest.mark.parametrize("junk", [None, {}, "U1", [1], [None], ["<!channel>"]])
async def test_a_member_that_is_no_id_is_malformed(junk: Any, connect: Any) -> None:
    with pytest.raises(Malformed):
        await (await directory(connect, conversations_members=ok(members=junk))).members("C0PAYMENTS")


async def test_user_groups_are_known_by_handle_and_disabled_or_foreign_ones_are_left_out(connect: Any) -> None:
    groups = [
        {"id": "S1", "handle": "payments", "users": ["U1", "U2"], "user_count": "2", "date_delete": 0},
        {"id": "S2", "handle": "old", "users": ["U1"], "user_count": 1, "date_delete": 1},
        {"id": "S3", "handle": "partner", "users": ["U1"], "user_count": 1, "date_delete": 0, "is_external": True},
        {"id": "S4", "handle": "everyone", "users": ["U9"], "user_count": 1, "date_delete": 0},
        {"id": "S5", "handle": "sre", "users": ["U1"], "user_count": 3, "date_delete": 0},
        {"id": "S6", "handle": "web", "date_delete": 0},
    ]
    rest = [ok(users=["U1", "U3", "U4"]), ok(users=[])]
    asked = await directory(connect, usergroups_list=ok(usergroups=groups), usergroups_users_list=rest)
    assert await asked.groups() == {
        "payments": {"U1", "U2"}, "sre": {"U1", "U3", "U4"}, "web": set(),
    }  # fmt: skip


async def test_user_groups_that_the_plan_lacks_are_said_so(connect: Any) -> None:
    with pytest.raises(NotIncluded):
        await (await directory(connect, usergroups_list=error("paid_teams_only"))).groups()


async def test_the_documented_channel_is_public_and_not_shared(wire: Any, connect: Any) -> None:
    sample = wire("slack", "web_conversations.info")["web_conversations.info.json"]
    found = await (await directory(connect, conversations_info=as_answer(sample))).channel("C012AB3CD")
    assert (found.private, found.shared, found.pending_share, found.archived) == (False, False, False, False)


@pytest.mark.parametrize(
    ("change", "field_name"),
    [
        ({"is_private": True}, "private"), ({"is_ext_shared": True}, "shared"), ({"is_org_shared": True}, "shared"),
        ({"is_shared": True}, "shared"), ({"is_pending_ext_shared": True}, "pending_share"),
        ({"pending_shared": ["T2"]}, "pending_share"), ({"pending_connected_team_ids": ["T2"]}, "pending_share"),
        ({"is_archived": True}, "archived"), ({"is_mpim": True}, "private"),
    ],
)  # fmt: skip
async def test_what_a_channel_says_of_itself_is_kept(change: Any, field_name: str, wire: Any, connect: Any) -> None:
    sample = wire("slack", "web_conversations.info")["web_conversations.info.json"]["channel"]
    found = await (await directory(connect, conversations_info=ok(channel=sample | change))).channel("C012AB3CD")
    assert getattr(found, field_name) is True


@pytest.mark.parametrize(
    "channel",
    [None, {}, {"id": "C2", "is_private": False, "is_shared": False}, {"id": "C1", "is_shared": False},
     {"id": "C1", "is_private": False}, {"id": "C1", "is_private": "no", "is_shared": False}],
)  # fmt: skip
async def test_a_channel_that_does_not_say_what_it_is_is_malformed(channel: Any, connect: Any) -> None:
    knows_guests = ok(members=[PLAIN | {"is_restricted": False}])
    with pytest.raises(Malformed):
        await (await directory(connect, conversations_info=ok(channel=channel), users_list=knows_guests)).channel("C1")


async def test_the_workspace_is_asked_for_once(connect: Any) -> None:
    web, served = await connect(by_method())
    asked = SlackDirectory(web)
    assert (await asked.team_id(), await asked.team_id()) == ("T012AB3C4", "T012AB3C4")
    assert len(served.asked) == 1


# --- names of channels ----------------------------------------------------------------------------------------------

CHANNELS = ok(channels=[{"id": "C0PAYMENTS", "name": "payments"}, {"id": "C0SEV", "name": "sev1"}])


async def test_a_name_becomes_an_id_and_an_id_stays(connect: Any) -> None:
    web, served = await connect(by_method(users_conversations=CHANNELS))
    names = ChannelNames(web)
    assert await names.channel_id("#payments") == "C0PAYMENTS"
    assert await names.channel_id("sev1") == "C0SEV"
    assert await names.channel_id("C0ANY") == "C0ANY"
    assert len(served.asked) == 1


async def test_a_server_that_knows_only_one_list_is_asked_for_it(connect: Any) -> None:
    web, _ = await connect(by_method(conversations_list=CHANNELS))
    assert await ChannelNames(web).channel_id("#payments") == "C0PAYMENTS"


async def test_a_name_that_cannot_be_resolved_is_kept_and_a_strict_question_says_what_to_do(connect: Any) -> None:
    web, _ = await connect(by_method(users_conversations=CHANNELS, conversations_list=CHANNELS))
    assert await ChannelNames(web).channel_id("#nowhere") == "#nowhere"
    with pytest.raises(Denied, match="invite the app"):
        await ChannelNames(web).find("#nowhere")
    down, _ = await connect(lambda _: (500, {}, b""))
    assert await ChannelNames(down).channel_id("#payments") == "#payments"


async def test_the_channels_of_the_app_come_with_topic_and_purpose_whatever_shape_those_have(connect: Any) -> None:
    channels = [
        {"id": "C0INC0001", "name": "inc-1", "topic": {"value": "about P1"}, "purpose": {"value": "x" * 5000}},
        {"id": "C0INC0002", "name": "inc-2", "topic": "no object", "purpose": None},
        {"id": 3, "name": "no id"},
        "no channel",
    ]
    web, served = await connect(by_method(users_conversations=ok(channels=channels)))
    joined = await ChannelNames(web).joined()
    assert joined == [("C0INC0001", "inc-1", "about P1", "x" * 1000), ("C0INC0002", "inc-2", "", "")]
    assert "exclude_archived=true" in served.asked[0].target


async def test_a_name_is_not_waited_for_and_is_known_the_next_time(connect: Any) -> None:
    slow = asyncio.Event()

    async def late() -> AsyncIterator[bytes]:
        await slow.wait()
        status, headers, body = CHANNELS
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        yield f"HTTP/1.1 {status} OK\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    web, served = await connect(lambda _: late())
    names = ChannelNames(web)
    assert await names.channel_id("#payments", wait_seconds=0.05) == "#payments"
    slow.set()
    assert await names.channel_id("#payments") == "C0PAYMENTS"
    assert await names.channel_id("#sev1") == "C0SEV"
    assert len(served.asked) == 1
    await names.close()


# --- signatures -----------------------------------------------------------------------------------------------------


def signed(wire: Any) -> tuple[str, dict[str, str], bytes, datetime]:
    vector = wire("slack", "signature_vector.http")["signature_vector.http.json"]
    headers, body = vector["request"]["headers"], vector["request"]["body"].encode()
    return vector["secret"], headers, body, datetime.fromtimestamp(int(headers["x-slack-request-timestamp"]), UTC)


def test_slacks_own_example_is_accepted_with_any_active_secret(wire: Any) -> None:
    secret, headers, body, at = signed(wire)
    verify_signature([secret], headers, body, at)
    verify_signature(["newer", secret], headers, body, at + timedelta(seconds=300))


def test_what_is_old_changed_or_unsigned_is_refused(wire: Any) -> None:
    secret, headers, body, at = signed(wire)
    bad: list[tuple[list[str], dict[str, str], bytes, datetime]] = [
        ([secret], headers, body, at + timedelta(seconds=301)),
        ([secret], headers, body, at - timedelta(seconds=301)),
        ([secret], headers, body + b"&ssl_check=1", at),
        ([secret], headers, body.replace(b"%2F", b"/"), at),
        (["another"], headers, body, at),
        ([], headers, body, at),
        ([""], headers, body, at),
        ([secret], {}, body, at),
        ([secret], headers | {"x-slack-request-timestamp": "١٢٣"}, body, at),
        ([secret], headers | {"x-slack-request-timestamp": "-1"}, body, at),
        ([secret], headers | {"x-slack-signature": ""}, body, at),
        ([secret], headers | {"x-slack-signature": "v0=é"}, body, at),
    ]
    for secrets, given, content, when in bad:
        with pytest.raises(BadSignature):
            verify_signature(secrets, given, content, when)


# --- channels that the app makes -------------------------------------------------------------------------------------


class WithChannels(Workspace):
    """Slack's side of making channels."""

    def __init__(self) -> None:
        super().__init__()
        self.channels: dict[str, dict[str, Any]] = {"C0FOREIGN": {"id": "C0FOREIGN", "name": "taken", "creator": "U9"}}
        self.inside: dict[str, list[str]] = {}
        self.mute_create = 0

    def on_conversations_create(self, body: Mapping[str, Any]) -> Any:
        if any(one["name"] == body["name"] for one in self.channels.values()):
            return error("name_taken")
        channel = {"id": f"C0MADE{len(self.channels)}", "name": body["name"], "creator": "UBOT"}
        self.channels[channel["id"]], self.inside[channel["id"]] = channel, ["UBOT"]
        if self.mute_create:
            self.mute_create -= 1
            return b""
        return ok(channel=channel)

    def on_users_conversations(self, query: Mapping[str, Any]) -> Any:
        return ok(channels=list(self.channels.values()), response_metadata={"next_cursor": ""})

    def on_conversations_members(self, query: Mapping[str, Any]) -> Any:
        return ok(members=self.inside[query["channel"]], response_metadata={"next_cursor": ""})

    def on_conversations_invite(self, body: Mapping[str, Any]) -> Any:
        wanted = body["users"].split(",")
        self.inside[body["channel"]] += [one for one in wanted if one != "U0LOCKED"]
        return error("cant_invite") if "U0LOCKED" in wanted else ok(channel={"id": body["channel"]})

    def on_conversations_setTopic(self, body: Mapping[str, Any]) -> Any:
        return ok(channel={"id": body["channel"], "topic": {"value": body["topic"]}})

    def on_conversations_setPurpose(self, body: Mapping[str, Any]) -> Any:
        return ok(channel={"id": body["channel"], "purpose": {"value": body["purpose"]}})

    def on_users_lookupByEmail(self, query: Mapping[str, Any]) -> Any:
        kinds: dict[str, dict[str, Any]] = {
            "priya@example.com": {}, "left@example.com": {"deleted": True}, "robot@example.com": {"is_bot": True},
            "partner@example.com": {"team_id": "T9"}, "unsure@example.com": {"is_email_confirmed": False},
        }  # fmt: skip
        if query["email"] not in kinds:
            return error("users_not_found")
        flags = dict.fromkeys(("deleted", "is_bot", "is_restricted", "is_ultra_restricted"), False)
        return ok(user={"id": "U1", "team_id": "T1", "profile": {"email": query["email"].title()}} | flags
                  | kinds[query["email"]])  # fmt: skip


@dataclass
class Maker:
    maker: Any
    lose_next_answer: Callable[[], None]


@pytest.fixture(params=["slack", "fake"])
async def making(request: pytest.FixtureRequest, connect: Any) -> Maker:
    if request.param == "fake":
        fake = FakeChannelMaker(
            taken=frozenset({"taken"}), refusing_people=frozenset({"U0LOCKED"}), addresses={"priya@example.com": "U1"}
        )
        return Maker(fake, lambda: setattr(fake, "lost_answers", 1))
    workspace = WithChannels()
    web, _ = await connect(workspace.answer)
    return Maker(SlackChannels(web), lambda: setattr(workspace, "mute_create", 1))


async def test_a_channel_is_made_once_and_found_again_by_its_maker(making: Maker) -> None:
    made = await making.maker.make("inc-7", private=True)
    assert await making.maker.make("inc-7", private=True) == made
    assert await making.maker.make("inc-8", private=True) != made
    with pytest.raises(Refused) as refused:
        await making.maker.make("taken", private=True)
    assert refused.value.code == "name_taken"


async def test_a_channel_whose_answer_was_lost_is_found(making: Maker) -> None:
    making.lose_next_answer()
    with pytest.raises(Unavailable) as lost:
        await making.maker.make("inc-7", private=True)
    assert lost.value.answer_lost
    assert await making.maker.make("inc-7", private=True)


async def test_who_can_be_invited_is_and_the_answer_says_who_is_there(making: Maker) -> None:
    made = await making.maker.make("inc-7", private=True)
    await making.maker.describe(made, "SEV2 P1", "x" * 400)
    assert await making.maker.invite(made, []) == frozenset()
    assert await making.maker.invite(made, ["U1", "U2", "U1"]) == {"U1", "U2"}
    assert await making.maker.invite(made, ["U1", "U3", "U0LOCKED"]) == {"U1", "U3"}


async def test_a_person_is_found_by_a_confirmed_address_alone(making: Maker) -> None:
    assert await making.maker.person_of("priya@example.com") == "U1"
    for address in ("nobody@example.com", "left@example.com", "robot@example.com", "partner@example.com",
                    "unsure@example.com"):  # fmt: skip
        assert await making.maker.person_of(address) is None, address


async def test_what_is_asked_of_slack_when_a_channel_is_made(connect: Any) -> None:
    workspace = WithChannels()
    web, _ = await connect(workspace.answer)
    made = await SlackChannels(web).make("inc-7", private=True)
    await SlackChannels(web).invite(made, ["U1"])
    await SlackChannels(web).invite(made, ["U1"])
    await SlackChannels(web).describe(made, "t" * 400, "p")
    sent = [(method, body) for method, body in workspace.bodies if method != "conversations.members"]
    assert sent[0] == ("conversations.create", {"name": "inc-7", "is_private": True})
    assert sent[1] == ("conversations.invite", {"channel": made, "users": "U1", "force": True})
    assert [method for method, _ in sent[2:]] == ["conversations.setTopic", "conversations.setPurpose"]
    assert len(sent[2][1]["topic"]) == 250


# --- what was written in a channel --------------------------------------------------------------------------------


def written(ago: float, channel: str = "C0ALERTS") -> dict[str, Any]:
    return {"type": "message", "channel": channel, "ts": f"{NOW.timestamp() - ago:.6f}", "text": f"{ago:g} s ago"}


async def test_what_was_written_since_a_moment_is_read_over_pages_and_a_rate_limit(connect):
    workspace = Workspace(page=2)
    workspace.messages = [written(ago) for ago in (900, 600, 300, 200, 100)] + [written(50, "C0OTHER")]
    limited = iter([(429, {"retry-after": "0"}, b"")])
    web, _ = await connect(lambda asked: (
        next(limited, None) or workspace.answer(asked) if "cursor" in asked.target else workspace.answer(asked)
    ))  # fmt: skip
    read = await written_since(web, "C0ALERTS", NOW - timedelta(seconds=600), 10)
    assert ([one["text"] for one in read.messages], read.whole) == (["300 s ago", "200 s ago", "100 s ago"], True)
    asked = [body for method, body in workspace.bodies if method == "conversations.history"]
    assert {(one["channel"], one["limit"], one["inclusive"]) for one in asked} == {("C0ALERTS", "200", "false")}


@pytest.mark.parametrize(("answer", "raised"), [
    (error("missing_scope", needed="channels:history"), Denied), (error("not_in_channel"), Denied), (ok(), Malformed),
    ((503, {}, b""), Unavailable),
])  # fmt: skip
async def test_a_channel_that_cannot_be_read_back_is_exactly_one_error(connect, answer, raised):
    web, _ = await connect(lambda asked: answer)
    with pytest.raises(raised):
        await written_since(web, "C0ALERTS", NOW, 10)
