"""Opening a form, and what to do where none can be opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from bot.listeners.asked import Asked
from integrations.errors import Denied, Refused

Opened = Literal["opened", "too_late", "not_here"]
"""`too_late`: the click is older than three seconds, or another process took it. `not_here`: this server
has no forms."""
_TOO_LATE = ("expired_trigger_id", "exchanged_trigger_id", "invalid_trigger_id", "trigger_expired")


async def open_form(asked: Asked, view: Mapping[str, Any]) -> Opened:
    """Raises what a call raises otherwise."""
    if asked.trigger_id is None:
        return "too_late"
    try:
        await asked.desks.screens.open_form(asked.trigger_id, view)
    except Refused as refused:
        if refused.code in _TOO_LATE:
            return "too_late"
        raise
    except Denied:
        return "not_here"
    return "opened"
