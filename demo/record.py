"""Records the demo's incident: `python -m demo.record [FOLDER]`, about eight minutes, needs git.

Runs the shop under load, deploys two harmless changes and then the one that cuts checkout-api's connection pool from
20 to 2, lets it fail, and writes what the shop's systems would know: traces (Jaeger's HTTP format), metrics
(Prometheus' `query_range` format, raw series and the derived ones that the alerting rules use), logs (OTLP/JSON),
GitHub's and PagerDuty's answers. When the alert fires and what it says is computed from the recorded telemetry.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import math
import pathlib
import socket
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import httpx
import uvicorn

from demo import scenario
from demo.answers import Deployed, Fired
from demo.answers_github import github
from demo.answers_pagerduty import alert_title, pagerduty
from demo.maths import Labels, Samples, errors_began, fires_at, increase, parse_exposition, quantile
from demo.otlp import Receiver
from demo.shop.history import Repository, repositories
from demo.shop.load import Load
from demo.shop.run import SAMPLED_RATIO, Shop

FORMAT = 1
SCRAPE_SECONDS = 5.0
LOOKBACK_SECONDS = 30.0
"""What the derived series look back over, as `rate(…[30s])` would."""
WARM_UP_SECONDS = 40.0
FOLDER = pathlib.Path(__file__).parent / "recording"
Scraped = dict[tuple[str, Labels], Samples]


class Scraper:
    """Reads each service's `/metrics` on a fixed beat, as Prometheus would."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.series: Scraped = defaultdict(list)
        self.ticks: list[float] = []

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=2) as client:
            while True:
                at = math.ceil(time.time() / SCRAPE_SECONDS) * SCRAPE_SECONDS
                await asyncio.sleep(at - time.time())
                self.ticks.append(at)
                await asyncio.gather(*(self._scrape(client, one.name, at) for one in scenario.SERVICES))

    async def _scrape(self, client: httpx.AsyncClient, service: str, at: float) -> None:
        ours = {"service": service, "job": service, "instance": f"{service}:8080"}
        try:
            answer = await client.get(f"{self._shop.url(service)}/metrics")
            found = parse_exposition(answer.raise_for_status().text)
        except httpx.HTTPError:
            found = {}
        found["up", ()] = 1.0 if found else 0.0
        for (name, labels), value in found.items():
            self.series[name, tuple(sorted({**dict(labels), **ours}.items()))].append((at, value))


def derived(scraped: Scraped, ticks: list[float]) -> Scraped:
    """The series that recording rules would make: rates, error ratios, p95, processor, pool, by service."""
    made: Scraped = {}
    for one in scenario.SERVICES:
        mine = {key: samples for key, samples in scraped.items() if ("service", one.name) in key[1]}
        labels: Labels = (("instance", f"{one.name}:8080"), ("job", one.name), ("service", one.name))
        columns: dict[str, Samples] = defaultdict(list)
        for at in ticks:
            for name, value in _at(mine, at).items():
                if not math.isnan(value):
                    columns[name].append((at, value))
        made.update({(name, labels): samples for name, samples in columns.items()})
    return made


def _at(mine: Scraped, at: float) -> dict[str, float]:
    """The derived values of one service at one moment; NaN where nothing happened."""
    start = at - LOOKBACK_SECONDS

    def risen(name: str, **wanted: str) -> float:
        return sum(
            increase(samples, start, at)
            for (series, labels), samples in mine.items()
            if series == name and all(pair in labels for pair in wanted.items())
        )

    def latest(name: str, **wanted: str) -> float:
        for (series, labels), samples in mine.items():
            if series == name and all(pair in labels for pair in wanted.items()):
                return next((value for when, value in reversed(samples) if when <= at), math.nan)
        return math.nan

    seconds = "http_server_request_duration_seconds"
    statuses = {value for _, labels in mine for key, value in labels if key == "http_response_status_code"}
    requests = risen(f"{seconds}_count")
    failed = sum(risen(f"{seconds}_count", http_response_status_code=one) for one in statuses if one >= "500")
    borders = {dict(labels)["le"] for name, labels in mine if name == f"{seconds}_bucket"}
    buckets = {float(le): risen(f"{seconds}_bucket", le=le) for le in borders}
    waits = risen("db_client_connection_wait_time_seconds_count")
    return {
        "http_requests_per_second": requests / LOOKBACK_SECONDS if borders else math.nan,
        "http_error_ratio": failed / requests if requests else math.nan,
        "http_latency_p95_seconds": quantile(0.95, buckets),
        "process_cpu_percent": 100 * risen("process_cpu_time_seconds_total") / LOOKBACK_SECONDS,
        "db_pool_in_use": latest("db_client_connection_count", db_client_connection_state="used"),
        "db_pool_size": latest("db_client_connection_max"),
        "db_pool_wait_seconds": risen("db_client_connection_wait_time_seconds_sum") / waits if waits else math.nan,
    }


def evaluate(series: Scraped, receiver: Receiver, healthy_from: float, broken_from: float) -> list[Fired]:
    """The rules that fired after the last deploy, in that order, each with its value and its normal."""
    made = []
    for rule in scenario.RULES:
        samples = next(
            samples for (name, labels), samples in series.items()
            if name == rule.series and ("service", rule.service) in labels
        )  # fmt: skip
        at = fires_at([pair for pair in samples if pair[0] >= broken_from], rule.threshold, rule.for_seconds)
        if at is None:
            raise SystemExit(f"{rule.name} of {rule.service} never fired: the shop did not break as it should")
        normal = [value for when, value in samples if healthy_from <= when < broken_from]
        failures = [
            int(one["record"]["timeUnixNano"]) / 1e9 for one in receiver.logs
            if one["process"]["serviceName"] == rule.service and one["record"].get("severityNumber", 0) >= 13
        ]  # fmt: skip
        began = errors_began([when for when in failures if when >= broken_from], at) or at
        value = next(value for when, value in samples if when == at)
        made.append(Fired(rule, _time(at), _time(began), value, sum(normal) / len(normal)))
    return sorted(made, key=lambda one: (one.at, one.rule.severity != "critical", one.rule.service))


async def record(folder: pathlib.Path) -> None:
    """Runs everything and writes the recording into `folder`."""
    receiver = Receiver()
    with tempfile.TemporaryDirectory() as scratch:
        repos = repositories(pathlib.Path(scratch))
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(receiver.app, log_level="warning"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        shop = Shop(repos, f"http://127.0.0.1:{listening.getsockname()[1]}", pathlib.Path(scratch))
        try:
            await shop.start()
            scraper = Scraper(shop)
            load = Load(shop.url("storefront"))
            load.start()
            scraping = asyncio.create_task(scraper.run())
            _say(f"the shop runs; {WARM_UP_SECONDS:g} s to warm up")
            await asyncio.sleep(WARM_UP_SECONDS)
            healthy_from = time.time()
            deployed = await _deploy_all(shop, repos, healthy_from)
            await asyncio.sleep(scenario.BROKEN_SECONDS)
            ended_at = time.time()
            scraping.cancel()
            await load.stop()
            _say(f"answers to the customers: {dict(sorted(load.answers.items()))}")
        finally:
            await shop.close()
            server.should_exit = True
            await serving
        _write(folder, receiver, scraper, repos, deployed, healthy_from, ended_at)


async def _deploy_all(shop: Shop, repos: dict[str, Repository], healthy_from: float) -> list[Deployed]:
    made = []
    for change in scenario.CHANGES:
        await asyncio.sleep(max(0.0, healthy_from + change.after_seconds - time.time()))
        repository = repos[change.service]
        base, merged_at = repository.head(), datetime.now(UTC)
        head = repository.apply(change, merged_at)
        started_at = datetime.now(UTC)
        await shop.deploy(change.service)
        made.append(Deployed(change, base, head, merged_at, started_at, datetime.now(UTC)))
        _say(f"deployed {head[:7]} to {change.service}: {change.subject}")
    return made


def _write(
    folder: pathlib.Path,
    receiver: Receiver,
    scraper: Scraper,
    repos: dict[str, Repository],
    deployed: list[Deployed],
    healthy_from: float,
    ended_at: float,
) -> None:
    broken_from = deployed[-1].finished_at.timestamp()
    ticks = [at for at in scraper.ticks if at >= healthy_from - SCRAPE_SECONDS]
    rules = derived(scraper.series, ticks)
    fired = evaluate(rules, receiver, healthy_from, broken_from)
    folder.mkdir(parents=True, exist_ok=True)
    traces = [
        trace for trace in receiver.jaeger_traces() if healthy_from <= trace["spans"][0]["startTime"] / 1e6 <= ended_at
    ]
    _gzip(folder / "traces.jsonl.gz", "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in traces))
    _gzip(folder / "metrics.json.gz", json.dumps(_matrix({**scraper.series, **rules}, ticks[0]), separators=(",", ":")))
    _gzip(
        folder / "logs.jsonl.gz",
        "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in _logs(receiver, healthy_from, ended_at)),
    )
    _plain(folder / "github.json", github(repos, deployed, _time(healthy_from)))
    _plain(folder / "pagerduty.json", pagerduty(fired, deployed))
    manifest = {
        "format": FORMAT,
        "recorded_at": _iso(_time(healthy_from)),
        "healthy_from": healthy_from,
        "broken_from": broken_from,
        "ended_at": ended_at,
        "alert_at": fired[0].at.timestamp(),
        "scrape_seconds": SCRAPE_SECONDS,
        "sampled_ratio": SAMPLED_RATIO,
        "changes": [
            {
                "service": one.change.service, "base": one.base, "head": one.head, "subject": one.change.subject,
                "started_at": _iso(one.started_at), "finished_at": _iso(one.finished_at),
            }
            for one in deployed
        ],
        "alerts": [
            {
                **dataclasses.asdict(one.rule), "at": _iso(one.at), "began_at": _iso(one.began_at),
                "value": one.value, "normal": one.normal, "title": alert_title(one),
            }
            for one in fired
        ],
    }  # fmt: skip
    _plain(folder / "manifest.json", manifest)
    for one in fired:
        after = (one.at - deployed[-1].finished_at).total_seconds()
        _say(f"{one.rule.severity}: {alert_title(one)}, {after:.0f} s after the deploy")
    size = sum(path.stat().st_size for path in folder.iterdir())
    _say(f"{len(traces)} traces, {size / 1e6:.2f} MB in {folder.name}/")


def _matrix(series: Scraped, first: float) -> dict[str, Any]:
    result = []
    for (name, labels), samples in sorted(series.items()):
        kept = [[at, f"{value:.6g}" if value % 1 else str(int(value))] for at, value in samples if at >= first]
        if kept:
            result.append({"metric": {"__name__": name, **dict(labels)}, "values": kept})
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def _logs(receiver: Receiver, start: float, end: float) -> list[dict[str, Any]]:
    """ExportLogsServiceRequest objects, one a service and half minute. INFO only for the orders that left a trace."""
    groups: dict[tuple[float, str], dict[str, Any]] = {}
    for one in sorted(receiver.logs, key=lambda one: int(one["record"]["timeUnixNano"])):
        record, process = one["record"], one["process"]
        at = int(record["timeUnixNano"]) / 1e9
        sampled = int(record.get("flags", 0)) & 1
        if not start <= at <= end or (record.get("severityNumber", 0) < 13 and not sampled):
            continue
        record = {key: value for key, value in record.items() if key not in ("flags", "observedTimeUnixNano")}
        key = (at // 30, json.dumps(process))
        attributes = [{"key": "service.name", "value": {"stringValue": process["serviceName"]}}]
        attributes += [{"key": tag["key"], "value": {"stringValue": str(tag["value"])}} for tag in process["tags"]]
        fresh = {"resource": {"attributes": attributes}, "scopeLogs": [{"scope": {"name": "shop"}, "logRecords": []}]}
        groups.setdefault(key, {"resourceLogs": [fresh]})["resourceLogs"][0]["scopeLogs"][0]["logRecords"].append(
            record
        )
    return list(groups.values())


def _gzip(path: pathlib.Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def _plain(path: pathlib.Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    asyncio.run(record(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
