"""`sitrep serve` as a process that dies by SIGKILL at a named point.

VICTIM_KILL_AT names the point, VICTIM_LOG a file to which every point passed is appended. `<step>.inside` kills when
the step's work first waits for something. VICTIM_ALWAYS kills each time and not only once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pathlib
import signal

from bot.settings import load
from bot.wiring import serve


def checkpoint(name: str) -> None:
    log = pathlib.Path(os.environ["VICTIM_LOG"])
    with log.open("a", encoding="ascii") as file:
        file.write(name + "\n")
    point = os.environ.get("VICTIM_KILL_AT", "")
    killed = log.with_suffix(".killed")
    if killed.exists() and not os.environ.get("VICTIM_ALWAYS"):
        return
    if point == name:
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if point.endswith(".inside") and name == point.replace(".inside", ".before"):
        killed.touch()
        # The step's own work begins when this returns, and has not ended when it first waits for anything.
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGKILL)


def edit_the_workflow(guarded: bool) -> None:
    """The same engine version with one step more at the beginning: what an upgrade must never do silently. Guarded, a
    run that began before the edit goes on without it."""
    from bot.flows.triage import TriageFlow

    as_it_was = TriageFlow.run

    async def edited(self, steps, incident_id, n):  # type: ignore[no-untyped-def]
        async def nothing() -> dict[str, str]:
            return {}

        if not guarded or await steps.since_edit("a.new.step"):
            await steps.run("a.new.step", nothing)
        return await as_it_was(self, steps, incident_id, n)

    TriageFlow.run = edited  # type: ignore[method-assign]


if __name__ == "__main__":
    if os.environ.get("VICTIM_EDITED"):
        edit_the_workflow(guarded=os.environ["VICTIM_EDITED"] == "guarded")
    logging.basicConfig(level="INFO")
    asyncio.run(serve(load(), checkpoint=checkpoint))
