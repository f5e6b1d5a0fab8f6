"""`sitrep serve`: everything in one process: doors, drainer, workflows, outbox."""

from __future__ import annotations

import asyncio
import logging
import sys

import click


@click.command("serve")
@click.option(
    "--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]), show_default=True
)
def command(log_level: str) -> None:
    """Run Sitrep: webhooks, Slack, triages, in one process with its own database."""
    from bot.settings import load
    from bot.wiring import serve

    logging.basicConfig(
        stream=sys.stderr, level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    for noisy in ("httpx", "httpx2", "httpcore", "slack_bolt", "slack_sdk", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    asyncio.run(serve(load()))
