"""GitLab, Argo CD, Kubernetes and LaunchDarkly: recorded answers as changes, and what they ask for."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from integrations.argocd import ArgoCD, parse_applications
from integrations.changes import change_of
from integrations.changes.asked import compare_page, flag_service
from integrations.errors import BadSignature, Denied
from integrations.gitlab import GitLab, gitlab_door
from integrations.gitlab.source import parse_deployments
from integrations.http import Egress
from integrations.kubernetes import Kubernetes
from integrations.kubernetes.objects import difference, flattened, parse_config_maps, parse_events, parse_revisions
from integrations.launchdarkly import LaunchDarkly, entry_of, launchdarkly_door
from integrations.ports import Source
from integrations.records import Readers, ServiceNames

GITLAB, ARGO, CLUSTER, FLAGS = (
    "https://gitlab.example", "https://argocd.example", "https://kubernetes.internal:6443", "https://app.launchdarkly.com",
)  # fmt: skip
HEAD, BASE = ("a1b2c3d" * 6)[:40], ("0ddba11" * 6)[:40]
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SERVICE = ServiceNames(
    "checkout-api", otel=("checkout",), repositories=("acme/checkout",), kubernetes=("prod/checkout",),
    applications=("checkout",), flags=("checkout-*",),
)  # fmt: skip


@pytest.fixture
def asked(question):
    return replace(question, services=(SERVICE,))


def made(kind, url, access, **more):
    return kind(url=url, egress=Egress([url]), access=access, deadline_seconds=30, **more)


def told(door, payload, **headers):
    (signal,) = door.parse(headers, payload, "0" * 64, NOW)
    return change_of(signal.body) if signal.kind == "change" else signal.body["refused"]


# --- GitLab -------------------------------------------------------------------------------------------------------


async def test_a_gitlab_deployment_to_production_is_compared_with_the_one_before_it(access, asked, cassette):
    played = cassette("gitlab")
    source = made(GitLab, GITLAB, access, token="glpat-x")
    assert isinstance(source, Source)
    found = await source.fetch(asked)
    await source.aclose()
    (change,) = found.changes  # staging and the review app are not production
    assert (change.id, change.kind, change.service) == ("gitlab/deployment/acme/checkout/53", "deploy", "checkout-api")
    assert change.changed_at == datetime(2026, 11, 23, 14, 0, 40, 100_000, tzinfo=UTC)  # when its job began
    assert change.summary == "Deploy a1b2c3d to checkout-api: Cut the pool to 2"
    assert (change.size, change.files) == (4, ("src/app.py", "config/production.toml"))
    assert change.detail.startswith("config/production.toml (modified)\n-pool_size = 20\n+pool_size = 2")
    assert change.diff_url == f"{GITLAB}/acme/checkout/-/compare/{BASE}...{HEAD}"
    assert change.rollback_url == f"{GITLAB}/acme/checkout/-/jobs/644"
    assert (change.author_role, change.environment) == ("automation", "production")
    assert change.readers == Readers.of(["everyone"], ["payments"])
    assert "priya" not in change.model_dump_json().lower()
    assert played.sent[0].headers["PRIVATE-TOKEN"] == "glpat-x"
    assert "acme%2Fcheckout" in played.sent[0].uri


async def test_only_projects_that_are_mapped_and_allowed_are_asked(serve, access, asked):
    served = await serve()
    served.answer = lambda one: (200, {}, b"[]")
    service = ServiceNames("a", repositories=("acme/a", "acme/secret", "../../user"))
    found = await made(GitLab, served.url, access, repositories=["ACME/a", "../*"]).fetch(
        replace(asked, services=(service, ServiceNames("unmapped")))
    )
    assert [one.target.split("/")[4] for one in served.asked] == ["acme%2Fa"]
    assert found.notes == (
        "gitlab: acme/secret is not in allow.repositories", "gitlab: '../../user' is no project (group/name)",
    )  # fmt: skip


async def test_a_deployment_of_an_earlier_commit_is_a_way_back(serve, access, asked):
    served = await serve()
    deployments = [
        {"id": n, "sha": sha, "created_at": at, "environment": {"name": "prod"}}
        for n, sha, at in ((2, BASE, "2026-11-23T14:00:00Z"), (1, HEAD, "2026-11-20T14:00:00Z"))
    ]
    nothing = {"commits": [], "diffs": []}  # an older GitLab names no page
    served.answer = lambda one: (
        200, {}, json.dumps(deployments if "deployments" in one.target else nothing).encode(),
    )  # fmt: skip
    (change,) = (await made(GitLab, served.url, access).fetch(asked)).changes
    assert change.summary == "Deploy 0ddba11 to checkout-api: back to an earlier commit"
    assert change.diff_url == f"{served.url}/acme/checkout/-/compare/{HEAD}...{BASE}"


async def test_a_comparison_that_cannot_be_read_costs_the_diff_and_not_the_deployment(serve, access, asked):
    served = await serve()
    deployments = [
        {"id": n, "sha": sha, "created_at": at, "environment": {"name": "prod"}}
        for n, sha, at in ((2, HEAD, "2026-11-23T14:00:00Z"), (1, BASE, "2026-11-20T14:00:00Z"))
    ]
    served.answer = lambda one: (
        (200, {}, json.dumps(deployments).encode()) if "deployments" in one.target else (404, {}, b"{}")
    )
    found = await made(GitLab, served.url, access).fetch(asked)
    assert [change.summary for change in found.changes] == ["Deploy a1b2c3d to checkout-api"]
    assert found.notes[0].startswith("gitlab: what a1b2c3d changed in acme/checkout: no such object")


def test_gitlab_s_published_hook_is_a_change_with_the_whole_hash(wire):
    sample = wire("gitlab", "webhook_deployment")["webhook_deployment.json"]
    change = told(gitlab_door(["s"]), sample)
    assert change.id == "gitlab/deployment/root/test-deployment-webhooks/15"
    assert (change.commit, change.environment) == ("279484c09fbe69ededfced8c1bb6e6d24616b468", "staging")
    assert change.changed_at == datetime(2021, 4, 28, 19, 50, tzinfo=UTC)
    assert change.summary == "Deploy 279484c to root/test-deployment-webhooks staging: Add new file"
    assert "User1" not in change.model_dump_json()
    assert "is not deployed" in told(gitlab_door(["s"]), {**sample, "status": "running"})
    assert "are not read" in told(gitlab_door(["s"]), {"object_kind": "push"})
    release = {"object_kind": "release", "action": "create", "tag": "v1", "project": sample["project"],
               "released_at": "2020-11-02 12:55:12 UTC", "url": "https://gitlab.example/r"}  # fmt: skip
    assert told(gitlab_door(["s"]), release).summary == "Release v1 of root/test-deployment-webhooks"


def test_gitlab_s_token_is_compared_whole():
    door = gitlab_door(["new", "old"])
    door.verify({"x-gitlab-token": "old"}, b"{}", NOW)
    for wrong in ({}, {"x-gitlab-token": ""}, {"x-gitlab-token": "newx"}, {"authorization": "Bearer new"}):
        with pytest.raises(BadSignature):
            door.verify(wrong, b"{}", NOW)
    with pytest.raises(BadSignature):
        gitlab_door([""]).verify({"x-gitlab-token": ""}, b"{}", NOW)


def test_deployments_without_id_hash_or_time_are_left_out():
    raw = [{}, {"id": 1}, {"id": 1, "sha": HEAD}, {"id": 1, "sha": "main", "created_at": "2026-11-23T14:00:00Z"}]
    assert parse_deployments("gitlab", json.dumps(raw).encode()) == []


# --- Argo CD ------------------------------------------------------------------------------------------------------


async def test_argo_cd_s_syncs_and_a_failed_operation_are_changes_with_diff_and_rollback(access, asked, cassette):
    played = cassette("argocd")
    source = made(ArgoCD, ARGO, access, token="a-token")
    assert isinstance(source, Source)
    sync, failed = (await source.fetch(asked)).changes
    await source.aclose()
    assert (sync.id, sync.kind, sync.commit) == ("argocd/sync/argocd/checkout/15", "rollout", HEAD)
    assert (sync.summary, sync.author_role) == ("Sync checkout-api to a1b2c3d", "automation")
    assert sync.diff_url == f"https://github.com/acme/manifests/compare/{BASE}...{HEAD}"
    assert sync.rollback_url == f"{ARGO}/applications/argocd/checkout?rollback=0"
    assert failed.summary == "Sync failed: checkout-api to 0ddba11"
    assert "is invalid" in failed.detail
    assert "priya" not in failed.model_dump_json()
    assert played.targets() == ["GET /api/v1/applications/checkout"]


async def test_an_application_that_is_not_mapped_is_found_by_its_name_or_label(serve, access, asked):
    served = await serve()
    sync = {"id": 1, "revision": HEAD, "deployedAt": "2026-11-23T14:00:00Z"}
    names = [("checkout-api-prod", {}), ("x", {"app.kubernetes.io/name": "Checkout"}), ("search", {})]
    items = [{"metadata": {"name": n, "namespace": "argocd", "labels": labels}} for n, labels in names]

    def answer(one):
        path = one.target.split("?")[0]
        if path.endswith("/applications"):
            assert "items.metadata.labels" in one.target  # the history is none of the fields that a list can give
            return 200, {}, json.dumps({"items": items}).encode()
        metadata = {"name": path.rsplit("/", 1)[1], "namespace": "argocd"}
        return 200, {}, json.dumps({"metadata": metadata, "status": {"history": [sync]}}).encode()

    served.answer = answer
    service = ServiceNames("checkout-api", otel=("checkout",))
    found = await made(ArgoCD, served.url, access).fetch(replace(asked, services=(service,)))
    assert [change.id.split("/")[3] for change in found.changes] == ["checkout-api-prod", "x"]
    assert "appNamespace=argocd" in served.asked[-1].target
    served.asked.clear()
    found = await made(ArgoCD, served.url, access, paths=["team/*"]).fetch(
        replace(asked, services=(service, SERVICE, ServiceNames("y", applications=("team/y", "a/../b"))))
    )
    assert "argocd: checkout is not in allow.paths" in found.notes
    assert "applications of checkout-api not asked" in " ".join(found.notes)
    assert [one.target.split("?")[0] for one in served.asked] == ["/api/v1/applications/y"]
    assert "appNamespace=team" in served.asked[-1].target


def test_a_published_application_is_read_with_its_ten_syncs(wire):
    sample = wire("argocd", "application_with_history")["application_with_history.json"]
    (application,) = parse_applications("argocd", json.dumps(sample).encode())
    assert (application.name, application.destination) == ("velero-test", "test-lla")
    assert len(application.syncs) >= 10
    assert application.syncs[0].revisions == ("ea8759964626a583667a2bfd08f334ec2070040a",)


def test_an_operation_of_several_sources_names_the_first_repository():
    repositories = [{"repoURL": "https://github.com/acme/a"}, {"repoURL": "https://github.com/acme/b"}]
    state = {"startedAt": "2026-11-23T14:00:00Z", "phase": "Failed", "message": "no",
             "syncResult": {"revision": "", "source": {"repoURL": ""}, "sources": repositories,
                            "revisions": [HEAD, BASE]}}  # fmt: skip
    body = {"metadata": {"name": "a"}, "status": {"operationState": state}}
    (application,) = parse_applications("argocd", json.dumps(body).encode())
    assert application.syncs[0].repositories == ("https://github.com/acme/a",)
    assert application.syncs[0].revisions == (HEAD, BASE)


# --- Kubernetes ---------------------------------------------------------------------------------------------------


async def test_a_rollout_a_changed_config_map_and_a_scaling_are_changes_and_events_are_log_lines(
    access, asked, cassette
):
    played = cassette("kubernetes")
    source = made(Kubernetes, CLUSTER, access, token="sa-token", link_url="https://k8s.example")
    assert isinstance(source, Source)
    found = await source.fetch(asked)
    await source.aclose()
    rollout, config, scale = found.changes
    assert rollout.summary == "Roll out checkout to revision 42 (checkout:a1b2c3d): cut the pool"
    assert (rollout.kind, rollout.commit, rollout.environment) == ("rollout", "a1b2c3d", "prod")
    assert rollout.detail.splitlines() == [
        "app image: registry.example/shop/checkout:v1.3.9 → registry.example/shop/checkout:a1b2c3d",
        "app env DB_PASSWORD: (hidden) → (hidden)", "app env POOL_SIZE: 20 → 2",
    ]  # fmt: skip
    assert (rollout.size, rollout.size_unit) == (3, "settings")
    assert rollout.rollback == "kubectl rollout undo deployment/checkout -n prod --to-revision=41"
    assert "hunter2" not in rollout.model_dump_json()
    assert (config.kind, config.files) == ("config", ("mode", "pool.size"))
    assert (config.size, config.size_unit, config.author_role) == (2, "keys", "kubectl-edit")
    assert (config.rollback, scale.author_role) == ("", "autoscaler")
    assert config.changed_at == datetime(2026, 11, 23, 13, 59, 30, tzinfo=UTC)
    assert (scale.kind, scale.summary[:30]) == ("scale", "Scale checkout: New size: 6; r")
    assert {change.readers for change in found.changes} == {Readers.of(["everyone"], ["payments"])}
    lines = [line for batch in found.logs for line in batch.records]
    assert [(line.level, line.body.split(":")[0], line.pod) for line in lines] == [
        ("INFO", "ScalingReplicaSet", ""), ("INFO", "SuccessfulRescale", ""),
        ("WARN", "Unhealthy", "checkout-bbbbbbbbbb-abcde"),  # another workload's pods, whose names begin alike, are not
    ]  # fmt: skip
    assert lines[-1].body.endswith("(12 times)")
    asked_for = {request.path.rsplit("/", 1)[1]: request.headers for request in played.sent}
    assert "PartialObjectMetadataList" in asked_for["configmaps"]["Accept"]  # their data stays in the cluster
    assert {headers["Authorization"] for headers in asked_for.values()} == {"Bearer sa-token"}


def replica_set(number, created, image, history=""):
    annotations = {"deployment.kubernetes.io/revision": str(number)}
    annotations |= {"deployment.kubernetes.io/revision-history": history} if history else {}
    return {
        "metadata": {"name": f"checkout-{image}", "creationTimestamp": created, "annotations": annotations,
                     "ownerReferences": [{"kind": "Deployment", "name": "checkout"}]},
        "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}},
    }  # fmt: skip


async def test_a_rollback_counts_from_when_the_old_replica_set_was_scaled_up_again(serve, access, asked):
    served = await serve()
    sets = [replica_set(43, "2026-11-01T00:00:00Z", "old", "41"), replica_set(42, "2026-11-20T00:00:00Z", "bad")]
    about, at = {"kind": "Deployment", "name": "checkout"}, "2026-11-23T14:01:00Z"
    message = "Scaled up replica set checkout-old from 0 to 1"
    event = {"reason": "ScalingReplicaSet", "message": message, "involvedObject": about, "lastTimestamp": at}
    events = [event]
    items = {"replicasets": sets, "controllerrevisions": [], "events": events, "configmaps": []}
    served.answer = lambda one: (
        200, {}, json.dumps({"items": items[one.target.split("?")[0].rsplit("/", 1)[1]]}).encode(),
    )  # fmt: skip
    (change,) = (await made(Kubernetes, served.url, access).fetch(asked)).changes
    assert change.changed_at == datetime(2026, 11, 23, 14, 1, tzinfo=UTC)
    assert change.summary == "Roll back checkout to revision 43 (old)"
    assert change.rollback == "kubectl rollout undo deployment/checkout -n prod --to-revision=42"
    assert change.detail == "app image: bad → old"
    events.clear()  # the event is gone after an hour: rather nothing than a wrong time
    assert (await made(Kubernetes, served.url, access).fetch(asked)).changes == ()


async def test_a_stateful_set_s_revision_is_a_rollout_and_one_that_is_there_again_has_no_time(serve, access, asked):
    served = await serve()

    def revision(number, created, image):
        template = {"spec": {"containers": [{"name": "db", "image": image}]}}
        owner = {"kind": "StatefulSet", "name": "checkout"}
        return {"metadata": {"name": f"checkout-{image}", "creationTimestamp": created, "ownerReferences": [owner]},
                "data": {"spec": {"template": template}}, "revision": number}  # fmt: skip

    sets = [revision(4, "2026-11-23T14:00:00Z", "two"), revision(3, "2026-11-01T00:00:00Z", "one")]
    served.answer = lambda one: (
        200, {}, json.dumps({"items": sets if "controllerrevisions" in one.target else []}).encode(),
    )  # fmt: skip
    (change,) = (await made(Kubernetes, served.url, access).fetch(asked)).changes
    assert (change.summary, change.detail) == ("Roll out checkout to revision 4 (two)", "db image: one → two")
    sets[1] = revision(5, "2026-11-01T00:00:00Z", "one")  # rolled back
    (change,) = (await made(Kubernetes, served.url, access).fetch(asked)).changes
    assert change.summary == "Roll out checkout to revision 4 (two)"


async def test_a_list_that_may_not_be_read_is_a_note_and_all_of_them_are_denied(serve, access, asked, wire):
    forbidden = wire("kubernetes", "made_status_forbidden_403.http")["made_status_forbidden_403.http.json"]["response"]
    refused = (403, {}, json.dumps(forbidden["body"]).encode())
    served = await serve()
    served.answer = lambda one: refused if "configmaps" in one.target else (200, {}, b'{"items": []}')
    (note,) = (await made(Kubernetes, served.url, access).fetch(asked)).notes
    assert note.startswith("kubernetes: configmaps of prod: the credentials may not read this (403)")
    served.answer = lambda one: refused
    with pytest.raises(Denied):
        await made(Kubernetes, served.url, access).fetch(asked)


async def test_only_workloads_that_are_mapped_and_allowed_are_asked_about(serve, access, asked):
    served = await serve()
    served.answer = lambda one: (200, {}, b'{"items": []}')
    services = (ServiceNames("a", kubernetes=("prod/a", "secret/a", "../x", "prod")),)
    source = made(Kubernetes, served.url, access, paths=["prod*", "../*"])
    notes = (await source.fetch(replace(asked, services=services))).notes
    assert {one.target.split("/namespaces/")[1].split("/")[0] for one in served.asked} == {"prod"}
    assert notes == (
        "kubernetes: secret/a is not in allow.paths", "kubernetes: '../x' is no workload (namespace/name)",
        "kubernetes: 'prod' is no workload (namespace/name)",
    )  # fmt: skip
    unmapped = await source.fetch(replace(asked, services=(ServiceNames("b"),)))
    assert unmapped.notes == ('kubernetes: not asked (map it: [services."b"] kubernetes = ["namespace/workload"])',)


def test_published_objects_are_read(wire):
    samples = wire("kubernetes")
    ((workload, revision),) = parse_revisions(
        "k", json.dumps({"items": [samples["live_replicaset_xray.json"]]}).encode()
    ).items
    assert (workload, revision.number, revision.config_maps) == ("nginx-pv", 2, frozenset({"busy"}))
    events = [samples["live_event.json"], samples["roundtrip_events.k8s.io.v1.Event.json"]]
    pulled, newer = parse_events("k", json.dumps({"items": events}).encode()).items
    assert (pulled.reason, pulled.at) == ("Pulled", datetime(2019, 8, 30, 20, 43, 5, tzinfo=UTC))
    assert (newer.reason, newer.message, newer.name) == ("reasonValue", "noteValue", "nameValue")
    maps = parse_config_maps("k", json.dumps({"items": [samples["live_configmap.json"]]}).encode()).items
    assert len(maps) == 1


def test_values_are_shown_only_where_their_name_says_that_they_are_no_secret():
    def pod(**env):
        return flattened({"containers": [{"name": "c", "env": [{"name": k, "value": v} for k, v in env.items()]}]})

    lines = difference(pod(LEVEL="info", API_TOKEN="a1", DSN="postgres://u:p@h"), pod(LEVEL="debug", API_TOKEN="a2"))
    assert lines == [
        "c env API_TOKEN: (hidden) → (hidden)", "c env DSN: (hidden) → (none)", "c env LEVEL: info → debug",
    ]  # fmt: skip


# --- LaunchDarkly -------------------------------------------------------------------------------------------------


async def test_flags_are_changes_of_the_service_that_their_key_or_tag_names(access, asked, cassette):
    played = cassette("launchdarkly")
    source = made(LaunchDarkly, FLAGS, access, token="api-x", paths=["default/production"])
    assert isinstance(source, Source)
    found = await source.fetch(asked)
    await source.aclose()
    first, second = [change for change in found.changes if change.service == "checkout-api"]
    assert (first.kind, first.summary) == ("flag", "Flag checkout-new-pool: turned on the flag in production")
    assert first.detail == "* Changed the default variation from `off` to `on`\ncomment: Do it live!"
    assert (first.author_role, second.author_role) == ("writer", "automation")
    assert first.url == f"{FLAGS}/default/production/features/checkout-new-pool"
    assert first.rollback_url == first.url
    assert "Henrietta" not in first.model_dump_json()
    assert len(found.changes) == 12
    assert found.notes == ("launchdarkly: 10 older changes of flags of other services are left out",)
    specs = {dict(request.query)["spec"] for request in played.sent}
    assert specs == {"proj/default:env/production:flag/*", "proj/default:env/production:segment/*"}
    assert played.sent[0].headers["Authorization"] == "api-x"


def test_published_entries_of_flags_and_segments_are_read_and_others_are_not(wire):
    read = {name: entry_of(one) for name, one in wire("launchdarkly").items()}
    toggle = read["auditlog_flag.toggle.json"]
    assert (toggle.key, toggle.environment, toggle.verb) == ("demo-flag", "production", "turned on the flag")
    assert toggle.at == datetime(2020, 2, 4, 0, 48, 39, 650_000, tzinfo=UTC)
    assert "Decreased the rollout from '50%' to '43%'" in read["auditlog_flag.targeting-rule-update.json"].detail
    assert read["auditlog_flag.archive.json"].environment == ""  # all of them
    assert read["auditlog_project.update.json"] is None


def test_launchdarkly_s_hook_is_signed_and_a_change_of_its_flag(wire):
    toggle = wire("launchdarkly", "auditlog_flag.toggle")["auditlog_flag.toggle.json"]
    door = launchdarkly_door(["s3cret"])
    door.verify({"x-ld-signature": hmac.new(b"s3cret", b"{}", hashlib.sha256).hexdigest()}, b"{}", NOW)
    with pytest.raises(BadSignature):
        door.verify({"x-ld-signature": "00"}, b"{}", NOW)
    change = told(door, toggle)
    assert (change.id, change.service) == ("launchdarkly/5e38bf6706121d8aaf15392a", "flag:demo-flag")
    assert "not about a flag" in told(door, {"kind": "member"})


@pytest.mark.parametrize("paths", [["default"], ["a/b/c"], ["a b/c"], ["a/b:flag"]])
def test_a_path_that_is_no_project_and_environment_is_refused(access, paths):
    with pytest.raises(ValueError, match=r"allow\.paths"):
        made(LaunchDarkly, FLAGS, access, paths=paths)


# --- shared -------------------------------------------------------------------------------------------------------


def test_a_flag_belongs_to_the_service_of_its_pattern_tag_or_beginning():
    services = (ServiceNames("web"), ServiceNames("checkout-api", flags=("pool-*",)), ServiceNames("search"))
    assert flag_service(services, "POOL-size") == "checkout-api"
    assert flag_service(services, "beta", ["Search"]) == "search"
    assert flag_service(services, "search_new_index") == "search"
    assert flag_service(services, "webhooks") is None  # a short name begins too much


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://github.com/acme/x.git", f"https://github.com/acme/x/compare/{BASE}...{HEAD}"),
        ("https://gitlab.com/a/b/c", f"https://gitlab.com/a/b/c/-/compare/{BASE}...{HEAD}"),
        ("https://user:pw@github.com/acme/x", f"https://github.com/acme/x/compare/{BASE}...{HEAD}"),
        ("git@github.com:acme/x.git", None), ("https://charts.example/x", None), ("javascript:alert(1)", None),
    ],
)  # fmt: skip
def test_a_link_between_two_commits_is_made_only_for_hosts_that_are_known(url, page):
    assert compare_page(url, BASE, HEAD) == page
    assert compare_page(url, "main", HEAD) is None
