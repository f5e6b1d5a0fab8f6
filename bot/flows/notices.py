"""Warnings about spending, told in Slack: 80 % of a ceiling, once a ceiling and channel.

The gateway writes the warning in the transaction that reserves the money (`notices`, kind `spend`); here it is said. A
process that dies between the two says it at its next start, since what was told is remembered.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from bot.clock import Clock
from bot.store import Store
from bot.trust.neutralise import mrkdwn, mrkdwn_object

log = logging.getLogger(__name__)

ROUND_SECONDS = 10.0
AT_THE_CEILING = "At the ceiling, cards show facts without a summary."


class Says(Protocol):
    """The outbox, as a notice needs it."""

    async def say(self, target: str, channel: str, text: str, blocks: Sequence[Mapping[str, Any]]) -> int: ...


class SpendNotices:
    """Tells what was not told yet; `run` is its loop."""

    def __init__(
        self,
        store: Store,
        workspace_id: str,
        clock: Clock,
        outbox: Says,
        channels: Callable[[str | None], Awaitable[Sequence[str]]],
    ) -> None:
        """`channels(team)`: where a warning is told, by id; of a team's ceiling with that team's name."""
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._outbox = outbox
        self._channels = channels

    async def run(self) -> None:
        """At start-up at once, then for ever."""
        while True:
            try:
                await self.tell()
            except Exception as failed:  # noqa: BLE001 - a loop that must not end; the next round tries again
                log.error("telling of the model's spending failed with %s", type(failed).__name__)
            await self._clock.sleep(ROUND_SECONDS)

    async def tell(self) -> int:
        """Say every warning that was not said; returns how many messages."""
        rows = await self._store.query(
            "SELECT id, detail FROM notices AS n WHERE workspace_id = :w AND kind = 'spend' AND NOT EXISTS"
            " (SELECT 1 FROM notices AS t WHERE t.workspace_id = :w AND t.id = 'told:' || n.id) ORDER BY created_at",
            {"w": self._workspace_id},
        )
        said = 0
        for row in rows:
            detail = json.loads(row["detail"])
            text = f"{detail['text']} {AT_THE_CEILING}"
            block = {"type": "section", "text": mrkdwn_object(mrkdwn(text, 2900))}
            for number, channel in enumerate(await self._channels(_team(str(detail["scope"])))):
                # the same target again is an edit, no second post
                await self._outbox.say(f"notice:{row['id']}-{number}", channel, text, [block])
                said += 1
            told = {"workspace_id": self._workspace_id, "id": f"told:{row['id']}", "kind": "spend_told"}
            await self._store.insert("notices", [{**told, "created_at": self._clock.now()}], ignore=True)
        return said


def _team(scope: str) -> str | None:
    kind, _, rest = scope.partition(":")
    return rest.rpartition(":")[0] if kind == "team" else None
