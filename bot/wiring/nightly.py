"""Builds what the running bot measures of its models by itself, at night."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import time
from zoneinfo import ZoneInfo

from bot.cards.outbox import Outbox
from bot.clock import Clock
from bot.evals.nightly import NightlyEvals
from bot.model.gateway import Gateway
from bot.settings import Settings
from bot.store import Store


def nightly_evals_of(
    settings: Settings, store: Store, clock: Clock, gateway: Gateway, outbox: Outbox,
    told: Callable[[str | None], Awaitable[Sequence[str]]],
) -> dict[str, Callable[[], Awaitable[None]]]:  # fmt: skip
    """The loop of `[model] nightly_evals`, where a time is set."""
    at = settings.file.model.nightly_evals
    if not at:
        return {}
    nightly = NightlyEvals(
        store, settings.file.workspace, clock, ZoneInfo(settings.file.timezone), time.fromisoformat(at), gateway,
        outbox, told, settings.file.timeouts.model_seconds,
    )  # fmt: skip
    return {"nightly evals": nightly.run}
