"""Builds what proposes labels from responders' notes, for the shell."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

import prompts
from bot.clock import SystemClock
from bot.errors import MissingPart
from bot.flows.mining import Mining, Proposed
from bot.incidents.book import Book
from bot.model.batches import BatchDesk
from bot.model.call import Asks
from bot.settings import Settings
from bot.store.sqlite import SqliteStore
from bot.trust.redaction import Redactor
from bot.wiring.models import build_gateway, ceilings_of, endpoints_of, limits_of, models_of
from bot.wiring.outside import egress_of
from bot.wiring.values import routing_of, secret_keys, usable
from integrations.openai_batches import Batches

PROMPT = ("mine", 1)


async def propose(settings: Settings, days: float, batch_hours: float | None) -> list[Proposed]:
    """Ask about the incidents of these days. Raises MissingPart without a model for the use `batch`, or without its
    batch door where one is wanted."""
    clock, file = SystemClock(), settings.file
    chosen = models_of(settings)
    if "batch" not in chosen:
        raise MissingPart("no model is configured for the use 'batch': set OPENAI_API_KEY, or [model] chains.batch")
    pin = chosen["batch"][0]
    async with AsyncExitStack() as stack:
        store = SqliteStore.open(usable(settings.home) / "sitrep.db")
        stack.push_async_callback(store.close)
        keys = secret_keys(settings)
        redactor = Redactor(keys)
        egress = egress_of(settings, [one.endpoint for chain in chosen.values() for one in chain])
        asks: Asks
        send = None
        if batch_hours is None:
            asks = await build_gateway(settings, store, clock, egress, redactor, stack, recover=False)
        else:
            door = endpoints_of(settings, {"batch": (pin,)}, egress, stack, batches=True)[pin.name]
            if pin.batch_price is None or not isinstance(door, Batches):
                raise MissingPart(f"{pin.name!r} has no batch door (batch_price in models.toml); leave --batch out")
            asks = desk = BatchDesk(
                store, clock, pin, door, ceilings=ceilings_of(settings), limits=limits_of(settings),
                redact=lambda text: redactor.redact(text).text,
            )  # fmt: skip
            send = partial(desk.send, batch_hours * 3600)
        never = {name for name, source in file.sources.items() if source.model == "never"}
        kept = {name for name, service in file.services.items() if service.model == "never"}
        mining = Mining(
            asks=asks, book=Book(store, file.workspace), prompt=prompts.load(*PROMPT), fence_key=keys[0],
            orders=lambda text: redactor.redact(text).suspicious, deadline_seconds=file.timeouts.model_seconds,
            may_be_shown=lambda source, service: source not in never and service not in kept,
            team=routing_of(settings).team,
        )  # fmt: skip
        now = clock.now()
        return await mining(now - timedelta(days=days), now, send)
