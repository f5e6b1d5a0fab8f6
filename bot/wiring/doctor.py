"""Is this installation in order? Every check at once, each with its own deadline; nothing is changed or posted.

A check says what it found and, unless all is well, what to do. It never prints a secret: what it says of one is whether
it is set and what its owner answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

from bot.clock import SystemClock
from bot.errors import SitrepError
from bot.settings import Settings
from bot.wiring import doctor_local, doctor_outside
from bot.wiring.doctor_lines import NOT_REACHED, Line, of_error
from bot.wiring.models import models_of
from bot.wiring.outside import egress_of
from bot.wiring.sources import pagerduty_of, sources_of
from integrations.errors import IntegrationError

DEADLINE_SECONDS = 10.0
"""Of one check. All run at once, so that this is about what the whole command takes."""


Check = Callable[[], Awaitable[Sequence[Line]]]


async def examine(settings: Settings, *, deadline_seconds: float = DEADLINE_SECONDS) -> list[Line]:
    """Every line, in the order of the checks."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        egress = egress_of(settings, [pin.endpoint for chain in models_of(settings).values() for pin in chain])
        pagerduty = pagerduty_of(settings, egress, stack)
        sources = [one for one in sources_of(settings, egress, stack, pagerduty) if one is not pagerduty]
        slack = doctor_outside.SlackChecks(settings, egress, clock)
        stack.push_async_callback(slack.close)
        checks: list[tuple[str, Check]] = [
            ("packages", _sync(doctor_local.packages)),
            ("state folder", _sync(partial(doctor_local.state_folder, settings))),
            ("secret key", _sync(partial(doctor_local.secret_key, settings))),
            ("mode", _sync(partial(doctor_local.mode, settings))),
            ("webhooks", _sync(partial(doctor_local.webhooks, settings))),
            ("store", partial(doctor_local.store, settings, clock)),
            ("slack", slack.bot),
            ("slack app token", slack.door),
            ("channels", slack.channels),
            ("pagerduty", partial(doctor_outside.pagerduty, settings, pagerduty)),
            *(
                (f"source {one.name}", partial(doctor_outside.source, settings, one, clock, deadline_seconds))
                for one in sources
            ),
            ("model", partial(doctor_outside.model, settings, egress, deadline_seconds)),
        ]
        if not sources:
            checks.insert(-1, ("sources", _sync(doctor_outside.no_sources)))
        found = await asyncio.gather(*(_within(name, check, deadline_seconds) for name, check in checks))
    return [line for lines in found for line in lines]


def _sync(check: Callable[[], Sequence[Line]]) -> Check:
    async def run() -> Sequence[Line]:
        return await asyncio.to_thread(check)

    return run


async def _within(name: str, check: Check, seconds: float) -> Sequence[Line]:
    """The check's lines; what it could not find out is a line too."""
    try:
        async with asyncio.timeout(seconds):
            return await check()
    except TimeoutError:
        return [Line(name, "failed", f"no answer in {seconds:g} s", NOT_REACHED)]
    except IntegrationError as wrong:
        return [of_error(name, wrong)]
    except SitrepError as wrong:
        return [Line(name, "failed", str(wrong), "do what the sentence says")]
    except OSError as wrong:
        return [Line(name, "failed", type(wrong).__name__, "look at the path and its permissions")]
