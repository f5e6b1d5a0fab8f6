"""Directories of groups: complete or an error, verified addresses only, and names that are their own."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.directories.github import GitHubTeams
from integrations.directories.pagerduty import PagerDutyTeams
from integrations.directories.scim import ScimExport
from integrations.errors import Denied, IntegrationError, Malformed, Unavailable
from integrations.http import Egress
from tests.contract.conftest import Asked, as_json

SAMPLES = pathlib.Path(__file__).resolve().parents[1] / "data" / "directories"


def sample(name: str) -> Any:
    return json.loads((SAMPLES / name).read_text(encoding="utf-8"))


# --- SCIM -----------------------------------------------------------------------------------------------------------


async def scim(folder: pathlib.Path, value: Any) -> Any:
    path = folder / "scim.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return await ScimExport(path).groups()


async def test_a_scim_export_is_groups_of_active_people_by_their_primary_address() -> None:
    assert await ScimExport(SAMPLES / "scim_list_response.json", name="okta").groups() == {
        "okta:Payments": {"priya@example.com"},
        "okta:Engineering": {"priya@example.com", "bob@example.com"},
    }


async def test_other_shapes_of_an_export(tmp_path: pathlib.Path) -> None:
    resources = sample("scim_list_response.json")["Resources"]
    expected = await scim(tmp_path, {"Resources": resources})
    assert await scim(tmp_path, resources) == expected
    assert await scim(tmp_path, {"Users": resources[:3], "Groups": resources[3:]}) == expected
    assert await scim(tmp_path, {"Users": [], "Groups": []}) == {}


@pytest.mark.parametrize(
    ("user", "joined"),
    [
        ({"emails": [{"value": "a@x.example"}]}, True),
        ({"emails": [{"value": "a@x.example"}, {"value": "b@x.example"}]}, False),
        ({"emails": [{"value": "a@x.example", "primary": True}, {"value": "b@x.example", "primary": True}]}, False),
        ({"emails": [{"value": "no address"}]}, False),
        ({"emails": []}, False),
        ({}, False),
        ({"emails": [{"value": "a@x.example"}], "active": "true"}, False),
        ({"emails": [{"value": "a@x.example"}], "active": None}, False),
    ],
)
async def test_who_has_no_clear_address_is_in_no_group(
    tmp_path: pathlib.Path, user: dict[str, Any], joined: bool
) -> None:
    who = {"id": "u", "userName": "u", "active": True, **user}
    found = await scim(
        tmp_path, [who, {"id": "g", "displayName": "G", "members": [{"value": "u"}, {"value": "other"}]}]
    )
    assert found == {"scim:G": {"a@x.example"} if joined else set()}


@pytest.mark.parametrize(
    "broken",
    [
        "not json",
        "null",
        "{}",
        '{"Resources": null}',
        '{"Resources": [1]}',
        '{"Resources": [{}]}',
        '{"totalResults": 9, "Resources": []}',
        '{"Users": []}',
        '[{"id": "g", "displayName": ""}]',
        '[{"id": "g", "displayName": "G"}, {"id": "h", "displayName": "G"}]',
        '[{"id": "g", "displayName": "G"}, {"id": "g", "displayName": "H"}]',
        '[{"id": "g", "displayName": "G", "members": [{"value": "g"}]}]',
        "[" * 100_000,
    ],
)
async def test_what_is_no_export_is_an_error(tmp_path: pathlib.Path, broken: str) -> None:
    with pytest.raises(Malformed):
        await scim(tmp_path, broken)


async def test_a_file_that_cannot_be_read_is_said(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="no file"):
        await ScimExport(tmp_path / "absent.json").groups()
    with pytest.raises(Unavailable):
        await ScimExport(tmp_path).groups()
    if os.geteuid():
        path = tmp_path / "closed.json"
        path.touch(mode=0)
        with pytest.raises(Denied):
            await ScimExport(path).groups()
    monkeypatch.setattr("integrations.directories.scim.MAX_BYTES", 4)
    with pytest.raises(Malformed, match="larger"):
        await scim(tmp_path, "[    ]")


FIELDS = st.sampled_from(
    ["id", "displayName", "userName", "members", "value", "emails", "active", "Resources", "Users"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=5),
)


@given(VALUES)
def test_any_json_is_groups_or_malformed(value: Any) -> None:
    try:
        found = ScimExport(pathlib.Path("x"))._parse(value)
    except Malformed:
        return
    assert all(name.startswith("scim:") for name in found)


# --- GitHub ---------------------------------------------------------------------------------------------------------


def connection(nodes: list[Any], cursor: str = "") -> dict[str, Any]:
    return {"pageInfo": {"hasNextPage": bool(cursor), "endCursor": cursor or None}, "nodes": nodes}


class GitHub:
    """Answers GraphQL as the documented schema does: two teams, one of them over two pages, and one repository."""

    def __init__(self) -> None:
        self.error: dict[str, Any] | None = None
        self.wrong: dict[str, Any] = {}

    def __call__(self, asked: Asked) -> Any:
        request = json.loads(asked.body)
        variables = request["variables"]
        if self.error is not None:
            return as_json(self.error)
        if "teams(" in request["query"]:
            found = self.wrong.get("teams", connection([{"slug": "payments"}, {"slug": "sre"}]))
            return as_json({"data": {"organization": {"found": found}}})
        if "members(" in request["query"] and variables["of"] == "payments":
            return as_json(sample("github_members.json"))
        if "members(" in request["query"]:
            page = {None: connection([person("a@example.com")], "2"), "2": connection([person("b@example.com")])}
            return as_json({"data": {"organization": {"team": {"found": page[variables["after"]]}}}})
        return as_json({"data": {"repository": {"found": connection([person("c@example.com")])}}})


def person(*emails: str) -> dict[str, Any]:
    return {"organizationVerifiedDomainEmails": list(emails)}


def teams(url: str, **more: Any) -> GitHubTeams:
    return GitHubTeams(url=url, token="t", egress=Egress([url]), organization="acme", **more)


async def test_teams_and_collaborators_of_an_organization(serve: Any) -> None:
    server = await serve()
    server.answer = GitHub()
    source = teams(server.url, repositories=["acme/checkout"])
    assert await source.groups() == {
        "github:@acme/payments": {"priya@example.com"},
        "github:@acme/sre": {"a@example.com", "b@example.com"},
        "github:acme/checkout": {"c@example.com"},
    }
    assert {one.target for one in server.asked} == {"/graphql"}
    assert {one.headers["authorization"] for one in server.asked} == {"Bearer t"}
    await source.aclose()


async def test_enterprise_server_has_its_own_address(serve: Any) -> None:
    server = await serve()
    server.answer = GitHub()
    url = f"{server.url}/api/v3"
    source = GitHubTeams(url=url, token="t", egress=Egress([server.url]), organization="acme")
    await source.groups()
    assert server.asked[0].target == "/api/graphql"
    await source.aclose()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"data": {"organization": None}, "errors": [{"type": "NOT_FOUND"}]}, Denied),
        ({"data": None, "errors": [{"type": "INSUFFICIENT_SCOPES"}]}, Denied),
        ({"data": {}, "errors": [{"type": "RATE_LIMITED"}]}, Unavailable),
        ({"errors": [{"message": "Something went wrong"}]}, Malformed),
        ({"errors": "odd"}, Malformed),
        ({"data": {"organization": None}}, Malformed),
        ([], Malformed),
    ],
)
async def test_an_answer_with_errors_is_no_answer(serve: Any, error: Any, kind: type[IntegrationError]) -> None:
    server = await serve()
    server.answer = GitHub()
    server.answer.error = error
    source = teams(server.url)
    with pytest.raises(kind):
        await source.groups()
    await source.aclose()


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"nodes": []},
        {"pageInfo": {"hasNextPage": True, "endCursor": None}, "nodes": []},
        {"pageInfo": {"hasNextPage": True, "endCursor": "same"}, "nodes": []},
        {"pageInfo": {"hasNextPage": False}, "nodes": [None]},
        {"pageInfo": {"hasNextPage": False}, "nodes": [{}]},
    ],
)
async def test_half_a_list_of_teams_is_no_list(serve: Any, found: Any) -> None:
    server = await serve()
    server.answer = GitHub()
    server.answer.wrong["teams"] = found
    source = teams(server.url)
    with pytest.raises(Malformed):
        await source.groups()
    await source.aclose()


async def test_a_token_that_is_not_told_verified_addresses_is_denied(serve: Any) -> None:
    server = await serve()
    answers = GitHub()

    def hidden(asked: Asked) -> Any:
        if "members(" in json.loads(asked.body)["query"]:
            return as_json({"data": {"organization": {"team": {"found": connection([{}])}}}})
        return answers(asked)

    server.answer = hidden
    source = teams(server.url)
    with pytest.raises(Denied, match="owner"):
        await source.groups()
    await source.aclose()


@pytest.mark.parametrize(
    ("organization", "repository"), [("a/b", ""), ("", ""), ("acme", "other/x"), ("acme", "acme/a b")]
)
def test_names_that_are_no_names_are_refused(organization: str, repository: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        GitHubTeams(
            url="https://api.github.com", token="t", egress=Egress([], ["https://api.github.com"]),
            organization=organization, repositories=[repository] if repository else [],
        )  # fmt: skip


# --- PagerDuty ------------------------------------------------------------------------------------------------------


def account(url: str) -> PagerDutyTeams:
    return PagerDutyTeams(url=url, token="t", egress=Egress([url]))


async def test_everybody_of_an_account_and_its_teams(serve: Any) -> None:
    server = await serve()
    server.answer = lambda asked: as_json(sample("pagerduty_users.json"))
    source = account(server.url)
    assert await source.groups() == {
        "pagerduty": {"priya@example.com", "bob@example.com"},
        "pagerduty:Payments": {"priya@example.com"},
    }
    (asked,) = server.asked
    assert asked.target == "/users?include%5B%5D=teams&limit=100&offset=0"
    assert asked.headers["authorization"] == "Token token=t"
    await source.aclose()


async def test_pages_are_read_to_the_end(serve: Any) -> None:
    server = await serve()

    def answer(asked: Asked) -> Any:
        offset = int(asked.target.rpartition("=")[2])
        user = {"id": f"P{offset}", "email": f"u{offset}@example.com", "teams": []}
        return as_json({"users": [user], "more": offset < 200})

    server.answer = answer
    source = account(server.url)
    assert len((await source.groups())["pagerduty"]) == 3
    await source.aclose()


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ({"users": []}, Malformed),
        ({"more": False}, Malformed),
        ({"users": [], "more": True}, Malformed),
        ({"users": [None], "more": False}, Malformed),
        ({"users": [{"id": "P1", "teams": []}], "more": False}, Malformed),
        ({"users": [{"id": "P1", "email": "a@x.example"}], "more": False}, Malformed),
        ({"users": [{"id": "P1", "email": "a@x.example", "teams": []}] * 2, "more": False}, Malformed),
    ],
)
async def test_half_an_account_is_no_account(serve: Any, page: Any, kind: type[IntegrationError]) -> None:
    server = await serve()
    server.answer = lambda asked: as_json(page)
    source = account(server.url)
    with pytest.raises(kind):
        await source.groups()
    await source.aclose()


@pytest.mark.parametrize(("status", "kind"), [(401, Denied), (403, Denied), (500, Unavailable), (429, Unavailable)])
async def test_how_pagerduty_fails(serve: Any, status: int, kind: type[IntegrationError]) -> None:
    server = await serve()
    server.answer = lambda asked: as_json({"error": "no"}, status)
    source = account(server.url)
    with pytest.raises(kind):
        await source.groups()
    await source.aclose()
