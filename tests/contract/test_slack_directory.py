"""The Slack directory: complete or an error, and nobody becomes a full member by what is not said."""

from __future__ import annotations

import json
import pathlib
from datetime import UTC, datetime
from typing import Any

import pytest

from integrations.errors import IntegrationError, Malformed
from integrations.slack import SlackDirectory, channel_of, person_of

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FULL = {
    "id": "U1",
    "team_id": "T1",
    "is_restricted": False,
    "is_ultra_restricted": False,
    "profile": {"email": "a@x.example"},
}


class Client:
    """Answers each method from a list of pages, or with one answer."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {"auth_test": {"team_id": "T1"}} | answers
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, method: str) -> Any:
        async def call(**parameters: Any) -> Any:
            self.calls.append((method, parameters))
            answer = self._answers[method]
            return answer[int(parameters.get("cursor", 0))] if isinstance(answer, list) else answer

        return call


def page(key: str, values: list[Any], following: str = "") -> dict[str, Any]:
    return {"ok": True, key: values, "response_metadata": {"next_cursor": following}}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "full"),
        ({"is_restricted": True}, "guest"),
        ({"is_restricted": True, "is_ultra_restricted": True}, "single_channel_guest"),
        ({"is_ultra_restricted": True}, "single_channel_guest"),
        ({"is_bot": True}, "bot"),
        ({"id": "USLACKBOT"}, "bot"),
        ({"team_id": "T2"}, "stranger"),
        ({"is_stranger": True}, "stranger"),
        ({"is_restricted": None}, "unknown"),
        ({"is_ultra_restricted": None}, "unknown"),
        ({"is_restricted": None, "is_ultra_restricted": None}, "unknown"),
        ({"team_id": None}, "unknown"),
        ({"is_restricted": "no"}, "guest"),
    ],
)
def test_a_flag_that_is_not_said_never_makes_a_full_member(changes: dict[str, Any], kind: str) -> None:
    user = {name: value for name, value in (FULL | changes).items() if value is not None}
    assert person_of(user, "T1", NOW).kind == kind


@pytest.mark.parametrize(
    ("changes", "email"),
    [
        ({}, "a@x.example"),
        ({"is_email_confirmed": False}, None),
        ({"profile": {}}, None),
        ({"profile": {"email": 7}}, None),
    ],
)
def test_only_a_confirmed_address_is_kept(changes: dict[str, Any], email: str | None) -> None:
    assert person_of(FULL | changes, "T1", NOW).email == email


def test_the_recorded_users(shared_data: pathlib.Path) -> None:
    kinds = {}
    for path in (shared_data / "wire" / "slack").glob("made_users_info_*.json"):
        user = json.loads(path.read_text())["user"]
        found = person_of(user, "T012AB3C4", NOW)
        kinds[path.stem.removeprefix("made_users_info_")] = (found.kind, found.active)
    assert kinds == {
        "full_member": ("full", True),
        "multi_guest": ("guest", True),
        "single_guest": ("single_channel_guest", True),
        "stranger": ("stranger", True),
        "connect_external": ("stranger", True),
        "bot": ("bot", True),
        "deactivated": ("unknown", False),
    }


async def test_people_are_paged_to_the_end_whatever_the_size_of_a_page() -> None:
    pages = [page("members", [FULL], "1"), page("members", [], "2"), page("members", [FULL | {"id": "U2"}])]
    client = Client(users_list=pages)
    people = await SlackDirectory(client).people()  # type: ignore[arg-type]
    assert [one.id for one in people] == ["U1", "U2"]
    assert [one.kind for one in people] == ["full", "full"]


@pytest.mark.parametrize(
    "pages",
    [
        [page("members", ["U1"], "1"), page("members", ["U2"], "1")],
        [page("members", ["U1"], "1"), {"ok": True}],
        [{"ok": True, "members": None}],
    ],
)
async def test_half_a_list_is_no_list(pages: list[Any]) -> None:
    with pytest.raises(Malformed):
        await SlackDirectory(Client(conversations_members=pages)).members("C1")  # type: ignore[arg-type]


async def test_one_user_without_flags_among_others_is_unknown() -> None:
    plain = {"id": "U2", "team_id": "T1"}
    client = Client(users_list=[page("members", [FULL, plain])], users_info={"user": plain})
    directory = SlackDirectory(client)  # type: ignore[arg-type]
    assert (await directory.person("U2")).kind == "unknown"
    assert [one.kind for one in await directory.people()] == ["full", "unknown"]


async def test_a_server_without_guests_has_only_full_members_and_partners() -> None:
    users = [{"id": "U1", "team_id": "T1"}, {"id": "U2", "team_id": "T2"}, {"id": "U3"}]
    client = Client(users_list=[page("members", users)], users_info={"user": users[0]})
    directory = SlackDirectory(client)  # type: ignore[arg-type]
    assert (await directory.person("U1")).kind == "full"
    assert [one.kind for one in await directory.people()] == ["full", "stranger", "unknown"]


@pytest.mark.parametrize(
    ("changes", "private", "shared", "pending"),
    [
        ({"is_private": False}, False, False, False),
        ({"is_private": True}, True, False, False),
        ({}, True, False, False),
        ({"is_private": False, "is_im": True}, True, False, False),
        ({"is_private": False, "is_ext_shared": True}, False, True, False),
        ({"is_private": False, "is_org_shared": True}, False, True, False),
        ({"is_private": False, "is_pending_ext_shared": True}, False, False, True),
        ({"is_private": False, "pending_shared": ["T9"]}, False, False, True),
    ],
)
def test_kinds_of_channels(changes: dict[str, Any], private: bool, shared: bool, pending: bool) -> None:
    found = channel_of({"id": "C1", "name": "x"} | changes)
    assert (found.private, found.shared, found.pending_share) == (private, shared, pending)


async def test_groups_are_complete_or_an_error() -> None:
    groups = [{"id": "S1", "handle": "sre", "users": ["U1"]}, {"id": "S2", "handle": "payments"}]
    client = Client(usergroups_list={"usergroups": groups}, usergroups_users_list={"users": ["U2"]})
    assert await SlackDirectory(client).groups() == {"sre": {"U1"}, "payments": {"U2"}}  # type: ignore[arg-type]
    for broken in ({"usergroups": None}, {}):
        with pytest.raises(IntegrationError):
            await SlackDirectory(Client(usergroups_list=broken)).groups()  # type: ignore[arg-type]
    half = Client(usergroups_list={"usergroups": groups}, usergroups_users_list={})
    with pytest.raises(Malformed):
        await SlackDirectory(half).groups()  # type: ignore[arg-type]
