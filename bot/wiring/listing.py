"""What the configured systems call their services, asked of each at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bot.settings import Settings
from bot.wiring.outside import egress_of
from bot.wiring.sources import pagerduty_of, sources_of
from integrations.errors import IntegrationError
from integrations.ports import ServiceLister

KEYS = {"pagerduty": "pagerduty", "jaeger": "otel", "prometheus": "prometheus", "github": "repositories"}
"""Kind of a source to the key of `[services.<name>]` that holds what it calls a service."""
DEADLINE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Listed:
    """What one source named, or why it did not."""

    source: str
    key: str
    services: tuple[tuple[str, str], ...]
    """What the system calls it, and a name for people."""
    note: str = ""


async def listed(settings: Settings, *, deadline_seconds: float = DEADLINE_SECONDS) -> list[Listed]:
    """Every source that can name its services; one that fails is a note, and the others stand."""
    async with AsyncExitStack() as stack:
        egress = egress_of(settings)
        pagerduty = pagerduty_of(settings, egress, stack)
        asked = [
            (one.name, KEYS[one.kind], one)
            for one in sources_of(settings, egress, stack, pagerduty)
            if one.kind in KEYS and isinstance(one, ServiceLister)
        ]
        return list(await asyncio.gather(*(_ask(name, key, one, deadline_seconds) for name, key, one in asked)))


async def _ask(name: str, key: str, asked: ServiceLister, seconds: float) -> Listed:
    try:
        async with asyncio.timeout(seconds):
            services, more = await asked.services()
    except TimeoutError:
        return Listed(name, key, (), f"no answer in {seconds:g} s")
    except IntegrationError as wrong:
        return Listed(name, key, (), wrong.message)
    note = f"only the first {len(services)} were read" if more else ""
    return Listed(name, key, tuple(services), note)
