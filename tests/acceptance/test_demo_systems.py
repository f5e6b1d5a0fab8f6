"""The demo's PagerDuty, Prometheus, Jaeger and GitHub answer as the real ones do, about an incident that is now."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import httpx2
import pagerduty
import pytest

from demo import scenario
from demo.scenario import INCIDENT_ID
from demo.systems import Systems
from demo.systems.server import GITHUB_TOKEN, PAGERDUTY_TOKEN, WEBHOOK_SECRET
from demo.systems.webhooks import signature

CHECKOUT = scenario.service("checkout-api")


@pytest.fixture
def account(systems: Systems) -> Iterator[pagerduty.RestApiV2Client]:
    trusted = ssl.create_default_context(cafile=str(systems.ca_file))
    client = pagerduty.RestApiV2Client(PAGERDUTY_TOKEN, base_url=systems.url["pagerduty"], verify=trusted)
    client.max_http_attempts = 1
    client.max_network_attempts = 0
    with client:
        yield client


@pytest.fixture
def web() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20, trust_env=False) as client:
        yield client


def ask(web: httpx.Client, systems: Systems, name: str, path: str, **params: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {GITHUB_TOKEN}"} if name == "github" else {}
    return web.get(systems.url[name] + path, params=params, headers=headers)


def long_waits(traces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    spans = [span for trace in traces for span in trace["spans"]]
    return [span for span in spans if "acquire" in span["operationName"] and span["duration"] > 1e6]


def age(text: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()


# --- PagerDuty, asked by the real client ---------------------------------------------------------------------------


def test_the_incident_is_now_and_names_what_the_record_measured(systems: Systems, account) -> None:
    incident = account.rget(f"/incidents/{INCIDENT_ID}")
    assert 0 <= age(incident["created_at"]) < 30
    assert incident["status"] == "triggered"
    measured = systems.tape.manifest["alerts"][0]
    assert incident["title"] == measured["title"]
    assert re.fullmatch(r"checkout-api: \d+ % of requests fail \(normal 0\.\d+ %\)", incident["title"])
    assert f"{measured['value'] * 100:.0f} %" in incident["title"]


def test_everything_about_the_incident_can_be_read(account) -> None:
    alerts = account.list_all(f"/incidents/{INCIDENT_ID}/alerts")
    assert alerts[0]["service"]["summary"] == "checkout-api"
    assert age(alerts[0]["body"]["details"]["began_at"]) > 5
    entries = account.list_all(f"/incidents/{INCIDENT_ID}/log_entries")
    assert {one["type"] for one in entries} == {"trigger_log_entry", "assign_log_entry"}
    changes = account.get(f"/incidents/{INCIDENT_ID}/related_change_events").json()["change_events"]
    assert changes[0]["custom_details"]["service"] == "checkout-api"
    assert 30 < age(changes[0]["timestamp"]) < 200
    (own,) = account.list_all(f"/services/{CHECKOUT.pagerduty_id}/change_events")
    assert own["id"] == changes[0]["id"]
    past = account.get(f"/incidents/{INCIDENT_ID}/past_incidents", params={"limit": 1}).json()
    assert past["limit"] == 1
    assert past["total"] == 2
    assert len(past["past_incidents"]) == 1
    (on_call,) = account.list_all("oncalls", params={"escalation_policy_ids[]": ["PESCPAY"], "earliest": "true"})
    assert on_call["escalation_policy"]["summary"] == "payments"
    assert {one["name"] for one in account.list_all("services")} == {one.name for one in scenario.SERVICES}
    assert account.rget("/users/PUSRPRI")["email"] == "priya@tea-shop.example"


def test_pages_end_where_they_end(account) -> None:
    first = account.get("/services", params={"limit": 3}).json()
    assert (len(first["services"]), first["more"], first["total"]) == (3, True, None)
    last = account.get("/services", params={"limit": 3, "offset": 3, "total": "true"}).json()
    assert (len(last["services"]), last["more"], last["total"]) == (1, False, 4)
    assert account.get("/services", params={"limit": 500}).json()["limit"] == 100
    assert account.get("/incidents", params={"limit": 100, "offset": 9990}).status_code == 400


def test_the_account_refuses_strangers_and_what_does_not_exist(systems: Systems, account) -> None:
    assert account.get("/incidents/PNOSUCH").status_code == 404
    trusted = ssl.create_default_context(cafile=str(systems.ca_file))
    with pagerduty.RestApiV2Client("wrong", base_url=systems.url["pagerduty"], verify=trusted) as stranger:
        with pytest.raises(pagerduty.HttpError) as refused:
            stranger.rget("/incidents")
        assert refused.value.response.status_code == 401


def test_only_the_private_authority_makes_it_trusted(systems: Systems) -> None:
    with httpx2.Client() as untrusting, pytest.raises(httpx2.ConnectError):
        untrusting.get(systems.url["pagerduty"])


def test_the_life_cycle_is_written_down_and_a_note_is_found_again(systems: Systems, account) -> None:
    updated = account.rput(f"/incidents/{INCIDENT_ID}", json={"type": "incident_reference", "status": "acknowledged"})
    assert updated["status"] == "acknowledged"
    assert updated["acknowledgements"][0]["acknowledger"]["summary"] == "Priya Raman"
    assert systems.move("acknowledged") is False
    note = account.rpost(f"/incidents/{INCIDENT_ID}/notes", json={"content": "looked at (mark 7f3a)"})
    assert account.rget(f"/incidents/{INCIDENT_ID}/notes")[0]["id"] == note["id"]
    systems.move("resolved")
    incident = account.rget(f"/incidents/{INCIDENT_ID}")
    assert (incident["status"], incident["assignments"]) == ("resolved", [])
    assert incident["resolved_at"]
    kinds = [one["type"] for one in account.list_all("log_entries", params={"is_overview": "true"})]
    assert sorted(kinds) == ["acknowledge_log_entry", "annotate_log_entry", "resolve_log_entry", "trigger_log_entry"]
    again = account.put(f"/incidents/{INCIDENT_ID}", json={"incident": {"type": "incident", "status": "resolved"}})
    assert again.status_code == 400
    assert again.json()["error"]["errors"] == ["Incident Already Resolved"]


def test_entries_are_found_from_a_cursor_of_time(account) -> None:
    recent = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    future = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert account.list_all("log_entries", params={"since": recent})
    assert account.list_all("log_entries", params={"since": future}) == []


# --- webhooks ------------------------------------------------------------------------------------------------------


async def test_webhooks_are_signed_in_order_and_retried_with_the_same_id(systems: Systems) -> None:
    taken: list[tuple[dict[str, str], bytes]] = []
    statuses = iter([503, 202, 202, 202])

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in head.splitlines()[1:])}
        taken.append((headers, await reader.readexactly(int(headers["content-length"]))))
        writer.write(f"HTTP/1.1 {next(statuses)} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        systems.webhook_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/webhooks/pagerduty")
        for act in (systems.trigger, lambda: systems.move("acknowledged"), lambda: systems.move("resolved")):
            await asyncio.to_thread(act)
        for _ in range(100):
            if len(taken) == 4:
                break
            await asyncio.sleep(0.05)
    events = [json.loads(body)["event"] for _, body in taken]
    assert [one["event_type"] for one in events] == [
        "incident.triggered", "incident.triggered", "incident.acknowledged", "incident.resolved"
    ]  # fmt: skip
    assert taken[0][0]["x-webhook-id"] == taken[1][0]["x-webhook-id"] != taken[2][0]["x-webhook-id"]
    assert all(headers["x-pagerduty-signature"] == signature(WEBHOOK_SECRET, body) for headers, body in taken)
    assert [one["data"]["assignees"] == [] for one in events] == [False, False, False, True]
    assert events[0]["agent"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", events[0]["occurred_at"])


def test_the_documented_signature_example_holds(shared_data) -> None:
    sample = json.loads((shared_data / "wire/pagerduty/webhook_v3_signature_vector.http.json").read_text())
    expected = sample["request"]["headers"]["x-pagerduty-signature"]
    assert signature(sample["secret"], sample["request"]["body"].encode()) == expected


# --- Jaeger --------------------------------------------------------------------------------------------------------


def test_jaeger_shows_orders_that_wait_for_a_connection(web: httpx.Client, systems: Systems) -> None:
    assert ask(web, systems, "jaeger", "/api/services").json()["data"] == sorted(one.name for one in scenario.SERVICES)
    now = time.time()
    window = {"service": "checkout-api", "start": int((now - 60) * 1e6), "end": int(now * 1e6), "limit": 200}
    answer = ask(web, systems, "jaeger", "/api/traces", **window).json()
    assert (answer["total"], answer["limit"], answer["errors"]) == (0, 0, None)
    assert len(long_waits(answer["data"])) > 20
    before = {**window, "start": int((now - 3660) * 1e6), "end": int((now - 3600) * 1e6)}
    healthy = ask(web, systems, "jaeger", "/api/traces", **before).json()["data"]
    assert healthy
    assert not long_waits(healthy)


def test_jaeger_traces_hang_together(web: httpx.Client, systems: Systems) -> None:
    answer = ask(web, systems, "jaeger", "/api/traces", service="checkout-api", limit=5).json()["data"]
    assert len(answer) == 5
    for trace in answer:
        ids = {span["spanID"] for span in trace["spans"]}
        assert all(span["traceID"] == trace["traceID"] for span in trace["spans"])
        assert all(span["processID"] in trace["processes"] for span in trace["spans"])
        assert all(one["spanID"] in ids for span in trace["spans"] for one in span["references"])
        assert age(datetime.fromtimestamp(trace["spans"][0]["startTime"] / 1e6, UTC).isoformat()) > 0
        (found,) = ask(web, systems, "jaeger", f"/api/traces/{trace['traceID']}").json()["data"]
        assert found == trace


def test_jaeger_narrows_by_operation_tags_and_duration_and_refuses_like_jaeger(web: httpx.Client, systems) -> None:
    tagged = ask(web, systems, "jaeger", "/api/traces", service="checkout-api", tags='{"error":"true"}', limit=3)
    assert all(
        any(tag["key"] == "error" for span in one["spans"] for tag in span["tags"]) for one in tagged.json()["data"]
    )
    slow = ask(web, systems, "jaeger", "/api/traces", service="checkout-api", minDuration="4s", limit=3).json()["data"]
    assert all(max(span["duration"] for span in one["spans"]) >= 4e6 for one in slow)
    assert slow
    refused = ask(web, systems, "jaeger", "/api/traces")
    assert refused.status_code == 400
    assert refused.json()["errors"] == [{"code": 400, "msg": "parameter 'service' is required"}]
    missing = ask(web, systems, "jaeger", f"/api/traces/{'0' * 32}")
    assert (missing.status_code, missing.json()["errors"][0]["msg"]) == (404, "trace not found")


def test_jaeger_knows_who_calls_whom(web: httpx.Client, systems: Systems) -> None:
    answer = ask(web, systems, "jaeger", "/api/dependencies", endTs=int(time.time() * 1000), lookback=3_600_000)
    edges = {(one["parent"], one["child"]) for one in answer.json()["data"]}
    assert edges == {(one.name, callee) for one in scenario.SERVICES for callee in one.depends_on}


# --- Prometheus ----------------------------------------------------------------------------------------------------


def test_prometheus_shows_the_pool_cut_and_the_errors(web: httpx.Client, systems: Systems) -> None:
    now = time.time()
    window = {"start": now - 240, "end": now, "step": 15}
    pool = ask(
        web, systems, "prometheus", "/api/v1/query_range", query='db_pool_size{service="checkout-api"}', **window
    )
    (series,) = pool.json()["data"]["result"]
    assert series["metric"]["__name__"] == "db_pool_size"
    values = [value for _, value in series["values"]]
    assert values == sorted(values, reverse=True, key=float)
    assert (values[0], values[-1]) == ("20", "2")
    ratio = (
        'sum by (service) (rate(http_server_request_duration_seconds_count{http_response_status_code=~"5.."}[1m]))'
        " / sum by (service) (rate(http_server_request_duration_seconds_count[1m]))"
    )
    found = ask(web, systems, "prometheus", "/api/v1/query", query=ratio, time=now).json()["data"]
    assert found["resultType"] == "vector"
    by_service = {one["metric"]["service"]: float(one["value"][1]) for one in found["result"]}
    assert by_service["checkout-api"] > 0.1
    earlier = ask(web, systems, "prometheus", "/api/v1/query", query=ratio, time=now - 3600).json()["data"]["result"]
    assert all(float(one["value"][1]) < 0.05 for one in earlier)


def test_prometheus_computes_quantiles_from_buckets_as_the_record_did(web: httpx.Client, systems: Systems) -> None:
    query = (
        "histogram_quantile(0.95, sum by (le) "
        '(rate(http_server_request_duration_seconds_bucket{service="checkout-api"}[30s])))'
    )
    at = systems.tape.triggered_at
    (mine,) = ask(web, systems, "prometheus", "/api/v1/query", query=query, time=at).json()["data"]["result"]
    recorded = 'http_latency_p95_seconds{service="checkout-api"}'
    (theirs,) = ask(web, systems, "prometheus", "/api/v1/query", query=recorded, time=at).json()["data"]["result"]
    assert float(mine["value"][1]) == pytest.approx(float(theirs["value"][1]), rel=0.35)


def test_prometheus_refuses_as_prometheus_does(web: httpx.Client, systems: Systems) -> None:
    bad = ask(web, systems, "prometheus", "/api/v1/query", query="sum(rate(")
    assert bad.status_code == 400
    assert bad.json() == {
        "status": "error",
        "errorType": "bad_data",
        "error": 'invalid parameter "query": 1:10: parse error: unclosed left parenthesis',
    }
    many = ask(web, systems, "prometheus", "/api/v1/query_range", query="up", start=0, end=20_000, step=1)
    assert many.status_code == 400
    assert "11,000 points" in many.json()["error"]
    backwards = ask(web, systems, "prometheus", "/api/v1/query_range", query="up", start=10, end=5, step=1)
    assert backwards.json()["error"] == 'invalid parameter "end": end timestamp must not be before start time'
    empty = ask(web, systems, "prometheus", "/api/v1/query_range", query="none", start=5, end=10, step=1)
    assert empty.json()["data"] == {"resultType": "matrix", "result": []}
    assert ask(web, systems, "prometheus", "/api/v1/nothing").status_code == 404


def test_prometheus_answers_posts_and_lists_series(web: httpx.Client, systems: Systems) -> None:
    posted = web.post(systems.url["prometheus"] + "/api/v1/query", data={"query": "up"}).json()["data"]["result"]
    assert {one["metric"]["job"] for one in posted} == {one.name for one in scenario.SERVICES}
    names = ask(web, systems, "prometheus", "/api/v1/label/__name__/values").json()["data"]
    assert {"http_error_ratio", "db_pool_size", "http_server_request_duration_seconds_bucket"} <= set(names)


# --- GitHub --------------------------------------------------------------------------------------------------------


def test_github_shows_the_deployment_and_its_real_diff(web: httpx.Client, systems: Systems) -> None:
    repository = f"/repos/{CHECKOUT.repository}"
    deployments = ask(web, systems, "github", f"{repository}/deployments", environment="production").json()
    assert 30 < age(deployments[0]["created_at"]) < 200
    statuses = ask(web, systems, "github", f"{repository}/deployments/{deployments[0]['id']}/statuses").json()
    assert [one["state"] for one in statuses] == ["success", "in_progress"]
    compare = f"{repository}/compare/{deployments[1]['sha']}...{deployments[0]['sha']}"
    answer = ask(web, systems, "github", compare).json()
    (changed,) = answer["files"]
    assert changed["filename"] == "config/production.toml"
    assert "-pool_size = 20\n+pool_size = 2\n" in changed["patch"]
    assert (answer["ahead_by"], answer["total_commits"]) == (1, 1)
    (pull,) = ask(web, systems, "github", f"{repository}/commits/{deployments[0]['sha']}/pulls").json()
    assert pull["merge_commit_sha"] == deployments[0]["sha"]


def test_github_pages_with_links(web: httpx.Client, systems: Systems) -> None:
    path = f"/repos/{CHECKOUT.repository}/deployments"
    first = ask(web, systems, "github", path, per_page=1)
    assert len(first.json()) == 1
    second = web.get(first.links["next"]["url"], headers={"authorization": f"Bearer {GITHUB_TOKEN}"})
    assert second.json()[0]["id"] != first.json()[0]["id"]
    assert "next" not in second.links
    assert ask(web, systems, "github", path, per_page=1, page=9).json() == []


def test_github_hides_from_strangers_and_says_what_is_missing(web: httpx.Client, systems: Systems) -> None:
    assert web.get(systems.url["github"] + f"/repos/{CHECKOUT.repository}").status_code == 401
    assert ask(web, systems, "github", "/repos/tea-shop/nothing").json()["message"] == "Not Found"
    assert ask(web, systems, "github", f"/repos/{CHECKOUT.repository}/compare/aaaa...bbbb").status_code == 404
    assert ask(web, systems, "github", f"/repos/{CHECKOUT.repository}/releases").json() == []
    pulls = ask(web, systems, "github", f"/repos/{CHECKOUT.repository}/pulls", state="closed", base="main").json()
    assert [one["number"] for one in pulls] == [482]


# --- faults --------------------------------------------------------------------------------------------------------


def test_each_fault_does_what_it_says(web: httpx.Client, systems: Systems) -> None:
    systems.faults["jaeger"].status, systems.faults["jaeger"].times = 503, 1
    assert ask(web, systems, "jaeger", "/api/services").status_code == 503
    assert ask(web, systems, "jaeger", "/api/services").status_code == 200
    systems.faults["pagerduty"].status = 429
    with httpx.Client(verify=ssl.create_default_context(cafile=str(systems.ca_file)), trust_env=False) as plain:
        limited = plain.get(systems.url["pagerduty"] + "/services")
    assert (limited.status_code, limited.headers["ratelimit-reset"]) == (429, "2")
    systems.faults["pagerduty"].reset()
    systems.faults["prometheus"].delay_seconds = 0.3
    began = time.perf_counter()
    ask(web, systems, "prometheus", "/api/v1/query", query="up")
    assert time.perf_counter() - began >= 0.3
    assert systems.faults["jaeger"].requests["GET /api/services"] == 2


def test_a_dropped_answer_had_its_effect(systems: Systems, account) -> None:
    systems.faults["pagerduty"].drop_answer = True
    systems.faults["pagerduty"].times = 1
    systems.faults["pagerduty"].path_contains = "/notes"
    with pytest.raises(pagerduty.Error):
        account.post(f"/incidents/{INCIDENT_ID}/notes", json={"note": {"content": "once"}})
    assert [one["content"] for one in account.rget(f"/incidents/{INCIDENT_ID}/notes")] == ["once"]


def test_the_control_is_reached_from_another_process_too(web: httpx.Client, systems: Systems) -> None:
    control = systems.url["control"]
    assert web.post(f"{control}/faults", json={"system": "github", "nonsense": 1}).status_code == 400
    web.post(f"{control}/faults", json={"system": "github", "status": 500})
    assert ask(web, systems, "github", "/rate_limit").status_code == 500
    web.post(f"{control}/faults/reset")
    web.post(f"{control}/acknowledge")
    state = web.get(f"{control}/state").json()
    assert (state["status"], state["incident"]) == ("acknowledged", INCIDENT_ID)


# --- pages ---------------------------------------------------------------------------------------------------------


def test_nothing_that_the_systems_say_leads_to_somebody_elses_server(
    web: httpx.Client, systems: Systems, account
) -> None:
    systems.move("acknowledged")
    said = [
        account.rget(f"/incidents/{INCIDENT_ID}"),
        account.list_all(f"/incidents/{INCIDENT_ID}/log_entries"),
        account.list_all(f"/incidents/{INCIDENT_ID}/alerts"),
        account.get(f"/incidents/{INCIDENT_ID}/related_change_events").json(),
        account.rpost(f"/incidents/{INCIDENT_ID}/notes", json={"content": "x"}),
        ask(web, systems, "github", f"/repos/{CHECKOUT.repository}/deployments").json(),
        ask(web, systems, "github", f"/repos/{CHECKOUT.repository}/commits").json(),
    ]
    addresses = set(re.findall(r'https?://[^/"]+', json.dumps(said)))
    assert addresses <= {one.rstrip("/") for one in systems.url.values()} | {"https://docs.github.com"}


def test_what_a_card_links_to_can_be_looked_at(web: httpx.Client, systems: Systems, account) -> None:
    incident = account.rget(f"/incidents/{INCIDENT_ID}")
    assert incident["title"] in web.get(incident["html_url"]).text
    alert = account.list_all(f"/incidents/{INCIDENT_ID}/alerts")[0]
    assert web.get(alert["html_url"]).status_code == 200
    deployments = ask(web, systems, "github", f"/repos/{CHECKOUT.repository}/deployments").json()
    compare = f"/repos/{CHECKOUT.repository}/compare/{deployments[1]['sha']}...{deployments[0]['sha']}"
    diff = web.get(ask(web, systems, "github", compare).json()["html_url"])
    assert "<span class='add'>+pool_size = 2</span>" in diff.text
    trace = ask(web, systems, "jaeger", "/api/traces", service="checkout-api", limit=1).json()["data"][0]
    shown = web.get(f"{systems.url['jaeger']}/trace/{trace['traceID']}").text
    assert shown.count("<tr") == len(trace["spans"])
    graph = web.get(
        f"{systems.url['prometheus']}/graph", params={"g0.expr": "http_error_ratio", "g0.range_input": "15m"}
    )
    assert "<polyline" in graph.text
    assert "parse error" in web.get(f"{systems.url['prometheus']}/graph", params={"g0.expr": "sum("}).text
    assert web.get(f"{systems.url['jaeger']}/trace/{'0' * 32}").status_code == 404


def test_pages_show_outside_text_as_text(web: httpx.Client, systems: Systems) -> None:
    answer = web.get(f"{systems.url['prometheus']}/graph", params={"g0.expr": "<script>alert(1)</script>"})
    assert "<script>" not in answer.text
