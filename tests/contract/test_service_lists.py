"""How each system names its services, as `sitrep services import` asks: the request, and every shape of answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from integrations.errors import IntegrationError, Malformed
from integrations.github import GitHub
from integrations.http import Egress
from integrations.jaeger import Jaeger
from integrations.ports import ServiceLister
from integrations.prometheus import Prometheus

KINDS: dict[str, Any] = {"jaeger": Jaeger, "prometheus": Prometheus, "github": GitHub}


@pytest.fixture
async def ask(serve, access):
    """`await ask(kind, answer)` is what the source makes of it, and what it asked."""

    async def run(kind: str, answer: Any, status: int = 200, **options: Any) -> tuple[Any, list[str]]:
        served = await serve()
        served.answer = lambda asked: (status, {"content-type": "application/json"}, json.dumps(answer).encode())
        source = KINDS[kind](url=served.url, egress=Egress([served.url], ()), access=access, **options)
        assert isinstance(source, ServiceLister)
        try:
            return await source.services(), [asked.target for asked in served.asked]
        finally:
            await source.aclose()

    return run


async def test_jaeger_lists_its_services(ask):
    found, asked = await ask("jaeger", {"data": ["web", "checkout", "web", None, 3], "errors": None})
    assert found == ([("checkout", "checkout"), ("web", "web")], False)
    assert asked == ["/api/services"]


async def test_prometheus_lists_its_jobs(ask):
    found, asked = await ask("prometheus", {"status": "success", "data": ["co", "node"]})
    assert found == ([("co", "co"), ("node", "node")], False)
    assert asked == ["/api/v1/label/job/values"]


async def test_github_lists_what_is_allowed_without_asking_else_what_the_token_reaches(ask):
    found, asked = await ask("github", [], repositories=["acme/web"])
    assert (found, asked) == (([("acme/web", "web")], False), [])
    answer = [{"full_name": "acme/web"}, {"full_name": "acme/old", "archived": True}, {"full_name": "../x"}, {}]
    found, asked = await ask("github", answer)
    assert found == ([("acme/web", "web")], False)
    assert asked == ["/user/repos?per_page=100&sort=pushed"]


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("status", [401, 500])
async def test_a_refusal_is_one_of_our_errors(ask, kind, status):
    with pytest.raises(IntegrationError):
        await ask(kind, {"message": "no"}, status)


@pytest.mark.parametrize("answer", [[], 3, {"status": "success"}, {"status": "error", "data": []}])
async def test_prometheus_with_another_answer_is_malformed(ask, answer):
    with pytest.raises(Malformed):
        await ask("prometheus", answer)


@pytest.mark.parametrize("kind", ["jaeger", "github"])
@pytest.mark.parametrize("answer", [{}, {"data": 3}, {"data": {"a": 1}}])
async def test_an_answer_without_a_list_names_nothing(ask, kind, answer):
    found, _ = await ask(kind, answer)
    assert found == ([], False)
