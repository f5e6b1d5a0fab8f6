"""GitHub: deployments and what they changed, merges where there are none, limits, and how it fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.changes.diff import excerpt
from integrations.errors import Denied, IntegrationError, Malformed, NotIncluded, Unavailable
from integrations.github import GitHub
from integrations.github.door import told_beside
from integrations.github.pulls import pulls_of
from integrations.http import Egress
from integrations.ports import Source
from integrations.records import Readers, ServiceNames

URL = "https://api.github.com"
EGRESS = Egress([], [URL])
HEAD, BASE = ("a1b2c3d" * 6)[:40], ("0ddba11" * 6)[:40]


def made(access, url: str | None = None, **options) -> GitHub:
    egress = Egress([url], answer_limit_bytes=options.pop("limit", 1_000_000)) if url else EGRESS
    return GitHub(url=url or URL, egress=egress, access=access, token="gh-token", **options)


async def test_a_deployment_that_succeeded_is_compared_with_the_one_before_it(access, question, cassette):
    played = cassette("github")
    source = made(access)
    assert isinstance(source, Source)
    found = await source.fetch(question)
    await source.aclose()
    (change,) = found.changes  # the one still running, the staging one and the preview are not deployed
    assert found.notes == ()
    assert (change.id, change.kind, change.service) == ("github/deployment/acme/checkout/904", "deploy", "checkout-api")
    assert change.changed_at == datetime(2026, 11, 23, 14, 1, 12, tzinfo=UTC)  # when it began to roll out
    assert change.summary == "Deploy a1b2c3d to checkout-api: Move connection settings to the shared defaults"
    assert (change.commit, change.environment) == (HEAD, "production")
    assert (change.author_role, change.risk) == ("member", "high")  # of the pull request: its author, its label
    assert (change.size, change.files) == (4, ("src/app.py", "config/production.toml", "logo.png"))
    assert change.detail.splitlines() == [
        "#12 Move connection settings to the shared defaults",
        "config/production.toml (modified)", "-pool_size = 20", "+pool_size = 2",  # settings before code
        "src/app.py (modified)", "-import a", "+import b", "logo.png (added)",
    ]  # fmt: skip
    assert change.diff_url == change.url == f"https://github.com/acme/checkout/compare/{BASE}...{HEAD}"
    assert change.rollback_url == "https://github.com/acme/checkout/actions/runs/90100"
    assert not change.inferred
    assert change.readers == Readers.of(["everyone"], ["payments"])
    assert "priya" not in change.model_dump_json().lower()
    headers = played.sent[0].headers
    assert (headers["Authorization"], headers["X-GitHub-Api-Version"]) == ("Bearer gh-token", "2022-11-28")


async def test_a_renamed_repository_without_deployments_gives_merges_releases_and_deploying_runs_marked_inferred(
    access, question, cassette
):
    played = cassette("github_inferred")
    changes = {change.id: change for change in (await made(access).fetch(question)).changes}
    assert set(changes) == {
        f"github/merge/acme/checkout/{HEAD}", "github/release/acme/checkout/7", "github/run/acme/checkout/881",
    }  # fmt: skip
    run = changes["github/run/acme/checkout/881"]
    assert run.summary == "Workflow 'Deploy' ran a1b2c3d for checkout-api: Cut the pool to 2"
    assert run.url == "https://github.com/acme/checkout/actions/runs/881"
    assert all(change.inferred for change in changes.values())
    merge = changes[f"github/merge/acme/checkout/{HEAD}"]
    assert merge.summary == "Merge a1b2c3d to checkout-api: Cut the pool to 2"
    assert "+pool_size = 2" in merge.detail
    assert changes["github/release/acme/checkout/7"].summary == "Release v1.4.0 of checkout-api: Autumn"
    assert {request.host for request in played.sent} == {"api.github.com"}


async def test_only_repositories_that_are_mapped_and_allowed_are_asked(serve, access, question):
    served = await serve()
    services = (
        ServiceNames("a", repositories=("acme/a", "acme/secret")), ServiceNames("b", repositories=("../../user", "x")),
        ServiceNames("unmapped"),
    )  # fmt: skip
    served.answer = lambda asked: (200, {}, b"[]" if "deployments" in asked.target else b'{"default_branch": "main"}')
    source = made(access, served.url, repositories=["Acme/A"])
    found = await source.fetch(replace(question, services=services))
    await source.aclose()
    assert {asked.target.split("?")[0].split("/")[3] for asked in served.asked} == {"a"}
    assert found.notes == (
        "github: acme/secret is not in allow.repositories", "github: '../../user' is no repository (owner/name)",
        "github: 'x' is no repository (owner/name)",
    )  # fmt: skip


async def test_a_redirect_leads_no_further_than_the_same_host_and_once(serve, access, question):
    served, elsewhere = await serve(), await serve()
    for location in (f"{elsewhere.url}/stolen", "", "ftp://x", f"{served.url}/again"):
        served.answer = lambda asked, location=location: (301, {"Location": location}, b"{}")
        with pytest.raises(Malformed, match="redirect"):
            await made(access, served.url).fetch(question)
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}, 0),
        (429, {"retry-after": "60"}, 60),
        (403, {"retry-after": "30"}, 30),
    ],
)
async def test_both_of_its_rate_limits_are_unavailable_with_the_wait(serve, access, question, status, headers, wait):
    served = await serve()
    served.answer = lambda asked: (status, headers, b'{"message": "API rate limit exceeded"}')
    with pytest.raises(Unavailable) as limited:
        await made(access, served.url).fetch(question)
    assert limited.value.retry_after_seconds == wait


async def test_a_secondary_limit_without_headers_is_known_by_its_words(serve, access, question):
    served = await serve()
    served.answer = lambda asked: (403, {}, b'{"message": "You have exceeded a secondary rate limit."}')
    with pytest.raises(Unavailable):
        await made(access, served.url).fetch(question)
    served.answer = lambda asked: (403, {}, b'{"message": "Resource not accessible by personal access token"}')
    with pytest.raises(Denied, match="GITHUB_TOKEN"):
        await made(access, served.url).fetch(question)


async def test_each_failure_of_everything_is_exactly_one_error(serve, access, question, failing):
    name, answer, error = failing
    served = await serve()
    served.answer = lambda asked: answer
    source = made(access, served.url, deadline_seconds=0.5, limit=65_536)
    if error is NotIncluded:
        assert len((await source.fetch(question)).notes) == 1
    else:
        with pytest.raises(error):
            await source.fetch(question)
    await source.aclose()
    assert len(served.asked) == 1, name


def deployments(*rows):
    """Answers for rows of (id, sha, created at, states, compare or status)."""

    def answer(asked):
        path = asked.target.split("?")[0]
        if path.endswith("/deployments"):
            listed = [
                {"id": id_, "sha": sha, "environment": "production", "task": "deploy", "created_at": at}
                for id_, sha, at, _ in rows
            ]
            return 200, {}, json.dumps(listed).encode()
        if path.endswith("/statuses"):
            number = int(path.split("/")[-2])
            states = next(states for id_, _, _, states in rows if id_ == number)
            return 200, {}, json.dumps([{"state": s, "created_at": at} for s, at in states]).encode()
        if "/compare/" in path:
            return 200, {}, json.dumps({"status": "behind", "behind_by": 3, "files": [], "commits": []}).encode()
        return 404, {}, b"{}"

    return answer


async def test_a_roll_back_says_by_how_much_and_a_deploy_without_a_base_stands_without_its_diff(
    serve, access, question
):
    served = await serve()
    in_window, before = "2026-11-23T14:01:00Z", "2026-11-20T09:00:00Z"
    served.answer = deployments(
        (2, HEAD, in_window, [("success", in_window)]), (1, BASE, before, [("success", before)])
    )
    (change,) = (await made(access, served.url).fetch(question)).changes
    assert change.summary == "Deploy a1b2c3d to checkout-api: back by 3 commits"
    served.answer = deployments((2, HEAD, in_window, [("success", in_window)]))
    found = await made(access, served.url).fetch(question)
    assert found.changes[0].summary == "Deploy a1b2c3d to checkout-api"
    assert found.notes[0].startswith("github: what a1b2c3d changed in acme/checkout: no such object")


async def test_the_base_is_the_last_that_succeeded_not_the_last(serve, access, question):
    served = await serve()
    in_window = "2026-11-23T14:01:00Z"
    failed = ("f" * 40, "2026-11-23T10:00:00Z", [("failure", "2026-11-23T10:01:00Z")])
    served.answer = deployments(
        (3, HEAD, in_window, [("success", in_window)]), (2, *failed),
        (1, BASE, "2026-11-20T09:00:00Z", [("inactive", in_window), ("success", "2026-11-20T09:00:00Z")]),
    )  # fmt: skip
    found = await made(access, served.url).fetch(question)
    assert [change.commit for change in found.changes] == [HEAD]
    assert any(f"/compare/{BASE}...{HEAD}" in asked.target for asked in served.asked)


async def test_a_deployment_that_waited_for_approval_counts_from_when_it_rolled_out(serve, access, question):
    served = await serve()
    waited, rolled = "2026-11-21T09:00:00Z", "2026-11-23T14:01:00Z"
    served.answer = deployments((2, HEAD, waited, [("success", rolled)]))
    (change,) = (await made(access, served.url).fetch(question)).changes
    assert change.changed_at == datetime(2026, 11, 23, 14, 1, tzinfo=UTC)


def test_an_excerpt_is_bounded_and_shows_settings_first(wire):
    huge = [{"filename": f"src/{n}.py", "status": "modified", "patch": "+x" * 5000} for n in range(300)]
    text = excerpt([*huge, {"filename": "deploy/values.yaml", "status": "modified", "patch": "@@\n-a: 1\n+a: 2"}])
    assert text.startswith("deploy/values.yaml (modified)\n-a: 1\n+a: 2")
    assert len(text) <= 4000
    assert excerpt(wire("github", "rest_compare")["rest_compare.json"]["files"]) == "file1.txt (added)"


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_mutated_answer_never_raises_anything_unexpected(wire, mutate, junk, access, question, data):
    samples = wire("github", "rest_*")
    deployment = {**samples["rest_list_deployments.json"][0], "created_at": "2026-11-23T14:00:00Z"}
    statuses = [{"state": "success", "created_at": "2026-11-23T14:00:00Z", "log_url": "https://x.example/1"}]
    pull = {**samples["rest_get_pull.json"], "merged_at": "2026-11-23T14:00:00Z"}
    answers = {
        "deployments": data.draw(st.sampled_from([[deployment], []])), "statuses": statuses,
        "compare": samples["rest_compare.json"], "pulls": [pull], "releases": samples["rest_list_releases.json"],
        "commits": samples["rest_list_commits.json"], "repo": samples["rest_get_repo.json"],
    }  # fmt: skip
    victim = data.draw(st.sampled_from(sorted(answers)))
    answers[victim] = mutate(answers[victim], data.draw(st.lists(st.integers(0, 30), max_size=5)), data.draw(junk))
    source = made(access)

    async def canned(path, params=None):
        last = path.rsplit("/", 1)[-1]
        return answers[last] if last in answers else answers["compare"] if "..." in path else answers["repo"]

    async def run():
        source._json = canned
        with contextlib.suppress(IntegrationError):
            for change in (await source.fetch(question)).changes:
                change.model_dump_json()

    asyncio.run(run())


async def test_a_question_with_patience_waits_longer_than_the_source_would_by_itself(serve, access, question):
    """A source that was late is asked again with more time: its exchanges have that time too."""
    served = await serve()

    async def late(asked):
        body = b'{"default_branch": "main"}' if asked.target.endswith("/acme/checkout") else b"[]"
        await asyncio.sleep(0.4)
        yield b"HTTP/1.1 200 X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)

    served.answer = late
    source = made(access, served.url, deadline_seconds=0.2)
    with pytest.raises(Unavailable, match=r"no answer in 0\.18 s"):
        await source.fetch(question)
    found = await source.fetch(replace(question, patience_seconds=30.0))
    await source.aclose()
    assert not any("no answer" in note for note in found.notes)


# --- pull requests ------------------------------------------------------------------------------------------------


def pull(number: int, merged_at: str | None = "2026-11-23T13:00:00Z", **more):
    return {"number": number, "title": f"Change {number}", "merged_at": merged_at, **more}


def test_a_deployment_s_pull_requests_are_the_commit_s_own_and_those_that_the_messages_name():
    messages = ["Old one (#3)", "Merge pull request #4 from acme/x\n\nCut the pool", "no number", "Change 5 (#5)"]
    commits = [{"commit": {"message": message}} for message in messages]
    found = pulls_of([pull(5, author_association="CONTRIBUTOR"), pull(6, merged_at=None)], commits)
    assert found.lines == ("#5 Change 5", "#4 Cut the pool", "#3 Old one")
    assert (found.role, found.risk) == ("contributor", None)
    assert pulls_of(None, commits).lines == ("#5 Change 5", "#4 Cut the pool", "#3 Old one")
    many = pulls_of(None, [{"commit": {"message": f"x (#{n})"}} for n in range(1, 9)])
    assert (many.lines[0], many.lines[-1]) == ("#8 x", "and 3 more pull requests")


@pytest.mark.parametrize(
    ("labels", "risk"),
    [(["risk: high", "risk/low"], "high"), (["Risk:Medium"], "medium"), (["risky one"], None), (["risk: x"], None)],
)
def test_a_label_says_what_a_gate_called_the_risk(labels, risk):
    assert pulls_of([pull(1, labels=[{"name": name} for name in labels])], ()).risk == risk


@pytest.mark.parametrize("junk", [None, {}, "x", [1], [{}], [{"merged_at": 5, "number": "x", "labels": "y"}]])
def test_pull_requests_in_another_shape_cost_nothing(junk):
    assert pulls_of(junk, junk).lines == ()


@pytest.mark.parametrize(
    ("payload", "told"),
    [({"risk": "high", "role": "payments", "x": 1}, ("high", "payments")), ('{"risk": "low"}', ("low", None)),
     ("not json", (None, None)), ("[" * 70_000, (None, None)), (None, (None, None)), ([1], (None, None))],
    ids=["object", "text", "no json", "deep", "none", "list"],
)  # fmt: skip
def test_what_a_gate_said_of_a_deployment_stands_in_its_payload(payload, told):
    found = told_beside({"payload": payload})
    assert (found["risk"], found["role"]) == told
