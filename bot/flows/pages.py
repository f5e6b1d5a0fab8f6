"""An incident's page as a file for one person: collected again for them, sent to nobody else, stored nowhere by us."""

from __future__ import annotations

import re

from bot.cards.page import page
from bot.cards.state import from_ranked
from bot.cards.words import clock_minute
from bot.flows.entitled import Entitled
from integrations.ports import FileSender

SAID = "What you may see of {incident} at {time}. It is a copy: it does not change when the card does."


class Pages:
    """The command's work."""

    def __init__(self, entitled: Entitled, files: FileSender) -> None:
        self._entitled = entitled
        self._files = files

    async def send_page(self, user_id: str, incident_id: str) -> None:
        """Asks the sources again for what this person may read, and sends the page to them alone. Raises NotPermitted,
        and what sending raises."""
        parts = self._entitled.parts
        principal = await self._entitled.principal(user_id)
        ranked = await self._entitled.views.own_ranked(incident_id, principal)
        html = page(from_ranked(ranked, links=parts.link_hosts, offers=()), ranked)
        name = f"sitrep-{re.sub(r'[^A-Za-z0-9_-]+', '-', incident_id)[:60]}.html"
        said = SAID.format(incident=incident_id, time=clock_minute(parts.clock.now()))
        await self._files.send_privately(user_id, name, f"Sitrep {incident_id}", said, html.encode())
