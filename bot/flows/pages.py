"""Files for one person: an incident's page, collected again for them, sent to nobody else, stored nowhere by us.

A file's name holds a digest of the request that asked for it: a request that is answered again, since the process that
began died, finds what it sent and sends it once.
"""

from __future__ import annotations

import hashlib
import re

from bot.cards.making import from_ranked
from bot.cards.page import page
from bot.cards.words import clock_minute
from bot.flows.entitled import Entitled
from bot.flows.requests import Request
from integrations.ports import FileSender

SAID = "What you may see of {incident} at {time}. It is a copy: it does not change when the card does."


class Pages:
    """The command's work."""

    def __init__(self, entitled: Entitled, files: FileSender) -> None:
        self._entitled = entitled
        self._files = files

    async def send_page(self, user_id: str, incident_id: str, request: Request) -> None:
        """Asks the sources again for what this person may read, and sends the page to them alone. Raises NotPermitted,
        and what sending raises."""
        parts = self._entitled.parts
        principal = await self._entitled.principal(user_id)
        ranked = await self._entitled.views.own_ranked(incident_id, principal)
        html = page(from_ranked(ranked, links=parts.link_hosts, offers=()), ranked)
        said = SAID.format(incident=incident_id, time=clock_minute(parts.clock.now()))
        await self.send_file(user_id, incident_id, "html", f"Sitrep {incident_id}", said, html, request)

    async def send_file(
        self, user_id: str, about: str, suffix: str, title: str, said: str, content: str, request: Request
    ) -> None:
        """Anything that was made for this person alone, once a request."""
        key = hashlib.sha256(request.id.encode()).hexdigest()[:8]
        name = f"sitrep-{re.sub(r'[^A-Za-z0-9_-]+', '-', about)[:60]}-{key}.{suffix}"
        since = request.received_at if request.attempts > 1 else None
        await self._files.send_privately(user_id, name, title, said, content.encode(), since=since)
