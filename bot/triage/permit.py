"""The room `permit`: keeps what everyone who will read the post may read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bot.triage.collect import Material


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted(Material):
    """What is left for this audience. May still hold secrets."""

    permitted_at: datetime
    audience: str
    """The audience's signature: who the post is filtered for."""
    hidden: int = 0
    """Items that were found and that the audience may not read."""
    fallback: str | None = None
    """Why only the fallback card may be shown, in words; None: the card may be shown."""
    notices: tuple[str, ...] = ()
    """Finished sentences for the card's last line."""
