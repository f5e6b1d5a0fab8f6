"""One warm worker process for what is pure and heavy: redact, then rank. Nothing heavy runs on the event loop.

A worker that dies (out of memory, killed) is replaced and the work is tried once more.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeVar

import prompts
from bot.flows.review import PROMPT, Prepared, prepare
from bot.triage.permit import Permitted
from bot.triage.rank import rank
from bot.triage.redact import redact
from bot.trust.redaction import Redactor, values
from bot.types import Ranked

T = TypeVar("T")

NICE = 15
"""The doors and the outbox go first: their answers are waited for."""

_redactor: Redactor | None = None


def _start(keys: Sequence[bytes]) -> None:
    global _redactor
    os.nice(NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it shuts this process down
    threading.Thread(target=_end_with_the_parent, name="parent", daemon=True).start()
    _redactor = Redactor(keys)
    _redactor.redact("warm")


def _end_with_the_parent() -> None:
    """A parent that was killed cannot shut this process down, which would else wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


@dataclass(frozen=True, slots=True)
class Timed:
    """What the worker made, and when (nanoseconds since the epoch): its process has no spans of its own."""

    ranked: Ranked
    began_ns: int
    redacted_ns: int
    ended_ns: int


def redact_and_rank(
    permitted: Permitted, marks: Mapping[str, str], past_culprits: Mapping[str, int] | None = None
) -> Timed:
    """Runs in the worker."""
    assert _redactor is not None
    began = time.time_ns()
    redacted = redact(permitted, _redactor)
    between = time.time_ns()
    ranked = rank(redacted, marks=marks, past_culprits=past_culprits)
    return Timed(ranked, began, between, time.time_ns())


def redact_value(value: Any) -> Any:
    """Runs in the worker: a parsed body without its secrets."""
    assert _redactor is not None
    return values.redact_value(_redactor, value)


def prepare_review(text: str, fence: str, snapshot: str, token_budget: int) -> Prepared:
    """Runs in the worker: a change under review, read, judged by rules and redacted."""
    assert _redactor is not None
    return prepare(text, _redactor, prompts.load(*PROMPT), fence, snapshot, token_budget)


def _ready() -> bool:
    return _redactor is not None


class WarmWorker:
    """A single process that is started before it is needed."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)
        self._pool = self._new_pool()

    async def warm(self) -> None:
        """Returns when the process is up."""
        await self.run(_ready)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run a module-level function there; raises what it raises."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, work, *arguments)
        except BrokenProcessPool:
            self._pool = self._new_pool()
            return await loop.run_in_executor(self._pool, work, *arguments)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(self._keys,),
        )
