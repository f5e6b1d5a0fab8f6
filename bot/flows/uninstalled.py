"""The app was uninstalled, or its token revoked: nothing is sent any more, and the data is kept or purged by setting.

Slack says so with an event (docs.slack.dev/reference/events/app_uninstalled, …/tokens_revoked). It is believed only if
the token really works no more: a purge cannot be taken back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bot.clock import Clock
from bot.errors import ConfigurationError
from bot.store import Store, Transaction
from bot.store.retention import RULES
from bot.store.values import to_text, ulid
from integrations.errors import Denied, IntegrationError

log = logging.getLogger(__name__)

NOTICE = "slack:uninstalled"
GONE = (
    "Slack took this app's token away: the app was uninstalled, or its token revoked. Install it again and set "
    "SLACK_BOT_TOKEN to the new token"
)


class Uninstalled:
    """One workspace's end. `token_works()` asks Slack and raises Denied when the token is refused."""

    def __init__(
        self, store: Store, workspace_id: str, clock: Clock, token_works: Callable[[], Awaitable[object]],
        forget_workflows: Callable[[], Awaitable[object]], *, purge: bool,
    ) -> None:  # fmt: skip
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._token_works = token_works
        self._forget_workflows = forget_workflows
        self._purge = purge
        self._gone = asyncio.Event()

    async def wait(self) -> None:
        """Returns when the app is gone: whoever runs the loops ends them."""
        await self._gone.wait()

    @property
    def gone(self) -> bool:
        return self._gone.is_set()

    async def heard(self, what: str) -> None:
        """Slack's event; what contradicts it is not acted on."""
        try:
            await self._token_works()
        except Denied:
            pass
        except IntegrationError as failed:
            log.warning("%s: whether the token still works cannot be asked now: %s", what, failed.message)
            return
        else:
            log.warning("%s: the token still works, so nothing is done", what)
            return
        now = self._clock.now()
        row = {"workspace_id": self._workspace_id, "id": NOTICE, "kind": "uninstalled", "created_at": now}
        await self._store.insert("notices", [row], ignore=True)
        log.error("%s: %s; nothing is sent any more, the data is %s", what, GONE, "purged" if self._purge else "kept")
        self._gone.set()

    async def finish(self) -> None:
        """After the loops have ended: purge, where the setting says so. Safe to do twice."""
        if not self._purge:
            return
        await self._store.transaction(self._remove)
        await self._forget_workflows()

    async def refuse_start(self) -> None:
        """At start-up: go on if the app was installed again, else raise ConfigurationError. A purge that a process did
        not live to do is done first."""
        rows = await self._store.query(
            "SELECT id FROM notices WHERE workspace_id = :w AND id = :i", {"w": self._workspace_id, "i": NOTICE}
        )
        if not rows:
            return
        try:
            await self._token_works()
        except Denied:
            await self.finish()
            raise ConfigurationError([f"{GONE}."]) from None
        except IntegrationError as failed:
            log.warning("whether the token works again cannot be asked now: %s", failed.message)
            return
        await self._store.transaction(lambda tx: self._again(tx))

    def _again(self, tx: Transaction) -> None:
        values = {"w": self._workspace_id, "i": NOTICE}
        tx.execute("DELETE FROM notices WHERE workspace_id = :w AND id = :i", values)

    def _remove(self, tx: Transaction) -> None:
        """Every row of the workspace but that it is gone, and one line of the audit trail that says so."""
        values = {"w": self._workspace_id, "i": NOTICE}
        for table in dict.fromkeys(rule.table for rule in RULES):
            if table == "migrations":
                continue
            keep = " AND id != :i" if table == "notices" else ""
            tx.execute(f"DELETE FROM {table} WHERE workspace_id = :w{keep}", values)  # noqa: S608 - names of our tables
        now = self._clock.now()
        line = {"workspace_id": self._workspace_id, "id": ulid(now), "at": to_text(now), "by": "slack",
                "action": "purge", "incident_id": None, "detail": {"why": "uninstalled"}}  # fmt: skip
        tx.insert("audit", [line])
