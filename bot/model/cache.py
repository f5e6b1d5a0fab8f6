"""Answers to questions that repeat (ask, review, validate, batch). A live triage has no twin and is never cached.

In memory, bounded by bytes, short-lived. What is kept is the model's own text with positions, never a post: whoever
takes it passes `check` and `permit` again for the audience of now, and the audience is part of the key.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from bot.clock import Clock
from integrations.ports import Completion

CACHED_USES = frozenset({"ask", "review", "validate", "batch"})
MARK = "0" * 16
"""Stands for the fence mark, which changes with the snapshot and says nothing."""


def key(
    *,
    workspace_id: str,
    model: str,
    prompt_sha256: str,
    system: str,
    user: str,
    fence: str,
    schema: Mapping[str, Any],
    parameters: Mapping[str, Any],
    snapshot: str,
    audience: str,
) -> str:
    """Everything that decides the answer, and who may read it."""
    texts = [text.replace(fence, MARK) if fence else text for text in (system, user)]
    parts = [workspace_id, model, prompt_sha256, *texts, schema, parameters, snapshot, audience]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class Cache:
    """Least recently used goes first when `most_bytes` are kept."""

    def __init__(self, clock: Clock, seconds: float = 300.0, most_bytes: int = 8 * 1024 * 1024) -> None:
        self._clock = clock
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[float, Completion]] = OrderedDict()

    def get(self, wanted: str) -> Completion | None:
        found = self._kept.get(wanted)
        if found is None:
            return None
        if found[0] <= self._clock.monotonic():
            self._drop(wanted)
            return None
        self._kept.move_to_end(wanted)
        return found[1]

    def put(self, wanted: str, completion: Completion) -> None:
        self._drop(wanted)
        size = len(completion.text.encode())
        if size > self._most_bytes:
            return
        self._kept[wanted] = (self._clock.monotonic() + self._seconds, completion)
        self._bytes += size
        while self._bytes > self._most_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, wanted: str) -> None:
        if found := self._kept.pop(wanted, None):
            self._bytes -= len(found[1].text.encode())
