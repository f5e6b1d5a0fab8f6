"""Every source that is asked over HTTP: each way of failing is one error, empty and hostile answers are none."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import multiprocessing
import pathlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.argocd import ArgoCD
from integrations.asked import Allowed
from integrations.elasticsearch import Elasticsearch
from integrations.errors import IntegrationError, NotIncluded
from integrations.gitlab import GitLab
from integrations.http import Answer, Egress
from integrations.kubernetes import Kubernetes
from integrations.launchdarkly import LaunchDarkly
from integrations.loki import Loki
from integrations.ports import ReadsElsewhere
from integrations.records import ServiceNames
from integrations.tempo import Tempo

CASSETTES = pathlib.Path(__file__).parent / "cassettes"
KINDS = {
    "tempo": (Tempo, {}), "loki": (Loki, {}), "elasticsearch": (Elasticsearch, {"indices": ["logs-*"]}),
    "gitlab": (GitLab, {}), "argocd": (ArgoCD, {}), "kubernetes": (Kubernetes, {}),
    "launchdarkly": (LaunchDarkly, {"paths": ["default/production"]}),
}  # fmt: skip
EMPTY = {
    "tempo": {"traces": []}, "loki": {"status": "success", "data": []},
    "elasticsearch": {"hits": {"hits": []}}, "gitlab": [], "argocd": {"metadata": {"name": "checkout"}},
    "kubernetes": {"items": []}, "launchdarkly": {"items": []},
}  # fmt: skip
SERVICE = ServiceNames(
    "checkout-api", otel=("checkout",), repositories=("acme/checkout",), kubernetes=("prod/checkout",),
    applications=("checkout",), flags=("checkout-*",),
)  # fmt: skip


NOWHERE = "http://x.internal:1"
SHARED = Egress([NOWHERE])


def made(kind, url, access, **more):
    source, options = KINDS[kind]
    egress = SHARED if url == NOWHERE else Egress([url], answer_limit_bytes=more.pop("limit", 1_000_000))
    return source(url=url, egress=egress, access=access, token="t", **options, **more)


@pytest.fixture
def asked(question):
    return replace(question, services=(SERVICE,), baselines=question.baselines[:1])


@pytest.mark.parametrize("kind", KINDS)
async def test_each_failure_of_everything_is_exactly_one_error(kind, serve, access, asked, failing):
    _, answer, error = failing
    served = await serve()
    served.answer = lambda one: answer
    source = made(kind, served.url, access, deadline_seconds=0.2 if answer is None else 20, limit=65_536)
    if error is NotIncluded:
        notes = (await source.fetch(asked)).notes
        assert any("not included in this plan" in note for note in notes)
    else:
        with pytest.raises(error) as failed:
            await source.fetch(asked)
        assert "bad token" not in str(failed.value)
    await source.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_found_is_said_and_is_no_failure(kind, serve, access, asked):
    served = await serve()
    served.answer = lambda one: (200, {}, json.dumps(EMPTY[kind]).encode())
    source = made(kind, served.url, access)
    found = await source.fetch(asked)
    assert not (found.spans or found.logs or found.changes or found.baselines)
    assert found.notes or kind in ("gitlab", "argocd", "kubernetes", "launchdarkly")
    nobody = await source.fetch(replace(asked, services=()))
    assert not (nobody.spans or nobody.logs)
    await source.aclose()


@pytest.fixture(scope="module")
def process():
    """A process of its own, as the running bot has one."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("kind", KINDS)
async def test_large_answers_are_parsed_in_another_process_with_the_same_result(kind, access, asked, process):
    calls = []

    async def elsewhere(work, *arguments):
        calls.append(work)
        return await asyncio.get_running_loop().run_in_executor(process, work, *arguments)

    played = []
    for threshold in (10**9, 0):
        source = made(kind, NOWHERE, access, deadline_seconds=60)
        assert isinstance(source, ReadsElsewhere)
        source.offload, source.parsed_at_once = elsewhere, threshold

        async def canned(path, params=None, *, method="GET", body=None):
            known = (body for at, body in by_path(kind) if at.endswith(path.rsplit("?", 1)[0]))
            return Answer(200, {}, next(known, json.dumps(EMPTY[kind])).encode(), "")

        for api in (source._api, getattr(source, "_metadata", source._api)):
            api.answer = canned
        played.append(await source.fetch(asked))
        assert bool(calls) == (threshold == 0)
        await source.aclose()
    assert played[0] == played[1]


@functools.cache
def by_path(kind: str) -> list[tuple[str, str]]:
    tape = yaml.safe_load((CASSETTES / f"{kind}.yaml").read_text(encoding="utf-8"))
    return [(urlsplit(one["request"]["uri"]).path, one["response"]["body"]["string"]) for one in tape["interactions"]]


@functools.cache
def answers(kind: str) -> list[str]:
    tape = yaml.safe_load((CASSETTES / f"{kind}.yaml").read_text(encoding="utf-8"))
    return [one["response"]["body"]["string"] for one in tape["interactions"]]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_answer_never_raises_anything_unexpected(kind, mutate, junk, access, asked, data):
    recorded = [json.loads(one) for one in answers(kind) if one]
    path, wrong = data.draw(st.lists(st.integers(0, 30), max_size=8)), data.draw(junk)
    victim = data.draw(st.integers(0, len(recorded) - 1))
    recorded[victim] = mutate(recorded[victim], path, wrong)
    source = made(kind, NOWHERE, access)
    count = 0

    async def canned(path, params=None, *, method="GET", body=None):
        nonlocal count
        count += 1
        return Answer(200, {}, json.dumps(recorded[(count - 1) % len(recorded)]).encode(), "")

    async def run():
        source._api.answer = canned
        if kind == "kubernetes":
            source._metadata.answer = canned
        with contextlib.suppress(IntegrationError):
            found = await source.fetch(asked)
            for change in found.changes:
                change.model_dump_json()
            for batch in (*found.spans, *found.logs):
                assert all(one.service for one in batch.records)

    asyncio.run(run())


def test_an_allow_list_admits_names_and_patterns_and_says_what_it_keeps_back():
    every, some = Allowed("x", "paths", []), Allowed("x", "paths", ["Prod/*", "stage/web"])
    assert every.admits("anything")
    assert some.split(["prod/a", "stage/web", "stage/db", "prod/a"]) == (
        ["prod/a", "stage/web"], ["x: stage/db is not in allow.paths"],
    )  # fmt: skip
