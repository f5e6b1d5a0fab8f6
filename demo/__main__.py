"""`python -m demo [--once] [--model local]`: see demo/run.py. `make demo` calls it."""

from __future__ import annotations

import argparse
import asyncio
import pathlib
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from rich.console import Console

from demo.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description="A recorded incident, a local Slack, and Sitrep.")
    parser.add_argument("--once", action="store_true", help="resolve the incident, print the report, check, end")
    parser.add_argument("--model", help="'local': a small model on this machine; else what the environment names")
    parser.add_argument(
        "--home", type=pathlib.Path, help="keep the bot's state here (default: a folder that is removed)"
    )
    options = parser.parse_args()
    console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else 120)
    return asyncio.run(_until_told(run(options.once, options.model, console, options.home), options.once))


async def _until_told(running: Coroutine[Any, Any, int], once: bool) -> int:
    """Ctrl-C and SIGTERM end it, and what was started is ended too; a run that should have ended by itself failed."""
    task = asyncio.ensure_future(running)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 1 if once else 0


if __name__ == "__main__":
    sys.exit(main())
