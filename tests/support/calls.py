"""A gateway over scripted endpoints, and calls for it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from bot.clock import Clock, ManualClock
from bot.model.admission import AdmissionLimits
from bot.model.attempts import GatewayLimits
from bot.model.breaker import BreakerLimits
from bot.model.call import ModelCall
from bot.model.gateway import Gateway
from bot.model.pins import Pin, Prices
from bot.model.rate import Rates
from bot.store import Store
from integrations.ports import ModelEndpoint
from tests.support.ranked import AT

PIN = Pin(
    name="gpt-4.1-mini-2025-04-14",
    answers_as=("gpt-4.1-mini-2025-04-14",),
    revision="2025-04-14",
    hosting="hosted",
    server="openai",
    endpoint="https://api.openai.com/v1",
    uses=frozenset({"triage", "ask", "review", "validate", "batch"}),
    accepts=frozenset({"temperature", "seed"}),
    context_tokens=100_000,
    max_output_tokens=4_000,
    prices=Prices(0.4, 0.1, 1.6),
    residency="test",
)
UNLIMITED = Rates(requests_per_minute=1e9, tokens_per_minute=1e12)
NEVER_OPENS = BreakerLimits(fewest_calls=10**9)


def call(number: int = 1, **more: Any) -> ModelCall:
    plain = ModelCall(
        use="triage",
        workspace_id="T1",
        workflow_id=f"triage:P{number}:1",
        step="infer",
        prompt="triage/v1",
        prompt_sha256="0" * 64,
        system="be brief",
        user="what is on fire",
        schema_name="report",
        schema={"type": "object"},
        max_output_tokens=100,
        parameters={"temperature": 0, "reasoning_effort": "low"},
        incident_id=f"P{number}",
        triage_id=f"triage:P{number}:1",
        evidence=("e1",),
    )
    return replace(plain, **more)


def gateway(store: Store, *endpoints: ModelEndpoint, clock: Clock | None = None, **more: Any) -> Gateway:
    """One pin per endpoint; the first is asked first. Rates are unlimited unless given."""
    others = [f"other-{number}-2025-04-14" for number in range(1, len(endpoints))]
    pins = (PIN, *(replace(PIN, name=n, answers_as=(n,), endpoint=f"https://{n}.example/v1") for n in others))
    limits = more.pop("limits", None) or GatewayLimits(
        rates=more.pop("rates", UNLIMITED),
        admission=more.pop("admission", AdmissionLimits()),
        breaker=more.pop("breaker", BreakerLimits()),
        **more.pop("set", {}),
    )
    return Gateway(
        store,
        clock or ManualClock(AT),
        more.pop("pins", dict.fromkeys(("triage", "ask", "review", "validate", "batch"), pins)),
        {pin.name: endpoint for pin, endpoint in zip(pins, endpoints, strict=True)},
        redact=more.pop("redact", lambda text: text),
        limits=limits,
        jitter=random.Random(1),
        **more,
    )
