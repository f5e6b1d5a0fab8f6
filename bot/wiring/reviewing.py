"""Builds what reviews a change: inside the running bot, and for the command in a CI job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import prompts
from bot.clock import Clock, SystemClock
from bot.flows.review import PROMPT, Asked, Prepared, Prepares, Review, Reviewing, prepare
from bot.incidents.book import Book
from bot.model.gateway import Gateway
from bot.settings import Settings
from bot.store.sqlite import SqliteStore
from bot.trust.redaction import Redactor
from bot.wiring.models import build_gateway, models_of
from bot.wiring.outside import egress_of
from bot.wiring.values import routing_of, secret_keys, usable

_REPOSITORIES = frozenset({"github", "gitlab"})


def reviewing_of(
    settings: Settings, gateway: Gateway, book: Book, clock: Clock, key: bytes, offloaded: Prepares
) -> Reviewing:
    """`offloaded` is where the heavy part runs."""
    return Reviewing(
        asks=gateway, pin=gateway.pin("review"), prepare=offloaded, book=book, clock=clock, fence_key=key,
        token_budget=settings.file.budget.tokens_per_review,
        deadline_seconds=settings.file.timeouts.model_seconds,
        may_leave=may_leave(settings), team=routing_of(settings).team,
    )  # fmt: skip


def may_leave(settings: Settings) -> Callable[[str | None], bool]:
    """A diff is text of a repository: where a source of repositories, or the service, says "never", it stays here."""
    file = settings.file
    never = any(
        source.model == "never" and (source.kind or name) in _REPOSITORIES for name, source in file.sources.items()
    )

    def decide(service: str | None) -> bool:
        named = file.services.get(service) if service else None
        return not never and (named is None or named.model != "never")

    return decide


async def review_once(settings: Settings, wanted: Asked) -> Review:
    """One change, from the shell; the store of SITREP_HOME has its ceilings, calls and audit trail."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store = SqliteStore.open(usable(settings.home) / "sitrep.db")
        stack.push_async_callback(store.close)
        keys = secret_keys(settings)
        redactor = Redactor(keys)
        egress = egress_of(settings, [pin.endpoint for chain in models_of(settings).values() for pin in chain])
        gateway = await build_gateway(settings, store, clock, egress, redactor, stack, recover=False)

        async def here(text: str, fence: str, snapshot: str, token_budget: int) -> Prepared:
            prompt = prompts.load(*PROMPT)
            return await asyncio.to_thread(prepare, text, redactor, prompt, fence, snapshot, token_budget)

        book = Book(store, settings.file.workspace)
        return await reviewing_of(settings, gateway, book, clock, keys[0], here)(wanted)
