"""check against two corpora: what a good model writes is released, what attackers write is not repeated."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import prompts
from bot.model.call import Answer
from bot.triage.check import Guards, check
from bot.triage.compose import compose
from bot.triage.infer import Answered
from bot.types import Rejected, Released, Usage
from tests.support.ranked import FENCE, evidence, ranked, suspect

USAGE = Usage(model="m", prompt="triage/v1", prompt_sha256="0")
DATA = Path(__file__).resolve().parent.parent / "data" / "injection" / "attacks.jsonl"

ITEMS = (
    evidence("e1", "alert", "HighErrorRate checkout-api", "38 % of requests to checkout-api answer 503 (normal 0.2 %) since 14:02:10. 1 in 3 payment requests is hit. 4 alerts in one storm."),  # noqa: E501
    evidence("e2", "change", "Deploy a1b2c3d to checkout-api", "Deploy a1b2c3d to checkout-api in prod at 14:01:12, by team payments. config/pool.yaml: DB_POOL_SIZE changed from 20 to 2."),  # noqa: E501
    evidence("e3", "trace", "POST /checkout", "POST /checkout takes 4.9 s (normal 3 ms); 4.8 s of it wait for a connection from HikariPool-1 to payments-db."),  # noqa: E501
    evidence("e4", "log", "checkout-api ERROR", "java.sql.SQLTransientConnectionException: HikariPool-1 - Connection is not available, request timed out after 30000ms. 1,204 times since 14:02."),  # noqa: E501
    evidence("e5", "metric", "cpu of checkout-api", "cpu of checkout-api is 12 % (normal 40 %). memory of pod checkout-api-7f9c is 512 MiB."),  # noqa: E501
    evidence("e6", "runbook", "checkout rollback", "1. Check the pool with: kubectl logs deploy/checkout-api -n shop\n2. Roll back with: kubectl rollout undo deployment/checkout-api -n shop\n3. If the queue grows, restart the worker and scale checkout-api to 6 replicas. 4. Page the database team."),  # noqa: E501
    evidence("e7", "past_incident", "P7 in May", "On 2026-05-03 checkout-api failed for 22 minutes after a pool change; a rollback ended it."),  # noqa: E501
    evidence("e8", "log", "kubelet", "Readiness probe failed for pod checkout-api-7f9c: HTTP probe failed with statuscode: 503. OOMKilled: 0"),  # noqa: E501
    evidence("e9", "log", "ts-order-service: now logged ERROR “OrderServiceImpl getSoldTickets Left ticket info is empty”", "12 of 34 calls logged ERROR “OrderServiceImpl getSoldTickets Left ticket info is empty”, usually 18 of 152"),  # noqa: E501
    evidence("e10", "trace", "ts-basic-service: calls from ts-travel-service wait 2.2 s on the way (normal 3 ms)", "9 of 9 calls from ts-travel-service to ts-basic-service /api/v1/basic/{tripId} spent 2.2 s on the way, client minus server (normal 3 ms); usually 0 of 31 are that slow"),  # noqa: E501
)  # fmt: skip

GOOD = {
    "going_on": [
        ("38 % of requests to checkout-api answer 503 (normal 0.2 %) since 14:02:10.", "s1"),
        ("Requests to checkout-api have been failing with 503 since 14:02.", "s1"),
        ("1 in 3 payment requests is hit.", "s1"),
        ("About a third of customers cannot pay.", ""),
        ("POST /checkout takes 4.9 s instead of the normal 3 ms.", "s3"),
        ("Most of that time is spent waiting for a connection to payments-db.", "s3"),
        ("The connection pool HikariPool-1 is exhausted, and requests time out after 30000ms.", "s4"),
        ("Connections are not available: 1,204 timeouts were logged since 14:02.", "s4"),
        ("CPU of checkout-api is at 12 %, below its normal 40 %, so the service is idle rather than overloaded.", "s5"),
        ("Pod checkout-api-7f9c fails its readiness probe with 503.", "s8"),
        ("The readiness probe of checkout-api-7f9c fails.", "s8"),
        ("4 alerts fired in one storm.", "s1"),
        ("Memory of checkout-api-7f9c is 512 MiB and no pod was OOMKilled.", "s5 s8"),
        ("checkout-api is failing for 38% of its requests.", "s1"),
        ("Latency of POST /checkout rose to 4900 ms.", "s3"),
        ("A similar failure on 2026-05-03 lasted 22 minutes.", "s7"),
        (
            "12 of 34 calls logged ERROR “OrderServiceImpl getSoldTickets Left ticket info is empty”.",
            "@e9",
        ),
        ("ts-order-service now logs errors that it seldom logged before.", "@e9"),
        (
            "9 of 9 calls from ts-travel-service to ts-basic-service /api/v1/basic/{tripId} spent 2.2 s on the way.",
            "@e10",
        ),
        ("Calls from ts-travel-service wait 2.2 s on the way to ts-basic-service, normally 3 ms.", "@e10"),
    ],
    "cause": [
        ("Deploy a1b2c3d to checkout-api at 14:01:12 changed DB_POOL_SIZE from 20 to 2.", "s2"),
        ("It cut the connection pool from 20 to 2, and errors began 58 s after it.", "s2"),
        ("The pool is too small for the traffic, so calls to payments-db wait 4.8 s for a connection.", "s2 s3"),
        ("Errors began at 14:02:10, 58 s after deploy a1b2c3d.", "s1 s2"),
        ("The change to config/pool.yaml reduced DB_POOL_SIZE, which exhausted HikariPool-1.", "s2 s4"),
        ("An earlier pool change had the same effect on 2026-05-03.", "s7"),
        ("With only 2 connections, requests to checkout-api queue until they time out.", "s2 s4"),
        ("The database itself is not shown to be slow; the time is spent waiting for a connection.", "s3"),
    ],
    "next": [
        ("Look at the diff of a1b2c3d in config/pool.yaml.", "s2"),
        ("Roll back deploy a1b2c3d.", "s2"),
        ("Roll back with kubectl rollout undo deployment/checkout-api -n shop.", "s6"),
        ("Check the pool with kubectl logs deploy/checkout-api -n shop.", "s6"),
        ("If errors stay after the rollback, check the connection limit of payments-db.", "s3"),
        ("Check whether payments-db has free connections.", "s3"),
        ("Watch the error rate of checkout-api after the rollback.", "s1"),
        ("Compare DB_POOL_SIZE with its value before a1b2c3d.", "s2"),
        ("Confirm that HikariPool-1 recovers.", "s4"),
        ("Page the database team if the pool stays exhausted.", "s6 s4"),
        ("Follow the checkout rollback runbook.", "s6"),
        ("Restart the worker if the queue grows.", "s6"),
        ("Revert the change of DB_POOL_SIZE to 20.", "s2"),
        ("Verify that the readiness probe of checkout-api-7f9c passes again.", "s8"),
    ],
}


def decide(
    section: str, text: str, positions: list[str], items: Any = ITEMS, suspects: Any = None
) -> Released | Rejected:
    composed = compose(
        ranked(items, (suspect("e2"),)),
        prompts.load("triage", 1), fence=FENCE, token_budget=50_000, context_tokens=100_000,
    )  # fmt: skip
    answer: dict[str, Any] = {
        "going_on": [{"text": "The alert fired.", "evidence": ["s1"]}], "cause": [], "next": [],
    }  # fmt: skip
    position_of = {f"@{item.mark}": item.position for item in composed.items}
    answer[section] = [{"text": text, "evidence": [position_of.get(one, one) for one in positions]}]
    return check(Answered(composed, Answer(json.dumps(answer), USAGE)), Guards(redact=lambda one: one))


@pytest.mark.parametrize(
    ("section", "text", "positions"),
    [(section, text, positions) for section, claims in GOOD.items() for text, positions in claims if positions],
)
def test_what_a_good_model_writes_is_released(section: str, text: str, positions: str) -> None:
    result = decide(section, text, positions.split())
    assert isinstance(result, Released), result.reason


@pytest.mark.parametrize(("text"), [text for claims in GOOD.values() for text, positions in claims if not positions])
def test_a_guess_is_not(text: str) -> None:
    assert isinstance(decide("going_on", text, ["s1", "s2", "s3"]), Rejected)


HARMLESS = {
    "Bump client.",
    "RSUs are hereby canceled.",
    "Check the queue depth.",
    "Shipping notes for order 4471: ..",
    "Check the queue depth",
    "Retention policy: temporary export files are removed automatically after processing.",
    "This is required for logging.",
}
"""Sentences of attacks that say nothing but what a log line might."""


def repeated(attacks: list[str], kind: str) -> tuple[set[str], int]:
    """What of these attacks a model that only copies gets released, each sentence in each section, citing the very
    item that holds it; and how many were tried. The marker is not used here."""
    passed, tried = set(), 0
    for attack in attacks:
        items = (evidence("e1", "alert", "The alert fired"), evidence("e2", kind, "item", attack))
        sentences = [one.strip() for one in re.split(r"(?<=[.!?])\s+|\n", attack) if one.strip()]
        for text in {attack[:280], *(one[:280] for one in sentences)}:
            for section in ("going_on", "cause", "next"):
                tried += 1
                if isinstance(decide(section, text, ["s1", "s2"], items), Released):
                    passed.add(text)
    return passed, tried


def read(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"].replace("{canary}", "zq81kfwx") for line in lines]


@pytest.mark.parametrize("kind", ["log", "runbook"])
def test_nothing_that_attackers_write_is_repeated_by_a_model_that_only_copies(kind: str) -> None:
    passed, tried = repeated(read(DATA), kind)
    assert tried > 500
    assert passed <= HARMLESS


def test_nor_is_anything_of_the_whole_set(shared_data: Path) -> None:
    passed, tried = repeated(read(shared_data / "injection" / "attacks.jsonl"), "alert")
    assert tried > 2000
    assert passed <= HARMLESS
